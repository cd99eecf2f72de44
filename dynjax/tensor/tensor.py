"""The Tensor handle: a value, its storage, its gradient. It knows no operation.

Operations bind themselves to this class when they are declared.
"""

from __future__ import annotations

import builtins
import copy
from collections.abc import Callable
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from ..core.devices import as_device, jax_default
from ..core.devices import device as Device
from ..core.dtypes import dtype as DType
from ..core.dtypes import get_default_dtype
from ..core.dtypes import of as dtype_of
from ..core.size import Size
from ..core.suggest import missing_of
from ..engine.trace import runner, state
from ..engine.value import Value, concrete, kind_of
from . import printing
from .host_data import to_host
from .storage import Alias, as_leaf, detached, refresh, share, write

_new = object.__new__


class Meta:
    """What few tensors have: hooks, a retained gradient, a reference of their own."""

    __slots__ = ("hooks", "post_hooks", "retain", "node", "name", "inference")

    def __init__(self) -> None:
        self.hooks = self.post_hooks = self.node = self.name = None
        self.retain = self.inference = False


class Tensor:
    """A multi-dimensional array with PyTorch's interface; computed when somebody looks.

    Make one with `dynjax.tensor`, the creation functions or `dynjax.from_numpy`.
    """

    __slots__ = ("_v", "_alias", "_grad", "_meta", "__dict__", "__weakref__")

    _v: Value
    _alias: Alias | None
    _grad: Tensor | None
    _meta: Meta | None

    def __new__(cls, data: Any = None, *args: Any, **kwargs: Any) -> Tensor:
        if args and not kwargs and isinstance(data, int):  # Tensor(2, 3): sizes
            data = np.zeros((data, *args), get_default_dtype().np)
        if data is None:
            data = np.zeros((0,), get_default_dtype().np)
        if isinstance(data, Tensor):
            return wrap(detached(value_of(data)), cls)
        return wrap(host_value(to_host(data, get_default_dtype())), cls)

    def __getattr__(self, name: str) -> Any:
        raise missing_of(self, name)

    # --- what it is

    @property
    def shape(self) -> Size:
        """Dimensions."""
        return self._v.kind.shape

    @property
    def dtype(self) -> DType:
        """Element type."""
        return self._v.kind.dtype

    @property
    def device(self) -> Device:
        """Where it lives."""
        return self._v.kind.device

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self._v.kind.shape)

    def dim(self) -> int:
        """Number of dimensions."""
        return len(self._v.kind.shape)

    ndimension = dim

    def size(self, dim: int | None = None) -> Any:
        """The shape, or its entry at `dim`."""
        shape = self._v.kind.shape
        if dim is None:
            return shape
        n = len(shape)
        if not -n <= dim < n:
            lo, hi = (-n, n - 1) if n else (-1, 0)
            raise IndexError(
                f"Dimension out of range (expected to be in range of [{lo}, {hi}], but got {dim})"
            )
        return shape[dim]

    def numel(self) -> int:
        """Number of elements."""
        return self._v.kind.shape.numel()

    nelement = numel

    def element_size(self) -> int:
        """Bytes an element."""
        return self.dtype.itemsize

    @property
    def itemsize(self) -> int:
        """Bytes an element."""
        return self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return self.numel() * self.dtype.itemsize

    def stride(self, dim: int | None = None) -> Any:
        """Strides, in elements, of the row-major layout that every tensor has here."""
        strides, step = [], 1
        for n in reversed(self.shape):
            strides.append(step)
            step *= max(n, 1)
        strides.reverse()
        return tuple(strides) if dim is None else strides[dim]

    def storage_offset(self) -> int:
        """Always 0: layout is XLA's."""
        return 0

    def is_contiguous(self, memory_format: Any = None) -> bool:
        """Always True: layout is XLA's."""
        return True

    def is_floating_point(self) -> bool:
        """Whether the type is a real floating one."""
        return self.dtype.is_floating_point

    def is_complex(self) -> bool:
        """Whether the type is complex."""
        return self.dtype.is_complex

    def is_signed(self) -> bool:
        """Whether the type has a sign."""
        return self.dtype.is_signed

    @property
    def is_cuda(self) -> bool:
        """Whether it lives on a GPU."""
        return self.device.type == "cuda"

    @property
    def is_cpu(self) -> bool:
        """Whether it lives on the CPU."""
        return self.device.type == "cpu"

    is_sparse = is_quantized = is_nested = is_mkldnn = is_meta = is_mps = is_xpu = False
    layout = "dynjax.strided"

    def get_device(self) -> int:
        """Index of the device, -1 on the CPU."""
        return -1 if self.is_cpu else (self.device.index or 0)

    @property
    def requires_grad(self) -> bool:
        """Whether gradients are computed for it."""
        return self._v.kind.requires_grad

    @property
    def is_leaf(self) -> bool:
        """Whether it was made by the user rather than by a recorded operation."""
        kind = self._v.kind
        return kind.leaf or not kind.requires_grad

    @property
    def _version(self) -> int:
        alias = self._alias
        return 0 if alias is None else alias.storage.versions.now

    @property
    def _base(self) -> Tensor | None:
        return None if self._alias is None else self._alias.base

    def _is_view(self) -> bool:
        return self._base is not None

    @property
    def name(self) -> str | None:
        """Always None, as for PyTorch's plain tensors."""
        return None if self._meta is None else self._meta.name

    # --- its values on the host: these observe, so what was recorded runs

    def _array(self) -> Any:
        """The array, as it is held (a jax.Array, a tracer or a host numpy array)."""
        if (capture := state.trace.capture) is not None and not capture.asking:
            capture.observe()
        return runner.materialize(value_of(self))

    def _host(self) -> np.ndarray:
        array = self._array()
        if isinstance(array, jax.core.Tracer):
            # JAX's own error names the transformation and the line.
            array.__array__()
        return np.asarray(array)

    def numpy(self, *, force: bool = False) -> np.ndarray:
        """The values as a read-only NumPy array; no copy on the CPU.

        The array keeps its values: later in-place operations on the tensor don't change it.

        Raises:
            RuntimeError: the tensor requires grad (and `force` is not set).
            TypeError: it is not on the CPU (and `force` is not set).
        """
        if not force:
            if self.requires_grad:
                raise RuntimeError(
                    "Can't call numpy() on Tensor that requires grad. "
                    "Use tensor.detach().numpy() instead."
                )
            if not self.is_cpu:
                raise TypeError(
                    f"can't convert {self.device} device type tensor to numpy. Use Tensor.cpu() "
                    "to copy the tensor to host memory first."
                )
        host = self._host()
        if host.flags.writeable:
            host = host.view()
            host.flags.writeable = False
        return host

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        host = self.numpy()
        if dtype is not None and np.dtype(dtype) != host.dtype:
            return host.astype(dtype)
        return host.copy() if copy else host

    def __jax_array__(self) -> Any:
        """The values as a jax.Array: a Tensor may stand wherever JAX takes an array."""
        array = self._array()
        return jnp.asarray(array) if type(array) is np.ndarray else array

    def __dlpack__(
        self, *, stream: Any = None, max_version: Any = None, dl_device: Any = None,
        copy: bool | None = None,
    ) -> Any:  # fmt: skip
        if self.requires_grad:
            raise BufferError("Can't export tensors that require gradient, use tensor.detach()")
        kwargs = {"max_version": max_version, "dl_device": dl_device, "copy": copy}
        return self.__jax_array__().__dlpack__(stream=stream, **kwargs)

    def __dlpack_device__(self) -> tuple:
        return self.__jax_array__().__dlpack_device__()

    def item(self) -> Any:
        """The value of a one-element tensor as a Python number.

        Raises:
            RuntimeError: it has another number of elements.
        """
        if self.numel() != 1:
            raise RuntimeError(
                f"a Tensor with {self.numel()} elements cannot be converted to Scalar"
            )
        return self._host().item() if self.dtype.np.kind != "V" else float(self._host().item())

    def tolist(self) -> Any:
        """The values as nested lists of Python numbers (a number for a 0-dim tensor)."""
        return self._host().tolist()

    def __bool__(self) -> bool:
        n = self.numel()
        if n != 1:
            what = "no values" if n == 0 else "more than one value"
            raise RuntimeError(f"Boolean value of Tensor with {what} is ambiguous")
        return builtins.bool(self._host().item())

    def _number(self, target: Callable[[Any], Any]) -> Any:
        value = self.item()
        if isinstance(value, complex) and target is not complex:
            raise RuntimeError(
                f"value cannot be converted to type {target.__name__} without overflow"
            )
        return target(value)

    def __float__(self) -> float:
        return self._number(builtins.float)

    def __int__(self) -> int:
        return self._number(builtins.int)

    def __complex__(self) -> complex:
        return self._number(builtins.complex)

    def __index__(self) -> int:
        if self.dtype.is_floating_point or self.dtype.is_complex or self.numel() != 1:
            raise TypeError("only integer tensors of a single element can be converted to an index")
        return builtins.int(self._host().item())

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of a 0-d tensor")
        return self.shape[0]

    __hash__ = object.__hash__

    def __contains__(self, element: Any) -> bool:
        if isinstance(element, (Tensor, int, float, complex)):
            return builtins.bool((self == element).any())
        raise RuntimeError(
            f"Tensor.__contains__ only supports Tensor or scalar, but you passed in a "
            f"{type(element)}."
        )

    def __format__(self, spec: str) -> str:
        if not self.shape and not isinstance(self, _parameter_types):
            return self.item().__format__(spec)
        return object.__format__(self, spec)

    def __repr__(self, *, tensor_contents: str | None = None) -> str:
        value = value_of(self)
        grad_name = None
        if value.kind.requires_grad and not value.kind.leaf:
            grad_name = self.grad_fn.name()
        array = self._array()
        if isinstance(array, jax.core.Tracer):
            return f"tensor({array!r})"
        return printing.format_tensor(
            np.asarray(array),
            self.dtype,
            requires_grad=self.requires_grad,
            grad_fn_name=grad_name,
            device=self.device,
            is_parameter=isinstance(self, _parameter_types),
        )

    # --- gradient and identity

    @property
    def grad(self) -> Tensor | None:
        """The accumulated gradient of a leaf, or of a tensor with `retain_grad()`."""
        return self._grad

    @grad.setter
    def grad(self, grad: Tensor | None) -> None:
        if grad is not None:
            if not isinstance(grad, Tensor):
                raise TypeError(
                    "assigned grad expected to be a Tensor or None but got grad of "
                    f"type {type(grad).__name__}"
                )
            if grad is self:
                raise RuntimeError("can't assign Variable as its own grad")
            if grad.dtype is not self.dtype:
                raise RuntimeError(
                    f"attempting to assign a gradient with dtype '{grad.dtype}' to a tensor with "
                    f"grad_dtype '{self.dtype}'. The gradient must match the tensor's grad_dtype "
                    "(defaults to the tensor's dtype). You can set the tensor's grad_dtype "
                    "attribute with a specific dtype, or None to allow any dtype. Set grad_dtype "
                    "with caution. Diverging the dtypes of a tensor and its gradient may break "
                    "downstream systems that assume they match."
                )
            if grad.device != self.device:
                raise RuntimeError(
                    f"attempting to assign a gradient located on device with index "
                    f"{grad.device} to a tensor on device {self.device}"
                )
            if grad.shape != self.shape:
                raise RuntimeError(
                    f"attempting to assign a gradient of size '{list(grad.shape)}' to a tensor of "
                    f"size '{list(self.shape)}'. Please ensure that the gradient and the tensor "
                    "are the same size"
                )
        self._grad = grad

    @grad.deleter
    def grad(self) -> None:
        self._grad = None

    @property
    def data(self) -> Tensor:
        """The same storage, unknown to autograd; writing to it does not count as a change."""
        tensor = self._same_storage()
        tensor._alias.silent = True
        tensor._v.watch = None
        return tensor

    @data.setter
    def data(self, new: Tensor) -> None:
        if not isinstance(new, Tensor):
            raise TypeError(f"Variable data has to be a tensor, but got {type(new).__name__}")
        value = detached(value_of(new))
        old = self._v
        if old.kind.requires_grad:
            value = as_leaf(value, old.node)
        self._v = value
        self._alias = None

    def detach(self) -> Tensor:
        """A tensor that shares the storage and is cut from the tape."""
        return self._same_storage()

    def _same_storage(self) -> Tensor:
        value = value_of(self)
        alias = share(self)
        new = wrap(detached(value))
        new._alias = Alias(alias.storage, None, alias.chain)
        if new._v is not value:
            new._v.watch = value.watch
        return new

    def detach_(self) -> Tensor:
        """Cut this tensor from the tape in place.

        Raises:
            RuntimeError: it is a view.
        """
        if self._base is not None:
            raise RuntimeError(
                "Can't detach views in-place. Use detach() instead. If you are using "
                "DistributedDataParallel (DDP) for training, and gradient_as_bucket_view is set as "
                "True, gradients are views of DDP buckets, and hence detach_() cannot be called "
                "on these gradients. To fix this error, please refer to the "
                "Optimizer.zero_grad() function in torch/optim/optimizer.py as a solution."
            )
        self._v = detached(value_of(self))
        return self

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Change whether gradients are computed for this leaf; returns it.

        Raises:
            RuntimeError: it is not a leaf, or its type can't have gradients.
        """
        value = value_of(self)
        kind = value.kind
        if kind.requires_grad == builtins.bool(requires_grad):
            return self
        if not requires_grad:
            if not kind.leaf:
                raise RuntimeError(
                    "you can only change requires_grad flags of leaf variables. If you want to use "
                    "a computed variable in a subgraph that doesn't require differentiation use "
                    "var_no_grad = var.detach()."
                )
            self._v = detached(value)
        else:
            if not (kind.dtype.is_floating_point or kind.dtype.is_complex):
                raise RuntimeError(
                    "only Tensors of floating point and complex dtype can require gradients"
                )
            self._v = as_leaf(value, reference(self))
        self._v.watch = value.watch
        alias = self._alias
        if alias is not None and alias.base is not None:
            self._alias = Alias(alias.storage, None, alias.chain)  # its gradients are its own
        return self

    @requires_grad.setter
    def requires_grad(self, mode: bool) -> None:
        self.requires_grad_(mode)

    def _set_host(self, array: np.ndarray) -> None:
        """Replace the content by host data of the same shape, as an in-place operation."""
        host = np.ascontiguousarray(array, dtype=self.dtype.np).reshape(self.shape)
        value_of(self)
        write(self, concrete(host, self._v.kind.with_grad(False, False)))

    def __deepcopy__(self, memo: dict) -> Tensor:
        if not self.is_leaf:
            raise RuntimeError(
                "Only Tensors created explicitly by the user (graph leaves) support the deepcopy "
                "protocol at the moment.  If you were attempting to deepcopy a module, this may "
                "be because of a torch.nn.utils.weight_norm usage, see "
                "https://github.com/pytorch/pytorch/pull/103001"
            )
        if id(self) in memo:
            return memo[id(self)]
        new = wrap(detached(value_of(self)), type(self))
        if self.requires_grad:
            new.requires_grad_()
        if self._grad is not None:
            new._grad = copy.deepcopy(self._grad, memo)
        new.__dict__.update(copy.deepcopy(self.__dict__, memo))
        memo[id(self)] = new
        return new

    def __reduce_ex__(self, protocol: Any) -> tuple:
        host = np.array(self._host())
        return (
            _rebuild,
            (type(self), host, self.requires_grad and self.is_leaf, dict(self.__dict__)),
        )

    __array_priority__ = 1000


_parameter_types: tuple = ()


def _rebuild(cls: type, host: np.ndarray, requires_grad: bool, attributes: dict) -> Tensor:
    tensor = wrap(host_value(host), cls)
    if requires_grad:
        tensor.requires_grad_()
    tensor.__dict__.update(attributes)
    return tensor


def reference(tensor: Tensor) -> Any:
    """The weak reference by which a leaf's tape position names its tensor."""
    import weakref

    return weakref.ref(tensor)


