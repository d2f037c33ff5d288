"""Settings of `DNNMixture`: the published ones by name, and what a fit does once every "auto" is resolved."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from genmix.base.preprocessing import Preprocessing
from genmix.dnnmm import latent
from genmix.dnnmm.networks import MinMaxStep
from genmix.nn.adversarial import Adversarial
from genmix.training.arguments import check_augmentation, check_start, network_choices
from genmix.training.augment import Augmentation
from genmix.training.engine import Engine
from genmix.training.infomax import InfoMaxInit

if TYPE_CHECKING:
    from genmix.dnnmm.model import DNNMixture

ROLES = ("encoder", "generator", "discriminator")

#: Arguments by preset name. The paper gives no architecture, rate, batch size or length: those are ours.
PRESETS: dict[str, dict[str, Any]] = {
    "dnnmm-2020": {
        "start": "kmeans",
        "step": MinMaxStep(
            steps=20,
            labelled_batch_size=0,
            generated_batch_size=64,
            cycle=0.1,
            encoder_lr=5e-4,
            encoder_ema_decay=0.0,
            information=0.0,
            encoder_cycle=None,
            recognition=0.0,
            objective=Adversarial(penalty=None, betas=(0.5, 0.9)),
            conditional=False,
            augment=False,
            average=0.0,
            encoder_pretraining=500,
            generator_pretraining=500,
            discriminator_pretraining=100,
        ),
        "weight_step": "gradient",
        "augmentation": None,
        "max_iter": 20,  # of 20 gradient steps, each after an E-step
        "tol": None,
    },
}


@dataclass(frozen=True)
class Plan:
    """What a fit does, every "auto" resolved."""

    preprocessing: Preprocessing
    augmentation: Augmentation
    start: str | InfoMaxInit | np.ndarray
    step: MinMaxStep
    means: Tensor
    networks: dict[str, Any]


def make_plan(model: DNNMixture, X: np.ndarray, run: Engine) -> Plan:
    """Check the arguments of a mixture and resolve every "auto" from the data and the labels' classes.

    Raises
    ------
    ValueError
        An argument out of range, or that does not go with the data.
    """
    for name, known in _CHOICES.items():
        if getattr(model, name) not in known:
            raise ValueError(
                f"{name}={getattr(model, name)!r}: expected one of {', '.join(map(repr, known))}"
            )
    preprocessing = Preprocessing.fit(X, "range" if model.scaling == "auto" else model.scaling)
    shape, k = preprocessing.item_shape, model.n_components
    dims = max(30, k) if model.latent_dim is None else model.latent_dim
    return Plan(
        preprocessing,
        check_augmentation(model.augmentation, shape),
        _resolve_start(model, shape, len(X)),
        model.step or MinMaxStep(),
        latent.corner_means(k, dims, float(model.radius)).to(run.device),
        network_choices(model.networks, ROLES),
    )


_CHOICES = {"em": ("online", "epoch"), "weight_step": ("closed-form", "gradient", "exact", "fixed")}


def _resolve_start(model: DNNMixture, shape: tuple[int, ...], n: int) -> str | InfoMaxInit | np.ndarray:
    if isinstance(model.start, str) and model.start == "labels":
        if not len(model.classes_):
            raise ValueError("start='labels' needs labels in y for a part of the items")
        return "labels"
    found = check_start(model.start, shape, n, model.n_components)
    if isinstance(model.start, str) and isinstance(found, InfoMaxInit):
        if len(model.classes_) == model.n_components:
            # Labels say which component is which: no contest of networks is needed to find that out.
            return replace(found, steps=300, heads=1, networks=1, screening_steps=0, batch_size=128)
    return found
