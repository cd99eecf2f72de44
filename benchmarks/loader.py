"""DataLoader with workers against PyTorch's, on the same dataset of NumPy arrays.

    python benchmarks/loader.py [--workers 2] [--rounds 7] [--samples 512]

A sample is an image that NumPy cuts out, flips and normalises; a batch is handed over and one
number of it read. Workers persist, as starting them is another figure: dynjax spawns processes,
PyTorch (on Linux) forks them, which a process in which JAX runs can't do safely.
"""

from __future__ import annotations

import argparse
import sys
import time
from types import ModuleType
from typing import Any

import numpy as np
from common import load, median, median_ratio, table

SIZE = 128


class Images:
    """Images (3, 128, 128), float32, and their labels."""

    def __init__(self, samples: int) -> None:
        self.pixels = np.random.default_rng(0).integers(0, 255, (64, 160, 160, 3), np.uint8)
        self.samples = samples

    def __len__(self) -> int:
        return self.samples

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        image = self.pixels[index % len(self.pixels)]
        top, left = index % 32, index * 7 % 32
        image = image[top : top + SIZE, left : left + SIZE]
        if index % 2:
            image = image[:, ::-1]
        image = (image.astype(np.float32) - 127.5) / 64
        return np.ascontiguousarray(image.transpose(2, 0, 1)), index % 10


def a_pass(loader: Any) -> float:
    """Seconds that a pass takes, in which a number of each batch is looked at."""
    begin = time.perf_counter()
    for images, labels in loader:
        assert np.isfinite(np.asarray(images)[0, 0, 0, 0]) and np.asarray(labels)[0] < 10
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--samples", type=int, default=512)
    parser.add_argument("--batch", type=int, default=32)
    arguments = parser.parse_args()
    torch = load("torch")
    if not torch:
        sys.exit("this benchmark compares with PyTorch: install it")
    import dynjax

    def loader(package: ModuleType) -> Any:
        return package.utils.data.DataLoader(
            Images(arguments.samples),
            batch_size=arguments.batch,
            num_workers=arguments.workers,
            persistent_workers=arguments.workers > 0,
        )

    loaders = {"dynjax": loader(dynjax), "PyTorch": loader(torch)}
    first = {name: a_pass(each) for name, each in loaders.items()}
    seconds: dict[str, list[float]] = {name: [] for name in loaders}
    for turn in range(arguments.rounds):
        for name in sorted(loaders, reverse=bool(turn % 2)):
            seconds[name].append(a_pass(loaders[name]))
    megabytes = arguments.samples * 3 * SIZE * SIZE * 4 / 1e6
    rows = [
        [
            name,
            f"{first[name]:.2f}",
            f"{median(times):.3f}",
            f"{megabytes / median(times):.0f}",
            f"{median_ratio(times, seconds['PyTorch']):.2f}",
        ]
        for name, times in seconds.items()
    ]
    header = [f"{arguments.workers} workers", "first pass s", "pass s", "MB/s", "/ PyTorch"]
    print(table(header, rows))


if __name__ == "__main__":
    main()
