"""What all optimizers share: groups, state, hooks, checkpoints, failures."""

import copy
import pickle

import numpy as np
import pytest

from dynjax.engine.explain import explain
from dynjax.optim import SGD, Adam, AdamW, Optimizer
from dynjax.optim import optimizer as module
from dynjax.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
    required,
)
from tests.interrupts import interrupted_at
from tests.optim.helpers import give, numpy, parameter, parameters


class Plain(Optimizer):
    """As a user writes one."""

    def __init__(self, params, lr=required):
        super().__init__(params, {"lr": lr})

    def step(self, closure=None):
        for group in self.param_groups:
            for param in group["params"]:
                param.data._set_host(numpy(param) - group["lr"] * numpy(param.grad))
        return "done"


def test_groups_take_defaults_and_keep_their_own_options():
    a, b, c = parameters((2,), (3,), ())
    optimizer = SGD([{"params": [a, b]}, {"params": c, "lr": 0.5}], lr=0.1, momentum=0.9)
    first, second = optimizer.param_groups
    assert first["params"] == [a, b] and second["params"] == [c]
    assert (first["lr"], second["lr"], second["momentum"]) == (0.1, 0.5, 0.9)
    (d,) = parameters((4,))
    optimizer.add_param_group({"params": [d], "momentum": 0})
    assert optimizer.param_groups[2]["lr"] == 0.1


def test_names_are_kept_and_saved():
    a, b = parameters((2,), (3,))
    optimizer = SGD([("a", a), ("b", b)])
    assert optimizer.param_groups[0]["param_names"] == ["a", "b"]
    assert optimizer.param_groups[0]["params"] == [a, b]
    saved = optimizer.state_dict()
    assert saved["param_groups"][0]["param_names"] == ["a", "b"]
    other = SGD(parameters((2,), (3,)))
    other.load_state_dict(saved)
    assert other.param_groups[0]["param_names"] == ["a", "b"]
    plain = SGD(parameters((2,), (3,))).state_dict()
    optimizer.load_state_dict(plain)
    assert optimizer.param_groups[0]["param_names"] == ["a", "b"]


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        (lambda p, q: p, TypeError, "should be an iterable of Tensors or dicts, but got"),
        (lambda p, q: [], ValueError, "optimizer got an empty parameter list"),
        (lambda p, q: [3], TypeError, "one of the params is int"),
        (lambda p, q: [{"params": {p, q}}], TypeError, "need to be organized in ordered"),
        (lambda p, q: [{"params": p}, [q]], TypeError, "param_group must be a dict, but got"),
        (lambda p, q: [("p", p), q], ValueError, "Some param names are missing"),
        (
            lambda p, q: [{"params": [p]}, {"params": [("q", q)]}],
            ValueError,
            "cannot add param group with names to the optimizer",
        ),
        (
            lambda p, q: [{"params": p}, {"params": p}],
            ValueError,
            "some parameters appear in more than one parameter group",
        ),
    ],
)
def test_bad_parameters(params, error, message):
    with pytest.raises(error, match=message):
        SGD(params(*parameters((2,), (2,))))


def test_a_failed_add_param_group_adds_nothing():
    a, b = parameters((2,), (3,))
    optimizer = SGD([a])
    with pytest.raises(ValueError, match="more than one parameter group"):
        optimizer.add_param_group({"params": [b, a]})
    assert len(optimizer.param_groups) == 1


def test_required_option():
    assert repr(required) == "<required parameter>"
    with pytest.raises(ValueError, match="required optimization parameter lr"):
        Plain(parameters((2,)))
    assert Plain([{"params": parameters((2,)), "lr": 1.0}]).param_groups[0]["lr"] == 1.0


@pytest.mark.parametrize("make", [lambda p: SGD(p, lr=1.0), lambda p: Adam(p, lr=0.1)])
def test_duplicates_warn_and_are_updated_twice(make):
    (param,) = parameters((3,))
    (single,) = parameters((3,))
    with pytest.warns(UserWarning, match="a parameter group with duplicate parameters"):
        optimizer = make([param, param])
    optimizer.step()
    once = make([single])
    once.step()
    once.step()
    np.testing.assert_allclose(numpy(param), numpy(single), rtol=1e-6)


def test_parameters_without_gradient_are_skipped():
    a, b = parameters((2,), (3,))
    b.grad = None
    before = numpy(b)
    for optimizer in (SGD([a, b], momentum=0.9), Adam([a, b])):
        optimizer.step()
        assert a in optimizer.state and b not in optimizer.state
    np.testing.assert_array_equal(numpy(b), before)


