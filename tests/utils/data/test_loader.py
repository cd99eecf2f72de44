"""DataLoader: batches in this process and by workers, options, and how it fails."""

import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

import dynjax as torch
from dynjax.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    SequentialSampler,
    TensorDataset,
    get_worker_info,
)

ROOT = Path(__file__).parents[3]


class Rows(Dataset):
    """Row i is full of i; what is not asked for does not happen."""

    def __init__(self, n=10, width=3, fails_at=None, seconds=0.0):
        self.n, self.width, self.fails_at, self.seconds = n, width, fails_at, seconds

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        time.sleep(self.seconds)
        if index == self.fails_at:
            raise KeyError(f"no row {index}")
        return np.full(self.width, index, np.float32), index


class Facts(Dataset):
    """What a worker knows of itself, and its random numbers."""

    def __len__(self):
        return 4

    def __getitem__(self, index):
        info = get_worker_info()
        import random

        drawn = [random.random(), float(np.random.rand()), torch.rand(1).item()]
        return {"id": info.id, "of": info.num_workers, "seed": info.seed, "drawn": drawn,
                "same": info.dataset is self, "mark": getattr(self, "mark", -1),
                "pid": os.getpid()}  # fmt: skip


class Light(Dataset):
    """Whether JAX is in this process: before and after a tensor is made, where asked for."""

    def __init__(self, makes_tensor=False):
        self.makes_tensor = makes_tensor

    def __len__(self):
        return 2

    def __getitem__(self, index):
        before = "jax" in sys.modules
        value = torch.full((2,), index).sum().item() if self.makes_tensor else index * 2
        return {"before": before, "after": "jax" in sys.modules, "value": np.int64(value)}


