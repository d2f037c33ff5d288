"""Starting partitions: line 1 of the GANMM algorithm, and better ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from genmix.base.validation import PositiveInt, Settings
from genmix.ganmm.e_step import Classifier, agreement
from genmix.nn.build import copy_networks
from genmix.training.augment import AugmentedData
from genmix.training.engine import Engine
from genmix.training.supervision import Labels, seeded_kmeans

Learner = TypeVar("Learner", bound=Classifier)

#: Classical partitions by name.
PARTITIONS = ("random", "kmeans", "gmm-full", "gmm-tied", "gmm-diag", "spectral")


#: Views under which networks that learned compete with those only taught have so many times the noise:
#: under less, groups of very unequal size are cut.
_NOISIER = 2.0


@dataclass(frozen=True)
class InfoMaxInit(Settings):
    """Train the E-step classifier by information maximisation under augmentation before the first E-step.

    Several networks and heads learn at once and the one whose memberships of two views of an item tell most
    about each other is taken; no labels are involved. See `em.information_loss`.

    Parameters
    ----------
    steps : int
        Optimiser steps.
    heads : int
        Output heads that share a network.
    networks : int
        Networks that learn from random initial weights, in one stack.
    partitions : sequence of str
        Further networks first learn these classical partitions (see `PARTITIONS`) for `partition_steps` steps. In
        the end the partitions also compete as they were taught.
    partition_steps : int
        Steps on each classical partition.
    rate : float
        Learning rate at the start; it falls to nearly 0 along a cosine.
    conditional_entropy_weight, balance : float
        Weights in `em.information_loss`.
    batch_size : int
        Items of a step, each in two views.
    screening_steps : int
        After so many steps the best network of each restart goes on alone; 0 lets all learn to the end.
    """

    steps: int = 1200
    heads: PositiveInt = 5
    networks: int = 1
    partitions: Sequence[str] = ()
    partition_steps: int = 100
    rate: float = 1e-3
    conditional_entropy_weight: float = 0.2
    balance: float = 2.0
    screening_steps: int = 0
    batch_size: PositiveInt = 256

    def __post_init__(self) -> None:
        """Refuse a trial that does not end before the last step."""
        super().__post_init__()
        if not self.networks and not self.partitions:
            raise ValueError("networks=0: expected at least 1 where no partitions are given")
        if not 0 <= self.screening_steps < max(self.steps, 1):
            raise ValueError(
                f"screening_steps={self.screening_steps!r}: expected at least 0 and fewer than steps={self.steps!r}"
            )


def partition(name: str, items: Tensor, n_components: int, run: Engine) -> np.ndarray:
    """Classical partition of items by name.

    Parameters
    ----------
    name : str
        One of `PARTITIONS`. "random" deals the items into parts of equal size (Algorithm 1, line 1).
    items : Tensor [N, *item_shape]
        Scaled items; flattened here.
    n_components : int
        K.
    run : Engine
        Source of seeds.

    Returns
    -------
    ndarray of int64 [N]
    """
    n = len(items)
    if name == "random":
        order = run.numpy_state.permutation(n)
        labels = np.empty(n, dtype=np.int64)
        labels[order] = np.arange(n) * n_components // n
        return labels
    flat = items.flatten(1).cpu().double().numpy()
    if name == "spectral":
        return _spectral(flat, n_components, run)
    return np.asarray(_classical(name, n_components, run.seed()).fit_predict(flat), dtype=np.int64)


def _classical(name: str, n_components: int, seed: int) -> Any:
    from sklearn.cluster import KMeans
    from sklearn.mixture import GaussianMixture

    if name == "kmeans":
        return KMeans(n_components, n_init=10, random_state=seed)
    if name in PARTITIONS and name.startswith("gmm-"):
        kind = name.removeprefix("gmm-")
        return GaussianMixture(
            n_components, covariance_type=kind, n_init=3, reg_covar=1e-3, random_state=seed
        )
    raise ValueError(
        f"start={name!r} is unknown; expected 'information', one of {', '.join(PARTITIONS)}, or labels"
    )


def _spectral(
    flat: np.ndarray, n_components: int, run: Engine, limit: int = 4000, n_neighbors: int = 10
) -> np.ndarray:
    """Spectral clustering of the neighbours of at most `limit` items; the others follow theirs."""
    from sklearn.cluster import SpectralClustering
    from sklearn.neighbors import KNeighborsClassifier, kneighbors_graph

    sample = run.numpy_state.permutation(len(flat))[:limit]
    count = min(n_neighbors, len(sample) - 1)
    graph = kneighbors_graph(flat[sample], count, include_self=True)
    model = SpectralClustering(n_components, affinity="precomputed")
    graph = _connected(0.5 * (graph + graph.T), flat[sample])
    labels = model.set_params(random_state=run.seed()).fit_predict(graph)
    if len(sample) == len(flat):
        found = np.empty(len(flat), dtype=np.int64)
        found[sample] = labels
        return found
    voter = KNeighborsClassifier(5).fit(flat[sample], labels)
    return np.asarray(voter.predict(flat), dtype=np.int64)


def _connected(graph: Any, points: np.ndarray) -> Any:
    """Join the parts of a neighbour graph by their nearest pairs; spectral embedding needs one part."""
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import connected_components
    from sklearn.metrics import pairwise_distances_argmin_min

    while True:
        count, part = connected_components(graph, directed=False)
        if count == 1:
            return graph
        rows, columns = [], []
        for number in range(count):
            inside, outside = np.flatnonzero(part == number), np.flatnonzero(part != number)
            nearest, distance = pairwise_distances_argmin_min(points[inside], points[outside])
            closest = distance.argmin()
            rows.append(inside[closest])
            columns.append(outside[nearest[closest]])
        links = csr_matrix((np.ones(count), (rows, columns)), shape=graph.shape)
        graph = graph.maximum(links).maximum(links.T)


def start_components(
    start: str | np.ndarray,
    views: AugmentedData,
    n_components: int,
    restarts: int,
    labels: Labels | None = None,
) -> Tensor:
    """Components ``[R, N]`` of all items to begin with; labelled items have their own.

    Parameters
    ----------
    start : str or ndarray of int64 [N]
        A classical partition by name (see `PARTITIONS`; with labels "kmeans" is the semi-supervised one, and
        others are renumbered to agree with them), or the components.
    views : AugmentedData
        The data.
    n_components, restarts : int
        K and R.
    labels : Labels, optional
        Known components of some items.
    """
    run = views.run

    def one() -> np.ndarray:
        if isinstance(start, np.ndarray):
            return start
        if labels is None:
            return partition(start, views.items, n_components, run)
        if start == "kmeans":
            points = views.items.flatten(1).cpu().double().numpy()
            known = labels.component.cpu().numpy()
            return seeded_kmeans(points, known, n_components, run.numpy_state)[0]
        return labels.align(partition(start, views.items, n_components, run))

    found = torch.from_numpy(np.stack([one() for _ in range(restarts)])).to(run.device)
    return found if labels is None else torch.where(labels.component >= 0, labels.component, found)


def pretrain_infomax(
    start: InfoMaxInit,
    make: Callable[[int, int, float], Learner],
    views: AugmentedData,
    n_components: int,
    restarts: int,
    rate: float,
    labels: Labels | None = None,
) -> Learner:
    """Train stacks of classifiers by information maximisation and keep the best one for each restart.

    For each restart P networks that know a classical partition, and others of random weights, learn by
    information maximisation. The one whose views agree best then competes with the P as they were taught,
    under with_noise views. All is judged by `agreement`.

    Parameters
    ----------
    start : InfoMaxInit
        Settings.
    make : callable
        ``(n_networks, n_heads, rate) -> Classifier`` makes a stack of classifiers.
    views : AugmentedData
        The data and its augmentation.
    n_components, restarts : int
        K and R.
    rate : float
        Learning rate at which the classifier that is kept goes on.
    labels : Labels, optional
        Known components of some items: learned beside, and their shares are the prior of the memberships'.

    Returns
    -------
    Classifier
        R networks, one head of each in use.
    """
    run, taught = views.run, len(start.partitions)

    def move(source: Classifier, chosen: Tensor, target: Classifier, places: Tensor) -> None:
        copy_networks(source.network, source.restarts, chosen, target.network, target.restarts, places)

    each = taught + start.networks
    learner = make(restarts * each, start.heads, start.rate)
    only_taught: list[Classifier] = []
    if taught:
        stack = make(restarts * taught, start.heads, start.rate)
        stack.fit_partition(
            _partitions(start, restarts, views, n_components, labels), views, start.partition_steps
        )
        places = torch.arange(restarts * each, device=run.device).view(restarts, each)[:, :taught].flatten()
        move(stack, torch.arange(restarts * taught, device=run.device), learner, places)
        only_taught = [stack]
    _learn(
        learner, views, start, start.screening_steps or start.steps, labels, falling=not start.screening_steps
    )

    def best(seen: AugmentedData, *stacks: Classifier) -> Tensor:
        """Find whose views agree best: a number ``[R]`` among all heads of the restart."""

        def assign(items: Tensor) -> Tensor:  # [R, heads of all networks, B]
            return torch.cat([s.head_labels(items).unflatten(0, (restarts, -1)) for s in stacks], 1)

        return agreement(assign, seen, n_components).argmax(1)

    def keep(number: Tensor, *stacks: Classifier) -> None:
        """Copy to `kept` the networks of these heads."""
        place, head, first = torch.arange(restarts, device=run.device), torch.zeros_like(number), 0
        for stack in stacks:
            own, heads = stack.restarts // restarts, stack.n_heads if stack.head is None else 1
            here = place[(first <= number) & (number < first + own * heads)]
            network, one = (number[here] - first) // heads, (number[here] - first) % heads
            if stack is not kept:
                move(stack, here * own + network, kept, here)
            head[here] = one if stack.head is None else stack.head[here]
            first += own * heads
        kept.head = head

    # Those that learn compete with each other; the best then meets those only taught.
    number = best(views, learner)
    kept = make(restarts, start.heads, rate)
    kept.has_seen_data = True
    keep(number, learner)
    if start.screening_steps:
        kept.head = None  # all its heads learn on
        _learn(kept, views, start, start.steps - start.screening_steps, labels, falling=True)
        keep(best(views, kept), kept)
        kept.reset_optimizer(rate)
    if only_taught:
        keep(best(views.with_noise(_NOISIER), kept, *only_taught), kept, *only_taught)
    return kept


def _learn(
    learner: Classifier,
    views: AugmentedData,
    start: InfoMaxInit,
    steps: int,
    labels: Labels | None,
    *,
    falling: bool,
) -> None:
    """Information maximisation at a constant rate, or one that falls along a cosine."""
    prior = None if labels is None else labels.shares()
    for index in views.run.progress(steps, "start"):
        fall = 0.51 + 0.49 * math.cos(math.pi * index / steps) if falling else 1.0
        learner.optimizer.set_lr(start.rate * fall)
        loss = learner.information(
            views, start.balance, start.conditional_entropy_weight, prior, start.batch_size
        ).sum()
        if labels is not None:
            loss = loss + labels.loss(learner, views)
        learner.optimizer.step(loss)


def _partitions(
    start: InfoMaxInit, restarts: int, views: AugmentedData, n_components: int, labels: Labels | None
) -> Tensor:
    """Classical partitions ``[R * P, N]``, P for each restart."""
    run = views.run
    found = [partition(n, views.items, n_components, run) for _ in range(restarts) for n in start.partitions]
    if labels is not None:
        found = [labels.align(part) for part in found]
    return torch.from_numpy(np.stack(found)).to(run.device)
