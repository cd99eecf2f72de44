"""Devices: names, where JAX has them, the default one."""

import copy
import pickle
import subprocess
import sys
import threading
from types import SimpleNamespace

import jax
import pytest

import dynjax
from dynjax import backends, cuda
from dynjax.core import devices
from dynjax.core.devices import as_device, device, get_default_device, set_default_device


@pytest.fixture(autouse=True)
def as_before():
    yield
    set_default_device(None)
    devices.set_current_cuda_index(0)


@pytest.fixture
def two_gpus(monkeypatch):
    """A machine on which JAX sees two GPUs."""
    found = jax.local_devices
    gpus = [
        SimpleNamespace(
            platform="gpu",
            device_kind="Imagined 100",
            compute_capability="9.0",
            memory_stats=lambda: {"bytes_limit": 1000, "bytes_in_use": 10},
        )
        for _ in range(2)
    ]
    monkeypatch.setattr(
        jax, "local_devices", lambda *, backend=None: gpus if backend == "gpu" else found()
    )
    devices._resolve.cache_clear()
    yield gpus
    devices._resolve.cache_clear()


# --- names


@pytest.mark.parametrize(
    "made, text, shown",
    [
        (device("cpu"), "cpu", "device(type='cpu')"),
        (device("cuda"), "cuda", "device(type='cuda')"),
        (device("cuda:1"), "cuda:1", "device(type='cuda', index=1)"),
        (device("cuda", 1), "cuda:1", "device(type='cuda', index=1)"),
        (device(type="tpu", index=0), "tpu:0", "device(type='tpu', index=0)"),
    ],
)
def test_a_name_needs_no_such_device(made, text, shown):
    assert (str(made), repr(made)) == (text, shown)


def test_equal_names_are_one_device():
    assert device("cuda:1") is device("cuda", 1) is device(device("cuda:1"))
    assert device("cpu") != device("cpu:0")
    assert device("cpu") != "cpu"
    assert len({device("cpu"), device("cpu"), device("cuda")}) == 2
    for made in (device("cpu"), device("cuda:1")):
        assert copy.deepcopy(made) is made
        assert pickle.loads(pickle.dumps(made)) is made


def test_devices_do_not_change():
    with pytest.raises(AttributeError, match="attribute 'type' of 'dynjax.device' objects is not"):
        device("cpu").type = "cuda"


@pytest.mark.parametrize(
    "args, error, message",
    [
        (("foo",), RuntimeError, "^Expected one of cpu, cuda, .* start of device string: foo$"),
        (("CPU",), RuntimeError, "^Expected one of cpu"),
        (("",), RuntimeError, "^Device string must not be empty$"),
        (("cuda:-1",), RuntimeError, "^Invalid device string: 'cuda:-1'$"),
        (("cuda:01",), RuntimeError, "^Invalid device string: 'cuda:01'$"),
        (("cuda0",), RuntimeError, "^Invalid device string: 'cuda0'$"),
        (("cuda", -1), RuntimeError, "^Device index must not be negative$"),
        (("cpu:0", 1), RuntimeError, "^type .string. must not include an index because index"),
        (("cuda", "1"), TypeError, r"argument 'index' \(position 2\) must be int, not str$"),
        ((device("cpu"), 1), TypeError, r"argument 'type' \(position 1\) must be str"),
        ((1.5,), TypeError, r"invalid combination of arguments - got \(float\)"),
        ((), TypeError, r"invalid combination of arguments - got \(\)"),
    ],
)
def test_what_is_no_device(args, error, message):
    with pytest.raises(error, match=message):
        device(*args)