def test_nothing_to_do():
    (a,) = parameters((2,))
    a.grad = None
    optimizer = Adam([a])
    assert optimizer.step() is None
    assert not optimizer.state


@pytest.mark.parametrize("cls", [SGD, Adam])
def test_empty_tensors(cls):
    params = parameters((0,), (2, 0))
    cls(params).step()
    assert params[1].shape == (2, 0)


def test_closure_is_evaluated_first_and_returned():
    (param,) = parameters((1,))
    param.grad = None
    optimizer = SGD([param], lr=1.0)

    def closure():
        give(param, 2.0)
        return "loss"

    before = numpy(param)
    assert optimizer.step(closure) == "loss"
    np.testing.assert_allclose(numpy(param), before - 2.0)


def test_a_failing_closure_changes_nothing():
    (param,) = parameters((1,))
    optimizer = Adam([param])
    before = numpy(param)
    with pytest.raises(ZeroDivisionError):
        optimizer.step(lambda: 1 / 0)
    np.testing.assert_array_equal(numpy(param), before)
    assert not optimizer.state


def test_zero_grad():
    a, b = parameters((2,), (3,))
    b.grad = None
    optimizer = SGD([a, b])
    grad = a.grad
    optimizer.zero_grad(set_to_none=False)
    assert a.grad is grad and b.grad is None
    np.testing.assert_array_equal(numpy(grad), [0, 0])
    optimizer.zero_grad()
    assert a.grad is None


def test_step_hooks_run_in_torchs_order_and_may_change_arguments():
    (param,) = parameters((2,))
    optimizer = SGD([param])
    calls = []

    def note(name, result=None):
        def hook(self, args, kwargs):
            assert self is optimizer and args[0] is optimizer
            calls.append(name)
            return result

        return hook

    handles = [
        register_optimizer_step_pre_hook(note("global pre")),
        register_optimizer_step_post_hook(note("global post")),
        optimizer.register_step_pre_hook(note("pre", ((optimizer, lambda: "loss"), {}))),
        optimizer.register_step_post_hook(note("post")),
    ]
    try:
        assert optimizer.step() == "loss"
    finally:
        for handle in handles:
            handle.remove()
    assert calls == ["global pre", "pre", "post", "global post"]
    optimizer.step()
    assert len(calls) == 4

    optimizer.register_step_pre_hook(note("bad", 3))
    with pytest.raises(RuntimeError, match=r"must return None or a tuple of \(new_args"):
        optimizer.step()


def test_a_users_optimizer_gets_hooks_and_a_flush(monkeypatch):
    (param,) = parameters((2,))
    optimizer = Plain([param], lr=0.5)
    calls = []
    monkeypatch.setattr(module, "flush", lambda: calls.append("flush"))
    optimizer.register_step_post_hook(lambda *_: calls.append("post"))
    expected = numpy(param) - 0.5 * numpy(param.grad)
    assert optimizer.step() == "done"
    assert calls == ["post", "flush"]
    np.testing.assert_allclose(numpy(param), expected)


def test_base_class_has_no_step():
    optimizer = Optimizer(parameters((2,)), {})
    with pytest.raises(NotImplementedError):
        optimizer.step()


def test_repr():
    optimizer = SGD([{"params": parameters((2,)), "lr": 0.5}, {"params": parameters((2,))}])
    assert repr(optimizer).startswith(
        "SGD (\nParameter Group 0\n    dampening: 0\n    differentiable: False\n"
    )
    assert repr(optimizer).endswith("    nesterov: False\n    weight_decay: 0\n)")
    assert "\n    lr: 0.5\n" in repr(optimizer) and "\n\nParameter Group 1\n" in repr(optimizer)


def run(optimizer, params, steps=3, seed=1):
    draw = np.random.default_rng(seed).standard_normal
    for _ in range(steps):
        for param in params:
            give(param, draw(param.shape))
        optimizer.step()


OPTIMIZERS = [
    lambda p: SGD(p, lr=0.1),
    lambda p: SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    lambda p: Adam(p, lr=0.1, amsgrad=True),
    lambda p: AdamW(p, lr=0.1),
]


