"""DNN-MM: a mixture in the latent space of one generator and one encoder, learned by MinMax+EM.

Pande & Awate, "Deep Generative Mixture Models" (ICPR 2020). Symbols follow the paper: E, G and D are encoder,
generator and discriminator, mu_k the fixed means, omega the shares, gamma the memberships, y a latent point.
`DNNMixture._minmax_em` is the learning of section III-D.
"""

from __future__ import annotations

import os
import time
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import torch
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from genmix.base.estimator import BaseMixture, check_codes
from genmix.base.preprocessing import Preprocessing, as_array, finite
from genmix.base.restoring import array, load_weights
from genmix.base.validation import PositiveInt, is_whole, short_repr
from genmix.dnnmm import latent
from genmix.dnnmm.networks import Batch, Decoder, Encoder, MinMaxStep
from genmix.dnnmm.presets import PRESETS, PaperStep
from genmix.nn.build import build_stack, copy_networks, network_choices, network_outputs, recalibrate
from genmix.training.augment import Affine, AugmentedData, ColorJitter, NeighborSwap, resolve_augmentation
from genmix.training.checkpoint import Checkpoint
from genmix.training.engine import Engine
from genmix.training.infomax import (
    InfoMaxInit,
    MultiHeadNetwork,
    ResolvedInfoMax,
    check_init,
    init_settings,
    pretrain_infomax,
    view_mutual_information,
)
from genmix.training.information import component_shares
from genmix.training.legacy import upgrade_dnnmm
from genmix.training.partitions import initial_components, parted_neighbors
from genmix.training.run import Run
from genmix.training.supervision import Labels, check_sample_weight, encode_labels

ROLES = ("encoder", "generator", "discriminator")


