"""Containers of modules and of parameters."""

from collections import OrderedDict
from itertools import pairwise

import pytest

pytest.importorskip("torch")

from tests.parity.scenarios import Scenarios, attempt, check  # noqa: E402

SCENARIOS = Scenarios()


@SCENARIOS.add
def sequences(lib):
    nn = lib.nn
    make = lambda *sizes: nn.Sequential(*(nn.Linear(a, b) for a, b in pairwise(sizes)))  # noqa: E731
    chain = make(1, 2, 3, 4)
    yield repr(chain), repr(chain[1:]), repr(chain[-1]), len(chain), list(chain.state_dict())
    yield attempt(lambda: chain[3]), attempt(lambda: chain[-4]), attempt(lambda: chain["a"])
    chain[1] = nn.ReLU()
    del chain[0]
    yield repr(chain)
    chain.append(nn.Tanh()).insert(0, nn.GELU()).extend([nn.ELU(), nn.SiLU()])
    yield repr(chain), repr(chain.pop(1)), repr(chain + make(1, 1)), repr(chain * 2)
    chain *= 2
    chain += make(5, 5)
    yield repr(chain), repr(2 * make(1, 1))
    del chain[1:3]
    yield repr(chain)
    yield attempt(chain.__add__, 3), attempt(chain.__mul__, 0), attempt(chain.__mul__, "a")
    yield attempt(chain.insert, 99, nn.ReLU()), attempt(chain.append, 3)
    yield attempt(nn.Sequential, nn.ReLU), attempt(nn.Sequential, 3)
    named = nn.Sequential(OrderedDict([("first", nn.ReLU()), ("second", nn.Linear(1, 2))]))
    yield repr(named), list(named.state_dict()), repr(named[:1]), repr(named.first)
    yield repr(nn.Sequential()), nn.Sequential()(3), "0" in dir(chain)


@SCENARIOS.add
def lists(lib):
    nn = lib.nn
    items = nn.ModuleList([nn.Linear(1, 1), nn.Linear(1, 1), nn.ReLU(), nn.ReLU(), nn.ReLU()])
    yield repr(items), repr(nn.ModuleList()), repr(items[1:3]), repr(items[-1]), len(items)
    items.append(nn.Tanh()).extend([nn.ELU()])
    items.insert(1, nn.GELU())
    items += [nn.SiLU()]
    del items[0], items[-2:]
    yield repr(items), repr(items.pop(2)), repr(items + [nn.Tanh()]), list(items._modules)
    items[0] = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    yield repr(items), [type(item).__name__ for item in items]
    yield attempt(lambda: items[99]), attempt(items.extend, 3), attempt(items.append, 3)
    yield attempt(items, 3)
    table = nn.ModuleDict({"a": nn.ReLU(), "b": nn.Linear(1, 1)})
    table.update([("c", nn.Tanh())])
    table["d"] = nn.ELU()
    yield repr(table), list(table), list(table.keys()), len(table), "a" in table
    yield repr(table.pop("a")), [key for key, _ in table.items()], len(table.values())
    yield attempt(table.update, 3), attempt(table.update, [3]), attempt(table.update, [(1, 2, 3)])
    yield attempt(lambda: table["zzz"]), attempt(table.__setitem__, "keys", nn.ReLU())
    table.clear()
    yield repr(table)


@SCENARIOS.add
def parameter_containers(lib):
    nn = lib.nn
    items = nn.ParameterList([nn.Parameter(lib.ones(2, 3)), lib.ones(1), 3, "text"])
    items.append(nn.Parameter(lib.ones(1))).extend([lib.zeros(2)])
    items += [4]
    items[2] = lib.ones(7)
    yield repr(items), len(items), repr(items[1:3]), list(items.state_dict())
    yield [type(item).__name__ for item in items]
    yield attempt(lambda: items[99]), attempt(items.extend, 3), attempt(items, 1)
    yield attempt(items.extend, lib.ones(2))
    table = nn.ParameterDict({"b": lib.ones(2), "a": nn.Parameter(lib.ones(1)), "n": 3})
    table["z"] = lib.zeros(3)
    yield repr(table), list(table), list(table.state_dict()), len(table), "a" in table
    yield list(table.keys()), [key for key, _ in table.items()], len(list(table.values()))
    yield table.get("missing", 5), table.setdefault("new", 6), list(reversed(table))
    yield table.popitem(), table.pop("n"), repr(table | nn.ParameterDict({"q": 1}))
    copied = table.copy()
    copied |= {"w": 2}
    yield repr(copied), list(table), repr(table.fromkeys(["u", "v"], 1))
    yield attempt(table.update, 3), attempt(table.update, [3]), attempt(table.update, [(1, 2, 3)])
    table.clear()
    yield repr(table), attempt(table, 1)


@pytest.mark.parametrize("run", SCENARIOS, ids=lambda run: run.__name__)
def test_scenario(run):
    check(run)
