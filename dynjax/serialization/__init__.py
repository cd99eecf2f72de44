"""State in files: PyTorch's own, and safetensors."""

from . import safetensors
from .files import load, save
from .sharded import load_sharded, save_sharded

__all__ = ["load", "load_sharded", "safetensors", "save", "save_sharded"]
