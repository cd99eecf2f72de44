"""Products and convolutions of padded arrays, and windows over them."""

from __future__ import annotations

from .extents import Axis, Unpaddable, axis_from, varies
from .walk import Lined, Padded, Padding, bound, rule


@rule("dot_general")
def _dot(padding: Padding, line: Lined, given: list[Padded]) -> list[Padded]:
    line.same()
    (left, right), batch = line.params["dimension_numbers"]
    x, y = given
    for a, b in [*zip(left, right, strict=True), *zip(*batch, strict=True)]:
        if x.axes[a] != y.axes[b] and a not in x.even and b not in y.even:
            raise Unpaddable(f"a product along {x.axes[a]} and {y.axes[b]}")
    for a, b in zip(left, right, strict=True):  # both are masked alike, where one is a guess
        if a in x.even:
            x = _with_axis(x, a, y.axes[b])
        elif b in y.even:
            y = _with_axis(y, b, x.axes[a])
    (value,) = bound(line, [padding.filled(x, left, 0), padding.filled(y, right, 0)])
    axes = [y.axes[b] if a in x.even else x.axes[a] for a, b in zip(*batch, strict=True)]
    axes += [axis for d, axis in enumerate(x.axes) if d not in left and d not in batch[0]]
    axes += [axis for d, axis in enumerate(y.axes) if d not in right and d not in batch[1]]
    return [Padded(value, tuple(axes))]


def _with_axis(x: Padded, d: int, axis: Axis) -> Padded:
    return x._replace(axes=(*x.axes[:d], axis, *x.axes[d + 1 :]))


@rule("conv_general_dilated")
def _convolution(padding: Padding, line: Lined, given: list[Padded]) -> list[Padded]:
    line.same()
    (x, kernel), params = given, line.params
    numbers = params["dimension_numbers"]
    groups = params["feature_group_count"] > 1 or params["batch_group_count"] > 1
    mixed = [x.axes[numbers.lhs_spec[1]], kernel.axes[numbers.rhs_spec[1]]]
    if groups and any(map(varies, [*mixed, x.axes[numbers.lhs_spec[0]]])):
        raise Unpaddable("a convolution in groups that vary")
    if mixed[0] != mixed[1] and any(map(varies, mixed)):
        raise Unpaddable("a convolution of channels that vary")
    masked, masked_kernel = [numbers.lhs_spec[1]], [numbers.rhs_spec[1]]
    for k, (d, e) in enumerate(zip(numbers.lhs_spec[2:], numbers.rhs_spec[2:], strict=True)):
        if not varies(x.axes[d]) and not varies(kernel.axes[e]):
            continue
        # Beyond the data are zeros, as in the padding of the convolution itself.
        steps = params["window_strides"][k], params["lhs_dilation"][k]
        if steps != (1, 1) or len(x.axes[d]) > 1 or len(kernel.axes[e]) > 1:
            raise Unpaddable("a convolution in steps, along what varies")
        if varies(kernel.axes[e]) and params["rhs_dilation"][k] != 1:
            raise Unpaddable("a convolution with holes that vary")
        masked.append(d)
        masked_kernel.append(e)
    values = [padding.filled(x, masked, 0), padding.filled(kernel, masked_kernel, 0)]
    (value,) = bound(line, values)
    axes = list(padding.axes(line.shape()))
    axes[numbers.out_spec[0]] = x.axes[numbers.lhs_spec[0]]
    axes[numbers.out_spec[1]] = kernel.axes[numbers.rhs_spec[0]]
    return [Padded(value, tuple(axes))]


@rule(
    "reduce_window_sum", "reduce_window_max", "reduce_window_min", "select_and_gather_add",
    "select_and_scatter_add",
)  # fmt: skip
def _windows(padding: Padding, line: Lined, given: list[Padded]) -> list[Padded]:
    line.same()
    x = given[-1]
    window, steps = line.params["window_dimensions"], line.params["window_strides"]
    for d, axis in enumerate(x.axes):
        alone = window[d] == steps[d] == 1 and tuple(line.params["padding"][d]) == (0, 0)
        if varies(axis) and not alone:
            raise Unpaddable("windows along what varies")
    (value,) = bound(line, [each.value for each in given])
    sizes = map(axis_from, [[n] for n in value.shape])
    axes = [axis if varies(axis) else n for axis, n in zip(x.axes, sizes, strict=True)]
    return [Padded(value, tuple(axes))]