@pytest.mark.parametrize("make", OPTIMIZERS)
@pytest.mark.parametrize("how", ["state_dict", "pickled state_dict", "pickle", "deepcopy"])
def test_saved_and_loaded_optimizers_go_on_the_same_way(make, how):
    params = parameters((2, 3), (3,))
    optimizer = make(params)
    run(optimizer, params)
    if how == "deepcopy":
        other = copy.deepcopy(optimizer)
        others = other.param_groups[0]["params"]
    elif how == "pickle":
        other = pickle.loads(pickle.dumps(optimizer))
        others = other.param_groups[0]["params"]
    else:
        others = copy.deepcopy(params)
        other = make(others)
        saved = optimizer.state_dict()
        other.load_state_dict(
            copy.deepcopy(saved) if how == "state_dict" else pickle.loads(pickle.dumps(saved))
        )
    for p, q in zip(params, others):
        assert p is not q
    run(optimizer, params, seed=2)
    run(other, others, seed=2)
    for p, q in zip(params, others):
        np.testing.assert_array_equal(numpy(p), numpy(q))
    assert set(other.state) == (set(others) if optimizer.state else set())


def test_state_dict_counts_parameters_through_groups():
    a, b, c = parameters((2,), (3,), ())
    optimizer = Adam([{"params": [a, b]}, {"params": [c]}])
    b.grad = None
    optimizer.step()
    saved = optimizer.state_dict()
    assert [group["params"] for group in saved["param_groups"]] == [[0, 1], [2]]
    assert list(saved["state"]) == [0, 2]
    assert saved["state"][0]["exp_avg"] is optimizer.state[a]["exp_avg"]


def test_state_dict_hooks():
    (param,) = parameters((2,))
    optimizer = SGD([param])
    calls = []
    optimizer.register_state_dict_pre_hook(lambda self: calls.append("second"))
    optimizer.register_state_dict_pre_hook(lambda self: calls.append("first"), prepend=True)
    handle = optimizer.register_state_dict_post_hook(lambda self, state: {"state": state})
    assert list(optimizer.state_dict()) == ["state"] and calls == ["first", "second"]
    handle.remove()
    saved = optimizer.state_dict()
    optimizer.register_load_state_dict_pre_hook(lambda self, state: {**state, **saved})
    optimizer.register_load_state_dict_post_hook(lambda self: calls.append("loaded"))
    optimizer.load_state_dict({"param_groups": []})
    assert calls[-1] == "loaded"


@pytest.mark.parametrize("shapes", [[(2,)], [(2,), (3,), (4,)]])
def test_a_state_that_does_not_fit_changes_nothing(shapes):
    params = parameters((2,), (3,))
    optimizer = Adam(params, lr=0.1)
    run(optimizer, params)
    state, groups = optimizer.state, optimizer.param_groups
    with pytest.raises(ValueError, match="doesn't match the size of optimizer's group"):
        optimizer.load_state_dict(Adam(parameters(*shapes)).state_dict())
    with pytest.raises(ValueError, match="different number of parameter groups"):
        optimizer.load_state_dict({"state": {}, "param_groups": []})
    assert optimizer.state is state and optimizer.param_groups is groups


def test_loaded_tensors_are_cast_to_the_parameter_but_counts_are_not():
    params = parameters((2,))
    optimizer = Adam(params)
    run(optimizer, params)
    half = parameter([1.0, 2.0], np.float16)
    other = Adam([half])
    other.load_state_dict(optimizer.state_dict())
    state = other.state[half]
    assert state["exp_avg"].dtype is half.dtype
    assert state["step"].dtype is params[0].dtype


def test_numpy_arrays_load_as_tensors():
    params = parameters((2,))
    optimizer = Adam(params)
    run(optimizer, params)
    saved = optimizer.state_dict()
    saved["state"] = {
        0: {name: np.array(numpy(value)) for name, value in saved["state"][0].items()}
    }
    others = copy.deepcopy(params)
    other = Adam(others)
    other.load_state_dict(saved)
    run(optimizer, params)
    run(other, others)
    np.testing.assert_array_equal(numpy(params[0]), numpy(others[0]))


def test_after_an_update_that_failed_to_run_the_next_one_takes_the_count_that_shows(monkeypatch):
    from dynjax.engine import executor

    params = parameters((2,), (3,))
    optimizer = Adam(params, lr=0.1)
    run(optimizer, params)

    def fail(*args):
        raise RuntimeError("no more memory")

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="no more memory"):
        patch.setattr(executor, "call", fail)
        patch.setattr(executor, "salvage", salvage_by_keeping)
        optimizer.step()
    others = copy.deepcopy(params)
    other = Adam(others, lr=0.1)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    run(optimizer, params)
    run(other, others)
    assert_same(snapshot(optimizer, params), snapshot(other, others))


