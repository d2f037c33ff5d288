"""What a partition and two views of the same items tell about each other. Pure functions of tensors.

Shapes: N items, K components, V views; leading dimensions (restarts, heads) are carried along.
"""

from __future__ import annotations

import torch
from torch import Tensor


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
    counts = torch.zeros(*labels.shape[:-1], n_components, dtype=torch.int64, device=labels.device)
    return counts.scatter_add_(-1, labels, torch.ones_like(labels)).float() / labels.shape[-1]


def information_loss(
    logits: Tensor,
    marginal_entropy_weight: float = 2.0,
    prior: Tensor | None = None,
    conditional_entropy_weight: float = 0.2,
) -> Tensor:
    """Information maximisation under augmentation: items should be told apart, and alike in two views.

    ``CE(p_1, p_2) + c * mean H(p) - m * H(mean p)``, with p_1 and p_2 the memberships of two views of the
    same items, c the conditional and m the marginal entropy's weight.

    Parameters
    ----------
    logits : Tensor [2, ..., B, K]
        Scores of both views.
    marginal_entropy_weight : float
        m (>= 0). 1 is plain mutual information; more asks for components of near-equal size.
    prior : Tensor [..., K], optional
        Expected shares where they are not equal: the last term is ``+ m * KL(mean p | prior)``.
    conditional_entropy_weight : float
        c (>= 0).

    Returns
    -------
    Tensor [...]
        One loss for each leading index (restart or head). It is free of labels, so the lowest may be chosen.
    """
    log_p = logits.log_softmax(-1)
    p = log_p.exp()
    cross_entropy = -((p[0] * log_p[1]).sum(-1) + (p[1] * log_p[0]).sum(-1)).mean(-1) / 2
    conditional_entropy = -(p * log_p).sum(-1).mean((0, -1))
    shares = p.mean((0, -2))
    divergence = -entropy(shares)
    if prior is not None:
        divergence = divergence - (shares * prior.clamp_min(torch.finfo(prior.dtype).tiny).log()).sum(-1)
    return (
        cross_entropy
        + conditional_entropy_weight * conditional_entropy
        + marginal_entropy_weight * divergence
    )


def _joint_shares(first: Tensor, second: Tensor, n_components: int) -> Tensor:
    """Shares ``[..., K, K]`` of the pairs of components of two views, either of which may be the first."""
    k = n_components
    both_orders = torch.cat([first * k + second, second * k + first], -1)
    return component_shares(both_orders, k * k).unflatten(-1, (k, k))


def stability(first: Tensor, second: Tensor, n_components: int) -> Tensor:
    """How far items keep their component between two views: Cohen's kappa, their agreement beyond chance.

    ``(P(k = k') - c) / (1 - c)`` with ``c = sum_k P(k)^2``, times the share of the K components that have
    items. Free of labels, as `mutual_information`, but it knows no right size: nothing is gained by cutting a
    large group in two.

    Parameters
    ----------
    first, second : Tensor of int64 [..., N]
        Component of each item in either view.
    n_components : int
        K.

    Returns
    -------
    Tensor [...]
        1 where all K components have items and keep them, near 0 by chance, and 0 where one of several has
        all.
    """
    joint = _joint_shares(first, second, n_components)
    shares, agreement = joint.sum(-1), joint.diagonal(dim1=-2, dim2=-1).sum(-1)
    if n_components == 1:
        return agreement
    chance = shares.square().sum(-1)
    others = (1 - chance).clamp_min(torch.finfo(shares.dtype).eps)
    return (agreement - chance) / others * (shares > 0).float().mean(-1)


def mutual_information(
    first: Tensor, second: Tensor, n_components: int, disagreement_penalty: float = 0.0
) -> Tensor:
    """Mutual information in nats between the components k and k' of two views of the same items.

    High where views agree and components differ; free of labels, so it ranks partitions of the same data.
    ``I(k; k') - d H(k | k')``: mutual information alone would rather cut a large group in two, at the price
    of views that disagree, than keep a small one; the penalty d raises that price.

    Parameters
    ----------
    first, second : Tensor of int64 [..., N]
        Component of each item in either view.
    n_components : int
        K.
    disagreement_penalty : float
        d (>= 0).

    Returns
    -------
    Tensor [...]
        At most log K; at least 0 where the penalty is 0.
    """
    joint = _joint_shares(first, second, n_components)
    marginal = joint.sum(-1)
    conditional_entropy = entropy(joint.flatten(-2)) - entropy(marginal)
    return entropy(marginal) - (1 + disagreement_penalty) * conditional_entropy
