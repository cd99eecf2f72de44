"""Logs for TensorBoard, as `torch.utils.tensorboard`; tensorboardX writes them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NoReturn

from ..tensor.tensor import Tensor

try:
    import tensorboardX
except ImportError as _error:
    raise ImportError(
        "dynjax.utils.tensorboard needs tensorboardX, which is not installed: "
        "pip install 'dynjax[tensorboard]'"
    ) from _error

__all__ = ["SummaryWriter"]


def _arrays(x: Any) -> Any:
    """The same with NumPy arrays for tensors."""
    if isinstance(x, Tensor):
        return x.numpy(force=True)
    if type(x) in (list, tuple):
        return type(x)(map(_arrays, x))
    return {key: _arrays(value) for key, value in x.items()} if type(x) is dict else x


def _with_arrays(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        return method(self, *_arrays(args), **_arrays(kwargs))

    return call


class SummaryWriter(tensorboardX.SummaryWriter):
    """Writes files that TensorBoard shows; its `add_...` methods take tensors.

    Args:
        log_dir: the folder; None for one below "runs" named after time and machine.
        comment: at the end of that name.
        purge_step: forget what was logged from this step on, after a crash.
        max_queue: entries that wait for being written.
        flush_secs: seconds after which they are.
        filename_suffix: of the files.
    """

    def __init__(
        self,
        log_dir: str | None = None,
        comment: str = "",
        purge_step: int | None = None,
        max_queue: int = 10,
        flush_secs: int = 120,
        filename_suffix: str = "",
    ) -> None:
        super().__init__(
            log_dir,
            comment,
            purge_step=purge_step,
            max_queue=max_queue,
            flush_secs=flush_secs,
            filename_suffix=filename_suffix,
        )
        self.log_dir = self.logdir

    add_scalar = _with_arrays(tensorboardX.SummaryWriter.add_scalar)
    add_scalars = _with_arrays(tensorboardX.SummaryWriter.add_scalars)
    add_histogram = _with_arrays(tensorboardX.SummaryWriter.add_histogram)
    add_image = _with_arrays(tensorboardX.SummaryWriter.add_image)
    add_images = _with_arrays(tensorboardX.SummaryWriter.add_images)
    add_video = _with_arrays(tensorboardX.SummaryWriter.add_video)
    add_audio = _with_arrays(tensorboardX.SummaryWriter.add_audio)
    add_embedding = _with_arrays(tensorboardX.SummaryWriter.add_embedding)
    add_pr_curve = _with_arrays(tensorboardX.SummaryWriter.add_pr_curve)
    add_mesh = _with_arrays(tensorboardX.SummaryWriter.add_mesh)
    add_hparams = _with_arrays(tensorboardX.SummaryWriter.add_hparams)

    def add_graph(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Not there: `dynjax.graph` shows graphs."""
        raise NotImplementedError(
            "graphs are not written for TensorBoard: dynjax.graph(output).graphviz() or .mermaid() "
            "draws them"
        )
