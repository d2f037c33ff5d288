"""The models of the experiments by name: ours, the papers' by their presets, their rivals, the fair rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline

from genmix import baselines
from genmix.baselines import Pretraining
from genmix.baselines.acai import ACAI
from genmix.dnnmm.model import DNNMixture
from genmix.dnnmm.presets import PRESETS as DNNMM_PRESETS
from genmix.experiments.tasks import Kind, Size
from genmix.ganmm.e_step import ClassifierEStep, CriticEStep
from genmix.ganmm.m_step import MStep
from genmix.ganmm.model import ROLES, GANMixture
from genmix.ganmm.presets import CodesEStep
from genmix.training.augment import Affine, NeighborSwap
from genmix.training.infomax import InfoMaxInit


@dataclass(frozen=True)
class Setting:
    """What a method is made for."""

    n_components: int
    seed: int
    size: Size
    kind: Kind


@dataclass(frozen=True)
class Method:
    """A named model.

    Parameters
    ----------
    title : str
        Name of its row.
    make : callable
        `Setting` -> unfitted estimator.
    learns_labels : bool
        Whether `fit` is given the labels that are known.
    reduced : str
        What is smaller than published when it runs on a CPU.
    """

    title: str
    make: Callable[[Setting], Any]
    learns_labels: bool = False
    reduced: str = ""


class OverClustered(BaseEstimator):
    """More components than classes, merged where two views of an item go to both; no labels are used.

    Parameters
    ----------
    n_components : int
        Clusters in the end.
    times : int
        Components for each.
    random_state, device, precision
        As in `DNNMixture`.
    """

    def __init__(
        self,
        n_components: int = 2,
        times: int = 3,
        random_state: Any = None,
        device: str = "auto",
        precision: str = "float32",
    ) -> None:
        self.n_components = n_components
        self.times = times
        self.random_state = random_state
        self.device = device
        self.precision = precision

    def fit(self, X: np.ndarray, y: np.ndarray | None = None) -> Self:
        """Fit, then merge the pair of highest normalised overlap until K are left."""
        k = self.n_components
        model = DNNMixture(
            k * self.times,
            generate=False,
            random_state=self.random_state,
            device=self.device,
            precision=self.precision,
        )
        p = model.fit(X, y).predict_proba(X)
        other = model._memberships(Affine()(model._items(X), torch.Generator().manual_seed(0)))
        merged = np.arange(p.shape[1])
        while len(np.unique(merged)) > k:
            kept, group = np.unique(merged, return_inverse=True)
            member = np.eye(len(kept))[group]
            a, b = p @ member, other @ member
            overlap = (a.T @ b + b.T @ a) / np.sqrt(np.outer(a.sum(0), b.sum(0))).clip(1e-9)
            np.fill_diagonal(overlap, -1)
            i, j = np.unravel_index(overlap.argmax(), overlap.shape)
            merged[merged == kept[j]] = kept[i]
        self.labels_ = np.unique(merged, return_inverse=True)[1][model.labels_]
        self.weights_ = np.bincount(self.labels_, minlength=k) / len(X)
        self.n_iter_ = model.n_iter_
        return self


def _ganmm(**arguments: Any) -> Callable[[Setting], Any]:
    return lambda s: GANMixture(s.n_components, random_state=s.seed, **arguments)


def _generated_only(s: Setting) -> GANMixture:
    # without real rows beside them generated ones need no smaller weight
    e_step = ClassifierEStep(real_weight=0.0, generated_weight=1.0)
    return GANMixture(s.n_components, e_step=e_step, random_state=s.seed)


#: The published networks of images with an eighth of their channels.
_NARROW = {role: {"kind": "ganmm-2018", "channels": 8} for role in ROLES}
#: The published networks of an autoencoder's codes.
_OF_CODES = {role: {"kind": "ganmm-2018", "hidden": (32,)} for role in ROLES}
#: The schedule of epsilon in the first 100 of an image run's iterations, in the published proportions.
_SHORT_EPSILON = ((5, 0.5), (10, 0.2), (20, 0.1), (21, 0.04))
_IMAGES_SHORTENED = "images: 50 steps of pretraining, 100 iterations, an eighth of the channels"
_SHORTENED = f"{_IMAGES_SHORTENED}; tables: 10,000 iterations, of 200,000"


@dataclass(frozen=True)
class SampledCriticEStep(CriticEStep):
    """GANMM(EM) that assigns a part of the images in an iteration: K critics judge each."""

    max_classified: ClassVar[int | None] = 2048


_EM_SHORTENED = (
    f"{_IMAGES_SHORTENED}, {SampledCriticEStep.max_classified:,} images assigned in each iteration; "
    "tables: 2,000 iterations, of 200,000"
)


def _ganmm_published(name: str, *, critics: bool | None = None, **arguments: Any) -> Callable[[Setting], Any]:
    """Take a preset, shortened where a CPU computes; `critics` assign, standardised or not."""

    def make(s: Setting) -> GANMixture:
        model = GANMixture.preset(name, s.n_components, random_state=s.seed, **arguments)
        shortened = s.size != "full" and s.kind == "images"
        if s.kind == "codes" and name == "ganmm-2018-code":  # for tables the code has other networks
            model.set_params(networks=_OF_CODES, e_step=CodesEStep())
        if s.size == "full":
            if s.kind == "images" or name == "ganmm-2018-code":  # the paper's text gives no number for tables
                model.set_params(max_iter=200_000)
        elif shortened:
            m_step = replace(model.m_step, pretrain_steps=50, epsilon=_SHORT_EPSILON)
            model.set_params(m_step=m_step, max_iter=100, networks=_NARROW)
        if critics is not None:
            kind = SampledCriticEStep if shortened else CriticEStep
            model.set_params(e_step=kind(critics), m_step=replace(model.m_step, epsilon=0.0))
        return model

    return make


def _dnnmm(**arguments: Any) -> Callable[[Setting], Any]:
    return lambda s: DNNMixture(s.n_components, random_state=s.seed, **arguments)


def _dnnmm_published(**arguments: Any) -> Callable[[Setting], Any]:
    return lambda s: DNNMixture.preset("dnnmm-2020", s.n_components, random_state=s.seed, **arguments)


def _rival(name: str, published: str | None = None, **arguments: Any) -> Callable[[Setting], Any]:
    """Take a model of `genmix.baselines`; at full size its `published` preset, where there is one."""
    kind = getattr(baselines, name)

    def make(s: Setting) -> Any:
        if published is not None and s.size == "full":
            return kind.preset(published, s.n_components, random_state=s.seed)
        return kind(s.n_components, random_state=s.seed, **arguments)

    return make


def _without_autoencoder(s: Setting) -> Any:
    name = "without-autoencoder"
    return baselines.DEC.preset(name, s.n_components, random_state=s.seed)


def _embedded(s: Setting) -> Pipeline:
    codes = baselines.StackedAutoencoder(random_state=s.seed)
    mixture = baselines.GaussianMixture(s.n_components, random_state=s.seed)
    return Pipeline([("codes", codes), ("mixture", mixture)])


def _relaxed(balance: float) -> Callable[[Setting], Any]:
    """Start that asks less for groups of equal size; the default's balance is 2."""
    return _dnnmm(generate=False, init=InfoMaxInit(marginal_entropy_weight=balance))


