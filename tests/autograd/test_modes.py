"""no_grad and its relatives, as contexts and as decorators."""

import pytest

import dynjax


def leaf():
    return dynjax.tensor([1.0, 2.0], requires_grad=True)


def test_no_grad_and_enable_grad_nest():
    x = leaf()
    with dynjax.no_grad():
        assert not (x * 2).requires_grad and not dynjax.is_grad_enabled()
        with dynjax.enable_grad():
            assert (x * 2).requires_grad
        assert not (x * 2).requires_grad
    assert (x * 2).requires_grad


def test_modes_end_with_an_exception():
    with pytest.raises(KeyError), dynjax.no_grad():
        raise KeyError
    assert dynjax.is_grad_enabled()


def test_a_mode_survives_a_flush():
    x = leaf()
    with dynjax.no_grad():
        (x * 2).sum().item()
        assert not (x * 2).requires_grad
    x.sum().item()
    assert (x * 2).requires_grad


def test_decorators_on_functions_and_generators():
    @dynjax.no_grad()
    def double(x):
        return x * 2

    @dynjax.no_grad
    def triple(x):
        return x * 3

    @dynjax.no_grad()
    def stream(x):
        yield x * 2
        yield x * 3

    x = leaf()
    assert not double(x).requires_grad and not triple(x).requires_grad
    for y in stream(x):
        assert not y.requires_grad
        assert (x * 2).requires_grad


def test_set_grad_enabled():
    x = leaf()
    dynjax.set_grad_enabled(False)
    try:
        assert not (x * 2).requires_grad
    finally:
        dynjax.set_grad_enabled(True)
    with dynjax.set_grad_enabled(False):
        assert not (x * 2).requires_grad
    assert (x * 2).requires_grad


def test_inference_mode():
    x = leaf()
    with dynjax.inference_mode():
        assert dynjax.is_inference_mode_enabled() and not (x * 2).requires_grad
    assert not dynjax.is_inference_mode_enabled()

    @dynjax.inference_mode()
    def f(x):
        return x * 2

    assert not f(x).requires_grad
