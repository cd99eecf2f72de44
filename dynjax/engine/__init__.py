"""Recording operations into traces and running them as XLA programs."""

from . import cold as cold
from . import reads as reads
from .executor import eager, flush
from .explain import explain

__all__ = ["eager", "explain", "flush"]
