"""Deep clustering with a dynamic autoencoder: DynAE (Mrabah et al. 2019, https://arxiv.org/abs/1901.07752)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count, islice
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from genmix.base.preprocessing import as_array, is_images
from genmix.base.validation import PositiveFloat, PositiveInt
from genmix.baselines.acai import ACAI, DYNAE_PAPER, InterpolatingAutoencoder
from genmix.baselines.autoencoder import (
    Pretraining,
    optimizer_maker,
)
from genmix.baselines.coders import CodeClusterer, Folder, kmeans_centers
from genmix.baselines.dec import log_similarity
from genmix.training.augment import Affine, AugmentedData, ColorJitter, NeighborSwap
from genmix.training.checkpoint import Learner
from genmix.training.engine import Engine, FusedOptimizer, Stateful
from genmix.training.supervision import Labels, seeded_kmeans

#: The published views of images: shifts by a tenth of the side, turns by ten degrees.
SHIFT_AND_TURN = Affine(shift=0.1, rotate=0.1745, scale=0, shear=0)

#: So often no fit lowers the bar: it takes an iteration each.
MOST_LOWERED = 10_000

#: Labelled codes that decide of which class an item is, while centres are found.
VOTERS = 5


class Centers(NamedTuple):
    """Codes ``[K, L]`` that unconflicted items are drawn to, and their images ``[K, *item_shape]``."""

    codes: Tensor
    images: Tensor


def thresholds(kappa: float, n_components: int) -> Iterator[tuple[float, float]]:
    """beta1 and beta2 for ever: first ``kappa / K`` and half of that, then both lower and lower."""
    first = kappa / n_components
    beta1, beta2 = first, first / 2
    for i in count():
        yield beta1, beta2
        fall = 0.3 ** max(i, 1) * first  # as published: 0.3 comes twice, then 0.09, 0.027, ...
        beta1, beta2 = beta1 - fall, beta2 - fall


class Course(Stateful):
    """How far the clustering has come.

    Parameters
    ----------
    kappa : float
        As of `thresholds`.
    centers : Centers
        What unconflicted items are drawn to at first.
    run : Engine
        Device.

    Attributes
    ----------
    lowered : int
        How often the bar was lowered.
    share : float
        Items conflicted when last counted.
    """

    _state = ("lowered", "share", "codes", "images")

    def __init__(self, kappa: float, centers: Centers, run: Engine) -> None:
        self.kappa, self.engine = kappa, run
        self.lowered, self.share = 0, 1.0
        self.codes, self.images = centers

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to what `state_dict` returned."""
        super().load_state_dict(state)
        if self.lowered > MOST_LOWERED:
            raise ValueError(f"lowered={self.lowered}: expected at most {MOST_LOWERED}")

    @property
    def centers(self) -> Centers:
        """What unconflicted items are drawn to."""
        return Centers(self.codes, self.images)

    @property
    def betas(self) -> tuple[float, float]:
        """Bar for unconflicted items."""
        return next(islice(thresholds(self.kappa, len(self.codes)), self.lowered, None))

    def lower(self, centers: Centers) -> None:
        """Lower the bar, and draw items to new centres."""
        self.lowered += 1
        self.codes, self.images = centers


def conflicted(q: Tensor, assigned: Tensor, beta1: float, beta2: float) -> Tensor:
    """Whether the membership in the cluster assigned is too small, or too close to another, ``[N]``."""
    own = q.gather(1, assigned[:, None])[:, 0]
    other = q.scatter(1, assigned[:, None], 0.0).amax(1)
    return ~((own > beta1) & (own - other > beta2))


def assign(q: Tensor, known: Tensor) -> Tensor:
    """Known component of each item, else the most likely one, ``[N]``."""
    return torch.where(known >= 0, known, q.argmax(1))


