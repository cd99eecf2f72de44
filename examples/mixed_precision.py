"""Mixed precision: products in 16 bits, weights and their updates in 32, the loss scaled.

python examples/mixed_precision.py [--steps 200] [--dtype bfloat16]
"""

import argparse
import math

import dynjax as torch
from dynjax import nn


def spirals(count):
    """Points of two spirals (count, 2) and which one each is of (count,)."""
    angle = torch.linspace(0.5, 3 * math.pi, count)
    label = torch.arange(count) % 2
    turn = angle + math.pi * label
    points = angle.unsqueeze(1) / 10 * torch.stack([turn.cos(), turn.sin()], 1)
    return points + 0.02 * torch.randn(count, 2), label


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--dtype", choices=["bfloat16", "float16"], default="bfloat16")
    arguments = parser.parse_args()

    torch.manual_seed(0)
    points, label = spirals(256)
    model = nn.Sequential(
        nn.Linear(2, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 2)
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    # Small gradients would vanish in float16: losses are multiplied, gradients divided again.
    scaler = torch.amp.GradScaler("cpu", enabled=arguments.dtype == "float16")
    for step in range(arguments.steps):
        with torch.autocast("cpu", dtype=getattr(torch, arguments.dtype)):
            scores = model(points)
            loss = nn.functional.cross_entropy(scores, label)
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        if step % 20 == 19 or step == 0:
            print(f"step {step + 1:3d}  loss {loss.item():.4f}  scale {scaler.get_scale():.0f}")
    print(f"scores {scores.dtype}, loss {loss.dtype}, weights {model[0].weight.dtype}")


if __name__ == "__main__":
    main()
