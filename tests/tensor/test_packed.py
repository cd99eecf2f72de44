"""Small tensors in one array are tensors like any other."""

import copy
import pickle

import numpy as np
import pytest

import dynjax
from dynjax.optim import SGD, Adam
from dynjax.tensor.packed import Packed
from tests.optim.helpers import give, numpy, parameters


def members(*arrays):
    return [dynjax.from_numpy(np.asarray(a)) for a in arrays]


def three():
    return members(np.arange(3.0), np.ones((2, 2)), np.full((), 5.0))


def test_members_keep_their_values_in_one_array():
    tensors = three()
    pack = Packed(tensors)
    (flat,) = pack.tensors
    assert flat.tolist() == [0, 1, 2, 1, 1, 1, 1, 5]
    assert [t.tolist() for t in tensors] == [[0, 1, 2], [[1, 1], [1, 1]], 5]


def test_members_see_what_is_written_to_the_array_and_it_what_is_written_to_them():
    tensors = three()
    (flat,) = Packed(tensors).tensors
    flat.mul_(2)
    assert tensors[0].tolist() == [0, 2, 4]
    tensors[1][0] = 7
    assert flat.tolist() == [0, 2, 4, 7, 7, 2, 2, 10]
    assert not tensors[1]._is_view()


def test_types_do_not_mix_and_large_or_lone_tensors_stay_as_they_are():
    small = members(np.zeros(2), np.ones(3), np.ones(1), np.zeros(2, np.float32), np.zeros(4097))
    pack = Packed(small)
    assert [t.numel() for t in pack.tensors] == [6, 2, 4097]
    assert pack.tensors[1] is small[3] and pack.tensors[2] is small[4]


@pytest.mark.parametrize("count", [2, 65])
def test_few_are_not_worth_joining_and_many_take_too_long_to_compile(count):
    tensors = members(*np.zeros((count, 2)))
    assert Packed(tensors).tensors == tensors


def test_a_tensor_whose_storage_is_shared_is_left_alone():
    a, b, *others = *three(), *three()
    view = a[:2]
    pack = Packed([a, b, *others])
    assert any(t is a for t in pack.tensors)
    pack.tensors[0].add_(1)
    a.fill_(9)
    assert view.tolist() == [9, 9] and b.tolist() == [[2, 2], [2, 2]]


def test_released_members_own_their_arrays():
    tensors = three()
    pack = Packed(tensors)
    pack.tensors[0].add_(1)
    pack.release()
    pack.tensors[0].zero_()
    assert tensors[0].tolist() == [1, 2, 3]
    again = Packed(tensors)
    assert again.tensors[0].tolist() == [1, 2, 3, 2, 2, 2, 2, 6]


def test_a_member_that_somebody_shares_is_not_released():
    tensors = three()
    pack = Packed(tensors)
    other = tensors[0].detach()
    pack.release()
    tensors[0].fill_(4)
    assert other.tolist() == [4, 4, 4] and pack.tensors[0].tolist()[:3] == [4, 4, 4]


@pytest.mark.parametrize("make", [Adam, lambda ps: SGD(ps, lr=0.1, momentum=0.9)])
def test_what_a_user_does_to_the_state_counts(make):
    """Reading, writing, replacing, copying and sharing state: as with tensors of their own."""

    def trained(change):
        params = parameters((3,), (2, 2), (4,))
        optimizer = make(params)
        for i in range(6):
            for k, p in enumerate(params):
                give(p, np.full(p.shape, 0.1 * (i + k + 1), np.float32))
            optimizer.step()
            state = [optimizer.state[p] for p in params]
            names = [name for name in state[0] if name != "step"]
            change(i, state, names, optimizer)
        return [numpy(p) for p in params]

    def write(i, state, names, optimizer):
        if i == 2:
            for name in names:
                state[1][name].mul_(0.5)

    def replace(i, state, names, optimizer):
        if i == 2:
            for name in names:
                state[1][name] = state[1][name] * 0.5

    def by_dict(i, state, names, optimizer):
        if i == 2:
            saved = pickle.loads(pickle.dumps(copy.deepcopy(optimizer.state_dict())))
            for name in names:
                saved["state"][1][name] *= 0.5
            optimizer.load_state_dict(saved)

    def kept(i, state, names, optimizer, held={}):  # noqa: B006
        if i == 0:
            held.update({name: state[1][name].detach() for name in names})
        if i == 2:
            for name in names:
                held[name].mul_(0.5)

    expected = trained(write)
    for change in (replace, by_dict, kept):
        for a, b in zip(trained(change), expected, strict=True):
            np.testing.assert_array_equal(a, b)


def test_parameters_that_take_turns():
    """Each with a state of its own, whoever takes part."""
    together = parameters((3,), (2, 2), (4,))
    optimizer = SGD(together, lr=0.1, momentum=0.9)
    alone = copy.deepcopy(together)
    others = [SGD([p], lr=0.1, momentum=0.9) for p in alone]
    for i in range(12):
        for k, (p, q) in enumerate(zip(together, alone)):
            p.grad = q.grad = None
            if (i + k) % 3 or i > 8:
                give(p, np.full(p.shape, 0.1 * i, np.float32))
                give(q, np.full(q.shape, 0.1 * i, np.float32))
        optimizer.step()
        for other in others:
            other.step()
    for p, q in zip(together, alone, strict=True):
        np.testing.assert_array_equal(numpy(p), numpy(q))
