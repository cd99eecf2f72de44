"""A module called with parameters and buffers that are not its own."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ...tensor.tensor import Tensor
from ..module import Module

__all__ = ["functional_call"]

Place = tuple[dict[str, Any], str]


def _places(module: Module) -> dict[str, Place]:
    """Where each parameter and buffer is, by dotted name."""
    found: dict[str, Place] = {}
    for prefix, child in module.named_modules(remove_duplicate=False):
        for group in (child._parameters, child._buffers):
            for name, value in group.items():
                if value is not None:
                    found[f"{prefix}.{name}" if prefix else name] = (group, name)
    return found


def _tied(places: dict[str, Place], given: dict[str, Tensor]) -> dict[str, Tensor]:
    """`given`, and the same for all other names of the same tensors."""
    names: dict[int, list[str]] = {}
    for path, (group, name) in places.items():
        names.setdefault(id(group[name]), []).append(path)
    full = dict(given)
    for group in names.values():
        values = {id(given[path]): given[path] for path in group if path in given}
        if len(values) > 1:
            raise ValueError(
                f"functional_call got multiple values for keys {sorted(group)}, which are tied. "
                "Consider using tie_weights=False"
            )
        for value in values.values():
            full.update(dict.fromkeys(group, value))
    return full


@contextmanager
def _replaced(
    module: Module, given: dict[str, Tensor], tie_weights: bool, strict: bool
) -> Iterator[None]:
    places = _places(module)
    full = _tied(places, given) if tie_weights else given
    unexpected = [path for path in full if path not in places]
    missing = sorted(places.keys() - full.keys())
    if strict and (unexpected or missing):
        lines = [
            f"{kind} key(s): {', '.join(map(repr, paths))}."
            for kind, paths in (("Unexpected", unexpected), ("Missing", missing))
            if paths
        ]
        raise RuntimeError(
            f"Error(s) in reparametrizing for {type(module).__name__}:\n\t" + "\n\t".join(lines)
        )
    full = {path: value for path, value in full.items() if path in places}
    before = [(*places[path], places[path][0][places[path][1]]) for path in full]
    try:
        for path, value in full.items():
            group, name = places[path]
            group[name] = value
        yield
        # What the call put in the place of a buffer is the caller's to see.
        for path in given.keys() & full.keys():
            group, name = places[path]
            given[path] = group[name]
    finally:
        for group, name, value in before:
            group[name] = value


def call_with(
    module: Module,
    parameters_and_buffers: dict[str, Tensor],
    args: Any = None,
    kwargs: dict[str, Any] | None = None,
    *,
    tie_weights: bool = True,
    strict: bool = False,
) -> Any:
    """Call a module with other parameters and buffers; it has its own again afterwards.

    Args:
        module: what is called.
        parameters_and_buffers: by dotted name; those not given are the module's own,
            and unknown names do not count.
        args: a tuple of arguments, or the only one.
        kwargs: keyword arguments.
        tie_weights: whether a tensor with several names is replaced under all of them.
        strict: whether names must be given exactly as the module has them.

    Raises:
        RuntimeError: missing or unknown names, if `strict`.
        ValueError: several values for one tensor.
    """
    args = () if args is None else args if isinstance(args, tuple) else (args,)
    with _replaced(module, parameters_and_buffers, tie_weights, strict):
        return module(*args, **(kwargs or {}))


def functional_call(
    module: Module,
    parameters_and_buffers: dict[str, Tensor],
    args: Any = None,
    kwargs: dict[str, Any] | None = None,
    *,
    tie_weights: bool = True,
    strict: bool = False,
) -> Any:
    """As `func.functional_call`, which `call_with` is; deprecated under this name."""
    warnings.warn(
        "`torch.nn.utils.stateless.functional_call` is deprecated as of PyTorch 2.0 and will be "
        "removed in a future version of PyTorch. Please use `torch.func.functional_call` instead "
        "which is a drop-in replacement.",
        FutureWarning,
        stacklevel=2,
    )
    return call_with(
        module, parameters_and_buffers, args, kwargs, tie_weights=tie_weights, strict=strict
    )
