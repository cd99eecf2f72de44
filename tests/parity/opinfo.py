"""PyTorch's own samples of its operations, run on PyTorch and on dynjax alike.

`entries()` lists what PyTorch's database of operations knows and dynjax declares. Each check of
`CHECKS` takes such an entry, runs some samples and raises AssertionError where the two differ; it
returns how many samples it compared.
"""

import functools
import itertools
import types
import warnings

import numpy as np
import torch
from torch.testing._internal.common_methods_invocations import op_db

import dynjax
from dynjax.ops.declare import NAMES

# Their values differ by design (random numbers) or are not defined (`empty`).
NO_VALUES = {
    "bernoulli", "multinomial", "normal", "rand_like", "randn", "randn_like", "randint",
    "randint_like", "empty", "empty_like", "new_empty", "nn.functional.dropout",
    "nn.functional.dropout2d", "nn.functional.dropout3d", "nn.functional.alpha_dropout",
    "nn.functional.feature_alpha_dropout",
}  # fmt: skip
LARGEST = 1500  # elements of a sample
SCANNED = 300  # samples of an entry among which some are chosen
TRANSLATED = {torch.strided: None, torch.preserve_format: None, torch.contiguous_format: None}


def entries():
    """The entries of PyTorch's database for operations that dynjax declares."""
    declared = {
        name if module == "torch" else f"{module}.{name}"
        for module, names in NAMES.items()
        for name in names
    }
    return [op for op in op_db if op.name in declared or hasattr(dynjax.Tensor, op.name)]


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
        if x.layout != torch.strided or x.device.type != "cpu" or x.dtype == torch.bfloat16:
            raise Unsupported("a tensor that NumPy has no counterpart for")
        array = x.detach().resolve_conj().resolve_neg().numpy()
        return dynjax.from_numpy(array.copy()).requires_grad_(x.requires_grad)
    if isinstance(x, torch.dtype):
        return getattr(dynjax, str(x).removeprefix("torch."))
    if isinstance(x, torch.device):
        return dynjax.device(x.type)
    if isinstance(x, torch.Size):
        return tuple(x)
    if isinstance(x, (torch.layout, torch.memory_format, torch.Generator)):
        raise Unsupported(f"a {type(x).__name__}")
    return x


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


@functools.lru_cache(maxsize=16)
def _scanned(op, dtype, requires_grad):
    torch.manual_seed(0)
    np.random.seed(0)
    small, groups = [], set()
    for s in itertools.islice(op.sample_inputs("cpu", dtype, requires_grad), SCANNED):
        tensors = leaves_of((s.input, s.args, s.kwargs), torch.Tensor)
        if sum(t.numel() for t in tensors) > LARGEST:
            continue
        group = _group(s)
        small.append((group in groups, s))
        groups.add(group)
    return small


