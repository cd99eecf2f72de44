"""Two tasks on one trunk: which digit it is, and how much of the image is ink.

The losses are weighed by uncertainties that are learnt (Kendall, Gal and Cipolla, 2018).

python examples/multi_task.py [--epochs 15]
"""

import argparse

from sklearn.datasets import load_digits

import dynjax as torch
import dynjax.nn.functional as F
from dynjax import nn
from dynjax.utils.data import DataLoader, TensorDataset, random_split


class TwoTasks(nn.Module):
    """A shared trunk with a head for each task, and the log of each task's variance."""

    def __init__(self):
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU())
        self.digit = nn.Linear(32, 10)
        self.ink = nn.Linear(32, 1)
        self.log_variances = nn.Parameter(torch.zeros(2))

    def forward(self, x):
        features = self.trunk(x)
        return self.digit(features), self.ink(features).squeeze(1)

    def loss(self, x, digit, ink):
        scores, amount = self(x)
        losses = torch.stack([F.cross_entropy(scores, digit), F.mse_loss(amount, ink)])
        return (losses * torch.exp(-self.log_variances) + self.log_variances / 2).sum()


def load_data():
    """Images (N, 64) in 0..1, digits (N,), and mean brightness (N,), scaled to variance 1."""
    digits = load_digits()
    images = torch.from_numpy((digits.data / 16).astype("float32"))
    ink = images.mean(dim=1)
    return TensorDataset(images, torch.from_numpy(digits.target), (ink - ink.mean()) / ink.std())


@torch.no_grad()
def evaluate(model, loader):
    """Share of right digits, and the share of the ink's variance that is explained."""
    rights = errors = count = 0
    for x, digit, ink in loader:
        scores, amount = model(x)
        rights += (scores.argmax(1) == digit).sum().item()
        errors += ((amount - ink) ** 2).sum().item()
        count += len(x)
    return rights / count, 1 - errors / count


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=15)
    arguments = parser.parse_args()

    torch.manual_seed(0)
    train, test = random_split(load_data(), [0.8, 0.2])
    train = DataLoader(train, batch_size=32, shuffle=True, drop_last=True)
    test = DataLoader(test, batch_size=120)
    model = TwoTasks()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for epoch in range(1, arguments.epochs + 1):
        for batch in train:
            loss = model.loss(*batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        print(f"epoch {epoch:2d}  loss {loss.item():7.4f}")
    right, explained = evaluate(model, test)
    weights = torch.exp(-model.log_variances).tolist()
    print(f"digits: accuracy {right:.1%}, weight {weights[0]:.1f}")
    print(f"ink: variance explained {explained:.1%}, weight {weights[1]:.1f}")


if __name__ == "__main__":
    main()
