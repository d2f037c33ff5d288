"""Labels for a part of the data, and k-means that keeps them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from torch import Tensor

from genmix import metrics
from genmix.training.augment import AugmentedData, NeighborSwap
from genmix.training.engine import Engine
from genmix.training.supervision import Labels, encode_labels, seeded_kmeans


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rng(seed: int = 0) -> np.random.RandomState:
    return np.random.RandomState(seed)


def labels_of(component: list[int], k: int, weights: list[float] | None = None) -> Labels:
    return Labels(torch.tensor(component), k, None if weights is None else torch.tensor(weights))


# ---------------------------------------------------------------- labels become components


@pytest.mark.parametrize("y", [None, [-1] * 4, np.full(4, -1.0), torch.full((4,), -1)])
def test_nothing_known_is_none(y: Any) -> None:
    assert encode_labels(y, 4, 2) is None


def test_components_are_the_classes_in_ascending_order() -> None:
    classes, component = encode_labels([8, -1, 3, 5, 8, -1], 6, 4)
    assert classes.tolist() == [3, 5, 8]
    assert component.tolist() == [2, -1, 0, 1, 2, -1]
    assert component.dtype == np.int64


@pytest.mark.parametrize(
    "y",
    [
        np.array([1.0, -1.0, 0.0]),
        np.array([1, -1, 0], dtype=np.int8),
        torch.tensor([1, -1, 0]),
        (1, -1, 0),
    ],
)
def test_every_kind_of_whole_number_is_a_label(y: Any) -> None:
    classes, component = encode_labels(y, 3, 2)
    assert classes.tolist() == [0, 1] and component.tolist() == [1, -1, 0]


def test_truth_values_are_labels_and_all_known() -> None:
    classes, component = encode_labels(np.array([True, False, True]), 3, 2)
    assert classes.tolist() == [0, 1] and component.tolist() == [1, 0, 1]


def test_other_negative_numbers_are_classes() -> None:
    classes, component = encode_labels([-5, -1, 0], 3, 2)
    assert classes.tolist() == [-5, 0] and component.tolist() == [0, -1, 1]


@pytest.mark.parametrize(
    ("y", "words"),
    [
        ([0, 1], r"shape \(2,\); expected \(3,\)"),
        ([[0], [1], [0]], r"shape \(3, 1\)"),
        (3, r"shape \(\)"),
        ([0.5, 1, 0], "dtype float64; expected whole numbers"),
        ([0, np.nan, 1], "whole numbers"),
        (["a", "b", "a"], "LabelEncoder"),
        (np.array([0, 1, None]), "dtype object"),
        ([0, 1, 2], "3 classes, but n_components=2"),
    ],
)
def test_other_labels_are_refused(y: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        encode_labels(y, 3, 2)


def test_labels_given_are_not_changed() -> None:
    y = np.array([4, -1, 2])
    encode_labels(y, 3, 2)[1][:] = 0
    assert y.tolist() == [4, -1, 2]


# ---------------------------------------------------------------- what is learned from labels


def test_shares_are_those_of_the_labels_under_a_prior() -> None:
    labels = labels_of([0, 0, 0, 1, -1, -1], 2)
    torch.testing.assert_close(labels.shares(0.0), torch.tensor([0.75, 0.25]))
    torch.testing.assert_close(labels.shares(2.0), torch.tensor([5 / 8, 3 / 8]))
    assert labels.shares(1e6).tolist() == pytest.approx([0.5, 0.5], abs=1e-5)


def test_shares_of_classes_without_labels_are_the_mean() -> None:
    labels = labels_of([0, 0, 0, 2, -1], 4)
    torch.testing.assert_close(labels.shares(0.0), torch.tensor([3.0, 2.0, 1.0, 2.0]) / 8)


def test_shares_do_not_count_items_without_weight() -> None:
    labels = labels_of([0, -1, 1, 1], 2, [1.0, 1.0, 1.0, 0.0])
    torch.testing.assert_close(labels.shares(0.0), torch.tensor([0.5, 0.5]))


def test_only_labelled_items_are_drawn_and_all_of_them() -> None:
    labels = labels_of([-1, 0, -1, 1, 1, -1], 2)
    index = labels.draw_index(3, 40, generator())
    assert index.shape == (3, 40)
    assert index.unique().tolist() == labels.index.tolist() == [1, 3, 4]
    assert torch.equal(index, labels.draw_index(3, 40, generator()))


def test_labelled_items_are_drawn_by_weight() -> None:
    labels = labels_of([0, -1, 1, 1], 2, [3.0, 9.0, 1.0, 0.0])
    counts = np.bincount(labels.draw_index(1, 4000, generator())[0], minlength=4)
    assert counts[1] == counts[3] == 0
    assert counts[0] / 4000 == pytest.approx(0.75, abs=0.03)


class FixedLearner:
    """Scores that depend on the one column of an item; two restarts with three heads each."""

    restarts = 2

    def __init__(self, slopes: Tensor) -> None:
        self.slopes = slopes  # [R, H, K]

    def scores(self, x: Tensor) -> Tensor:
        return x[..., None] * self.slopes[:, None]  # [R, B, 1, 1] * [R, 1, H, K]


def test_loss_is_the_mean_cross_entropy_summed_over_restarts_and_heads() -> None:
    component = [0, -1, 2, 1]
    items = torch.tensor([[1.0], [50.0], [-2.0], [3.0]])
    slopes = torch.randn(2, 3, 3, generator=generator(1))
    data = AugmentedData(items, NeighborSwap(0, 0.0), Engine("cpu", 0))
    drawn = labels_of(component, 3).draw_index(2, 20, Engine("cpu", 0).generator)
    found = labels_of(component, 3).loss(FixedLearner(slopes), data, batch_size=20)
    expected = 0.0
    for r in range(2):
        for h in range(3):
            log_p = (items * slopes[r, h]).log_softmax(-1)
            expected -= float(sum(log_p[i, component[i]] for i in drawn[r].tolist())) / 20
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_labels_renumber_a_partition() -> None:
    truth = rng().randint(0, 4, 200)
    known = np.where(np.arange(200) < 20, truth, -1)
    renumbered = np.array([2, 0, 3, 1])[truth]
    labels = Labels(torch.from_numpy(known), 4)
    np.testing.assert_array_equal(labels.align(renumbered), truth)


@pytest.mark.parametrize(("component", "complete"), [([0, -1, 1, 2], True), ([0, -1, 2, 2], False)])
def test_labels_are_complete_where_every_component_has_some(component: list[int], complete: bool) -> None:
    assert labels_of(component, 3).complete is complete


def test_renumbering_agrees_with_as_many_labels_as_any_permutation() -> None:
    from itertools import permutations

    for seed in range(10):
        state = rng(seed)
        partition, known = state.randint(0, 3, 30), state.randint(-1, 3, 30)
        found = Labels(torch.from_numpy(known), 3).align(partition)
        best = max((np.array(p)[partition] == known).sum() for p in permutations(range(3)))
        assert (found == known).sum() == best
        assert len({*zip(partition, found, strict=True)}) == 3  # parts stay parts


# ---------------------------------------------------------------- semi-supervised k-means


def test_labelled_points_keep_their_cluster_even_far_from_it(blobs: Any) -> None:
    X, y = blobs
    component = np.full(600, -1)
    component[:30] = (y[:30] + 1) % 3  # renumbered
    component[30] = y[30]  # and one against all the others
    found = seeded_kmeans(X, component, 3, rng())[0]
    np.testing.assert_array_equal(found[:31], component[:31])
    np.testing.assert_array_equal(found[31:], (y[31:] + 1) % 3)


@pytest.mark.parametrize("seed", range(3))
def test_without_labels_it_is_k_means(blobs: Any, seed: int) -> None:
    X = blobs[0]
    found = seeded_kmeans(X, np.full(600, -1), 3, rng(seed))[0]
    assert metrics.adjusted_rand_index(KMeans(3, n_init=5, random_state=0).fit_predict(X), found) == 1


def test_centres_are_where_lloyds_iterations_stop() -> None:
    X = rng().normal(size=(150, 2))
    component = np.where(np.arange(150) < 12, np.arange(150) % 4, -1)
    found = seeded_kmeans(X, component, 4, rng())[0]
    centres = np.stack([X[found == k].mean(0) for k in range(4)])
    nearest = ((X[:, None] - centres) ** 2).sum(-1).argmin(1)
    np.testing.assert_array_equal(found, np.where(component >= 0, component, nearest))


def test_when_all_is_known_nothing_is_found(blobs: Any) -> None:
    X, y = blobs
    np.testing.assert_array_equal(seeded_kmeans(X, y, 3, rng())[0], y)
    np.testing.assert_array_equal(seeded_kmeans(X, y, 5, rng())[0], y)  # and nothing is left for the others


@pytest.mark.parametrize("seed", range(5))
def test_classes_without_labels_are_discovered(blobs: Any, seed: int) -> None:
    X, y = blobs
    component = np.full(600, -1)
    component[np.flatnonzero(y == 1)[:2]] = 0
    found = seeded_kmeans(X, component, 3, rng(seed))[0]
    assert (found[y == 1] == 0).all()
    assert metrics.accuracy(y, found) == 1


def test_repeated_points_are_no_obstacle() -> None:
    X = np.repeat([[0.0], [1.0]], 5, 0)
    component = np.array([0] + [-1] * 9)
    found = seeded_kmeans(X, component, 4, rng())[0]
    assert (found[:5] == found[0]).all() and found[0] == 0 and (found[5:] != 0).all()
    assert set(seeded_kmeans(np.ones((6, 2)), np.full(6, -1), 2, rng())[0]) <= {0, 1}


@pytest.mark.parametrize("seed", range(3))
def test_centres_of_labelled_points_can_be_held(blobs: Any, seed: int) -> None:
    X, y = blobs
    component = np.full(600, -1)
    component[np.flatnonzero(y == 1)[:4]] = 2
    component[np.flatnonzero(y == 0)[:3]] = 0
    found, centers, _ = seeded_kmeans(X, component, 3, rng(seed), hold=True)
    for k in (0, 2):
        np.testing.assert_allclose(centers[k], X[component == k].mean(0))
    np.testing.assert_allclose(centers[1], X[found == 1].mean(0))  # discovered
    assert metrics.accuracy(y, found) == 1


def test_neither_points_nor_labels_are_changed(blobs: Any) -> None:
    X, component = blobs[0].copy(), np.where(np.arange(600) < 9, blobs[1], -1)
    before = component.copy()
    seeded_kmeans(X, component, 3, rng())[0]
    np.testing.assert_array_equal(X, blobs[0])
    np.testing.assert_array_equal(component, before)