def salvage_by_keeping(trace, live, leaves, error):
    """As if no operation could be run: what would be updated stays."""
    from dynjax.engine.executor import _close

    old = {index: value.array for value, index in trace.leaves.items()}
    (update,) = [step for step in trace.path() if step.kernel and step.kernel.updates]
    for k, index in enumerate(range(update.base, update.n)):
        for value in live:
            if value.idx == index:
                value.array, value.trace = old[update.refs[k]], None
    _close(trace)
    raise error


def snapshot(optimizer, params):
    state = {
        i: {name: numpy(value) for name, value in optimizer.state[param].items()}
        for i, param in enumerate(params)
        if param in optimizer.state
    }
    return [numpy(param) for param in params], state


def assert_same(one, other):
    for a, b in zip(one[0], other[0], strict=True):
        np.testing.assert_array_equal(a, b)
    assert one[1].keys() == other[1].keys()
    for i in one[1]:
        assert one[1][i].keys() == other[1][i].keys()
        for name in one[1][i]:
            np.testing.assert_array_equal(one[1][i][name], other[1][i][name])


@pytest.mark.parametrize("make", OPTIMIZERS[1:])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("steps", [0, 2])
def test_an_interrupted_step_has_happened_or_not(make, when, steps, monkeypatch):
    """Interrupted before its operation is recorded, a step leaves no trace; after, it is whole."""
    from dynjax.autograd.multi_tensor import MultiTensor

    params, others = parameters((2,), (3,)), parameters((2,), (3,))
    optimizer, other = make(params), make(others)
    run(optimizer, params, steps)
    run(other, others, steps)

    run_operation = MultiTensor.run

    def interrupted(*args):
        if when == "after":
            run_operation(*args)
        raise KeyboardInterrupt

    if when == "after":
        other.step() if steps else run(other, others, 1)
    with monkeypatch.context() as patch:
        patch.setattr(MultiTensor, "run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            optimizer.step() if steps else run(optimizer, params, 1)
    if when == "before" and not steps:
        assert not any(optimizer.state.values())
    else:
        assert_same(snapshot(optimizer, params), snapshot(other, others))
    run(optimizer, params, 2, seed=5)
    run(other, others, 2, seed=5)
    assert_same(snapshot(optimizer, params), snapshot(other, others))


def test_two_groups_of_which_one_fails(monkeypatch):
    """What was recorded before the failure stays, with its state."""
    a, b = parameters((2,), (3,))
    optimizer = Adam([{"params": [a]}, {"params": [b], "eps": "wrong"}])
    before = numpy(b)
    with pytest.raises(ValueError):
        optimizer.step()
    assert float(optimizer.state[a]["step"]) == 1.0
    assert not optimizer.state[b]
    np.testing.assert_array_equal(numpy(b), before)
    optimizer.param_groups[1]["eps"] = 1e-8
    optimizer.step()
    assert float(optimizer.state[a]["step"]) == 2.0
    assert float(optimizer.state[b]["step"]) == 1.0


@pytest.mark.parametrize("make", OPTIMIZERS)
def test_a_schedule_compiles_nothing_anew(make):
    params = parameters((2, 3), (3,))
    optimizer = make(params)
    run(optimizer, params, 3)
    with explain() as compiles:
        for i in range(5):
            for group in optimizer.param_groups:
                group["lr"] = 0.1 / (i + 1)
                group["weight_decay"] = group["weight_decay"] / 2
            run(optimizer, params, 1, seed=i)
    assert not compiles


@pytest.mark.parametrize("make", OPTIMIZERS[1:])
@pytest.mark.parametrize("steps", [0, 2])
def test_interrupted_at_any_line_a_step_has_happened_or_not(make, steps):
    shapes = (2,), (3,)
    trajectory = []
    params = parameters(*shapes)
    optimizer = make(params)
    for _ in range(steps + 3):
        trajectory.append(snapshot(optimizer, params))
        optimizer.step()
    line, interrupted = 0, True
    outcomes = set()
    while interrupted:
        line += 1
        params = parameters(*shapes)
        optimizer = make(params)
        for _ in range(steps):
            optimizer.step()
        interrupted = interrupted_at(line, optimizer.step, ["optim"])
        state = optimizer.state
        for param in [param for param in state if not state[param]]:
            del state[param]
        now = snapshot(optimizer, params)
        done = steps + (not np.array_equal(now[0][0], trajectory[steps][0][0]))
        outcomes.add(done)
        assert_same(now, trajectory[done])
        optimizer.step()
        assert_same(snapshot(optimizer, params), trajectory[done + 1])
    assert line > 20 and outcomes == {steps, steps + 1}
