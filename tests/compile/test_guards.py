"""`dynjax.compile`: what a replay would miss is noticed; nothing else is done silently."""

import collections
import gc
import random
import sys
import threading
import time
import warnings

import jax
import numpy as np
import pytest

import dynjax as torch
from dynjax import nn
from dynjax.engine.capture import Unsupported

SCALE = 2.0
SETTINGS = {"scale": 2.0, "other": [1, 2]}
LOG = []


class Settings:
    default = 2.0

    def __init__(self):
        self.scale, self.unread = 2.0, 0


OBJECT = Settings()


@pytest.fixture(autouse=True)
def restored():
    yield
    global SCALE
    SCALE = 2.0
    SETTINGS["scale"] = 2.0
    OBJECT.__init__()
    Settings.default = 2.0
    LOG.clear()


def set_global(value):
    global SCALE
    SCALE = value


def by_global(x):
    return x * SCALE


def by_dict(x):
    return x * SETTINGS["scale"]


def by_attribute(x):
    return x * OBJECT.scale


def by_class(x):
    return x * OBJECT.default


def by_getattr(x):
    return x * getattr(OBJECT, "sc" + "ale")


def helper(x):
    return x * SCALE


def by_helper(x):
    return helper(x)


CASES = {
    "global": (by_global, set_global),
    "dict": (by_dict, lambda v: SETTINGS.update(scale=v)),
    "attribute": (by_attribute, lambda v: setattr(OBJECT, "scale", v)),
    "class attribute": (by_class, lambda v: setattr(Settings, "default", v)),
    "getattr": (by_getattr, lambda v: setattr(OBJECT, "scale", v)),
    "function called": (by_helper, set_global),
}


@pytest.mark.parametrize("body, change", CASES.values(), ids=CASES.keys())
def test_python_values_that_were_read_are_guarded(body, change):
    f = torch.compile(body)
    x = torch.ones(1)
    assert [f(x).item() for _ in range(2)] == [2, 2]
    change(5.0)
    assert [f(x).item() for _ in range(2)] == [5, 5]
    change(2.0)
    assert f(x).item() == 2


def test_closure_cells_and_defaults_are_guarded():
    scale = 2.0

    def f(x, shift=0.0):
        return x * scale + shift

    compiled = torch.compile(f)
    assert [compiled(torch.ones(1)).item() for _ in range(2)] == [2, 2]
    scale = 3.0
    assert compiled(torch.ones(1)).item() == 3
    assert compiled(torch.ones(1), 1.0).item() == 4


def test_values_that_were_not_read_are_not_guarded():
    f = torch.compile(by_attribute, fullgraph=True)
    for k in range(30):
        OBJECT.unread = k
        assert f(torch.ones(1)).item() == 2
    (cell,) = f._cells.values()
    assert len(cell.parts) == 1


def test_a_global_of_the_name_of_a_method_is_not_read():
    scope = {"torch": torch}
    exec("def f(x):\n    return x.sum()", scope)
    f = torch.compile(scope["f"], fullgraph=True)
    for k in range(12):
        scope["sum"] = k
        assert f(torch.ones(2)).item() == 2
    (cell,) = f._cells.values()
    assert len(cell.parts) == 1


def test_what_is_put_in_place_of_a_function_of_the_library_is_guarded(monkeypatch):
    @torch.compile
    def body(x):
        return nn.functional.relu(x) + 1

    x = torch.tensor([-1.0, 2.0])
    for _ in range(3):
        assert body(x).tolist() == [1.0, 3.0]
    monkeypatch.setattr(nn.functional, "relu", lambda x: x * SETTINGS["scale"])
    for _ in range(3):
        assert body(x).tolist() == [-1.0, 5.0]
    SETTINGS["scale"] = 10.0
    assert body(x).tolist() == [-9.0, 21.0]


def test_guards_do_not_go_through_the_library():
    @torch.compile
    def body(x):
        return nn.functional.gelu(x) + nn.functional.silu(x)

    x = torch.tensor([-1.0, 2.0])
    for _ in range(3):
        body(x)
    (cell,) = body._cells.values()
    assert len(cell.parts[0].guards.entries) < 10


