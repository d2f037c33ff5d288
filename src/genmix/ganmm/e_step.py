"""The epsilon-E-step: a moderate classifier learned from generated samples, or the critics themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from genmix.base.validation import PositiveInt, Settings, Share
from genmix.ganmm import em
from genmix.ganmm.m_step import Components
from genmix.nn.build import dense_output, kept_statistics
from genmix.training.augment import AugmentedData
from genmix.training.engine import Engine, FusedOptimizer, Stateful


@dataclass(frozen=True)
class ClassifierEStep(Settings):
    """The classifier h_q of Yu & Zhou 2018 (Algorithm 1, lines 5-8), and what it learns from.

    Parameters
    ----------
    steps : int
        Classifier steps in each EM iteration; with `single_class`, steps of each generator.
    batch_size : int
        Generated items of each component in a step.
    loss : {"cross_entropy", "double_softmax", "label_smoothing"}
        Loss on generated items; "double_softmax" is what the published code computes.
    single_class : bool
        One step for each generator in turn instead of mixed batches, as the published code does.
    rate : float
        Learning rate.
    optimizer : {"adam", "rmsprop"}
        Adam, or RMSProp with TensorFlow 1's conventions.
    generated : bool
        Learn from generated items. False leaves `real` alone: the control without any GAN.
    generated_weight : float
        Weight of the loss on generated items beside that on real ones (>= 0).
    prior : {"equal", "shares"}
        Shares of the components in S, the generated items (Algorithm 1, line 5): equal ones, as in the
        published code, or those of the data assigned to each, ``|D_i| / |D|``, as the algorithm is printed.
        Real items are expected to have the same shares (`em.information_loss`). With "shares" a component
        keeps at least a tenth of an equal share, so that it can come back.
    augment_generated : bool
        Show the classifier augmented views of the generated items.
    real : {"information", "confident", None}
        What it learns from real items: `em.information_loss` of two views; cross-entropy on a view to the
        balanced memberships where they are confident; or nothing, as in the paper.
    real_batch_size : int
        Real items in a step.
    marginal_entropy_weight : float
        Weight of the entropy of the shares in `em.information_loss`, or of how far they are from those of
        `prior`. 1 is mutual information; more asks for components of near-equal size.
    balance : float
        Pull of the assignment of the data towards equal shares, 0 to 1 (`em.balanced_memberships`).
    extras : {"highest", "proportional"}
        Which points augment D_i: see `em.component_distributions`.
    pool : int or None
        Classify only so many random items in an iteration, as the published code does online; None is all of
        them.
    freeze_dense_output : bool
        Leave the last layer of a dense classifier at its random start, as the published code's UCI networks
        do.
    """

    steps: int = 20
    batch_size: PositiveInt = 16
    loss: Literal["cross_entropy", "double_softmax", "label_smoothing"] = "cross_entropy"
    single_class: bool = False
    rate: float = 1e-4
    optimizer: Literal["adam", "rmsprop"] = "adam"
    generated: bool = True
    generated_weight: float = 1.0
    prior: Literal["equal", "shares"] = "equal"
    augment_generated: bool = True
    real: Literal["information", "confident"] | None = "information"
    real_batch_size: PositiveInt = 256
    marginal_entropy_weight: float = 0.5
    balance: Share = 0.0
    extras: Literal["highest", "proportional"] = "highest"
    pool: PositiveInt | None = None
    freeze_dense_output: bool = False


@dataclass(frozen=True)
class CriticEStep(Settings):
    """The degraded ablation GANMM(EM) of Yu & Zhou 2018: the critics assign the data.

    Parameters
    ----------
    centred : bool
        Standardise each critic by its scores of its own generated items first. WGAN critics have arbitrary
        offset and scale, so the raw comparison (False, the paper's words) is between different units.
    extras, pool
        As in `ClassifierEStep`.
    """

    centred: bool = False
    extras: Literal["highest", "proportional"] = "highest"
    pool: PositiveInt | None = None


class Classifier(Stateful):
    """The classifiers of R restarts, stacked, each with H heads of K outputs of which one is in use.

    Parameters
    ----------
    network : nn.Module
        Stack of R networks ``[R, B, *item_shape] -> [R, B, H * K]``.
    n_components : int
        K.
    step : ClassifierEStep
        Settings.
    run : Engine
        Device and random generators.
    restarts, n_heads : int
        R and H.
    """

    _state: ClassVar[tuple[str, ...]] = ("network", "optimizer", "n_heads", "head", "has_seen_data")

    def __init__(
        self,
        network: nn.Module,
        n_components: int,
        step: ClassifierEStep,
        run: Engine,
        *,
        restarts: int,
        n_heads: int,
    ) -> None:
        self.network, self.k, self.step, self.run = network, n_components, step, run
        self.restarts, self.n_heads = restarts, n_heads
        self.head: Tensor | None = None  # [R], set once one head is chosen
        self.has_seen_data = step.real is not None  # then running statistics are the data's, and stay so
        self.reset_optimizer(step.rate)

    def reset_optimizer(self, rate: float) -> None:
        """Start a fresh optimiser at one learning rate."""
        from genmix.nn.adversarial import TFRMSprop, adam

        frozen = {id(p) for p in dense_output(self.network)} if self.step.freeze_dense_output else set()
        parameters = [p for p in self.network.parameters() if id(p) not in frozen]
        make = TFRMSprop if self.step.optimizer == "rmsprop" else adam
        self.optimizer = FusedOptimizer(parameters, make, rate)

    def fit_partition(self, components: Tensor, views: AugmentedData, steps: int) -> None:
        """Learn partitions ``[R, N]`` of the data, each network its own and with all its heads."""
        for _ in range(steps):
            index, both = views.draw(self.restarts, self.step.real_batch_size)
            scores = self.logits(both[0])  # [R, B, H, K]
            wanted = components.gather(1, index)[..., None].expand(scores.shape[:-1])
            self.optimizer.step(em.cross_entropy(scores.flatten(1, 2), wanted.flatten(1, 2)).sum())

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Within it the network normalises by its running statistics, and leaves them alone."""
        self.network.eval()
        try:
            yield
        finally:
            self.network.train()

    def head_in_use(self, restart: int) -> int:
        """Return the head that one restart assigns with."""
        return 0 if self.head is None else int(self.head[restart])

    def logits(self, x: Tensor) -> Tensor:
        """Scores ``[R, B, H, K]`` of items ``[R, B, ...]``; H is 1 once a head is chosen."""
        scores = self.network(x).unflatten(-1, (-1, self.k))
        if self.head is None:
            return scores
        index = self.head.view(-1, 1, 1, 1).expand(-1, scores.shape[1], 1, self.k)
        return scores.gather(2, index)

    def information(
        self,
        views: AugmentedData,
        balance: float,
        conditional_entropy_weight: float = 0.2,
        prior: Tensor | None = None,
        batch_size: int | None = None,
    ) -> Tensor:
        """Losses ``[R, H]`` of one batch of real items (`em.information_loss`)."""
        _, both = views.draw(self.restarts, batch_size or self.step.real_batch_size)
        b = both.shape[2]
        with self.run.autocast():
            scores = self.logits(torch.cat([both[0], both[1]], 1)).float()
        pair = torch.stack([scores[:, :b], scores[:, b:]]).transpose(2, 3)
        return em.information_loss(pair, conditional_entropy_weight, balance, prior)

    def confident(self, views: AugmentedData) -> Tensor:
        """Losses ``[R, 1]`` on real items whose clean view is assigned with confidence."""
        index, both = views.draw(self.restarts, self.step.real_batch_size)
        with torch.no_grad(), self.evaluating():
            clean = self.logits(views.items[index])[:, :, 0].log_softmax(-1)
        return em.confident_loss(self.logits(both[1])[:, :, 0], em.balanced_memberships(clean, 0.95))[:, None]

    def learn(self, generate: Callable[[int], Tensor], views: AugmentedData, shares: Tensor) -> Tensor:
        """Lines 5-7: S is sampled from the generators and h_q learns it; returns the mean loss.

        `shares` ``[R, K]``: of the data in each component.
        """
        step, total = self.step, torch.zeros((), device=self.run.device)
        prior = shares.clamp_min(0.1 / self.k) if step.prior == "shares" else None
        for _ in range(step.steps):
            for loss in self._losses(generate, views, prior):
                self.optimizer.step(loss)
                total += loss.detach()
        return total / max(step.steps, 1) / self.restarts

    def _losses(
        self, generate: Callable[[int], Tensor], views: AugmentedData, prior: Tensor | None
    ) -> Iterator[Tensor]:
        step, r = self.step, self.restarts
        loss = torch.zeros((), device=self.run.device)
        if step.generated:
            fakes = generate(step.batch_size).unflatten(0, (r, self.k))  # [R, K, n, ...]
            if step.augment_generated:
                fakes = views.perturb(fakes)
            targets = torch.arange(self.k, device=fakes.device).view(1, -1, 1).expand(r, -1, step.batch_size)
            if step.single_class:
                for k in range(self.k):  # in turn, a step each: the published code's order
                    yield self._generated_loss(fakes[:, k], targets[:, k], prior)
                return
            loss = loss + self._generated_loss(fakes.flatten(1, 2), targets.flatten(1, 2), prior)
        if step.real is None and self.has_seen_data:
            self._refresh_statistics(views)
        if step.real == "information":
            expected = None if prior is None else prior[:, None]  # the same for every head
            loss = loss + self.information(views, step.marginal_entropy_weight, prior=expected).sum()
        elif step.real == "confident":
            loss = loss + self.confident(views).sum()
        yield loss

    @torch.no_grad()
    def _refresh_statistics(self, views: AugmentedData) -> None:
        """Show real items without learning from them, so that running statistics keep up with the weights."""
        self.network(views.items[views.draw_index(self.restarts, self.step.real_batch_size)])

    def _generated_loss(self, fakes: Tensor, targets: Tensor, prior: Tensor | None) -> Tensor:
        step = self.step
        with self.run.autocast(), kept_statistics(self.network, self.has_seen_data):
            loss = em.cross_entropy(self.logits(fakes)[:, :, 0], targets, step.loss, prior=prior).sum()
        return step.generated_weight * loss

    @torch.no_grad()
    def log_posterior(self, items: Tensor, batch_size: int = 4096) -> Tensor:
        """Log memberships ``[R, N, K]`` of real items, clean and with running statistics."""
        with self.evaluating():
            parts = [self.logits(x.expand(self.restarts, *x.shape))[:, :, 0] for x in items.split(batch_size)]
        return torch.cat(parts, 1).float().log_softmax(-1)

    @torch.no_grad()
    def head_labels(self, items: Tensor) -> Tensor:
        """Components ``[R * H, B]`` that every head of every network gives the same items."""
        with self.evaluating():
            labels = self.logits(items.expand(self.restarts, *items.shape)).argmax(-1)
        return labels.transpose(1, 2).flatten(0, 1)


#: Price of two views in different components when restarts and starts are compared.
DISAGREEMENT_PENALTY = 2.0


@torch.no_grad()
def agreement(
    assign: Callable[[Tensor], Tensor],
    views: AugmentedData,
    n_components: int,
    batches: int = 16,
    batch_size: int = 1024,
) -> Tensor:
    """How much two views' components tell about each other (`em.view_information`) on a sample of the data.

    Parameters
    ----------
    assign : callable
        Maps items ``[B, *item_shape]`` to components ``[..., B]`` of several contenders, judged on the same
        views.
    views : AugmentedData
        Data and augmentation.
    n_components : int
        K.
    batches, batch_size : int
        Size of the sample, at most 8 pairs an item.

    Returns
    -------
    Tensor [...]
    """
    wanted = min(batches * batch_size, 8 * len(views.items))  # more pairs say little more of few items
    size = min(batch_size, wanted)
    drawn = [views.draw(1, size)[1][:, 0] for _ in range(wanted // size)]
    pairs = torch.cat([torch.stack([assign(view) for view in both]) for both in drawn], -1)
    return em.view_information(pairs[0], pairs[1], n_components, DISAGREEMENT_PENALTY)


class CriticAssigner(Stateful):
    """The critics as E-step: nothing is learned, the memberships are a softmax of their scores.

    Parameters
    ----------
    components : Components
        The GANs of R restarts.
    n_components : int
        K.
    step : CriticEStep
        Settings.
    """

    def __init__(self, components: Components, n_components: int, step: CriticEStep) -> None:
        self.components, self.k, self.step = components, n_components, step

    def learn(self, generate: Callable[[int], Tensor], views: AugmentedData, shares: Tensor) -> Tensor:
        """Nothing is learned."""
        return torch.zeros((), device=views.items.device)

    def log_posterior(self, items: Tensor) -> Tensor:
        """Log memberships ``[R, N, K]``."""
        scores = self.components.critic_scores(items)
        if self.step.centred:
            mean, sd = self.components.critic_score_stats()
            scores = (scores - mean) / sd
        return scores.unflatten(0, (-1, self.k)).transpose(1, 2).log_softmax(-1)
