"""A softmax over very many classes, of which few are frequent."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from ..ops.shape import cat
from ..tensor.tensor import Tensor
from . import functional as F
from .containers import ModuleList, Sequential
from .linear import Linear
from .module import Module

__all__ = ["AdaptiveLogSoftmaxWithLoss"]


class _ASMoutput(NamedTuple):
    output: Tensor
    loss: Tensor


class AdaptiveLogSoftmaxWithLoss(Module):
    """Log-softmax in clusters: frequent classes first, rarer ones through smaller layers
    (arXiv:1609.04309).

    Args:
        in_features: the features of an input.
        n_classes: the number of classes, sorted by falling frequency.
        cutoffs: where clusters end; the classes before the first are in the head.
        div_value: by how much each cluster's layer is narrower than the one before.
        head_bias: whether the head has a bias.
        device: where the parameters live.
        dtype: their type, by default the default dtype.

    Attributes:
        head: of the frequent classes and one output for each cluster.
        tail: two linear layers for each cluster.

    Raises:
        ValueError: cutoffs that are not rising integers between 1 and `n_classes - 1`.
    """

    in_features: int
    n_classes: int
    cutoffs: list[int]
    div_value: float
    head_bias: bool

    def __init__(
        self,
        in_features: int,
        n_classes: int,
        cutoffs: Sequence[int],
        div_value: float = 4.0,
        head_bias: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        cutoffs = list(cutoffs)
        if not cutoffs:
            raise ValueError("cutoffs should be a sequence of length larger than 0")
        rising = all(a < b for a, b in pairwise(cutoffs))
        whole = all(int(c) == c for c in cutoffs)
        if not rising or not whole or cutoffs[0] <= 0 or cutoffs[-1] > n_classes - 1:
            raise ValueError(
                "cutoffs should be a sequence of unique, positive integers sorted in an "
                "increasing order, where each value is between 1 and n_classes-1, got "
                f"{cutoffs} for {n_classes} classes"
            )
        self.in_features = in_features
        self.n_classes = n_classes
        self.cutoffs = [*cutoffs, n_classes]
        self.div_value = div_value
        self.head_bias = head_bias
        self.shortlist_size = cutoffs[0]
        self.n_clusters = len(cutoffs)
        self.head_size = self.shortlist_size + self.n_clusters
        self.head = Linear(in_features, self.head_size, head_bias, device, dtype)
        self.tail = ModuleList()
        for i, (start, stop) in enumerate(pairwise(self.cutoffs)):
            width = int(in_features // div_value ** (i + 1))
            self.tail.append(
                Sequential(
                    Linear(in_features, width, False, device, dtype),
                    Linear(width, stop - start, False, device, dtype),
                )
            )

    def reset_parameters(self) -> None:
        """Draw the parameters anew."""
        self.head.reset_parameters()
        for narrow, wide in self.tail:
            narrow.reset_parameters()
            wide.reset_parameters()

    def forward(self, input_: Tensor, target_: Tensor) -> _ASMoutput:
        """The log-probability of each sample's class, and minus its mean.

        All clusters are computed for all samples, for which of them a sample needs is data. A
        class out of range gives the log-probability of a class that exists.

        Args:
            input_: (N, in_features) or (in_features,).
            target_: (N,) or (), the classes.

        Raises:
            RuntimeError: shapes that do not fit.
        """
        batched = target_.dim() > 0
        if target_.dim() > 1:
            raise RuntimeError("0D or 1D target tensor expected, multi-target not supported")
        if batched and input_.shape[0] != target_.shape[0]:
            raise RuntimeError(
                "Input and target should have the same size in the batch dimension, got "
                f"{input_.shape[0]} and {target_.shape[0]}."
            )
        if input_.dim() != target_.dim() + 1:
            raise RuntimeError(
                f"{target_.dim()}D target tensor expects {target_.dim() + 1}D input tensors, but "
                f"found inputs with size {input_.shape}"
            )
        input = input_ if batched else input_.unsqueeze(0)
        target = target_ if batched else target_.unsqueeze(0)
        index = target.clamp(0, self.shortlist_size - 1)
        inside = None
        for i, (start, stop) in enumerate(pairwise(self.cutoffs)):
            here = target >= start
            index = index.masked_fill(here, self.shortlist_size + i)
            found = F.log_softmax(self.tail[i](input), dim=1)
            place = (target - start).clamp(0, stop - start - 1)
            found = found.gather(1, place.unsqueeze(1)).squeeze(1)
            inside = found.where(here, 0.0 if inside is None else inside)
        head = F.log_softmax(self.head(input), dim=1)
        output = head.gather(1, index.unsqueeze(1)).squeeze(1) + inside
        loss = -output.mean()
        return _ASMoutput(output if batched else output.squeeze(0), loss)

    def _all_log_probs(self, input: Tensor, head_output: Tensor) -> Tensor:
        head = F.log_softmax(head_output, dim=1)
        first = self.shortlist_size
        found = [head[:, :first]]
        for i, layers in enumerate(self.tail):
            cluster = head[:, first + i : first + i + 1]
            found.append(F.log_softmax(layers(input), dim=1) + cluster)
        return cat(found, 1)

    def log_prob(self, input: Tensor) -> Tensor:
        """The log-probabilities of all classes, (N, n_classes)."""
        return self._all_log_probs(input, self.head(input))

    def predict(self, input: Tensor) -> Tensor:
        """The most probable class of each sample, (N,); the head decides if it is frequent."""
        head_output = self.head(input)
        first = head_output.argmax(1)
        rest = self._all_log_probs(input, head_output).argmax(1)
        return first.where(first < self.shortlist_size, rest)
