"""Compiled programs on disk: a second process compiles nothing, and trusts nothing foreign."""

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import jax
import pytest

import dynjax
from dynjax.engine import cache

ROOT = Path(__file__).parents[2]

# Trains a little, then runs the user's own JAX code, which has a cache of its own.
PROCESS = """
import json, os, sys
import jax, jax.numpy as jnp
import dynjax

events = []
jax.monitoring.register_event_listener(lambda event, **_: events.append(event.split("/")[-1]))
ours, theirs = sys.argv[1:]
jax.config.update("jax_compilation_cache_dir", theirs)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
os.environ["DYNJAX_CACHE_DIR"] = ours  # read when first needed, not at import
settings = {name: repr(value) for name, value in jax.config.values.items()}

dynjax.manual_seed(0)
model = dynjax.nn.Linear(3, 2)
optimizer = dynjax.optim.SGD(model.parameters(), lr=0.1)
x = dynjax.ones(4, 3)
for _ in range(2):
    loss = model(x).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
loss = loss.item()
hits, misses = events.count("cache_hits"), events.count("cache_misses")
same = settings == {name: repr(value) for name, value in jax.config.values.items()}

before = sorted(os.listdir(theirs))
jax.jit(lambda x: jnp.sin(x) * 2 + 1)(jnp.ones(7)).block_until_ready()
print(json.dumps({
    "loss": loss, "hits": hits, "misses": misses, "same": same,
    "theirs": len(set(os.listdir(theirs)) - set(before)), "stray": before,
}))
"""


def run(ours, theirs):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROCESS, str(ours), str(theirs)],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def entries(directory):
    return {path: path.read_bytes() for path in directory.rglob("*-cache")}


def test_processes_share_programs_and_ignore_damaged_ones(tmp_path):
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    theirs.mkdir()
    first = run(ours, theirs)
    assert first["hits"] == 0 and first["misses"] > 0
    stored = entries(ours)
    assert len(stored) == first["misses"]
    assert ours.stat().st_mode & 0o777 == 0o700
    # The user's settings are as they were, and their programs go where they want them.
    assert first["same"] and first["theirs"] > 0 and not first["stray"]

    second = run(ours, theirs)
    assert second["misses"] == 0 and second["hits"] == first["misses"]
    assert second["loss"] == first["loss"] and second["same"]

    damages = [
        lambda data: data[: len(data) // 2],
        lambda data: b"",
        lambda data: bytes([*data[:-1], data[-1] ^ 1]),
    ]
    for k, (path, data) in enumerate(stored.items()):
        path.write_bytes(damages[k % len(damages)](data))
    third = run(ours, theirs)
    assert third["hits"] == 0 and third["misses"] == first["misses"]
    assert third["loss"] == first["loss"]
    assert entries(ours).keys() == stored.keys()
    assert all(len(data) > 100 for data in entries(ours).values())


@pytest.fixture
def store(tmp_path):
    return cache.Store(tmp_path / "programs")


def put(store, name, data=b"program", seal=True):
    path = store.path / f"{name}-cache"
    path.write_bytes(data)
    if seal:
        store.seal()
    return path


def reopened(store):
    cache.Store(store.path.parent)
    return sorted(path.name for path in store.path.iterdir())


def test_what_was_written_stays(store):
    put(store, "a")
    put(store, "b")
    assert reopened(store) == ["a-cache", "a-cache.sha256", "b-cache", "b-cache.sha256"]


def test_what_was_not_written_by_us_goes(store, tmp_path):
    put(store, "changed").write_bytes(b"another")
    put(store, "truncated").write_bytes(b"")
    target = tmp_path / "elsewhere"
    target.write_bytes(b"program")
    linked = put(store, "linked")
    linked.unlink()
    linked.symlink_to(target)
    put(store, "good")
    put(store, "planted", seal=False)
    assert reopened(store) == ["good-cache", "good-cache.sha256"]
    assert target.read_bytes() == b"program"


def test_entries_of_another_user_go(store, monkeypatch):
    put(store, "theirs")
    monkeypatch.setattr(cache, "_is_foreign", lambda about: about.st_size == len(b"program"))
    assert reopened(store) == []


def test_the_oldest_go_past_the_bound(store, monkeypatch):
    for age, name in enumerate(("new", "old", "oldest")):
        os.utime(put(store, name, b"x" * 100), (1e9 - age, 1e9 - age))
    monkeypatch.setattr(dynjax.config, "cache_bytes", 150)
    assert reopened(store) == ["new-cache", "new-cache.sha256"]


@pytest.mark.parametrize("what", ["jax", "jaxlib"])
def test_another_version_has_another_directory(tmp_path, monkeypatch, what):
    here = cache.Store(tmp_path / "programs").path
    known = cache.version
    monkeypatch.setattr(cache, "version", lambda name: "9.9.9" if name == what else known(name))
    there = cache.Store(tmp_path / "programs").path
    assert there != here and f"-{what}-9.9.9-" in there.name


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
@pytest.mark.parametrize("mode", [0o770, 0o702, 0o777])
def test_a_directory_that_others_can_write_to_is_refused(tmp_path, mode):
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(mode)
    with pytest.raises(PermissionError, match=f"others can write to {shared} .mode {mode:o}."):
        cache.Store(shared)


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
def test_a_directory_that_others_can_replace_is_refused(tmp_path):
    tmp_path.chmod(0o777)
    with pytest.raises(PermissionError, match="anyone can replace"):
        cache.Store(tmp_path / "programs")


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
def test_a_directory_of_another_user_is_refused(tmp_path, monkeypatch):
    owner = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: owner + 1)
    with pytest.raises(PermissionError, match=f"belongs to user {owner}, not {owner + 1}"):
        cache.Store(tmp_path)


