"""Files go between dynjax, PyTorch and the safetensors library, both ways, bit for bit."""

import collections
import io
import pickle
import random

import numpy as np
import pytest
import torch

import dynjax
from dynjax.core import dtypes
from dynjax.serialization import safetensors as ours

FORMATS = {"zip": True, "legacy": False}


def bits(tensor):
    """A tensor's type, shape and bytes, of either library."""
    if isinstance(tensor, torch.Tensor):
        plain = torch.empty(tensor.shape, dtype=tensor.dtype).copy_(tensor.detach())
        data = plain.reshape(-1).view(torch.uint8).numpy().tobytes()
    else:
        data = tensor.detach().numpy().tobytes()
    return (str(tensor.dtype).split(".")[1], tuple(tensor.shape), data)


def contents(x):
    """A state as plain data, of either library."""
    if isinstance(x, torch.Tensor | dynjax.Tensor):
        return (type(x).__name__, x.requires_grad, bits(x), contents(vars(x)))
    if isinstance(x, torch.dtype | dynjax.dtype | torch.device | dynjax.device):
        return str(x).replace("dynjax", "torch")
    if isinstance(x, dict):
        return (
            type(x).__name__,
            [(contents(k), contents(v)) for k, v in x.items()],
            contents(getattr(x, "_metadata", None)),
        )
    if isinstance(x, list | tuple):
        return (type(x).__name__, [contents(y) for y in x])
    return (type(x).__name__, x)


def every_type():
    draw = np.random.default_rng(0)
    made = {}
    for dtype in dtypes.ALL:
        raw = draw.integers(0, 2 if dtype is dtypes.bool_ else 256, 24 * dtype.itemsize, np.uint8)
        made[dtype.name] = torch.from_numpy(raw).view(getattr(torch, dtype.name)).view(2, 3, 4)
    return made


def state():
    base = torch.arange(24.0)
    noted = torch.ones(2)
    noted.note = "kept"
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.randn(5, 3)).sum().backward()
    optimizer.step()
    return {
        "types": every_type(),
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "parameters": list(model.parameters()),
        "views": [base, base.view(4, 6).t(), base[3:9:2], base.detach(), base.expand(2, 24)],
        "lazy": [torch.tensor([1 + 2j]).conj(), torch.tensor([1 + 2j]).conj().imag],
        "alone": torch.arange(10)[4:6],
        "empty": [torch.zeros(0), torch.zeros(2, 0, 3), torch.tensor(1.0)],
        "noted": noted,
        "plain": [None, True, 1, -(2**40), 2.5, "ä", b"\x00\xff", (1, 2j), {3}, torch.Size([1, 2])],
        "named": [torch.float16, torch.device("cpu"), torch.device("cuda", 1)],
        "containers": [collections.OrderedDict(a=1), collections.Counter("aab")],
    }


def check_there_and_back(theirs, zipped=True):
    """A state of PyTorch's is read here, and is the same when PyTorch reads what is written."""
    file = io.BytesIO()
    torch.save(theirs, file, _use_new_zipfile_serialization=zipped)
    file.seek(0)
    read = dynjax.load(file)
    assert contents(read) == contents(theirs)
    again = io.BytesIO()
    dynjax.save(read, again)
    again.seek(0)
    assert contents(torch.load(again, weights_only=True)) == contents(theirs)


@pytest.mark.parametrize("form", FORMATS)
def test_a_state_of_pytorch_is_read_and_goes_back(form):
    check_there_and_back(state(), FORMATS[form])


@pytest.mark.parametrize("form", FORMATS)
def test_sharing_is_the_same_on_both_sides(form):
    file = io.BytesIO()
    torch.save(state()["views"], file, _use_new_zipfile_serialization=FORMATS[form])
    file.seek(0)
    mine = dynjax.load(file)
    again = io.BytesIO()
    dynjax.save(mine, again)
    again.seek(0)
    theirs = torch.load(again, weights_only=True)
    assert len({t.untyped_storage().data_ptr() for t in theirs}) == 1
    for views in (mine, theirs):
        views[1][5, 3] = 100
        views[2].mul_(2)
    assert contents(mine) == contents(theirs)


