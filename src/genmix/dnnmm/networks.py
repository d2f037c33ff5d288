"""The three networks of DNN-MM and one gradient step of each (Pande & Awate, ICPR 2020).

Restarts are stacked: every tensor of items starts with R, and every loss is a sum over R.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genmix.base.validation import Decay, PositiveInt, Settings
from genmix.dnnmm import latent
from genmix.ganmm import em
from genmix.ganmm.e_step import Classifier, ClassifierEStep
from genmix.nn.adversarial import Adversarial, both_scores
from genmix.nn.build import build_stack, normalizes_batches
from genmix.training.augment import AugmentedData
from genmix.training.engine import AveragedNetwork, Engine, FusedOptimizer, Stateful
from genmix.training.supervision import Labels


@dataclass(frozen=True)
class MinMaxStep(Settings):
    """How encoder, generator and discriminator are trained in a MinMax+EM iteration (eq. 13).

    All terms are means over the items of a batch, so that their weights do not depend on its size.

    Parameters
    ----------
    steps : int
        Gradient steps of an EM iteration.
    batch_size : int
        Real items of a step.
    labelled_batch_size : int
        Further labelled items in it; 0 weighs all items alike, as the paper does.
    generated_batch_size : int
        Latent points y drawn in a step (the paper's S for all components together), and real items that the
        discriminator sees beside them. The encoder sees at most `batch_size` of what is generated.
    encoder_lr, generator_lr, discriminator_lr : float
        Learning rates of Adam.
    information : float
        Weight of `em.information_loss` of two views, and of the cross-entropy of labelled items, beside
        -Q (eq. 11) in the encoder's loss. It keeps doubtful items from confirming themselves; 0 is the paper.
    encoder_ema_decay : float
        Forgetting factor of the averaged encoder, which gives all memberships; 0 takes the encoder as it is.
    cycle : float
        lambda_1 of the generator: price of ``|y - E(G(y))|^2``.
    encoder_cycle : float or None
        lambda_1 of the encoder, None for the same. The term ties the encoder to generated items, which costs
        accuracy and time.
    adversarial : float
        lambda_2: weight of the discriminator's discriminate in the generator's loss.
    recognition : float
        Weight of ``-log P(Z = k | G(y_k))`` in the generator's loss; the paper has none.
    objective : Adversarial
        Losses and penalty of generator and discriminator.
    conditional : bool
        The discriminator judges an item as one of its component, real ones by their memberships; otherwise,
        as in the paper, it does not know the component.
    augment : bool
        Memberships come from the item itself, the M-step sees an augmented view; otherwise both see the item.
    average : float
        Forgetting factor of the averaged generator that `sample` uses; 0 uses the generator as it is.
    encoder_pretraining, generator_pretraining, discriminator_pretraining : int
        Steps of eq. 14, 15 and 16 before the first iteration. Eq. 14 is left out where the start has trained
        the encoder.
    """

    steps: int = 100
    batch_size: PositiveInt = 64
    labelled_batch_size: int = 32
    generated_batch_size: PositiveInt = 160
    encoder_lr: float = 1e-3
    encoder_ema_decay: Decay = 0.98
    information: float = 10.0
    generator_lr: float = 1e-3
    discriminator_lr: float = 1e-3
    cycle: float = 0.01
    encoder_cycle: float | None = 0.0
    adversarial: float = 1.0
    recognition: float = 0.3
    objective: Adversarial = Adversarial(penalty_weight=0.2)  # noqa: RUF009 - frozen
    conditional: bool = True
    augment: bool = True
    average: Decay = 0.998
    encoder_pretraining: int = 300
    generator_pretraining: int = 100
    discriminator_pretraining: int = 0


class Batch(NamedTuple):
    """Real items of an M-step.

    Attributes
    ----------
    chosen : Tensor of int64 [R, B + L]
        Which: B random items and L further labelled ones.
    views : Tensor [R, B + L (+ B), *item_shape]
        What the M-step sees of them, and then, where information is wanted, another view of the first B.
    """

    chosen: Tensor
    views: Tensor

    @classmethod
    def draw(cls, views: AugmentedData, labels: Labels | None, step: MinMaxStep, restarts: int) -> Self:
        """Draw a batch for each restart."""
        index = views.draw_index(restarts, step.batch_size)
        shown = [views.sample_neighbors(index) if step.augment else index]
        again = [views.sample_neighbors(index)] if step.information else []
        if labels is not None and step.labelled_batch_size:
            extra = labels.draw_index(restarts, step.labelled_batch_size, views.run.generator)
            index = torch.cat([index, extra], 1)
            shown.append(extra)
        real = views.items[torch.cat(shown + again, 1)]
        if step.augment:
            return cls(index, views.perturb(real))
        n = index.shape[1]
        return cls(index, torch.cat([real[:, :n], views.perturb(real[:, n:])], 1) if again else real)


class Encoder(Classifier):
    """The encoders E of R restarts with the latent mixture: a classifier whose posterior is eq. 3.

    Parameters
    ----------
    network : nn.Module
        Stack of R networks ``[R, B, *item_shape] -> [R, B, H * L]``, with H heads of which one is in use.
    means : Tensor [K, L]
        mu.
    run : Engine
        Device and random generators.
    restarts, n_heads : int
        R and H.
    rate : float
        Learning rate of Adam.

    Attributes
    ----------
    weights : Tensor [R, K]
        omega.
    """

    _state = (*Classifier._state, "weights", "averaged")

    def __init__(
        self, network: nn.Module, means: Tensor, run: Engine, *, restarts: int, n_heads: int, rate: float
    ) -> None:
        k, self.means = len(means), means
        self.weights = torch.full((restarts, k), 1 / k, device=means.device)
        self.averaged: AveragedNetwork | None = None
        super().__init__(network, k, ClassifierEStep(rate=rate), run, restarts=restarts, n_heads=n_heads)

    def begin_averaging(self, factor: float) -> None:
        """From now on an average of the network over its steps stands for it where nothing is learned."""
        self.averaged = AveragedNetwork(self.network, self.optimizer, factor)

    @property
    def network_in_use(self) -> nn.Module:
        """What memberships come from: the averaged network, if there is one yet."""
        return self.network if self.averaged is None else self.averaged.network

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Within it the averaged network encodes, by its running statistics."""
        if self.averaged is None:
            with super().evaluating():
                yield
            return
        network, self.network = self.network, self.network_in_use
        try:
            yield
        finally:
            self.network = network

    def learn_from(self, loss: Tensor) -> None:
        """One step of theta_E on a loss."""
        self.optimizer.step(loss)
        if self.averaged is not None:
            self.averaged.update()

    def _encode_heads(self, x: Tensor) -> Tensor:
        """Encode by all heads: ``[R, B, H, L]``; H is 1 once a head is chosen."""
        dims = self.means.shape[1]
        z = self.network(x).unflatten(-1, (-1, dims))
        if self.head is None:
            return z
        return z.gather(2, self.head.view(-1, 1, 1, 1).expand(-1, z.shape[1], 1, dims))

    def logits(self, x: Tensor) -> Tensor:
        """Log memberships up to a constant, ``[R, B, H, K]``: means of equal norm make eq. 3 linear in z."""
        return self._encode_heads(x) @ self.means.T + self.weights.log()[:, None, None]

    def encode(self, x: Tensor) -> Tensor:
        """Encode by the head in use: ``[R, B, L]``."""
        with self.run.autocast():
            return self._encode_heads(x)[:, :, 0].float()

    def joint(self, x: Tensor) -> Tensor:
        """Summands of eq. 1 in logarithms, ``[R, B, K]``."""
        return latent.log_joint(self.encode(x), self.means, self.weights)

    def m_step_loss(self, batch: Batch, gamma: Tensor, step: MinMaxStep, shares: Tensor) -> Tensor:
        """Loss of the encoder: -Q of eq. 11, and the information of two views.

        Parameters
        ----------
        batch : Batch
            Real items.
        gamma : Tensor [R, B + L, K]
            Their memberships.
        step : MinMaxStep
            Settings.
        shares : Tensor [K] or [R, K]
            Expected shares of the components among them.
        """
        joint, b, n = self.joint(batch.views), step.batch_size, batch.chosen.shape[1]
        loss = -latent.expected_log_joint(gamma, joint[:, :n]).mean(1).sum()
        if step.information:
            both = torch.stack([joint[:, :b], joint[:, n:]])
            told = em.information_loss(both, prior=shares).sum()
            if n > b:
                log_p = joint[:, b:n].log_softmax(-1)
                told = told - latent.expected_log_joint(gamma[:, b:], log_p).mean(1).sum()
            loss = loss + step.information * told
        return loss

    @torch.no_grad()
    def clean_joint(self, x: Tensor) -> Tensor:
        """`joint` of items ``[R, B, ...]`` with running statistics and without gradient: for E-steps."""
        with self.evaluating():
            return self.joint(x)

    def renew(self, gamma: Tensor, chosen: Tensor, items: Tensor, known: Tensor | None) -> Tensor:
        """Compute the memberships `gamma` ``[R, B + L, K]`` of the first items of a batch, `chosen`, anew."""
        now = latent.memberships(self.clean_joint(items[chosen]), None if known is None else known[chosen])
        return torch.cat([now, gamma[:, chosen.shape[1] :]], 1)

    def all_joint(self, items: Tensor, batch_size: int = 2048) -> Tensor:
        """`clean_joint` of the same items ``[N, ...]`` for all restarts, ``[R, N, K]``."""
        parts = [self.clean_joint(x.expand(self.restarts, *x.shape)) for x in items.split(batch_size)]
        return torch.cat(parts, 1)

    def pretrain(
        self, views: AugmentedData, step: MinMaxStep, labels: Labels | None, components: Tensor | None
    ) -> None:
        """Eq. 14: map every item to the mean of its component ``[R, N]``, or labelled items only."""
        for _ in views.run.progress(step.encoder_pretraining, "encoder"):
            if components is not None:
                index = views.draw_index(self.restarts, step.batch_size)
                target = components.gather(1, index)
            elif labels is not None:
                index = labels.draw_index(self.restarts, step.batch_size, views.run.generator)
                target = labels.component[index]
            real = views.items[index]
            z = self.encode(views.perturb(real) if step.augment else real)
            self.optimizer.step((z - self.means[target]).square().sum(-1).mean(1).sum() / 2)

    def cycle(self, y: Tensor, fake: Tensor) -> Tensor:
        """``|y - E(G(y))|^2`` of eq. 5, ``[R, B]``. Generated items do not touch the running statistics."""
        with Classifier.evaluating(self):
            return (y - self.encode(fake)).square().sum(-1)


class Decoder(Stateful):
    """The generators G and discriminators D of R restarts.

    Parameters
    ----------
    restarts : int
        R.
    means : Tensor [K, L]
        mu.
    item_shape : tuple of int
        ``(d,)`` or ``(C, H, W)``.
    step : MinMaxStep
        Settings.
    networks : mapping
        Choices for "generator" and "discriminator", see `nets.build_stack`.
    run : Engine
        Device and random generators.

    Attributes
    ----------
    slopes : Tensor [R, K]
        What eq. 12 gains per item from more of omega_k in its terms in Y: running means of
        ``-lambda_1 c_k + lambda_2 log D_k`` (the published updates of omega use it).
    """

    _state = (
        "generator", "discriminator", "generator_optimizer", "discriminator_optimizer", "averaged",
        "steps_done", "slopes",
    )  # fmt: skip

    def __init__(
        self,
        restarts: int,
        means: Tensor,
        item_shape: tuple[int, ...],
        step: MinMaxStep,
        networks: Mapping[str, Any],
        run: Engine,
    ) -> None:
        self.restarts, self.means, self.step, self.run = restarts, means, step, run
        (k, dims), judged = means.shape, (len(means),) if step.conditional else ()
        r, seed = restarts, run.cpu_generator
        self.generator = run.place(
            build_stack("decoder", networks["generator"], r, (dims,), item_shape, seed)
        )
        self.discriminator = run.place(
            build_stack("discriminator", networks["discriminator"], r, item_shape, judged, seed)
        )
        make = step.objective.make_optimizer
        self.generator_optimizer = FusedOptimizer(self.generator.parameters(), make, step.generator_lr)
        self.discriminator_optimizer = FusedOptimizer(
            self.discriminator.parameters(), make, step.discriminator_lr
        )
        self.joint = not normalizes_batches(self.discriminator)
        self.averaged = AveragedNetwork(self.generator, self.generator_optimizer, step.average)
        self.steps_done = 0
        self.slopes = torch.zeros(restarts, k, device=run.device)

    @property
    def encoder_cycle(self) -> float:
        """lambda_1 of the encoder."""
        return self.step.cycle if self.step.encoder_cycle is None else self.step.encoder_cycle

    def draw(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Draw components k by omega and latent points ``y ~ N(mu_k, I)``: ``[R, S]`` and ``[R, S, L]``."""
        size, generator = self.step.generated_batch_size, self.run.generator
        # NaN: DNNMixture._record says at the end of the iteration that training has diverged
        k = torch.multinomial(weights.nan_to_num(1.0), size, True, generator=generator)
        noise = torch.randn(*k.shape, self.means.shape[1], generator=generator, device=k.device)
        return k, self.means[k] + noise

    def generate(self, y: Tensor) -> Tensor:
        """Items ``G(y)``, ``[R, S, *item_shape]``."""
        with self.run.autocast():
            return self.generator(y).float()

    def discriminate(self, x: Tensor, gamma: Tensor) -> Tensor:
        """Logits of D ``[R, B]`` for items of known memberships ``[R, B, K]``."""
        with self.run.autocast():
            logits = self.discriminator(x).float()
        return (logits * gamma).sum(-1) if self.step.conditional else logits

    def train_generator(self, k: Tensor, y: Tensor, fake: Tensor, encoder: Encoder) -> tuple[Tensor, Tensor]:
        """One step of theta_G up eq. 13 from ``fake = G(y)``; returns cycle error and adversarial loss."""
        step, one_hot = self.step, F.one_hot(k, len(self.means)).float()
        m = min(step.batch_size, k.shape[1])  # E, the dearest network, sees m of them
        with encoder.evaluating():
            z = encoder.encode(fake[:, :m])
        errors = (y[:, :m] - z).square().sum(-1)
        discriminate = self.discriminate(fake, one_hot)
        adversarial = step.objective.generator_loss(discriminate)
        loss = step.cycle * errors.mean(1).sum() + step.adversarial * adversarial
        if step.recognition:
            joint = latent.log_joint(z, self.means, encoder.weights)
            wrong = F.cross_entropy(joint.flatten(0, 1), k[:, :m].flatten(), reduction="sum") / m
            loss = loss + step.recognition * wrong
        self.generator_optimizer.step(loss)
        self.averaged.update()
        with torch.no_grad():
            gains = -step.cycle * errors + step.adversarial * F.logsigmoid(discriminate[:, :m])
            count = one_hot[:, :m].sum(1)
            means = (one_hot[:, :m] * gains[..., None]).sum(1) / count.clamp_min(1)
            self.slopes += 0.1 * torch.where(count > 0, means - self.slopes, 0.0)
        return errors.mean().detach(), adversarial.detach() / self.restarts

    def train_discriminator(self, real: Tensor, gamma: Tensor, k: Tensor, fake: Tensor) -> Tensor:
        """One step of theta_D down eq. 13, on real items and on generated ones of components k."""
        objective, m = self.step.objective, min(real.shape[1], fake.shape[1])
        one_hot = F.one_hot(k, len(self.means)).float()
        scores = both_scores(self.discriminate, (real, gamma), (fake, one_hot), joint=self.joint)
        loss = objective.critic_terms(*scores) + objective.penalize(
            lambda x: self.discriminate(x, gamma[:, :m]),
            real[:, :m],
            fake[:, :m],
            self.steps_done,
            self.run.generator,
        )
        self.discriminator_optimizer.step(loss)
        self.steps_done += 1
        return loss.detach() / self.restarts

    def pretrain(self, encoder: Encoder, views: AugmentedData) -> None:
        """Eq. 15: G learns to undo E; eq. 16: D learns to tell G's items from real ones."""
        step, R = self.step, self.restarts
        for _ in views.run.progress(step.generator_pretraining, "generator"):
            _, y = self.draw(encoder.weights)
            real = views.items[views.draw_index(R, step.batch_size)]
            with torch.no_grad(), encoder.evaluating():
                z = encoder.encode(real)
            made = self.generate(torch.cat([y, z], 1))
            s = y.shape[1]
            error = (made[:, s:] - real).flatten(2).square().sum(-1).mean(1).sum()
            self.generator_optimizer.step(encoder.cycle(y, made[:, :s]).mean(1).sum() + error)
            self.averaged.update()
        for _ in range(step.discriminator_pretraining):
            real = views.items[views.draw_index(R, step.generated_batch_size)]
            gamma = latent.memberships(encoder.clean_joint(real))
            k, y = self.draw(encoder.weights)
            with torch.no_grad():
                fake = self.generate(y)
            self.train_discriminator(real, gamma, k, fake)
