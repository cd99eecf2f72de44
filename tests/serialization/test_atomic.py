"""A file is replaced as a whole or not at all."""

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import dynjax
from dynjax.serialization.atomic import replacing

ROOT = Path(__file__).parents[2]


def test_nobody_sees_a_part_of_it(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with replacing(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["file"]


def test_an_exception_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), replacing(path) as file:
        file.write(b"new")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_state_that_cannot_be_saved_leaves_the_old_file(tmp_path):
    path = tmp_path / "state.pt"
    dynjax.save([1], path)
    with pytest.raises(TypeError, match="state_dict"):
        dynjax.save([dynjax.nn.Linear(1, 1)], path)
    assert dynjax.load(path) == [1]


def test_permissions_are_those_of_any_new_file_or_of_the_old_one(tmp_path):
    plain, path = tmp_path / "plain", tmp_path / "file"
    plain.write_bytes(b"")
    with replacing(path):
        pass
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)
    path.chmod(0o640)
    with replacing(path):
        pass
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_link_stays_and_its_target_is_replaced(tmp_path):
    (tmp_path / "there").mkdir()
    target, link = tmp_path / "there" / "file", tmp_path / "link"
    target.write_bytes(b"old")
    link.symlink_to(target)
    with replacing(link) as file:
        file.write(b"new")
    assert link.is_symlink() and target.read_bytes() == b"new"


def test_a_device_is_written_to_and_not_replaced():
    with replacing(os.devnull) as file:
        file.write(b"x")
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)


def test_the_longest_name_that_a_folder_takes(tmp_path):
    path = tmp_path / ("n" * 255)
    dynjax.save(1, path)
    assert dynjax.load(path) == 1


@pytest.mark.slow
def test_killed_saves_leave_the_old_file_or_the_new_one():
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "killed_saves.py", "--kills", "3", "--mb", "2"],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"3 kills", done.stdout)


LEAVES_A_PART = """
import os, signal, sys
from dynjax.serialization.atomic import replacing
with replacing(sys.argv[1]) as file:
    file.write(b"new")
    print(os.listdir(os.path.dirname(sys.argv[1])), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs file locks")
def test_what_a_killed_process_left_goes_with_the_next_save_to_the_same_name(tmp_path):
    path, other = tmp_path / "file", tmp_path / ".file.txt.0123456789abcdef.tmp"
    for precious in (other, tmp_path / ".file.tmp", tmp_path / "file.0123456789abcdef.tmp"):
        precious.write_bytes(b"of somebody else")
    path.write_bytes(b"old")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", LEAVES_A_PART, path], env=environment, cwd=ROOT)
    left = set(os.listdir(tmp_path))
    assert path.read_bytes() == b"old" and len(left) == 5
    with replacing(path) as ours:
        with replacing(path) as file:  # ours is alive, and stays
            file.write(b"newer")
        ours.write(b"newest")
    assert path.read_bytes() == b"newest"
    assert len(os.listdir(tmp_path)) == 4 and other.exists()
