"""The latent mixture of DNN-MM: K unit Gaussians at the corners of a simplex. Pure functions of tensors.

Equation numbers are those of Pande & Awate, "Deep Generative Mixture Models" (ICPR 2020). Shapes: N items,
K components, L latent dimensions; leading dimensions (restarts) are carried along.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def corner_means(n_components: int, latent_dim: int, radius: float = 4.0) -> Tensor:
    """Means ``mu_k = radius * e_k``: in the positive orthant, at equal distances from 0 and from each other.

    Parameters
    ----------
    n_components : int
        K.
    latent_dim : int
        L, at least K: non-negative vectors are orthogonal only where their supports are disjoint.
    radius : float
        Distance of every mean from 0 (> 0); means are ``sqrt(2) * radius`` apart. The paper has 4.

    Returns
    -------
    Tensor [K, L]

    Raises
    ------
    ValueError
        Fewer dimensions than components.
    """
    if latent_dim < n_components:
        raise ValueError(
            f"latent_dim={latent_dim}: K means at equal distances need at least n_components={n_components}"
        )
    return radius * torch.eye(n_components, latent_dim)


def log_component_density(z: Tensor, means: Tensor) -> Tensor:
    """``log N(z; mu_k, I)`` of every component (eq. 2).

    Parameters
    ----------
    z : Tensor [..., N, L]
        Encodings.
    means : Tensor [K, L]
        mu.

    Returns
    -------
    Tensor [..., N, K]
    """
    square = z.square().sum(-1, keepdim=True) - 2 * z @ means.T + means.square().sum(-1)
    return -0.5 * (square + means.shape[-1] * math.log(2 * math.pi))


def log_joint(z: Tensor, means: Tensor, weights: Tensor) -> Tensor:
    """``log omega_k + log N(z; mu_k, I)``: the summands of eq. 1, ``[..., N, K]``, for omega ``[..., K]``."""
    tiny = torch.finfo(weights.dtype).tiny
    return weights.clamp_min(tiny).log().unsqueeze(-2) + log_component_density(z, means)


def log_likelihood(joint: Tensor) -> Tensor:
    """Log of eq. 1, the summand of eq. 4, from `log_joint` ``[..., N, K]``; returns ``[..., N]``.

    A pseudo-density of the item: the density of its encoding, without the Jacobian of the encoder.
    """
    return joint.logsumexp(-1)


def memberships(joint: Tensor, labels: Tensor | None = None) -> Tensor:
    """``P(Z = k | x)`` by Bayes' rule (eq. 3), one-hot where the label is known (the indicator in eq. 13).

    Parameters
    ----------
    joint : Tensor [..., N, K]
        From `log_joint`.
    labels : Tensor of int64 [..., N], optional
        Component of each item, -1 where unknown.
    """
    gamma = joint.softmax(-1)
    if labels is None:
        return gamma
    known = F.one_hot(labels.clamp_min(0), gamma.shape[-1]).to(gamma.dtype)
    return torch.where((labels >= 0).unsqueeze(-1), known, gamma)


def gather_memberships(gamma: Tensor, index: Tensor) -> Tensor:
    """Memberships ``[R, B, K]`` of the items `index` ``[R, B]``, from those of all ``[R, N, K]``."""
    return gamma.gather(1, index[..., None].expand(-1, -1, gamma.shape[2]))


def expected_log_joint(gamma: Tensor, joint: Tensor) -> Tensor:
    """Q of eq. 10-11 for each item, ``sum_k gamma_k (log omega_k + log N_k)``; returns ``[..., N]``."""
    return (gamma * joint).sum(-1)


def evidence_bound(gamma: Tensor, joint: Tensor) -> Tensor:
    """Lower bound Q + H(gamma) of each `log_likelihood`, ``[..., N]``; tight at the exact memberships."""
    tiny = torch.finfo(gamma.dtype).tiny
    return expected_log_joint(gamma, joint) - (gamma * gamma.clamp_min(tiny).log()).sum(-1)


# ---------------------------------------------------------------- omega


def closed_form_weights(counts: Tensor, concentration: float = 1.0) -> Tensor:
    """M-step of the shares: maximum a posteriori under a symmetric Dirichlet prior.

    Parameters
    ----------
    counts : Tensor [..., K]
        Sums of memberships N_k.
    concentration : float
        Parameter of the prior (at least 1; 1 is maximum likelihood). Above 1 no component is lost.

    Returns
    -------
    Tensor [..., K]
    """
    raised = counts + (concentration - 1)
    return raised / raised.sum(-1, keepdim=True)


def project_to_simplex(v: Tensor, floor: float = 0.0) -> Tensor:
    """Nearest point of ``{omega : omega_k >= floor, sum omega = 1}`` in Euclidean distance.

    Parameters
    ----------
    v : Tensor [..., K]
        Any point.
    floor : float
        Least share, below 1 / K: the open simplex of the paper has no nearest point.
    """
    k = v.shape[-1]
    room = 1 - k * floor
    u = (v - floor) / room
    ordered = u.sort(-1, descending=True).values
    rank = torch.arange(1, k + 1, device=v.device)
    tau = (ordered.cumsum(-1) - 1) / rank
    last = (ordered > tau).sum(-1, keepdim=True) - 1
    return floor + room * (u - tau.gather(-1, last)).clamp_min(0)


def ascend_weights(
    weights: Tensor, shares: Tensor, slopes: Tensor, rate: float = 0.01, floor: float = 1e-3
) -> Tensor:
    """One step of projected gradient ascent on eq. 12, the paper's update of omega.

    Parameters
    ----------
    weights : Tensor [..., K]
        omega.
    shares : Tensor [..., K]
        ``N_k / N``, the mean memberships of a batch.
    slopes : Tensor [..., K]
        ``b_k / N``: what eq. 12 gains per item from one more unit of omega_k in its terms in Y.
    rate : float
        Step size.
    floor : float
        Least share.
    """
    lowest = min(floor, 0.1 / weights.shape[-1])  # many components leave less room
    return project_to_simplex(weights + rate * (shares / weights + slopes), lowest)
