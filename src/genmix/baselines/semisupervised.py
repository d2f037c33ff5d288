"""Semi-supervised classifiers of scikit-learn behind the same verbs: label spreading and self-training."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from typing import Annotated, Any, Self

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

from genmix.base.restoring import array
from genmix.base.validation import Interval, PositiveFloat, PositiveInt, Share
from genmix.baselines.classical import Flat


class _Labelled(Flat):
    """Component k stands for ``classes_[k]``; components beyond the classes stay empty."""

    _not_always = Flat._not_always - {"classes_"}

    def _log_proba(self, items: Tensor) -> np.ndarray:
        found = self._class_proba(self._points(items))
        padded = np.full((len(found), self.n_components), -1e300)
        padded[:, : found.shape[1]] = np.log(found.clip(1e-300))
        return padded

    @abstractmethod
    def _class_proba(self, points: np.ndarray) -> np.ndarray: ...


class LabelSpreading(_Labelled):
    """Scikit-learn's label spreading over a graph of nearest neighbours (Zhou et al., NIPS 2003).

    Items that no label reaches, because no path leads there or spreading converges before, have the answer of
    the nearest item that one reaches.

    Parameters
    ----------
    n_components : int
        K, at least the number of classes.
    n_neighbors : int
        Neighbours of an item in the graph.
    alpha : float
        Share of what an item takes from its neighbours, in (0, 1).
    n_principal : int
        Items of more numbers are reduced to so many principal components.
    max_iter : int
        Largest number of iterations.
    scaling, random_state
        As in `DNNMixture`.

    Attributes
    ----------
    labels_, classes_, weights_, n_iter_, converged_, dead_components_
        As in `DNNMixture`.
    """

    def __init__(
        self,
        n_components: PositiveInt = 2,
        *,
        n_neighbors: PositiveInt = 10,
        alpha: Annotated[float, Interval("(0, 1)")] = 0.2,
        n_principal: PositiveInt = 50,
        max_iter: PositiveInt = 100,
        scaling: str = "auto",
        random_state: Any = None,
    ) -> None:
        self.n_components = n_components
        self.n_neighbors = n_neighbors
        self.alpha = alpha
        self.n_principal = n_principal
        self.max_iter = max_iter
        self.scaling = scaling
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:
        """Spread the labels.

        Parameters
        ----------
        X : array, frame or tensor [N, ...]
            Rows of a table, or images.
        y : array of int [N]
            Classes of the items, -1 where unknown.

        Returns
        -------
        LabelSpreading
            Itself.

        Raises
        ------
        ValueError
            No labels, or of more classes than components; data that are empty, not finite, of unknown layout
            or fewer than K.
        """
        from sklearn.semi_supervised import LabelSpreading as Spreading

        X, points, _ = self._begin(X, self.n_principal)
        known = self._need_labels(y, len(X))
        count = min(self.n_neighbors, len(X) - 1) or 1
        model = Spreading(kernel="knn", n_neighbors=count, alpha=self.alpha, max_iter=self.max_iter)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # `converged_` says it
            warnings.simplefilter("ignore", RuntimeWarning)  # items that no label reaches: 0 / 0
            model.fit(points, known)
        spread = _spread_to_all(points, np.nan_to_num(model.label_distributions_))
        self._arrays |= {"points": points, "spread": spread, "neighbors": np.array([count])}
        self._finish(X, model.n_iter_, model.n_iter_ < self.max_iter, known)
        return self

    def _array_kinds(self, width: int) -> dict[str, Any]:
        n, shares = self._arrays.get("points", np.empty(0)).shape[0], "[0, 1]"
        return {
            "points": array(max(n, 1), width),
            "spread": array(n, len(self.classes_), within=shares),
            "neighbors": array(1, within=f"[1, {n}]", dtype="int64"),
        }

    def _class_proba(self, points: np.ndarray) -> np.ndarray:
        """Mean of what the nearest items of the data fitted have, as scikit-learn does for new items."""
        from sklearn.neighbors import NearestNeighbors

        a = self._arrays
        near = NearestNeighbors(n_neighbors=int(a["neighbors"][0])).fit(a["points"])
        return np.asarray(a["spread"][near.kneighbors(points, return_distance=False)].mean(1))


def _spread_to_all(points: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Give items that no label has reached, rows of 0 in `spread` ``[N, C]``, the nearest reached one's."""
    from sklearn.metrics import pairwise_distances_argmin

    reached = spread.any(1)
    if not reached.all():
        nearest = pairwise_distances_argmin(points[~reached], points[reached])
        spread[~reached] = spread[reached][nearest]
    return spread


