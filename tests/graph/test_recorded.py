"""Graphs of recorded programs: `dynjax.graph` on the real tape."""

import numpy as np
import pytest

import dynjax
from dynjax import nn
from dynjax.engine.trace import state
from dynjax.engine.trie import lazy_trie


@pytest.fixture(autouse=True)
def nothing_recorded_before():
    """A known position keeps the module path and the line of its first recording."""
    lazy_trie.clear()
    state.restart()


def lines(g):
    """The listing without ids, sources and what aligns it."""
    return [
        (node.label, [edge.source for edge in g.edges if edge.target == node.id], node.module_path)
        for node in g
    ]


def model():
    dynjax.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Sequential(nn.Linear(4, 2), nn.Tanh()))


def test_a_model_shows_its_layers_its_parameters_and_its_input():
    net = model()
    x = dynjax.ones(5, 3)
    g = dynjax.graph(net(x).sum(), params={**dict(net.named_parameters()), "x": x})
    assert lines(g) == [
        ("constant x", [], ""),
        ("parameter 0.weight", [], "0"),
        ("parameter 0.bias", [], "0"),
        ("linear", ["n0", "n1", "n2"], "0"),
        ("relu", ["n3"], "1"),
        ("parameter 2.0.weight", [], "2.0"),
        ("parameter 2.0.bias", [], "2.0"),
        ("linear", ["n4", "n5", "n6"], "2.0"),
        ("tanh", ["n7"], "2.1"),
        ("sum", ["n8"], ""),
        ("result", ["n9"], ""),
    ]
    assert [function.path for function in g.functions] == ["0", "1", "2", "2.0", "2.1"]
    assert g["n3"].outputs == (((5, 4), dynjax.float32),)
    assert g["n3"].source.function == ("test_a_model_shows_its_layers_its_parameters_and_its_input")


def test_looking_runs_and_compiles_nothing():
    x = dynjax.tensor([1.0, 2.0], requires_grad=True)
    with dynjax.explain() as compiles:
        y = (x * 2 + 1).exp().sum() * 0.123
        g = dynjax.graph(y)
        assert str(g) and g.mermaid() and g.graphviz() and g["n1"].grad is None
        assert [node.value is None for node in g][-1] is False
    assert compiles == []
    assert y.item() > 0


def test_the_graph_is_the_same_before_and_after_running_and_after_backward():
    net = model()
    loss = net(dynjax.ones(5, 3)).square().mean()
    recorded = lines(dynjax.graph(loss))
    loss.item()
    assert lines(dynjax.graph(loss)) == recorded
    loss.backward(retain_graph=True)
    assert lines(dynjax.graph(loss)) == recorded
    loss.backward()
    operations = [node.op for node in dynjax.graph(loss).operations]
    assert operations == ["linear", "relu", "linear", "tanh", "square", "mean"]


def test_values_and_gradients_are_read_through_the_graph():
    x = dynjax.tensor([1.0, 2.0], requires_grad=True)
    h = x * x
    h.retain_grad()
    y = h.sum()
    g = dynjax.graph([y, h], params={"x": x})
    y.backward()
    assert g["n0"].value is x
    assert g["n0"].grad.tolist() == [2.0, 4.0]
    assert g["n1"].value is h
    assert g["n1"].grad.tolist() == [1.0, 1.0]
    assert g[g.roots[0]].value.item() == 5.0


def test_an_intermediate_that_backward_needs_can_be_read():
    x = dynjax.tensor([1.0, 2.0], requires_grad=True)
    y = (x + 1).square().sum()
    g = dynjax.graph(y)
    assert g["n1"].value.tolist() == [2.0, 3.0]


def test_outputs_of_an_operation_with_several():
    x = dynjax.tensor([[3.0, 1.0, 2.0]], requires_grad=True)
    a, b, c = x.split(1, dim=1)
    g = dynjax.graph(c * a)
    (split,) = (node for node in g.operations if len(node.outputs) == 3)
    assert [edge.output for edge in g.edges if edge.source == split.id] == [2, 0]


def test_a_graph_that_differs_on_the_next_call():
    def program(n):
        x = dynjax.tensor([2.0], requires_grad=True)
        for _ in range(n):
            x = x.sin()
        return [node.op for node in dynjax.graph(x).operations]

    assert [program(n) for n in (1, 3, 2)] == [["sin"], ["sin"] * 3, ["sin"] * 2]


def test_a_write_in_place_is_an_operation():
    x = dynjax.tensor([1.0, 2.0], requires_grad=True)
    y = x * 3
    y.add_(1)
    assert [node.op for node in dynjax.graph(y).operations] == ["mul", "add"]


def test_a_function_written_in_python():
    class Double(dynjax.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * 2

        @staticmethod
        def backward(ctx, grad):
            return grad * 2

    x = dynjax.tensor([1.0, 2.0], requires_grad=True)
    g = dynjax.graph(Double.apply(x.exp()).sum(), params={"x": x})
    assert [node.name for node in g.operations] == [
        "ExpBackward0",
        "DoubleBackward",
        "SumBackward0",
    ]
    assert g["n2"].outputs == (((2,), dynjax.float32),)


def test_the_graph_of_a_gradient():
    x = dynjax.tensor([1.0, 2.0], requires_grad=True)
    (slope,) = dynjax.autograd.grad(x.sin().sum(), x, create_graph=True)
    g = dynjax.graph(slope, params={"x": x})
    assert "input x" in [node.label for node in g]
    np.testing.assert_allclose(g[g.roots[0]].value.detach().numpy(), np.cos([1.0, 2.0]), 1e-6)


def test_a_tensor_without_gradient_is_one_node():
    g = dynjax.graph(dynjax.ones(2, 3), params={})
    assert [(node.label, node.info.shape) for node in g] == [("constant", (2, 3))]


def test_a_chain_of_ten_thousand_operations():
    x = dynjax.tensor([0.5], requires_grad=True)
    with dynjax.eager():
        for _ in range(10_000):
            x = x.sin()
    g = dynjax.graph(x)
    assert [node.kind for node in g] == ["variable", *["operation"] * 10_000, "variable"]
