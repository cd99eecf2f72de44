"""What is in a graph: `dynjax.graph(tensor)` and its nodes, edges and functions."""

import pytest

from dynjax.graph import Edge, Source, graph
from tests.graph.tape import Leaf, Node, Result, Weight, record, record_all


def outline(g):
    return [(node.id, node.label) for node in g]


def test_operations_follow_their_inputs_and_the_result_comes_last():
    x, w = Leaf(), Weight()
    y = record("add", record("mul", x, w), x)
    g = graph(y)
    assert outline(g) == [
        ("n0", "input"),
        ("n1", "parameter"),
        ("n2", "mul"),
        ("n3", "add"),
        ("n4", "result"),
    ]
    assert g.edges == (
        Edge("n0", "n2", 0, 0),
        Edge("n1", "n2", 0, 1),
        Edge("n2", "n3", 0, 0),
        Edge("n0", "n3", 0, 1),
        Edge("n3", "n4", 0, 0),
    )
    assert g.roots == ("n4",)
    assert repr(g) == "Graph(operations=2, variables=3, functions=0, edges=5)"


def test_an_operation_says_what_it_is_and_where_it_came_from():
    w = Weight((3, 2))
    y = record("sum", w, outputs=[()], module_path="head", source=("/code/train.py", 7, "forward"))
    node = graph(y)["n1"]
    assert (node.kind, node.op, node.name) == ("operation", "sum", "SumBackward0")
    assert node.inputs == (((3, 2), "dynjax.float32"),)
    assert node.outputs == (((), "dynjax.float32"),)
    assert node.module_path == "head"
    assert node.source == Source("/code/train.py", 7, "forward")
    assert node.grad_fn is y.grad_fn


def test_the_same_program_gives_the_same_identifiers():
    def program():
        x = Leaf()
        a, b = record("sin", x), record("cos", x)
        return graph(record("mul", b, a))

    first, second = program(), program()
    assert outline(first) == outline(second)
    assert first.edges == second.edges


def test_an_operand_used_twice_is_one_node_with_two_edges():
    x = Leaf()
    g = graph(record("mul", x, x))
    assert g.edges[:2] == (Edge("n0", "n1", 0, 0), Edge("n0", "n1", 0, 1))


def test_a_shared_subgraph_appears_once():
    h = record("exp", Leaf())
    for _ in range(60):  # 2 ** 60 paths
        h = record("add", h, h)
    g = graph(h)
    assert len(g.operations) == 61


def test_several_roots_share_what_they_have_in_common():
    h = record("exp", Leaf())
    a, b = record("sin", h), record("cos", h)
    g = graph([a, {"b": b}, a])
    assert outline(g) == [
        ("n0", "input"),
        ("n1", "exp"),
        ("n2", "sin"),
        ("n3", "result"),
        ("n4", "cos"),
        ("n5", "result"),
    ]
    assert g.roots == ("n3", "n5", "n3")


def test_a_root_may_lie_inside_another_root_s_graph():
    h = record("exp", Leaf())
    g = graph([record("sin", h), h])
    assert g.roots == ("n3", "n4")
    assert g.edges[-1] == Edge("n1", "n4", 0, 0)


def test_edges_tell_which_output_they_carry():
    values, indices = record_all("topk", Leaf((4,)), outputs=[(2,), (2,)])
    g = graph([record("add", indices, values), indices])
    assert len(g["n1"].outputs) == 2
    assert g.edges[1:] == (
        Edge("n1", "n2", 1, 0),
        Edge("n1", "n2", 0, 1),
        Edge("n2", "n3", 0, 0),
        Edge("n1", "n4", 1, 0),
    )


def test_a_tensor_without_grad_fn_is_one_variable():
    for tensor, label in (
        (Leaf(), "input"),
        (Weight(), "parameter"),
        (Leaf(requires_grad=False), "constant"),
    ):
        g = graph(tensor)
        assert outline(g) == [("n0", label)]
        assert (g.edges, g.functions, g.roots) == ((), (), ("n0",))
        assert g["n0"].value is tensor


def test_constants_that_the_tape_keeps_have_their_value_and_others_their_shape():
    kept, lost = Leaf(requires_grad=False), Leaf((5,), requires_grad=False)
    y = record("mul", record("add", Leaf(), lost), kept, saves=[1])
    g = graph([y, record("exp", record("mul", Leaf(), kept, saves=[1]))])
    constants = [node for node in g.variables if node.role == "constant"]
    assert [node.info.shape for node in constants] == [(5,), (2,)]
    assert [node.value for node in constants] == [None, kept]


