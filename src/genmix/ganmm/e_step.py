"""The epsilon-E-step: a moderate classifier learned from generated samples, or the critics themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, NamedTuple, Self

import torch
from torch import Tensor, nn

from genmix.base.validation import PositiveInt, Settings, Share, short_repr
from genmix.ganmm import em
from genmix.ganmm.m_step import Components
from genmix.nn.adversarial import adam
from genmix.nn.build import keep_statistics
from genmix.training.augment import AugmentedData, are_images
from genmix.training.engine import Engine, Stateful
from genmix.training.infomax import BATCH_SIZE, MultiHeadNetwork
from genmix.training.information import component_shares

Generate = Callable[[int], Tensor]


class Assignment(NamedTuple):
    """What an E-step has assigned.

    Attributes
    ----------
    items : Tensor [N', *item_shape]
        Which items: all, or a random part.
    before, labels : Tensor of int64 [R, N']
        Their components before and now.
    posterior : Tensor [R, N', K]
        Their memberships.
    """

    items: Tensor
    before: Tensor
    labels: Tensor
    posterior: Tensor

    @property
    def changed(self) -> Tensor:
        """Share of the items that changed component, in the restart where it is largest."""
        return (self.before != self.labels).float().mean(1).max()

    @property
    def smallest_share(self) -> Tensor:
        """Share of the items in the smallest component of any restart."""
        return component_shares(self.labels, self.posterior.shape[-1]).min()


@dataclass(frozen=True)
class ClassifierEStep(Settings):
    """The classifier h_q of Yu & Zhou 2018 (Algorithm 1, lines 5-8), and what it learns from.

    Parameters
    ----------
    steps : int
        Classifier steps in each EM iteration.
    batch_size : int
        Generated items of each component in a step.
    lr : float
        Learning rate.
    generated_weight : float or None
        Weight of the loss on generated items (>= 0); 0 is the control without any GAN. None is 1 for images
        and 0.3 for tables.
    real_weight : float
        Weight of `information_loss` of two views of real items (>= 0). 0, as in the paper, learns from
        generated items only.
    prior : {"equal", "shares"} or None
        Shares of the components in S, the generated items (Algorithm 1, line 5): equal ones, as in the
        published code, or those of the data assigned to each, ``|D_i| / |D|``, as the algorithm is printed.
        Real items are expected to have the same shares. With "shares" a component keeps at least a tenth of
        an equal share, so that it can come back. None is "equal" for images and "shares" for tables.
    sinkhorn_strength : float
        Pull of the assignment of the data towards equal shares, 0 to 1 (`em.balanced_memberships`).
    """

    #: What learns and assigns by these settings; the published code's differs (`presets`).
    classifier: ClassVar[type[Classifier]]

    steps: int = 20
    batch_size: PositiveInt = 16
    lr: float = 1e-4
    generated_weight: float | None = None
    real_weight: float = 1.0
    prior: Literal["equal", "shares"] | None = None
    sinkhorn_strength: Share = 0.0

    def resolve(self, item_shape: tuple[int, ...]) -> Self:
        """Replace every None by what suits the kind of data.

        GANs, as we think, make few rows of a group's tails. What generates the tails of a large group is then
        a neighbour's generator, and with equal shares small components take from large ones in every
        iteration. Generated rows of a table therefore count by the shares of the data, and less than real
        ones.
        """
        weight, prior = (1.0, "equal") if are_images(item_shape) else (0.3, "shares")
        given = {"generated_weight": self.generated_weight, "prior": self.prior}
        defaults = {"generated_weight": weight, "prior": prior}
        return replace(self, **{n: defaults[n] if own is None else own for n, own in given.items()})  # type: ignore[arg-type]


@dataclass(frozen=True)
class CriticEStep(Settings):
    """The degraded ablation GANMM(EM) of Yu & Zhou 2018: the critics assign the data.

    Parameters
    ----------
    standardized : bool
        Standardise each critic by its scores of its own generated items first. WGAN critics have arbitrary
        offset and scale, so the raw comparison (False, the paper's words) is between different units.
    """

    #: Assign only so many random items in an iteration; None is all of them.
    max_classified: ClassVar[int | None] = None

    standardized: bool = False


class Classifier(Stateful):
    """The classifiers h_q of R restarts.

    Parameters
    ----------
    net : MultiHeadNetwork
        R networks with heads of K outputs.
    n_components : int
        K.
    step : ClassifierEStep
        Settings, without None (`ClassifierEStep.resolve`).
    data_statistics : bool
        Whether running statistics of its normalisation are the data's, and generated items leave them alone:
        so wherever it learns, or has learned, from real items.
    """

    _state: ClassVar[tuple[str, ...]] = ("net",)

    #: Weight of even shares where it learns from real items: below that of mutual information.
    marginal_entropy_weight: ClassVar[float] = 0.5
    #: Which points augment D_i: see `em.component_distributions`.
    exploration: ClassVar[str] = "highest"
    #: Assign only so many random items in an iteration; None is all of them.
    max_classified: ClassVar[int | None] = None
    #: Whether it sees augmented views of generated items.
    augments_generated: ClassVar[bool] = True

    def __init__(
        self, net: MultiHeadNetwork, n_components: int, step: ClassifierEStep, *, data_statistics: bool
    ) -> None:
        self.net, self.k, self.step, self.engine = net, n_components, step, net.engine
        self.data_statistics = data_statistics

    @staticmethod
    def make_optimizer(parameters: list[nn.Parameter], lr: float) -> torch.optim.Optimizer:
        """Optimiser of the classifier."""
        return adam(parameters, lr)

    @staticmethod
    def frozen(network: nn.Module) -> Sequence[nn.Parameter]:
        """Parameters that stay at their random start."""
        return ()

    def learn(self, generate: Generate, data: AugmentedData, shares: Tensor) -> Tensor:
        """Lines 5-7: S is sampled from the generators and h_q learns it; returns the mean loss.

        `shares` ``[R, K]``: of the data in each component.
        """
        step, total = self.step, torch.zeros((), device=self.engine.device)
        prior = shares.clamp_min(0.1 / self.k) if step.prior == "shares" else None
        for _ in range(step.steps):
            for loss in self.losses(generate, data, prior):
                self.net.step(loss)
                total += loss.detach()
        return total / max(step.steps, 1) / self.net.restarts

    def losses(self, generate: Generate, data: AugmentedData, prior: Tensor | None) -> Iterator[Tensor]:
        """Yield the losses of the optimiser steps that one sample of S is good for."""
        loss = torch.zeros((), device=self.engine.device)
        if self.step.generated_weight:
            items, targets = self.sample(generate, data)
            loss = loss + self.generated_loss(items.flatten(1, 2), targets.flatten(1, 2), prior)
        if self.data_statistics and not self.step.real_weight:
            with torch.no_grad():  # shown, not learned, so that running statistics keep up with the weights
                self.net.network(data.items[data.draw_index(self.net.restarts, BATCH_SIZE)])
        if self.step.real_weight:
            expected = None if prior is None else prior[:, None]  # the same for every head
            real = self.net.information_loss(data, BATCH_SIZE, self.marginal_entropy_weight, expected)
            loss = loss + self.step.real_weight * real.sum()
        yield loss

    def sample(self, generate: Generate, data: AugmentedData) -> tuple[Tensor, Tensor]:
        """Line 5: S, items ``[R, K, n, ...]`` and the components ``[R, K, n]`` that made them."""
        r, n = self.net.restarts, self.step.batch_size
        items = generate(n).unflatten(0, (r, self.k))
        if self.augments_generated:
            items = data.perturb(items)
        return items, torch.arange(self.k, device=items.device).view(1, -1, 1).expand(r, -1, n)

    def generated_loss(self, items: Tensor, targets: Tensor, prior: Tensor | None) -> Tensor:
        """Line 6: loss on generated items ``[R, B, ...]`` of components ``[R, B]``."""
        with keep_statistics(self.net.network, self.data_statistics):
            scores = self.net.scores(items)[:, :, 0]
        return (self.step.generated_weight or 0.0) * em.classifier_loss(
            self.scale(scores), targets, prior
        ).sum()

    def scale(self, scores: Tensor) -> Tensor:
        """Scores as the loss on generated items takes them for logits."""
        return scores

    def assign(self, items: Tensor, labels: Tensor) -> Assignment:
        """Line 8: assign items; their components in `labels` ``[R, N]`` are replaced."""
        return assign(self, self.engine, items, labels, self.step.sinkhorn_strength)

    @torch.no_grad()
    def log_posterior(self, items: Tensor, batch_size: int = 4096) -> Tensor:
        """Log memberships ``[R, N, K]`` of real items, clean and with running statistics."""
        r = self.net.restarts
        with self.net.evaluating():
            parts = [self.net.scores(x.expand(r, *x.shape))[:, :, 0] for x in items.split(batch_size)]
        return torch.cat(parts, 1).log_softmax(-1)


ClassifierEStep.classifier = Classifier


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

    exploration: ClassVar[str] = "highest"

    def __init__(self, components: Components, n_components: int, step: CriticEStep) -> None:
        self.components, self.k, self.step = components, n_components, step
        self.max_classified, self.engine = step.max_classified, components.engine

    def learn(self, generate: Generate, data: AugmentedData, shares: Tensor) -> Tensor:
        """Nothing is learned."""
        return torch.zeros((), device=data.items.device)

    def assign(self, items: Tensor, labels: Tensor) -> Assignment:
        """Assign items by their critics' scores; their components in `labels` ``[R, N]`` are replaced."""
        return assign(self, self.engine, items, labels, 0.0)

    def log_posterior(self, items: Tensor) -> Tensor:
        """Log memberships ``[R, N, K]``."""
        scores = self.components.score_all(items)
        if self.step.standardized:
            mean, sd = self.components.critic_score_stats()
            scores = (scores - mean) / sd
        return scores.unflatten(0, (-1, self.k)).transpose(1, 2).log_softmax(-1)


def assign(
    e_step: Classifier | CriticAssigner,
    engine: Engine,
    items: Tensor,
    labels: Tensor,
    sinkhorn_strength: float,
) -> Assignment:
    """Assign all items, or as many random ones as the E-step classifies; `labels` ``[R, N]`` are renewed."""
    index: Tensor | slice = slice(None)
    if e_step.max_classified is not None and e_step.max_classified < len(items):
        order = torch.randperm(len(items), generator=engine.generator, device=engine.device)
        index = order[: e_step.max_classified]
    log_posterior = e_step.log_posterior(items[index])
    # NaN: training has diverged, which the record of the iteration says
    posterior = em.balanced_memberships(log_posterior, sinkhorn_strength).nan_to_num()
    before = labels[:, index].clone()
    labels[:, index] = posterior.argmax(-1)
    return Assignment(items[index], before, labels[:, index], posterior)


#: Settings by name, for the argument `e_step`.
E_STEPS: dict[str, ClassifierEStep | CriticEStep] = {
    "classifier": ClassifierEStep(),
    "critic": CriticEStep(),
    "standardized-critic": CriticEStep(standardized=True),
}


def check_e_step(value: Any) -> ClassifierEStep | CriticEStep:
    """Resolve the argument `e_step` to settings.

    Raises
    ------
    ValueError
        It is no name or settings, or leaves the classifier nothing to learn from.
    """
    step = E_STEPS.get(value, value) if isinstance(value, str) else value
    if not isinstance(step, ClassifierEStep | CriticEStep):
        expected = ", ".join(map(repr, E_STEPS))
        raise ValueError(f"e_step={short_repr(value)} is unknown; expected {expected} or ClassifierEStep")
    if isinstance(step, ClassifierEStep) and step.steps and step.generated_weight == step.real_weight == 0:
        raise ValueError(
            "e_step: generated_weight=0 and real_weight=0 leave the classifier nothing to learn from"
        )
    return step
