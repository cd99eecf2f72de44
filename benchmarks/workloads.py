"""The measured training steps: each as PyTorch code, and as a hand-written JAX step.

The PyTorch code is written once, as a user would write it, and takes the framework as an argument:
`torch` is either PyTorch or dynjax. The JAX code does the same maths on the same weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Arrays = dict[str, Any]


@dataclass(frozen=True)
class Workload:
    """One training step.

    Attributes:
        name: for the table and the command line.
        model: `model(torch)` builds the module.
        loss: `loss(torch, model, x, y)` is the forward pass.
        optimizer: `optimizer(torch, parameters)` builds the optimizer.
        batches: the input and target arrays to go round.
        jax_loss: `jax_loss(params, x, y)`, with params as in the module's state dict.
        jax_optimizer: `(init, update)` with `init(params) -> state` and
            `update(params, gradients, state) -> (params, state)`.
    """

    name: str
    model: Callable[[Any], Any]
    loss: Callable[[Any, Any, Any, Any], Any]
    optimizer: Callable[[Any, Any], Any]
    batches: list[tuple[np.ndarray, np.ndarray]]
    jax_loss: Callable[[Arrays, jax.Array, jax.Array], jax.Array]
    jax_optimizer: tuple[Callable, Callable]


def framework_step(
    torch: Any, work: Workload, weights: Mapping[str, np.ndarray], compiled: bool = False
) -> Callable[[int], float]:
    """A function that trains for some steps, with PyTorch or dynjax, and returns the last loss.

    With `compiled`, the step goes through `torch.compile`.
    """
    model = work.model(torch)
    model.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    optimizer = work.optimizer(torch, model.parameters())
    batches = _endless([(torch.from_numpy(x), torch.from_numpy(y)) for x, y in work.batches])

    def step(x: Any, y: Any) -> Any:
        loss = work.loss(torch, model, x, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    if compiled:
        step = torch.compile(step)

    def run(steps: int) -> float:
        for _ in range(steps):
            loss = step(*next(batches))
        return loss.item()

    return run


def jax_step(work: Workload, weights: Mapping[str, np.ndarray]) -> Callable[[int], float]:
    """The same with one hand-written `jax.jit` step that donates parameters and state."""
    init, update = work.jax_optimizer

    @partial(jax.jit, donate_argnums=(0, 1))
    def step(params: Arrays, state: Any, x: jax.Array, y: jax.Array) -> tuple:
        loss, gradients = jax.value_and_grad(work.jax_loss)(params, x, y)
        params, state = update(params, gradients, state)
        return params, state, loss

    params = {name: jnp.array(value) for name, value in weights.items()}
    state = init(params)
    batches = _endless([(jnp.asarray(x), jnp.asarray(y)) for x, y in work.batches])

    def run(steps: int) -> float:
        nonlocal params, state
        for _ in range(steps):
            x, y = next(batches)
            params, state, loss = step(params, state, x, y)
        jax.block_until_ready(params)
        return float(loss)

    return run


def initial_weights(torch: Any, work: Workload) -> dict[str, np.ndarray]:
    """Weights for every contender, drawn by NumPy: layer norms at 1, biases at 0, the rest
    uniform as PyTorch draws them."""
    generator = np.random.default_rng(0)
    weights = {}
    for name, value in work.model(torch).state_dict().items():
        shape = tuple(value.shape)
        if len(shape) == 1:
            weights[name] = np.full(shape, float(name.endswith("weight")), np.float32)
        else:
            bound = 1 / math.sqrt(math.prod(shape[1:]))
            weights[name] = generator.uniform(-bound, bound, shape).astype(np.float32)
    return weights


def _endless(batches: list[tuple]) -> Iterator[tuple]:
    while True:
        yield from batches


# Optimizers, as PyTorch documents them.


def _sgd(lr: float, momentum: float = 0.0) -> tuple[Callable, Callable]:
    def init(params: Arrays) -> Arrays:
        return jax.tree.map(jnp.zeros_like, params) if momentum else {}

    def update(params: Arrays, gradients: Arrays, state: Arrays) -> tuple[Arrays, Arrays]:
        if momentum:
            state = jax.tree.map(lambda m, g: momentum * m + g, state, gradients)
        step = state if momentum else gradients
        return jax.tree.map(lambda p, s: p - lr * s, params, step), state

    return init, update


def _adam(lr: float, weight_decay: float = 0.0) -> tuple[Callable, Callable]:
    beta1, beta2, eps = 0.9, 0.999, 1e-8

    def init(params: Arrays) -> tuple[Arrays, Arrays, jax.Array]:
        return (
            jax.tree.map(jnp.zeros_like, params),
            jax.tree.map(jnp.zeros_like, params),
            jnp.zeros((), jnp.int32),
        )

    def update(params: Arrays, gradients: Arrays, state: tuple) -> tuple[Arrays, tuple]:
        mean, square, count = state
        count = count + 1
        mean = jax.tree.map(lambda m, g: beta1 * m + (1 - beta1) * g, mean, gradients)
        square = jax.tree.map(lambda v, g: beta2 * v + (1 - beta2) * g * g, square, gradients)
        size = lr / (1 - beta1**count)
        root = jnp.sqrt(1 - beta2**count)

        def moved(p: jax.Array, m: jax.Array, v: jax.Array) -> jax.Array:
            return p * (1 - lr * weight_decay) - size * m / (jnp.sqrt(v) / root + eps)

        return jax.tree.map(moved, params, mean, square), (mean, square, count)

    return init, update


def _linear(params: Arrays, name: str, x: jax.Array) -> jax.Array:
    return x @ params[f"{name}.weight"].T + params[f"{name}.bias"]


def _cross_entropy(logits: jax.Array, y: jax.Array) -> jax.Array:
    chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], axis=1)
    return -chosen.mean()


def _classification_loss(torch: Any, model: Any, x: Any, y: Any) -> Any:
    return torch.nn.functional.cross_entropy(model(x), y)


def _regression_loss(torch: Any, model: Any, x: Any, y: Any) -> Any:
    return torch.nn.functional.mse_loss(model(x), y)


def _batches(count: int, shape: tuple[int, ...], classes: int) -> list[tuple]:
    generator = np.random.default_rng(1)
    return [
        (
            generator.standard_normal(shape, np.float32),
            generator.integers(0, classes, shape[0]),
        )
        for _ in range(count)
    ]


# Linear(1, 1), SGD


def _linear_1() -> Workload:
    x = np.linspace(-1, 1, 32, dtype=np.float32)[:, None]
    return Workload(
        name="linear",
        model=lambda torch: torch.nn.Sequential(torch.nn.Linear(1, 1)),
        loss=_regression_loss,
        optimizer=lambda torch, params: torch.optim.SGD(params, lr=0.01),
        batches=[(x, 2 * x + 1)],
        jax_loss=lambda params, x, y: jnp.square(_linear(params, "0", x) - y).mean(),
        jax_optimizer=_sgd(0.01),
    )


# Multi-layer perceptrons, Adam


def mlp(name: str, sizes: tuple[int, ...], batch: int) -> Workload:
    """A classifier of these layer sizes, with ReLUs between them."""

    def model(torch: Any) -> Any:
        nn = torch.nn
        layers = []
        for a, b in zip(sizes, sizes[1:], strict=False):
            layers += [nn.Linear(a, b), nn.ReLU()]
        return nn.Sequential(*layers[:-1])

    def jax_loss(params: Arrays, x: jax.Array, y: jax.Array) -> jax.Array:
        last = 2 * (len(sizes) - 2)
        for layer in range(0, last, 2):
            x = jax.nn.relu(_linear(params, str(layer), x))
        return _cross_entropy(_linear(params, str(last), x), y)

    return Workload(
        name=name,
        model=model,
        loss=_classification_loss,
        optimizer=lambda torch, params: torch.optim.Adam(params, lr=1e-3),
        batches=_batches(4, (batch, sizes[0]), sizes[-1]),
        jax_loss=jax_loss,
        jax_optimizer=_adam(1e-3),
    )


def autocast_mlp(name: str, sizes: tuple[int, ...], batch: int) -> Workload:
    """The same with products in bfloat16."""
    wide, low = mlp(name, sizes, batch), jnp.bfloat16

    def loss(torch: Any, model: Any, x: Any, y: Any) -> Any:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return wide.loss(torch, model, x, y)

    def jax_loss(params: Arrays, x: jax.Array, y: jax.Array) -> jax.Array:
        x, last = x.astype(low), 2 * (len(sizes) - 2)
        lowered = {key: value.astype(low) for key, value in params.items()}
        for layer in range(0, last, 2):
            x = jax.nn.relu(_linear(lowered, str(layer), x))
        return _cross_entropy(_linear(lowered, str(last), x).astype(jnp.float32), y)

    return replace(wide, loss=loss, jax_loss=jax_loss)


# Many x [Linear(64, 64), Tanh], SGD with momentum


def deep(name: str, depth: int) -> Workload:
    """A stack of layers and tanhs."""
    width, batch = 64, 32

    def model(torch: Any) -> Any:
        nn = torch.nn
        layers = []
        for _ in range(depth):
            layers += [nn.Linear(width, width), nn.Tanh()]
        return nn.Sequential(*layers)

    def jax_loss(params: Arrays, x: jax.Array, y: jax.Array) -> jax.Array:
        for layer in range(0, 2 * depth, 2):
            x = jnp.tanh(_linear(params, str(layer), x))
        return jnp.square(x - y).mean()

    generator = np.random.default_rng(1)
    return Workload(
        name=name,
        model=model,
        loss=_regression_loss,
        optimizer=lambda torch, params: torch.optim.SGD(params, lr=0.1, momentum=0.9),
        batches=[tuple(generator.standard_normal((2, batch, width), np.float32)) for _ in range(4)],
        jax_loss=jax_loss,
        jax_optimizer=_sgd(0.1, momentum=0.9),
    )


# LeNet, NCHW, SGD with momentum


def _lenet() -> Workload:
    def model(torch: Any) -> Any:
        nn = torch.nn
        return nn.Sequential(
            nn.Conv2d(1, 6, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(400, 120),
            nn.ReLU(),
            nn.Linear(120, 84),
            nn.ReLU(),
            nn.Linear(84, 10),
        )

    def conv(params: Arrays, name: str, x: jax.Array, padding: int) -> jax.Array:
        y = jax.lax.conv_general_dilated(
            x,
            params[f"{name}.weight"],
            window_strides=(1, 1),
            padding=[(padding, padding)] * 2,
            dimension_numbers=("NCHW", "OIHW", "NCHW"),
        )
        return y + params[f"{name}.bias"][:, None, None]

    def pool(x: jax.Array) -> jax.Array:
        return jax.lax.reduce_window(
            x, -jnp.inf, jax.lax.max, (1, 1, 2, 2), (1, 1, 2, 2), padding="VALID"
        )

    def jax_loss(params: Arrays, x: jax.Array, y: jax.Array) -> jax.Array:
        x = pool(jax.nn.relu(conv(params, "0", x, padding=2)))
        x = pool(jax.nn.relu(conv(params, "3", x, padding=0)))
        x = x.reshape(x.shape[0], -1)
        x = jax.nn.relu(_linear(params, "7", x))
        x = jax.nn.relu(_linear(params, "9", x))
        return _cross_entropy(_linear(params, "11", x), y)

    return Workload(
        name="lenet",
        model=model,
        loss=_classification_loss,
        optimizer=lambda torch, params: torch.optim.SGD(params, lr=0.01, momentum=0.9),
        batches=_batches(4, (32, 1, 28, 28), 10),
        jax_loss=jax_loss,
        jax_optimizer=_sgd(0.01, momentum=0.9),
    )


# GPT, layers x 128, T 64, batch 8, AdamW


def gpt(name: str, layers: int) -> Workload:
    """A small GPT over characters."""
    width, heads, length, vocabulary, batch = 128, 4, 64, 65, 8

    def model(torch: Any) -> Any:
        nn, F = torch.nn, torch.nn.functional

        class Attention(nn.Module):
            def __init__(self):
                super().__init__()
                self.qkv = nn.Linear(width, 3 * width)
                self.proj = nn.Linear(width, width)

            def forward(self, x):
                B, T, C = x.shape
                q, k, v = self.qkv(x).split(width, dim=2)
                q = q.view(B, T, heads, C // heads).transpose(1, 2)
                k = k.view(B, T, heads, C // heads).transpose(1, 2)
                v = v.view(B, T, heads, C // heads).transpose(1, 2)
                y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
                return self.proj(y.transpose(1, 2).contiguous().view(B, T, C))

        class Block(nn.Module):
            def __init__(self):
                super().__init__()
                self.ln1 = nn.LayerNorm(width)
                self.attn = Attention()
                self.ln2 = nn.LayerNorm(width)
                self.mlp = nn.Sequential(
                    nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
                )

            def forward(self, x):
                x = x + self.attn(self.ln1(x))
                return x + self.mlp(self.ln2(x))

        class GPT(nn.Module):
            def __init__(self):
                super().__init__()
                self.tokens = nn.Embedding(vocabulary, width)
                self.positions = nn.Embedding(length, width)
                self.blocks = nn.Sequential(*[Block() for _ in range(layers)])
                self.ln = nn.LayerNorm(width)
                self.head = nn.Linear(width, vocabulary)

            def forward(self, idx):
                x = self.tokens(idx) + self.positions(torch.arange(idx.shape[1]))
                return self.head(self.ln(self.blocks(x)))

        return GPT()

    def loss(torch: Any, model: Any, x: Any, y: Any) -> Any:
        logits = model(x)
        return torch.nn.functional.cross_entropy(logits.view(-1, vocabulary), y.view(-1))

    def layer_norm(params: Arrays, name: str, x: jax.Array) -> jax.Array:
        mean = x.mean(-1, keepdims=True)
        variance = x.var(-1, keepdims=True)
        x = (x - mean) * jax.lax.rsqrt(variance + 1e-5)
        return x * params[f"{name}.weight"] + params[f"{name}.bias"]

    def attention(params: Arrays, name: str, x: jax.Array) -> jax.Array:
        B, T, C = x.shape
        qkv = jnp.split(_linear(params, f"{name}.qkv", x), 3, axis=2)
        q, k, v = (part.reshape(B, T, heads, C // heads).transpose(0, 2, 1, 3) for part in qkv)
        scores = q @ k.swapaxes(2, 3) / math.sqrt(C // heads)
        scores = jnp.where(jnp.tril(jnp.ones((T, T), bool)), scores, -jnp.inf)
        y = jax.nn.softmax(scores) @ v
        return _linear(params, f"{name}.proj", y.transpose(0, 2, 1, 3).reshape(B, T, C))

    def mlp(params: Arrays, name: str, x: jax.Array) -> jax.Array:
        x = jax.nn.gelu(_linear(params, f"{name}.0", x), approximate=False)
        return _linear(params, f"{name}.2", x)

    def jax_loss(params: Arrays, x: jax.Array, y: jax.Array) -> jax.Array:
        h = params["tokens.weight"][x] + params["positions.weight"]
        for block in (f"blocks.{layer}" for layer in range(layers)):
            h = h + attention(params, f"{block}.attn", layer_norm(params, f"{block}.ln1", h))
            h = h + mlp(params, f"{block}.mlp", layer_norm(params, f"{block}.ln2", h))
        logits = _linear(params, "head", layer_norm(params, "ln", h))
        return _cross_entropy(logits.reshape(-1, vocabulary), y.reshape(-1))

    generator = np.random.default_rng(1)
    return Workload(
        name=name,
        model=model,
        loss=loss,
        optimizer=lambda torch, params: torch.optim.AdamW(params, lr=3e-4),
        batches=[tuple(generator.integers(0, vocabulary, (2, batch, length))) for _ in range(4)],
        jax_loss=jax_loss,
        jax_optimizer=_adam(3e-4, weight_decay=0.01),
    )


# LSTM, T 64, hidden 128, batch 16, SGD


def lstm(name: str, length: int, width: int, batch: int) -> Workload:
    """One recurrent layer over whole sequences."""

    def model(torch: Any) -> Any:
        return torch.nn.LSTM(width, width)

    def loss(torch: Any, model: Any, x: Any, y: Any) -> Any:
        return torch.nn.functional.mse_loss(model(x)[0], y)

    def jax_loss(params: Arrays, x: jax.Array, y: jax.Array) -> jax.Array:
        bias = params["bias_ih_l0"] + params["bias_hh_l0"]
        turned = params["weight_hh_l0"].T

        def step(state: tuple, of_input: jax.Array) -> tuple:
            hidden, cell = state
            i, f, g, o = jnp.split(of_input + hidden @ turned, 4, axis=-1)
            cell = jax.nn.sigmoid(f) * cell + jax.nn.sigmoid(i) * jnp.tanh(g)
            hidden = jax.nn.sigmoid(o) * jnp.tanh(cell)
            return (hidden, cell), hidden

        zeros = jnp.zeros((batch, width))
        of_inputs = x @ params["weight_ih_l0"].T + bias
        return jnp.square(jax.lax.scan(step, (zeros, zeros), of_inputs)[1] - y).mean()

    generator = np.random.default_rng(1)
    shape = (2, length, batch, width)
    return Workload(
        name=name,
        model=model,
        loss=loss,
        optimizer=lambda torch, params: torch.optim.SGD(params, lr=0.1),
        batches=[tuple(generator.standard_normal(shape, np.float32)) for _ in range(4)],
        jax_loss=jax_loss,
        jax_optimizer=_sgd(0.1),
    )


WORKLOADS: dict[str, Workload] = {
    work.name: work
    for work in (
        _linear_1(),
        mlp("mlp32", (784, 32, 32, 10), batch=32),
        mlp("mlp512", (784, 512, 512, 10), batch=128),
        autocast_mlp("bfloat16", (784, 512, 512, 10), batch=128),
        deep("deep", 32),
        _lenet(),
        gpt("gpt", 4),
        lstm("lstm", length=64, width=128, batch=16),
    )
}
