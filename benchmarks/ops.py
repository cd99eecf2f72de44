"""Single operations, forward and with backward, at a small and a large size, against PyTorch.

    python benchmarks/ops.py [--only NAME ...] [--sizes small large] [--rounds N] [--over RATIO]

Both get the same inputs and as many threads as this process has cores. All results of a call are
read before the next, dispatch included. Compiling, in the first calls, is not timed. A ratio is
the median of those of the rounds, times are the least. An operation that fails is listed as such.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from typing import Any

import numpy as np
from common import Contender, interleave, load, median_ratio, milliseconds, table
from operations import KINDS, operations

SIZES = {"small": False, "large": True}


def inputs(torch: Any, kind: str, large: bool, backward: bool) -> list[Any]:
    """The inputs of a kind, the same for every framework."""
    times, makers = KINDS[kind]
    rng = np.random.default_rng(0)
    arrays = [make(rng, times if large else 1) for make in makers]
    return [torch.from_numpy(a).requires_grad_(backward and a.dtype == np.float32) for a in arrays]


def runner(torch: Any, call: Callable[..., Any], given: list[Any], backward: bool) -> Contender:
    """Runs `call`, and its backward, that many times.

    Raises:
        LookupError: there is no gradient to compute.
    """
    sought = [x for x in given if x.requires_grad]
    gradient = None
    if backward:
        result = call(*given)
        if not result.requires_grad:
            raise LookupError("no gradient")
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

    return Contender(torch.__name__, run)


def measure(
    frameworks: list[Any], kind: str, name: str, size: str, backward: bool, rounds: int
) -> tuple[float, list[str]] | None:
    """The ratio and the row of the table; None for the backward of what has none."""
    what = [name, size, "+ backward" if backward else "forward"]
    try:
        found = [
            runner(
                torch,
                operations(torch)[kind][name],
                inputs(torch, kind, SIZES[size], backward),
                backward,
            )
            for torch in frameworks
        ]
        seconds = interleave(found, rounds, 0.02)
    except LookupError:
        return None
    except Exception as error:  # an operation that one of them lacks is a line of the table
        return float("inf"), [*what, "-", "-", f"{type(error).__name__}: {error}"[:60]]
    ratio = median_ratio(seconds["dynjax"], seconds["torch"]) if len(seconds) == 2 else 0.0
    shown = [milliseconds(min(figures)) for figures in seconds.values()]
    return ratio, [*what, *shown, f"{ratio:.2f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", metavar="NAME", help="operations or kinds of input")
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--over", type=float, default=0.0, help="show these ratios and above only")
    arguments = parser.parse_args()
    frameworks = [module for name in ("dynjax", "torch") if (module := load(name))]
    for module in frameworks:
        if module.__name__ == "torch":
            module.set_num_threads(len(os.sched_getaffinity(0)))
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
    rows.sort(key=lambda row: -row[0])
    header = ["operation", "size", "", *(f"{m.__name__}, ms" for m in frameworks), "/ torch"]
    print(table(header, [row for _, row in rows]))


if __name__ == "__main__":
    main()