_COVARIANCES = ("full", "tied", "diag", "spherical")
_BEST, _ONE = "best of 10 starts, reg_covar 1e-3", "scikit-learn's defaults"
CLASSICAL = {
    "kmeans": Method("k-means, best of 10 starts", _rival("KMeans", n_init=10)),
    "gmm-by-bic": Method("Gaussian mixture, covariance by BIC", _rival("GaussianMixture")),
    **{
        f"gmm-{kind}": Method(
            f"Gaussian mixture, {kind} covariance, {_BEST}",
            _rival("GaussianMixture", covariance_types=(kind,), n_init=10),
        )
        for kind in _COVARIANCES
    },
    **{
        f"gmm-{kind}-one-start": Method(
            f"Gaussian mixture, {kind} covariance, {_ONE}",
            _rival("GaussianMixture", covariance_types=(kind,), n_init=1, reg_covar=1e-6, max_iter=100),
        )
        for kind in _COVARIANCES
    },
}
#: As many steps for few images as for 10,000, and as many between two counts as published.
_DYNAE: dict[str, Any] = {"pretraining": ACAI(steps=1500), "update_interval": 140}
DEEP = {
    "sae-gmm": Method("Gaussian mixture of a stacked autoencoder's codes", _embedded),
    "dec": Method("DEC", _rival("DEC", "dec-2016"), reduced="at most 4,000 steps of pretraining, of 300,000"),
    "dec-without-autoencoder": Method("DEC without an autoencoder", _without_autoencoder),
    "dcn": Method("DCN", _rival("DCN")),
    "vade": Method("VaDE", _rival("VaDE")),
    "dynae": Method(
        "DynAE", _rival("DynAE", "dynae-2019", **_DYNAE), reduced="1,500 steps of pretraining, of 130,000"
    ),
    "clustergan": Method(
        "ClusterGAN",
        _rival("ClusterGAN", "clustergan-2019", overcluster=1),
        reduced="5,000 generator steps, of 500,000",
    ),
}
#: The same model trained for less and for longer.
CLUSTERGAN_STEPS = {
    f"clustergan-{100 * n}-steps": Method(
        f"ClusterGAN, {100 * n:,} generator steps", _rival("ClusterGAN", max_iter=n, overcluster=1)
    )
    for n in (10, 20, 100, 200)
}
#: DynAE after longer pretraining by interpolation.
DYNAE_STEPS = {
    f"dynae-{n}-steps": Method(
        f"DynAE, {n:,} steps of pretraining", _rival("DynAE", **_DYNAE | {"pretraining": ACAI(steps=n)})
    )
    for n in (5000, 15_000, 30_000)
}
GANMM = {
    "ganmm": Method("genmix: `GANMixture(K)`", _ganmm()),
    "ganmm-2018-code": Method(
        "GANMM: `preset('ganmm-2018-code')`", _ganmm_published("ganmm-2018-code"), reduced=_SHORTENED
    ),
    "ganmm-2018-paper": Method(
        "GANMM: `preset('ganmm-2018-paper')`", _ganmm_published("ganmm-2018-paper"), reduced=_IMAGES_SHORTENED
    ),
    "ganmm-em-raw": Method(
        "GANMM(EM), raw critics", _ganmm_published("ganmm-2018-code", critics=False, max_iter=2000),
        reduced=_EM_SHORTENED,
    ),
    "ganmm-em-centred": Method(
        "GANMM(EM), centred critics", _ganmm_published("ganmm-2018-code", critics=True, max_iter=2000),
        reduced=_EM_SHORTENED,
    ),
    "control-without-gan": Method(
        "control: our start and classifier, no GAN",
        _ganmm(e_step=ClassifierEStep(generated_weight=0.0, prior="equal"), m_step=MStep(steps=0)),
    ),
}  # fmt: skip
#: One choice of the default undone at a time.
GANMM_CHOICES = {
    "default-without-real-items": Method(
        "default, but the E-step learns from generated items only", _generated_only
    ),
    "gan-only": Method(
        "GAN only: random start, nothing learned from real items",
        _ganmm(
            init="random",
            e_step=ClassifierEStep(
                real_weight=0.0, generated_weight=1.0, prior="equal", sinkhorn_strength=0.95, steps=20
            ),
            m_step=MStep(steps=25, pretrain_steps=100, epsilon=((20, 0.3), (60, 0.1), (61, 0.05))),
            max_iter=120,
        ),
    ),
    "start-random": Method("`init='random'`", _ganmm(init="random")),
    "start-kmeans": Method("`init='kmeans'`", _ganmm(init="kmeans")),
    "start-without-partitions": Method(
        "start without classical partitions",
        _ganmm(init=InfoMaxInit(n_candidates=11, partitions=())),
    ),
    "no-neighbors": Method(
        "noise, but no neighbours, as views", _ganmm(augmentation=NeighborSwap(n_neighbors=0))
    ),
    "scaling-standard": Method("`scaling='standard'`", _ganmm(scaling="standard")),
    "epsilon-0": Method("`m_step=MStep(epsilon=0)`", _ganmm(m_step=MStep(epsilon=0.0))),
    "wgan": Method("`m_step='wgan'`", _ganmm(m_step="wgan")),
}
_PAPER_STEP = DNNMM_PRESETS["dnnmm-2020"]["m_step"]
DNNMM = {
    "dnnmm": Method("genmix: `DNNMixture(K)`", _dnnmm(), True),
    "dnnmm-clusters": Method("genmix: `DNNMixture(K, generate=False)`", _dnnmm(generate=False), True),
    "dnnmm-2020": Method("DNN-MM: `preset('dnnmm-2020')`", _dnnmm_published(), True),
    "dnnmm-2020-kmeans": Method("semi-supervised k-means", _rival("SemiSupervisedKMeans"), True),
    "dnnmm-2020-encoder": Method(
        "DNN-MM's stages: encoder pretraining",
        _dnnmm_published(generate=False, m_step=replace(_PAPER_STEP, steps=0), max_iter=1), True,
    ),
    "dnnmm-2020-em": Method("DNN-MM's stages: EM without generator", _dnnmm_published(generate=False), True),
    "clustergan-ss": Method(
        "ClusterGAN_ss", _rival("ClusterGAN", "clustergan-2019", overcluster=1), True,
        "5,000 generator steps, of 500,000",
    ),
    "clustergan-ss-2000-steps": Method(
        "ClusterGAN_ss, 2,000 generator steps", _rival("ClusterGAN", max_iter=20, overcluster=1), True
    ),
    "dynae-ss": Method(
        "DynAE_ss", _rival("DynAE", "dynae-2019", **_DYNAE), True, "1,500 steps of pretraining, of 130,000"
    ),
    "labels-only": Method("our encoder, trained on the labels only", _rival("SupervisedOnly"), True),
    "fixmatch": Method("FixMatch with our encoder", _rival("FixMatch"), True),
    "label-spreading": Method("label spreading over ten nearest neighbours", _rival("LabelSpreading"), True),
    "self-training": Method("self-training of a kernel classifier", _rival("SelfTraining"), True),
    "start-kmeans-ss": Method("start from k-means", _dnnmm(generate=False, init="kmeans"), True),
    "start-gmm-ss": Method("start from a Gaussian mixture", _dnnmm(generate=False, init="gmm-full"), True),
    "start-spectral-ss": Method(
        "start from spectral clustering", _dnnmm(generate=False, init="spectral"), True
    ),
    "balance-1.2": Method("start with balance 1.2 instead of 2", _relaxed(1.2), True),
    "balance-1": Method("start with balance 1", _relaxed(1.0), True),
    "balance-0.7": Method("start with balance 0.7", _relaxed(0.7), True),
    "over-clustered": Method(
        "three times as many components, merged",
        lambda s: OverClustered(s.n_components, random_state=s.seed), True,
    ),
}  # fmt: skip
METHODS: dict[str, Method] = {
    **CLASSICAL,
    **DEEP,
    **CLUSTERGAN_STEPS,
    **DYNAE_STEPS,
    **GANMM,
    **GANMM_CHOICES,
    **DNNMM,
}

