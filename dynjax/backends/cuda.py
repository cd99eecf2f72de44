"""``torch.backends.cuda``."""

from types import SimpleNamespace

from ..core import devices

matmul = SimpleNamespace(
    allow_tf32=False,
    allow_fp16_reduced_precision_reduction=True,
    allow_bf16_reduced_precision_reduction=True,
)


def is_built() -> bool:
    """Whether this JAX can use GPUs; it can tell only where there is one."""
    return devices.device_count("cuda") > 0
