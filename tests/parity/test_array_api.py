"""The array API standard's own tests, where they are at hand.

They are no package of a registry: give their directory, a clone with its submodule, as
ARRAY_API_TESTS. What is expected to fail, and why, is in array_api_xfails.txt.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SUITE = os.environ.get("ARRAY_API_TESTS")


def run_suite():
    """The finished run of the standard's tests."""
    xfails = Path(__file__).with_name("array_api_xfails.txt")
    command = [
        sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "array_api_tests",
        "--max-examples", "6", "--disable-deadline", "--xfails-file", str(xfails),
    ]  # fmt: skip
    ours = str(Path(__file__).parents[2])
    env = os.environ | {
        "ARRAY_API_TESTS_MODULE": "dynjax.array_api",
        "ARRAY_API_TESTS_VERSION": "2024.12",
        "PYTHONPATH": ours,
    }
    return subprocess.run(command, cwd=SUITE, env=env, capture_output=True, text=True)


@pytest.mark.skipif(not SUITE, reason="ARRAY_API_TESTS names no clone of array-api-tests")
def test_the_standards_own_tests():
    done = run_suite()
    assert done.returncode == 0, done.stdout[-4000:]
