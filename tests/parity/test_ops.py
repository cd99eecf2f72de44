"""Every operation on PyTorch's own samples: values, forms, gradients and errors are PyTorch's.

An operation's test runs each of `CHECKS`, which take an entry of PyTorch's database, return how
many samples they compared and raise where the two differ. What differs and is known stands in
`KNOWN`, with the reason; it fails as soon as it no longer differs.
"""

import functools
import warnings

import jax
import numpy as np
import pytest

import dynjax
from dynjax.core.config import config
from dynjax.interop.jax import to_jax

torch = pytest.importorskip("torch")

from tests.parity.known import KNOWN  # noqa: E402
from tests.parity.opinfo import (  # noqa: E402
    NO_VALUES,
    NOT_UNIQUE,
    Unsupported,
    call,
    compare,
    described,
    dynjax_function,
    dynjax_inplace,
    entries,
    leaves_of,
    member,
    pairs,
    prepared,
    short,
    to_dynjax,
    tree_map,
    unique,
    value_dtypes,
)

# PyTorch's reasons to refuse a call that do not exist here.
NOT_REFUSED = (
    "memory location",  # tensors never overlap
    "resize storage",
    "descriptor",  # Python's own refusal: an int has no __radd__ of Tensor's
)


def function(op):
    """Values, types, shapes and requires_grad of the function."""
    return _same_calls(op, op.op, dynjax_function(op), limit=3)


def method(op):
    """The method, and the operator."""
    count, name = 0, getattr(op.method_variant, "__name__", None)
    if name and hasattr(torch.Tensor, name):
        ours = functools.partial(member, name=name)
        count += _same_calls(op, op.method_variant, ours, limit=2)
    if op.operator_variant is not None:
        count += _same_calls(op, op.operator_variant, op.operator_variant, limit=2)
    return count


def _same_calls(op, their_function, our_function, limit):
    count = 0
    for sample, theirs, ours in pairs(op, value_dtypes(op), True, limit):
        try:
            wanted = call(their_function, theirs)
        except Exception:
            continue  # operators do not take every argument of the function
        got = described(sample, call, our_function, ours)
        _agree(op, sample, got, wanted)
        count += 1
    return count


def _agree(op, sample, got, wanted):
    """Structure and types of the results, and what of their values is defined."""
    known = op.name not in NO_VALUES
    described(sample, compare, got, wanted, known and op.name not in NOT_UNIQUE)
    if op.name in NOT_UNIQUE:
        got, wanted = (described(sample, unique, op, sample, x) for x in (got, wanted))
        described(sample, compare, got, wanted)


def inplace(op):
    """The in-place form changes and returns its tensor; so does the in-place operator."""
    count = 0
    for variant in (op.inplace_variant, op.inplace_operator_variant):
        if variant is None:
            continue
        for sample, theirs, ours in pairs(op, value_dtypes(op), False, 2):
            if not isinstance(theirs[0], torch.Tensor):
                continue
            target, wanted = ours[0].clone(), theirs[0].clone()
            try:
                call(variant, (wanted, *theirs[1:]))
            except Exception:
                continue  # the result has another shape or type
            is_operator = variant is op.inplace_operator_variant
            form = variant if is_operator else dynjax_inplace(op)
            got = described(sample, call, form, (target, *ours[1:]))
            assert got is target, f"returns another tensor, on {short(sample)}"
            described(sample, compare, target, wanted, op.name not in NO_VALUES)
            count += 1
    return count


def out(op):
    """`out=` is filled (empty ones take the shape) and returned."""
    if not op.supports_out:
        return 0
    count, f = 0, dynjax_function(op)
    for sample, theirs, ours in pairs(op, value_dtypes(op)[:1], False, 2):
        result = call(op.op, theirs)
        for resize in (False, True):
            made = [
                t.new_zeros([0] if resize else t.shape) for t in leaves_of(result, torch.Tensor)
            ]
            several = isinstance(result, (tuple, list))
            target = tuple(made) if several else made[0] if made else None
            try:
                wanted = call(op.op, (*theirs[:2], {**theirs[2], "out": target}))
            except Exception:
                continue
            target = tree_map(to_dynjax, tuple(made) if several else target)
            got = described(sample, call, f, (*ours[:2], {**ours[2], "out": target}))
            same = [a is b for a, b in zip(*(leaves_of(x, dynjax.Tensor) for x in (got, target)))]
            assert all(same), f"returns other tensors, on {short(sample)}"
            _agree(op, sample, got, wanted)
            count += 1
    return count


