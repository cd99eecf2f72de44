"""What one operation costs to record, Tensor and tape node included, and an eager one in PyTorch.

    python benchmarks/recording.py [--rounds N]

A chain of operations on a small tensor that requires a gradient is timed while it is recorded; it
is run, untimed, after each round. PyTorch's figure includes computing, which is next to nothing
here. The chain is the same every round, as in training, where all steps but the first few repeat.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable
from typing import Any

from common import load, median, table

LENGTH = 100

Step = Callable[[Any], Any]


def operations(torch: Any) -> dict[str, tuple[Any, Step]]:
    """Name -> (the tensor to start from, the operation)."""
    matrix = torch.ones(4, 4) * 0.25
    bias = torch.zeros(4)
    weight = (torch.ones(4, 4) * 0.25).requires_grad_()
    start = torch.ones(4, 4, requires_grad=True)
    linear = torch.nn.functional.linear
    return {
        "unary: x.tanh()": (start, lambda x: x.tanh()),
        "binary: x + y": (start, lambda x: x + matrix),
        "binary: x * y": (start, lambda x: x * matrix),
        "with number: x * 0.9": (start, lambda x: x * 0.9),
        "matmul: x @ w": (start, lambda x: x @ weight),
        "view: x.t()": (start, lambda x: x.t()),
        "linear(x, w, b)": (start, lambda x: linear(x, weight, bias)),
    }


def seconds_an_operation(start: Any, operation: Step) -> float:
    x = start
    begin = time.perf_counter()
    for _ in range(LENGTH):
        x = operation(x)
    seconds = (time.perf_counter() - begin) / LENGTH
    x.detach().numpy()
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=50)
    rounds = parser.parse_args().rounds
    frameworks = {name: module for name in ("dynjax", "torch") if (module := load(name))}
    chains = {name: operations(module) for name, module in frameworks.items()}
    rows = []
    gc.disable()
    for operation in next(iter(chains.values())):
        figures: dict[str, list[float]] = {name: [] for name in frameworks}
        for turn in range(rounds + 3):
            for name in frameworks:
                seconds = seconds_an_operation(*chains[name][operation])
                if turn >= 3:
                    figures[name].append(seconds)
        gc.collect()
        medians = {name: median(values) * 1e6 for name, values in figures.items()}
        ratio = medians["dynjax"] / medians["torch"] if len(medians) == 2 else None
        rows.append(
            [
                operation,
                *(
                    f"{medians[name]:.2f}" if name in medians else "-"
                    for name in ("dynjax", "torch")
                ),
                "-" if ratio is None else f"{ratio:.2f}",
            ]
        )
    print(table(["µs an operation", "dynjax", "torch", "/ torch"], rows))


if __name__ == "__main__":
    main()
