"""A 10-50-1 ReLU network and a mistake that PyTorch only warns of.

The network gives (100, 1), the target is (100, 10): MSELoss broadcasts the two, warns, and the
network learns the mean of each row. `make_data` below is where one would repair it.

python examples/relu_network.py [--epochs 200]
"""

import argparse

import dynjax as torch
from dynjax import nn


class ReluNetwork(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(10, 50)
        self.relu = nn.ReLU()
        self.output = nn.Linear(50, 1)

    def forward(self, x):
        return self.output(self.relu(self.hidden(x)))


def make_data():
    x = torch.randn(100, 10)
    y = 2 * x + 1
    return x, y


def make_model():
    return ReluNetwork()


def train(model, x, y, epochs):
    """Fit model, return the loss of every epoch, print one in twenty."""
    criterion = nn.MSELoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    losses = []
    for epoch in range(epochs):
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if (epoch + 1) % 20 == 0:
            print(f"epoch {epoch + 1:3d}  loss {loss.item():.4f}")
    return losses


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=200)
    arguments = parser.parse_args()

    torch.manual_seed(0)
    model = make_model()
    x, y = make_data()
    train(model, x, y, arguments.epochs)
    with torch.no_grad():
        error = (model(x) - y.mean(dim=1, keepdim=True)).abs().mean()
    print(f"mean distance to the row means: {error.item():.4f}")


if __name__ == "__main__":
    main()
