"""Random numbers: new random tensors, fills in place, samples from data.

What does not depend on data is drawn on the host (NumPy's Philox): building a model
compiles nothing. What does (`bernoulli`, `multinomial`, ...) is drawn on the device, from a key
that is a run-time input. The numbers are not PyTorch's; a seed repeats them exactly.
Probabilities that are data are not checked, since that would wait for the device.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..autograd.dispatch import check_inplace
from ..core.dtypes import as_dtype, get_default_dtype, int64
from ..engine.random import default_generator
from ..tensor.tensor import Tensor as Array
from .checks import type_name
from .creation import finish, read_size
from .declare import FLOAT, Bool, Int, Key, Operand, Tensor, composite, op


def _rng(generator):
    return (generator or default_generator).numpy()


# Draws on the host: (numpy generator, shape, NumPy dtype, *parameters) -> array


def _wide(dtype):
    part = dtype.itemsize // 2 if dtype.kind == "c" else dtype.itemsize
    return np.float64 if part == 8 else np.float32


def _complex(draw, dtype, scale=1.0):
    return draw() if dtype.kind != "c" else (draw() + 1j * draw()) * scale


def _refuse(dtype, kernel, whole=False, complex=False):
    if (dtype.is_complex and complex) or (whole and not _has_fractions(dtype)):
        raise NotImplementedError(f"\"{kernel}\" not implemented for '{dtype.type_name}'")


def _refuse_whole(dtype, kernel):
    _refuse(dtype, kernel, whole=True)


def _has_fractions(dtype):
    return dtype.is_floating_point or dtype.is_complex


def _check_continuous(name, dtype):
    if not dtype.is_floating_point:
        raise RuntimeError(
            f"{name} distribution is a continuous probability distribution. dtype must be a "
            f"floating point but you specified {dtype.type_name}"
        )


def _uniform(rng, shape, dtype, low=0.0, high=1.0):
    _refuse_whole(dtype, "check_uniform_bounds")
    if low > high:
        raise RuntimeError(
            f"uniform_ expects to return a [from, to) range, but found from={low:g} > to={high:g}"
        )
    wide = _wide(dtype.np)
    draws = _complex(lambda: rng.random(shape, wide), dtype.np)
    return draws if (low, high) == (0.0, 1.0) else draws * wide(high - low) + wide(low)


def _normal(rng, shape, dtype, mean=0.0, std=1.0):
    _refuse_whole(dtype, "normal_kernel_cpu")
    if not std >= 0:
        raise RuntimeError(f"normal expects std >= 0.0, but found std {std:g}")
    wide = _wide(dtype.np)
    # A complex number's variance is shared by its parts.
    draws = _complex(lambda: rng.standard_normal(shape, wide), dtype.np, wide(math.sqrt(0.5)))
    return draws if (mean, std) == (0.0, 1.0) else draws * wide(std) + wide(mean)


def _integers(rng, shape, dtype, low, high):
    if low >= high:
        raise RuntimeError(
            f"random_ expects 'from' to be less than 'to', but got from={low} >= to={high}"
        )
    if dtype.np.kind in "iu":
        limits = np.iinfo(dtype.np)
        for what, value in (("from", low), ("to - 1", high - 1)):
            if not limits.min <= value <= limits.max:
                raise RuntimeError(f"{what} is out of bounds for {_C_NAMES[dtype.name]}")
    return rng.integers(low, high, shape)


_C_NAMES = {
    "uint8": "unsigned char", "int8": "signed char", "int16": "short", "int32": "int",
    "int64": "int64_t", "uint16": "unsigned short", "uint32": "unsigned int", "uint64": "uint64_t",
}  # fmt: skip


def _exponential(rng, shape, dtype, lambd=1.0):
    _check_continuous("Exponential", dtype)
    if lambd <= 0:
        raise RuntimeError(f"exponential_ expects lambda > 0.0, but found lambda={lambd:g}")
    return rng.standard_exponential(shape, _wide(dtype.np)) / lambd


def _log_normal(rng, shape, dtype, mean=1.0, std=2.0):
    _refuse(dtype, "log_normal_cpu", whole=True, complex=True)
    if std <= 0:
        raise RuntimeError(f"log_normal_ expects std > 0.0, but found std={std:g}")
    return np.exp(_normal(rng, shape, dtype, mean, std))


def _cauchy(rng, shape, dtype, median=0.0, sigma=1.0):
    _check_continuous("Cauchy", dtype)
    if sigma <= 0:
        raise RuntimeError(f"cauchy_ expects sigma > 0.0, but found sigma={sigma:g}")
    return rng.standard_cauchy(shape) * sigma + median


def _geometric(rng, shape, dtype, p):
    _refuse(dtype, "geometric_cpu", whole=dtype.name == "bool", complex=True)
    if not 0 < p < 1:
        raise RuntimeError(f"geometric_ expects p to be in (0, 1), but got p={p:g}")
    return rng.geometric(p, shape)


# New tensors


def _creator(name, draw, doc):
    def create(*size, generator=None, dtype=None, **options):
        size = read_size(name, size or (options.pop("size", ()),))
        dtype = get_default_dtype() if dtype is None else as_dtype(dtype, name)
        return finish(name, draw(_rng(generator), size, dtype).astype(dtype.np, copy=False),
                      **options)  # fmt: skip

    def like(input, *, generator=None, dtype=None, **options):
        return create(tuple(input.shape), generator=generator, dtype=dtype or input.dtype,
                      **options)  # fmt: skip

    create.__doc__ = f"A tensor of the given size, {doc}."
    like.__doc__ = f"A tensor of the input's size and type, {doc}."
    composite(name=name, method=False)(create)
    composite(name=f"{name}_like", method=False)(like)


_creator("rand", _uniform, "uniform on [0, 1)")
_creator("randn", _normal, "from the standard normal distribution")


@composite(method=False)
def randint(low, high=None, size=None, *, generator=None, dtype=None, **options):
    """Integers from `low` (0 if only one bound is given) to below `high`, of type int64."""
    if size is None:
        low, high, size = 0, low, high
    dtype = int64 if dtype is None else as_dtype(dtype, "randint")
    size = read_size("randint", (size,))
    draws = _integers(_rng(generator), size, dtype, int(low), int(high))
    return finish("randint", draws.astype(dtype.np, copy=False), **options)


@composite(method=False)
def randint_like(input, low, high=None, *, dtype=None, **options):
    """Integers from `low` to below `high` in the input's size and type."""
    low, high = (0, low) if high is None else (low, high)
    return randint(low, high, tuple(input.shape), dtype=dtype or input.dtype, **options)


