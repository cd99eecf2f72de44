"""PyTorch's own samples of its operations, run on PyTorch and on dynjax alike.

`entries()` lists what PyTorch's database of operations knows and dynjax declares; `pairs` draws an
entry's samples for both, `dynjax_function` finds the counterpart, `compare` looks for differences.
"""

import functools
import itertools
import types
import warnings
from collections import Counter

import ml_dtypes
import numpy as np
import torch
from torch.testing._internal.common_methods_invocations import op_db

import dynjax
from dynjax.ops.declare import NAMES

# Their values differ by design (random numbers) or are not defined (`empty`).
NO_VALUES = {
    "bernoulli", "multinomial", "normal", "rand_like", "randn", "randn_like", "randint",
    "randint_like", "empty", "empty_like", "new_empty", "empty_strided",
    "new_empty_strided", "empty_permuted", "nn.functional.dropout",
    "nn.functional.dropout2d", "nn.functional.dropout3d", "nn.functional.alpha_dropout",
    "nn.functional.feature_alpha_dropout", "nn.functional.fractional_max_pool2d",
    "nn.functional.fractional_max_pool3d", "cauchy", "exponential", "geometric", "log_normal",
    "uniform",
}  # fmt: skip
# Which of equal elements they pick is not defined, nor is their order.
TIES = {"kthvalue", "topk", "sort", "argsort"}
PUBLIC = {"_segment_reduce": "segment_reduce"}  # entries named after PyTorch's internals
# What they return is not unique (signs and phases of vectors, or an order): their values are
# compared as PyTorch's samples process them for gradients.
NOT_UNIQUE = {
    "svd", "linalg.svd", "linalg.eig", "linalg.eigvals", "linalg.eigh", "svd_lowrank",
    "pca_lowrank",
}  # fmt: skip
NOISY = {  # random in training
    "nn.functional.multi_head_attention_forward", "nn.functional.rrelu",
    "nn.functional.scaled_dot_product_attention",
}  # fmt: skip
DTYPES = (
    torch.float32, torch.int64, torch.float64, torch.bfloat16, torch.complex64, torch.bool,
)  # fmt: skip
LARGEST = 20_000  # elements of a sample
LEFT_OUT = Counter()  # of the samples looked at, how many were not run, by reason
SCANNED = 100  # samples of an entry among which some are chosen


def entries():
    """The entries of PyTorch's database for operations that dynjax declares."""
    declared = {
        name if module == "torch" else f"{module}.{name}"
        for module, names in NAMES.items()
        for name in names
    }
    declared |= {f"nn.functional.{name}" for name in dynjax.nn.functional.__all__}

    def has(name):
        return name in declared or any(hasattr(dynjax.Tensor, name + s) for s in ("", "_"))

    return [op for op in op_db if has(PUBLIC.get(op.name, op.name))]


# --- samples ------------------------------------------------------------------------------------


class Unsupported(Exception):
    """A sample uses what dynjax has on purpose no counterpart for."""


def tree_map(f, x):
    """`f` of every leaf of nested tuples (named ones too), lists, dictionaries and slices."""
    if isinstance(x, slice):
        return slice(*(tree_map(f, e) for e in (x.start, x.stop, x.step)))
    if isinstance(x, tuple) and hasattr(x, "_fields"):
        return type(x)(*(tree_map(f, e) for e in x))
    if isinstance(x, (tuple, list)) and not isinstance(x, torch.Size):
        return type(x)(tree_map(f, e) for e in x)
    if isinstance(x, dict):
        return {k: tree_map(f, v) for k, v in x.items()}
    return f(x)


def leaves_of(x, kind):
    """The leaves of that kind, in order."""
    found = []
    tree_map(lambda e: found.append(e) if isinstance(e, kind) else None, x)
    return found


def to_dynjax(x):
    """A leaf of a sample, for dynjax."""
    if isinstance(x, torch.Tensor):
        plain = x.layout == torch.strided and x.device.type == "cpu" and x.ndim <= 64
        if not plain:
            raise Unsupported("a tensor that NumPy has no counterpart for")
        x, asked = x.detach().resolve_conj().resolve_neg(), x.requires_grad
        low = x.dtype == torch.bfloat16
        array = x.float().numpy().astype(ml_dtypes.bfloat16) if low else x.numpy()
        return dynjax.from_numpy(array.copy()).requires_grad_(asked)
    if isinstance(x, torch.dtype):
        return getattr(dynjax, str(x).removeprefix("torch."))
    if isinstance(x, torch.device):
        return dynjax.device(x.type)
    if isinstance(x, torch.Size):
        return tuple(x)
    if isinstance(x, torch.nn.Module):
        return getattr(dynjax.nn, type(x).__name__)()
    if isinstance(x, (torch.layout, torch.memory_format, torch.Generator)):
        raise Unsupported(f"a {type(x).__name__}")
    return x


