"""One layer reused a random number of times: every step may build another graph.

A network with a hidden layer that is applied zero to three times, drawn anew at every call, learns
a sine. However deep it happened to be, the answer should be the same.

python examples/random_depth.py [--steps 300]
"""

import argparse
import math
import random

import dynjax as torch
from dynjax import nn

DEEPEST = 3


class RandomDepth(nn.Module):
    def __init__(self, width=16):
        super().__init__()
        self.first = nn.Linear(1, width)
        self.middle = nn.Linear(width, width)
        self.last = nn.Linear(width, 1)

    def forward(self, x, depth=None):
        if depth is None:
            depth = random.randint(0, DEEPEST)
        x = torch.tanh(self.first(x))
        for _ in range(depth):
            x = torch.tanh(self.middle(x))
        return self.last(x)


def train(model, x, y, steps):
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for step in range(1, steps + 1):
        loss = nn.functional.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % (steps // 10 or 1) == 0:
            print(f"step {step:4d}  loss {loss.item():.4f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=300)
    arguments = parser.parse_args()

    random.seed(0)
    torch.manual_seed(0)
    x = torch.linspace(-math.pi, math.pi, 100).unsqueeze(1)
    y = torch.sin(x)
    model = RandomDepth()
    train(model, x, y, arguments.steps)
    with torch.no_grad():
        for depth in range(DEEPEST + 1):
            error = (model(x, depth) - y).abs().mean()
            print(f"depth {depth}: mean error {error.item():.3f}")


if __name__ == "__main__":
    main()
