"""Labels for a part of the data: component k is bound to class k (Pande & Awate 2020, section III-D)."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from genmix.base.preprocessing import as_array
from genmix.base.validation import short_repr
from genmix.training.augment import AugmentedData
from genmix.training.sampling import WeightedSampler


def encode_labels(y: Any, n_items: int, n_components: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Turn labels ``y [N]``, -1 where unknown, into components.

    Returns
    -------
    classes : ndarray [C]
        The classes that occur, in ascending order; component k stands for ``classes[k]``.
    component : ndarray of int64 [N]
        0 to C - 1, or -1 where unknown. None instead of both where nothing is known.

    Raises
    ------
    ValueError
        Labels of another number or kind, or of more classes than there are components.
    """
    if y is None:
        return None
    try:
        y = np.asarray(as_array(y))
    except (TypeError, ValueError) as error:  # lists of different lengths
        raise ValueError(f"y={short_repr(y)}: expected one label for each item, -1 if unknown") from error
    if y.shape != (n_items,):
        raise ValueError(
            f"y has shape {y.shape}; expected ({n_items},): one label for each item, -1 if unknown"
        )
    if y.dtype.kind in "fu" and (np.abs(y) < 2.0**63).all() and (y == y.round()).all():
        y = y.astype(np.int64)
    if y.dtype.kind not in "ib":
        raise ValueError(
            f"Unknown label type: y has dtype {y.dtype}; expected whole numbers of 64 bits, with -1 for "
            "unknown (sklearn's LabelEncoder turns names into numbers)"
        )
    y = y.astype(np.int64)
    classes = np.unique(y[y != -1])
    if not len(classes):
        return None
    if len(classes) > n_components:
        raise ValueError(
            f"y has {len(classes)} classes, but n_components={n_components}: every class needs a component"
        )
    return classes, np.where(y == -1, -1, np.searchsorted(classes, y))


def check_sample_weight(sample_weight: Any, n_items: int) -> Tensor | None:
    """How often items count, ``[N]``, None for all alike; ValueError unless finite, >= 0 and not all zero."""
    if sample_weight is None:
        return None
    try:
        with np.errstate(over="ignore"):
            weights = torch.from_numpy(np.array(as_array(sample_weight), dtype=np.float32))
    except (TypeError, ValueError) as error:
        raise ValueError(f"sample_weight={short_repr(sample_weight)}: expected {n_items} numbers") from error
    if weights.shape != (n_items,) or not (weights >= 0).all() or not 0 < weights.sum() < torch.inf:
        raise ValueError(
            f"sample_weight of shape {tuple(weights.shape)}: expected {n_items} finite numbers >= 0 that are "
            "not all zero"
        )
    return weights


class _Learner(Protocol):
    restarts: int

    def scores(self, x: Tensor) -> Tensor: ...


