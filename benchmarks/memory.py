"""Memory: resident over 100,000 updates, and the peak of the larger training steps.

    python benchmarks/memory.py [--updates N]

Every figure comes from its own process (Linux: it is read from /proc).
"""

from __future__ import annotations

import argparse

from common import fresh_process, load, median, table

RESIDENT = """
import sys
sys.path.insert(0, "benchmarks")
from common import resident_mib
from workloads import WORKLOADS, framework_step, initial_weights
import dynjax

work = WORKLOADS["linear"]
run = framework_step(dynjax, work, initial_weights(dynjax, work))
tenth = int(sys.argv[1]) // 10
for _ in range(10):
    run(tenth)
    print(resident_mib())
"""

PEAK = """
import sys
sys.path.insert(0, "benchmarks")
from common import peak_mib
from workloads import WORKLOADS, framework_step, initial_weights, jax_step

name, framework = sys.argv[1:]
work = WORKLOADS[name]
torch = __import__("dynjax" if framework == "jit" else framework)
weights = initial_weights(torch, work)
before = peak_mib()
run = jax_step(work, weights) if framework == "jit" else framework_step(torch, work, weights)
run(20)
print(peak_mib() - before)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--updates", type=int, default=100_000)
    updates = parser.parse_args().updates

    resident = [float(line) for line in fresh_process(RESIDENT, str(updates)).split()]
    rows = [
        [f"{(index + 1) * updates // 10:,}", f"{mib:.1f}", f"{100 * (mib / resident[0] - 1):+.1f}"]
        for index, mib in enumerate(resident)
    ]
    print(table(["updates of Linear(1, 1)", "MiB resident", "% over the first"], rows), "\n")

    frameworks = ["dynjax", "jit", *(["torch"] if load("torch") else [])]
    rows = []
    for name in ("mlp512", "lenet", "gpt"):
        peaks = {
            framework: median([float(fresh_process(PEAK, name, framework)) for _ in range(3)])
            for framework in frameworks
        }
        rows.append(
            [
                name,
                *(f"{peaks[framework]:.0f}" for framework in frameworks),
                f"{peaks['dynjax'] / peaks['jit']:.2f}",
            ]
        )
    print(table(["MiB peak, compiling included", *frameworks, "/ jit"], rows))


if __name__ == "__main__":
    main()
