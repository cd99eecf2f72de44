"""Natives give what they are made of; sizes may change in place."""

import itertools

import numpy as np
import pytest

import dynjax as torch
import dynjax.nn.functional as F
from tests.ops.common import assert_close

X = np.random.default_rng(2).standard_normal((3, 4, 5)).astype(np.float32)


@pytest.mark.parametrize(
    "call, axes, shape",
    [
        (lambda x: torch.native_layer_norm(x, (5,), None, None, 1e-5), -1, (3, 4, 1)),
        (lambda x: torch.native_group_norm(x, None, None, 3, 4, 5, 2, 1e-5), None, (3, 2)),
        (lambda x: torch.native_batch_norm(x, None, None, None, None, True, 0.1, 1e-5), (0, 2),
         (4,)),
    ],
)  # fmt: skip
def test_norms_with_their_statistics(call, axes, shape):
    result, mean, scale = call(torch.tensor(X))
    parts = X.reshape(3, 2, 10) if axes is None else X
    axes = -1 if axes is None else axes
    assert_close(mean, parts.mean(axes).reshape(shape))
    assert_close(scale, (1 / np.sqrt(parts.var(axes) + 1e-5)).reshape(shape), rtol=1e-4)
    whole = parts.mean(axes, keepdims=True), np.sqrt(parts.var(axes, keepdims=True) + 1e-5)
    assert_close(result, ((parts - whole[0]) / whole[1]).reshape(X.shape), atol=1e-5)


@pytest.mark.parametrize("parameters", [None, torch.bfloat16, torch.float32])
def test_statistics_have_the_type_of_the_parameters_or_of_the_input(parameters):
    x = torch.tensor(X).bfloat16()
    wide, many = (None if parameters is None else torch.ones(n, dtype=parameters) for n in (5, 4))
    for results in (
        torch.native_layer_norm(x, (5,), wide, wide, 1e-5),
        torch.native_group_norm(x, many, many, 3, 4, 5, 2, 1e-5),
        torch.native_batch_norm(x, many, many, None, None, True, 0.1, 1e-5),
    ):
        wanted = parameters or torch.bfloat16
        assert [t.dtype for t in results] == [torch.bfloat16, wanted, wanted]


def test_batch_norm_without_training_gives_no_statistics_and_with_it_updates_them():
    mean, var = torch.zeros(4), torch.ones(4)
    _, a, b = torch.native_batch_norm(torch.tensor(X), None, None, mean, var, False, 0.1, 0.0)
    assert a.shape == b.shape == (0,)
    torch.native_batch_norm(torch.tensor(X), None, None, mean, var, True, 0.1, 1e-5)
    assert_close(mean, 0.1 * X.mean((0, 2)))


def test_pdist_lists_the_distances_of_all_pairs():
    rows = X[0]
    expected = [np.abs(rows[i] - rows[j]).sum() for i, j in itertools.combinations(range(4), 2)]
    assert_close(F.pdist(torch.tensor(rows), 1.0), np.float32(expected))


def test_padding_by_a_constant():
    assert torch.constant_pad_nd(torch.ones(2), (1, 2), 5).tolist() == [5, 1, 1, 5, 5]


def test_resizing_keeps_the_first_elements():
    x = torch.arange(6)
    assert x.resize_(2, 2) is x and x.tolist() == [[0, 1], [2, 3]]
    x.resize_(5)[0] = 7
    assert x.tolist()[:4] == [7, 1, 2, 3] and x.shape == (5,)
    assert x.resize_as_(torch.zeros(1, 2)).tolist() == [[7, 1]]
    with pytest.raises(RuntimeError, match="cannot resize variables that require grad"):
        torch.ones(2, requires_grad=True).resize_(3)


def test_strides_are_checked_and_have_no_effect():
    assert torch.empty_strided((2, 3), (1, 2)).stride() == (3, 1)
    assert torch.ones(1).long().new_empty_strided((2,), (1,)).dtype == torch.int64
    assert torch.empty_permuted((2, 3), (1, 0)).shape == (2, 3)
    with pytest.raises(RuntimeError, match=r"sizes \(2\) must match dimensionality of strides"):
        torch.empty_strided((2, 3), (1,))
    with pytest.raises(RuntimeError, match="Duplicate dim"):
        torch.empty_permuted((2, 3), (1, 1))


def test_questions():
    assert torch.is_nonzero(torch.tensor([2])) and not torch.is_nonzero(torch.tensor(0.0))
    assert torch.ones(2).is_same_size(torch.zeros(2)) and torch.is_signed(torch.ones(1))
    with pytest.raises(RuntimeError, match="ambiguous"):
        torch.is_nonzero(torch.zeros(0))
