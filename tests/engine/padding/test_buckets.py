"""Data of many shapes: few programs on padded data, and what they give."""

from itertools import count
from math import inf

import numpy as np
import pytest

import dynjax as torch
from dynjax import nn
from dynjax.core.config import config
from dynjax.engine import background
from dynjax.engine.padding import buckets
from dynjax.engine.programs import in_background

F = nn.functional


@pytest.fixture
def width():
    """One that no other test has, so that the graphs are new."""
    return next(_widths)


@pytest.fixture
def pays():
    """Whether a program on padded data is compiled whatever running otherwise costs: how much that
    is depends on which parts of graphs other tests have left compiled."""
    return True


@pytest.fixture
def served(monkeypatch, pays):
    """Of every graph that was new: what its data was padded to, None where it wasn't."""
    from dynjax.engine import cold, executor

    executor.flush()  # what another test has left unread
    found, ran, asked, program_of = [], [], cold.padded, buckets._Bucket.program

    def noting(plan, donate, trace, instead=0.0):
        program = asked(plan, donate, trace, inf if instead and pays else instead)
        if len(plan.lowered.program) >= _WORTH and (program or instead):
            found.append(program and ran[-1])
        return program

    def running(bucket, symbols, outgrown):
        ran.append(bucket.padded)
        return program_of(bucket, symbols, outgrown)

    monkeypatch.setattr(cold, "padded", noting)
    monkeypatch.setattr(buckets._Bucket, "program", running)
    return found


def data(*shape, seed=0):
    return np.random.default_rng((seed, *shape)).standard_normal(shape).astype(np.float32)


_widths = count(11)
_WORTH = 4  # operations of the graphs that tests look at


class Net(nn.Module):
    def __init__(self, width):
        super().__init__()
        torch.manual_seed(3)
        self.first, self.norm, self.last = (
            nn.Linear(3, width),
            nn.LayerNorm(width),
            nn.Linear(width, 4),
        )

    def forward(self, x):
        return self.last(F.gelu(self.norm(self.first(x))))


def trained(net, shapes, loss_of=lambda y: y.square().mean()):
    """The losses of a step on data of each shape."""
    optimizer, losses = torch.optim.Adam(net.parameters(), lr=0.01), []
    for step, shape in enumerate(shapes):
        optimizer.zero_grad()
        loss = loss_of(net(torch.from_numpy(data(*shape, seed=step))))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def unpadded(work):
    """What some work gives where each graph is a program of its own."""
    before, config.policy = config.policy, "compile"
    try:
        return work()
    finally:
        config.policy = before


def test_many_sizes_share_few_programs(served, width):
    rows = [5, 9, 7, 12, 6, 11, 8, 10, 20, 17, 23, 14, 1]
    work = lambda: trained(Net(width), [(n, 3) for n in rows])  # noqa: E731
    with torch.explain() as compiles:
        losses = work()
    assert served[0] is None and None not in served[1:]
    padded = [c for c in compiles if "padded to" in c.cause]
    assert len(padded) == len(set(served[1:])) <= 2
    np.testing.assert_allclose(losses, unpadded(work), rtol=1e-4)


def test_the_number_of_programs_grows_with_the_logarithm_of_the_sizes(served, width):
    trained(Net(width), [(n, 3) for n in range(4, 120, 3)])
    assert len(set(served)) <= 10


def test_two_sizes_that_vary(served, width):
    shapes = [(3, 5, 3), (6, 9, 3), (4, 7, 3), (5, 8, 3), (3, 9, 3), (6, 5, 3), (7, 2, 3)]

    def loss_of(y):
        return F.cross_entropy(y.flatten(0, 1), y.argmax(-1).flatten())

    def work():
        return trained(Net(width), shapes, loss_of)

    losses = work()
    assert served[-1] is not None and len(set(served)) <= 3
    np.testing.assert_allclose(losses, unpadded(work), rtol=1e-4)


