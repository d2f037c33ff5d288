"""Every rival keeps the estimator contract. What is special to one is tested in a file of its own."""

from __future__ import annotations

import copy
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import make_blobs
from sklearn.exceptions import NotFittedError

import genmix
from genmix import DeadComponentWarning, metrics
from genmix.baselines import (
    ACAI,
    DCN,
    DEC,
    ClusterGAN,
    DynAE,
    FixMatch,
    GaussianMixture,
    KMeans,
    LabelSpreading,
    Pretraining,
    SelfTraining,
    SemiSupervisedKMeans,
    SupervisedOnly,
    VaDE,
    dcn,
)
from genmix.baselines.classical import Flat
from genmix.baselines.variational import VariationalAutoencoder
from surroundings import global_state

TINY = Pretraining(hidden=(16,), latent_dim=3, steps=3, batch_size=16)
QUICK = Pretraining(hidden=(32,), latent_dim=4, steps=150, batch_size=64)

ACAI_TINY = ACAI(hidden=(16,), latent_dim=3, steps=3, batch_size=16)
ACAI_QUICK = ACAI(hidden=(32,), latent_dim=4, steps=150, batch_size=64)

#: Learns next to nothing, in next to no time: ``make(n_components)``.
TINY_MODELS: dict[str, Callable[[int], Any]] = {
    "ClusterGAN": lambda k: ClusterGAN(
        k, latent_dim=3, batch_size=16, steps_per_iteration=2, max_iter=2, random_state=0, device="cpu"
    ),
    "DCN": lambda k: DCN(k, pretraining=TINY, batch_size=64, max_iter=2, random_state=0, device="cpu"),
    "VaDE": lambda k: VaDE(k, pretraining=TINY, batch_size=64, max_iter=2, random_state=0, device="cpu"),
    "DEC": lambda k: DEC(k, pretraining=TINY, update_interval=2, max_iter=2, random_state=0, device="cpu"),
    "DynAE": lambda k: DynAE(
        k, pretraining=ACAI_TINY, update_interval=2, max_iter=2, random_state=0, device="cpu"
    ),
    "FixMatch": lambda k: FixMatch(k, steps=20, batch_size=8, random_state=0, device="cpu"),
    "GaussianMixture": lambda k: GaussianMixture(k, n_init=1, random_state=0),
    "KMeans": lambda k: KMeans(k, n_init=1, random_state=0),
    "LabelSpreading": lambda k: LabelSpreading(k, random_state=0),
    "SelfTraining": lambda k: SelfTraining(k, n_features=50, max_iter=2, random_state=0),
    "SemiSupervisedKMeans": lambda k: SemiSupervisedKMeans(k, random_state=0),
    "SupervisedOnly": lambda k: SupervisedOnly(k, steps=20, batch_size=8, random_state=0, device="cpu"),
}

#: Tells separated groups apart.
LEARNERS: dict[str, Callable[[int], Any]] = {
    "ClusterGAN": lambda k: ClusterGAN(k, latent_dim=3, max_iter=6, random_state=0, device="cpu"),
    "DCN": lambda k: DCN(k, pretraining=QUICK, max_iter=10, random_state=0, device="cpu"),
    "VaDE": lambda k: VaDE(k, pretraining=QUICK, max_iter=10, random_state=0, device="cpu"),
    "DEC": lambda k: DEC(k, pretraining=QUICK, update_interval=20, max_iter=10, random_state=0, device="cpu"),
    "DynAE": lambda k: DynAE(
        k, pretraining=ACAI_QUICK, update_interval=20, max_iter=10, random_state=0, device="cpu"
    ),
}

LEARNERS |= {
    name: TINY_MODELS[name]
    for name in ("GaussianMixture", "KMeans", "LabelSpreading", "SelfTraining", "SemiSupervisedKMeans")
}
LEARNERS |= {
    "FixMatch": lambda k: FixMatch(k, steps=100, batch_size=16, random_state=0, device="cpu"),
    "SupervisedOnly": lambda k: SupervisedOnly(k, steps=100, batch_size=16, random_state=0, device="cpu"),
}

#: These learn from labels only.
NEED_LABELS = ("FixMatch", "LabelSpreading", "SelfTraining", "SupervisedOnly")


each = pytest.mark.parametrize("name", TINY_MODELS)


