"""Every rival keeps the estimator contract. What is special to one is tested in a file of its own."""

from __future__ import annotations

import copy
import pickle
import random
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import make_blobs
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.utils.estimator_checks import parametrize_with_checks

import genmix
from genmix import DeadComponentWarning, metrics
from genmix.baselines import DCN, DEC, Pretraining, VaDE

TINY = Pretraining(hidden=(16,), latent_dim=3, steps=3, batch_size=16)
QUICK = Pretraining(hidden=(32,), latent_dim=4, steps=150, batch_size=64)

#: Learns next to nothing, in next to no time: ``make(n_components)``.
TINY_MODELS: dict[str, Callable[[int], Any]] = {
    "DCN": lambda k: DCN(k, pretraining=TINY, batch_size=64, max_iter=2, random_state=0, device="cpu"),
    "VaDE": lambda k: VaDE(k, pretraining=TINY, batch_size=64, max_iter=2, random_state=0, device="cpu"),
    "DEC": lambda k: DEC(k, pretraining=TINY, update_interval=2, max_iter=2, random_state=0, device="cpu"),
}

#: Tells separated groups apart.
LEARNERS: dict[str, Callable[[int], Any]] = {
    "DCN": lambda k: DCN(k, pretraining=QUICK, max_iter=10, random_state=0, device="cpu"),
    "VaDE": lambda k: VaDE(k, pretraining=QUICK, max_iter=10, random_state=0, device="cpu"),
    "DEC": lambda k: DEC(k, pretraining=QUICK, update_interval=20, max_iter=10, random_state=0, device="cpu"),
}

#: Scikit-learn's common checks that a model fails, and why; at most three each.
EXPECTED_FAILURES: dict[str, dict[str, str]] = {}

each = pytest.mark.parametrize("name", TINY_MODELS)


@parametrize_with_checks(
    [make(3) for make in TINY_MODELS.values()],
    expected_failed_checks=lambda estimator: EXPECTED_FAILURES.get(type(estimator).__name__, {}),
)
def test_scikit_learn_common_checks(estimator: Any, check: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeadComponentWarning)
        warnings.simplefilter("ignore", ConvergenceWarning)
        check(estimator)


def test_no_model_fails_more_than_three_common_checks() -> None:
    assert all(len(failures) <= 3 for failures in EXPECTED_FAILURES.values())


@pytest.fixture(scope="module")
def quietly_fitted(blobs: Any) -> Callable[[str], Any]:
    models: dict[str, Any] = {}

    def fitted(name: str) -> Any:
        if name not in models:
            models[name] = fit(TINY_MODELS[name](3), blobs[0])
        return models[name]

    return fitted


def fit(model: Any, X: Any, y: Any = None) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeadComponentWarning)
        return model.fit(X, y)


@each
def test_labels_are_predict_and_the_largest_membership(name: str, quietly_fitted: Any, blobs: Any) -> None:
    model, X = quietly_fitted(name), blobs[0]
    memberships = model.predict_proba(X)
    assert memberships.shape == (600, 3) and memberships.dtype == np.float64 and (memberships >= 0).all()
    np.testing.assert_allclose(memberships.sum(1), 1, atol=1e-12)
    np.testing.assert_array_equal(model.labels_, model.predict(X))
    np.testing.assert_array_equal(model.labels_, memberships.argmax(1))
    np.testing.assert_allclose(model.weights_, np.bincount(model.labels_, minlength=3) / 600)


@each
def test_an_item_is_judged_alike_in_any_batch(name: str, quietly_fitted: Any, blobs: Any) -> None:
    model, X = quietly_fitted(name), blobs[0][:60]
    whole = model.predict_proba(X)
    for size in (1, 7):
        parts = [model.predict_proba(X[i : i + size]) for i in range(0, 60, size)]
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
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    before = (random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state())  # noqa: NPY002
    fit(TINY_MODELS[name](3), X)
    assert random.getstate() == before[0]
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[2])
    np.testing.assert_array_equal(X, blobs[0])


@each
def test_takes_images(name: str, squares: Any) -> None:
    X = squares[0]
    model = fit(TINY_MODELS[name](2), X)
    assert model.predict_proba(X[:5]).shape == (5, 2)
    with pytest.raises(ValueError, match=r"\(10, 10\)"):
        model.predict(X[:5, :10, :10])


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
        TINY_MODELS[name](3).fit(X)


@each
def test_is_not_fitted_at_first(name: str, blobs: Any) -> None:
    model = clone(TINY_MODELS[name](3))
    with pytest.raises(NotFittedError):
        model.predict(blobs[0])
    with pytest.raises(ValueError, match="preset 'no such' is unknown"):
        type(model).preset("no such", 3)


@pytest.mark.parametrize("name", LEARNERS)
def test_finds_separated_groups(name: str) -> None:
    X, y = make_blobs(300, n_features=6, centers=3, cluster_std=0.5, random_state=3)
    model = LEARNERS[name](3).fit(X)
    assert metrics.accuracy(y, model.labels_) > 0.95
    assert model.dead_components_ == []
    assert [record["iteration"] for record in model.history_] == list(range(1, model.n_iter_ + 1))


@each
def test_one_cluster_is_fine(name: str, blobs: Any) -> None:
    model = TINY_MODELS[name](1).fit(blobs[0])
    assert (model.labels_ == 0).all() and model.weights_ == [1]
