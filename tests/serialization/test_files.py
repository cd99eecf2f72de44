"""`save` and `load` without PyTorch: what comes back, what is refused, what damage says."""

import collections
import errno
import io
import mmap
import pathlib
import pickle
import random
import resource
import struct
import sys
import zipfile

import jax
import numpy as np
import pytest

import dynjax
from dynjax import nn
from dynjax.core import dtypes
from dynjax.serialization import files, rebuild

from .archives import archive, program, tensor


def saved(state):
    file = io.BytesIO()
    dynjax.save(state, file)
    return file.getvalue()


def round_trip(state, **options):
    return dynjax.load(io.BytesIO(saved(state)), **options)


def load(data, **options):
    return dynjax.load(io.BytesIO(data), **options)


def floats(*values):
    return np.array(values, "<f4").tobytes()


# --- what comes back --------------------------------------------------------------------------

VALUES = [
    None, True, 0, -1, 255, 256, 65536, -(2**31), 2**40, -(2**70), 1.5, float("-inf"), "", "häß",
    "\ud800", b"", b"\x00\xff", bytearray(b"a"), 3 - 2j, [], [1, [2]], (), (1, (2, ())), {},
    {"a": {1: 2}, (1, "b"): None}, set(), {1, "a"}, collections.OrderedDict(b=1, a=[2]),
    collections.Counter("aab"), dynjax.Size([2, 3]), dynjax.bfloat16, dynjax.device("cpu"),
    dynjax.device("cuda:1"), list(range(1000)),
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_values_come_back(value):
    read = round_trip(value)
    assert read == value and type(read) is type(value)


def test_numbers_of_numpy_become_pythons():
    read = round_trip({"loss": np.float64(0.5), "step": np.int32(3), "done": np.bool_(True)})
    assert read == {"loss": 0.5, "step": 3, "done": True}
    assert list(map(type, read.values())) == [float, int, bool]


@pytest.mark.parametrize("dtype", dtypes.ALL, ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3)])
def test_tensors_of_every_type_come_back_bit_for_bit(dtype, shape):
    bits = np.random.default_rng(0).integers(0, 256, (*shape, dtype.itemsize), np.uint8)
    array = (bits % 2 if dtype is dtypes.bool_ else bits).view(dtype.np).reshape(shape)
    read = round_trip(dynjax.from_numpy(array))
    assert read.dtype is dtype and read.shape == shape
    assert read.numpy().tobytes() == array.tobytes()


def test_what_a_tensor_has_besides_values_comes_back():
    x = dynjax.ones(2, requires_grad=True)
    x.note = ["kept"]
    p = nn.Parameter(dynjax.ones(2), requires_grad=False)
    p.note = 1
    a, b, c = round_trip([x, p, (x * 2)])
    assert a.requires_grad and a.is_leaf and a.note == ["kept"]
    assert type(b) is nn.Parameter and not b.requires_grad and b.note == 1
    assert c.requires_grad and c.is_leaf


def test_module_and_optimizer_state_come_back_and_training_goes_on():
    def made():
        dynjax.manual_seed(0)
        model = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 1))
        return model, dynjax.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    def steps(model, optimizer, n):
        for _ in range(n):
            optimizer.zero_grad()
            model(x).square().mean().backward()
            optimizer.step()
        return model[1].weight.detach().numpy()

    x = dynjax.linspace(-1, 1, 15).view(5, 3)
    model, optimizer = made()
    steps(model, optimizer, 2)
    data = saved({"model": model.state_dict(), "optimizer": optimizer.state_dict()})
    expected = steps(model, optimizer, 2)
    model, optimizer = made()
    state = load(data)
    assert state["model"]._metadata == model.state_dict()._metadata
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    np.testing.assert_allclose(steps(model, optimizer, 2), expected, rtol=1e-6)


# --- sharing ----------------------------------------------------------------------------------


