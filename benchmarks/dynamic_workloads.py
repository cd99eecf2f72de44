"""Work whose graph changes from step to step: each as PyTorch code, and as JAX users write it.

The PyTorch code is written once, as a user would write it, and takes the framework as an argument:
`torch` is either PyTorch or dynjax. The JAX code does the same maths on the same weights and data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Arrays = dict[str, Any]
Step = Callable[..., float]  # from the data of a step to its loss

LEARNING_RATE = 0.1


@dataclass(frozen=True)
class Dynamic:
    """Training whose graph differs from step to step.

    Attributes:
        name: for the table and the command line.
        steps: how many are measured.
        model: `model(torch)` builds the module; one called `cell` in it is what is worth compiling.
        batch: `batch(index)` is the data of a step.
        loss: `loss(torch, model, *batch)` is the forward pass.
        jax: by name, `make(weights)` returns a step.
        has_cell: whether there is one.
    """

    name: str
    steps: int
    model: Callable[[Any], Any]
    batch: Callable[[int], tuple]
    loss: Callable[..., Any]
    jax: dict[str, Callable[[Arrays], Step]] = field(default_factory=dict)
    has_cell: bool = True


def framework_step(torch: Any, work: Dynamic, weights: Arrays, compiled: bool = False) -> Step:
    """A training step with PyTorch or dynjax; `compiled`: with its cell as one function."""
    model = work.model(torch)
    model.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    if compiled:
        model.cell = torch.compile(model.cell)
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)

    def step(*data: Any) -> float:
        loss = work.loss(torch, model, *data)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def jit_step(
    loss: Callable[..., jax.Array],
    prepare: Callable[..., tuple],
    weights: Arrays,
) -> Step:
    """A donated, jitted training step of data that `prepare` has made equal in shape."""
    params = {name: jnp.array(value) for name, value in weights.items()}

    @partial(jax.jit, donate_argnums=0)
    def update(params: Arrays, *data: Any) -> tuple[Arrays, jax.Array]:
        value, gradients = jax.value_and_grad(loss)(params, *data)
        return _descend(params, gradients), value

    def step(*data: Any) -> float:
        nonlocal params
        params, value = update(params, *prepare(*data))
        return float(value)

    return step


def _python_step(loss: Callable[..., jax.Array], weights: Arrays) -> Step:
    """A training step in plain Python over jitted parts: no program is as large as the graph."""
    params = {name: jnp.array(value) for name, value in weights.items()}
    descend = jax.jit(_descend, donate_argnums=0)

    def step(*data: Any) -> float:
        nonlocal params
        value, gradients = jax.value_and_grad(loss)(params, *data)
        params = descend(params, gradients)
        return float(value)

    return step


def _descend(params: Arrays, gradients: Arrays) -> Arrays:
    return jax.tree.map(lambda p, g: p - LEARNING_RATE * g, params, gradients)


def cross_entropy(logits: jax.Array, y: jax.Array) -> jax.Array:
    chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], axis=1)
    return -chosen.mean()


def linear(params: Arrays, name: str, x: jax.Array) -> jax.Array:
    return x @ params[f"{name}.weight"].T + params[f"{name}.bias"]


def _projections(params: Arrays, x: jax.Array, h: jax.Array) -> jax.Array:
    of_input = x @ params["cell.weight_ih"].T + params["cell.bias_ih"]
    return of_input + h @ params["cell.weight_hh"].T + params["cell.bias_hh"]


# Recurrent cells in a Python loop, over sequences of one or of many lengths

INPUT, HIDDEN, BATCH, CLASSES = 32, 64, 16, 10


def _sequences(shortest: int, longest: int) -> Callable[[int], tuple]:
    def batch(index: int) -> tuple[np.ndarray, np.ndarray]:
        generator = np.random.default_rng(index)
        length = int(generator.integers(shortest, longest + 1))
        x = generator.standard_normal((length, BATCH, INPUT), np.float32)
        return x, generator.integers(0, CLASSES, BATCH)

    return batch


def _recurrent_model(cell: str) -> Callable[[Any], Any]:
    def model(torch: Any) -> Any:
        nn = torch.nn

        class Recurrent(nn.Module):
            def __init__(self):
                super().__init__()
                self.cell = getattr(nn, cell)(INPUT, HIDDEN)
                self.head = nn.Linear(HIDDEN, CLASSES)

            def forward(self, x):
                state = None
                for step in x:
                    state = self.cell(step, state)
                return self.head(state[0] if isinstance(state, tuple) else state)

        return Recurrent()

    return model


def _classify(torch: Any, model: Any, x: np.ndarray, y: np.ndarray) -> Any:
    return torch.nn.functional.cross_entropy(model(torch.from_numpy(x)), torch.from_numpy(y))


def _varying_lengths() -> Dynamic:
    longest = 40

    def cell(params: Arrays, x: jax.Array, h: jax.Array) -> jax.Array:
        return jnp.tanh(_projections(params, x, h))

    def pad(x: np.ndarray, y: np.ndarray) -> tuple:
        padded = np.zeros((longest, *x.shape[1:]), np.float32)
        padded[: len(x)] = x
        return padded, len(x), y

    def padded_loss(params: Arrays, x: jax.Array, length: int, y: jax.Array) -> jax.Array:
        def step(h: jax.Array, given: tuple) -> tuple:
            at, x = given
            return jnp.where(at < length, cell(params, x, h), h), None

        h, _ = jax.lax.scan(step, jnp.zeros((BATCH, HIDDEN)), (jnp.arange(longest), x))
        return cross_entropy(linear(params, "head", h), y)

    jitted, head = jax.jit(cell), jax.jit(lambda p, h, y: cross_entropy(linear(p, "head", h), y))

    def looped_loss(params: Arrays, x: np.ndarray, y: np.ndarray) -> jax.Array:
        h = jnp.zeros((BATCH, HIDDEN))
        for step in x:
            h = jitted(params, step, h)
        return head(params, h, y)

    return Dynamic(
        name="lengths",
        steps=300,
        model=_recurrent_model("RNNCell"),
        batch=_sequences(5, longest),
        loss=_classify,
        jax={
            "jax, padded scan": partial(jit_step, padded_loss, pad),
            "jax, jitted cell": partial(_python_step, looped_loss),
        },
    )


def _lstm_loop() -> Dynamic:
    length = 32

    def loss(params: Arrays, x: jax.Array, y: jax.Array) -> jax.Array:
        def step(state: tuple, x: jax.Array) -> tuple:
            h, c = state
            i, f, g, o = jnp.split(_projections(params, x, h), 4, axis=1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            return (jax.nn.sigmoid(o) * jnp.tanh(c), c), None

        zero = jnp.zeros((BATCH, HIDDEN))
        (h, _), _ = jax.lax.scan(step, (zero, zero), x)
        return cross_entropy(linear(params, "head", h), y)

    return Dynamic(
        name="lstm",
        steps=1000,
        model=_recurrent_model("LSTMCell"),
        batch=_sequences(length, length),
        loss=_classify,
        jax={"jax, scan": partial(jit_step, loss, lambda x, y: (x, y))},
    )


# Child-sum TreeLSTM over batches of random trees


@dataclass(frozen=True)
class Node:
    """A node of a tree: its position among the tree's words, and its children."""

    index: int
    children: tuple[Node, ...]

    @property
    def height(self) -> int:
        return 1 + max((child.height for child in self.children), default=-1)


