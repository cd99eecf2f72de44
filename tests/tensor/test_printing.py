"""The text of tensors. The expected texts are PyTorch's own."""

import numpy as np
import pytest

from dynjax.core import dtypes as dt
from dynjax.core.devices import device
from dynjax.tensor.printing import (
    format_tensor,
    get_printoptions,
    printoptions,
    set_printoptions,
)

INF, NAN = float("inf"), float("nan")


def shown(values, dtype=dt.float32, **notes):
    return format_tensor(np.array(values, dtype.np), dtype, **notes)


@pytest.mark.parametrize(
    "values, dtype, text",
    [
        (3.5, dt.float32, "tensor(3.5000)"),
        (7, dt.int64, "tensor(7)"),
        (True, dt.bool, "tensor(True)"),
        ([1, -20, 300], dt.int64, "tensor([  1, -20, 300])"),
        ([True, False], dt.bool, "tensor([ True, False])"),
        ([1.0, 2.0], dt.float32, "tensor([1., 2.])"),
        ([1.0, -2.5], dt.float32, "tensor([ 1.0000, -2.5000])"),
        ([0.0, -0.0], dt.float32, "tensor([0., -0.])"),
        ([1.0, INF, NAN], dt.float32, "tensor([1., inf, nan])"),
        ([1.5, -INF, NAN], dt.float32, "tensor([1.5000,   -inf,    nan])"),
        ([NAN, INF], dt.float32, "tensor([nan, inf])"),
        ([1 + 2j, -1.5 - 0.25j], dt.complex64, "tensor([ 1.0000+2.0000j, -1.5000-0.2500j])"),
    ],
)
def test_entries_share_one_notation_and_width(values, dtype, text):
    assert shown(values, dtype) == text


@pytest.mark.parametrize(
    "values, text",
    [
        ([1e-5, 1.0], "tensor([1.0000e-05, 1.0000e+00])"),
        ([1.0, 1000.0], "tensor([   1., 1000.])"),
        ([1.0, 1001.0], "tensor([1.0000e+00, 1.0010e+03])"),
        ([1.0, 2000.5], "tensor([1.0000e+00, 2.0005e+03])"),
        ([2e8], "tensor([2.0000e+08])"),
    ],
)
def test_scientific_notation_by_size_and_range(values, text):
    assert shown(values) == text


@pytest.mark.parametrize(
    "values, dtype, text",
    [
        ([[1, 2], [3, 4]], dt.int32, "tensor([[1, 2],\n        [3, 4]], dtype=dynjax.int32)"),
        ([0.1, 1.0], dt.float64, "tensor([0.1000, 1.0000], dtype=dynjax.float64)"),
        ([0.1, 1.0], dt.float16, "tensor([0.1000, 1.0000], dtype=dynjax.float16)"),
        ([0.1, 1.0], dt.bfloat16, "tensor([0.1001, 1.0000], dtype=dynjax.bfloat16)"),
        (1 - 2j, dt.complex128, "tensor(1.-2.j, dtype=dynjax.complex128)"),
        ([], dt.float32, "tensor([])"),
        ([], dt.int64, "tensor([], dtype=dynjax.int64)"),
        ([[], []], dt.float32, "tensor([], size=(2, 0))"),
    ],
)
def test_types_are_said_where_the_entries_do_not_show_them(values, dtype, text):
    assert shown(values, dtype) == text


def test_gradient_notes():
    assert shown([1.0], requires_grad=True) == "tensor([1.], requires_grad=True)"
    noted = shown(2.5, requires_grad=True, grad_fn_name="AddBackward0")
    assert noted == "tensor(2.5000, grad_fn=<AddBackward0>)"


def test_parameters():
    text = shown([[1.5, 2.0]], requires_grad=True, is_parameter=True)
    assert text == "Parameter containing:\ntensor([[1.5000, 2.0000]], requires_grad=True)"


def test_devices_other_than_the_cpu_are_said():
    assert shown([1.0], device=device("cpu")) == "tensor([1.])"
    assert shown([1.0], device=device("cuda:0")) == "tensor([1.], device='cuda:0')"


def test_subclasses_have_their_own_prefix():
    assert shown([[1], [2]], dt.int64, prefix="Mine(") == "Mine([[1],\n      [2]])"


def test_other_contents():
    assert shown([1.0], requires_grad=True, contents="...") == "tensor(..., requires_grad=True)"


def test_long_lines_wrap():
    assert shown(range(30), dt.int64) == (
        "tensor([ 0,  1,  2,  3,  4,  5,  6,  7,  8,  9, 10, 11, 12, 13, 14, 15, 16, 17,\n"
        "        18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29])"
    )


def test_notes_wrap_where_they_do_in_pytorch():
    # "dynjax" is a letter longer than "torch", in which this is one line of 80 characters.
    assert shown([[[-(10**8)] * 4]], dt.int32) == (
        "tensor([[[-100000000, -100000000, -100000000, -100000000]]], dtype=dynjax.int32)"
    )
    assert shown([0.5] * 7, requires_grad=True, grad_fn_name="SumBackward1") == (
        "tensor([0.5000, 0.5000, 0.5000, 0.5000, 0.5000, 0.5000, 0.5000],\n"
        "       grad_fn=<SumBackward1>)"
    )


def test_blocks_are_set_apart():
    assert shown(np.zeros((2, 2, 2))) == (
        "tensor([[[0., 0.],\n         [0., 0.]],\n\n        [[0., 0.],\n         [0., 0.]]])"
    )


def test_large_tensors_show_their_edges():
    assert shown(range(2000), dt.int64) == ("tensor([   0,    1,    2,  ..., 1997, 1998, 1999])")
    assert shown(np.arange(10_000).reshape(100, 100), dt.int64) == (
        "tensor([[   0,    1,    2,  ...,   97,   98,   99],\n"
        "        [ 100,  101,  102,  ...,  197,  198,  199],\n"
        "        [ 200,  201,  202,  ...,  297,  298,  299],\n"
        "        ...,\n"
        "        [9700, 9701, 9702,  ..., 9797, 9798, 9799],\n"
        "        [9800, 9801, 9802,  ..., 9897, 9898, 9899],\n"
        "        [9900, 9901, 9902,  ..., 9997, 9998, 9999]])"
    )


def test_a_summary_takes_its_notation_from_what_it_shows():
    values = np.ones(2000)
    values[1000] = 1e-9
    assert shown(values) == "tensor([1., 1., 1.,  ..., 1., 1., 1.])"


# --- options


def test_options():
    with printoptions(precision=2, sci_mode=True):
        assert shown([1.2345]) == "tensor([1.23e+00])"
    with printoptions(profile="short"):
        assert shown([1.2345]) == "tensor([1.23])"
    with printoptions(threshold=5, edgeitems=1):
        assert shown(range(10), dt.int64) == "tensor([0,  ..., 9])"
    with printoptions(sci_mode=False):
        assert shown([1e-5, 1.0]) == "tensor([0.0000, 1.0000])"


def test_options_come_back_after_a_block():
    before = get_printoptions()
    with pytest.raises(KeyError), printoptions(precision=8, linewidth=20):
        assert get_printoptions()["precision"] == 8
        raise KeyError
    assert get_printoptions() == before


def test_a_profile_can_be_overridden():
    before = get_printoptions()
    try:
        set_printoptions(profile="full", edgeitems=1)
        assert get_printoptions() == before | {"threshold": INF, "edgeitems": 1}
    finally:
        set_printoptions(**before)
    assert get_printoptions() == before
