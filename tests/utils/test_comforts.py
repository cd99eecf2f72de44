"""Progress bars, TensorBoard's files, random states, determinism switches."""

import builtins
import importlib
import io
import sys

import pytest

import dynjax as torch
from dynjax.utils import progress
from dynjax.utils.data import DataLoader


@pytest.fixture
def nothing_installed(monkeypatch):
    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name.split(".")[0] in ("tqdm", "tensorboardX"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    monkeypatch.delitem(sys.modules, "dynjax.utils.tensorboard", raising=False)


def test_progress_counts_batches():
    pytest.importorskip("tqdm")
    bar = io.StringIO()
    loader = DataLoader(range(6), batch_size=2)
    assert [b.tolist() for b in progress(loader, "epoch 1", file=bar)] == [[0, 1], [2, 3], [4, 5]]
    assert "epoch 1: 100%" in bar.getvalue() and "3/3" in bar.getvalue()


def test_progress_says_what_to_install(nothing_installed):
    with pytest.raises(ImportError, match=r"pip install 'dynjax\[progress\]'"):
        progress([])


def test_tensorboard_says_what_to_install(nothing_installed):
    with pytest.raises(ImportError, match=r"pip install 'dynjax\[tensorboard\]'"):
        importlib.import_module("dynjax.utils.tensorboard")


def test_summary_writer_takes_tensors(tmp_path):
    pytest.importorskip("tensorboardX")
    from tensorboardX.proto.event_pb2 import Event

    from dynjax.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(tmp_path)) as writer:
        assert writer.log_dir == str(tmp_path)
        writer.add_scalar("loss", torch.tensor(0.25, requires_grad=True), 3)
        writer.add_scalars("pair", {"a": torch.tensor(1.0)}, 4)
        writer.add_histogram("weights", torch.arange(10.0), 5)
        with pytest.raises(NotImplementedError, match="dynjax.graph"):
            writer.add_graph(None)
    values = {}
    for file in tmp_path.rglob("events*"):
        data = file.read_bytes()
        while data:  # a length, its checksum, an event, its checksum
            size = int.from_bytes(data[:8], "little")
            event = Event.FromString(data[12 : 12 + size])
            data = data[12 + size + 4 :]
            values |= {value.tag: (event.step, value) for value in event.summary.value}
    step, loss = values["loss"]
    assert step == 3 and (loss.simple_value or loss.tensor.float_val[0]) == 0.25
    assert values["weights"][1].histo.num == 10


def test_rng_state_goes_back_and_forth():
    torch.manual_seed(1)
    state = torch.get_rng_state()
    assert state.dtype is torch.uint8
    first = torch.rand(3)
    torch.set_rng_state(state)
    assert torch.equal(torch.rand(3), first)
    with pytest.raises(RuntimeError, match="RNG state is wrong size"):
        torch.set_rng_state(torch.zeros(3, dtype=torch.uint8))


def test_fork_rng():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    with pytest.raises(ZeroDivisionError), torch.random.fork_rng():
        torch.rand(7)
        torch.manual_seed(5)
        1 / 0
    assert torch.random.initial_seed() == 1
    assert torch.equal(torch.rand(3), expected)
    with torch.random.fork_rng(enabled=False):
        torch.manual_seed(9)
    assert torch.initial_seed() == 9


@pytest.fixture
def mode_restored():
    yield
    torch.set_deterministic_debug_mode(0)


def test_determinism_switches(mode_restored):
    assert not torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    assert torch.are_deterministic_algorithms_enabled()
    assert torch.is_deterministic_algorithms_warn_only_enabled()
    assert torch.get_deterministic_debug_mode() == 1
    torch.set_deterministic_debug_mode("error")
    assert torch.get_deterministic_debug_mode() == 2
    assert not torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(False)
    assert torch.get_deterministic_debug_mode() == 0


def test_determinism_on_a_gpu_needs_a_flag_of_xla(mode_restored, monkeypatch):
    monkeypatch.setattr("jax.default_backend", lambda: "gpu")
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    with pytest.raises(RuntimeError, match="XLA_FLAGS=--xla_gpu_deterministic_ops=true"):
        torch.use_deterministic_algorithms(True)
    assert not torch.are_deterministic_algorithms_enabled()
    with pytest.warns(UserWarning, match="XLA_FLAGS"):
        torch.use_deterministic_algorithms(True, warn_only=True)
    monkeypatch.setenv("XLA_FLAGS", "--xla_gpu_deterministic_ops=true")
    torch.use_deterministic_algorithms(True)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: torch.use_deterministic_algorithms("x"), TypeError),
        (lambda: torch.set_deterministic_debug_mode("x"), RuntimeError),
        (lambda: torch.set_deterministic_debug_mode(7), RuntimeError),
        (lambda: torch.set_deterministic_debug_mode(1.5), TypeError),
    ],
)
def test_bad_switches(call, error):
    with pytest.raises(error):
        call()
