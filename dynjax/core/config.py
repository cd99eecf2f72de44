"""Settings that a program may change at run time; importing changes nothing outside dynjax."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass
class Config:
    """Bounds of what dynjax keeps, and what it reports.

    Attributes:
        node_budget: operations a trace may hold before it is flushed on its own.
        max_results: results kept in the middle of a trace, past which it runs operation by
            operation.
        max_programs: compiled programs kept (least recently used goes).
        max_steps: recorded trie positions kept over all traces.
        max_kernels: operations with settled types kept.
        explain: print one line for every compile.
        policy: how traces run: "compile" each whole, "interpret" operation by operation, or
            "auto": those with parts that recur as calls of these, equal and independent ones
            together, until the trace comes again. "parts" is the same but one by one, "batch"
            together wherever possible (see `batching`).
        background: whether "auto" compiles in a thread of its own.
        run_ahead: whether what followed the last times may be computed before it is recorded: a
            loop's next iterations with the read of a value, see `engine.ahead`; what a Module's
            call under `no_grad` runs, as it begins, see `engine.early`.
        padding: whether graphs that differ in nothing but the shapes of their data share programs
            on padded data, see `engine.padding`.
        cache_dir: a private directory where compiled programs persist from process to process;
            None asks the environment variable DYNJAX_CACHE_DIR, "" keeps nothing.
        cache_bytes: what that directory may hold (the oldest goes).
        max_recordings: signatures that one compiled function keeps recordings of (least recently
            used goes).
        check_compiled: compiled functions run their Python at every call and raise where a replay
            would have differed.
        cells: whether Modules that a new graph calls again and again become one step each, where
            nothing tells that from running their Python.
    """

    node_budget: int = 16_384
    max_results: int = 128
    max_programs: int = 512
    max_steps: int = 400_000
    max_kernels: int = 20_000
    explain: bool = False
    policy: str = "auto"
    background: bool = True
    run_ahead: bool = True
    padding: bool = True
    cache_dir: str | os.PathLike[str] | None = None
    cache_bytes: int = 2**30
    max_recordings: int = 256
    check_compiled: bool = False
    cells: bool = True


config = Config()
