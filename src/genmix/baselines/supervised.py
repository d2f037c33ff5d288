"""Networks that learn from labels: a plain classifier, and FixMatch (Sohn et al., NeurIPS 2020)."""

from __future__ import annotations

import math
import time
from abc import abstractmethod
from typing import Any, ClassVar, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genmix.base.preprocessing import Preprocessing
from genmix.base.restoring import load_weights
from genmix.base.validation import Decay, PositiveInt, Share
from genmix.baselines.baseline import Baseline
from genmix.baselines.coders import Folder
from genmix.nn.build import build_stack, network_outputs
from genmix.training.augment import (
    Affine,
    Augmentation,
    AugmentedData,
    ColorJitter,
    NeighborSwap,
    resolve_augmentation,
)
from genmix.training.checkpoint import Checkpoint, Learner
from genmix.training.engine import AveragedNetwork, Engine, FusedOptimizer
from genmix.training.supervision import Labels

#: What a fit begins with: data, views, labels, components of the labelled items, what is kept.
Begun = tuple[np.ndarray, AugmentedData, Labels, np.ndarray, Checkpoint]


class _NetworkClassifier(Baseline):
    """A network from items to K logits; component k stands for ``classes_[k]``."""

    _settings: ClassVar[dict[str, type]] = {t.__name__: t for t in (Affine, ColorJitter, NeighborSwap)}

    _not_always = Baseline._not_always - {"classes_"}

    def _begin(self, X: Any, y: Any, checkpoint: Folder) -> Begun:
        """Validate, scale and place the data; make the network; return the labels as components, too."""
        run = Engine(self.device, self.random_state, verbose=self.verbose)
        X = self._validated(X, reset=True)
        known = self._need_labels(y, len(X))
        kept = Checkpoint(checkpoint, self, (X, known), run)
        self.preprocessing_ = Preprocessing.fit(X, "range" if self.scaling == "auto" else self.scaling)
        chosen = resolve_augmentation(self.augmentation, self.preprocessing_.item_shape)
        views = AugmentedData(self.preprocessing_.apply(X).to(run.device), chosen, run)
        self._network = run.place(self._make_network(run.cpu_generator))
        return X, views, Labels(torch.from_numpy(known).to(run.device), self.n_components), known, kept

    def _make_network(self, generator: torch.Generator) -> nn.Module:
        shape = self.preprocessing_.item_shape
        return build_stack("encoder", self.networks, 1, shape, (self.n_components,), generator)

    def _make_optimizer(self) -> FusedOptimizer:
        def adam(parameters: list[nn.Parameter], lr: float) -> torch.optim.Optimizer:
            return torch.optim.AdamW(parameters, lr, weight_decay=self.weight_decay)

        return FusedOptimizer(self._network.parameters(), adam, self.lr)

    def _train(self, views: AugmentedData, labels: Labels, kept: Checkpoint, begun: float) -> None:
        """Minimise `_loss` with a learning rate that falls along a cosine; about ten records of history."""
        run, optimizer = views.engine, self._make_optimizer()
        self._averaged = AveragedNetwork(self._network, optimizer, self.ema_decay)
        learners: dict[str, Learner] = {"network": self._network, "optimizer": optimizer}
        self.history_, _ = kept.resume({**learners, "averaged": self._averaged}, None)
        total, part = torch.zeros((), device=run.device), max(self.steps // 10, 1)
        for t in run.progress(self.steps, type(self).__name__, len(self.history_) * part):
            optimizer.set_lr(self.lr * (1 + math.cos(math.pi * t / self.steps)) / 2)
            loss = self._loss(views, labels)
            optimizer.step(loss)
            self._averaged.update()
            total += loss.detach()
            if (t + 1) % part == 0:
                self._record(begun, step=t + 1, loss=float(total) / part)
                kept.write(self.history_, None, last=t + part >= self.steps)
                total.zero_()
        self._network = self._averaged.network.requires_grad_(False)
        del self._averaged

    @abstractmethod
    def _loss(self, views: AugmentedData, labels: Labels) -> Tensor: ...

    def _logits(self, x: Tensor) -> Tensor:
        return self._network(x[None])[0]

    def _log_proba(self, items: Tensor) -> np.ndarray:
        logits = network_outputs(self._network, items, 1)[0]
        logits[:, len(self.classes_) :] = -1e300  # components that stand for no class
        return np.asarray(logits.log_softmax(-1).numpy())

    def _tensors(self) -> dict[str, Tensor]:
        return self._network.state_dict()

    def _from_tensors(self, tensors: dict[str, Tensor]) -> None:
        self._network = self._make_network(torch.Generator())
        load_weights(self._network, tensors)
        self._network.eval().requires_grad_(False)


class SupervisedOnly(_NetworkClassifier):
    """A plain classifier of the labelled items and their augmented views: what one would do without us.

    The network is that of our encoders (`DNNMixture`); items without a label are only predicted.

    Parameters
    ----------
    n_components : int
        K, at least the number of classes.
    steps, batch_size : int
        Optimiser steps, and labelled items of each.
    lr, weight_decay : float
        AdamW's; the rate falls to 0 along a cosine.
    ema_decay : float
        Forgetting factor of the averaged network that predicts; 0 takes the last one.
    networks : str, dict or callable
        Network, see `build.build_stack`.
    augmentation : "auto", Affine, ColorJitter, NeighborSwap, None or callable
        Views of the labelled items.
    scaling, random_state, verbose, device
        As in `DNNMixture`.

    Attributes
    ----------
    labels_, classes_, weights_, dead_components_
        As in `DNNMixture`.
    history_ : list of dict
        About ten records: iteration, step, loss (mean since the last one), seconds.
    converged_ : bool
        True: it trains for a fixed time.
    """

    def __init__(
        self,
        n_components: PositiveInt = 2,
        *,
        steps: PositiveInt = 1500,
        batch_size: PositiveInt = 64,
        lr: float = 2e-3,
        weight_decay: float = 1e-2,
        ema_decay: Decay = 0.0,
        networks: Any = "auto",
        augmentation: Any = "auto",
        scaling: str = "auto",
        random_state: Any = None,
        verbose: int = 0,
        device: str = "auto",
    ) -> None:
        self.n_components = n_components
        self.steps = steps
        self.batch_size = batch_size
        self.lr = lr
        self.weight_decay = weight_decay
        self.ema_decay = ema_decay
        self.networks = networks
        self.augmentation = augmentation
        self.scaling = scaling
        self.random_state = random_state
        self.verbose = verbose
        self.device = device

    def fit(self, X: Any, y: Any = None, *, checkpoint: Folder = None) -> Self:
        """Train on the labelled items.

        Parameters
        ----------
        X : array, frame or tensor [N, ...]
            Rows of a table, or images.
        y : array of int [N]
            Classes of the items, -1 where unknown.
        checkpoint : path, optional
            Folder that the fit can go on from: if it is stopped, the same call again ends with the same bits.

        Returns
        -------
        Self
            Itself.

        Raises
        ------
        ValueError
            No labels, or of more classes than components; data that are empty, not finite, of unknown layout
            or fewer than K; an argument out of range; a checkpoint of other data or arguments, or damaged.
        FloatingPointError
            Training diverged.
        """
        begun = time.perf_counter()
        X, views, labels, known, kept = self._begin(X, y, checkpoint)
        self._train(views, labels, kept, begun - kept.seconds)
        self.converged_ = True
        self._conclude(X, views.items.cpu(), known)
        return self

    def _loss(self, views: AugmentedData, labels: Labels) -> Tensor:
        index = labels.draw_index(1, self.batch_size, views.engine.generator)[0]
        return F.cross_entropy(self._logits(views.perturb(views.items[index])), labels.component[index])


class FixMatch(SupervisedOnly):
    """FixMatch: sure predictions of a weak view are the targets of a strong view (Sohn et al., NeurIPS 2020).

    Parameters
    ----------
    n_components : int
        K, at least the number of classes.
    steps, batch_size : int
        Optimiser steps, and labelled items of each.
    unlabelled_ratio : int
        Items without labels for each labelled one (mu).
    threshold : float
        Predictions of at least this probability are targets (tau).
    unlabelled_weight : float
        Weight of their cross-entropy (lambda_u).
    strong : "auto", Affine, ColorJitter, NeighborSwap or callable
        Strong views; "auto" is twice `augmentation`, the weak ones, for images.
    lr, weight_decay, ema_decay, networks, augmentation, scaling, random_state, verbose, device
        As in `SupervisedOnly`.

    Attributes
    ----------
    labels_, classes_, weights_, dead_components_, history_, converged_
        As in `SupervisedOnly`.
    """

    def __init__(
        self,
        n_components: PositiveInt = 2,
        *,
        steps: PositiveInt = 1500,
        batch_size: PositiveInt = 64,
        unlabelled_ratio: PositiveInt = 3,
        threshold: Share = 0.95,
        unlabelled_weight: float = 1.0,
        lr: float = 2e-3,
        weight_decay: float = 1e-2,
        ema_decay: Decay = 0.99,
        networks: Any = "auto",
        augmentation: Any = "auto",
        strong: Any = "auto",
        scaling: str = "auto",
        random_state: Any = None,
        verbose: int = 0,
        device: str = "auto",
    ) -> None:
        super().__init__(
            n_components, steps=steps, batch_size=batch_size, lr=lr, weight_decay=weight_decay,
            ema_decay=ema_decay, networks=networks, augmentation=augmentation, scaling=scaling,
            random_state=random_state, verbose=verbose, device=device,
        )  # fmt: skip
        self.unlabelled_ratio = unlabelled_ratio
        self.threshold = threshold
        self.unlabelled_weight = unlabelled_weight
        self.strong = strong

    def _begin(self, X: Any, y: Any, checkpoint: Folder) -> Begun:
        X, views, labels, known, kept = super()._begin(X, y, checkpoint)
        shape = self.preprocessing_.item_shape
        auto = isinstance(self.strong, str) and self.strong == "auto"
        chosen = strengthen(views.augmentation) if auto else self.strong
        self._strong_views = AugmentedData(
            views.items, resolve_augmentation(chosen, shape, "strong"), views.engine
        )
        return X, views, labels, known, kept

    def _train(self, views: AugmentedData, labels: Labels, kept: Checkpoint, begun: float) -> None:
        super()._train(views, labels, kept, begun)
        del self._strong_views

    def _loss(self, views: AugmentedData, labels: Labels) -> Tensor:
        b = self.batch_size
        index = labels.draw_index(1, b, views.engine.generator)[0]
        others = views.draw_index(1, b * self.unlabelled_ratio)[0]
        x = views.items[others]
        parts = [views.perturb(views.items[index]), views.perturb(x), self._strong_views.perturb(x)]
        # One pass, as published: batch normalisation sees all alike. In one of their own, items of which
        # nearly all are of one class are spread over the others.
        known, weak, strong = self._logits(torch.cat(parts)).split([b, len(x), len(x)])
        sure, target = weak.detach().softmax(1).max(1)
        supervised = F.cross_entropy(known, labels.component[index])
        wrong = F.cross_entropy(strong, target, reduction="none")
        return supervised + self.unlabelled_weight * (wrong * (sure >= self.threshold)).mean()


def strengthen(augmentation: Augmentation) -> Augmentation:
    """Double the strength of views; a callable of the user's own stays as it is."""
    if isinstance(augmentation, Affine):
        return _doubled(augmentation)
    if isinstance(augmentation, ColorJitter):
        return ColorJitter(_doubled(augmentation.affine), 2 * augmentation.strength)
    if isinstance(augmentation, NeighborSwap):
        return NeighborSwap(augmentation.n_neighbors, 2 * augmentation.noise)
    return augmentation


def _doubled(a: Affine) -> Affine:
    return Affine(2 * a.shift, 2 * a.rotate, min(2 * a.scale, 0.5), 2 * a.shear, a.flip)


__all__ = ["FixMatch", "SupervisedOnly", "strengthen"]
