"""``torch.backends.cudnn``: XLA decides on its use of cuDNN, and does not tell the version."""

enabled = True
benchmark = False
deterministic = False
allow_tf32 = True


def is_available() -> bool:
    """False: XLA may use cuDNN on a GPU, but nothing here reaches it."""
    return False


def version() -> None:
    """None: there is no version to tell."""
