"""DNNMixture: the estimator contract, MinMax+EM, labels for a part of the data, the preset."""

from __future__ import annotations

import copy
import json
import pickle
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from sklearn.base import clone
from sklearn.datasets import load_digits, make_blobs
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags

import genmix
from genmix import Affine, DeadComponentWarning, DNNMixture, InfoMaxInit, NeighborSwap, metrics
from genmix.dnnmm import latent
from genmix.dnnmm.networks import Decoder, Encoder, MinMaxStep
from genmix.dnnmm.presets import PRESETS, PaperStep
from genmix.nn.adversarial import OBJECTIVES, Adversarial
from genmix.training import infomax
from genmix.training.augment import AugmentedData
from genmix.training.engine import Engine
from surroundings import global_state

DENSE = {"kind": "mlp", "hidden": (24,)}
NETWORKS = {"encoder": DENSE, "generator": DENSE, "discriminator": DENSE}
SETTINGS: dict[str, Any] = {
    "steps": 5, "batch_size": 32, "labelled_batch_size": 16, "generated_batch_size": 32, "encoder_lr": 5e-3,
    "encoder_pretrain_steps": 60, "generator_pretrain_steps": 10,
}  # fmt: skip
STEP = MinMaxStep(**SETTINGS)
#: Learns separated groups.
SMALL: dict[str, Any] = {
    "init": InfoMaxInit(steps=60, n_heads=1, n_candidates=1, partitions=(), lr=5e-3),
    "m_step": STEP,
    "networks": NETWORKS,
    "generate": False,
    "max_iter": 3,
    "tol": None,
    "random_state": 0,
    "device": "cpu",
}
FEW: dict[str, Any] = {
    **SETTINGS, "steps": 1, "batch_size": 8, "labelled_batch_size": 4, "generated_batch_size": 8,
    "encoder_pretrain_steps": 2, "generator_pretrain_steps": 2,
}  # fmt: skip
#: Learns next to nothing, in next to no time.
QUICK: dict[str, Any] = {
    **SMALL,
    "init": InfoMaxInit(steps=2, n_heads=2, n_candidates=1, partitions=()),
    "m_step": MinMaxStep(**FEW),
    "max_iter": 2,
}


@dataclass(frozen=True)
class Epochwise(MinMaxStep):
    """Generalised EM."""

    online: ClassVar[bool] = False


@dataclass(frozen=True)
class Plain(MinMaxStep):
    augments: ClassVar[bool] = False


@dataclass(frozen=True)
class PlainEpochwise(Epochwise):
    augments: ClassVar[bool] = False


@dataclass(frozen=True)
class Unconditional(MinMaxStep):
    conditional: ClassVar[bool] = False


@dataclass(frozen=True)
class Ascending(MinMaxStep):
    weight_update: ClassVar[Any] = "gradient"


@dataclass(frozen=True)
class Cycling(MinMaxStep):
    encoder_cycle: ClassVar[bool] = True


@dataclass(frozen=True)
class Impatient(MinMaxStep):
    min_iter: ClassVar[int] = 0


@dataclass(frozen=True)
class Patient(MinMaxStep):
    min_iter: ClassVar[int] = 5


def fix_omega(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Encoder, "update_weights", lambda self, gamma, item_weights: None)


def small(k: int = 3, **changes: Any) -> DNNMixture:
    return DNNMixture(k, **{**SMALL, **changes})


def quick(k: int = 3, **changes: Any) -> DNNMixture:
    return DNNMixture(k, **{**QUICK, **changes})


def test_is_a_transformer_to_scikit_learn(blobs: Any) -> None:
    model = quick()
    assert get_tags(model).transformer_tags is not None
    np.testing.assert_array_equal(model.fit_transform(blobs[0]), quick().fit(blobs[0]).transform(blobs[0]))


# ---------------------------------------------------------------- the contract


@pytest.fixture(scope="module")
def fitted(blobs: Any) -> DNNMixture:
    return small(max_iter=4, generate=True).fit(blobs[0])


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    """150 images of 8 x 8 pixels, 0 to 16, of three digits."""
    images, y = load_digits(n_class=3, return_X_y=True)
    return images[:150].reshape(-1, 8, 8), y[:150]


@pytest.fixture(scope="module")
def fitted_images(digits: Any) -> DNNMixture:
    return quick(generate=True).fit(digits[0])


def same_model(first: DNNMixture, second: DNNMixture) -> bool:
    ours, theirs = first._tensors(), second._tensors()
    assert ours.keys() == theirs.keys()
    return all(torch.equal(ours[name], theirs[name]) for name in ours)


def few(y: np.ndarray, n: int) -> np.ndarray:
    """The first n labels; the others are unknown."""
    return np.where(np.arange(len(y)) < n, y, -1)


def test_finds_separated_groups(fitted: DNNMixture, blobs: Any) -> None:
    assert metrics.accuracy(blobs[1], fitted.labels_) >= 0.98


def test_finds_groups_of_images(squares: Any) -> None:
    init = InfoMaxInit(steps=60, n_heads=2, n_candidates=1)
    model = small(2, init=init, augmentation=Affine(shift=0.03)).fit(squares[0])
    assert metrics.accuracy(squares[1], model.labels_) >= 0.98


def test_predictions_agree_with_each_other(fitted: DNNMixture, blobs: Any) -> None:
    p = fitted.predict_proba(blobs[0])
    assert p.shape == (600, 3) and p.dtype == np.float64 and (p >= 0).all()
    np.testing.assert_allclose(p.sum(1), 1, atol=1e-12)
    np.testing.assert_array_equal(p.argmax(1), fitted.predict(blobs[0]))
    np.testing.assert_array_equal(fitted.labels_, fitted.predict(blobs[0]))
    model = quick()
    np.testing.assert_array_equal(model.fit_predict(blobs[0]), quick().fit(blobs[0]).labels_)


def test_scores_and_memberships_are_those_of_the_mixture_of_encodings(fitted: DNNMixture, blobs: Any) -> None:
    """Eq. 1 to 3 by scipy, from `transform`, `means_` and `weights_` alone."""
    X = blobs[0][:20]
    z = fitted.transform(X)
    assert z.shape == (20, 30) and z.dtype == np.float64
    identity = np.eye(30)
    densities = [multivariate_normal(mean, identity).logpdf(z) for mean in fitted.means_]
    joint = np.stack(densities, 1) + np.log(fitted.weights_)
    np.testing.assert_allclose(fitted.score_samples(X), logsumexp(joint, 1), rtol=1e-9)
    expected = np.exp(joint - logsumexp(joint, 1)[:, None])
    np.testing.assert_allclose(fitted.predict_proba(X), expected, atol=1e-9)


def test_the_parameters_of_the_mixture(fitted: DNNMixture) -> None:
    assert fitted.means_.shape == (3, 30)
    np.testing.assert_allclose(np.linalg.norm(fitted.means_, axis=1), 4)
    assert fitted.weights_.sum() == pytest.approx(1) and (fitted.weights_ > 0).all()
    np.testing.assert_allclose(fitted.weights_, np.bincount(fitted.labels_) / 600, atol=0.05)
    assert fitted.classes_.tolist() == [] and fitted.dead_components_ == []
    other = quick(m_step=replace(QUICK["m_step"], latent_dim=4))
    other.fit(np.random.default_rng(0).normal(size=(9, 2)))
    np.testing.assert_array_equal(other.means_, 4 * np.eye(3, 4))


