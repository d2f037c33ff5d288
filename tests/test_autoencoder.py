"""StackedAutoencoder, its training, and DEC's equations."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import entropy
from scipy.stats import t as student
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline

import genmix
from genmix import Affine
from genmix.baselines import DEC, Pretraining, StackedAutoencoder
from genmix.baselines.autoencoder import Autoencoder
from genmix.baselines.dec import divergence, log_similarity, target_distribution
from test_baselines import QUICK


def plane(n: int = 400) -> np.ndarray:
    """Points of a plane in eight dimensions, with a little noise."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, 2)) @ rng.normal(size=(2, 8)) + 0.01 * rng.normal(size=(n, 8))


@pytest.mark.parametrize("layer_steps", [0, 100])
def test_rebuilds_a_plane_from_two_numbers(layer_steps: int) -> None:
    X = plane()
    how = Pretraining(
        hidden=(32,), latent_dim=2, steps=600, layer_steps=layer_steps, batch_size=64, corruption=0
    )
    model = StackedAutoencoder(how, random_state=0, device="cpu").fit(X)
    made = model.inverse_transform(model.transform(X))
    assert ((made - X) ** 2).mean() < 0.05 * X.var(0).mean()
    assert model.reconstruction_error_ < 0.05


def test_learning_layer_by_layer_alone_rebuilds() -> None:
    X = plane()
    errors = []
    for layer_steps in (1, 300):
        how = Pretraining(
            hidden=(32,), latent_dim=2, steps=0, layer_steps=layer_steps, batch_size=64, layer_corruption=0
        )
        errors.append(StackedAutoencoder(how, random_state=0, device="cpu").fit(X).reconstruction_error_)
    assert errors[1] < 0.7 * errors[0]


def test_saved_codes_are_the_same_and_the_decoder_gives_images_back(squares: Any, tmp_path: Path) -> None:
    how = Pretraining(hidden=(32,), latent_dim=2, steps=300, batch_size=64, corruption=0.2, augment=True)
    model = StackedAutoencoder(how, augmentation=Affine(), random_state=0, device="cpu").fit(squares[0])
    again = genmix.load(model.save(tmp_path / "model"))
    codes = model.transform(squares[0])
    np.testing.assert_array_equal(again.transform(squares[0]), codes)
    assert again.pretraining == how and again.augmentation == Affine()
    assert list(again.get_feature_names_out()) == list(model.get_feature_names_out())
    made = again.inverse_transform(codes)
    assert made.shape == squares[0].shape and made.dtype == np.uint8
    with pytest.raises(ValueError, match=r"shape \(M, 2\)"):
        model.inverse_transform(np.ones((3, 5)))


def test_the_published_settings_train(squares: Any) -> None:
    images = squares[0].repeat(2, 1).repeat(2, 2)
    preset = StackedAutoencoder.preset("dec-2016").pretraining
    how = replace(preset, hidden=(100, 100), layer_steps=60, steps=60)
    model = StackedAutoencoder(how, random_state=0, device="cpu").fit(images)
    assert (model.transform(images).std(0) > 0.01).all()
    untrained = StackedAutoencoder(replace(how, layer_steps=0, steps=0), random_state=0, device="cpu").fit(
        images
    )
    assert model.reconstruction_error_ < 0.5 * untrained.reconstruction_error_