@dataclass(frozen=True)
class Tree:
    """A tree with a word at every node, listed children first."""

    words: np.ndarray
    root: Node


VOCABULARY, TREES, MOST_LEAVES, MOST_CHILDREN, TREE_CLASSES = 100, 16, 20, 3, 5


def random_tree(generator: np.random.Generator, leaves: int, vocabulary: int = VOCABULARY) -> Tree:
    """A tree whose inner nodes have two or three children."""
    count = 0

    def grow(leaves: int) -> Node:
        nonlocal count
        children: tuple[Node, ...] = ()
        if leaves > 1:
            parts = min(leaves, int(generator.integers(2, MOST_CHILDREN + 1)))
            cuts = np.sort(generator.choice(np.arange(1, leaves), parts - 1, replace=False))
            children = tuple(grow(int(n)) for n in np.diff([0, *cuts, leaves]))
        count += 1
        return Node(count - 1, children)

    root = grow(leaves)
    return Tree(generator.integers(0, vocabulary, count), root)


def tree_batch(index: int) -> tuple[list[Tree], np.ndarray]:
    generator = np.random.default_rng(index)
    sizes = generator.integers(2, MOST_LEAVES + 1, TREES)
    trees = [random_tree(generator, int(size)) for size in sizes]
    return trees, generator.integers(0, TREE_CLASSES, TREES)


