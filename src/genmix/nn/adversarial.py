"""Adversarial losses and penalties: pure functions of tensors, and the objectives that choose among them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from genmix.base.validation import Decay, PositiveFloat, PositiveInt, Settings

Critic = Callable[[Tensor], Tensor]


def both_scores(
    critic: Callable[..., Tensor], real: tuple[Tensor, ...], fake: tuple[Tensor, ...], *, joint: bool
) -> tuple[Tensor, Tensor]:
    """Critic scores ``[n, B]`` of real and of generated items, each a tuple of the critic's arguments.

    `joint` scores them in one batch, which is cheaper. A critic with batch normalisation needs two: in one
    batch it could tell them apart by their shared statistics.
    """
    if not joint:
        return critic(*real), critic(*fake)
    n_real, n_fake = real[0].shape[1], fake[0].shape[1]
    scores = critic(*(torch.cat(pair, 1) for pair in zip(real, fake, strict=True)))
    first, second = scores.split([n_real, n_fake], 1)
    return first, second


def wgan_critic_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Wasserstein critic loss ``E f(fake) - E f(real)`` (Yu & Zhou 2018, section 3), summed over the stack.

    Parameters
    ----------
    real, fake : Tensor [n, B]
        Critic scores of real and generated items.
    """
    return (fake.mean(1) - real.mean(1)).sum()


def wgan_generator_loss(fake: Tensor) -> Tensor:
    """Wasserstein generator loss ``-E f(fake)`` (Yu & Zhou 2018, section 3), summed over the stack."""
    return -fake.mean(1).sum()


def logistic_critic_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Binary cross-entropy ``-log sigmoid(f(real)) - log(1 - sigmoid(f(fake)))``, summed over the stack."""
    return (F.softplus(-real).mean(1) + F.softplus(fake).mean(1)).sum()


def logistic_generator_loss(fake: Tensor) -> Tensor:
    """Non-saturating generator loss ``-log sigmoid(f(fake))``, summed over the stack."""
    return F.softplus(-fake).mean(1).sum()


def hinge_critic_loss(real: Tensor, fake: Tensor) -> Tensor:
    """``max(0, 1 - f(real)) + max(0, 1 + f(fake))`` (Lim & Ye 2017), summed over the stack."""
    return ((1 - real).relu().mean(1) + (1 + fake).relu().mean(1)).sum()


def literal_critic_loss(real: Tensor, fake: Tensor, lowest: float = -10.0) -> Tensor:
    """``-log D(real) + log D(fake)`` as eq. 7 of Pande & Awate 2020 has it, summed over the stack.

    Minimised over D it has no bound below; `log D(fake)` is therefore cut off at `lowest`. The logistic loss,
    ``-log D(real) - log(1 - D(fake))``, is the reading with an optimum.
    """
    return (F.softplus(-real).mean(1) + (-F.softplus(-fake)).clamp_min(lowest).mean(1)).sum()


def _score_gradients(critic: Critic, items: Tensor) -> Tensor:
    """Gradients ``[n, B, P]`` of the scores of items, in full precision: they are differentiated again."""
    items, kind = items.detach().requires_grad_(), items.device.type
    with torch.autocast(kind, enabled=False) if torch.amp.is_autocast_available(kind) else nullcontext():
        (gradient,) = torch.autograd.grad(critic(items).sum(), items, create_graph=True)
    return gradient.flatten(2)


def r1_penalty(critic: Critic, real: Tensor) -> Tensor:
    """Half the squared gradient norm on real items (Mescheder et al. 2018), summed over the stack.

    The critic runs without autocast.

    Parameters
    ----------
    critic : callable
        Maps ``[n, B, ...]`` to ``[n, B]``; it should not switch autocast on itself.
    real : Tensor [n, B, ...]
        Real items.
    """
    return _score_gradients(critic, real).square().sum(2).mean(1).sum() / 2


def gradient_penalty(critic: Critic, real: Tensor, fake: Tensor, generator: torch.Generator) -> Tensor:
    """``E (|grad f| - 1)^2`` between real and generated items (Gulrajani et al. 2017), summed.

    The critic runs without autocast, as in `r1_penalty`.
    """
    share = torch.rand(real.shape[:2], generator=generator, device=real.device)
    share = share.view(*real.shape[:2], *[1] * (real.dim() - 2))
    between = share * real + (1 - share) * fake
    return (_score_gradients(critic, between).norm(dim=2) - 1).square().mean(1).sum()


@torch.no_grad()
def clip_weights(parameters: Tensor, bound: float) -> None:
    """Clip parameters to ``[-bound, bound]`` in place (Arjovsky et al. 2017)."""
    parameters.clamp_(-bound, bound)


class TFRMSprop(torch.optim.Optimizer):
    """RMSProp as TensorFlow 1 computes it, which the published GANMM code relies on.

    Mean squares start at one (a warm-up of about ``1 / (1 - decay)`` steps) and epsilon is added inside the
    root.

    Parameters
    ----------
    params : iterable of Tensor
        Parameters to optimise.
    lr : float
        Learning rate.
    decay : float
        Decay of the mean of squared gradients.
    eps : float
        Added inside the root.
    """

    def __init__(self, params: Iterable[Tensor], lr: float, decay: float = 0.9, eps: float = 1e-10) -> None:
        super().__init__(params, {"lr": lr, "decay": decay, "eps": eps})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Apply one update from the gradients held by the parameters."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                if not self.state[p]:
                    self.state[p]["square_avg"] = torch.ones_like(p)
                square = self.state[p]["square_avg"]
                square.mul_(group["decay"]).addcmul_(p.grad, p.grad, value=1 - group["decay"])
                p.addcdiv_(p.grad, (square + group["eps"]).sqrt_(), value=-group["lr"])


def adam(
    parameters: Iterable[Tensor], lr: float, betas: tuple[float, float] = (0.9, 0.999)
) -> torch.optim.Optimizer:
    """Adam, fused where the device supports it: half the cost of a step of small networks on a CPU."""
    parameters = list(parameters)
    fused = all(p.device.type in ("cpu", "cuda") for p in parameters)
    return torch.optim.Adam(parameters, lr, betas=betas, fused=fused or None)


@dataclass(frozen=True)
class Adversarial(Settings):
    """How one GAN is trained: losses, penalty, optimiser and the balance of steps.

    Parameters
    ----------
    loss : {"logistic", "wasserstein", "hinge", "literal"}
        Non-saturating logistic losses; the Wasserstein ones of the GANMM paper; hinge losses; or eq. 7 of the
        DNN-MM paper to the letter (`literal_critic_loss`).
    penalty : {"r1", "gradient", None}
        Gradient penalty of the critic: R1 on real items, or WGAN-GP between real and generated ones.
    penalty_weight : float
        Weight of that penalty (> 0).
    penalty_every : int
        Lazy regularisation: the penalty is applied in every so-many-th critic step, with that many times
        its weight.
    clip : float or None
        Clip the critic's weights to ``[-clip, clip]`` after each of its steps.
    clip_pretraining : bool
        Clip while pretraining too. The published GANMM code does not.
    optimizer : {"adam", "rmsprop"}
        Adam with `betas`, or RMSProp with TensorFlow 1's conventions.
    generator_lr, critic_lr : float
        Learning rates.
    betas : tuple of float
        Adam's decay rates.
    critic_steps : int
        Critic steps for each generator step.
    """

    loss: Literal["logistic", "wasserstein", "hinge", "literal"] = "logistic"
    penalty: Literal["r1", "gradient"] | None = "r1"
    penalty_weight: PositiveFloat = 1.0
    penalty_every: PositiveInt = 8
    clip: PositiveFloat | None = None
    clip_pretraining: bool = True
    optimizer: Literal["adam", "rmsprop"] = "adam"
    generator_lr: float = 1e-3
    critic_lr: float = 1e-3
    betas: tuple[Decay, Decay] = (0.0, 0.99)
    critic_steps: PositiveInt = 1

    def make_optimizer(self, parameters: Iterable[Tensor], lr: float) -> torch.optim.Optimizer:
        """Optimiser of one stack of networks."""
        if self.optimizer == "rmsprop":
            return TFRMSprop(parameters, lr)
        return adam(parameters, lr, self.betas)

    def critic_loss(
        self,
        critic: Critic,
        real: Tensor,
        fake: Tensor,
        step: int,
        generator: torch.Generator,
        *,
        joint: bool = False,
    ) -> Tensor:
        """Loss of critic step number `step` with its penalty; `joint` as in `both_scores`."""
        scores = both_scores(critic, (real,), (fake,), joint=joint)
        return self.critic_terms(*scores) + self.penalize(critic, real, fake, step, generator)

    def critic_terms(self, real: Tensor, fake: Tensor) -> Tensor:
        """Loss of the critics without penalty, from their scores ``[n, B]`` of real and generated items."""
        return _LOSSES[self.loss][0](real, fake)

    def penalize(
        self, critic: Critic, real: Tensor, fake: Tensor, step: int, generator: torch.Generator
    ) -> Tensor | float:
        """Weighted penalty in critic step number `step`; 0 in steps without one."""
        if self.penalty is None or step % self.penalty_every:
            return 0.0
        r1 = self.penalty == "r1"
        penalty = r1_penalty(critic, real) if r1 else gradient_penalty(critic, real, fake, generator)
        return self.penalty_weight * self.penalty_every * penalty

    def generator_loss(self, fake_scores: Tensor) -> Tensor:
        """Loss of the generators, from the critics' scores ``[n, B]`` of their items."""
        return _LOSSES[self.loss][1](fake_scores)


