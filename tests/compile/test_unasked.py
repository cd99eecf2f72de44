"""Modules that a new graph calls again and again become one step each, and nobody can tell."""

import copy
import gc
import os
import pickle
import random
import sys
import threading
import time
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dynjax as torch
from dynjax import nn
from dynjax.compile import unasked
from dynjax.engine.executor import flush
from dynjax.engine.trace import state
from dynjax.engine.trie import lazy_trie
from dynjax.interop.jax import from_function
from dynjax.nn.hooks import register_module_forward_hook

SIZE = 4
LOG = []
SCALE = {"value": 1.0}
TABLE = np.array([1.0, 2.0])


class Cell(nn.Module):
    """A cell of eight operations."""

    def __init__(self, extra=None):
        super().__init__()
        torch.manual_seed(0)
        self.of_input = nn.Linear(SIZE, 2 * SIZE)
        self.of_state = nn.Linear(SIZE, 2 * SIZE, bias=False)
        self.extra = extra

    def forward(self, x, h):
        gate, new = (self.of_input(x) + self.of_state(h)).chunk(2, -1)
        h = torch.sigmoid(gate) * torch.tanh(new) + h * 0.5
        return h if self.extra is None else self.extra(self, h)


class Chain(nn.Module):
    """Calls its cell along chains of the given lengths."""

    def __init__(self, extra=None):
        super().__init__()
        self.cell = Cell(extra)

    def forward(self, x, lengths):
        ends = []
        for n in lengths:
            h = x[0] * 0.0
            for k in range(n):
                h = self.cell(x[k], h)
            ends.append(h)
        return torch.stack(ends)


def forget_graphs():
    """Make every graph a new one."""
    flush()
    lazy_trie.clear()
    state.restart()


@pytest.fixture(autouse=True)
def fresh():
    forget_graphs()
    before = torch.config.cells
    torch.config.cells = True
    unasked.credit.left, unasked.credit.asked = unasked.credit._MOST, 0
    LOG.clear()
    SCALE["value"] = 1.0
    yield
    torch.config.cells = before


def inputs(n=9):
    return torch.from_numpy(np.random.default_rng(n).standard_normal((n, SIZE), np.float32))


def is_recorded(module):
    return id(module) in unasked._known


def run(model, lengths=(3, 5, 2), x=None):
    """The loss and all gradients."""
    model.zero_grad()
    loss = model(inputs() if x is None else x, lengths).square().sum()
    loss.backward()
    return [loss.item(), *[p.grad.numpy().copy() for p in model.parameters()]]


def agree(found, wanted):
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6)


def without(make, *args, **kwargs):
    """What `make` gives where no call is recorded."""
    torch.config.cells = False
    try:
        return make(*args, **kwargs)
    finally:
        torch.config.cells = True


def test_a_cell_that_recurs_in_a_new_graph_is_one_step_of_the_trace():
    model = Chain()
    model(inputs(), (4, 2))
    assert is_recorded(model.cell) and not is_recorded(model.cell.of_input)
    ops = [step.kernel.op for step in state.trace.path() if step.kernel is not None]
    assert ops.count("Cell") == 6  # the first call too, which was recorded operation by operation
    assert "tanh" not in ops


def test_values_and_gradients_are_those_of_jax():
    model = Chain()
    weights = {n: p.detach().numpy() for n, p in model.named_parameters()}

    def loss(w, x, lengths):
        ends = []
        for n in lengths:
            h = jnp.zeros(SIZE)
            for k in range(n):
                both = x[k] @ w["cell.of_input.weight"].T + w["cell.of_input.bias"]
                gate, new = jnp.split(both + h @ w["cell.of_state.weight"].T, 2)
                h = jax.nn.sigmoid(gate) * jnp.tanh(new) + h * 0.5
            ends.append(h)
        return jnp.square(jnp.stack(ends)).sum()

    for lengths in ((3, 5, 2), (1, 8), (7, 7, 7, 1)):
        value, found = jax.value_and_grad(loss)(weights, inputs().numpy(), lengths)
        agree(run(model, lengths), [value, *[found[n] for n, _ in model.named_parameters()]])
    assert is_recorded(model.cell)


@pytest.mark.parametrize("policy", ["auto", "compile", "interpret", "parts", "batch"])
def test_every_policy_runs_them(policy, monkeypatch):
    monkeypatch.setattr(torch.config, "policy", policy)
    model = Chain()
    found = [run(model) for _ in range(3)]
    assert is_recorded(model.cell)
    wanted = without(run, Chain())
    for one in found:
        agree(one, wanted)


