"""State dictionaries: what loads, what does not, and the hooks around both."""

from collections import OrderedDict

import pytest

pytest.importorskip("torch")

from tests.parity.scenarios import Scenarios, attempt, check, make_net  # noqa: E402

SCENARIOS = Scenarios()


@SCENARIOS.add
def load_errors(lib):
    net = make_net(lib)
    state = net.state_dict()
    yield str(net.load_state_dict(state)), repr(net.load_state_dict(state))
    broken = OrderedDict(state)
    del broken["extra"], broken["head.1.weight"]
    broken["other"] = lib.ones(1)
    broken["blocks.0.linear.more"] = lib.ones(1)
    yield attempt(net.load_state_dict, broken)
    yield str(attempt(net.load_state_dict, broken, strict=False))
    broken["blocks.0.linear.weight"] = lib.ones(4, 3)
    broken["blocks.1.linear.bias"] = 3
    yield attempt(net.load_state_dict, broken)
    yield attempt(net.load_state_dict, broken, strict=False)
    yield attempt(net.load_state_dict, [1])
    yield attempt(lib.nn.Linear(2, 2).load_state_dict, {})
    result = lib.nn.Linear(2, 2).load_state_dict({}, strict=False)
    yield result.missing_keys, result.unexpected_keys


@SCENARIOS.add
def load_values(lib):
    net, other = make_net(lib), make_net(lib)
    with lib.no_grad():
        for param in other.parameters():
            param.mul_(2)
    before = net.extra
    net.load_state_dict(other.state_dict())
    yield net.extra is before, net.extra, net.head[1].weight
    state = {key: value.double() for key, value in other.state_dict().items()}
    net.load_state_dict(state)
    yield str(net.extra.dtype)
    net.load_state_dict(state, assign=True)
    yield (
        str(net.extra.dtype),
        net.extra is before,
        net.extra.requires_grad,
        type(net.extra).__name__,
    )
    kept = net.state_dict(keep_vars=True)
    yield kept["extra"] is net.extra, net.state_dict()["extra"].requires_grad
    yield list(net.state_dict(prefix="model.")), list(net.state_dict(destination={"a": 1}))
    scalar = lib.nn.Module()
    scalar.register_buffer("x", lib.tensor(3.0))
    scalar.load_state_dict({"x": lib.tensor([5.0])})
    yield scalar.x


@SCENARIOS.add
def extra_state(lib):
    class Stateful(lib.nn.Module):
        def __init__(self):
            super().__init__()
            self.count = 3

        def get_extra_state(self):
            return {"count": self.count}

        def set_extra_state(self, state):
            self.count = state["count"]

    module = Stateful()
    state = module.state_dict()
    module.count = 0
    yield list(state), str(module.load_state_dict(state)), module.count
    yield attempt(module.load_state_dict, {})
    yield attempt(lib.nn.Linear(1, 1).load_state_dict, {"_extra_state": 1})


@SCENARIOS.add
def state_hooks(lib):
    net, seen = make_net(lib), []
    net.register_state_dict_pre_hook(lambda m, prefix, keep: seen.append(("pre", prefix, keep)))

    def post(module, state, prefix, metadata):
        seen.append(("post", prefix, metadata["version"]))
        state["added"] = lib.ones(1)

    net.register_state_dict_post_hook(post)
    state = net.state_dict()
    yield list(state), seen
    yield attempt(net._register_state_dict_hook, post)
    net._register_state_dict_hook(lambda m, s, p, meta: {"only": 1})
    yield list(net.state_dict())
    other = lib.nn.Linear(2, 2)
    other.register_state_dict_post_hook(lambda *args: {})
    yield attempt(other.state_dict)

    def pre_load(module, state, prefix, metadata, strict, missing, unexpected, errors):
        seen.append(("load", type(module).__name__, prefix, strict))
        state.pop("added", None)

    def post_load(module, keys):
        seen.append(("loaded", list(keys.missing_keys), list(keys.unexpected_keys)))
        keys.missing_keys.clear()

    net.register_load_state_dict_pre_hook(pre_load)
    handle = net.register_load_state_dict_post_hook(post_load)
    state = OrderedDict(state)
    del state["extra"]
    yield str(net.load_state_dict(state)), sorted(state), seen
    handle.remove()
    yield attempt(net.load_state_dict, state)
    net.register_load_state_dict_post_hook(lambda module, keys: 3)
    yield attempt(net.load_state_dict, state)


@pytest.mark.parametrize("run", SCENARIOS, ids=lambda run: run.__name__)
def test_scenario(run):
    check(run)
