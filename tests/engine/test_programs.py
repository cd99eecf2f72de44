"""Compiled programs: their options, and their first run."""

import jax
import numpy as np

from dynjax.engine import programs
from dynjax.engine.programs import Program, first_run


def test_an_xla_that_does_not_know_all_options_is_given_fewer(monkeypatch):
    monkeypatch.setitem(programs._QUICK, "xla_no_such_option", True)
    assert programs._options_found() == {programs._LEVEL: 0}
    monkeypatch.setattr(programs, "_LEVEL", "xla_no_such_level")
    assert programs._options_found() is None


def test_what_is_taken_for_known_without_a_compile_is(monkeypatch):
    assert programs._known_options() == programs._options_found()
    monkeypatch.setattr(programs, "_ASKED", (0, 0))
    assert programs._known_options.__wrapped__() == programs._options_found()


def test_what_a_program_may_consume_is_copied_for_its_first_run_without_compiling():
    compiled = []
    program = Program(jax.jit(lambda x, y: (x + y, y * 2), donate_argnums=(0, 1)), (0, 1))
    given = [jax.device_put(np.full((7, n), 0.5, np.float32)) for n in (5, 1)]
    jax.monitoring.register_event_duration_secs_listener(
        listen := lambda event, seconds, **_: compiled.append(event)
    )
    results = first_run(program, given)
    jax.monitoring.unregister_event_duration_listener(listen)
    assert sum("backend_compile" in event for event in compiled) == 1
    assert [float(r.sum()) for r in results] == [35.0, 7.0]
    assert [float(g.sum()) for g in given] == [17.5, 3.5]
    assert program.seconds > 0