class SelfTraining(_Labelled):
    """Scikit-learn's self-training of a kernel classifier: sure predictions become labels.

    The classifier is logistic regression on random features of an RBF kernel (`Nystroem`).

    Parameters
    ----------
    n_components : int
        K, at least the number of classes.
    threshold : float
        A prediction of at least this probability becomes a label.
    n_features : int
        Random features, at most N.
    C : float
        Inverse of the strength of the ridge penalty.
    n_principal : int
        Items of more numbers are reduced to so many principal components.
    max_iter : int
        Rounds of self-training.
    scaling, random_state
        As in `DNNMixture`.

    Attributes
    ----------
    labels_, classes_, weights_, n_iter_, converged_, dead_components_
        As in `DNNMixture`.
    """

    def __init__(
        self,
        n_components: PositiveInt = 2,
        *,
        threshold: Share = 0.9,
        n_features: PositiveInt = 1000,
        C: PositiveFloat = 100.0,
        n_principal: PositiveInt = 50,
        max_iter: PositiveInt = 10,
        scaling: str = "auto",
        random_state: Any = None,
    ) -> None:
        self.n_components = n_components
        self.threshold = threshold
        self.n_features = n_features
        self.C = C
        self.n_principal = n_principal
        self.max_iter = max_iter
        self.scaling = scaling
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:
        """Train.

        Parameters
        ----------
        X : array, frame or tensor [N, ...]
            Rows of a table, or images.
        y : array of int [N]
            Classes of the items, -1 where unknown.

        Returns
        -------
        SelfTraining
            Itself.

        Raises
        ------
        ValueError
            As in `LabelSpreading`.
        """
        from sklearn.kernel_approximation import Nystroem
        from sklearn.linear_model import LogisticRegression
        from sklearn.semi_supervised import SelfTrainingClassifier

        X, points, run = self._begin(X, self.n_principal)
        known = self._need_labels(y, len(X))
        gamma = 1 / max(points.var(0).sum(), 1e-12)  # scikit-learn's gamma="scale"
        count = min(self.n_features, len(X))
        features = Nystroem(gamma=gamma, n_components=count, random_state=run.seed())
        seen = features.fit(points).transform(points)  # of all items, labelled or not
        if len(self.classes_) == 1:
            weights, intercept, rounds = np.zeros((1, seen.shape[1])), np.zeros(1), 1
        else:
            base = LogisticRegression(C=self.C, max_iter=1000)
            model = SelfTrainingClassifier(base, threshold=self.threshold, max_iter=self.max_iter)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # "y contains no unlabeled samples"
                final = model.fit(seen, known)
            weights, intercept = final.estimator_.coef_, final.estimator_.intercept_
            if len(self.classes_) == 2:  # one row stands for the second class
                weights, intercept = (
                    np.vstack([-weights, weights]) / 2,
                    np.stack([-intercept, intercept])[:, 0] / 2,
                )
            rounds = model.n_iter_
        self._arrays |= {
            "basis": features.components_, "whitening": features.normalization_, "gamma": np.array([gamma]),
            "weights": weights, "intercept": intercept,
        }  # fmt: skip
        self._finish(X, rounds, rounds < self.max_iter, known)
        return self

    def _array_kinds(self, width: int) -> dict[str, Any]:
        n, classes = self._arrays.get("basis", np.empty(0)).shape[0], len(self.classes_)
        return {
            "basis": array(max(n, 1), width), "whitening": array(n, n),
            "gamma": array(1, within="(0, inf)"), "weights": array(classes, n), "intercept": array(classes),
        }  # fmt: skip

    def _class_proba(self, points: np.ndarray) -> np.ndarray:
        from scipy.special import softmax
        from sklearn.metrics.pairwise import rbf_kernel

        a = self._arrays
        features = rbf_kernel(points, a["basis"], gamma=float(a["gamma"][0])) @ a["whitening"].T
        return np.asarray(softmax(features @ a["weights"].T + a["intercept"], axis=1))


__all__ = ["LabelSpreading", "SelfTraining"]
