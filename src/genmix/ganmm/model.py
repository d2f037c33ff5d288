"""GANMM: a mixture of generative adversarial networks, learned by epsilon-EM.

Yu & Zhou, "Mixture of GANs for Clustering", IJCAI 2018. Symbols follow the paper: D_i are the data of
component i, S the generated sample, h_q the moderate classifier, epsilon the error of the E-step, sigma_t the
points that augment D_i. `GANMixture._epsilon_em` is Algorithm 1.
"""

from __future__ import annotations

import os
import time
from dataclasses import replace
from typing import Any, ClassVar, Self

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from genmix.base.estimator import BaseMixture, check_losses, fingerprint
from genmix.base.validation import PositiveInt
from genmix.ganmm import em
from genmix.ganmm.e_step import Classifier, ClassifierEStep, CriticAssigner, CriticEStep, agreement
from genmix.ganmm.m_step import Components, MStep
from genmix.ganmm.presets import PRESETS, ROLES, Plan, make_plan
from genmix.nn.adversarial import OBJECTIVES, Adversarial
from genmix.nn.build import build_stack, copy_networks, network_outputs, take_weights
from genmix.training.arguments import network_choices
from genmix.training.augment import Affine, AugmentedData, ColorJitter, NeighborSwap
from genmix.training.checkpoint import Checkpoint
from genmix.training.engine import Engine
from genmix.training.infomax import InfoMaxInit, pretrain_infomax, start_components


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
    start : str, InfoMaxInit or array of int [N]
        The partition to begin with (Algorithm 1, line 1): "auto"; "information" (the E-step classifier learns
        by information maximisation under augmentation; the default); "random" (the paper); "kmeans",
        "gmm-full", "gmm-tied", "gmm-diag", "spectral"; or the components of all items. An E-step classifier
        that learns from real items begins with what was partitioned other than at random.
    e_step : {"classifier", "critic"}, ClassifierEStep or CriticEStep
        "classifier" is ``ClassifierEStep()``, for tables with ``generated_weight=0.3, prior="shares"``;
        "critic" is the paper's ablation GANMM(EM).
    m_step : {"r1", "wgan", "wgan-gp"} or MStep
        How the GANs are trained.
    epsilon : "auto", float or sequence of (int, float)
        Share of every M-step batch from outside D_i: constant, or ``(until iteration, share)`` pairs of which
        the last holds for ever.
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
    warm_start : bool
        Continue from the fitted networks when `fit` is called again on items of the same shape.
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
        classifier_loss, critic_loss, generator_loss (means over components), reinitialized (components given a
        fresh GAN), smallest_share, seconds since the fit began.
    dead_components_ : list of int
        Components without data, or whose generator makes one item only.
    duplicate_components_ : list of [int, int]
        Pairs of components that share their items.
    selection_score_ : float
        How much two views' components tell about each other, what `n_init` chooses by: their mutual
        information in nats less twice what one leaves open of the other (`em.view_information`).
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

    _settings: ClassVar[dict[str, type]] = {
        t.__name__: t
        for t in (
            InfoMaxInit,
            ClassifierEStep,
            CriticEStep,
            MStep,
            Adversarial,
            Affine,
            ColorJitter,
            NeighborSwap,
        )
    }

    _default_settings: ClassVar = {
        "start": {"auto": InfoMaxInit(), "information": InfoMaxInit()}.get,
        "e_step": {"classifier": ClassifierEStep(), "critic": CriticEStep()}.get,
        "m_step": {name: MStep(name) for name in OBJECTIVES}.get,
    }

    def __init__(
        self,
        n_components: PositiveInt = 2,
        *,
        start: Any = "auto",
        e_step: Any = "classifier",
        m_step: Any = "r1",
        epsilon: Any = "auto",
        networks: Any = "auto",
        augmentation: Any = "auto",
        scaling: str = "auto",
        max_iter: PositiveInt = 40,
        tol: float | None = 5e-3,
        n_init: PositiveInt = 1,
        random_state: Any = None,
        verbose: int = 0,
        warm_start: bool = False,
        device: str = "auto",
        precision: str = "float32",
    ) -> None:
        self.n_components = n_components
        self.start = start
        self.e_step = e_step
        self.m_step = m_step
        self.epsilon = epsilon
        self.networks = networks
        self.augmentation = augmentation
        self.scaling = scaling
        self.max_iter = max_iter
        self.tol = tol
        self.n_init = n_init
        self.random_state = random_state
        self.verbose = verbose
        self.warm_start = warm_start
        self.device = device
        self.precision = precision

    @classmethod
    def preset(cls, name: str, n_components: int, **overrides: Any) -> Self:
        """Mixture with published settings.

        Parameters
        ----------
        name : {"ganmm-2018-paper", "ganmm-2018-code"}
            The paper's text, or the official code with what the text does not say.
        n_components : int
            K.
        **overrides
            Arguments to change.

        Raises
        ------
        ValueError
            Unknown name.
        """
        if name not in PRESETS:
            raise ValueError(f"preset {name!r} is unknown; expected one of {', '.join(PRESETS)}")
        return cls(n_components, **{**PRESETS[name], **overrides})

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
        begun = time.perf_counter()
        run = Engine(self.device, self.random_state, precision=self.precision, verbose=self.verbose)
        X = self._validated(X, reset=True)
        plan = make_plan(self, X)
        kept = Checkpoint(checkpoint, self, (X,), run)
        fitted = self._fitted_networks(plan) if self.warm_start else None
        items = plan.preprocessing.apply(X).to(run.device)
        views = AugmentedData(items, plan.augmentation, run)
        gans = Components(self.n_init * self.n_components, plan.item_shape, plan.m_step, plan.networks, run)
        h_q, labels = self._begin(views, plan, gans, fitted, kept)
        fresh = fitted is None and not kept.exists
        self._epsilon_em(views, plan, gans, h_q, labels, kept, begun - kept.seconds, fresh=fresh)
        self._conclude(views, plan, gans, h_q, X)
        return self

    def _epsilon_em(
        self,
        views: AugmentedData,
        plan: Plan,
        gans: Components,
        h_q: Classifier | CriticAssigner,
        labels: Tensor,
        kept: Checkpoint,
        begun: float,
        *,
        fresh: bool,
    ) -> None:
        """Algorithm 1 of Yu & Zhou 2018 for all restarts at once; the line numbers are the paper's."""
        D, K, run = views.items, self.n_components, views.run
        if fresh:  # line 2: the GANs are pretrained on the partition of line 1
            even = torch.ones(*labels.shape, K, device=run.device) / K
            own = em.component_distributions(labels, even, 0.0)[0]
            flat = own.flatten(0, 1)
            gans.train(D, flat, flat, 0.0, plan.m_step.pretrain_steps, pretraining=True)
        self.history_, labels = kept.resume({"gans": gans, "h_q": h_q}, labels)
        for t in self._until_converged(run, "epsilon-EM", plan.last_change + 1):  # lines 3-4
            epsilon = em.epsilon_at(t, plan.epsilon)
            shares = em.component_shares(labels, K)
            loss_h = h_q.learn(gans.generate, views, shares)  # lines 5-7: S is sampled, h_q learns it
            pool = plan.draw_pool(len(D), run)
            p = em.balanced_memberships(
                h_q.log_posterior(D[pool]), plan.balance
            ).nan_to_num()  # NaN: see _record
            before = labels[:, pool].clone()
            labels[:, pool] = p.argmax(-1)  # line 8
            # lines 9-11: D_i, and the sigma_t points that augment it
            own, extra = em.component_distributions(labels[:, pool], p, epsilon, plan.e_step.extras)
            own, extra = own.flatten(0, 1), extra.flatten(0, 1)
            losses = gans.train(D[pool], own, extra, epsilon, plan.m_step.steps)  # line 12
            reinitialized = gans.reinitialize_collapsed(D[pool], own)
            changed = (before != labels[:, pool]).float().mean(1).max()
            shares = em.component_shares(labels[:, pool], K)
            self._record(
                t, epsilon, torch.stack([changed, loss_h, *losses, shares.min()]), reinitialized, begun
            )
            kept.write(self.history_, labels)
        kept.write(self.history_, labels, last=True)

    def _record(self, t: int, epsilon: float, numbers: Tensor, reinitialized: Tensor, begun: float) -> None:
        """Append to `history_`; only here and in `reinitialize_collapsed` does the host wait for the device."""
        names = ("changed", "classifier_loss", "critic_loss", "generator_loss", "smallest_share")
        values = dict(zip(names, numbers.tolist(), strict=True))
        check_losses(values, t + 1)
        record: dict[str, Any] = {"iteration": t + 1, "epsilon": epsilon, **values}
        record["reinitialized"] = sorted({int(c) % self.n_components for c in reinitialized.nonzero()})
        record["seconds"] = time.perf_counter() - begun
        self.history_.append(record)

    def _begin(
        self,
        views: AugmentedData,
        plan: Plan,
        gans: Components,
        fitted: nn.ModuleDict | None,
        kept: Checkpoint,
    ) -> tuple[Classifier | CriticAssigner, Tensor]:
        """Line 1: h_q and a first assignment ``[R, N]``, from a start or from the networks fitted before."""
        run, restarts = views.run, self.n_init
        if fitted is not None:
            for role, network in (
                ("generator", gans.generator),
                ("generator", gans.averaged.network),
                ("critic", gans.critic),
            ):
                take_weights(network, fitted[role])
        if isinstance(plan.e_step, CriticEStep):
            judge: Classifier | CriticAssigner = CriticAssigner(gans, self.n_components, plan.e_step)
        elif isinstance(plan.start, InfoMaxInit) and fitted is None and not kept.exists:
            e_step = plan.e_step

            def make(n: int, heads: int, rate: float) -> Classifier:
                stack, step = self._classifier_stack(n, heads, plan, run), replace(e_step, rate=rate)
                return Classifier(stack, self.n_components, step, run, restarts=n, n_heads=heads)

            judge = pretrain_infomax(plan.start, make, views, self.n_components, restarts, e_step.rate)
        else:
            heads = kept.of("h_q", "n_heads", 1) if fitted is None else self._heads
            network = self._classifier_stack(restarts, heads, plan, run)
            judge = Classifier(network, self.n_components, plan.e_step, run, restarts=restarts, n_heads=heads)
            judge.head = torch.full((restarts,), self._head if fitted is not None else 0, device=run.device)
            if fitted is not None:
                take_weights(network, fitted["classifier"])
        if kept.exists:
            return judge, torch.empty(0)
        if fitted is not None or isinstance(plan.start, InfoMaxInit):
            return judge, judge.log_posterior(views.items).argmax(-1)
        labels = start_components(plan.start, views, self.n_components, restarts)
        if plan.teaches_start and isinstance(judge, Classifier):
            how = InfoMaxInit()
            judge.optimizer.set_lr(how.rate)
            judge.fit_partition(labels, views, how.partition_steps)
            judge.reset_optimizer(judge.step.rate)
        return judge, labels

    def _classifier_stack(self, n: int, heads: int, plan: Plan, run: Engine) -> nn.Module:
        choice, shape = plan.networks["classifier"], plan.item_shape
        return run.place(
            build_stack("classifier", choice, n, shape, (heads * self.n_components,), run.cpu_generator)
        )

    def _conclude(
        self,
        views: AugmentedData,
        plan: Plan,
        gans: Components,
        h_q: Classifier | CriticAssigner,
        X: np.ndarray,
    ) -> None:
        """Keep the restart of highest `selection_score_`, assign the data a last time, and say what is wrong."""
        run, K = views.run, self.n_components
        information = agreement(lambda x: h_q.log_posterior(x).argmax(-1), views, K)
        best = int(information.argmax())
        chosen = torch.arange(best * K, (best + 1) * K, device=run.device)
        mean, sd = gans.critic_score_stats()
        self._critic_units = torch.cat([mean, sd], 1)[chosen].cpu()
        source = {
            "generator": (gans.averaged.network, gans.n, chosen),
            "critic": (gans.critic, gans.n, chosen),
        }
        self._heads = self._head = 0
        if isinstance(h_q, Classifier) and h_q.head is not None:
            source["classifier"] = (h_q.network, self.n_init, torch.tensor([best], device=run.device))
            self._heads, self._head = h_q.n_heads, int(h_q.head[best])
        self.preprocessing_ = plan.preprocessing
        self._networks = self._make_networks(plan.item_shape, gans.latent_dim, plan.networks).to(run.device)
        for role, (network, n, index) in source.items():
            places = torch.arange(len(index), device=run.device)
            copy_networks(network, n, index, self._networks[role], len(index), places)
        self._networks.eval().requires_grad_(False)
        self.selection_score_ = float(information[best])
        self.n_iter_ = len(self.history_)
        self.fingerprint_ = fingerprint(X)
        self._assign_last(plan.preprocessing.apply(X))
        self.weights_ = np.bincount(self.labels_, minlength=K) / len(X)
        dead = gans.collapsed_components[best * K : (best + 1) * K].cpu().numpy() | (self.weights_ == 0)
        self.dead_components_ = np.flatnonzero(dead).tolist()
        self._warn_of_components("stand for no data or generate one item only")
        epsilon = self.history_[-1]["epsilon"]
        self._warn_of_no_convergence("epsilon-EM", f"had epsilon={epsilon:g} and changed", plan.last_change)

    # ------------------------------------------------------------------ the fitted model

    def score_samples(self, X: Any) -> np.ndarray:
        """How much each item looks like the data of its likely components: a critic score, **not** a density.

        ``sum_k p(k | x) (f_k(x) - m_k) / s_k`` with f_k the critic of component k and m_k, s_k its mean and
        standard deviation on items generated by that component. Mostly low for items unlike anything seen,
        but critics are not trained far from the data and can be high there in some directions. Comparable
        within one fitted model only: no `score` to choose between models is made of it, `genmix.evaluation.tuning` does
        that.

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
        return np.asarray((p * self._standard_scores(items)).sum(1))

    def _critic_outputs(self, items: Tensor) -> Tensor:
        return network_outputs(self._networks["critic"], items, self.n_components)

    def _standard_scores(self, items: Tensor) -> np.ndarray:
        """Critic scores ``[N, K]`` in units of each critic's own generated items."""
        mean, sd = self._critic_units.double().split(1, 1)
        return np.asarray(((self._critic_outputs(items) - mean) / sd).T.numpy())

    def _log_proba(self, items: Tensor) -> np.ndarray:
        if "classifier" in self._networks:
            scores = network_outputs(self._networks["classifier"], items, 1)[0]
            scores = scores.unflatten(-1, (self._heads, -1))[:, self._head]
            return np.asarray(scores.log_softmax(-1).numpy())
        if isinstance(self.e_step, CriticEStep) and self.e_step.centred:
            return self._standard_scores(items)
        return np.asarray(self._critic_outputs(items).T.numpy())

    @torch.no_grad()
    def _generate(self, counts: np.ndarray, seed: int, batch_size: int = 64) -> Tensor:
        """Items of all components in order; every network sees full batches, as batch normalisation needs."""
        network, latent_dim = self._networks["generator"], self._latent_dim
        device = next(network.parameters()).device
        generator = torch.Generator(device).manual_seed(seed)
        made = []
        for _ in range(0, max(int(counts.max()), 1), batch_size):
            shape = (len(counts), batch_size, latent_dim)
            noise = torch.randn(shape, generator=generator, device=device)
            made.append(network(noise).cpu())
        every = torch.cat(made, 1)
        return torch.cat([every[k, :count] for k, count in enumerate(counts)])

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

    def _fitted_networks(self, plan: Plan) -> nn.ModuleDict | None:
        """Networks to continue from, None before the first fit."""
        if not hasattr(self, "_networks"):
            return None
        if plan.item_shape != self.preprocessing_.item_shape or len(self.weights_) != self.n_components:
            raise ValueError(
                "warm_start=True needs items of the shape, and as many components, as fitted before"
            )
        if self.n_init != 1 or isinstance(plan.e_step, ClassifierEStep) != ("classifier" in self._networks):
            raise ValueError("warm_start=True needs n_init=1 and the kind of E-step fitted before")
        return self._networks

    _fitted_names = (*BaseMixture._fitted_names, "_heads", "_head", "_latent_dim")

    def _tensors(self) -> dict[str, Tensor]:
        return {**self._networks.state_dict(), "critic_score_stats": self._critic_units}

    def _from_tensors(self, tensors: dict[str, Tensor]) -> None:
        check_is_fitted(self, "preprocessing_")

        self._critic_units = tensors.pop("critic_score_stats")
        self._networks = self._make_networks(
            self.preprocessing_.item_shape, self._latent_dim, network_choices(self.networks, ROLES)
        )
        self._networks.load_state_dict(tensors)
        self._networks.eval().requires_grad_(False)
