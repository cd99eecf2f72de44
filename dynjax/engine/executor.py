"""The executor: runs traces. What is compiled, what is kept, what is donated is decided here.

`flush` is the only way from a trace to arrays. How a trace becomes something that runs is a policy:
a function from a plan to a program. `POLICIES` names them, `config.policy` chooses.
"""

from __future__ import annotations

import contextlib
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from itertools import count, repeat, starmap
from sys import getrefcount
from typing import Any

import jax
import jax.core
import numpy as np

from ..core import forks
from ..core.collector import Unhurried
from ..core.config import config
from ..core.devices import jax_default
from ..core.errors import failed
from . import explain
from .lower import Lowered, lower
from .pack import Pack, Vectors, joined, vectors
from .programs import Program, first_run, programs
from .resume import lowered_after
from .trace import Trace, runner, state
from .trie import Step, eager_trie, path_of
from .value import Value, concrete

# Set by autograd: keeps the tape of results whose graph is still to be walked.
keep_tape: Callable[[Trace, list[Value]], bool] = lambda trace, live: False  # noqa: E731

# Set by `reads`: computes what is live and leaves the trace open, where that is better.
read: Callable[[Trace, Value], bool] = lambda trace, value: False  # noqa: E731

# References to a value that nobody else holds, counted inside the loops below.
_DEAD_RESULT = 3  # trace.vals, the loop variable, getrefcount's argument
_DEAD_LEAF = 3  # trace.leaves, the list of leaves, getrefcount's argument
_DEAD_COMPUTED = 4  # trace.vals, trace.computed, the loop variable, getrefcount's argument
_set_array = Value.array.__set__
_set_trace = Value.trace.__set__
_set_joined = Pack.array.__set__
_LONE_ARRAY = 3  # Value.array, the list of arguments, getrefcount's argument
# A value on the host is given to programs a few times before it is sent: its index counts down.
_UNSEEN, _SEEN, _SEEN_OFTEN = -1, -2, -16
_LIGHT = 1 << 14  # bytes that travel with a call as if they were nothing


_plans = count()


class Plan:
    """How a trace that ends at one step with one set of live results is run.

    Args:
        lowered: the computation.
        wanted: the indices of its live results.
        join: whether small results may leave joined.

    Attributes:
        number: tells plans apart, also from those that are gone.
        brief: whether a read waits for it, so that it had better be compiled quickly.
    """

    __slots__ = (
        "number", "lowered", "aliasable", "programs", "vectors", "policy", "joined",
        "places", "homes", "alone", "outputs", "parted", "parted_runs", "_whole", "wanted", "brief",
    )  # fmt: skip

    def __init__(self, lowered: Lowered, wanted: Sequence[int], join: bool = True) -> None:
        self.number = next(_plans)
        self.wanted, self.brief = tuple(wanted), False
        self.lowered = lowered
        self._whole: Lowered | None = None
        self.policy = self._policy()
        self.joined = joined(lowered) if join else None
        if self.policy == "interpret" or self.joined is None or not self.joined.groups:
            self.joined = None
            self.alone, self.outputs, self.places, self.homes = None, lowered.outputs, [], []
        else:
            # Of the wanted values: which leave alone, and as which results of the program.
            position = {p: k for k, p in enumerate(self.joined.alone)}
            self.alone = [k for k, p in enumerate(lowered.outputs) if p in position]
            self.outputs = tuple(position[lowered.outputs[k]] for k in self.alone)
            self.places = self.joined.places(lowered, wanted)
            # Of every wanted value, in which of the joined arrays it lies; -1: in none.
            inside = {i: k for k, places in enumerate(self.places) for i in places}
            self.homes = [inside.get(i, -1) for i in wanted]
        free = [(a.shape, a.dtype) for a in lowered.out_avals]
        aliasable = []
        for k, kind in enumerate(lowered.kinds):
            aval = (tuple(kind.shape), kind.dtype.np)
            if aval in free:
                aliasable.append(k)
        self.aliasable = aliasable
        self.programs: dict[tuple[int, ...], Program | None] = {}
        self.vectors = Vectors()
        self.parted_runs = 0
        self.parted: Any = None

    @property
    def whole(self) -> Lowered:
        """The computation with every backward written out."""
        if self._whole is None:
            with Unhurried():
                self._whole = self.lowered.written_out()
        return self._whole

    def _policy(self) -> str:
        """The policy in force, but never a whole compile that takes minutes.

        XLA's CPU computes a chain of cheap operations again for each of its results, in code of
        quadratic length: 200 sines whose values are all kept compile for 27 s, 32 ms if only the
        last is. A graph kept for a later backward is such a chain.
        """
        if len(self.lowered.results) <= config.max_results:
            return config.policy
        lowered = self.whole
        kept = set(lowered.results)
        first, chained = len(lowered.leaves), 0
        read = {r for _, refs, _ in lowered.program for r in refs}
        for kernel, _, _ in lowered.program:
            chained += len(kernel.out_avals) == 1 and first in kept and first in read
            first += len(kernel.out_avals)
        return "interpret" if chained > config.max_results else config.policy

    def usable(self, donate: tuple[int, ...]) -> tuple[int, ...]:
        """Of arguments to donate, those that a result can overwrite; JAX warns of others."""
        avals = self.lowered.out_avals
        leaving = avals if self.joined is None else self.joined.avals(avals)
        free = Counter((a.shape, a.dtype) for a in leaving)
        usable = []
        for k in donate:
            kind = self.lowered.kinds[k]
            aval = (tuple(kind.shape), kind.dtype.np)
            if free[aval]:
                free[aval] -= 1
                usable.append(k)
        return tuple(usable)

    def key(self, donate: tuple[int, ...]) -> Hashable:
        """What the whole program is known by."""
        return self.lowered.key, self.usable(donate), self.joined


