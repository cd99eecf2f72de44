"""Saves killed at random instants: the file must be the old one or the new one, every time.

    python benchmarks/killed_saves.py [--kills 200] [--mb 4] [--seed 0]

A process saves one state after the other to the same three checkpoints (PyTorch's format,
safetensors, sharded) and is killed (SIGKILL) after a random time. Every element of a state is the
state's number, so a file that mixes two, or is cut off, shows.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from common import ROOT, table

import dynjax
from dynjax.serialization import load_sharded
from dynjax.serialization.safetensors import load_file

SAVING = """
import sys
import numpy as np
import dynjax
from dynjax.serialization import save_sharded
from dynjax.serialization.safetensors import save_file

folder, elements, number = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
while True:
    number += 1
    state = {name: dynjax.from_numpy(np.full(elements, number)) for name in "abcd"}
    dynjax.save(state, f"{folder}/state.pt")
    save_file(state, f"{folder}/state.safetensors")
    save_sharded(state, folder, max_shard_size=elements * 16)
    print(number, flush=True)
"""
LOADERS = {
    "dynjax.save": ("state.pt", dynjax.load),
    "safetensors": ("state.safetensors", load_file),
    "sharded": ("model.safetensors.index.json", load_sharded),
}


def number_in(folder: Path, name: str) -> int:
    """The number of the state that a checkpoint holds; fails if it is not whole."""
    file, load = LOADERS[name]
    state = load(folder / file)
    numbers = {int(x) for tensor in state.values() for x in set(tensor.numpy().tolist())}
    if sorted(state) != list("abcd") or len(numbers) != 1:
        raise AssertionError(f"{file} holds {sorted(state)} of states {sorted(numbers)}")
    return numbers.pop()


def killed_once(folder: Path, elements: int, number: int, draw: random.Random) -> int:
    """Save from `number` on, kill after a random part of a second; the last number finished."""
    process = subprocess.Popen(
        [sys.executable, "-c", SAVING, str(folder), str(elements), str(number)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    done = int(process.stdout.readline())  # it has started, and every checkpoint is there
    time.sleep(draw.uniform(0, 0.2))
    process.send_signal(signal.SIGKILL)
    done = max([done, *map(int, process.stdout.read().split())])
    process.wait()
    process.stdout.close()
    return done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--mb", type=float, default=4)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    draw = random.Random(arguments.seed)
    elements = int(arguments.mb * 10**6 / 4 / 8)
    found: dict[str, Counter] = {name: Counter() for name in LOADERS}
    left = 0
    with tempfile.TemporaryDirectory() as made:
        folder, number = Path(made), 0
        for _ in range(arguments.kills):
            number = killed_once(folder, elements, number, draw)
            for name in LOADERS:
                held = number_in(folder, name)
                if held not in (number, number + 1):
                    raise AssertionError(f"{name} holds state {held}, {number} was finished")
                found[name]["new" if held > number else "old"] += 1
            left += len(list(folder.glob(".*.tmp")))
            for path in folder.glob(".*.tmp"):
                path.unlink()
    rows = [[name, str(count["old"]), str(count["new"]), "0"] for name, count in found.items()]
    print(table([f"{arguments.kills} kills", "old file", "new file", "corrupt"], rows))
    print(f"in {left} of them a file was being written")


if __name__ == "__main__":
    main()
