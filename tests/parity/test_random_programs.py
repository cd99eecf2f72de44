"""Random programs of views, in-place operations and backward do what they do in PyTorch."""

import warnings

import pytest

import dynjax
from dynjax.core.config import config
from tests.engine import programs

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("block", range(4))
def test_random_programs(block):
    before, config.policy = config.policy, "interpret"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for seed in range(1000 + 100 * block, 1000 + 100 * (block + 1)):
                program = programs.draw(seed)
                ours = programs.run(
                    program, dynjax, lambda a, g: dynjax.from_numpy(a).requires_grad_(g), data=False
                )
                theirs = programs.run(
                    program, torch, lambda a, g: torch.from_numpy(a.copy()).requires_grad_(g), data=False
                )
                assert programs.equal(ours, theirs), f"seed {seed}: {program}"
    finally:
        config.policy = before
