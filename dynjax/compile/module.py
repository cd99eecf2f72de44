"""A compiled Module: the Module itself behind a compiled call."""

from __future__ import annotations

from typing import Any

from ..nn.module import Module
from .function import CompiledFunction


class OptimizedModule(Module):
    """What `compile(module)` returns: its parameters and attributes are the module's.

    Args:
        module: the module.
        compiled: its compiled call.

    Attributes:
        _orig_mod: the module.
    """

    def __init__(self, module: Module, compiled: CompiledFunction) -> None:
        super().__init__()
        self.__dict__.pop("training")
        self._modules["_orig_mod"] = module
        self.__dict__["_compiled"] = compiled

    @property
    def training(self) -> bool:
        """The module's mode."""
        return self._modules["_orig_mod"].training

    @training.setter
    def training(self, mode: bool) -> None:
        self._modules["_orig_mod"].training = mode

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        own = self.__dict__
        if own["_forward_hooks"] or own["_forward_pre_hooks"] or own["_backward_hooks"]:
            return super().__call__(*args, **kwargs)
        return own["_compiled"](*args, **kwargs)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.__dict__["_compiled"](*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        module = self.__dict__["_modules"]["_orig_mod"]
        return module if name == "_orig_mod" else getattr(module, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "_orig_mod":
            self._modules["_orig_mod"] = value
        elif name in self.__dict__:
            super().__setattr__(name, value)
        else:
            setattr(self._modules["_orig_mod"], name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._modules["_orig_mod"], name)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *dir(self._modules["_orig_mod"])})

    def __len__(self) -> int:
        return len(self._modules["_orig_mod"])


__all__ = ["OptimizedModule"]
