"""What is tried first for a graph that never came before: what the last of its kind became."""

import numpy as np
import pytest

import dynjax as torch
from dynjax.engine import cold


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch):
    monkeypatch.setattr(cold, "_looped", {})
    monkeypatch.setattr(torch.config, "cells", False)


@pytest.fixture
def grouped(monkeypatch):
    """Of every graph that was tried in groups, whether it ran so."""
    asked = []
    batched = cold._batched

    def noted(*args):
        found = batched(*args)
        asked.append(found is not None)
        return found

    monkeypatch.setattr(cold, "_batched", noted)
    return asked


W = np.random.default_rng(0).standard_normal((5, 5)).astype(np.float32) / 3


def gradient(lengths):
    """Of a weight that sequences of some lengths share; and what it is by NumPy."""
    w = torch.from_numpy(W.copy()).requires_grad_()
    states = []
    for k, n in enumerate(lengths):
        state = torch.full((2, 5), 0.1 * (k + 1))
        for _ in range(n):
            state = torch.tanh(state @ w)
        states.append(state)
    torch.stack(states).sum().backward()
    expected = np.zeros_like(W)
    for k, n in enumerate(lengths):
        path = [np.full((2, 5), 0.1 * (k + 1), np.float32)]
        for _ in range(n):
            path.append(np.tanh(path[-1] @ W))
        flowing = np.ones((2, 5), np.float32)
        for before, after in zip(path[-2::-1], path[:0:-1], strict=True):
            flowing = flowing * (1 - after**2)
            expected += before.T @ flowing
            flowing = flowing @ W.T
    np.testing.assert_allclose(w.grad.numpy(), expected, rtol=1e-4, atol=1e-5)


def test_loops_of_another_length_are_not_tried_in_groups(grouped):
    gradient([20])
    first = len(grouped)
    assert first and not any(grouped)
    for n in (25, 30, 17):
        gradient([n])
    assert len(grouped) == first


def test_many_loops_are_tried_in_groups_although_one_was_not(grouped):
    gradient([20])
    grouped.clear()
    gradient([20, 21, 22, 23, 24, 25, 20, 19])
    assert grouped == [True]