def flush(reading: bool = False) -> None:
    """Run everything recorded on this thread; returns when it is dispatched, not when it is done.

    Args:
        reading: whether somebody waits for a value.

    Raises:
        RuntimeError: an operation failed when run; names it and the line that recorded it.
    """
    trace = state.trace
    if trace.parent is not None:
        if trace.capture is None:
            raise RuntimeError("a value was observed inside a part that is being captured")
        trace.capture.flushed = True
        return
    if trace.cur is trace.trie.root:
        return
    if forks.forked:
        raise forks.refusal()
    if trace.ahead is not None:
        trace.ahead.catch_up(trace)
        trace.ahead = None
    live = [v for v in trace.vals if getrefcount(v) > _DEAD_RESULT and v.array is None]
    held = live
    if trace.computed is not None:
        held = live + [v for v in trace.computed.values if getrefcount(v) > _DEAD_COMPUTED]
    if keep_tape(trace, held):
        live = held = None
        live = [v for v in trace.vals if getrefcount(v) > _DEAD_RESULT and v.array is None]
    held = None
    if live:
        _run(trace, live, reading)
    _close(trace)


def _close(trace: Trace) -> None:
    """Put an empty trace in place of one that has run."""
    computed = trace.computed
    if computed is not None:
        deque(map(_set_trace, computed.values, repeat(None)), 0)
        computed.over()
        trace.computed = None
    state.restart()
    trace.vals = []
    trace.leaves = {}
    trace.paths, trace.last_path, trace.calls = {}, (None, None, ""), None
    if not trace.freed:
        trace.numbers = {}
    if not trace.python:
        trace.nodes = None


def materialize(value: Value) -> Any:
    """The array of a value; runs the trace that computes it."""
    while value.array is None:
        if forks.forked:
            raise forks.refusal()
        trace = value.trace
        if trace is state.trace:
            if trace.capture is not None:
                trace.capture.observe()
            if not read(state.trace, value):
                flush(reading=True)
        elif type(trace) is Pack:
            array = trace.take(value.idx)
            if array is not None:  # else another thread has it and is about to store it
                value.array, value.trace = array, None
        elif trace is None:
            raise RuntimeError("this tensor was to be computed by an operation that failed")
        else:
            _peek(trace, value)
    return value.array


def _peek(trace: Trace, value: Value) -> None:
    """Compute a value of another thread's open trace, leaving that trace as it is."""
    path = path_of(trace.cur)
    leaves = list(trace.leaves)
    numbers = dict(trace.numbers)
    lowered = lower(path, [value.idx])
    arrays = [materialize(leaves[k]) for k in lowered.leaves]
    plan = Plan(lowered, [value.idx])
    program = compile_whole(plan, (), trace)
    copy = concrete(None, value.kind)
    try:
        call(program, plan, arrays, trace, numbers, [copy])
    except RuntimeError:
        if value.array is None:  # the owner may have flushed (and donated) meanwhile
            raise
    else:
        value.array = copy.array


def _planned(lowered: Lowered, wanted: list[int]) -> Plan:
    """A plan; of a short trace the one that was made when it came for the first time, where it
    leaves nothing in the trie, and now comes again."""
    if lowered.size > _SHORT:
        return Plan(lowered, wanted)
    key = (
        config.policy, lowered.key, lowered.leaves, lowered.outputs, lowered.floats, lowered.ints,
        *wanted,
    )  # fmt: skip
    plan = _once.pop(key, None)
    if plan is None:
        plan = _once[key] = Plan(lowered, wanted)
        if len(_once) > _MOST_ONCE:
            with contextlib.suppress(KeyError):  # another thread was first
                _once.popitem(last=False)
    return plan


