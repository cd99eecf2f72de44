from __future__ import annotations
import jax


class device:
    def __init__(self, type="cpu", index=None):
        self.type = type
        self.index = index

    @property
    def jax(self):
        return jax.devices(self.type)[self.index or 0]

    def __eq__(self, o):
        return isinstance(o, device) and (self.type, self.index) == (o.type, o.index)

    def __hash__(self):
        return hash((self.type, self.index))

    def __repr__(self):
        return f"device(type='{self.type}')"

    def __str__(self):
        return self.type


_cpu = device()


def get_default_device():
    return _cpu


def as_device(d):
    return _cpu


def set_default_device(d):
    pass