@pytest.mark.parametrize("batch", [1, 7, 64])
def test_predictions_do_not_depend_on_batches(
    fitted: DNNMixture, fitted_images: DNNMixture, blobs: Any, digits: Any, batch: int
) -> None:
    for model, X, noise in ((fitted, blobs[0][:128], 1e-9), (fitted_images, digits[0][:128], 1e-6)):
        parts = np.concatenate([model.predict_proba(X[i : i + batch]) for i in range(0, 128, batch)])
        np.testing.assert_allclose(parts, model.predict_proba(X), atol=noise)


def test_far_away_items_have_finite_memberships(fitted: DNNMixture, blobs: Any) -> None:
    p = fitted.predict_proba(blobs[0][:5] * 1e6)
    assert np.isfinite(p).all() and np.isfinite(fitted.score_samples(blobs[0][:5] * 1e6)).all()
    np.testing.assert_allclose(p.sum(1), 1, atol=1e-9)


def test_history_has_a_finite_record_an_iteration(fitted: DNNMixture) -> None:
    table = pd.DataFrame(fitted.history_)
    assert list(table) == [
        "iteration", "encoder_loss", "cycle_error", "generator_loss", "discriminator_loss", "changed",
        "log_likelihood", "bound", "smallest_share", "seconds",
    ]  # fmt: skip
    assert fitted.n_iter_ == len(table) == 4 and list(table["iteration"]) == [1, 2, 3, 4]
    assert np.isfinite(table.to_numpy()).all() and (np.diff(table["seconds"]) > 0).all()
    assert table["changed"].between(0, 1).all() and (table["changed"][1:] < 0.1).all()
    assert (table["bound"] <= table["log_likelihood"] + 1e-4).all()
    assert (table[["cycle_error", "generator_loss", "discriminator_loss"]] > 0).all().all()
    assert (table["smallest_share"] > 0.2).all()


def test_without_a_generator_there_are_no_losses_of_it(fitted: DNNMixture, blobs: Any) -> None:
    found = set(quick().fit(blobs[0]).history_[0])
    assert set(fitted.history_[0]) - found == {"cycle_error", "generator_loss", "discriminator_loss"}
    assert found < set(fitted.history_[0])


@pytest.mark.parametrize("generate", [True, False])
def test_same_seed_same_bits_and_other_seed_other_bits(blobs: Any, generate: bool) -> None:
    first, again, other = (quick(generate=generate, random_state=s).fit(blobs[0]) for s in (0, 0, 1))
    assert same_model(first, again) and not same_model(first, other)
    np.testing.assert_array_equal(first.weights_, again.weights_)


def test_nothing_global_changes(blobs: Any) -> None:
    X, y = blobs[0].copy(), few(blobs[1], 9)
    before = global_state()
    model = quick(generate=True, networks={"encoder": _encoder}).fit(X, y)
    model.sample(3)
    model.interpolate(0, 1)
    assert global_state() == before
    np.testing.assert_array_equal(X, blobs[0])
    np.testing.assert_array_equal(y, few(blobs[1], 9))


def _encoder(in_shape: tuple[int, ...], out_dim: int) -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Linear(in_shape[0], 8), torch.nn.Tanh(), torch.nn.Linear(8, out_dim))


@pytest.fixture(scope="module")
def of_an_array(blobs: Any) -> np.ndarray:
    X = blobs[0][:60]
    return quick().fit(X).predict_proba(X)


@pytest.mark.parametrize(
    "convert",
    [
        lambda X: X.tolist(),
        lambda X: pd.DataFrame(X, columns=["a", "b"]),
        lambda X: pl.DataFrame({"a": X[:, 0], "b": X[:, 1]}),
        torch.from_numpy,
        np.asfortranarray,
    ],
)
def test_every_kind_of_table_gives_the_same_model(blobs: Any, of_an_array: np.ndarray, convert: Any) -> None:
    X = convert(blobs[0][:60])
    np.testing.assert_array_equal(quick().fit(X).predict_proba(X), of_an_array)


def test_memory_maps_are_read_only(blobs: Any, tmp_path: Any) -> None:
    np.save(tmp_path / "X.npy", blobs[0])
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    np.testing.assert_array_equal(quick().fit_predict(mapped), quick().fit_predict(blobs[0]))


def test_single_precision_finds_the_same_groups(blobs: Any) -> None:
    found = [small(init="kmeans").fit_predict(blobs[0].astype(kind)) for kind in (np.float32, np.float64)]
    assert (found[0] == found[1]).mean() >= 0.995
    assert metrics.accuracy(blobs[1], found[1]) >= 0.98


# ---------------------------------------------------------------- samples, walks, encodings


@pytest.mark.parametrize(
    "layout",
    [
        lambda X: X,
        lambda X: X[..., None],
        lambda X: np.repeat(X[..., None], 3, -1),
        lambda X: np.repeat(X[:, None], 3, 1),
        lambda X: (X * 15).astype(np.uint8),
        lambda X: (X / 16).astype(np.float32),
        lambda X: torch.from_numpy(X * 7 - 100),
    ],
)
def test_images_of_every_layout(digits: Any, layout: Any) -> None:
    X = layout(digits[0][:40])
    model = quick(generate=True).fit(X)
    kind, shape = str(X.dtype).removeprefix("torch."), tuple(X.shape[1:])
    low, high = (0, 255) if kind == "uint8" else (float(X.min()), float(X.max()))
    made, component = model.sample(7)
    walk = model.interpolate(0, X[3], steps=5)
    back = model.inverse_transform(model.transform(X[:4]))
    for items, n in ((made, 7), (walk, 5), (back, 4)):
        assert items.shape == (n, *shape) and str(items.dtype) == kind
        assert items.min() >= low - 1e-3 and items.max() <= high + 1e-3
    assert component.shape == (7,) and model.n_features_in_ == np.prod(shape)


def test_a_single_image_is_asked_for_as_a_stack() -> None:
    X = np.random.default_rng(0).random((24, 6, 5)).astype(np.float32)
    model = quick().fit(X)
    assert model.predict(X[:1]).shape == (1,)
    for wrong, advice in (
        (X[0], r"fitted on \(6, 5\); of a single item make a stack"),
        (X[:, 0], r"\(6, 5\)$"),
    ):
        with pytest.raises(ValueError, match=advice):
            model.predict(wrong)


def test_codes_are_named_for_frames(blobs: Any) -> None:
    X = blobs[0]
    model = quick().set_output(transform="pandas").fit(X)
    frame = model.transform(X)
    assert list(frame.columns) == list(model.get_feature_names_out())
    np.testing.assert_array_equal(frame, quick().fit(X).transform(X))


