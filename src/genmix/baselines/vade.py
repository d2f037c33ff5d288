"""Variational deep embedding: VaDE (Jiang, Zheng, Tan, Tang & Zhou, IJCAI 2017, arXiv 1611.05148)."""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from genmix.base.estimator import BaseMixture
from genmix.base.preprocessing import finite
from genmix.base.validation import Interval, PositiveFloat, PositiveInt
from genmix.baselines.autoencoder import Pretraining, optimizer_maker, shuffled
from genmix.baselines.baseline import Baseline
from genmix.baselines.coders import Coder, Folder
from genmix.baselines.variational import VariationalAutoencoder
from genmix.training.engine import FusedOptimizer
from genmix.training.partitions import parted_neighbors

#: The learning rate grows over so many steps. That is ours: with Adam's full first steps, a pass undoes
#: half of the start's assignments.
WARM_STEPS = 100


class VaDE(Coder, Baseline, BaseMixture):
    """Variational deep embedding: a variational autoencoder whose codes have a mixture of Gaussians as prior.

    Parameters
    ----------
    n_components : int
        K.
    pretraining : Pretraining or None
        How the means of the codes and the decoder begin, as a plain autoencoder; None for
        ``Pretraining(augment=True)``.
    reconstruction_weight : float
        Weight of the reconstruction in the ELBO (> 0): squared error of a table's row, cross-entropy of an
        image's pixels in [0, 1].
    batch_size : int
        Items of a step.
    lr : float
        Adam's learning rate at its highest, after 100 steps.
    fall, fall_every : float, int
        The rate is multiplied by `fall` (in (0, 1]) after so many passes, down to a tenth.
    max_iter : int
        At most so many passes over the data.
    tol : float or None
        Stop once a pass changes at most this share of the assignments; None, as in the paper, never.
    augmentation : "auto", Affine, ColorJitter, NeighborSwap, None or callable
        Views that the encoder sees, as of `DCN`.
    scaling, random_state, verbose, device, precision
        As in `DNNMixture`.

    Attributes
    ----------
    labels_ : ndarray of int64 [N]
        Component of each item of the data fitted.
    means_, variances_ : ndarray [K, L]
        Of the Gaussians of codes.
    weights_ : ndarray [K]
        Shares of the components among `labels_`.
    n_iter_ : int
        Passes done.
    converged_ : bool
        Whether a `tol` was reached.
    history_ : list of dict
        One record a pass: iteration, changed, elbo (mean of an item, up to a constant for tables), seconds.
    dead_components_ : list of int
        Components without data.

    References
    ----------
    Jiang, Zheng, Tan, Tang & Zhou, "Variational deep embedding: an unsupervised and generative approach to
    clustering", IJCAI 2017.
    """

    #: "vade-2017" is the authors' for MNIST; how they pretrained is not published, only the weights.
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "vade-2017": {
            "pretraining": Pretraining(steps=20_000),
            "batch_size": 100,
            "lr": 2e-3,
            "fall": 0.9,
            "fall_every": 10,
            "max_iter": 3000,
            "augmentation": None,
        }
    }

    _default_settings: ClassVar = {"pretraining": lambda _: Pretraining(augment=True)}

    _networks: VariationalAutoencoder

    def __init__(
        self,
        n_components: PositiveInt = 2,
        *,
        pretraining: Pretraining | None = None,
        reconstruction_weight: PositiveFloat = 1.0,
        batch_size: PositiveInt = 128,
        lr: float = 1e-3,
        fall: Annotated[float, Interval("(0, 1]")] = 0.9,
        fall_every: PositiveInt = 2,
        max_iter: PositiveInt = 50,
        tol: float | None = None,
        augmentation: Any = "auto",
        scaling: str = "auto",
        random_state: Any = None,
        verbose: int = 0,
        device: str = "auto",
        precision: str = "float32",
    ) -> None:
        self.n_components = n_components
        self.pretraining = pretraining
        self.reconstruction_weight = reconstruction_weight
        self.batch_size = batch_size
        self.lr = lr
        self.fall = fall
        self.fall_every = fall_every
        self.max_iter = max_iter
        self.tol = tol
        self.augmentation = augmentation
        self.scaling = scaling
        self.random_state = random_state
        self.verbose = verbose
        self.device = device
        self.precision = precision

    def fit(self, X: Any, y: Any = None, *, checkpoint: Folder = None) -> Self:
        """Pretrain the autoencoder, start the mixture on its codes, then raise the ELBO.

        Parameters
        ----------
        X : array, frame or tensor [N, ...]
            Rows of a table, or images.
        y : ignored
            VaDE learns without labels.
        checkpoint : path, optional
            As of `DEC.fit`.

        Returns
        -------
        VaDE
            Itself.

        Raises
        ------
        ValueError
            Data that are empty, not finite, of unknown layout or fewer than K; images beyond [0, 1] under
            ``scaling="none"``; an argument out of range.
        FloatingPointError
            Training diverged.
        """
        X, views, kept, begun = self._begin(X, self.augmentation, checkpoint)
        net, items, run = self._networks, views.items, views.engine
        assigned = net.start(net.encode_all(items), items, run)
        optimizer = FusedOptimizer(net.parameters(), optimizer_maker("adam"), self.lr)
        self.history_, assigned = kept.resume({"networks": net, "optimizer": optimizer}, assigned)
        self.converged_ = False
        steps = len(self.history_) * math.ceil(len(items) / self.batch_size)
        for t in run.progress(self.max_iter, "VaDE", len(self.history_)):
            lr = self.lr * max(self.fall ** (t // self.fall_every), 0.1)
            total = torch.zeros((), device=run.device)
            for index in shuffled(len(items), self.batch_size, run):
                steps += 1
                optimizer.set_lr(lr * min(steps / WARM_STEPS, 1))
                shape = len(index), net.means.shape[1]
                noise = torch.randn(shape, generator=run.generator, device=run.device)
                x = items[index]
                bound = net.evidence_bound(views.perturb(x), x, noise, self.reconstruction_weight)
                optimizer.step(-bound.mean())
                total += bound.detach().sum()
            before, assigned = assigned, net.assign(items)
            changed = float((assigned != before).float().mean())
            self._record(begun, changed=changed, elbo=float(total) / len(items))
            self.converged_ = self.tol is not None and changed <= self.tol
            if self.converged_:
                break
            kept.write(self.history_, assigned)
        kept.end()
        net.freeze()
        self._conclude(X, items.cpu())
        self._warn_of_instability(*parted_neighbors(items, self.labels_, self.n_components))
        return self

    def score_samples(self, X: Any) -> np.ndarray:
        """Log-density of the mean code of each item: tells odd items, but is no density of the items.

        Parameters
        ----------
        X : array, frame or tensor [N, ...]
            Items of the shape the model was fitted on.

        Returns
        -------
        ndarray of float64 [N]
        """
        log_p = torch.from_numpy(self._log_proba(self._items(X)))
        return np.asarray(finite(log_p.logsumexp(1).numpy(), "scores"))

    @property
    def means_(self) -> np.ndarray:
        """Means of the Gaussians of codes, ``[K, L]``."""
        return np.asarray(self._networks.means.detach().cpu().double().numpy())

    @property
    def variances_(self) -> np.ndarray:
        """Variances of the Gaussians of codes, ``[K, L]``."""
        return np.asarray(self._networks.log_variances.detach().cpu().double().exp().numpy())

    # ------------------------------------------------------------------ inside

    _autoencoder = VariationalAutoencoder

    def _make_networks(self, generator: torch.Generator) -> VariationalAutoencoder:
        return VariationalAutoencoder(*self._architecture(), generator, self.n_components)

    def _log_proba(self, items: Tensor) -> np.ndarray:
        return np.asarray(self._in_float64().cpu().log_joint(self._codes(items)).numpy())

    def _generate(self, counts: np.ndarray, seed: int) -> Tensor:
        net, device = self._networks, self._networks.means.device
        generator = torch.Generator(device).manual_seed(seed)
        component = torch.from_numpy(np.repeat(np.arange(len(counts)), counts)).to(device)
        with torch.no_grad():
            means, scale = net.means[component], (net.log_variances[component] / 2).exp()
            z = means + scale * torch.randn(means.shape, generator=generator, device=device)
            return torch.cat([net.decode(part) for part in z.split(2048)])


__all__ = ["VaDE"]
