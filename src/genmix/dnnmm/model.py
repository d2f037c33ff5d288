"""DNN-MM: a mixture in the latent space of one generator and one encoder, learned by MinMax+EM.

Pande & Awate, "Deep Generative Mixture Models" (ICPR 2020). Symbols follow the paper: E, G and D are encoder,
generator and discriminator, mu_k the fixed means, omega the shares, gamma the memberships, y a latent point.
`DNNMixture._minmax_em` is the learning of section III-D.
"""

from __future__ import annotations

import os
import time
from typing import Annotated, Any, ClassVar, Self

import numpy as np
import torch
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from genmix.base.estimator import BaseMixture, check_codes, check_losses, fingerprint
from genmix.base.preprocessing import as_array
from genmix.base.validation import Interval, PositiveInt, is_whole, short_repr
from genmix.dnnmm import latent
from genmix.dnnmm.networks import Batch, Decoder, Encoder, MinMaxStep
from genmix.dnnmm.presets import PRESETS, ROLES, Plan, make_plan
from genmix.ganmm import em
from genmix.ganmm.e_step import agreement
from genmix.nn.adversarial import Adversarial
from genmix.nn.build import build_stack, copy_networks, network_outputs, recalibrate
from genmix.training.arguments import network_choices
from genmix.training.augment import Affine, AugmentedData, ColorJitter, NeighborSwap
from genmix.training.checkpoint import Checkpoint
from genmix.training.engine import Engine
from genmix.training.infomax import InfoMaxInit, pretrain_infomax, start_components
from genmix.training.supervision import Labels, check_sample_weight, encode_labels


