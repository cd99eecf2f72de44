"""`torch.utils.data.distributed`: another place for the sampler of several processes."""

from .sampler import DistributedSampler

__all__ = ["DistributedSampler"]
