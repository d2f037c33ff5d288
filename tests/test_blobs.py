"""Clear blobs, of equal and of very unequal size, which nobody would forgive a model for missing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_iris

from genmix import GANMixture, InfoMaxInit, MStep, UnstablePartitionWarning, metrics
from genmix.base import registry
from genmix.baselines import ACAI, ClusterGAN, DynAE, FixMatch, Pretraining, SemiSupervisedKMeans

SIZES = {"equal": (340, 330, 330), "unequal": (900, 80, 20)}


def blobs(sizes: tuple[int, ...], columns: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Unit Gaussians 20 apart, in a plane that lies anyhow (as in benchmarks/blobs.py)."""
    rng = np.random.RandomState(seed)
    means = np.zeros((3, columns))
    means[:, :2] = 20 * np.array([[0.0, 0.0], [1.0, 0.0], [0.5, np.sqrt(0.75)]])
    means = means @ np.linalg.qr(rng.standard_normal((columns, columns)))[0]
    truth = rng.permutation(np.repeat([0, 1, 2], sizes))
    return means[truth] + rng.standard_normal((len(truth), columns)), truth


def five_labels(truth: np.ndarray) -> np.ndarray:
    y = np.full(len(truth), -1)
    for k in range(3):
        y[np.flatnonzero(truth == k)[:5]] = k
    return y


def cut_in_two(X: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Components that halve the large blob and merge the small ones."""
    return np.where(truth > 0, 2, X[:, 0] > np.median(X[truth == 0, 0]))


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("name", registry.NAMED)
def test_defaults_find_clear_blobs(name: str, sizes: tuple[int, ...]) -> None:
    uses = registry.NAMED[name].labels
    for columns in (2, 10):
        X, truth = blobs(sizes, columns, seed=0)
        for labelled in {"none": (False,), "optional": (False, True), "needed": (True,)}[uses]:
            model = registry.find_class(name)(3, random_state=0)
            model.fit(X, five_labels(truth)) if labelled else model.fit(X)
            assert metrics.accuracy(truth, model.labels_) >= 0.99, (columns, labelled)
            assert model.dead_components_ == []


# ---------------------------------------------------------------- the same in seconds


def quick_ganmm(**changes: Any) -> GANMixture:
    settings = {
        "init": InfoMaxInit(steps=40, n_candidates=1, n_heads=2), "m_step": MStep(steps=1, pretrain_steps=1),
        "max_iter": 3, "tol": None, "random_state": 0, "device": "cpu",
    }  # fmt: skip
    return GANMixture(3, **{**settings, **changes})


@pytest.mark.filterwarnings("ignore::genmix.DeadComponentWarning")  # of one step the generators know little
@pytest.mark.filterwarnings("error::genmix.UnstablePartitionWarning")
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_a_few_steps_do_not_cut_a_blob(sizes: tuple[int, ...]) -> None:
    X, truth = blobs(sizes, 2, seed=0)
    assert metrics.accuracy(truth, quick_ganmm().fit(X).labels_) == 1


@pytest.mark.filterwarnings("ignore::genmix.DeadComponentWarning")
def test_a_cut_that_stays_is_warned_of() -> None:
    X, truth = blobs(SIZES["unequal"], 2, seed=0)
    model = quick_ganmm(init=cut_in_two(X, truth))
    with pytest.warns(UnstablePartitionWarning, match=r"different components \d\.\d% .*k-means only 0\.0%"):
        model.fit(X)
    assert metrics.accuracy(truth, model.labels_) < 0.7


@pytest.mark.filterwarnings("ignore::genmix.DeadComponentWarning")
@pytest.mark.filterwarnings("error::genmix.UnstablePartitionWarning")
def test_groups_that_overlap_are_no_cut() -> None:
    X, y = load_iris(return_X_y=True)
    model = quick_ganmm(init="gmm-full").fit(X)
    assert metrics.accuracy(y, model.labels_) > 0.85


def test_kmeans_without_labels_has_several_starts() -> None:
    X, truth = blobs(SIZES["unequal"], 10, seed=0)
    for seed in range(5):
        found = SemiSupervisedKMeans(3, random_state=seed).fit(X).labels_
        assert metrics.accuracy(truth, found) == 1


def test_few_labels_of_unequal_blobs_reach_all_rows() -> None:
    """Batch normalisation of rows that are nearly all of one class spread them over the others."""
    X, truth = blobs(SIZES["unequal"], 2, seed=0)
    model = FixMatch(3, steps=150, networks={"kind": "mlp", "hidden": (64,)}, random_state=0, device="cpu")
    assert metrics.accuracy(truth, model.fit(X, five_labels(truth)).labels_) == 1


def test_codes_of_a_large_blob_are_put_together_again() -> None:
    X, truth = blobs(SIZES["unequal"], 2, seed=0)
    settings = {"ema_decay": 0.9, "max_iter": 5, "random_state": 0, "device": "cpu"}
    found = {many: ClusterGAN(3, overcluster=many, **settings).fit(X) for many in (1, 3)}
    assert len(found[1].centers_) == 3 < len(found[3].centers_) <= 9
    score = {many: metrics.accuracy(truth, model.labels_) for many, model in found.items()}
    assert score[3] > 0.98 > score[1] + 0.2
    np.testing.assert_array_equal(found[3].predict(X), found[3].labels_)
    np.testing.assert_allclose(found[3].predict_proba(X).sum(1), 1)


def test_steps_follow_the_size_of_the_data() -> None:
    assert [ACAI().count_steps(n) for n in (100, 1000, 3200, 70_000)] == [150, 156, 500, 1500]
    assert ACAI(steps=7).count_steps(70_000) == 7
    assert [Pretraining().count_steps(n) for n in (100, 2560, 70_000)] == [500, 1000, 4000]
    assert [DynAE()._count_steps(n) for n in (100, 1000, 70_000)] == [10, 15, 140]
    assert DynAE(update_interval=3)._count_steps(1000) == 3
