"""What the benchmarks share: the frameworks at hand, interleaved timing, tables."""

from __future__ import annotations

import importlib
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))


@cache
def load(name: str) -> ModuleType | None:
    """The module `name`, or None (with a line on stderr) if it is not installed."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        print(f"({name} is left out: {error})", file=sys.stderr)
        return None


@dataclass(frozen=True)
class Contender:
    """One way of doing the work.

    Attributes:
        name: the column of the table.
        run: does that many steps, waits for the last one, returns its loss.
        prepare: called before each round, outside of the timing.
    """

    name: str
    run: Callable[[int], float]
    prepare: Callable[[], None] = lambda: None


def interleave(
    contenders: Sequence[Contender], rounds: int, round_seconds: float = 0.1
) -> dict[str, list[float]]:
    """Seconds a step of every contender, a figure a round.

    In each round every contender takes a turn, in an order that rotates, so that whatever else
    the machine does falls on all of them alike. A turn is some untimed steps, for the caches and
    for threads left spinning by the one before, then about `round_seconds` of timed ones.
    """
    steps = {}
    for contender in contenders:
        contender.prepare()
        contender.run(3)
        steps[contender.name] = _steps_in(contender, round_seconds)
    seconds: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for turn in range(rounds):
        start = turn % len(contenders)
        for contender in [*contenders[start:], *contenders[:start]]:
            count = steps[contender.name]
            contender.prepare()
            contender.run(max(1, count // 10))
            begin = time.perf_counter()
            contender.run(count)
            seconds[contender.name].append((time.perf_counter() - begin) / count)
    return seconds


def _steps_in(contender: Contender, seconds: float) -> int:
    count = 1
    while True:
        begin = time.perf_counter()
        contender.run(count)
        elapsed = time.perf_counter() - begin
        if elapsed > seconds / 4:
            return max(1, round(count * seconds / elapsed))
        count *= 2


def median(figures: Sequence[float]) -> float:
    return statistics.median(figures)


def median_ratio(of: Sequence[float], to: Sequence[float]) -> float:
    """The median of the ratios round by round, which noise common to a round leaves alone."""
    return statistics.median(a / b for a, b in zip(of, to, strict=True))


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.3f}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Aligned columns: the first to the left, the others to the right."""
    lines = [list(map(str, row)) for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rule = "  ".join("-" * width for width in widths)
    text = [
        "  ".join(
            cell.rjust(width) if index else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    return "\n".join([text[0], rule, *text[1:]])


def fresh_process(code: str, *arguments: str) -> str:
    """What `code` prints when a new Python runs it from the root of the project.

    It finds modules compiled, as installed ones are, whatever the environment says.
    """
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"a measured process failed:\n{done.stderr}")
    return done.stdout.strip()


def resident_mib() -> float:
    """Resident memory of this process now."""
    return _status("VmRSS")


def peak_mib() -> float:
    """The most resident memory that this process ever had."""
    return _status("VmHWM")


def _status(field: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"/proc/self/status has no {field}")
