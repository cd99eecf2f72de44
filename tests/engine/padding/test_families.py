"""Families of graphs are remembered, and little of the graphs."""

import gc
import random

import numpy as np
import pytest

import dynjax as torch
from dynjax.engine.padding import families
from dynjax.engine.trie import Step

OPERATIONS = [torch.sin, torch.cos, torch.tanh, torch.exp, torch.sigmoid, torch.sqrt]


@pytest.fixture(autouse=True)
def none_known():
    families.forget()
    yield
    families.forget()


def graph(seed, n):
    """Runs `n` operations, others for every seed, in groups of 12."""
    draw = random.Random(seed)
    xs = [torch.full((3,), 0.1 * k) for k in range(12)]
    for _ in range(n // 12):
        operation = draw.choice(OPERATIONS)
        xs = [operation(x) for x in xs]
    return torch.stack(xs).sum().item()


def alive():
    gc.collect()
    return sum(type(o) is Step for o in gc.get_objects())


def test_the_steps_of_a_graph_that_never_comes_again_are_not_kept():
    graph(0, 600), graph(1, 600)  # more than what is kept for a second time
    before = alive()
    for seed in range(2, 8):
        graph(seed, 600)
    assert len(families._families) >= 6
    assert alive() - before < 600


def test_operations_are_bounded_and_the_last_families_kept(monkeypatch):
    monkeypatch.setattr(families, "_MOST_OPERATIONS", 800)
    for seed in range(5):
        graph(seed, 60)
    few = len(families._families)
    for seed in range(5, 20):
        graph(seed, 240)
    assert few >= 5
    assert len(families._families) == families._FEWEST
    assert families._operations == sum(len(outline[0]) for outline in families._families)


def test_a_family_founded_by_recorded_parts_can_be_written_out():
    """Cells of a tree are recorded unasked: of their steps what they consist of is kept."""
    torch.manual_seed(0)
    cell = torch.nn.GRUCell(4, 4)

    def states(n):
        x = torch.from_numpy(np.linspace(-1, 1, 4 * n, dtype=np.float32).reshape(n, 4))
        hs = [cell(x, cell(x)) for _ in range(3)]
        return sum(h.sum() for h in hs).item()

    for n in (3, 9, 20):
        states(n)
    for family in families._families.values():
        program = family.first.written_out().program
        assert not any(kernel.unasked for kernel, _, _ in program)
