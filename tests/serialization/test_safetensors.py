"""safetensors files: what they hold, what is refused; sharded ones."""

import json
import os
import pathlib
import random

import numpy as np
import pytest

import dynjax
from dynjax.core import dtypes
from dynjax.serialization import load_sharded, save_sharded
from dynjax.serialization import safetensors as st

NOT_THERE = {dtypes.complex128}


def state():
    return {
        "w": dynjax.arange(6.0).view(2, 3),
        "half": dynjax.tensor([1.5, -2.0]).to(dynjax.bfloat16),
        "n": dynjax.tensor(7),
        "none": dynjax.zeros(0, 3),
        "flags": dynjax.tensor([True, False, True]),
    }


def contents(tensors):
    return {k: (t.dtype.name, tuple(t.shape), t.tolist()) for k, t in tensors.items()}


def file_of(table, data=b""):
    text = table if isinstance(table, bytes) else json.dumps(table).encode()
    return len(text).to_bytes(8, "little") + text + data


def entry(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


@pytest.mark.parametrize(
    "dtype", [t for t in dtypes.ALL if t not in NOT_THERE], ids=lambda t: t.name
)
def test_tensors_of_every_type_come_back_bit_for_bit(dtype):
    bits = np.random.default_rng(0).integers(0, 256, (2, 3, dtype.itemsize), np.uint8)
    array = (bits % 2 if dtype is dtypes.bool_ else bits).view(dtype.np).reshape(2, 3)
    read = st.load(st.save({"a": dynjax.from_numpy(array)}))["a"]
    assert read.dtype is dtype and read.numpy().tobytes() == array.tobytes()


def test_the_format_by_hand():
    data = file_of(
        {"x": entry(), "__metadata__": {"by": "hand"}}, np.array([1, 2], "<f4").tobytes()
    )
    assert contents(st.load(data)) == {"x": ("float32", (2,), [1, 2])}


def test_files_come_back_with_their_metadata(tmp_path):
    path = tmp_path / "a.safetensors"
    st.save_file(state(), path, metadata={"format": "pt", "ä": "ö"})
    assert contents(st.load_file(path)) == contents(state())
    with st.safe_open(path, framework="pt") as file:
        assert file.metadata() == {"format": "pt", "ä": "ö"}
        assert file.keys() == sorted(state())
        assert file.offset_keys()[0] == "n"  # the widest type is first, so all are aligned
        assert file.get_tensor("w").tolist() == [[0, 1, 2], [3, 4, 5]]
        part = file.get_slice("w")
        assert (part.get_shape(), part.get_dtype()) == ([2, 3], "F32")
        assert part[:, 1].tolist() == [1, 4]
        with pytest.raises(st.SafetensorError, match="'v'"):
            file.get_tensor("v")


def test_what_was_read_is_the_mapped_file_until_written_to(tmp_path):
    path = tmp_path / "a.safetensors"
    st.save_file({"w": dynjax.ones(1000)}, path)
    w = st.load_file(path)["w"]
    host = w.numpy()
    assert not host.flags.owndata and host.ctypes.data % 64 == 0
    st.save_file({"w": dynjax.zeros(1000)}, path)
    w.add_(1)
    assert w.sum() == 2000 and host.sum() == 1000
    assert st.load_file(path)["w"].sum() == 0


def test_tensors_at_odd_places():
    raw = np.arange(3, dtype="<f8").tobytes()
    table = {"a": entry("U8", (1,), (0, 1)), "b": entry("F64", (3,), (1, 25))}
    assert st.load(file_of(table, b"\x07" + raw))["b"].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("tensors", "error", "why"),
    [
        ([1], ValueError, "dict"),
        ({"a": 1}, ValueError, "`a`.*int"),
        ({1: dynjax.ones(1)}, ValueError, "key 1"),
        ({"z": dynjax.ones(1, dtype=dynjax.complex128)}, st.SafetensorError, "'z'.*complex128"),
        ({"__metadata__": dynjax.ones(1)}, st.SafetensorError, "__metadata__"),
    ],
)
def test_tensors_that_cannot_be_written(tensors, error, why):
    with pytest.raises(error, match=why):
        st.save(tensors)


def test_tensors_that_share_a_storage_are_refused():
    x = dynjax.ones(4)
    with pytest.raises(RuntimeError, match=r"share memory: \[\['a', 'b'\]\]"):
        st.save({"a": x, "b": x[:2], "c": dynjax.ones(1)})
    with pytest.raises(RuntimeError, match="share memory"):
        st.save({"a": x, "b": x})
    with pytest.raises(TypeError, match="metadata"):
        st.save({}, metadata={"a": 1})


