"""Views of all the pieces of a tensor at once: split, chunk, unbind.

One operation gives all pieces, so that its gradient is one concatenation.
"""

from jax import lax

from ..tensor.tensor import Tensor as TensorHandle
from .checks import wrap_dim
from .declare import Int, Ints, Tensor, composite, op
from .views import along, read_basic, write_basic


def _section_sizes(name, input, sizes, d):
    n = input.shape[d]
    if any(s < 0 for s in sizes):
        raise RuntimeError(
            f"{name} expects split_sizes have only non-negative entries, but got "
            f"split_sizes={list(sizes)}"
        )
    if sum(sizes) != n:
        raise RuntimeError(
            f"{name} expects split_sizes to sum exactly to {n} (input tensor's size at dimension "
            f"{d}), but got split_sizes={list(sizes)}"
        )
    return sizes


def _split_sizes(input, split_size_or_sections, dim):
    d, size = wrap_dim(dim, input.ndim), split_size_or_sections
    if input.ndim == 0:
        raise RuntimeError("split expects at least a 1-dimensional tensor")
    if not isinstance(size, int):
        return _section_sizes("split_with_sizes", input, size, d), d
    n = input.shape[d]
    if size < 0:
        raise RuntimeError(f"split expects split_size be non-negative, but got split_size={size}")
    if size == 0 and n:
        raise RuntimeError(
            f"split_size can only be 0 if dimension size is 0, but got dimension size of {n}"
        )
    return _even_sizes(n, size), d


def _even_sizes(n, size):
    count = max(-(-n // size) if size else 1, 1)
    return (size,) * (count - 1) + (n - size * (count - 1),)


def _chunk_sizes(input, chunks, dim):
    if input.ndim == 0:
        raise RuntimeError("chunk expects at least a 1-dimensional tensor")
    if chunks <= 0:
        raise RuntimeError(f"chunk expects `chunks` to be greater than 0, got: {chunks}")
    d = wrap_dim(dim, input.ndim)
    n = input.shape[d]
    return ((0,) * chunks if n == 0 else _even_sizes(n, -(-n // chunks))), d


def _pieces(input, sizes, d):
    return tuple(lax.split(input, [int(s) for s in sizes], d))


def _write_piece(sizes_of):
    def write(base, new, output=0, **statics):
        sizes, d = sizes_of(base, **statics)
        return write_basic(base, new, along(base, d, (int(sum(sizes[:output])), sizes[output], 1)))

    return write


def _split_name(arguments):
    even = isinstance(arguments["split_size_or_sections"], int)
    return "SplitBackward0" if even else "SplitWithSizesBackward0"


@op(view=_write_piece(_split_sizes), grad_name=_split_name)
def split(input: Tensor, split_size_or_sections: Ints, dim: Int = 0):
    """Pieces along `dim`: each of one size (the last may be smaller), or of the sizes listed."""
    return _pieces(input, *_split_sizes(input, split_size_or_sections, dim))


@op(view=_write_piece(_chunk_sizes), grad_name="SplitBackward0")
def chunk(input: Tensor, chunks: Int, dim: Int = 0):
    """At most `chunks` pieces along `dim`, of equal size but for the last."""
    return _pieces(input, *_chunk_sizes(input, chunks, dim))


def _unbind_sizes(input, dim):
    if input.ndim == 0:
        raise IndexError(f"Dimension specified as {dim} but tensor has no dimensions")
    d = wrap_dim(dim, input.ndim)
    return (1,) * input.shape[d], d


def _write_unbound(base, new, dim=0, output=0):
    return write_basic(base, new, along(base, wrap_dim(dim, base.ndim), output))


@op(view=_write_unbound, rows=lambda given: "split" if given["dim"] == 0 else None)
def unbind(input: Tensor, dim: Int = 0):
    """Every slice along `dim`, without that dimension."""
    sizes, d = _unbind_sizes(input, dim)
    return tuple(piece.squeeze(d) for piece in _pieces(input, sizes, d)) if sizes else ()


def _tensor_split_cuts(input, indices_or_sections, dim):
    if input.ndim == 0:
        raise RuntimeError(
            "tensor_split expected at least a 1-dimensional tensor, but got a tensor with 0 dims"
        )
    d, cuts = wrap_dim(dim, input.ndim), indices_or_sections
    n = input.shape[d]
    if isinstance(cuts, int):
        if cuts <= 0:
            raise RuntimeError(f"number of sections must be larger than 0, got {cuts}")
        big, extra = divmod(n, cuts)
        cuts = [i * big + min(i, extra) for i in range(1, cuts)]
    spans = [slice(a, b).indices(n) for a, b in zip([0, *cuts], [*cuts, n], strict=True)]
    return [along(input, d, (a, max(b - a, 0), 1)) for a, b, _ in spans]


def _write_cut(base, new, indices_or_sections, dim=0, output=0):
    return write_basic(base, new, _tensor_split_cuts(base, indices_or_sections, dim)[output])


@composite
def tensor_split(input, indices_or_sections, dim: int = 0):
    """So many pieces of nearly equal size along `dim`, or pieces cut at the indices listed.

    Indices may be a tensor, which is read on the host.
    """
    if isinstance(indices_or_sections, TensorHandle):
        indices_or_sections = indices_or_sections.tolist()
    return _split_at(input, indices_or_sections, dim)


@op(
    name="tensor_split", view=_write_cut, method=False, function=False,
    grad_name="SliceBackward0",
)  # fmt: skip
def _split_at(input: Tensor, indices_or_sections: Ints, dim: Int):
    """`tensor_split` with its indices or sections known."""
    return tuple(
        read_basic(input, cut) for cut in _tensor_split_cuts(input, indices_or_sections, dim)
    )


def _sectioned(name, dims_needed, dim_of):
    def body(input: Tensor, indices_or_sections: Ints):
        n, dim = input.ndim, dim_of(input.ndim)
        if n < dims_needed:
            raise RuntimeError(
                f"torch.{name} requires a tensor with at least {dims_needed} dimension, "
                f"but got a tensor with {n} dimensions!"
            )
        sections = indices_or_sections
        if isinstance(sections, int) and (sections <= 0 or input.shape[dim] % sections):
            raise RuntimeError(
                f"torch.{name} attempted to split along dimension {dim}, but the size of the "
                f"dimension {input.shape[dim]} is not divisible by the split_size {sections}!"
            )
        cuts = _tensor_split_cuts(input, indices_or_sections, dim)
        return tuple(read_basic(input, cut) for cut in cuts)

    def write(base, new, indices_or_sections, output=0):
        return _write_cut(base, new, indices_or_sections, dim_of(base.ndim), output)

    doc = f"`tensor_split` along the dimension that `{name}` is named for."
    op(name=name, view=write, grad_name="SliceBackward0", doc=doc)(body)


_sectioned("hsplit", 1, lambda ndim: int(ndim > 1))
_sectioned("vsplit", 2, lambda ndim: 0)
_sectioned("dsplit", 3, lambda ndim: 2)
