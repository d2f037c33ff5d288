"""Small data that every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import Phase, settings
from sklearn.datasets import make_blobs

SHARED = Path(__file__).parents[2] / "shared" / "data"
if "GENMIX_DATA" not in os.environ and SHARED.is_dir():
    os.environ["GENMIX_DATA"] = str(SHARED)

# For `make mutation`: the same examples for every mutant, and no search for the smallest that fails.
settings.register_profile(
    "mutation", derandomize=True, database=None, phases=[Phase.explicit, Phase.generate]
)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Bits are equal for one thread count only; small tensors gain nothing from more."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def blobs() -> tuple[np.ndarray, np.ndarray]:
    """Three well separated groups of 200 points in the plane."""
    return make_blobs(600, centers=[[0, 0], [8, 0], [0, 8]], random_state=0)


@pytest.fixture(scope="session")
def squares() -> tuple[np.ndarray, np.ndarray]:
    """200 uint8 images of 12 x 12 pixels: a bright square at the left or at the right, with noise."""
    rng = np.random.default_rng(0)
    y = np.arange(200) % 2
    images = rng.integers(0, 40, (200, 12, 12))
    images[y == 0, 3:9, 1:5] += 180
    images[y == 1, 3:9, 7:11] += 180
    return images.astype(np.uint8), y
