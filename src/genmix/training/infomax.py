"""Information maximisation under augmentation: how both papers' models learn what groups there are.

A stack of networks with several output heads learns memberships that differ between items and agree between
two views of one; no labels are needed. Both papers' models call it and inherit nothing from it: scores of
components are the outputs themselves for the classifier of GANMM, and follow from the encodings for DNN-MM.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR

from genmix.base.validation import PositiveInt, Settings, short_repr
from genmix.nn.adversarial import adam
from genmix.nn.build import copy_networks
from genmix.training.augment import AugmentedData, are_images
from genmix.training.engine import AveragedNetwork, Engine, FusedOptimizer, Stateful
from genmix.training.information import information_loss, mutual_information, stability
from genmix.training.partitions import PARTITIONS, partition
from genmix.training.supervision import Labels

#: Price of two views in different components when restarts and candidates are compared.
DISAGREEMENT_PENALTY = 2.0
#: Candidates that learned compete with those that only know a classical partition under views with so many
#: times the noise.
NOISE_OF_COMPARISON = 2.0
#: Steps in which a network learns a partition.
PARTITION_STEPS = 100
#: Items of a step, each in two views; fewer where labels say which component is which.
BATCH_SIZE, LABELLED_BATCH_SIZE = 256, 128


@dataclass(frozen=True)
class InfoMaxInit(Settings):
    """Train the network by information maximisation under augmentation before the first E-step.

    Several candidate networks and heads learn at once and the one whose memberships of two views of an item
    tell most about each other is taken; no labels are involved. See `information_loss`.

    Parameters
    ----------
    steps : int or None
        Optimiser steps; None is 1,200 for images, 800 for tables, 300 where labels of all classes are given.
    n_candidates : int or None
        Networks that learn from random initial weights, in one stack; None is 3 for images, 8 for tables, 1
        with labels of all classes.
    n_heads : int or None
        Output heads of each network; None is 5 for images, 3 for tables, 1 with labels of all classes.
    partitions : sequence of str or None
        Further candidates first learn these classical partitions (see `partitions.PARTITIONS`), which also
        compete in the end as they were learned; None is "kmeans", "gmm-full" and "spectral" for tables and
        none for images.
    screening_steps : int or None
        After so many steps the best candidate of each restart goes on alone; 0 lets all learn to the end.
        None is 400, or half of fewer steps; 0 where there is one candidate.
    lr : float
        Learning rate at the start; it falls to nearly 0 along a cosine.
    marginal_entropy_weight : float
        Weight of even shares in `information_loss`: 1 is mutual information.
    """

    steps: int | None = None
    n_candidates: int | None = None
    n_heads: PositiveInt | None = None
    partitions: Sequence[str] | None = None
    screening_steps: int | None = None
    lr: float = 1e-3
    marginal_entropy_weight: float = 2.0

    def resolve(self, item_shape: tuple[int, ...], *, all_labelled: bool = False) -> ResolvedInfoMax:
        """Replace every None by what suits the kind of data; `all_labelled`: all components have labels.

        Raises
        ------
        ValueError
            Nothing that could learn, an unknown partition, or a screening that does not end before the last
            step.
        """
        defaults = (_IMAGES if are_images(item_shape) else _TABLES) | (_LABELLED if all_labelled else {})
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        init = ResolvedInfoMax(**{n: defaults[n] if own is None else own for n, own in values.items()})
        if unknown := [name for name in init.partitions if name not in PARTITIONS]:
            raise ValueError(
                f"partitions: {short_repr(unknown[0])} is unknown; expected {', '.join(PARTITIONS)}"
            )
        if not init.n_candidates and not init.partitions:
            raise ValueError("n_candidates=0: expected at least 1 where no partitions are given")
        if self.screening_steps is None:  # one candidate needs none, and few steps leave room for fewer
            alone = init.n_candidates + len(init.partitions) == 1
            init = init._replace(screening_steps=0 if alone else min(init.screening_steps, init.steps // 2))
        if not 0 <= init.screening_steps < max(init.steps, 1):
            raise ValueError(
                f"screening_steps={init.screening_steps!r}: expected at least 0 and fewer than "
                f"steps={init.steps!r}"
            )
        return init


class ResolvedInfoMax(NamedTuple):
    """`InfoMaxInit` for one kind of data, without None."""

    steps: int
    n_candidates: int
    n_heads: int
    partitions: Sequence[str]
    screening_steps: int
    lr: float
    marginal_entropy_weight: float


_IMAGES: dict[str, Any] = {
    "steps": 1200, "n_candidates": 3, "n_heads": 5, "partitions": (), "screening_steps": 400,
}  # fmt: skip
_TABLES: dict[str, Any] = {
    "steps": 800, "n_candidates": 8, "n_heads": 3, "partitions": ("kmeans", "gmm-full", "spectral"),
    "screening_steps": 400,
}  # fmt: skip
#: Labels say which component is which: no contest of candidates is needed to find that out.
_LABELLED: dict[str, Any] = {"steps": 300, "n_candidates": 1, "n_heads": 1, "screening_steps": 0}


def init_settings(name: Any) -> InfoMaxInit | None:
    """Look up the settings that a name stands for as argument `init`; None where it is a partition."""
    return InfoMaxInit() if name in ("auto", "infomax", "fitted") else None


def check_init(value: Any, n: int, k: int, names: tuple[str, ...] = ()) -> str | InfoMaxInit | np.ndarray:
    """Check the argument `init`: settings, "infomax" as such, another name, or the components of N items.

    Raises
    ------
    ValueError
        It is none of them.
    """
    if isinstance(value, str) and value == "infomax":
        return InfoMaxInit()
    if isinstance(value, InfoMaxInit):
        return value
    if isinstance(value, str):
        if value not in (*names, *PARTITIONS):
            expected = ", ".join(map(repr, ("auto", "infomax", *names, *PARTITIONS)))
            raise ValueError(f"init={value!r} is unknown; expected {expected}, InfoMaxInit or labels")
        return value
    try:
        labels = np.asarray(value)
    except ValueError:  # lists of different lengths
        labels = np.empty(0)
    if labels.shape != (n,) or labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= k:
        raise ValueError(f"init: expected {n} whole numbers from 0 to {k - 1}, one for each item")
    return labels.astype(np.int64)


class MultiHeadNetwork(Stateful):
    """Networks of R restarts in one stack, each with H output heads of which one is in use, and an optimiser.

    Parameters
    ----------
    network : nn.Module
        Stack of R networks ``[R, B, *item_shape] -> [R, B, H * W]``.
    width : int
        W, numbers that a head returns.
    to_scores : callable
        Maps a head's outputs ``[..., W]`` to scores of components ``[..., K]``, log memberships up to a
        constant.
    engine : Engine
        Device, precision and random generators.
    restarts, n_heads : int
        R and H.
    lr : float
        Learning rate.
    make_optimizer : callable
        Makes the optimiser from parameters and a learning rate.
    frozen : sequence of nn.Parameter
        Parameters of the network that stay as they are.

    Attributes
    ----------
    head : Tensor of int64 [R] or None
        Head in use, None while all of them learn.
    averaged : AveragedNetwork or None
        What stands for the network where nothing is learned, once `start_averaging` was called.
    """

    _state: ClassVar[tuple[str, ...]] = ("network", "optimizer", "n_heads", "head", "averaged")

    def __init__(
        self,
        network: nn.Module,
        width: int,
        to_scores: Callable[[Tensor], Tensor],
        engine: Engine,
        *,
        restarts: int,
        n_heads: int,
        lr: float,
        make_optimizer: Callable[[list[nn.Parameter], float], torch.optim.Optimizer] = adam,
        frozen: Sequence[nn.Parameter] = (),
    ) -> None:
        self.network, self.width, self.to_scores, self.engine = network, width, to_scores, engine
        self.restarts, self.n_heads = restarts, n_heads
        self.head: Tensor | None = None
        self.averaged: AveragedNetwork | None = None
        left_out = {id(parameter) for parameter in frozen}
        self._learned = [p for p in network.parameters() if id(p) not in left_out]
        self._make_optimizer = make_optimizer
        self.reset_optimizer(lr)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to what `state_dict` returned."""
        n_heads = self.n_heads
        super().load_state_dict(state)
        out = self.head is not None and not 0 <= self.head.min() <= self.head.max() < n_heads
        if self.n_heads != n_heads or out:
            raise ValueError(f"head: expected one of {n_heads}")

    def reset_optimizer(self, lr: float) -> None:
        """Start a new optimiser at one learning rate."""
        self.optimizer = FusedOptimizer(self._learned, self._make_optimizer, lr)

    def use_head(self, head: Tensor | int) -> None:
        """Use one head of each network from now on: ``[R]``, or the same of all."""
        self.head = torch.full((self.restarts,), 0, device=self.engine.device) + head

    def head_in_use(self, restart: int) -> int:
        """Return the head that one restart assigns with."""
        return 0 if self.head is None else int(self.head[restart])

    def start_averaging(self, ema_decay: float) -> None:
        """From now on an average of the network over its steps stands for it where nothing is learned."""
        self.averaged = AveragedNetwork(self.network, self.optimizer, ema_decay)

    @property
    def network_in_use(self) -> nn.Module:
        """What memberships come from: the averaged network, if there is one yet."""
        return self.network if self.averaged is None else self.averaged.network

    @contextmanager
    def evaluating(self, *, averaged: bool = True) -> Iterator[None]:
        """Within it the network in use answers by its running statistics, and leaves them alone.

        Without `averaged` it is the network that learns, to which gradients then lead.
        """
        network = self.network
        if averaged and self.averaged is not None:
            self.network = self.averaged.network
        self.network.eval()
        try:
            yield
        finally:
            self.network = network
            network.train()

    def outputs(self, x: Tensor) -> Tensor:
        """Compute outputs ``[R, B, H, W]`` of items ``[R, B, ...]``; H is 1 once a head is in use."""
        with self.engine.autocast():
            outputs = self.network(x)
        outputs = outputs.float().unflatten(-1, (-1, self.width))
        if self.head is None:
            return outputs
        return outputs.gather(2, self.head.view(-1, 1, 1, 1).expand(-1, outputs.shape[1], 1, self.width))

    def scores(self, x: Tensor) -> Tensor:
        """Scores ``[R, B, H, K]`` of items ``[R, B, ...]``."""
        return self.to_scores(self.outputs(x))

    def step(self, loss: Tensor) -> None:
        """One optimiser step on a loss."""
        self.optimizer.step(loss)
        if self.averaged is not None:
            self.averaged.update()

    @torch.no_grad()
    def head_labels(self, items: Tensor) -> Tensor:
        """Components ``[R, H, B]`` that every head of every network gives the same items ``[B, ...]``."""
        with self.evaluating():
            return self.scores(items.expand(self.restarts, *items.shape)).argmax(-1).transpose(1, 2)

    def information_loss(
        self, data: AugmentedData, batch_size: int, marginal_entropy_weight: float, prior: Tensor | None
    ) -> Tensor:
        """Losses ``[R, H]`` of one batch of real items (`information.information_loss`)."""
        views = data.draw(self.restarts, batch_size)[1]
        pair = torch.stack(self.scores(torch.cat([views[0], views[1]], 1)).split(batch_size, 1))
        return information_loss(pair.transpose(2, 3), marginal_entropy_weight, prior)


