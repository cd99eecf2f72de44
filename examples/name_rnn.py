"""A recurrent network over names of varying length, character by character in a Python loop.

The names are Python's own: is it a module, an exception, a string method or an error code? No
padding, no masks: every name is as long as it is.

python examples/name_rnn.py [--steps 1500]
"""

import argparse
import builtins
import errno
import random
import sys

import dynjax as torch
from dynjax import nn

KINDS = {
    "module": sorted(name for name in sys.stdlib_module_names if not name.startswith("_")),
    "exception": sorted(
        name
        for name, value in vars(builtins).items()
        if isinstance(value, type) and issubclass(value, BaseException)
    ),
    "method": sorted(name for name in dir(str) if not name.startswith("_")),
    "error code": sorted(errno.errorcode.values()),
}
ALPHABET = sorted({letter for names in KINDS.values() for name in names for letter in name})


class NameRNN(nn.Module):
    def __init__(self, size=32):
        super().__init__()
        self.letters = nn.Embedding(len(ALPHABET), size)
        self.cell = nn.RNNCell(size, size)
        self.head = nn.Linear(size, len(KINDS))

    def forward(self, name):
        hidden = None
        for letter in name:
            hidden = self.cell(self.letters(letter), hidden)
        return self.head(hidden)


def encode(name):
    return torch.tensor([ALPHABET.index(letter) for letter in name])


def split_data():
    """Pairs (name, index of its kind): every fifth to test with, the others to train with."""
    pairs = [(name, k) for k, names in enumerate(KINDS.values()) for name in names]
    return [p for i, p in enumerate(pairs) if i % 5], pairs[::5]


def train(model, pairs, steps):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    kinds = [[pair for pair in pairs if pair[1] == k] for k in range(len(KINDS))]
    total, every = 0.0, steps // 10 or 1
    for step in range(1, steps + 1):
        name, kind = random.choice(random.choice(kinds))
        loss = nn.functional.cross_entropy(model(encode(name)), torch.tensor(kind))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item()
        if step % every == 0:
            print(f"step {step:5d}  loss {total / every:.4f}  {name}")
            total = 0.0


@torch.no_grad()
def accuracy(model, pairs):
    right = [model(encode(name)).argmax().item() == kind for name, kind in pairs]
    return sum(right) / len(right)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--test", type=int, default=100, help="how many names to test with")
    arguments = parser.parse_args()

    random.seed(0)
    torch.manual_seed(0)
    train_pairs, test_pairs = split_data()
    model = NameRNN()
    train(model, train_pairs, arguments.steps)
    chosen = random.sample(test_pairs, min(arguments.test, len(test_pairs)))
    print(f"accuracy on {len(chosen)} new names: {accuracy(model, chosen):.1%}")


if __name__ == "__main__":
    main()