def test_a_module_called_once_in_every_graph_stays_as_it_is():
    single = Chain()
    for _ in range(3):
        run(single, (1,))
    assert not is_recorded(single.cell)


def test_signatures_that_serve_few_calls_are_not_worth_it():
    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell = Cell()

        def forward(self, x):
            return self.cell(x, x * 3.0) + self.cell(x, x * 2.0)

    model = Pair()
    for n in range(1, 5):
        model(torch.ones(n, SIZE))
    assert is_recorded(model.cell)
    for n in range(5, 7):
        model(torch.ones(n, SIZE)).sum().item()
    assert not is_recorded(model.cell)


# Nobody can tell


def tape(tensor):
    """Names, lines and modules of all that leads to a tensor."""
    seen, lines = {}, []

    def visit(node):
        if node is None:
            return "-"
        if id(node) not in seen:
            seen[id(node)] = len(seen), node
            below = [visit(edge[0]) for edge in node.next_functions]
            place = node.source and (node.source.line, node.source.function)
            lines.append((seen[id(node)][0], node.name(), place, node.module_path, below))
        return seen[id(node)][0]

    visit(tensor.grad_fn)
    return sorted(lines)


def test_the_tape_shows_the_operations():
    def look():
        model = Chain()
        y = model(inputs(), (3, 2)).sum()
        return tape(y), str(torch.graph(y, params=model))

    found, wanted = look(), without(look)
    assert found == wanted
    assert "MulBackward0" in str(found) and "Compiled" not in str(found)


def test_the_tape_of_a_graph_that_backward_consumed_shows_them_too():
    def look():
        y = Chain()(inputs(), (3, 2)).sum()
        y.backward()
        y.item()
        return tape(y)

    assert look() == without(look)


def test_what_comes_after_a_look_is_right():
    def mixed():
        model = Chain()
        x = inputs()
        h = x[0] * 0.0
        for k in range(8):
            h = model.cell(x[k], h)
            if k == 4:
                assert h.grad_fn.name() == "AddBackward0"
        h.sum().backward()
        return [p.grad.numpy() for p in model.parameters()]

    agree(mixed(), without(mixed))


def test_gradients_of_values_in_between():
    def between():
        model = Chain()
        x = inputs().requires_grad_()
        states, seen = [x[0] * 1.0], []
        for k in range(6):
            states.append(model.cell(x[k], states[-1]))
        states[2].retain_grad()
        states[3].register_hook(lambda g: seen.append(g.detach().numpy()))
        loss = states[-1].square().sum()
        (first,) = torch.autograd.grad(loss, states[4], retain_graph=True)
        (double,) = torch.autograd.grad(loss, x, create_graph=True)
        double.square().sum().backward()
        return [first.numpy(), x.grad.numpy(), states[2].grad.detach().numpy(), *seen]

    agree(between(), without(between))


def raised(make):
    with pytest.raises(RuntimeError) as error:
        make()
    return str(error.value)


def test_a_second_backward_is_refused_as_ever():
    def twice():
        loss = Chain()(inputs(), (3, 2)).sum()
        loss.backward()
        loss.backward()

    assert raised(twice) == without(raised, twice)


def test_a_graph_that_is_kept_can_be_walked_again():
    def twice():
        model = Chain()
        loss = model(inputs(), (3, 2)).sum()
        loss.backward(retain_graph=True)
        loss.backward()
        return [p.grad.numpy() for p in model.parameters()]

    agree(twice(), without(twice))


@pytest.mark.parametrize("which", ["input", "state"])
def test_a_change_of_what_was_saved_is_noticed_as_ever(which):
    def changed():
        model = Chain()
        x = inputs()
        h = x[0] * 1.0
        states = []
        for k in range(4):
            states.append(h)
            h = model.cell(x[k], h)
        (x if which == "input" else states[2]).add_(1.0)
        h.sum().backward()

    assert raised(changed) == without(raised, changed)


def test_a_change_of_what_was_not_saved_is_allowed_as_ever():
    class Plain(nn.Module):
        def forward(self, x, h):
            return (((h + x) * 2.0 - 1.0) / 3.0 + x).relu() * 0.5 + h

    def changed():
        cell, x = Plain(), inputs()
        w = torch.ones(SIZE, requires_grad=True)
        h = w * 1.0
        for k in range(5):
            before, h = h, cell(x[k], h)
        before.add_(1.0)
        h.sum().backward()
        return [w.grad.numpy()]

    agree(changed(), without(changed))


