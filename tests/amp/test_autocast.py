"""Autocast as a mode: which types come out, what it leaves alone, where it ends."""

import threading

import numpy as np
import pytest

import dynjax
from dynjax import amp, autocast
from dynjax.nn import functional
from dynjax.ops.declare import OPS
from dynjax.ops.precision import POLICIES

bfloat16, float16, float32 = dynjax.bfloat16, dynjax.float16, dynjax.float32


@pytest.mark.parametrize("device", POLICIES)
def test_the_lists_name_operations(device):
    assert not POLICIES[device].keys() - OPS.keys()


def test_each_kind_of_operation():
    x = dynjax.ones(2, 2)
    half = x.to(bfloat16)
    with autocast("cpu"):
        assert (x @ x).dtype is bfloat16
        assert (x + x).dtype is float32
        assert (half + half).dtype is bfloat16
        assert functional.mse_loss(half, half).dtype is float32
        assert dynjax.cat([half, x]).dtype is float32
        assert dynjax.cat([half, half]).dtype is bfloat16
        assert (x.double() @ x.double()).dtype is dynjax.float64
    with autocast("cpu", dtype=float16):
        assert (x @ half).dtype is float16


def test_a_product_is_that_of_rounded_numbers_and_gradients_are_wide():
    draw = np.random.default_rng(0).standard_normal
    a, b = (dynjax.tensor(draw((3, 3)), dtype=float32, requires_grad=True) for _ in range(2))
    with autocast("cpu"):
        product = a @ b
    rounded = [t.detach().to(bfloat16).float().numpy() for t in (a, b)]
    got = product.detach().float().numpy()
    np.testing.assert_allclose(got, rounded[0] @ rounded[1], rtol=2**-7, atol=2**-7)
    product.sum().backward()
    assert a.grad.dtype is float32
    np.testing.assert_allclose(
        a.grad.numpy(), np.tile(rounded[1].sum(1), (3, 1)), rtol=2**-7, atol=2**-7
    )


def test_regions_nest_and_end():
    x = dynjax.ones(2, 2)
    assert not dynjax.is_autocast_enabled("cpu")
    with autocast("cpu", dtype=float16):
        assert dynjax.is_autocast_enabled("cpu")
        assert dynjax.get_autocast_dtype("cpu") is float16
        with autocast("cpu", enabled=False):
            assert (x @ x).dtype is float32
        assert (x @ x).dtype is float16
        with pytest.raises(ZeroDivisionError), autocast("cpu", dtype=bfloat16):
            1 / 0  # noqa: B018
        assert (x @ x).dtype is float16
    assert (x @ x).dtype is float32
    assert dynjax.get_autocast_dtype("cpu") is bfloat16


def test_grad_modes_and_autocast_do_not_mix_up():
    x = dynjax.ones(2, 2, requires_grad=True)
    with autocast("cpu"):
        with dynjax.no_grad():
            y = x @ x
            assert y.dtype is bfloat16 and not y.requires_grad
            assert dynjax.is_grad_enabled() is False
            with dynjax.enable_grad():
                assert (x @ x).requires_grad
        assert dynjax.is_grad_enabled() is True
    with dynjax.no_grad(), autocast("cpu"):
        assert not (x @ x).requires_grad
    assert (x @ x).requires_grad


def test_as_a_decorator_and_in_eager_mode():
    @autocast("cpu")
    def product(x):
        return x @ x

    x = dynjax.ones(2, 2)
    assert product(x).dtype is bfloat16
    with dynjax.eager():
        assert product(x).dtype is bfloat16
    assert (x @ x).dtype is float32


def test_other_threads_are_left_alone():
    x, found = dynjax.ones(2, 2), []
    with autocast("cpu"):
        thread = threading.Thread(target=lambda: found.append((x @ x).dtype))
        thread.start()
        thread.join()
    assert found == [float32]


def test_a_compiled_function_is_recorded_for_each_mode():
    @dynjax.compile
    def product(x):
        return x @ x

    x = dynjax.ones(2, 2)
    for _ in range(2):
        assert product(x).dtype is float32
        with autocast("cpu"):
            assert product(x).dtype is bfloat16
        with autocast("cpu", dtype=float16):
            assert product(x).dtype is float16


def test_nothing_compiles_anew_for_a_region_seen_before():
    net = dynjax.nn.Linear(3, 3)
    x = dynjax.ones(2, 3)

    def step():
        with autocast("cpu"):
            loss = functional.mse_loss(net(x), x)
        net.zero_grad()
        loss.backward()
        return float(loss)

    for _ in range(3):
        step()
    with dynjax.explain() as compiles:
        step()
    assert not compiles


class Square(dynjax.autograd.Function):
    """Notes the types that it sees."""

    seen: list = []

    @staticmethod
    @amp.custom_fwd(device_type="cpu", cast_inputs=float32)
    def forward(ctx, x):
        ctx.save_for_backward(x)
        Square.seen.append((x.dtype, (x @ x).dtype))
        return x * x

    @staticmethod
    @amp.custom_bwd(device_type="cpu")
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        Square.seen.append((x @ x).dtype)
        return 2 * x * grad


def test_functions_of_ones_own():
    Square.seen.clear()
    x = dynjax.ones(2, 2, dtype=bfloat16, requires_grad=True)
    with autocast("cpu"):
        y = Square.apply(x)
        y.sum().backward()
    assert y.dtype is float32
    assert Square.seen == [(float32, float32), float32]
    assert x.grad.dtype is bfloat16


def test_bad_inputs():
    with pytest.raises(ValueError, match="Expected `device_type` of type `str`, got: .*int"):
        autocast(3)
    with pytest.raises(RuntimeError, match="foo"):
        autocast("foo")
    with pytest.warns(UserWarning, match="only supports dtypes of dynjax.bfloat16"):
        assert not autocast("cpu", dtype=float32)._enabled
    with pytest.raises(TypeError, match="requires a callable, but got int"):
        autocast("cpu")(3)
