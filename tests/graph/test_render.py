"""A graph as text: exact for a small one, well formed for any."""

import re
import shutil
import subprocess
from textwrap import dedent

import pytest

from dynjax.graph import graph
from tests.graph.tape import Leaf, Weight, record, record_all


@pytest.fixture
def small():
    """sum(a * b) of the two outputs of topk(x @ w), partly inside modules."""
    x, w = Leaf((3, 4), requires_grad=False), Weight((4, 2))
    h = record(
        "matmul",
        x,
        w,
        outputs=[(3, 2)],
        module_path="net.linear",
        source=("/code/train.py", 12, "forward"),
        saves=[0, 1],
    )
    a, b = record_all("topk", h, outputs=[(3, 1), (3, 1)], module_path="net")
    product = record("mul", a, b, outputs=[(3, 1)])
    total = record("sum", product, outputs=[()], source=("/code/train.py", 14, "<module>"))
    return graph(total, params={"linear.weight": w})


def named(name):
    x = Leaf()
    return graph(record("exp", x), params={name: x})


def test_listing(small):
    expected = """\
        id  operation                inputs      shape           dtype    module      source
        n0  constant                             (3, 4)          float32
        n1  parameter linear.weight              (4, 2)          float32  net.linear
        n2  matmul                   n0, n1      (3, 2)          float32  net.linear  train.py:12
        n3  topk                     n2          (3, 1), (3, 1)  float32  net
        n4  mul                      n3:0, n3:1  (3, 1)          float32
        n5  sum                      n4          ()              float32              train.py:14
        n6  result                   n5          ()              float32"""
    assert str(small) == dedent(expected)


def test_listing_leaves_out_columns_that_would_be_empty():
    expected = """\
        id  operation  shape  dtype
        n0  input      (2,)   float32"""
    assert str(graph(Leaf())) == dedent(expected)


def test_mermaid(small):
    expected = """\
        flowchart TD
            n0(["n0 constant<br/>(3, 4) float32"]):::constant
            n4["n4 mul<br/>(3, 1) float32"]:::operation
            n5["n5 sum<br/>() float32"]:::operation
            n6(["n6 result<br/>() float32"]):::result
            subgraph f0["net"]
                n3["n3 topk<br/>(3, 1) float32<br/>(3, 1) float32"]:::operation
                subgraph f1["linear"]
                    n1(["n1 parameter linear.weight<br/>(4, 2) float32"]):::parameter
                    n2["n2 matmul<br/>(3, 2) float32"]:::operation
                end
            end
            n0 --> n2
            n1 --> n2
            n2 --> n3
            n3 -->|0| n4
            n3 -->|1| n4
            n4 --> n5
            n5 --> n6
            classDef parameter fill:#dbeafe,stroke:#2563eb,color:#111827
            classDef constant fill:#f3f4f6,stroke:#6b7280,color:#111827
            classDef result fill:#fef3c7,stroke:#d97706,color:#111827
            classDef operation fill:#ffffff,stroke:#374151,color:#111827
        """
    assert small.mermaid() == dedent(expected)


def test_graphviz():
    g = graph(record("exp", Weight((2, 3)), module_path="net", source=("/a/b.py", 3, "f")))
    expected = r"""
        digraph dynjax {
            node [style=filled, fontname="monospace"];
            n2 [label="n2 result\n(2,) float32", shape="ellipse", @result];
            subgraph cluster_f0 {
                label="net";
                n0 [label="n0 parameter\n(2, 3) float32", shape="ellipse", @parameter];
                n1 [label="n1 exp\n(2,) float32", shape="box", @operation, tooltip="/a/b.py:3"];
            }
            n0 -> n1;
            n1 -> n2;
        }
        """
    colours = {
        "@result": 'fillcolor="#fef3c7", color="#d97706"',
        "@parameter": 'fillcolor="#dbeafe", color="#2563eb"',
        "@operation": 'fillcolor="#ffffff", color="#374151"',
    }
    expected = re.sub("@[a-z]+", lambda match: colours[match[0]], dedent(expected).lstrip())
    assert g.graphviz() == expected


@pytest.mark.parametrize(
    ("name", "mermaid", "dot"),
    [
        ('"', "#quot;", r"\""),
        ("\\", "\\", r"\\"),
        ("<b>", "#lt;b#gt;", "<b>"),
        ("a\nb", "a b", r"a\nb"),
        ("#35;", "#35;35;", "#35;"),
        ("`*x*`", "#96;*x*#96;", "`*x*`"),
        ("ключ", "ключ", "ключ"),
    ],
)
def test_labels_are_escaped(name, mermaid, dot):
    assert f'n0(["n0 input {mermaid}<br/>(2,) float32"])' in named(name).mermaid()
    assert rf'n0 [label="n0 input {dot}\n(2,) float32"' in named(name).graphviz()


def many_modules():
    h, w = Leaf(), Weight()
    for path in ("", "a", "a.b.0", "a.b.1", "c.d", "a.b.0", "", "e.f.g", "e.f.h"):
        h = record("mul", h, w, module_path=path)
        h, _ = record_all("split", h, outputs=[(1,), (1,)], module_path=path)
    return graph(h)


def test_mermaid_declares_every_node_once_and_closes_every_box():
    g = many_modules()
    depth, declared, used = 0, [], set()
    for line in map(str.strip, g.mermaid().splitlines()[1:]):
        if line.startswith("subgraph "):
            depth += 1
        elif line == "end":
            depth -= 1
            assert depth >= 0
        elif edge := re.fullmatch(r"(n\d+) -->(?:\|\d+\|)? (n\d+)", line):
            used.update(edge.groups())
        elif not line.startswith("classDef"):
            declared.append(re.fullmatch(r'(n\d+)\(?\["[^"]*"\]\)?:::[a-z]+', line)[1])
    assert depth == 0
    assert sorted(declared) == sorted(node.id for node in g)
    assert used <= set(declared)


def test_graphviz_declares_every_node_once_and_closes_every_cluster():
    g = many_modules()
    text = g.graphviz()
    assert text.count("{") == text.count("}") == 1 + len(g.functions)
    declared = re.findall(r"^ *(n\d+) \[", text, re.MULTILINE)
    assert sorted(declared) == sorted(node.id for node in g)
    assert len(re.findall(r"n\d+ -> n\d+", text)) == len(g.edges)


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
def test_graphviz_itself_reads_it():
    for g in (many_modules(), named('a "quoted" \\ <name>')):
        drawn = subprocess.run(
            ["dot", "-Tsvg"], input=g.graphviz(), capture_output=True, text=True, check=True
        )
        assert drawn.stderr == ""
        assert drawn.stdout.count('class="node"') == len(g)
        assert drawn.stdout.count('class="cluster"') == len(g.functions)


class TestNotebooks:
    """IPython shows the richest form that the front end can draw."""

    def test_a_graph_comes_as_text_and_as_a_picture(self, small):
        picture = small.mermaid()
        assert small._repr_mimebundle_() == {
            "text/plain": str(small),
            "text/vnd.mermaid": picture,
            "text/markdown": f"```mermaid\n{picture}```\n",
        }
        assert small._repr_markdown_() == f"```mermaid\n{picture}```\n"

    def test_a_graph_too_large_for_mermaid_comes_as_text(self):
        h = Leaf()
        for _ in range(500):
            h = record("sin", h)
        assert list(graph(h)._repr_mimebundle_()) == ["text/plain"]
        assert graph(h)._repr_markdown_() is None
