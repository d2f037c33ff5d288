"""The M-step: the GANs of all components (times restarts), trained as one batched computation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from genmix.base.validation import Decay, PositiveInt, Settings
from genmix.ganmm import em
from genmix.nn.adversarial import OBJECTIVES, Adversarial, ObjectiveName, clip_weights
from genmix.nn.build import build_stack, copy_networks, normalizes_batches
from genmix.training.engine import AveragedNetwork, Engine, FusedOptimizer, Stateful


@dataclass(frozen=True)
class MStep(Settings):
    """How the GANs of an M-step are trained (Yu & Zhou 2018, Algorithm 1, line 12).

    Parameters
    ----------
    objective : {"r1", "wgan", "wgan-gp"} or Adversarial
        Losses, penalty and optimiser.
    steps : int
        Generator steps of every GAN in an EM iteration.
    pretrain_steps : int
        Generator steps on the starting partition (line 2).
    batch_size : int
        Real, and as many generated, items of a step.
    latent_dim : int or None
        Dimensions of the standard normal noise; None is 128 for images and 64 for tables, as in the GANMM
        code.
    average : float
        Forgetting factor of the averaged generators that `sample` uses; 0 uses the generators as they are.
    reinitialize : bool
        Give a GAN that makes nearly one item only a fresh start. The published presets do not.
    """

    _default_settings: ClassVar = {"objective": OBJECTIVES.get}

    objective: ObjectiveName | Adversarial = "r1"
    steps: int = 100
    pretrain_steps: int = 200
    batch_size: PositiveInt = 32
    latent_dim: PositiveInt | None = 32
    average: Decay = 0.998
    reinitialize: bool = True


class Components(Stateful):
    """C = R * K generators and critics in two stacks, each with one optimiser.

    Parameters
    ----------
    n : int
        C.
    item_shape : tuple of int
        ``(d,)`` or ``(C, H, W)``.
    step : MStep
        Settings.
    networks : mapping
        Choices for "generator" and "critic", see `nets.build_stack`.
    run : Engine
        Device and random generators.
    """

    _state = (
        "generator", "critic", "generator_optimizer", "critic_optimizer", "averaged", "steps_done",
        "collapsed_components",
    )  # fmt: skip

    def __init__(
        self, n: int, item_shape: tuple[int, ...], step: MStep, networks: Mapping[str, Any], run: Engine
    ) -> None:
        self.n, self.step, self.run = n, step, run
        self.latent_dim = step.latent_dim or (128 if len(item_shape) == 3 else 64)
        self.objective = OBJECTIVES[step.objective] if isinstance(step.objective, str) else step.objective

        def build() -> tuple[torch.nn.Module, torch.nn.Module]:
            g = build_stack(
                "generator", networks["generator"], n, (self.latent_dim,), item_shape, run.cpu_generator
            )
            d = build_stack("critic", networks["critic"], n, item_shape, (), run.cpu_generator)
            return run.place(g), run.place(d)

        self._build = build
        self.generator, self.critic = build()
        objective = self.objective
        self.generator_optimizer = FusedOptimizer(
            self.generator.parameters(), objective.make_optimizer, objective.generator_lr
        )
        self.critic_optimizer = FusedOptimizer(
            self.critic.parameters(), objective.make_optimizer, objective.critic_lr
        )
        self.averaged = AveragedNetwork(self.generator, self.generator_optimizer, step.average)
        self.joint = not normalizes_batches(self.critic)
        self.steps_done = 0
        self.collapsed_components = torch.zeros(n, dtype=torch.bool, device=run.device)

    def noise(self, n_items: int) -> Tensor:
        """Draw standard normal noise ``[C, n_items, latent_dim]``."""
        shape = (self.n, n_items, self.latent_dim)
        return torch.randn(shape, generator=self.run.generator, device=self.run.device)

    def judge(self, x: Tensor) -> Tensor:
        """Scores ``[C, B]`` by the critics, float32: what losses are made of."""
        return self.critic(x).float()

    @torch.no_grad()
    def generate(self, n_items: int, *, averaged: bool = False) -> Tensor:
        """Sample ``[C, n_items, *item_shape]``; generators with batch normalisation see full batches."""
        network = self.averaged.network if averaged else self.generator
        full = max(n_items, self.step.batch_size) if averaged else n_items
        with self.run.autocast():
            return network(self.noise(full))[:, :n_items].float()

    def train(
        self,
        items: Tensor,
        own: Tensor,
        extra: Tensor,
        epsilon: float,
        steps: int,
        *,
        pretraining: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Train every GAN on its own D_i; returns the mean critic and generator loss of a component.

        Parameters
        ----------
        items : Tensor [N, *item_shape]
            Scaled data.
        own, extra : Tensor [C, N]
            Weights from `em.component_distributions`.
        epsilon : float
            Share of each batch from outside D_i.
        steps : int
            Generator steps.
        pretraining : bool
            Before the first E-step; some objectives do not clip then.
        """
        objective, run, batch = self.objective, self.run, self.step.batch_size
        losses = torch.zeros(2, device=run.device)
        per_step = objective.critic_steps
        batches = em.draw_batches(own, extra, batch, steps * per_step, epsilon, run.generator)
        for step in range(steps):
            with run.autocast():
                generator_loss = objective.generator_loss(self.judge(self.generator(self.noise(batch))))
            self.generator_optimizer.step(generator_loss)
            for index in batches[step * per_step : (step + 1) * per_step]:
                fake = self.generate(batch)
                with run.autocast():
                    critic_loss = objective.critic_loss(
                        self.judge, items[index], fake, self.steps_done, run.generator, joint=self.joint
                    )
                self.critic_optimizer.step(critic_loss)
                if objective.clip is not None and (objective.clip_pretraining or not pretraining):
                    clip_weights(self.critic_optimizer.flat, objective.clip)
                losses[0] += critic_loss.detach()
                self.steps_done += 1
            losses[1] += generator_loss.detach()
            self.averaged.update()
        critic_mean, generator_mean = losses / max(steps, 1) / self.n
        return critic_mean / per_step, generator_mean

    @torch.no_grad()
    def critic_scores(self, items: Tensor, batch_size: int = 2048) -> Tensor:
        """Scores ``[C, N]`` of all critics for the same items."""
        parts = [self.critic(x.expand(self.n, *x.shape)) for x in items.split(batch_size)]
        return torch.cat(parts, 1).float()

    @torch.no_grad()
    def critic_score_stats(self, n_items: int = 256) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation ``[C, 1]`` of each critic on its own generated items."""
        scores = self.critic(self.generate(n_items)).float()
        return scores.mean(1, keepdim=True), scores.std(1, keepdim=True).clamp_min(1e-6)

    @torch.no_grad()
    def collapsed(self, items: Tensor, own: Tensor, share: float = 0.02, n_items: int = 32) -> Tensor:
        """Which generators [C] make nearly one and the same item.

        Their samples' total variance is below `share` of that of the data they should stand for.
        """
        index = em.draw_batches(own, own, n_items, 1, 0.0, self.run.generator)[0]
        real = items[index].flatten(2).var(1).sum(1)
        made = self.generate(n_items).flatten(2).var(1).sum(1)
        return (made < share * real) | ~made.isfinite()

    def reinitialize_collapsed(self, items: Tensor, own: Tensor) -> Tensor:
        """Revive what `collapsed` finds, where `MStep.reinitialize` asks for it; returns which [C]."""
        if not self.step.reinitialize:
            return self.collapsed_components
        self.collapsed_components = self.collapsed(items, own)
        if self.collapsed_components.any():
            self.reinitialize(self.collapsed_components)
        return self.collapsed_components

    @torch.no_grad()
    def reinitialize(self, which: Tensor) -> None:
        """Give the GANs marked in `which` [C] new weights, and all of them fresh optimisers.

        The memory of a broken GAN may not be finite, and a count of steps is common to all: with it the
        reinitialized one's first steps would be many times too long.
        """
        chosen, generator, critic = which.nonzero()[:, 0], *self._build()
        for source, target in (
            (generator, self.generator),
            (generator, self.averaged.network),
            (critic, self.critic),
        ):
            copy_networks(source, self.n, chosen, target, self.n, chosen)
        self.generator_optimizer.reset_state()
        self.critic_optimizer.reset_state()
