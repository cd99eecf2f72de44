"""The tape behind a tensor: as a listing, as Mermaid, as Graphviz.

python examples/graph_to_look_at.py [--format listing|mermaid|graphviz]

Mermaid can be pasted into any Markdown file on GitHub or into https://mermaid.live; Graphviz goes
through `dot`: python examples/graph_to_look_at.py --format graphviz | dot -Tsvg > graph.svg
"""

import argparse
import sys

import dynjax as torch
from dynjax import nn


class Gate(nn.Module):
    """Takes the long way or the short one, as the input says: the tape shows which."""

    def __init__(self):
        super().__init__()
        self.long = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
        self.short = nn.Linear(3, 1)

    def forward(self, x):
        return self.long(x) if x.sum() > 0 else self.short(x)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--format", choices=("listing", "mermaid", "graphviz"), default="listing")
    arguments = parser.parse_args()

    torch.manual_seed(0)
    model = Gate()
    for x in (torch.ones(2, 3), -torch.ones(2, 3)):
        loss = model(x).square().mean()
        graph = torch.graph(loss, params=model)
        match arguments.format:
            case "listing":
                print(graph, end="\n\n")
            case "mermaid":
                print(graph.mermaid())
            case "graphviz":
                print(graph.graphviz())
                return  # dot reads one graph
        print(f"{graph!r}\n", file=sys.stderr)


if __name__ == "__main__":
    main()
