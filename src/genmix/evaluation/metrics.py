"""How well clusters agree with known classes.

Every function takes ``(labels_true, labels_pred)``: two sequences of equal length N with labels of any type
(integers with or without gaps, strings, booleans). The number of clusters and of classes may differ, and no
score depends on which cluster carries which label.

``labels_true`` must be complete: ``-1``, which means "unlabelled" when fitting, is an ordinary class here.
Leave unlabelled rows out before calling: ``known = y >= 0; purity(y[known], labels[known])``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score, rand_score
from sklearn.metrics.cluster import contingency_matrix

from genmix.base.validation import PositiveInt, check_values

__all__ = [
    "accuracy",
    "adjusted_rand_index",
    "calibration",
    "cluster_table",
    "contingency",
    "nmi",
    "purity",
    "rand_index",
    "scores",
]


def contingency(labels_true: ArrayLike, labels_pred: ArrayLike) -> NDArray[np.int64]:
    """Count the rows of each class in each cluster.

    Parameters
    ----------
    labels_true, labels_pred : array-like of shape (N,)
        Known classes and found clusters, N >= 1, none missing.

    Returns
    -------
    ndarray of int64, shape (n_classes, n_clusters)
        Classes and clusters in sorted order; only labels that occur have a row or column.

    Raises
    ------
    ValueError
        If the two differ in length, are empty, are not one-dimensional, or hold NaN, infinity or None.
    """
    return contingency_matrix(*_codes(labels_true, labels_pred), dtype=np.int64)


def purity(labels_true: ArrayLike, labels_pred: ArrayLike) -> float:
    """Share of rows that belong to the majority class of their cluster, in (0, 1].

    Purity as in Yu & Zhou (2018), section 4: sum over clusters of ``max_j m_ij / m``. It never falls when a
    cluster is split, so compare it only at equal numbers of clusters. Arguments and errors as
    :func:`contingency`.
    """
    table = contingency(labels_true, labels_pred)
    return float(table.max(axis=0).sum() / table.sum())


def accuracy(labels_true: ArrayLike, labels_pred: ArrayLike) -> float:
    """Share of rows that are right under the best one-to-one naming of clusters by classes, in [0, 1].

    The naming is found by the Hungarian method. With more clusters than classes the clusters left over count
    as wrong; with fewer, the classes left over do. Arguments and errors as :func:`contingency`.
    """
    table = contingency(labels_true, labels_pred)
    return float(table[linear_sum_assignment(table, maximize=True)].sum() / table.sum())


def calibration(labels_true: ArrayLike, memberships: ArrayLike, n_bins: int = 10) -> dict[str, Any]:
    """Compare how sure a model is with how often it is right.

    An item is right if its most likely cluster is the one that stands for its class under the naming of
    :func:`accuracy`. A calibrated model is right in 90 % of the items of which it is 90 % sure. Expected
    calibration error as in Guo et al., "On calibration of modern neural networks", ICML 2017, eq. 3.

    Parameters
    ----------
    labels_true : array-like of shape (N,)
        Known classes, as for :func:`contingency`.
    memberships : array-like of shape (N, K)
        Share of each item in each cluster, as ``predict_proba`` returns them: in [0, 1], rows sum to 1.
    n_bins : int
        Bins of equal width that certainty is divided into, >= 1.

    Returns
    -------
    dict
        ``error``: mean over the items of the distance between certainty and share that is right of their
        bin, in [0, 1]; ``bins``: a dict for each bin that holds items, with ``low``, ``high`` (limits of the
        certainty), ``size`` (items), ``certainty`` (mean) and ``accuracy`` (share that is right).

    Raises
    ------
    ValueError
        As :func:`contingency`; memberships of another shape, below 0, or whose rows do not sum to 1.
    """
    shares = np.asarray(memberships, dtype=np.float64)
    if shares.ndim != 2 or not (shares >= 0).all() or not np.allclose(shares.sum(1), 1, atol=1e-5):
        raise ValueError("memberships: expected an array (N, K) of shares in [0, 1] whose rows sum to 1")
    check_values({"n_bins": n_bins}, {"n_bins": PositiveInt})
    assigned, certainty = shares.argmax(1), shares.max(1)
    classes, clusters = _codes(labels_true, assigned)
    table = contingency_matrix(classes, clusters)
    stands_for = np.full(table.shape[1], -1)
    row, column = linear_sum_assignment(table, maximize=True)
    stands_for[column] = row
    right = stands_for[clusters] == classes
    place = np.minimum((certainty * n_bins).astype(int), n_bins - 1)
    bins = [
        {
            "low": b / n_bins,
            "high": (b + 1) / n_bins,
            "size": int((place == b).sum()),
            "certainty": float(certainty[place == b].mean()),
            "accuracy": float(right[place == b].mean()),
        }
        for b in np.unique(place).tolist()
    ]
    error = sum(part["size"] * abs(part["certainty"] - part["accuracy"]) for part in bins) / len(certainty)
    return {"error": float(error), "bins": bins}


def adjusted_rand_index(labels_true: ArrayLike, labels_pred: ArrayLike) -> float:
    """Rand index corrected for chance, in [-0.5, 1]: 0 is expected of a random partition.

    This is what the tables of Yu & Zhou (2018) call ARI. The formula printed there is :func:`rand_index`.
    Arguments and errors as :func:`contingency`.
    """
    return float(adjusted_rand_score(*_codes(labels_true, labels_pred)))


def rand_index(labels_true: ArrayLike, labels_pred: ArrayLike) -> float:
    """Share of pairs of rows that both partitions treat alike (together or apart), in [0, 1].

    The formula ``(m11 + m00) / m`` that Yu & Zhou (2018) print under the name ARI. It is not corrected for
    chance: a random partition into K equal parts of K equal classes scores ``1 - (2/K)(1 - 1/K)``, 0.82 for
    K = 10. A single row has no pairs and scores 1. Arguments and errors as :func:`contingency`.
    """
    return float(rand_score(*_codes(labels_true, labels_pred)))


def nmi(
    labels_true: ArrayLike,
    labels_pred: ArrayLike,
    average: Literal["geometric", "arithmetic"] = "geometric",
) -> float:
    """Mutual information of classes and clusters over the mean of their entropies, in [0, 1].

    Parameters
    ----------
    labels_true, labels_pred : array-like of shape (N,)
        Known classes and found clusters, as for :func:`contingency`.
    average : {"geometric", "arithmetic"}, default="geometric"
        Mean of the two entropies: geometric as in Yu & Zhou (2018), arithmetic as scikit-learn's default.

    Returns
    -------
    float
        0 where exactly one of the two partitions has a single part, 1 where both have.

    Raises
    ------
    ValueError
        As :func:`contingency`, or for another `average`.
    """
    if average not in ("geometric", "arithmetic"):
        raise ValueError(f"average={average!r}: expected 'geometric' or 'arithmetic'")
    codes = _codes(labels_true, labels_pred)
    return float(normalized_mutual_info_score(*codes, average_method=average))


def scores(labels_true: ArrayLike, labels_pred: ArrayLike) -> dict[str, float]:
    """Return the four numbers of every results table: purity, accuracy, ari and nmi (geometric).

    Arguments and errors as :func:`contingency`.
    """
    pair = _codes(labels_true, labels_pred)
    return {
        "purity": purity(*pair),
        "accuracy": accuracy(*pair),
        "ari": adjusted_rand_index(*pair),
        "nmi": nmi(*pair),
    }


def cluster_table(
    labels_true: ArrayLike,
    labels_pred: ArrayLike,
    certainty: ArrayLike | None = None,
    *,
    clusters: Sequence[Any] | None = None,
) -> list[dict[str, Any]]:
    """Describe each cluster by its majority class, as Table 2 of Yu & Zhou (2018).

    Parameters
    ----------
    labels_true, labels_pred : array-like of shape (N,)
        Known classes and found clusters, as for :func:`contingency`.
    certainty : array-like of shape (N,), optional
        Certainty of each row, in [0, 1] (the largest membership).
    clusters : sequence, optional
        All cluster labels there could be, in the order wanted: ``range(n_components)`` shows the empty ones
        too, with label None, size 0 and purity 0. Default: the clusters that occur, sorted.

    Returns
    -------
    list of dict
        One a cluster: ``cluster``, ``label`` (majority class; the first in sorted order where two tie),
        ``size`` (rows), ``purity`` (share of the majority class, 0..1) and, where `certainty` is given,
        ``certainty`` (its mean over the cluster, None for an empty one).

    Raises
    ------
    ValueError
        As :func:`contingency`; if `certainty` has another length or leaves [0, 1]; if `clusters` lacks a
        cluster that occurs.
    """
    table = contingency(labels_true, labels_pred)
    classes, _ = _encode(labels_true, "labels_true")
    occurring, codes = _encode(labels_pred, "labels_pred")
    wanted = list(occurring if clusters is None else clusters)
    if missing := [label for label in occurring if label not in wanted]:
        raise ValueError(f"clusters={wanted!r} leaves out {missing!r}, which occur in labels_pred")
    column = {label: position for position, label in enumerate(occurring)}
    certainties = None if certainty is None else _certainty(certainty, len(codes))
    rows = []
    for label in wanted:
        row: dict[str, Any] = {"cluster": label, "label": None, "size": 0, "purity": 0.0}
        if certainties is not None:
            row["certainty"] = None
        if label in column:
            counts = table[:, column[label]]
            row |= {"label": classes[counts.argmax()], "size": int(counts.sum())}
            row["purity"] = float(counts.max() / counts.sum())
            if certainties is not None:
                row["certainty"] = float(certainties[codes == column[label]].mean())
        rows.append(row)
    return rows


# ---------------------------------------------------------------------------------------------------------
# Labels of any type -> sorted labels and integer codes


def _codes(labels_true: ArrayLike, labels_pred: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    (_, true), (_, pred) = _encode(labels_true, "labels_true"), _encode(labels_pred, "labels_pred")
    if len(true) != len(pred):
        raise ValueError(
            f"labels_true has {len(true)} rows and labels_pred {len(pred)}: expected one label a row in both"
        )
    return true, pred


def _encode(labels: Any, name: str) -> tuple[list[Any], NDArray[np.int64]]:
    """Sorted distinct labels as Python objects, and the position of each row's label among them."""
    if hasattr(labels, "detach"):  # a tensor of torch, on any device, with or without a gradient
        labels = np.asarray(labels.tolist())
    # A list of strings with a NaN in it would become the string 'nan': keep the objects until checked.
    values = np.asarray(labels) if hasattr(labels, "dtype") else np.asarray(labels, dtype=object)
    if values.ndim != 1 or not len(values):
        raise ValueError(f"{name} has shape {values.shape}: expected one label a row, shape (N,) with N >= 1")
    unknown = np.ma.is_masked(labels) or (values.dtype.kind in "fcmM" and not np.isfinite(values).all())
    if unknown:
        raise ValueError(f"{name} holds NaN, infinity or masked rows: leave rows without a label out")
    if values.dtype.kind == "O":
        return _encode_objects(values.tolist(), name)
    distinct, codes = np.unique(values, return_inverse=True)
    return distinct.tolist(), codes.astype(np.int64)