@pytest.mark.parametrize("shape", [(8, 8), (12, 12, 3), (3, 10, 14), (5, 3), (64, 64)])
@pytest.mark.parametrize("kind", [MinMaxStep, Unconditional])
def test_convolutional_networks_of_every_size(shape: tuple[int, ...], kind: type[MinMaxStep]) -> None:
    X = np.random.default_rng(0).random((12, *shape)).astype(np.float32)
    networks = dict.fromkeys(NETWORKS, "conv" if min(shape[:2]) > 3 or shape[0] == 3 else "auto")
    model = quick(2, generate=True, networks=networks, m_step=kind(**FEW), max_iter=1).fit(X)
    assert model.sample(3, component=1)[0].shape == (3, *shape)


def test_tables_come_back_in_their_units_and_dtype(blobs: Any) -> None:
    X = (blobs[0] * [1, 1000] + [5, -3000]).astype(np.float32)
    step = replace(STEP, encoder_pretrain_steps=120, generator_pretrain_steps=250, lr=5e-3)
    model = small(generate=True, init="kmeans", m_step=step).fit(X)
    for k in range(3):
        made, component = model.sample(200, component=k)
        assert made.shape == (200, 2) and made.dtype == np.float32 and (component == k).all()
        assert (model.predict(made) == k).mean() >= 0.9
        real = X[model.labels_ == k]
        assert (np.abs(made.mean(0) - real.mean(0)) <= 2 * real.std(0)).all()  # groups are 8 apart
    back = model.inverse_transform(model.transform(X))
    # eq. 15: the generator undoes the encoder, so far that items find their group again
    assert (model.predict(back) == model.labels_).mean() >= 0.95


def test_components_are_drawn_by_weight(fitted: DNNMixture) -> None:
    _, component = fitted.sample(3000)
    assert (np.diff(component) >= 0).all()
    np.testing.assert_allclose(np.bincount(component, minlength=3) / 3000, fitted.weights_, atol=0.04)


def test_walks_go_straight_through_the_latent_space(fitted: DNNMixture, blobs: Any) -> None:
    walk = fitted.interpolate(0, 2, steps=5)
    points = np.linspace(fitted.means_[0], fitted.means_[2], 5)
    np.testing.assert_allclose(walk, fitted.inverse_transform(points), atol=1e-5)
    items = fitted.interpolate(blobs[0][0], np.int64(1), steps=2)
    ends = np.stack([fitted.transform(blobs[0][:1])[0], fitted.means_[1]])
    np.testing.assert_allclose(items, fitted.inverse_transform(ends), atol=1e-5)
    assert fitted.interpolate(0, 1).shape == (8, 2)


