"""Checkpoints in several files, with an index that says which file has which tensor."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
from collections.abc import Mapping
from typing import Any

from ..tensor.tensor import Tensor
from .atomic import replacing
from .files import load
from .safetensors import SafetensorError, check_distinct, load_file, save_file

_UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
_MAX_INDEX = 100_000_000  # bytes


def save_sharded(
    tensors: Mapping[str, Tensor],
    folder: str | os.PathLike[str],
    max_shard_size: int | str = "5GB",
    name: str = "model",
    metadata: Mapping[str, Any] | None = None,
) -> str:
    """Write tensors to `model-00001-of-0000N.safetensors`, ... and `model.safetensors.index.json`.

    The index is replaced last, and until then the shards of an older one stay: whoever is killed,
    the index there is the old one or the new one, with all of its shards. Shards that replace
    others of the same name get names of their own.

    Args:
        tensors: by name; no two may share a storage.
        folder: made if it is not there.
        max_shard_size: bytes, or text as "5GB" or "200MiB"; a larger tensor is a shard alone.
        name: what file names begin with.
        metadata: goes to the index, `total_size` added.

    Returns:
        the path of the index.

    Raises:
        RuntimeError: tensors share a storage. SafetensorError: a type that the format does not
        have. ValueError: no valid size.
    """
    check_distinct(tensors)
    shards = _split(tensors, _bytes(max_shard_size))
    os.makedirs(folder, exist_ok=True)
    index = os.path.join(folder, f"{name}.safetensors.index.json")
    old = _shards_of(index, name)
    taken = set(os.listdir(folder))
    files = _names(name, len(shards))
    if taken & set(files):
        files = _names(f"{name}-{secrets.token_hex(4)}", len(shards))
    for file, shard in zip(files, shards, strict=True):
        save_file(
            {key: tensors[key] for key in shard}, os.path.join(folder, file), {"format": "pt"}
        )
    weights = {key: file for file, shard in zip(files, shards, strict=True) for key in shard}
    total = sum(tensor.nbytes for tensor in tensors.values())
    written = {
        "metadata": {**(metadata or {}), "total_size": total},
        "weight_map": dict(sorted(weights.items())),
    }
    with replacing(index) as file:
        file.write(json.dumps(written, indent=2).encode() + b"\n")
    for file in old - set(files):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(folder, file))
    return index


def load_sharded(path: str | os.PathLike[str], device: Any = "cpu") -> dict[str, Tensor]:
    """The tensors of a checkpoint in several files, by name.

    Args:
        path: an index (`*.index.json`), or a folder that has one. Shards are safetensors files, or
            files of PyTorch (`.bin`, `.pt`, `.pth`), beside it.
        device: where tensors go.

    Raises:
        ValueError: the index is damaged, names a file elsewhere, or a tensor that is not there.
        OSError: a file is missing. Else as `load` and `safetensors.load_file`.
    """
    index = _find(os.fspath(path))
    weights = _weight_map(index)
    found: dict[str, Tensor] = {}
    for file in sorted(set(weights.values())):
        shard = os.path.join(os.path.dirname(index), file)
        if file.endswith(".safetensors"):
            tensors = load_file(shard, device)
        else:
            tensors = load(shard, map_location=device)
        for name, of in weights.items():
            if of == file:
                if not isinstance(tensors, dict) or not isinstance(tensors.get(name), Tensor):
                    raise SafetensorError(f"{index}: {file} has no tensor {name!r}")
                found[name] = tensors[name]
    return {name: found[name] for name in weights}


def _find(path: str) -> str:
    if not os.path.isdir(path):
        return path
    found = sorted(file for file in os.listdir(path) if file.endswith(".index.json"))
    if len(found) != 1:
        raise FileNotFoundError(f"{path} has {len(found)} files *.index.json instead of 1: {found}")
    return os.path.join(path, found[0])


def _weight_map(index: str) -> dict[str, str]:
    """Which file has which tensor; a damaged index can't lead out of its folder."""
    with open(index, "rb") as file:
        data = file.read(_MAX_INDEX + 1)
    try:
        read = json.loads(data) if len(data) <= _MAX_INDEX else None
    except (ValueError, RecursionError) as error:
        raise SafetensorError(f"{index}: no valid JSON: {error}") from None
    weights = read.get("weight_map") if type(read) is dict else None
    if type(weights) is not dict:
        raise SafetensorError(f"{index} has no 'weight_map' from names to files")
    for name, file in weights.items():
        if type(file) is not str or not re.fullmatch(r"[^/\\\0]+", file) or file in (".", ".."):
            raise SafetensorError(f"{index}: tensor {name!r} is in {file!r}, which is no file name")
    return weights


def _shards_of(index: str, name: str) -> set[str]:
    """The shards that an older index of ours names, to be removed when it is replaced."""
    try:
        weights = _weight_map(index)
    except (OSError, ValueError):
        return set()
    ours = re.compile(rf"{re.escape(name)}(-[0-9a-f]{{8}})?-\d{{5}}-of-\d{{5}}\.safetensors")
    return {file for file in weights.values() if ours.fullmatch(file)}


def _names(stem: str, count: int) -> list[str]:
    return [f"{stem}-{k + 1:05}-of-{count:05}.safetensors" for k in range(count)]


def _split(tensors: Mapping[str, Tensor], limit: int) -> list[list[str]]:
    """Names in their order, in runs of at most `limit` bytes."""
    shards: list[list[str]] = [[]]
    size = 0
    for name, tensor in tensors.items():
        if shards[-1] and size + tensor.nbytes > limit:
            shards.append([])
            size = 0
        shards[-1].append(name)
        size += tensor.nbytes
    return shards


def _bytes(size: int | str) -> int:
    if type(size) is str:
        match = re.fullmatch(r"\s*(\d+)\s*([KMG]I?B)\s*", size.upper())
        if not match:
            raise ValueError(f"max_shard_size must be a number of bytes or as '5GB', not {size!r}")
        size = int(match[1]) * _UNITS[match[2]]
    if type(size) is not int or size <= 0:
        raise ValueError(f"max_shard_size must be a positive number of bytes, not {size!r}")
    return size


__all__ = ["load_sharded", "save_sharded"]
