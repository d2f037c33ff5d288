"""Estimators around an autoencoder: a transformer, and what clusterers of its codes share."""

from __future__ import annotations

import copy
import os
import time
from typing import Any, ClassVar, Self

import numpy as np
import torch
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from genmix.base.estimator import BaseModel, check_codes, fingerprint, parts_more
from genmix.base.nested import settings_of
from genmix.base.preprocessing import Preprocessing, finite
from genmix.base.restoring import check_tensor, load_weights
from genmix.baselines.autoencoder import DEC_PAPER, Autoencoder, Pretraining, reconstruction_error
from genmix.baselines.baseline import Baseline
from genmix.training.augment import Affine, AugmentedData, ColorJitter, NeighborSwap, resolve_augmentation
from genmix.training.checkpoint import Checkpoint
from genmix.training.engine import Engine
from genmix.training.partitions import parted_neighbors

Folder = str | os.PathLike[str] | None


class Coder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseModel):
    """A model with an autoencoder: `transform`, `inverse_transform`, its part of a folder."""

    _settings: ClassVar[dict[str, type]] = {
        t.__name__: t for t in (Pretraining, Affine, ColorJitter, NeighborSwap)
    }

    _default_settings: ClassVar = {"pretraining": lambda _: Pretraining()}

    #: Its networks.
    _autoencoder: ClassVar[type[Autoencoder]] = Autoencoder

    def _begin(
        self, X: Any, augmentation: Any = None, checkpoint: Folder = None, known: np.ndarray | None = None
    ) -> tuple[np.ndarray, AugmentedData, Checkpoint, float]:
        """Validate, scale and place the data; make the networks and pretrain them, or take those of a folder.

        Returns the data, their views, where to keep what follows, and when the fit began, by the clock of
        `time.perf_counter`.
        """
        begun = time.perf_counter()
        run = Engine(self.device, self.random_state, precision=self.precision, verbose=self.verbose)
        X = self._validated(X, reset=True)
        how = self._how
        self.preprocessing_ = Preprocessing.fit(X, "range" if self.scaling == "auto" else self.scaling)
        shape = self.preprocessing_.item_shape
        chosen = resolve_augmentation(augmentation, shape)
        views = AugmentedData(self.preprocessing_.apply(X).to(run.device), chosen, run)
        self._networks = self._make_networks(run.cpu_generator)
        run.place(self._networks)
        self._networks.autocast = run.autocast
        autoencoder = Checkpoint(checkpoint, self, (X,), run, self.pretrained())
        begun -= autoencoder.seconds
        self._networks.pretrain(views, how, autoencoder)
        if not all(bool(p.isfinite().all()) for p in self._networks.parameters()):
            raise FloatingPointError("the autoencoder's training diverged; lower the rate of pretraining")
        self.fingerprint_ = fingerprint(X)
        kept = autoencoder.child(self, (X, known))
        return X, views, kept, time.perf_counter() - kept.seconds if kept.exists else begun

    @property
    def _how(self) -> Pretraining:
        settings = settings_of(self, "pretraining")
        assert isinstance(settings, Pretraining)  # noqa: S101 - as `_default_settings` has it
        return settings

    def pretrained(self) -> dict[str, Any]:
        """Collect what the pretrained autoencoder depends on besides the data and the seed."""
        return {
            "autoencoder": self._autoencoder.__name__,
            "pretraining": self._how,
            "scaling": self.scaling,
            "augmentation": getattr(self, "augmentation", None) if self._how.augment else None,
        }

    def transform(self, X: Any) -> np.ndarray:
        """Codes of items.

        Parameters
        ----------
        X : array, frame or tensor [N, ...]
            Items of the shape the model was fitted on.

        Returns
        -------
        ndarray of float64 [N, L]
        """
        return np.asarray(finite(self._codes(self._items(X)).numpy(), "codes"))

    def inverse_transform(self, Z: Any) -> np.ndarray:
        """Items that the decoder makes of codes.

        Parameters
        ----------
        Z : array [M, L]
            Codes.

        Returns
        -------
        ndarray [M, ...]
            In the units, layout and dtype of the data the model was fitted on.

        Raises
        ------
        ValueError
            Codes of another width.
        """
        check_is_fitted(self, "preprocessing_")
        Z = check_codes(Z, self._n_features_out)
        device = next(self._networks.parameters()).device
        with torch.no_grad():
            parts = [self._networks.decode(z.to(device)) for z in torch.from_numpy(Z).split(2048)]
        return self.preprocessing_.restore(torch.cat(parts))

    def _codes(self, items: Tensor) -> Tensor:
        """Codes in float64 on the host; computed in float64, so that they do not depend on the batch."""
        network = self._in_float64()
        device = next(network.parameters()).device
        with torch.no_grad():
            return torch.cat([network.encode(x.to(device).double()).cpu() for x in items.split(2048)])

    def _in_float64(self) -> Any:
        """Copy the networks; Apple's devices, which have no float64, leave it to the host."""
        network = copy.deepcopy(self._networks).requires_grad_(False)
        return (network.cpu() if next(network.parameters()).is_mps else network).double()

    @property
    def _n_features_out(self) -> int:
        return self._architecture()[2]

    def _architecture(self) -> tuple[tuple[int, ...], tuple[int, ...], int]:
        return self.preprocessing_.item_shape, tuple(self._how.hidden), self._how.latent_dim

    def _make_networks(self, generator: torch.Generator) -> Autoencoder:
        """Untrained networks of the model's shapes."""
        return self._autoencoder(*self._architecture(), generator)

    def _tensors(self) -> dict[str, Tensor]:
        return self._networks.state_dict()

    def _from_tensors(self, tensors: dict[str, Tensor]) -> None:
        self._networks = self._make_networks(torch.Generator())
        load_weights(self._networks, tensors)