def unique(op, sample, result):
    """What of a result has one right value."""
    return sample.output_process_fn_grad(result) if op.name in NOT_UNIQUE else result


def prepared(sample):
    """`(input, args, kwargs)` of a sample, without the defaults that only PyTorch can name."""
    kwargs = {k: v for k, v in sample.kwargs.items() if k not in ("layout", "memory_format")}
    if kwargs.get("device") == "cpu":
        del kwargs["device"]
    return sample.input, sample.args, kwargs


def _group(sample):
    """What makes samples alike: names and types of arguments, zero-dim or empty tensors."""

    def mark(x):
        if isinstance(x, torch.Tensor):
            return ("tensor", x.dtype, "0-dim" if x.ndim == 0 else "empty" if not x.numel() else "")
        return x if isinstance(x, (bool, str)) else type(x).__name__

    return repr(tree_map(mark, (sample.input, sample.args, sorted(sample.kwargs.items()))))


def has_values(op, sample):
    """Whether the values of the result are defined."""
    noisy = op.name in NOISY and (sample.kwargs.get("training") or sample.kwargs.get("dropout_p"))
    # What is subtracted leaves a matrix of full rank, of which these draw a part.
    drawn = op.name == "svd_lowrank" and sample.kwargs.get("M") is not None
    return op.name not in NO_VALUES and not noisy and not drawn


def _size(sample):
    tensors = leaves_of((sample.input, sample.args, sample.kwargs), torch.Tensor)
    return sum(t.numel() for t in tensors)


BY_NAME = {op.formatted_name: op for op in op_db}  # entries have no hash


@functools.lru_cache(maxsize=32)
def _grouped(name, dtype, requires_grad, scanned):
    """An entry's samples: those unlike each other, then the others."""
    op = BY_NAME[name]
    torch.manual_seed(0)
    np.random.seed(0)
    first, rest, groups = [], [], set()
    for s in itertools.islice(op.sample_inputs("cpu", dtype, requires_grad), scanned):
        if _size(s) > LARGEST:
            LEFT_OUT[f"more than {LARGEST} elements"] += 1
            continue
        group = _group(s)
        (rest if group in groups else first).append(s)
        groups.add(group)
    return first, rest


