"""Averaged models, as `torch.optim.swa_utils`: stochastic weight averaging, moving averages."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np

from ..autograd import no_grad
from ..autograd.multi_tensor import MultiTensor
from ..nn.batchnorm import _BatchNorm
from ..nn.module import Module
from ..tensor.storage import write
from ..tensor.tensor import Tensor, from_host, host_value
from .lr_scheduler.base import LRScheduler, Rates, per_group
from .optimizer import Optimizer

__all__ = [
    "SWALR",
    "AveragedModel",
    "get_ema_avg_fn",
    "get_ema_multi_avg_fn",
    "get_swa_avg_fn",
    "get_swa_multi_avg_fn",
    "update_bn",
]

Average = Callable[[Tensor, Tensor, Tensor | int], Tensor]
MultiAverage = Callable[[Sequence[Tensor], Sequence[Tensor], Tensor | int], None]


def _check_decay(decay: float) -> None:
    if decay < 0.0 or decay > 1.0:
        raise ValueError(
            f"Invalid decay value {decay} provided. Please provide a value in [0,1] range."
        )


def _moved_all(*, averaged: Sequence[Any], current: Sequence[Any], weight: Any) -> tuple:
    return ([_moved(a, c, weight) for a, c in zip(averaged, current, strict=True)],)


def _moved(a: Any, c: Any, weight: Any) -> Any:
    """`a` moved towards `c`; integers are computed in float32 and cut off."""
    if not jnp.issubdtype(a.dtype, jnp.inexact):
        weight = weight.astype(jnp.float32)
        return (a * (1 - weight) + c * weight).astype(a.dtype)
    weight = weight.astype(jnp.finfo(a.dtype).dtype)
    # From the nearer end, so that a weight of 1 gives exactly the other.
    moved = jnp.where(weight < 0.5, a + weight * (c - a), c - (c - a) * (1 - weight))
    return moved.astype(a.dtype)


_move = MultiTensor(
    _moved_all, writes=("averaged",), reads=("current",), numbers=("weight",), name="average"
)


def get_ema_multi_avg_fn(decay: float = 0.999) -> MultiAverage:
    """A function of (averages, parameters, count) that makes each average an exponential one.

    Args:
        decay: how much of the average is kept.

    Raises:
        ValueError: a decay outside [0, 1].
    """
    _check_decay(decay)

    @no_grad()
    def ema_update(averaged: Sequence[Tensor], current: Sequence[Tensor], _: Any) -> None:
        _move(averaged=list(averaged), current=list(current), weight=1 - decay)

    return ema_update


def get_swa_multi_avg_fn() -> MultiAverage:
    """A function of (averages, parameters, count) that makes each average one of equal weights."""

    @no_grad()
    def swa_update(
        averaged: Sequence[Tensor], current: Sequence[Tensor], num_averaged: Tensor | int
    ) -> None:
        weight = 1 / (float(num_averaged) + 1)
        _move(averaged=list(averaged), current=list(current), weight=weight)

    return swa_update


def get_ema_avg_fn(decay: float = 0.999) -> Average:
    """As `get_ema_multi_avg_fn`, for one parameter, returning the new average."""
    _check_decay(decay)

    @no_grad()
    def ema_update(averaged: Tensor, current: Tensor, num_averaged: Any) -> Tensor:
        return decay * averaged + (1 - decay) * current

    return ema_update


def get_swa_avg_fn() -> Average:
    """As `get_swa_multi_avg_fn`, for one parameter, returning the new average."""

    @no_grad()
    def swa_update(averaged: Tensor, current: Tensor, num_averaged: Tensor | int) -> Tensor:
        return averaged + (current - averaged) / (num_averaged + 1)

    return swa_update


class AveragedModel(Module):
    """A copy of a model whose parameters are averages of the model's.

    Args:
        model: copied.
        device: where to.
        avg_fn: (average, parameter, count) -> new average.
        multi_avg_fn: (averages, parameters, count) -> None, changing the averages, for all at once.
            Of equal weights if neither is given.
        use_buffers: average buffers too; else they are copied.

    Attributes:
        module: the copy.
        n_averaged: how many updates there were; its value is known without asking a device.

    Raises:
        AssertionError: both functions given.

    Source: torch.optim.swa_utils; Izmailov et al., https://arxiv.org/abs/1803.05407.
    """

    n_averaged: Tensor

    def __init__(
        self,
        model: Module,
        device: Any = None,
        avg_fn: Average | None = None,
        multi_avg_fn: MultiAverage | None = None,
        use_buffers: bool = False,
    ) -> None:
        super().__init__()
        if avg_fn is not None and multi_avg_fn is not None:
            raise AssertionError("Only one of avg_fn and multi_avg_fn should be provided")
        self.module = deepcopy(model)
        count = from_host(np.zeros((), np.int64))
        if device is not None:
            self.module = self.module.to(device)
            count = count.to(device)
        self.register_buffer("n_averaged", count)
        self.avg_fn = avg_fn
        self.multi_avg_fn = multi_avg_fn
        self.use_buffers = use_buffers

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The copy's result."""
        return self.module(*args, **kwargs)

    @no_grad()
    def update_parameters(self, model: Module) -> None:
        """Take the model's parameters into the averages; the first time, copy them."""
        ours, theirs = [*self.module.parameters()], [*model.parameters()]
        if self.use_buffers:
            ours += self.module.buffers()
            theirs += model.buffers()
        theirs = [t.detach().to(o.device) for t, o in zip(theirs, ours, strict=False)]
        ours = [average.detach() for average in ours[: len(theirs)]]
        count = int(self.n_averaged)
        if count == 0:
            for average, current in zip(ours, theirs, strict=True):
                average.copy_(current)
        elif self.avg_fn is not None:
            for average, current in zip(ours, theirs, strict=True):
                average.copy_(self.avg_fn(average, current, self.n_averaged))
        else:
            kinds: dict[Any, tuple[list[Tensor], list[Tensor]]] = {}
            for average, current in zip(ours, theirs, strict=True):
                group = kinds.setdefault((average.device, average.dtype), ([], []))
                group[0].append(average)
                group[1].append(current)
            update = self.multi_avg_fn or get_swa_multi_avg_fn()
            for averages, currents in kinds.values():
                update(averages, currents, self.n_averaged)
        if not self.use_buffers:
            for average, current in zip(self.module.buffers(), model.buffers(), strict=True):
                average.detach().copy_(current.detach().to(average.device))
        # A number from the host, so that reading it never waits.
        write(self.n_averaged, host_value(np.array(count + 1, np.int64), self.n_averaged.device))


