"""Saving and loading state."""

from collections import OrderedDict

import numpy as np
import pytest

import dynjax
from dynjax import nn


def make():
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    net.register_buffer("hidden", dynjax.ones(1), persistent=False)
    return net


KEYS = [
    "0.weight",
    "0.bias",
    "1.weight",
    "1.bias",
    "1.running_mean",
    "1.running_var",
    "1.num_batches_tracked",
]


def values(net):
    return {key: value.tolist() for key, value in net.state_dict().items()}


def test_keys_and_metadata():
    state = make().state_dict()
    assert type(state) is OrderedDict and list(state) == KEYS
    assert state._metadata == {"": {"version": 1}, "0": {"version": 1}, "1": {"version": 2}}
    assert list(make().state_dict(prefix="a.")) == [f"a.{key}" for key in KEYS]


def test_values_share_storage_without_history():
    net = make()
    state = net.state_dict()
    assert not state["0.weight"].requires_grad
    with dynjax.no_grad():
        net[0].weight.fill_(7)
    assert state["0.weight"].tolist() == net[0].weight.tolist()
    assert net.state_dict(keep_vars=True)["0.weight"] is net[0].weight


def test_round_trip_copies_values():
    net, other = make(), make()
    weight = other[0].weight
    result = other.load_state_dict(net.state_dict())
    assert repr(result) == "<All keys matched successfully>"
    assert values(other) == values(net)
    assert other[0].weight is weight and weight.requires_grad
    with dynjax.no_grad():
        net[0].weight.zero_()
    assert values(other) != values(net)


def test_assign_takes_the_tensors_themselves():
    net = make()
    state = {key: value.double() for key, value in make().state_dict().items()}
    net.load_state_dict(state, assign=True)
    assert type(net[0].weight) is nn.Parameter and net[0].weight.requires_grad
    assert net[0].weight.dtype == dynjax.float64
    net.load_state_dict(make().state_dict())
    assert net[0].weight.dtype == dynjax.float64


def test_all_that_does_not_fit_is_told_at_once_and_nothing_changes():
    net = make()
    before = values(net)
    state = {key: value + 1 for key, value in net.state_dict().items()}
    del state["0.bias"]
    state["0.more"] = state["elsewhere.x"] = dynjax.ones(1)
    state["1.weight"] = dynjax.ones(4)
    state["1.bias"] = "text"
    with pytest.raises(RuntimeError) as caught:
        net.load_state_dict(state)
    assert str(caught.value).split("\n\t") == [
        "Error(s) in loading state_dict for Sequential:",
        'Missing key(s) in state_dict: "0.bias". ',
        'Unexpected key(s) in state_dict: "elsewhere.x", "0.more". ',
        f"size mismatch for 1.weight: copying a param with shape {dynjax.Size([4])} from "
        f"checkpoint, the shape in current model is {dynjax.Size([3])}.",
        'While copying the parameter named "1.bias", expected torch.Tensor or Tensor-like object '
        "from checkpoint but received <class 'str'>",
    ]
    assert values(net) == before


def test_a_failed_load_leaves_assigned_tensors_alone():
    net = make()
    members = [net[0].weight, net[1].running_mean]
    state = net.state_dict()
    del state["1.bias"]
    with pytest.raises(RuntimeError, match="Missing key"):
        net.load_state_dict(state, assign=True)
    assert net[0].weight is members[0] and net[1].running_mean is members[1]
    assert net[0].weight.requires_grad


def test_not_strict_loads_what_fits():
    net = make()
    result = net.load_state_dict({"0.bias": dynjax.ones(3), "x": dynjax.ones(1)}, strict=False)
    # A plain dictionary says no version, so the count is taken for one that was not saved yet.
    assert result.missing_keys == [k for k in KEYS if k not in ("0.bias", KEYS[-1])]
    assert result.unexpected_keys == ["x"]
    assert net[0].bias.tolist() == [1.0, 1.0, 1.0]
    with pytest.raises(RuntimeError, match="size mismatch for 0.bias"):
        net.load_state_dict({"0.bias": dynjax.ones(4)}, strict=False)


