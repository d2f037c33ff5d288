"""The stacked autoencoder of deep clustering (Xie, Girshick & Farhadi, ICML 2016) and what is built on it."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor, nn

from genmix.base.validation import Interval, PositiveInt, Settings
from genmix.nn.adversarial import adam
from genmix.nn.stacked import StackedMLP
from genmix.training.augment import AugmentedData
from genmix.training.checkpoint import Checkpoint
from genmix.training.engine import Engine, FusedOptimizer


def optimizer_maker(name: str) -> Any:
    """``(parameters, lr) -> optimiser`` by name.

    Raises
    ------
    ValueError
        Unknown name.
    """
    if name == "adam":
        return partial(adam, betas=(0.9, 0.999))
    if name == "sgd":
        return lambda parameters, lr: torch.optim.SGD(parameters, lr, momentum=0.9)
    raise ValueError(f"optimizer={name!r}: expected 'adam' or 'sgd'")


@dataclass(frozen=True)
class Pretraining(Settings):
    """How an autoencoder learns before anything is clustered.

    Parameters
    ----------
    hidden : sequence of int
        Widths of the encoder's hidden layers; the decoder mirrors them.
    latent_dim : int
        Width of the code.
    layer_steps : int
        Steps of greedy denoising on each pair of layers, outermost first; 0 trains end to end only.
    steps : int or None
        Steps end to end; 0 leaves the autoencoder as it is, None takes 100 passes over the data, but no fewer
        than 500 steps and no more than 4,000.
    batch_size : int
        Items of a step.
    optimizer : {"adam", "sgd"}
        "sgd" has momentum 0.9.
    lr : float
        Learning rate at the start.
    falling : bool
        Let the rate fall to nearly 0 along a cosine.
    corruption : float
        Share of an item's numbers that are set to 0 end to end (in [0, 1)); the item as it was is rebuilt.
    layer_corruption : float
        Share of the inputs of a layer, and of its outputs, that are set to 0 while layers learn (in [0, 1)).
    augment : bool
        The autoencoder sees augmented views of the items, and rebuilds the items.
    """

    #: Passes over the data, and the fewest and most steps, where `steps` is None.
    passes: ClassVar[tuple[int, int, int]] = (100, 500, 4000)

    hidden: tuple[PositiveInt, ...] = (500, 500, 2000)
    latent_dim: PositiveInt = 10
    layer_steps: int = 0
    steps: int | None = None
    batch_size: PositiveInt = 256
    optimizer: str = "adam"
    lr: float = 1e-3
    falling: bool = True
    corruption: Annotated[float, Interval("[0, 1)")] = 0.2
    layer_corruption: Annotated[float, Interval("[0, 1)")] = 0.2
    augment: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be trained."""
        super().__post_init__()
        optimizer_maker(self.optimizer)

    def count_steps(self, n_items: int) -> int:
        """Count the steps end to end for so many items."""
        passes, fewest, most = self.passes
        return (
            min(max(passes * n_items // self.batch_size, fewest), most) if self.steps is None else self.steps
        )


#: Xie et al. 2016, section 5.3; `steps` of 256 items. Their rate of 0.1, read as one for the mean error of an
#: image's 784 numbers of 0 to 5.1, is 0.1 * 5.1^2 / 784 for our sum over numbers of 0 to 1: as it stands, all
#: codes become 0. It falls along a cosine, theirs by tenths.
DEC_PAPER = Pretraining(
    layer_steps=50_000, steps=100_000, optimizer="sgd", lr=3.3e-3, falling=True, corruption=0.0
)


class Autoencoder(nn.Module):
    """Dense encoder and mirrored decoder of items of any shape.

    Parameters
    ----------
    item_shape : tuple of int
        Shape of one item; flattened inside.
    hidden : sequence of int
        Widths of the encoder's hidden layers.
    latent_dim : int
        Width of the code.
    generator : torch.Generator
        Source of the initial weights.
    """

    #: Context of its layers: while it learns, that of the fit's precision.
    autocast: Callable[[], AbstractContextManager[object]] = staticmethod(nullcontext)

    def __init__(
        self,
        item_shape: tuple[int, ...],
        hidden: tuple[int, ...],
        latent_dim: int,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.encoder = StackedMLP(1, item_shape, (latent_dim,), generator, hidden=hidden)
        self.decoder = StackedMLP(1, (latent_dim,), item_shape, generator, hidden=hidden[::-1])

    def encode(self, x: Tensor) -> Tensor:
        """Codes ``[B, L]`` of items ``[B, *item_shape]``."""
        with self.autocast():
            return self.encoder(x[None])[0].to(x.dtype)

    def decode(self, z: Tensor) -> Tensor:
        """Items ``[B, *item_shape]`` of codes ``[B, L]``."""
        with self.autocast():
            return self.decoder(z[None])[0].to(z.dtype)

    def error(self, z: Tensor, x: Tensor) -> Tensor:
        """Reconstruction error ``[B]`` of items `x` from codes `z`, what training lowers."""
        return reconstruction_error(self.decode(z), x)

    def encode_all(self, items: Tensor, batch_size: int = 2048) -> Tensor:
        """`encode` of any number of items, without gradient."""
        with torch.no_grad():
            return torch.cat([self.encode(x) for x in items.split(batch_size)])

    def pretrain(self, views: AugmentedData, how: Pretraining, kept: Checkpoint) -> None:
        """Learn to rebuild the items, layer by layer first where asked; go on where `kept` was stopped."""
        if how.layer_steps and not kept.exists:
            self._pretrain_layers(views, how)
        self._pretrain_whole(views, how, kept)

    def _pretrain_whole(self, views: AugmentedData, how: Pretraining, kept: Checkpoint) -> None:
        optimizer = FusedOptimizer(self.parameters(), optimizer_maker(how.optimizer), how.lr)
        steps = how.count_steps(len(views.items))
        for t in kept.steps(steps, "autoencoder", {"networks": self, "optimizer": optimizer}):
            set_falling_lr(optimizer, how, t, steps)
            x = views.items[views.draw_index(1, how.batch_size)[0]]
            seen = views.perturb(x) if how.augment else x
            z = self.encode(corrupt(seen, how.corruption, views.engine))
            optimizer.step(self.error(z, x).mean())

    def freeze(self) -> None:
        """Learn no more, and answer in full precision."""
        self.requires_grad_(False)
        self.autocast = nullcontext

    def _pretrain_layers(self, views: AugmentedData, how: Pretraining) -> None:
        """Each layer learns, with its mirror image, to rebuild what the layers before it give it."""
        depth = len(self.encoder.layers)
        inputs = views.items.flatten(1)[None]
        for number, layer in enumerate(self.encoder.layers):
            mirror, last, first = self.decoder.layers[depth - 1 - number], number == depth - 1, number == 0
            optimizer = FusedOptimizer(
                [*layer.parameters(), *mirror.parameters()], optimizer_maker(how.optimizer), how.lr
            )
            for t in views.engine.progress(how.layer_steps, f"layer {number + 1}"):
                set_falling_lr(optimizer, how, t, how.layer_steps)
                x = inputs[:, views.draw_index(1, how.batch_size)[0]]
                with self.autocast():
                    h = layer(corrupt(x, how.layer_corruption, views.engine))
                    h = corrupt(h if last else h.relu(), how.layer_corruption, views.engine)
                    made = mirror(h).float()
                optimizer.step(((made if first else made.relu()) - x).square().sum(-1).mean())
            with torch.no_grad():
                inputs = torch.cat([layer(x) for x in inputs.split(2048, 1)], 1)
                inputs = inputs if last else inputs.relu()


def set_falling_lr(optimizer: FusedOptimizer, how: Pretraining, step: int, steps: int) -> None:
    """Learning rate of a step: constant, or falling along a cosine."""
    fall = 0.505 + 0.495 * math.cos(math.pi * step / steps) if how.falling else 1.0
    optimizer.set_lr(how.lr * fall)


def reconstruction_error(made: Tensor, x: Tensor) -> Tensor:
    """Squared error of each item ``[B]``, summed over its numbers."""
    return (made - x).flatten(1).square().sum(1)


def corrupt(x: Tensor, share: float, run: Engine) -> Tensor:
    """Set a share of the numbers to 0, as dropout does, by the fit's own generator."""
    if not share:
        return x
    keep = torch.rand(x.shape, generator=run.generator, device=x.device) >= share
    return x * keep / (1 - share)


def shuffled(n_items: int, batch_size: int, run: Engine) -> tuple[Tensor, ...]:
    """Draw the batches of a pass over the data: every item once, in random order."""
    return torch.randperm(n_items, generator=run.generator, device=run.device).split(batch_size)


__all__ = [
    "DEC_PAPER",
    "Autoencoder",
    "Pretraining",
    "corrupt",
    "optimizer_maker",
    "reconstruction_error",
    "set_falling_lr",
    "shuffled",
]
