"""A model class of one's own, fitted on x = 1, 2, 3 and y = 2, 4, 6.

python examples/model_class.py [--epochs 500]
"""

import argparse

import dynjax as torch
from dynjax import nn


class LinearRegressionModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(1, 1)

    def forward(self, x):
        return self.linear(x)


def make_data():
    x = torch.tensor([[1.0], [2.0], [3.0]])
    y = torch.tensor([[2.0], [4.0], [6.0]])
    return x, y


def make_model():
    return LinearRegressionModel()


def train(model, x, y, epochs):
    """Fit model, return the loss of every epoch, print one in fifty."""
    criterion = nn.MSELoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    losses = []
    for epoch in range(epochs):
        y_pred = model(x)
        loss = criterion(y_pred, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if (epoch + 1) % 50 == 0:
            print(f"epoch {epoch + 1:3d}  loss {loss.item():.6f}")
    return losses


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=500)
    arguments = parser.parse_args()

    torch.manual_seed(0)
    model = make_model()
    print(model)
    train(model, *make_data(), arguments.epochs)
    for name, parameter in model.named_parameters():
        print(name, parameter.data)
    print("prediction for x = 4:", model(torch.tensor([[4.0]])).item())


if __name__ == "__main__":
    main()
