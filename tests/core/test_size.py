"""Size, the shape of a tensor; suggestions for misspelt names."""

import copy
import pickle

import numpy as np
import pytest

from dynjax.core.size import Size
from dynjax.core.suggest import missing


def test_a_size_is_a_tuple():
    assert Size([2, 3]) == (2, 3)
    assert hash(Size([2, 3])) == hash((2, 3))
    rows, columns = Size((2, 3))
    assert (rows, columns) == (2, 3)


def test_a_size_prints_its_dimensions():
    assert repr(Size([2, 3])) == str(Size([2, 3])) == "dynjax.Size([2, 3])"
    assert repr(Size()) == "dynjax.Size([])"
    assert repr(Size([True, np.int64(3)])) == "dynjax.Size([1, 3])"


def test_a_size_counts_elements():
    assert Size([2, 3]).numel() == 6
    assert Size().numel() == 1
    assert Size([0, 3]).numel() == 0


@pytest.mark.parametrize(
    "made",
    [Size([1, 2, 3])[1:], (2,) + Size([3]), Size([2]) + (3,), Size([2]) + Size([3])],
    ids=["slice", "tuple + Size", "Size + tuple", "Size + Size"],
)
def test_what_is_made_of_a_size_is_a_size(made):
    assert type(made) is Size
    assert made == (2, 3)


def test_repetition():
    assert repr(2 * Size([3])) == repr(Size([3]) * 2) == "dynjax.Size([3, 3])"


def test_copies():
    size = Size([2, 3])
    for made in (copy.deepcopy(size), pickle.loads(pickle.dumps(size))):
        assert type(made) is Size and made == size


def test_dimensions_are_whole_numbers():
    with pytest.raises(
        TypeError, match=r"^dynjax.Size\(\) takes an iterable of 'int' \(item 1 is 'float'\)$"
    ):
        Size([1, 2.5])
    with pytest.raises(TypeError, match=r"^can only concatenate tuple \(not list\) to dynjax.Size"):
        Size([1]) + [2]


def test_a_misspelt_name_gets_the_closest_one():
    error = missing("dynjax", "tensro", ["tensor", "ones", "_tensro"])
    assert isinstance(error, AttributeError)
    assert str(error) == "module 'dynjax' has no attribute 'tensro'; did you mean 'tensor'?"


def test_an_unknown_name_gets_no_suggestion():
    text = str(missing("dynjax", "nonexistent", ["tensor", "ones"]))
    assert text == "module 'dynjax' has no attribute 'nonexistent'"