_once: OrderedDict[Hashable, Plan] = OrderedDict()
_MOST_ONCE = 64
_SHORT = 256  # operations


def remember(step: Step, key: Hashable, plan: Plan) -> None:
    """Keep a plan where traces like this one find it; not at a step that none would come to."""
    if step.entered:
        if not step.programs:
            step.programs = {}
        step.programs[key] = plan
        if len(step.programs) > 64:
            step.programs.pop(next(iter(step.programs)))


def _run(trace: Trace, live: list[Value], reading: bool) -> None:
    step, computed = trace.cur, trace.computed
    wanted = [v.idx for v in live]
    key = (config.policy, computed and (computed.plan.number,), *wanted)
    plan = step.programs.get(key)
    if plan is None:
        with Unhurried():
            lowered = lowered_after(trace, path_of(step), wanted)
            plan = _planned(lowered, wanted) if computed is None else Plan(lowered, wanted)
            plan.brief = reading
        remember(step, key, plan)
    leaves = list(trace.leaves)
    n = len(leaves)
    if computed is not None:
        leaves += computed.values
    used = plan.lowered.leaves
    arrays = [leaves[k].array for k in used]
    types = set(map(type, arrays))
    if not plain.issuperset(types) and unusual(arrays):
        return _run_plainly(trace, live, plan, leaves, arrays)
    donate = _donatable(plan, leaves, used, arrays)
    try:
        program = plan.programs.get(donate)
        if program is None or program.left == 0:
            program = POLICIES[plan.policy](plan, donate, trace)
            # One for a single run would keep the plan alive that it is kept in.
            plan.programs[donate] = program if program.left != 1 else None
        if np.ndarray in types:
            settle([leaves[k] if k < n else None for k in used], arrays)
        program.left -= 1
        call(program, plan, arrays, trace, trace.numbers, live)
    except Exception as error:
        salvage(trace, live, leaves, error)


# Array types that need no further look: a set look-up is far cheaper than isinstance of Tracer.
plain: set[type] = {np.ndarray}


def unusual(arrays: list[Any]) -> bool:
    """Whether some of the arrays are tracers, or were never computed."""
    if any(a is None or isinstance(a, jax.core.Tracer) for a in arrays):
        return True
    plain.update(map(type, arrays))
    return False


def _run_plainly(
    trace: Trace, live: list[Value], plan: Plan, leaves: list[Value], arrays: list[Any]
) -> None:
    """Run inside somebody else's JAX transformation, or with an input that was never computed."""
    if any(a is None for a in arrays):
        salvage(trace, live, leaves, None)
    else:
        call(Program(body_of(plan), (), 0.0), plan, arrays, trace, trace.numbers, live)


def _prepared(
    program: Program, plan: Plan, live: list[Value], home: Any
) -> tuple[tuple[int, ...], list[Value], Iterable[Any], list[Pack]]:
    """What `_commit` will need: where the results are, values that get an array of their own, what
    takes the place of the trace for every live value, and the joined arrays' owners."""
    if plan.alone is None or not program.joined:
        return plan.lowered.outputs, live, repeat(home), []
    packs = [Pack(places) for places in plan.places]
    homes = map((*packs, None).__getitem__, plan.homes)
    return plan.outputs, [live[k] for k in plan.alone], homes, packs


def _commit(
    live: list[Value],
    outs: Sequence[Any],
    outputs: tuple[int, ...],
    alone: list[Value],
    homes: Iterable[Any],
    packs: list[Pack],
) -> None:
    """Put results in place; loops in C, so that an interrupt comes before or after all of it."""
    deque(map(_set_joined, packs, outs[len(outs) - len(packs) :]), 0)
    deque(map(_set_array, alone, map(outs.__getitem__, outputs)), 0)
    deque(map(_set_trace, live, homes), 0)


def _donatable(
    plan: Plan, leaves: list[Value], used: tuple[int, ...], arrays: list[Any]
) -> tuple[int, ...]:
    """Positions of arguments that nobody but this trace holds and a result can overwrite."""
    if not plan.aliasable:
        return ()
    held = list(map(getrefcount, leaves))
    held_arrays = list(map(getrefcount, arrays))
    return tuple(
        [k for k in plan.aliasable if held[used[k]] <= _DEAD_LEAF and held_arrays[k] <= _LONE_ARRAY]
    )


