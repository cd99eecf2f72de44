"""Old functions of the main namespace, and what says that a name is missing."""

import numpy as np
import pytest

import dynjax
from dynjax import nn

F = nn.functional


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_losses_take_a_number_for_their_reduction(reduction):
    number = ["none", "mean", "sum"].index(reduction)
    x, y = dynjax.tensor([0.2, -1.0]), dynjax.tensor([1.0, 0.0])
    got = dynjax.binary_cross_entropy_with_logits(x, y, None, None, number)
    expected = F.binary_cross_entropy_with_logits(x, y, reduction=reduction)
    assert got.tolist() == expected.tolist()
    got = dynjax.hinge_embedding_loss(x, y * 2 - 1, 0.5, number)
    assert got.tolist() == F.hinge_embedding_loss(x, y * 2 - 1, 0.5, reduction=reduction).tolist()


def test_a_reduction_by_name_is_refused():
    with pytest.raises(TypeError, match="'reduction'.* must be int, not str"):
        dynjax.kl_div(dynjax.ones(2), dynjax.ones(2), "mean")


def test_result_type_counts_tensors_before_scalars_before_numbers():
    whole, half = dynjax.ones(2, dtype=dynjax.int32), dynjax.ones(2, dtype=dynjax.float16)
    wide = dynjax.tensor(2.5, dtype=dynjax.float64)
    assert dynjax.result_type(whole, 3) is dynjax.int32
    assert dynjax.result_type(whole, 2.5) is dynjax.float32
    assert dynjax.result_type(half, wide) is dynjax.float16
    assert dynjax.result_type(whole, wide) is dynjax.float64
    assert dynjax.result_type(1, 2) is dynjax.int64
    with pytest.raises(TypeError, match="invalid combination"):
        dynjax.result_type("a", 1)


def test_fill_diagonal():
    tall = dynjax.zeros(7, 3)
    assert tall.clone().fill_diagonal_(1).sum().item() == 3
    wrapped = tall.fill_diagonal_(1, wrap=True).numpy()
    assert np.flatnonzero(wrapped.ravel()).tolist() == [0, 4, 8, 12, 16, 20]
    cube = dynjax.zeros(3, 3, 3).fill_diagonal_(2).numpy()
    assert np.flatnonzero(cube.ravel()).tolist() == [0, 13, 26]
    with pytest.raises(RuntimeError, match="larger than 1"):
        dynjax.zeros(3).fill_diagonal_(1)
    with pytest.raises(RuntimeError, match="equal length"):
        dynjax.zeros(2, 3, 4).fill_diagonal_(1)


def test_float_power_in_place_needs_double_precision():
    x = dynjax.tensor([2.0, 3.0], dtype=dynjax.float64)
    assert x.float_power_(2).tolist() == [4.0, 9.0]
    single = dynjax.ones(2)
    with pytest.raises(RuntimeError, match="has dtype Float but .* requires dtype Double"):
        single.float_power_(2)
    assert single.tolist() == [1.0, 1.0]


def test_binomial_counts_successes():
    dynjax.manual_seed(0)
    drawn = dynjax.binomial(dynjax.full((4000,), 10.0), dynjax.tensor(0.3))
    assert set(drawn.unique().tolist()) <= set(map(float, range(11)))
    assert abs(drawn.mean().item() - 3.0) < 0.1
    with pytest.raises(ValueError, match="floating-point dtypes for count, got: Long"):
        dynjax.binomial(dynjax.tensor([3]), dynjax.tensor([0.5]))


def test_convolution_is_that_of_as_many_dimensions():
    x, w = dynjax.rand(1, 1, 5), dynjax.rand(1, 1, 3)
    assert dynjax.convolution(x, w, None, [1], [0], [1], False, [0], 1).equal(F.conv1d(x, w))
    got = dynjax.convolution(x, w, None, [2], [1], [1], True, [1], 1)
    assert got.equal(F.conv_transpose1d(x, w, None, 2, 1, 1))


