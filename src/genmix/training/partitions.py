"""Classical partitions of the data by name: what EM, or a network, may begin with."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from genmix.training.augment import AugmentedData, nearest_neighbors
from genmix.training.engine import Engine
from genmix.training.information import stability
from genmix.training.supervision import Labels, seeded_kmeans

#: Classical partitions by name.
PARTITIONS = ("random", "kmeans", "gmm-full", "gmm-tied", "gmm-diag", "spectral")
#: More rows are partitioned by a random sample of so many; the others go where a model of it puts them.
ROW_LIMIT = 50_000
#: Near neighbours of an item, and rows of a sample, by which a partition is judged (`parted_neighbors`).
NEIGHBORS, STABILITY_LIMIT = 10, 1000
#: Items of more numbers are reduced to so many principal components before a covariance is estimated.
COLUMN_LIMIT, N_PRINCIPAL = 256, 64


def partition(name: str, items: Tensor, n_components: int, engine: Engine) -> np.ndarray:
    """Classical partition of items by name.

    Parameters
    ----------
    name : str
        One of `PARTITIONS`. "random" deals the items into parts of equal size (Algorithm 1, line 1).
    items : Tensor [N, *item_shape]
        Scaled items; flattened here. Of more than `ROW_LIMIT` a random sample is partitioned, of more than
        `COLUMN_LIMIT` numbers each their principal components.
    n_components : int
        K.
    engine : Engine
        Source of seeds.

    Returns
    -------
    ndarray of int64 [N]
    """
    n = len(items)
    if name == "random":
        labels = np.empty(n, dtype=np.int64)
        labels[engine.numpy_state.permutation(n)] = np.arange(n) * n_components // n
        return labels
    if name not in PARTITIONS:
        raise ValueError(
            f"init={name!r} is unknown; expected 'infomax', one of {', '.join(PARTITIONS)}, or labels"
        )
    flat = items.flatten(1).cpu().numpy()
    rows = engine.numpy_state.permutation(n)[:ROW_LIMIT] if n > ROW_LIMIT else slice(None)
    reduce = _reduction(flat[rows], engine)
    sample = reduce(flat[rows])
    if name == "spectral":
        labels, model = _spectral(sample, n_components, engine)
    else:
        model = _classical(name, n_components, engine.seed())
        labels = model.fit_predict(sample)
    if isinstance(rows, slice):
        return np.asarray(labels, dtype=np.int64)
    parts = np.array_split(flat, -(-n // ROW_LIMIT))
    return np.concatenate([model.predict(reduce(part)) for part in parts]).astype(np.int64)


def _reduction(sample: np.ndarray, engine: Engine) -> Any:
    """Make the function that brings rows to float64 and, where they have very many columns, to few."""
    if sample.shape[1] <= COLUMN_LIMIT:
        return lambda rows: rows.astype(np.float64)
    from sklearn.decomposition import PCA

    count = min(N_PRINCIPAL, len(sample))
    pca = PCA(count, svd_solver="randomized", random_state=engine.seed()).fit(sample)
    return lambda rows: pca.transform(rows).astype(np.float64)


def _classical(name: str, n_components: int, seed: int) -> Any:
    from sklearn.cluster import KMeans
    from sklearn.mixture import GaussianMixture

    if name == "kmeans":
        return KMeans(n_components, n_init=10, random_state=seed)
    kind = name.removeprefix("gmm-")
    return GaussianMixture(n_components, covariance_type=kind, n_init=3, reg_covar=1e-3, random_state=seed)


def _spectral(
    flat: np.ndarray, n_components: int, engine: Engine, limit: int = 4000, n_neighbors: int = 10
) -> tuple[np.ndarray, Any]:
    """Spectral clustering of the neighbours of at most `limit` rows; the model gives others their part."""
    from sklearn.cluster import SpectralClustering
    from sklearn.neighbors import KNeighborsClassifier, kneighbors_graph

    sample = engine.numpy_state.permutation(len(flat))[:limit]
    count = min(n_neighbors, len(sample) - 1)
    graph = kneighbors_graph(flat[sample], count, include_self=True)
    model = SpectralClustering(n_components, affinity="precomputed")
    graph = _connected(0.5 * (graph + graph.T), flat[sample])
    labels = model.set_params(random_state=engine.seed()).fit_predict(graph)
    nearest = KNeighborsClassifier(min(5, len(sample))).fit(flat[sample], labels)
    if len(sample) < len(flat):
        return nearest.predict(flat), nearest
    in_order = np.empty(len(flat), dtype=np.int64)
    in_order[sample] = labels
    return in_order, nearest


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


def neighbor_stability(labels: Tensor, neighbors: Tensor, n_components: int) -> Tensor:
    """How often items and their nearest neighbours have one component, beyond chance (`stability`).

    Parameters
    ----------
    labels : Tensor of int64 [..., N]
        Component of each item.
    neighbors : Tensor of int64 [N, n]
        Nearest neighbours of each item.
    n_components : int
        K.

    Returns
    -------
    Tensor [...]
    """
    own = labels[..., None].expand(*labels.shape, neighbors.shape[1])
    return stability(own.flatten(-2), labels[..., neighbors].flatten(-2), n_components)


def vote_of_neighbors(labels: Tensor, neighbors: Tensor, n_components: int, rounds: int = 5) -> Tensor:
    """Give each item the component that most of its nearest neighbours have, its own where they are equal.

    Parameters
    ----------
    labels : Tensor of int64 [N]
        Component of each item.
    neighbors : Tensor of int64 [N, n]
        Nearest neighbours of each item.
    n_components : int
        K.
    rounds : int
        Votes, each of what the one before found.

    Returns
    -------
    Tensor of int64 [N]
    """
    for _ in range(rounds):
        votes = torch.zeros(len(labels), n_components)
        votes.scatter_add_(1, labels[neighbors], torch.ones(neighbors.shape))
        labels = votes.scatter_add_(1, labels[:, None], torch.full((len(labels), 1), 0.5)).argmax(1)
    return labels


def parted_neighbors(items: Tensor, labels: np.ndarray, n_components: int) -> tuple[float, float]:
    """How often near neighbours are parted by components, and how often by k-means of the same items.

    Parameters
    ----------
    items : Tensor [N, *item_shape]
        Scaled items; of more than `STABILITY_LIMIT` the same random sample is taken each time.
    labels : ndarray of int64 [N]
        Component of each item.
    n_components : int
        K.

    Returns
    -------
    components, kmeans : float
        ``1 - stability``: 0 where neighbours always agree, 1 by chance. Both 0 where items are too few to
        say: fewer than `NEIGHBORS` a component.
    """
    from sklearn.cluster import KMeans

    rng = np.random.RandomState(0)  # the fit's own random numbers stay what they are
    rows = rng.permutation(len(items))[:STABILITY_LIMIT]
    if n_components == 1 or len(rows) < NEIGHBORS * n_components:
        return 0.0, 0.0
    points = items[torch.from_numpy(rows)].flatten(1).cpu().numpy()
    neighbors, _ = nearest_neighbors(points, NEIGHBORS, rng)
    plain = KMeans(n_components, n_init=10, random_state=0).fit_predict(points)
    both = torch.from_numpy(np.stack([labels[rows], plain]).astype(np.int64))
    own, kmeans = (1 - neighbor_stability(both, torch.from_numpy(neighbors), n_components)).tolist()
    return own, kmeans


def merge_by_traffic(labels: Tensor, neighbors: Tensor, n_components: int) -> np.ndarray:
    """Merge the parts of a fine partition that share most of their neighbours, until K are left.

    The parts of one group touch each other, those of different groups hardly do, whatever their sizes. The
    pair of largest traffic ``J_ij / min(m_i, m_j)`` is merged first, with J the pairs of an item of one and a
    nearest neighbour in the other, and m the pairs of a part with any.

    Parameters
    ----------
    labels : Tensor of int64 [N]
        Part of each item, 0 to M - 1.
    neighbors : Tensor of int64 [N, n]
        Nearest neighbours of each item.
    n_components : int
        K, at most M.

    Returns
    -------
    ndarray of int64 [M]
        New part, 0 to K - 1, of each old one.
    """
    part, fine = labels.cpu().numpy(), int(labels.max()) + 1
    traffic = np.zeros((fine, fine))
    np.add.at(traffic, (part[:, None], part[neighbors.cpu().numpy()]), 1)
    traffic += traffic.T
    group = np.arange(fine)
    for _ in range(fine - n_components):
        left = np.unique(group)
        joint = traffic[np.ix_(left, left)]
        size = joint.sum(1)
        ratio = np.triu(joint / np.maximum(np.minimum(size[:, None], size), 1), 1)
        ratio[np.tril_indices(len(left))] = -1
        first, second = (left[i] for i in np.unravel_index(ratio.argmax(), ratio.shape))
        group[group == second] = first
        traffic[first] += traffic[second]
        traffic[:, first] += traffic[:, second]
    return np.unique(group, return_inverse=True)[1].astype(np.int64)


def initial_components(
    init: str | np.ndarray,
    data: AugmentedData,
    n_components: int,
    restarts: int,
    labels: Labels | None = None,
) -> Tensor:
    """Components ``[R, N]`` of all items to begin with; labelled items have their own.

    Parameters
    ----------
    init : str or ndarray of int64 [N]
        A classical partition by name (see `PARTITIONS`; with labels "kmeans" is the semi-supervised one, and
        others are renumbered to agree with them), or the components.
    data : AugmentedData
        The items.
    n_components, restarts : int
        K and R.
    labels : Labels, optional
        Known components of some items.
    """

    def one() -> np.ndarray:
        if isinstance(init, np.ndarray):
            return init
        if labels is None:
            return partition(init, data.items, n_components, data.engine)
        if init == "kmeans":
            return _semi_supervised_kmeans(data, labels, n_components)
        return labels.align(partition(init, data.items, n_components, data.engine))

    found = torch.from_numpy(np.stack([one() for _ in range(restarts)])).to(data.engine.device)
    return found if labels is None else torch.where(labels.component >= 0, labels.component, found)


def _semi_supervised_kmeans(data: AugmentedData, labels: Labels, n_components: int) -> np.ndarray:
    """Semi-supervised k-means, of a sample of `ROW_LIMIT` rows and the labelled ones where there are more."""
    from sklearn.metrics import pairwise_distances_argmin

    flat, known = data.items.flatten(1).cpu().numpy(), labels.component.cpu().numpy()
    rng, n = data.engine.numpy_state, len(flat)
    rows = np.arange(n)
    if n > ROW_LIMIT:
        unlabelled = np.flatnonzero(known < 0)
        rows = np.concatenate([np.flatnonzero(known >= 0), rng.permutation(unlabelled)[:ROW_LIMIT]])
    part, centers, _ = seeded_kmeans(flat[rows].astype(np.float64), known[rows], n_components, rng)
    if len(rows) == n:
        return part
    return np.asarray(pairwise_distances_argmin(flat, centers.astype(flat.dtype)), dtype=np.int64)
