"""What stands beside models and optimizers, as `torch.utils`."""

from . import data

__all__ = ["data"]