@no_grad()
def update_bn(loader: Iterable[Any], model: Module, device: Any = None) -> None:
    """Compute the running statistics of a model's batch normalisations anew, over all of a loader.

    Args:
        loader: of batches, or of sequences whose first member is the batch.
        model: is run on each of them.
        device: where the batches go first.
    """
    momenta = {}
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.reset_running_stats()
            momenta[module] = module.momentum
    if not momenta:
        return
    was_training = model.training
    model.train()
    for module in momenta:
        module.momentum = None
    for batch in loader:
        if isinstance(batch, (list, tuple)):
            batch = batch[0]
        model(batch if device is None else batch.to(device))
    for module, momentum in momenta.items():
        module.momentum = momentum
    model.train(was_training)


class SWALR(LRScheduler):
    """From the present rates to a constant one, in some epochs.

    Args:
        optimizer, last_epoch: as `LRScheduler`.
        swa_lr: the constant rate, one for all groups or one for each.
        anneal_epochs: epochs on the way.
        anneal_strategy: "cos" or "linear".

    Raises:
        ValueError: another strategy, a negative number of epochs.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        swa_lr: float | list[float],
        anneal_epochs: int = 10,
        anneal_strategy: Literal["cos", "linear"] = "cos",
        last_epoch: int = -1,
    ) -> None:
        rates = per_group("swa_lr", optimizer, swa_lr)
        for rate, group in zip(rates, optimizer.param_groups, strict=True):
            group["swa_lr"] = rate
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(
                f"anneal_strategy must be one of 'cos' or 'linear', instead got {anneal_strategy}"
            )
        self._anneal_strategy = anneal_strategy
        if not isinstance(anneal_epochs, int) or anneal_epochs < 0:
            raise ValueError(f"anneal_epochs must be equal or greater than 0, got {anneal_epochs}")
        self.anneal_epochs = anneal_epochs
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> Rates:
        """The rates for this epoch, one per group."""
        self._warn_if_called_by_user()
        step = self._step_count - 1
        if self.anneal_epochs == 0:
            step = max(1, step)
        before, now = self._share(step - 1), self._share(step)
        rates = []
        for group in self.optimizer.param_groups:
            rate, end = group["lr"], group["swa_lr"]
            start = end if before == 1 else (rate - before * end) / (1 - before)
            rates.append(end * now + start * (1 - now))
        return rates

    def _share(self, step: int) -> float:
        """How far the way is gone after a number of steps."""
        t = max(0, min(1, step / max(1, self.anneal_epochs)))
        return t if self._anneal_strategy == "linear" else (1 - math.cos(math.pi * t)) / 2
