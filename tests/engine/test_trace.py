"""Recording: what a trace keeps, and what it leaves behind."""

import gc
import random

import pytest

import dynjax as torch
from dynjax.engine.trace import state


def new_graph(seed, x, length=40):
    """A chain of operations, another one for each seed."""
    generator = random.Random(seed)
    for _ in range(length):
        x = generator.choice([torch.sin, torch.tanh, torch.sigmoid])(x) + generator.choice([2, 3])
    return x


def tracked():
    return sum(type(o).__name__ in ("Step", "Value", "Plan", "Lowered") for o in gc.get_objects())


@pytest.mark.parametrize("policy", ["batch", "interpret"])
def test_a_graph_that_never_recurs_leaves_nothing_for_the_collector(policy, monkeypatch):
    monkeypatch.setattr(torch.config, "policy", policy)
    w = torch.ones(3, requires_grad=True)
    made = []
    for seed in range(6):
        loss = torch.stack([new_graph(f"{policy} {seed} {k}", w) for k in range(3)]).sum()
        loss.backward()
        loss.item()
        w.grad = None
        if seed == 2:
            gc.collect()
            gc.disable()
        if seed > 2:
            made.append(tracked())
    gc.enable()
    assert made[-1] - made[0] < 20


def test_steps_of_a_finished_trace_serve_later_ones():
    x = torch.ones(3, requires_grad=True)
    new_graph(101, x).sum().item()
    held = new_graph(102, x, length=2).sum()
    end = state.trace.cur
    held.item()
    before = [end.kernel, end.refs, end.parent]
    for seed in range(103, 106):
        new_graph(seed, x).sum().item()
    assert [end.kernel, end.refs, end.parent] == before, "somebody holds it"


def test_values_that_nobody_holds_are_let_go_of_while_recording():
    x = torch.ones(2, requires_grad=True)
    y = x
    for k in range(3000):
        y = torch.sin(y) if k % 7 else torch.tanh(y)
    assert len(state.trace.vals) < 2200
    assert len({v.idx for v in state.trace.vals}) == len(state.trace.vals)


def test_a_kept_graph_finds_again_what_was_let_go_of():
    """`retain_graph` and a flush between forward and backward need saved intermediates."""
    x = torch.full((2,), 0.5, requires_grad=True)
    y, scale = x, 1.0
    for k in range(2500):
        y = y * 1.0001 if k % 5 else y * 0.9996
        scale *= 1.0001 if k % 5 else 0.9996
    z = y * y
    assert abs(z.sum().item() - 2 * (0.5 * scale) ** 2) < 1e-3
    (first,) = torch.autograd.grad(z.sum(), x, retain_graph=True)
    (second,) = torch.autograd.grad(z.sum(), x)
    assert first.tolist() == second.tolist()
    assert abs(first[0].item() - scale * scale) < 1e-3


def test_a_view_that_was_let_go_of_still_notices_writes():
    """A saved view of a tensor that is written to afterwards fails in backward, as in PyTorch."""
    x = torch.ones(4, requires_grad=True)
    base = x * 1.0
    total = base[:2].exp().sum() + (base.view(2, 2) * base.view(2, 2)).sum()
    for k in range(2200):  # long enough to have been gone through
        total = total + (0.5 if k % 3 else 0.25)
    base.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        total.backward()
