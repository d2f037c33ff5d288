"""GANMM: a mixture of generative adversarial networks, learned by epsilon-EM.

Yu & Zhou, "Mixture of GANs for Clustering", IJCAI 2018. Symbols follow the paper: D_i are the data of
component i, S the generated sample, h_q the moderate classifier, epsilon the error of the E-step, sigma_t the
points that augment D_i. `GANMixture._epsilon_em` is Algorithm 1.
"""

from __future__ import annotations

import os
import time
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor, nn

from genmix.base.estimator import BaseMixture
from genmix.base.preprocessing import Preprocessing, finite
from genmix.base.restoring import check_tensor, load_weights
from genmix.base.validation import PositiveInt
from genmix.ganmm import em
from genmix.ganmm.e_step import (
    E_STEPS,
    Classifier,
    ClassifierEStep,
    CriticAssigner,
    CriticEStep,
    check_e_step,
)
from genmix.ganmm.m_step import M_STEPS, Components, MStep, check_m_step
from genmix.ganmm.presets import PRESETS, CodeEStep, CodeMStep, CodesEStep, PaperEStep, PaperMStep
from genmix.nn.build import (
    build_stack,
    copy_networks,
    network_choices,
    network_outputs,
    select_networks,
    take_weights,
)
from genmix.training.augment import Affine, AugmentedData, ColorJitter, NeighborSwap, resolve_augmentation
from genmix.training.checkpoint import Checkpoint
from genmix.training.engine import Engine
from genmix.training.infomax import (
    InfoMaxInit,
    MultiHeadNetwork,
    ResolvedInfoMax,
    check_init,
    fit_partition,
    init_settings,
    pretrain_infomax,
    view_mutual_information,
)
from genmix.training.information import component_shares
from genmix.training.legacy import upgrade_ganmm
from genmix.training.partitions import initial_components, parted_neighbors
from genmix.training.run import Run

ROLES = ("generator", "critic", "classifier")


class ResolvedSettings(NamedTuple):
    """What a fit does, every "auto" and None resolved from the kind and shape of the data."""

    init: str | ResolvedInfoMax | np.ndarray
    e_step: ClassifierEStep | CriticEStep
    m_step: MStep
    networks: dict[str, Any]
    item_shape: tuple[int, ...]


