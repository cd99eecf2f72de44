"""The checks see what differs, and the figures count it."""

import pytest

torch = pytest.importorskip("torch")


from tests.parity import checks, figures  # noqa: E402
from tests.parity.opinfo import BY_NAME, samples, value_dtypes  # noqa: E402

EXTENT = checks.Extent(1, 1, 1, 1)
CALCULATING = {"function", "gradient", "against_jax", "second_order"}


@pytest.mark.parametrize(
    "wrong, seen",
    [
        (lambda x: x.exp() + 1e-3, {"function"}),
        (lambda x: x.exp() * 1.001, CALCULATING - {"against_jax"}),
        (lambda x: x.exp().detach(), CALCULATING),
        (lambda x: x.exp().double(), {"function", "gradient"}),
        (lambda x: x.exp().reshape(1, *x.shape), CALCULATING),
        (lambda x: 1 // 0, CALCULATING),
    ],
)
def test_what_differs_is_seen(wrong, seen, monkeypatch):
    monkeypatch.setattr(checks, "dynjax_function", lambda op: wrong)
    asked = [c for c in checks.CHECKS if c.__name__ in CALCULATING]
    results = checks.run(BY_NAME["exp"], EXTENT, asked)
    assert {name for name, (_, difference) in results.items() if difference} == seen


def test_a_call_that_only_one_side_refuses_is_seen(monkeypatch):
    monkeypatch.setattr(checks, "dynjax_function", lambda op: lambda *args, **kwargs: None)
    (_, difference), (counts, _) = checks.run(
        BY_NAME["gather"], EXTENT, (checks.raises, checks.error_type)
    ).values()
    assert difference.startswith("accepts") and not counts["calls"]


def test_figures_count_entries_and_samples():
    agree, differ, counts = figures.measure([BY_NAME["exp"]], EXTENT)
    assert agree["function"] == 1 and not any(differ.values())
    assert counts["function"] == dict.fromkeys(value_dtypes(BY_NAME["exp"]), 1)
    assert agree["raises"] == 0  # it has no wrong calls


def test_all_samples_are_more_than_some():
    op = BY_NAME["sum"]
    everything = samples(op, torch.float32, False, None)
    assert 3 == len(samples(op, torch.float32, False, 3)) < len(everything)


def test_lines_of_operations():
    lines = figures.lines_of_operations()
    assert lines["exp"] < 10 and set(lines) <= {n for ns in figures.NAMES.values() for n in ns}
