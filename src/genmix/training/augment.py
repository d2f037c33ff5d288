"""Data augmentation: random views of an item, which stay in its component."""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from genmix.base.validation import Settings, short_repr
from genmix.training.engine import Engine
from genmix.training.sampling import WeightedSampler


@dataclass(frozen=True)
class Affine(Settings):
    """Random shifts, rotations, scalings and shears of images.

    Parameters
    ----------
    shift : float
        Largest shift as a share of the side (0.07 is 2 of 28 pixels).
    rotate : float
        Largest rotation in radians.
    scale : float
        Largest relative change of either side.
    shear : float
        Largest shear.
    flip : bool
        Mirror left and right half of the time. Off by default: it turns some things into others (b and d).
    """

    shift: float = 0.07
    rotate: float = 0.26
    scale: float = 0.15
    shear: float = 0.15
    flip: bool = False

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Return a view of images ``[..., C, H, W]``; the border is padded with the nearest pixel."""
        images = x.reshape(-1, *x.shape[-3:])
        n = len(images)

        def uniform(bound: float) -> Tensor:
            return (torch.rand(n, generator=generator, device=x.device) * 2 - 1) * bound

        angle, across = uniform(self.rotate), 1 + uniform(self.scale)
        if self.flip:
            mirrored = torch.rand(n, generator=generator, device=x.device) >= 0.5
            across = torch.where(mirrored, -across, across)
        top = torch.stack(
            [across * angle.cos(), uniform(self.shear) - angle.sin(), uniform(2 * self.shift)], 1
        )
        down = 1 + uniform(self.scale)
        low = torch.stack([angle.sin(), down * angle.cos(), uniform(2 * self.shift)], 1)
        grid = F.affine_grid(torch.stack([top, low], 1), list(images.shape), align_corners=False)
        return F.grid_sample(images, grid, padding_mode="border", align_corners=False).view_as(x)


@dataclass(frozen=True)
class ColorJitter(Settings):
    """Random affine changes, and other light, of colour photographs.

    Parameters
    ----------
    affine : Affine
        Where things are; photographs are mirrored too.
    strength : float
        How much the light changes: at 1 contrast and saturation (the distance to the image's mean, and to its
        grey version) by up to 30 %, single channels by up to 15 %, all of them by up to 0.1 in units of the
        scaled data.
    """

    affine: Affine = Affine(0.1, 0.15, 0.15, 0.1, flip=True)
    strength: float = 1.0

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Return a view of images ``[..., C, H, W]``."""
        images = self.affine(x, generator).reshape(-1, *x.shape[-3:])
        n, channels = images.shape[:2]

        def uniform(bound: float, k: int = 1) -> Tensor:
            share = torch.rand(n, k, 1, 1, generator=generator, device=x.device) * 2 - 1
            return share * (self.strength * bound)

        mean = images.mean((1, 2, 3), keepdim=True)
        images = mean + (images - mean) * (1 + uniform(0.3))
        grey = images.mean(1, keepdim=True)
        images = grey + (images - grey) * (1 + uniform(0.3))
        images = images * (1 + uniform(0.15, channels)) + uniform(0.1)
        return images.view_as(x)


@dataclass(frozen=True)
class NeighborSwap(Settings):
    """For tables: a view of an item is a near neighbour with Gaussian noise.

    Parameters
    ----------
    n_neighbors : int
        The second view is one of so many nearest neighbours; 0 is the item itself.
    noise : float
        Standard deviation of Gaussian noise, as a share of the typical distance to a neighbour.
    """

    n_neighbors: int = 10
    noise: float = 0.5


#: Neighbours are searched among at most so many random items, so that the cost is linear in their number.
REFERENCE_LIMIT = 20_000


def nearest_neighbors(
    x: np.ndarray, n_neighbors: int, rng: np.random.RandomState
) -> tuple[np.ndarray, float]:
    """Nearest neighbours, at most N - 1, of every row of ``x [N, d]``; `rng` draws those of large data.

    Returns
    -------
    index : ndarray of int64 [N, n]
        Rows of `x`, never the row itself unless N is 1.
    distance : float
        Median Euclidean distance, 0 for fewer than 2 rows.
    """
    from sklearn.neighbors import NearestNeighbors

    n = len(x)
    reference = rng.permutation(n)[:REFERENCE_LIMIT] if n > REFERENCE_LIMIT else np.arange(n)
    count = min(n_neighbors, len(reference) - 1)
    if count < 1:
        return np.zeros((n, 1), dtype=np.int64), 0.0
    distances, columns = NearestNeighbors(n_neighbors=count + 1).fit(x[reference]).kneighbors(x)
    index = reference[columns]
    # The row itself is dropped wherever it stands (duplicates may come before it), else the farthest is.
    itself = index == np.arange(n)[:, None]
    itself[~itself.any(1), -1] = True
    shape = (n, count)
    return index[~itself].reshape(shape).astype(np.int64), float(np.median(distances[~itself].reshape(shape)))


