"""Classical models behind the same verbs: k-means, semi-supervised k-means, Gaussian mixtures.

The models are scikit-learn's; here they get scaled, flattened items, memberships and a folder to be saved in.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Literal, Self

import numpy as np
import torch
from torch import Tensor

from genmix.base.estimator import BaseMixture
from genmix.base.preprocessing import Preprocessing, finite
from genmix.base.restoring import array, check_arrays
from genmix.base.validation import Finite, PositiveFloat, PositiveInt, printable
from genmix.baselines.baseline import Baseline
from genmix.training.engine import Engine
from genmix.training.supervision import seeded_centers, seeded_kmeans

#: Starts of k-means by k-means++, of which the best is kept.
STARTS = 10

Covariance = Literal["full", "tied", "diag", "spherical"]


def _at_least_two(points: np.ndarray) -> np.ndarray:
    """Repeat a single point, of which scikit-learn estimates no variance."""
    return points if len(points) > 1 else points.repeat(2, 0)


class Flat(Baseline):
    """A classical model of flattened items, of their principal components where there are many numbers."""

    _arrays: dict[str, np.ndarray]

    def _begin(self, X: Any, n_principal: int | None = None) -> tuple[np.ndarray, np.ndarray, Engine]:
        """Validate and scale the data; return them, their points ``[N, d]`` and where to draw seeds."""
        run = Engine("cpu", self.random_state)
        X = self._validated(X, reset=True)
        self.preprocessing_ = Preprocessing.fit(X, "range" if self.scaling == "auto" else self.scaling)
        self._arrays = {}
        points = self._points(self.preprocessing_.apply(X))
        if n_principal is not None and points.shape[1] > n_principal:
            from sklearn.decomposition import PCA

            count = min(n_principal, len(points))
            found = PCA(count, svd_solver="covariance_eigh").fit(_at_least_two(points))
            self._arrays |= {"mean": found.mean_, "axes": found.components_}
            points = self._points(self.preprocessing_.apply(X))
        return X, points, run

    def _points(self, items: Tensor) -> np.ndarray:
        flat = items.flatten(1).double().numpy()
        if "axes" in self._arrays:
            return np.asarray((flat - self._arrays["mean"]) @ self._arrays["axes"].T)
        return np.asarray(flat)

    def _finish(self, X: np.ndarray, n_iter: int, converged: bool, known: np.ndarray | None = None) -> None:
        self.history_: list[dict[str, Any]] = []  # scikit-learn keeps none
        self._arrays = {name: np.ascontiguousarray(a) for name, a in self._arrays.items()}  # as when loaded
        self._conclude(X, self.preprocessing_.apply(X), known)
        self.n_iter_, self.converged_ = max(int(n_iter), 1), bool(converged)

    def _tensors(self) -> dict[str, Tensor]:
        return {name: torch.from_numpy(a) for name, a in self._arrays.items()}

    def _from_tensors(self, tensors: dict[str, Tensor]) -> None:
        known = (torch.float64, torch.int64)  # numpy has no bfloat16
        for name, tensor in tensors.items():
            if tensor.dtype not in known:
                raise ValueError(f"the tensor {printable(name)} is {tensor.dtype}: expected torch.float64")
        self._arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
        width, kinds = math.prod(self.preprocessing_.shape), dict[str, Any]()
        if "axes" in self._arrays:  # as many as there are, at most as many as numbers
            kinds = {"mean": array(width), "axes": array(min(len(self._arrays["axes"]), width), width)}
            width = len(self._arrays["axes"])
        check_arrays(self._arrays, kinds | self._array_kinds(width))

    @abstractmethod
    def _array_kinds(self, width: int) -> dict[str, Any]:
        """Annotations of the arrays of a fitted model, for points of so many numbers."""


class _Centers(Flat):
    """Clusters that are the nearest of K centres."""

    @property
    def centers_(self) -> np.ndarray:
        """Centres among the scaled, flattened items, ``[K, d]``."""
        return self._arrays["centers"]

    def _keep(self, points: np.ndarray, labels: np.ndarray, centers: np.ndarray) -> None:
        spread = ((points - centers[labels]) ** 2).mean()
        self._arrays |= {"centers": centers, "variance": np.array([max(spread, 1e-12)])}

    def _array_kinds(self, width: int) -> dict[str, Any]:
        return {"centers": array(self.n_components, width), "variance": array(1, within="(0, inf)")}

    def _log_proba(self, items: Tensor) -> np.ndarray:
        """Memberships of spherical Gaussians of one variance and equal shares, whose limit k-means is."""
        from sklearn.metrics import pairwise_distances

        square = pairwise_distances(self._points(items), self._arrays["centers"]) ** 2
        return np.asarray(-square / (2 * self._arrays["variance"]))


class KMeans(_Centers):
    """Scikit-learn's k-means, best of several starts, on scaled and flattened items.

    Parameters
    ----------
    n_components : int
        K.
    n_init : int
        Starts by k-means++.
    scaling, random_state
        As in `DNNMixture`.

    Attributes
    ----------
    labels_, weights_, n_iter_, converged_, dead_components_
        As in `DNNMixture`.
    centers_ : ndarray [K, d]
        Centres among the scaled, flattened items.
    """

    def __init__(
        self,
        n_components: PositiveInt = 2,
        *,
        n_init: PositiveInt = STARTS,
        scaling: str = "auto",
        random_state: Any = None,
    ) -> None:
        self.n_components = n_components
        self.n_init = n_init
        self.scaling = scaling
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:
        """Cluster.

        Parameters
        ----------
        X : array, frame or tensor [N, ...]
            Rows of a table, or images.
        y : ignored
            K-means learns without labels.

        Returns
        -------
        KMeans
            Itself.

        Raises
        ------
        ValueError
            Data that are empty, not finite, of unknown layout or fewer than K.
        """
        from sklearn.cluster import KMeans as Lloyd

        X, points, run = self._begin(X)
        found = Lloyd(self.n_components, n_init=self.n_init, random_state=run.seed()).fit(points)
        self._keep(points, found.labels_, found.cluster_centers_)
        self._finish(X, found.n_iter_, found.n_iter_ < found.max_iter)
        return self


class SemiSupervisedKMeans(_Centers):
    """K-means with labels for a part of the items (Basu, Banerjee & Mooney, ICML 2002).

    Without any it is `KMeans`, best of ten starts.

    Parameters
    ----------
    n_components : int
        K.
    constrained : bool
        Labelled items keep their cluster in every iteration ("constrained"); otherwise they give the centres
        to start from only ("seeded").
    scaling, random_state
        As in `DNNMixture`.

    Attributes
    ----------
    labels_, classes_, weights_, n_iter_, converged_, dead_components_
        As in `DNNMixture`.
    centers_ : ndarray [K, d]
        Centres among the scaled, flattened items.
    """

    def __init__(
        self,
        n_components: PositiveInt = 2,
        *,
        constrained: bool = True,
        scaling: str = "auto",
        random_state: Any = None,
    ) -> None:
        self.n_components = n_components
        self.constrained = constrained
        self.scaling = scaling
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:
        """Cluster.

        Parameters
        ----------
        X : array, frame or tensor [N, ...]
            Rows of a table, or images.
        y : array of int [N], optional
            Classes of the items, -1 where unknown; component k stands for ``classes_[k]``.

        Returns
        -------
        SemiSupervisedKMeans
            Itself.

        Raises
        ------
        ValueError
            As in `KMeans`; labels of more classes than components.
        """
        from sklearn.cluster import KMeans as Lloyd

        X, points, run = self._begin(X)
        known = self._read_labels(y, len(X))
        k = self.n_components
        if known is None:
            lloyd = Lloyd(k, n_init=STARTS, random_state=run.seed()).fit(points)
            found, centers, n_iter = lloyd.labels_, lloyd.cluster_centers_, lloyd.n_iter_
        elif self.constrained:
            found, centers, n_iter = seeded_kmeans(points, known, k, run.numpy_state)
        else:
            first = seeded_centers(points, known, k, run.numpy_state)
            lloyd = Lloyd(k, init=first, n_init=1).fit(points)
            found, centers, n_iter = lloyd.labels_, lloyd.cluster_centers_, lloyd.n_iter_
        self._keep(points, found, centers)
        self._finish(X, n_iter, n_iter < 300, known if self.constrained else None)
        return self


class GaussianMixture(Flat, BaseMixture):
    """Scikit-learn's Gaussian mixture, the kind of covariance chosen by BIC.

    Parameters
    ----------
    n_components : int
        K.
    covariance_types : sequence of str
        Kinds to choose from: "full", "tied", "diag", "spherical".
    n_init : int
        Starts by k-means of each kind.
    reg_covar : float
        Added to the variances (> 0), in units of the scaled data.
    n_principal : int
        Items of more numbers are reduced to so many principal components.
    max_iter : int
        EM iterations of a start.
    scaling, random_state
        As in `DNNMixture`.

    Attributes
    ----------
    labels_, weights_, n_iter_, converged_, dead_components_
        As in `DNNMixture`; `weights_` are the mixture's.
    covariance_type_ : str
        The kind chosen.
    bic_ : dict of str to float
        Bayesian information criterion of each kind; the lowest is taken.
    """

    def __init__(
        self,
        n_components: PositiveInt = 2,
        *,
        covariance_types: Sequence[Covariance] = ("full", "tied", "diag", "spherical"),
        n_init: PositiveInt = 5,
        reg_covar: PositiveFloat = 1e-3,
        n_principal: PositiveInt = 50,
        max_iter: PositiveInt = 500,
        scaling: str = "auto",
        random_state: Any = None,
    ) -> None:
        self.n_components = n_components
        self.covariance_types = covariance_types
        self.n_init = n_init
        self.reg_covar = reg_covar
        self.n_principal = n_principal
        self.max_iter = max_iter
        self.scaling = scaling
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:
        """Fit a mixture of each kind and keep that of the lowest BIC.

        Parameters
        ----------
        X : array, frame or tensor [N, ...]
            Rows of a table, or images.
        y : ignored
            It learns without labels.

        Returns
        -------
        GaussianMixture
            Itself.

        Raises
        ------
        ValueError
            Data that are empty, not finite, of unknown layout or fewer than K; an unknown kind of covariance.
        """
        from sklearn.mixture import GaussianMixture as Mixture

        X, points, run = self._begin(X, self.n_principal)
        if not self.covariance_types:
            raise ValueError("covariance_types is empty: expected some of full, tied, diag, spherical")
        fits = {
            kind: Mixture(
                self.n_components, covariance_type=kind, n_init=self.n_init, reg_covar=self.reg_covar,
                max_iter=self.max_iter, random_state=run.seed(),
            ).fit(_at_least_two(points))
            for kind in self.covariance_types
        }  # fmt: skip
        self.bic_ = {kind: float(found.bic(points)) for kind, found in fits.items()}
        self.covariance_type_ = min(self.bic_, key=lambda kind: self.bic_[kind])
        best = fits[self.covariance_type_]
        d = points.shape[1]
        factors = {
            "full": lambda p: p,
            "tied": lambda p: np.broadcast_to(p, (self.n_components, d, d)),
            "diag": lambda p: p[:, :, None] * np.eye(d),
            "spherical": lambda p: p[:, None, None] * np.eye(d),
        }[self.covariance_type_](best.precisions_cholesky_)
        self._arrays |= {"means": best.means_, "factors": factors, "shares": best.weights_}
        self._finish(X, best.n_iter_, best.converged_)
        self.weights_ = best.weights_
        return self

    def score_samples(self, X: Any) -> np.ndarray:
        """Logarithm of the density of scaled items' principal components.

        Parameters
        ----------
        X : array, frame or tensor [N, ...]
            Items of the shape the model was fitted on.

        Returns
        -------
        ndarray of float64 [N]
        """
        return np.asarray(finite(np.logaddexp.reduce(self._log_proba(self._items(X)), axis=1), "scores"))

    def _log_proba(self, items: Tensor) -> np.ndarray:
        points, parts = self._points(items), []
        a = self._arrays
        for share, mean, factor in zip(a["shares"], a["means"], a["factors"], strict=True):
            whitened = (points - mean) @ factor
            log_det = np.log(np.abs(np.diag(factor))).sum()
            constant = np.log(share) + log_det - 0.5 * points.shape[1] * np.log(2 * np.pi)
            parts.append(constant - 0.5 * (whitened**2).sum(1))
        return np.stack(parts, 1)

    def _generate(self, counts: np.ndarray, seed: int) -> Tensor:
        a, points, rng = self._arrays, [], np.random.RandomState(seed)
        for count, mean, factor in zip(counts, a["means"], a["factors"], strict=True):
            noise = rng.standard_normal((count, len(mean)))
            points.append(mean + np.linalg.solve(factor.T, noise.T).T)
        items = np.concatenate(points)
        if "axes" in a:
            items = items @ a["axes"] + a["mean"]
        return torch.from_numpy(items).reshape(-1, *self.preprocessing_.item_shape)

    def _fitted(self) -> dict[str, Any]:
        return {**super()._fitted(), "covariance_type_": Covariance, "bic_": dict[str, Finite]}

    def _array_kinds(self, width: int) -> dict[str, Any]:
        k = self.n_components
        return {
            "means": array(k, width), "factors": array(k, width, width),
            "shares": array(k, within="(0, 1]", total=1.0),
        }  # fmt: skip

    def _from_tensors(self, tensors: dict[str, Tensor]) -> None:
        super()._from_tensors(tensors)
        factors = self._arrays["factors"]
        if np.tril(factors, -1).any() or not (np.diagonal(factors, 0, 1, 2) > 0).all():
            raise ValueError("the tensor factors: expected upper triangles, of a diagonal above 0")


__all__ = ["Flat", "GaussianMixture", "KMeans", "SemiSupervisedKMeans"]
