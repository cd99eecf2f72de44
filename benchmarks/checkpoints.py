"""Checkpoints: saving and loading hundreds of MB, against safetensors and PyTorch.

    python benchmarks/checkpoints.py [--mb 400] [--rounds 5] [--folder /tmp]

Loading includes a look at every byte, since some loaders map the file and read later. dynjax
brings a file to the disk before it takes the place of the old one; the others are measured as they
are, and with the same `fsync`. `dynjax.load` maps files of this size, as safetensors does; with
`mmap=False` it copies them and looks at checksums, where `torch.load` only copies. safetensors is
its own library, with PyTorch's tensors. Needs both.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable

import numpy as np
from common import load, median, table

import dynjax
from dynjax.serialization import safetensors as ours

WIDTH = 1024


def weights(mb: int) -> dict[str, np.ndarray]:
    """Weights as of a transformer: some large matrices, as many small vectors."""
    random = np.random.default_rng(0)
    layers = max(1, mb * 10**6 // (4 * 4 * WIDTH * (WIDTH + 1)))
    return {
        f"layers.{layer}.{part}.{name}": random.standard_normal(shape, np.float32)
        for layer in range(layers)
        for part in "qkvo"
        for name, shape in (("weight", (WIDTH, WIDTH)), ("bias", (WIDTH,)))
    }


def seen(tensors: dict) -> float:
    """Something of every byte."""
    return float(
        sum(np.add.reduce(np.asarray(t).reshape(-1).view(np.uint32)) for t in tensors.values())
    )


def to_disk(path: str) -> None:
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def measured(runs: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each, interleaved, in an order that rotates."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    names = list(runs)
    for turn in range(rounds + 1):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            begin = time.perf_counter()
            runs[name]()
            if turn:  # the first is for the caches
                seconds[name].append(time.perf_counter() - begin)
    return {name: median(times) for name, times in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mb", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--folder", default=None, help="where to write; a temporary one if not given"
    )
    arguments = parser.parse_args()
    torch, theirs = load("torch"), load("safetensors.torch")
    if not torch or not theirs:
        sys.exit("this benchmark compares with PyTorch and safetensors: install both")

    arrays = weights(arguments.mb)
    mine = {name: dynjax.from_numpy(array) for name, array in arrays.items()}
    other = {name: torch.from_numpy(array) for name, array in arrays.items()}
    expected = seen(mine)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        st, pt = os.path.join(folder, "a.safetensors"), os.path.join(folder, "a.pt")
        st2, pt2 = os.path.join(folder, "b.safetensors"), os.path.join(folder, "b.pt")
        saving = {
            "safetensors": lambda: theirs.save_file(other, st),
            "safetensors + fsync": lambda: (theirs.save_file(other, st), to_disk(st)),
            "dynjax safetensors": lambda: ours.save_file(mine, st2),
            "torch.save": lambda: torch.save(other, pt),
            "torch.save + fsync": lambda: (torch.save(other, pt), to_disk(pt)),
            "dynjax.save": lambda: dynjax.save(mine, pt2),
        }
        saved = measured(saving, arguments.rounds)
        readers = {
            "safetensors": lambda: theirs.load_file(st),
            "dynjax safetensors": lambda: ours.load_file(st),
            "torch.load": lambda: torch.load(pt),
            "torch.load, mmap": lambda: torch.load(pt, mmap=True),
            "dynjax.load": lambda: dynjax.load(pt),
            "dynjax.load, mmap=False": lambda: dynjax.load(pt, mmap=False),
        }

        def looking(read: Callable[[], dict]) -> Callable[[], object]:
            def run() -> None:
                assert seen(read()) == expected

            return run

        loaded = measured({name: looking(read) for name, read in readers.items()}, arguments.rounds)
        size = os.path.getsize(st) / 1e6
    for verb, times in (("save", saved), ("load", loaded)):
        rows = [
            [name, f"{t:.3f}", f"{size / t:.0f}", f"{t / times['safetensors']:.2f}"]
            for name, t in times.items()
        ]
        print(table([f"{verb} {size:.0f} MB", "s", "MB/s", "/ safetensors"], rows), "\n")


if __name__ == "__main__":
    main()