class ResolvedSettings(NamedTuple):
    """What a fit does, every "auto" and None resolved from the kind and shape of the data."""

    init: str | ResolvedInfoMax | np.ndarray
    m_step: MinMaxStep
    means: Tensor
    networks: dict[str, Any]
    item_shape: tuple[int, ...]


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
    init : str, InfoMaxInit or array of int [N]
        "auto" and "infomax" are ``InfoMaxInit()``: the encoder learns by information maximisation under
        augmentation, beside the labels; "labels": from augmented labelled items alone; "kmeans":
        semi-supervised k-means and then eq. 14 (the paper); "random", "gmm-full", "gmm-tied", "gmm-diag",
        "spectral" or the components of all items, each followed by eq. 14; or "fitted": continue from the
        networks fitted before, where the model is fitted.
    m_step : MinMaxStep or None
        How the networks are trained; None is ``MinMaxStep()``.
    generate : bool
        False leaves out generator and discriminator: clusters and memberships only, in about half the time.
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
    tol : float or None
        Converged once at most this share of the items changes component in three iterations in a row, the
        20th or a later one the last of them. None runs `max_iter` iterations.
    n_init : int
        Restarts; all are trained at once, and the one whose memberships of two views of an item tell most
        about each other is kept (no labels are involved).
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
        information in nats less twice what one leaves open of the other (`information.mutual_information`).
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

    presets = PRESETS  # the paper's procedure: semi-supervised k-means, eq. 14 to 16, MinMax+EM

    _settings: ClassVar[dict[str, type]] = {
        t.__name__: t for t in (InfoMaxInit, MinMaxStep, PaperStep, Affine, ColorJitter, NeighborSwap)
    }

    _default_settings: ClassVar = {"init": init_settings, "m_step": lambda _: MinMaxStep()}

    def __init__(
        self,
        n_components: PositiveInt = 2,
        *,
        init: Any = "auto",
        m_step: MinMaxStep | None = None,
        generate: bool = True,
        networks: Any = "auto",
        augmentation: Any = "auto",
        scaling: str = "auto",
        max_iter: PositiveInt = 30,
        tol: float | None = 3e-3,
        n_init: PositiveInt = 1,
        random_state: Any = None,
        verbose: int = 0,
        device: str = "auto",
        precision: str = "float32",
    ) -> None:
        self.n_components = n_components
        self.init = init
        self.m_step = m_step
        self.generate = generate
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
            bits. `max_iter` and `tol` may change in between.

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
        start_time = time.perf_counter()
        engine = Engine(self.device, self.random_state, precision=self.precision, verbose=self.verbose)
        X = self._validated(X, reset=True)
        weights = check_sample_weight(sample_weight, len(X))
        labels = self._read_labels(y, len(X), weights, engine)
        preprocessing, items = Preprocessing.fit_apply(X, "range" if self.scaling == "auto" else self.scaling)
        settings = self._resolve(items, labels, engine)
        fitted = self._fitted_networks(settings)
        kept = Checkpoint(checkpoint, self, (self._fingerprint(X), y, sample_weight), engine)
        augmentation = resolve_augmentation(self.augmentation, settings.item_shape)
        component = None if labels is None else labels.component
        data = AugmentedData(items.to(engine.device), augmentation, engine, weights, component)
        run = Run(kept, engine, start_time)
        encoder, decoder = self._begin(data, settings, labels, fitted, kept)
        self._minmax_em(data, labels, encoder, decoder, run)
        self._conclude(data, settings, preprocessing, labels, encoder, decoder, run)
        return self

    def _minmax_em(
        self, data: AugmentedData, labels: Labels | None, encoder: Encoder, decoder: Decoder | None, run: Run
    ) -> None:
        """MinMax+EM of Pande & Awate 2020 (eq. 13; eq. 12 without labels) for all restarts at once."""
        X, step = data.items, encoder.step
        known, expected = (None, None) if labels is None else (labels.component, labels.shares())
        learners = {"encoder": encoder} | ({} if decoder is None else {"decoder": decoder})
        gamma = run.resume(learners, like=torch.empty(self.n_init, len(X), self.n_components, device="meta"))
        for t in run.iterations("MinMax+EM", self.max_iter, self.tol, step.min_iter):
            # E-step (eq. 3) for all data; known components are clamped (the indicator of eq. 13)
            before, joint = gamma, encoder.all_joint(X)
            gamma = latent.memberships(joint, known)
            encoder.update_weights(gamma, data.weights)  # omega
            for _ in range(step.steps):
                batch = Batch.draw(data, labels, step, self.n_init)
                g = encoder.batch_memberships(batch, gamma, X, known, t)
                generated = None if decoder is None else decoder.sample(encoder.weights)  # k, y, G(y)
                # theta_E up: the expected log-likelihood Q (eq. 11) and the cycle (eq. 6)
                run.log(encoder_loss=encoder.m_step(batch, g, expected, generated))
                if decoder is not None and generated is not None:  # theta_G up, theta_D down (eq. 8)
                    run.log(**decoder.generator_step(generated, encoder))
                    run.log(discriminator_loss=decoder.discriminator_step(generated, data, gamma))
                encoder.ascend_weights(g, 0.0 if decoder is None else decoder.slopes)
            run.record(gamma, **_summary(before, gamma, joint))

    # ------------------------------------------------------------------ before the first iteration

    def _read_labels(self, y: Any, n: int, weights: Tensor | None, engine: Engine) -> Labels | None:
        found = encode_labels(y, n, self.n_components)
        self.classes_ = np.empty(0, dtype=np.int64) if found is None else found[0]
        if found is None:
            return None
        labels = Labels(torch.from_numpy(found[1]).to(engine.device), self.n_components, weights)
        if not labels.weights.any():
            raise ValueError("sample_weight is zero for all items with labels: give some of them weight")
        return labels

    def _resolve(self, items: Tensor, labels: Labels | None, engine: Engine) -> ResolvedSettings:
        """Check the arguments, and resolve every "auto" from the data and the labels' classes.

        Raises
        ------
        ValueError
            An argument out of range, or that does not go with the data.
        """
        item_shape, K, m_step = tuple(items.shape[1:]), self.n_components, self.m_step or MinMaxStep()
        init = self.init
        if isinstance(init, str) and (init == "auto" or (init == "fitted" and not self._is_fitted)):
            init = "infomax"
        if isinstance(init, str) and init == "labels" and labels is None:
            raise ValueError("init='labels' needs labels in y for a part of the items")
        init = check_init(init, len(items), K, ("fitted", "labels"))
        if isinstance(init, InfoMaxInit):
            init = init.resolve(item_shape, all_labelled=labels is not None and labels.complete)
        dims = max(30, K) if m_step.latent_dim is None else m_step.latent_dim
        means = latent.corner_means(K, dims).to(engine.device)
        return ResolvedSettings(init, m_step, means, network_choices(self.networks, ROLES), item_shape)

    def _begin(
        self,
        data: AugmentedData,
        settings: ResolvedSettings,
        labels: Labels | None,
        fitted: nn.ModuleDict | None,
        kept: Checkpoint,
    ) -> tuple[Encoder, Decoder | None]:
        """Initialise and pretrain (section III-E), or take the networks fitted before."""
        engine, R, K = data.engine, self.n_init, self.n_components
        init, step, means, networks, item_shape = settings
        # Means of equal norm make eq. 3 linear in z; while the network is pretrained shares are equal.
        log_share = torch.full((), 1 / K, device=engine.device).log()

        def make(n: int, heads: int) -> MultiHeadNetwork:
            stack = build_stack(
                "encoder", networks["encoder"], n, item_shape, (heads * means.shape[1],), engine.cpu_generator
            )
            return MultiHeadNetwork(
                engine.place(stack), means.shape[1], lambda z: z @ means.T + log_share, engine,
                restarts=n, n_heads=heads, lr=step.encoder_lr,
            )  # fmt: skip

        learned = isinstance(init, ResolvedInfoMax)
        if isinstance(init, ResolvedInfoMax) and not kept.exists:
            net = pretrain_infomax(init, make, data, K, R, labels)
            net.reset_optimizer(step.encoder_lr)
        else:
            net = make(R, kept.get("encoder", "net", "n_heads", default=1) if fitted is None else self._heads)
            net.use_head(0 if fitted is None else self._head)
        encoder = Encoder(net, means, step, first_online=int(learned))
        if fitted is not None:
            net.network.load_state_dict(fitted["encoder"].state_dict())
            encoder.weights = torch.from_numpy(self.weights_).float().to(engine.device)[None]
        elif not learned and not kept.exists:
            from_labels = isinstance(init, str) and init == "labels"
            components = None if from_labels else initial_components(init, data, K, R, labels)  # type: ignore[arg-type]
            encoder.pretrain(data, labels, components)
        decoder = Decoder(R, means, item_shape, step, networks, engine) if self.generate else None
        if decoder is not None and fitted is not None and "generator" in fitted:
            for network in (decoder.generator, decoder.averaged.network):
                network.load_state_dict(fitted["generator"].state_dict())
            decoder.discriminator.load_state_dict(fitted["discriminator"].state_dict())
        elif decoder is not None and not kept.exists:
            decoder.pretrain(encoder, data)
        net.start_averaging(step.encoder_ema_decay)
        return encoder, decoder

    def _fitted_networks(self, settings: ResolvedSettings) -> nn.ModuleDict | None:
        """Networks to continue from, None where the fit begins anew."""
        if not isinstance(settings.init, str) or settings.init != "fitted":
            return None
        if settings.item_shape != self.preprocessing_.item_shape or self.means_.shape != settings.means.shape:
            raise ValueError(
                "init='fitted' needs items of the shape, and as many components and latent dimensions, as "
                "fitted before"
            )
        if self.n_init != 1:
            raise ValueError("init='fitted' needs n_init=1")
        wanted = self._make_networks(self.preprocessing_.item_shape, settings.networks).state_dict()
        judged = self._conditional == settings.m_step.conditional or not (self.generate and self._generates)
        fitted = self._networks.state_dict()
        if not judged or {n: p.shape for n, p in wanted.items()} != {n: p.shape for n, p in fitted.items()}:
            raise ValueError("init='fitted' needs the networks, and the discriminator, fitted before")
        return self._networks

    # ------------------------------------------------------------------ after the last iteration

    def _conclude(
        self,
        data: AugmentedData,
        settings: ResolvedSettings,
        preprocessing: Preprocessing,
        labels: Labels | None,
        encoder: Encoder,
        decoder: Decoder | None,
        run: Run,
    ) -> None:
        """Keep the restart of highest `selection_score_`, assign the data a last time, warn of faults."""
        K, device = self.n_components, data.engine.device
        scores = view_mutual_information(lambda x: encoder.all_joint(x).argmax(-1), data, K)
        best = int(scores.argmax())
        self.selection_score_ = float(scores[best])
        self._heads, self._head = encoder.net.n_heads, encoder.net.head_in_use(best)
        self._generates, self._conditional = decoder is not None, settings.m_step.conditional
        self.preprocessing_ = preprocessing
        self.means_ = settings.means.cpu().numpy()
        self.weights_ = encoder.weights[best].cpu().double().numpy()
        self.weights_ /= self.weights_.sum()
        source = {"encoder": encoder.net.network_in_use}
        if decoder is not None:
            source |= {"generator": decoder.averaged.network, "discriminator": decoder.discriminator}
        self._networks = self._make_networks(settings.item_shape, settings.networks).to(device)
        chosen, place = torch.tensor([best], device=device), torch.zeros(1, dtype=torch.long, device=device)
        for role, network in source.items():
            copy_networks(network, self.n_init, chosen, self._networks[role], 1, place)
        if decoder is not None:
            draws = (decoder.draw(encoder.weights)[1][best : best + 1] for _ in range(50))
            recalibrate(self._networks["generator"], draws)
        self._networks.eval().requires_grad_(False)
        self.history_, self.converged_, self.n_iter_ = run.history, run.converged, len(run.history)
        self._assign_last(data.items.cpu())
        if labels is not None:
            self.labels_[labels.index.cpu().numpy()] = labels.component[labels.index].cpu().numpy()
        self.dead_components_ = np.flatnonzero(np.bincount(self.labels_, minlength=K) == 0).tolist()
        self._warn_of_components("stand for no data")
        if labels is None:
            self._warn_of_instability(*parted_neighbors(data.items, self.labels_, K))
        self._warn_of_no_convergence("MinMax+EM", "changed", settings.m_step.min_iter)

    # ------------------------------------------------------------------ the fitted model

    def score_samples(self, X: Any) -> np.ndarray:
        """Logarithm of eq. 1: the density of each item's **encoding**, a pseudo-density of the item.

        There is no Jacobian in it, so it compares items within one fitted model only: no `score` to choose
        between models is made of it, `genmix.tuning` does that.

        Parameters
        ----------
        X : array, frame or tensor [N, ...]
            Items of the shape the model was fitted on.

        Returns
        -------
        ndarray of float64 [N]
        """
        return np.asarray(finite(np.logaddexp.reduce(self._log_proba(self._items(X)), axis=1), "scores"))

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
        return np.asarray(finite(self._encode(self._items(X)).numpy(), "codes"))

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
        return network_outputs(self._networks["encoder"], items, 1, heads=self._heads, head=self._head)[0]

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

    @classmethod
    def _upgrade(cls, meta: dict[str, Any]) -> dict[str, Any]:
        meta = super()._upgrade(meta)
        return {**meta, "parameters": upgrade_dnnmm(meta["parameters"])}

    def _fitted(self) -> dict[str, Any]:
        return {
            **super()._fitted(),
            "_heads": PositiveInt, "_head": int,
            "_generates": bool, "_conditional": bool,
            "means_": array(self.n_components, None, dtype="float32"),
        }  # fmt: skip

    def _check_whole(self) -> None:
        super()._check_whole()
        if self._head >= self._heads:
            raise ValueError(f"_head={self._head}: expected one of {self._heads} heads")

    def _tensors(self) -> dict[str, Tensor]:
        return self._networks.state_dict()

    def _from_tensors(self, tensors: dict[str, Tensor]) -> None:
        self._networks = self._make_networks(
            self.preprocessing_.item_shape, network_choices(self.networks, ROLES)
        )
        load_weights(self._networks, tensors)
        self._networks.eval().requires_grad_(False)


def _summary(before: Tensor | None, gamma: Tensor, joint: Tensor) -> dict[str, Tensor]:
    """Numbers of an iteration, from the memberships before and now ``[R, N, K]``."""
    labels, old = gamma.argmax(-1), gamma if before is None else before
    changed = (old.argmax(-1) != labels).float().mean(1).max()
    return {
        "changed": torch.ones_like(changed) if before is None else changed,
        "log_likelihood": latent.log_likelihood(joint).mean(),
        "bound": latent.evidence_bound(old, joint).mean(),
        "smallest_share": component_shares(labels, gamma.shape[-1]).min(),
    }