#: Losses of critics and of generators.
_LOSSES = {
    "logistic": (logistic_critic_loss, logistic_generator_loss),
    "wasserstein": (wgan_critic_loss, wgan_generator_loss),
    "hinge": (hinge_critic_loss, wgan_generator_loss),
    "literal": (literal_critic_loss, logistic_generator_loss),
}

#: Objectives by name.
OBJECTIVES: dict[str, Adversarial] = {
    "r1": Adversarial(),
    "r1-weak": Adversarial(penalty_weight=0.2),
    "logistic": Adversarial(penalty=None, betas=(0.5, 0.9)),
    "hinge": Adversarial("hinge", None),
    "literal": Adversarial("literal", None),
    # Five critic steps: Gulrajani et al. 2017, Algorithm 1.
    "wgan-gp": Adversarial(
        "wasserstein", "gradient", 10.0, 1,
        generator_lr=2e-4, critic_lr=2e-4, betas=(0.5, 0.9), critic_steps=5,
    ),
    "wgan": Adversarial(
        "wasserstein", None, clip=0.01, optimizer="rmsprop", generator_lr=5e-5, critic_lr=5e-5, critic_steps=5
    ),
}  # fmt: skip
#: As the published GANMM code has it.
OBJECTIVES["wgan-2018-code"] = replace(OBJECTIVES["wgan"], clip_pretraining=False)


def check_objective(name: str) -> None:
    """Raise ValueError unless a name is in `OBJECTIVES`."""
    if name not in OBJECTIVES:
        raise ValueError(f"objective={name!r}: expected one of {', '.join(map(repr, OBJECTIVES))}")
