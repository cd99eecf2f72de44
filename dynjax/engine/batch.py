"""Equal work of one trace done together: kernels at equal depth run as one.

Over a tree, or over many graphs of which no two are alike, every operation is small and there are
thousands of them; but they are of few kinds, and equal ones at equal depth do not depend on each
other (on-the-fly operation batching: Neubig, Goldberg and Dyer 2017). The values that they make
lie as rows in arenas (see `rows`), so that a group is one call whatever the graph looks like.
Groups are padded to a few sizes, so that few programs serve all graphs.

Gradients of shared parameters are sums over all uses. Such a sum is taken apart into its terms,
and a group that makes terms adds them up itself.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from . import rows
from .lower import Lowered
from .programs import compile_ahead
from .schedule import GAIN, LARGEST, NotWorthIt, ProgramOf, Schedule, unable


class Batched:
    """A program as calls of groups.

    Args:
        lowered: the program.
        program_of: gives the compiled program of a key: from what makes its function, how many
            arguments that consumes, the operation's name and the step that it stands for.
        gain: operations a group, on average, from which on batching is wanted.

    Raises:
        NotWorthIt: there is little to be done together.
    """

    def __init__(self, lowered: Lowered, program_of: ProgramOf, gain: float = GAIN) -> None:
        self.n_leaves = len(lowered.leaves)
        self.has_floats, self.has_ints = bool(lowered.floats), bool(lowered.ints)
        plan = Schedule(lowered, program_of, gain)
        self.device, self.entering, self.zeros = plan.device, plan.entering, plan.zeros
        self.results = plan.results
        self.capacity, self.joined, self.uses = plan.capacity, plan.joined, plan.uses
        self.fresh = plan.fresh

    def run(self, *args: Any) -> list[Any]:
        """The distinct outputs, from leaf arrays, then the floats and ints if there are any."""
        env: dict[int, Any] = dict(enumerate(args[: self.n_leaves]))
        packed = iter(args[self.n_leaves :])
        floats = np.asarray(next(packed)) if self.has_floats else None
        ints = np.asarray(next(packed)) if self.has_ints else None
        device = self.device
        if self.fresh:
            compile_ahead(self.fresh)
            self.fresh = []
        lent = {row: rows.arenas.take(row, n, device) for row, n in self.capacity.items()}
        for place, aval in self.zeros:
            env[place] = rows.zeros(aval.shape, aval.dtype, device)
        for place, leaves, pick in self.joined:
            env[place] = np.concatenate([np.asarray(env[r]) for r in leaves])[pick]
        for program, row, leaves, start in self.entering:
            block = np.stack([np.asarray(env[r]) for r in leaves])
            (lent[row],) = program.run(lent[row], block, start)
        for use in self.uses:
            program, written, read, given, own, index, of_floats, of_ints, part, drop = use
            values = [lent[row] for row in written]
            values += [lent[row] for row in read]
            values += [env[r] for r in given]
            values.append(index)
            if of_floats is not None:
                values.append(floats[of_floats])
            if of_ints is not None:
                values.append(ints[of_ints])
            try:
                results = program.run(*values)
            except Exception:
                if part is not None:
                    unable.update([kernel for kernel, _, _ in part.ops])
                raise
            if written:
                lent.update(zip(written, results))
                results = results[len(written) :]
            env.update(zip(own, results))
            for r in drop:
                del env[r]
        for row, arena in lent.items():
            rows.arenas.give_back(row, arena, device)
        return [env[r] for r in self.results]


__all__ = ["GAIN", "LARGEST", "Batched", "NotWorthIt"]
