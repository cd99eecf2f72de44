"""What stands beside models and optimizers, as `torch.utils`."""

from . import data
from .progress import progress
from .summaries import summary

__all__ = ["data", "progress", "summary"]