def test_mapped_files_of_ours_in_pytorch(tmp_path):
    path = tmp_path / "state.pt"
    dynjax.save({"a": dynjax.arange(1000)}, path)
    assert torch.load(path, mmap=True, weights_only=True)["a"].sum() == 499500


def test_pytorchs_files_mapped(tmp_path):
    path = tmp_path / "state.pt"
    torch.save(every_type(), path)
    assert contents(dynjax.load(path, mmap=True)) == contents(every_type())


def test_a_file_without_checksums():
    before = torch.serialization.get_crc32_options()
    file = io.BytesIO()
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(every_type(), file)
    finally:
        torch.serialization.set_crc32_options(before)
    file.seek(0)
    assert contents(dynjax.load(file)) == contents(every_type())


@pytest.mark.parametrize(
    "made",
    [
        lambda: torch.zeros(2).to(torch.float8_e4m3fn),
        lambda: torch.zeros(2, dtype=torch.complex32),
        lambda: torch.eye(2).to_sparse(),
        lambda: torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8),
        lambda: torch.zeros(2, device="meta"),
        lambda: torch.nn.Linear(1, 1),
        lambda: np.ones(2),
        lambda: torch.float8_e5m2,
        lambda: torch.strided,
    ],
)
@pytest.mark.filterwarnings("ignore")  # PyTorch's own, of what it will not have any more
def test_what_has_no_place_here_is_refused(made):
    file = io.BytesIO()
    torch.save([made()], file)
    file.seek(0)
    with pytest.raises((pickle.UnpicklingError, RuntimeError)):
        dynjax.load(file)


@pytest.mark.parametrize("seed", range(3))
def test_random_strided_tensors(seed):
    draw = random.Random(seed)
    base = torch.arange(60.0)
    views = []
    for _ in range(12):
        size = [draw.randrange(0, 4) for _ in range(draw.randrange(4))]
        stride = [draw.randrange(0, 5) for _ in size]
        views.append(base.as_strided(size, stride, draw.randrange(12)))
    check_there_and_back(views)


@pytest.mark.parametrize(
    "data", [b"", b"PK\x03\x04", b"PK\x03\x04" + bytes(60)], ids=["empty", "start", "damaged"]
)
def test_errors_are_of_pytorchs_types(data):
    with pytest.raises(Exception) as theirs:
        torch.load(io.BytesIO(data))
    with pytest.raises(type(theirs.value)):
        dynjax.load(io.BytesIO(data))


def test_safetensors_both_ways(tmp_path):
    theirs = pytest.importorskip("safetensors.torch")
    made = {name: t for name, t in every_type().items() if name != "complex128"}
    made["empty"], made["scalar"] = torch.zeros(0, 3), torch.tensor(1.0)
    path = tmp_path / "a.safetensors"
    theirs.save_file(made, path, {"by": "them"})
    read = ours.load_file(path)
    assert {name: bits(t) for name, t in read.items()} == {n: bits(t) for n, t in made.items()}
    ours.save_file(read, path, {"by": "us"})
    back = theirs.load_file(path)
    assert {name: bits(t) for name, t in back.items()} == {n: bits(t) for n, t in made.items()}
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        assert file.metadata() == {"by": "us"}


@pytest.mark.parametrize("form", FORMATS)
def test_damaged_files_of_pytorch_end_in_a_state_or_a_clear_error(form):
    file = io.BytesIO()
    small = {"a": torch.arange(6.0), "b": torch.nn.Parameter(torch.ones(2)), "c": [1, "x"]}
    torch.save(small, file, _use_new_zipfile_serialization=FORMATS[form])
    data, draw = file.getvalue(), random.Random(0)
    cut = [data[:end] for end in range(0, len(data), 7)]
    flipped = []
    for _ in range(600):
        damaged = bytearray(data)
        damaged[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        flipped.append(bytes(damaged))
    for damaged in [*cut, *flipped]:
        try:
            dynjax.load(io.BytesIO(damaged))
        except (pickle.UnpicklingError, EOFError, RuntimeError):
            pass
        else:
            assert damaged not in cut
