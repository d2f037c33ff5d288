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


def balanced_memberships(log_posterior: Tensor, sinkhorn_strength: float, n_iter: int = 20) -> Tensor:
    """Memberships whose component masses are pulled towards equal shares: unbalanced Sinkhorn iterations.

    Solves ``max_Q <Q, log p> + H(Q)`` with rows of Q on the simplex and a Kullback-Leibler price for column
    masses that differ from N/K; `sinkhorn_strength` is the relaxed exponent ``rho / (rho + 1)`` of it.

    Parameters
    ----------
    log_posterior : Tensor [..., N, K]
        Log memberships of the classifier.
    sinkhorn_strength : float
        From 0 (plain memberships) to 1 (equal shares exactly, in the limit of many iterations).
    n_iter : int
        Sinkhorn iterations (> 0).

    Returns
    -------
    Tensor [..., N, K]
        Rows sum to one.
    """
    if sinkhorn_strength == 0:
        return log_posterior.softmax(-1)
    n, k = log_posterior.shape[-2:]
    price = torch.zeros_like(log_posterior[..., :1, :])
    for _ in range(n_iter):
        mass = (log_posterior + price).log_softmax(-1).logsumexp(-2, keepdim=True) - math.log(n / k)
        price = sinkhorn_strength * (price - mass)
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
    labels: Tensor, posterior: Tensor, epsilon: float, exploration: str = "highest"
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
        ``sigma = epsilon / (1 - epsilon) |D_i|`` points for ``exploration="highest"``.
    exploration : {"highest", "proportional"}
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
    if exploration == "highest":
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
        Share from outside, in [0, 1).
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


def classifier_loss(logits: Tensor, targets: Tensor, prior: Tensor | None = None) -> Tensor:
    """Loss of the moderate classifier on generated items (Algorithm 1, line 6), a mean over each batch.

    Parameters
    ----------
    logits : Tensor [R, B, K]
        Scores.
    targets : Tensor of int64 [R, B]
        Component that made each item.
    prior : Tensor [R, K], optional
        Shares of the components in S. A batch with the same number of items of each counts as one drawn by
        these shares: an item of component k weighs ``K prior_k``.

    Returns
    -------
    Tensor [R]
    """
    losses = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none").view(targets.shape)
    if prior is not None:
        losses = losses * prior.shape[-1] * prior.gather(1, targets)
    return losses.mean(1)
