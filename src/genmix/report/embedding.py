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
    data = np.asarray(X)
    random = np.random.default_rng(seed)
    rows = np.arange(len(data))
    if len(data) > max_points:
        rows = np.sort(random.choice(len(data), max_points, replace=False))
    flat = data[rows].reshape(len(rows), -1).astype(np.float64)
    if flat.shape[1] == 1:
        return Map(
            rows, np.column_stack([flat[:, 0], random.random(len(rows))]), "the one feature, spread upwards"
        )
    if flat.shape[1] == 2:
        return Map(rows, flat, "the two features themselves")
    if data.ndim == 2:
        spread = flat.std(0)
        flat = (flat - flat.mean(0)) / np.where(spread > 0, spread, 1.0)
    return Map(rows, *_place(flat, seed))


def _place(flat: NDArray[np.float64], seed: int) -> tuple[NDArray[np.float64], str]:
    from sklearn.decomposition import PCA

    if not np.ptp(flat, axis=0).any():
        return np.zeros((len(flat), 2)), "one place, for all items are equal"
    n_kept = min(_TSNE_DIMENSIONS, *flat.shape)
    reduced = PCA(n_kept, svd_solver="full" if max(flat.shape) <= 4000 else "randomized", random_state=seed)
    flat = reduced.fit_transform(flat)
    if len(flat) < 20:
        places = np.zeros((len(flat), 2))
        places[:, : min(2, n_kept)] = flat[:, :2]
        return places, "its two principal components"
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
    from sklearn.neighbors import NearestNeighbors

    data = np.asarray(X)
    rows = np.arange(len(data))
    if len(data) > max_rows:
        rows = np.sort(np.random.default_rng(seed).choice(len(data), max_rows, replace=False))
    flat = data[rows].reshape(len(rows), -1).astype(np.float32)
    query = np.asarray(items).reshape(len(np.asarray(items)), -1).astype(np.float32)
    search = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(flat)
    return rows[search.kneighbors(np.nan_to_num(query), return_distance=False)[:, 0]]
