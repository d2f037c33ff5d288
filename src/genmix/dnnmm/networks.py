"""The three networks of DNN-MM and one gradient step of each (Pande & Awate, ICPR 2020).

Restarts are stacked: every tensor of items starts with R, and every loss is a sum over R.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from genmix.base.validation import Decay, PositiveInt, Settings
from genmix.dnnmm import latent
from genmix.nn.adversarial import OBJECTIVES, both_scores, check_objective
from genmix.nn.build import build_stack, normalizes_batches
from genmix.training.augment import AugmentedData
from genmix.training.engine import AveragedNetwork, Engine, FusedOptimizer, Stateful
from genmix.training.infomax import MultiHeadNetwork
from genmix.training.information import information_loss
from genmix.training.supervision import Labels

#: Parameter of the Dirichlet prior of omega: above 1 no component is lost.
WEIGHT_CONCENTRATION = 1.1


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
    latent_dim : int or None
        Dimensions L of the latent space, at least K; None is ``max(30, K)``.
    encoder_lr : float
        Learning rate of the encoder.
    lr : float or None
        Learning rate of generator and discriminator; None is the objective's.
    objective : str
        Losses, penalty and optimiser of generator and discriminator, a name in `nn.adversarial.OBJECTIVES`.
    information_weight : float
        Weight of `information_loss` of two views, and of the cross-entropy of labelled items, beside -Q
        (eq. 11) in the encoder's loss. It keeps doubtful items from confirming themselves; 0 is the paper.
    cycle_weight : float
        lambda_1: price of ``|y - E(G(y))|^2``.
    adversarial_weight : float
        lambda_2: weight of the discriminator's answer in the generator's loss.
    recognition_weight : float
        Weight of ``-log P(Z = k | G(y_k))`` in the generator's loss; the paper has none.
    ema_decay : float
        Decay of the averaged generator that `sample` uses; 0 uses the generator as it is.
    encoder_pretrain_steps : int
        Steps of eq. 14 before the first iteration, where `init` has not trained the encoder.
    generator_pretrain_steps : int
        Steps of eq. 15 before the first iteration.
    """

    # What the published procedure has otherwise (`presets`), and nobody else needs to:
    #: Memberships are computed anew for each gradient step; otherwise once an iteration (generalised EM).
    online: ClassVar[bool] = True
    #: The M-step sees an augmented view of an item whose memberships come from the item itself.
    augments: ClassVar[bool] = True
    #: The discriminator judges an item as one of its component, real ones by their memberships.
    conditional: ClassVar[bool] = True
    #: The cycle term is in the encoder's loss too, which ties it to generated items.
    encoder_cycle: ClassVar[bool] = False
    #: Decay of the averaged encoder, which gives all memberships; 0 takes the encoder as it is.
    encoder_ema_decay: ClassVar[float] = 0.98
    #: omega: mean memberships under a Dirichlet prior, or projected gradient ascent.
    weight_update: ClassVar[Literal["closed-form", "gradient"]] = "closed-form"
    #: Steps of eq. 16 before the first iteration.
    discriminator_pretrain_steps: ClassVar[int] = 0
    #: EM iterations before `tol` counts: they go on to mend single items, and samples get better, when few
    #: items change any more.
    min_iter: ClassVar[int] = 20

    steps: int = 100
    batch_size: PositiveInt = 64
    labelled_batch_size: int = 32
    generated_batch_size: PositiveInt = 160
    latent_dim: PositiveInt | None = None
    encoder_lr: float = 1e-3
    lr: float | None = None
    objective: str = "r1-weak"
    information_weight: float = 10.0
    cycle_weight: float = 0.01
    adversarial_weight: float = 1.0
    recognition_weight: float = 0.3
    ema_decay: Decay = 0.998
    encoder_pretrain_steps: int = 300
    generator_pretrain_steps: int = 100

    def __post_init__(self) -> None:
        """Refuse an unknown objective."""
        super().__post_init__()
        check_objective(self.objective)


class Batch(NamedTuple):
    """Real items of an M-step.

    Attributes
    ----------
    indices : Tensor of int64 [R, B + L]
        Which: B random items and L further labelled ones.
    views : Tensor [R, B + L (+ B), *item_shape]
        What the M-step sees of them, and then, where information is wanted, another view of the first B.
    """

    indices: Tensor
    views: Tensor

    @classmethod
    def draw(cls, data: AugmentedData, labels: Labels | None, step: MinMaxStep, restarts: int) -> Self:
        """Draw a batch for each restart."""
        index = data.draw_index(restarts, step.batch_size)
        first = [data.sample_neighbors(index) if step.augments else index]
        second = [data.sample_neighbors(index)] if step.information_weight else []
        if labels is not None and step.labelled_batch_size:
            labelled = labels.draw_index(restarts, step.labelled_batch_size, data.engine.generator)
            index = torch.cat([index, labelled], 1)
            first.append(labelled)
        real = data.items[torch.cat(first + second, 1)]
        if step.augments:
            return cls(index, data.perturb(real))
        n = index.shape[1]
        return cls(index, torch.cat([real[:, :n], data.perturb(real[:, n:])], 1) if second else real)


