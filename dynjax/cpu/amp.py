"""`torch.cpu.amp`: former names of what is in `torch.amp`."""

from ..amp.former import forms
from ..core.dtypes import bfloat16

__all__ = ["GradScaler", "autocast"]

autocast, GradScaler = forms("cpu", bfloat16)
