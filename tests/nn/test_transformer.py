"""The Transformer attends where masks let it; its layers are what their parts give."""

import numpy as np
import pytest

import dynjax
from dynjax import nn

RNG = np.random.default_rng(0)


def draw(*shape):
    return dynjax.from_numpy(RNG.standard_normal(shape).astype(np.float32))


@pytest.fixture(autouse=True)
def without_gradients():
    with dynjax.no_grad():
        yield


def close(a, b):
    np.testing.assert_allclose(a.numpy(), b.numpy(), atol=1e-5)


@pytest.mark.parametrize("norm_first", [False, True])
def test_an_encoder_layer_is_attention_and_two_linear_layers(norm_first):
    layer, x = nn.TransformerEncoderLayer(8, 2, 16, norm_first=norm_first).eval(), draw(3, 2, 8)

    def attend(x):
        return layer.self_attn(x, x, x, need_weights=False)[0]

    def feed(x):
        return layer.linear2(layer.linear1(x).relu())

    if norm_first:
        wanted = x + attend(layer.norm1(x))
        wanted = wanted + feed(layer.norm2(wanted))
    else:
        wanted = layer.norm1(x + attend(x))
        wanted = layer.norm2(wanted + feed(wanted))
    close(layer(x), wanted)


def test_causal_decoding_does_not_look_ahead():
    model = nn.Transformer(8, 2, 1, 1, 16, batch_first=True).eval()
    src, tgt = draw(2, 4, 8), draw(2, 5, 8)
    mask = nn.Transformer.generate_square_subsequent_mask(5)
    assert mask[0].tolist() == [0.0] + [float("-inf")] * 4
    whole = model(src, tgt, tgt_mask=mask)
    close(whole[:, :3], model(src, tgt[:, :3], tgt_mask=mask[:3, :3]))


def test_padding_of_the_source_is_ignored():
    model = nn.Transformer(8, 2, 1, 1, 16).eval()
    src, tgt = draw(4, 1, 8), draw(3, 1, 8)
    padding = dynjax.tensor([[False, False, False, True]])
    masked = model(src, tgt, src_key_padding_mask=padding, memory_key_padding_mask=padding)
    close(masked, model(src[:3], tgt))


def test_the_layers_of_a_stack_are_copies():
    layer = nn.TransformerDecoderLayer(8, 2, 16, activation="gelu")
    stack = nn.TransformerDecoder(layer, 2, nn.LayerNorm(8)).eval()
    assert stack.layers[0].linear1.weight is not stack.layers[1].linear1.weight
    x, memory = draw(3, 2, 8), draw(4, 2, 8)
    wanted = stack.norm(stack.layers[1](stack.layers[0](x, memory), memory))
    close(stack(x, memory), wanted)


@pytest.mark.parametrize(
    ("shapes", "text"),
    [
        (((3, 2, 8), (4, 3, 8)), "batch number of src and tgt must be equal"),
        (((3, 2, 8), (4, 2, 7)), "feature number of src and tgt must be equal to d_model"),
    ],
)
def test_sizes_that_do_not_fit(shapes, text):
    model = nn.Transformer(8, 2, 1, 1, 16)
    with pytest.raises(RuntimeError, match=text):
        model(*(draw(*shape) for shape in shapes))


def test_an_unknown_activation():
    with pytest.raises(RuntimeError, match="activation should be relu/gelu, not x"):
        nn.TransformerEncoderLayer(8, 2, activation="x")
