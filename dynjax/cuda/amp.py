"""`torch.cuda.amp`: former names of what is in `torch.amp`."""

from ..amp.former import forms
from ..core.dtypes import float16

__all__ = ["GradScaler", "autocast"]

autocast, GradScaler = forms("cuda", float16)