@composite(method=False)
def randperm(n: int, *, generator=None, dtype=None, **options):
    """The integers from 0 to n - 1 in random order."""
    (n,) = read_size("randperm", (n,))
    dtype = int64 if dtype is None else as_dtype(dtype, "randperm")
    return finish("randperm", _rng(generator).permutation(n).astype(dtype.np), **options)


# Fills in place


def _filler(name, draw, doc):
    def fill(input, *parameters, generator=None, **named):
        check_inplace(input)
        values = draw(_rng(generator), tuple(input.shape), input.dtype, *parameters, **named)
        input._set_host(values.astype(input.dtype.np, copy=False))
        return input

    fill.__doc__ = f"Fill the tensor {doc}; returns it."
    composite(name=name, function=False)(fill)


def _uniform_between(rng, shape, dtype, *bounds, to=None, **named):
    """PyTorch calls the lower bound `from`, which Python can't declare."""
    low = bounds[0] if bounds else named.pop("from", 0.0)
    high = bounds[1] if len(bounds) > 1 else 1.0 if to is None else to
    if named or len(bounds) > 2:
        raise TypeError(f"uniform_() got an unexpected keyword argument {[*named][0]!r}")
    return _uniform(rng, shape, dtype, low, high)


def _random_between(rng, shape, dtype, *bounds, to=None, **named):
    low = named.pop("from", 0)
    if named or len(bounds) > 2:
        raise TypeError(f"random_() got an unexpected keyword argument {[*named][0]!r}")
    if len(bounds) == 2:
        low, to = bounds
    elif bounds:
        low, to = (0, bounds[0]) if to is None else (bounds[0], to)
    _refuse(dtype, "random_kernel_cpu", complex=True)
    if to is None:
        to = _largest(dtype)
    return _integers(rng, shape, dtype, low, to)


def _largest(dtype):
    """One more than the largest integer up to which all fit the type."""
    if dtype.np.kind in "iu":
        return min(int(np.iinfo(dtype.np).max), (1 << 63) - 2) + (dtype.itemsize < 8)
    digits = {"float64": 53, "float32": 24, "float16": 11, "bfloat16": 8, "bool": 1}
    return (1 << digits[dtype.name]) + (dtype.name != "bool")


_filler("uniform_", _uniform_between, "from the uniform distribution on [from, to)")
_filler("normal_", _normal, "from the normal distribution of this mean and std")
_filler("random_", _random_between, "with integers from `from` to below `to`")
_filler("exponential_", _exponential, "from the exponential distribution of this rate")
_filler("log_normal_", _log_normal, "with exponentials of normal numbers")
_filler("cauchy_", _cauchy, "from the Cauchy distribution")
_filler("geometric_", _geometric, "with trials up to the first success of probability p")


