"""Single operations, forward and with backward, at a small and a large size, against PyTorch.

    python benchmarks/ops.py [--only NAME ...] [--sizes small large] [--rounds N] [--over RATIO]

Both get the same inputs; PyTorch runs with one thread and with as many as this process has cores,
and the better one counts. All results of a call are read before the next, dispatch included.
Compiling, in the first calls, is not timed. Times are the least of the rounds, a ratio is theirs.
An operation that fails is listed as such.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from common import Contender, interleave, load, milliseconds, table
from operations import KINDS, operations

SIZES = {"small": False, "large": True}
CORES = len(os.sched_getaffinity(0))


def inputs(torch: Any, kind: str, large: bool, backward: bool) -> list[Any]:
    """The inputs of a kind, the same for every framework."""
    times, makers = KINDS[kind]
    rng = np.random.default_rng(0)
    arrays = [make(rng, times if large else 1) for make in makers]
    return [torch.from_numpy(a).requires_grad_(backward and a.dtype == np.float32) for a in arrays]


def runner(
    torch: Any, call: Callable[..., Any], given: list[Any], backward: bool, threads: int | None
) -> Contender | None:
    """Runs `call`, and its backward, that many times; None where there is no gradient."""
    sought = [x for x in given if x.requires_grad]
    gradient = None
    if backward:
        result = call(*given)
        if not result.requires_grad:
            return None
        gradient = torch.ones_like(result)

    def run(count: int) -> float:
        for _ in range(count):
            result = call(*given)
            found = [result.detach()]
            if backward:
                found += torch.autograd.grad(result, sought, gradient, allow_unused=True)
            del result
            for tensor in found:
                if tensor is not None:
                    tensor.numpy()
        return 0.0

    if threads is None:
        return Contender(torch.__name__, run)
    return Contender(f"{torch.__name__}, {threads}", run, partial(torch.set_num_threads, threads))


def measure(
    frameworks: list[Any], kind: str, name: str, size: str, backward: bool, rounds: int
) -> tuple[float, list[str]] | None:
    """The ratio and the row of the table; None for the backward of what has none."""
    what = [name, size, "+ backward" if backward else "forward"]
    found, of = [], []
    try:
        for torch in frameworks:
            call = operations(torch)[kind][name]
            given = inputs(torch, kind, SIZES[size], backward)
            counts = sorted({1, CORES}) if torch.__name__ == "torch" else [None]
            for threads in counts:
                contender = runner(torch, call, given, backward, threads)
                if contender is None:
                    return None
                found.append(contender)
                of.append(torch.__name__)
        seconds = interleave(found, rounds, 0.02)
    except Exception as error:  # an operation that one of them lacks is a line of the table
        return float("inf"), [*what, "-", "-", f"{type(error).__name__}: {error}"[:60]]
    least: dict[str, float] = {}
    for contender, framework in zip(found, of, strict=True):
        figure = min(seconds[contender.name])
        least[framework] = min(figure, least.get(framework, figure))
    ratio = least["dynjax"] / least["torch"] if len(least) == 2 else 0.0
    return ratio, [*what, *map(milliseconds, least.values()), f"{ratio:.2f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", metavar="NAME", help="operations or kinds of input")
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--over", type=float, default=0.0, help="show these ratios and above only")
    arguments = parser.parse_args()
    frameworks = [module for name in ("dynjax", "torch") if (module := load(name))]
    rows = []
    for kind, calls in operations(frameworks[0]).items():
        for name in calls:
            if arguments.only and not {name, kind} & set(arguments.only):
                continue
            for size in arguments.sizes:
                for backward in (False, True):
                    found = measure(frameworks, kind, name, size, backward, arguments.rounds)
                    if found and found[0] >= arguments.over:
                        rows.append(found)
                        print(*found[1], sep="  ", file=sys.stderr)
    rows.sort(key=lambda row: -row[0])
    header = ["operation", "size", "", *(f"{m.__name__}, ms" for m in frameworks), "/ torch"]
    print(table(header, [row for _, row in rows]))


if __name__ == "__main__":
    main()
