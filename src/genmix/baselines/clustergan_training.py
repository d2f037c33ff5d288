"""Networks of ClusterGAN, its latent space, its losses and one step of each of its players."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genmix.nn.adversarial import Adversarial, clip_weights
from genmix.nn.build import build_stack, normalizes_batches
from genmix.nn.stacked import Shape, StackedConv, StackedConvGenerator, StackedLinear, StackedNorm
from genmix.training.engine import AveragedNetwork, Engine, FusedOptimizer, Stateful

ROLES = ("generator", "encoder", "critic")

#: Name of the published networks.
PUBLISHED = "clustergan-2019"

#: Ours: about a quarter of the published channels, for a CPU. Encoder and critic judge generated and real
#: items alike, so neither normalises batches.
_OPTIONS: dict[tuple[str, str], dict[str, Any]] = {
    ("generator", "mlp"): {"hidden": (128, 128), "norm": "running"},
    ("generator", "conv"): {"channels": 16, "norm": "running"},
    ("encoder", "mlp"): {"hidden": (128, 128), "norm": None, "negative_slope": 0.2},
    ("encoder", "conv"): {
        "channels": 16,
        "dense": 256,
        "norm": None,
        "negative_slope": 0.2,
        "small_start": False,
    },
    ("critic", "mlp"): {"hidden": (128, 128), "negative_slope": 0.2},
    ("critic", "conv"): {"channels": 16, "dense": 256, "negative_slope": 0.2},
}

#: First rate of `follow_codes`.
FOLLOW_LR = 1e-3

#: Role whose options `build.build_stack` knows.
_STACK_ROLES = {"generator": "decoder", "encoder": "encoder", "critic": "discriminator"}


@dataclass(frozen=True)
class LatentSpace:
    """Noise and a one-hot component, side by side: ``z = (z_n, z_c)``.

    Parameters
    ----------
    k : int
        K, the components.
    dims : int
        L, the dimensions of the noise z_n.
    spread : float
        Its standard deviation; small, so that the components stay apart.
    """

    k: int
    dims: int
    spread: float

    @property
    def width(self) -> int:
        """Numbers of one latent point, ``L + K``."""
        return self.dims + self.k

    def at(self, component: Tensor, generator: torch.Generator) -> Tensor:
        """Latent points ``[..., L + K]`` of given components ``[...]``."""
        shape = (*component.shape, self.dims)
        noise = torch.randn(shape, generator=generator, device=component.device)
        return torch.cat([self.spread * noise, F.one_hot(component, self.k).float()], -1)

    def draw(self, n: int, generator: torch.Generator, device: torch.device) -> tuple[Tensor, Tensor]:
        """Draw components ``[1, n]``, all equally likely, and latent points ``[1, n, L + K]``."""
        component = torch.randint(self.k, (1, n), generator=generator, device=device)
        return component, self.at(component, generator)

    def codes(self, out: Tensor) -> Tensor:
        """Turn encoder outputs into latent points: z_n as it is, the softmax of the logits z_c."""
        return torch.cat([out[..., : self.dims], out[..., self.dims :].softmax(-1)], -1)

    def errors(self, out: Tensor, z: Tensor, component: Tensor) -> tuple[Tensor, Tensor]:
        """How far encoder outputs ``[1, n, L + K]`` of generated items are from what these were made of.

        Returns
        -------
        noise_error : Tensor
            Squared error of z_n, the mean of its numbers.
        component_error : Tensor
            Cross-entropy of z_c in nats, the mean of the items.
        """
        noise_error = (out[..., : self.dims] - z[..., : self.dims]).square().mean()
        return noise_error, F.cross_entropy(out[0, :, self.dims :], component[0])


def make_networks(
    choices: Mapping[str, Any], item_shape: Shape, space: LatentSpace, generator: torch.Generator
) -> nn.ModuleDict:
    """Build generator, encoder and critic, each a stack of one network.

    Parameters
    ----------
    choices : mapping
        Of each role: "auto", "mlp", "conv", "clustergan-2019", a dictionary or a factory; see
        `build.build_stack`.
    item_shape : tuple of int
        ``(d,)`` or ``(C, H, W)``.
    space : LatentSpace
        What the generator makes items of.
    generator : torch.Generator
        Source of the initial weights.

    Raises
    ------
    ValueError
        Unknown choice, or a convolutional network for a table.
    """
    images = len(item_shape) == 3 and min(item_shape[1:]) >= 4
    shapes: dict[str, tuple[Shape, Shape]] = {
        "generator": ((space.width,), item_shape),
        "encoder": (item_shape, (space.width,)),
        "critic": (item_shape, ()),
    }
    networks = nn.ModuleDict()
    for role, (before, after) in shapes.items():
        choice = choices[role]
        if isinstance(choice, str) and choice == PUBLISHED:
            networks[role] = _published(role, images, before, after, generator)
            continue
        if not callable(choice):
            given = dict(choice) if isinstance(choice, dict) else {"kind": choice}
            kind = given.get("kind", "auto")
            kind = ("conv" if images else "mlp") if kind == "auto" else kind
            choice = {**_OPTIONS.get((role, kind), {}), **given, "kind": kind}
        networks[role] = build_stack(_STACK_ROLES[role], choice, 1, before, after, generator)
    return networks


def _published(role: str, images: bool, before: Shape, after: Shape, generator: torch.Generator) -> nn.Module:
    """Networks of the published code: those for MNIST, or for tables those for its table of genes."""
    if not images:
        choice: dict[str, Any] = {"kind": "mlp", "hidden": (256, 256), "norm": None, "negative_slope": 0.2}
        network = build_stack(_STACK_ROLES[role], choice, 1, before, after, generator)
    elif role == "generator":
        network = nn.Sequential(
            StackedLinear(1, before[0], 1024, generator),
            StackedNorm(1024, running=True),
            nn.ReLU(),
            StackedConvGenerator(1, (1024,), after, generator, channels=64, norm="running"),
        )
    else:
        choice = {**_OPTIONS[role, "conv"], "kind": "conv", "channels": 64, "dense": 1024}
        network = build_stack(_STACK_ROLES[role], choice, 1, before, after, generator)
    for layer in network.modules():
        if isinstance(layer, StackedLinear | StackedConv):
            nn.init.normal_(layer.weight, 0.0, 0.02, generator)
    return network


class Training(Stateful):
    """The players and what trains them.

    Parameters
    ----------
    networks : nn.ModuleDict
        "generator", "encoder" and "critic" on the device.
    space : LatentSpace
        Where generated items come from.
    objective : Adversarial
        Losses, penalty, optimiser and rates.
    beta_n, beta_c : float
        Weights of the two errors of the encoder.
    ema_decay : float
        Forgetting factor of the averaged generator and encoder.
    batch_size : int
        Items of a step.
    run : Engine
        Device and random generators.
    """

    _state = ("learners", "critic", "optimizer", "critic_optimizer", "averaged", "critic_steps")

    def __init__(
        self,
        networks: nn.ModuleDict,
        space: LatentSpace,
        objective: Adversarial,
        *,
        beta_n: float,
        beta_c: float,
        ema_decay: float,
        batch_size: int,
        run: Engine,
    ) -> None:
        self.space, self.objective, self.engine = space, objective, run
        self.beta_n, self.beta_c, self.batch_size = beta_n, beta_c, batch_size
        self.generator, self.encoder, self.critic = (networks[role] for role in ROLES)
        self.learners = nn.ModuleDict({role: networks[role] for role in ("generator", "encoder")})
        make = objective.make_optimizer
        # Generator and encoder minimise one loss, by one optimiser.
        self.optimizer = FusedOptimizer(self.learners.parameters(), make, objective.generator_lr)
        self.critic_optimizer = FusedOptimizer(self.critic.parameters(), make, objective.critic_lr)
        self.averaged = AveragedNetwork(self.learners, self.optimizer, ema_decay)
        self.joint = not normalizes_batches(self.critic)
        self.critic_steps = 0

    def judge(self, x: Tensor) -> Tensor:
        """Scores ``[1, B]`` by the critic, in the arithmetic of the caller: penalties want no autocast."""
        return self.critic(x).float()

    def draw(self) -> tuple[Tensor, Tensor]:
        """Components ``[1, B]`` and latent points ``[1, B, L + K]`` of a batch."""
        return self.space.draw(self.batch_size, self.engine.generator, self.engine.device)

    def generate(self) -> tuple[Tensor, Tensor, Tensor]:
        """Components and latent points of a batch, and the items made of them."""
        component, z = self.draw()
        with self.engine.autocast():
            return component, z, self.generator(z).float()

    def train_critic(self, items: Tensor) -> Tensor:
        """One step of the critic on random items and generated ones; returns its loss."""
        shape, draw = (1, self.batch_size), self.engine.generator
        real = items[torch.randint(len(items), shape, generator=draw, device=items.device)]
        with torch.no_grad():
            fake = self.generate()[2]
        with self.engine.autocast():
            loss = self.objective.critic_loss(
                self.judge, real, fake, self.critic_steps, draw, joint=self.joint
            )
        self.critic_optimizer.step(loss)
        if self.objective.clip is not None:
            clip_weights(self.critic_optimizer.flat, self.objective.clip)
        self.critic_steps += 1
        return loss.detach()

    def train_generator(self, known: tuple[Tensor, Tensor] | None, views: Tensor | None = None) -> Tensor:
        """One step of generator and encoder; returns adversarial loss, both errors and that of labels, [4].

        `known`: real items ``[1, B, ...]`` and their components ``[B]``; `views`: two views of real items,
        ``[2, 1, B, ...]``, whose components are to agree.
        """
        component, z, fake = self.generate()
        with self.engine.autocast():
            adversarial = self.objective.generator_loss(self.judge(fake))
        errors = self.space.errors(self.encode(fake), z, component)
        labels = torch.zeros_like(adversarial)
        if known is not None:
            labels = F.cross_entropy(self.encode(known[0])[0, :, self.space.dims :], known[1])
        loss = adversarial + self.beta_n * errors[0] + self.beta_c * (errors[1] + labels)
        if views is not None:
            one, other = (self.encode(view)[0, :, self.space.dims :] for view in views)
            loss = loss + F.cross_entropy(other, one.softmax(-1))
        self.optimizer.step(loss)
        self.averaged.update()
        return torch.stack([adversarial, *errors, labels]).detach()

    def encode(self, x: Tensor) -> Tensor:
        """Apply the encoder: ``[1, B, L + K]``."""
        with self.engine.autocast():
            return self.encoder(x).float()

    # ------------------------------------------------------------------ to answer, and to go on later

    def tensors(self) -> dict[str, Tensor]:
        """Return what the fitted model is: the averaged generator and encoder, and the critic."""
        critic = {f"critic.{name}": tensor for name, tensor in self.critic.state_dict().items()}
        return {**self.averaged.network.state_dict(), **critic}

    def state_dict(self) -> dict[str, Any]:
        """Everything that training goes on from; the random generators are their engine's state."""
        return {**super().state_dict(), "objective": repr(self.objective)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to what `state_dict` returned; of another objective the optimisers begin anew."""
        if state["objective"] != repr(self.objective):
            own = super().state_dict()
            state = {**state, **{name: own[name] for name in ("optimizer", "critic_optimizer")}}
        super().load_state_dict(state)


def follow_codes(
    encoder: nn.Module,
    space: LatentSpace,
    items: Tensor,
    targets: Tensor,
    batch_size: int,
    steps: int,
    run: Engine,
) -> None:
    """Train an encoder to give items the codes wanted, by squared distance and a rate that falls to 0.

    Parameters
    ----------
    encoder : nn.Module
        Changed in place; it stays in evaluation mode and without gradients.
    space : LatentSpace
        What its outputs mean.
    items : Tensor [N, ...]
        Scaled items.
    targets : Tensor [N, M]
        The last M numbers of the codes wanted.
    batch_size, steps : int
        Items of a step, and steps.
    run : Engine
        Device and random generators.
    """
    items, targets = items.to(run.device), targets.to(run.device)
    encoder.requires_grad_(True)
    optimizer = torch.optim.Adam(encoder.parameters(), FOLLOW_LR)
    rates = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps)
    for _ in range(steps):
        index = torch.randint(len(items), (batch_size,), generator=run.generator, device=run.device)
        codes = space.codes(encoder(items[index][None]).float())[0, :, -targets.shape[1] :]
        optimizer.zero_grad()
        (codes - targets[index]).square().sum(-1).mean().backward()
        optimizer.step()
        rates.step()
    optimizer.zero_grad()
    encoder.requires_grad_(False)


__all__ = ["PUBLISHED", "ROLES", "LatentSpace", "Training", "follow_codes", "make_networks"]
