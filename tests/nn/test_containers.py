"""Sequential, ModuleList, ModuleDict, ParameterList, ParameterDict."""

from collections import OrderedDict

import pytest

import dynjax
from dynjax import nn


def kinds(modules):
    return [type(module).__name__ for module in modules]


def chain():
    return nn.Sequential(nn.ReLU(), nn.Tanh(), nn.Sigmoid())


def test_sequential_chains():
    net = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    x = dynjax.ones(1, 2)
    assert dynjax.equal(net(x), net[0](x).relu())
    assert nn.Sequential()(3) == 3


def test_sequential_takes_names():
    net = nn.Sequential(OrderedDict([("first", nn.ReLU()), ("second", nn.Tanh())]))
    assert type(net.first) is nn.ReLU and kinds(net[1:]) == ["Tanh"]
    assert list(net[1:]._modules) == ["second"]


def test_sequential_is_a_list():
    net = chain()
    assert len(net) == 3 and kinds(net) == ["ReLU", "Tanh", "Sigmoid"]
    assert type(net[-1]) is nn.Sigmoid and kinds(net[::2]) == ["ReLU", "Sigmoid"]
    net[1] = nn.ELU()
    net.append(nn.GELU())
    net.insert(0, nn.SiLU())
    net.extend([nn.Mish()])
    assert kinds(net) == ["SiLU", "ReLU", "ELU", "Sigmoid", "GELU", "Mish"]
    assert kinds([net.pop(1)]) == ["ReLU"] and kinds(net.pop(slice(3, 5))) == ["GELU", "Mish"]
    del net[0]
    assert kinds(net) == ["ELU", "Sigmoid"] and list(net._modules) == ["0", "1"]


def test_sequential_adds_and_multiplies():
    net = chain()
    assert kinds(net + chain()) == kinds(net) * 2 == kinds(net * 2) == kinds(2 * net)
    assert (net * 2)[0] is (net * 2)[3]
    net += net
    assert len(net) == 6
    net *= 2
    assert len(net) == 12 and list(net._modules) == [str(i) for i in range(12)]


def test_sequential_refuses():
    net = chain()
    for bad, error, message in [
        (lambda: net[3], IndexError, "index 3 is out of range"),
        (lambda: net["a"], TypeError, "'str' object cannot be interpreted as an integer"),
        (lambda: net + [nn.ReLU()], ValueError, "add operator supports only objects of Sequential"),
        (lambda: net * 0, ValueError, "Non-positive multiplication factor 0"),
        (lambda: net * "a", TypeError, "unsupported operand type"),
        (lambda: net.insert(9, nn.ReLU()), IndexError, "Index out of range: 9"),
        (lambda: net.insert(0, 3), AssertionError, "module should be of type"),
        (lambda: net.append(3), TypeError, "int is not a Module subclass"),
        (lambda: nn.Sequential(nn.ReLU), TypeError, "ReLU is not a Module subclass"),
    ]:
        with pytest.raises(error, match=message):
            bad()
    assert kinds(net) == ["ReLU", "Tanh", "Sigmoid"]


def test_module_list():
    items = nn.ModuleList([nn.ReLU(), nn.Tanh()])
    items += [nn.ELU()]
    items.insert(1, nn.GELU())
    items.append(nn.SiLU()).extend(nn.ModuleList([nn.Mish()]))
    assert kinds(items) == ["ReLU", "GELU", "Tanh", "ELU", "SiLU", "Mish"]
    assert kinds(items[1:3]) == ["GELU", "Tanh"] and type(items[-1]) is nn.Mish
    del items[1:3]
    items[0] = nn.Sigmoid()
    assert kinds(items) == ["Sigmoid", "ELU", "SiLU", "Mish"]
    assert list(items._modules) == ["0", "1", "2", "3"]
    assert kinds(items + [nn.ReLU()])[-1] == "ReLU" and len(items) == 4
    with pytest.raises(IndexError, match="index 9 is out of range"):
        items[9]
    with pytest.raises(TypeError, match="should be called with an iterable, but got int"):
        items.extend(3)
    with pytest.raises(NotImplementedError, match="ModuleList"):
        items(3)


