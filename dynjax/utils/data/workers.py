"""What a worker process of a loader does: it reads and collates, with NumPy alone."""

from __future__ import annotations

import contextlib
import functools
import mmap
import os
import random
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, NoReturn

import numpy as np

from ...core.later import load, when_loaded
from . import collate
from .dataset import IterableDataset
from .fetch import fetcher
from .transport import Channel, Ready

RESUME = -1  # the task of beginning the dataset anew; others are numbers of batches


class Ended:
    """Instead of a batch: the worker's stream is over."""


@dataclass(frozen=True)
class WorkerInfo:
    """Which worker of a loader this process is.

    Attributes:
        id: its number, from 0.
        num_workers: how many there are.
        seed: what random generators of this worker were seeded with.
        dataset: this worker's copy.
    """

    id: int
    num_workers: int
    seed: int
    dataset: Any


_info: WorkerInfo | None = None


def get_worker_info() -> WorkerInfo | None:
    """In a worker process of a DataLoader, which one it is; None elsewhere."""
    return _info


class Failure:
    """An exception of a worker, to be raised again in the main process.

    Args:
        error: the exception.
        worker: the worker's number.
    """

    def __init__(self, error: BaseException, worker: int) -> None:
        self.cls = type(error)
        text = "".join(traceback.format_exception(error))
        self.text = (
            f"Caught {self.cls.__name__} in DataLoader worker process {worker}.\nOriginal {text}"
        )

    def __reduce__(self) -> tuple:
        return _failure, (self.cls, self.text)

    def reraise(self) -> NoReturn:
        """Raise an exception of the same class, with the traceback in the worker as its text."""
        if issubclass(self.cls, KeyError):
            raise self.cls(_Verbatim(self.text))
        try:
            error = self.cls(self.text)
        except Exception:  # a class whose constructor takes something else
            raise RuntimeError(self.text) from None
        raise error


def _failure(cls: type[BaseException], text: str) -> Failure:
    failure = object.__new__(Failure)
    failure.cls, failure.text = cls, text
    return failure


class _Verbatim(str):
    """Text that a KeyError shows as it is, not quoted."""

    def __repr__(self) -> str:
        return str(self)


@dataclass(frozen=True)
class Plan:
    """What the main process tells all workers.

    Attributes:
        dataset, batched, collate_fn, drop_last: see `fetcher`.
        init: called with the worker's number before it reads.
        base_seed: worker i seeds with this and i.
        num_workers: how many there are.
    """

    dataset: Any
    batched: bool
    collate_fn: Callable[[Any], Any]
    drop_last: bool
    init: Callable[[int], Any] | None
    base_seed: int
    num_workers: int


def run(connection: Connection, worker: int, inherited: Connection | None = None) -> None:
    """The life of a worker: until the main process closes the connection, or dies.

    Args:
        connection: to the main process.
        worker: this worker's number.
        inherited: the main process's end, where a forked process has it too.
    """
    if inherited is not None:
        inherited.close()
    # Ctrl-C reaches all processes of a terminal: the main one decides, and closes the connection.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A dataset may compute with tensors; the accelerators belong to the main process.
    os.environ["JAX_PLATFORMS"] = "cpu"
    if "jax" in sys.modules:
        sys.modules["jax"].config.update("jax_platforms", "cpu")
    channel = Channel(connection)
    with contextlib.suppress(EOFError, OSError):  # nobody listens any more
        _serve(channel, worker)
    channel.close()


def _serve(channel: Channel, worker: int) -> None:
    fetch = plan = failed = None
    try:
        _, plan = channel.receive(mmap.ACCESS_COPY)
        _prepare(plan, worker)
    except Exception as error:
        failed = Failure(error, worker)
    while True:
        number, indices = channel.receive()
        if number == RESUME:
            fetch = None
            continue
        answer = failed
        if answer is None:
            try:
                fetch = fetch or fetcher(
                    plan.dataset, plan.batched, _on_host(plan.collate_fn), plan.drop_last
                )
                answer = fetch(indices)
            except Exception as error:
                answer = Failure(error, worker)
                if isinstance(error, StopIteration) and isinstance(plan.dataset, IterableDataset):
                    answer = Ended()
        try:
            channel.send(number, answer)
        except OSError:
            raise
        except Exception as error:  # the batch, or a class of exceptions, can't be pickled
            if type(answer) is Failure:
                answer.cls = RuntimeError
            else:
                answer = Failure(error, worker)
            channel.send(number, answer)
        answer = indices = None  # not to be kept while waiting


def _prepare(plan: Plan, worker: int) -> None:
    """Seed, and say who this is."""
    global _info
    if "jax" in sys.modules:  # imported by a part of dynjax that the dataset names, or by itself
        load()
    seed = plan.base_seed + worker
    random.seed(seed)
    when_loaded(lambda: load().manual_seed(seed % (1 << 63)))
    low, high = plan.base_seed & 0xFFFFFFFF, plan.base_seed >> 32
    np.random.seed(np.random.SeedSequence([worker, low, high, 0]).generate_state(4))
    _info = WorkerInfo(worker, plan.num_workers, seed, plan.dataset)
    if plan.init is not None:
        plan.init(worker)


def _on_host(collate_fn: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The same function; the default ones leave it to the main process to make tensors."""
    if collate_fn is collate.default_collate:
        return functools.partial(collate.collated, make=Ready)
    if collate_fn is collate.default_convert:
        return functools.partial(collate.converted, make=Ready)
    return collate_fn
