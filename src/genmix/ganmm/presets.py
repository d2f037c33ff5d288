"""What Yu & Zhou 2018 published, by name, with what only their code does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from genmix.base.validation import Decay, PositiveInt
from genmix.ganmm.e_step import Classifier, ClassifierEStep, Generate
from genmix.ganmm.m_step import MStep
from genmix.nn.adversarial import TFRMSprop
from genmix.nn.build import dense_output
from genmix.training.augment import AugmentedData


class PaperClassifier(Classifier):
    """h_q as the paper has it: RMSProp with TensorFlow 1's conventions, generated items as they are."""

    augments_generated: ClassVar[bool] = False

    @staticmethod
    def make_optimizer(parameters: list[nn.Parameter], lr: float) -> torch.optim.Optimizer:
        """RMSProp."""
        return TFRMSprop(parameters, lr)


class CodeClassifier(PaperClassifier):
    """h_q as the published code has it.

    Batches of a single class, a softmax before the softmax cross-entropy, which keeps the loss within
    ``[log(e + K - 1) - 1, log(e + K - 1)]``, points outside D_i in proportion to the posterior, online
    classification, an output layer of dense networks that stays at its random start.
    """

    exploration: ClassVar[str] = "proportional"
    max_classified: ClassVar[int | None] = 2048

    @staticmethod
    def frozen(network: nn.Module) -> Sequence[nn.Parameter]:
        """Leave the last layer of a dense network at its random start."""
        return dense_output(network)

    def losses(self, generate: Generate, data: AugmentedData, prior: Tensor | None) -> Iterator[Tensor]:
        """One step for each generator in turn."""
        items, targets = self.sample(generate, data)
        for k in range(self.k):
            yield self.generated_loss(items[:, k], targets[:, k], prior)

    def scale(self, scores: Tensor) -> Tensor:
        """Probabilities where logits belong."""
        return scores.softmax(-1)


class CodesClassifier(CodeClassifier):
    """h_q of the published code for an autoencoder's codes, where the output layer learns too."""

    @staticmethod
    def frozen(network: nn.Module) -> Sequence[nn.Parameter]:
        """Nothing."""
        return ()


@dataclass(frozen=True)
class PaperEStep(ClassifierEStep):
    """E-step of the paper's text, which gives no numbers for the steps: ten are our reading."""

    classifier: ClassVar[type[Classifier]] = PaperClassifier

    steps: int = 10
    batch_size: PositiveInt = 50
    lr: float = 5e-5
    generated_weight: float | None = 1.0
    real_weight: float = 0.0
    prior: Any = "equal"


@dataclass(frozen=True)
class CodeEStep(PaperEStep):
    """E-step of the published code; a step is one of each generator."""

    classifier: ClassVar[type[Classifier]] = CodeClassifier

    steps: int = 1


@dataclass(frozen=True)
class CodesEStep(CodeEStep):
    """E-step of the published code for an autoencoder's codes."""

    classifier: ClassVar[type[Classifier]] = CodesClassifier


@dataclass(frozen=True)
class PaperMStep(MStep):
    """M-step of the paper's text, which gives no numbers for the steps: ten are our reading."""

    reinitialize: ClassVar[bool] = False

    objective: str = "wgan"
    steps: int = 10
    pretrain_steps: int = 500
    batch_size: PositiveInt = 50
    latent_dim: PositiveInt | None = None
    ema_decay: Decay = 0.0
    epsilon: Any = ((50, 0.5), (100, 0.2), (200, 0.1), (201, 0.04))


@dataclass(frozen=True)
class CodeMStep(PaperMStep):
    """M-step of the published code, which clips weights after pretraining only."""

    objective: str = "wgan-2018-code"
    steps: int = 1
    epsilon: Any = ((500, 0.5), (1000, 0.2), (2000, 0.1), (2001, 0.04))


_COMMON = {"init": "random", "networks": "ganmm-2018", "scaling": "unit", "tol": None}

#: Arguments of `GANMixture` by preset name. The published code runs 200,000 iterations.
PRESETS: dict[str, dict[str, Any]] = {
    "ganmm-2018-paper": {**_COMMON, "e_step": PaperEStep(), "m_step": PaperMStep(), "max_iter": 1000},
    "ganmm-2018-code": {**_COMMON, "e_step": CodeEStep(), "m_step": CodeMStep(), "max_iter": 10_000},
}