def test_module_attributes_parameters_and_hooks_are_guarded():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear, self.scale = nn.Linear(2, 1, bias=False), 1.0

        def forward(self, x):
            return self.linear(x) * self.scale

    model = Model()
    f = torch.compile(model)
    x = torch.ones(1, 2)

    def both():
        f(x)
        return f(x).item() == model(x).item()

    assert both()
    model.scale = 3.0
    assert both()
    model.linear.weight = nn.Parameter(torch.full((1, 2), 7.0))
    assert both() and f(x).item() == 42
    model.linear = nn.Linear(2, 1)
    assert both()
    handle = model.linear.register_forward_hook(lambda module, args, out: out + 100)
    assert both() and f(x).item() > 90
    handle.remove()
    assert both() and f(x).item() < 90


def test_a_modules_empty_dictionaries_are_guarded_as_such():
    model = nn.Linear(2, 1, bias=False)
    f = torch.compile(model)
    x, calls = torch.ones(1, 2), []

    def hook(module, args, out):
        calls.append(1)

    f(x), f(x)
    (cell,) = f.__dict__["_compiled"]._cells.values()
    model._forward_hooks = collections.OrderedDict()  # empty as it was
    f(x)
    assert len(cell.parts) == 1 and not calls
    model._forward_hooks = collections.OrderedDict({0: hook})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the list that the hook appends to
        f(x)
    assert calls


def test_a_modules_dictionary_that_something_else_reads_is_guarded_there_too():
    model = nn.Linear(2, 1, bias=False)
    held = {"hooks": model._forward_hooks}

    @torch.compile
    def f(x):
        return model(x) * (1 if held["hooks"] is None else 2)

    x = torch.ones(1, 2)
    twice = f(x).item()
    held["hooks"] = None
    assert f(x).item() == twice / 2


class Compared:
    """Says by which of its methods it is equal, and is never asked."""

    def __init__(self, value):
        self.value = value

    def __eq__(self, other):
        return True

    __hash__ = object.__hash__

    def used(self):
        return self.value

    def unused(self):
        return self.value + UNREAD


UNREAD = 1


def test_methods_that_did_not_run_are_not_guarded(monkeypatch):
    held = Compared(2.0)

    @torch.compile(fullgraph=True)
    def f(x):
        return x * held.used() if x.dim() else x * held.unused()

    x = torch.ones(2)
    for _ in range(2):
        f(x)
    (cell,) = f._cells.values()
    names = [entry.name for entry in cell.parts[0].guards.entries]
    assert "Compared.used" in names
    assert not [
        name for name in names if "__eq__" in name or "__init__" in name or "UNREAD" in name
    ]
    monkeypatch.setattr(Compared, "__eq__", lambda self, other: False)
    f(x)
    assert len(cell.parts) == 1
    monkeypatch.setattr(Compared, "used", lambda self: 5.0)
    assert f(x).tolist() == [5, 5]


def test_hooks_of_parameters_are_guarded():
    w = nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([w], lr=0.25)

    @torch.compile(fullgraph=True)
    def step(x):
        optimizer.zero_grad()
        (w * x).sum().backward()
        optimizer.step()

    for _ in range(2):
        step(torch.ones(2))
    assert w.tolist() == [0.5, 0.5]
    handle = w.register_hook(lambda g: g * 2)
    for _ in range(2):
        step(torch.ones(2))
    assert w.tolist() == [-0.5, -0.5]
    handle.remove()
    step(torch.ones(2))
    assert w.tolist() == [-0.75, -0.75]


def test_a_tensor_is_an_input_however_it_changes():
    w = torch.ones(2)
    f = torch.compile(lambda x: (x * w).sum())
    x = torch.ones(2)
    assert f(x).item() == 2
    w.add_(1)
    assert f(x).item() == 4
    w.data = torch.full((2,), 5.0)
    assert f(x).item() == 10
    w.requires_grad_()
    assert f(x).requires_grad


# --- side effects


def prints(x):
    print("hello")
    return x + 1


def appends(x):
    LOG.append(1)
    return x + 1


def keeps(x):
    LOG.append(x + 1)
    return x + 1


def counts(x):
    OBJECT.unread = OBJECT.unread + 1
    return x + OBJECT.unread


def stores(x):
    OBJECT.last = x * 2
    return x + 1


def draws(x):
    return x * random.random()


def draws_numpy(x):
    return x * float(np.random.rand())


def draws_ours(x):
    return x + torch.rand(1)


RNG = np.random.default_rng(0)


def draws_generator(x):
    return x * RNG.random()


def clocks(x):
    return x + time.perf_counter()


