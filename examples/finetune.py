"""Finetuning: a trunk learnt on the digits 0 to 4, frozen, with a new head for 5 to 9.

The first run trains the trunk and writes it to a safetensors file; later runs find it there.

python examples/finetune.py [--weights digits_trunk.safetensors] [--shots 20]
"""

import argparse
import os

from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import dynjax as torch
import dynjax.nn.functional as F
from dynjax import nn
from dynjax.serialization.safetensors import load_file, safe_open, save_file


class Trunk(nn.Sequential):
    """Images (N, 1, 8, 8) to features (N, 128)."""

    def __init__(self):
        super().__init__(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
        )


def load_data(classes, shots=None):
    """Return train images, train labels, test images, test labels of some digits, counted from 0.

    Args:
        classes: the digits.
        shots: how many of each to train with; None for all but the test's.
    """
    digits = load_digits()
    chosen = (digits.target >= classes[0]) & (digits.target <= classes[-1])
    images = (digits.images[chosen] / 16).astype("float32")[:, None]
    labels = digits.target[chosen].astype("int64") - classes[0]
    x_train, x_test, y_train, y_test = train_test_split(
        images,
        labels,
        train_size=None if shots is None else shots * len(classes),
        test_size=0.3,
        stratify=labels,
        random_state=0,
    )
    return tuple(torch.from_numpy(array) for array in (x_train, y_train, x_test, y_test))


def train(model, parameters, images, labels, epochs, batch_size=20):
    optimizer = torch.optim.Adam(parameters, lr=3e-3)
    batches = len(images) // batch_size
    for _ in range(epochs):
        order = torch.randperm(len(images))[: batches * batch_size]
        for batch in order.view(batches, batch_size):
            loss = F.cross_entropy(model(images[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return loss.item()


@torch.no_grad()
def accuracy(model, images, labels):
    return (model(images).argmax(dim=1) == labels).float().mean().item()


def pretrain(path):
    """Train a trunk, with a head that is thrown away, and write it to a file."""
    x_train, y_train, x_test, y_test = load_data(range(5))
    trunk = Trunk()
    model = nn.Sequential(trunk, nn.Linear(128, 5))
    train(model, model.parameters(), x_train, y_train, epochs=5)
    print(f"pretrained on 0 to 4: test accuracy {accuracy(model, x_test, y_test):.1%}")
    save_file(trunk.state_dict(), path, metadata={"trained_on": "digits 0 to 4"})


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", default="digits_trunk.safetensors")
    parser.add_argument("--shots", type=int, default=20, help="images of each digit to learn from")
    arguments = parser.parse_args()

    torch.manual_seed(0)
    if not os.path.exists(arguments.weights):
        pretrain(arguments.weights)
    with safe_open(arguments.weights) as file:
        print(f"{arguments.weights}: {len(file.keys())} tensors, {file.metadata()['trained_on']}")

    trunk = Trunk()
    trunk.load_state_dict(load_file(arguments.weights))
    trunk.requires_grad_(False)
    head = nn.Linear(128, 5)
    model = nn.Sequential(trunk, head)
    before = {name: tensor.clone() for name, tensor in trunk.state_dict().items()}

    x_train, y_train, x_test, y_test = load_data(range(5, 10), arguments.shots)
    trained = [p for p in model.parameters() if p.requires_grad]
    print(
        f"training {sum(p.numel() for p in trained)} of "
        f"{sum(p.numel() for p in model.parameters())} parameters on {len(x_train)} images"
    )
    loss = train(model, trained, x_train, y_train, epochs=40)
    same = all(torch.equal(before[name], tensor) for name, tensor in trunk.state_dict().items())
    print(f"loss {loss:.4f}, trunk {'unchanged' if same else 'changed'}")
    print(f"finetuned on 5 to 9: test accuracy {accuracy(model, x_test, y_test):.1%}")


if __name__ == "__main__":
    main()