def are_images(item_shape: tuple[int, ...]) -> bool:
    """Tell images from rows of a table, and from rows in the shape of images."""
    return len(item_shape) == 3 and min(item_shape[1:]) > 1


Augmentation = Affine | ColorJitter | NeighborSwap | Callable[[Tensor, torch.Generator], Tensor]


def resolve_augmentation(value: Any, item_shape: tuple[int, ...], name: str = "augmentation") -> Augmentation:
    """Resolve the argument `augmentation`; ValueError where it is none, or one of images for a table."""
    if isinstance(value, str) and value == "auto":
        if not are_images(item_shape):
            return NeighborSwap()
        return ColorJitter() if item_shape[0] == 3 else Affine()
    if value is None:
        return NeighborSwap(0, 0.0)
    if isinstance(value, Affine | ColorJitter) and len(item_shape) != 3:
        kind = type(value).__name__
        raise ValueError(f"{name}={kind}() needs images; tables take NeighborSwap() or 'auto'")
    if isinstance(value, NeighborSwap) or callable(value):
        return value
    raise ValueError(
        f"{name}={short_repr(value)}: expected 'auto', Affine, ColorJitter, NeighborSwap, None or a callable"
    )


class AugmentedData:
    """Items with their augmentation: draws random views of them, and of generated items.

    Parameters
    ----------
    items : Tensor [N, *item_shape]
        Scaled items.
    augmentation : Affine, NeighborSwap or callable
        A callable maps ``[..., *item_shape]`` and a generator to the same shape.
    engine : Engine
        Device and random generators.
    weights : Tensor [N], optional
        Items are drawn in proportion to them; equally by default.
    component : Tensor of int64 [N], optional
        Known components, -1 where unknown: an item is not exchanged with a neighbour of another one.
    """

    def __init__(
        self,
        items: Tensor,
        augmentation: Augmentation,
        engine: Engine,
        weights: Tensor | None = None,
        component: Tensor | None = None,
    ) -> None:
        self.items, self.augmentation, self.engine = items, augmentation, engine
        self.weights = None if weights is None else weights.to(items.device)
        self._sampler = None if self.weights is None else WeightedSampler(self.weights)
        self.component = component
        self.neighbors: Tensor | None = None
        self.noise = 0.0
        if isinstance(augmentation, NeighborSwap) and (augmentation.n_neighbors or augmentation.noise):
            flat = items.flatten(1).cpu().numpy()
            n_neighbors = max(augmentation.n_neighbors, 1)
            neighbors, distance = nearest_neighbors(flat, n_neighbors, engine.numpy_state)
            self.noise = augmentation.noise * distance / math.sqrt(flat.shape[1])
            if augmentation.n_neighbors:
                self.neighbors = torch.from_numpy(neighbors).to(items.device)

    def with_noise(self, factor: float) -> AugmentedData:
        """Return the same items, with the same neighbours, in views of so many times the noise."""
        data = copy(self)
        data.noise = self.noise * factor
        return data

    def perturb(self, x: Tensor) -> Tensor:
        """Return an augmented view of any items ``[..., *item_shape]``, or the items where none differs."""
        if isinstance(self.augmentation, NeighborSwap):
            if not self.noise:
                return x
            return x + self.noise * torch.randn(x.shape, generator=self.engine.generator, device=x.device)
        return self.augmentation(x, self.engine.generator)

    def sample_neighbors(self, index: Tensor) -> Tensor:
        """For each index a random near neighbour, or the item itself."""
        if self.neighbors is None:
            return index
        generator, n_neighbors = self.engine.generator, self.neighbors.shape[1]
        column = torch.randint(n_neighbors, index.shape, generator=generator, device=index.device)
        neighbor = self.neighbors[index, column]
        if self.weights is not None:
            neighbor = torch.where(self.weights[neighbor] > 0, neighbor, index)
        if self.component is not None:
            own, other = self.component[index], self.component[neighbor]
            neighbor = torch.where((own >= 0) & (other >= 0) & (own != other), index, neighbor)
        return neighbor

    def draw_index(self, restarts: int, batch_size: int) -> Tensor:
        """Draw indices ``[R, B]`` of random items."""
        shape, generator = (restarts, batch_size), self.engine.generator
        if self._sampler is None:
            return torch.randint(len(self.items), shape, generator=generator, device=self.items.device)
        return self._sampler.draw(math.prod(shape), generator).view(shape)

    def draw(self, restarts: int, batch_size: int) -> tuple[Tensor, Tensor]:
        """Draw indices ``[R, B]`` of random items and two views of them, ``[2, R, B, *item_shape]``."""
        index = self.draw_index(restarts, batch_size)
        return index, self.perturb(self.items[torch.stack([index, self.sample_neighbors(index)])])
