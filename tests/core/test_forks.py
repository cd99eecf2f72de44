"""What happens in processes that were forked after JAX had started, and in those that were not."""

import multiprocessing
import os

import numpy as np
import pytest

import dynjax as torch
from dynjax import nn

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork"),
    pytest.mark.filterwarnings("ignore:.*fork"),
]
SECONDS = 60


def trained(model, rows, step=None):
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)

    def one(x):
        optimizer.zero_grad()
        loss = model(x).square().mean()
        loss.backward()
        optimizer.step()
        return loss

    one = one if step is None else step(one)
    return [one(torch.ones(n, 4)).item() for n in rows]


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))


def _send(connection, work):
    try:
        connection.send(("done", work()))
    except BaseException as error:
        connection.send((type(error).__name__, str(error)))


def in_child(work, method="fork"):
    """What some work gives in a child process: ("done", result), or the error's name and text."""
    context = multiprocessing.get_context(method)
    ours, theirs = context.Pipe()
    child = context.Process(target=_send, args=(theirs, work))
    child.start()
    theirs.close()
    try:
        assert ours.poll(SECONDS), "the child hangs"
        return ours.recv()
    finally:
        child.kill()
        child.join()


def refused(answer):
    return answer[0] == "RuntimeError" and "'spawn' or 'forkserver'" in answer[1]


@pytest.mark.parametrize("step", [None, torch.compile])
def test_a_step_in_a_forked_process_is_refused(step):
    model, undisturbed = net(), net()
    assert trained(model, [5, 5, 5], step) == trained(undisturbed, [5, 5, 5], step)
    assert refused(in_child(lambda: trained(model, [5, 5], step)))
    assert refused(in_child(lambda: trained(model, [5, 31, 7], step)))
    assert trained(model, [5, 5], step) == trained(undisturbed, [5, 5], step)


def test_so_is_what_was_recorded_before_the_fork():
    pending = torch.ones(3).exp() * 2
    assert refused(in_child(pending.tolist))
    assert refused(in_child(lambda: (pending + 1).sum().item()))
    np.testing.assert_allclose(pending.numpy(), 2 * np.e, rtol=1e-6)


def test_so_is_inference_that_starts_early():
    model, x = net(), torch.ones(2, 4)
    with torch.no_grad():
        expected = [model(x).tolist() for _ in range(8)][-1]
        assert refused(in_child(lambda: model(x).tolist()))
        assert model(x).tolist() == expected


def test_a_refusal_leaves_what_was_recorded_as_it_is():
    model = net()
    trained(model, [3])

    def work():
        y = model(torch.ones(2, 4))
        for _ in range(2):
            with pytest.raises(RuntimeError, match="forked"):
                y.tolist()
        return tuple(y.shape), y.grad_fn is not None

    assert in_child(work) == ("done", ((2, 1), True))


def test_what_was_computed_before_the_fork_can_be_read_and_saved(tmp_path):
    model = net()
    trained(model, [3, 3])
    done = model[0].weight.tolist()
    file = tmp_path / "model.safetensors"

    def work():
        torch.save(model.state_dict(), file)
        return model[0].weight.tolist()

    assert in_child(work) == ("done", done)
    assert torch.load(file)["0.weight"].tolist() == done


def test_a_spawned_process_computes():
    assert in_child(_spawned, "spawn") == ("done", trained(net(), [5, 5]))


def _spawned():
    return trained(net(), [5, 5])