def test_the_callers_dictionary_stays():
    net = make()
    state = net.state_dict()
    net.register_load_state_dict_pre_hook(lambda module, state, *rest: state.clear())
    with pytest.raises(RuntimeError, match="Missing key"):
        net.load_state_dict(state)
    assert list(state) == KEYS


def test_only_mappings_load():
    with pytest.raises(TypeError, match="Expected state_dict to be dict-like, got <class 'list'>"):
        make().load_state_dict([1])


def test_old_batch_norm_states_have_no_count():
    net, state = make(), make().state_dict()
    del state["1.num_batches_tracked"]
    state._metadata["1"]["version"] = 1
    assert str(net.load_state_dict(state)) == "<All keys matched successfully>"


def test_extra_state():
    class Counter(nn.Module):
        count = 3

        def get_extra_state(self):
            return self.count

        def set_extra_state(self, state):
            self.count = state

    module, other = Counter(), Counter()
    module.count = 5
    assert dict(module.state_dict()) == {"_extra_state": 5}
    other.load_state_dict(module.state_dict())
    assert other.count == 5
    with pytest.raises(RuntimeError, match='Missing key.s. in state_dict: "_extra_state"'):
        other.load_state_dict({})
    with pytest.raises(RuntimeError, match='Unexpected key.s. in state_dict: "_extra_state"'):
        nn.ReLU().load_state_dict({"_extra_state": 1})


def test_hooks_of_saving():
    seen = []
    net = make()
    net.register_state_dict_pre_hook(lambda module, prefix, keep: seen.append((prefix, keep)))
    net.register_state_dict_post_hook(lambda m, state, prefix, meta: state.pop("0.bias"))
    with pytest.raises(RuntimeError, match="state_dict post-hook must return None"):
        net.state_dict()
    assert seen == [("", False)]


def test_hooks_of_loading():
    net, seen = make(), []

    def rename(module, state, prefix, metadata, strict, missing, unexpected, errors):
        state["0.bias"] = state.pop("old")

    def forgive(module, keys):
        seen.append(keys)
        keys.unexpected_keys.clear()

    net.register_load_state_dict_pre_hook(rename)
    net.register_load_state_dict_post_hook(forgive)
    state = net.state_dict()
    state["old"] = state.pop("0.bias") + 1
    state["more"] = dynjax.ones(1)
    net.load_state_dict(state)
    assert net[0].bias.tolist() == state["old"].tolist() and len(seen) == 1


def test_positional_arguments_are_deprecated():
    with pytest.warns(FutureWarning, match="Positional args are being deprecated"):
        assert list(nn.Linear(1, 1).state_dict({}, "a.")) == ["a.weight", "a.bias"]


def test_what_was_loaded_is_a_copy():
    """Neither NumPy's memory nor the tensors loaded from change with the parameters, nor back."""
    memory = np.full((1, 2), 0.5, np.float32)
    source = {"weight": dynjax.full((1, 2), 2.0), "bias": dynjax.zeros(1)}
    for given in (source, {**source, "weight": dynjax.from_numpy(memory)}):
        net = nn.Linear(2, 1)
        net.load_state_dict(given)
        before = given["weight"].tolist()
        optimizer = dynjax.optim.SGD(net.parameters(), lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            net(dynjax.ones(4, 2)).sum().backward()
            optimizer.step()
        assert given["weight"].tolist() == before != net.weight.tolist()
        np.testing.assert_allclose(net.weight.tolist(), np.array(before) - 1.2, rtol=1e-5)
    net.load_state_dict({**source, "weight": dynjax.from_numpy(memory)})
    memory[:] = 9
    assert net.weight.tolist() == [[0.5, 0.5]]


def test_a_view_of_a_loaded_parameter_sees_the_new_values():
    net = nn.Linear(2, 1)
    row = net.weight.detach()[0]
    net.load_state_dict({"weight": dynjax.full((1, 2), 3.0), "bias": dynjax.zeros(1)})
    assert row.tolist() == [3.0, 3.0]