def equal_pull(assigned: Tensor, sure: Tensor, k: int) -> Tensor:
    """Weights ``[B]`` by which the sure items of every cluster weigh alike in all; 1 for the others."""
    member = F.one_hot(assigned, k) * sure[:, None]
    count = member.sum(0)
    share = count.sum() / ((count > 0).sum().clamp_min(1) * count.clamp_min(1))
    return torch.where(sure, share[assigned], 1.0)


def targets(
    x: Tensor, z: Tensor, centers: Centers, known: Tensor, betas: tuple[float, float], balanced: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Code and image that each item is drawn to, its cluster's if that is sure or known, else its own.

    The third result are the items' weights ``[B]``, of mean 1: by `equal_pull` if `balanced`.
    """
    q = log_similarity(z, centers.codes).exp()
    assigned = assign(q, known)
    own = conflicted(q, assigned, *betas) & (known < 0)
    code = torch.where(own[:, None], z, centers.codes[assigned])
    image = torch.where(own.view(-1, *[1] * (x.dim() - 1)), x, centers.images[assigned])
    sure = ~own & (known < 0) & balanced
    return code, image, equal_pull(assigned, sure, len(centers.codes))


def weighted_error(made: Tensor, goal: Tensor, weight: Tensor) -> Tensor:
    """Squared error of items, a mean over their numbers, weighted ``[B]``."""
    return (weight * (made - goal).flatten(1).square().mean(1)).mean()


def nearest_members(points: Tensor, means: Tensor, part: Tensor) -> Tensor:
    """Index ``[K]`` of the point nearest to each mean, of its own part wherever that is not empty."""
    distance = torch.cdist(points, means)
    outside = part[:, None] != torch.arange(len(means), device=part.device)
    return (distance + outside * (1 + distance.max())).argmin(0)


def voted_parts(
    points: np.ndarray, component: np.ndarray, n_components: int, rng: np.random.RandomState
) -> tuple[np.ndarray, np.ndarray]:
    """Parts ``[N]`` of codes and their means ``[K, L]``; nearest labels decide between known classes.

    Other clusters are discovered by semi-supervised k-means, which alone lets the centre of a class wander to
    another one; labels never bring it back.
    """
    from sklearn.neighbors import KNeighborsClassifier

    known = component >= 0
    part, means, _ = seeded_kmeans(points, component, n_components, rng, hold=True)
    follows = ~known & np.isin(part, component[known])
    if follows.any():
        vote = KNeighborsClassifier(min(VOTERS, known.sum())).fit(points[known], component[known])
        part[follows] = vote.predict(points[follows])
    for k in np.unique(part):
        means[k] = points[part == k].mean(0)
    return part, means


class DynAE(CodeClusterer):
    """Dynamic autoencoder: from rebuilding items it passes on to building the centre of their cluster.

    Items are conflicted while they lie between clusters. The autoencoder rebuilds those, and maps the others
    to the code and the decoded image of their cluster's centre, an item near the mean. Whenever the number of
    conflicted items does not fall, centres are found anew and the bar is lowered, until hardly any are left.
    What the autoencoder sees is an augmented view of the item.

    With labels this is the DynAE_ss of the DNN-MM paper: component k stands for ``classes_[k]``, the centre
    of a class is found among the items whose nearest labelled codes are of it, and labelled items, as many a
    step as others, are always drawn to the centre of their class.

    Parameters
    ----------
    n_components : int
        K.
    pretraining : Pretraining or None
        The autoencoder's, None for ``ACAI()``; any `Pretraining` does.
    augmentation : "auto", Affine, ColorJitter, NeighborSwap, None or callable
        Views of the items; "auto" takes the published shifts and turns for images, noise for tables.
    kappa : float
        An item is unconflicted if its largest membership exceeds kappa / K, and the second by kappa / (2 K).
    gamma : float
        Weight of the images in the loss; the codes have 1. Both are mean squared errors.
    balanced : bool
        All clusters draw their unconflicted items with the same weight in all. If not, as published, a
        cluster of few such items can be drawn into others, all of it.
    update_interval : int or None
        Steps between two counts of the conflicted items; None is four passes over the data, but no fewer than
        10 steps and no more than the published 140.
    batch_size : int
        Items of a step, and labelled ones beside them.
    optimizer : {"adam", "sgd"}
        What trains the autoencoder after the pretraining; "sgd" has momentum 0.9.
    lr : float
        Its learning rate.
    max_iter : int
        At most so many counts.
    tol : float
        Stop once less than this share of the items is conflicted.
    scaling, random_state, verbose, device, precision
        As in `DNNMixture`.

    Attributes
    ----------
    labels_ : ndarray of int64 [N]
        Cluster of each item of the data fitted; the given one where there is a label.
    classes_ : ndarray
        The classes in `y`: component k stands for ``classes_[k]``. Components beyond them were discovered.
    centers_ : ndarray [K, L]
        Centres among the codes.
    weights_ : ndarray [K]
        Shares of the clusters.
    n_iter_ : int
        Counts done.
    converged_ : bool
        Whether `tol` was reached, or nothing is conflicted any more but labels that the codes contradict.
    history_ : list of dict
        One record a count: iteration, conflicted (share of the items; labelled ones count until they are sure
        of their class), beta1, loss (mean since the last one), seconds.
    dead_components_ : list of int
        Clusters without data.

    References
    ----------
    Mrabah, Khan, Ksantini & Lachiri, "Deep clustering with a dynamic autoencoder: from reconstruction towards
    centroids construction", Neural Networks 130, 2020.
    """

    _settings: ClassVar[dict[str, type]] = {
        kind.__name__: kind for kind in (Pretraining, ACAI, Affine, ColorJitter, NeighborSwap)
    }
    _default_settings: ClassVar = {"pretraining": lambda _: ACAI()}

    #: "dynae-2019" has the settings of the published code (days on a CPU).
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "dynae-2019": {
            "pretraining": DYNAE_PAPER,
            "balanced": False,
            "update_interval": 140,
            "optimizer": "sgd",
            "lr": 0.001,
            "max_iter": 714,
        },
    }

    def __init__(
        self,
        n_components: PositiveInt = 2,
        *,
        pretraining: Pretraining | None = None,
        augmentation: Any = "auto",
        kappa: PositiveFloat = 3.0,
        gamma: float = 100.0,
        balanced: bool = True,
        update_interval: PositiveInt | None = None,
        batch_size: PositiveInt = 256,
        optimizer: Literal["adam", "sgd"] = "adam",
        lr: float = 3e-4,
        max_iter: PositiveInt = 40,
        tol: float = 0.01,
        scaling: str = "auto",
        random_state: Any = None,
        verbose: int = 0,
        device: str = "auto",
        precision: str = "float32",
    ) -> None:
        self.n_components = n_components
        self.pretraining = pretraining
        self.augmentation = augmentation
        self.kappa = kappa
        self.gamma = gamma
        self.balanced = balanced
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
        y : array of int [N], optional
            Classes of some items, -1 where unknown. If all are -1, the result is the one without `y`, bit for
            bit.
        checkpoint : path, optional
            As of `DEC.fit`.

        Returns
        -------
        DynAE
            Itself.

        Raises
        ------
        ValueError
            Data that are empty, not finite, of unknown layout or fewer than K; labels of another number or
            kind, or of more classes than components; an argument out of range.
        FloatingPointError
            Training diverged.
        """
        component = self._read_labels(y, len(self._validated(X, reset=True)))
        X, views, kept, begun = self._begin(X, self._views_of(X), checkpoint, component)
        net, items, run = self._networks, views.items, views.engine
        given = np.full(len(X), -1) if component is None else component
        labels = Labels(torch.from_numpy(given).to(run.device), self.n_components)
        optimizer = FusedOptimizer(net.parameters(), optimizer_maker(self.optimizer), self.lr)
        course = Course(self.kappa, self._find_centers(items, component, run), run)
        course.share = self._conflicted_share(items, course, labels.component)
        learners: dict[str, Learner] = {"networks": net, "optimizer": optimizer, "course": course}
        self.history_, _ = kept.resume(learners, None)
        self.converged_ = False
        for _ in run.progress(self.max_iter, "DynAE", len(self.history_)):
            loss = self._train(optimizer, views, labels, course)
            before, betas = course.share, course.betas
            course.share = self._conflicted_share(items, course, labels.component)
            self._record(begun, conflicted=course.share, beta1=betas[0], loss=loss)
            stuck = course.share >= before
            # A bar this low binds none but labelled items: if they do not give way now, they never will.
            lowest = betas[0] * self.n_components < 1 and betas[1] < 0
            self.converged_ = course.share < self.tol or (stuck and lowest)
            if self.converged_:
                break
            if stuck:
                course.lower(self._find_centers(items, component, run))
            kept.write(self.history_, None)
        kept.end()
        self._conclude_codes(X, views, course.codes, component)
        return self

    def _train(
        self,
        optimizer: FusedOptimizer,
        views: AugmentedData,
        labels: Labels,
        course: Course,
    ) -> float:
        """Draw views of items to their targets, which follow the codes step by step; mean of the loss."""
        net, known = self._networks, labels.component
        centers, betas = course.centers, course.betas
        total = torch.zeros((), device=known.device)
        steps = self._count_steps(len(views.items))
        for _ in range(steps):
            index = views.draw_index(1, self.batch_size)[0]
            if len(labels.index):  # few labels would hardly be heard among all items
                index = torch.cat([index, labels.draw_index(1, self.batch_size, views.engine.generator)[0]])
            x = views.items[index]
            with torch.no_grad():
                z = net.encode(x)
                code, image, weight = targets(x, z, centers, known[index], betas, self.balanced)
            z = net.encode(views.perturb(x))
            loss = weighted_error(z, code, weight)
            loss = loss + self.gamma * weighted_error(net.decode(z), image, weight)
            optimizer.step(loss)
            total += loss.detach()
        return float(total) / steps

    def _count_steps(self, n_items: int) -> int:
        """Count the steps between two counts of the conflicted of so many items."""
        return self.update_interval or min(max(4 * n_items // self.batch_size, 10), 140)

    def _find_centers(self, items: Tensor, component: np.ndarray | None, run: Engine) -> Centers:
        """Items nearest to the means of their parts of the codes: by k-means, or as labels nearby say."""
        codes = self._networks.encode_all(items)
        if component is None:
            means, part = kmeans_centers(codes, self.n_components, run, n_init=10)
        else:
            points = codes.cpu().double().numpy()
            found, middle = voted_parts(points, component, self.n_components, run.numpy_state)
            means = torch.from_numpy(middle).float().to(run.device)
            part = torch.from_numpy(found).to(run.device)
        nearest = codes[nearest_members(codes, means, part)]
        with torch.no_grad():
            return Centers(nearest, self._networks.decode(nearest))

    def _conflicted_share(self, items: Tensor, course: Course, known: Tensor) -> float:
        """Share of items unsure of their cluster, or of their class if they have a label; NaN if diverged."""
        q = log_similarity(self._networks.encode_all(items), course.codes).exp()
        share = conflicted(q, assign(q, known), *course.betas).float().mean()
        return float(torch.where(q.isfinite().all(), share, torch.nan))

    def _views_of(self, X: Any) -> Any:
        if isinstance(self.augmentation, str) and self.augmentation == "auto" and is_images(as_array(X)):
            return SHIFT_AND_TURN
        return self.augmentation

    _autoencoder = InterpolatingAutoencoder

    def _scores(self, codes: Tensor) -> Tensor:
        return log_similarity(codes, self._centers.double())


__all__ = [
    "SHIFT_AND_TURN",
    "Centers",
    "DynAE",
    "assign",
    "conflicted",
    "equal_pull",
    "nearest_members",
    "targets",
    "thresholds",
    "voted_parts",
    "weighted_error",
]
