"""In-place forms of functions that are not one operation."""

from collections.abc import Callable

from ..autograd.dispatch import assign, check_inplace, unwatched


def inplace_form(function: Callable, name: str) -> Callable:
    """The function that computes `function(self, ...)` and makes the result the content of self.

    Args:
        function: takes a tensor first and returns one of its shape.
        name: of the in-place form, with its underscore.
    """

    def form(self, *args, **kwargs):
        check_inplace(self)
        source = unwatched(self) if self.requires_grad else self
        return assign(self, function(source, *args, **kwargs), name)

    form.__name__, form.__qualname__ = name, f"Tensor.{name}"
    form.__doc__ = f"In-place form of `{name[:-1]}`."
    return form
