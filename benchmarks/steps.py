"""Training steps: dynjax, the same under `dynjax.compile`, PyTorch eager and a hand-written,
donated `jax.jit` step, side by side.

    python benchmarks/steps.py [--only NAME ...] [--rounds N]

All start from the same weights and must show the same losses before they are timed. A step is
forward, loss, zero_grad, backward and step, dispatch included; the last loss of every round is
read, which waits. PyTorch runs with one thread and with two, and the better one counts.
"""

from __future__ import annotations

import argparse
from functools import partial

import numpy as np
from common import Contender, interleave, load, median, median_ratio, milliseconds, table
from workloads import WORKLOADS, Workload, framework_step, initial_weights, jax_step

TRAJECTORY = 10


def contenders(work: Workload) -> list[Contender]:
    torch, dynjax = load("torch"), load("dynjax")
    weights = initial_weights(dynjax or torch, work)
    found = [Contender("jit", jax_step(work, weights))]
    if dynjax is not None:
        found.append(Contender("dynjax", framework_step(dynjax, work, weights)))
        found.append(Contender("compiled", framework_step(dynjax, work, weights, compiled=True)))
    if torch is not None:
        for threads in (1, 2):
            found.append(
                Contender(
                    f"torch, {threads} threads",
                    framework_step(torch, work, weights),
                    partial(torch.set_num_threads, threads),
                )
            )
    return found


def check(work: Workload, found: list[Contender]) -> str:
    """Raise unless all contenders show the same losses; return the greatest difference."""
    losses = []
    for contender in found:
        contender.prepare()
        losses.append([contender.run(1) for _ in range(TRAJECTORY)])
    for contender, trajectory in zip(found, losses, strict=True):
        np.testing.assert_allclose(
            trajectory, losses[0], rtol=1e-3, err_msg=f"{work.name}: {contender.name} and jit"
        )
    return f"{np.ptp(losses, axis=0).max():.0e}"


def measure(work: Workload, rounds: int) -> list[str]:
    found = contenders(work)
    difference = check(work, found)
    seconds = interleave(found, rounds)
    jit, dynjax, compiled = seconds["jit"], seconds.get("dynjax"), seconds.get("compiled")
    torch = min((seconds[name] for name in seconds if "torch" in name), key=median, default=None)

    def ratio(of: list[float] | None, to: list[float] | None) -> str:
        return f"{median_ratio(of, to):.2f}" if of and to else "-"

    shown = dynjax, compiled, jit, torch
    return [
        work.name,
        *(milliseconds(median(figures)) if figures else "-" for figures in shown),
        ratio(dynjax, jit),
        ratio(dynjax, torch),
        ratio(compiled, jit),
        difference,
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=WORKLOADS, metavar="NAME")
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    header = [
        "ms a step", "dynjax", "compiled", "jit", "torch", "/ jit", "/ torch", "compiled / jit",
        "loss diff",
    ]  # fmt: skip
    rows = [measure(WORKLOADS[name], arguments.rounds) for name in arguments.only or WORKLOADS]
    print(table(header, rows))


if __name__ == "__main__":
    main()
