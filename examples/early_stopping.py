"""A training loop with a DataLoader, accumulated gradients, a schedule and early stopping.

python examples/early_stopping.py [--epochs 40] [--patience 4] [--workers 0]
"""

import argparse

from sklearn.datasets import load_digits

import dynjax as torch
import dynjax.nn.functional as F
from dynjax import nn
from dynjax.utils.data import DataLoader, Dataset, random_split


class Digits(Dataset):
    """scikit-learn's handwritten digits: 64 pixels in 0..1, and the digit."""

    def __init__(self):
        digits = load_digits()
        self.pixels = (digits.data / 16).astype("float32")
        self.labels = digits.target

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return self.pixels[index], self.labels[index]


class EarlyStopping:
    """Keeps the best state of a model, and says when it has not become better for a while."""

    def __init__(self, model, patience):
        self.model, self.patience = model, patience
        self.best, self.state, self.waited = float("inf"), None, 0

    def should_stop(self, loss):
        if loss < self.best:
            self.best, self.waited = loss, 0
            self.state = {name: value.clone() for name, value in self.model.state_dict().items()}
        else:
            self.waited += 1
        return self.waited >= self.patience


def train_epoch(model, optimizer, loader, accumulate):
    """One pass; the optimizer steps once for every `accumulate` batches."""
    model.train()
    for i, (x, y) in enumerate(loader, start=1):
        loss = F.cross_entropy(model(x), y) / accumulate
        loss.backward()
        if i % accumulate == 0:
            optimizer.step()
            optimizer.zero_grad()


@torch.no_grad()
def evaluate(model, loader):
    """Mean loss and share of right answers."""
    model.eval()
    losses = rights = count = 0
    for x, y in loader:
        scores = model(x)
        losses += F.cross_entropy(scores, y, reduction="sum").item()
        rights += (scores.argmax(1) == y).sum().item()
        count += len(y)
    return losses / count, rights / count


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--patience", type=int, default=4)
    parser.add_argument("--accumulate", type=int, default=4)
    parser.add_argument("--workers", type=int, default=0)
    arguments = parser.parse_args()

    torch.manual_seed(0)
    parts = random_split(Digits(), [0.7, 0.15, 0.15])
    workers = {"num_workers": arguments.workers, "persistent_workers": arguments.workers > 0}
    train = DataLoader(parts[0], batch_size=16, shuffle=True, drop_last=True, **workers)
    valid, test = (DataLoader(part, batch_size=128) for part in parts[1:])

    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, 10))
    print(torch.summary(model, (16, 64)))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=1)
    stopping = EarlyStopping(model, arguments.patience)

    for epoch in range(1, arguments.epochs + 1):
        train_epoch(model, optimizer, train, arguments.accumulate)
        loss, right = evaluate(model, valid)
        rate = optimizer.param_groups[0]["lr"]
        print(f"epoch {epoch:2d}  lr {rate:.4f}  validation loss {loss:.4f}  right {right:.1%}")
        scheduler.step(loss)
        if stopping.should_stop(loss):
            print(f"stopped: no better for {arguments.patience} epochs")
            break
    model.load_state_dict(stopping.state)
    print(f"test accuracy {evaluate(model, test)[1]:.1%}")


if __name__ == "__main__":
    main()