@pytest.fixture(scope="module")
def quietly_fitted(blobs: Any) -> Callable[[str], Any]:
    models: dict[str, Any] = {}

    def fitted(name: str) -> Any:
        if name not in models:
            models[name] = fit(TINY_MODELS[name](3), blobs[0])
        return models[name]

    return fitted


def fit(model: Any, X: Any, y: Any = None) -> Any:
    """Fit, with the first items of k-means clusters as labels where there have to be some."""
    if type(model).__name__ in NEED_LABELS and y is None:
        y = np.where(np.arange(len(X)) < 30, KMeans(model.n_components, random_state=0).fit(X).labels_, -1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeadComponentWarning)
        return model.fit(X, y)


@each
def test_labels_are_predict_and_the_largest_membership(name: str, quietly_fitted: Any, blobs: Any) -> None:
    model, X = quietly_fitted(name), blobs[0]
    memberships = model.predict_proba(X)
    assert memberships.shape == (600, 3) and memberships.dtype == np.float64 and (memberships >= 0).all()
    np.testing.assert_allclose(memberships.sum(1), 1, atol=1e-12)
    free = slice(30 if name in NEED_LABELS else 0, None)  # items with a label keep it
    np.testing.assert_array_equal(model.labels_[free], model.predict(X)[free])
    np.testing.assert_array_equal(model.predict(X), memberships.argmax(1))
    sure = model.predict(X, abstain=0.9)
    np.testing.assert_array_equal(sure, np.where(memberships.max(1) < 0.9, -1, memberships.argmax(1)))
    np.testing.assert_array_equal(model.predict(X, abstain=0), model.predict(X))
    with pytest.raises(ValueError, match=r"abstain=1\.5"):
        model.predict(X, abstain=1.5)
    if name != "GaussianMixture":  # which has weights of its own
        np.testing.assert_allclose(model.weights_, np.bincount(model.labels_, minlength=3) / 600)


@each
def test_an_item_is_judged_alike_in_any_batch(name: str, quietly_fitted: Any, blobs: Any) -> None:
    model, X = quietly_fitted(name), blobs[0][:128]
    whole = model.predict_proba(X)
    for size in (1, 7, 64):
        parts = [model.predict_proba(X[i : i + size]) for i in range(0, 128, size)]
        np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-9)


@each
def test_a_saved_model_answers_bit_for_bit(
    name: str, quietly_fitted: Any, blobs: Any, tmp_path: Path
) -> None:
    model, X = quietly_fitted(name), blobs[0]
    again = genmix.load(model.save(tmp_path / "model"))
    assert again.get_params() == model.get_params() and type(again) is type(model)
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))
    np.testing.assert_array_equal(again.labels_, model.labels_)
    assert again.history_ == model.history_ and again.n_iter_ == model.n_iter_
    if hasattr(model, "transform"):
        np.testing.assert_array_equal(again.transform(X), model.transform(X))
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):  # noqa: S301 - our own bytes
        np.testing.assert_array_equal(other.predict_proba(X), model.predict_proba(X))


@each
def test_the_seed_decides(name: str, quietly_fitted: Any, blobs: Any) -> None:
    X = blobs[0]
    again = fit(TINY_MODELS[name](3), X).predict_proba(X)
    np.testing.assert_array_equal(again, quietly_fitted(name).predict_proba(X))


@each
def test_nothing_global_and_no_input_is_touched(name: str, blobs: Any) -> None:
    X = blobs[0].copy()
    before = global_state()
    fit(TINY_MODELS[name](3), X)
    assert global_state() == before
    np.testing.assert_array_equal(X, blobs[0])


@each
@pytest.mark.filterwarnings("ignore:X has feature names")
def test_every_kind_of_table_is_judged_alike(
    name: str, quietly_fitted: Any, blobs: Any, tmp_path: Path
) -> None:
    model, X = quietly_fitted(name), blobs[0]
    expected = model.predict_proba(X)
    np.save(tmp_path / "X.npy", X)
    for given in (
        X.tolist(),
        pd.DataFrame(X, columns=["a", "b"]),
        pl.DataFrame({"a": X[:, 0], "b": X[:, 1]}),
        torch.from_numpy(X),
        np.asfortranarray(X),
        np.load(tmp_path / "X.npy", mmap_mode="r"),
    ):
        np.testing.assert_array_equal(model.predict_proba(given), expected)