class StackedAutoencoder(Coder):
    """Dense autoencoder as a transformer: features for any clusterer (the papers' "embedded space").

    Parameters
    ----------
    pretraining : Pretraining or None
        Widths, length and manner of training, None for ``Pretraining()``;
        ``StackedAutoencoder.preset("dec-2016")`` has the DEC paper's.
    augmentation : "auto", Affine, ColorJitter, NeighborSwap, None or callable
        AugmentedData for ``Pretraining(augment=True)``.
    scaling : str
        As in `DNNMixture`.
    random_state : None, int or numpy.random.RandomState
        Seed.
    verbose : int
        1 shows a progress bar.
    device : str
        "auto", "cpu", "cuda", ...
    precision : {"auto", "float32", "bfloat16"}
        Arithmetic of the networks while training; "auto" is bfloat16 where it is fast.

    Attributes
    ----------
    preprocessing_ : Preprocessing
        Scaling and layout.
    reconstruction_error_ : float
        Mean squared error of an item's number, in units of the scaled data.
    history_ : list of dict
        One record: iteration, loss (the reconstruction error), seconds.
    n_features_in_ : int
        Columns of the table, or numbers in an image.

    References
    ----------
    Xie, Girshick & Farhadi, "Unsupervised deep embedding for clustering analysis", ICML 2016.
    """

    def __init__(
        self,
        pretraining: Pretraining | None = None,
        *,
        augmentation: Any = "auto",
        scaling: str = "auto",
        random_state: Any = None,
        verbose: int = 0,
        device: str = "auto",
        precision: str = "float32",
    ) -> None:
        self.pretraining = pretraining
        self.augmentation = augmentation
        self.scaling = scaling
        self.random_state = random_state
        self.verbose = verbose
        self.device = device
        self.precision = precision

    @classmethod
    def preset(cls, name: str, **overrides: Any) -> Self:
        """Take published settings; "dec-2016" is the only name."""
        if name != "dec-2016":
            raise ValueError(f"preset {name!r} is unknown; expected 'dec-2016'")
        return cls(**{"pretraining": DEC_PAPER, **overrides})

    def fit(self, X: Any, y: Any = None, *, checkpoint: Folder = None) -> Self:
        """Train the autoencoder.

        Parameters
        ----------
        X : array, frame or tensor [N, ...]
            Rows of a table, or images.
        y : ignored
            For pipelines.
        checkpoint : path, optional
            As of `DEC.fit`.

        Returns
        -------
        StackedAutoencoder
            Itself.

        Raises
        ------
        ValueError
            Data that are empty, not finite or of unknown layout; an argument out of range.
        """
        _, views, _, begun = self._begin(X, self.augmentation, checkpoint)
        net, total = self._networks, 0.0
        net.freeze()
        with torch.no_grad():
            for x in views.items.split(2048):
                total += float(reconstruction_error(net.decode(net.encode(x)), x).sum())
        self.reconstruction_error_ = total / views.items.numel()
        seconds = time.perf_counter() - begun
        self.history_ = [{"iteration": 1, "loss": self.reconstruction_error_, "seconds": seconds}]
        return self

    def _fitted(self) -> dict[str, Any]:
        return {**super()._fitted(), "reconstruction_error_": float}


