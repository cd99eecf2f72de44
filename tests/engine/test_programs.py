"""Options of compiled programs."""

from dynjax.engine import programs


def test_an_xla_that_does_not_know_all_options_is_given_fewer(monkeypatch):
    monkeypatch.setitem(programs._QUICK, "xla_no_such_option", True)
    assert programs._known_options.__wrapped__() == {programs._LEVEL: 0}
    monkeypatch.setattr(programs, "_LEVEL", "xla_no_such_level")
    assert programs._known_options.__wrapped__() is None