class Labels:
    """The known components of some items.

    Parameters
    ----------
    component : Tensor of int64 [N]
        Component, -1 where unknown.
    n_components : int
        K.
    weights : Tensor [N], optional
        How often items are drawn, in proportion.

    Attributes
    ----------
    index : Tensor of int64 [M]
        The labelled items.
    complete : bool
        Whether every component has some.
    """

    def __init__(self, component: Tensor, n_components: int, weights: Tensor | None = None) -> None:
        self.component, self.k = component, n_components
        self.index = (component >= 0).nonzero()[:, 0]
        weights = torch.ones(len(component)) if weights is None else weights
        self.weights = weights.to(component.device)[self.index]
        self.complete = len(component[self.index].unique()) == n_components

    def shares(self, concentration: float = 10.0) -> Tensor:
        """Shares ``[K]`` of the components among the labelled items, under a symmetric Dirichlet prior.

        Unequal only as far as the labels show it. Components beyond the labelled classes get what a class has
        on average.
        """
        counts = torch.zeros(self.k, dtype=torch.int64, device=self.component.device)
        counts = counts.index_add_(0, self.component[self.index], (self.weights > 0).long()).float()
        known = counts > 0
        counts = torch.where(known, counts, counts[known].mean()) + concentration
        return counts / counts.sum()

    def draw_index(self, restarts: int, batch_size: int, generator: torch.Generator) -> Tensor:
        """Draw indices ``[R, B]`` of labelled items."""
        return self.index[self._sampler.draw(restarts * batch_size, generator)].view(restarts, batch_size)

    @cached_property
    def _sampler(self) -> WeightedSampler:
        return WeightedSampler(self.weights)

    def loss(self, learner: _Learner, data: AugmentedData, batch_size: int = 64) -> Tensor:
        """Cross-entropy of all heads on augmented labelled items, summed over restarts and heads."""
        index = self.draw_index(learner.restarts, batch_size, data.engine.generator)
        scores = learner.scores(data.perturb(data.items[index]))  # [R, B, H, K]
        target = self.component[index][..., None].expand(scores.shape[:-1])
        return F.cross_entropy(scores.flatten(0, 2), target.flatten(), reduction="sum") / batch_size

    def align(self, partition: np.ndarray) -> np.ndarray:
        """Renumber the parts of a partition so that they agree with as many labels as possible."""
        from scipy.optimize import linear_sum_assignment

        known = self.component[self.index].cpu().numpy()
        table = np.zeros((self.k, self.k), dtype=int)
        np.add.at(table, (partition[self.index.cpu().numpy()], known), 1)
        parts, components = linear_sum_assignment(-table)
        return components[np.argsort(parts)][partition]


def seeded_centers(
    points: np.ndarray, component: np.ndarray, n_components: int, rng: np.random.RandomState
) -> np.ndarray:
    """Centres ``[K, d]`` to start from: means of labelled points, the others by greedy k-means++.

    Greedy: of several unlabelled points drawn by squared distance the one that helps most.

    Parameters
    ----------
    points : ndarray [N, d]
        Rows.
    component : ndarray of int64 [N]
        Known clusters, -1 where unknown.
    n_components : int
        K.
    rng : numpy.random.RandomState
        Source of randomness.
    """
    from sklearn.metrics import pairwise_distances_argmin_min

    known = component >= 0
    centers = {k: points[component == k].mean(0) for k in np.unique(component[known])}
    free = points[~known] if (~known).any() else points
    for k in range(n_components):
        if k in centers:
            continue
        if not centers:
            centers[k] = free[rng.randint(len(free))]
            continue
        square = pairwise_distances_argmin_min(free, np.stack(list(centers.values())))[1] ** 2
        shares = square / square.sum() if square.any() else np.full(len(free), 1 / len(free))
        trials = free[rng.choice(len(free), 2 + int(np.log(n_components)), p=shares)]
        rest = [np.minimum(square, ((free - trial) ** 2).sum(1)).sum() for trial in trials]
        centers[k] = trials[int(np.argmin(rest))]
    return np.stack([centers[k] for k in range(n_components)])


def seeded_kmeans(
    points: np.ndarray,
    component: np.ndarray,
    n_components: int,
    rng: np.random.RandomState,
    max_iter: int = 300,
    hold: bool = False,
) -> tuple[np.ndarray, np.ndarray, int]:
    """Semi-supervised k-means (Basu et al. 2002): labelled points keep their cluster (section III-E).

    Arguments are those of `seeded_centers`; with `hold`, centres of clusters with labelled points stay at the
    means of these.

    Returns
    -------
    labels : ndarray of int64 [N]
        Cluster of each point.
    centers : ndarray [K, d]
        Their means.
    n_iter : int
        Iterations done.
    """
    from sklearn.metrics import pairwise_distances_argmin

    known, labels = component >= 0, component.copy()
    centers, n_iter = seeded_centers(points, component, n_components, rng), 0
    for n_iter in range(1, max_iter + 1):  # noqa: B007 - how many it took is returned
        before = labels.copy()
        if (~known).any():
            labels[~known] = pairwise_distances_argmin(points[~known], centers)
        for k in np.setdiff1d(labels, component[known]) if hold else np.unique(labels):
            centers[k] = points[labels == k].mean(0)
        if (labels == before).all():
            break
    return labels, centers, n_iter
