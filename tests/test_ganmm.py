"""GANMixture: the estimator contract, Algorithm 1, presets, and what it promises."""

from __future__ import annotations

import copy
import json
import pickle
import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import genmix
from genmix import (
    Affine,
    ClassifierEStep,
    DeadComponentWarning,
    GANMixture,
    InfoMaxInit,
    MStep,
    metrics,
)
from genmix.ganmm.e_step import Classifier, CriticEStep
from genmix.ganmm.m_step import Components, check_m_step
from genmix.ganmm.presets import PRESETS
from genmix.nn.adversarial import OBJECTIVES, Adversarial
from genmix.training import infomax
from genmix.training.infomax import ResolvedInfoMax
from genmix.training.partitions import PARTITIONS
from surroundings import global_state

SMALL: dict[str, Any] = {
    "init": InfoMaxInit(steps=20, n_heads=1, n_candidates=1, partitions=("kmeans",)),
    "e_step": ClassifierEStep(steps=3),
    "m_step": MStep(steps=5, pretrain_steps=5, batch_size=16, epsilon=((1, 0.1), (2, 0.0))),
    "max_iter": 4,
    "tol": None,
    "random_state": 0,
    "device": "cpu",
}


@pytest.fixture(scope="module", autouse=True)
def _quick() -> Iterator[None]:
    """Few steps on partitions, and small batches of real items."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(infomax, "PARTITION_STEPS", 10)
        patch.setattr(infomax, "BATCH_SIZE", 64)
        patch.setattr("genmix.ganmm.e_step.BATCH_SIZE", 64)
        yield


def small(k: int = 3, **changes: Any) -> GANMixture:
    return GANMixture(k, **{**SMALL, **changes})


QUICK = InfoMaxInit(steps=6, n_heads=1, n_candidates=1, partitions=("kmeans",))


# ---------------------------------------------------------------- the contract


@pytest.fixture(scope="module")
def fitted(blobs: Any) -> GANMixture:
    return small(max_iter=8).fit(blobs[0])


@pytest.fixture(scope="module")
def fitted_images(squares: Any) -> GANMixture:
    init = InfoMaxInit(steps=40, n_heads=2, n_candidates=1)
    return small(2, init=init, augmentation=Affine(shift=0.03)).fit(squares[0])


def test_finds_separated_groups(fitted: GANMixture, blobs: Any) -> None:
    assert metrics.accuracy(blobs[1], fitted.labels_) >= 0.99


def test_finds_groups_of_images(fitted_images: GANMixture, squares: Any) -> None:
    assert metrics.accuracy(squares[1], fitted_images.labels_) >= 0.99


def test_predictions_agree_with_each_other(fitted: GANMixture, blobs: Any) -> None:
    p = fitted.predict_proba(blobs[0])
    assert p.shape == (600, 3) and p.dtype == np.float64 and (p >= 0).all()
    np.testing.assert_allclose(p.sum(1), 1, atol=1e-12)
    np.testing.assert_array_equal(p.argmax(1), fitted.predict(blobs[0]))
    np.testing.assert_array_equal(fitted.labels_, fitted.predict(blobs[0]))
    np.testing.assert_array_equal(
        fitted.predict(blobs[0], abstain=0.9) == -1, fitted.predict_proba(blobs[0]).max(1) < 0.9
    )
    np.testing.assert_array_equal(small(max_iter=8).fit_predict(blobs[0]), fitted.labels_)
    np.testing.assert_allclose(fitted.weights_, np.bincount(fitted.labels_, minlength=3) / 600)


@pytest.mark.parametrize("batch", [1, 7, 64])
def test_predictions_do_not_depend_on_batches(fitted: GANMixture, blobs: Any, batch: int) -> None:
    X = blobs[0][:128]
    parts = np.concatenate([fitted.predict_proba(X[i : i + batch]) for i in range(0, len(X), batch)])
    np.testing.assert_allclose(parts, fitted.predict_proba(X), atol=1e-9)


def test_predictions_of_images_do_not_depend_on_batches(fitted_images: GANMixture, squares: Any) -> None:
    X = squares[0][:20]
    parts = np.concatenate([fitted_images.predict_proba(image[None]) for image in X])
    np.testing.assert_allclose(parts, fitted_images.predict_proba(X), atol=1e-6)


def test_far_away_items_have_finite_memberships(fitted: GANMixture, blobs: Any) -> None:
    p = fitted.predict_proba(blobs[0][:5] * 1e6)
    assert np.isfinite(p).all()
    np.testing.assert_allclose(p.sum(1), 1, atol=1e-9)


def test_history_has_a_finite_record_an_iteration(fitted: GANMixture) -> None:
    assert fitted.n_iter_ == len(fitted.history_) == 8
    table = pd.DataFrame(fitted.history_)
    assert list(table["iteration"]) == list(range(1, 9))
    assert list(table["epsilon"]) == [0.1] + [0.0] * 7
    numbers = table[
        ["changed", "classifier_loss", "critic_loss", "generator_loss", "smallest_share", "seconds"]
    ]
    assert set(table) == {"iteration", "epsilon", "reinitialized", *numbers}
    assert all(type(found) is list for found in table["reinitialized"])
    assert np.isfinite(numbers.to_numpy()).all() and (np.diff(table["seconds"]) > 0).all()


def test_same_seed_same_bits_and_other_seed_other_bits(blobs: Any) -> None:
    first, again, other = (small(max_iter=2, random_state=s).fit(blobs[0]) for s in (0, 0, 1))
    tensors, same, different = first._tensors(), again._tensors(), other._tensors()
    assert all(torch.equal(tensors[name], same[name]) for name in tensors)
    assert not all(torch.equal(tensors[name], different[name]) for name in tensors)


def test_nothing_global_changes(blobs: Any, fitted: GANMixture) -> None:
    X = blobs[0].copy()
    before = global_state()
    factory = {"critic": lambda shape, out: torch.nn.Linear(int(np.prod(shape)), out)}
    model = small(max_iter=1, networks=factory).fit(X)
    model.sample(3)
    assert global_state() == before
    np.testing.assert_array_equal(X, blobs[0])


@pytest.fixture(scope="module")
def of_an_array(blobs: Any) -> np.ndarray:
    X = blobs[0][:120]
    return small(max_iter=1).fit(X).predict_proba(X)


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
    X = convert(blobs[0][:120])
    np.testing.assert_array_equal(small(max_iter=1).fit(X).predict_proba(X), of_an_array)


def test_memory_maps_are_read_only(blobs: Any, tmp_path: Any) -> None:
    np.save(tmp_path / "X.npy", blobs[0])
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    np.testing.assert_array_equal(
        small(max_iter=1).fit_predict(mapped), small(max_iter=1).fit_predict(blobs[0])
    )


def test_single_precision_finds_the_same_groups(fitted: GANMixture, blobs: Any) -> None:
    found = small(max_iter=8).fit_predict(blobs[0].astype(np.float32))
    assert (found == fitted.labels_).mean() >= 0.995


@pytest.mark.parametrize(
    "layout",
    [
        lambda X: X,
        lambda X: X[..., None],
        lambda X: X[:, None],
        lambda X: np.repeat(X[..., None], 3, -1),
        lambda X: np.repeat(X[:, None], 3, 1),
        lambda X: X.astype(np.float32) / 255,
        lambda X: X.astype(float) * 7 - 100,
        lambda X: torch.from_numpy(X),
    ],
)
def test_images_of_every_layout(squares: Any, layout: Any) -> None:
    X = layout(squares[0][:60])
    model = small(2, max_iter=1, init=InfoMaxInit(steps=5, n_heads=2, n_candidates=1)).fit(X)
    made, component = model.sample(7)
    assert made.shape == (7, *X.shape[1:]) and str(made.dtype) in str(X.dtype) and component.shape == (7,)
    low, high = (0, 255) if "uint8" in str(X.dtype) else (float(X.min()), float(X.max()))
    if high <= 1:  # taken for shares of white
        low, high = 0, 1
    assert made.min() >= low - 1e-3 and made.max() <= high + 1e-3
    assert model.n_features_in_ == np.prod(X.shape[1:])


@pytest.mark.parametrize("shape", [(8, 8), (28, 28), (32, 32, 3), (64, 64, 3), (3, 40, 30), (5, 9)])
def test_images_of_every_size(shape: tuple[int, ...]) -> None:
    X = np.random.default_rng(0).random((24, *shape)).astype(np.float32)
    networks = {"generator": "conv", "critic": "conv", "classifier": "conv"} if min(shape[:2]) > 3 else "auto"
    step = ClassifierEStep(steps=1, batch_size=2)
    m_step = MStep(steps=1, pretrain_steps=1, batch_size=4)
    model = small(2, max_iter=1, m_step=m_step, e_step=step, networks=networks,
                  init=InfoMaxInit(steps=1, n_heads=1, n_candidates=1)).fit(X)  # fmt: skip
    assert model.sample(3, component=1)[0].shape == (3, *shape)


def test_settings_objects_are_set_whole_and_by_nested_names() -> None:
    model = small(2)
    assert model.set_params(m_step=MStep(steps=3), n_components=4).m_step.steps == 3
    with pytest.raises(ValueError, match="'k'"):
        model.set_params(k=5)
    model = GANMixture(2)
    for name, value in (
        ("m_step__steps", 3), ("e_step__lr", 0.5), ("init__n_heads", 2), ("augmentation", Affine()),
        ("augmentation__shift", 0.2),
    ):  # fmt: skip
        assert model.set_params(**{name: value}).get_params()[name] == value
    assert model.m_step == MStep(steps=3) and model.e_step == ClassifierEStep(lr=0.5)
    assert model.init == InfoMaxInit(n_heads=2) and model.augmentation == Affine(shift=0.2)
    assert GANMixture(2, m_step="wgan").set_params(m_step__steps=3).m_step == MStep("wgan", steps=3)
    assert GANMixture(2, e_step="standardized-critic").get_params()["e_step__standardized"] is True
    assert GANMixture(2).get_params()["m_step__ema_decay"] == MStep().ema_decay
    with pytest.raises(ValueError, match=r"epsilon=2\.0"):
        GANMixture(2).set_params(m_step__epsilon=2.0)


@pytest.mark.parametrize("m_step", [None, "wgan", MStep("wgan-gp", steps=2, pretrain_steps=2)])
def test_the_m_step_is_none_a_name_or_settings(
    monkeypatch: pytest.MonkeyPatch, blobs: Any, m_step: Any
) -> None:
    used = []
    original = Components.__init__

    def noted(self: Components, n: int, shape: Any, step: MStep, *rest: Any) -> None:
        original(self, n, shape, replace(step, steps=1, pretrain_steps=1), *rest)
        used.append((step, self.objective))

    monkeypatch.setattr(Components, "__init__", noted)
    small(m_step=m_step, max_iter=1, init="random").fit(blobs[0][:60])
    expected = check_m_step(m_step)
    assert used == [(expected, OBJECTIVES[expected.objective])]


# ---------------------------------------------------------------- sampling and scores


def test_samples_are_in_the_users_units_and_belong_to_their_component(blobs: Any) -> None:
    X = blobs[0] * [1, 1000] + [5, -3000]
    model = GANMixture(3, init="kmeans", random_state=0, m_step=MStep(steps=100), max_iter=5, tol=None).fit(X)
    for k in range(3):
        made, component = model.sample(300, component=k)
        assert (component == k).all()
        assert (model.predict(made) == k).mean() >= 0.9
        assert len(np.unique(made, axis=0)) >= 0.99 * 300
        real = X[model.labels_ == k]
        assert (np.abs(made.mean(0) - real.mean(0)) <= real.std(0)).all()


def test_components_are_drawn_by_weight(fitted: GANMixture) -> None:
    _, component = fitted.sample(3000)
    assert (np.diff(component) >= 0).all()
    np.testing.assert_allclose(np.bincount(component, minlength=3) / 3000, fitted.weights_, atol=0.04)


def test_scores_are_lower_far_from_the_data_in_most_directions(blobs: Any) -> None:
    """A critic is not trained there and may be high: in six fits in up to an eighth of the directions."""
    X, angle = blobs[0], np.linspace(0, 2 * np.pi, 64, endpoint=False)
    model = GANMixture(3, init="kmeans", random_state=0, max_iter=4, tol=None).fit(X)
    far = X.mean(0) + 80 * np.stack([np.cos(angle), np.sin(angle)], 1)
    assert (model.score_samples(far) < np.median(model.score_samples(X))).mean() > 0.85


@pytest.mark.parametrize("wanted", [[1], [0, 2]])
def test_generators_of_other_components_do_not_run(
    monkeypatch: pytest.MonkeyPatch, fitted: GANMixture, wanted: list[int]
) -> None:
    """Networks are rows of one stack; those asked for make the items that they would make among all."""
    generator, shapes = fitted._networks["generator"], []
    original = type(generator).forward

    def noted(self: Any, z: torch.Tensor) -> torch.Tensor:
        shapes.append(tuple(z.shape))
        assert len(self.layers[0].weight) == len(wanted)
        return original(self, z)

    monkeypatch.setattr(type(generator), "forward", noted)
    counts = np.zeros(3, dtype=int)
    counts[wanted] = 70
    found = fitted._generate(counts, 5) if len(wanted) > 1 else fitted.sample(70, component=wanted[0])[0]
    assert found.shape == (70 * len(wanted), 2)
    assert [shape[0] for shape in shapes] == [len(wanted)] * 2
    monkeypatch.undo()
    noise = torch.Generator().manual_seed(5)
    z = [torch.randn((len(wanted), 64, fitted._latent_dim), generator=noise) for _ in range(2)]
    if len(wanted) > 1:
        z = [torch.stack([one[wanted.index(k)] if k in wanted else one[0] for k in range(3)]) for one in z]
        every = torch.cat([generator(one) for one in z], 1)[wanted][:, :70].flatten(0, 1)
        torch.testing.assert_close(found, every)


@pytest.mark.parametrize("bad", [{"n_samples": 0}, {"n_samples": 2.5}, {"component": 3}, {"component": -1}])
def test_sample_refuses(fitted: GANMixture, bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        fitted.sample(**bad)


def test_unfitted() -> None:
    for verb in (GANMixture().sample, lambda: GANMixture().predict([[0.0]]), lambda: GANMixture().save("x")):
        with pytest.raises(NotFittedError):
            verb()


# ---------------------------------------------------------------- E-steps, partitions to begin with, presets


def test_algorithm_1_lines_2_to_12_in_their_order(blobs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, tuple[Any, ...], Any]] = []

    def record(owner: type, name: str) -> None:
        real = getattr(owner, name)

        def noted(self: Any, *arguments: Any, **more: Any) -> Any:
            calls.append((name, arguments, real(self, *arguments, **more)))
            return calls[-1][2]

        monkeypatch.setattr(owner, name, noted)

    record(Components, "train")
    record(Classifier, "learn")
    record(Classifier, "log_posterior")
    X, y = blobs
    m_step = MStep(steps=5, pretrain_steps=3, batch_size=16, epsilon=((1, 0.2), (2, 0.0)))
    small(init=y, e_step=ClassifierEStep(steps=2), m_step=m_step, max_iter=2).fit(X)
    order = ["train", *["learn", "log_posterior", "train"] * 2]  # lines 2, 5-7, 8, 12, and again: 3-4
    assert [name for name, *_ in calls[:7]] == order
    _, own, _, epsilon, steps = calls[0][1]
    np.testing.assert_array_equal(own[0] > 0, y == np.arange(3)[:, None])  # the partition of line 1
    assert (epsilon, steps) == (0.0, 3)
    for t, wanted in ((0, 0.2), (1, 0.0)):
        labels = calls[3 * t + 2][2][0].argmax(-1).numpy()  # line 8
        _, own, extra, epsilon = calls[3 * t + 3][1]
        assert epsilon == wanted
        own, extra = own[0], extra[0]
        np.testing.assert_array_equal(own > 0, labels == np.arange(3)[:, None])  # D_i
        if wanted:  # sigma_t points of each component from outside D_i
            sigma = np.ceil(wanted / (1 - wanted) * np.bincount(labels, minlength=3) - 1e-6)
            np.testing.assert_array_equal((extra > 0).sum(1), sigma)
            assert not ((own > 0) & (extra > 0)).any()


@pytest.mark.parametrize("name", PRESETS)
def test_presets_fit(blobs: Any, name: str) -> None:
    quick = replace(PRESETS[name]["m_step"], pretrain_steps=5)
    model = GANMixture.preset(name, 3, random_state=0, max_iter=3, m_step=quick)
    model.fit(blobs[0][:100])
    assert model.n_iter_ == 3 and not model.converged_ and model.preprocessing_.scaling == "unit"
    assert [record["epsilon"] for record in model.history_] == [0.5] * 3


def test_samples_without_averaging_come_from_the_trained_generators(blobs: Any) -> None:
    model = small(m_step=MStep(steps=30, pretrain_steps=100, ema_decay=0.0), init="kmeans").fit(blobs[0])
    made = np.stack([model.sample(200, component=k)[0].mean(0) for k in range(3)])
    real = np.stack([blobs[0][model.labels_ == k].mean(0) for k in range(3)])
    assert (
        np.abs(made - real).max() < 2
    )  # the groups are 8 apart; untrained generators all stay at the centre


def test_preset_of_the_code_learns_nothing_in_the_output_layer_of_tables(blobs: Any) -> None:
    quick = replace(PRESETS["ganmm-2018-code"]["m_step"], pretrain_steps=5)
    model = GANMixture.preset("ganmm-2018-code", 3, random_state=0, max_iter=1, m_step=quick)
    first = model.fit(blobs[0][:100])._networks["classifier"].layers
    later = model.set_params(max_iter=6).fit(blobs[0][:100])._networks["classifier"].layers
    assert torch.equal(first[-1].weight, later[-1].weight)
    assert not torch.equal(first[0].weight, later[0].weight)


@pytest.mark.parametrize("e_step", ["critic", "standardized-critic", CriticEStep(standardized=True)])
@pytest.mark.parametrize("init", ["auto", "random"])
def test_critics_as_e_step(blobs: Any, e_step: Any, init: str) -> None:
    model = small(e_step=e_step, init=init, max_iter=2).fit(blobs[0])
    assert model.predict_proba(blobs[0]).shape == (600, 3)
    np.testing.assert_array_equal(model.labels_, model.predict(blobs[0]))


@pytest.mark.parametrize("init", [*PARTITIONS, "labels"])
@pytest.mark.parametrize("real_weight", [0.0, 1.0])
def test_every_partition_to_begin_with(
    monkeypatch: pytest.MonkeyPatch, blobs: Any, init: str, real_weight: float
) -> None:
    """A classifier that learns from real items first learns a partition that is not random."""
    learned, pretrained = list[Any](), list[Any]()
    monkeypatch.setattr("genmix.ganmm.model.fit_partition", lambda _, labels, data: learned.append(labels))
    monkeypatch.setattr(Components, "pretrain", lambda _, items, labels: pretrained.append(labels.clone()))
    step = ClassifierEStep(steps=0, real_weight=real_weight)
    model = small(init=blobs[1] if init == "labels" else init, e_step=step, max_iter=1, n_init=2)
    model.fit(blobs[0])
    assert len(pretrained) == 1 and pretrained[0].shape == (2, 600)
    for labels in pretrained[0]:
        if init == "random":
            assert labels.bincount().tolist() == [200] * 3
        else:
            assert metrics.accuracy(blobs[1], labels.numpy()) == 1
    assert len(learned) == (real_weight > 0 and init != "random")
    if init == "labels":
        np.testing.assert_array_equal(pretrained[0], np.stack([blobs[1]] * 2))


def test_the_e_step_goes_on_at_its_own_rate(monkeypatch: pytest.MonkeyPatch, blobs: Any) -> None:
    """The learning rate of the initialisation ends near zero; what is handed on has a fresh optimiser."""
    seen = []

    def noted(self: Classifier, *_: Any) -> torch.Tensor:
        optimizer = self.net.optimizer.optimizer
        seen.append((optimizer.param_groups[0]["lr"], len(optimizer.state)))
        return torch.zeros(())

    monkeypatch.setattr(Classifier, "learn", noted)
    for init in (QUICK, "kmeans"):
        small(init=init, e_step=ClassifierEStep(lr=0.125), max_iter=1).fit(blobs[0])
    assert seen == [(0.125, 0)] * 2


@pytest.mark.parametrize(("init", "real_weight", "expected"), [
    (QUICK, 0.0, True), (QUICK, 1.0, True), ("random", 0.0, False), ("random", 1.0, True),
    ("kmeans", 0.0, False),
])  # fmt: skip
def test_running_statistics_are_the_datas_once_it_learned_from_them(
    monkeypatch: pytest.MonkeyPatch, blobs: Any, init: Any, real_weight: float, expected: bool
) -> None:
    seen = []

    def noted(self: Classifier, *_: Any) -> torch.Tensor:
        seen.append(self.data_statistics)
        return torch.zeros(())

    monkeypatch.setattr(Classifier, "learn", noted)
    small(init=init, e_step=ClassifierEStep(real_weight=real_weight), max_iter=1).fit(blobs[0])
    assert seen == [expected]


@pytest.mark.parametrize("weights", [(0.0, 1.0), (1.0, 0.0), (1.0, 1.0), (None, 1.0), (0.0, 0.0)])
def test_what_the_classifier_learns_from(blobs: Any, weights: tuple[Any, float]) -> None:
    step = ClassifierEStep(
        steps=2, generated_weight=weights[0], real_weight=weights[1], sinkhorn_strength=0.5
    )
    model = small(e_step=step, max_iter=2)
    if weights == (0.0, 0.0):
        with pytest.raises(ValueError, match="nothing to learn from"):
            model.fit(blobs[0])
    else:
        assert metrics.accuracy(blobs[1], model.fit(blobs[0]).labels_) >= 0.9


@pytest.mark.parametrize("given", [False, True])
def test_groups_of_unequal_size_that_were_found_at_first_are_kept(
    monkeypatch: pytest.MonkeyPatch, given: bool
) -> None:
    monkeypatch.setattr(infomax, "PARTITION_STEPS", 100)
    monkeypatch.setattr(infomax, "BATCH_SIZE", 256)
    monkeypatch.setattr("genmix.ganmm.e_step.BATCH_SIZE", 256)
    rng, sizes = np.random.default_rng(0), [900, 60, 60]
    y = np.repeat([0, 1, 2], sizes)
    X = rng.normal(0, 1, (1020, 4)) + 6 * np.eye(4)[[3, 0, 1]][y] * (y > 0)[:, None]
    learned = InfoMaxInit(steps=50, n_heads=1, n_candidates=0, partitions=("gmm-full",))
    model = GANMixture(3, init=y if given else learned, max_iter=4, tol=None, random_state=0, device="cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X)
    # With as many generated items of each component the large one loses 45 items; with a classifier that has
    # not learned the partition given it loses a third.
    np.testing.assert_allclose(np.sort(model.weights_) * len(X), np.sort(sizes), atol=10)
    assert metrics.adjusted_rand_index(y, model.labels_) > 0.95


def test_restarts_ride_on_one_batch_and_the_most_informative_is_kept(blobs: Any) -> None:
    model = small(n_init=3, max_iter=3).fit(blobs[0])
    assert metrics.accuracy(blobs[1], model.labels_) >= 0.99
    assert model._tensors()["critic_score_stats"].shape == (3, 2)
    assert 0.9 * np.log(3) <= model.selection_score_ <= np.log(3) + 1e-6


@pytest.mark.parametrize("e_step", ["classifier", "critic"])
def test_init_fitted_continues_where_the_model_is_fitted(
    monkeypatch: pytest.MonkeyPatch, blobs: Any, e_step: str
) -> None:
    kind = SMALL["e_step"] if e_step == "classifier" else e_step
    model = small(init=QUICK if e_step == "classifier" else "random", max_iter=2, e_step=kind).fit(blobs[0])
    before, tensors = model.labels_, {name: t.clone() for name, t in model._tensors().items()}
    monkeypatch.setattr(Components, "pretrain", lambda *_: pytest.fail("it was pretrained again"))
    monkeypatch.setattr("genmix.ganmm.model.pretrain_infomax", lambda *_: pytest.fail("it began anew"))
    begun = []
    original = GANMixture._epsilon_em

    def noted(self: GANMixture, data: Any, h_q: Any, gans: Components, labels: Any, run: Any) -> None:
        begun.append(labels[0].numpy().copy())
        for role, network in (
            ("generator", gans.generator), ("generator", gans.averaged.network), ("critic", gans.critic)
        ):  # fmt: skip
            for name, value in network.state_dict().items():
                assert torch.equal(value, tensors[f"{role}.{name}"])
        original(self, data, h_q, gans, labels, run)

    monkeypatch.setattr(GANMixture, "_epsilon_em", noted)
    model.set_params(max_iter=1, init="fitted").fit(blobs[0])
    np.testing.assert_array_equal(begun[0], before)  # the assignment at first is the one at last
    assert (before == model.labels_).mean() > 0.9  # components keep their numbers
    assert len(model.history_) == 1


def test_init_fitted_begins_as_auto_does_where_nothing_is_fitted(blobs: Any) -> None:
    """With the settings by default: information maximisation, or chance where no classifier learns."""
    for e_step in ("classifier", "critic"):
        models = [
            small(init=init, max_iter=1, e_step=e_step).set_params(m_step__steps=1, m_step__pretrain_steps=1)
            for init in ("fitted", "auto")
        ]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                InfoMaxInit, "resolve", lambda *_: ResolvedInfoMax(6, 1, 1, ("kmeans",), 0, 1e-3, 2.0)
            )
            first, second = (model.fit(blobs[0])._tensors() for model in models)
        assert all(torch.equal(first[name], second[name]) for name in first)


def test_init_fitted_needs_the_model_fitted_before(blobs: Any) -> None:
    model = small(max_iter=1, init=QUICK).fit(blobs[0]).set_params(init="fitted")
    with pytest.raises(ValueError, match="init='fitted' needs items of the shape"):
        model.fit(np.c_[blobs[0], blobs[0]])
    for changes, words in (
        ({"m_step": MStep(latent_dim=3)}, "the networks"),
        ({"networks": {"critic": {"kind": "mlp", "hidden": (7,)}}}, "the networks"),
        ({"n_components": 4}, "as many components"),
        ({"n_init": 2}, "n_init=1"),
        ({"e_step": "critic"}, "the kind of E-step"),
    ):
        twin = copy.deepcopy(model).set_params(**changes)
        with pytest.raises(ValueError, match=f"init='fitted' needs.*{words}"):
            twin.fit(blobs[0])
        np.testing.assert_array_equal(twin.labels_, model.labels_)  # as it was


def test_converges_only_after_the_schedule_and_says_when_it_does_not(blobs: Any) -> None:
    m_step = replace(SMALL["m_step"], epsilon=((3, 0.2), (4, 0.0)))
    model = small(m_step=m_step, tol=0.01, max_iter=20).fit(blobs[0])
    assert model.converged_ and 4 <= model.n_iter_ < 20
    with pytest.warns(ConvergenceWarning, match="max_iter=2"):
        assert not small(tol=0.0, max_iter=2).fit(blobs[0]).converged_


def test_dead_components_are_named(blobs: Any) -> None:
    tight = np.repeat([[0.0, 0.0], [5.0, 5.0]], 50, 0) + np.random.default_rng(0).normal(0, 0.01, (100, 2))
    e_step = ClassifierEStep(steps=0)
    with pytest.warns(DeadComponentWarning, match=r"components \[.*2.*\]"):
        networks = {"classifier": _two_of_three}
        model = small(e_step=e_step, init="random", networks=networks).fit(tight)
    assert 2 in model.dead_components_ and model.weights_[2] == 0


def _two_of_three(in_shape: tuple[int, ...], out_dim: int) -> torch.nn.Module:
    """Scores the first two components by the first column; the third never wins."""
    net = torch.nn.Linear(in_shape[0], out_dim)
    with torch.no_grad():
        net.weight.zero_()
        net.weight[0, 0], net.weight[1, 0] = -1.0, 1.0
        net.bias.copy_(torch.tensor([0.0, 0.0, -50.0]))
    return net


def test_divergence_is_an_error(monkeypatch: pytest.MonkeyPatch, blobs: Any) -> None:
    monkeypatch.setitem(OBJECTIVES, "test", Adversarial("wasserstein", None))
    with pytest.raises(FloatingPointError, match="learning rates"):
        small(m_step=MStep("test", lr=1e12, steps=50), max_iter=5).fit(blobs[0])


# ---------------------------------------------------------------- files, copies, scikit-learn's tools


def test_saved_models_predict_the_same_bits(fitted: GANMixture, blobs: Any, tmp_path: Any) -> None:
    folder = fitted.save(tmp_path / "model")
    parameters = sum(tensor.numel() for tensor in fitted._tensors().values())
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 4 * parameters + 65_536
    again = genmix.load(folder)
    np.testing.assert_array_equal(again.predict_proba(blobs[0]), fitted.predict_proba(blobs[0]))
    np.testing.assert_array_equal(again.score_samples(blobs[0]), fitted.score_samples(blobs[0]))
    np.testing.assert_array_equal(again.sample(9)[0], fitted.sample(9)[0])
    for name in ("labels_", "weights_"):
        np.testing.assert_array_equal(getattr(again, name), getattr(fitted, name))
    assert again.history_ == fitted.history_ and again.fingerprint_ == fitted.fingerprint_
    assert again.get_params() == fitted.get_params()
    document = json.loads((folder / "model.json").read_text())
    assert document["class"] == "GANMixture"


def test_saved_image_models_predict_the_same_bits(
    fitted_images: GANMixture, squares: Any, tmp_path: Any
) -> None:
    again = genmix.load(fitted_images.save(tmp_path / "model"))
    np.testing.assert_array_equal(again.predict_proba(squares[0]), fitted_images.predict_proba(squares[0]))
    np.testing.assert_array_equal(again.sample(4)[0], fitted_images.sample(4)[0])


def test_networks_of_the_user_are_given_again_when_loading(blobs: Any, tmp_path: Any) -> None:
    model = small(networks={"critic": _critic}, max_iter=1).fit(blobs[0])
    folder = model.save(tmp_path / "model")
    with pytest.raises(genmix.ModelFileError, match="_critic"):
        genmix.load(folder)
    again = genmix.load(folder, networks={"critic": _critic})
    np.testing.assert_array_equal(again.score_samples(blobs[0]), model.score_samples(blobs[0]))


def test_a_refit_with_bad_items_leaves_the_model_as_it_was(fitted: GANMixture, blobs: Any) -> None:
    twin, other = copy.deepcopy(fitted), np.full((50, 7), np.nan)
    with pytest.raises(ValueError, match="NaN"):
        twin.fit(other)
    np.testing.assert_array_equal(twin.predict_proba(blobs[0]), fitted.predict_proba(blobs[0]))


def test_truth_is_no_component(fitted: GANMixture) -> None:
    with pytest.raises(ValueError, match="component=True"):
        fitted.sample(2, component=True)


def test_an_augmentation_of_the_user_is_given_again_when_loading(blobs: Any, tmp_path: Any) -> None:
    model = small(augmentation=_same, max_iter=1).fit(blobs[0])
    folder = model.save(tmp_path / "model")
    with pytest.raises(genmix.ModelFileError, match=r"augmentation is a function of your own, _same"):
        genmix.load(folder)
    for given in (_same, None):
        again = genmix.load(folder, augmentation=given)
        np.testing.assert_array_equal(again.predict_proba(blobs[0]), model.predict_proba(blobs[0]))
    with pytest.raises(ValueError, match="'augmentations' is no argument of a GANMixture"):
        genmix.load(folder, augmentations=None)


def _same(items: torch.Tensor, run: Any) -> torch.Tensor:
    return items


def _critic(in_shape: tuple[int, ...], out_dim: int) -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Linear(in_shape[0], 8), torch.nn.Tanh(), torch.nn.Linear(8, out_dim))


def test_copies_and_pickles(fitted: GANMixture, blobs: Any) -> None:
    for twin in (copy.deepcopy(fitted), pickle.loads(pickle.dumps(fitted))):  # noqa: S301 - our own bytes
        np.testing.assert_array_equal(twin.predict_proba(blobs[0]), fitted.predict_proba(blobs[0]))
    assert clone(fitted).get_params() == fitted.get_params() and not hasattr(clone(fitted), "labels_")


def test_works_in_a_pipeline_and_a_grid_search(blobs: Any) -> None:
    pipeline = make_pipeline(StandardScaler(), small(max_iter=1))
    assert metrics.accuracy(blobs[1], pipeline.fit_predict(blobs[0])) >= 0.95

    def information(estimator: GANMixture, X: Any, y: Any = None) -> float:
        return estimator.selection_score_

    search = GridSearchCV(small(max_iter=1), {"n_components": [2, 3]}, scoring=information, cv=2).fit(
        blobs[0]
    )
    assert search.best_params_ == {"n_components": 3}


# ---------------------------------------------------------------- wrong input


@pytest.mark.parametrize(
    ("X", "words"),
    [
        (np.empty((0, 2)), "0 sample"),
        (np.ones(5), "1D array"),
        (np.array([[1.0, np.nan]] * 9), "NaN"),
        (np.array([[1.0, np.inf]] * 9), "infinity"),
        (np.array([["a", "b"]] * 9), "string"),
        (np.ones((9, 2), dtype=complex), "omplex"),
        (np.ones((2, 2)), "n_samples=2.*n_components=3"),
        (np.full((9, 2), 1e200) * np.arange(9)[:, None], "rescale"),
        (np.ones((9, 4, 4, 7)), "neither 1 nor 3 channels"),
        (np.full((9, 4, 4), np.nan), "NaN"),
    ],
)
def test_bad_data_are_refused(X: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        small().fit(X)


@pytest.mark.parametrize(
    "arguments",
    [
        {"n_components": 0}, {"n_components": 2.5}, {"max_iter": 0}, {"n_init": 0}, {"tol": -1},
        {"init": "magic"}, {"init": [0, 1]}, {"init": np.full(600, 3)}, {"init": None}, {"e_step": "oracle"},
        {"m_step": "lsgan"}, {"m_step": 3}, {"networks": "transformer"},
        {"networks": {"decoder": "mlp"}}, {"networks": "conv"},
        {"augmentation": Affine()}, {"augmentation": 3}, {"scaling": "log"}, {"device": "toaster"},
        {"precision": "float8"}, {"init": "infomax", "e_step": "critic"}, {"init": QUICK, "e_step": "critic"},
    ],
)  # fmt: skip
def test_bad_arguments_are_refused_by_name(blobs: Any, arguments: dict[str, Any]) -> None:
    name = next(iter(arguments))
    with pytest.raises(ValueError, match=name):
        small(**{"k": 3, **arguments}).fit(blobs[0]) if "n_components" not in arguments else GANMixture(
            **arguments
        ).fit(blobs[0])


def test_another_width_is_refused(fitted: GANMixture, fitted_images: GANMixture) -> None:
    with pytest.raises(ValueError, match="3 features"):
        fitted.predict(np.ones((4, 3)))
    with pytest.raises(ValueError, match=r"\(28, 28\)"):
        fitted_images.predict(np.ones((4, 28, 28)))


@pytest.mark.parametrize(
    "X",
    [
        np.random.default_rng(0).normal(size=(3, 2)),  # as many items as components
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
    model = small(max_iter=1, init=QUICK).fit(X)
    assert np.isfinite(model.predict_proba(X)).all() and np.isfinite(model.sample(5)[0].astype(float)).all()
    assert GANMixture(1, **{**SMALL, "max_iter": 1, "init": QUICK}).fit(X).weights_.tolist() == [1.0]
