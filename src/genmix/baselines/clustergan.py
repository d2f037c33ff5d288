"""ClusterGAN (Mukherjee, Asnani, Lin & Kannan, AAAI 2019, https://arxiv.org/abs/1809.03627).

A GAN draws its latent points ``z = (z_n, z_c)`` from noise and a one-hot component, and an encoder learns to
find them in the items generated. Symbols follow the paper: G, E and D are generator, encoder and critic.
"""

from __future__ import annotations

import copy
import os
import time
from typing import Any, ClassVar, Self

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from genmix.base.estimator import BaseMixture, check_codes
from genmix.base.preprocessing import Preprocessing, finite
from genmix.base.restoring import array, load_weights
from genmix.base.validation import Decay, PositiveFloat, PositiveInt
from genmix.baselines.baseline import Baseline
from genmix.baselines.clustergan_training import (
    PUBLISHED,
    ROLES,
    LatentSpace,
    Training,
    follow_codes,
    make_networks,
)
from genmix.baselines.coders import kmeans_centers
from genmix.nn.adversarial import Adversarial
from genmix.nn.build import network_choices, network_outputs, recalibrate
from genmix.training.augment import (
    Affine,
    AugmentedData,
    ColorJitter,
    NeighborSwap,
    nearest_neighbors,
    resolve_augmentation,
)
from genmix.training.checkpoint import Checkpoint, give_tensors, take_tensors
from genmix.training.engine import Engine
from genmix.training.partitions import (
    NEIGHBORS,
    merge_by_traffic,
    neighbor_stability,
    parted_neighbors,
    vote_of_neighbors,
)
from genmix.training.supervision import Labels


