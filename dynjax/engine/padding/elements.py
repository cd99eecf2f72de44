"""Padded arrays element by element."""

from __future__ import annotations

from .axes import together
from .walk import Counted, Lined, Padded, Padding, bound, rule


@rule(
    "abs", "acos", "acosh", "add", "add_any", "and", "asin", "asinh", "atan", "atan2", "atanh",
    "bessel_i0e", "bessel_i1e", "bitcast_convert_type", "cbrt", "ceil", "clamp", "clz", "complex",
    "conj", "convert_element_type", "copy", "copy_p", "cos", "cosh", "digamma", "div", "eq",
    "eq_to",    "erf", "erf_inv", "erfc", "exp", "exp2", "expm1", "floor", "ge", "gt", "igamma",
    "igamma_grad_a", "igammac", "imag", "integer_pow", "is_finite", "le", "le_to", "lgamma",
    "log", "log1p", "logistic", "lt", "lt_to", "max", "min", "mul", "ne", "neg", "nextafter",
    "not", "or", "polygamma", "population_count", "pow", "real", "reduce_precision",
    "regularized_incomplete_beta", "rem", "round", "rsqrt", "select_n", "shift_left",
    "shift_right_arithmetic", "shift_right_logical", "sign", "sin", "sinh", "sqrt", "square",
    "stop_gradient", "sub", "tan", "tanh", "xor", "zeta",
)  # fmt: skip
def _each(padding: Padding, line: Lined, given: list[Padded]) -> list[Padded]:
    line.same()
    if len(given) == 1 and type(given[0]) is Counted and line.name == "convert_element_type":
        return [given[0]._replace(dtype=line.params["new_dtype"])]
    axes, even = together(given)
    (result,) = bound(line, [x.value for x in given])
    return [Padded(result, axes, even)]


@rule("optimization_barrier")
def _barrier(padding: Padding, line: Lined, given: list[Padded]) -> list[Padded]:
    values = bound(line, [x.value for x in given])
    return [x._replace(value=value) for x, value in zip(given, values, strict=True)]