def _tree_model(torch: Any) -> Any:
    nn = torch.nn

    class ChildSum(nn.Module):
        def __init__(self):
            super().__init__()
            self.of_word = nn.Linear(INPUT, 4 * HIDDEN)
            self.of_children = nn.Linear(HIDDEN, 3 * HIDDEN, bias=False)
            self.forget = nn.Linear(HIDDEN, HIDDEN, bias=False)

        def forward(self, x, h=None, c=None):
            i, o, u, f = self.of_word(x).chunk(4, -1)
            if h is None:
                cell = torch.sigmoid(i) * torch.tanh(u)
            else:
                hi, ho, hu = self.of_children(h.sum(0)).chunk(3, -1)
                i, o, u = i + hi, o + ho, u + hu
                kept = (torch.sigmoid(f + self.forget(h)) * c).sum(0)
                cell = torch.sigmoid(i) * torch.tanh(u) + kept
            return torch.sigmoid(o) * torch.tanh(cell), cell

    class TreeLSTM(nn.Module):
        def __init__(self):
            super().__init__()
            self.words = nn.Embedding(VOCABULARY, INPUT)
            self.cell = ChildSum()
            self.head = nn.Linear(HIDDEN, TREE_CLASSES)

        def state(self, node, words):
            if not node.children:
                return self.cell(words[node.index])
            states = [self.state(child, words) for child in node.children]
            h, c = (torch.stack(parts) for parts in zip(*states, strict=True))
            return self.cell(words[node.index], h, c)

        def forward(self, trees):
            roots = []
            for tree in trees:
                words = self.words(torch.from_numpy(tree.words)).unbind()
                roots.append(self.state(tree.root, words)[0])
            return self.head(torch.stack(roots))

    return TreeLSTM()


def _tree_loss(torch: Any, model: Any, trees: list[Tree], y: np.ndarray) -> Any:
    return torch.nn.functional.cross_entropy(model(trees), torch.from_numpy(y))


def _child_sum(params: Arrays, x: jax.Array, h: jax.Array, c: jax.Array) -> tuple:
    """States of nodes `(..., H)` from their words and their children's states `(..., K, H)`."""
    i, o, u, f = jnp.split(linear(params, "cell.of_word", x), 4, axis=-1)
    of_children = h.sum(-2) @ params["cell.of_children.weight"].T
    hi, ho, hu = jnp.split(of_children, 3, axis=-1)
    forget = jax.nn.sigmoid(f[..., None, :] + h @ params["cell.forget.weight"].T)
    cell = jax.nn.sigmoid(i + hi) * jnp.tanh(u + hu) + (forget * c).sum(-2)
    return jax.nn.sigmoid(o + ho) * jnp.tanh(cell), cell


def _leaf(params: Arrays, x: jax.Array) -> tuple:
    i, o, u, _ = jnp.split(linear(params, "cell.of_word", x), 4, axis=-1)
    cell = jax.nn.sigmoid(i) * jnp.tanh(u)
    return jax.nn.sigmoid(o) * jnp.tanh(cell), cell


