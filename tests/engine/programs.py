"""Random programs over tensors: operations, views, in-place changes, backward, observations.

A program is a list of instructions drawn from a seed; `run` performs it on any library with
PyTorch's interface and returns everything that could be seen of it, errors included.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np

SHAPES = [(2, 3), (3,), (2, 2)]
UNARY = ["neg", "exp", "tanh", "sigmoid", "abs", "square", "clone", "detach", "sum"]
BINARY = ["add", "sub", "mul"]
INPLACE = ["add_", "mul_", "sub_"]
INPLACE_UNARY = ["tanh_", "neg_", "exp_"]
KINDS = (
    ["unary"] * 5 + ["binary"] * 5 + ["number"] * 4 + ["view"] * 3 + ["inplace"] * 3
    + ["inplace_unary"] + ["inplace_number"] * 2 + ["setitem"] * 2 + ["leaf", "no_grad", "data"]
    + ["backward"] * 2 + ["look"] * 2 + ["drop"] * 2 + ["zero_grad"]
)  # fmt: skip


def draw(seed: int, length: int = 14) -> list[tuple]:
    """The instructions of one program; operands are numbers that `run` takes modulo its pool."""
    rng = random.Random(seed)
    program: list[tuple] = [("leaf", rng.randrange(3), True, rng.random()) for _ in range(2)]
    no_grad = False
    for _ in range(length):
        kind = rng.choice(KINDS)
        a, b, c = (rng.randrange(1 << 16) for _ in range(3))
        number = rng.choice([0.0, 1.0, 2.0, -0.5, 0.37, 3])
        if kind == "leaf":
            program.append(("leaf", a % 3, rng.random() < 0.5, rng.random()))
        elif kind == "no_grad":
            no_grad = not no_grad
            program.append(("grad mode", not no_grad))
        else:
            program.append((kind, a, b, c, number))
    return program


def run(
    program: list[tuple], library: Any, make: Callable, look: bool = True, data: bool = True
) -> list[Any]:
    """Perform a program.

    Args:
        program: from `draw`.
        library: torch, or dynjax.
        make: (NumPy array, requires_grad) -> leaf tensor.
        look: whether its "look" instructions read values (they never change what is computed).
        data: whether to write through `.data` too. In PyTorch that silently changes what was
            saved for backward; here it does not, so the two differ.

    Returns:
        What was seen, in order: types of errors, values, gradients, versions.
    """
    pool: list[Any] = []
    leaves: list[Any] = []
    seen: list[Any] = []
    before = library.is_grad_enabled()
    try:
        library.set_grad_enabled(True)
        for instruction in program:
            try:
                _perform(instruction, library, make, pool, leaves, seen, look, data)
            except (RuntimeError, IndexError, ValueError) as error:
                seen.append((type(error).__name__, str(error)[:30]))
                if instruction[0] == "backward":
                    leaves.clear()  # in PyTorch some have their gradient by now, and some of
                    break  # the graph is freed; here all is as it was
    finally:
        library.set_grad_enabled(before)
    for t in pool:
        try:
            seen.append((_values(t), t.requires_grad, t.is_leaf, t._version))
        except RuntimeError as error:
            seen.append((type(error).__name__, str(error)[:30]))
    for t in leaves:
        seen.append(None if t.grad is None else _values(t.grad))
    return seen


def _values(t: Any) -> np.ndarray:
    return np.array(t.detach().numpy())


def _perform(
    instruction: tuple, library: Any, make: Callable, pool: list, leaves: list, seen: list,
    look: bool, data: bool,
) -> None:  # fmt: skip
    kind = instruction[0]
    if kind == "leaf":
        _, shape, requires_grad, value = instruction
        size = SHAPES[shape]
        data = np.linspace(-1.0, value, int(np.prod(size)), dtype=np.float32).reshape(size)
        t = make(data, requires_grad)
        pool.append(t)
        if requires_grad:
            leaves.append(t)
        return
    if kind == "grad mode":
        library.set_grad_enabled(instruction[1])
        return
    _, a, b, c, number = instruction
    x = pool[a % len(pool)]
    same = [t for t in pool if t.shape == x.shape]
    y = same[b % len(same)]
    if kind == "unary":
        pool.append(getattr(x, UNARY[c % len(UNARY)])())
    elif kind == "binary":
        pool.append(getattr(x, BINARY[c % len(BINARY)])(y))
    elif kind == "number":
        pool.append(x * number if c % 2 else number - x)
    elif kind == "view":
        # A view made without recording claims to require grad in PyTorch, and gets none.
        pool.append(_view(x, c) if library.is_grad_enabled() else x.clone())
    elif kind == "inplace":
        getattr(x, INPLACE[c % len(INPLACE)])(y)
    elif kind == "inplace_unary":
        getattr(x, INPLACE_UNARY[c % len(INPLACE_UNARY)])()
    elif kind == "inplace_number":
        getattr(x, INPLACE[c % len(INPLACE)])(number)
    elif kind == "setitem":
        if x.ndim:
            x[c % x.shape[0]] = number if b % 2 else x[0]
    elif kind == "data":
        if b % 2 and data:
            x.data.mul_(0.5)
        else:
            x.detach().add_(1.0)
    elif kind == "backward":
        loss = x.square().sum() if c % 2 else x.sum()
        loss.backward(retain_graph=bool(b % 2))
    elif kind == "look":
        if look:
            seen.append(float(x.detach().sum().item()))
        else:
            seen.append(None)
    elif kind == "drop":
        if len(pool) > 3:
            pool.pop(a % len(pool))
    elif kind == "zero_grad":
        for t in leaves:
            if t.grad is not None and c % 2:
                t.grad = None
            elif t.grad is not None:
                t.grad.mul_(0.0)


def _view(x: Any, c: int) -> Any:
    options = [lambda: x.unsqueeze(-1), lambda: x.unsqueeze(0), lambda: x.transpose(0, -1)]
    if x.ndim:
        options += [lambda: x[0], lambda: x[-1:], lambda: x[..., 1:]]
    return options[c % len(options)]()


def equal(first: list[Any], second: list[Any], rtol: float = 1e-5) -> bool:
    """Whether two runs saw the same."""
    return len(first) == len(second) and all(
        _same(a, b, rtol) for a, b in zip(first, second, strict=True)
    )


def _same(a: Any, b: Any, rtol: float) -> bool:
    if a is None or b is None:
        return a is b
    if isinstance(a, tuple) or isinstance(b, tuple):
        if type(a) is not type(b) or len(a) != len(b):
            return False
        return all(_same(x, y, rtol) for x, y in zip(a, b, strict=True))
    if isinstance(a, (np.ndarray, float)):
        return np.shape(a) == np.shape(b) and np.allclose(a, b, rtol, 1e-5, equal_nan=True)
    return a == b
