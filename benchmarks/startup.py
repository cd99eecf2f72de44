"""What starting costs: `import dynjax` beyond `import jax`, and the first training step.

    python benchmarks/startup.py [--only NAME ...] [--rounds N]

Each figure is the median of fresh processes. The first step is from the first line of the forward
pass to the loss read, everything compiled on the way, nothing cached on disk.
"""

from __future__ import annotations

import argparse

from common import fresh_process, load, median, table
from workloads import WORKLOADS

IMPORT = """
import sys, time
import jax
begin = time.perf_counter()
__import__(sys.argv[1])
print(time.perf_counter() - begin)
"""

FIRST_STEP = """
import sys, time
sys.path.insert(0, "benchmarks")
import numpy as np
import jax
from workloads import WORKLOADS, framework_step, initial_weights, jax_step

name, framework = sys.argv[1:]
work = WORKLOADS[name]
torch = __import__("dynjax" if framework == "jit" else framework)
weights = initial_weights(torch, work)
if framework == "jit":
    run = jax_step(work, weights)
else:
    run = framework_step(torch, work, weights)
begin = time.perf_counter()
run(1)
print(time.perf_counter() - begin)
run(1)
print(time.perf_counter() - begin)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = parser.add_argument("--only", nargs="+", choices=WORKLOADS, metavar="NAME")
    names.default = list(WORKLOADS)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()

    imports = [float(fresh_process(IMPORT, "dynjax")) for _ in range(arguments.rounds)]
    print(f"import dynjax, jax being imported: {median(imports):.3f} s\n")

    frameworks = ["dynjax", "jit", *(["torch"] if load("torch") else [])]
    rows = []
    for name in arguments.only:
        seconds: dict[str, list[list[float]]] = {framework: [] for framework in frameworks}
        for _ in range(arguments.rounds):
            for framework in frameworks:
                printed = fresh_process(FIRST_STEP, name, framework).split()
                seconds[framework].append([float(figure) for figure in printed])
        first, second = (
            {framework: median([row[step] for row in runs]) for framework, runs in seconds.items()}
            for step in (0, 1)
        )
        rows.append(
            [
                name,
                *(f"{first[framework]:.2f}" for framework in frameworks),
                f"{first['dynjax'] / first['jit']:.2f}",
                f"{second['dynjax'] / second['jit']:.2f}",
            ]
        )
    print(table(["s to first loss", *frameworks, "/ jit", "two steps / jit"], rows))


if __name__ == "__main__":
    main()
