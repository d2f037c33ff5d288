"""Draws in proportion to weights: without bias, and never of weight 0, at any number of weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from torch import Tensor

from genmix.ganmm import em
from genmix.training.augment import AugmentedData, NeighborSwap
from genmix.training.engine import Engine
from genmix.training.information import component_shares
from genmix.training.sampling import WeightedSampler
from genmix.training.supervision import Labels

MANY = 2**24 + 2**20  # torch.multinomial refuses more than 2^24


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_draws_follow_the_weights_of_their_row() -> None:
    weights = torch.rand(2, 3, 20, generator=generator(1)) * (torch.arange(20) % 3 > 0)
    index = WeightedSampler(weights).draw(20_000, generator())
    assert index.shape == (2, 3, 20_000) and index.dtype == torch.int64
    for row, drawn in zip(weights.flatten(0, 1), index.flatten(0, 1), strict=True):
        counts, positive = np.bincount(drawn.numpy(), minlength=20), row.numpy() > 0
        assert not counts[~positive].any()
        share = row.double().numpy()[positive]
        assert chisquare(counts[positive], 20_000 * share / share.sum()).pvalue > 0.001


def test_the_same_generator_draws_the_same_and_the_weights_stay() -> None:
    weights = torch.rand(30, dtype=torch.float64, generator=generator(1))
    before = weights.clone()
    first, second = (WeightedSampler(weights).draw(50, generator(2)) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(weights, before)


@pytest.mark.parametrize("only", [0, 4, 9])
def test_one_positive_weight_is_the_only_one_drawn(only: int) -> None:
    weights = torch.zeros(10)
    weights[only] = 1e-38
    assert (WeightedSampler(weights).draw(1000, generator()) == only).all()


def test_rounding_errors_of_parallel_sums_draw_no_weight_of_zero() -> None:
    """Whatever the last bits of the sums are: as if every sum were higher than it is."""
    sampler = WeightedSampler(torch.tensor([0.0, 1.0, 0.0, 2.0, 0.0]))
    sampler._cumulative = torch.tensor([0.5, 1.0, 1.5, 2.9, 2.8], dtype=torch.float64)
    assert set(sampler.draw(1000, generator()).tolist()) == {1, 3}


def test_a_layout_in_memory_changes_nothing() -> None:
    weights = torch.rand(30, 4, generator=generator(1)).T
    expected = WeightedSampler(weights.contiguous()).draw(9, generator())
    assert torch.equal(WeightedSampler(weights).draw(9, generator()), expected)


# ---------------------------------------------------------------- more weights than float32 can count


def assert_even(index: Tensor, n: int) -> None:
    """Equal weights: the last third of the items in a third of the draws."""
    assert 0 <= index.min() and index.max() < n
    assert (index >= 2 * n // 3).float().mean().item() == pytest.approx(1 / 3, abs=0.01)


def test_sums_of_many_small_weights_are_not_biased() -> None:
    """`torch.multinomial` draws the last third of these 27 % of the time."""
    n = 12_000_000
    assert_even(WeightedSampler(torch.full((1,), 1 / n).expand(n)).draw(50_000, generator()), n)


def test_data_of_more_than_2_to_the_24_rows_are_drawn_by_weight() -> None:
    items, weights = torch.zeros(1, 1).expand(MANY, 1), torch.ones(1).expand(MANY)
    views = AugmentedData(items, NeighborSwap(0, 0.0), Engine("cpu", 0), weights)
    index = views.draw_index(2, 25_000)
    assert index.shape == (2, 25_000)
    assert_even(index, MANY)


def test_m_step_batches_of_more_than_2_to_the_24_rows() -> None:
    own = torch.ones(1).expand(1, MANY)
    batches = em.draw_batches(own, own, 5_000, 10, 0.0, generator())
    assert batches.shape == (10, 1, 5_000)
    assert_even(batches, MANY)


def test_more_than_2_to_the_24_labels() -> None:
    labels = Labels(torch.zeros(1, dtype=torch.long).expand(MANY), 2)
    assert_even(labels.draw_index(2, 25_000, generator()), MANY)


def test_shares_of_more_than_2_to_the_24_items() -> None:
    """float32 counts stop at 2^24: 20.97 M items in one component gave a share of .80."""
    labels = torch.zeros(1, dtype=torch.long).expand(2**24 + 2**22)
    assert component_shares(labels, 2).tolist() == [1.0, 0.0]
