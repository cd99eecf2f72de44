"""Sequences of any length, in batches of any size: a few programs for all of them.

A transformer's encoder reads sequences of zeros, ones and twos, and tells which of them comes most
often. Every batch has another size and another length, which PyTorch runs at once and `jax.jit`
compiles anew each time; here most of them share a program on padded data, as the list at the end
shows.

python examples/any_length.py [--steps 150]
"""

import argparse
import random

import dynjax as torch
from dynjax import nn

SYMBOLS, WIDTH, LONGEST = 3, 16, 24


class Reader(nn.Module):
    def __init__(self):
        super().__init__()
        self.symbol = nn.Embedding(SYMBOLS, WIDTH)
        self.layer = nn.TransformerEncoderLayer(WIDTH, 2, 32, dropout=0.1, batch_first=True)
        self.answer = nn.Linear(WIDTH, SYMBOLS)

    def forward(self, sequences):
        return self.answer(self.layer(self.symbol(sequences)).mean(1))


def batch():
    """Sequences, of equal length, and the symbol that each has most of."""
    count, length = random.randint(4, 32), random.randint(3, LONGEST)
    sequences = torch.randint(0, SYMBOLS, (count, length))
    counts = torch.stack([(sequences == symbol).sum(1) for symbol in range(SYMBOLS)], 1)
    return sequences, counts.argmax(1)


def train(model, steps):
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    shapes, right, seen = set(), 0, 0
    for step in range(1, steps + 1):
        sequences, most = batch()
        shapes.add(tuple(sequences.shape))
        logits = model(sequences)
        loss = nn.functional.cross_entropy(logits, most)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        right += (logits.argmax(1) == most).sum().item()
        seen += len(most)
        if step % (steps // 5 or 1) == 0:
            print(f"step {step:4d}  loss {loss.item():.3f}  right {right / seen:.0%}")
            right = seen = 0
    return shapes


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=150)
    arguments = parser.parse_args()

    random.seed(0)
    torch.manual_seed(0)
    with torch.explain() as compiles:
        shapes = train(Reader(), arguments.steps)
    print(f"{len(shapes)} shapes; what was compiled for steps of them:")
    for compiled in compiles:
        if compiled.operations > 20:
            print(f"  {compiled.milliseconds:5.0f} ms: {compiled.cause}")


if __name__ == "__main__":
    main()