def test_random_numbers_are_those_that_would_have_been_drawn():
    def dropped():
        model = Chain(lambda cell, h: nn.functional.dropout(h, 0.5))
        torch.manual_seed(3)
        found = [model(inputs(), (3, 4, 2)).detach().numpy() for _ in range(3)]
        return [*found, torch.rand(3).numpy(), torch.dropout(torch.ones(9), 0.5, True).numpy()]

    for a, b in zip(dropped(), without(dropped), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


# What the Python of a call reads and does


def effects(extra, change=lambda model: None, reading=lambda model: list(LOG)):
    """What three passes leave behind."""
    model = Chain(extra)
    LOG.clear()
    SCALE["value"] = 1.0
    found = []
    for _ in range(3):
        found += [model(inputs(), (3, 2)).detach().numpy().sum(), reading(model)]
        change(model)
    return found


def prints(cell, h):
    print("called", file=sys.stderr)
    LOG.append(1)
    return h


def counts(cell, h):
    cell.calls = getattr(cell, "calls", 0) + 1
    LOG.append(cell.calls)
    return h


def keeps(cell, h):
    cell.last = h
    return h


def reads_table(cell, h):
    return h * float(TABLE[0])


def reads_environment(cell, h):
    return h * float(os.environ.get("SCALE_OF_TEST", "1.0"))


def reads_scale(cell, h):
    return h * SCALE["value"]


def double_scale(model):
    SCALE["value"] *= 2.0


def double_table(model):
    TABLE[0] *= 2.0


def double_environment(model):
    os.environ["SCALE_OF_TEST"] = str(2 * float(os.environ.get("SCALE_OF_TEST", "1.0")))


@pytest.mark.parametrize(
    "extra, change",
    [
        (prints, lambda model: None),
        (counts, lambda model: None),
        (reads_table, double_table),
        (reads_environment, double_environment),
        (reads_scale, double_scale),
        (lambda cell, h: h * random.random(), lambda model: random.seed(0)),
        (lambda cell, h: h * (time.perf_counter() > 0), lambda model: None),
        (lambda cell, h: h if h.sum().item() > 0 else -h, lambda model: None),
        (lambda cell, h: h * 2 if cell.training else h, lambda model: model.eval()),
        (lambda cell, h: h * len(LOG), lambda model: LOG.append(0)),
    ],
    ids=["effect", "attribute", "NumPy", "environment", "global", "random", "clock", "value",
         "training", "length"],
)  # fmt: skip
def test_the_python_of_a_call_is_not_missed(extra, change, monkeypatch):
    monkeypatch.setenv("SCALE_OF_TEST", "1.0")

    def passes():
        random.seed(0)
        TABLE[:] = 1.0, 2.0
        os.environ["SCALE_OF_TEST"] = "1.0"
        return effects(extra, change)

    found, wanted = passes(), without(passes)
    for a, b in zip(found[::2], wanted[::2], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)
    assert found[1::2] == wanted[1::2]


def test_a_tensor_that_a_call_keeps_is_kept():
    model = Chain(keeps)
    model(inputs(), (3, 2))
    wanted = without(lambda: Chain()(inputs(), (3, 2)))
    np.testing.assert_allclose(model.cell.last.detach(), wanted[1].detach(), rtol=1e-5)


def test_parameters_that_are_replaced_are_read():
    model = Chain()
    run(model)
    model.cell.of_input = nn.Linear(SIZE, 2 * SIZE)
    model.cell.of_state.weight = nn.Parameter(model.cell.of_state.weight.detach() * 2)
    other = copy.deepcopy(model)
    assert "_compiled_call_impl" not in other.cell.__dict__
    agree(run(model), without(run, other))


class Helped(Cell):
    """A cell that calls a method of its own, and its base's `forward`."""

    def helper(self, h):
        return h * 1.0

    def forward(self, x, h):
        return self.helper(super().forward(x, h))


def doubled(self, x):
    return nn.functional.linear(x, self.weight) * 2


PATCHES = {
    "a method of the class": lambda patch, cell: patch(Helped, "helper", lambda self, h: h * 2.0),
    "forward of the class": lambda patch, cell: patch(Helped, "forward", lambda self, x, h: h + x),
    "forward of its base": lambda patch, cell: patch(Cell, "forward", lambda self, x, h: h - x),
    "forward of the instance": lambda patch, cell: patch(
        cell, "forward", lambda x, h: h + 1.0, raising=False
    ),
    "a method of the instance": lambda patch, cell: patch(cell, "helper", lambda h: h * 3.0),
    "forward of a layer": lambda patch, cell: patch(nn.Linear, "forward", doubled),
    "forward of a child": lambda patch, cell: patch(
        cell.of_input, "forward", lambda x: doubled(cell.of_input, x)
    ),
    "code": lambda patch, cell: patch(Helped.helper, "__code__", (lambda self, h: h * 7).__code__),
    "a default": lambda patch, cell: patch(Helped.helper, "__defaults__", (0.0,)),
}


@pytest.mark.parametrize("change", PATCHES.values(), ids=PATCHES.keys())
def test_what_is_put_in_place_of_a_method_is_called(change):
    def patched():
        model, x = Chain(), inputs()
        model.cell = Helped()
        found = [model(x, (3, 2)).detach().numpy().copy() for _ in range(2)]
        assert is_recorded(model.cell) == torch.config.cells
        with pytest.MonkeyPatch.context() as context:
            change(context.setattr, model.cell)
            found += [model(x, (3, 2)).detach().numpy().copy() for _ in range(2)]
        return [*found, model(x, (3, 2)).detach().numpy().copy()]

    agree(patched(), without(patched))


@pytest.mark.parametrize("place", ["cell", "child", "global"])
def test_hooks_are_called(place):
    def hooked():
        model, calls = Chain(), []
        run(model)
        hook = lambda module, args, result: calls.append(type(module).__name__)  # noqa: E731
        if place == "global":
            handle = register_module_forward_hook(hook)
        else:
            module = model.cell if place == "cell" else model.cell.of_input
            handle = module.register_forward_hook(hook)
        try:
            found = run(model)
        finally:
            handle.remove()
        return calls, found, run(model)

    calls, *found = hooked()
    wanted_calls, *wanted = without(hooked)
    assert calls == wanted_calls and calls
    for a, b in zip(found, wanted, strict=True):
        agree(a, b)


def test_a_debugger_sees_every_line_run():
    model, lines = Chain(), []
    run(model)
    code = Cell.forward.__code__

    def watch(frame, event, arg):
        if frame.f_code is code:
            lines.append(event)
        return None

    before = sys.gettrace()
    sys.settrace(watch)
    try:
        model(inputs(), (3, 2))
    finally:
        sys.settrace(before)
    assert lines.count("call") == 5


def test_modes_are_told_apart():
    model = Chain()
    for _ in range(2):
        run(model)
        with torch.no_grad():
            assert not model(inputs(), (3, 2)).requires_grad
        with torch.inference_mode():
            assert not model(inputs(), (3, 2)).requires_grad
        assert model(inputs(), (3, 2)).requires_grad
        assert model.double()(inputs().double(), (3, 2)).dtype is torch.float64
        model.float()


def test_an_error_in_a_call_is_the_users():
    model = Chain()
    run(model)
    with pytest.raises(RuntimeError, match="mat1 and mat2|shapes cannot be multiplied"):
        model.cell(torch.ones(SIZE + 1), torch.ones(SIZE))
    agree(run(model), without(run, Chain()))


def test_an_operation_that_fails_when_run_is_named_with_its_line():
    def refuse(x):
        if not isinstance(x, jax.core.Tracer):
            return x

        def raises(value):
            raise ValueError("not today")

        return jax.pure_callback(raises, jax.ShapeDtypeStruct(x.shape, x.dtype), x)

    failing = from_function(refuse)
    model = Chain(lambda cell, h: failing(h))
    with torch.no_grad(), pytest.raises(RuntimeError, match=r"(?s)refuse.*test_unasked.py"):
        model(inputs(), (3, 2)).sum().item()


# What stays behind


def test_a_module_is_gone_when_nobody_holds_it():
    model = Chain()
    run(model)
    assert is_recorded(model.cell)
    cell, weight = weakref.ref(model.cell), weakref.ref(model.cell.of_input.weight)
    gc.disable()
    try:
        del model
        torch.ones(1).item()  # the trace before the last lets go of what it saw
        torch.zeros(1).item()
        assert cell() is None and weight() is None
    finally:
        gc.enable()


def test_copies_and_pickles_are_of_the_module_alone():
    class Known(Cell):
        pass

    globals()["Known"], Known.__qualname__ = Known, "Known"
    model = Chain()
    model.cell = Known()
    run(model)
    assert is_recorded(model.cell)
    for other in (copy.deepcopy(model.cell), pickle.loads(pickle.dumps(model.cell))):
        assert not is_recorded(other) and "_compiled_call_impl" not in other.__dict__
        x, h = torch.ones(SIZE), torch.zeros(SIZE)
        np.testing.assert_allclose(other(x, h).detach(), model.cell(x, h).detach(), rtol=1e-6)


def test_threads_call_one_module():
    model = Chain()
    wanted = without(lambda: Chain()(inputs(), (3, 4)).detach().numpy())
    found, errors = [], []

    def work():
        try:
            for _ in range(4):
                found.append(model(inputs(), (3, 4)).detach().numpy())
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    for one in found:
        np.testing.assert_allclose(one, wanted, rtol=1e-5)


def test_graphs_that_are_always_looked_at_stop_recording():
    model = Chain()
    for n in range(12):
        forget_graphs()
        y = model(inputs(), (3, 2 + n % 3))
        assert y.grad_fn.name() == "StackBackward0"
        y.sum().item()
    assert unasked.credit.left <= 0
    agree(run(model), without(run, Chain()))


# Random programs


class Random(nn.Module):
    """A cell of some random operations on two inputs."""

    def __init__(self, draw):
        super().__init__()
        torch.manual_seed(draw.randrange(100))
        self.layer = nn.Linear(SIZE, SIZE)
        self.plan = [(draw.choice(OPS), draw.random(), draw.random()) for _ in range(8)]

    def forward(self, x, h):
        known = [x, h, self.layer(x)]
        for op, a, b in self.plan:
            known.append(op(known[int(a * len(known))], known[int(b * len(known))]))
        return known[-1] + h * 0.5, known[-2]


OPS = [
    lambda a, b: a * b,
    lambda a, b: a + 2.0 * b,
    lambda a, b: torch.tanh(a),
    lambda a, b: torch.where(a > b, a, b * 0.1),
    lambda a, b: a.view(2, 2).t().reshape(SIZE) - b,
    lambda a, b: nn.functional.dropout(a, 0.3) + b.detach(),
    lambda a, b: torch.cat([a, b]).chunk(2)[1] * 0.5,
]


def random_program(seed):
    """Values and messages of a program of cells with looks, changes and backwards in between."""
    draw = random.Random(seed)
    cells = [Random(draw) for _ in range(2)]
    torch.manual_seed(seed)
    x = inputs(6).requires_grad_()
    states = [x[k] * 1.0 for k in range(3)]
    seen = []
    for _ in range(draw.randint(6, 14)):
        what = draw.random()
        if what < 0.7:
            a, b = draw.choice(states), draw.choice(states)
            states += draw.choice(cells)(a, b)
        elif what < 0.76:
            chosen = draw.choice(states)
            seen.append(chosen.grad_fn and chosen.grad_fn.name())
        elif what < 0.82:
            try:
                draw.choice(states).mul_(0.9)
            except RuntimeError as error:
                seen.append(str(error))
        elif what < 0.88:
            seen.append(round(draw.choice(states).sum().item(), 3))
        elif what < 0.94:
            chosen = draw.choice(states)
            if chosen.requires_grad:
                chosen.register_hook(lambda g: g * 0.5)
        else:
            with torch.no_grad():
                states += draw.choice(cells)(draw.choice(states), draw.choice(states))
        states = states[-6:]
    for keep in (True, False):
        try:
            sum((s.sum() for s in states if s.requires_grad), x.sum()).backward(retain_graph=keep)
        except RuntimeError as error:
            seen.append(str(error).split(" The operation")[0])
    parameters = [p for cell in cells for p in cell.parameters()]
    gradients = [None if p.grad is None else p.grad.numpy() for p in (x, *parameters)]
    return seen, [s.detach().numpy() for s in states], gradients


@pytest.mark.parametrize("seed", range(12))
def test_random_programs_are_the_same_with_and_without(seed, monkeypatch):
    monkeypatch.setattr(torch.config, "policy", "interpret")
    seen, values, gradients = random_program(seed)
    forget_graphs()
    wanted_seen, wanted_values, wanted_gradients = without(random_program, seed)
    assert seen == wanted_seen
    for a, b in zip(values + gradients, wanted_values + wanted_gradients, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