def _encode_objects(values: list[Any], name: str) -> tuple[list[Any], NDArray[np.int64]]:
    values = [value.item() if hasattr(value, "item") else value for value in values]
    if any(_is_missing(value) for value in values):
        raise ValueError(f"{name} holds None, NaN or infinity: leave rows without a label out")
    try:  # different types do not compare; sorted by type first, they need not
        distinct = sorted(
            set(values), key=lambda v: ("" if isinstance(v, int | float) else type(v).__name__, v)
        )
    except TypeError as error:
        raise ValueError(
            f"{name} holds labels that cannot be compared ({error}): use numbers or strings"
        ) from error
    position = {label: index for index, label in enumerate(distinct)}
    return distinct, np.array([position[value] for value in values], np.int64)


def _is_missing(value: Any) -> bool:
    try:  # NaN and NaT differ from themselves
        return value is None or bool(value != value) or (isinstance(value, float) and np.isinf(value))
    except (TypeError, ValueError):
        return True  # pandas.NA refuses to be compared


def _certainty(values: ArrayLike, n: int) -> NDArray[np.float64]:
    certainty = np.asarray(values, dtype=np.float64)
    if certainty.shape != (n,):
        raise ValueError(f"certainty has shape {certainty.shape}: expected one number a row, shape ({n},)")
    if not ((certainty >= 0) & (certainty <= 1)).all():  # also catches NaN
        raise ValueError(
            f"certainty runs from {certainty.min()} to {certainty.max()}: expected values in [0, 1]"
        )
    return certainty
