"""Lazy equals eager: random programs give the same however and whenever they are run."""

import warnings

import pytest

import dynjax
from dynjax.core.config import config
from tests.engine import programs


def leaf(data, requires_grad):
    return dynjax.from_numpy(data).requires_grad_(requires_grad)


@pytest.fixture(params=["interpret", "batch", "compile"])
def policy(request):
    """Runs with each policy; whole compiles take long, so few programs get them."""
    before, config.policy = config.policy, request.param
    yield request.param
    config.policy = before


def test_lazy_equals_eager(policy):
    count = {"interpret": 60, "batch": 12, "compile": 4}[policy]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for seed in range(count):
            program = programs.draw(seed)
            lazy = programs.run(program, dynjax, leaf)
            unobserved = programs.run(program, dynjax, leaf, look=False)
            with dynjax.eager():
                eager = programs.run(program, dynjax, leaf)
            assert programs.equal(lazy, eager), f"seed {seed}: {program}"
            looks = [i for i, x in enumerate(unobserved) if x is None and lazy[i] is not None]
            for i in looks:
                unobserved[i] = lazy[i]
            assert programs.equal(lazy, unobserved), f"seed {seed}, observed or not: {program}"
