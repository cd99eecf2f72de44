"""Packing and padding lose nothing."""

import pytest

import dynjax
from dynjax.nn.utils import rnn


@pytest.fixture
def sequences():
    return [dynjax.arange(10.0 * k, 10.0 * k + n) for k, n in enumerate((2, 3, 1))]


def test_packed_sequences_are_step_by_step_and_come_back(sequences):
    packed = rnn.pack_sequence(sequences, enforce_sorted=False)
    assert packed.data.tolist() == [10.0, 0.0, 20.0, 11.0, 1.0, 12.0]
    assert packed.batch_sizes.tolist() == [3, 2, 1]
    assert packed.sorted_indices.tolist() == [1, 0, 2]
    assert [s.tolist() for s in rnn.unpack_sequence(packed)] == [s.tolist() for s in sequences]


def test_padding_on_either_side(sequences):
    assert rnn.pad_sequence(sequences, True, -1.0).tolist()[2] == [20.0, -1.0, -1.0]
    left = rnn.pad_sequence(sequences, padding_side="left")
    assert left[:, 2].tolist() == [0.0, 0.0, 20.0]
    back = rnn.unpad_sequence(rnn.pad_sequence(sequences), [2, 3, 1])
    assert [s.tolist() for s in back] == [s.tolist() for s in sequences]


def test_total_length_and_gradient(sequences):
    packed = rnn.pack_sequence([s.requires_grad_() for s in sequences], enforce_sorted=False)
    padded, lengths = rnn.pad_packed_sequence(packed, total_length=4, padding_value=5.0)
    assert tuple(padded.shape) == (4, 3) and lengths.tolist() == [2, 3, 1]
    assert padded[3].tolist() == [5.0] * 3
    padded.square().sum().backward()
    assert sequences[1].grad.tolist() == [20.0, 22.0, 24.0]


@pytest.mark.parametrize(
    ("lengths", "text"),
    [
        ([2, 3], "sorted in decreasing order"),
        ([3, 0], "greater than 0"),
        ([3], r"equal to batch_size, but got 1 \(batch_size=2\)"),
        ([4, 1], "exceed the 3 steps"),
        ([[3, 2]], "1D CPU int64 tensor, but got 2D"),
    ],
)
def test_wrong_lengths(lengths, text):
    with pytest.raises(RuntimeError, match=text):
        rnn.pack_padded_sequence(dynjax.zeros(3, 2), lengths)
