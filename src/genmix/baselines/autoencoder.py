"""The stacked autoencoder of deep clustering (Xie, Girshick & Farhadi, ICML 2016) and what is built on it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Self

import numpy as np
import torch
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from genmix._base import BaseModel, check_codes, fingerprint
from genmix.arguments import check_augmentation
from genmix.augment import Affine, ColorJitter, Neighbors, Views
from genmix.baselines.rival import Rival
from genmix.data import Preprocessing
from genmix.engine import Engine, FlatOptimizer
from genmix.gan import adam
from genmix.stacks import StackedMLP


def optimizer_maker(name: str) -> Any:
    """``(parameters, rate) -> optimiser`` by name.

    Raises
    ------
    ValueError
        Unknown name.
    """
    if name == "adam":
        return partial(adam, betas=(0.9, 0.999))
    if name == "sgd":
        return lambda parameters, rate: torch.optim.SGD(parameters, rate, momentum=0.9)
    raise ValueError(f"optimizer={name!r}: expected 'adam' or 'sgd'")


@dataclass(frozen=True)
class Pretraining:
    """How an autoencoder learns before anything is clustered.

    Parameters
    ----------
    hidden : sequence of int
        Widths of the encoder's hidden layers; the decoder mirrors them.
    latent_dim : int
        Width of the code.
    layer_steps : int
        Steps of greedy denoising on each pair of layers, outermost first; 0 trains end to end only.
    steps : int or None
        Steps end to end; 0 leaves the autoencoder as it is, None takes 50 passes over the data, but no fewer
        than 500 steps and no more than 2,000.
    batch_size : int
        Items of a step.
    optimizer : {"adam", "sgd"}
        "sgd" has momentum 0.9.
    rate : float
        Learning rate at the start.
    falling : bool
        Let the rate fall to nearly 0 along a cosine.
    corruption : float
        Share of the inputs of a layer that are set to 0 (in [0, 1)); end to end, of the items.
    augment : bool
        The autoencoder sees augmented views of the items, and rebuilds the items.
    """

    hidden: tuple[int, ...] = (500, 500, 2000)
    latent_dim: int = 10
    layer_steps: int = 0
    steps: int | None = None
    batch_size: int = 256
    optimizer: str = "adam"
    rate: float = 1e-3
    falling: bool = True
    corruption: float = 0.0
    augment: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be trained."""
        for name, least in (("latent_dim", 1), ("batch_size", 1), ("steps", 0), ("layer_steps", 0)):
            if getattr(self, name) is not None and getattr(self, name) < least:
                raise ValueError(
                    f"{name}={getattr(self, name)!r}: expected a whole number of at least {least}"
                )
        if not 0 <= self.corruption < 1:
            raise ValueError(f"corruption={self.corruption!r}: expected at least 0 and below 1")
        optimizer_maker(self.optimizer)

    def count_steps(self, n_items: int) -> int:
        """Count the steps end to end for so many items."""
        return min(max(50 * n_items // self.batch_size, 500), 2000) if self.steps is None else self.steps


#: Xie et al. 2016, section 5.3; `steps` of 256 items.
DEC_PAPER = Pretraining(
    layer_steps=50_000, steps=100_000, optimizer="sgd", rate=0.1, falling=False, corruption=0.2
)


class Autoencoder(nn.Module):
    """Dense encoder and mirrored decoder of items of any shape.

    Parameters
    ----------
    item_shape : tuple of int
        Shape of one item; flattened inside.
    hidden : sequence of int
        Widths of the encoder's hidden layers.
    latent_dim : int
        Width of the code.
    generator : torch.Generator
        Source of the initial weights.
    """

    def __init__(
        self,
        item_shape: tuple[int, ...],
        hidden: tuple[int, ...],
        latent_dim: int,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.encoder = StackedMLP(1, item_shape, (latent_dim,), generator, hidden=hidden)
        self.decoder = StackedMLP(1, (latent_dim,), item_shape, generator, hidden=hidden[::-1])

    def encode(self, x: Tensor) -> Tensor:
        """Codes ``[B, L]`` of items ``[B, *item_shape]``."""
        return self.encoder(x[None])[0]

    def decode(self, z: Tensor) -> Tensor:
        """Items ``[B, *item_shape]`` of codes ``[B, L]``."""
        return self.decoder(z[None])[0]

    def error(self, z: Tensor, x: Tensor) -> Tensor:
        """Reconstruction error ``[B]`` of items `x` from codes `z`, what training lowers."""
        return reconstruction_error(self.decode(z), x)

    def encode_all(self, items: Tensor, batch_size: int = 2048) -> Tensor:
        """`encode` of any number of items, without gradient."""
        with torch.no_grad():
            return torch.cat([self.encode(x) for x in items.split(batch_size)])

    def pretrain(self, views: Views, how: Pretraining) -> None:
        """Learn to rebuild the items, layer by layer first where asked."""
        if how.layer_steps:
            self._pretrain_layers(views, how)
        optimizer = FlatOptimizer(self.parameters(), optimizer_maker(how.optimizer), how.rate)
        steps = how.count_steps(len(views.items))
        for t in views.run.progress(steps, "autoencoder"):
            set_falling_rate(optimizer, how, t, steps)
            x = views.items[views.draw_index(1, how.batch_size)[0]]
            seen = views.perturb(x) if how.augment else x
            z = self.encode(_corrupt(seen, how.corruption, views.run))
            optimizer.minimize(self.error(z, x).mean())

    def _pretrain_layers(self, views: Views, how: Pretraining) -> None:
        """Each layer learns, with its mirror image, to rebuild what the layers before it give it."""
        depth = len(self.encoder.layers)
        inputs = views.items.flatten(1)[None]
        for number, layer in enumerate(self.encoder.layers):
            mirror, last, first = self.decoder.layers[depth - 1 - number], number == depth - 1, number == 0
            optimizer = FlatOptimizer(
                [*layer.parameters(), *mirror.parameters()], optimizer_maker(how.optimizer), how.rate
            )
            for t in views.run.progress(how.layer_steps, f"layer {number + 1}"):
                set_falling_rate(optimizer, how, t, how.layer_steps)
                x = inputs[:, views.draw_index(1, how.batch_size)[0]]
                h = layer(_corrupt(x, how.corruption, views.run))
                h = _corrupt(h if last else h.relu(), how.corruption, views.run)
                made = mirror(h)
                optimizer.minimize(((made if first else made.relu()) - x).square().sum(-1).mean())
            with torch.no_grad():
                inputs = torch.cat([layer(x) for x in inputs.split(2048, 1)], 1)
                inputs = inputs if last else inputs.relu()


def set_falling_rate(optimizer: FlatOptimizer, how: Pretraining, step: int, steps: int) -> None:
    """Learning rate of a step: constant, or falling along a cosine."""
    fall = 0.505 + 0.495 * math.cos(math.pi * step / steps) if how.falling else 1.0
    optimizer.set_rate(how.rate * fall)


def reconstruction_error(made: Tensor, x: Tensor) -> Tensor:
    """Squared error of each item ``[B]``, summed over its numbers."""
    return (made - x).flatten(1).square().sum(1)


def _corrupt(x: Tensor, share: float, run: Engine) -> Tensor:
    """Set a share of the numbers to 0, as dropout does, by the fit's own generator."""
    if not share:
        return x
    keep = torch.rand(x.shape, generator=run.generator, device=x.device) >= share
    return x * keep / (1 - share)


class _Coder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseModel):
    """A model with an autoencoder: `transform`, `inverse_transform`, its part of a folder."""

    _settings: ClassVar[dict[str, type]] = {
        t.__name__: t for t in (Pretraining, Affine, ColorJitter, Neighbors)
    }

    #: What ``pretraining=None`` stands for.
    _pretraining: ClassVar[Pretraining] = Pretraining()

    def _begin(self, X: Any, augmentation: Any = None) -> tuple[np.ndarray, Views]:
        """Validate, scale and place the data; make the networks and pretrain them."""
        how = self.pretraining or self._pretraining
        if not isinstance(how, Pretraining):
            raise ValueError(f"pretraining={how!r}: expected a Pretraining or None")
        run = Engine(self.device, self.random_state, verbose=self.verbose)
        X = self._validated(X, reset=True)
        self.preprocessing_ = Preprocessing.fit(X, "range" if self.scaling == "auto" else self.scaling)
        shape = self.preprocessing_.item_shape
        chosen = check_augmentation(augmentation, shape)
        views = Views(self.preprocessing_.apply(X).to(run.device), chosen, run)
        self._networks = self._make_networks(run.cpu_generator)
        run.place(self._networks)
        self._networks.pretrain(views, how)
        if not all(bool(p.isfinite().all()) for p in self._networks.parameters()):
            raise FloatingPointError("the autoencoder's training diverged; lower the rate of pretraining")
        self.fingerprint_ = fingerprint(X)
        return X, views

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
        return np.asarray(self._codes(self._items(X)).numpy())

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
        network = self._make_networks(torch.Generator()).double()
        network.load_state_dict(self._networks.state_dict())
        return network.encode_all(items.double()).cpu()

    @property
    def _n_features_out(self) -> int:
        return self._architecture()[2]

    def _architecture(self) -> tuple[tuple[int, ...], tuple[int, ...], int]:
        how = self.pretraining or self._pretraining
        return self.preprocessing_.item_shape, tuple(how.hidden), how.latent_dim

    def _make_networks(self, generator: torch.Generator) -> Autoencoder:
        """Untrained networks of the model's shapes."""
        return Autoencoder(*self._architecture(), generator)

    def _tensors(self) -> dict[str, Tensor]:
        return self._networks.state_dict()

    def _from_tensors(self, tensors: dict[str, Tensor]) -> None:
        self._networks = self._make_networks(torch.Generator())
        self._networks.load_state_dict(tensors)


class StackedAutoencoder(_Coder):
    """Dense autoencoder as a transformer: features for any clusterer (the papers' "embedded space").

    Parameters
    ----------
    pretraining : Pretraining or None
        Widths, length and manner of training, None for ``Pretraining()``;
        ``StackedAutoencoder.preset("dec-2016")`` has the DEC paper's.
    augmentation : "auto", Affine, ColorJitter, Neighbors, None or callable
        Views for ``Pretraining(augment=True)``.
    scaling : str
        As in `DNNMixture`.
    random_state : None, int or numpy.random.RandomState
        Seed.
    verbose : int
        1 shows a progress bar.
    device : str
        "auto", "cpu", "cuda", ...

    Attributes
    ----------
    preprocessing_ : Preprocessing
        Scaling and layout.
    reconstruction_error_ : float
        Mean squared error of an item's number, in units of the scaled data.
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
    ) -> None:
        self.pretraining = pretraining
        self.augmentation = augmentation
        self.scaling = scaling
        self.random_state = random_state
        self.verbose = verbose
        self.device = device

    @classmethod
    def preset(cls, name: str, **overrides: Any) -> Self:
        """Take published settings; "dec-2016" is the only name."""
        if name != "dec-2016":
            raise ValueError(f"preset {name!r} is unknown; expected 'dec-2016'")
        return cls(**{"pretraining": DEC_PAPER, **overrides})

    def fit(self, X: Any, y: Any = None) -> Self:
        """Train the autoencoder.

        Parameters
        ----------
        X : array, frame or tensor [N, ...]
            Rows of a table, or images.
        y : ignored
            For pipelines.

        Returns
        -------
        StackedAutoencoder
            Itself.

        Raises
        ------
        ValueError
            Data that are empty, not finite or of unknown layout; an argument out of range.
        """
        _, views = self._begin(X, self.augmentation)
        net, total = self._networks, 0.0
        with torch.no_grad():
            for x in views.items.split(2048):
                total += float(reconstruction_error(net.decode(net.encode(x)), x).sum())
        self.reconstruction_error_ = total / views.items.numel()
        return self

    _fitted_names = (*BaseModel._fitted_names, "reconstruction_error_")


class CodeClusterer(_Coder, Rival):
    """A clusterer whose clusters are centres among the codes of an autoencoder.

    Subclasses have the argument `pretraining` and implement `fit` and `_scores`.
    """

    @property
    def centers_(self) -> np.ndarray:
        """Centres of the clusters among the codes, ``[K, L]``."""
        return np.asarray(self._centers.double().cpu().numpy())

    def _conclude_codes(
        self, X: np.ndarray, views: Views, centers: Tensor, known: np.ndarray | None = None
    ) -> None:
        self._centers = centers.detach().cpu()
        self._networks.requires_grad_(False)
        self._conclude(X, views.items.cpu(), known)

    def _log_proba(self, items: Tensor) -> np.ndarray:
        return np.asarray(self._scores(self._codes(items)).numpy())

    def _tensors(self) -> dict[str, Tensor]:
        return {**super()._tensors(), "centers": self._centers}

    def _from_tensors(self, tensors: dict[str, Tensor]) -> None:
        self._centers = tensors["centers"]
        super()._from_tensors({name: tensor for name, tensor in tensors.items() if name != "centers"})


def shuffled(n_items: int, batch_size: int, run: Engine) -> tuple[Tensor, ...]:
    """Draw the batches of a pass over the data: every item once, in random order."""
    return torch.randperm(n_items, generator=run.generator, device=run.device).split(batch_size)


def kmeans_centers(codes: Tensor, k: int, run: Engine, n_init: int = 20) -> tuple[Tensor, Tensor]:
    """Centres ``[K, L]`` and labels ``[N]`` of k-means, best of `n_init` starts."""
    from sklearn.cluster import KMeans

    found = KMeans(k, n_init=n_init, random_state=run.seed()).fit(codes.double().cpu().numpy())
    centers = torch.from_numpy(found.cluster_centers_).float().to(codes.device)
    return centers, torch.from_numpy(found.labels_.astype(np.int64)).to(codes.device)


__all__ = [
    "DEC_PAPER",
    "Autoencoder",
    "CodeClusterer",
    "Pretraining",
    "StackedAutoencoder",
    "kmeans_centers",
    "optimizer_maker",
    "reconstruction_error",
    "set_falling_rate",
    "shuffled",
]
