"""Deep embedded clustering: DEC (Xie, Girshick & Farhadi, ICML 2016, https://arxiv.org/abs/1511.06335)."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor

from genmix.base.validation import PositiveInt
from genmix.baselines.autoencoder import (
    DEC_PAPER,
    Pretraining,
    optimizer_maker,
)
from genmix.baselines.coders import CodeClusterer, Folder, first_clusters, kmeans_centers
from genmix.training.checkpoint import Learner
from genmix.training.engine import FusedOptimizer


def log_similarity(z: Tensor, centers: Tensor) -> Tensor:
    """Logarithm of Student's t similarity of codes to centres, one degree of freedom (eq. 1), ``[N, K]``."""
    square = (z[:, None] - centers).square().sum(-1)
    return (-square.log1p()).log_softmax(-1)


def target_distribution(q: Tensor) -> Tensor:
    """Sharpened memberships p that q is drawn to, of all items at once (eq. 3), ``[N, K]``."""
    p = q.square() / q.sum(0)
    return p / p.sum(1, keepdim=True)


def divergence(p: Tensor, log_q: Tensor) -> Tensor:
    """KL(P || Q) of memberships ``[N, K]`` from their target, mean over items (eq. 2)."""
    return (p * (p.clamp_min(1e-12).log() - log_q)).sum(1).mean()


class DEC(CodeClusterer):
    """Deep embedded clustering: an encoder and centres sharpen their own soft assignments.

    Parameters
    ----------
    n_components : int
        K.
    pretraining : Pretraining or None
        The autoencoder's, None for ``Pretraining()``; ``Pretraining(steps=0)`` is DEC without one.
    update_interval : int
        Steps between two refreshes of the target distribution, which is computed from all items.
    batch_size : int
        Items of a step.
    optimizer : {"adam", "sgd"}
        What trains encoder and centres; "sgd" has momentum 0.9.
    lr : float
        Its learning rate.
    max_iter : int
        At most so many refreshes.
    tol : float
        Stop once a refresh changes at most this share of the assignments.
    scaling, random_state, verbose, device, precision
        As in `DNNMixture`.

    Attributes
    ----------
    labels_ : ndarray of int64 [N]
        Cluster of each item of the data fitted.
    centers_ : ndarray [K, L]
        Centres among the codes.
    weights_ : ndarray [K]
        Shares of the clusters.
    n_iter_ : int
        Refreshes done.
    converged_ : bool
        Whether `tol` was reached.
    history_ : list of dict
        One record a refresh: iteration, changed, loss (KL(P || Q) of all items after the steps), seconds.
    dead_components_ : list of int
        Clusters without data.

    References
    ----------
    Xie, Girshick & Farhadi, "Unsupervised deep embedding for clustering analysis", ICML 2016.
    """

    #: "dec-2016" is the paper's (days on a CPU); "without-autoencoder" is what the GANMM paper runs on raw
    #: pixels, as far as its text says.
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "dec-2016": {"pretraining": DEC_PAPER, "max_iter": 1000},
        "without-autoencoder": {"pretraining": Pretraining(steps=0)},
    }

    def __init__(
        self,
        n_components: PositiveInt = 2,
        *,
        pretraining: Pretraining | None = None,
        update_interval: PositiveInt = 140,
        batch_size: PositiveInt = 256,
        optimizer: Literal["adam", "sgd"] = "sgd",
        lr: float = 0.01,
        max_iter: PositiveInt = 100,
        tol: float = 1e-3,
        scaling: str = "auto",
        random_state: Any = None,
        verbose: int = 0,
        device: str = "auto",
        precision: str = "float32",
    ) -> None:
        self.n_components = n_components
        self.pretraining = pretraining
        self.update_interval = update_interval
        self.batch_size = batch_size
        self.optimizer = optimizer
        self.lr = lr
        self.max_iter = max_iter
        self.tol = tol
        self.scaling = scaling
        self.random_state = random_state
        self.verbose = verbose
        self.device = device
        self.precision = precision

    def fit(self, X: Any, y: Any = None, *, checkpoint: Folder = None) -> Self:
        """Pretrain the autoencoder, then cluster.

        Parameters
        ----------
        X : array, frame or tensor [N, ...]
            Rows of a table, or images.
        y : ignored
            DEC learns without labels.
        checkpoint : path, optional
            Folder to keep the autoencoder in, as far as its steps end to end have come, and until the fit
            ends what it does after them. If it is stopped, the same call again goes on, to the same bits.
            Any model with the same autoencoder (`StackedAutoencoder` and `DEC`, with the same `pretraining`
            `DCN`) begins with that.

        Returns
        -------
        DEC
            Itself.

        Raises
        ------
        ValueError
            Data that are empty, not finite, of unknown layout or fewer than K; an argument out of range.
        FloatingPointError
            Training diverged.
        """
        X, views, kept, begun = self._begin(X, checkpoint=checkpoint)
        net, items, run = self._networks, views.items, views.engine
        codes, k = net.encode_all(items), self.n_components
        if self._how.steps == 0:  # no autoencoder: there is nothing but these codes to begin with
            found, _ = kmeans_centers(codes, k, run)
        else:
            found, _ = first_clusters(codes, items, k, run)
        centers = torch.nn.Parameter(found)
        learned = [*net.encoder.parameters(), centers]
        optimizer = FusedOptimizer(learned, optimizer_maker(self.optimizer), self.lr)
        learners: dict[str, Learner] = {"networks": net, "optimizer": optimizer}
        learners["centers"] = torch.nn.ParameterList([centers])
        self.history_, _ = kept.resume(learners, None)
        self.converged_ = False
        log_q = self._log_similarity(items, centers)
        for _ in run.progress(self.max_iter, "DEC", len(self.history_)):
            p = target_distribution(log_q.exp())  # of all items, and frozen until the next refresh
            for _ in range(self.update_interval):
                index = views.draw_index(1, self.batch_size)[0]
                optimizer.step(divergence(p[index], log_similarity(net.encode(items[index]), centers)))
            before, log_q = log_q.argmax(1), self._log_similarity(items, centers)
            changed = float((log_q.argmax(1) != before).float().mean())
            self._record(begun, changed=changed, loss=float(divergence(p, log_q)))
            self.converged_ = changed <= self.tol
            if self.converged_:
                break
            kept.write(self.history_, None)
        kept.end()
        self._conclude_codes(X, views, centers)
        return self

    @torch.no_grad()
    def _log_similarity(self, items: Tensor, centers: Tensor) -> Tensor:
        return log_similarity(self._networks.encode_all(items), centers)

    def _scores(self, codes: Tensor) -> Tensor:
        return log_similarity(codes, self._centers.double())


__all__ = ["DEC", "divergence", "log_similarity", "target_distribution"]
