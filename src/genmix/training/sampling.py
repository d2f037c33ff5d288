"""Draw indices in proportion to weights, without bias at any number of them."""

from __future__ import annotations

import torch
from torch import Tensor


class WeightedSampler:
    """Draw indices with replacement, in proportion to weights that do not change.

    `torch.multinomial` refuses more than 2^24 weights, and is biased long before: it sums in float32. Here
    sums are float64, and computed once.

    Parameters
    ----------
    weights : Tensor [..., N]
        Finite and non-negative; each row has a positive one. Its last dimension is indexed.
    """

    def __init__(self, weights: Tensor) -> None:
        self.weights = weights
        self._heaviest = weights.argmax(-1, keepdim=True)
        host = weights.cpu() if weights.device.type == "mps" else weights  # MPS has no float64
        wide = host.to(torch.float64, copy=True, memory_format=torch.contiguous_format)
        self._cumulative = wide.cumsum_(-1)

    def draw(self, n_draws: int, generator: torch.Generator) -> Tensor:
        """Draw indices ``[..., n_draws]``, so many from each row, never one of weight 0.

        The generator is on the device of the weights.
        """
        shape = (*self.weights.shape[:-1], n_draws)
        level = _uniform(shape, generator) * self._cumulative[..., -1:]
        index = torch.searchsorted(self._cumulative, level, right=True).to(self.weights.device)
        # Parallel sums need not be monotone in the last bit, so that a weight of 0 may seem to be positive.
        index = index.clamp_max_(self.weights.shape[-1] - 1)
        return torch.where(self.weights.gather(-1, index) > 0, index, self._heaviest)


def _uniform(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Uniform numbers in [0, 1) with more than 24 random bits."""
    if generator.device.type == "mps":
        coarse, fine = torch.rand((2, *shape), generator=generator, device="mps").cpu().double()
        return coarse + fine * 2**-24
    return torch.rand(shape, generator=generator, device=generator.device, dtype=torch.float64)
