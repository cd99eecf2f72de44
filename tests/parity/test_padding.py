"""Operations on padded data: PyTorch's samples of them in other sizes, against the data alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from dynjax.engine.padding.extents import Unpaddable, symbols_of
from dynjax.engine.padding.host import narrowed, widened
from dynjax.engine.padding.pattern import Pattern, skeleton
from dynjax.engine.padding.walk import Padded, Padding
from dynjax.interop import jax as interop

from . import opinfo

NAMES = [
    "addmm", "amax", "argmax", "bmm", "cat", "cdist", "cummax", "diff", "einsum", "gather",
    "index_add", "index_copy", "index_select", "kthvalue", "logsumexp", "masked_fill", "matmul",
    "mean", "nn.functional.conv1d", "nn.functional.cosine_similarity",
    "nn.functional.cross_entropy", "nn.functional.embedding", "nn.functional.group_norm",
    "nn.functional.linear", "nn.functional.nll_loss", "nn.functional.normalize", "roll",
    "scatter_add", "softmax", "sort", "std", "take_along_dim", "topk", "tril", "where",
]  # fmt: skip
KNOWN, USED, WIDE = (6, 9), (7, 3), 12


@pytest.fixture(scope="module")
def entries():
    return {entry.name: entry for entry in opinfo.entries() if not entry.variant_test_name}


def tensors(sample):
    found = []
    opinfo.tree_map(
        lambda x: found.append(x) if isinstance(x, torch.Tensor) else None, parts(sample)
    )
    return found


def parts(sample):
    return sample.input, sample.args, sample.kwargs


def resized(sample, old, new):
    """Data for a sample in which what had `old` elements has others."""
    generator, found = np.random.default_rng(new), []
    for tensor in tensors(sample):
        array, shape = tensor.detach().numpy(), [new if n == old else n for n in tensor.shape]
        if array.dtype.kind == "f":
            found.append(generator.standard_normal(shape).astype(array.dtype))
        else:
            found.append(np.resize(array, shape))
    return found


def function_of(entry, sample):
    """The operation and its gradient, of arrays in place of a sample's tensors."""
    ours = opinfo.dynjax_function(entry)

    def forward(*arrays):
        left = iter(arrays)

        def given(x):
            return interop._to_tensor(next(left)) if isinstance(x, torch.Tensor) else x

        with interop._apart():
            first, args, kwargs = opinfo.tree_map(given, parts(sample))
            result = ours(first, *args, **kwargs)
            results = result if isinstance(result, (tuple, list)) else [result]
            return [interop._to_array(x) for x in results]

    def both(*arrays):
        results = forward(*arrays)
        real = [k for k, a in enumerate(arrays) if jnp.issubdtype(a.dtype, jnp.floating)]

        def inexact(*values):
            full = list(arrays)
            for k, value in zip(real, values, strict=True):
                full[k] = value
            return [x for x in forward(*full) if jnp.issubdtype(x.dtype, jnp.floating)]

        found, pull = jax.vjp(inexact, *[arrays[k] for k in real])
        return [*results, *pull([jnp.cos(x) for x in found])]

    return both


def compare(entry, sample, old):
    fn = function_of(entry, sample)
    data = [resized(sample, old, n) for n in KNOWN]
    traced = [jax.make_jaxpr(fn)(*each) for each in data]
    samples, places, leaves = symbols_of([[a.shape for a in each] for each in data])
    pattern, axes, wide = Pattern(samples, list(map(skeleton, traced))), [], [WIDE] * len(places)

    @jax.jit
    def padded(real, *args):
        padding = Padding(samples, wide, [real[k] for k in range(len(wide))])
        given = list(map(Padded, args, leaves))
        results = padding.run([t.jaxpr for t in traced], [t.consts for t in traced], given)
        axes[:] = [x.axes for x in results]
        return [x.value for x in results]

    for n in USED:
        given = resized(sample, old, n)
        symbols = tuple([given[k].shape[d] for k, d in places])
        if not pattern.fits(skeleton(jax.make_jaxpr(fn)(*given)), symbols):
            continue
        filled = [widened(a, x, wide, symbols) for a, x in zip(given, leaves, strict=True)]
        results = padded(np.array(symbols, np.int64), *filled)
        for ours, theirs, each in zip(results, jax.jit(fn)(*given), axes, strict=True):
            cut = narrowed(np.asarray(ours), each, wide, symbols)
            np.testing.assert_allclose(cut, theirs, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("name", NAMES)
def test_operations_on_padded_data(name, entries):
    why = None
    for sample in opinfo.samples(entries[name], torch.float32, False, 8):
        sizes = sorted({n for t in tensors(sample) for n in t.shape if 1 < n < 12}, reverse=True)
        for old in sizes[:2]:
            try:
                with jax.enable_x64(True):
                    return compare(entries[name], sample, old)
            except (Unpaddable, RuntimeError, ValueError, IndexError, TypeError) as failure:
                why = failure  # the sample is of that size only, or can't be padded
    pytest.fail(f"no sample could be padded: {why}")
