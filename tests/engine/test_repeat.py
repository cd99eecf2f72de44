"""A body that is repeated, with what it only adds up taken out: the results of a Python loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynjax.engine.repeat import Given, Kept, Stack, repeat

TIMES = 7
ROWS = np.random.default_rng(0).standard_normal((TIMES, 4, 6), np.float32)
OTHER = np.random.default_rng(1).standard_normal((TIMES, 4, 5), np.float32)
WEIGHT = np.random.default_rng(2).standard_normal((6, 6), np.float32)
STATE = np.random.default_rng(3).standard_normal((4, 6), np.float32)
TOTAL = np.random.default_rng(4).standard_normal((6, 5), np.float32)


def by_python(body, times, consts, begins, stacks, rows, n_kept):
    carries, kept = list(begins), [[] for _ in range(n_kept)]
    for i in range(times):
        slices = [stack.array[stack.start + stack.stride * i] for stack in stacks]
        results = body(list(consts), carries, slices, [numbers[i] for numbers in rows])
        carries = results[: len(begins)]
        for one, value in zip(kept, results[len(begins) :], strict=True):
            one.append(value)
    return carries, [np.stack(one) for one in kept]


def agree(body, begins, stacks, consts=(), rows=(), kept=(), times=TIMES):
    """Check the results; returns the shapes of what the repetitions carry."""
    arrays = list(consts), list(begins), [stack.array for stack in stacks], list(rows)

    def whole(consts, begins, arrays, rows):
        given = [Stack(a, s.start, s.stride) for a, s in zip(arrays, stacks, strict=True)]
        return repeat(body, times, times, Given(consts, begins, given, rows), kept)

    expected = by_python(body, times, consts, begins, stacks, rows, len(kept))
    carries, left = jax.jit(whole)(*arrays)
    for a, b in zip(
        [*carries, *[one[1:] for one in left]], [*expected[0], *expected[1]], strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-5)
    loops = [
        e for e in jax.make_jaxpr(whole)(*arrays).eqns if e.primitive.name in ("while", "scan")
    ]
    return [v.aval.shape for v in loops[0].outvars]


def forwards(array):
    return Stack(array, 0, 1)


def backwards(array):
    return Stack(array, len(array) - 1, -1)


def cell(consts, carries, slices, rows):
    """A state that depends on itself, and the sum of its product with what is read."""
    (weight,), (state, total), (x, y) = consts, carries, slices
    state = jnp.tanh(state @ weight + x)
    return [state, total + state.T @ y]


@pytest.mark.parametrize("x", [forwards, backwards])
@pytest.mark.parametrize("y", [forwards, backwards])
def test_a_sum_of_products_is_one_product(x, y):
    carried = agree(cell, [STATE, TOTAL], [x(ROWS), y(OTHER)], [WEIGHT])
    assert TOTAL.shape not in carried and (TIMES + 1, *STATE.shape) in carried


def test_of_two_stacks_nothing_is_kept():
    def body(consts, carries, slices, rows):
        return [jnp.cos(carries[0]), slices[0].T @ slices[1] + carries[1]]

    carried = agree(body, [STATE, TOTAL], [forwards(ROWS), forwards(OTHER)])
    assert carried.count(STATE.shape) == 1 and not any(len(shape) == 3 for shape in carried)


def test_a_stack_may_be_read_in_steps():
    long = np.random.default_rng(5).standard_normal((3 * TIMES, 4, 5), np.float32)
    for start, stride in ((1, 2), (20, -3), (2, 3)):
        carried = agree(
            cell, [STATE, TOTAL], [forwards(ROWS), Stack(long, start, stride)], [WEIGHT]
        )
        assert TOTAL.shape not in carried


def test_products_with_batches_and_of_other_dimensions():
    def body(consts, carries, slices, rows):
        x, y = slices
        a = jnp.einsum("bi,bj->bij", x, y)  # by batches, nothing contracted
        b = jnp.einsum("bi,ci->bc", x, jnp.sin(x))
        return [carries[0] + a, b + carries[1], carries[2] + jnp.einsum("bi,bj->ji", x, y)]

    begins = [np.zeros((4, 6, 5), np.float32), np.zeros((4, 4), np.float32), TOTAL.T]
    agree(body, begins, [forwards(ROWS), backwards(OTHER)])


def test_what_a_product_is_shaped_to_is_done_to_the_sum():
    def body(consts, carries, slices, rows):
        state = jnp.tanh(carries[0] + slices[0])
        product = (state.T @ slices[1]).T.reshape(5, 2, 3).sum(1)
        return [state, carries[1] + product, carries[2] + jnp.sum(state, 0)]

    begins = [STATE, np.ones((5, 3), np.float32), np.ones(6, np.float32)]
    agree(body, begins, [forwards(ROWS), forwards(OTHER)])


def test_a_sum_of_what_is_kept_anyway_is_taken_out_too():
    def body(consts, carries, slices, rows):
        state, total, row = carries
        state = jnp.tanh(state + slices[0])
        return [state, total + state.T @ slices[1], row + state.sum(0)]

    carried = agree(body, [STATE, TOTAL, WEIGHT[0]], [forwards(ROWS), forwards(OTHER)])
    assert WEIGHT[0].shape not in carried


def test_a_sum_that_is_smaller_than_its_factors_stays():
    def body(consts, carries, slices, rows):
        state = jnp.tanh(carries[0] + slices[0])
        return [state, carries[1] + jnp.vdot(state, state), carries[2] + state]

    carried = agree(body, [STATE, np.float32(1), STATE], [forwards(ROWS)])
    assert carried.count(STATE.shape) == 2 and () in carried


def test_a_sum_that_is_read_on_the_way_stays():
    def read(consts, carries, slices, rows):
        total = carries[1] + slices[0].T @ slices[1]
        return [carries[0] + (slices[1] @ total.T), total]

    def read_before(consts, carries, slices, rows):
        state, total = carries
        return [state + slices[1] @ total.T, total + slices[0].T @ slices[1]]

    def kept(consts, carries, slices, rows):
        total = carries[1] + slices[0].T @ slices[1]
        return [carries[0] + slices[0], total, total]

    def twice(consts, carries, slices, rows):
        total = slices[0].T @ slices[1]
        return [carries[0] + slices[0], carries[1] + total + carries[1]]

    stacks = [forwards(ROWS), forwards(OTHER)]
    for body in (read, read_before, twice):
        assert TOTAL.shape in agree(body, [STATE, TOTAL], stacks)
    shape = jax.ShapeDtypeStruct(TOTAL.shape, TOTAL.dtype)
    assert TOTAL.shape in agree(kept, [STATE, TOTAL], stacks, kept=[Kept(shape)])


def test_a_sum_of_constants_stays():
    def body(consts, carries, slices, rows):
        return [carries[0] + slices[0], carries[1] + consts[0].T @ consts[0]]

    agree(body, [STATE, np.zeros_like(WEIGHT)], [forwards(ROWS)], [WEIGHT])


def test_a_sum_that_turns_into_another_stays():
    def body(consts, carries, slices, rows):
        first, second = carries
        return [second + slices[0].T @ slices[1], first]

    agree(body, [TOTAL, TOTAL + 1], [forwards(ROWS), forwards(OTHER)])


def test_numbers_of_every_repetition_and_what_is_kept():
    def body(consts, carries, slices, rows):
        state = jnp.tanh(carries[0] * rows[0][0] + slices[0] * rows[1][1])
        return [state, carries[1] + state.T @ slices[1], state]

    rows = [
        np.linspace(0, 1, TIMES, dtype=np.float32)[:, None],
        np.arange(2 * TIMES).reshape(-1, 2),
    ]
    shape = jax.ShapeDtypeStruct(STATE.shape, STATE.dtype)
    agree(
        body, [STATE, TOTAL], [forwards(ROWS), backwards(OTHER)], rows=rows, kept=[Kept(shape)]
    )  # fmt: skip


def test_what_is_kept_begins_with_what_was_before():
    def body(consts, carries, slices, rows):
        return [carries[0] + slices[0], carries[0]]

    kept = [Kept(jax.ShapeDtypeStruct(STATE.shape, STATE.dtype), -STATE)]
    given = Given([], [STATE], [forwards(ROWS)], [])
    for room in (TIMES, TIMES + 5):
        _, (left,) = jax.jit(lambda room=room: repeat(body, TIMES, room, given, kept))()
        assert left.shape == (room + 1, *STATE.shape)
        np.testing.assert_array_equal(left[0], -STATE)
        np.testing.assert_array_equal(left[1], STATE)
        np.testing.assert_allclose(left[TIMES], STATE + ROWS[:-1].sum(0), rtol=1e-5)


def test_functions_with_rules_of_their_own_are_looked_into():
    @jax.custom_vjp
    def product(x, y):
        return x.T @ y

    product.defvjp(lambda x, y: (x.T @ y, None), lambda _, g: (g, g))

    def body(consts, carries, slices, rows):
        state = jax.nn.relu(carries[0] + slices[0])
        return [state, carries[1] + jax.jit(product)(state, slices[1])]

    carried = agree(body, [STATE, TOTAL], [forwards(ROWS), forwards(OTHER)])
    assert TOTAL.shape not in carried


def test_what_has_effects_is_repeated_as_it_is():
    seen = []

    def body(consts, carries, slices, rows):
        jax.debug.callback(seen.append, slices[0][0, 0], ordered=True)
        return [carries[0] + slices[0], carries[1] + slices[0].T @ slices[1]]

    stacks = [forwards(ROWS), forwards(OTHER)]
    _, left = jax.jit(
        lambda: repeat(body, TIMES, TIMES, Given([], [STATE, TOTAL], stacks, []), [])
    )()
    jax.effects_barrier()
    assert len(seen) == TIMES and not left


def test_no_more_is_kept_than_there_is_room_for(monkeypatch):
    monkeypatch.setattr("dynjax.engine.repeat._MOST", STATE.nbytes * TIMES - 1)
    assert TOTAL.shape in agree(cell, [STATE, TOTAL], [forwards(ROWS), forwards(OTHER)], [WEIGHT])


def test_how_often_may_be_known_only_when_it_runs():
    stacks = [forwards(ROWS), forwards(OTHER)]

    @jax.jit
    def whole(times):
        return repeat(cell, times, TIMES, Given([WEIGHT], [STATE, TOTAL], stacks, []), [])

    for times in (0, 1, 5):
        expected = by_python(cell, times, [WEIGHT], [STATE, TOTAL], stacks, [], 0)[0]
        for a, b in zip(whole(times)[0], expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.int32, jnp.complex64])
def test_types(dtype):
    def body(consts, carries, slices, rows):
        return [carries[0] + 1, carries[1] + slices[0].T @ slices[1]]

    x, y, total = (jnp.asarray(a * 3).astype(dtype) for a in (ROWS, OTHER, TOTAL))
    stacks = [forwards(x), backwards(y)]
    (_, found), _ = jax.jit(
        lambda: repeat(body, TIMES, TIMES, Given([], [jnp.int32(0), total], stacks, []), [])
    )()
    exact = np.asarray(total, np.complex128) + sum(
        np.asarray(a, np.complex128).T @ np.asarray(b, np.complex128) for a, b in zip(x, y[::-1])
    )
    assert found.dtype == dtype
    close = jnp.finfo(dtype).eps * 30 if jnp.issubdtype(dtype, jnp.inexact) else 0
    np.testing.assert_allclose(np.asarray(found, np.complex128), exact, rtol=close, atol=close * 5)