def test_parameters_are_named_by_a_mapping_or_by_a_module():
    w, b, x = Weight(), Weight(), Leaf(requires_grad=False)
    y = record("linear", x, w, b, saves=[0, 1])

    class Module:
        def named_parameters(self):
            return iter([("weight", w), ("bias", b)])

        def named_buffers(self):
            return iter([("x", x)])

    for params in ({"weight": w, "bias": b, "x": x}, Module()):
        labels = [node.label for node in graph(y, params=params)]
        assert labels == ["constant x", "parameter weight", "parameter bias", "linear", "result"]


def test_a_value_is_there_while_the_tape_or_the_graph_keeps_it():
    x = Leaf()
    h = record("exp", x)
    y = record("sin", h, saves=[0])
    g = graph(y)
    assert [node.value for node in g] == [x, h, y, y]
    y.grad_fn.freed = True
    assert g["n1"].value is None
    assert g["n2"].value is y


def test_gradients_are_those_of_leaves_and_of_results_that_retain_theirs():
    w = Weight()
    y = record("exp", w)
    g = graph(y)
    assert g["n0"].grad is None
    w._given = y._given = "a gradient"
    assert g["n0"].grad == "a gradient"
    assert g["n1"].grad is None
    y.retains_grad = True
    assert g["n1"].grad == g["n2"].grad == "a gradient"


def test_a_freed_tape_keeps_its_structure():
    y = record("mul", Leaf(), Leaf(), saves=[0, 1])
    before = graph(y)
    y.grad_fn.freed = True
    assert outline(graph(y)) == outline(before)


def test_a_leaf_that_is_gone_still_shows_its_shape():
    node = Node("exp", Leaf((3,)))
    node.next_functions[0][0].variable = None
    g = graph(Result(node))
    assert g["n0"].info.shape == (3,)
    assert g["n0"].value is None


def test_a_chain_of_ten_thousand_operations():
    h = Leaf()
    for _ in range(10_000):
        h = record("sin", h, saves=[0])
    g = graph(h)
    assert len(g) == 10_002
    assert g["n10000"].op == "sin"
    assert len(str(g).splitlines()) == 10_003
    assert g.mermaid().count("-->") == g.graphviz().count("->") == 10_001


class TestFunctions:
    """Nodes are grouped by the module that was being called."""

    def test_a_function_holds_its_operations_and_its_parameters(self):
        w = Weight()
        y = record("exp", record("matmul", Leaf(), w, module_path="linear"))
        (function,) = graph(y).functions
        assert (function.kind, function.id, function.path) == ("function", "f0", "linear")
        assert function.nodes == ("n1", "n2")

    def test_functions_nest_by_path_and_skip_containers_of_one(self):
        h = Leaf()
        for path in ("net.layers.0.a", "net.layers.0.b", "net.layers.1.a"):
            h = record("exp", h, module_path=path)
        functions = graph(h).functions
        assert [(f.id, f.path, f.label, f.parent, f.functions) for f in functions] == [
            ("f0", "net.layers", "net.layers", None, ("f1", "f4")),
            ("f1", "net.layers.0", "0", "f0", ("f2", "f3")),
            ("f2", "net.layers.0.a", "a", "f1", ()),
            ("f3", "net.layers.0.b", "b", "f1", ()),
            ("f4", "net.layers.1.a", "1.a", "f0", ()),
        ]

    def test_a_parameter_shared_by_modules_belongs_to_what_contains_them(self):
        w = Weight()
        h = record("mul", Leaf(), w, module_path="net.a")
        h = record("mul", h, w, module_path="net.b")
        assert graph(h, params={"w": w})["n1"].module_path == "net"

    def test_a_parameter_also_used_outside_belongs_to_no_module(self):
        w = Weight()
        h = record("mul", record("exp", w, module_path="net"), w)
        assert graph(h)["n0"].module_path == ""


class TestBadInput:
    def test_something_else_than_tensors(self):
        with pytest.raises(TypeError, match="'tensors' must hold Tensors, not int"):
            graph(3)
        with pytest.raises(TypeError, match="not NoneType"):
            graph([Leaf(), None])
        with pytest.raises(TypeError, match="not str"):
            graph("loss")

    def test_no_tensor(self):
        with pytest.raises(ValueError, match="expected at least one Tensor"):
            graph([])

    def test_params_of_another_kind(self):
        with pytest.raises(TypeError, match="'params' must be a Module or a mapping"):
            graph(Leaf(), params=[Leaf()])

    def test_a_node_that_does_not_exist(self):
        with pytest.raises(KeyError, match="no node 'n9' in Graph"):
            graph(Leaf())["n9"]
