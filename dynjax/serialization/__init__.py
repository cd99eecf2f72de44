"""State in files: PyTorch's own, and safetensors."""

from .files import load, save

__all__ = ["load", "save"]