def test_tensors_that_share_a_storage_share_it_after_loading():
    base = dynjax.arange(24.0)
    state = [base, base.view(4, 6).t(), base[3:9:2], base.detach(), base]
    data = saved(state)
    assert len(data) < 24 * 4 + 1500  # one storage
    whole, turned, some, detached, again = load(data)
    assert again is whole and detached is not whole
    assert turned.tolist() == state[1].tolist() and some.tolist() == [3, 5, 7]
    turned[5, 3] = 100
    assert whole[23] == 100 and detached[23] == 100
    whole.zero_()
    assert turned.abs().sum() == 0 and some.abs().sum() == 0
    some.add_(1)
    assert whole.nonzero().flatten().tolist() == [3, 5, 7]
    assert whole._base is None and turned._base is None  # as PyTorch's


def test_tied_weights_stay_tied_through_a_state_dict():
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    model[1].weight = model[0].weight
    data = saved(model.state_dict())
    read = load(data)
    read["0.weight"].fill_(7)
    assert read["1.weight"].tolist() == [[7, 7], [7, 7]]


def test_a_view_alone_is_saved_alone():
    assert len(saved(dynjax.zeros(100_000)[:2])) < 2000


def test_views_that_are_no_strided_parts_are_saved_with_their_values():
    z = dynjax.tensor([1 + 2j, 3 - 4j])
    back = round_trip([z, z.conj(), z.real])
    assert back[1].tolist() == [1 - 2j, 3 + 4j] and back[2].tolist() == [1, 3]


def test_parts_of_a_storage_that_nobody_has_whole():
    base = dynjax.arange(10.0)
    a, b = round_trip((base[:6], base[4:]))
    a[4:].zero_()
    assert b.tolist() == [0, 0, 6, 7, 8, 9]


def test_expanded_elements_are_read_and_refuse_writes():
    data = archive(
        program(tensor((3, 2), (0, 1), numel=2), tensor((2,), (1,), numel=2)), [floats(1, 2)]
    )
    wide, narrow = load(data)
    assert wide.tolist() == [[1, 2]] * 3
    narrow.add_(1)
    assert wide.tolist() == [[2, 3]] * 3
    with pytest.raises(RuntimeError, match="single memory location"):
        wide.zero_()


def test_gradients_flow_to_loaded_tensors():
    w = round_trip(dynjax.tensor([2.0, 3.0], requires_grad=True))
    (w * w).sum().backward()
    assert w.grad.tolist() == [4, 6]


# --- places -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [str, pathlib.Path])
@pytest.mark.parametrize("mmap", [False, True])
def test_paths(tmp_path, kind, mmap):
    path = kind(tmp_path / "state.pt")
    state = {"a": dynjax.arange(1000.0), "b": dynjax.arange(1000.0)[::2]}
    dynjax.save(state, path)
    read = dynjax.load(path, mmap=mmap, weights_only=True)
    dynjax.save({"a": dynjax.zeros(3)}, path)  # what was read stays
    assert read["a"].sum() == 499500 and read["b"].sum() == 249500
    read["a"].mul_(2)
    assert read["a"].sum() == 999000


def mapping(tensor):
    """Whether a tensor's values lie in a mapped file."""
    holder = tensor.numpy()
    while isinstance(holder, np.ndarray):
        holder = holder.base
    return isinstance(holder.obj if isinstance(holder, memoryview) else holder, mmap.mmap)


def test_large_files_are_mapped_unless_asked_otherwise(tmp_path, monkeypatch):
    path = tmp_path / "state.pt"
    dynjax.save(dynjax.arange(100_000.0), path)
    assert not mapping(dynjax.load(path))
    monkeypatch.setattr(files, "MAPPED_FROM", 100_000)
    assert mapping(dynjax.load(path)) and mapping(dynjax.load(path, mmap=True))
    assert not mapping(dynjax.load(path, mmap=False))
    with open(path, "rb") as file:
        assert not mapping(dynjax.load(file))