DAMAGED = {
    "nothing": b"",
    "no table": bytes(7),
    "table cut off": (100).to_bytes(8, "little") + b"{}",
    "absurd table": b"\xff" * 8 + b"{}",
    "no JSON": file_of(b"{'a'}"),
    "no object": file_of(b"[]"),
    "no text": file_of(b'{"\xff": 1}'),
    "deep": file_of(b'{"a":' + b"[" * 100_000),
    "a name twice": file_of(b'{"a": 1, "a": 2}'),
    "an entry that is none": file_of({"a": 5}),
    "an entry with more": file_of({"a": {**entry(), "x": 1}}, bytes(8)),
    "unknown type": file_of({"a": entry("F8_E4M3", (8,))}, bytes(8)),
    "type is no text": file_of({"a": entry([], (8,))}, bytes(8)),
    "shape and bytes differ": file_of({"a": entry(shape=(3,))}, bytes(8)),
    "negative shape": file_of({"a": entry(shape=(-1, -2))}, bytes(8)),
    "shape of fractions": file_of({"a": entry(shape=(2.0,))}, bytes(8)),
    "shape of truth": file_of({"a": entry(shape=(2, True))}, bytes(8)),
    "absurd shape": file_of({"a": entry(shape=(1 << 61, 8))}, bytes(8)),
    "absurd shape of nothing": file_of({"a": entry(shape=(0, 1 << 61), offsets=(0, 0))}),
    "type of many parts": file_of(
        b'{"a":{"dtype":' + b"[" * 900 + b"]" * 900 + b',"shape":[],"data_offsets":[0,4]}}',
        bytes(4),
    ),
    "65 dimensions": file_of({"a": entry(shape=(2, *[1] * 64))}, bytes(8)),
    "beyond the file": file_of({"a": entry(shape=(4,), offsets=(0, 16))}, bytes(8)),
    "backwards": file_of({"a": entry(shape=(0,), offsets=(8, 0))}, bytes(8)),
    "a hole": file_of({"a": entry(offsets=(4, 12))}, bytes(12)),
    "an overlap": file_of({"a": entry(), "b": entry(offsets=(4, 12))}, bytes(12)),
    "more bytes": file_of({"a": entry()}, bytes(9)),
    "metadata of numbers": file_of({"__metadata__": {"a": 1}}),
    "metadata that are none": file_of({"__metadata__": [1]}),
    "truth values": file_of({"a": entry("BOOL", (2,), (0, 2))}, b"\x01\x02"),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_damaged_files_are_refused(damage, tmp_path):
    with pytest.raises(st.SafetensorError, match="no valid safetensors"):
        st.load(DAMAGED[damage])
    path = tmp_path / "a.safetensors"
    path.write_bytes(DAMAGED[damage])
    with pytest.raises(st.SafetensorError, match="a.safetensors"):
        st.load_file(path)


def test_flipped_bits_end_in_tensors_or_a_clear_error():
    data, draw = st.save(state()), random.Random(0)
    for _ in range(2000):
        damaged = bytearray(data)
        damaged[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        try:
            st.load(bytes(damaged))
        except st.SafetensorError:
            pass


# --- sharded ----------------------------------------------------------------------------------


def shards(folder):
    return sorted(file for file in os.listdir(folder) if file.endswith(".safetensors"))


def test_a_sharded_checkpoint_comes_back(tmp_path):
    index = save_sharded(state(), tmp_path / "new", max_shard_size=24)
    written = json.loads(pathlib.Path(index).read_text())
    assert written["metadata"]["total_size"] == sum(t.nbytes for t in state().values())
    assert set(written["weight_map"].values()) == set(shards(tmp_path / "new"))
    assert shards(tmp_path / "new")[0] == "model-00001-of-00002.safetensors"
    for path in (index, tmp_path / "new"):
        assert contents(load_sharded(path)) == contents(dict(sorted(state().items())))


def test_replacing_a_sharded_checkpoint_leaves_no_old_shards(tmp_path):
    save_sharded(state(), tmp_path, max_shard_size=8)
    before = shards(tmp_path)
    changed = {name: tensor * 2 for name, tensor in state().items() if name != "flags"}
    save_sharded(changed, tmp_path, max_shard_size=8)
    assert contents(load_sharded(tmp_path)) == contents(dict(sorted(changed.items())))
    assert len(shards(tmp_path)) == len(set(shards(tmp_path)) - set(before)) > 1


def test_shards_of_pytorch(tmp_path):
    dynjax.save({"a": dynjax.ones(2)}, tmp_path / "pytorch_model-00001-of-00001.bin")
    index = tmp_path / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "pytorch_model-00001-of-00001.bin"}}))
    assert load_sharded(tmp_path)["a"].tolist() == [1, 1]


@pytest.mark.parametrize(
    ("index", "why"),
    [
        ("{", "JSON"),
        ("[]", "weight_map"),
        ('{"weight_map": [1]}', "weight_map"),
        ('{"weight_map": {"a": "../model.safetensors"}}', "no file name"),
        ('{"weight_map": {"a": "/etc/passwd"}}', "no file name"),
        ('{"weight_map": {"a": ".."}}', "no file name"),
        ('{"weight_map": {"a": 5}}', "no file name"),
        ('{"weight_map": {"missing": "model.safetensors"}}', "no tensor 'missing'"),
    ],
)
def test_damaged_indexes_are_refused(index, why, tmp_path):
    st.save_file({"a": dynjax.ones(1)}, tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text(index)
    with pytest.raises(st.SafetensorError, match=why):
        load_sharded(tmp_path)


def test_sizes_and_folders_that_are_refused(tmp_path):
    for size in (0, -1, "5", "many GB", 1.5):
        with pytest.raises(ValueError, match="max_shard_size"):
            save_sharded(state(), tmp_path, max_shard_size=size)
    with pytest.raises(FileNotFoundError, match="0 files"):
        load_sharded(tmp_path)
    assert shards(save_sharded(state(), tmp_path, "1 KiB") and tmp_path) == [
        "model-00001-of-00001.safetensors"
    ]
