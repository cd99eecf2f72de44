"""The main process's side of workers: tasks to them, batches from them, and their end."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import signal
import time
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from typing import Any, NoReturn

from ...core.later import WORKER
from .transport import UNDERWAY, Channel, broadcast
from .workers import RESUME, Ended, Failure, Plan, run

_PATIENCE = 5.0  # seconds that a worker has to finish what it is at


@dataclass(eq=False)
class Worker:
    """A worker process.

    Attributes:
        process: the process.
        channel: to it.
        tasks: how many batches it owes.
        active: its stream has not ended.
    """

    process: BaseProcess
    channel: Channel
    tasks: int = 0
    active: bool = True


class Workers:
    """The workers of a loader, and the batches under way.

    Args:
        plan: what they do.
        context: how processes are started; None to spawn them.
        prefetch: batches that each prepares in advance.
        timeout: seconds to wait for a batch; 0 for no limit.
        in_order: batches come in the sampler's order.
    """

    def __init__(
        self, plan: Plan, context: Any, prefetch: int, timeout: float, in_order: bool
    ) -> None:
        self.timeout, self.in_order = timeout, in_order
        self.most = min(prefetch, UNDERWAY)
        self.workers: list[Worker] = []
        self.close = weakref.finalize(self, _shut_down, self.workers, os.getpid())
        context = context or multiprocessing.get_context("spawn")
        try:
            with _no_interrupts():
                for number in range(plan.num_workers):
                    self.workers.append(_start(context, number))
            broadcast([worker.channel for worker in self.workers], None, plan)
        except BaseException:
            self.close()
            raise
        self.sent = 0  # the numbers of batches go on from pass to pass
        self.owners: dict[int, Worker] = {}
        self.arrived: dict[int, Any] = {}

    def begin(self, keys: Iterator) -> None:
        """Begin a pass; what is left of the one before is dropped when it comes.

        Args:
            keys: what the sampler gives.
        """
        if self.sent:
            for worker in self.workers:
                worker.active = True
                self._send(worker, RESUME, None)
        self.owners.clear()
        self.arrived.clear()
        self.keys, self.turn = keys, itertools.cycle(self.workers)
        for _ in range(self.most * len(self.workers)):
            self._assign()

    def take(self) -> Any:
        """The next batch.

        Raises:
            StopIteration: there is none.
            RuntimeError: a worker is dead, or took too long. And what a worker raised.
        """
        self._receive(0)  # a batch sets out to its device when it is here, not when it is asked for
        while self.owners:
            number = next(iter(self.owners if self.in_order else self.arrived), None)
            if number not in self.arrived:
                self._wait()
                continue
            batch, worker = self.arrived.pop(number), self.owners.pop(number)
            worker.active &= type(batch) is not Ended
            self._assign()
            if type(batch) is Failure:
                batch.reraise()
            if type(batch) is not Ended:
                return batch
        raise StopIteration

    def _assign(self) -> None:
        """Give the next task to a worker."""
        active = [worker for worker in self.workers if worker.active]
        if not active:
            return
        try:
            key = next(self.keys)
        except StopIteration:
            return
        if self.in_order:
            worker = next(worker for worker in self.turn if worker.active)
        else:
            worker = min(active, key=lambda worker: worker.tasks)
        number, self.sent = self.sent, self.sent + 1
        self.owners[number] = worker
        worker.tasks += 1
        self._send(worker, number, key)

    def _send(self, worker: Worker, number: int, key: Any) -> None:
        try:
            worker.channel.send(number, key)
        except OSError:
            self._lost(worker)

    def _wait(self) -> None:
        if not self._receive(self.timeout or None):
            raise RuntimeError(f"DataLoader timed out after {self.timeout} seconds")

    def _receive(self, timeout: float | None) -> bool:
        """Take in what is there, or comes within a time; whether anything did."""
        channels = {w.channel.connection: w for w in self.workers if w.tasks}
        ready = connection.wait(list(channels), timeout)
        for end in ready:
            worker = channels[end]
            try:
                number, batch = worker.channel.receive()
            except (EOFError, OSError):
                self._lost(worker)
            except BaseException:  # it may have stopped in the middle of a message
                self.close()
                raise
            worker.tasks -= 1
            if number in self.owners:
                self.arrived[number] = batch
        return bool(ready)

    def _lost(self, worker: Worker) -> NoReturn:
        """Say that a worker is dead, and how it died."""
        process = worker.process
        process.join(_PATIENCE)
        pid, code = process.pid, process.exitcode
        self.close()
        how = f"exited unexpectedly with exit code {code}. Details are lost due to multiprocessing."
        if code is not None and code < 0:
            how = f"is killed by signal: {signal.strsignal(-code)}. "
        cause = RuntimeError(f"DataLoader worker (pid {pid}) {how}")
        raise RuntimeError(f"DataLoader worker (pid(s) {pid}) exited unexpectedly") from cause


def _start(context: Any, number: int) -> Worker:
    ours, theirs = multiprocessing.Pipe()
    forked = context.get_start_method() == "fork"
    process = context.Process(
        name=f"{WORKER}{number}",
        target=run,
        args=(theirs, number, ours if forked else None),
        daemon=True,
    )
    try:
        process.start()
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    return Worker(process, Channel(ours))


@contextlib.contextmanager
def _no_interrupts() -> Iterator[None]:
    """Processes started here begin with Ctrl-C blocked, as nobody would handle it yet."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _shut_down(workers: list[Worker], owner: int) -> None:
    """End the processes: they notice that their connection is closed, or are made to end.

    A process that was forked from the owner has ends of the connections too, and only closes them.
    """
    for worker in workers:
        worker.channel.close()
    if os.getpid() != owner:
        return
    deadline = time.monotonic() + _PATIENCE
    for worker in workers:
        worker.process.join(max(0.0, deadline - time.monotonic()))
        for end in (worker.process.terminate, worker.process.kill):
            if worker.process.is_alive():
                end()
                worker.process.join(_PATIENCE)
        worker.process.close()
    workers.clear()
