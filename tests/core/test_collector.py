"""Work that the garbage collector does not interrupt."""

import gc

import pytest

from dynjax.core.collector import Unhurried


def test_the_collector_is_off_inside_and_on_again_after_whatever_happens():
    with pytest.raises(KeyError), Unhurried():
        assert not gc.isenabled()
        with Unhurried():
            pass
        assert not gc.isenabled()
        raise KeyError
    assert gc.isenabled()


def test_one_that_was_off_stays_off():
    gc.disable()
    try:
        with Unhurried():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