def test_feeds_a_mixture_in_a_pipeline(blobs: Any) -> None:
    pipeline = make_pipeline(StackedAutoencoder(QUICK, random_state=0, device="cpu"), PCA(2))
    assert pipeline.fit_transform(blobs[0]).shape == (600, 2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"latent_dim": 0}, "latent_dim=0"),
        ({"corruption": 1.0}, "corruption=1.0"),
        ({"layer_corruption": -0.1}, "layer_corruption=-0.1"),
        ({"optimizer": "lion"}, "'adam' or 'sgd'"),
        ({"steps": -1}, "steps=-1"),
    ],
)
def test_refuses_settings_that_cannot_be_trained(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Pretraining(**settings)


def test_refuses_another_kind_of_pretraining(blobs: Any) -> None:
    with pytest.raises(ValueError, match="expected a Pretraining"):
        DEC(3, pretraining="long").fit(blobs[0])


def test_the_decoder_mirrors_the_encoder() -> None:
    net = Autoencoder((1, 4, 4), (5, 7), 3, torch.Generator())
    widths = [tuple(layer.weight.shape[1:]) for layer in [*net.encoder.layers, *net.decoder.layers]]
    assert widths == [(16, 5), (5, 7), (7, 3), (3, 7), (7, 5), (5, 16)]
    assert net.decode(net.encode(torch.rand(6, 1, 4, 4))).shape == (6, 1, 4, 4)


# ---------------------------------------------------------------- DEC


def test_similarity_is_students_t_kernel() -> None:
    rng = np.random.default_rng(0)
    z, centers = rng.normal(size=(20, 3)), rng.normal(size=(4, 3))
    distance = np.linalg.norm(z[:, None] - centers, axis=-1)
    kernel = student.pdf(distance, df=1)
    q = log_similarity(torch.from_numpy(z), torch.from_numpy(centers)).exp().numpy()
    np.testing.assert_allclose(q, kernel / kernel.sum(1, keepdims=True), rtol=1e-12)


def test_targets_sharpen_and_divide_by_cluster_frequency() -> None:
    q = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]], dtype=torch.float64)
    f = q.sum(0)
    expected = np.array([[float(a**2 / f[j]) for j, a in enumerate(row)] for row in q])
    expected /= expected.sum(1, keepdims=True)
    np.testing.assert_allclose(target_distribution(q).numpy(), expected, rtol=1e-12)


def test_stops_when_few_assignments_change_and_says_so(blobs: Any) -> None:
    model = DEC(3, pretraining=QUICK, update_interval=5, max_iter=50, random_state=0, device="cpu").fit(
        blobs[0]
    )
    assert model.converged_ and model.n_iter_ < 50 and model.history_[-1]["changed"] <= 1e-3
    losses = np.array([record["loss"] for record in model.history_])
    assert np.isfinite(losses).all() and (losses > 0).all()  # the last refresh, without steps, had 0 once


def test_divergence_is_the_mean_of_the_rows() -> None:
    p, q = (np.random.default_rng(seed).dirichlet(np.ones(4), size=6) for seed in (0, 1))
    found = divergence(torch.from_numpy(p), torch.from_numpy(q).log())
    assert float(found) == pytest.approx(entropy(p, q, axis=1).mean())


def test_without_an_autoencoder_the_encoder_begins_untrained(blobs: Any) -> None:
    model = DEC.preset("without-autoencoder", 3, max_iter=2, random_state=0, device="cpu")
    assert model.pretraining.steps == 0
    assert 1 <= model.fit(blobs[0][:60]).n_iter_ <= 2


@pytest.mark.parametrize(("n_items", "expected"), [(300, 500), (10_000, 3906), (1_000_000, 4000)])
def test_the_length_of_pretraining_follows_the_data(n_items: int, expected: int) -> None:
    assert Pretraining().count_steps(n_items) == expected
    assert Pretraining(steps=7).count_steps(n_items) == 7
    assert Pretraining(steps=0).count_steps(n_items) == 0


def test_it_learns_in_bfloat16_and_answers_in_full_precision(blobs: Any, tmp_path: Path) -> None:
    X, how = blobs[0], Pretraining((16,), 2, layer_steps=3, steps=60)
    models = [
        StackedAutoencoder(how, precision=precision, random_state=0).fit(X)
        for precision in ("float32", "bfloat16")
    ]
    errors = [model.reconstruction_error_ for model in models]
    assert errors[0] != errors[1]
    assert errors[1] == pytest.approx(errors[0], rel=0.2)
    codes = models[1].transform(X)
    assert np.abs(codes - codes.astype(np.float16)).max() > 0  # more digits than bfloat16 has
    again = genmix.load(models[1].save(tmp_path / "model"))
    np.testing.assert_array_equal(again.inverse_transform(codes), models[1].inverse_transform(codes))
