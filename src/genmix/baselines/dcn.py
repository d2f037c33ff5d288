"""Deep clustering network: DCN (Yang, Fu, Sidiropoulos & Hong, ICML 2017, https://arxiv.org/abs/1610.04794)."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from genmix.base.validation import PositiveFloat, PositiveInt
from genmix.baselines.autoencoder import (
    Autoencoder,
    Pretraining,
    optimizer_maker,
    shuffled,
)
from genmix.baselines.coders import CodeClusterer, Folder, first_clusters
from genmix.training.checkpoint import Learner
from genmix.training.engine import Engine, FusedOptimizer, Stateful

#: What every cluster's count begins with in the authors' code: k-means' centres are not thrown away.
START_COUNT = 100


def squared_distance(z: Tensor, centers: Tensor) -> Tensor:
    """Squared distance of codes ``[B, L]`` to centres ``[K, L]``; returns ``[B, K]``."""
    return (z[:, None] - centers).square().sum(-1)


def log_membership(z: Tensor, centers: Tensor, variance: float) -> Tensor:
    """Logarithm of memberships in equally large round Gaussians, whose largest is the nearest centre."""
    return (squared_distance(z, centers) / (-2 * variance)).log_softmax(-1)


def follow_codes(centers: Tensor, counts: Tensor, z: Tensor, assigned: Tensor) -> tuple[Tensor, Tensor]:
    """Move centres by the paper's step for each code in turn, all at once.

    A code of cluster k raises ``counts[k]`` by one, then draws the centre by ``1 / counts[k]`` of the way.
    That is a running mean, which takes the codes in any order.

    Parameters
    ----------
    centers : Tensor [K, L]
        Centres.
    counts : Tensor [K]
        How many codes each centre is the mean of.
    z : Tensor [B, L]
        Codes.
    assigned : Tensor of int64 [B]
        Their clusters.

    Returns
    -------
    centers : Tensor [K, L]
    counts : Tensor [K]
    """
    member = F.one_hot(assigned, len(centers)).to(z.dtype)
    new = member.sum(0)
    counts = counts + new
    pull = member.T @ z - new[:, None] * centers
    return centers + pull / counts.clamp_min(1)[:, None], counts  # a cluster without codes stays


class Clusters(Stateful):
    """Centres that follow the codes, and the cluster of every item.

    Parameters
    ----------
    centers : Tensor [K, L]
        Centres to begin with.
    assigned : Tensor of int64 [N]
        Clusters to begin with; changed in place.
    run : Engine
        Device.
    """

    _state = ("centers", "counts", "assigned")

    def __init__(self, centers: Tensor, assigned: Tensor, run: Engine) -> None:
        self.centers, self.assigned, self.engine = centers, assigned, run
        self.counts = torch.full((len(centers),), float(START_COUNT), device=run.device)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to what `state_dict` returned."""
        super().load_state_dict(state)
        if not 0 <= self.assigned.min() <= self.assigned.max() < len(self.centers):
            raise ValueError("assigned: expected clusters")

    def follow(self, z: Tensor, index: Tensor) -> Tensor:
        """Assign items by their codes ``[B, L]``, then move the centres; squared distances ``[B]``."""
        distance, nearest = squared_distance(z, self.centers).min(1)
        self.centers, self.counts = follow_codes(self.centers, self.counts, z, nearest)
        self.assigned[index] = nearest
        return distance