# Samples from data


def _check_probability(p):
    if not 0 <= p <= 1:
        raise RuntimeError(f"bernoulli_ expects p to be in [0, 1], but got p={p:g}")


@op(name="bernoulli", method=False, function=False)
def _bernoulli(input: Tensor, *, key: Key):
    """1 with the probability that each element gives, else 0."""
    if not jnp.issubdtype(input.dtype, jnp.floating):
        raise NotImplementedError(
            f"\"bernoulli_tensor_cpu_p_\" not implemented for '{type_name(input.dtype)}'"
        )
    return jax.random.bernoulli(key, lax.stop_gradient(input)).astype(input.dtype)


def _draw_bernoulli(rng, shape, dtype, p=0.5):
    _refuse(dtype, "bernoulli_scalar_cpu_", complex=True)
    _check_probability(p)
    return rng.random(shape, np.float32) < p


@composite
def bernoulli(input, p: float | None = None, *, generator=None, out=None):
    """1 with the probability that each element (or `p`) gives, else 0, in the input's type."""
    if p is None:
        return finish("bernoulli", _bernoulli(input, generator=generator), out=out)
    draws = _draw_bernoulli(_rng(generator), tuple(input.shape), input.dtype, p)
    return finish("bernoulli", draws.astype(input.dtype.np), out=out)


def _fill_bernoulli(input, p=0.5, *, generator=None):
    """Fill the tensor with 1, of probability `p` (a number or a tensor), and 0; returns it."""
    if isinstance(p, Array):
        return input.copy_(_bernoulli(p.detach(), generator=generator).expand(input.shape))
    check_inplace(input)
    draws = _draw_bernoulli(_rng(generator), tuple(input.shape), input.dtype, p)
    input._set_host(draws.astype(input.dtype.np))
    return input


composite(name="bernoulli_", function=False)(_fill_bernoulli)


@op(name="normal", types=FLOAT, method=False, function=False)
def _normal_around(mean: Operand, std: Operand, *, key: Key):
    """Normal numbers around means with standard deviations; the two broadcast."""
    shape = jnp.broadcast_shapes(mean.shape, std.shape)
    draws = jax.random.normal(key, shape, mean.dtype)
    return lax.stop_gradient(mean) + lax.stop_gradient(std) * draws


@composite(method=False)
def normal(mean, std=1.0, size=None, *, generator=None, out=None, dtype=None, **options):
    """Normal numbers: of the given size, or one for each element of `mean` and `std`."""
    if not isinstance(std, Array) and not std >= 0:
        raise RuntimeError(f"normal expects std >= 0.0, but found std {std:g}")
    if size is None:
        return finish("normal", _normal_around(mean, std, generator=generator), out=out)
    dtype = get_default_dtype() if dtype is None else as_dtype(dtype, "normal")
    draws = _normal(_rng(generator), read_size("normal", (size,)), dtype, mean, std)
    return finish("normal", draws.astype(dtype.np), out=out, **options)


@op(out="same type")
def multinomial(input: Tensor, num_samples: Int, replacement: Bool = False, *, key: Key):
    """Positions drawn in proportion to the weights in a vector or in each row of a matrix."""
    if input.ndim not in (1, 2):
        raise RuntimeError("prob_dist must be 1 or 2 dim")
    if not jnp.issubdtype(input.dtype, jnp.floating):
        raise RuntimeError(
            "multinomial only supports floating-point dtypes for input, got: "
            f"{type_name(input.dtype)}"
        )
    if num_samples <= 0:
        raise RuntimeError("cannot sample n_sample <= 0 samples")
    if input.shape[-1] > 2**24:
        raise RuntimeError("number of categories cannot exceed 2^24")
    if not replacement and num_samples > input.shape[-1]:
        raise RuntimeError(
            "cannot sample n_sample > prob_dist.size(-1) samples without replacement"
        )
    logits = jnp.log(lax.stop_gradient(input))
    if not replacement:
        # Adding Gumbel noise and taking the largest draws without replacement.
        noise = jax.random.gumbel(key, input.shape, input.dtype)
        return lax.top_k(logits + noise, num_samples)[1].astype(jnp.int64)
    shape = (num_samples, *input.shape[:-1])
    return jax.random.categorical(key, logits, shape=shape).T.astype(jnp.int64)


@op(method=False)
def poisson(input: Tensor, *, key: Key):
    """Poisson numbers, each of the rate that the element gives."""
    draws = jax.random.poisson(jax.random.key(jax.random.bits(key), impl="threefry2x32"),
                               lax.stop_gradient(input))  # fmt: skip
    return draws.astype(input.dtype)
