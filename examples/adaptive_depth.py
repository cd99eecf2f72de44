"""As deep as the input needs: a layer is applied until its output stops changing.

The layer's fixed point is the answer: two interleaved half circles are told apart from it. `while`
asks a tensor's value, so every batch may build another graph.

python examples/adaptive_depth.py [--steps 150]
"""

import argparse
import math

import dynjax as torch
from dynjax import nn


class Equilibrium(nn.Module):
    def __init__(self, width=24, tolerance=1e-2, most=40):
        super().__init__()
        self.inject = nn.Linear(2, width)
        self.update = nn.Linear(width, width, bias=False)
        self.head = nn.Linear(width, 2)
        self.tolerance, self.most = tolerance, most
        self.depth = 0

    def forward(self, x):
        given = self.inject(x)
        # No row above 1 in absolute sum: the iteration shrinks every difference, so it ends.
        weight = self.update.weight
        weight = 0.95 * weight / weight.abs().sum(dim=1, keepdim=True).clamp(min=1.0)
        state = torch.zeros_like(given)
        change = math.inf
        self.depth = 0
        while change > self.tolerance and self.depth < self.most:
            new = torch.tanh(given + state @ weight.T)
            change = (new - state).norm() / new.norm()
            state = new
            self.depth += 1
        return self.head(state)


def make_data(count):
    """Points (count, 2) on two interleaved half circles, and which of the two, (count,)."""
    angle = math.pi * torch.rand(count)
    label = torch.randint(0, 2, (count,))
    side = 1 - 2 * label
    x = torch.stack([angle.cos() * side + label, angle.sin() * side + 0.5 * label], dim=1)
    return x + 0.1 * torch.randn(count, 2), label


def train(model, steps, batch_size=32):
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for step in range(1, steps + 1):
        x, y = make_data(batch_size)
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % (steps // 10 or 1) == 0:
            print(f"step {step:4d}  depth {model.depth:2d}  loss {loss.item():.4f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=150)
    arguments = parser.parse_args()

    torch.manual_seed(0)
    model = Equilibrium()
    train(model, arguments.steps)
    with torch.no_grad():
        x, y = make_data(400)
        correct = (model(x).argmax(dim=1) == y).float().mean()
    print(f"accuracy {correct.item():.1%} at depth {model.depth}")


if __name__ == "__main__":
    main()