def test_naming_a_device_starts_no_backend():
    program = (
        "from dynjax.core.devices import *\n"
        "import jax\n"
        "jax.local_devices = jax.devices = None\n"
        "device('cuda:1'); device('tpu'); set_default_device('cuda'); as_device('cpu')\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


# --- what JAX has


def test_the_cpu():
    assert as_device("cpu") is as_device("cpu:0") is as_device(jax.devices("cpu")[0])
    assert device("cpu").jax == jax.devices("cpu")[0]


def test_devices_that_are_not_here():
    if cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(AssertionError, match="^Torch not compiled with CUDA enabled"):
        as_device("cuda")
    with pytest.raises(RuntimeError, match="Cannot access accelerator device when none is availab"):
        device(0)
    with pytest.raises(NotImplementedError, match="There is no device of type 'mps'"):
        as_device("mps")


def test_there_are_no_meta_tensors():
    with pytest.raises(NotImplementedError, match="no tensors on device 'meta'.*jax.eval_shape"):
        as_device("meta")


def test_several_cpus_are_told_apart():
    program = (
        "import jax\n"
        "from dynjax.core.devices import as_device, device\n"
        "print([str(as_device(d)) for d in jax.devices()], device('cpu:2').jax.id)\n"
        "try: as_device('cpu:3')\n"
        "except RuntimeError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"XLA_FLAGS": "--xla_force_host_platform_device_count=3", "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout == (
        "['cpu', 'cpu:1', 'cpu:2'] 2\nDevice cpu:3 does not exist: JAX has 3 of this type\n"
    ), done.stderr


def test_gpus_are_called_cuda(two_gpus):
    assert device(1) is as_device("cuda:1") is device("cuda:1")
    assert as_device("cuda") is device("cuda:0")
    assert device("cuda:1").jax is two_gpus[1]
    with pytest.raises(RuntimeError, match="^CUDA error: invalid device ordinal$"):
        as_device("cuda:2")


# --- the default


def test_the_default_is_the_cpu():
    assert get_default_device() is device("cpu")


def test_with_block():
    with device("cpu") as entered:
        assert entered is device("cpu")
        with device("cuda"), pytest.raises(AssertionError):
            get_default_device()
        assert get_default_device() is device("cpu")


def test_with_block_goes_before_the_default(two_gpus):
    set_default_device("cuda:1")
    assert get_default_device() is device("cuda:1")
    with device("cuda:0"):
        set_default_device("cpu")
        assert get_default_device() is device("cuda:0")
    assert get_default_device() is device("cpu")


def test_the_default_is_a_threads_own(two_gpus):
    set_default_device("cuda:1")
    seen = []
    thread = threading.Thread(target=lambda: seen.append(get_default_device()))
    thread.start()
    thread.join()
    assert seen == [device("cpu")]


def test_a_default_must_be_a_device():
    with pytest.raises(RuntimeError, match="device string: foo"):
        set_default_device("foo")
    assert get_default_device() is device("cpu")


# --- dynjax.cuda, dynjax.backends


def test_cuda_without_gpu():
    if cuda.is_available():
        pytest.skip("there is a GPU")
    assert cuda.device_count() == cuda.memory_allocated() == 0
    assert not cuda.is_bf16_supported()
    for ask in (cuda.current_device, cuda.synchronize, cuda.get_device_name, cuda.mem_get_info):
        with pytest.raises(AssertionError, match="^Torch not compiled with CUDA enabled"):
            ask()


def test_cpu_answers_as_a_device_does():
    cpu = dynjax.cpu
    assert cpu.is_available() and cpu.is_initialized() and cpu.device_count() == 1
    cpu.set_device("cpu")
    x = dynjax.ones(2) + 1
    cpu.synchronize()
    assert cpu.current_device() == "cpu" and x.tolist() == [2, 2]


def test_cuda_with_gpus(two_gpus):
    assert cuda.is_available() and cuda.device_count() == 2
    assert cuda.get_device_name(1) == "Imagined 100"
    assert cuda.get_device_capability() == (9, 0)
    assert cuda.mem_get_info("cuda:1") == (990, 1000)
    with pytest.raises(ValueError, match="^Expected a cuda device, but got: cpu$"):
        cuda.set_device("cpu")


def test_current_gpu(two_gpus):
    cuda.set_device(1)
    assert cuda.current_device() == 1
    assert as_device("cuda") is device("cuda:1")
    with cuda.device(0):
        assert as_device("cuda") is device("cuda:0")
    assert cuda.current_device() == 1


def test_backend_settings_can_be_set():
    assert not backends.mps.is_available()
    assert backends.cuda.is_built() == cuda.is_available()
    backends.cudnn.benchmark = True
    assert backends.cudnn.benchmark
    backends.cudnn.benchmark = False
