"""The variational autoencoder of VaDE: its networks, its prior and its ELBO (Jiang et al., IJCAI 2017)."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genmix.base.restoring import claim
from genmix.baselines.autoencoder import Autoencoder, Pretraining, reconstruction_error
from genmix.baselines.coders import uncut_clusters
from genmix.nn.stacked import StackedLinear
from genmix.training.augment import AugmentedData
from genmix.training.checkpoint import Checkpoint
from genmix.training.engine import Engine

#: The noise of codes begins at this share of the variance within clusters, so that the start is not lost.
START_SHARE = 0.1


def log_gaussian(z: Tensor, means: Tensor, log_variances: Tensor) -> Tensor:
    """Log-density ``[B, K]`` of codes ``[B, L]`` in Gaussians of diagonal covariance, both ``[K, L]``."""
    square = (z[:, None] - means).square() * (-log_variances).exp()
    return -0.5 * (square + log_variances + math.log(2 * math.pi)).sum(-1)


def divergence(
    mean: Tensor,
    log_variance: Tensor,
    log_gamma: Tensor,
    log_pi: Tensor,
    means: Tensor,
    log_variances: Tensor,
) -> Tensor:
    """KL divergence of ``q(z, c | x)`` from the prior ``p(z, c)``: the ELBO but for its reconstruction.

    Parameters
    ----------
    mean, log_variance : Tensor [B, L]
        Of the Gaussian ``q(z | x)``.
    log_gamma : Tensor [B, K]
        ``log q(c | x)``.
    log_pi : Tensor [K]
        Log shares.
    means, log_variances : Tensor [K, L]
        Of the prior's Gaussians.

    Returns
    -------
    Tensor [B]
        ``KL(gamma || pi) + sum_c gamma_c KL(q(z | x) || p(z | c))``, at least 0.
    """
    ratio = log_variance[:, None] - log_variances
    square = (mean[:, None] - means).square() * (-log_variances).exp()
    of_codes = 0.5 * (ratio.exp() + square - 1 - ratio).sum(-1)
    return (log_gamma.exp() * (log_gamma - log_pi + of_codes)).sum(-1)


class VariationalAutoencoder(Autoencoder):
    """Autoencoder whose codes are Gaussians, with a mixture of Gaussians as their prior.

    Parameters
    ----------
    item_shape, hidden, latent_dim, generator
        As in `Autoencoder`, which learns the means of the codes.
    n_components : int
        K.
    """

    def __init__(
        self,
        item_shape: tuple[int, ...],
        hidden: tuple[int, ...],
        latent_dim: int,
        generator: torch.Generator,
        n_components: int,
    ) -> None:
        super().__init__(item_shape, hidden, latent_dim, generator)
        self.images = len(item_shape) == 3
        width = hidden[-1] if hidden else math.prod(item_shape)
        self.spread = StackedLinear(1, width, latent_dim, generator)
        claim(2, n_components, latent_dim, tensors=3)
        self.logits = nn.Parameter(torch.zeros(n_components))
        self.means = nn.Parameter(torch.zeros(n_components, latent_dim))
        self.log_variances = nn.Parameter(torch.zeros(n_components, latent_dim))

    def pretrain(self, views: AugmentedData, how: Pretraining, kept: Checkpoint) -> None:
        """Learn means of codes and decoder as a plain autoencoder."""
        if self.images and bool((views.items - 0.5).abs().max() > 0.501):
            raise ValueError("pixels beyond [0, 1] have no cross-entropy; leave scaling='auto'")
        super().pretrain(views, how, kept)

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Means and log variances ``[B, L]`` of the codes of items."""
        *hidden, last = self.encoder.layers
        with self.autocast():
            h = x[None].flatten(2)
            for layer in hidden:
                h = layer(h).relu()
            return last(h)[0].to(x.dtype), self.spread(h)[0].to(x.dtype)

    def decode(self, z: Tensor) -> Tensor:
        """Items of codes: pixels in [0, 1], or rows of a table."""
        made = super().decode(z)
        return made.sigmoid() if self.images else made

    def error(self, z: Tensor, x: Tensor) -> Tensor:
        """Cross-entropy of an image's pixels ``[B]``, squared error of a row."""
        made = super().decode(z)
        if not self.images:
            return reconstruction_error(made, x)
        return F.binary_cross_entropy_with_logits(made, x, reduction="none").flatten(1).sum(1)

    def log_pi(self) -> Tensor:
        """Log shares ``[K]`` of the prior, from free numbers."""
        return self.logits.log_softmax(0)

    def log_joint(self, z: Tensor) -> Tensor:
        """``log p(z, c)`` of codes, ``[B, K]``."""
        return self.log_pi() + log_gaussian(z, self.means, self.log_variances)

    def evidence_bound(self, seen: Tensor, x: Tensor, noise: Tensor, weight: float) -> Tensor:
        """ELBO ``[B]`` of items `x` with one draw of each code, whose posterior is of views of them.

        `noise` ``[B, L]`` is standard normal; `weight` multiplies the reconstruction.
        """
        mean, log_variance = self.posterior(seen)
        z = mean + (log_variance / 2).exp() * noise
        log_gamma = self.log_joint(z).log_softmax(-1)  # q(c | x) = p(c | z)
        prior = self.log_pi(), self.means, self.log_variances
        return -weight * self.error(z, x) - divergence(mean, log_variance, log_gamma, *prior)

    def assign(self, items: Tensor) -> Tensor:
        """Most likely components ``[N]`` of the mean codes of items."""
        with torch.no_grad():
            return self.log_joint(self.encode_all(items)).argmax(1)

    @torch.no_grad()
    def start(self, codes: Tensor, items: Tensor, run: Engine, n_init: int = 5) -> Tensor:
        """Start the prior with the clusters of the likeliest of several mixtures; returns them, ``[N]``.

        The mixture is of full covariances, since the numbers of a code are correlated within clusters; the
        prior takes their variances. Where it cuts a group, the clusters are `uncut_clusters`.
        """
        from sklearn.mixture import GaussianMixture

        Z = codes.cpu().double().numpy()
        within = 1e-4 * Z.var(0).mean() + 1e-6  # codes that hardly vary are no cluster
        found = GaussianMixture(
            len(self.means), n_init=n_init, reg_covar=within, max_iter=500, random_state=run.seed()
        ).fit(Z if len(Z) > 1 else Z.repeat(2, 0))  # it refuses a single one
        shares, means = found.weights_, found.means_
        variances = np.diagonal(found.covariances_, axis1=1, axis2=2).copy()
        part = torch.from_numpy(found.predict(Z).astype(np.int64)).to(codes.device)
        if (whole := uncut_clusters(part, items, len(self.means), run)) is not None:
            part, groups = whole, [Z[whole.cpu().numpy() == cluster] for cluster in range(len(shares))]
            shares = np.array([len(group) for group in groups]) / len(Z)
            means = np.stack([group.mean(0) for group in groups])
            variances = np.stack([group.var(0) + within for group in groups])
        self.logits.copy_(torch.from_numpy(np.log(np.maximum(shares, 1e-12))))
        self.means.copy_(torch.from_numpy(means))
        self.log_variances.copy_(torch.from_numpy(np.log(variances)))
        self.spread.weight.zero_()
        self.spread.bias.copy_(torch.from_numpy(np.log(START_SHARE * shares @ variances)))
        return part


__all__ = ["START_SHARE", "VariationalAutoencoder", "divergence", "log_gaussian"]
