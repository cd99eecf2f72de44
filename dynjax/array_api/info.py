"""What the array API standard lets ask of a library."""

from __future__ import annotations

from typing import Any

from ..core import dtypes
from ..core.devices import device as Device
from ..engine.trace import state
from .types import isdtype

_NAMES = (
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32",
    "float64", "complex64", "complex128",
)  # fmt: skip
DTYPES = {name: getattr(dtypes, name) for name in _NAMES}


class __array_namespace_info__:  # noqa: N801  (the standard's name)
    """Devices, types and capabilities."""

    def capabilities(self) -> dict[str, Any]:
        """What there is."""
        return {"boolean indexing": True, "data-dependent shapes": True, "max dimensions": 64}

    def default_device(self) -> Any:
        """Where arrays are made."""
        return state.device()

    def default_dtypes(self, *, device: Any = None) -> dict[str, Any]:
        """The types of arrays made without one."""
        real = dtypes.get_default_dtype()
        whole = dtypes.int64
        return {"real floating": real, "complex floating": real.to_complex(), "integral": whole,
                "indexing": whole}  # fmt: skip

    def dtypes(self, *, device: Any = None, kind: Any = None) -> dict[str, Any]:
        """The types there are, of a kind."""
        return {name: own for name, own in DTYPES.items() if kind is None or isdtype(own, kind)}

    def devices(self) -> list[Any]:
        """The devices there are."""
        import jax

        return [Device("cuda" if d.platform == "gpu" else d.platform, d.id if d.platform != "cpu"
                       else None) for d in jax.devices()]  # fmt: skip