def _trees_by_level(weights: Arrays) -> Step:
    """Nodes of equal height together, every level padded to a width: one program for all trees.

    A state's slot: the leaves first, then each level in turn, at last a zero for missing children.
    """
    leaves, width, depth = TREES * MOST_LEAVES, 112, 12
    zero = leaves + depth * width

    def schedule(trees: Sequence[Tree], y: np.ndarray) -> tuple:
        words = np.zeros(zero, np.int32)
        children = np.full((depth, width, MOST_CHILDREN), zero, np.int32)
        filled = np.zeros(MOST_LEAVES, np.int32)

        def place(tree: Tree, node: Node) -> tuple[int, int]:
            """The slot of a node, and its height."""
            below = [place(tree, child) for child in node.children]
            height = 1 + max((h for _, h in below), default=-1)
            at = int(filled[height])
            if height and (height > depth or at == width):
                raise ValueError(f"the trees do not fit into {depth} levels of {width} nodes")
            filled[height] += 1
            slot = at if height == 0 else leaves + (height - 1) * width + at
            words[slot] = tree.words[node.index]
            for k, (child, _) in enumerate(below):
                children[height - 1, at, k] = child
            return slot, height

        roots = [place(tree, tree.root)[0] for tree in trees]
        levels = words[leaves:].reshape(depth, width)
        return words[:leaves], levels, children, int(np.count_nonzero(filled)) - 1, roots, y

    def loss(
        params: Arrays, first: Any, words: Any, children: Any, levels: Any, roots: Any, y: Any
    ) -> jax.Array:
        h, c = _leaf(params, params["words.weight"][first])
        empty = jnp.zeros((zero + 1 - leaves, HIDDEN))

        def level(state: tuple, given: tuple) -> tuple:
            at, words, children = given

            def compute(state: tuple) -> tuple:
                h, c = state
                x = params["words.weight"][words]
                new = _child_sum(params, x, h[children], c[children])
                start = (leaves + at * width, 0)
                return tuple(
                    jax.lax.dynamic_update_slice(old, part, start)
                    for old, part in zip(state, new, strict=True)
                )

            return jax.lax.cond(at < levels, compute, lambda state: state, state), None

        state = jnp.concatenate([h, empty]), jnp.concatenate([c, empty])
        (h, _), _ = jax.lax.scan(level, state, (jnp.arange(depth), words, children))
        return cross_entropy(linear(params, "head", h[jnp.asarray(roots)]), y)

    return jit_step(loss, schedule, weights)


def _trees_by_cell(weights: Arrays) -> Step:
    @jax.jit
    def leaf(params: Arrays, word: jax.Array) -> tuple:
        return _leaf(params, params["words.weight"][word])

    @jax.jit
    def inner(params: Arrays, word: jax.Array, states: list[tuple]) -> tuple:
        h, c = (jnp.stack(parts) for parts in zip(*states, strict=True))
        return _child_sum(params, params["words.weight"][word], h, c)

    @jax.jit
    def head(params: Arrays, roots: list[jax.Array], y: jax.Array) -> jax.Array:
        return cross_entropy(linear(params, "head", jnp.stack(roots)), y)

    def loss(params: Arrays, trees: Sequence[Tree], y: np.ndarray) -> jax.Array:
        def state(node: Node, words: np.ndarray) -> tuple:
            word = words[node.index]
            if not node.children:
                return leaf(params, word)
            return inner(params, word, [state(child, words) for child in node.children])

        return head(params, [state(tree.root, tree.words)[0] for tree in trees], y)

    return _python_step(loss, weights)


def _trees() -> Dynamic:
    return Dynamic(
        name="trees",
        steps=100,
        model=_tree_model,
        batch=tree_batch,
        loss=_tree_loss,
        jax={"jax, by level": _trees_by_level, "jax, jitted cell": _trees_by_cell},
    )


# Adaptive depth: iterate towards a fixed point, as far as this input needs

MOST_ITERATIONS, TOLERANCE = 50, 1e-3


