"""Work of one structure whose shapes differ from step to step: a program serves one shape.

As in `dynamic_workloads`: the PyTorch code once for both frameworks, and JAX as its users write it,
on the same weights and data.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from dynamic_workloads import Arrays, Dynamic, cross_entropy, jit_step, linear

# A transformer's encoder over batches, each padded to its longest sequence

WIDTH, HEADS, INNER, LAYERS, BATCH, CLASSES = 32, 4, 64, 2, 4, 5
SHORTEST, LONGEST = 4, 23


def _sequences(index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sequences, which of their places are padding, and their classes."""
    generator = np.random.default_rng(index)
    longest = int(generator.integers(SHORTEST, LONGEST + 1))
    lengths = np.array([longest, *generator.integers(1, longest + 1, BATCH - 1)])
    x = generator.standard_normal((BATCH, longest, WIDTH), np.float32)
    padding = np.arange(longest) >= lengths[:, None]
    return x, padding, generator.integers(0, CLASSES, BATCH)


def _encoder(torch: Any) -> Any:
    nn = torch.nn

    class Classifier(nn.Module):
        def __init__(self):
            super().__init__()
            layer = nn.TransformerEncoderLayer(WIDTH, HEADS, INNER, dropout=0.0, batch_first=True)
            self.encoder = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)
            self.head = nn.Linear(WIDTH, CLASSES)

        def forward(self, x, padding):
            x = self.encoder(x, src_key_padding_mask=padding)
            kept = ~padding.unsqueeze(-1)
            return self.head((x * kept).sum(1) / kept.sum(1))

    return Classifier()


def _encoder_loss(torch: Any, model: Any, x: np.ndarray, padding: np.ndarray, y: np.ndarray) -> Any:
    logits = model(torch.from_numpy(x), torch.from_numpy(padding))
    return torch.nn.functional.cross_entropy(logits, torch.from_numpy(y))


def _layer_norm(params: Arrays, name: str, x: jax.Array) -> jax.Array:
    centred = x - x.mean(-1, keepdims=True)
    x = centred * jax.lax.rsqrt(jnp.square(centred).mean(-1, keepdims=True) + 1e-5)
    return x * params[f"{name}.weight"] + params[f"{name}.bias"]


def _encoder_layer(params: Arrays, name: str, x: jax.Array, padding: jax.Array) -> jax.Array:
    def heads(x: jax.Array) -> jax.Array:
        return x.reshape(*x.shape[:2], HEADS, -1).transpose(0, 2, 1, 3)

    given = x @ params[f"{name}.self_attn.in_proj_weight"].T
    given = given + params[f"{name}.self_attn.in_proj_bias"]
    q, k, v = map(heads, jnp.split(given, 3, axis=-1))
    scores = q @ k.swapaxes(-1, -2) / np.sqrt(WIDTH // HEADS).astype(np.float32)
    scores = jnp.where(padding[:, None, None, :], -jnp.inf, scores)
    seen = (jax.nn.softmax(scores) @ v).transpose(0, 2, 1, 3).reshape(x.shape)
    x = _layer_norm(params, f"{name}.norm1", x + linear(params, f"{name}.self_attn.out_proj", seen))
    inner = linear(params, f"{name}.linear2", jax.nn.relu(linear(params, f"{name}.linear1", x)))
    return _layer_norm(params, f"{name}.norm2", x + inner)


def _encoders() -> Dynamic:
    def loss(params: Arrays, x: jax.Array, padding: jax.Array, y: jax.Array) -> jax.Array:
        for k in range(LAYERS):
            x = _encoder_layer(params, f"encoder.layers.{k}", x, padding)
        kept = ~padding[..., None]
        return cross_entropy(linear(params, "head", (x * kept).sum(1) / kept.sum(1)), y)

    def pad(x: np.ndarray, padding: np.ndarray, y: np.ndarray) -> tuple:
        more = LONGEST - x.shape[1]
        x = np.pad(x, ((0, 0), (0, more), (0, 0)))
        return x, np.pad(padding, ((0, 0), (0, more)), constant_values=True), y

    return Dynamic(
        name="padded",
        steps=200,
        model=_encoder,
        batch=_sequences,
        loss=_encoder_loss,
        jax={
            "jax, padded": partial(jit_step, loss, pad),
            "jax, jit": partial(jit_step, loss, lambda *data: data),
        },
        has_cell=False,
    )


# A mixture of experts, each of which computes the rows that chose it

ROWS, EXPERTS, CHOSEN = 16, 4, 2


def _rows(index: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(index)
    x = generator.standard_normal((ROWS, WIDTH), np.float32)
    return x, generator.integers(0, CLASSES, ROWS)


def _mixture(torch: Any) -> Any:
    nn = torch.nn

    class Mixture(nn.Module):
        def __init__(self):
            super().__init__()
            self.gate = nn.Linear(WIDTH, EXPERTS)
            self.experts = nn.ModuleList(
                nn.Sequential(nn.Linear(WIDTH, INNER), nn.SiLU(), nn.Linear(INNER, WIDTH))
                for _ in range(EXPERTS)
            )
            self.head = nn.Linear(WIDTH, CLASSES)

        def forward(self, x):
            weights, chosen = torch.softmax(self.gate(x), -1).topk(CHOSEN, -1)
            y = torch.zeros_like(x)
            for number, expert in enumerate(self.experts):
                mine = chosen == number
                rows = mine.any(-1).nonzero()[:, 0]
                if len(rows):
                    weight = (weights * mine).sum(-1)[rows]
                    y = y.index_add(0, rows, weight[:, None] * expert(x[rows]))
            return self.head(x + y)

    return Mixture()


def _mixture_loss(torch: Any, model: Any, x: np.ndarray, y: np.ndarray) -> Any:
    return torch.nn.functional.cross_entropy(model(torch.from_numpy(x)), torch.from_numpy(y))


def _experts() -> Dynamic:
    def loss(params: Arrays, x: jax.Array, y: jax.Array) -> jax.Array:
        weights, chosen = jax.lax.top_k(jax.nn.softmax(linear(params, "gate", x)), CHOSEN)
        mixed = x
        for k in range(EXPERTS):
            inner = jax.nn.silu(linear(params, f"experts.{k}.0", x))
            weight = (weights * (chosen == k)).sum(-1, keepdims=True)
            mixed = mixed + weight * linear(params, f"experts.{k}.2", inner)
        return cross_entropy(linear(params, "head", mixed), y)

    return Dynamic(
        name="experts",
        steps=200,
        model=_mixture,
        batch=_rows,
        loss=_mixture_loss,
        jax={"jax, every expert": partial(jit_step, loss, lambda *data: data)},
        has_cell=False,
    )


WORKLOADS: dict[str, Dynamic] = {work.name: work for work in (_encoders(), _experts())}
