"""Optimizers against PyTorch's: checkpoints, that go both ways, and printed forms."""

import copy

import pytest

torch = pytest.importorskip("torch")

from dynjax.tensor.tensor import Tensor, from_host  # noqa: E402
from tests.parity.optimizers import (  # noqa: E402
    MORE,
    OTHERS,
    Pair,
    nested,
    ours,
    outcome,
    theirs,
    to_numpy,
)


@pytest.mark.parametrize(
    ("name", "options"), [*MORE, *OTHERS, ("LBFGS", {"lr": 0.1, "max_iter": 4})]
)
def test_checkpoints_go_both_ways(name, options):
    pair = Pair(name, **options)
    pair.step(3)
    assert structure(pair.ours.state_dict()) == structure(pair.theirs.state_dict())

    # Each side goes on from the other's parameters and state.
    other = Pair(name, seed=1, **options)
    for mine, torchs, new_mine, new_torchs in zip(pair.mine, pair.torchs, other.mine, other.torchs):
        new_mine.data = from_host(to_numpy(torchs))
        new_torchs.data = torch.from_numpy(to_numpy(mine))
    other.ours.load_state_dict(ours(pair.theirs.state_dict()))
    other.theirs.load_state_dict(theirs(copy.deepcopy(pair.ours.state_dict())))
    other.step(3)
    other.check()
    assert structure(other.ours.state_dict()) == structure(other.theirs.state_dict())


def test_pytorchs_state_loads_as_it_is():
    pair = Pair("Adam", amsgrad=True)
    pair.step(2)
    other = Pair("Adam", amsgrad=True)
    other.step(2)
    other.ours.load_state_dict(pair.theirs.state_dict())
    other.step(2)
    other.check()


def structure(value):
    """Keys, types and shapes of a checkpoint, and its numbers."""
    if isinstance(value, dict) and "prev_loss" in value:  # of LBFGS
        value = {**value, "prev_loss": type(value["prev_loss"])}
        value.pop("al", None)  # PyTorch's scratch list
    if isinstance(value, (Tensor, torch.Tensor)):
        return str(value.dtype).rpartition(".")[2], tuple(value.shape)
    return nested(structure, value)


@pytest.mark.parametrize(
    ("name", "options"), [*MORE, *OTHERS, ("LBFGS", {"lr": 0.1, "max_iter": 4})]
)
def test_repr(name, options):
    pair = Pair(name, **options)
    assert repr(pair.ours) == repr(pair.theirs)
    pair.step()
    assert repr(pair.ours) == repr(pair.theirs)
    if name != "LBFGS":  # which has one group
        pair.theirs.add_param_group({"params": [torch.zeros(2, 2)], "lr": 0.5})
        pair.ours.add_param_group({"params": [ours(torch.zeros(2, 2))], "lr": 0.5})
        assert repr(pair.ours) == repr(pair.theirs)


BAD_STATES = [
    lambda s: {**s, "param_groups": []},
    lambda s: {**s, "param_groups": [{**s["param_groups"][0], "params": [0]}]},
    lambda s: {"state": {}},
]


@pytest.mark.parametrize("spoil", BAD_STATES)
def test_errors_of_load_state_dict(spoil):
    pair = Pair("Adam")
    expected = outcome(lambda: pair.theirs.load_state_dict(spoil(pair.theirs.state_dict())))
    assert expected
    assert outcome(lambda: pair.ours.load_state_dict(spoil(pair.ours.state_dict()))) == expected
