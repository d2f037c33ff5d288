"""Settings of `GANMixture`: the published ones by name, and what a fit does once every "auto" is resolved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from genmix.base.preprocessing import Preprocessing
from genmix.base.validation import short_repr
from genmix.ganmm.e_step import ClassifierEStep, CriticEStep
from genmix.ganmm.m_step import MStep
from genmix.nn.adversarial import OBJECTIVES, Adversarial
from genmix.training.arguments import (
    check_augmentation,
    check_start,
    default_e_step,
    network_choices,
    resolve,
)
from genmix.training.augment import Augmentation
from genmix.training.engine import Engine
from genmix.training.infomax import InfoMaxInit

if TYPE_CHECKING:
    from genmix.ganmm.model import GANMixture

ROLES = ("generator", "critic", "classifier")

_WGAN_2018 = Adversarial(
    "wasserstein", None, clip=0.01, optimizer="rmsprop", generator_lr=5e-5, critic_lr=5e-5, critic_steps=5
)

#: Arguments of `GANMixture` by preset name.
PRESETS: dict[str, dict[str, Any]] = {
    # The text of Yu & Zhou 2018. It gives no numbers for the steps inside an EM iteration and for sigma_t:
    # ten of each, and the published code's shares, are our reading.
    "ganmm-2018-paper": {
        "start": "random",
        "e_step": ClassifierEStep(
            steps=10, batch_size=50, rate=5e-5, optimizer="rmsprop", augment_generated=False, real=None
        ),
        "m_step": MStep(
            _WGAN_2018,
            steps=10,
            pretrain_steps=500,
            batch_size=50,
            latent_dim=None,
            average=0.0,
            reinitialize=False,
        ),
        "epsilon": ((50, 0.5), (100, 0.2), (200, 0.1), (201, 0.04)),
        "networks": "ganmm-2018",
        "scaling": "unit",
        "max_iter": 1000,
        "tol": None,
    },
    # The published code with its hidden facts: single-class classifier batches, a softmax before the softmax
    # cross-entropy, extras in proportion to the posterior, online classification, clipping after pretraining
    # only, RMSProp as TensorFlow 1 has it, an untrained output layer on tables. It runs 200,000 iterations.
    "ganmm-2018-code": {
        "start": "random",
        "e_step": ClassifierEStep(
            steps=1,
            batch_size=50,
            loss="double_softmax",
            single_class=True,
            rate=5e-5,
            optimizer="rmsprop",
            augment_generated=False,
            real=None,
            extras="proportional",
            pool=2048,
            freeze_dense_output=True,
        ),
        "m_step": MStep(
            Adversarial(**{**_WGAN_2018.__dict__, "clip_pretraining": False}),
            steps=1,
            pretrain_steps=500,
            batch_size=50,
            latent_dim=None,
            average=0.0,
            reinitialize=False,
        ),
        "epsilon": ((500, 0.5), (1000, 0.2), (2000, 0.1), (2001, 0.04)),
        "networks": "ganmm-2018",
        "scaling": "unit",
        "max_iter": 10_000,
        "tol": None,
    },
}

#: epsilon of our default: after an informed start little exploration is needed, and none at the end, so that
#: every component is learned from its own data.
DEFAULT_EPSILON = ((5, 0.1), (10, 0.05), (20, 0.0))


@dataclass(frozen=True)
class Plan:
    """What a fit does, every "auto" resolved."""

    preprocessing: Preprocessing
    augmentation: Augmentation
    start: str | InfoMaxInit | np.ndarray
    e_step: ClassifierEStep | CriticEStep
    m_step: MStep
    epsilon: Sequence[tuple[int, float]]
    networks: dict[str, Any]

    @property
    def item_shape(self) -> tuple[int, ...]:
        """``(d,)`` or ``(C, H, W)``."""
        return self.preprocessing.item_shape

    @property
    def balance(self) -> float:
        """Pull of the assignment towards equal shares."""
        return self.e_step.balance if isinstance(self.e_step, ClassifierEStep) else 0.0

    @property
    def last_change(self) -> int:
        """First iteration from which epsilon stays as it is."""
        return self.epsilon[-2][0] if len(self.epsilon) > 1 else 0

    @property
    def teaches_start(self) -> bool:
        """Whether the classifier learns the first partition: not at random, nor where only S teaches it."""
        informed = isinstance(self.e_step, ClassifierEStep) and self.e_step.real is not None
        return informed and not (isinstance(self.start, str) and self.start == "random")

    def draw_pool(self, n_items: int, run: Engine) -> Tensor | slice:
        """Items that this iteration classifies: all, or as many random ones as the E-step asks for."""
        if self.e_step.pool is None or self.e_step.pool >= n_items:
            return slice(None)
        return torch.randperm(n_items, generator=run.generator, device=run.device)[: self.e_step.pool]


def make_plan(model: GANMixture, X: np.ndarray) -> Plan:
    """Check the arguments of a mixture and resolve every "auto" from the kind and shape of the data.

    Raises
    ------
    ValueError
        An argument out of range, or that does not go with the data.
    """
    preprocessing = Preprocessing.fit(X, "range" if model.scaling == "auto" else model.scaling)
    known = {"classifier": default_e_step(preprocessing.item_shape), "critic": CriticEStep()}
    e_step = resolve("e_step", model.e_step, known)
    if isinstance(e_step, ClassifierEStep) and e_step.steps and not e_step.real:
        if not (e_step.generated and e_step.generated_weight):
            raise ValueError(
                "e_step: generated=False, or generated_weight=0, and real=None leave the classifier nothing "
                "to learn from"
            )
    m_step = resolve("m_step", model.m_step, {name: MStep(name) for name in OBJECTIVES})
    return Plan(
        preprocessing,
        check_augmentation(model.augmentation, preprocessing.item_shape),
        check_start(
            model.start,
            preprocessing.item_shape,
            len(X),
            model.n_components,
            isinstance(e_step, ClassifierEStep),
        ),
        e_step,
        m_step,
        _schedule(model.epsilon),
        network_choices(model.networks, ROLES),
    )


def _schedule(epsilon: Any) -> Sequence[tuple[int, float]]:
    if isinstance(epsilon, str) and epsilon == "auto":
        return DEFAULT_EPSILON
    try:
        pairs = (
            [(1, float(epsilon))] if isinstance(epsilon, Real) else [(int(t), float(e)) for t, e in epsilon]
        )
    except (TypeError, ValueError, OverflowError):
        pairs = []
    if not pairs or any(not 0 <= share < 1 for _, share in pairs):
        raise ValueError(
            f"epsilon={short_repr(epsilon)}: expected 'auto', a share of at least 0 and below 1, or pairs "
            "(until iteration, share)"
        )
    return tuple(pairs)
