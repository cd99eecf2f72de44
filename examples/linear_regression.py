"""Linear regression with nn.Linear(1, 1): the first page of every PyTorch tutorial.

python examples/linear_regression.py [--epochs 100]
"""

import argparse

import dynjax as torch
from dynjax import nn


def make_data():
    """Fifty noisy points of y = 3x + 2."""
    x = torch.linspace(-3, 3, 50).unsqueeze(1)
    y = 3 * x + 2 + 0.3 * torch.randn(50, 1)
    return x, y


def make_model():
    return nn.Linear(1, 1)


def train(model, x, y, epochs):
    """Fit model, print and return the loss of every epoch."""
    criterion = nn.MSELoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    losses = []
    for epoch in range(epochs):
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        print(f"epoch {epoch + 1:3d}  loss {loss.item():.4f}")
    return losses


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=100)
    arguments = parser.parse_args()

    torch.manual_seed(0)
    x, y = make_data()
    model = make_model()
    train(model, x, y, arguments.epochs)

    print(f"fitted: y = {model.weight.item():.3f} x + {model.bias.item():.3f}")
    with torch.no_grad():
        print("prediction for x = 4:", model(torch.tensor([[4.0]])))


if __name__ == "__main__":
    main()
