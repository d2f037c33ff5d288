"""Adversarially constrained autoencoder interpolation (Berthelot et al., ICLR 2019): how DynAE pretrains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from genmix.base.validation import Interval
from genmix.baselines.autoencoder import (
    Autoencoder,
    Pretraining,
    corrupt,
    optimizer_maker,
    set_falling_lr,
)
from genmix.nn.stacked import StackedMLP
from genmix.training.augment import AugmentedData
from genmix.training.checkpoint import Checkpoint, Learner
from genmix.training.engine import Engine, FusedOptimizer


@dataclass(frozen=True)
class ACAI(Pretraining):
    """Pretraining by which what lies between two codes decodes to something like an item.

    A critic guesses from a decoded mixture of two codes how much of each is in it; the autoencoder learns to
    make the guess 0, the critic's answer to unmixed items. Other arguments are those of `Pretraining`, but
    the reconstruction error is a mean over the items' numbers.

    Parameters
    ----------
    steps : int or None
        Steps of autoencoder and critic; None takes 40 passes over the data, but no fewer than 150 steps and
        no more than 1,500. DynAE's code takes 130,000.
    corruption : float
        As in `Pretraining`; views are corruption enough.
    augment : bool
        The autoencoder sees augmented views of the items.
    rebuild : {"item", "view"}
        What it rebuilds of a view: the item, or, as DynAE's code, what it sees.
    weight : float
        Weight of the critic in the autoencoder's loss. With the published 0.5 the critic outweighs the
        reconstruction: in trainings as short as ours the codes collapse.
    target : {"coefficient", "mean"}
        What the critic is to guess. "coefficient" is as in ACAI: the share of the smaller part (which part
        is the smaller one cannot be seen in a mixture). "mean" is what DynAE's code does: by shapes (B,) and
        (B, 1) each guess is compared with the shares, in [0, 1], of the whole batch; so the critic learns
        their mean, 0.5, and only tells mixtures from items.
    """

    #: Passes over the data, and the fewest and most steps, where `steps` is None.
    passes: ClassVar[tuple[int, int, int]] = (40, 150, 1500)

    corruption: Annotated[float, Interval("[0, 1)")] = 0.0
    augment: bool = True
    rebuild: str = "item"
    weight: float = 0.05
    target: str = "coefficient"

    def __post_init__(self) -> None:
        """Refuse what cannot be trained."""
        super().__post_init__()
        if self.rebuild not in ("item", "view"):
            raise ValueError(f"rebuild={self.rebuild!r}: expected 'item' or 'view'")
        if self.target not in ("coefficient", "mean"):
            raise ValueError(f"target={self.target!r}: expected 'coefficient' or 'mean'")


#: DynAE's published code.
DYNAE_PAPER = ACAI(steps=130_000, lr=1e-4, falling=False, rebuild="view", weight=0.5, target="mean")


def mix(z: Tensor, alpha: Tensor) -> Tensor:
    """Mixtures ``[B, L]`` of each code, by its share ``alpha [B]``, with the code opposite in the batch."""
    return alpha[:, None] * z + (1 - alpha[:, None]) * z.flip(0)


def critic_loss(mixed: Tensor, unmixed: Tensor, alpha: Tensor, target: str) -> Tensor:
    """Squared error of the critic's answers ``[B]`` to mixtures of shares `alpha`, and to unmixed items."""
    share = torch.minimum(alpha, 1 - alpha) if target == "coefficient" else alpha.mean()
    return (mixed - share).square().mean() + unmixed.square().mean()


class Critic(StackedMLP):
    """An encoder whose outputs are averaged to one answer."""

    def judge(self, x: Tensor) -> Tensor:
        """Answers ``[B]`` to items ``[B, *item_shape]``."""
        return self(x[None])[0].mean(1)


class InterpolatingAutoencoder(Autoencoder):
    """An autoencoder that learns by `ACAI`, or by a plain `Pretraining` as any other."""

    def _pretrain_whole(self, views: AugmentedData, how: Pretraining, kept: Checkpoint) -> None:
        """Learn to rebuild the items, and by `ACAI` to pass mixtures of codes off as items."""
        if not isinstance(how, ACAI):
            super()._pretrain_whole(views, how, kept)
            return
        run, shape = views.engine, tuple(views.items.shape[1:])
        critic = Critic(1, shape, (how.latent_dim,), run.cpu_generator, hidden=how.hidden)
        run.place(critic)
        make = optimizer_maker(how.optimizer)
        learner = FusedOptimizer(self.parameters(), make, how.lr)
        judge = FusedOptimizer(critic.parameters(), make, how.lr)
        learners: dict[str, Learner] = {"networks": self, "critic": critic}
        learners |= {"optimizer": learner, "critic_optimizer": judge}
        steps = how.count_steps(len(views.items))
        for t in kept.steps(steps, "autoencoder", learners):
            for optimizer in (learner, judge):
                set_falling_lr(optimizer, how, t, steps)
            x = views.items[views.draw_index(1, how.batch_size)[0]]
            seen = views.perturb(x) if how.augment else x
            goal = x if how.rebuild == "item" else seen
            z = self.encode(corrupt(seen, how.corruption, run))
            alpha = _uniform(run, len(x))
            made, between = self.decode(torch.cat([z, mix(z, alpha)])).chunk(2)
            with self.autocast():
                fooled = critic.judge(between).float().square().mean()
            learner.step(F.mse_loss(made, goal) + how.weight * fooled)
            # Reconstructions count as unmixed too, so that the critic does not just look for blur.
            unmixed = torch.lerp(made, goal, 0.5 * _uniform(run)).detach()
            with self.autocast():
                answers = critic.judge(torch.cat([between.detach(), unmixed])).float()
            judge.step(critic_loss(answers[: len(x)], answers[len(x) :], alpha, how.target))


def _uniform(run: Engine, *shape: int) -> Tensor:
    return torch.rand(shape, generator=run.generator, device=run.device)


__all__ = ["ACAI", "DYNAE_PAPER", "Critic", "InterpolatingAutoencoder", "critic_loss", "mix"]