@each
def test_far_away_items_have_finite_memberships(name: str, quietly_fitted: Any, blobs: Any) -> None:
    memberships = quietly_fitted(name).predict_proba(blobs[0][:5] * 1e6)
    assert np.isfinite(memberships).all()
    np.testing.assert_allclose(memberships.sum(1), 1, atol=1e-9)


@each
def test_takes_images(name: str, squares: Any) -> None:
    X = squares[0]
    model = fit(TINY_MODELS[name](2), X)
    assert model.predict_proba(X[:5]).shape == (5, 2)
    with pytest.raises(ValueError, match=r"\(10, 10\)"):
        model.predict(X[:5, :10, :10])


@pytest.mark.parametrize(
    ("factor", "message"),
    [(1 / 255, r"pixels of 0 to 0\.\d+, but .* 0 to 255"), (257, "pixels of 0 to 5")],
)
def test_images_in_other_units_draw_a_warning(factor: float, message: str, squares: Any) -> None:
    model = KMeans(2, random_state=0).fit(squares[0])
    model.predict(squares[0].astype(float))
    with pytest.warns(UserWarning, match=message) as found:
        model.predict(squares[0].astype(float) * factor)
    assert found[0].filename == __file__


@each
@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.array([[1.0, np.nan], [1, 2], [3, 4]]), "NaN"),
        (np.ones((2, 2)), "n_samples=2 is smaller than n_components=3"),
        (np.empty((0, 2)), "0 sample"),
    ],
)
def test_says_what_is_wrong_with_the_data(name: str, X: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TINY_MODELS[name](3).fit(X, np.arange(len(X)) if name in NEED_LABELS else None)


@each
def test_is_not_fitted_at_first(name: str, blobs: Any) -> None:
    model = clone(TINY_MODELS[name](3))
    with pytest.raises(NotFittedError):
        model.predict(blobs[0])
    with pytest.raises(ValueError, match="preset 'no such' is unknown"):
        type(model).preset("no such", 3)


@pytest.mark.parametrize("kind", [DCN, VaDE])
def test_networks_learn_from_views_and_items_are_assigned(
    kind: Any, squares: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Views without anything of the item change what is learned; what is assigned differs all the same."""
    seen: list[int] = []
    owner, name, place = (dcn, "follow_codes", 2) if kind is DCN else (VariationalAutoencoder, "assign", 1)
    original, differ = getattr(owner, name), []

    def spied(*given: Any) -> Any:
        differ.append(bool(given[place].flatten(1).std(0).max() > 0))
        return original(*given)

    monkeypatch.setattr(owner, name, spied)

    def blank(x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        seen.append(len(x))
        return torch.zeros_like(x)

    X, settings = squares[0], {"max_iter": 2, "tol": None, "random_state": 0, "device": "cpu"}
    plain, model = (
        kind(3, pretraining=TINY, augmentation=views, **settings).fit(X) for views in (None, blank)
    )
    assert sum(seen) == 2 * len(X)  # two passes; TINY does not augment
    assert not np.array_equal(model.transform(X), plain.transform(X))
    assert differ and all(differ)  # codes of blank views would be all alike
    assert kind(3)._how.augment and not kind(3, pretraining=TINY)._how.augment


@pytest.mark.parametrize("name", LEARNERS)
def test_finds_separated_groups(name: str) -> None:
    X, y = make_blobs(300, n_features=6, centers=3, cluster_std=0.5, random_state=3)
    shown = np.where(np.arange(300) < 60, y, -1)
    model = LEARNERS[name](3).fit(X, shown if name in NEED_LABELS else None)
    assert metrics.accuracy(y, model.labels_) > 0.95
    assert model.dead_components_ == []
    if not isinstance(model, Flat):  # scikit-learn keeps no history
        assert [record["iteration"] for record in model.history_] == list(range(1, model.n_iter_ + 1))


@each
def test_one_cluster_is_fine(name: str, blobs: Any) -> None:
    model = fit(TINY_MODELS[name](1), blobs[0])
    assert (model.labels_ == 0).all() and model.weights_ == [1]


@pytest.mark.parametrize("name", ["DEC", "KMeans", "VaDE"])
def test_a_warning_points_at_the_caller(name: str) -> None:
    X = np.zeros((20, 3))  # all alike: all but one cluster stay empty
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        TINY_MODELS[name](3).fit(X)
    ours = [item for item in found if item.category is DeadComponentWarning]
    assert [item.filename for item in ours] == [__file__]
