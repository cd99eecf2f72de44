"""A child-sum TreeLSTM: every tree is a graph of its own.

With `--data python`, statements of Python's standard library: what kind of statement is it, told
from the syntax tree below it alone? With `--data random`, random trees: do their leaves hold more
ones or more zeros?

python examples/tree_lstm.py [--data python|random] [--steps 100]

Source: Tai, Socher, Manning: Improved Semantic Representations From Tree-Structured Long
Short-Term Memory Networks (arXiv:1503.00075).
"""

import argparse
import ast
import importlib.util
import random
from dataclasses import dataclass, field
from pathlib import Path

import dynjax as torch
from dynjax import nn

MODULES = ["textwrap", "string", "bisect", "heapq", "shlex", "fnmatch", "calendar", "statistics"]
STATEMENTS = [ast.Assign, ast.Expr, ast.If, ast.Return]


@dataclass
class Tree:
    """A node: the index of its word, and the trees below it."""

    word: int
    children: list = field(default_factory=list)

    def __len__(self):
        return 1 + sum(map(len, self.children))


class ChildSumCell(nn.Module):
    """The state of a node from its word and the states of its children, summed."""

    def __init__(self, inputs, size):
        super().__init__()
        self.size = size
        self.of_word = nn.Linear(inputs, 4 * size)
        self.of_children = nn.Linear(size, 3 * size, bias=False)
        self.of_child = nn.Linear(size, size, bias=False)

    def forward(self, x, states):
        i, o, u, f = self.of_word(x).chunk(4, dim=-1)
        if not states:
            cell = torch.sigmoid(i) * torch.tanh(u)
            return torch.sigmoid(o) * torch.tanh(cell), cell
        h = torch.stack([h for h, _ in states])
        c = torch.stack([c for _, c in states])
        hi, ho, hu = self.of_children(h.sum(dim=0)).chunk(3, dim=-1)
        kept = torch.sigmoid(f + self.of_child(h)) * c
        cell = torch.sigmoid(i + hi) * torch.tanh(u + hu) + kept.sum(dim=0)
        return torch.sigmoid(o + ho) * torch.tanh(cell), cell


class TreeLSTM(nn.Module):
    def __init__(self, words, classes, size=24):
        super().__init__()
        self.words = nn.Embedding(words, size)
        self.cell = ChildSumCell(size, size)
        self.head = nn.Linear(size, classes)

    def state(self, tree):
        states = [self.state(child) for child in tree.children]
        return self.cell(self.words(torch.tensor(tree.word)), states)

    def forward(self, trees):
        return self.head(torch.stack([self.state(tree)[0] for tree in trees]))


def python_data(largest):
    """Statements of the standard library as (tree, kind), and how many words and kinds there are.

    A word is the type of a syntax node; that of the statement itself is hidden.
    """
    vocabulary = {"?": 0}

    def grow(node, word):
        children = [grow(child, type(child).__name__) for child in ast.iter_child_nodes(node)]
        return Tree(vocabulary.setdefault(word, len(vocabulary)), children)

    pairs = []
    for module in MODULES:
        source = Path(importlib.util.find_spec(module).origin).read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(source)):
            if type(node) in STATEMENTS:
                tree = grow(node, "?")
                if len(tree) <= largest:
                    pairs.append((tree, STATEMENTS.index(type(node))))
    return pairs, len(vocabulary), len(STATEMENTS)


def random_data(largest, count=1000):
    """Trees whose leaves are 0 or 1 and whose other nodes are 2, with whether ones prevail."""

    def grow(leaves):
        if leaves == 1:
            return Tree(random.randint(0, 1))
        cut = random.randint(1, leaves - 1)
        return Tree(2, [grow(cut), grow(leaves - cut)])

    def balance(tree):
        if not tree.children:
            return 2 * tree.word - 1
        return sum(map(balance, tree.children))

    trees = [grow(random.randint(2, (largest + 1) // 2)) for _ in range(count)]
    return [(tree, int(balance(tree) > 0)) for tree in trees if balance(tree)], 3, 2


def train(model, pairs, steps, batch_size):
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for step in range(1, steps + 1):
        trees, labels = zip(*random.sample(pairs, batch_size), strict=True)
        loss = nn.functional.cross_entropy(model(trees), torch.tensor(labels))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % (steps // 10 or 1) == 0:
            print(f"step {step:4d}  loss {loss.item():.4f}", flush=True)


@torch.no_grad()
def accuracy(model, pairs):
    right = [model([tree]).argmax().item() == label for tree, label in pairs]
    return sum(right) / len(right)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=["python", "random"], default="python")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--largest", type=int, default=15, help="nodes of the largest tree")
    parser.add_argument("--test", type=int, default=100, help="how many trees to test with")
    arguments = parser.parse_args()

    random.seed(0)
    torch.manual_seed(0)
    make_data = python_data if arguments.data == "python" else random_data
    pairs, words, classes = make_data(arguments.largest)
    random.shuffle(pairs)
    test, pairs = pairs[: arguments.test], pairs[arguments.test :]
    print(f"{len(pairs)} trees of up to {max(len(tree) for tree, _ in pairs)} nodes, {words} words")
    model = TreeLSTM(words, classes)
    train(model, pairs, arguments.steps, arguments.batch_size)
    print(f"accuracy on {len(test)} new trees: {accuracy(model, test):.1%}")


if __name__ == "__main__":
    main()