def test_module_list_extended_by_itself_ends():
    items = nn.ModuleList([nn.ReLU()])
    items += items
    assert len(items) == 2


def test_module_list_repr_joins_equal_neighbours():
    items = nn.ModuleList([nn.ReLU(), nn.ReLU(), nn.Tanh()])
    assert repr(items) == "ModuleList(\n  (0-1): 2 x ReLU()\n  (2): Tanh()\n)"
    assert repr(nn.ModuleList()) == "ModuleList()"


def test_module_dict():
    table = nn.ModuleDict({"a": nn.ReLU()})
    table.update([("b", nn.Tanh())])
    table["c"] = nn.ELU()
    assert list(table) == ["a", "b", "c"] == list(table.keys()) and len(table) == 3
    assert "a" in table and kinds(table.values()) == ["ReLU", "Tanh", "ELU"]
    assert type(table.pop("a")) is nn.ReLU and [key for key, _ in table.items()] == ["b", "c"]
    del table["b"]
    with pytest.raises(KeyError, match="zzz"):
        table["zzz"]
    with pytest.raises(KeyError, match="attribute 'keys' already exists"):
        table["keys"] = nn.ReLU()
    with pytest.raises(TypeError, match="iterable of key/value pairs, but got int"):
        table.update(3)
    with pytest.raises(ValueError, match="element #0 has length 3; 2 is required"):
        table.update([(1, 2, 3)])
    table.clear()
    assert repr(table) == "ModuleDict()"


def test_parameter_list():
    items = nn.ParameterList([nn.Parameter(dynjax.ones(2, 3)), dynjax.ones(1), 3])
    items.append(dynjax.zeros(2))
    assert [type(item).__name__ for item in items] == ["Parameter", "Parameter", "int", "Parameter"]
    assert [name for name, _ in items.named_parameters()] == ["0", "1", "3"]
    assert len(items[1:3]) == 2 and items[-2] == 3
    items[2] = dynjax.ones(4)
    assert repr(items).splitlines()[1:3] == [
        f"    (0): Parameter containing: [{dynjax.float32} of size 2x3]",
        f"    (1): Parameter containing: [{dynjax.float32} of size 1]",
    ]
    with pytest.raises(IndexError, match="index 9 is out of range"):
        items[9]
    with pytest.raises(TypeError, match="should be called with an iterable, but got Tensor"):
        items.extend(dynjax.ones(2))
    with pytest.raises(RuntimeError, match="ParameterList should not be called"):
        items(1)


def test_parameter_dict():
    table = nn.ParameterDict({"b": dynjax.ones(2), "a": 3})
    assert list(table) == ["a", "b"]
    table["c"] = nn.Parameter(dynjax.zeros(1))
    assert [name for name, _ in table.named_parameters()] == ["b", "c"]
    assert table.get("x", 5) == 5 and table.setdefault("d", 6) == 6 and "d" in table
    assert table.popitem() == ("d", 6) and table.pop("a") == 3
    assert list(reversed(table)) == ["c", "b"] and len(table) == 2
    merged = table | nn.ParameterDict({"e": 1})
    assert list(merged) == ["b", "c", "e"] and list(table) == ["b", "c"]
    table |= {"f": 2}
    assert list(table.copy()) == ["b", "c", "f"] and list(table.fromkeys("xy", 1)) == ["x", "y"]
    with pytest.raises(TypeError, match="cannot be used as a key as it is not a string"):
        table[3] = 4
    assert list(table) == ["b", "c", "f"]
    table.clear()
    with pytest.raises(KeyError, match="dictionary is empty"):
        table.popitem()