def samples(op, dtype, requires_grad, limit):
    """Up to `limit` samples (None: all), such as are unlike each other, the largest first."""
    scanned = None if limit is None else SCANNED
    first, rest = _grouped(op.formatted_name, dtype, requires_grad, scanned)
    if limit is None:
        return first + rest
    if len(first) > limit:
        first = first[:: -(-len(first) // limit)]
    missing = limit - len(first)
    more = rest[:: max(1, -(-len(rest) // missing))][:missing] if missing else []
    return sorted(first + more, key=_size, reverse=True)


def value_dtypes(op):
    """The types in which an entry's values are compared, the most telling first."""
    known = op.supported_dtypes("cpu")
    return [t for t in DTYPES if t in known]


@functools.lru_cache(maxsize=32)
def converted(name, dtype, requires_grad, limit):
    """`(sample, PyTorch's arguments, dynjax's arguments)` for samples that both can take."""
    op = BY_NAME[name]
    grad = requires_grad and (dtype.is_floating_point or dtype.is_complex)
    found = []
    for sample in samples(op, dtype, grad and op.supports_autograd, limit):
        theirs = prepared(sample)
        try:
            found.append((sample, theirs, tree_map(to_dynjax, theirs)))
        except Unsupported as why:
            LEFT_OUT[str(why)] += 1
    return found


def pairs(op, dtypes, requires_grad, limit):
    """The same for several types."""
    for dtype in dtypes:
        yield from converted(op.formatted_name, dtype, requires_grad, limit)


# --- calls --------------------------------------------------------------------------------------


def dynjax_function(op):
    """dynjax's function for an entry."""
    return counterpart(op.op) or _named(PUBLIC.get(op.name, op.name))


def dynjax_inplace(op):
    """dynjax's in-place form for an entry."""
    form = counterpart(op.inplace_variant)
    return form or functools.partial(member, name=op.inplace_variant.__name__)


def counterpart(fn):
    """Around dynjax's functions what PyTorch's database wraps around PyTorch's."""
    if isinstance(fn, functools.partial):
        return functools.partial(_named(f"nn.functional.{fn.func.__name__}"), **fn.keywords)
    if isinstance(fn, types.FunctionType) and fn.__module__.startswith("torch.testing"):
        scope = {**fn.__globals__, "torch": _Root(), "F": _Root.nn.functional}
        ours = types.FunctionType(fn.__code__, scope, fn.__name__, fn.__defaults__, fn.__closure__)
        ours.__kwdefaults__ = fn.__kwdefaults__
        return ours
    return None


def _named(path):
    module, _, name = path.rpartition(".")
    found = NAMES.get(module or "torch", {}).get(name)
    if module == "nn.functional":
        found = getattr(dynjax.nn.functional, name)
    return found or functools.partial(member, name=name)


class _Root:
    """dynjax for a wrapper, with the namespaces that are not packages yet."""

    nn = types.SimpleNamespace(functional=types.SimpleNamespace(**NAMES["nn.functional"]))
    Tensor = dynjax.Tensor

    def __getattr__(self, name):
        return NAMES["torch"].get(name) or getattr(dynjax, name)


def member(*args, name, **kwargs):
    """The result of a method of the first argument, or its attribute."""
    found = getattr(args[0], name)
    return found(*args[1:], **kwargs) if callable(found) else found


def call(f, sample):
    """A function's result on a sample of `prepared`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return f(sample[0], *sample[1], **sample[2])


def described(sample, f, *args, **kwargs):
    """`f(...)`; what goes wrong names the sample."""
    try:
        return f(*args, **kwargs)
    except Exception as error:
        text = str(error).strip()
        raise AssertionError(f"{type(error).__name__}: {text}\n  on {short(sample)}") from error


def short(sample):
    """A sample as text."""

    def text(x):
        return f"{str(x.dtype)[6:]}{list(x.shape)}" if isinstance(x, torch.Tensor) else x

    return str(tree_map(text, prepared(sample)))[:300]


# PyTorch's own series have errors of up to 3e-7 in float64: SciPy's values are dynjax's.
INEXACT = {f"special.bessel_{name}" for name in ("j0", "j1", "y0", "y1")}
# Relative, and absolute as a share of the largest element, by the type compared.
TOLERANCES = {
    torch.float32: (1e-5, 2e-6), torch.complex64: (1e-5, 2e-6),
    torch.float64: (1e-8, 1e-11), torch.complex128: (1e-8, 1e-11),
    torch.bfloat16: (1.6e-2, 8e-3), torch.float16: (2e-3, 1e-3),
}  # fmt: skip


def compare(ours, theirs, values=True, what="result", rtol=None, atol=None):
    """Raise AssertionError unless structure, types, shapes, requires_grad and values agree."""
    if isinstance(theirs, torch.Tensor):
        assert isinstance(ours, dynjax.Tensor), f"{what}: {type(ours).__name__} for a tensor"
        got, wanted = str(ours.dtype).partition(".")[2], str(theirs.dtype).partition(".")[2]
        assert got == wanted, f"{what}: dtype {got}, PyTorch's {wanted}"
        got, wanted = tuple(ours.shape), tuple(theirs.shape)
        assert got == wanted, f"{what}: shape {got}, PyTorch's {wanted}"
        got, wanted = ours.requires_grad, theirs.requires_grad
        assert got == wanted, f"{what}: requires_grad {got}, PyTorch's {wanted}"
        if values:
            _close(ours, theirs, what, rtol, atol)
    elif isinstance(theirs, (tuple, list)) and not isinstance(theirs, torch.Size):
        assert isinstance(ours, (tuple, list)), f"{what}: {type(ours).__name__} for a sequence"
        kinds = [list if isinstance(x, list) else tuple for x in (ours, theirs)]
        assert kinds[0] is kinds[1], f"{what}: {kinds[0].__name__}, PyTorch's {kinds[1].__name__}"
        assert len(ours) == len(theirs), f"{what}: {len(ours)} results, PyTorch's {len(theirs)}"
        if type(theirs).__module__ == "torch.return_types":
            for name in (n for n in dir(theirs) if isinstance(getattr(theirs, n), torch.Tensor)):
                assert hasattr(ours, name), f"{what}: no field {name}"
        for k, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            compare(a, b, values, f"{what}[{k}]", rtol, atol)
    else:
        same = ours == theirs or (theirs != theirs and ours != ours) or not values
        assert same, f"{what}: {ours!r}, PyTorch's {theirs!r}"


def _close(ours, theirs, what, rtol, atol):
    near = TOLERANCES.get(theirs.dtype, (0, 0))
    rtol, atol = (n if t is None else t for n, t in zip(near, (rtol, atol)))
    if theirs.dtype == torch.bfloat16:
        theirs, ours = theirs.float(), ours.float()
    theirs, ours = theirs.numpy(force=True), ours.detach().numpy()
    finite = np.abs(theirs[np.isfinite(theirs)])
    atol *= max(1.0, float(finite.max(initial=0)))
    np.testing.assert_allclose(ours, theirs, rtol, atol, err_msg=what)
