# SPDX-License-Identifier: Apache-2.0
"""Training steps of small networks in PyTorch, in its better memory format; prints JSON.

Run by bench/compare.py with the Python of an environment that has torch.
"""

from __future__ import annotations

import json
import sys
import time

import torch
from torch import nn


def lenet5() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        *(nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)),
    )


def mnist_cnn() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(1, 32, 3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Dropout(0.5), nn.Linear(1600, 10)),
    )


def step_seconds(model: nn.Module, batch: int, repeats: int) -> list[float]:
    """Of forward, loss, backward and Adam, on the same random batch."""
    best: list[float] = []
    for memory in (torch.contiguous_format, torch.channels_last):
        net = model.to(memory_format=memory)
        x = torch.rand(batch, 1, 28, 28).to(memory_format=memory)
        y = torch.randint(0, 10, (batch,))
        optimizer = torch.optim.Adam(net.parameters(), fused=True)
        times = []
        for _ in range(repeats + 3):
            start = time.perf_counter()
            optimizer.zero_grad(set_to_none=True)
            loss = nn.functional.cross_entropy(net(x), y)
            loss.backward()
            optimizer.step()
            loss.item()
            times.append(time.perf_counter() - start)
        if not best or min(times[3:]) < min(best):
            best = times[3:]
    return best


def main() -> None:
    threads, repeats = int(sys.argv[1]), int(sys.argv[2])
    torch.set_num_threads(threads)
    nets = {"LeNet-5, 64": (lenet5, 64), "Keras MNIST CNN, 128": (mnist_cnn, 128)}
    times = {name: step_seconds(make(), batch, repeats) for name, (make, batch) in nets.items()}
    print(json.dumps({"version": torch.__version__, "seconds": times}))


if __name__ == "__main__":
    main()