class DCN(CodeClusterer):
    """Deep clustering network: an autoencoder learns to rebuild, and to have codes close to their centres.

    Each step lowers ``|x - g(f(v))|^2 + cluster_weight / 2 |f(v) - m_s|^2``, with v a view of the item x,
    assigns the items to their nearest centres, and moves these centres. Memberships are those of equally
    large round Gaussians around the centres, of variance `spread_`.

    Parameters
    ----------
    n_components : int
        K.
    pretraining : Pretraining or None
        The autoencoder's, None for ``Pretraining(augment=True)``.
    cluster_weight : float
        The paper's lambda (at least 0).
    batch_size : int
        Items of a step.
    optimizer : {"adam", "sgd"}
        What trains the autoencoder; "sgd" has momentum 0.9.
    lr : float
        Its learning rate.
    max_iter : int
        At most so many passes over the data.
    tol : float or None
        Stop once a pass changes at most this share of the assignments; None never.
    augmentation : "auto", Affine, ColorJitter, NeighborSwap, None or callable
        Views that the autoencoder sees (Guo et al. 2018); "auto" suits images, and adds noise to rows.
    scaling, random_state, verbose, device, precision
        As in `DNNMixture`.

    Attributes
    ----------
    labels_ : ndarray of int64 [N]
        Cluster of each item of the data fitted: that of the nearest centre.
    centers_ : ndarray [K, L]
        Centres among the codes.
    spread_ : float
        Mean squared distance of a number of a code to that of its centre.
    weights_ : ndarray [K]
        Shares of the clusters.
    n_iter_ : int
        Passes done.
    converged_ : bool
        Whether `tol` was reached.
    history_ : list of dict
        One record a pass: iteration, changed, loss (mean objective), distance (mean squared, of a code to its
        centre after the step), seconds.
    dead_components_ : list of int
        Clusters without data.

    References
    ----------
    Yang, Fu, Sidiropoulos & Hong, "Towards K-means-friendly spaces: simultaneous deep learning and
    clustering", ICML 2017.

    Guo, Zhu, Liu & Yin, "Deep embedded clustering with data augmentation", ACML 2018: the network learns from
    views, the items themselves are assigned.
    """

    #: "dcn-2017" is what the authors' code does on MNIST: 250 passes over 70,000 images for each layer and
    #: as many for all, then 50. It multiplies pixels by 5.1, and so the loss by 26: here the rate is.
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "dcn-2017": {
            "pretraining": Pretraining(
                layer_steps=68_250, steps=68_250, optimizer="sgd", lr=2.6e-3, falling=False
            ),
            "cluster_weight": 2.0,
            "optimizer": "sgd",
            "lr": 2.6e-3,
            "max_iter": 50,
            "tol": None,
            "augmentation": None,
        }
    }

    _default_settings: ClassVar = {"pretraining": lambda _: Pretraining(augment=True)}

    def _fitted(self) -> dict[str, Any]:
        return {**super()._fitted(), "spread_": PositiveFloat}

    def __init__(
        self,
        n_components: PositiveInt = 2,
        *,
        pretraining: Pretraining | None = None,
        cluster_weight: float = 2.0,
        batch_size: PositiveInt = 256,
        optimizer: Literal["adam", "sgd"] = "adam",
        lr: float = 3e-4,
        max_iter: PositiveInt = 50,
        tol: float | None = 1e-3,
        augmentation: Any = "auto",
        scaling: str = "auto",
        random_state: Any = None,
        verbose: int = 0,
        device: str = "auto",
        precision: str = "float32",
    ) -> None:
        self.n_components = n_components
        self.pretraining = pretraining
        self.cluster_weight = cluster_weight
        self.batch_size = batch_size
        self.optimizer = optimizer
        self.lr = lr
        self.max_iter = max_iter
        self.tol = tol
        self.augmentation = augmentation
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
            DCN learns without labels.
        checkpoint : path, optional
            As of `DEC.fit`.

        Returns
        -------
        DCN
            Itself.

        Raises
        ------
        ValueError
            Data that are empty, not finite, of unknown layout or fewer than K; an argument out of range.
        FloatingPointError
            Training diverged.
        """
        X, views, kept, begun = self._begin(X, self.augmentation, checkpoint)
        net, items, run = self._networks, views.items, views.engine
        found = Clusters(*first_clusters(net.encode_all(items), items, self.n_components, run), run)
        optimizer = FusedOptimizer(net.parameters(), optimizer_maker(self.optimizer), self.lr)
        learners: dict[str, Learner] = {"networks": net, "optimizer": optimizer, "clusters": found}
        self.history_, _ = kept.resume(learners, None)
        self.converged_ = False
        for _ in run.progress(self.max_iter, "DCN", len(self.history_)):
            before, sums = found.assigned.clone(), torch.zeros(2, device=run.device)
            for index in shuffled(len(items), self.batch_size, run):
                x, s = items[index], found.assigned[index]
                loss = self._loss(net, views.perturb(x), x, found.centers[s])
                optimizer.step(loss)
                with torch.no_grad():
                    distance = found.follow(net.encode(x), index)
                    sums += torch.stack([loss * len(x), distance.sum()])
            changed = float((found.assigned != before).float().mean())
            loss_mean, distance_mean = (sums / len(items)).tolist()
            self._record(begun, changed=changed, loss=loss_mean, distance=distance_mean)
            self.converged_ = self.tol is not None and changed <= self.tol
            if self.converged_:
                break
            kept.write(self.history_, None)
        kept.end()
        self._measure_spread(net.encode_all(items), found.centers)
        self._conclude_codes(X, views, found.centers)
        return self

    def _loss(self, net: Autoencoder, seen: Tensor, x: Tensor, centers: Tensor) -> Tensor:
        """Objective of views of items, the items, and the centres ``[B, L]`` of their clusters."""
        z = net.encode(seen)
        distance = (z - centers).square().sum(1)
        return (net.error(z, x) + self.cluster_weight / 2 * distance).mean()

    def _measure_spread(self, codes: Tensor, centers: Tensor) -> None:
        distance = squared_distance(codes, centers).min(1).values.mean()
        tiny = torch.finfo(distance.dtype).tiny
        self.spread_ = float((distance / codes.shape[1]).clamp_min(tiny))  # 0 where each item has its cluster

    def _scores(self, codes: Tensor) -> Tensor:
        return log_membership(codes, self._centers.double(), self.spread_)


__all__ = ["DCN", "follow_codes", "log_membership", "squared_distance"]