def test_attention_over_sequences_of_any_length(served):
    torch.manual_seed(0)
    start = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True).state_dict()

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
            self.layer.load_state_dict(start)

        def forward(self, x):
            padding = torch.arange(x.shape[1]) >= torch.tensor([[x.shape[1]], [x.shape[1] - 1]])
            return self.layer(x, src_key_padding_mask=padding)[:, :-1]

    work = lambda: trained(Model(), [(2, n, 8) for n in (5, 8, 6, 9, 3)])  # noqa: E731
    losses = work()
    assert None not in served[1:]
    np.testing.assert_allclose(losses, unpadded(work), rtol=1e-4)


def test_a_language_model_on_texts_of_any_length(served, width):
    """Its targets are one shorter than its data, and B * (T - 1) rows of a product."""

    def work():
        torch.manual_seed(2)
        words, out = nn.Embedding(7, width), nn.Linear(width, 7)
        optimizer = torch.optim.SGD([*words.parameters(), *out.parameters()], lr=0.1)
        losses = []
        for b, n in ((2, 5), (3, 9), (4, 7), (3, 8), (2, 6)):
            text = torch.from_numpy(np.random.default_rng(n).integers(0, 7, (b, n)))
            h = words(text[:, :-1])
            h = F.scaled_dot_product_attention(h, h, h, is_causal=True)
            targets = text[:, 1:].reshape(-1)
            loss = F.cross_entropy(out(h).reshape(-1, 7), targets, ignore_index=3)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return losses

    losses = work()
    assert None not in served[2:]
    np.testing.assert_allclose(losses, unpadded(work), rtol=1e-4)


