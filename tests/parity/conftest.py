"""Parity tests compare with PyTorch: without it there is nothing to collect here."""

import os
from importlib.util import find_spec

# Thousands of small programs run a few times each: what takes time is to compile them.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

collect_ignore_glob = [] if find_spec("torch") else ["test_*.py"]