def test_a_refused_directory_is_warned_of_once_and_nothing_fails(tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.write_text("")
    monkeypatch.setattr(dynjax.config, "cache_dir", file)
    with pytest.warns(RuntimeWarning, match="config.cache_dir can't be used: .*file") as caught:
        assert dynjax.full((3, 5), 2.0).cosh().sinh().shape == (3, 5)
        assert dynjax.full((3, 5), 0.0).cosh().sinh().sum().item() == pytest.approx(15 * 1.1752012)
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert dynjax.full((3, 7), 0.0).cosh().sinh().sum().item() == pytest.approx(21 * 1.1752012)


def test_the_setting_comes_before_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("DYNJAX_CACHE_DIR", str(tmp_path / "environment"))
    monkeypatch.setattr(dynjax.config, "cache_dir", tmp_path / "setting")
    assert cache._store().path.parent == tmp_path / "setting"
    monkeypatch.setattr(dynjax.config, "cache_dir", "")
    assert cache._store() is None
    monkeypatch.setattr(dynjax.config, "cache_dir", None)
    assert cache._store().path.parent == tmp_path / "environment"


def test_settings_are_ours_until_the_last_of_several_compiles(tmp_path, monkeypatch):
    monkeypatch.setattr(dynjax.config, "cache_dir", tmp_path / "programs")
    before = dict(jax.config.values)
    outer, inner = cache.persisting(), cache.persisting()
    outer.__enter__()
    inner.__enter__()
    outer.__exit__(None, None, None)  # as from another thread
    assert jax.config.jax_compilation_cache_dir.startswith(str(tmp_path))
    inner.__exit__(None, None, None)
    assert dict(jax.config.values) == before


def test_a_setting_that_the_user_changes_meanwhile_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(dynjax.config, "cache_dir", tmp_path / "programs")
    name = "jax_persistent_cache_min_compile_time_secs"
    before = getattr(jax.config, name)
    try:
        with cache.persisting():
            jax.config.update(name, 7.0)
        assert getattr(jax.config, name) == 7.0
    finally:
        jax.config.update(name, before)