def samples(op, dtype, requires_grad, limit):
    """Up to `limit` samples, first those that are unlike each other."""
    small = _scanned(op, dtype, requires_grad)
    first = [s for seen, s in small if not seen]
    rest = [s for seen, s in small if seen]
    if len(first) > limit:
        first = first[:: -(-len(first) // limit)]
    missing = limit - len(first)
    return first + rest[:: max(1, -(-len(rest) // missing))][:missing] if missing else first


def value_dtypes(op):
    """The types in which an entry's values are compared."""
    known = op.supported_dtypes("cpu")
    wanted = [t for t in (torch.float32, torch.int64) if t in known]
    return wanted or [t for t in (torch.complex64, torch.bool) if t in known]


# --- calls --------------------------------------------------------------------------------------


def dynjax_function(op):
    """dynjax's function for an entry; where PyTorch's is a wrapper, the same around dynjax's."""
    fn = op.op
    if isinstance(fn, types.FunctionType) and fn.__module__.startswith("torch.testing"):
        scope = {**fn.__globals__, "torch": _Root()}
        return types.FunctionType(fn.__code__, scope, fn.__name__, fn.__defaults__, fn.__closure__)
    module, _, name = op.name.rpartition(".")
    found = NAMES.get(module or "torch", {}).get(name)
    return found or (lambda input, *args, **kwargs: _member(input, name, args, kwargs))


class _Root:
    """dynjax for a wrapper, with the namespaces that are not packages yet."""

    nn = types.SimpleNamespace(functional=types.SimpleNamespace(**NAMES["nn.functional"]))
    Tensor = dynjax.Tensor

    def __getattr__(self, name):
        return NAMES["torch"].get(name) or getattr(dynjax, name)


def _member(x, name, args, kwargs):
    member = getattr(x, name)
    return member(*args, **kwargs) if callable(member) else member


def compare(ours, theirs, values=True, what="result", rtol=1e-4, atol=1e-5, grad=True):
    """Raise AssertionError unless structure, types, shapes and values agree."""
    if isinstance(theirs, torch.Tensor):
        assert isinstance(ours, dynjax.Tensor), f"{what}: {type(ours).__name__} for a tensor"
        got, wanted = str(ours.dtype).partition(".")[2], str(theirs.dtype).partition(".")[2]
        assert got == wanted, f"{what}: dtype {got}, PyTorch's {wanted}"
        got, wanted = tuple(ours.shape), tuple(theirs.shape)
        assert got == wanted, f"{what}: shape {got}, PyTorch's {wanted}"
        if grad:
            got, wanted = ours.requires_grad, theirs.requires_grad
            assert got == wanted, f"{what}: requires_grad {got}, PyTorch's {wanted}"
        if values:
            theirs = theirs.detach().resolve_conj().resolve_neg().numpy()
            ours = ours.detach().numpy()
            np.testing.assert_allclose(ours, theirs, rtol, atol, err_msg=what)
    elif isinstance(theirs, (tuple, list)) and not isinstance(theirs, torch.Size):
        assert isinstance(ours, (tuple, list)), f"{what}: {type(ours).__name__} for a sequence"
        kinds = [list if isinstance(x, list) else tuple for x in (ours, theirs)]
        assert kinds[0] is kinds[1], f"{what}: {kinds[0].__name__}, PyTorch's {kinds[1].__name__}"
        assert len(ours) == len(theirs), f"{what}: {len(ours)} results, PyTorch's {len(theirs)}"
        if str(type(theirs)).startswith("<class 'torch.return_types"):
            for name in (n for n in dir(theirs) if isinstance(getattr(theirs, n), torch.Tensor)):
                assert hasattr(ours, name), f"{what}: no field {name}"
        for k, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            compare(a, b, values, f"{what}[{k}]", rtol, atol, grad)
    else:
        same = ours == theirs or (theirs != theirs and ours != ours) or not values
        assert same, f"{what}: {ours!r}, PyTorch's {theirs!r}"


def call(f, sample):
    """A function's result on a sample of `prepared`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return f(sample[0], *sample[1], **sample[2])


def _pairs(op, dtypes, requires_grad, limit):
    """`(sample, PyTorch's arguments, dynjax's arguments)` for samples that both can take."""
    for dtype in dtypes:
        grad = requires_grad and (dtype.is_floating_point or dtype.is_complex)
        for sample in samples(op, dtype, grad and op.supports_autograd, limit):
            theirs = prepared(sample)
            try:
                ours = tree_map(to_dynjax, theirs)
            except Unsupported:
                continue
            yield sample, theirs, ours


def _described(sample, f, *args):
    try:
        return f(*args)
    except Exception as error:
        text = str(error).strip()
        raise AssertionError(f"{type(error).__name__}: {text}\n  on {_short(sample)}") from error


def _short(sample):
    def short(x):
        return f"{str(x.dtype)[6:]}{list(x.shape)}" if isinstance(x, torch.Tensor) else x

    return str(tree_map(short, prepared(sample)))[:300]


# --- checks -------------------------------------------------------------------------------------


def function(op):
    """Values, types, shapes and requires_grad of the function."""
    return _same_calls(op, op.op, dynjax_function(op), limit=4)


def method(op):
    """The method, and the operator."""
    count, name = 0, getattr(op.method_variant, "__name__", None)
    if name and hasattr(torch.Tensor, name):
        ours = lambda x, *args, **kwargs: _member(x, name, args, kwargs)  # noqa: E731
        count += _same_calls(op, op.method_variant, ours, limit=2)
    if op.operator_variant is not None:
        count += _same_calls(op, op.operator_variant, op.operator_variant, limit=2)
    return count


def _same_calls(op, their_function, our_function, limit):
    count = 0
    for sample, theirs, ours in _pairs(op, value_dtypes(op), True, limit):
        try:
            wanted = call(their_function, theirs)
        except Exception:
            continue  # operators do not take every argument of the function
        got = _described(sample, call, our_function, ours)
        _described(sample, compare, got, wanted, op.name not in NO_VALUES)
        count += 1
    return count


def inplace(op):
    """The in-place form changes and returns its tensor; so does the in-place operator."""
    count = 0
    for variant in (op.inplace_variant, op.inplace_operator_variant):
        name = getattr(variant, "__name__", None)
        if variant is None:
            continue
        for sample, theirs, ours in _pairs(op, value_dtypes(op), False, 2):
            if not isinstance(theirs[0], torch.Tensor):
                continue
            target, wanted = ours[0].clone(), theirs[0].clone()
            try:
                call(variant, (wanted, *theirs[1:]))
            except Exception:
                continue
            is_operator = variant is op.inplace_operator_variant
            form = variant if is_operator else functools.partial(_inplace_call, name)
            got = _described(sample, call, form, (target, *ours[1:]))
            assert got is target, f"returns another tensor, on {_short(sample)}"
            _described(sample, compare, target, wanted, op.name not in NO_VALUES)
            count += 1
    return count


def _inplace_call(name, x, *args, **kwargs):
    return getattr(x, name)(*args, **kwargs)


def out(op):
    """`out=` is filled (empty ones take the shape) and returned."""
    if not op.supports_out:
        return 0
    count, ours_function = 0, dynjax_function(op)
    for sample, theirs, ours in _pairs(op, value_dtypes(op)[:1], False, 2):
        wanted = call(op.op, theirs)
        for shaped in (True, False):
            target = tree_map(lambda t, s=shaped: to_dynjax(torch.zeros_like(t) if s else t[:0]
                              if t.ndim else torch.zeros_like(t)), wanted)  # fmt: skip
            if hasattr(target, "_fields") or isinstance(target, list):
                target = tuple(target)
            got = _described(sample, call, ours_function, (*ours[:2], {**ours[2], "out": target}))
            same = [a is b for a, b in zip(*(leaves_of(x, dynjax.Tensor) for x in (got, target)))]
            assert all(same) and same, f"returns other tensors, on {_short(sample)}"
            _described(sample, compare, got, wanted, op.name not in NO_VALUES)
            count += 1
    return count
