"""Samples into batches."""

from collections import OrderedDict, namedtuple

import numpy as np
import pytest

import dynjax as torch
from dynjax.utils.data import default_collate, default_convert

Point = namedtuple("Point", "x y")


@pytest.mark.parametrize(
    ("batch", "dtype", "shape"),
    [
        ([1, 2], torch.int64, (2,)),
        ([True, False], torch.bool, (2,)),
        ([0.5, 1.5], torch.float64, (2,)),
        ([np.float32(1), np.float32(2)], torch.float32, (2,)),
        ([np.zeros((2, 3), np.uint8)] * 4, torch.uint8, (4, 2, 3)),
        ([torch.zeros(2), torch.ones(2)], torch.float32, (2, 2)),
        ([np.array(1.5), np.array(2.5)], torch.float64, (2,)),
    ],
)
def test_leaves(batch, dtype, shape):
    made = default_collate(batch)
    assert made.dtype is dtype and made.shape == shape
    assert made.tolist() == [x.tolist() if hasattr(x, "tolist") else x for x in batch]


def test_containers():
    assert default_collate(["a", "b"]) == ["a", "b"]
    points = default_collate([Point(1, "a"), Point(2, "b")])
    assert isinstance(points, Point) and points.x.tolist() == [1, 2] and points.y == ("a", "b")
    pairs = default_collate([(1, 2.0), (3, 4.0)])
    assert type(pairs) is list and [t.tolist() for t in pairs] == [[1, 3], [2.0, 4.0]]
    nested = default_collate([OrderedDict(k=[1, {"z": 2}]), OrderedDict(k=[3, {"z": 4}])])
    assert type(nested) is OrderedDict
    assert nested["k"][0].tolist() == [1, 3] and nested["k"][1]["z"].tolist() == [2, 4]


def test_gradients_pass():
    w = torch.ones(2, requires_grad=True)
    default_collate([w, 2 * w]).sum().backward()
    assert w.grad.tolist() == [3.0, 3.0]


@pytest.mark.parametrize(
    ("batch", "error", "text"),
    [
        (
            [object()],
            TypeError,
            "batch must contain tensors, numpy arrays, numbers, dicts or lists",
        ),
        ([np.array(["a"])], TypeError, "found <U1"),
        ([None, None], TypeError, "found <class 'NoneType'>"),
        ([[1], [1, 2]], RuntimeError, "each element in list of batch should be of equal size"),
        ([np.zeros(2), np.zeros(3)], RuntimeError, r"got \[2\] at entry 0 and \[3\] at entry 1"),
    ],
)
def test_bad_batches(batch, error, text):
    with pytest.raises(error, match=text):
        default_collate(batch)


def test_convert_leaves_structure_and_everything_else():
    strings = np.array(["a"])
    data = {"a": np.arange(2), "b": (np.float32(1), "x"), "c": Point(1, np.ones(1)), "s": strings}
    made = default_convert(data)
    assert made["a"].tolist() == [0, 1] and made["b"][0].dtype is torch.float32
    assert made["b"][1] == "x" and made["c"].x == 1 and made["c"].y.tolist() == [1.0]
    assert made["s"] is strings
    tensor = torch.ones(1)
    assert default_convert(tensor) is tensor
    assert isinstance(data["a"], np.ndarray)