class CodeClusterer(Coder, Baseline):
    """A clusterer whose clusters are centres among the codes of an autoencoder.

    Subclasses have the argument `pretraining` and implement `fit` and `_scores`.
    """

    @property
    def centers_(self) -> np.ndarray:
        """Centres of the clusters among the codes, ``[K, L]``."""
        return np.asarray(self._centers.cpu().double().numpy())

    def _conclude_codes(
        self, X: np.ndarray, views: AugmentedData, centers: Tensor, known: np.ndarray | None = None
    ) -> None:
        self._centers = centers.detach().cpu()
        self._networks.freeze()
        self._conclude(X, views.items.cpu(), known)
        if known is None:
            self._warn_of_instability(*parted_neighbors(views.items, self.labels_, self.n_components))

    def _log_proba(self, items: Tensor) -> np.ndarray:
        return np.asarray(self._scores(self._codes(items)).numpy())

    def _tensors(self) -> dict[str, Tensor]:
        return {**super()._tensors(), "centers": self._centers}

    def _from_tensors(self, tensors: dict[str, Tensor]) -> None:
        self._centers = tensors.pop("centers", torch.empty(0))
        shape = self.n_components, self._n_features_out
        check_tensor("centers", self._centers, torch.empty(shape, device="meta"))
        super()._from_tensors(tensors)


def kmeans_centers(codes: Tensor, k: int, run: Engine, n_init: int = 20) -> tuple[Tensor, Tensor]:
    """Centres ``[K, L]`` and labels ``[N]`` of k-means, best of `n_init` starts."""
    from sklearn.cluster import KMeans

    found = KMeans(k, n_init=n_init, random_state=run.seed()).fit(codes.cpu().double().numpy())
    centers = torch.from_numpy(found.cluster_centers_).float().to(codes.device)
    return centers, torch.from_numpy(found.labels_.astype(np.int64)).to(codes.device)


def uncut_clusters(part: Tensor, items: Tensor, k: int, run: Engine) -> Tensor | None:
    """Clusters ``[N]`` of k-means among the items where `part` ``[N]`` cuts what they leave whole, else None.

    An autoencoder may stretch a large group until its codes fall apart: near neighbours are then in different
    parts far more often than in different clusters of the items.
    """
    if not parts_more(*parted_neighbors(items, part.cpu().numpy(), k)):
        return None
    return kmeans_centers(items.flatten(1), k, run)[1]


def first_clusters(codes: Tensor, items: Tensor, k: int, run: Engine) -> tuple[Tensor, Tensor]:
    """Centres ``[K, L]`` and labels ``[N]`` of k-means among the codes, or of `uncut_clusters`."""
    centers, part = kmeans_centers(codes, k, run)
    whole = uncut_clusters(part, items, k, run)
    if whole is None:
        return centers, part
    return torch.stack([codes[whole == cluster].mean(0) for cluster in range(k)]), whole


__all__ = [
    "CodeClusterer",
    "Coder",
    "StackedAutoencoder",
    "first_clusters",
    "kmeans_centers",
    "uncut_clusters",
]
