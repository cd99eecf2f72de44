"""JAX functions on padded data: each primitive's rule, against the function on the data alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from dynjax.engine.padding.extents import Unpaddable, symbols_of
from dynjax.engine.padding.host import narrowed, widened
from dynjax.engine.padding.walk import Padded, Padding

N, M = "n", "m"
SAMPLES = [{N: 5, M: 4}, {N: 9, M: 7}, {N: 8, M: 3}]
USES = [{N: 9, M: 7}, {N: 6, M: 2}, {N: 3, M: 8}, {N: 1, M: 5}]
WIDE = {N: 12, M: 8}


def arrays(specs, sizes, seed=0):
    """Random data of shapes in which letters stand for sizes; of integers with a bound."""
    generator, found = np.random.default_rng(seed), []
    for spec in specs:
        shape, bound = (
            spec if isinstance(spec[-1], int | str) and isinstance(spec[0], tuple) else (spec, None)
        )
        shape = [sizes.get(d, d) for d in shape]
        bound = sizes.get(bound, bound)
        if bound is None:
            found.append(generator.standard_normal(shape).astype(np.float32))
        else:
            found.append(generator.integers(0, bound, shape))
    return found


def padded_function(fn, specs, samples=SAMPLES, wide=WIDE):
    """The function on padded data, and what turns data into its arguments and results."""
    data = [arrays(specs, sizes) for sizes in samples]
    traced = [jax.make_jaxpr(fn)(*each) for each in data]
    known, places, leaves = symbols_of([[a.shape for a in each] for each in data])
    first = [
        wide[next(k for k in wide if [s[k] for s in samples] == list(seen))]
        for seen in known.symbols
    ]
    axes = []

    def body(real, *args):
        padding = Padding(known, first, [real[k] for k in range(len(first))])
        given = list(map(Padded, args, leaves))
        results = padding.run([t.jaxpr for t in traced], [t.consts for t in traced], given)
        axes[:] = [result.axes for result in results]
        return [result.value for result in results]

    jitted = jax.jit(body)

    def run(*given, junk=0):
        symbols = tuple([given[k].shape[d] for k, d in places])
        filled = []
        for array, each in zip(given, leaves, strict=True):
            inside = widened(np.ones(array.shape, bool), each, first, symbols)
            full = widened(array, each, first, symbols)
            filled.append(np.where(inside, full, np.asarray(junk, array.dtype)))
        results = jitted(np.array(symbols, np.int64), *filled)
        return [
            narrowed(np.asarray(r), a, first, symbols) for r, a in zip(results, axes, strict=True)
        ]

    return run


def check(fn, *specs, uses=USES, samples=SAMPLES, tolerance=1e-5):
    """That a function on padded data, whatever pads it, gives what it gives on the data."""
    with jax.enable_x64(True):
        run, exact = padded_function(fn, specs, samples), jax.jit(fn)
        for seed, sizes in enumerate(uses, 1):
            given = arrays(specs, sizes, seed)
            expected = jax.tree.leaves(exact(*given))
            for junk in (0, 7):
                for ours, theirs in zip(run(*given, junk=junk), expected, strict=True):
                    np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)


def gradient(fn):
    """The gradient of a function with respect to its first argument, at a cotangent that varies."""

    def of(x, *rest):
        y, pull = jax.vjp(lambda x: fn(x, *rest), x)
        return pull(jnp.cos(y))

    return of


X, ROWS = (N, 3), ((2, N), N)
POINTWISE = [
    jnp.sin, jnp.exp, jnp.tanh, jax.nn.relu, jax.nn.gelu, jax.nn.softplus, jnp.sign, lax.logistic,
    lambda x: jnp.where(x > 0, x, 0.1 * x), lambda x: jnp.clip(x, -1, 1), lambda x: x**3 + 2 * x,
]  # fmt: skip


def test_element_by_element():
    check(lambda x: [f(x) for f in POINTWISE], X)
    check(lambda x: [gradient(f)(x) for f in POINTWISE], X)


def test_arrays_that_meet():
    check(lambda x, y, b: (x[:, None] + y * b, x.mean() * y), (N, 3), (M, 3), (3,))


REDUCTIONS = {
    "sum": jnp.sum, "mean": jnp.mean, "max": jnp.max, "min": jnp.min,
    "var": lambda x, d: jnp.var(x, d, ddof=1), "norm": lambda x, d: jnp.linalg.norm(x, axis=d),
    "logsumexp": jax.nn.logsumexp, "softmax": jax.nn.softmax, "log_softmax": jax.nn.log_softmax,
}  # fmt: skip


@pytest.mark.parametrize("name", REDUCTIONS)
def test_along_axes(name):
    reduce, uses = REDUCTIONS[name], [s for s in USES if s[N] > 1]
    check(lambda x: [reduce(x, d) for d in (0, 1, (0, 1))], (N, M), uses=uses)
    check(lambda x: [gradient(lambda x, d=d: reduce(x, d))(x) for d in (0, 1)], (N, M), uses=uses)


def test_all_any_and_places():
    check(lambda x: (jnp.all(x > -2, 0), jnp.any(x > 2, 1), jnp.all(x < 9)), (N, M))
    check(lambda x: (jnp.argmax(x, 0), jnp.argmin(x, 1)), (N, M))
    check(lambda x: jnp.prod(x, 0), (N, M))


def test_running():
    check(lambda x: (jnp.cumsum(x, 0), jnp.cumprod(x, 1), lax.cummax(x, 0)), (N, M))
    check(gradient(lambda x: jnp.cumsum(x, 0)), (N, M))
    check(lambda x: (lax.cummin(x, 0, reverse=True), lax.cumlogsumexp(x, 0)), (N, M))


def test_products():
    check(lambda x, w: x @ w, (N, 4), (4, 6))
    check(lambda x, y: x.T @ y, (N, 4), (N, 6))
    check(lambda x, y: jnp.einsum("bnd,bmd->bnm", x, y), (2, N, 3), (2, M, 3))
    check(gradient(lambda w, x: jnp.einsum("nmd,de->nme", x, w)), (3, 4), (N, M, 3))


def test_attention():
    def attend(x, mask):
        q, k, v = jnp.split(x.reshape(*x.shape[:2], 2, 9), 3, -1)
        scores = jnp.einsum("bnhd,bmhd->bhnm", q, k)
        weights = jax.nn.softmax(jnp.where(mask[:, None, None] > 0, scores, -jnp.inf))
        return jnp.einsum("bhnm,bmhd->bnhd", weights, v).reshape(*x.shape[:2], -1)

    uses = [s for s in USES if s[N] > 2]
    check(attend, (2, N, 18), ((2, N), 1), uses=uses)
    check(lambda x, _: attend(x, jnp.ones(x.shape[:2])), (2, N, 18), (2, N))
    check(gradient(lambda x: attend(x, jnp.ones(x.shape[:2]))), (2, N, 18))


def test_shapes():
    check(lambda x: x.reshape(-1, 3) @ jnp.ones((3, 2)), (4, N, 3))
    check(lambda x: x.reshape(-1, 2, 3).sum(1), (N, 6))
    check(lambda x: x.transpose(1, 0, 2).reshape(x.shape[1], -1), (2, N, 3))
    check(lambda x: x.reshape(-1).sum() + jnp.ones(x.size).sum(), (M, N))
    check(lambda x: x.reshape(2, -1, 3).mean(0), (2, N, 3))
    check(lambda x: lax.reshape(x, (3, 2 * x.shape[1]), (2, 0, 1)).cumsum(0), (2, N, 3))
    check(lambda x: (x[:, None] * jnp.ones((1, 4, 1)), jnp.broadcast_to(x[0], x.shape)), X)


def test_slices():
    check(lambda x: (x[1:], x[:-1], x[:, 1:], x[:3], x[2:-1]), (N, 4), uses=USES[:3])
    check(lambda x: (x[-1], x[-2:]), (N, 4), uses=USES[:3])
    check(gradient(lambda x: (x[1:] * x[:-1]).sum() + x[-1].sum()), (N, 4), uses=USES[:3])
    check(lambda x, k: lax.dynamic_slice(x, (k[0], k[1]), (1, 2)), (N, 3), ((2,), N))
    check(lambda x, k: x.at[k[0]].set(1.0), (N, 3), ((2,), N))


def test_joining():
    check(lambda x, y: jnp.concatenate([x, y], 1), (N, 3), (N, 2))
    check(lambda x, y: jnp.concatenate([y, x, y]).cumsum(0), (N, 3), (2, 3))
    check(lambda x: jnp.tile(x, (2, 3)).reshape(2, -1, 9).sum(0), X)
    check(gradient(lambda x, y: jnp.concatenate([y, x, y]).cumsum(0)), (N, 3), (2, 3))
    check(lambda x, y: jnp.concatenate([x, x * 2]).reshape(2, -1, 3) + y, (N, 3), (N, 3))
    check(gradient(lambda x: jnp.concatenate([x, x * 2]) ** 2), (N, 3))
    check(lambda x: jnp.pad(x, ((1, 2), (0, 1))).cumsum(0), (N, 3))
    check(lambda x: jnp.stack([x, x.sum(1, keepdims=True) + x], 1), X)
    check(lambda x: (jnp.flip(x, 0).cumsum(0), jnp.flip(x, 1)), (N, M))


def test_orders():
    check(lambda x: (jnp.sort(x, 0), jnp.argsort(x, 0), jnp.sort(x, 1)), (N, M))
    check(lambda x: lax.top_k(x.T, 2), (N, 3), uses=USES[:3])
    check(gradient(lambda x: jnp.sort(x, 0)), (N, M))


def test_rows_by_index():
    check(lambda x, i: x[i], (N, 3), ((M,), N))
    check(lambda table, i: table[i].sum(1), (6, 3), ((M, N), 6))
    check(gradient(lambda table, i: table[i]), (6, 3), ((M, N), 6))
    check(gradient(lambda x, i: x[i]), (N, 3), ((M,), N))
    check(lambda x, i: jnp.take_along_axis(x, i[:, None], 1), (N, 6), ((N,), 6))
    check(gradient(lambda x, i: jnp.take_along_axis(x, i[:, None], 1)), (N, 6), ((N,), 6))


def test_a_guess_gives_way():
    # Which factor of 2 n equal elements comes first, only what they meet tells.
    check(lambda x: jnp.concatenate([x, x]).T @ jnp.ones((2 * len(x), 3)), (N, 4))
    check(lambda x: x.reshape(-1, 4).T @ jnp.ones((2 * len(x), 3)), (N, 2, 4))
    check(lambda x: jnp.ones((2 * len(x), 3)).at[:, 0].set(x.reshape(-1)), (N, 2))


def test_rows_put_by_index():
    check(lambda x, i, y: x.at[i].add(y), (N, 3), ((M,), N), (M, 3))
    check(lambda x, i, y: x.at[i, :2].add(y), (5, 3), ((M,), 5), (M, 2))
    check(lambda i, y: jnp.zeros((6, 3)).at[i].max(y), ((N,), 6), (N, 3))
    check(lambda i, y: jax.ops.segment_sum(y, i, 6), ((N,), 6), (N, 3))


@pytest.mark.parametrize("mode", ["clip", "fill", "drop"])
def test_places_outside_of_the_data(mode):
    # An index that is one of what pads the data is as far outside as any other.
    def read(x, i):
        return (
            x.at[i].get(mode=mode, fill_value=9.0) if mode != "drop" else x.at[i].get(mode="fill")
        )

    check(lambda x, i: read(x, i + 2), (N, 3), ((4,), N))
    put = "clip" if mode == "clip" else "drop"
    check(lambda x, i: x.at[i + 2].add(1.0, mode=put), (N, 3), ((4,), N))


def test_loops():
    def recurrent(x, h):
        return lax.scan(lambda h, x: (jnp.tanh(h + x), h * 2), h, x)

    check(recurrent, (N, M, 3), (M, 3))
    check(lambda x, h: lax.scan(lambda h, x: (h + x, h), h, x, reverse=True), (N, 3), (3,))
    check(gradient(lambda x, h: recurrent(x, h)[1]), (4, N, 3), (N, 3))
    check(lambda x: lax.scan(lambda h, x: (h + x.sum(), h), jnp.zeros(()), x), (N, M))


def test_branches():
    def fn(x):
        return lax.cond(x.sum() > 0, lambda x: jnp.cumsum(x, 0), lambda x: x.sum(0) + x, x)

    check(fn, X)


def test_convolutions_along_what_varies():
    def conv(x, w, pad=((1, 2),)):
        return lax.conv_general_dilated(x, w, (1,), pad, rhs_dilation=(2,))

    check(conv, (2, 3, N), (4, 3, 2), uses=USES[:3])
    check(gradient(conv), (2, 3, N), (4, 3, 2), uses=USES[:3])

    def plain(w, x):
        return lax.conv_general_dilated(x, w, (1,), ((1, 1),))

    check(gradient(plain), (4, 3, 3), (M, 3, N), uses=USES[:3])


def test_convolutions_of_many():
    def conv(x, w):
        return lax.conv_general_dilated(x, w, (1, 1), "SAME")

    check(conv, (N, 2, 4, 4), (3, 2, 3, 3))
    check(gradient(lambda w, x: conv(x, w)), (3, 2, 3, 3), (N, 2, 4, 4))
    pool = lambda x: lax.reduce_window(x, -np.inf, lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")  # noqa: E731
    check(pool, (N, 2, 4, 4))
    check(gradient(pool), (N, 2, 4, 4))


def test_counting_goes_by_what_is_not_padded():
    check(lambda x: x + jnp.arange(x.size).reshape(x.shape), (2, N, 3))
    check(lambda x: jnp.arange(x.shape[0]) * x.sum(1), (N, 3))
    check(lambda x: jnp.where(jnp.eye(2 * len(x)) > 0, 0, jnp.concatenate([x, x])[:, None]), (N,))


def test_random_numbers_are_as_random():
    def fn(x):
        return jax.random.uniform(jax.random.key(3), (2, len(x), 50)).mean((0, 2)) + 0 * x

    with jax.enable_x64(True):
        (means,) = padded_function(fn, [(N,)])(*arrays([(N,)], USES[0]))
    assert len(set(means)) == len(means) and np.all(abs(means - 0.5) < 0.15)


def test_calls_are_written_out():
    inner = jax.jit(lambda x: jnp.tanh(x).sum(0))
    check(lambda x: inner(x) + jax.checkpoint(inner)(x), X)


@pytest.mark.parametrize(
    ("fn", "specs"),
    [
        (lambda x: x[::2], [X]),
        (lambda x: x[: x.shape[0] // 2], [X]),
        (lambda x: jnp.sort(x.reshape(-1)), [(2, N)]),
        (lambda x: jnp.fft.fft(x, axis=0), [X]),
        (lambda x: jnp.linalg.inv(x @ x.T), [(N, N)]),
        (lambda x: x * np.float32(np.log(x.shape[0])), [X]),
        (lambda x: x if x.shape[0] < 7 else -x, [X]),
        (lambda x: x + np.arange(x.shape[0], dtype=np.float32)[:, None], [X]),
        (lambda x: lax.while_loop(lambda x: x.sum() < 9, lambda x: x + 1, x), [X]),
    ],
)
def test_what_cannot_be_padded_says_so(fn, specs):
    with jax.enable_x64(True), pytest.raises(Unpaddable):
        run = padded_function(fn, specs)
        run(*arrays(specs, USES[0]))
