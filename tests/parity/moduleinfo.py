"""PyTorch's own samples of its modules, run on PyTorch and on dynjax alike.

`ENTRIES` is what PyTorch's database of modules knows and dynjax has; `samples` draws an entry's
samples, `build` makes the module of one for both, with the same state.
"""

import dataclasses
import re
import warnings
from contextlib import contextmanager

import numpy as np
import torch
from torch.testing._internal.common_modules import ModuleErrorEnum, module_db

import dynjax
from dynjax.core.scope import out_of_scope
from tests.parity.opinfo import to_dynjax as leaf_to_dynjax
from tests.parity.opinfo import tree_map

LIMIT = 6  # samples of an entry: each is programs to compile, and some entries have hundreds
ENTRIES = {
    info.name.removeprefix("nn."): info
    for info in module_db
    if hasattr(dynjax.nn, info.module_cls.__name__)
}
LEFT_OUT = {
    name: out_of_scope(name)
    for name in (info.name.removeprefix("nn.") for info in module_db)
    if name not in ENTRIES
}


@contextmanager
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def to_dynjax(x):
    """Arguments of a sample, for dynjax: tensors, types, functions of PyTorch's, modules."""
    return tree_map(_leaf, x)


def _leaf(x):
    if isinstance(x, type) and issubclass(x, torch.nn.Module):
        return getattr(dynjax.nn, x.__name__)
    if isinstance(x, torch.nn.Module):
        return _like(x)
    module = getattr(x, "__module__", None) or ""
    if callable(x) and module.startswith(("torch.nn.functional", "torch._C._nn")):
        return getattr(dynjax.nn.functional, x.__name__)
    if isinstance(x, torch.device) or x == "cpu":
        return None
    if type(x).__name__ == "LinearCrossEntropyOptions":
        return dynjax.nn.LinearCrossEntropyOptions(**dataclasses.asdict(x))
    return leaf_to_dynjax(x)


def _like(layer):
    """dynjax's layer for one of PyTorch's that is an argument: same settings, same state."""
    ours = dynjax.nn.TransformerEncoderLayer(
        layer.self_attn.embed_dim,
        layer.self_attn.num_heads,
        layer.linear1.out_features,
        layer.dropout.p,
        to_dynjax(layer.activation),
        batch_first=layer.self_attn.batch_first,
        norm_first=layer.norm_first,
        bias=layer.linear1.bias is not None,
    )
    ours.load_state_dict(to_dynjax(dict(layer.state_dict())))
    return ours


def plain(text):
    """Text without the names of the libraries and of the folders that their layers live in."""
    text = re.sub(r"\b(torch|dynjax)\.", "lib.", text)
    return re.sub(r"0x[0-9a-f]+", "0x", re.sub(r"nn\.(modules\.)?\w+\.(?=[A-Z])", "nn.", text))


def samples(info, training):
    """Up to LIMIT of an entry's samples, from all over them."""
    # PyTorch's samples of these draw where to pool in float64, whatever the type asked for.
    double = info.module_cls.__name__.startswith("FractionalMaxPool")
    torch.manual_seed(0)
    np.random.seed(0)
    found = info.module_inputs_func(
        info,
        device="cpu",
        dtype=torch.float64 if double else torch.float32,
        requires_grad=True,
        training=training,
    )
    found = list(found)
    return found[:: max(1, -(-len(found) // LIMIT))]


def modes(info):
    """Whether to train: both where PyTorch's samples differ, or the module may."""
    return (True, False) if info.train_and_eval_differ else (True,)


def build(info, sample, training=True):
    """`(PyTorch's module, dynjax's)` of a sample, in the same mode; their state is their own."""
    made = sample.constructor_input
    with quiet():
        theirs = info.module_cls(*made.args, **made.kwargs)
        cls = getattr(dynjax.nn, info.module_cls.__name__)
        ours = cls(*to_dynjax(made.args), **to_dynjax(made.kwargs))
    return theirs.train(training), ours.train(training)


def errors(info):
    """`(PyTorch's error, a function that calls dynjax as badly, the call)` of an entry."""
    if info.module_error_inputs_func is None:
        return
    torch.manual_seed(0)
    for wrong in info.module_error_inputs_func(
        info, device="cpu", dtype=torch.float32, requires_grad=True, training=True
    ):
        sample = wrong.module_error_input
        made, given = sample.constructor_input, sample.forward_input
        at_construction = wrong.error_on == ModuleErrorEnum.CONSTRUCTION_ERROR

        def call(cls, convert, made=made, given=given, at_construction=at_construction):
            with quiet():
                module = cls(*convert(made.args), **convert(made.kwargs))
                if not at_construction:
                    module(*convert(given.args), **convert(given.kwargs))

        try:
            call(info.module_cls, lambda x: x)
        except Exception as error:
            ours = getattr(dynjax.nn, info.module_cls.__name__)
            yield error, lambda ours=ours, call=call: call(ours, to_dynjax), short(sample)


def short(sample):
    """A sample as text."""

    def text(x):
        return f"{str(x.dtype)[6:]}{list(x.shape)}" if isinstance(x, torch.Tensor) else x

    made, given = sample.constructor_input, sample.forward_input
    parts = [made.args, made.kwargs, *([given.args, given.kwargs] if given else [])]
    return str(tree_map(text, parts))[:300]