def test_layers_that_run_as_a_loop_and_statistics_of_a_batch(served, width):
    def work():
        torch.manual_seed(2)
        layers = [m for _ in range(9) for m in (nn.Linear(width, width), nn.Tanh())]
        net = nn.Sequential(*layers, norm := nn.BatchNorm1d(width))
        shapes = [(n, width) for n in (5, 9, 7, 4)]
        return trained(net, shapes, lambda y: y.pow(3).mean()), norm.running_var.numpy()

    (losses, variance), (expected, expected_variance) = work(), unpadded(work)
    assert None not in served[1:]
    np.testing.assert_allclose(losses, expected, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(variance, expected_variance, rtol=1e-5)


def test_results_are_as_long_as_the_data(served, width):
    def work():
        net, found = Net(width), []
        for n in (5, 9, 7, 6, 8):
            y = net(torch.from_numpy(data(2, n, 3)))
            y.retain_grad()
            merged = y.reshape(-1, 4)
            merged.square().sum().backward()
            found += [y.detach().numpy(), merged.detach().numpy(), y.grad.numpy()]
        return found

    found = work()
    assert None not in served[2:]  # the first step left no gradients to add to
    for ours, theirs in zip(found, unpadded(work), strict=True):
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("dtype", ["int64", "float64", "bfloat16", "bool", "complex64"])
def test_results_are_of_their_types(served, dtype):
    for n in (5, 9, 7, 6):
        x = chain(torch.from_numpy(data(n, 3)).square()).to(getattr(torch, dtype))
        y = x.clone()
        assert y.tolist() == x.tolist()
        assert y._v.array.dtype == x.dtype.np
    assert None not in served[2:]


def test_an_interrupted_step_is_finished_first(served, width, monkeypatch):
    """What the program consumed is gone: its results must be there, whenever Ctrl-C comes."""
    net = Net(width)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    narrowed, calls = buckets.narrowed, []

    def interrupted(*args):
        calls.append(args)
        if len(calls) == 1:
            raise KeyboardInterrupt
        return narrowed(*args)

    def step(n):
        y = net(torch.from_numpy(data(n, 3)))
        optimizer.zero_grad()
        y.square().mean().backward()
        optimizer.step()
        return y

    for n in (5, 9, 7):
        step(n)
    before = net.first.weight.detach().numpy().copy()
    monkeypatch.setattr(buckets, "narrowed", interrupted)
    with pytest.raises(KeyboardInterrupt):
        step(6)
    assert served[-1] is not None and len(calls) > 1
    assert not np.array_equal(net.first.weight.detach().numpy(), before)
    assert step(8).shape == (8, 4)


def test_dropout_is_the_same_padded_or_not(served):
    def work():
        torch.manual_seed(1)
        return [
            F.dropout(F.gelu(torch.from_numpy(data(2, n, 3)).exp().sin().cos()) + 1).numpy()
            for n in (5, 9, 7, 6)
        ]

    found = work()
    assert None not in served[1:]
    for ours, theirs in zip(found, unpadded(work), strict=True):
        np.testing.assert_array_equal(ours == 0, theirs == 0)
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def chain(x):
    return x.sin().cos().exp().tanh()


def test_a_place_that_only_looks_like_a_size_is_told_from_one():
    def read(n, place):
        x = torch.from_numpy(data(n, 4))
        return x, (chain(x)[place] * 2 + 1).numpy()

    for n, place in ((5, 4), (9, 8), (7, 6), (8, 7), (8, 2), (6, 0), (9, 3)):
        x, found = read(n, place)
        np.testing.assert_allclose(found, (chain(x) * 2 + 1).numpy()[place], rtol=1e-5)


def test_an_operation_that_goes_by_a_size_is_seen_to():
    """`cross` without a dimension takes the first that has three elements."""

    def work():
        found = []
        for n in (5, 9, 7, 6, 3, 4):
            x, y = (torch.from_numpy(data(n, 3, seed=seed)) for seed in (1, 2))
            found.append(torch.cross(chain(x), chain(y)).numpy())
        return found

    for ours, theirs in zip(work(), unpadded(work), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def test_what_cannot_be_padded_is_compiled_as_ever(served):
    def work():
        return [
            torch.fft.fft(chain(torch.from_numpy(data(n, 3)))[1:], dim=0).abs().numpy()
            for n in (5, 9, 7, 6, 11, 12, 14)
        ]

    found = work()
    assert set(served) == {None}
    for ours, theirs in zip(found, unpadded(work), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_what_fails_to_compile_padded_is_compiled_as_ever(served, monkeypatch, width):
    def fail(self, options):
        raise MemoryError

    monkeypatch.setattr(buckets._Bucket, "_compiled", fail)
    rows = [(n, 3) for n in (5, 9, 7, 6, 11, 12)]
    losses = trained(Net(width), rows)
    assert set(served) == {None}
    np.testing.assert_allclose(losses, unpadded(lambda: trained(Net(width), rows)), rtol=1e-4)


def test_what_cannot_be_looked_into_is_compiled_as_ever(served, width, monkeypatch):
    def fail(self):
        raise RuntimeError("not to be traced")

    monkeypatch.setattr(buckets.Sample, "structure", fail)
    trained(Net(width), [(n, 3) for n in (5, 9, 7)])
    assert set(served) == {None}


def test_no_rows_at_all():
    def work():
        return [chain(torch.from_numpy(data(n, 3))).sum(0).mul(2).numpy() for n in (5, 9, 0, 1, 6)]

    for ours, theirs in zip(work(), unpadded(work), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def test_what_is_much_too_wide_runs_until_that_has_cost_as_much_as_compiling(
    served, width, monkeypatch
):
    monkeypatch.setattr(buckets, "_FREE", 0)
    monkeypatch.setattr(buckets, "_MORE", 1)  # whatever the weights, of any width, count for
    monkeypatch.setattr(buckets, "_ELEMENT", buckets._COMPILE)  # as if a run cost that much
    net = Net(width)
    trained(net, [(n, 3) for n in (40, 44, 12)])
    assert served[1:] == [(48,), (48,)]
    trained(net, [(n, 3) for n in (12, 11, 44)])
    assert served[3:] == [(12,), (12,)]  # 44 rows run as before


@pytest.mark.parametrize("pays", [False])
def test_where_running_otherwise_costs_little_nothing_is_compiled_until_it_has_paid(served, width):
    layers = [m for _ in range(9) for m in (nn.Linear(width, width), nn.Tanh())]
    trained(nn.Sequential(*layers), [(n, width) for n in (5, 9, 7)])
    assert set(served) == {None}  # its repetitions run as calls


def test_where_padding_is_off_nothing_is_padded(served, monkeypatch, width):
    monkeypatch.setattr(config, "padding", False)
    trained(Net(width), [(n, 3) for n in (5, 9, 7)])
    assert set(served) == {None}


def test_other_parameters_are_another_family(served, width):
    trained(Net(width), [(5, 3)])
    trained(Net(width + 100), [(9, 3)])
    assert set(served) == {None}


def test_graphs_that_differ_in_a_number_too_are_told_apart(served):
    def work():
        return [
            chain(torch.from_numpy(data(n, 3))).roll(k, 0).mul(2).add(1).numpy()
            for n, k in ((5, 1), (9, 1), (7, 1), (7, 2), (8, 1), (6, 3))
        ]

    for ours, theirs in zip(work(), unpadded(work), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def test_graphs_that_share_their_numbers_otherwise_are_told_apart():
    """A number is an input; which operations it is an input of belongs to the graph."""
    for n, once, again in (
        (5, 2.5, 3.5),
        (9, 2.5, 3.5),
        (7, 2.5, 3.5),
        (8, 3.5, 2.5),
        (6, 0.3, 0.7),
    ):
        for same in (False, True):
            x = torch.from_numpy(data(n, 3))
            factor = torch.tensor(once)
            y = chain(x) * once + again + (once if same else again) * factor
            expected = np.tanh(np.exp(np.cos(np.sin(x.numpy())))) * once + again
            expected = expected + (once if same else again) * once
            np.testing.assert_allclose(y.numpy(), expected, rtol=1e-5)


def test_one_that_runs_often_is_compiled_well_in_the_background(monkeypatch, width):
    monkeypatch.setattr(background, "_MANY", 2)
    options = []
    compiled = buckets._Bucket._compiled
    monkeypatch.setattr(
        buckets._Bucket, "_compiled", lambda self, o: options.append(o) or compiled(self, o)
    )
    rows = [(n, 3) for n in (5, 9, 7, 6, 8, 10, 11)]
    losses = trained(Net(width), rows)
    in_background(int).result()
    assert options[0] is not None and options[-1] is None
    expected = unpadded(lambda: trained(Net(width), rows))
    np.testing.assert_allclose(losses, expected, rtol=1e-4)


def test_without_a_background_all_is_compiled_well(served, monkeypatch, width):
    monkeypatch.setattr(config, "background", False)
    options = []
    compiled = buckets._Bucket._compiled
    monkeypatch.setattr(
        buckets._Bucket, "_compiled", lambda self, o: options.append(o) or compiled(self, o)
    )
    rows = [(n, 3) for n in (5, 9, 7, 6)]
    losses = trained(Net(width), rows)
    assert options == [None] and None not in served[1:]
    np.testing.assert_allclose(losses, unpadded(lambda: trained(Net(width), rows)), rtol=1e-4)


def test_what_a_program_consumes_is_gone_and_what_it_must_not_is_there(width):
    net, before = Net(width), None
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for step, n in enumerate((5, 9, 7, 6, 8)):
        x = torch.from_numpy(data(n, 3, seed=step))
        before = net.first.weight.detach().clone()
        kept = net.first.weight.detach().numpy()
        optimizer.zero_grad()
        net(x).square().mean().backward()
        optimizer.step()
        np.testing.assert_array_equal(before.numpy(), kept)
        np.testing.assert_array_equal(x.numpy(), data(n, 3, seed=step))
        assert not np.array_equal(net.first.weight.detach().numpy(), kept)


@pytest.mark.parametrize(
    ("n", "size"),
    [(1, 2), (3, 3), (5, 6), (8, 8), (9, 12), (12, 12), (13, 16), (17, 24), (25, 32), (33, 48)],
)
def test_sizes_are_rounded_up(n, size):
    assert buckets._rounded(n) == size