def test_large_files_are_read_where_none_can_be_mapped(tmp_path, monkeypatch):
    def refused(*args, **options):
        raise OSError(errno.ENODEV, "No such device")

    path = tmp_path / "state.pt"
    dynjax.save(dynjax.arange(100_000.0), path)
    monkeypatch.setattr(files, "MAPPED_FROM", 100_000)
    monkeypatch.setattr(mmap, "mmap", refused)
    assert dynjax.load(path)[-1] == 99_999
    with pytest.raises(OSError, match="device"):
        dynjax.load(path, mmap=True)


@pytest.mark.parametrize("mmap", [False, True])
def test_damage_of_files_at_paths(tmp_path, mmap):
    """That of the pickle shows always, that of values where they are read into memory."""
    path, data = tmp_path / "state.pt", bytearray(saved({"a": dynjax.arange(100_000.0)}))

    def load_damaged(place):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        return dynjax.load(path, mmap=mmap)

    with pytest.raises(RuntimeError, match="checksum"):
        load_damaged(data.index(b"FloatStorage"))
    if not mmap:
        with pytest.raises(RuntimeError, match="checksum"):
            load_damaged(200_000)
    else:
        assert (load_damaged(200_000)["a"] != dynjax.arange(100_000.0)).sum() == 1


@pytest.mark.parametrize(
    "target", ["cpu", dynjax.device("cpu"), {"cuda:0": "cpu"}, lambda storage, location: storage]
)
def test_map_location(target):
    data = archive(program(tensor((2,), (1,), numel=2, location="cuda:0")), [floats(1, 2)])
    with pytest.raises(RuntimeError, match="cuda:0.*map_location"):
        load(data)
    (read,) = load(data, map_location=target)
    assert read.device.type == "cpu" and read.tolist() == [1, 2]


def test_map_location_is_asked_with_the_storage_and_its_place():
    asked = []
    round_trip(dynjax.ones(2, 3), map_location=lambda s, place: asked.append((s.tolist(), place)))
    assert asked == [([1.0] * 6, "cpu")]


def test_elements_of_the_other_byte_order():
    values = np.array([1, 2], ">f4").tobytes()
    (read,) = load(archive(program(tensor((2,), (1,), numel=2)), [values], byteorder=b"big"))
    assert read.tolist() == [1, 2]


def test_jax_uses_the_memory_that_the_file_was_read_into(tmp_path):
    path = tmp_path / "state.pt"
    dynjax.save(dynjax.zeros(4_000_000), path)
    read = dynjax.load(path)
    host = read.numpy()
    assert jax.device_put(host).unsafe_buffer_pointer() == host.ctypes.data


# --- what is refused --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "why"),
    [
        (nn.Linear(1, 1), "Linear.*state_dict"),
        ({"a": [lambda: 0]}, r"the state\['a'\]\[0\].*function"),
        (np.ones(2), "from_numpy"),
        (collections.defaultdict(list), "defaultdict"),
        (frozenset(), "frozenset"),
        (collections.namedtuple("P", "x")(1), "P is none of"),
    ],
)
def test_state_that_could_not_be_loaded_is_not_saved(state, why):
    with pytest.raises(TypeError, match=why):
        dynjax.save(state, io.BytesIO())


def test_arguments_that_are_refused(tmp_path):
    with pytest.raises(RuntimeError, match="Parent directory .* does not exist"):
        dynjax.save(1, tmp_path / "no" / "file")
    with pytest.raises(ValueError, match="protocol 2"):
        dynjax.save(1, io.BytesIO(), pickle_protocol=4)
    with pytest.raises(AttributeError, match="int"):
        dynjax.save(1, 5)
    with pytest.raises(FileNotFoundError):
        dynjax.load(tmp_path / "none")
    with pytest.raises(ValueError, match="path"):
        load(saved(1), mmap=True)
    with pytest.raises(RuntimeError, match="pickle_module"):
        load(saved(1), pickle_module=pickle)
    with pytest.raises(TypeError, match="'fix_imports'"):
        load(saved(1), fix_imports=True)
    with pytest.raises(AttributeError, match="seek"):
        dynjax.load(object())
    with pytest.raises(TypeError, match="map_location"):
        load(saved(1), map_location=1.5)


