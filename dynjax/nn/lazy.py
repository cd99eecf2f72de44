"""Layers that learn the sizes of their inputs from the first one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..autograd.modes import no_grad
from ..tensor.tensor import Tensor
from .batchnorm import BatchNorm1d, BatchNorm2d, BatchNorm3d, _counter, _NormBase
from .conv import (
    Conv1d,
    Conv2d,
    Conv3d,
    ConvTranspose1d,
    ConvTranspose2d,
    ConvTranspose3d,
    _ConvNd,
)
from .instancenorm import InstanceNorm1d, InstanceNorm2d, InstanceNorm3d
from .linear import Linear
from .module import Module
from .parameter import UninitializedBuffer, UninitializedParameter, is_lazy

__all__ = [
    "LazyBatchNorm1d",
    "LazyBatchNorm2d",
    "LazyBatchNorm3d",
    "LazyConv1d",
    "LazyConv2d",
    "LazyConv3d",
    "LazyConvTranspose1d",
    "LazyConvTranspose2d",
    "LazyConvTranspose3d",
    "LazyInstanceNorm1d",
    "LazyInstanceNorm2d",
    "LazyInstanceNorm3d",
    "LazyLinear",
]


class LazyModuleMixin:
    """A module some of whose parameters get their shapes in the first call.

    A subclass makes them `UninitializedParameter`s (or buffers), and defines
    `initialize_parameters(*input)`, which materializes them.

    Attributes:
        cls_to_become: the class of the module after the first call, or None for the same.
    """

    cls_to_become: type[Module] | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._load_hook = self._register_load_state_dict_pre_hook(self._lazy_load_hook)
        self._initialize_hook = self.register_forward_pre_hook(
            self._infer_parameters, with_kwargs=True
        )

    def _members(self) -> dict[str, Any]:
        return {**self._parameters, **self._buffers}

    def _save_to_state_dict(
        self, destination: dict[str, Any], prefix: str, keep_vars: bool
    ) -> None:
        for name, value in self._members().items():
            if value is not None and name not in self._non_persistent_buffers_set:
                kept = keep_vars or is_lazy(value)
                destination[prefix + name] = value if kept else value.detach()

    def _lazy_load_hook(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        for name, value in self._members().items():
            given = state_dict.get(prefix + name)
            if is_lazy(value) and given is not None and not is_lazy(given):
                with no_grad():
                    value.materialize(given.shape)

    def initialize_parameters(self, *args: Any, **kwargs: Any) -> None:
        """Materialize the parameters for these inputs.

        Raises:
            NotImplementedError: where a subclass does not define it.
        """
        raise NotImplementedError(
            f"initialize_parameters is not implemented for {type(self).__name__}"
        )

    def has_uninitialized_params(self) -> bool:
        """Whether parameters or buffers wait for their shapes."""
        return any(map(is_lazy, self._members().values()))

    def _infer_parameters(self, module: Module, args: tuple, kwargs: dict | None = None) -> None:
        self.initialize_parameters(*args, **(kwargs or {}))
        if self.has_uninitialized_params():
            raise RuntimeError(f"module {self._get_name()} has not been fully initialized")
        self._initialize_hook.remove()
        self._load_hook.remove()
        del self._initialize_hook, self._load_hook
        if self.cls_to_become is not None:
            self.__class__ = self.cls_to_become

    def reset_parameters(self) -> None:
        """Draw the parameters anew, once they have shapes."""
        if not self.has_uninitialized_params() and self._size_is_known():
            super().reset_parameters()

    def _size_is_known(self) -> bool:
        return True


class LazyLinear(LazyModuleMixin, Linear):
    """`Linear` whose `in_features` is the size of the first input's last dimension.

    Args:
        out_features, bias, device, dtype: as of `Linear`.
    """

    cls_to_become = Linear

    def __init__(
        self, out_features: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__(0, 0, False)
        self.weight = UninitializedParameter(device=device, dtype=dtype)
        self.out_features = out_features
        if bias:
            self.bias = UninitializedParameter(device=device, dtype=dtype)

    def _size_is_known(self) -> bool:
        return self.in_features != 0

    def initialize_parameters(self, input: Tensor) -> None:
        """Materialize weight and bias for this input."""
        if self.in_features == 0 and not self.has_uninitialized_params():  # a state was loaded
            self.in_features = self.weight.shape[-1]
        if self.has_uninitialized_params():
            self.in_features = input.shape[-1]
            with no_grad():
                self.weight.materialize((self.out_features, self.in_features))
                if self.bias is not None:
                    self.bias.materialize((self.out_features,))
                self.reset_parameters()


class _LazyConv(LazyModuleMixin):
    """A convolution whose `in_channels` is that of the first input.

    Args:
        out_channels, kernel_size, ...: as of the convolution, without `in_channels`.
    """

    def __init__(
        self,
        out_channels: int,
        kernel_size: int | Sequence[int],
        *args: Any,
        **kwargs: Any,
    ) -> None:
        names = self._settings
        if len(args) > len(names):
            raise TypeError(
                f"{type(self).__name__}.__init__() takes {len(names) + 3} positional arguments "
                f"but {len(args) + 3} were given"
            )
        given = dict(zip(names, args, strict=False)) | kwargs
        bias = given.pop("bias", True)
        super().__init__(0, 0, kernel_size, bias=False, **given)
        where = {"device": given.get("device"), "dtype": given.get("dtype")}
        self.weight = UninitializedParameter(**where)
        self.out_channels = out_channels
        if bias:
            self.bias = UninitializedParameter(**where)

    _settings: tuple[str, ...] = (
        "stride", "padding", "dilation", "groups", "bias", "padding_mode", "device", "dtype",
    )  # fmt: skip

    def _size_is_known(self) -> bool:
        return self.in_channels != 0

    def initialize_parameters(self, input: Tensor, *args: Any, **kwargs: Any) -> None:
        """Materialize weight and bias for this input.

        Raises:
            RuntimeError: another number of dimensions.
            ValueError: channels that the groups do not divide.
        """
        if not self.has_uninitialized_params():
            return
        ndim = len(self.kernel_size)
        if input.dim() not in (ndim + 1, ndim + 2):
            raise RuntimeError(
                f"Expected {ndim + 1}D (unbatched) or {ndim + 2}D (batched) input to "
                f"{type(self).__name__}, but got input of size: {input.shape}"
            )
        self.in_channels = input.shape[-ndim - 1]
        if self.in_channels % self.groups != 0:
            raise ValueError(
                f"in_channels must be divisible by groups, got {self.in_channels} and {self.groups}"
            )
        first, second = self.out_channels, self.in_channels // self.groups
        if self.transposed:
            first, second = self.in_channels, self.out_channels // self.groups
        with no_grad():
            self.weight.materialize((first, second, *self.kernel_size))
            if self.bias is not None:
                self.bias.materialize((self.out_channels,))
            self.reset_parameters()


class _LazyConvTranspose(_LazyConv):
    _settings = (
        "stride", "padding", "output_padding", "groups", "bias", "dilation", "padding_mode",
        "device", "dtype",
    )  # fmt: skip


class _LazyNorm(LazyModuleMixin):
    """A channel-wise normalisation whose `num_features` is the first input's channels.

    Args:
        eps, momentum, affine, track_running_stats, device, dtype, bias: as of the layer.
    """

    def __init__(
        self,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(0, eps, momentum, False, False, device, dtype, bias=bias)
        self.affine = affine
        self.track_running_stats = track_running_stats
        where = {"device": device, "dtype": dtype}
        if self.affine:
            self.weight = UninitializedParameter(**where)
            if bias:
                self.bias = UninitializedParameter(**where)
        if self.track_running_stats:
            self.running_mean = UninitializedBuffer(**where)
            self.running_var = UninitializedBuffer(**where)
            self.num_batches_tracked = _counter(device)

    def _size_is_known(self) -> bool:
        return self.num_features != 0

    def initialize_parameters(self, input: Tensor) -> None:
        """Materialize parameters and running statistics for this input."""
        if self.has_uninitialized_params():
            self.num_features = input.shape[1]
            for value in self._members().values():
                if is_lazy(value):
                    value.materialize((self.num_features,))
            self.reset_parameters()


def _lazy(base: type[_ConvNd | _NormBase], mixin: type[LazyModuleMixin]) -> type[Module]:
    """The lazy layer that becomes a layer of class `base`."""
    doc = f"`{base.__name__}` that takes its number of channels from the first input."
    namespace = {"cls_to_become": base, "__doc__": doc, "__module__": __name__}
    return type(f"Lazy{base.__name__}", (mixin, base), namespace)


LazyConv1d = _lazy(Conv1d, _LazyConv)
LazyConv2d = _lazy(Conv2d, _LazyConv)
LazyConv3d = _lazy(Conv3d, _LazyConv)
LazyConvTranspose1d = _lazy(ConvTranspose1d, _LazyConvTranspose)
LazyConvTranspose2d = _lazy(ConvTranspose2d, _LazyConvTranspose)
LazyConvTranspose3d = _lazy(ConvTranspose3d, _LazyConvTranspose)
LazyBatchNorm1d = _lazy(BatchNorm1d, _LazyNorm)
LazyBatchNorm2d = _lazy(BatchNorm2d, _LazyNorm)
LazyBatchNorm3d = _lazy(BatchNorm3d, _LazyNorm)
LazyInstanceNorm1d = _lazy(InstanceNorm1d, _LazyNorm)
LazyInstanceNorm2d = _lazy(InstanceNorm2d, _LazyNorm)
LazyInstanceNorm3d = _lazy(InstanceNorm3d, _LazyNorm)
