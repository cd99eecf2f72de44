"""Every layer on PyTorch's own samples: text, state, values, gradients and errors are PyTorch's.

A layer's test runs each of `CHECKS`, which take an entry of PyTorch's database and raise
where the two differ. What differs and is known stands in `KNOWN`, with the reason; it fails as
soon as it no longer differs.
"""

import warnings

import numpy as np
import pytest

import dynjax
from dynjax.core.config import config

torch = pytest.importorskip("torch")

from tests.parity import moduleinfo  # noqa: E402
from tests.parity.known import KNOWN_MODULES as KNOWN  # noqa: E402
from tests.parity.moduleinfo import ENTRIES, LEFT_OUT, build, plain, quiet, short  # noqa: E402
from tests.parity.opinfo import compare, leaves_of  # noqa: E402


def text(info):
    """`repr`."""
    for sample in moduleinfo.samples(info, True):
        theirs, ours = build(info, sample)
        assert plain(repr(ours)) == plain(repr(theirs)), short(sample)


def state(info):
    """Keys, shapes and types of the state; a state of PyTorch's loads and comes back as it was."""
    for sample in moduleinfo.samples(info, True):
        theirs, ours = build(info, sample)
        wanted, got = theirs.state_dict(), ours.state_dict()
        lazy = {
            key
            for key, value in wanted.items()
            if isinstance(value, torch.nn.parameter.UninitializedTensorMixin)
        }
        assert list(got) == list(wanted), short(sample)
        assert dict(got._metadata) == dict(wanted._metadata), short(sample)
        assert [n for n, _ in ours.named_parameters()] == [n for n, _ in theirs.named_parameters()]
        if lazy:
            continue
        kinds = {key: (tuple(v.shape), str(v.dtype)[6:]) for key, v in wanted.items()}
        found = {key: (tuple(v.shape), str(v.dtype)[7:]) for key, v in got.items()}
        assert found == kinds, short(sample)
        loaded = ours.load_state_dict(moduleinfo.to_dynjax(dict(wanted)))
        assert str(loaded) == "<All keys matched successfully>"
        _same(ours.state_dict(), wanted, sample, "state")


def train(info):
    """Values, gradients of arguments and parameters, and state after a call in training."""
    _calls(info, True)


def evaluate(info):
    """The same in evaluation."""
    _calls(info, False)


def _calls(info, training):
    training = training or not info.train_and_eval_differ
    for sample in moduleinfo.samples(info, training):
        theirs, ours = build(info, sample, training)
        given = sample.forward_input
        args, kwargs = moduleinfo.to_dynjax((given.args, given.kwargs))
        with quiet():
            if hasattr(theirs, "has_uninitialized_params"):
                _materialise(theirs, given.args, given.kwargs, torch)
                _materialise(ours, args, kwargs, dynjax)
            state = moduleinfo.to_dynjax(dict(theirs.state_dict()))
            ours.load_state_dict(state)
            wanted, got = theirs(*given.args, **given.kwargs), ours(*args, **kwargs)
        _compare(got, wanted, sample, "result")
        _backward(wanted, got)
        groups = [leaves_of((given.args, given.kwargs), torch.Tensor), theirs.parameters()]
        found = [leaves_of((args, kwargs), dynjax.Tensor), ours.parameters()]
        for what, pair in zip(("argument", "parameter"), zip(groups, found, strict=True)):
            for k, (leaf, our_leaf) in enumerate(zip(*pair, strict=True)):
                if leaf.is_leaf:
                    _same_gradient(our_leaf, leaf, sample, f"gradient of {what} {k}")
        _same(ours.state_dict(), theirs.state_dict(), sample, "state after the call")


def _materialise(module, args, kwargs, lib):
    with lib.no_grad():
        module(*args, **kwargs)
    assert "Lazy" not in type(module).__name__


def _backward(wanted, got):
    """Backward from all results, weighted by numbers that tell elements apart."""
    total, our_total = 0, 0
    pairs = zip(leaves_of(got, dynjax.Tensor), leaves_of(wanted, torch.Tensor), strict=True)
    for result, theirs in pairs:
        if theirs.requires_grad:
            weights = torch.linspace(0.5, 1.5, theirs.numel(), dtype=theirs.dtype)
            weights = weights.reshape(theirs.shape)
            total = total + (theirs * weights).sum()
            our_total = our_total + (result * moduleinfo.to_dynjax(weights)).sum()
    if isinstance(total, torch.Tensor):
        total.backward()
        our_total.backward()


def _same_gradient(ours, theirs, sample, what):
    assert (ours.grad is None) == (theirs.grad is None), f"{what}: one is None, {short(sample)}"
    if theirs.grad is not None:
        _compare(ours.grad, theirs.grad, sample, what)
        theirs.grad = None


def _same(ours, theirs, sample, what):
    for key, value in theirs.items():
        _compare(ours[key], value, sample, f"{what}: {key}")


def _compare(got, wanted, sample, what):
    try:
        compare(got, wanted, what=what, rtol=2e-4, atol=2e-5)
    except AssertionError as error:
        raise AssertionError(f"{error}\n  on {short(sample)}") from error


def raises(info):
    """What PyTorch refuses is refused, with its type of exception."""
    problems = []
    for wanted, call, sample in moduleinfo.errors(info):
        try:
            call()
        except Exception as error:
            if type(error) is not type(wanted):
                problems.append(f"{error!r}\n  PyTorch's {wanted!r}\n  on {sample}")
        else:
            problems.append(f"accepts {sample}: {wanted!r}")
    assert not problems, "\n".join(problems)


CHECKS = (text, state, train, evaluate, raises)


@pytest.fixture(autouse=True)
def interpreted(monkeypatch):
    """Operation by operation: programs of single operations are shared by many samples."""
    monkeypatch.setattr(config, "policy", "interpret")


@pytest.mark.parametrize("name", ENTRIES)
def test_module(name):
    problems = []
    for check in CHECKS:
        if check is evaluate and not ENTRIES[name].train_and_eval_differ:
            continue
        known = KNOWN.get((name, check.__name__))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                check(ENTRIES[name])
        except Exception as error:
            if known is None:
                problems.append(f"{check.__name__}: {type(error).__name__}: {error}")
        else:
            if known is not None:
                problems.append(f"{check.__name__} agrees now: remove it from KNOWN ({known})")
    assert not problems, "\n".join(problems)


def test_every_entry_is_compared_or_left_out_for_a_reason():
    assert [name for name, why in LEFT_OUT.items() if why is None] == []


def test_known_differences_exist():
    checks = {check.__name__ for check in CHECKS}
    assert all(name in ENTRIES and check in checks for name, check in KNOWN)


def test_random_layers_do_nothing_in_evaluation():
    """Random layers have no entry: in evaluation they return what they are given."""
    x = np.ones((2, 3, 4), np.float32)
    for name in ("Dropout", "Dropout1d", "AlphaDropout", "FeatureAlphaDropout", "RReLU"):
        theirs, ours = getattr(torch.nn, name)(), getattr(dynjax.nn, name)()
        assert repr(ours) == repr(theirs)
        wanted, got = theirs.eval()(torch.from_numpy(x)), ours.eval()(dynjax.from_numpy(x))
        np.testing.assert_array_equal(got.numpy(), wanted.numpy())