def settle(values: Sequence[Value | None], arrays: list[Any]) -> None:
    """Send what comes from the host again and again to the device, once for all runs to come.

    What comes once, such as a batch, travels with the call: far cheaper than a transfer, which
    takes as long as some twenty calls with a small array.

    Args:
        values: those of the arrays; None for what stays where it is.
        arrays: to be changed.
    """
    again = []
    for k, array in enumerate(arrays):
        if type(array) is np.ndarray and (value := values[k]) is not None:
            value.idx = min(value.idx, _UNSEEN) - 1
            if value.idx < (_SEEN_OFTEN if array.nbytes <= _LIGHT else _SEEN):
                again.append(k)
    if again:
        with jax.enable_x64(True):
            sent = jax.device_put([arrays[k] for k in again])
        for k, array in zip(again, sent, strict=True):
            arrays[k] = values[k].array = array


def call(
    program: Program,
    plan: Plan,
    arrays: list[Any],
    trace: Trace,
    numbers: dict[int, Any],
    live: list[Value],
    home: Any = None,
) -> None:
    """Run a program and put its results in place; `home` takes that of their trace."""
    lowered = plan.lowered
    if lowered.floats or lowered.ints:
        arrays += plan.vectors.of(
            [numbers[i] for i in lowered.floats], [numbers[i] for i in lowered.ints]
        )
    prepared = _prepared(program, plan, live, home)
    if program.seconds is None:
        results = first_run(program, arrays)
        explain.report(trace, plan.whole, program.seconds, len(programs.programs))
        _commit(live, results, *prepared)
        return
    # Donated inputs are gone once it runs, so a Ctrl-C must not come between running and
    # committing: the call is made from C, where no signal is handled, straight into a list.
    sink: list[Any] = []
    if program.widen is not None:
        arrays = program.widen(arrays)
    early = state.early
    try:
        if early is None or (found := early.results_of(program, arrays)) is None:
            with jax.enable_x64(True):
                sink.extend(starmap(program.run, (arrays,)))
        else:
            sink.append(found)
    finally:
        if sink:
            if program.narrow is None:
                _commit(live, sink[0], *prepared)
            else:
                _commit_narrowed(program.narrow, live, sink[0], prepared)


def _commit_narrowed(
    narrow: Callable[[Sequence[Any]], Sequence[Any]],
    live: list[Value],
    outs: Sequence[Any],
    prepared: tuple,
) -> None:
    """Put what is meant of results in place. That waits for them, so that a Ctrl-C is likely to
    come meanwhile: then it is done once more, before that goes on."""
    interrupt = None
    try:
        results = narrow(outs)
    except KeyboardInterrupt as pressed:
        interrupt, results = pressed, narrow(outs)
    _commit(live, results, *prepared)
    if interrupt is not None:
        raise interrupt


def numbers_of(lowered: Lowered, packed: Sequence[Any]) -> tuple[Any, Any]:
    """The float and the int vector among the packed numbers; a kind without numbers has none."""
    given = iter(packed)
    return next(given) if lowered.floats else (), next(given) if lowered.ints else ()


def body_of(plan: Plan) -> Callable[..., list]:
    lowered = plan.lowered
    n = len(lowered.leaves)

    def dynjax_step(*args: Any) -> list:
        with jax.enable_x64(True):
            results = lowered.evaluate(args[:n], *numbers_of(lowered, args[n:]))
            return results if plan.joined is None else plan.joined.apply(results)

    return dynjax_step


def compile_whole(plan: Plan, donate: tuple[int, ...], trace: Trace, keep: bool = True) -> Program:
    """A policy: the whole trace is one XLA program; `keep` says whether others shall find it."""
    lowered = plan.lowered

    def make() -> Program:
        place = {}
        home = _made_on(lowered)
        if not lowered.leaves and home is not None and home != jax_default():
            place["out_shardings"] = jax.sharding.SingleDeviceSharding(home.jax)
        run = jax.jit(body_of(plan), donate_argnums=plan.usable(donate), keep_unused=True, **place)
        return Program(run, plan.usable(donate))

    return programs.get(plan.key(donate), make) if keep else make()


def interpret(plan: Plan, donate: tuple[int, ...], trace: Trace) -> Program:
    """A policy without fusion: every operation runs through a program of its own.

    Operations are few where traces are many, so this is for traces not worth a compile; donates
    nothing.
    """
    lowered = plan.whole
    n = len(lowered.leaves)
    steps = []
    for (kernel, refs, numbers), step in zip(lowered.program, lowered.steps, strict=True):
        steps.append((_kernel_program(kernel, step, trace), refs, numbers))

    def run(*args: Any) -> list[Any]:
        env = list(args[:n])
        floats, ints = map(np.asarray, numbers_of(lowered, args[n:]))
        with jax.enable_x64(True):
            for program, refs, numbers in steps:
                scalars = [floats[j] if is_float else ints[j] for is_float, j in numbers]
                env.extend(program.run(*[env[r] for r in refs], *scalars))
        return [env[r] for r in lowered.results]

    return Program(run, (), 0.0)