def test_norms_of_old_names():
    x = dynjax.arange(6.0).reshape(2, 3)
    with pytest.warns(UserWarning, match="deprecated"):
        assert dynjax.frobenius_norm(x, [0, 1]).item() == pytest.approx(55**0.5)
    with pytest.warns(UserWarning, match="deprecated"):
        expected = np.linalg.norm(x.numpy(), "nuc")
        assert dynjax.nuclear_norm(x).item() == pytest.approx(expected, rel=1e-5)
    assert dynjax.norm_except_dim(x, 2, 1).shape == (1, 3)


def test_types_of_tensors():
    made = dynjax.FloatTensor([1, 2])
    assert made.dtype is dynjax.float32 and made.tolist() == [1.0, 2.0]
    assert dynjax.LongTensor(2, 3).shape == (2, 3)
    assert isinstance(made, dynjax.FloatTensor) and not isinstance(made, dynjax.LongTensor)
    with pytest.raises(TypeError, match="convert it with"):
        dynjax.FloatTensor(dynjax.tensor([1]))
    with pytest.raises(TypeError, match="must be a sequence"):
        dynjax.FloatTensor(2.5)


def test_the_default_type_is_a_floating_one():
    before = dynjax.get_default_dtype()
    try:
        with pytest.warns(UserWarning, match="deprecated"):
            dynjax.set_default_tensor_type("torch.DoubleTensor")
        assert dynjax.tensor(1.0).dtype is dynjax.float64
    finally:
        dynjax.set_default_dtype(before)
    with pytest.warns(UserWarning), pytest.raises(TypeError, match="floating-point"):
        dynjax.set_default_tensor_type(dynjax.LongTensor)


@pytest.mark.parametrize("name", ["eig", "lstsq", "solve", "symeig"])
def test_what_was_removed_says_what_to_use(name):
    with pytest.raises(RuntimeError, match="now removed.*linalg"):
        getattr(dynjax.ones(2, 2), name)()


def test_as_subclass_shares_content():
    class Named(dynjax.Tensor):
        pass

    x = dynjax.zeros(2)
    y = x.as_subclass(Named)
    y[0] = 5
    assert type(y) is Named and x.tolist() == [5.0, 0.0]
    with pytest.raises(TypeError, match="inherit from Tensor"):
        x.as_subclass(int)


def test_cond_takes_one_side():
    x = dynjax.tensor([1.0])
    assert dynjax.cond(x > 0, lambda v: v + 1, lambda v: v - 1, (x,)).tolist() == [2.0]


@pytest.mark.parametrize(
    ("place", "name", "says"),
    [
        (dynjax, "relu6_", "did you mean|no attribute"),
        (dynjax, "sparse_coo_tensor", "out of scope.*surface.md"),
        (dynjax.ones(1), "to_sparse", "'Tensor' object has no attribute.*out of scope"),
        (dynjax.ones(1), "reshpe", "'Tensor' object has no attribute 'reshpe'$"),
        (F, "sofmax", "did you mean 'softmax'"),
        (F, "scaled_mm", "out of scope"),
        (nn, "Linaer", "did you mean 'Linear'"),
        (dynjax.optim, "Adamm", "did you mean 'Adam"),
        (dynjax.linalg, "inverce", "no attribute"),
    ],
)
def test_a_missing_name_says_why_or_what_is_close(place, name, says):
    with pytest.raises(AttributeError, match=says):
        getattr(place, name)


def test_in_place_functions_are_those_of_pytorch():
    assert hasattr(dynjax, "relu_") and hasattr(dynjax, "addmv_")
    assert not hasattr(dynjax, "add_") and hasattr(dynjax.Tensor, "add_")


def test_no_room_is_an_error_of_its_own():
    from dynjax.core.errors import failed

    assert type(failed("RESOURCE_EXHAUSTED: out of memory")) is dynjax.OutOfMemoryError
    assert type(failed("INTERNAL: other")) is RuntimeError