class Generated(NamedTuple):
    """Items that the generator makes in a step.

    Attributes
    ----------
    k : Tensor of int64 [R, S]
        Components drawn by omega.
    y : Tensor [R, S, L]
        Latent points ``y ~ N(mu_k, I)``.
    items : Tensor [R, S, *item_shape]
        ``G(y)``, with its gradient.
    """

    k: Tensor
    y: Tensor
    items: Tensor


class Encoder(Stateful):
    """The encoders E of R restarts with the latent mixture: their posterior is eq. 3.

    Parameters
    ----------
    net : MultiHeadNetwork
        R networks with heads of L outputs, of which one is in use.
    means : Tensor [K, L]
        mu.
    step : MinMaxStep
        Settings.
    first_online : int
        Iteration from which memberships are computed anew for each gradient step, where `step` asks for it:
        1 after information maximisation, where the first one moves the encodings to the means, as eq. 14.

    Attributes
    ----------
    weights : Tensor [R, K]
        omega.
    """

    _state: ClassVar[tuple[str, ...]] = ("net", "weights")

    def __init__(self, net: MultiHeadNetwork, means: Tensor, step: MinMaxStep, first_online: int = 0) -> None:
        self.net, self.means, self.step, self.engine = net, means, step, net.engine
        self.first_online = first_online
        self.weights = torch.full((net.restarts, len(means)), 1 / len(means), device=means.device)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to what `state_dict` returned."""
        super().load_state_dict(state)
        if not (self.weights >= 0).all() or not ((self.weights.sum(1) - 1).abs() < 1e-4).all():
            raise ValueError("weights: expected shares of at least 0 that sum up to 1")

    def encode(self, x: Tensor) -> Tensor:
        """Encode by the head in use: ``[R, B, L]``."""
        return self.net.outputs(x)[:, :, 0]

    def joint(self, x: Tensor) -> Tensor:
        """Summands of eq. 1 in logarithms, ``[R, B, K]``."""
        return latent.log_joint(self.encode(x), self.means, self.weights)

    @torch.no_grad()
    def clean_joint(self, x: Tensor) -> Tensor:
        """`joint` of items ``[R, B, ...]`` with running statistics and without gradient: for E-steps."""
        with self.net.evaluating():
            return self.joint(x)

    @torch.no_grad()
    def all_joint(self, items: Tensor, batch_size: int = 4096) -> Tensor:
        """`clean_joint` of the same items ``[N, ...]`` for all restarts, ``[R, N, K]``."""
        r = self.net.restarts
        return torch.cat([self.clean_joint(x.expand(r, *x.shape)) for x in items.split(batch_size)], 1)

    def batch_memberships(
        self, batch: Batch, gamma: Tensor, items: Tensor, known: Tensor | None, iteration: int
    ) -> Tensor:
        """Memberships ``[R, B + L, K]`` of a batch: those of all, and anew for the random items if online."""
        of_batch = latent.gather_memberships(gamma, batch.indices)
        if not self.step.online or iteration < self.first_online:
            return of_batch
        index = batch.indices[:, : self.step.batch_size]
        joint = self.clean_joint(items[index])
        anew = latent.memberships(joint, None if known is None else known[index])
        return torch.cat([anew, of_batch[:, index.shape[1] :]], 1)

    def update_weights(self, gamma: Tensor, item_weights: Tensor | None) -> None:
        """Omega in closed form from the memberships ``[R, N, K]`` of all items, which count ``[N]`` times."""
        if self.step.weight_update != "closed-form":
            return
        if item_weights is not None:
            gamma = gamma * (item_weights / item_weights.mean())[:, None]
        self.weights = latent.closed_form_weights(gamma.sum(1), WEIGHT_CONCENTRATION)

    def ascend_weights(self, gamma: Tensor, slopes: Tensor | float) -> None:
        """Omega up the gradient of eq. 12 at the memberships ``[R, B + L, K]`` of a batch's random items."""
        if self.step.weight_update == "gradient":
            mean = gamma[:, : self.step.batch_size].mean(1)
            self.weights = latent.ascend_weights(self.weights, mean, slopes + torch.zeros_like(self.weights))

    def m_step(
        self, batch: Batch, gamma: Tensor, shares: Tensor | None, generated: Generated | None
    ) -> Tensor:
        """One step of theta_E up eq. 13: Q (eq. 11), the information of two views, the cycle (eq. 6).

        Parameters
        ----------
        batch : Batch
            Real items.
        gamma : Tensor [R, B + L, K]
            Their memberships.
        shares : Tensor [R, K] or None
            Expected shares of the components among them; None is omega.
        generated : Generated or None
            What the cycle is closed for.
        """
        loss = self.loss(batch, gamma, self.weights if shares is None else shares)
        if generated is not None and self.step.encoder_cycle:
            error = self.cycle(generated.y, generated.items.detach())
            loss = loss + self.step.cycle_weight * error.mean(1).sum()
        self.net.step(loss)
        return loss.detach() / self.net.restarts

    def loss(self, batch: Batch, gamma: Tensor, shares: Tensor) -> Tensor:
        """-Q of eq. 11, and the information of two views; parameters as in `m_step`."""
        joint, b, n = self.joint(batch.views), self.step.batch_size, batch.indices.shape[1]
        loss = -latent.expected_log_joint(gamma, joint[:, :n]).mean(1).sum()
        if self.step.information_weight:
            both = torch.stack([joint[:, :b], joint[:, n:]])
            information = information_loss(both, prior=shares).sum()
            if n > b:
                log_p = joint[:, b:n].log_softmax(-1)
                information = information - latent.expected_log_joint(gamma[:, b:], log_p).mean(1).sum()
            loss = loss + self.step.information_weight * information
        return loss

    def cycle(self, y: Tensor, generated: Tensor) -> Tensor:
        """``|y - E(G(y))|^2`` of eq. 5, ``[R, B]``. Generated items do not touch the running statistics."""
        with self.net.evaluating(averaged=False):
            return (y - self.encode(generated)).square().sum(-1)

    def pretrain(self, data: AugmentedData, labels: Labels | None, components: Tensor | None) -> None:
        """Eq. 14: map every item to the mean of its component ``[R, N]``, or labelled items only."""
        r, size = self.net.restarts, self.step.batch_size
        for _ in self.engine.progress(self.step.encoder_pretrain_steps, "encoder"):
            if components is not None:
                index = data.draw_index(r, size)
                target = components.gather(1, index)
            elif labels is not None:
                index = labels.draw_index(r, size, self.engine.generator)
                target = labels.component[index]
            real = data.items[index]
            z = self.encode(data.perturb(real) if self.step.augments else real)
            self.net.optimizer.step((z - self.means[target]).square().sum(-1).mean(1).sum() / 2)


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
        Choices for "generator" and "discriminator", see `build.build_stack`.
    engine : Engine
        Device and random generators.

    Attributes
    ----------
    slopes : Tensor [R, K]
        What eq. 12 gains per item from more of omega_k in its terms in Y: running means of
        ``-lambda_1 c_k + lambda_2 log D_k`` (the published update of omega uses it).
    """

    _state: ClassVar[tuple[str, ...]] = (
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
        engine: Engine,
    ) -> None:
        self.restarts, self.means, self.step, self.engine = restarts, means, step, engine
        (k, dims), judged = means.shape, (len(means),) if step.conditional else ()
        r, seed = restarts, engine.cpu_generator
        self.generator = engine.place(
            build_stack("decoder", networks["generator"], r, (dims,), item_shape, seed)
        )
        self.discriminator = engine.place(
            build_stack("discriminator", networks["discriminator"], r, item_shape, judged, seed)
        )
        self.objective = objective = OBJECTIVES[step.objective]
        generator_lr, discriminator_lr = (
            (objective.generator_lr, objective.critic_lr) if step.lr is None else (step.lr, step.lr)
        )
        make = objective.make_optimizer
        self.generator_optimizer = FusedOptimizer(self.generator.parameters(), make, generator_lr)
        self.discriminator_optimizer = FusedOptimizer(self.discriminator.parameters(), make, discriminator_lr)
        self.joint = not normalizes_batches(self.discriminator)
        self.averaged = AveragedNetwork(self.generator, self.generator_optimizer, step.ema_decay)
        self.steps_done = 0
        self.slopes = torch.zeros(restarts, k, device=engine.device)

    def draw(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Draw components k by omega and latent points ``y ~ N(mu_k, I)``: ``[R, S]`` and ``[R, S, L]``."""
        size, generator = self.step.generated_batch_size, self.engine.generator
        # NaN: the record of the iteration says that training has diverged
        k = torch.multinomial(weights.nan_to_num(1.0), size, True, generator=generator)
        noise = torch.randn(*k.shape, self.means.shape[1], generator=generator, device=k.device)
        return k, self.means[k] + noise

    def generate(self, y: Tensor) -> Tensor:
        """Items ``G(y)``, ``[R, S, *item_shape]``."""
        with self.engine.autocast():
            return self.generator(y).float()

    def sample(self, weights: Tensor) -> Generated:
        """Generate the items of a step."""
        k, y = self.draw(weights)
        return Generated(k, y, self.generate(y))

    def discriminate(self, x: Tensor, gamma: Tensor) -> Tensor:
        """Logits of D ``[R, B]`` for items of known memberships ``[R, B, K]``."""
        with self.engine.autocast():
            return self.logits_for(x, gamma)

    def logits_for(self, x: Tensor, gamma: Tensor) -> Tensor:
        """`discriminate` in the arithmetic of the caller: penalties are computed without autocast."""
        logits = self.discriminator(x).float()
        return (logits * gamma).sum(-1) if self.step.conditional else logits

    def generator_step(self, generated: Generated, encoder: Encoder) -> dict[str, Tensor]:
        """One step of theta_G up eq. 13; returns cycle error and adversarial loss."""
        step, (k, y, items) = self.step, generated
        one_hot = F.one_hot(k, len(self.means)).float()
        m = min(step.batch_size, k.shape[1])  # E, the dearest network, sees m of them
        with encoder.net.evaluating():
            z = encoder.encode(items[:, :m])
        errors = (y[:, :m] - z).square().sum(-1)
        logits = self.discriminate(items, one_hot)
        adversarial = self.objective.generator_loss(logits)
        loss = step.cycle_weight * errors.mean(1).sum() + step.adversarial_weight * adversarial
        if step.recognition_weight:
            joint = latent.log_joint(z, self.means, encoder.weights)
            wrong = F.cross_entropy(joint.flatten(0, 1), k[:, :m].flatten(), reduction="sum") / m
            loss = loss + step.recognition_weight * wrong
        self.generator_optimizer.step(loss)
        self.averaged.update()
        with torch.no_grad():
            gains = -step.cycle_weight * errors + step.adversarial_weight * F.logsigmoid(logits[:, :m])
            count = one_hot[:, :m].sum(1)
            means = (one_hot[:, :m] * gains[..., None]).sum(1) / count.clamp_min(1)
            self.slopes += 0.1 * torch.where(count > 0, means - self.slopes, 0.0)
        return {"cycle_error": errors.mean().detach(), "generator_loss": adversarial.detach() / self.restarts}

    def discriminator_step(self, generated: Generated, data: AugmentedData, gamma: Tensor) -> Tensor:
        """One step of theta_D down eq. 13, on as many real items, of memberships `gamma` ``[R, N, K]``."""
        index = data.draw_index(self.restarts, self.step.generated_batch_size)
        of_real = latent.gather_memberships(gamma, index)
        return self.train_discriminator(data.items[index], of_real, generated.k, generated.items.detach())

    def train_discriminator(self, real: Tensor, gamma: Tensor, k: Tensor, fake: Tensor) -> Tensor:
        """One step of theta_D on real items and on generated ones of components k."""
        objective, m = self.objective, min(real.shape[1], fake.shape[1])
        one_hot = F.one_hot(k, len(self.means)).float()
        scores = both_scores(self.discriminate, (real, gamma), (fake, one_hot), joint=self.joint)
        loss = objective.critic_terms(*scores) + objective.penalize(
            lambda x: self.logits_for(x, gamma[:, :m]),
            real[:, :m],
            fake[:, :m],
            self.steps_done,
            self.engine.generator,
        )
        self.discriminator_optimizer.step(loss)
        self.steps_done += 1
        return loss.detach() / self.restarts

    def pretrain(self, encoder: Encoder, data: AugmentedData) -> None:
        """Eq. 15: G learns to undo E; eq. 16: D learns to tell G's items from real ones."""
        step, r = self.step, self.restarts
        for _ in self.engine.progress(step.generator_pretrain_steps, "generator"):
            _, y = self.draw(encoder.weights)
            real = data.items[data.draw_index(r, step.batch_size)]
            with torch.no_grad(), encoder.net.evaluating():
                z = encoder.encode(real)
            generated, s = self.generate(torch.cat([y, z], 1)), y.shape[1]
            error = (generated[:, s:] - real).flatten(2).square().sum(-1).mean(1).sum()
            self.generator_optimizer.step(encoder.cycle(y, generated[:, :s]).mean(1).sum() + error)
            self.averaged.update()
        for _ in range(step.discriminator_pretrain_steps):
            real = data.items[data.draw_index(r, step.generated_batch_size)]
            gamma = latent.memberships(encoder.clean_joint(real))
            k, y = self.draw(encoder.weights)
            with torch.no_grad():
                fake = self.generate(y)
            self.train_discriminator(real, gamma, k, fake)
