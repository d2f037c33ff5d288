"""Places for data on a two-dimensional map, and real items close to generated ones."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

_TSNE_DIMENSIONS = 30  # a map needs no more, and neighbours are found much faster


@dataclass(frozen=True)
class Map:
    """A 2-D map of part of the data.

    Parameters
    ----------
    rows : array int [n]
        Rows of X on the map, ascending.
    points : array float [n, 2]
        Their places.
    method : str
        How the places were found, in words a reader of a caption understands.
    """

    rows: NDArray[np.intp]
    points: NDArray[np.float64]
    method: str


def embed_2d(X: ArrayLike, *, max_points: int = 1500, seed: int = 0) -> Map:
    """Lay data out on a plane without looking at any cluster.

    Parameters
    ----------
    X : array [N, ...]
        Table or images; a table is standardised by column, images are taken as they are.
    max_points : int, default=1500
        Most points on the map, > 0; of larger data a random part is shown. t-SNE of 1,500 points takes
        about seven seconds on one core.
    seed : int, default=0
        For the choice of points and for t-SNE.

    Returns
    -------
    Map
        t-SNE by openTSNE if that is installed, else by scikit-learn; a table of two columns is its own map;
        fewer than 20 points are placed by PCA.
    """
    data, random = np.asarray(X), np.random.default_rng(seed)
    rows = _some_rows(len(data), max_points, random)
    flat = data[rows].reshape(len(rows), -1).astype(np.float64)
    if flat.shape[1] == 1:
        points = np.column_stack([flat[:, 0], random.random(len(rows))])
        return Map(rows, points, "the one feature, spread upwards")
    if flat.shape[1] == 2:
        return Map(rows, flat, "the two features themselves")
    if data.ndim == 2:
        from sklearn.preprocessing import StandardScaler

        flat = StandardScaler().fit_transform(flat)
    return Map(rows, *_place(flat, seed))


def _some_rows(n: int, most: int, random: np.random.Generator) -> NDArray[np.intp]:
    """Return all of n rows, or a random part of so many, ascending."""
    return np.arange(n) if n <= most else np.sort(random.choice(n, most, replace=False))


def _place(flat: NDArray[np.float64], seed: int) -> tuple[NDArray[np.float64], str]:
    from sklearn.decomposition import PCA

    if not np.ptp(flat, axis=0).any():
        return np.zeros((len(flat), 2)), "one place, for all items are equal"
    solver = "full" if max(flat.shape) <= 4000 else "randomized"
    flat = PCA(min(_TSNE_DIMENSIONS, *flat.shape), svd_solver=solver, random_state=seed).fit_transform(flat)
    if len(flat) < 20:
        return flat[:, :2], "its two principal components"  # there are two: items differ, and have 3 numbers
    perplexity = min(30.0, (len(flat) - 1) / 4)
    if importlib.util.find_spec("openTSNE") is not None:
        from openTSNE import TSNE as OpenTSNE

        tsne = OpenTSNE(perplexity=perplexity, initialization="pca", neighbors="exact", random_state=seed)
        return np.asarray(tsne.fit(flat), dtype=np.float64), "t-SNE (openTSNE)"
    from sklearn.manifold import TSNE

    places = TSNE(perplexity=perplexity, init="pca", max_iter=500, random_state=seed).fit_transform(flat)
    return np.asarray(places, dtype=np.float64), "t-SNE (scikit-learn)"


def nearest_rows(
    items: ArrayLike, X: ArrayLike, *, max_rows: int = 10_000, seed: int = 0
) -> NDArray[np.intp]:
    """Return, for each item, the row of X at the smallest Euclidean distance.

    Parameters
    ----------
    items : array [n, ...]
        Generated items, in the layout of X.
    X : array [N, ...]
        Real data.
    max_rows : int, default=10000
        Of larger data a random part of this size is searched.
    seed : int, default=0
        For that choice.
    """
    from sklearn.metrics import pairwise_distances_argmin

    data, query = np.asarray(X), np.asarray(items)
    rows = _some_rows(len(data), max_rows, np.random.default_rng(seed))
    flat, query = (part.reshape(len(part), -1).astype(np.float32) for part in (data[rows], query))
    return rows[pairwise_distances_argmin(np.nan_to_num(query), flat)]
