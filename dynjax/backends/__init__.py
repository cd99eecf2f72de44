"""``torch.backends``: what this build can do, answered for JAX.

The settings are there to be read and set, so that code which sets them runs. They change nothing:
XLA chooses kernels and precision; JAX's own settings govern it (``jax_default_matmul_precision``).
"""

from . import cuda, cudnn, mps

__all__ = ["cuda", "cudnn", "mps"]
