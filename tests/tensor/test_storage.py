"""Mutation: storages, views of views, versions, and what is refused."""

import numpy as np
import pytest

import dynjax


def grid():
    return dynjax.arange(6.0).reshape(2, 3)


def test_a_write_through_a_view_reaches_its_base_and_its_other_views():
    x = grid()
    row, column = x[1], x[:, 0]
    row.mul_(10)
    assert x.tolist() == [[0, 1, 2], [30, 40, 50]]
    assert column.tolist() == [0, 30]
    column += 1
    assert row.tolist() == [31, 40, 50]


def test_views_of_views():
    x = grid()
    x.t()[1:].unsqueeze(0)[0, 0].fill_(7)
    assert x.tolist() == [[0, 7, 2], [3, 7, 5]]


def test_flat_and_transposed_writes():
    x = grid()
    y = x.view(-1)
    y[::2] = -1
    assert x.tolist() == [[-1, 1, -1], [3, -1, 5]]
    x.t().zero_()
    assert y.tolist() == [0] * 6


def test_in_place_methods_return_the_tensor_and_count_versions():
    x = grid()
    assert x._version == 0
    assert x.add_(1) is x and x._version == 1
    x[0] = 5
    assert x._version == 2
    assert x[0]._version == 2 and x.detach()._version == 2


def test_iadd_keeps_identity_and_type():
    x = dynjax.tensor([1, 2])
    y = x
    x += 1
    assert x is y and y.tolist() == [2, 3]
    with pytest.raises(RuntimeError, match="result type Float can't be cast to the desired output"):
        x += 0.5
    assert y.tolist() == [2, 3]


def test_setitem_in_its_forms():
    x = grid()
    x[0, 1] = 9
    x[1] = dynjax.tensor([7.0, 8.0, 9.0])
    assert x.tolist() == [[0, 9, 2], [7, 8, 9]]
    x[x > 8] = 0
    assert x.tolist() == [[0, 0, 2], [7, 8, 0]]
    x[dynjax.tensor([0, 1]), dynjax.tensor([2, 0])] = -1
    assert x.tolist() == [[0, 0, -1], [-1, 8, 0]]
    x[..., -1] += 3
    assert x.tolist() == [[0, 0, 2], [-1, 8, 3]]


def test_detach_and_data_share_the_storage():
    x = grid().requires_grad_()
    x.detach().mul_(2)
    x.data[0] = 1
    assert x.tolist() == [[1, 1, 1], [6, 8, 10]]
    assert x.requires_grad and x.is_leaf
    assert x._version == 1  # a change through .data does not count


def test_assigning_data():
    x = grid().requires_grad_()
    x.data = dynjax.ones(4)
    assert x.shape == (4,) and x.requires_grad and x.is_leaf


def test_gradients_flow_through_in_place_operations():
    x = dynjax.tensor([1.0, 2.0, 3.0], requires_grad=True)
    y = x * 1
    y[0] = y[1].clone() * y[2].clone()
    y.mul_(2)
    y.sum().backward()
    assert x.grad.tolist() == [0, 8, 6]


def test_writing_a_tracked_value_into_a_constant():
    w = dynjax.tensor(3.0, requires_grad=True)
    x = dynjax.zeros(2, 2)
    x[0] = w * 2
    assert x.requires_grad and not x.is_leaf
    x.sum().backward()
    assert w.grad.item() == 4


def test_a_parameter_updated_under_no_grad_stays_a_leaf():
    w = dynjax.tensor([1.0, 2.0], requires_grad=True)
    (w * w).sum().backward()
    with dynjax.no_grad():
        w -= 0.5 * w.grad
    assert w.is_leaf and w.requires_grad and w.tolist() == [0, 0]
    w.grad.zero_()
    (w + 1).sum().backward()
    assert w.grad.tolist() == [1, 1]


def test_numpy_arrays_that_were_handed_out_never_change():
    x = grid()
    before = x.numpy()
    x.add_(1)
    x.sum().item()
    assert before[0, 0] == 0 and x.numpy()[0, 0] == 1
    with pytest.raises(ValueError, match="read-only"):
        before[0, 0] = 5
    source = np.zeros(3, np.float32)
    y = dynjax.from_numpy(source)
    source[:] = 1
    assert y.tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    "write",
    [lambda x: x.add_(1), lambda x: x.zero_(), lambda x: x.__setitem__(0, 1.0)],
)
def test_leaves_that_require_grad_refuse(write):
    x = grid().requires_grad_()
    with pytest.raises(RuntimeError, match="leaf Variable that requires grad is being used"):
        write(x)
    with pytest.raises(RuntimeError, match="a view of a leaf Variable that requires grad"):
        write(x.view(3, 2))
    assert x.tolist() == grid().tolist() and x._version == 0


def test_views_made_without_recording_refuse_recorded_writes():
    x = grid().requires_grad_() * 1
    with dynjax.no_grad():
        y = x[0]
    with pytest.raises(RuntimeError, match="A view was created in no_grad mode"):
        y.mul_(2)


def test_expanded_memory_refuses_writes():
    x = dynjax.zeros(3, 1).expand(3, 4)
    with pytest.raises(RuntimeError, match="more than one element of the written-to tensor"):
        x.add_(1)


def test_in_place_results_must_fit():
    x = dynjax.zeros(3)
    with pytest.raises(RuntimeError, match=r"output with shape \[3\] doesn't match the broadcast"):
        x.add_(dynjax.zeros(2, 3))
    assert x.tolist() == [0, 0, 0] and x._version == 0


def test_out_arguments():
    out = dynjax.empty(3)
    result = dynjax.add(dynjax.ones(3), 1, out=out)
    assert result is out and out.tolist() == [2, 2, 2]
    with pytest.raises(RuntimeError, match="can't be cast to the desired output type"):
        dynjax.add(dynjax.ones(3), 0.5, out=dynjax.zeros(3, dtype=dynjax.int64))
    with pytest.warns(UserWarning, match="An output with one or more elements was resized"):
        dynjax.add(dynjax.ones(3), 1, out=dynjax.empty(2))