_TINY = Pretraining(hidden=(16,), latent_dim=4, steps=3, batch_size=32)
_TINY_ACAI = ACAI(hidden=(16,), latent_dim=4, steps=3, batch_size=32)


def make_tiny(model: Any) -> Any:
    """Shorten whatever takes time: a trial of the machinery, with no other meaning."""
    if isinstance(model, Pipeline):
        for _, step in model.steps:
            make_tiny(step)
        return model
    wanted = {
        "pretraining": _TINY_ACAI if isinstance(model, baselines.DynAE) else _TINY,
        "max_iter": 2, "n_init": 1, "steps": 4, "batch_size": 32, "update_interval": 2,
        "steps_per_iteration": 2,
    }  # fmt: skip
    known = model.get_params(deep=False)
    model.set_params(**{name: value for name, value in wanted.items() if name in known})
    if "networks" in known:
        model.set_params(networks="mlp")
    if isinstance(model, GANMixture | DNNMixture):
        model.set_params(init="kmeans")
    if isinstance(model, GANMixture):
        steps = 0 if model.m_step == MStep(steps=0) else 1
        model.set_params(m_step__steps=steps, m_step__pretrain_steps=1, m_step__epsilon=0.0)
    if isinstance(model, DNNMixture):
        names = ("steps", "encoder_pretrain_steps", "generator_pretrain_steps")
        model.set_params(**{f"m_step__{name}": 2 for name in names})
    return model