class Count(IterableDataset):
    """A stream that is shared out among workers, unevenly."""

    def __init__(self, n):
        self.n = n

    def __iter__(self):
        info = get_worker_info()
        if info is None:
            return iter(range(self.n))
        return iter(range(self.n)[: self.n // 4] if info.id else range(self.n)[self.n // 4 :])


class Dies(Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, index):
        if index == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        return index


class BadError(Exception):
    def __init__(self, a, b):
        super().__init__(a, b)


class Odd(Dataset):
    def __init__(self, what):
        self.what = what

    def __len__(self):
        return 1

    def __getitem__(self, index):
        if self.what == "error with two arguments":
            raise BadError(1, 2)
        if self.what == "batch that can't be pickled":
            return lambda: 0
        w = torch.ones(2, requires_grad=True)
        return w * 2


def mark(worker):
    get_worker_info().dataset.mark = 10 + worker


def fail(worker):
    raise ValueError(f"worker {worker} can't begin")


def as_they_are(batch):
    return batch


def labels(loader):
    return [batch[1].tolist() for batch in loader]


@pytest.fixture(autouse=True)
def nothing_is_left():
    """Neither processes nor open files, in which batches lie."""
    open_files = Path("/proc/self/fd")
    before = len(list(open_files.iterdir())) if open_files.exists() else 0
    yield
    gc.collect()
    assert not multiprocessing.active_children()
    if open_files.exists():
        # multiprocessing's own tracker has some, from the first worker on
        assert len(list(open_files.iterdir())) <= before + 4


# --- in this process --------------------------------------------------------------------------


def test_batches_and_lengths():
    loader = DataLoader(Rows(), batch_size=4)
    assert len(loader) == 3 and labels(loader) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert labels(DataLoader(Rows(), batch_size=4, drop_last=True)) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    rows, _ = next(iter(loader))
    assert rows.shape == (4, 3) and rows.dtype is torch.float32 and rows[2, 0] == 2


def test_without_batches():
    loader = DataLoader(Rows(2), batch_size=None)
    assert [(row.tolist(), i) for row, i in loader] == [([0.0] * 3, 0), ([1.0] * 3, 1)]


def test_samplers():
    assert labels(DataLoader(Rows(), sampler=[3, 1], batch_size=2)) == [[3, 1]]
    assert labels(DataLoader(Rows(), batch_sampler=[[1], [2, 3]])) == [[1], [2, 3]]
    batches = BatchSampler(SequentialSampler(range(3)), 2, True)
    assert labels(DataLoader(Rows(), batch_sampler=batches)) == [[0, 1]]


def test_shuffle_repeats_with_its_generator():
    def order(seed):
        generator = torch.Generator().manual_seed(seed)
        loader = DataLoader(Rows(20), 5, shuffle=True, generator=generator)
        return [labels(loader), labels(loader)]

    assert order(1) == order(1) != order(2)
    first, second = order(1)
    assert first != second and sorted(sum(first, [])) == sorted(sum(second, [])) == list(range(20))


def test_streams():
    loader = DataLoader(Count(5), batch_size=2)
    assert [batch.tolist() for batch in loader] == [[0, 1], [2, 3], [4]]
    assert [b.tolist() for b in DataLoader(Count(5), 2, drop_last=True)] == [[0, 1], [2, 3]]
    with pytest.raises(TypeError, match="has no len"):
        len(loader)


def test_a_stream_longer_than_it_says():
    class Short(Count):
        def __len__(self):
            return 1

    loader = DataLoader(Short(2), batch_size=None)
    assert len(loader) == 1
    with pytest.warns(UserWarning, match="was reported to be 1.*but 2 samples have been fetched"):
        list(loader)


BAD = [
    ({"num_workers": -1}, ValueError, "num_workers option should be non-negative"),
    ({"timeout": -1}, ValueError, "timeout option should be non-negative"),
    ({"prefetch_factor": 2}, ValueError, "prefetch_factor option could only be specified"),
    ({"num_workers": 1, "prefetch_factor": -1}, ValueError, "should be non-negative"),
    ({"persistent_workers": True}, ValueError, "needs num_workers > 0"),
    ({"shuffle": True, "sampler": [0]}, ValueError, "mutually exclusive with shuffle"),
    ({"batch_sampler": [[0]], "batch_size": 2}, ValueError, "mutually exclusive with batch_size"),
    ({"batch_size": None, "drop_last": True}, ValueError, "disables auto-batching"),
    ({"batch_size": 0}, ValueError, "batch_size=0"),
    ({"multiprocessing_context": "spawn"}, ValueError, "can only be used with multi-process"),
    ({"num_workers": 1, "multiprocessing_context": "x"}, ValueError, "valid start method in"),
    ({"num_workers": 1, "multiprocessing_context": 3}, TypeError, "valid context object"),
]


@pytest.mark.parametrize(("options", "error", "text"), BAD, ids=[str(bad[0]) for bad in BAD])
def test_bad_options(options, error, text):
    with pytest.raises(error, match=text):
        DataLoader(Rows(), **options)


@pytest.mark.parametrize("option", [{"shuffle": True}, {"sampler": [0]}, {"batch_sampler": [[0]]}])
def test_streams_have_no_keys(option):
    (name,) = option
    with pytest.raises(ValueError, match=f"expected unspecified {name} option"):
        DataLoader(Count(3), **option)


def test_some_attributes_are_fixed():
    loader = DataLoader(Rows())
    with pytest.raises(ValueError, match="batch_size attribute should not be set after DataLoader"):
        loader.batch_size = 2
    loader.timeout = 0


def test_more_workers_than_cpus_are_warned_of(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0}, raising=False)
    with pytest.warns(UserWarning, match="will create 3 worker processes.*suggested max.* is 1"):
        DataLoader(Rows(), num_workers=3)


# --- workers ----------------------------------------------------------------------------------

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")


def test_workers_give_what_one_process_gives_in_order():
    rows = Rows(9, width=2000)  # large enough for shared memory, and not
    for dataset in (rows, TensorDataset(torch.arange(9.0), torch.arange(9))):
        alone = list(DataLoader(dataset, batch_size=2))
        together = list(DataLoader(dataset, batch_size=2, num_workers=2))
        assert len(alone) == len(together) == 5
        for a, b in zip(alone, together):
            assert torch.equal(a[0], b[0]) and torch.equal(a[1], b[1])
            assert a[0].dtype is b[0].dtype and a[1].dtype is b[1].dtype


def test_tensors_from_workers_can_be_computed_with_and_changed():
    (rows, _), *_ = DataLoader(Rows(2, width=5000), batch_size=2, num_workers=1)
    rows += 1
    gc.collect()
    assert rows.sum().item() == 5000 * (1 + 2)


@pytest.mark.parametrize("collate_fn", [None, as_they_are])
def test_workers_without_jax_until_a_tensor_is_made(collate_fn):
    for makes_tensor in (False, True):
        loader = DataLoader(Light(makes_tensor), None, num_workers=1, collate_fn=collate_fn)
        (first, second) = list(loader)
        assert [int(first["value"]), int(second["value"])] == [0, 2]
        assert (first["before"], first["after"], second["after"]) == (
            False,
            makes_tensor,
            makes_tensor,
        )


def test_workers_know_who_they_are_and_draw_different_numbers():
    def facts():
        generator = torch.Generator().manual_seed(5)
        options = {"worker_init_fn": mark, "generator": generator}
        return list(DataLoader(Facts(), None, num_workers=2, **options))

    first, again = facts(), facts()
    assert [fact["id"] for fact in first] == [0, 1, 0, 1]
    assert {fact["of"] for fact in first} == {2} and all(fact["same"] for fact in first)
    assert [fact["mark"] for fact in first] == [10, 11, 10, 11]
    assert first[1]["seed"] == first[0]["seed"] + 1
    for a, b in zip(first[0]["drawn"], first[1]["drawn"]):
        assert a != b
    assert [fact["drawn"] for fact in first] == [fact["drawn"] for fact in again]
    assert os.getpid() not in {fact["pid"] for fact in first}


def test_persistent_workers_live_on():
    loader = DataLoader(Facts(), None, num_workers=2, persistent_workers=True)
    passes = [[fact["pid"] for fact in loader] for _ in range(2)]
    assert passes[0] == passes[1]
    iterator = iter(loader)
    next(iterator)  # the rest of this pass is dropped
    assert len(list(loader)) == 4


def test_streams_of_workers_end_when_the_last_one_does():
    for in_order in (True, False):
        loader = DataLoader(Count(12), 2, num_workers=2, in_order=in_order)
        batches = [batch.tolist() for batch in loader]
        assert sorted(sum(batches, [])) == list(range(12))
        if in_order:  # worker 0 has 3 to 11, worker 1 has 0 to 2
            assert batches == [[3, 4], [0, 1], [5, 6], [2], [7, 8], [9, 10], [11]]


def test_an_exception_of_a_worker_is_raised_here_with_its_traceback():
    iterator = iter(DataLoader(Rows(6, fails_at=2), batch_size=2, num_workers=2))
    assert next(iterator)[1].tolist() == [0, 1]
    with pytest.raises(KeyError) as caught:
        next(iterator)
    text = str(caught.value)
    assert text.startswith("Caught KeyError in DataLoader worker process 1.\nOriginal Traceback")
    assert "in __getitem__" in text and "no row 2" in text
    assert next(iterator)[1].tolist() == [4, 5]  # the pass goes on


@pytest.mark.parametrize(
    ("what", "error", "text"),
    [
        ("error with two arguments", RuntimeError, "Caught BadError in DataLoader worker process"),
        ("batch that can't be pickled", (AttributeError, TypeError, Exception), "lambda"),
        ("tensor with a tape", RuntimeError, "Cowardly refusing to serialize non-leaf tensor"),
    ],
)
def test_other_failures_of_a_worker(what, error, text):
    with pytest.raises(error, match=text):
        list(DataLoader(Odd(what), collate_fn=as_they_are, num_workers=1))


def test_a_worker_that_can_not_begin():
    with pytest.raises(ValueError, match="Caught ValueError in DataLoader worker process 0"):
        list(DataLoader(Rows(), num_workers=1, worker_init_fn=fail))


def test_what_can_not_be_pickled_is_said_at_once():
    with pytest.raises(Exception, match="lambda"):
        iter(DataLoader(Rows(), num_workers=1, collate_fn=lambda batch: batch))


def test_a_killed_worker_is_noticed():
    with pytest.raises(RuntimeError, match=r"DataLoader worker \(pid\(s\) \d+\) exited unexp") as e:
        list(DataLoader(Dies(), num_workers=2))
    assert "is killed by signal: Killed" in str(e.value.__cause__)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork")
def test_a_forked_process_leaves_the_workers_alone():
    iterator = iter(DataLoader(Rows(), num_workers=1))
    next(iterator)
    child = os.fork()
    if not child:
        failed = []
        sys.unraisablehook = failed.append
        iterator = None
        gc.collect()
        os._exit(len(failed))
    assert os.waitpid(child, 0)[1] == 0
    assert len(list(iterator)) == 9


def test_timeout():
    begin = time.monotonic()
    loader = DataLoader(Rows(2, seconds=60), num_workers=1, timeout=0.5)
    with pytest.raises(RuntimeError, match="DataLoader timed out after 0.5 seconds"):
        next(iter(loader))
    gc.collect()
    assert time.monotonic() - begin < 50  # the worker is not waited for


def run_script(tmp_path, source, **options):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(source))
    return subprocess.Popen(
        [sys.executable, "-W", "error", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        **options,
    )


def all_end(group):
    """Whether the processes of a group are gone within ten seconds."""
    for _ in range(100):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


SLOW = """
    import signal
    import time
    from dynjax.utils.data import DataLoader

    # A shell's background jobs, and what they start, ignore it.
    signal.signal(signal.SIGINT, signal.default_int_handler)

    class Slow:
        def __len__(self):
            return 1000
        def __getitem__(self, index):
            time.sleep(0.05)
            return index

    if __name__ == "__main__":
        for i, _ in enumerate(DataLoader(Slow(), num_workers=2)):
            if i == 2:
                print("running", flush=True)
"""


def test_interrupt_ends_everything_and_only_the_main_process_speaks(tmp_path):
    process = run_script(tmp_path, SLOW, start_new_session=True)
    assert process.stdout.readline() == "running\n"
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does it
    _, errors = process.communicate(timeout=60)
    assert errors.count("Traceback") == 1 and errors.rstrip().endswith("KeyboardInterrupt")
    assert all_end(process.pid)


def test_workers_end_when_the_main_process_is_killed(tmp_path):
    process = run_script(tmp_path, SLOW, start_new_session=True)
    assert process.stdout.readline() == "running\n"
    process.kill()
    process.communicate(timeout=60)
    assert all_end(process.pid)
