"""Graphs that change from step to step: dynjax, PyTorch eager and what JAX users write by hand.

    python benchmarks/dynamic.py [--only NAME ...] [--contenders NAME ...] [--steps N] [--rounds N]
                                 [--policy NAME]

Every contender runs in a process of its own, from the first compile on, and reads its loss at every
step. All start from the same weights and must show the same losses, or the figures are not shown.
The ratios are to the better contender of a kind (PyTorch runs with one thread and with two).

    first     the first step, compiles included
    total     all steps, compiles included
    median    a step of the second half
    longest   the longest step after the first ten
    compiled  programs that XLA compiled, and for how long (in the background too)
    explained compiles that `dynjax.explain()` tells of
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import jax
import jax.numpy as jnp
import numpy as np
from common import fresh_process, load, median, resident_mib, table
from dynamic_workloads import WORKLOADS as STRUCTURES
from dynamic_workloads import Dynamic, Step, framework_step
from shape_workloads import WORKLOADS as SHAPES
from workloads import Workload, deep, gpt, initial_weights, jax_step, mlp
from workloads import framework_step as static_step

TORCH = ("torch, 1 thread", "torch, 2 threads")
COMPILED = "dynjax, compiled cell"


@dataclass(frozen=True)
class Measured:
    """A row of tables.

    Attributes:
        steps: how many are measured.
        contenders: who can do it.
        make: `make(contender, torch)` returns a step: from data to the loss.
        batch: `batch(index)` is the data of a step.
        hold: whether the table is of memory over time.
    """

    steps: int
    contenders: tuple[str, ...]
    make: Callable[[str, Any], Step]
    batch: Callable[[int], tuple] = lambda index: ()
    hold: bool = False


def _changing(work: Dynamic) -> Measured:
    def make(contender: str, torch: Any) -> Step:
        weights = initial_weights(torch, work)
        if contender in work.jax:
            return work.jax[contender](weights)
        return framework_step(torch, work, weights, contender == COMPILED)

    ours = ("dynjax", *((COMPILED,) if work.has_cell else ()))
    contenders = (*ours, *TORCH, *work.jax)
    return Measured(work.steps, contenders, make, work.batch, work.name == "graphs")


def _first_steps(work: Workload) -> Measured:
    def make(contender: str, torch: Any) -> Step:
        weights = initial_weights(torch, work)
        start = jax_step if contender == "jax, jit" else lambda *given: static_step(torch, *given)
        run = start(work, weights)
        return lambda: run(1)

    return Measured(20, ("dynjax", *TORCH, "jax, jit"), make)


def _inference(work: Workload) -> Measured:
    def make(contender: str, torch: Any) -> Step:
        model = work.model(torch)
        weights = initial_weights(torch, work)
        model.load_state_dict({k: torch.from_numpy(v) for k, v in weights.items()})
        model.eval()
        if contender == "jax, jit":
            from dynjax.interop.jax import to_jax

            apply, params = to_jax(model)
            jitted = jax.jit(apply)
            call = lambda x: np.asarray(jitted(params, jnp.asarray(x)))  # noqa: E731
        else:
            call = lambda x: model(torch.from_numpy(x)).numpy()  # noqa: E731

        def step(x: np.ndarray) -> float:
            with torch.no_grad():
                return float(call(x).flat[0])

        return step

    inputs = [(x[:1],) for x, _ in work.batches]
    contenders = ("dynjax", *TORCH, "jax, jit")
    return Measured(2000, contenders, make, lambda index: inputs[index % len(inputs)])


MEASURED: dict[str, Measured] = {
    **{name: _changing(work) for name, work in (STRUCTURES | SHAPES).items()},
    "infer-mlp": _inference(mlp("mlp", (784, 256, 128, 10), 4)),
    "infer-gpt": _inference(gpt("gpt", 4)),
    "deep48": _first_steps(deep("deep48", 48)),
    "gpt24": _first_steps(gpt("gpt24", 24)),
}


def run_alone(name: str, contender: str, steps: str, policy: str) -> None:
    """Measure one contender in this process; prints what it saw as JSON."""
    compiles: list[float] = []

    def listen(event: str, seconds: float, **_: Any) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            compiles.append(seconds)

    jax.monitoring.register_event_duration_secs_listener(listen)
    torch = load("torch" if contender in TORCH else "dynjax")
    if contender in TORCH:
        torch.set_num_threads(TORCH.index(contender) + 1)
    elif policy:
        torch.config.policy = policy
    measured = MEASURED[name]
    step = measured.make(contender, torch)
    before = len(compiles)
    seconds, losses, resident = [], [], []
    for index in range(int(steps)):
        data = measured.batch(index)
        begin = time.perf_counter()
        losses.append(step(*data))
        seconds.append(time.perf_counter() - begin)
        if (index + 1) % max(1, int(steps) // 10) == 0:
            resident.append(resident_mib())
    seen = {
        "seconds": seconds,
        "losses": losses,
        "resident": resident,
        "compiles": compiles[before:],
        "explained": len(torch.explain().history) if contender.startswith("dynjax") else None,
    }
    print(json.dumps(seen))


ALONE = """
import sys
sys.path.insert(0, "benchmarks")
from dynamic import run_alone
run_alone(*sys.argv[1:])
"""


def measure(
    name: str, contenders: list[str], steps: int, rounds: int, policy: str
) -> dict[str, list[dict]]:
    """What every contender saw, a record a round; the contenders take turns.

    Raises:
        AssertionError: they show different losses.
    """
    seen: dict[str, list[dict]] = {contender: [] for contender in contenders}
    for _ in range(rounds):
        for contender in contenders:
            printed = fresh_process(ALONE, name, contender, str(steps), policy)
            seen[contender].append(json.loads(printed.splitlines()[-1]))
    reference = seen[contenders[-1]][0]["losses"]
    for contender, records in seen.items():
        np.testing.assert_allclose(
            records[0]["losses"],
            reference,
            rtol=1e-3,
            atol=1e-5,
            err_msg=f"{name}: {contender} and {contenders[-1]} do not compute the same",
        )
    return seen


def _figures(record: dict) -> dict[str, float]:
    seconds = record["seconds"]
    return {
        "first": seconds[0],
        "total": sum(seconds),
        "median": median(seconds[len(seconds) // 2 :]),
        "longest": max(seconds[10:], default=float("nan")),
    }


def summary(seen: dict[str, list[dict]]) -> list[list[str]]:
    """A row a contender: medians over the rounds, and ratios to the better of a kind."""
    figures = {
        contender: {
            key: median([_figures(record)[key] for record in records])
            for key in ("first", "total", "median", "longest")
        }
        for contender, records in seen.items()
    }
    losses = [records[0]["losses"] for records in seen.values()]

    def ratio(of: dict[str, float], key: str, to: str) -> str:
        theirs = [f[key] for contender, f in figures.items() if contender.startswith(to)]
        return f"{of[key] / min(theirs):.2f}" if theirs else "-"

    rows = []
    for contender, of in figures.items():
        record = seen[contender][0]
        rows.append(
            [
                contender,
                f"{of['first']:.2f}",
                f"{of['total']:.2f}",
                f"{of['median'] * 1e3:.2f}",
                f"{of['longest'] * 1e3:.0f}",
                f"{len(record['compiles'])} ({sum(record['compiles']):.1f} s)",
                "-" if record["explained"] is None else str(record["explained"]),
                ratio(of, "total", "torch"),
                ratio(of, "median", "torch"),
                ratio(of, "first", "jax"),
                ratio(of, "median", "jax"),
                f"{max(abs(np.array(losses[-1]) - record['losses'])):.0e}",
            ]
        )
    return rows


SUMMARY = ["", "first s", "total s", "median ms", "longest ms", "compiled", "explained",
           "total / torch", "median / torch", "first / jax", "median / jax",
           "loss diff"]  # fmt: skip


def over_time(seen: dict[str, list[dict]]) -> list[list[str]]:
    """A row for each tenth of a contender's steps: memory, and what a step took."""
    rows = []
    for contender, (record, *_) in seen.items():
        parts = np.array_split(record["seconds"], len(record["resident"]))
        done = 0
        for seconds, mib in zip(parts, record["resident"], strict=True):
            done += len(seconds)
            rows.append(
                [
                    contender,
                    f"{done:,}",
                    f"{mib:.0f}",
                    f"{np.median(seconds) * 1e3:.2f}",
                    f"{np.mean(seconds) * 1e3:.2f}",
                    f"{np.max(seconds) * 1e3:.0f}",
                ]
            )
    return rows


OVER_TIME = ["", "graphs", "MiB", "median ms", "mean ms", "longest ms"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = parser.add_argument("--only", nargs="+", choices=MEASURED, metavar="NAME")
    names.default = list(MEASURED)
    parser.add_argument("--contenders", nargs="+", metavar="NAME", help="by how they begin")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--policy", default="", help="dynjax.config.policy")
    arguments = parser.parse_args()
    for name in arguments.only:
        measured = MEASURED[name]
        contenders = [
            contender
            for contender in measured.contenders
            if (load("torch") or contender not in TORCH)
            and contender.startswith(tuple(arguments.contenders or [""]))
        ]
        steps = arguments.steps or measured.steps
        seen = measure(name, contenders, steps, arguments.rounds, arguments.policy)
        print(f"\n{name}, {steps} steps")
        print(table(SUMMARY, summary(seen)), flush=True)
        if measured.hold:
            print("\n" + table(OVER_TIME, over_time(seen)), flush=True)


if __name__ == "__main__":
    main()
