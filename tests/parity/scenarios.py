"""Scenarios that PyTorch and dynjax run alike: the same text, keys, messages and numbers.

A scenario is written once, takes the library as its argument and yields what it saw; both
libraries must have seen the same.
"""

import re
import warnings

import numpy as np
import torch

import dynjax


class Scenarios(list):
    """The scenarios of a file, in order."""

    def add(self, function):
        self.append(function)
        return function


def check(run):
    """Run a scenario with both libraries; raise unless all that they saw is the same."""
    for step, (theirs, ours) in enumerate(zip(run(torch), run(dynjax), strict=True)):
        ours, theirs = plain(ours), plain(theirs)
        assert same(ours, theirs), f"step {step}: {ours}, PyTorch's {theirs}"


def same(ours, theirs):
    """Whether two results of `plain` agree, numbers but for rounding."""
    if isinstance(theirs, list):
        pairs = zip(ours, theirs, strict=False)
        return isinstance(ours, list) and len(ours) == len(theirs) and all(same(*p) for p in pairs)
    if isinstance(theirs, dict):
        return list(ours) == list(theirs) and all(same(ours[key], theirs[key]) for key in theirs)
    if isinstance(theirs, float):
        both_nan = ours != ours and theirs != theirs
        return both_nan or ours == theirs or abs(ours - theirs) < 3e-5 * max(1, abs(theirs))
    return type(ours) is type(theirs) and ours == theirs


def plain(value):
    """What a scenario saw, without the library's name and without objects of its own."""
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, str):
        value = re.sub(r"\b(torch|dynjax)\.", "lib.", value)
        value = re.sub(r"nn\.(modules\.)?\w+\.(?=[A-Z])", "nn.", value)
        return re.sub(r"0x[0-9a-f]+", "0x", value)
    if hasattr(value, "detach"):
        return np.asarray(value.detach().numpy(), np.float64).tolist()
    return value


def attempt(function, *args, **kwargs):
    """The result, or the error's type and text."""
    try:
        return function(*args, **kwargs)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def warned(function, *args):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = attempt(function, *args)
    return result, [(w.category.__name__, str(w.message)) for w in caught]


def fill(lib, module):
    """Give all parameters the same values in both libraries."""
    with lib.no_grad():
        for i, param in enumerate(module.parameters()):
            size = int(np.prod(param.shape))
            values = np.sin(np.arange(size, dtype=np.float32) + i).reshape(tuple(param.shape))
            param.copy_(lib.from_numpy(values))
    return module


def make_net(lib):
    class Block(lib.nn.Module):
        def __init__(self, size):
            super().__init__()
            self.linear = lib.nn.Linear(size, size)
            self.register_buffer("scale", lib.ones(1))
            self.register_buffer("cache", lib.zeros(2), persistent=False)

        def forward(self, x):
            return self.linear(x) * self.scale

    class Net(lib.nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = lib.nn.ModuleList([Block(3), Block(3)])
            self.head = lib.nn.Sequential(lib.nn.ReLU(), lib.nn.Linear(3, 2, bias=False))
            self.tied = self.blocks[0]
            self.extra = lib.nn.Parameter(lib.ones(2))
            self.nothing = None
            self.register_parameter("maybe", None)

        def forward(self, x):
            for block in self.blocks:
                x = block(x)
            return self.head(x) + self.extra

    return fill(lib, Net())
