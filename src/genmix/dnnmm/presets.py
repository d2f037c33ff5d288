"""What Pande & Awate 2020 published, by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from genmix.base.validation import Decay, PositiveInt
from genmix.dnnmm.networks import MinMaxStep


@dataclass(frozen=True)
class PaperStep(MinMaxStep):
    """The procedure of the paper, which gives no architecture, rate, batch size or length: those are ours."""

    augments: ClassVar[bool] = False
    conditional: ClassVar[bool] = False
    encoder_cycle: ClassVar[bool] = True
    encoder_ema_decay: ClassVar[float] = 0.0
    weight_update: ClassVar[Literal["closed-form", "gradient"]] = "gradient"
    discriminator_pretrain_steps: ClassVar[int] = 100

    steps: int = 20
    labelled_batch_size: int = 0
    generated_batch_size: PositiveInt = 64
    encoder_lr: float = 5e-4
    objective: str = "logistic"
    information_weight: float = 0.0
    cycle_weight: float = 0.1
    recognition_weight: float = 0.0
    ema_decay: Decay = 0.0
    encoder_pretrain_steps: int = 500
    generator_pretrain_steps: int = 500


#: Arguments of `DNNMixture` by preset name; 20 iterations of 20 gradient steps, each after an E-step.
PRESETS: dict[str, dict[str, Any]] = {
    "dnnmm-2020": {
        "init": "kmeans",
        "m_step": PaperStep(),
        "augmentation": None,
        "max_iter": 20,
        "tol": None,
    },
}
