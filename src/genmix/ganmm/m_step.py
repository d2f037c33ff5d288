"""The M-step: the GANs of all components (times restarts), trained as one batched computation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any, ClassVar

import torch
from torch import Tensor

from genmix.base.validation import Decay, PositiveInt, Settings, short_repr
from genmix.ganmm import em
from genmix.nn.adversarial import OBJECTIVES, check_objective, clip_weights
from genmix.nn.build import build_stack, copy_networks, normalizes_batches
from genmix.training.engine import AveragedNetwork, Engine, FusedOptimizer, Stateful


@dataclass(frozen=True)
class MStep(Settings):
    """How the GANs of an M-step are trained (Yu & Zhou 2018, Algorithm 1, lines 9-12).

    Parameters
    ----------
    objective : str
        Losses, penalty and optimiser: "r1", "wgan", "wgan-gp" or another name in
        `nn.adversarial.OBJECTIVES`.
    lr : float or None
        Learning rate of generators and critics; None is the objective's.
    steps : int
        Generator steps of every GAN in an EM iteration.
    pretrain_steps : int
        Generator steps on the starting partition (line 2).
    batch_size : int
        Real, and as many generated, items of a step.
    latent_dim : int or None
        Dimensions of the standard normal noise; None is 128 for images and 64 for tables, as in the GANMM
        code.
    ema_decay : float
        Decay of the averaged generators that `sample` uses; 0 uses the generators as they are.
    epsilon : float, sequence of (int, float) or None
        Share of every batch from outside D_i: constant, or ``(until iteration, share)`` pairs of which the
        last holds for ever. None is .1, .05 and, from iteration 10 on, 0: after an informed start little
        exploration is needed, and none at the end, so that every component is learned from its own data.
    """

    #: Whether a GAN that makes nearly one item only gets new weights; the published procedures have nothing.
    reinitialize: ClassVar[bool] = True

    objective: str = "r1"
    lr: float | None = None
    steps: int = 100
    pretrain_steps: int = 200
    batch_size: PositiveInt = 32
    latent_dim: PositiveInt | None = 32
    ema_decay: Decay = 0.998
    epsilon: Any = None

    def __post_init__(self) -> None:
        """Refuse an unknown objective and what is no schedule."""
        super().__post_init__()
        check_objective(self.objective)
        _ = self.schedule

    @property
    def schedule(self) -> tuple[tuple[int, float], ...]:
        """Pairs (until iteration, epsilon) for `em.epsilon_at`."""
        if self.epsilon is None:
            return _DEFAULT_EPSILON
        constant = isinstance(self.epsilon, Real)
        try:
            pairs = [(1, self.epsilon)] if constant else [(int(t), float(e)) for t, e in self.epsilon]
        except (TypeError, ValueError, OverflowError):
            pairs = []
        if not pairs or any(not 0 <= share < 1 for _, share in pairs):
            raise ValueError(
                f"epsilon={short_repr(self.epsilon)}: expected None, a share of at least 0 and below 1, or "
                "pairs (until iteration, share)"
            )
        return tuple((until, float(share)) for until, share in pairs)

    @property
    def last_change(self) -> int:
        """First iteration from which epsilon stays as it is."""
        return self.schedule[-2][0] if len(self.schedule) > 1 else 0


_DEFAULT_EPSILON = ((5, 0.1), (10, 0.05), (20, 0.0))


#: Settings by name, for the argument `m_step`.
M_STEPS: dict[str | None, MStep] = {None: MStep()} | {name: MStep(name) for name in OBJECTIVES}


def check_m_step(value: Any) -> MStep:
    """Resolve the argument `m_step` to settings.

    Raises
    ------
    ValueError
        It is neither None, nor the name of an objective, nor settings.
    """
    if isinstance(value, MStep):
        return value
    if value is None or (isinstance(value, str) and value in M_STEPS):
        return M_STEPS[value]
    expected = ", ".join(map(repr, M_STEPS))
    raise ValueError(f"m_step={short_repr(value)} is unknown; expected one of {expected} or MStep")


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
        Choices for "generator" and "critic", see `build.build_stack`.
    engine : Engine
        Device and random generators.
    """

    _state = (
        "generator", "critic", "generator_optimizer", "critic_optimizer", "averaged", "steps_done",
        "collapsed_components",
    )  # fmt: skip

    def __init__(
        self, n: int, item_shape: tuple[int, ...], step: MStep, networks: Mapping[str, Any], engine: Engine
    ) -> None:
        self.n, self.step, self.engine = n, step, engine
        self.latent_dim = step.latent_dim or (128 if len(item_shape) == 3 else 64)
        objective = OBJECTIVES[step.objective]
        if step.lr is not None:
            objective = replace(objective, generator_lr=step.lr, critic_lr=step.lr)
        self.objective = objective

        def build() -> tuple[torch.nn.Module, torch.nn.Module]:
            g = build_stack(
                "generator", networks["generator"], n, (self.latent_dim,), item_shape, engine.cpu_generator
            )
            d = build_stack("critic", networks["critic"], n, item_shape, (), engine.cpu_generator)
            return engine.place(g), engine.place(d)

        self._build = build
        self.generator, self.critic = build()
        self.generator_optimizer = FusedOptimizer(
            self.generator.parameters(), objective.make_optimizer, objective.generator_lr
        )
        self.critic_optimizer = FusedOptimizer(
            self.critic.parameters(), objective.make_optimizer, objective.critic_lr
        )
        self.averaged = AveragedNetwork(self.generator, self.generator_optimizer, step.ema_decay)
        self.joint = not normalizes_batches(self.critic)
        self.steps_done = 0
        self.collapsed_components = torch.zeros(n, dtype=torch.bool, device=engine.device)

    def noise(self, n_items: int) -> Tensor:
        """Draw standard normal noise ``[C, n_items, latent_dim]``."""
        shape = (self.n, n_items, self.latent_dim)
        return torch.randn(shape, generator=self.engine.generator, device=self.engine.device)

    def critic_scores(self, x: Tensor) -> Tensor:
        """Scores ``[C, B]`` by the critics, float32: what losses are made of."""
        return self.critic(x).float()

    @torch.no_grad()
    def generate(self, n_items: int, *, averaged: bool = False) -> Tensor:
        """Sample ``[C, n_items, *item_shape]``; generators with batch normalisation see full batches."""
        network = self.averaged.network if averaged else self.generator
        full = max(n_items, self.step.batch_size) if averaged else n_items
        with self.engine.autocast():
            return network(self.noise(full))[:, :n_items].float()

    def pretrain(self, items: Tensor, labels: Tensor) -> None:
        """Line 2: train every GAN on its part of a partition ``[R, N]``."""
        k = self.n // len(labels)
        even = torch.full((*labels.shape, k), 1 / k, device=labels.device)
        own, _ = em.component_distributions(labels, even, 0.0)
        self.train(items, own, own, 0.0, self.step.pretrain_steps, clip=self.objective.clip_pretraining)

    def train(
        self,
        items: Tensor,
        own: Tensor,
        extra: Tensor,
        epsilon: float,
        steps: int | None = None,
        *,
        clip: bool = True,
    ) -> tuple[Tensor, Tensor]:
        """Line 12: train every GAN on its own D_i; returns the mean critic and generator loss of a component.

        Parameters
        ----------
        items : Tensor [N, *item_shape]
            Scaled data.
        own, extra : Tensor [R, K, N]
            Weights from `em.component_distributions`.
        epsilon : float
            Share of each batch from outside D_i.
        steps : int, optional
            Generator steps; `step.steps` by default.
        clip : bool
            Whether weights are clipped where the objective asks for it.
        """
        objective, engine, batch = self.objective, self.engine, self.step.batch_size
        steps, per_step = self.step.steps if steps is None else steps, objective.critic_steps
        losses = torch.zeros(2, device=engine.device)
        own, extra = own.flatten(0, -2), extra.flatten(0, -2)
        batches = em.draw_batches(own, extra, batch, steps * per_step, epsilon, engine.generator)
        for step in range(steps):
            with engine.autocast():
                generator_loss = objective.generator_loss(
                    self.critic_scores(self.generator(self.noise(batch)))
                )
            self.generator_optimizer.step(generator_loss)
            for index in batches[step * per_step : (step + 1) * per_step]:
                fake = self.generate(batch)
                with engine.autocast():
                    critic_loss = objective.critic_loss(
                        self.critic_scores,
                        items[index],
                        fake,
                        self.steps_done,
                        engine.generator,
                        joint=self.joint,
                    )
                self.critic_optimizer.step(critic_loss)
                if objective.clip is not None and clip:
                    clip_weights(self.critic_optimizer.flat, objective.clip)
                losses[0] += critic_loss.detach()
                self.steps_done += 1
            losses[1] += generator_loss.detach()
            self.averaged.update()
        critic_mean, generator_mean = losses / max(steps, 1) / self.n
        return critic_mean / per_step, generator_mean

    @torch.no_grad()
    def score_all(self, items: Tensor, batch_size: int = 2048) -> Tensor:
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

        Their samples' total variance is below `share` of that of the data they should stand for, drawn by the
        weights `own` ``[R, K, N]``.
        """
        own = own.flatten(0, -2)
        index = em.draw_batches(own, own, n_items, 1, 0.0, self.engine.generator)[0]
        real = items[index].flatten(2).var(1).sum(1)
        made = self.generate(n_items).flatten(2).var(1).sum(1)
        return (made < share * real) | ~made.isfinite()

    def reinitialize_collapsed(self, items: Tensor, own: Tensor) -> Tensor:
        """Reinitialize what `collapsed` finds, where the M-step asks for it; returns which ``[K]``.

        The one place of an iteration, besides its record, where the host waits for the device.
        """
        if self.step.reinitialize:
            self.collapsed_components = self.collapsed(items, own)
            if self.collapsed_components.any():
                self.reinitialize(self.collapsed_components)
        return self.collapsed_components.view(len(own), -1).any(0)

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