def _points(index: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(index)
    scale = np.float32(10 ** generator.uniform(-4, 0))
    x = scale * generator.standard_normal((BATCH, INPUT), np.float32)
    return x, generator.integers(0, CLASSES, BATCH)


def _equilibrium_model(torch: Any) -> Any:
    nn = torch.nn

    class Equilibrium(nn.Module):
        def __init__(self):
            super().__init__()
            self.inject = nn.Linear(INPUT, HIDDEN, bias=False)
            self.cell = nn.Linear(HIDDEN, HIDDEN, bias=False)
            self.head = nn.Linear(HIDDEN, CLASSES)

        def forward(self, x):
            given = self.inject(x)
            z = torch.tanh(given)
            change, iterations = z.norm(), 1
            while change > TOLERANCE and iterations < MOST_ITERATIONS:
                new = torch.tanh(given + self.cell(z))
                change = (new - z).norm()
                z = new
                iterations += 1
            return self.head(z)

    return Equilibrium()


def _adaptive_depth() -> Dynamic:
    def cell(params: Arrays, given: jax.Array, z: jax.Array) -> tuple:
        new = jnp.tanh(given + z @ params["cell.weight"].T)
        return new, jnp.linalg.norm(jax.lax.stop_gradient(new - z))

    def start(params: Arrays, x: jax.Array) -> tuple:
        given = x @ params["inject.weight"].T
        z = jnp.tanh(given)
        return given, z, jnp.linalg.norm(jax.lax.stop_gradient(z))

    def bounded_loss(params: Arrays, x: jax.Array, y: jax.Array) -> jax.Array:
        given, z, change = start(params, x)

        def step(state: tuple, _: None) -> tuple:
            going = state[1] > TOLERANCE
            return jax.lax.cond(
                going, lambda s: cell(params, given, s[0]), lambda s: s, state
            ), None

        (z, _), _ = jax.lax.scan(step, (z, change), length=MOST_ITERATIONS - 1)
        return cross_entropy(linear(params, "head", z), y)

    jitted_start, jitted = jax.jit(start), jax.jit(cell)
    head = jax.jit(lambda p, z, y: cross_entropy(linear(p, "head", z), y))

    def looped_loss(params: Arrays, x: np.ndarray, y: np.ndarray) -> jax.Array:
        given, z, change = jitted_start(params, x)
        iterations = 1
        while change > TOLERANCE and iterations < MOST_ITERATIONS:
            z, change = jitted(params, given, z)
            iterations += 1
        return head(params, z, y)

    return Dynamic(
        name="depth",
        steps=200,
        model=_equilibrium_model,
        batch=_points,
        loss=_classify,
        jax={
            "jax, bounded scan": partial(jit_step, bounded_loss, lambda x, y: (x, y)),
            "jax, jitted cell": partial(_python_step, looped_loss),
        },
    )


# A new graph at every step


def _random_program(index: int) -> tuple[list[tuple], np.ndarray]:
    """What to do: ten to thirty operations, each on one or two of the results before."""
    generator = np.random.default_rng(index)
    program = [
        (
            str(generator.choice(["linear", "tanh", "sigmoid", "add", "mul"])),
            int(generator.integers(0, 3)),
            int(generator.integers(0, position + 1)),
            int(generator.integers(0, position + 1)),
        )
        for position in range(int(generator.integers(10, 31)))
    ]
    return program, generator.standard_normal((8, 16), np.float32)


def _random_model(torch: Any) -> Any:
    nn = torch.nn

    class Interpreter(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList([nn.Linear(16, 16) for _ in range(3)])

        def forward(self, program, x):
            results = [x]
            for name, layer, a, b in program:
                if name == "linear":
                    results.append(self.layers[layer](results[a]))
                elif name in ("add", "mul"):
                    results.append(getattr(torch, name)(results[a], torch.tanh(results[b])))
                else:
                    results.append(getattr(torch, name)(results[a]))
            return torch.tanh(sum(results[-5:])) + sum(layer(x).mean() for layer in self.layers)

    return Interpreter()


def _different_graphs() -> Dynamic:
    return Dynamic(
        name="graphs",
        steps=10_000,
        model=_random_model,
        batch=_random_program,
        loss=lambda torch, model, program, x: model(program, torch.from_numpy(x)).square().mean(),
        has_cell=False,
    )


WORKLOADS: dict[str, Dynamic] = {
    work.name: work
    for work in (
        _varying_lengths(),
        _trees(),
        _adaptive_depth(),
        _lstm_loop(),
        _different_graphs(),
    )
}
