"""The mathematics of epsilon-EM: memberships, assignments, augmentation, losses. Pure functions of tensors.

Shapes: N items, K components, V views; leading dimensions (restarts) are carried along.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from genmix.training.sampling import WeightedSampler


def entropy(p: Tensor) -> Tensor:
    """Entropy in nats over the last dimension; 0 log 0 is 0."""
    # Not xlogy: its gradient is NaN at 0, where the share of a lost component can underflow to.
    return -(p * p.clamp_min(torch.finfo(p.dtype).tiny).log()).sum(-1)


def component_shares(labels: Tensor, n_components: int) -> Tensor:
    """Share of the items in each component.

    Parameters
    ----------
    labels : Tensor of int64 [..., N]
        Component of each item.
    n_components : int
        K.

    Returns
    -------
    Tensor [..., K]
        Non-negative, sums to one.
    """
    # int64: float32 cannot count beyond 2^24.
    counts = torch.zeros(*labels.shape[:-1], n_components, dtype=torch.int64, device=labels.device)
    counts.scatter_add_(-1, labels, counts.new_ones(()).expand_as(labels))
    return counts / labels.shape[-1]


def balanced_memberships(log_posterior: Tensor, balance: float, n_iter: int = 20) -> Tensor:
    """Memberships whose component masses are pulled towards equal shares: unbalanced Sinkhorn iterations.

    Solves ``max_Q <Q, log p> + H(Q)`` with rows of Q on the simplex and a Kullback-Leibler price for column
    masses that differ from N/K; `balance` is the relaxed exponent ``rho / (rho + 1)`` of that price.

    Parameters
    ----------
    log_posterior : Tensor [..., N, K]
        Log memberships of the classifier.
    balance : float
        From 0 (plain memberships) to 1 (equal shares exactly, in the limit of many iterations).
    n_iter : int
        Sinkhorn iterations (> 0).

    Returns
    -------
    Tensor [..., N, K]
        Rows sum to one.
    """
    if balance == 0:
        return log_posterior.softmax(-1)
    n, k = log_posterior.shape[-2:]
    price = torch.zeros_like(log_posterior[..., :1, :])
    for _ in range(n_iter):
        mass = (log_posterior + price).log_softmax(-1).logsumexp(-2, keepdim=True) - math.log(n / k)
        price = balance * (price - mass)
    return (log_posterior + price).softmax(-1)


def epsilon_at(iteration: int, schedule: Sequence[tuple[int, float]]) -> float:
    """Share epsilon of every M-step batch that comes from outside the component, at one iteration.

    Parameters
    ----------
    iteration : int
        Counted from 0.
    schedule : sequence of (int, float)
        ``(until, epsilon)``: epsilon holds for iterations below `until`; the last entry holds for ever.
    """
    return next((epsilon for until, epsilon in schedule if iteration < until), schedule[-1][1])


def component_distributions(
    labels: Tensor, posterior: Tensor, epsilon: float, extras: str = "highest"
) -> tuple[Tensor, Tensor]:
    """Weigh D_i and the points that augment it for sampling (Yu & Zhou 2018, Algorithm 1, lines 9-11).

    Parameters
    ----------
    labels : Tensor of int64 [..., N]
        Assignment of each item.
    posterior : Tensor [..., N, K]
        Memberships h_q.
    epsilon : float
        Share of the augmented set that comes from outside, in [0, 1); it fixes
        ``sigma = epsilon / (1 - epsilon) |D_i|`` points for ``extras="highest"``.
    extras : {"highest", "proportional"}
        The sigma points of D - D_i of highest posterior, evenly (the paper's text), or all of D - D_i in
        proportion to the posterior (its code).

    Returns
    -------
    own, extra : Tensor [..., K, N]
        Unnormalised weights. A component without members owns its most likely points, so that it can come
        back.
    """
    k, n = posterior.shape[-1], posterior.shape[-2]
    p = posterior.transpose(-1, -2)
    own = F.one_hot(labels, k).transpose(-1, -2).to(p.dtype)
    size = own.sum(-1, keepdim=True)
    fair = max(n // (10 * k), 1)
    likely = p >= p.topk(fair, -1).values[..., -1:]
    own = torch.where(size > 0, own, likely)
    if epsilon == 0:
        return own, own  # nothing comes from outside, so nothing is ranked
    size = own.sum(-1, keepdim=True)
    outside = p.clamp_min(1e-12) * (1 - own)
    if extras == "highest":  # ranked without that floor, or a sure classifier would make all the others equal
        sigma = (epsilon / (1 - epsilon) * size).ceil()
        order = torch.where(own > 0, -1, p).argsort(dim=-1, descending=True, stable=True)
        chosen = (torch.arange(n, device=p.device) < sigma.minimum(n - size)).to(p.dtype)
        outside = torch.zeros_like(p).scatter(-1, order, chosen)
    # A component that owns everything has no outside: its own points stand in.
    return own, torch.where(outside.sum(-1, keepdim=True) > 0, outside, own)


def draw_batches(
    own: Tensor, extra: Tensor, batch_size: int, n_batches: int, epsilon: float, generator: torch.Generator
) -> Tensor:
    """Draw M-step batches: ``round(epsilon * batch_size)`` items of each are from outside the component.

    Parameters
    ----------
    own, extra : Tensor [C, N]
        Weights from `component_distributions`.
    batch_size, n_batches : int
        B items in each of T batches.
    epsilon : float
        Share of extras, in [0, 1).
    generator : torch.Generator
        Source of randomness.

    Returns
    -------
    Tensor of int64 [T, C, B]
    """
    n_extra = round(epsilon * batch_size)
    parts = [(own, batch_size - n_extra), (extra, n_extra)]
    drawn = [
        WeightedSampler(weights).draw(count * n_batches, generator).view(-1, n_batches, count)
        for weights, count in parts
        if count * n_batches
    ]
    empty = torch.empty(len(own), n_batches, 0, dtype=torch.long, device=own.device)
    return torch.cat([empty, *drawn], -1).transpose(0, 1)


def cross_entropy(
    logits: Tensor,
    targets: Tensor,
    kind: str = "cross_entropy",
    smoothing: float = 0.1,
    prior: Tensor | None = None,
) -> Tensor:
    """Loss of the moderate classifier on generated items (Algorithm 1, line 6), a mean over each batch.

    Parameters
    ----------
    logits : Tensor [R, B, K]
        Scores.
    targets : Tensor of int64 [R, B]
        Component that made each item.
    kind : {"cross_entropy", "double_softmax", "label_smoothing"}
        "double_softmax" passes probabilities where logits belong, as the published code does: the loss then
        stays within ``[log(e + K - 1) - 1, log(e + K - 1)]``, so that the classifier never becomes sure.
    smoothing : float
        For "label_smoothing", in [0, 1).
    prior : Tensor [R, K], optional
        Shares of the components in S. A batch with the same number of items of each counts as one drawn by
        these shares: an item of component k weighs ``K prior_k``.

    Returns
    -------
    Tensor [R]
    """
    if kind == "double_softmax":
        logits = logits.softmax(-1)
    smooth = smoothing if kind == "label_smoothing" else 0.0
    losses = F.cross_entropy(
        logits.flatten(0, 1), targets.flatten(), reduction="none", label_smoothing=smooth
    )
    losses = losses.view(targets.shape)
    if prior is not None:
        losses = losses * prior.shape[-1] * prior.gather(1, targets)
    return losses.mean(1)


def information_loss(
    logits: Tensor, conditional_entropy_weight: float = 0.2, balance: float = 2.0, prior: Tensor | None = None
) -> Tensor:
    """Information maximisation under augmentation: items should be told apart, and alike in two views.

    ``CE(p_1, p_2) + conditional_entropy_weight * mean H(p) - balance * H(mean p)``, with p_1 and p_2 the memberships of two
    views of the same items.

    Parameters
    ----------
    logits : Tensor [2, ..., B, K]
        Scores of both views.
    conditional_entropy_weight, balance : float
        Weights (>= 0). `balance` 1 is plain mutual information; more asks for components of near-equal size.
    prior : Tensor [..., K], optional
        Expected shares where they are not equal: the last term is ``+ balance * KL(mean p | prior)``.

    Returns
    -------
    Tensor [...]
        One loss for each leading index (restart or head). It is free of labels, so the lowest may be chosen.
    """
    log_p = logits.log_softmax(-1)
    p = log_p.exp()
    agreement = -((p[0] * log_p[1]).sum(-1) + (p[1] * log_p[0]).sum(-1)).mean(-1) / 2
    sure = -(p * log_p).sum(-1).mean((0, -1))
    shares = p.mean((0, -2))
    uneven = -entropy(shares)
    if prior is not None:
        uneven = uneven - (shares * prior.clamp_min(torch.finfo(prior.dtype).tiny).log()).sum(-1)
    return agreement + conditional_entropy_weight * sure + balance * uneven


def confident_loss(logits: Tensor, targets: Tensor, confidence: float = 0.9) -> Tensor:
    """Cross-entropy to the memberships of items assigned with confidence; the others weigh nothing.

    Parameters
    ----------
    logits : Tensor [R, B, K]
        Scores of the augmented view.
    targets : Tensor [R, B, K]
        Memberships of the clean view.
    confidence : float
        Least membership of the winner, in [0, 1].

    Returns
    -------
    Tensor [R]
    """
    best, label = targets.max(-1)
    losses = F.cross_entropy(logits.flatten(0, 1), label.flatten(), reduction="none").view(label.shape)
    return (losses * (best >= confidence)).mean(1)


def view_information(first: Tensor, second: Tensor, n_components: int, doubt: float = 0.0) -> Tensor:
    """Mutual information in nats between the components k and k' of two views of the same items.

    High where views agree and components differ; free of labels, so it ranks partitions of the same data.
    ``I(k; k') - doubt H(k | k')``: mutual information alone would rather cut a large group in two, at the
    price of views that disagree, than keep a small one; `doubt` raises that price.

    Parameters
    ----------
    first, second : Tensor of int64 [..., N]
        Component of each item in either view.
    n_components : int
        K.
    doubt : float
        Price of disagreement (>= 0).

    Returns
    -------
    Tensor [...]
        At most log K; at least 0 where `doubt` is 0.
    """
    k = n_components
    joint = component_shares(torch.cat([first * k + second, second * k + first], -1), k * k).unflatten(
        -1, (k, k)
    )
    marginal = joint.sum(-1)
    unsure = entropy(joint.flatten(-2)) - entropy(marginal)
    return entropy(marginal) - (1 + doubt) * unsure