HUGE = 1 << 61
LIES = {
    "larger than its storage": tensor((3,), (1,), numel=2),
    "beyond its storage": tensor((2,), (1,), offset=1, numel=2),
    "strides beyond its storage": tensor((2, 2), (2, 1), numel=2),
    "absurd size": tensor((HUGE,), (1,), numel=2),
    "absurd sizes": tensor((HUGE, HUGE), (0, 0), numel=2),
    "a size that is no 64-bit number": tensor((1 << 70,), (0,), numel=2),
    "expanded to a terabyte": tensor((1 << 38,), (0,), numel=2),
    "negative size": tensor((-1,), (1,), numel=2),
    "negative stride": tensor((2,), (-1,), offset=1, numel=2),
    "negative offset": tensor((1,), (1,), offset=-1, numel=2),
    "negative storage": tensor((0,), (1,), numel=-2),
    "no elements and an absurd size": tensor((0, 2**61), (1, 1), numel=2),
    "no elements and absurd sizes": tensor((2**61, 0, 2**61), (1, 1, 1), numel=2),
    "strides that overflow": tensor((2, 2), (2**61, 2**61), numel=2),
    "a storage beyond all numbers": tensor((1,), (1,), numel=2**1900),
    "sizes and strides that differ": tensor((2,), (1, 1), numel=2),
    "65 dimensions": tensor((1,) * 65, (1,) * 65, numel=2),
    "absurd storage": tensor((1,), (1,), numel=HUGE),
    "storage larger than its record": tensor((1,), (1,), numel=3),
    "storage smaller than its record": tensor((1,), (1,), numel=1),
    "storage of two sizes": tensor((1,), (1,), numel=2) + tensor((1,), (1,), numel=1),
    "storage of two types": tensor((1,), (1,), numel=2)
    + tensor((1,), (1,), 0, 2, "0", "IntStorage"),
    "storage that is not there": tensor((2,), (1,), numel=2, key="9"),
    "storage elsewhere": tensor((2,), (1,), numel=2, key="../../etc/passwd"),
    "unknown storage": tensor((2,), (1,), numel=2, kind="EvilStorage"),
    "a type that is not there": tensor((2,), (1,), numel=2, kind="QInt8Storage"),
    "requires grad is no flag": tensor((2,), (1,), numel=2, flags=b"K\x05"),
    "integers that require grad": tensor((2,), (1,), 0, 2, "0", "IntStorage", flags=b"\x88"),
    "a storage by itself": b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000"
    b"X\x03\x00\x00\x00cpuK\x02tQ",
    "a class by itself": b"ctorch\nSize\n",
    "a reference to something else": b"(X\x06\x00\x00\x00moduleK\x01tQ",
    "attributes that hide methods": b"ccollections\nOrderedDict\n)R}X\x04\x00\x00\x00itemsNsb",
    "attributes that are special": b"ccollections\nOrderedDict\n)R}X\x09\x00\x00\x00__class__Nsb",
    "a parameter of nothing": b"ctorch._utils\n_rebuild_parameter\n(N\x88NtR",
    "a tensor of nothing": b"ctorch._utils\n_rebuild_tensor\n(NK\x00))tR",
    "a way to make tensors that is none": b"ctorch._tensor\n_rebuild_from_type_v2\n("
    b"ctorch\nSize\nctorch\nTensor\n)}tR",
    "a tensor of another class": b"ctorch._tensor\n_rebuild_from_type_v2\n("
    b"ctorch._utils\n_rebuild_tensor\nctorch\nSize\n)}tR",
}


def test_the_tensor_that_the_lies_are_about_is_read():
    (read,) = load(archive(program(tensor((2,), (1,), numel=2)), [floats(1, 2)]))
    assert read.tolist() == [1, 2]


@pytest.mark.parametrize("lie", LIES)
def test_lies_about_tensors_are_refused_before_they_cost_memory(lie):
    data = archive(program(LIES[lie]), [floats(1, 2)])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises((pickle.UnpicklingError, RuntimeError)):
        load(data)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB


