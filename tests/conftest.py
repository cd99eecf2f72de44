"""Settings shared by all tests: the Hypothesis profiles, and how XLA compiles."""

import os
from importlib.metadata import version

import pytest
from hypothesis import HealthCheck, settings

# Thousands of small programs run a few times each: what takes time is to compile them.
XLA_FLAGS = ["--xla_backend_optimization_level=0"]
# The newer emitter of loops takes twice as long over small programs, and so do modules split for
# several threads. A flag that an XLA does not know ends the process: only where these are known.
if version("jaxlib").startswith("0.10."):
    XLA_FLAGS += ["--xla_cpu_use_fusion_emitters=false", "--xla_cpu_parallel_codegen_split_count=1"]
os.environ.setdefault("XLA_FLAGS", " ".join(XLA_FLAGS))

# A deadline would measure XLA's compiler and the machine's other work.
settings.register_profile(
    "default",
    deadline=None,
    max_examples=50,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("ci", settings.get_profile("default"), derandomize=True)
settings.register_profile("thorough", settings.get_profile("default"), max_examples=2_000)
settings.load_profile(
    os.environ.get("HYPOTHESIS_PROFILE", "ci" if "CI" in os.environ else "default")
)


@pytest.fixture(autouse=True)
def nothing_learnt_of_graphs():
    """Whether the graphs of other tests came again is nothing that a test should depend on: sums
    are rounded otherwise where a graph runs as calls of its parts."""
    from dynjax.engine import cold, quick
    from dynjax.engine.padding import families

    for learnt in (cold._wholes, quick.lately):
        learnt.clear()
    families.forget()