def value_of(tensor: Tensor) -> Value:
    """The current value of a tensor."""
    alias = tensor._alias
    if alias is None or alias.seen == alias.storage.stamp:
        return tensor._v
    return refresh(tensor)


def wrap(value: Value, cls: type = Tensor) -> Tensor:
    """A new tensor of a value."""
    tensor = _new(cls)
    tensor._v = value
    tensor._alias = tensor._grad = tensor._meta = None
    return tensor


def meta_of(tensor: Tensor) -> Meta:
    """The tensor's rarely used part, made when first needed."""
    meta = tensor._meta
    if meta is None:
        meta = tensor._meta = Meta()
    return meta


def host_value(array: np.ndarray, device: Device | None = None) -> Value:
    """A value of host data, sent to the device when first used."""
    device = device or state.device()
    if device != jax_default():
        with jax.enable_x64(True):
            array = jax.device_put(array, device.jax)
    return concrete(array, kind_of(array.shape, dtype_of(array.dtype), device))


def from_host(array: np.ndarray, device: Device | None = None) -> Tensor:
    """A constant tensor from NumPy data that nobody else will write to; records nothing."""
    return wrap(host_value(np.asarray(array), device))


def from_jax(array: Any) -> Tensor:
    """A tensor of a jax.Array or tracer, without copying."""
    if isinstance(array, jax.core.Tracer):
        # What was recorded before must not become part of the caller's transformation.
        with jax.ensure_compile_time_eval():
            runner.flush()
        device = jax_default()
    else:
        device = as_device(next(iter(array.devices())))
    return wrap(concrete(array, kind_of(array.shape, dtype_of(array.dtype), device)))
