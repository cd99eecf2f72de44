"""A second start: from a new process to its first finished step, compiled programs on disk or not.

    python benchmarks/warm_start.py [--only NAME ...] [--rounds N]

`process` is from starting Python to the parameters after the first step, `step` without the imports
and the making of the model. A round is a first process, which finds the directory empty, and a
second; jit is the hand-written JAX step with JAX's own cache. The figures are medians.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time

from common import fresh_process, median, median_ratio, table
from workloads import WORKLOADS

PROCESS = """
import sys, time
sys.path.insert(0, "benchmarks")
name, framework, directory = sys.argv[1:]
import jax
if framework == "jit":
    jax.config.update("jax_compilation_cache_dir", directory)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
import dynjax
from workloads import WORKLOADS, framework_step, initial_weights, jax_step

dynjax.config.cache_dir = directory if framework == "dynjax" else ""
work = WORKLOADS[name]
weights = initial_weights(dynjax, work)
begin = time.perf_counter()
if framework == "jit":
    run = jax_step(work, weights)
else:
    run = framework_step(dynjax, work, weights)
run(1)
print(time.perf_counter() - begin, time.time())
"""


def start(name: str, framework: str, directory: str) -> tuple[float, float]:
    """Seconds of a process, and of its first step."""
    begin = time.time()
    step, end = map(float, fresh_process(PROCESS, name, framework, directory).split())
    return end - begin, step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = parser.add_argument("--only", nargs="+", choices=WORKLOADS, metavar="NAME")
    names.default = list(WORKLOADS)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    os.environ.pop("DYNJAX_CACHE_DIR", None)

    rows = []
    for name in arguments.only:
        for framework in ("dynjax", "jit"):
            first, second = [], []
            for _ in range(arguments.rounds):
                with tempfile.TemporaryDirectory() as directory:
                    first.append(start(name, framework, directory))
                    second.append(start(name, framework, directory))
            row = [f"{name}, {framework}"]
            for part in (0, 1):
                before, after = ([figures[part] for figures in runs] for runs in (first, second))
                row += [f"{median(before):.2f}", f"{median(after):.2f}"]
                row.append(f"{median_ratio(after, before):.2f}")
            rows.append(row)
    header = ["seconds", "process", "again", "ratio", "step", "again", "ratio"]
    print(table(header, rows))


if __name__ == "__main__":
    main()
