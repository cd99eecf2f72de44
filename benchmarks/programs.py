"""Programs compiled for 100 training steps whose learning rate changes on every step, with
`loss.item()` on every tenth, dropout on, and an evaluation after them.

    python benchmarks/programs.py
"""

from __future__ import annotations

import time

import numpy as np
from common import load, table

dynjax = load("dynjax")

STEPS = 100


def main() -> None:
    torch, nn = dynjax, dynjax.nn
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Dropout(0.2), nn.Linear(128, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=STEPS)
    loss_function = nn.CrossEntropyLoss()
    generator = np.random.default_rng(0)
    x = torch.from_numpy(generator.standard_normal((32, 64), np.float32))
    y = torch.from_numpy(generator.integers(0, 10, 32))

    rows = []
    with dynjax.explain() as compiles:
        begin = time.perf_counter()
        for step in range(STEPS):
            loss = loss_function(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            if step % 10 == 9:
                loss.item()
        seconds = time.perf_counter() - begin
        rows.append([f"{STEPS} training steps", str(len(compiles)), f"{seconds:.2f}"])

        trained = len(compiles)
        begin = time.perf_counter()
        model.eval()
        with torch.no_grad():
            for _ in range(10):
                (model(x).argmax(1) == y).float().mean().item()
        seconds = time.perf_counter() - begin
        rows.append(["10 evaluations", str(len(compiles) - trained), f"{seconds:.2f}"])
    rows.append(["together", str(len(compiles)), ""])
    print(table(["", "programs", "s"], rows))
    print(f"\n{compiles}")


if __name__ == "__main__":
    main()