def test_many_views_of_one_storage_are_added_up(monkeypatch):
    monkeypatch.setattr(rebuild, "MAX_EXPANSION", 1000)
    view = tensor((64,), (0,), numel=2)
    assert len(load(archive(program(*[view] * 3), [floats(1, 2)]))) == 3
    with pytest.raises(pickle.UnpicklingError, match="refused"):
        load(archive(program(*[view] * 4), [floats(1, 2)]))


def test_truth_values_are_zero_or_one():
    bad = archive(program(tensor((2,), (1,), numel=2, kind="BoolStorage")), [b"\x01\x02"])
    with pytest.raises(pickle.UnpicklingError, match="truth"):
        load(bad)


# --- damaged files ----------------------------------------------------------------------------

EXPECTED = (pickle.UnpicklingError, EOFError, RuntimeError)


def test_compressed_archives_are_refused():
    bomb = archive(program(), [bytes(1 << 20)], zipfile.ZIP_DEFLATED)
    with pytest.raises(RuntimeError, match="compressed"):
        load(bomb)


@pytest.mark.parametrize(
    ("names", "why"),
    [
        (["a/data.pkl", "a/data.pkl"], "several records of one name"),
        (["a/data.pkl", "a/data.pkl\0/b"], "several records of one name"),
        (["a/data.pkl", "b/data.pkl"], "2 records 'data.pkl'"),
        (["a/b/data.pkl"], "0 records"),
        (["../a/data.pkl"], "0 records"),
        (["a/archive.zip"], "0 records"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_archives_of_other_records_are_refused(names, why):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as file:
        for name in names:
            entry = zipfile.ZipInfo("placeholder")
            entry.filename = entry.orig_filename = name
            file.writestr(entry, archive(program()) if name.endswith(".zip") else program())
    with pytest.raises(RuntimeError, match=why):
        load(made.getvalue())


# Of the directory's end: what it counts, and where it says that the directory is.
ENDS = {"entries": (8, 2), "all entries": (10, 2), "size": (12, 4), "start": (16, 4)}
# Of an entry: its flags, form and sizes, lengths of what follows, its place.
ENTRY = {
    "flags": (8, 2), "form": (10, 2), "stored": (20, 4), "size": (24, 4), "name": (28, 2),
    "extra": (30, 2), "comment": (32, 2), "disk": (34, 2), "place": (42, 4),
}  # fmt: skip


@pytest.mark.parametrize("claim", [0, 1, 1 << 15, -1])
@pytest.mark.parametrize("field", [*ENDS, *ENTRY])
def test_lies_of_a_directory_are_refused_or_make_no_difference(field, claim):
    data = bytearray(archive(program(tensor((2,), (1,), numel=2)), [floats(1, 2)]))
    ends = field in ENDS
    place, size = ENDS[field] if ends else ENTRY[field]
    place += data.rindex(b"PK\x05\x06") if ends else data.index(b"PK\x01\x02")
    data[place : place + size] = (claim % (1 << 8 * size)).to_bytes(size, "little")
    try:
        (read,) = load(bytes(data))
    except EXPECTED:
        return
    assert read.tolist() == [1, 2]


@pytest.mark.parametrize(
    "lie", [(1 << 63, 46, 0, 0), (1, -1, 0, 0), (1, 46, -1, 0), (1, 46, 0, -1)]
)
def test_lies_of_large_directories_are_refused(lie):
    entries, size, start, place = (n % (1 << 64) for n in lie)
    data = archive(program())
    data = data[: data.rindex(b"PK\x05\x06")]
    data += struct.pack(
        "<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, entries, entries, size, start
    )
    data += struct.pack("<4sLQL", b"PK\x06\x07", 0, place, 1)
    data += struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 65535, 65535, 2**32 - 1, 2**32 - 1, 0)
    with pytest.raises(RuntimeError, match="zip archive"):
        load(data)


def test_records_that_share_bytes_are_refused():
    """A zip bomb needs no compression where many records are the same bytes."""
    data = bytearray(archive(program(), [bytes(1000), bytes(1000)]))
    first, second = data.find(b"archive/data/0"), data.rfind(b"archive/data/1")
    data[second - 4 : second] = (first - 30).to_bytes(4, "little")
    with pytest.raises(RuntimeError, match="lies in others"):
        load(bytes(data))


@pytest.mark.parametrize("inside", [b"FloatStorage", floats(5, 6, 7)])
def test_damage_shows_in_the_checksum(inside):
    data = bytearray(saved({"a": dynjax.arange(8.0)}))
    data[data.index(inside)] ^= 1
    with pytest.raises(RuntimeError, match="checksum"):
        load(bytes(data))


def test_damage_in_large_records_shows_too():
    data = bytearray(saved(dynjax.zeros(1_000_000)))
    data[2_000_000] ^= 1
    with pytest.raises(RuntimeError, match="checksum"):
        load(bytes(data))


def test_checksums_that_were_left_out_are_not_missed():
    data = saved({"a": dynjax.arange(8.0)})
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        for entry in file.infolist():
            data = data.replace(entry.CRC.to_bytes(4, "little"), bytes(4))
    assert load(data)["a"].tolist() == list(range(8))


@pytest.mark.parametrize(
    "data",
    [b"", b"P", b"PK\x03\x04", b"PK\x03\x04" + bytes(100), b"hello", b"\x80\x02N.", bytes(50)],
)
def test_files_that_are_something_else(data):
    with pytest.raises(EXPECTED):
        load(data)


def test_torchscript_is_refused():
    with pytest.raises(RuntimeError, match="TorchScript"):
        load(archive(program(), **{"constants.pkl": program()}))


def state():
    base = dynjax.arange(12.0)
    return {
        "w": nn.Parameter(base.clone()),
        "v": [base, base[2:8].view(2, 3)],
        "n": {"lr": 0.1, "k": (1, "x")},
    }


def test_files_that_are_cut_off_anywhere():
    data = saved(state())
    for end in [*range(0, len(data), 37), len(data) - 1]:
        with pytest.raises(EXPECTED):
            load(data[:end])


def contents(x):
    """A state as plain data, to compare."""
    if isinstance(x, dynjax.Tensor):
        return (type(x).__name__, x.dtype.name, x.tolist())
    if isinstance(x, dict):
        return {key: contents(value) for key, value in x.items()}
    return [contents(y) for y in x] if isinstance(x, list | tuple) else x


def test_flipped_bits_are_noticed_or_make_no_difference():
    data, draw = saved(state()), random.Random(0)
    expected = contents(state())
    refused = 0
    for _ in range(400):
        damaged = bytearray(data)
        damaged[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        try:
            read = contents(load(bytes(damaged)))
        except EXPECTED:
            refused += 1
        else:  # dates, padding and the like
            assert read == expected
    assert refused > 100


def test_flipped_bits_of_a_pickle_without_checksum_are_survived():
    """What an attacker writes has a right checksum: only the unpickler stands there."""
    with zipfile.ZipFile(io.BytesIO(saved(state()))) as file:
        code, *storages = (file.read(f"archive/{n}") for n in ("data.pkl", "data/0", "data/1"))
    draw = random.Random(1)
    for _ in range(1500):
        damaged = bytearray(code)
        for _ in range(draw.randrange(1, 4)):
            damaged[draw.randrange(len(code))] ^= 1 << draw.randrange(8)
        try:
            load(archive(bytes(damaged), storages))
        except EXPECTED:
            pass


def test_the_file_is_what_the_standard_library_reads():
    data = saved({"a": dynjax.arange(3.0), "b": dynjax.ones(5)})
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        assert file.testzip() is None
        assert file.read("archive/data/0") == floats(0, 1, 2)
        assert file.read("archive/byteorder") == sys.byteorder.encode()
    assert data.index(floats(0, 1, 2)) % 64 == data.index(floats(1, 1, 1, 1, 1)) % 64 == 0
    assert data == saved({"a": dynjax.arange(3.0), "b": dynjax.ones(5)})  # equal state, equal file