def test_walks_from_rows_of_a_frame(blobs: Any) -> None:
    frame = pd.DataFrame(blobs[0][:60], columns=["a", "b"])
    model = quick(generate=True).fit(frame)
    assert model.interpolate(frame.iloc[0], frame.iloc[1], steps=3).shape == (3, 2)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda m: m.interpolate(0, 3), "component 3 does not exist: expected 0 to 2"),
        (lambda m: m.interpolate(-1, 0), "component -1"),
        (lambda m: m.interpolate(0, 1, steps=1), "steps=1"),
        (lambda m: m.interpolate(0, 1, steps=2.5), r"steps=2\.5"),
        (lambda m: m.inverse_transform(np.ones((4, 29))), r"shape \(4, 29\).*\(M, 30\)"),
        (lambda m: m.inverse_transform(np.ones(30)), r"shape \(30,\)"),
        (lambda m: m.inverse_transform(np.full((1, 30), np.nan)), "finite"),
        (lambda m: m.sample(0), "n_samples=0"),
        (lambda m: m.sample(2.5), r"n_samples=2\.5"),
        (lambda m: m.sample(2, component=3), "component=3"),
        (lambda m: m.predict(np.ones((4, 3))), "3 features"),
    ],
)
def test_fitted_models_refuse(fitted: DNNMixture, call: Callable[[DNNMixture], Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call(fitted)


def test_images_of_another_size_are_refused(fitted_images: DNNMixture) -> None:
    for verb in (fitted_images.predict, fitted_images.transform, fitted_images.score_samples):
        with pytest.raises(ValueError, match=r"\(28, 28\)"):
            verb(np.ones((4, 28, 28)))


def test_without_a_generator_nothing_is_generated_and_it_says_why(blobs: Any) -> None:
    model = quick(generate=False).fit(blobs[0])
    assert set(model._networks) == {"encoder"}
    for verb in (
        model.sample,
        lambda: model.interpolate(0, 1),
        lambda: model.inverse_transform(model.means_),
    ):
        with pytest.raises(ValueError, match="generate=False"):
            verb()


def test_unfitted() -> None:
    model = DNNMixture()
    verbs = (model.sample, lambda: model.predict([[0.0]]), lambda: model.save("x"),
             lambda: model.interpolate(0, 1), lambda: model.transform([[0.0]]),
             lambda: model.inverse_transform([[0.0]]), lambda: model.score_samples([[0.0]]))  # fmt: skip
    for verb in verbs:
        with pytest.raises(NotFittedError):
            verb()


# ---------------------------------------------------------------- labels for a part of the data


@pytest.mark.parametrize("init", [SMALL["init"], "kmeans", "random"], ids=["infomax", "kmeans", "random"])
def test_unknown_labels_everywhere_change_no_bit(blobs: Any, init: Any) -> None:
    changes = {"init": init, "generate": init == "kmeans", "max_iter": 1}
    without, unknown = (quick(**changes).fit(blobs[0], y) for y in (None, np.full(600, -1)))
    assert same_model(without, unknown)
    np.testing.assert_array_equal(without.labels_, unknown.labels_)
    np.testing.assert_array_equal(without.weights_, unknown.weights_)
    assert unknown.classes_.tolist() == []


@pytest.mark.parametrize("kind", [MinMaxStep, Epochwise])
@pytest.mark.parametrize("init", [SMALL["init"], "kmeans", "labels"], ids=["infomax", "kmeans", "labels"])
def test_component_k_is_class_k(blobs: Any, init: Any, kind: type[MinMaxStep]) -> None:
    X, classes = blobs[0], np.array([8, 3, 5])[blobs[1]]
    model = small(init=init, m_step=kind(**SETTINGS)).fit(X, few(classes, 30))
    assert model.classes_.tolist() == [3, 5, 8]
    assert (model.classes_[model.predict(X)] == classes).mean() >= 0.95


def test_given_labels_stay_even_where_the_encoder_disagrees(blobs: Any) -> None:
    X, y = blobs[0], few(blobs[1], 30)
    y[:2] = (y[:2] + 1) % 3  # two wrong ones
    model = small().fit(X, y)
    np.testing.assert_array_equal(model.labels_[:30], y[:30])
    assert (model.predict(X)[:2] == blobs[1][:2]).all()
    np.testing.assert_array_equal(model.labels_[30:], model.predict(X)[30:])


@pytest.mark.parametrize("init", ["infomax", "kmeans"])
def test_classes_without_labels_are_discovered(blobs: Any, init: Any) -> None:
    X, truth = blobs
    y = np.where(truth == 2, 7, -1)
    y[200:] = -1
    if init == "infomax":  # beside k-means: all labels say the same
        init = replace(SMALL["init"], partitions=("kmeans",))
    model = small(init=init, m_step=replace(STEP, encoder_pretrain_steps=150)).fit(X, y)
    assert model.classes_.tolist() == [7]
    assert metrics.accuracy(truth, model.predict(X)) >= 0.95
    assert (model.predict(X)[truth == 2] == 0).mean() >= 0.95


def test_there_may_be_more_components_than_classes(blobs: Any) -> None:
    model = small(5, init="kmeans").fit(blobs[0], few(blobs[1], 30))
    assert model.classes_.tolist() == [0, 1, 2] and model.weights_.shape == (5,)
    np.testing.assert_array_equal(model.labels_[:30], blobs[1][:30])
    assert metrics.purity(blobs[1], model.labels_) >= 0.95


def test_more_classes_than_components_are_refused(blobs: Any) -> None:
    with pytest.raises(ValueError, match="3 classes, but n_components=2"):
        quick(2).fit(*blobs)


@pytest.mark.parametrize("init", [SMALL["init"], "labels"], ids=["infomax", "labels"])
def test_when_everything_is_labelled_it_is_a_classifier(blobs: Any, init: Any) -> None:
    X, y = blobs
    model = small(init=init).fit(X, y)
    np.testing.assert_array_equal(model.labels_, y)
    assert (model.predict(X) == y).mean() >= 0.98


def test_labels_help_where_groups_overlap() -> None:
    """Two long stripes: without labels they are rather cut across."""
    rng = np.random.default_rng(0)
    y = np.arange(400) % 2
    X = np.c_[rng.uniform(-8, 8, 400), 1.6 * y + rng.normal(0, 0.3, 400)]
    without, helped = (small(2, scaling="none", max_iter=5).fit(X, labels) for labels in (None, few(y, 60)))
    assert metrics.accuracy(y, without.predict(X)) < 0.8
    assert (helped.predict(X)[60:] == y[60:]).mean() >= 0.9


def test_a_few_labels_do_no_harm_to_overlapping_blobs() -> None:
    X, y = make_blobs(400, centers=[[0, 0], [3, 0], [0, 3]], random_state=3)
    without, helped = (small(max_iter=4).fit(X, labels) for labels in (None, few(y, 40)))
    accuracies = metrics.accuracy(y[40:], without.predict(X)[40:]), (helped.predict(X) == y)[40:].mean()
    assert accuracies[1] >= max(accuracies[0], 0.85)


def test_more_labels_do_no_harm() -> None:
    """Mean accuracy on the 240 items that never have a label, over five draws of the data."""
    found = []
    for n in (0, 3, 15, 60):
        accuracies = []
        for seed in range(5):
            X, y = make_blobs(300, centers=[[0, 0], [4, 0], [0, 4]], random_state=seed)
            model = small(init="kmeans", max_iter=2).fit(X, few(y, n))
            accuracies.append(metrics.accuracy(y[60:], model.predict(X)[60:]))
        found.append(np.mean(accuracies))
    assert (np.diff(found) >= -0.02).all() and found[-1] >= 0.9


def test_a_tenth_of_the_labels_may_be_wrong_and_is_found(blobs: Any) -> None:
    X, y = blobs
    right = few(y, 300)
    wrong, flipped = right.copy(), np.random.default_rng(0).choice(300, 30, replace=False)
    wrong[flipped] = (y[flipped] + 1) % 3
    clean, model = (small(init="kmeans").fit(X, labels) for labels in (right, wrong))
    assert (model.predict(X) == y).mean() >= (clean.predict(X) == y).mean() - 0.1
    belief = model.predict_proba(X)[np.arange(300), wrong[:300]]  # in the labels given
    assert np.isin(belief.argsort()[:30], flipped).mean() >= 0.6


def test_unequal_groups_with_labels_get_their_shares() -> None:
    X, y = make_blobs([480, 90, 30], centers=[[0, 0], [8, 0], [0, 8]], random_state=0)
    order = np.random.default_rng(0).permutation(600)
    X, y = X[order], y[order]
    model = small(max_iter=4).fit(X, few(y, 80))
    np.testing.assert_allclose(model.weights_, [0.8, 0.15, 0.05], atol=0.03)
    assert (model.predict(X) == y).mean() >= 0.97


def test_initialisation_by_labels_needs_some(blobs: Any) -> None:
    for y in (None, np.full(600, -1)):
        with pytest.raises(ValueError, match="init='labels' needs labels in y"):
            quick(init="labels").fit(blobs[0], y)


@pytest.mark.parametrize(
    ("y", "words"),
    [
        (np.zeros(599, dtype=int), r"expected \(600,\)"),
        (np.full(600, 0.5), "whole numbers"),
        (np.full(600, "a"), "LabelEncoder"),
    ],
)
def test_bad_labels_are_refused(blobs: Any, y: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        quick().fit(blobs[0], y)


# ---------------------------------------------------------------- weights of items


def test_items_count_by_weight_in_the_shares(blobs: Any) -> None:
    """With all memberships known omega is exact: counts by weight, and the prior's 0.1 for each component."""
    X, y = blobs
    weights = np.array([4.0, 1.0, 0.5])[y]
    model = quick().fit(X, y, sample_weight=weights)
    counts = np.bincount(y, weights) * 600 / weights.sum() + 0.1
    np.testing.assert_allclose(model.weights_, counts / counts.sum(), rtol=1e-5)


def test_equal_weights_change_no_share(blobs: Any) -> None:
    models = [quick().fit(*blobs, sample_weight=w) for w in (None, np.full(600, 7.0))]
    np.testing.assert_allclose(models[0].weights_, models[1].weights_, rtol=1e-5)


def test_items_without_weight_are_not_learned(blobs: Any) -> None:
    X, y = blobs
    kept = y < 2
    model = small(2, max_iter=4).fit(X, sample_weight=kept.astype(float))
    assert metrics.accuracy(y[kept], model.labels_[kept]) >= 0.98
    np.testing.assert_allclose(model.weights_, 0.5, atol=0.05)


def test_labels_without_weight_are_not_learned(blobs: Any) -> None:
    X, y = blobs
    wrong = few((y + 1) % 3, 200)
    wrong[200:260] = y[200:260]
    model = small().fit(X, wrong, sample_weight=np.arange(600) >= 200)
    assert (model.predict(X) == y).mean() >= 0.95


def test_neighbours_without_weight_stand_in_for_nobody(blobs: Any) -> None:
    weights = torch.from_numpy(np.arange(600) % 2).float()
    data = AugmentedData(torch.from_numpy(blobs[0]).float(), NeighborSwap(5), Engine("cpu", 0), weights)
    index = data.draw_index(1, 200)
    assert (weights[index] == 1).all()
    assert (weights[data.sample_neighbors(index)] == 1).all()


def test_views_know_weights_and_labels(blobs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that an item is not exchanged with a neighbour of another class, or without weight."""
    made: list[AugmentedData] = []

    def spied(*arguments: Any) -> AugmentedData:
        made.append(AugmentedData(*arguments))
        return made[-1]

    monkeypatch.setattr("genmix.dnnmm.model.AugmentedData", spied)
    weights = np.arange(600) % 3 + 1.0
    quick(max_iter=1).fit(blobs[0], few(blobs[1] + 4, 30), weights)
    quick(max_iter=1).fit(blobs[0])
    np.testing.assert_array_equal(made[0].component, few(blobs[1], 30))
    np.testing.assert_array_equal(made[0].weights, weights)
    assert made[1].component is None and made[1].weights is None


def test_labels_that_all_weigh_nothing_are_refused(blobs: Any) -> None:
    X, y = blobs
    weights = (np.arange(600) >= 30).astype(float)
    with pytest.raises(ValueError, match="sample_weight is zero for all items with labels"):
        quick().fit(X, few(y, 30), sample_weight=weights)


@pytest.mark.parametrize(
    "weights",
    [
        np.ones(599),
        np.ones((600, 1)),
        np.full(600, -1.0),
        np.zeros(600),
        np.full(600, np.nan),
        np.full(600, np.inf),
    ],
)
def test_bad_weights_are_refused(blobs: Any, weights: Any) -> None:
    with pytest.raises(ValueError, match=r"sample_weight.*expected 600 finite numbers >= 0"):
        quick().fit(blobs[0], sample_weight=weights)


# ---------------------------------------------------------------- MinMax+EM


def test_the_bound_rises_from_one_e_step_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """Generalised EM: with gamma held for an iteration, the bound at its end is above the likelihood before.

    Batches are large and the encoder has no batch normalisation, so that little noise is left.
    """
    X, _ = make_blobs(600, centers=[[0, 0], [8, 0], [0, 8]], random_state=0)
    monkeypatch.setattr("genmix.dnnmm.networks.WEIGHT_CONCENTRATION", 1.0)  # no prior in what rises
    step = PlainEpochwise(
        **{**SETTINGS, "steps": 8, "batch_size": 1200, "encoder_lr": 2e-3, "encoder_pretrain_steps": 5}
    )
    dense = {"encoder": {"kind": "mlp", "hidden": (32,), "norm": None}}
    model = small(m_step=step, augmentation=None, init="kmeans", networks=dense, max_iter=12).fit(X)
    table = pd.DataFrame(model.history_)
    before, bound = table["log_likelihood"].to_numpy()[:-1], table["bound"].to_numpy()[1:]
    assert (bound >= before - 1e-3).all()
    gap = table["log_likelihood"].to_numpy()[1:] - bound
    assert (gap >= -1e-4).all() and gap[0] > 1e-3  # the E-step closes it
    assert before[-1] > before[0] + 1


@pytest.mark.parametrize("kind", [MinMaxStep, Epochwise, Plain, PlainEpochwise])
def test_both_kinds_of_e_step_learn(blobs: Any, kind: type[MinMaxStep]) -> None:
    model = small(init="kmeans", m_step=kind(**SETTINGS)).fit(blobs[0])
    assert metrics.accuracy(blobs[1], model.labels_) >= 0.98


@pytest.mark.parametrize("generate", [True, False])
@pytest.mark.parametrize("update", ["closed-form", "gradient", "fixed"])
def test_every_update_of_omega(update: str, generate: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything labelled: the memberships, and so the shares that omega should reach, are known."""
    monkeypatch.setattr("genmix.dnnmm.networks.WEIGHT_CONCENTRATION", 1.0)
    if update == "fixed":
        fix_omega(monkeypatch)
    X, y = make_blobs([70, 20, 10], centers=[[0, 0], [8, 0], [0, 8]], random_state=0)
    kind = Ascending if update == "gradient" else MinMaxStep
    step = kind(**{**FEW, "steps": 15, "batch_size": 64, "labelled_batch_size": 0})
    model = quick(generate=generate, m_step=step).fit(X, y)
    true, even = np.array([0.7, 0.2, 0.1]), np.full(3, 1 / 3)
    assert model.weights_.sum() == pytest.approx(1) and (model.weights_ > 0).all()
    if update == "closed-form":
        np.testing.assert_allclose(model.weights_, true, rtol=1e-5)
    elif update == "fixed":
        np.testing.assert_allclose(model.weights_, even, rtol=1e-5)
    elif not generate:
        assert np.abs(model.weights_ - true).sum() < 0.6 * np.abs(even - true).sum()
    else:  # the terms in Y pull as well
        assert np.abs(model.weights_ - even).max() > 1e-3


def test_the_gradient_step_of_omega_is_not_pulled_by_labels(blobs: Any) -> None:
    X, y = blobs
    one = np.where((y == 0) & (np.arange(600) < 60), 0, -1)
    step = Ascending(
        **{
            **SETTINGS,
            "steps": 30,
            "batch_size": 16,
            "labelled_batch_size": 48,
            "encoder_pretrain_steps": 120,
        }
    )
    model = small(init="kmeans", m_step=step).fit(X, one)
    assert metrics.accuracy(y, model.labels_) >= 0.95
    np.testing.assert_allclose(model.weights_, 1 / 3, atol=0.1)


@pytest.mark.parametrize(
    ("init", "first_online"),
    [(QUICK["init"], 1), ("kmeans", 0), ("fitted", 0)],
    ids=["infomax", "kmeans", "fitted"],
)
def test_after_information_maximisation_the_first_iteration_moves_encodings_to_the_means(
    blobs: Any, init: Any, first_online: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As eq. 14 does: memberships are computed anew for each gradient step from the second one on."""
    fitted, made = quick(max_iter=1).fit(blobs[0]), list[int]()

    def spied(net: Any, means: Any, step: Any, first_online: int) -> Encoder:
        made.append(first_online)
        return Encoder(net, means, step, first_online)

    monkeypatch.setattr("genmix.dnnmm.model.Encoder", spied)
    fitted.set_params(init=init).fit(blobs[0])
    assert made == [first_online]


def test_candidates_give_memberships_by_equation_3_of_equal_shares(
    blobs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []

    def spied(init: Any, make: Any, *arguments: Any) -> Any:
        made.append(make(2, 3))
        return infomax.pretrain_infomax(init, make, *arguments)

    monkeypatch.setattr("genmix.dnnmm.model.pretrain_infomax", spied)
    means = torch.from_numpy(quick(max_iter=1).fit(blobs[0]).means_)
    (net,), x = made, torch.from_numpy(blobs[0][:9]).float().expand(2, 9, 2)
    outputs, scores = net.outputs(x), net.scores(x)
    assert outputs.shape == (2, 9, 3, 30) and scores.shape == (2, 9, 3, 3)
    for head in range(3):
        gamma = latent.memberships(latent.log_joint(outputs[:, :, head], means, torch.full((2, 3), 1 / 3)))
        torch.testing.assert_close(scores[:, :, head].softmax(-1), gamma)


@pytest.mark.parametrize("loss", ["logistic", "wasserstein", "hinge", "literal"])
@pytest.mark.parametrize("penalty", [None, "gradient"])
def test_every_objective(blobs: Any, loss: Any, penalty: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OBJECTIVES, "test", Adversarial(loss, penalty))
    step = Cycling(**FEW, objective="test", recognition_weight=0.0)
    model = quick(generate=True, m_step=step).fit(blobs[0])
    assert np.isfinite(model.sample(5)[0]).all()


@pytest.mark.parametrize("known", [0, 30])
@pytest.mark.parametrize(
    "init", ["infomax", "random", "kmeans", "gmm-full", "gmm-tied", "gmm-diag", "spectral", "given", "labels"]
)
def test_every_init(blobs: Any, init: str, known: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(infomax, "PARTITION_STEPS", 2)
    X, y = blobs[0][:60], blobs[1][:60]
    if (init, known) == ("labels", 0):
        return
    given = {"given": y, "infomax": InfoMaxInit(steps=2, n_candidates=1, partitions=("kmeans",))}
    model = quick(init=given.get(init, init), max_iter=1).fit(X, few(y, known))
    assert set(model.labels_) <= {0, 1, 2}
    np.testing.assert_array_equal(model.labels_[:known], y[:known])


@pytest.mark.parametrize("init", ["auto", "infomax", "fitted"])
def test_init_is_information_maximisation_by_default(
    init: str, blobs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So it is for "fitted" too, where nothing is fitted yet."""
    few = {"steps": 2, "n_candidates": 1, "n_heads": 2, "partitions": (), "screening_steps": 0}
    monkeypatch.setattr(infomax, "_TABLES", few)
    assert same_model(quick(init=init).fit(blobs[0]), quick().fit(blobs[0]))
    assert clone(quick(init=init)).init == init


@pytest.mark.parametrize("classes", [3, 2])
def test_no_contest_of_candidates_where_labels_of_all_classes_say_which_component_is_which(
    classes: int, blobs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[Any] = []

    def spied(init: Any, make: Any, data: Any, k: int, restarts: int, labels: Any) -> Any:
        found.append(init)
        return infomax.pretrain_infomax(QUICK["init"].resolve((2,)), make, data, k, restarts, labels)

    monkeypatch.setattr("genmix.dnnmm.model.pretrain_infomax", spied)
    quick(init="auto", max_iter=1).fit(blobs[0], np.where(blobs[1] < classes, blobs[1], -1))
    expected = InfoMaxInit().resolve((2,), all_labelled=classes == 3)
    assert found == [expected] and (expected.steps, expected.n_candidates) == (
        (300, 1) if classes == 3 else (800, 8)
    )


@pytest.mark.parametrize("init", ["kmeans", "gmm-full", "given"])
def test_pretraining_by_equation_14_learns_the_initial_partition(
    blobs: Any, init: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    X, y = blobs
    fix_omega(monkeypatch)
    step = replace(STEP, steps=0, encoder_pretrain_steps=120)
    model = small(init=y if init == "given" else init, m_step=step).fit(X)
    assert metrics.accuracy(y, model.labels_) >= 0.98
    z = model.transform(X)
    assert np.square(z - model.means_[model.labels_]).sum(1).mean() < 4  # of 32 between the means


@pytest.mark.parametrize("step", [replace(QUICK["m_step"], ema_decay=0.0), Plain(**FEW)])
def test_further_choices_of_a_step(blobs: Any, step: MinMaxStep) -> None:
    assert np.isfinite(quick(generate=True, m_step=step).fit(blobs[0]).sample(5)[0]).all()


def test_known_labels_hold_while_the_initial_partition_is_learned(blobs: Any) -> None:
    X, y = blobs
    step = replace(STEP, steps=0, encoder_pretrain_steps=100)
    model = small(init=(y + 1) % 3, m_step=step).fit(X, y)
    assert (model.predict(X) == y).mean() >= 0.98


def test_the_preset_runs_the_published_procedure(blobs: Any) -> None:
    published = PRESETS["dnnmm-2020"]["m_step"]
    shorter = replace(published, encoder_pretrain_steps=100, encoder_lr=5e-3, generator_pretrain_steps=5)
    model = DNNMixture.preset("dnnmm-2020", 3, m_step=shorter, max_iter=4, networks=NETWORKS, random_state=0)
    model.fit(blobs[0], few(blobs[1], 30))
    assert model.n_iter_ == 4 and not model.converged_
    assert model.init == "kmeans" and model.augmentation is None and model.tol is None
    assert model.sample(5)[0].shape == (5, 2)
    assert (model.predict(blobs[0]) == blobs[1]).mean() >= 0.9


def test_the_published_procedure_has_none_of_our_additions() -> None:
    published = PRESETS["dnnmm-2020"]["m_step"]
    assert type(published) is PaperStep and PRESETS["dnnmm-2020"]["max_iter"] == 20
    assert published.online  # an E-step before each gradient step
    assert published.encoder_cycle and published.cycle_weight  # eq. 13 has the cycle for theta_E too
    assert published.weight_update == "gradient" and published.discriminator_pretrain_steps  # eq. 12, 16
    assert not (published.augments or published.conditional or published.encoder_ema_decay)
    assert not (published.ema_decay or published.information_weight or published.recognition_weight)
    assert not published.labelled_batch_size and OBJECTIVES[published.objective].penalty is None


def test_the_published_discriminator_is_pretrained(blobs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """By eq. 16, and it judges items without their component."""
    steps = list[int]()
    train = Decoder.train_discriminator

    def spied(self: Any, real: Any, gamma: Any, k: Any, fake: Any) -> Any:
        steps.append(self.steps_done)
        assert self.discriminator(real).shape == real.shape[:2]
        return train(self, real, gamma, k, fake)

    monkeypatch.setattr(Decoder, "train_discriminator", spied)
    step = PaperStep(**{**FEW, "labelled_batch_size": 0})
    quick(init="kmeans", generate=True, m_step=step, max_iter=2).fit(blobs[0])
    assert steps == list(range(100 + 2))


def test_unknown_presets_are_refused() -> None:
    with pytest.raises(ValueError, match="'dnnmm-2021' is unknown; expected one of dnnmm-2020"):
        DNNMixture.preset("dnnmm-2021", 3)


def test_restarts_ride_on_one_batch_and_the_most_informative_is_kept(blobs: Any) -> None:
    model = small(n_init=2, generate=True).fit(blobs[0])
    assert metrics.accuracy(blobs[1], model.labels_) >= 0.98
    assert 0.8 * np.log(3) <= model.selection_score_ <= np.log(3) + 1e-6
    assert model.weights_.shape == (3,) and model.sample(4)[0].shape == (4, 2)
    assert {len(layer.weight) for layer in model._networks["encoder"].layers} == {1}
    np.testing.assert_array_equal(model.labels_, model.predict(blobs[0]))


@pytest.mark.parametrize("generate", [True, False])
def test_a_fit_of_fitted_networks_continues_from_them(
    blobs: Any, generate: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = small(generate=generate).fit(blobs[0]).set_params(init="fitted")
    before, scores = copy.deepcopy(model), model.score_samples(blobs[0])
    with monkeypatch.context() as patch:
        fix_omega(patch)
        model.set_params(m_step=replace(STEP, steps=0), max_iter=1).fit(blobs[0])
    np.testing.assert_allclose(model.score_samples(blobs[0]), scores, rtol=1e-5)
    np.testing.assert_allclose(model.weights_, before.weights_, rtol=1e-6)
    assert not generate or np.allclose(model.interpolate(0, 1), before.interpolate(0, 1), atol=0.5)
    model.set_params(m_step=STEP).fit(blobs[0])
    assert (before.labels_ == model.labels_).mean() > 0.95 and model.n_iter_ == 1
    assert not same_model(before, model)


@pytest.mark.parametrize("head", [0, 1])
def test_it_continues_by_the_head_in_use(blobs: Any, head: int, monkeypatch: pytest.MonkeyPatch) -> None:
    fix_omega(monkeypatch)
    still = replace(QUICK["m_step"], steps=0)
    model = quick(m_step=still, max_iter=1).fit(blobs[0])
    model._head = head
    codes = model.transform(blobs[0])
    model.set_params(init="fitted").fit(blobs[0])
    np.testing.assert_allclose(model.transform(blobs[0]), codes, rtol=1e-6)


def test_a_generator_is_added_to_a_model_without(blobs: Any) -> None:
    model = small().fit(blobs[0])
    before = model.labels_
    model.set_params(init="fitted", generate=True, max_iter=1).fit(blobs[0])
    assert model.sample(3)[0].shape == (3, 2) and (before == model.labels_).mean() > 0.95


@pytest.mark.parametrize(
    "change",
    [{"n_components": 2}, {"m_step__latent_dim": 9}, {"n_init": 2}, {"X": np.ones((20, 5))}],
    ids=lambda change: next(iter(change)),
)
def test_continuing_needs_the_same_shapes(blobs: Any, change: dict[str, Any]) -> None:
    model = quick().fit(blobs[0])
    X = change.get("X", blobs[0])
    changes = {name: value for name, value in change.items() if name != "X"}
    with pytest.raises(ValueError, match="init='fitted' needs"):
        model.set_params(init="fitted", **changes).fit(X)


@pytest.mark.parametrize("change", [{"networks": "mlp"}, {"generate": True, "m_step": Unconditional(**FEW)}])
def test_continuing_needs_the_same_networks(blobs: Any, change: dict[str, Any]) -> None:
    model = quick(generate=True).fit(blobs[0])
    with pytest.raises(ValueError, match="init='fitted' needs the networks, and the discriminator"):
        model.set_params(init="fitted", **change).fit(blobs[0])


@pytest.mark.parametrize(("kind", "iterations"), [(Impatient, 3), (Patient, 5)])
def test_converges_after_three_calm_iterations_and_not_before_min_iter(
    blobs: Any, kind: type[MinMaxStep], iterations: int
) -> None:
    model = quick(tol=1.0, max_iter=9, m_step=kind(**FEW)).fit(blobs[0])
    assert model.converged_ and model.n_iter_ == iterations


def test_by_default_20_iterations_come_before_convergence(blobs: Any) -> None:
    model = quick(tol=1.0, max_iter=22).fit(blobs[0][:60])
    assert model.converged_ and model.n_iter_ == 20


def test_says_when_it_does_not_converge(blobs: Any) -> None:
    with pytest.warns(ConvergenceWarning, match=r"max_iter=2 .* after iteration 20\. Raise"):
        assert not quick(tol=1.0).fit(blobs[0]).converged_


def test_without_a_tolerance_all_iterations_run_and_nothing_is_said(blobs: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        model = quick(tol=None, max_iter=5).fit(blobs[0])
    assert model.n_iter_ == 5 and not model.converged_


def test_dead_components_are_named(blobs: Any) -> None:
    def never_the_third(in_shape: tuple[int, ...], out_dim: int) -> torch.nn.Module:
        network = torch.nn.Linear(in_shape[0], out_dim)
        with torch.no_grad():
            network.weight.zero_()
            network.weight[0, 0], network.weight[1, 0], network.bias[2] = -1.0, 1.0, -50.0
        return network

    still = replace(STEP, steps=0, encoder_pretrain_steps=0)
    model = small(init="random", m_step=still, networks={"encoder": never_the_third})
    with pytest.warns(DeadComponentWarning, match=r"components \[2\] stand for no data"):
        model.fit(blobs[0])
    assert model.dead_components_ == [2] and 0 < model.weights_[2] < 0.01


def test_divergence_is_an_error(blobs: Any) -> None:
    with pytest.raises(FloatingPointError, match="lower the learning rates"):
        small(m_step=replace(STEP, encoder_lr=1e30), init="random").fit(blobs[0])


# ---------------------------------------------------------------- files, copies, scikit-learn's tools


def test_saved_models_answer_the_same_bits(blobs: Any, tmp_path: Any) -> None:
    X = blobs[0]
    model = quick(generate=True, init="kmeans").fit(X, few(blobs[1] + 4, 30))
    folder = model.save(tmp_path / "model")
    again = genmix.load(folder)
    for verb in ("predict_proba", "score_samples", "transform"):
        np.testing.assert_array_equal(getattr(again, verb)(X), getattr(model, verb)(X))
    np.testing.assert_array_equal(again.sample(9)[0], model.sample(9)[0])
    np.testing.assert_array_equal(again.interpolate(0, X[5]), model.interpolate(0, X[5]))
    for name in ("labels_", "weights_", "means_", "classes_"):
        np.testing.assert_array_equal(getattr(again, name), getattr(model, name))
    assert again.history_ == model.history_ and again.fingerprint_ == model.fingerprint_
    assert again.get_params() == model.get_params() and again.selection_score_ == model.selection_score_
    assert json.loads((folder / "model.json").read_text())["class"] == "DNNMixture"
    assert same_model(again, model)


@pytest.mark.parametrize("kind", [MinMaxStep, PaperStep])
def test_saved_image_models_answer_the_same_bits(digits: Any, tmp_path: Any, kind: type[MinMaxStep]) -> None:
    X = digits[0][:60]
    model = quick(generate=True, networks="auto", m_step=kind(**FEW)).fit(X)
    again = genmix.load(model.save(tmp_path / "model"))
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))
    np.testing.assert_array_equal(again.sample(4)[0], model.sample(4)[0])


def test_models_without_a_generator_are_saved_too(blobs: Any, tmp_path: Any) -> None:
    model = quick().fit(blobs[0])
    again = genmix.load(model.save(tmp_path / "model"))
    np.testing.assert_array_equal(again.score_samples(blobs[0]), model.score_samples(blobs[0]))
    with pytest.raises(ValueError, match="generate=False"):
        again.sample()


def test_loaded_models_learn_on(blobs: Any, tmp_path: Any) -> None:
    model = small().fit(blobs[0], few(blobs[1], 30))
    again = genmix.load(model.save(tmp_path / "model"))
    before = again.transform(blobs[0])
    again.set_params(init="fitted", max_iter=1, m_step__steps=1).fit(blobs[0], few(blobs[1], 30))
    assert (again.predict(blobs[0]) == blobs[1]).mean() >= 0.95
    after = again.transform(blobs[0])
    assert not np.array_equal(after, before) and np.abs(after - before).mean() < 0.5  # one step further


def test_settings_for_the_next_fit_do_not_spoil_a_file(blobs: Any, tmp_path: Any) -> None:
    model = quick(generate=True).fit(blobs[0]).set_params(generate=False)
    again = genmix.load(model.save(tmp_path / "model"))
    np.testing.assert_array_equal(again.predict_proba(blobs[0]), model.predict_proba(blobs[0]))


def test_networks_of_the_user_are_given_again_when_loading(blobs: Any, tmp_path: Any) -> None:
    networks = {**NETWORKS, "encoder": _encoder, "generator": _encoder}
    model = quick(networks=networks, generate=True).fit(blobs[0])
    folder = model.save(tmp_path / "model")
    with pytest.raises(genmix.ModelFileError, match="_encoder"):
        genmix.load(folder)
    again = genmix.load(folder, networks=networks)
    np.testing.assert_array_equal(again.score_samples(blobs[0]), model.score_samples(blobs[0]))
    np.testing.assert_array_equal(again.sample(5)[0], model.sample(5)[0])


def test_copies_and_pickles(fitted: DNNMixture, blobs: Any) -> None:
    for twin in (copy.deepcopy(fitted), pickle.loads(pickle.dumps(fitted))):  # noqa: S301 - our own bytes
        np.testing.assert_array_equal(twin.predict_proba(blobs[0]), fitted.predict_proba(blobs[0]))
        np.testing.assert_array_equal(twin.sample(4)[0], fitted.sample(4)[0])
    assert clone(fitted).get_params() == fitted.get_params() and not hasattr(clone(fitted), "labels_")


def test_works_in_a_pipeline_with_labels(blobs: Any) -> None:
    pipeline = make_pipeline(StandardScaler(), small(init="kmeans"))
    found = pipeline.fit_predict(blobs[0], few(blobs[1], 30))
    assert (found == blobs[1]).mean() >= 0.95


# ---------------------------------------------------------------- wrong and odd input


@pytest.mark.parametrize(
    ("X", "words"),
    [
        (np.empty((0, 2)), "0 sample"),
        (np.ones(5), "1D array"),
        (np.array([[1.0, np.nan]] * 9), "NaN"),
        (np.array([[1.0, np.inf]] * 9), "infinity"),
        (np.array([["a", "b"]] * 9), "string"),
        (np.ones((2, 2)), "n_samples=2.*n_components=3"),
        (np.full((9, 2), 1e200) * np.arange(9)[:, None], "rescale"),
        (np.ones((9, 4, 4, 7)), "neither 1 nor 3 channels"),
        (np.full((9, 4, 4), np.nan), "NaN"),
    ],
)
def test_bad_data_are_refused(X: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        quick().fit(X)


@pytest.mark.parametrize(
    "arguments",
    [
        {"n_components": 0}, {"n_components": 2.5}, {"max_iter": 0}, {"n_init": 0}, {"n_init": 1.5},
        {"tol": -1}, {"tol": "x"}, {"m_step": "r1"}, {"m_step": {"steps": 3}}, {"init": "magic"},
        {"init": [0, 1]}, {"init": np.full(600, 3)}, {"init": np.full(600, -1)}, {"init": np.zeros(600)},
        {"networks": "transformer"}, {"networks": {"critic": "mlp"}}, {"networks": "conv"},
        {"networks": {"generator": {"kind": "mlp", "depth": 3}}, "generate": True},
        {"augmentation": Affine()}, {"augmentation": 3}, {"scaling": "log"}, {"device": "toaster"},
        {"precision": "float8"},
    ],
)  # fmt: skip
def test_bad_arguments_are_refused_by_name(blobs: Any, arguments: dict[str, Any]) -> None:
    name = next(iter(arguments))
    with pytest.raises(ValueError, match=name):
        DNNMixture(**{"n_components": 3, **QUICK, **arguments}).fit(blobs[0])


@pytest.mark.parametrize(
    "setting",
    [
        {"latent_dim": 30.5}, {"latent_dim": "many"}, {"latent_dim": 0}, {"steps": -1}, {"batch_size": 0},
        {"objective": "vae"}, {"objective": Adversarial()}, {"lr": -1.0}, {"ema_decay": 1.0},
        {"cycle_weight": np.inf}, {"encoder_pretrain_steps": 1.5},
    ],
)  # fmt: skip
def test_bad_settings_are_refused_by_name(setting: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(setting))}="):
        MinMaxStep(**setting)


def test_fewer_latent_dimensions_than_components_are_refused(blobs: Any) -> None:
    with pytest.raises(ValueError, match=r"latent_dim=2: .*n_components=3"):
        quick(m_step=replace(QUICK["m_step"], latent_dim=2)).fit(blobs[0])


@pytest.mark.parametrize(
    "X",
    [
        np.random.default_rng(0).normal(size=(3, 2)),  # as many items as components, fewer than a batch
        np.random.default_rng(0).normal(size=(40, 1)),  # one column
        np.c_[np.random.default_rng(0).normal(size=(40, 2)), np.full(40, 7.0)],  # a constant column
        np.repeat(np.random.default_rng(0).normal(size=(4, 2)), 10, 0),  # repeated rows
        np.ones((10, 2)),  # nothing but one point
        np.random.default_rng(0).normal(size=(40, 2)) * 9999 + 1e7,
        np.random.default_rng(0).integers(0, 2, (40, 3)).astype(bool),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_odd_but_valid_tables(X: np.ndarray) -> None:
    model = quick(generate=True, init="kmeans").fit(X)
    assert np.isfinite(model.predict_proba(X)).all() and np.isfinite(model.sample(5)[0].astype(float)).all()


@pytest.mark.parametrize("y", [None, [-1, 7] * 30])
@pytest.mark.parametrize("init", [QUICK["init"], "kmeans"], ids=["infomax", "kmeans"])
def test_one_component_has_everything(blobs: Any, init: Any, y: Any) -> None:
    X = blobs[0][:60]
    model = quick(1, generate=True, init=init).fit(X, y)
    assert model.weights_.tolist() == [1.0] and (model.labels_ == 0).all()
    assert (model.predict_proba(X) == 1).all()
    gaussian = multivariate_normal(model.means_[0], np.eye(30))
    np.testing.assert_allclose(model.score_samples(X), gaussian.logpdf(model.transform(X)), rtol=1e-9)
    assert model.interpolate(0, 0, steps=2).shape == (2, 2)


def test_more_than_30_components_have_as_many_dimensions() -> None:
    X = np.random.default_rng(0).normal(size=(70, 2))
    model = quick(33, generate=True, init="kmeans").fit(X)
    assert model.means_.shape == (33, 33) and model.transform(X).shape == (70, 33)
    assert model.sample(40)[0].shape == (40, 2)


def test_fewer_items_than_a_batch(blobs: Any) -> None:
    X, y = blobs[0][:12], blobs[1][:12]
    model = small(generate=True, init="kmeans", m_step=replace(STEP, steps=1)).fit(X, few(y, 4))
    assert model.labels_.shape == (12,) and np.isfinite(model.sample(3)[0]).all()
