"""Copies of views share nothing; writes into a copy leave the input as it is."""

import numpy as np
import pytest

import dynjax as torch
from dynjax.ops.declare import NAMES, OPS
from tests.ops.common import assert_close

X = np.arange(12, dtype=np.float32).reshape(3, 4)
CALLS = {
    "alias": (), "as_strided": ((2, 2), (4, 1), 1), "diagonal": (1,), "expand": ((2, 3, 4),),
    "narrow": (0, 1, 2), "permute": ((1, 0),), "select": (1, 2), "split": (2,),
    "split_with_sizes": ((1, 2),), "squeeze": (), "t": (), "transpose": (0, 1), "unbind": (),
    "unfold": (1, 2, 1), "unsqueeze": (1,), "view": ((4, 3),),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_a_copy_has_the_views_elements_and_shares_none(name):
    x = torch.tensor(X)
    view = getattr(x, name)(*CALLS[name])
    copy = getattr(torch, f"{name}_copy")(x, *CALLS[name])
    pairs = zip(view, copy) if isinstance(view, tuple) else [(view, copy)]
    for of_view, of_copy in pairs:
        assert of_copy.tolist() == of_view.tolist()
        of_copy.add_(100)
    assert x.tolist() == X.tolist()


def test_every_view_of_pytorchs_list_has_a_copy():
    left = [n for n in OPS if OPS[n].view and n in CALLS and f"{n}_copy" not in NAMES["torch"]]
    assert not left


@pytest.mark.parametrize(
    "scatter, index",
    [
        (lambda x, s: x.select_scatter(s, 0, 1), 1),
        (lambda x, s: x.slice_scatter(s, 1, 1, 4, 2), (slice(None), slice(1, 4, 2))),
        (lambda x, s: x.diagonal_scatter(s, 1), ([0, 1, 2], [1, 2, 3])),
        (lambda x, s: x.as_strided_scatter(s, (2, 2), (4, 2)), np.ix_([0, 1], [0, 2])),
    ],
)
def test_scatter_writes_into_a_copy(scatter, index):
    x, expected = torch.tensor(X, requires_grad=True), X.copy()
    src = torch.full(X[index].shape, -1.0, requires_grad=True)
    expected[index] = -1
    result = scatter(x, src)
    assert result.tolist() == expected.tolist() and x.tolist() == X.tolist()
    result.sum().backward()
    assert src.grad.eq(1).all() and x.grad.tolist() == (expected >= 0).tolist()


def test_as_strided_is_a_view_unless_elements_overlap():
    x = torch.zeros(6)
    x.as_strided((2, 2), (3, 1), 1).add_(1)
    assert x.tolist() == [0, 1, 1, 0, 1, 1]
    assert x.as_strided((3, 3), (1, 1)).shape == (3, 3)
    with pytest.raises(RuntimeError, match="single memory location"):
        x.as_strided((3, 3), (1, 1)).add_(1)


def test_complex_numbers_as_pairs_and_back():
    z = torch.tensor([1 + 2j, 3 - 1j])
    pairs = torch.view_as_real(z)
    assert pairs.tolist() == [[1, 2], [3, -1]] and torch.view_as_complex(pairs).equal(z)
    pairs[0, 1] = 5
    assert z[0].item() == 1 + 5j
    assert z.conj().resolve_conj().tolist() == [1 - 5j, 3 + 1j] and not z.conj().is_conj()


def test_unsafe_pieces_are_no_views():
    x = torch.zeros(4)
    for pieces in (x.unsafe_chunk(2), x.unsafe_split(2), x.unsafe_split_with_sizes((2, 2))):
        pieces[0].add_(1)
        assert len(pieces) == 2
    x.split_with_sizes((1, 3))[1].add_(2)
    assert x.tolist() == [0, 2, 2, 2]


def test_put_and_index_reduce():
    x = torch.tensor(X)
    put = x.put(torch.tensor([5, -1, 5]), torch.tensor([1.0, 2, 3]), accumulate=True)
    assert put.flatten()[5].item() == 9 and put.flatten()[-1].item() == 13
    index, source = torch.tensor([0, 0]), torch.full((2, 4), 6.0)
    assert_close(x.index_reduce(0, index, source, "mean")[0], np.float32([4, 13 / 3, 14 / 3, 5]))
    assert x.index_reduce(0, index, source, "amax", include_self=False)[0].tolist() == [6] * 4


def test_nonzero_static_has_the_size_asked_for():
    x = torch.tensor([[0, 1], [2, 3]])
    assert torch.nonzero_static(x, size=2).tolist() == [[0, 1], [1, 0]]
    assert torch.nonzero_static(x, size=4)[3].tolist() == [-1, -1]
    assert torch.nonzero_static(torch.zeros(0, 2), size=1, fill_value=-2).tolist() == [[-2, -2]]


@pytest.mark.parametrize(
    "reduce, expected",
    [("sum", [1, 0, 9]), ("mean", [0.5, np.nan, 3]), ("max", [1, -np.inf, 4]),
     ("min", [0, np.inf, 2]), ("prod", [0, 1, 24])],
)  # fmt: skip
def test_segments_are_reduced_one_by_one(reduce, expected):
    data, lengths = torch.arange(5.0, requires_grad=True), torch.tensor([2, 0, 3])
    result = torch.segment_reduce(data, reduce, lengths=lengths)
    np.testing.assert_array_equal(result.detach().numpy(), np.float32(expected))
    offsets = torch.tensor([0, 2, 2, 5])
    for name in (reduce, {"max": "amax", "min": "amin"}.get(reduce, reduce)):
        assert torch.segment_reduce(data, name, offsets=offsets)[2].item() == expected[2]
    result[2].backward()
    slope = {"sum": [1, 1, 1], "mean": [1 / 3] * 3, "max": [0, 0, 1], "min": [1, 0, 0],
             "prod": [12, 8, 6]}[reduce]  # fmt: skip
    np.testing.assert_allclose(data.grad.numpy(), [0, 0, *slope], rtol=1e-6)


@pytest.mark.parametrize(
    "call, error, text",
    [
        (lambda x: x.select_scatter(x[0, :2], 0, 1), RuntimeError, r"src size = \[2\], slice siz"),
        (lambda x: x.slice_scatter(x, 0, 0, 3, 0), RuntimeError, "slice step must be positive"),
        (lambda x: x.as_strided((9,), (4,)), RuntimeError, "out of bounds for storage of size 48"),
        (lambda x: x.as_strided((2,), (-1,)), RuntimeError, "Negative strides"),
        (lambda x: torch.view_as_real(x), RuntimeError, "only supported for complex tensors"),
        (lambda x: torch.view_as_complex(x), RuntimeError, "last dimension of size 2"),
        (lambda x: x.put(torch.tensor([1.0]), x[0, :1]), RuntimeError, "a long tensor for index"),
        (lambda x: x.index_reduce(0, torch.tensor([0]), x[:1], "sum"), RuntimeError, "got sum"),
        (lambda x: torch.segment_reduce(x, "sum"), RuntimeError, "Either lengths or offsets"),
        (lambda x: torch.nonzero_static(x, size=-1), RuntimeError, "non-negative integer"),
    ],
)
def test_bad_calls_raise_what_pytorch_raises(call, error, text):
    with pytest.raises(error, match=text):
        call(torch.tensor(X))