def writes(x):
    with open("/dev/null", "w") as file:
        file.write("x")
    return x + 1


def observes(x):
    return x + x.sum().item()


def branches(x):
    return x + 1 if x.sum() > 0 else x - 1


EFFECTS = {
    prints: "print",
    appends: "append",
    keeps: "append",
    draws: "random",
    draws_numpy: "rand",
    draws_generator: "RNG",
    draws_ours: "draws random numbers on the host",
    clocks: "perf_counter",
    writes: "open",
    observes: "reads a tensor's value",
    branches: "reads a tensor's value",
}


@pytest.mark.parametrize("body, what", EFFECTS.items(), ids=[f.__name__ for f in EFFECTS])
def test_effects_are_named_and_refused_with_fullgraph(body, what):
    f = torch.compile(body, fullgraph=True)
    line = body.__code__.co_firstlineno
    with pytest.raises(Unsupported, match=f"{body.__name__}.*{what}.*test_guards.py:") as error:
        f(torch.ones(2))
    recorded = int(str(error.value).split("test_guards.py:")[1].split()[0])
    assert line <= recorded <= line + 3


@pytest.mark.parametrize("body, what", EFFECTS.items(), ids=[f.__name__ for f in EFFECTS])
def test_effects_make_calls_ordinary_with_one_warning(body, what, capsys):
    f = torch.compile(body)
    with pytest.warns(UserWarning, match=f"{body.__name__}.*{what}.*test_guards.py"):
        f(torch.ones(2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(2):
            f(torch.ones(2))
    assert capsys.readouterr().out.count("hello") == (3 if body is prints else 0)
    assert len(LOG) == (3 if body in (appends, keeps) else 0)


def test_what_an_import_runs_is_no_effect(monkeypatch, tmp_path):
    """It happens once in a process, whoever asks first; import hooks may do anything."""
    import os
    import sys

    (tmp_path / "imported_once.py").write_text("factor = 3.0\n")

    class Hook:
        def find_spec(self, name, path=None, target=None):
            os.stat(os.fspath(tmp_path))

    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "meta_path", [Hook(), *sys.meta_path])

    def body(x):
        import imported_once

        return x * imported_once.factor

    assert torch.compile(body, fullgraph=True)(torch.ones(2)).tolist() == [3.0, 3.0]
    del sys.modules["imported_once"]


@pytest.mark.parametrize("body", [counts, stores])
def test_attributes_that_change_each_time_make_calls_ordinary(body):
    f = torch.compile(body)
    with pytest.warns(UserWarning, match="changes .*unread|changes .*last|keeps a tensor"):
        got = [f(torch.ones(1)).item() for _ in range(4)]
    if body is counts:
        assert got == [2, 3, 4, 5] and OBJECT.unread == 4
    else:
        assert OBJECT.last.item() == 2


def test_a_cache_that_is_filled_once_is_not_in_the_way():
    cache = {}

    def f(x):
        if "mask" not in cache:
            cache["mask"] = torch.ones(2) * 3
        return x * cache["mask"]

    compiled = torch.compile(f, fullgraph=True)
    for _ in range(4):
        assert compiled(torch.ones(2)).tolist() == [3, 3]
    (cell,) = compiled._cells.values()
    assert len(cell.parts) == 1


def test_what_is_made_inside_may_change():
    def f(x):
        parts, names = [], {}
        for k in range(3):
            parts.append(x * k)
            names[k] = collections.deque([k])
        names.update(last=3)
        return sum(parts)

    compiled = torch.compile(f, fullgraph=True)
    assert [compiled(torch.ones(1)).item() for _ in range(2)] == [3, 3]


def test_an_outside_iterator_is_refused():
    numbers = iter(range(10))
    f = torch.compile(lambda x: x + next(numbers))
    with pytest.warns(UserWarning, match="iterator"):
        assert [f(torch.zeros(1)).item() for _ in range(3)] == [0, 1, 2]


def test_a_refused_call_leaves_everything_as_it_was():
    total = torch.zeros(2)

    @torch.compile(fullgraph=True)
    def f(x):
        total.add_(x)
        if total.sum() > 0:
            return total
        return x

    torch.manual_seed(0)
    counter = torch.default_generator.counter
    with pytest.raises(Unsupported, match="breaks the graph"):
        f(torch.ones(2))
    assert total.tolist() == [0, 0] and total._version == 0
    assert torch.default_generator.counter == counter


def test_a_broken_graph_computes_what_it_should():
    total = torch.zeros(2)

    @torch.compile
    def f(x):
        total.add_(x)
        if total.sum() > 3:
            return total * 10
        return total * 1

    with pytest.warns(UserWarning, match="breaks the graph"):
        got = [f(torch.ones(2)).tolist() for _ in range(3)]
    assert got == [[1, 1], [20, 20], [30, 30]]


def test_too_many_recordings_of_one_signature_end_it():
    f = torch.compile(by_global)
    with pytest.warns(UserWarning, match="SCALE is .*, was"):
        for k in range(12):
            set_global(float(k + 2))
            assert f(torch.ones(1)).item() == k + 2


# --- the checking mode


def test_checking_finds_what_no_guard_sees():
    data = np.ones(2, np.float32)

    def f(x):
        return x * torch.from_numpy(data)

    plain, checked = torch.compile(f), torch.compile(f, mode="check")
    x = torch.ones(2)
    for g in (plain, checked):
        assert [g(x).tolist() for _ in range(2)] == [[1, 1], [1, 1]]
    data[0] = 7
    assert plain(x).tolist() == [1, 1]
    with pytest.raises(RuntimeError, match="a constant of shape \\(2,\\) has other values"):
        checked(x)


def test_checking_finds_another_operation():
    kinds = np.zeros(1)

    def f(x):
        return x.sin() if kinds[0] == 0 else x.cos()

    f = torch.compile(f)
    torch.config.check_compiled = True
    try:
        for _ in range(2):
            f(torch.ones(2))
        kinds[0] = 1
        with pytest.raises(RuntimeError, match="operation 0 is cos, was sin .*test_guards.py"):
            f(torch.ones(2))
    finally:
        torch.config.check_compiled = False


def test_a_training_step_passes_the_check():
    model = nn.Sequential(nn.Linear(2, 3), nn.Dropout(0.5), nn.Linear(3, 1))
    optimizer = torch.optim.Adam(model.parameters())

    @torch.compile(mode="check")
    def step(x):
        optimizer.zero_grad()
        loss = model(x).square().mean()
        loss.backward()
        optimizer.step()
        return loss

    losses = [step(torch.ones(4, 2)).item() for _ in range(5)]
    assert len(set(losses)) == 5
    assert optimizer.state[model[0].weight]["step"].item() == 5


def test_the_check_does_not_depend_on_when_the_collector_ran():
    """Python's collector lists the young before the old, and a collection makes them old."""
    old = torch.zeros(2)
    gc.collect()
    young = torch.zeros(3)

    @torch.compile(mode="check")
    def step(x):
        old.add_(x)
        young.add_(x)

    gc.disable()
    try:
        for _ in range(2):
            step(torch.ones(()))
    finally:
        gc.enable()
    gc.collect()
    step(torch.ones(()))
    assert old.tolist() == [3, 3]
    assert young.tolist() == [3, 3, 3]


def test_what_listens_to_the_collector_or_to_jax_is_no_effect_of_the_function():
    seen = []

    def collected(phase, info):
        seen.append(time.perf_counter())

    def compiled(event, seconds, **_):
        seen.append(event)

    @torch.compile(fullgraph=True)
    def f(x):
        gc.collect(0)
        return x.sin() * 3 + x.cosh()

    gc.callbacks.append(collected)
    jax.monitoring.register_event_duration_secs_listener(compiled)
    try:
        results = [f(torch.zeros(7)).tolist() for _ in range(2)]
    finally:
        gc.callbacks.remove(collected)
        jax.monitoring.unregister_event_duration_listener(compiled)
    assert results == [[1.0] * 7] * 2
    assert len(seen) > 2


def test_recording_leaves_alone_what_other_threads_are_making():
    # A tuple that grows must be known to nobody else, or Python raises SystemError.
    errors, done = [], threading.Event()

    def numbers():
        for k in range(2000):  # in Python, so that threads take turns in between
            yield k + 1

    def make():
        while not done.is_set():
            try:
                tuple(numbers())
            except SystemError as error:
                errors.append(error)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    thread = threading.Thread(target=make)
    thread.start()
    try:
        for k in range(4):
            torch.compile(lambda x, k=k: x * k + 1)(torch.ones(1))
    finally:
        done.set()
        thread.join()
        sys.setswitchinterval(before)
    assert not errors
