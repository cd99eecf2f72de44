"""A small convolutional network on scikit-learn's handwritten digits (8 x 8 pixels, 10 classes).

python examples/digits.py [--epochs 20]
"""

import argparse
import time

from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import dynjax as torch
import dynjax.nn.functional as F
from dynjax import nn


class DigitsNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3, padding=1)
        self.conv2 = nn.Conv2d(32, 64, 3, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.dropout = nn.Dropout(0.5)
        self.fc = nn.Linear(64 * 4 * 4, 10)

    def forward(self, x):
        x = F.relu(self.conv1(x))
        x = self.pool(F.relu(self.conv2(x)))
        return self.fc(self.dropout(torch.flatten(x, 1)))


def load_data():
    """Return train images, train labels, test images, test labels: (N, 1, 8, 8) in 0..1, (N,)."""
    digits = load_digits()
    images = (digits.images / 16).astype("float32")[:, None]
    labels = digits.target.astype("int64")
    x_train, x_test, y_train, y_test = train_test_split(
        images, labels, test_size=0.2, stratify=labels, random_state=0
    )
    return tuple(torch.from_numpy(array) for array in (x_train, y_train, x_test, y_test))


def train_epoch(model, optimizer, images, labels, batch_size=32):
    """One pass in random order; return the mean loss."""
    model.train()
    batches = len(images) // batch_size
    order = torch.randperm(len(images))[: batches * batch_size]
    losses = []
    for batch in order.view(batches, batch_size):
        loss = F.cross_entropy(model(images[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return torch.stack(losses).mean().item()


@torch.no_grad()
def accuracy(model, images, labels):
    model.eval()
    return (model(images).argmax(dim=1) == labels).float().mean().item()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=20)
    arguments = parser.parse_args()

    torch.manual_seed(0)
    x_train, y_train, x_test, y_test = load_data()
    model = DigitsNet()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, arguments.epochs)
    print(f"{sum(p.numel() for p in model.parameters())} parameters, {len(x_train)} images")

    start = time.perf_counter()
    for epoch in range(arguments.epochs):
        loss = train_epoch(model, optimizer, x_train, y_train)
        scheduler.step()
        correct = accuracy(model, x_test, y_test)
        print(
            f"epoch {epoch + 1:2d}/{arguments.epochs}  loss {loss:.4f}  "
            f"test accuracy {correct:.2%}  {time.perf_counter() - start:5.1f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
