"""What runs once, one after another, as one part: a program less for each, to compile and to call.

The head of a model over a tree, its loss and their backwards run once for a whole batch of trees.
As one part they are compiled in a third of the time. Where what follows what varies from graph to
graph, there would be a part for each of them: so what once ran otherwise runs by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .parts import Part
from .units import Unit, the_one

_LONGEST = 64  # kernels of a part
_MOST_FORMS = 1024

_forms: dict[tuple, Part] = {}  # by what was joined, and how it is connected
_joined: set[Part] = set()  # what is within one of them
_apart: set[Part] = set()  # what ran by itself


def joined(uses: Sequence[tuple[Part, Unit]]) -> tuple[Part, Unit] | None:
    """Uses of parts, in an order in which they can run, as a use of one part.

    None where they had better run by themselves.
    """
    if len(uses) < 2 or sum([len(part.ops) for part, _ in uses]) > _LONGEST:
        _apart.update([part for part, _ in uses])
        return None
    made: dict[int, int] = {}  # results, by place
    for _, unit in uses:
        for r in unit.results:
            made[r] = len(made)
    inputs: dict[int, int] = {}
    floats: dict[int, int] = {}
    ints: dict[int, int] = {}
    form: list[Any] = []
    for part, unit in uses:
        form.append(part)
        for r in unit.inputs:
            form.append(-1 - made[r] if r in made else inputs.setdefault(r, len(inputs)))
        form += [floats.setdefault(j, len(floats)) for j in unit.floats]
        form += [ints.setdefault(j, len(ints)) for j in unit.ints]
    key = tuple(form)
    whole = _forms.get(key)
    if whole is None:
        parts = {part for part, _ in uses}
        if not (parts.isdisjoint(_joined) and parts.isdisjoint(_apart)):
            _apart.update(parts)
            return None
        if len(_forms) >= _MOST_FORMS:
            for known in (_forms, _joined, _apart):
                known.clear()
        whole = _forms[key] = _part(uses, made, inputs, floats, ints)
        _joined.update(parts)
    results = [r for _, unit in uses for r in unit.results]
    return whole, Unit(tuple(inputs), results, tuple(floats), tuple(ints), uses[0][1].at)


def _part(
    uses: Sequence[tuple[Part, Unit]],
    made: dict[int, int],
    inputs: dict[int, int],
    floats: dict[int, int],
    ints: dict[int, int],
) -> Part:
    n, ops = len(inputs), []
    for part, unit in uses:
        places = [n + made[r] if r in made else inputs[r] for r in unit.inputs]
        places += [n + made[r] for r in unit.results]
        for kernel, refs, numbers in part.ops:
            own = [
                (real, floats[unit.floats[j]] if real else ints[unit.ints[j]])
                for real, j in numbers
            ]
            ops.append((kernel, tuple([places[r] for r in refs]), tuple(own)))
    return the_one(Part(tuple(ops), n, len(floats), len(ints)))


__all__ = ["joined"]