def _outputs(sample, result, kind):
    """The results that a gradient may be taken of."""
    picked = sample.output_process_fn_grad(result)
    return [t for t in leaves_of(picked, kind) if t.requires_grad]


def _cotangents(outputs):
    rng = np.random.default_rng(0)
    drawn = []
    for t in outputs:
        c = torch.from_numpy(np.asarray(rng.uniform(0.5, 1.5, tuple(t.shape))))
        drawn.append((c * (1 - 0.5j) if t.is_complex() else c).to(t.dtype))
    return drawn


def _differentiable(op, limit):
    """Samples; `(leaves, outputs, cotangents)` of PyTorch and of dynjax; dynjax's arguments."""
    known = op.supported_backward_dtypes("cpu") if op.supports_autograd else ()
    if op.name in NO_VALUES or torch.float64 not in known:
        return
    f = dynjax_function(op)
    for sample, theirs, ours in pairs(op, [torch.float64], True, limit):
        wanted = _outputs(sample, call(op.op, theirs), torch.Tensor)
        try:
            cotangents = _cotangents(wanted), tree_map(to_dynjax, _cotangents(wanted))
        except Unsupported:
            continue
        if not wanted:
            continue
        got = _outputs(sample, described(sample, call, f, ours), dynjax.Tensor)
        assert len(got) == len(wanted), f"{len(got)} differentiable results, on {short(sample)}"
        leaves = [
            [t for t in leaves_of(args, kind.Tensor) if t.requires_grad]
            for args, kind in ((theirs, torch), (ours, dynjax))
        ]
        yield (
            sample, (leaves[0], wanted, cotangents[0]), (leaves[1], got, cotangents[1]), ours,
        )  # fmt: skip


def gradient(op):
    """`backward` with a random cotangent."""
    count = 0
    for sample, theirs, ours, _ in _differentiable(op, 1):
        wanted = torch.autograd.grad(theirs[1], theirs[0], theirs[2], allow_unused=True)
        described(sample, dynjax.autograd.backward, ours[1], ours[2])
        for k, (leaf, w) in enumerate(zip(ours[0], wanted)):
            _same_gradient(sample, leaf.grad, w, f"gradient {k}")
            count += 1
    return count


def _same_gradient(sample, got, wanted, what):
    if wanted is None or got is None:
        other = wanted if got is None else got
        none = other is None or not other.abs().sum().item()
        assert none, f"{what}: one is None, on {short(sample)}"
    else:
        described(sample, functools.partial(compare, got, wanted, what=what, rtol=1e-6, atol=1e-7))


def against_jax(op):
    """`backward` agrees with `jax.vjp` of the same call."""
    count = 0
    for sample, _, (leaves, outputs, cotangents), ours in _differentiable(op, 1):
        f, positions = dynjax_function(op), {id(t): k for k, t in enumerate(leaves)}

        class Call(dynjax.nn.Module):
            def forward(self, *given, f=f, positions=positions, ours=ours, sample=sample):
                def fill(x):
                    return given[positions[id(x)]] if id(x) in positions else x

                result = sample.output_process_fn_grad(call(f, tree_map(fill, ours)))
                tensors = leaves_of(result, dynjax.Tensor)
                return [t for t in tensors if t.is_floating_point() or t.is_complex()]

        pure, _ = to_jax(Call())

        def vjp(arrays, cotangents, pure=pure):
            return jax.vjp(lambda *a: pure({}, *a)[: len(cotangents)], *arrays)[1](cotangents)

        with jax.enable_x64(True):
            arrays = [t.detach().numpy() for t in leaves]
            try:
                # PyTorch's gradient by complex numbers is the conjugate of JAX's.
                wanted = jax.jit(vjp)(arrays, [c.numpy().conj() for c in cotangents])
            except jax.errors.JAXTypeError:
                continue  # its shape depends on values
        got = dynjax.autograd.grad(outputs, leaves, cotangents, allow_unused=True)
        for g, w in zip(got, wanted):
            if g is not None:
                np.testing.assert_allclose(g.numpy(), w, 1e-6, 1e-7, err_msg=short(sample))
                count += 1
    return count