class GANMixture(BaseMixture):
    """Mixture of K generative adversarial networks for tables and images (Yu & Zhou 2018).

    Each component is a GAN. The E-step is a classifier of moderate size that learns from generated items
    which component makes what, and then assigns the data; the M-step trains every GAN on its share of the
    data, augmented by a share epsilon of other points so that the procedure does not stop at once. The
    defaults improve on the paper (see docs/ganmm.md for what each departure brings); `preset` gives the
    published settings.

    Parameters
    ----------
    n_components : int
        Number of components K (at least 1).
    init : str, InfoMaxInit or array of int [N]
        The partition to begin with (Algorithm 1, line 1): "auto" and "infomax" are ``InfoMaxInit()`` (the
        E-step's classifier learns by information maximisation under augmentation); "random" (the paper);
        "kmeans", "gmm-full", "gmm-tied", "gmm-diag", "spectral"; the components of all items; or "fitted":
        continue from the networks fitted before, where the model is fitted. A classifier that learns from
        real items first learns a partition that is not random.
    e_step : {"classifier", "critic", "standardized-critic"} or ClassifierEStep
        "classifier" is ``ClassifierEStep()``; "critic" is the paper's ablation GANMM(EM), in which the
        critics assign the data by their raw scores, "standardized-critic" the same in units of each critic's
        scores of its own samples.
    m_step : None, str or MStep
        How the GANs are trained: None is ``MStep()``, a name such as "wgan" or "wgan-gp" ``MStep(name)``.
    networks : str, dict or callable
        "auto", "mlp", "conv", "ganmm-2018"; or a dictionary with such a choice, a dictionary of options or a
        factory ``(in_shape, out_dim) -> nn.Module`` for "generator", "critic" and "classifier".
    augmentation : "auto", Affine, ColorJitter, NeighborSwap, None or callable
        Views of an item that must not change its component. "auto" is `Affine` for images, `ColorJitter`
        for those of three channels, `NeighborSwap` for tables.
    scaling : {"auto", "range", "unit", "standard", "none"}
        Of tables; see `genmix.base.preprocessing.Preprocessing`. "auto" is "range".
    max_iter : int
        Largest number of EM iterations.
    tol : float or None
        Converged once at most this share of the items changes component in three iterations in a row, the
        last of them after the schedule of epsilon has ended. None runs `max_iter` iterations.
    n_init : int
        Restarts; all are trained at once in the same batched computation, and the one whose memberships of
        two views of an item tell most about each other is kept (no labels are involved).
    random_state : None, int or RandomState
        Seed of everything random.
    verbose : int
        1 shows progress bars with the time left.
    device : str
        "auto", "cpu", "cuda", ...
    precision : {"auto", "float32", "bfloat16"}
        Arithmetic of the networks while training; "auto" is bfloat16 where it is fast.

    Attributes
    ----------
    labels_ : ndarray of int64 [N]
        Component of each item of the data fitted.
    weights_ : ndarray [K]
        Share of the items in each component.
    n_iter_ : int
        EM iterations done.
    converged_ : bool
        Whether `tol` was reached.
    history_ : list of dict
        One record an EM iteration: iteration, changed (share of items that changed component), epsilon,
        classifier_loss, critic_loss, generator_loss (means over components), reinitialized (components whose
        GAN got new weights), smallest_share, seconds since the fit began.
    dead_components_ : list of int
        Components without data, or whose generator makes one item only.
    duplicate_components_ : list of [int, int]
        Pairs of components that share their items.
    selection_score_ : float
        How much two views' components tell about each other, what `n_init` chooses by: their mutual
        information in nats less twice what one leaves open of the other (`information.mutual_information`).
    preprocessing_ : Preprocessing
        Scaling and layout.
    n_features_in_ : int
        Columns of the table, or numbers in an image.

    Examples
    --------
    >>> from genmix import GANMixture, datasets
    >>> digits = datasets.load("digits")
    >>> model = GANMixture(10, random_state=0).fit(digits.X)  # doctest: +SKIP
    >>> images, component = model.sample(5, component=3)  # doctest: +SKIP
    """

    presets = PRESETS  # the paper's text, and the official code with what the text does not say

    _settings: ClassVar[dict[str, type]] = {
        t.__name__: t
        for t in (
            InfoMaxInit, ClassifierEStep, CriticEStep, MStep, Affine, ColorJitter, NeighborSwap,
            PaperEStep, CodeEStep, CodesEStep, PaperMStep, CodeMStep,
        )
    }  # fmt: skip

    _default_settings: ClassVar = {
        "init": init_settings, "e_step": E_STEPS.get,
        "m_step": M_STEPS.get,
    }  # fmt: skip

    def __init__(
        self,
        n_components: PositiveInt = 2,
        *,
        init: Any = "auto",
        e_step: Any = "classifier",
        m_step: Any = None,
        networks: Any = "auto",
        augmentation: Any = "auto",
        scaling: str = "auto",
        max_iter: PositiveInt = 40,
        tol: float | None = 5e-3,
        n_init: PositiveInt = 1,
        random_state: Any = None,
        verbose: int = 0,
        device: str = "auto",
        precision: str = "float32",
    ) -> None:
        self.n_components = n_components
        self.init = init
        self.e_step = e_step
        self.m_step = m_step
        self.networks = networks
        self.augmentation = augmentation
        self.scaling = scaling
        self.max_iter = max_iter
        self.tol = tol
        self.n_init = n_init
        self.random_state = random_state
        self.verbose = verbose
        self.device = device
        self.precision = precision

    def fit(self, X: Any, y: Any = None, *, checkpoint: str | os.PathLike[str] | None = None) -> Self:
        """Fit the mixture.

        Parameters
        ----------
        X : array, frame or tensor [N, d], [N, H, W], [N, H, W, C] or [N, C, H, W]
            Rows of a table, or images (uint8 0..255, or numbers of any range).
        y : ignored
            Present for scikit-learn's pipelines; GANMM learns without labels.
        checkpoint : path, optional
            Folder that the fit can go on from: if it is stopped, the same call again ends with the same
            bits. `max_iter` and `tol` may change in between.

        Returns
        -------
        GANMixture
            Itself.

        Raises
        ------
        ValueError
            Data that are empty, not finite, of unknown layout or fewer than K; an argument out of range; a
            checkpoint of other data or arguments, or damaged.
        FloatingPointError
            Training diverged.
        """
        start_time = time.perf_counter()
        engine = Engine(self.device, self.random_state, precision=self.precision, verbose=self.verbose)
        X = self._validated(X, reset=True)
        preprocessing, items = Preprocessing.fit_apply(X, "range" if self.scaling == "auto" else self.scaling)
        settings = self._resolve(items, engine)
        fitted = self._fitted_networks(settings)
        kept = Checkpoint(checkpoint, self, (self._fingerprint(X),), engine)
        augmentation = resolve_augmentation(self.augmentation, settings.item_shape)
        data = AugmentedData(items.to(engine.device), augmentation, engine)
        n_gans = self.n_init * self.n_components
        gans = Components(n_gans, settings.item_shape, settings.m_step, settings.networks, engine)
        run = Run(kept, engine, start_time)
        h_q, labels = self._begin(data, settings, gans, fitted, kept)
        if fitted is None and not run.resumed:
            gans.pretrain(data.items, labels)  # line 2
        self._epsilon_em(data, h_q, gans, labels, run)
        self._conclude(data, settings, preprocessing, gans, h_q, run)
        return self

    def _epsilon_em(
        self,
        data: AugmentedData,
        h_q: Classifier | CriticAssigner,
        gans: Components,
        labels: Tensor,
        run: Run,
    ) -> None:
        """Algorithm 1 of Yu & Zhou 2018 for all restarts at once; the line numbers are the paper's."""
        D, K, m_step = data.items, self.n_components, gans.step
        labels = run.resume({"gans": gans, "h_q": h_q}, labels, recorded=("changed", "epsilon"))
        for t in run.iterations("epsilon-EM", self.max_iter, self.tol, m_step.last_change + 1):  # lines 3-4
            epsilon = em.epsilon_at(t, m_step.schedule)
            loss = h_q.learn(gans.generate, data, component_shares(labels, K))  # lines 5-7: h_q learns S
            assigned = h_q.assign(D, labels)  # line 8, also into `labels`
            # lines 9-11: D_i, and the sigma_t points that augment it
            D_i, extra = em.component_distributions(
                assigned.labels, assigned.posterior, epsilon, h_q.exploration
            )
            critic_loss, generator_loss = gans.train(assigned.items, D_i, extra, epsilon)  # line 12
            reinitialized = gans.reinitialize_collapsed(assigned.items, D_i)
            run.record(
                labels, epsilon=epsilon, changed=assigned.changed, smallest_share=assigned.smallest_share,
                classifier_loss=loss, critic_loss=critic_loss, generator_loss=generator_loss,
                reinitialized=reinitialized,
            )  # fmt: skip

    # ------------------------------------------------------------------ before the first iteration

    def _resolve(self, items: Tensor, engine: Engine) -> ResolvedSettings:
        """Check the arguments, and resolve every "auto" from the kind and shape of the data.

        Raises
        ------
        ValueError
            An argument out of range, or that does not go with the data.
        """
        item_shape, e_step, init = tuple(items.shape[1:]), check_e_step(self.e_step), self.init
        if isinstance(init, str) and (init == "auto" or (init == "fitted" and not self._is_fitted)):
            init = "infomax" if isinstance(e_step, ClassifierEStep) else "random"
        if isinstance(e_step, ClassifierEStep):
            e_step = e_step.resolve(item_shape)
        init = check_init(init, len(items), self.n_components, ("fitted",))
        if isinstance(init, InfoMaxInit):
            if not isinstance(e_step, ClassifierEStep):
                raise ValueError(
                    f"init='infomax' trains the classifier of the E-step; {self.e_step!r} has none"
                )
            init = init.resolve(item_shape)
        return ResolvedSettings(
            init, e_step, check_m_step(self.m_step), network_choices(self.networks, ROLES), item_shape
        )

    def _begin(
        self,
        data: AugmentedData,
        settings: ResolvedSettings,
        gans: Components,
        fitted: nn.ModuleDict | None,
        kept: Checkpoint,
    ) -> tuple[Classifier | CriticAssigner, Tensor]:
        """Line 1: h_q and a first assignment ``[R, N]``, by `init` or by the networks fitted before."""
        init, e_step, engine = settings.init, settings.e_step, data.engine
        K, R = self.n_components, self.n_init
        replaced = torch.empty(R, len(data.items), dtype=torch.long)  # by the assignment that `kept` has
        if fitted is not None:
            for role, network in (
                ("generator", gans.generator),
                ("generator", gans.averaged.network),
                ("critic", gans.critic),
            ):
                take_weights(network, fitted[role])
        if isinstance(e_step, CriticEStep):
            critics = CriticAssigner(gans, K, e_step)
            if kept.exists:
                return critics, replaced
            if fitted is not None:
                return critics, critics.log_posterior(data.items).argmax(-1)
            return critics, initial_components(init, data, K, R)  # type: ignore[arg-type]
        kind, shape = e_step.classifier, (settings.item_shape, settings.networks["classifier"])

        def make(n: int, heads: int) -> MultiHeadNetwork:
            stack = build_stack("classifier", shape[1], n, shape[0], (heads * K,), engine.cpu_generator)
            return MultiHeadNetwork(
                engine.place(stack), K, lambda outputs: outputs, engine, restarts=n, n_heads=heads,
                lr=e_step.lr, make_optimizer=kind.make_optimizer, frozen=kind.frozen(stack),
            )  # fmt: skip

        learned = isinstance(init, ResolvedInfoMax)
        if isinstance(init, ResolvedInfoMax) and not kept.exists:
            net = pretrain_infomax(init, make, data, K, R)
            net.reset_optimizer(e_step.lr)
        else:
            net = make(R, kept.get("h_q", "net", "n_heads", default=1) if fitted is None else self._heads)
            net.use_head(0 if fitted is None else self._head)
            if fitted is not None:
                take_weights(net.network, fitted["classifier"])
        h_q = kind(net, K, e_step, data_statistics=learned or e_step.real_weight > 0)
        if kept.exists:
            return h_q, replaced
        if fitted is not None or isinstance(init, ResolvedInfoMax):
            return h_q, h_q.log_posterior(data.items).argmax(-1)
        labels = initial_components(init, data, K, R)
        if e_step.real_weight and not (isinstance(init, str) and init == "random"):
            net.optimizer.set_lr(InfoMaxInit().lr)
            fit_partition(net, labels, data)
            net.reset_optimizer(e_step.lr)
        return h_q, labels

    def _fitted_networks(self, settings: ResolvedSettings) -> nn.ModuleDict | None:
        """Networks to continue from, None where the fit begins anew."""
        if not isinstance(settings.init, str) or settings.init != "fitted":
            return None
        if settings.item_shape != self.preprocessing_.item_shape or len(self.weights_) != self.n_components:
            raise ValueError(
                "init='fitted' needs items of the shape, and as many components, as fitted before"
            )
        has_classifier = "classifier" in self._networks
        if self.n_init != 1 or isinstance(settings.e_step, ClassifierEStep) != has_classifier:
            raise ValueError("init='fitted' needs n_init=1 and the kind of E-step fitted before")
        return self._networks

    # ------------------------------------------------------------------ after the last iteration

    def _conclude(
        self,
        data: AugmentedData,
        settings: ResolvedSettings,
        preprocessing: Preprocessing,
        gans: Components,
        h_q: Classifier | CriticAssigner,
        run: Run,
    ) -> None:
        """Keep the restart of highest `selection_score_`, assign the data a last time, warn of faults."""
        K, device = self.n_components, data.engine.device
        scores = view_mutual_information(lambda x: h_q.log_posterior(x).argmax(-1), data, K)
        best = int(scores.argmax())
        chosen = torch.arange(best * K, (best + 1) * K, device=device)
        mean, sd = gans.critic_score_stats()
        self._critic_score_stats = torch.cat([mean, sd], 1)[chosen].cpu()
        source = {
            "generator": (gans.averaged.network, gans.n, chosen),
            "critic": (gans.critic, gans.n, chosen),
        }
        self._heads = self._head = 0
        if isinstance(h_q, Classifier):
            source["classifier"] = (h_q.net.network, self.n_init, torch.tensor([best], device=device))
            self._heads, self._head = h_q.net.n_heads, h_q.net.head_in_use(best)
        self.preprocessing_ = preprocessing
        self._networks = self._make_networks(settings.item_shape, gans.latent_dim, settings.networks).to(
            device
        )
        for role, (network, n, index) in source.items():
            places = torch.arange(len(index), device=device)
            copy_networks(network, n, index, self._networks[role], len(index), places)
        self._networks.eval().requires_grad_(False)
        self.selection_score_ = float(scores[best])
        self.history_, self.converged_, self.n_iter_ = run.history, run.converged, len(run.history)
        self._assign_last(data.items.cpu())
        self.weights_ = np.bincount(self.labels_, minlength=K) / len(self.labels_)
        dead = gans.collapsed_components[best * K : (best + 1) * K].cpu().numpy() | (self.weights_ == 0)
        self.dead_components_ = np.flatnonzero(dead).tolist()
        self._warn_of_components("stand for no data or generate one item only")
        self._warn_of_instability(*parted_neighbors(data.items, self.labels_, K))
        epsilon, last_change = self.history_[-1]["epsilon"], gans.step.last_change
        self._warn_of_no_convergence("epsilon-EM", f"had epsilon={epsilon:g} and changed", last_change)

    # ------------------------------------------------------------------ the fitted model

    def score_samples(self, X: Any) -> np.ndarray:
        """How much each item looks like the data of its likely components: a critic score, **not** a density.

        ``sum_k p(k | x) (f_k(x) - m_k) / s_k`` with f_k the critic of component k and m_k, s_k its mean and
        standard deviation on items generated by that component. Mostly low for items unlike anything seen,
        but critics are not trained far from the data and can be high there in some directions. Comparable
        within one fitted model only: no `score` to choose between models is made of it
        (`genmix.tuning` chooses).

        Parameters
        ----------
        X : array, frame or tensor [N, ...]
            Items of the shape the model was fitted on.

        Returns
        -------
        ndarray of float64 [N]
        """
        items = self._items(X)
        log_p = self._log_proba(items)
        p = np.exp(log_p - np.logaddexp.reduce(log_p, 1, keepdims=True))
        return np.asarray(finite((p * self._standard_scores(items)).sum(1), "scores"))

    def _critic_outputs(self, items: Tensor) -> Tensor:
        return network_outputs(self._networks["critic"], items, self.n_components)

    def _standard_scores(self, items: Tensor) -> np.ndarray:
        """Critic scores ``[N, K]`` in units of each critic's own generated items."""
        mean, sd = self._critic_score_stats.double().split(1, 1)
        return np.asarray(((self._critic_outputs(items) - mean) / sd).T.numpy())

    def _log_proba(self, items: Tensor) -> np.ndarray:
        if "classifier" in self._networks:
            network, place = self._networks["classifier"], {"heads": self._heads, "head": self._head}
            scores = network_outputs(network, items, 1, **place)[0]
            return np.asarray(scores.log_softmax(-1).numpy())
        e_step = check_e_step(self.e_step)
        if isinstance(e_step, CriticEStep) and e_step.standardized:
            return self._standard_scores(items)
        return np.asarray(self._critic_outputs(items).T.numpy())

    @torch.no_grad()
    def _generate(self, counts: np.ndarray, seed: int, batch_size: int = 64) -> Tensor:
        """Items of all components in order; every network sees full batches, as batch normalisation needs."""
        network, device = self._networks["generator"], next(self._networks.parameters()).device
        wanted = counts[counts > 0]
        if len(wanted) < len(counts):
            chosen = torch.from_numpy(np.flatnonzero(counts)).to(device)
            network = select_networks(network, len(counts), chosen)
        generator = torch.Generator(device).manual_seed(seed)
        batches = []
        for _ in range(0, int(wanted.max()), batch_size):
            noise = torch.randn(
                (len(wanted), batch_size, self._latent_dim), generator=generator, device=device
            )
            batches.append(network(noise).cpu())
        items = torch.cat(batches, 1)
        return torch.cat([items[k, :count] for k, count in enumerate(wanted)])

    def _make_networks(
        self, item_shape: tuple[int, ...], latent_dim: int, choices: dict[str, Any]
    ) -> nn.ModuleDict:
        """Untrained networks of the fitted model's shapes."""
        K, generator = self.n_components, torch.Generator()
        self._latent_dim = latent_dim
        networks = nn.ModuleDict()
        networks["generator"] = build_stack(
            "generator", choices["generator"], K, (latent_dim,), item_shape, generator
        )
        networks["critic"] = build_stack("critic", choices["critic"], K, item_shape, (), generator)
        if self._heads:
            shape = (self._heads * K,)
            networks["classifier"] = build_stack(
                "classifier", choices["classifier"], 1, item_shape, shape, generator
            )
        return networks

    @classmethod
    def _upgrade(cls, meta: dict[str, Any]) -> dict[str, Any]:
        meta = super()._upgrade(meta)
        return {**meta, "parameters": upgrade_ganmm(meta["parameters"])}

    def _fitted(self) -> dict[str, Any]:
        return {**super()._fitted(), "_heads": int, "_head": int, "_latent_dim": PositiveInt}

    def _check_whole(self) -> None:
        super()._check_whole()
        check_e_step(self.e_step)
        if self._head >= max(self._heads, 1):
            raise ValueError(f"_head={self._head}: expected one of {self._heads} heads")

    def _tensors(self) -> dict[str, Tensor]:
        return {**self._networks.state_dict(), "critic_score_stats": self._critic_score_stats}

    def _from_tensors(self, tensors: dict[str, Tensor]) -> None:
        name = "critic_units" if "critic_units" in tensors else "critic_score_stats"  # the first is of 0.1
        own = torch.zeros(self.n_components, 2)
        self._critic_score_stats = tensors.pop(name, torch.empty(0))
        check_tensor(name, self._critic_score_stats, own)
        if not (self._critic_score_stats[:, 1] > 0).all():
            raise ValueError(f"the tensor {name}: expected standard deviations above 0")
        self._networks = self._make_networks(
            self.preprocessing_.item_shape, self._latent_dim, network_choices(self.networks, ROLES)
        )
        load_weights(self._networks, tensors)
        self._networks.eval().requires_grad_(False)