class DNNMixture(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseMixture):
    """Deep mixture with one generator, one encoder and K fixed Gaussians in between (Pande & Awate 2020).

    The encoder maps items into a latent space where component k is a unit Gaussian around a fixed mean; the
    generator maps that mixture back to items, and a discriminator tells generated from real ones. Labels for
    a part of the data bind component k to class k. The defaults improve on the paper; `preset` gives the
    published procedure.

    Parameters
    ----------
    n_components : int
        Number of components K (at least 1, and at least the number of classes in `y`).
    latent_dim : int or None
        Dimensions L of the latent space, at least K; None is ``max(30, K)``.
    radius : float
        Distance of every mean from the origin (> 0); means are ``sqrt(2) * radius`` apart.
    start : str, InfoMaxInit or array of int [N]
        "auto" and "information": the encoder learns by information maximisation under augmentation, beside
        the labels; "labels": from augmented labelled items alone; "kmeans": semi-supervised k-means and then
        eq. 14 (the paper); "random", "gmm-full", "gmm-tied", "gmm-diag", "spectral" or the components of all
        items, each followed by eq. 14.
    em : {"online", "epoch"}
        Memberships are computed anew for each gradient step (but in the first iteration after information
        maximisation, which only moves the encodings to the means), or once an iteration for all data
        (generalised EM, whose `bound` in `history_` does not fall but for the noise of stochastic gradients).
    step : MinMaxStep or None
        How the networks are trained; None is ``MinMaxStep()``.
    generate : bool
        False leaves out generator and discriminator: clusters and memberships only, in about half the time.
    weight_step : {"closed-form", "gradient", "exact", "fixed"}
        Update of omega: mean memberships under a Dirichlet prior; the paper's projected gradient ascent; the
        exact solution of eq. 12, generated items included; or none.
    weight_concentration : float
        Parameter of that prior (at least 1).
    networks : str, dict or callable
        "auto", "mlp", "conv"; or a dictionary with such a choice, a dictionary of options or a factory
        ``(in_shape, out_dim) -> nn.Module`` for "encoder", "generator" and "discriminator".
    augmentation : "auto", Affine, ColorJitter, NeighborSwap, None or callable
        Views of an item that must not change its component. "auto" is `Affine` for images, `ColorJitter`
        for those of three channels, `NeighborSwap` for tables.
    scaling : {"auto", "range", "unit", "standard", "none"}
        Of tables; see `genmix.base.preprocessing.Preprocessing`. "auto" is "range".
    max_iter : int
        Largest number of EM iterations.
    min_iter : int
        EM iterations before `tol` counts: they go on to mend single items, and samples get better, when few
        items change any more.
    tol : float or None
        Converged once at most this share of the items changes component in three iterations in a row. None
        runs `max_iter` iterations.
    n_init : int
        Restarts; all are trained at once, and the one whose memberships of two views of an item tell most
        about each other is kept (no labels are involved).
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
        Component of each item of the data fitted; the given one where a label was given.
    classes_ : ndarray
        The classes in `y`: component k stands for ``classes_[k]``. Components beyond them were discovered.
    means_ : ndarray [K, L]
        mu.
    weights_ : ndarray [K]
        omega.
    n_iter_ : int
        EM iterations done.
    converged_ : bool
        Whether `tol` was reached.
    history_ : list of dict
        One record an EM iteration: iteration, changed (share of items that changed component),
        log_likelihood (mean of the logarithm of eq. 1), bound (the same before the E-step renewed the
        memberships), encoder_loss, cycle_error, generator_loss, discriminator_loss, smallest_share, seconds.
    dead_components_ : list of int
        Components without data.
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
    >>> from genmix import DNNMixture, datasets
    >>> digits = datasets.load("digits")
    >>> model = DNNMixture(10, random_state=0).fit(digits.X)  # doctest: +SKIP
    >>> walk = model.interpolate(1, 3, steps=8)  # doctest: +SKIP
    """

    _settings: ClassVar[dict[str, type]] = {
        t.__name__: t for t in (InfoMaxInit, MinMaxStep, Adversarial, Affine, ColorJitter, NeighborSwap)
    }

    _default_settings: ClassVar = {
        "start": {"auto": InfoMaxInit(), "information": InfoMaxInit()}.get,
        "step": lambda _: MinMaxStep(),
    }

    def __init__(
        self,
        n_components: PositiveInt = 2,
        *,
        latent_dim: PositiveInt | None = None,
        radius: Annotated[float, Interval("(0, 1e6]")] = 4.0,
        start: Any = "auto",
        em: str = "online",
        step: MinMaxStep | None = None,
        generate: bool = True,
        weight_step: str = "closed-form",
        weight_concentration: Annotated[float, Interval("[1, inf)")] = 1.1,
        networks: Any = "auto",
        augmentation: Any = "auto",
        scaling: str = "auto",
        max_iter: PositiveInt = 30,
        min_iter: int = 20,
        tol: float | None = 3e-3,
        n_init: PositiveInt = 1,
        random_state: Any = None,
        verbose: int = 0,
        warm_start: bool = False,
        device: str = "auto",
        precision: str = "float32",
    ) -> None:
        self.n_components = n_components
        self.latent_dim = latent_dim
        self.radius = radius
        self.start = start
        self.em = em
        self.step = step
        self.generate = generate
        self.weight_step = weight_step
        self.weight_concentration = weight_concentration
        self.networks = networks
        self.augmentation = augmentation
        self.scaling = scaling
        self.max_iter = max_iter
        self.min_iter = min_iter
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
        name : {"dnnmm-2020"}
            The paper's procedure: semi-supervised k-means, pretraining by eq. 14 to 16, MinMax+EM.
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

    def fit(
        self,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        checkpoint: str | os.PathLike[str] | None = None,
    ) -> Self:
        """Fit the mixture.

        Parameters
        ----------
        X : array, frame or tensor [N, d], [N, H, W], [N, H, W, C] or [N, C, H, W]
            Rows of a table, or images (uint8 0..255, or numbers of any range).
        y : array of int [N], optional
            Classes of the items, -1 where unknown.
        sample_weight : array of float [N], optional
            How often an item counts (>= 0); raise it for labelled items where they are very few.
        checkpoint : path, optional
            Folder that the fit can go on from: if it is stopped, the same call again ends with the same
            bits. `max_iter`, `min_iter` and `tol` may change in between.

        Returns
        -------
        DNNMixture
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
        weights = check_sample_weight(sample_weight, len(X))
        labels = self._read_labels(y, len(X), weights, run)
        plan = make_plan(self, X, run)
        kept = Checkpoint(checkpoint, self, (X, y, sample_weight), run)
        views = AugmentedData(plan.preprocessing.apply(X).to(run.device), plan.augmentation, run, weights)
        encoder, decoder = self._begin(views, plan, labels, kept)
        self._minmax_em(views, plan, labels, encoder, decoder, kept, begun - kept.seconds)
        self._conclude(views, plan, labels, encoder, decoder, X)
        return self

    def _minmax_em(
        self,
        views: AugmentedData,
        plan: Plan,
        labels: Labels | None,
        encoder: Encoder,
        decoder: Decoder | None,
        kept: Checkpoint,
        begun: float,
    ) -> None:
        """MinMax+EM of Pande & Awate 2020 (eq. 13; eq. 12 without labels) for all restarts at once."""
        X, step, run = views.items, plan.step, views.run
        encoder.begin_averaging(step.encoder_ema_decay)
        known = None if labels is None else labels.component
        shares = None if labels is None else labels.shares().expand(self.n_init, -1)
        learners = {"encoder": encoder} | ({} if decoder is None else {"decoder": decoder})
        self.history_, gamma = kept.resume(learners, None)
        for t in self._until_converged(run, "MinMax+EM", self.min_iter):
            # E-step (eq. 3) for all data; known components are clamped (the indicator of eq. 13)
            before, joint = gamma, encoder.all_joint(X)
            gamma = latent.memberships(joint, known)
            encoder.weights = self._new_weights(encoder, decoder, gamma, views)
            losses = torch.zeros(4, device=run.device)
            # After information maximisation the first iteration moves E to the means, as eq. 14 does
            online = self.em == "online" and (t > 0 or not isinstance(plan.start, InfoMaxInit))
            for _ in range(step.steps):
                batch = Batch.draw(views, labels, step, self.n_init)
                g = latent.at(gamma, batch.chosen)
                if online:
                    g = encoder.renew(g, batch.chosen[:, : step.batch_size], X, known)
                # theta_E up: the expected log-likelihood Q (eq. 11) and the cycle (eq. 6)
                loss = encoder.m_step_loss(batch, g, step, encoder.weights if shares is None else shares)
                if decoder is not None:
                    k, y = decoder.draw(encoder.weights)
                    fake = decoder.generate(y)
                    if decoder.encoder_cycle:
                        error = encoder.cycle(y, fake.detach()).mean(1).sum()
                        loss = loss + decoder.encoder_cycle * error
                encoder.learn_from(loss)
                losses[0] += loss.detach() / self.n_init
                if decoder is not None:  # theta_G up, theta_D down (eq. 8)
                    losses[1:3] += torch.stack(decoder.train_generator(k, y, fake, encoder))
                    seen = views.draw_index(self.n_init, step.generated_batch_size)
                    known_as = latent.at(gamma, seen)
                    losses[3] += decoder.train_discriminator(X[seen], known_as, k, fake.detach())
                if self.weight_step == "gradient":
                    slopes = torch.zeros_like(encoder.weights) if decoder is None else decoder.slopes
                    mean = g[:, : step.batch_size].mean(1)  # without the labelled items added
                    encoder.weights = latent.ascend_weights(encoder.weights, mean, slopes)
            self._record(views, before, gamma, joint, losses / max(step.steps, 1), begun)
            kept.write(self.history_, gamma)
        kept.write(self.history_, gamma, last=True)

    def _new_weights(
        self, encoder: Encoder, decoder: Decoder | None, gamma: Tensor, views: AugmentedData
    ) -> Tensor:
        """Omega after the M-step, ``[R, K]``."""
        weighted = gamma if views.weights is None else gamma * (views.weights / views.weights.mean())[:, None]
        counts = weighted.sum(1)
        if self.weight_step == "closed-form":
            return latent.closed_form_weights(counts, self.weight_concentration)
        if self.weight_step == "exact":
            slopes = torch.zeros_like(counts) if decoder is None else decoder.slopes * len(views.items)
            return latent.exact_weights(counts.clamp_min(1e-3), slopes)
        return encoder.weights

    def _record(
        self,
        views: AugmentedData,
        before: Tensor | None,
        gamma: Tensor,
        joint: Tensor,
        losses: Tensor,
        begun: float,
    ) -> None:
        """Append to `history_`; the only place of an iteration where the host waits for the device."""
        old = gamma if before is None else before
        moved = (old.argmax(-1) != gamma.argmax(-1)).float().mean(1).max()
        shares = em.component_shares(gamma.argmax(-1), self.n_components)
        numbers = [
            moved if before is not None else torch.ones_like(moved),
            latent.log_likelihood(joint).mean(),
            latent.evidence_bound(old, joint).mean(),
            *losses,
            shares.min(),
        ]
        names = ("changed", "log_likelihood", "bound", "encoder_loss", "cycle_error", "generator_loss",
                 "discriminator_loss", "smallest_share")  # fmt: skip
        values = dict(zip(names, torch.stack(numbers).tolist(), strict=True))
        number = len(self.history_) + 1
        check_losses(values, number)
        self.history_.append({"iteration": number, **values, "seconds": time.perf_counter() - begun})

    # ------------------------------------------------------------------ before the first iteration

    def _read_labels(self, y: Any, n: int, weights: Tensor | None, run: Engine) -> Labels | None:
        found = encode_labels(y, n, self.n_components)
        self.classes_ = np.empty(0, dtype=np.int64) if found is None else found[0]
        if found is None:
            return None
        labels = Labels(torch.from_numpy(found[1]).to(run.device), self.n_components, weights)
        if not labels.weights.any():
            raise ValueError("sample_weight is zero for all items with labels: give some of them weight")
        return labels

    def _begin(
        self, views: AugmentedData, plan: Plan, labels: Labels | None, kept: Checkpoint
    ) -> tuple[Encoder, Decoder | None]:
        """Start and pretraining (section III-E), or the networks fitted before."""
        run, step, R, K = views.run, plan.step, self.n_init, self.n_components
        dims = plan.means.shape[1]
        fitted = self._fitted_networks(plan) if self.warm_start else None

        def make(n: int, heads: int, rate: float) -> Encoder:
            network = build_stack(
                "encoder", plan.networks["encoder"], n, plan.preprocessing.item_shape, (heads * dims,),
                run.cpu_generator,
            )  # fmt: skip
            return Encoder(run.place(network), plan.means, run, restarts=n, n_heads=heads, rate=rate)

        def ready(heads: int, head: int) -> Encoder:
            encoder = make(R, heads, step.encoder_lr)
            encoder.head = torch.full((R,), head, device=run.device)
            return encoder

        if fitted is not None:
            encoder = ready(self._heads, self._head)
            encoder.network.load_state_dict(fitted["encoder"].state_dict())
            encoder.weights = torch.from_numpy(self.weights_).float().to(run.device)[None]
        elif kept.exists:
            encoder = ready(kept.of("encoder", "n_heads", 1), 0)
        elif isinstance(plan.start, InfoMaxInit):
            encoder = pretrain_infomax(plan.start, make, views, K, R, step.encoder_lr, labels)
        else:
            encoder = ready(1, 0)
            from_labels = isinstance(plan.start, str) and plan.start == "labels"
            components = None if from_labels else start_components(plan.start, views, K, R, labels)
            encoder.pretrain(views, step, labels, components)
        if not self.generate:
            return encoder, None
        decoder = Decoder(R, plan.means, plan.preprocessing.item_shape, step, plan.networks, run)
        if kept.exists:
            return encoder, decoder
        if fitted is None or "generator" not in fitted:
            decoder.pretrain(encoder, views)
        else:
            for network in (decoder.generator, decoder.averaged.network):
                network.load_state_dict(fitted["generator"].state_dict())
            decoder.discriminator.load_state_dict(fitted["discriminator"].state_dict())
        return encoder, decoder

    # ------------------------------------------------------------------ after the last iteration

    def _conclude(
        self,
        views: AugmentedData,
        plan: Plan,
        labels: Labels | None,
        encoder: Encoder,
        decoder: Decoder | None,
        X: np.ndarray,
    ) -> None:
        """Keep the restart of highest `selection_score_`, assign the data a last time, and say what is wrong."""
        run, K = views.run, self.n_components
        information = agreement(lambda x: encoder.log_posterior(x).argmax(-1), views, K)
        best = int(information.argmax())
        self.selection_score_ = float(information[best])
        self._heads, self._head = encoder.n_heads, encoder.head_in_use(best)
        self._generates, self._conditional = decoder is not None, plan.step.conditional
        self.preprocessing_ = plan.preprocessing
        self.means_ = plan.means.cpu().numpy()
        self.weights_ = encoder.weights[best].cpu().double().numpy()
        self.weights_ /= self.weights_.sum()
        source = {"encoder": encoder.network_in_use}
        if decoder is not None:
            source |= {"generator": decoder.averaged.network, "discriminator": decoder.discriminator}
        self._networks = self._make_networks(plan.preprocessing.item_shape, plan.networks).to(run.device)
        chosen, place = torch.tensor([best], device=run.device), torch.zeros(1, dtype=torch.long)
        for role, network in source.items():
            copy_networks(network, self.n_init, chosen, self._networks[role], 1, place.to(run.device))
        if decoder is not None:
            draws = (decoder.draw(encoder.weights)[1][best : best + 1] for _ in range(50))
            recalibrate(self._networks["generator"], draws)
        self._networks.eval().requires_grad_(False)
        self.n_iter_ = len(self.history_)
        self.fingerprint_ = fingerprint(X)
        self._assign_last(views.items.cpu())
        if labels is not None:
            self.labels_[labels.index.cpu().numpy()] = labels.component[labels.index].cpu().numpy()
        self.dead_components_ = np.flatnonzero(np.bincount(self.labels_, minlength=K) == 0).tolist()
        self._warn_of_components("stand for no data")
        self._warn_of_no_convergence("MinMax+EM", "changed", self.min_iter)

    # ------------------------------------------------------------------ the fitted model

    def score_samples(self, X: Any) -> np.ndarray:
        """Logarithm of eq. 1: the density of each item's **encoding**, a pseudo-density of the item.

        There is no Jacobian in it, so it compares items within one fitted model only: no `score` to choose
        between models is made of it, `genmix.evaluation.tuning` does that.

        Parameters
        ----------
        X : array, frame or tensor [N, ...]
            Items of the shape the model was fitted on.

        Returns
        -------
        ndarray of float64 [N]
        """
        return np.asarray(np.logaddexp.reduce(self._log_proba(self._items(X)), axis=1))

    def transform(self, X: Any) -> np.ndarray:
        """Encode items: E(x).

        Parameters
        ----------
        X : array, frame or tensor [N, ...]
            Items of the shape the model was fitted on.

        Returns
        -------
        ndarray of float64 [N, L]
        """
        return np.asarray(self._encode(self._items(X)).numpy())

    def inverse_transform(self, Z: Any) -> np.ndarray:
        """Items G(z) that the generator makes of latent points.

        Parameters
        ----------
        Z : array [M, L]
            Latent points, for instance `means_` or the result of `transform`.

        Returns
        -------
        ndarray [M, ...]
            In the units, layout and dtype of the data the model was fitted on.

        Raises
        ------
        ValueError
            Points of another dimension, or a model fitted with ``generate=False``.
        """
        check_is_fitted(self)
        Z = check_codes(Z, self.means_.shape[1])
        return self.preprocessing_.restore(self._decode(torch.from_numpy(Z)))

    def interpolate(self, start: Any, stop: Any, steps: int = 8) -> np.ndarray:
        """Walk in a straight line through the latent space, decoded.

        Parameters
        ----------
        start, stop : int or item
            A component (its mean) or an item of the data's shape (its encoding).
        steps : int
            Points on the way, both ends included (at least 2).

        Returns
        -------
        ndarray [steps, ...]
            Items in the user's units.
        """
        check_is_fitted(self)
        if not is_whole(steps) or steps < 2:
            raise ValueError(f"steps={short_repr(steps)}: expected a whole number of at least 2")
        ends = [self._latent_point(end) for end in (start, stop)]
        share = np.linspace(0, 1, steps)[:, None]
        return self.inverse_transform((1 - share) * ends[0] + share * ends[1])

    @property
    def _n_features_out(self) -> int:
        return int(self.means_.shape[1])

    def _latent_point(self, end: Any) -> np.ndarray:
        if is_whole(end):
            if not 0 <= end < len(self.means_):
                raise ValueError(f"component {end} does not exist: expected 0 to {len(self.means_) - 1}")
            return np.asarray(self.means_[end])
        item = np.asarray(as_array(end))[None]
        self.preprocessing_.check(item)
        if not np.isfinite(item.astype(np.float64)).all():
            raise ValueError("the item has values that are not finite")
        return self._encode(self.preprocessing_.apply(item))[0].numpy()

    def _encode(self, items: Tensor) -> Tensor:
        out = network_outputs(self._networks["encoder"], items, 1)[0]
        return out.unflatten(-1, (self._heads, -1))[:, self._head]

    def _log_proba(self, items: Tensor) -> np.ndarray:
        means, weights = torch.from_numpy(self.means_).double(), torch.from_numpy(self.weights_)
        return np.asarray(latent.log_joint(self._encode(items), means, weights).numpy())

    def _decode(self, z: Tensor) -> Tensor:
        if "generator" not in self._networks:
            raise ValueError("this model was fitted with generate=False: it has no generator")
        network = self._networks["generator"]
        device = next(network.parameters()).device
        with torch.no_grad():
            return torch.cat([network(part[None].to(device))[0].cpu() for part in z.split(2048)])

    def _generate(self, counts: np.ndarray, seed: int) -> Tensor:
        means = torch.from_numpy(np.repeat(self.means_, counts, 0))
        return self._decode(means + torch.randn(means.shape, generator=torch.Generator().manual_seed(seed)))

    def _make_networks(self, item_shape: tuple[int, ...], choices: dict[str, Any]) -> nn.ModuleDict:
        """Untrained networks of the fitted model's shapes."""
        (k, dims), seed = self.means_.shape, torch.Generator()
        networks = nn.ModuleDict()
        networks["encoder"] = build_stack(
            "encoder", choices["encoder"], 1, item_shape, (self._heads * dims,), seed
        )
        if self._generates:
            judged = (k,) if self._conditional else ()
            networks["generator"] = build_stack("decoder", choices["generator"], 1, (dims,), item_shape, seed)
            networks["discriminator"] = build_stack(
                "discriminator", choices["discriminator"], 1, item_shape, judged, seed
            )
        return networks

    def _fitted_networks(self, plan: Plan) -> nn.ModuleDict | None:
        """Networks to continue from, None before the first fit."""
        if not hasattr(self, "_networks"):
            return None
        if (
            plan.preprocessing.item_shape != self.preprocessing_.item_shape
            or self.means_.shape != plan.means.shape
        ):
            raise ValueError(
                "warm_start=True needs items of the shape, and as many components and latent dimensions, as "
                "fitted before"
            )
        if self.n_init != 1:
            raise ValueError("warm_start=True needs n_init=1")
        wanted = self._make_networks(self.preprocessing_.item_shape, plan.networks).state_dict()
        judged = self._conditional == plan.step.conditional or not (self.generate and self._generates)
        fitted = self._networks.state_dict()
        if not judged or {n: p.shape for n, p in wanted.items()} != {n: p.shape for n, p in fitted.items()}:
            raise ValueError("warm_start=True needs the networks, and the discriminator, fitted before")
        return self._networks

    _fitted_names = (
        *BaseMixture._fitted_names,
        "_heads", "_head", "_generates", "_conditional", "means_", "classes_",
    )  # fmt: skip

    def _tensors(self) -> dict[str, Tensor]:
        return self._networks.state_dict()

    def _from_tensors(self, tensors: dict[str, Tensor]) -> None:
        check_is_fitted(self, "preprocessing_")
        self._networks = self._make_networks(
            self.preprocessing_.item_shape, network_choices(self.networks, ROLES)
        )
        self._networks.load_state_dict(tensors)
        self._networks.eval().requires_grad_(False)