class ClusterGAN(ClassNamePrefixFeaturesOutMixin, TransformerMixin, Baseline, BaseMixture):
    """Clusters of the latent space of a GAN, found by an encoder that inverts the generator.

    Without labels the clusters are those of k-means among the codes ``[z_n, softmax(z_c)]`` of the data, as
    in the published code, numbered like the components of the generator that they agree with best. It draws
    its components alike, so one that is much larger than the others fills several of them; `overcluster` puts
    its clusters together again (`sample` still draws from the generator's own components). The encoder has
    seen no real item by then; it ends with learning codes by which items are of the group of most of their
    nearest neighbours. Labels for a part of the data bind component k to class k, and the largest of z_c is
    an item's component (``ClusterGAN_ss`` of Pande & Awate 2020); ours also learns that two views of any item
    have the same component. ``overcluster=1`` leaves both out.

    The defaults make it quick on a CPU: networks with a quarter of the published channels, the non-saturating
    loss with R1, one critic step a generator step and an averaged encoder. ``preset("clustergan-2019")`` has
    the published settings: 500,000 generator steps, which take days on a CPU.

    Parameters
    ----------
    n_components : int
        K.
    latent_dim : int
        Dimensions L of the noise z_n (at least 1).
    spread : float
        Standard deviation of z_n (> 0).
    beta_n : float
        Weight of the mean squared error of z_n (>= 0). With 0, k-means sees ``softmax(z_c)`` only.
    beta_c : float
        Weight of the cross-entropy of z_c (>= 0), and of that of the labels.
    objective : Adversarial or None
        Adversarial losses, rates and balance of steps, None for ``Adversarial()``. Its gradient penalty draws
        a place between a real and a generated item for each pair, as the paper does; the published code draws
        one for a whole batch.
    ema_decay : float
        Forgetting factor of the average, over the steps, of encoder and generator that the fitted model uses,
        in [0, 1); 0 takes them as the last step left them.
    batch_size : int
        Items of a step.
    steps_per_iteration : int
        Generator steps of an iteration.
    max_iter : int
        Iterations.
    overcluster : int
        Without labels k-means also looks for so many times K clusters, of which those that share most of
        their items' nearest neighbours are put together until K are left. Of both partitions the one is kept
        in which items and their neighbours agree better (`information.stability`), and the encoder then
        learns from it. 1 is the published algorithm: k-means of K, and labels without two views of any item.
    networks : str, dict or callable
        "auto", "mlp", "conv" or "clustergan-2019" (the published ones for MNIST, or for tables those for
        genes); or a dictionary with such a choice, a dictionary of options or a factory
        ``(in_shape, out_dim) -> nn.Module`` for "generator", "encoder" and "critic".
    augmentation : "auto", Affine, ColorJitter, NeighborSwap, None or callable
        With labels: views of the labelled items, from which the encoder learns the classes, and two of any
        item, on whose component it is to agree; None for the items themselves and the labels only.
    warm_start : bool
        Go on from the fitted networks when `fit` is called again on items of the same shape: twice ten
        iterations end where twenty do, bit for bit. A model loaded from a folder goes on with new optimisers.
    scaling, random_state, verbose, device, precision
        As in `DNNMixture`.

    Attributes
    ----------
    labels_ : ndarray of int64 [N]
        Cluster of each item of the data fitted; the given component where a label was given.
    classes_ : ndarray
        The classes in `y`: component k stands for ``classes_[k]``. Components beyond them were discovered.
    centers_ : ndarray [M, L + K] or [M, K] or None
        Centres of k-means among the codes, M = K or at most `overcluster` times as many; None with labels.
    variance_ : float
        Mean square distance of the codes of the data to the nearest centre, a dimension: `predict_proba` is
        that of equally likely Gaussians of this variance around the centres. With labels it is the softmax of
        z_c, and `variance_` is not used.
    weights_ : ndarray [K]
        Shares of the clusters among the data, by which `sample` draws. In training all are equally likely.
    n_iter_ : int
        Iterations done, those before a warm start included.
    converged_ : bool
        True: the training of a GAN has no other end than `max_iter`.
    history_ : list of dict
        One record an iteration: iteration, critic_loss, generator_loss (adversarial), noise_error (of z_n),
        component_error (of z_c), label_error (with labels), seconds; means of the iteration's steps.
    dead_components_ : list of int
        Clusters without data.

    References
    ----------
    Mukherjee, Asnani, Lin & Kannan, "ClusterGAN: latent space clustering in generative adversarial networks",
    AAAI 2019. Pande & Awate, "Deep generative mixture models", ICPR 2020.
    """

    _settings: ClassVar[dict[str, type]] = {
        kind.__name__: kind for kind in (Adversarial, Affine, ColorJitter, NeighborSwap)
    }

    _default_settings: ClassVar = {"objective": lambda _: Adversarial()}

    #: The published settings for MNIST.
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "clustergan-2019": {
            "objective": Adversarial(
                "wasserstein",
                "gradient",
                10.0,
                1,
                generator_lr=1e-4,
                critic_lr=1e-4,
                betas=(0.5, 0.9),
                critic_steps=5,
            ),
            "ema_decay": 0.0,
            "steps_per_iteration": 1000,
            "max_iter": 500,
            "overcluster": 1,
            "networks": PUBLISHED,
            "augmentation": None,
        },
    }

    def __init__(
        self,
        n_components: PositiveInt = 2,
        *,
        latent_dim: PositiveInt = 30,
        spread: PositiveFloat = 0.1,
        beta_n: float = 10.0,
        beta_c: float = 10.0,
        objective: Adversarial | None = None,
        ema_decay: Decay = 0.999,
        batch_size: PositiveInt = 64,
        steps_per_iteration: PositiveInt = 100,
        max_iter: PositiveInt = 50,
        overcluster: PositiveInt = 3,
        networks: Any = "auto",
        augmentation: Any = "auto",
        scaling: str = "auto",
        random_state: Any = None,
        verbose: int = 0,
        warm_start: bool = False,
        device: str = "auto",
        precision: str = "float32",
    ) -> None:
        self.n_components = n_components
        self.latent_dim = latent_dim
        self.spread = spread
        self.beta_n = beta_n
        self.beta_c = beta_c
        self.objective = objective
        self.ema_decay = ema_decay
        self.batch_size = batch_size
        self.steps_per_iteration = steps_per_iteration
        self.max_iter = max_iter
        self.overcluster = overcluster
        self.networks = networks
        self.augmentation = augmentation
        self.scaling = scaling
        self.random_state = random_state
        self.verbose = verbose
        self.warm_start = warm_start
        self.device = device
        self.precision = precision

    def fit(self, X: Any, y: Any = None, *, checkpoint: str | os.PathLike[str] | None = None) -> Self:
        """Train the networks, then cluster the codes.

        Parameters
        ----------
        X : array, frame or tensor [N, ...]
            Rows of a table, or images.
        y : array of int [N], optional
            Classes of the items, -1 where unknown.
        checkpoint : path, optional
            Folder that the fit can go on from: if it is stopped, the same call again ends with the same
            bits. `max_iter` may change in between.

        Returns
        -------
        ClusterGAN
            Itself.

        Raises
        ------
        ValueError
            Data that are empty, not finite, of unknown layout or fewer than K; an argument out of range;
            labels of more classes than components; a checkpoint of other data or arguments, or damaged.
        FloatingPointError
            Training diverged.
        """
        begun = time.perf_counter()
        run = Engine(self.device, self.random_state, precision=self.precision, verbose=self.verbose)
        X = self._validated(X, reset=True)
        known = self._read_labels(y, len(X))
        kept = Checkpoint(checkpoint, self, (X, known), run)
        preprocessing = Preprocessing.fit(X, "range" if self.scaling == "auto" else self.scaling)
        items = preprocessing.apply(X).to(run.device)
        chosen = resolve_augmentation(self.augmentation, preprocessing.item_shape)
        views = AugmentedData(items, chosen if known is not None else NeighborSwap(0, 0.0), run)
        labels = None if known is None else Labels(torch.from_numpy(known).to(run.device), self.n_components)
        players = self._begin(preprocessing.item_shape, run)
        before = len(self.history_)
        history, _ = kept.resume({"players": players}, None)
        self.history_: list[dict[str, Any]] = history or self.history_.copy()
        begun -= self.history_[-1]["seconds"] if self.history_ else 0.0
        for _ in run.progress(self.max_iter, "ClusterGAN", len(self.history_) - before):
            losses = torch.zeros(5, device=run.device)
            for _ in range(self.steps_per_iteration):
                for _ in range(players.objective.critic_steps):
                    losses[0] += players.train_critic(items) / players.objective.critic_steps
                losses[1:] += players.train_generator(*self._draw_views(views, labels))
            values = dict(zip(LOSSES, (losses / self.steps_per_iteration).tolist(), strict=True))
            if labels is None:
                del values["label_error"]
            self._record(begun, **values)
            kept.write(self.history_, None)
        kept.write(self.history_, None, last=True)
        self._keep(players, preprocessing)
        self._cluster(items.cpu(), run)
        self.converged_ = True
        self._conclude(X, items.cpu(), known)
        if known is None:
            self._warn_of_instability(*parted_neighbors(items, self.labels_, self.n_components))
        return self

    # ------------------------------------------------------------------ before and after the training

    def _draw_views(
        self, views: AugmentedData, labels: Labels | None
    ) -> tuple[tuple[Tensor, Tensor] | None, Tensor | None]:
        """Draw views of labelled items and their components, and two views of each of any items."""
        if labels is None:
            return None, None
        index = labels.draw_index(1, self.batch_size, views.engine.generator)
        known = views.perturb(views.items[index]), labels.component[index[0]]
        alone = self.augmentation is None or self.overcluster == 1
        return known, None if alone else views.draw(1, self.batch_size)[1]

    def _begin(self, item_shape: tuple[int, ...], run: Engine) -> Training:
        """Make new networks, or take those fitted before."""
        space = LatentSpace(self.n_components, self.latent_dim, self.spread)
        networks = make_networks(network_choices(self.networks, ROLES), item_shape, space, run.cpu_generator)
        fitted = self._networks if self.warm_start and hasattr(self, "_networks") else None
        if fitted is None:
            self.history_ = []
        else:
            wanted, found = networks.state_dict(), fitted.state_dict()
            if {n: p.shape for n, p in wanted.items()} != {n: p.shape for n, p in found.items()}:
                raise ValueError(
                    "warm_start=True needs items of the shape, and the components, latent dimensions and "
                    "networks, fitted before"
                )
            networks.load_state_dict(found)
        run.place(networks)
        players = Training(
            networks,
            space,
            self.objective or Adversarial(),
            beta_n=self.beta_n,
            beta_c=self.beta_c,
            ema_decay=self.ema_decay,
            batch_size=self.batch_size,
            run=run,
        )
        if fitted is not None and hasattr(self, "_state"):
            state = give_tensors(*copy.deepcopy(self._state))  # optimisers write to what they are given
            players.load_state_dict(state["players"])
            run.generator.set_state(state["generator"])
        return players

    def _keep(self, players: Training, preprocessing: Preprocessing) -> None:
        """Keep the averaged networks for answers, the critic beside them, and what a warm start needs."""
        self.preprocessing_, tensors = preprocessing, dict[str, Tensor]()
        state = {"players": players.state_dict(), "generator": players.engine.generator.get_state()}
        self._state = take_tensors(state, tensors), tensors
        self._networks = self._make_networks()
        self._networks.load_state_dict(players.tensors())
        self._networks.eval().requires_grad_(False)
        self._networks.to(players.engine.device)
        recalibrate(self._networks["generator"], (players.draw()[1] for _ in range(50)))

    def _cluster(self, items: Tensor, run: Engine) -> None:
        """K-means among the codes, unless labels say which component is which."""
        self.centers_, self._groups, self.variance_ = None, None, 1.0
        codes = self._codes(items)
        if not torch.isfinite(codes).all():
            raise FloatingPointError("training diverged in its last step; lower the learning rate")
        if len(self.classes_):
            return
        codes = codes[:, -self._clustered :]
        centers, part = kmeans_centers(codes, self.n_components, run)
        groups = np.arange(self.n_components)
        if self.overcluster > 1 and self.n_components > 1 and len(items) > NEIGHBORS:
            found = nearest_neighbors(items.flatten(1).numpy(), NEIGHBORS, run.numpy_state)[0]
            neighbors = torch.from_numpy(found)
            if (fine := self._fine_clusters(codes, neighbors, part, run)) is not None:
                centers, part, groups = fine
            codes, centers = self._follow_neighbors(items, codes, centers, part, groups, neighbors, run)
        places, k = centers.cpu().double().numpy(), self.n_components
        # Cluster k is the one of component k of the generator, as far as they agree.
        middle = np.stack([places[groups == g, -k:].mean(0) for g in range(k)])
        component = linear_sum_assignment(-middle)[1][groups]
        order = np.argsort(component, kind="stable")
        self.centers_, self._groups = places[order], component[order]
        square = torch.cdist(codes, torch.from_numpy(self.centers_)).square().amin(1)
        self.variance_ = max(float(square.mean()) / codes.shape[1], 1e-12)

    @property
    def _clustered(self) -> int:
        """Numbers of a code, the last of it, that k-means sees."""
        return self._n_features_out if self.beta_n else self.n_components

    def _fine_clusters(
        self, codes: Tensor, neighbors: Tensor, part: Tensor, run: Engine
    ) -> tuple[Tensor, Tensor, np.ndarray] | None:
        """Centres and parts of `overcluster` times K clusters and the groups they form, if more stable.

        None where the partition `part` ``[N]`` by K centres is at least as stable.
        """
        k, count = self.n_components, min(self.overcluster * self.n_components, len(codes) // 10)
        if count <= k:
            return None
        _, fine = kmeans_centers(codes, count, run)
        # Neighbours vote first: parts that are whole touch only parts of their own group.
        left, fine = vote_of_neighbors(fine, neighbors, count).unique(return_inverse=True)
        if len(left) < k:
            return None
        centers = torch.stack([codes[fine == j].mean(0) for j in range(len(left))]).float()
        groups = merge_by_traffic(fine, neighbors, k)
        both = torch.stack([vote_of_neighbors(part, neighbors, k), torch.from_numpy(groups)[fine]])
        plain, merged = neighbor_stability(both, neighbors, k).tolist()
        return (centers, fine, groups) if merged > plain else None

    def _follow_neighbors(
        self,
        items: Tensor,
        codes: Tensor,
        centers: Tensor,
        part: Tensor,
        groups: np.ndarray,
        neighbors: Tensor,
        run: Engine,
    ) -> tuple[Tensor, Tensor]:
        """Teach the encoder that items are of the group of most of their neighbours; codes and centres then.

        It never saw real items, so that the codes of unusual ones are anywhere. Where the neighbours are of
        another group the code is to be the nearest of its centres, and elsewhere what it is.
        """
        group = torch.from_numpy(groups)
        apart = torch.cdist(codes, centers.double())
        before = group[part]
        voted = vote_of_neighbors(before, neighbors, self.n_components, rounds=20)
        part = apart.argmin(1)
        moved = voted != group[part]
        steps = round(LESSON * len(self.history_) * self.steps_per_iteration)
        if not moved.any() or not steps or len(voted.unique()) < len(before.unique()):
            return codes, centers  # nothing to learn, or a group too small for a vote
        part = apart.masked_fill(group != voted[:, None], torch.inf).argmin(1)
        targets = torch.where(moved[:, None], centers.double()[part], codes).float()
        follow_codes(self._networks["encoder"], self._space, items, targets, self.batch_size, steps, run)
        codes = self._codes(items)[:, -self._clustered :]
        means = [codes[part == j].mean(0) if (part == j).any() else c for j, c in enumerate(centers)]
        return codes, torch.stack([m.float() for m in means])

    # ------------------------------------------------------------------ the fitted model

    def transform(self, X: Any) -> np.ndarray:
        """Codes ``[z_n, softmax(z_c)]`` of items.

        Parameters
        ----------
        X : array, frame or tensor [N, ...]
            Items of the shape the model was fitted on.

        Returns
        -------
        ndarray of float64 [N, L + K]
        """
        return np.asarray(finite(self._codes(self._items(X)).numpy(), "codes"))

    def inverse_transform(self, Z: Any) -> np.ndarray:
        """Items G(z) that the generator makes of latent points.

        Parameters
        ----------
        Z : array [M, L + K]
            Noise and shares of the components, as `transform` returns them.

        Returns
        -------
        ndarray [M, ...]
            In the units, layout and dtype of the data the model was fitted on.

        Raises
        ------
        ValueError
            Points of another dimension.
        """
        check_is_fitted(self)
        Z = check_codes(Z, self._n_features_out)
        return self.preprocessing_.restore(self._decode(torch.from_numpy(Z)))

    @property
    def _n_features_out(self) -> int:
        return self.latent_dim + self.n_components

    def _codes(self, items: Tensor) -> Tensor:
        return self._space.codes(network_outputs(self._networks["encoder"], items, 1)[0])

    def _log_proba(self, items: Tensor) -> np.ndarray:
        if self.centers_ is None:
            out = network_outputs(self._networks["encoder"], items, 1)[0]
            return np.asarray(out[:, self.latent_dim :].log_softmax(-1).numpy())
        centers = torch.from_numpy(self.centers_)
        codes = self._codes(items)[:, -centers.shape[1] :]
        scores = -(codes[:, None] - centers).square().sum(-1).numpy() / (2 * self.variance_)
        groups = self._groups
        if groups is None or len(groups) == self.n_components:
            return np.asarray(scores)
        parts = [scores[:, groups == k] for k in range(self.n_components)]
        return np.stack([np.logaddexp.reduce(part, axis=1) for part in parts], 1)

    def _decode(self, z: Tensor) -> Tensor:
        network = self._networks["generator"]
        device = next(network.parameters()).device
        with torch.no_grad():
            return torch.cat([network(part[None].to(device))[0].cpu() for part in z.split(2048)])

    def _generate(self, counts: np.ndarray, seed: int) -> Tensor:
        device = next(self._networks.parameters()).device
        component = torch.from_numpy(np.repeat(np.arange(len(counts)), counts)).to(device)
        return self._decode(self._space.at(component, torch.Generator(device).manual_seed(seed)))

    @property
    def _space(self) -> LatentSpace:
        return LatentSpace(self.n_components, self.latent_dim, self.spread)

    #: Component of each of `centers_`; None, as in models of old, where centre k is that of component k.
    _groups: np.ndarray | None = None

    def _fitted(self) -> dict[str, Any]:
        k = self.n_components
        n = k if self._groups is None else len(self._groups)
        return {
            **super()._fitted(),
            "centers_": array(n, k) | array(n, self._n_features_out) | None,
            "_groups": array(None, within=f"[0, {k - 1}]", dtype="int64") | None,
            "variance_": PositiveFloat,
        }

    def _tensors(self) -> dict[str, Tensor]:
        return self._networks.state_dict()

    def _make_networks(self) -> nn.ModuleDict:
        """Untrained networks of the fitted model's shapes."""
        choices, shape = network_choices(self.networks, ROLES), self.preprocessing_.item_shape
        return make_networks(choices, shape, self._space, torch.Generator())

    def _from_tensors(self, tensors: dict[str, Tensor]) -> None:
        self._networks = self._make_networks()
        load_weights(self._networks, tensors)
        self._networks.eval().requires_grad_(False)


#: Steps in which the encoder learns from the data's neighbours, as a share of those of the generator.
LESSON = 0.3
LOSSES = ("critic_loss", "generator_loss", "noise_error", "component_error", "label_error")

__all__ = ["ClusterGAN"]