def _kernel_program(kernel: Any, step: Step, trace: Trace) -> Program:
    kinds = tuple(k.device for k in step.kinds)

    def make() -> Program:
        return Program(jax.jit(kernel.fn, keep_unused=True), (), 0.0)

    return programs.get((kernel, kinds), make)


POLICIES = {"compile": compile_whole, "interpret": interpret}


def _made_on(lowered: Lowered) -> Any:
    """The device of a computation without inputs."""
    return lowered.steps[0].kind.device if lowered.steps and lowered.steps[0].kind else None


def salvage(trace: Trace, live: list[Value], leaves: list[Value], error: Exception | None) -> None:
    """After a failure, run operation by operation: compute what can be, name what fails.

    An operation that would have updated tensors in place and can't leaves them as they were.

    Raises:
        RuntimeError: with the operation, its module and the line that recorded it.
    """
    lowered = lower(path_of(trace.cur), [v.idx for v in live]).written_out()
    env: list[Any] = [leaves[k].array for k in lowered.leaves]
    floats = [np.asarray(trace.numbers[i], np.float64) for i in lowered.floats]
    ints = [np.asarray(trace.numbers[i], np.int64) for i in lowered.ints]
    culprit: Step | None = None
    with jax.enable_x64(True):
        for (kernel, refs, places), step in zip(lowered.program, lowered.steps, strict=True):
            inputs = [env[r] for r in refs]
            n_results = len(kernel.out_avals)
            outs: Sequence[Any] | None = None
            if all(x is not None for x in inputs):
                numbers = [floats[j] if is_float else ints[j] for is_float, j in places]
                try:
                    outs = jax.jit(kernel.fn)(*inputs, *numbers)
                except Exception as failure:
                    if culprit is None:
                        culprit, op, error = step, kernel.op, failure
                        if kernel.parts is not None:
                            culprit, op, error = _failing_part(
                                kernel.parts, step, kernel.op, inputs, numbers, failure
                            )
            if outs is None and kernel.updates:
                outs = inputs[:n_results]
            elif outs is None and kernel.kept:
                given = {result: inputs[i] for result, i in kernel.kept}
                outs = [given.get(k) for k in range(n_results)]
            env += [None] * n_results if outs is None else outs
    for value, k in zip(live, lowered.outputs, strict=True):
        value.array = env[lowered.results[k]]
        value.trace = None
    if culprit is None and error is None:
        return
    _close(trace)
    where = ""
    if culprit is not None:
        where = f"{op} failed when run"
        where += f" (module {culprit.module_path!r})" if culprit.module_path else ""
        where += f", recorded at {culprit.source}" if culprit.source else ""
    raise failed(f"{where or 'a recorded trace failed to compile or run'}: {error}") from error


def _failing_part(
    parts: Lowered,
    whole: Step,
    name: str,
    inputs: Sequence[Any],
    numbers: Sequence[Any],
    error: Exception,
) -> tuple[Step, str, Exception]:
    """Which operation of a recorded part fails, and how; the whole if none does by itself."""
    n = len(parts.floats)
    env = list(inputs)
    for (kernel, refs, places), step in zip(parts.program, parts.steps, strict=True):
        scalars = [numbers[j] if is_float else numbers[n + j] for is_float, j in places]
        try:
            env.extend(jax.block_until_ready(jax.jit(kernel.fn)(*[env[r] for r in refs], *scalars)))
        except Exception as failure:
            return step, kernel.op, failure
    return whole, name, error


class eager:
    """Context manager: every operation runs as soon as it is recorded.

    For debugging: failures and values appear at the line that causes them. Slower; results are
    the same.
    """

    def __enter__(self) -> eager:
        flush()
        self._trie = state.trace.trie
        self._swap(eager_trie)
        return self

    def __exit__(self, *exc: Any) -> None:
        flush()
        self._swap(self._trie)

    @staticmethod
    def _swap(trie: Any) -> None:
        state.trace.trie = trie
        state.restart()


def synchronize() -> None:
    """Flush, and wait until everything dispatched from this thread's values has run."""
    flush()


runner.flush = flush
runner.materialize = materialize
__all__ = ["Step", "eager", "flush", "materialize", "vectors"]
