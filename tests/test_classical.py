"""What the classical and the plainly supervised rivals compute."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import mixture, semi_supervised
from sklearn.cluster import KMeans as Lloyd
from sklearn.datasets import load_digits, make_blobs

from genmix import Affine, ColorJitter, NeighborSwap, metrics
from genmix.base.preprocessing import Preprocessing
from genmix.baselines import (
    FixMatch,
    GaussianMixture,
    KMeans,
    LabelSpreading,
    SelfTraining,
    SemiSupervisedKMeans,
    SupervisedOnly,
)
from genmix.baselines.supervised import strengthen

SEMI = [LabelSpreading, SelfTraining, SupervisedOnly, FixMatch]


@pytest.fixture(scope="module")
def stretched() -> tuple[np.ndarray, np.ndarray]:
    """Two long parallel groups, which spheres cut the wrong way."""
    rng = np.random.default_rng(0)
    y = np.arange(600) % 2
    return rng.normal(size=(600, 2)) * [5, 0.3] + np.where(y[:, None], [0, 3], [0, 0]), y


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    """600 images of 8 x 8 pixels, five digits."""
    images, y = load_digits(n_class=5, return_X_y=True)
    return images[:600].reshape(-1, 8, 8), y[:600]


def scaled(X: np.ndarray) -> np.ndarray:
    return Preprocessing.fit(X).apply(X).flatten(1).double().numpy()


def hide(y: np.ndarray, each: int) -> np.ndarray:
    """Labels of the first `each` items of every class."""
    shown = np.full(len(y), -1)
    for c in np.unique(y):
        chosen = np.flatnonzero(y == c)[:each]
        shown[chosen] = c
    return shown


def test_kmeans_is_scikit_learns(blobs: Any) -> None:
    X = blobs[0]
    ours = KMeans(3, random_state=0).fit(X)
    theirs = Lloyd(3, n_init=10, random_state=0).fit(scaled(X))
    assert metrics.accuracy(theirs.labels_, ours.labels_) == 1
    np.testing.assert_allclose(np.sort(ours.centers_, 0), np.sort(theirs.cluster_centers_, 0), atol=1e-6)


@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical"])
def test_memberships_and_density_are_scikit_learns(stretched: Any, kind: str) -> None:
    X = stretched[0]
    model = GaussianMixture(2, covariance_types=[kind], n_init=1, random_state=0).fit(X)
    theirs = mixture.GaussianMixture(2, covariance_type=kind, reg_covar=1e-3, max_iter=500)
    seed = np.random.RandomState(0).randint(2**31 - 1, size=2)[1]  # the second number that the fit draws
    theirs.set_params(random_state=int(seed)).fit(scaled(X))
    np.testing.assert_allclose(model.predict_proba(X), theirs.predict_proba(scaled(X)), atol=1e-6)
    np.testing.assert_allclose(model.score_samples(X), theirs.score_samples(scaled(X)), atol=1e-5)


def test_the_kind_of_covariance_is_chosen_by_bic(stretched: Any) -> None:
    X, y = stretched
    model = GaussianMixture(2, random_state=0).fit(X)
    assert model.covariance_type_ == min(model.bic_, key=model.bic_.get) != "spherical"
    assert metrics.accuracy(y, model.labels_) > 0.99


def test_a_gaussian_mixture_makes_items_like_the_data(stretched: Any, digits: Any) -> None:
    X = stretched[0]
    model = GaussianMixture(2, random_state=0).fit(X)
    made, component = model.sample(4000)
    for k in range(2):
        own = X[model.labels_ == k]
        np.testing.assert_allclose(made[component == k].mean(0), own.mean(0), atol=0.4)
        np.testing.assert_allclose(np.cov(made[component == k].T), np.cov(own.T), atol=2.5)
    images = GaussianMixture(5, n_principal=20, n_init=1, random_state=0).fit(digits[0])
    assert images._arrays["means"].shape == (5, 20)
    assert images.sample(3, component=1)[0].shape == (3, 8, 8)


def test_an_unknown_kind_of_covariance_is_named(blobs: Any) -> None:
    with pytest.raises(ValueError, match="covariance_types is empty"):
        GaussianMixture(2, covariance_types=[]).fit(blobs[0])
    with pytest.raises(ValueError, match="round"):
        GaussianMixture(2, covariance_types=["round"]).fit(blobs[0])


@pytest.mark.parametrize("constrained", [True, False])
def test_labels_seed_kmeans_and_only_constraints_keep_them(constrained: bool) -> None:
    X, y = make_blobs(300, centers=[[0, 0], [6, 0], [0, 6]], random_state=0)
    wrong = hide(y, 10)
    wrong[np.flatnonzero(y == 0)[0]] = 1  # one label is false
    model = SemiSupervisedKMeans(3, constrained=constrained, random_state=0).fit(X, wrong)
    np.testing.assert_array_equal(model.classes_, [0, 1, 2])
    assert (model.labels_ == y).mean() > 0.98  # components are bound to classes
    assert (model.labels_[wrong >= 0] == wrong[wrong >= 0]).all() == constrained


def test_without_labels_it_is_kmeans(blobs: Any) -> None:
    model = SemiSupervisedKMeans(3, random_state=0).fit(blobs[0], np.full(600, -1))
    assert metrics.accuracy(blobs[1], model.labels_) > 0.99 and len(model.classes_) == 0


def test_labels_spread_to_rows_that_no_path_reaches() -> None:
    X, y = make_blobs([340, 330, 330], centers=[[0, 0], [20, 0], [10, 17]], random_state=0)
    apart = np.concatenate([X, X[y == 2] + [0, 60]])  # a fourth group without any label, nearest to the third
    truth = np.concatenate([y, np.full(330, 2)])
    shown = np.concatenate([hide(y, 200), np.full(330, -1)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = LabelSpreading(3, random_state=0).fit(apart, shown)
    assert (model.labels_ == truth).all()
    np.testing.assert_array_equal(model.predict(apart), model.labels_)


def test_label_spreading_is_scikit_learns(digits: Any) -> None:
    X, y = digits
    shown = hide(y, 5)
    ours = LabelSpreading(5, n_principal=64, random_state=0).fit(X, shown)
    theirs = semi_supervised.LabelSpreading(kernel="knn", n_neighbors=10, max_iter=100).fit(scaled(X), shown)
    new = X[:100] + 0.5  # between the grey levels
    points = Preprocessing.fit(X).apply(new).flatten(1).double().numpy()
    np.testing.assert_allclose(ours.predict_proba(new)[:, :5], theirs.predict_proba(points), atol=1e-9)


@pytest.mark.parametrize("kind", SEMI)
def test_few_labels_are_enough_for_digits(kind: Any, digits: Any) -> None:
    X, y = digits
    shown = hide(10 * y + 3, 12)
    model = kind(5, random_state=0)
    if kind in (SupervisedOnly, FixMatch):
        model.set_params(steps=250, device="cpu", augmentation=Affine(rotate=0.1, scale=0.05, shear=0.05))
    model.fit(X, shown)
    hidden = shown == -1
    np.testing.assert_array_equal(model.classes_, 10 * np.arange(5) + 3)
    assert (model.labels_[hidden] == y[hidden]).mean() > 0.9
    np.testing.assert_array_equal(model.classes_[model.labels_[~hidden]], shown[~hidden])


@pytest.mark.parametrize("kind", SEMI)
def test_components_without_a_class_stay_empty(kind: Any, blobs: Any) -> None:
    X, y = blobs
    model = kind(5, random_state=0)
    if kind in (SupervisedOnly, FixMatch):
        model.set_params(steps=30, device="cpu")
    with pytest.warns(UserWarning, match=r"components \[3, 4\] stand for no data"):
        model.fit(X, hide(y, 5))
    assert model.predict_proba(X)[:, 3:].max() == 0


@pytest.mark.parametrize("kind", SEMI)
@pytest.mark.parametrize("y", [None, np.full(600, -1)])
def test_says_that_labels_are_needed(kind: Any, y: Any, blobs: Any) -> None:
    with pytest.raises(ValueError, match="learns from labels"):
        kind(3).fit(blobs[0], y)


@pytest.mark.parametrize("kind", SEMI)
def test_one_class_is_fine(kind: Any, blobs: Any) -> None:
    shown = np.where(np.arange(600) < 9, 7, -1)
    model = kind(1, random_state=0)
    if "steps" in model.get_params():
        model.set_params(steps=20)
    assert (model.fit(blobs[0], shown).labels_ == 0).all()


def test_two_classes_are_told_apart_by_self_training(stretched: Any) -> None:
    X, y = stretched
    model = SelfTraining(2, random_state=0).fit(X, hide(y, 20))
    assert (model.labels_ == y).mean() > 0.95


def test_fixmatch_learns_from_sure_predictions_only(blobs: Any) -> None:
    X, y = blobs
    fits = {
        weight: FixMatch(
            3, steps=20, threshold=1.0, unlabelled_weight=weight, ema_decay=0, random_state=0, device="cpu"
        ).fit(X, hide(y, 3))
        for weight in (0.0, 1.0)
    }  # nothing is that sure: the weight does not matter
    first, second = (fit._network.state_dict() for fit in fits.values())
    assert all(torch.equal(first[name], second[name]) for name in first)
    with pytest.raises(ValueError, match=r"threshold=1\.5"):
        FixMatch(3, threshold=1.5).fit(X, y)


def test_strong_views_are_twice_as_strong() -> None:
    assert strengthen(Affine(0.1, 0.2, 0.1, 0.1)) == Affine(0.2, 0.4, 0.2, 0.2)
    assert strengthen(NeighborSwap(5, 0.5)) == NeighborSwap(5, 1.0)
    assert strengthen(ColorJitter()).affine.flip and strengthen(ColorJitter()).strength == 2
    own = lambda x, generator: x  # noqa: E731
    assert strengthen(own) is own