def second_order(op):
    """The gradient of the gradient."""
    count = 0
    if not op.supports_gradgrad:
        return 0
    for sample, *sides, _ in _differentiable(op, 1):
        found, depend = [], []
        for kind, (leaves, outputs, cotangents) in zip((torch, dynjax), sides):
            grad = functools.partial(described, sample, kind.autograd.grad)
            cotangents = [c.requires_grad_() for c in cotangents]
            options = {"allow_unused": True, "create_graph": True}
            first = grad(outputs, leaves, cotangents, **options)
            if kind is torch:
                depend = [k for k, g in enumerate(first) if g is not None and g.requires_grad]
                drawn = _cotangents([first[k] for k in depend])
            again = [first[k] for k in depend]
            weights = drawn if kind is torch else tree_map(to_dynjax, drawn)
            wrt = leaves + cotangents
            found.append(again and grad(again, wrt, weights, allow_unused=True))
        for k, (wanted, got) in enumerate(zip(*found, strict=True)):
            _same_gradient(sample, got, wanted, f"second gradient {k}")
            count += 1
    return count


def _errors(op):
    """`(PyTorch's error, dynjax's or None, sample)` of PyTorch's wrong calls."""
    if op.error_inputs_func is None:
        return
    torch.manual_seed(0)
    f = dynjax_function(op)
    for wrong in op.error_inputs("cpu"):
        theirs = prepared(wrong.sample_input)
        try:
            ours = tree_map(to_dynjax, theirs)
        except Unsupported:
            continue
        try:
            call(op.op, theirs)
        except Exception as error:
            wanted = error
        else:
            continue
        if any(text in str(wanted) for text in NOT_REFUSED):
            continue
        try:
            call(f, ours)
        except Exception as error:
            yield wanted, error, short(wrong.sample_input)
        else:
            yield wanted, None, short(wrong.sample_input)


def raises(op):
    """What PyTorch refuses is refused."""
    found = list(_errors(op))
    accepted = [f"accepts {sample}: {wanted}" for wanted, got, sample in found if got is None]
    assert not accepted, "\n".join(accepted)
    return len(found)


def error_type(op):
    """What is refused raises PyTorch's type of exception."""
    found = [x for x in _errors(op) if x[1] is not None]
    wrong = [
        f"{type(got).__name__}: {got}\n  PyTorch's {type(wanted).__name__}: {wanted}\n  on {sample}"
        for wanted, got, sample in found
        if type(got) is not type(wanted)
    ]
    assert not wrong, "\n".join(wrong)
    return len(found)


CHECKS = (
    function, method, inplace, out, gradient, against_jax, second_order, raises, error_type,
)  # fmt: skip
ENTRIES = {op.formatted_name: op for op in entries()}


@pytest.fixture(autouse=True)
def interpreted(monkeypatch):
    """Operation by operation: programs of single operations are shared by many samples."""
    monkeypatch.setattr(config, "policy", "interpret")


@pytest.mark.parametrize("name", ENTRIES)
def test_operation(name):
    problems = []
    for check in CHECKS:
        known = KNOWN.get((name, check.__name__))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                check(ENTRIES[name])
        except Exception as error:
            if known is None:
                problems.append(f"{check.__name__}: {type(error).__name__}: {error}")
        else:
            if known is not None:
                problems.append(f"{check.__name__} agrees now: remove it from KNOWN ({known})")
    assert not problems, "\n".join(problems)


def test_known_differences_exist():
    checks = {check.__name__ for check in CHECKS}
    assert all(name in ENTRIES and check in checks for name, check in KNOWN)
