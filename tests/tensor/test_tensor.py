"""Tensor as a Python object: conversions, observation, copies, identity."""

import copy
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dynjax


def test_types_are_inferred_as_in_pytorch():
    assert dynjax.tensor([1, 2]).dtype is dynjax.int64
    assert dynjax.tensor([1, 2.5]).dtype is dynjax.float32
    assert dynjax.tensor([True]).dtype is dynjax.bool
    assert dynjax.tensor(1j).dtype is dynjax.complex64
    assert dynjax.tensor(np.zeros(2)).dtype is dynjax.float64
    assert dynjax.tensor([]).shape == (0,)


def test_sixty_four_bits_pass_through_and_jax_keeps_its_setting():
    big = 2**53 + 1
    assert (dynjax.tensor([big]) + 1).tolist() == [big + 1]
    x = dynjax.tensor([0.1], dtype=dynjax.float64)
    assert (x * 3).item() == 0.1 * 3
    assert jnp.arange(3).dtype == jnp.int32


@pytest.mark.parametrize("bad", [[[1, 2], [3]], [[1], 2]])
def test_ragged_sequences(bad):
    with pytest.raises((ValueError, TypeError)):
        dynjax.tensor(bad)


def test_what_is_no_number():
    with pytest.raises(TypeError, match="invalid data type 'str'"):
        dynjax.tensor("abc")
    with pytest.raises(RuntimeError, match="Could not infer dtype of NoneType"):
        dynjax.tensor(None)


def test_observation():
    x = dynjax.tensor([[1.5, 2.0]])
    assert x[0, 0].item() == 1.5 and float(x[0, 1]) == 2.0 and int(x[0, 1]) == 2
    assert x.tolist() == [[1.5, 2.0]] and len(x) == 1 and 2.0 in x
    assert bool(x[0, 0] > 1) and [t.tolist() for t in x] == [[1.5, 2.0]]
    assert [10, 20, 30][dynjax.tensor(2)] == 30
    assert f"{dynjax.tensor(1.25):.1f}" == "1.2"


@pytest.mark.parametrize(
    ("look", "error", "message"),
    [
        (lambda x: x.item(), RuntimeError, "a Tensor with 3 elements cannot be converted to Scal"),
        (lambda x: bool(x), RuntimeError, "Boolean value of Tensor with more than one value is am"),
        (lambda x: len(x.sum()), TypeError, r"len\(\) of a 0-d tensor"),
        (lambda x: list(x.sum()), TypeError, "iteration over a 0-d tensor"),
        (lambda x: x.requires_grad_().numpy(), RuntimeError, "Can't call numpy"),
        (lambda x: [1, 2][x.sum()], TypeError, "only integer tensors of a single element"),
        (lambda x: x.size(1), IndexError, "Dimension out of range"),
        (lambda x: dynjax.tensor([1]).requires_grad_(), RuntimeError, "only Tensors of floating"),
    ],
)
def test_observations_that_are_refused(look, error, message):
    with pytest.raises(error, match=message):
        look(dynjax.ones(3))


def test_numpy_is_a_view_of_the_values():
    x = dynjax.arange(4.0)
    assert np.asarray(x).dtype == np.float32
    np.testing.assert_array_equal(np.asarray(x, np.float64), [0, 1, 2, 3])
    assert (np.add(x, 1) == [1, 2, 3, 4]).all()


def test_jax_takes_tensors_and_gives_arrays_back():
    x = dynjax.arange(3.0)
    np.testing.assert_array_equal(jnp.sin(x.__jax_array__()), jnp.sin(jnp.arange(3.0)))
    assert dynjax.from_dlpack(jnp.arange(3.0)).tolist() == [0, 1, 2]
    assert np.from_dlpack(x).tolist() == [0, 1, 2]
    assert isinstance(jax.device_put(x.__jax_array__()), jax.Array)


def test_copies_and_pickles():
    x = dynjax.tensor([1.0, 2.0], requires_grad=True)
    x.sum().backward()
    x.note = "kept"
    y = copy.deepcopy(x)
    assert y is not x and y.requires_grad and y.tolist() == x.tolist() and y.note == "kept"
    assert y.grad.tolist() == [1, 1]
    z = pickle.loads(pickle.dumps(x))
    assert z.requires_grad and z.tolist() == [1, 2]
    p = pickle.loads(pickle.dumps(dynjax.nn.Parameter(dynjax.ones(2))))
    assert isinstance(p, dynjax.nn.Parameter) and p.requires_grad
    with pytest.raises(RuntimeError, match="Only Tensors created explicitly by the user"):
        copy.deepcopy(x * 2)


def test_to_and_its_short_forms():
    x = dynjax.arange(3)
    assert x.float().dtype is dynjax.float32 and x.to(dynjax.int64) is x
    assert x.to("cpu", dynjax.float64).dtype is dynjax.float64
    assert x.to(dynjax.ones(1)).dtype is dynjax.float32
    assert x.type() == "torch.LongTensor" and x.half().type_as(x).dtype is dynjax.int64
    with pytest.raises(TypeError, match="invalid combination of arguments"):
        x.to([])


def test_gradients_must_fit_their_tensor():
    x = dynjax.ones(3, requires_grad=True)
    with pytest.raises(RuntimeError, match="attempting to assign a gradient of size"):
        x.grad = dynjax.ones(2)
    with pytest.raises(TypeError, match="assigned grad expected to be a Tensor or None"):
        x.grad = 1.0
    assert x.grad is None


def test_unknown_names_say_what_is_closest():
    with pytest.raises(AttributeError, match="did you mean 'softmax'"):
        dynjax.sofmax
