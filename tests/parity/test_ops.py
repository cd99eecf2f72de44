"""Every operation on PyTorch's own samples: values, forms, gradients and errors are PyTorch's.

What differs and is known stands in `KNOWN`, with the reason; it fails as soon as it no longer
differs. A run takes a few samples of each entry; `python -m tests.parity.figures --samples all`
takes all.
"""

import pytest

torch = pytest.importorskip("torch")

from tests.parity.checks import CHECKS, run  # noqa: E402
from tests.parity.known import KNOWN  # noqa: E402
from tests.parity.opinfo import entries  # noqa: E402

ENTRIES = {op.formatted_name: op for op in entries()}


@pytest.mark.parametrize("name", ENTRIES)
def test_operation(name):
    problems = []
    for check, (_, difference) in run(ENTRIES[name]).items():
        known = KNOWN.get((name, check))
        if difference and known is None:
            problems.append(f"{check}: {difference}")
        elif known is not None and not difference:
            problems.append(f"{check} agrees now: remove it from KNOWN ({known})")
    assert not problems, "\n".join(problems)


def test_known_differences_exist():
    checks = {check.__name__ for check in CHECKS}
    assert all(name in ENTRIES and check in checks for name, check in KNOWN)