def fit_partition(net: MultiHeadNetwork, components: Tensor, data: AugmentedData) -> None:
    """Learn partitions ``[R, N]`` of the data, each network its own and with all its heads."""
    for _ in range(PARTITION_STEPS):
        index, views = data.draw(net.restarts, BATCH_SIZE)
        scores = net.scores(views[0])
        target = components.gather(1, index)[..., None].expand(scores.shape[:-1])
        losses = F.cross_entropy(scores.flatten(0, 2), target.flatten(), reduction="none")
        net.step(losses.view(net.restarts, -1).mean(1).sum())


@torch.no_grad()
def viewed_components(
    assign: Callable[[Tensor], Tensor], data: AugmentedData, batches: int = 16, batch_size: int = 1024
) -> Tensor:
    """Components of two views of a sample of the items.

    Parameters
    ----------
    assign : callable
        Maps items ``[B, *item_shape]`` to components ``[..., B]`` of several contenders, which see the same
        views.
    data : AugmentedData
        Items and augmentation.
    batches, batch_size : int
        Size of the sample, at most 8 pairs an item.

    Returns
    -------
    Tensor of int64 [2, ..., P]
    """
    n_pairs = min(batches * batch_size, 8 * len(data.items))  # more pairs say little more of few items
    size = min(batch_size, n_pairs)
    drawn = [data.draw(1, size)[1][:, 0] for _ in range(n_pairs // size)]
    return torch.cat([torch.stack([assign(view) for view in views]) for views in drawn], -1)


def view_mutual_information(
    assign: Callable[[Tensor], Tensor], data: AugmentedData, n_components: int, *sample: int
) -> Tensor:
    """How much two views' components tell about each other, ``[...]`` (`information.mutual_information`).

    Arguments but K are those of `viewed_components`.
    """
    pairs = viewed_components(assign, data, *sample)
    return mutual_information(pairs[0], pairs[1], n_components, DISAGREEMENT_PENALTY)


def view_stability(
    assign: Callable[[Tensor], Tensor], data: AugmentedData, n_components: int, *sample: int
) -> Tensor:
    """How well items keep their component between two views, ``[...]`` (`information.stability`).

    Arguments but K are those of `viewed_components`.
    """
    pairs = viewed_components(assign, data, *sample)
    return stability(pairs[0], pairs[1], n_components)


def pretrain_infomax(
    init: ResolvedInfoMax,
    make: Callable[[int, int], MultiHeadNetwork],
    data: AugmentedData,
    n_components: int,
    restarts: int,
    labels: Labels | None = None,
) -> MultiHeadNetwork:
    """Train candidates by information maximisation and keep the best one for each restart.

    For each restart P candidates that know a classical partition, and others of random weights, learn by
    information maximisation; the one whose views tell most about each other (`view_mutual_information`) goes
    on. It then competes with the P as they were before, under noisier views, by `view_stability`: what was
    learned prefers groups of even size, and would win by cutting large ones if the same were asked again.

    Parameters
    ----------
    init : ResolvedInfoMax
        Settings.
    make : callable
        ``(n_networks, n_heads) -> MultiHeadNetwork`` makes a stack of untrained networks.
    data : AugmentedData
        The items and their augmentation.
    n_components, restarts : int
        K and R.
    labels : Labels, optional
        Known components of some items: learned beside, and their shares are the prior of the memberships'.

    Returns
    -------
    MultiHeadNetwork
        R networks, one head of each in use; its optimiser is at `init.lr` or below.
    """
    n_classical = len(init.partitions)
    per_restart = n_classical + init.n_candidates

    def make_stack(n: int) -> MultiHeadNetwork:
        stack = make(n, init.n_heads)
        stack.optimizer.set_lr(init.lr)
        return stack

    candidates, classical = make_stack(restarts * per_restart), []
    if n_classical:
        classical = [make_stack(restarts * n_classical)]
        fit_partition(classical[0], _partitions(init, restarts, data, n_components, labels), data)
        every = torch.arange(restarts * per_restart, device=data.items.device)
        places = every.view(restarts, per_restart)[:, :n_classical].flatten()
        _copy(classical[0], every[: len(places)], candidates, places)
    _learn(
        candidates, data, init, init.screening_steps or init.steps, labels, anneal=not init.screening_steps
    )
    best = _best_head(view_mutual_information, data, n_components, restarts, candidates)
    net = make_stack(restarts)
    _take_heads(net, best, restarts, candidates)
    if init.screening_steps:
        net.head = None  # all its heads learn on
        _learn(net, data, init, init.steps - init.screening_steps, labels, anneal=True)
        best = _best_head(view_mutual_information, data, n_components, restarts, net)
        _take_heads(net, best, restarts, net)
    if classical:
        noisy = data.with_noise(NOISE_OF_COMPARISON)
        best = _best_head(view_stability, noisy, n_components, restarts, net, *classical)
        _take_heads(net, best, restarts, net, *classical)
    return net


def _learn(
    net: MultiHeadNetwork,
    data: AugmentedData,
    init: ResolvedInfoMax,
    steps: int,
    labels: Labels | None,
    *,
    anneal: bool,
) -> None:
    """Information maximisation at a constant rate, or one that falls along a cosine."""
    prior = None if labels is None else labels.shares()
    size = BATCH_SIZE if labels is None or not labels.complete else LABELLED_BATCH_SIZE
    net.optimizer.set_lr(init.lr)
    schedule = CosineAnnealingLR(net.optimizer.optimizer, max(steps, 1), 0.02 * init.lr) if anneal else None
    for _ in data.engine.progress(steps, "init"):
        loss = net.information_loss(data, size, init.marginal_entropy_weight, prior).sum()
        if labels is not None:
            loss = loss + labels.loss(net, data)
        net.step(loss)
        if schedule is not None:
            schedule.step()


def _partitions(
    init: ResolvedInfoMax, restarts: int, data: AugmentedData, n_components: int, labels: Labels | None
) -> Tensor:
    """Classical partitions ``[R * P, N]``, P for each restart."""
    parts = [
        partition(name, data.items, n_components, data.engine)
        for _ in range(restarts)
        for name in init.partitions
    ]
    if labels is not None:
        parts = [labels.align(part) for part in parts]
    return torch.from_numpy(np.stack(parts)).to(data.items.device)


def _best_head(
    score: Callable[..., Tensor],
    data: AugmentedData,
    n_components: int,
    restarts: int,
    *nets: MultiHeadNetwork,
) -> Tensor:
    """Find the head of best score among all of all networks of a restart: its number ``[R]``."""

    def assign(items: Tensor) -> Tensor:  # [R, heads of all networks, B]
        return torch.cat(
            [net.head_labels(items).flatten(0, 1).unflatten(0, (restarts, -1)) for net in nets], 1
        )

    return score(assign, data, n_components).argmax(1)


def _take_heads(target: MultiHeadNetwork, best: Tensor, restarts: int, *nets: MultiHeadNetwork) -> None:
    """Copy to `target`, one of `nets` or not, the networks that have these heads, and use the heads."""
    restart, head, first = torch.arange(restarts, device=best.device), torch.zeros_like(best), 0
    for net in nets:
        n_networks, n_heads = net.restarts // restarts, net.n_heads if net.head is None else 1
        here = restart[(first <= best) & (best < first + n_networks * n_heads)]
        network = (best[here] - first).div(n_heads, rounding_mode="floor")
        if net is not target:
            _copy(net, here * n_networks + network, target, here)
        head[here] = (best[here] - first) % n_heads if net.head is None else net.head[here]
        first += n_networks * n_heads
    target.use_head(head)


def _copy(source: MultiHeadNetwork, chosen: Tensor, target: MultiHeadNetwork, places: Tensor) -> None:
    copy_networks(source.network, source.restarts, chosen, target.network, target.restarts, places)
