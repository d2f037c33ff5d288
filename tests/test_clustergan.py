"""ClusterGAN: its latent space, its losses, its networks, labels, and going on with a fit."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax
from sklearn.mixture import GaussianMixture
from torch import nn

import genmix
from genmix import metrics
from genmix.baselines import ClusterGAN
from genmix.baselines.clustergan_training import ROLES, LatentSpace, Training, follow_codes, make_networks
from genmix.nn.adversarial import Adversarial
from genmix.nn.stacked import StackedConv, StackedLinear
from genmix.training.engine import Engine

TINY = {"latent_dim": 3, "batch_size": 16, "steps_per_iteration": 3, "max_iter": 2}
SPACE = LatentSpace(4, 3, 0.1)


def tiny(k: int = 3, **changes: Any) -> ClusterGAN:
    return ClusterGAN(k, **{**TINY, "random_state": 0, "device": "cpu", **changes})


@pytest.fixture(scope="module")
def learned(blobs: Any) -> ClusterGAN:
    few_steps = {"max_iter": 6, "ema_decay": 0.99}
    return ClusterGAN(3, latent_dim=3, **few_steps, random_state=0, device="cpu").fit(blobs[0])


def trained(networks: nn.ModuleDict, objective: Adversarial | None = None) -> Training:
    how = {"beta_n": 10.0, "beta_c": 10.0, "ema_decay": 0.5, "batch_size": 8}
    return Training(networks, SPACE, objective or Adversarial(), run=Engine("cpu", 0), **how)


def small_networks(item_shape: tuple[int, ...] = (5,), choice: Any = "auto") -> nn.ModuleDict:
    return make_networks(dict.fromkeys(ROLES, choice), item_shape, SPACE, torch.Generator().manual_seed(0))


# ---------------------------------------------------------------- latent space and losses


def test_latent_points_are_noise_beside_a_one_hot_component() -> None:
    component, z = SPACE.draw(40_000, torch.Generator().manual_seed(0), torch.device("cpu"))
    assert component.shape == (1, 40_000) and z.shape == (1, 40_000, 7)
    np.testing.assert_array_equal(z[0, :, 3:].numpy(), np.eye(4)[component[0].numpy()])
    np.testing.assert_allclose(np.bincount(component[0].numpy()) / 40_000, 0.25, atol=0.01)
    np.testing.assert_allclose(np.cov(z[0, :, :3].numpy().T), 0.01 * np.eye(3), atol=3e-4)


def test_codes_and_errors_are_those_of_numpy() -> None:
    rng = np.random.default_rng(0)
    out, component = rng.normal(size=(20, 7)), rng.integers(0, 4, 20)
    z = np.concatenate([rng.normal(size=(20, 3)), np.eye(4)[component]], 1)
    codes = SPACE.codes(torch.from_numpy(out))
    np.testing.assert_allclose(codes, np.concatenate([out[:, :3], softmax(out[:, 3:], 1)], 1), atol=1e-12)
    found = SPACE.errors(*(torch.from_numpy(a)[None] for a in (out, z, component)))
    assert float(found[0]) == pytest.approx(((out - z)[:, :3] ** 2).mean(), abs=1e-12)
    expected = -log_softmax(out[:, 3:], 1)[np.arange(20), component].mean()
    assert float(found[1]) == pytest.approx(expected, abs=1e-12)


def test_the_generators_step_weighs_the_errors_and_leaves_the_critic(monkeypatch: pytest.MonkeyPatch) -> None:
    players = trained(small_networks())
    minimized: list[torch.Tensor] = []
    monkeypatch.setattr(players.optimizer, "step", lambda loss: minimized.append(loss))
    known = (torch.randn(1, 8, 5), torch.arange(8) % 4)
    adversarial, noise, component, labels = players.train_generator(known)
    logits = players.encode(known[0])[0, :, 3:].detach().double().numpy()
    expected = -log_softmax(logits, 1)[np.arange(8), np.arange(8) % 4].mean()
    assert float(labels) == pytest.approx(expected, rel=1e-5)
    whole = adversarial + 10 * noise + 10 * (component + labels)
    assert float(minimized[0].detach()) == pytest.approx(float(whole), rel=1e-6)


def test_each_step_moves_its_own_networks_only() -> None:
    networks = small_networks()
    players, items = trained(networks), torch.randn(30, 5)

    def parts() -> dict[str, np.ndarray]:
        return {r: nn.utils.parameters_to_vector(networks[r].parameters()).detach().clone() for r in ROLES}

    before = parts()
    players.train_critic(items)
    after = parts()
    assert [bool((before[r] == after[r]).all()) for r in ROLES] == [True, True, False]
    players.train_generator(None)
    last = parts()
    assert [bool((last[r] == after[r]).all()) for r in ROLES] == [False, False, True]


def test_the_critic_may_be_clipped_and_is_penalized_at_its_own_pace() -> None:
    networks = small_networks()
    players = trained(networks, Adversarial("wasserstein", None, clip=0.02))
    for _ in range(3):
        players.train_critic(torch.randn(30, 5))
    assert all(p.abs().max() <= 0.02 for p in networks["critic"].parameters()) and players.critic_steps == 3


# ---------------------------------------------------------------- networks


def test_the_published_networks_for_mnist() -> None:
    networks = make_networks(
        dict.fromkeys(ROLES, "clustergan-2019"), (1, 28, 28), LatentSpace(10, 30, 0.1), torch.Generator()
    )
    layers = {
        role: [
            tuple(m.weight.shape)
            for m in networks[role].modules()
            if hasattr(m, "weight") and m.weight.dim() > 1
        ]
        for role in ROLES
    }
    assert layers["generator"] == [(1, 40, 1024), (1, 1024, 6272), (128, 64, 4, 4), (64, 1, 4, 4)]
    assert layers["encoder"] == [(64, 1, 4, 4), (128, 64, 4, 4), (1, 6272, 1024), (1, 1024, 40)]
    assert layers["critic"] == [(64, 1, 4, 4), (128, 64, 4, 4), (1, 6272, 1024), (1, 1024, 1)]
    for m in networks.modules():
        if isinstance(m, StackedLinear | StackedConv):
            assert float(m.weight.detach().std()) == pytest.approx(0.02, rel=0.15) and not m.bias.any()
    made = networks["generator"](torch.randn(1, 3, 40))
    assert made.shape == (1, 3, 1, 28, 28) and 0 <= made.min() and made.max() <= 1
    assert networks["critic"](made).shape == (1, 3) and networks["encoder"](made).shape == (1, 3, 40)


def test_networks_by_kind_of_data_and_by_choice() -> None:
    assert [len(small_networks((5,), "clustergan-2019")[role].layers) for role in ROLES] == [3, 3, 3]
    assert hasattr(small_networks((1, 8, 8))["encoder"], "convs")
    assert hasattr(small_networks((1, 8, 2))["encoder"], "layers")
    chosen = {"generator": {"hidden": (9,)}, "encoder": "mlp", "critic": lambda i, o: nn.Linear(i[0], o)}
    networks = make_networks(chosen, (5,), SPACE, torch.Generator())
    assert networks["generator"].layers[0].weight.shape == (1, 7, 9)
    assert networks["critic"](torch.randn(1, 2, 5)).shape == (1, 2)
    for choice in ("conv", "no such"):
        with pytest.raises(ValueError, match=choice):
            small_networks((5,), choice)
    with pytest.raises(ValueError, match="networks has keys"):
        tiny(networks={"decoder": "mlp"}).fit(np.random.default_rng(0).normal(size=(20, 4)))


# ---------------------------------------------------------------- clusters


def test_clusters_are_gaussians_around_centres_among_the_codes(learned: ClusterGAN, blobs: Any) -> None:
    codes = learned.transform(blobs[0])
    assert codes.shape == (600, 6) and codes.dtype == np.float64
    np.testing.assert_allclose(codes[:, 3:].sum(1), 1, atol=1e-12)
    square = ((codes[:, None] - learned.centers_) ** 2).sum(-1)
    np.testing.assert_array_equal(learned.predict(blobs[0]), square.argmin(1))
    assert learned.variance_ == pytest.approx(square.min(1).mean() / 6)
    oracle = GaussianMixture(3, covariance_type="spherical")
    oracle.weights_, oracle.means_ = np.full(3, 1 / 3), learned.centers_
    oracle.covariances_ = np.full(3, learned.variance_)
    oracle.precisions_cholesky_ = oracle.covariances_**-0.5
    np.testing.assert_allclose(learned.predict_proba(blobs[0]), oracle.predict_proba(codes), atol=1e-9)


def test_samples_of_a_component_belong_to_its_cluster(learned: ClusterGAN, blobs: Any) -> None:
    for k in range(3):
        X, component = learned.sample(100, component=k)
        assert X.shape == (100, 2) and (component == k).all()
        assert (learned.predict(X) == k).mean() > 0.9
        real = blobs[0][learned.labels_ == k]
        assert np.linalg.norm(X.mean(0) - real.mean(0)) < 1.5  # centres of the groups are 8 apart


def test_the_generator_undoes_the_encoder(learned: ClusterGAN, blobs: Any) -> None:
    made = learned.inverse_transform(learned.transform(blobs[0]))
    assert (learned.predict(made) == learned.labels_).mean() > 0.95
    with pytest.raises(ValueError, match=r"\(M, 6\)"):
        learned.inverse_transform(np.zeros((2, 5)))
    assert list(learned.get_feature_names_out()) == [f"clustergan{i}" for i in range(6)]


def test_without_the_error_of_the_noise_kmeans_sees_the_components_only(blobs: Any) -> None:
    model = tiny(beta_n=0).fit(blobs[0])
    assert model.centers_.shape == (3, 3) and model.transform(blobs[0]).shape == (600, 6)


def test_images_come_back_as_they_were_given(squares: Any) -> None:
    model = tiny(2).fit(squares[0])
    X, component = model.sample(5)
    assert X.shape == (5, 12, 12) and X.dtype == np.uint8 and (np.diff(component) >= 0).all()


# ---------------------------------------------------------------- labels


def test_labels_bind_components_to_classes(blobs: Any) -> None:
    X, y = blobs
    classes = np.array([7, 3, 5])[y]
    given = np.where(np.arange(600) % 20 == 0, classes, -1)
    given[0] = {7: 3, 3: 5, 5: 7}[classes[0]]  # a wrong label is kept
    model = ClusterGAN(3, latent_dim=3, max_iter=4, random_state=0, device="cpu").fit(X, given)
    assert list(model.classes_) == [3, 5, 7] and model.centers_ is None
    assert model.labels_[0] == np.searchsorted(model.classes_, given[0])
    assert metrics.purity(classes, model.labels_) > 0.9
    assert (model.classes_[model.labels_] == classes).mean() > 0.9
    shares = model.predict_proba(X)
    np.testing.assert_allclose(shares, model.transform(X)[:, 3:], atol=1e-12)
    assert "label_error" in model.history_[-1]


def test_all_labels_unknown_is_no_labels_bit_for_bit(blobs: Any) -> None:
    without, with_none = tiny().fit(blobs[0]), tiny().fit(blobs[0], np.full(600, -1))
    np.testing.assert_array_equal(without.predict_proba(blobs[0]), with_none.predict_proba(blobs[0]))
    assert "label_error" not in without.history_[-1] and len(with_none.classes_) == 0


def test_the_encoder_learns_from_views_only_with_labels(blobs: Any) -> None:
    seen = []

    def views(x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        seen.append(x)
        return x

    X, y = blobs
    given = np.where(np.arange(600) % 20 == 0, y, -1)
    with_views = tiny(augmentation=views).fit(X, given)
    items = with_views.preprocessing_.apply(X)
    labelled, pairs = seen[::2], seen[1::2]
    assert torch.isin(torch.cat(labelled, 1)[0, :, 0], items[given >= 0, 0]).all()
    assert pairs[0].shape == (2, 1, 16, 2) and torch.isin(torch.cat(pairs, 2), items).all()
    assert not torch.isin(torch.cat(pairs, 2)[0, 0, :, 0], items[given >= 0, 0]).all()
    assert len(labelled) == len(pairs) == with_views.max_iter * with_views.steps_per_iteration
    seen.clear()
    tiny(augmentation=views).fit(X)
    assert not seen  # nothing is perturbed without labels


def test_views_are_to_have_the_same_component(monkeypatch: pytest.MonkeyPatch) -> None:
    players = trained(small_networks())
    minimized: list[torch.Tensor] = []
    monkeypatch.setattr(players.optimizer, "step", lambda loss: minimized.append(loss))
    views = torch.randn(2, 1, 8, 5)
    adversarial, noise, component, _ = players.train_generator(None, views)
    one, other = (players.encode(view)[0, :, 3:].detach().double().numpy() for view in views)
    expected = -(softmax(one, 1) * log_softmax(other, 1)).sum(1).mean()
    whole = adversarial + 10 * noise + 10 * component + expected
    assert float(minimized[0].detach()) == pytest.approx(float(whole), rel=1e-5)


def test_an_encoder_follows_codes_and_stays_frozen() -> None:
    items, encoder = torch.randn(20, 5), small_networks()["encoder"].requires_grad_(False)
    targets = SPACE.codes(torch.randn(20, 7))[:, -4:]

    def error() -> float:
        return float((SPACE.codes(encoder(items[None]))[0, :, -4:] - targets).square().mean())

    before = error()
    follow_codes(encoder, SPACE, items, targets, 8, 500, Engine("cpu", 0))
    assert error() < 0.1 * before
    assert not any(p.requires_grad or p.grad is not None for p in encoder.parameters())


def test_more_classes_than_components_are_refused(blobs: Any) -> None:
    with pytest.raises(ValueError, match="4 classes"):
        tiny().fit(blobs[0], np.arange(600) % 4)


# ---------------------------------------------------------------- going on


def same(a: ClusterGAN, b: ClusterGAN, X: np.ndarray) -> None:
    np.testing.assert_array_equal(a.predict_proba(X), b.predict_proba(X))
    np.testing.assert_array_equal(a.transform(X), b.transform(X))
    for role, other in zip(a._networks.values(), b._networks.values(), strict=True):
        for own, its in zip(role.state_dict().values(), other.state_dict().values(), strict=True):
            assert torch.equal(own, its)


@pytest.mark.parametrize("carry", [lambda m: m, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])  # noqa: S301
def test_a_warm_start_ends_where_one_long_fit_does(carry: Any, blobs: Any) -> None:
    X = blobs[0]
    longer = tiny(max_iter=5).fit(X)
    model = carry(tiny(max_iter=2, warm_start=True).fit(X))
    model.set_params(max_iter=3).fit(X)
    same(model, longer, X)
    assert model.n_iter_ == 5 and [r["iteration"] for r in model.history_] == [1, 2, 3, 4, 5]
    seconds = [r["seconds"] for r in model.history_]
    assert seconds == sorted(seconds)


def test_without_warm_start_a_fit_begins_anew(blobs: Any) -> None:
    model = tiny().fit(blobs[0])
    first = copy.deepcopy(model)
    same(model.fit(blobs[0]), first, blobs[0])
    assert model.n_iter_ == 2


def test_a_loaded_model_goes_on(blobs: Any, tmp_path: Path) -> None:
    model = tiny(warm_start=True).fit(blobs[0])
    again = genmix.load(model.save(tmp_path / "model"))
    same(again, model, blobs[0])
    assert again.fit(blobs[0]).n_iter_ == 4
    assert again.objective is None


def test_a_warm_start_takes_new_rates(blobs: Any) -> None:
    model = tiny(warm_start=True).fit(blobs[0])
    before = model.transform(blobs[0])
    still = Adversarial(generator_lr=1e-12, critic_lr=1e-12)
    model.set_params(objective=still, ema_decay=0.0).fit(blobs[0])
    moved = np.abs(model.transform(blobs[0]) - before).max()
    assert model.n_iter_ == 4 and 0 < moved < 1


def test_a_warm_start_that_was_stopped_leaves_what_it_began_with(
    blobs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    X, model = blobs[0], tiny(warm_start=True).fit(blobs[0])
    other, train = copy.deepcopy(model).fit(X), Training.train_generator

    def stop(self: Training, *drawn: Any) -> Any:
        if self.critic_steps == 10:
            raise KeyboardInterrupt
        return train(self, *drawn)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Training, "train_generator", stop)
        model.fit(X)
    same(model.fit(X), other, X)


@pytest.mark.parametrize("changed", [{"latent_dim": 4}, {"n_components": 2}, {"networks": "clustergan-2019"}])
def test_a_warm_start_needs_the_same_networks(changed: dict[str, Any], blobs: Any) -> None:
    model = tiny(warm_start=True).fit(blobs[0])
    with pytest.raises(ValueError, match="warm_start=True needs"):
        model.set_params(**changed).fit(blobs[0])


# ---------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    "wrong",
    [
        {"latent_dim": 0}, {"batch_size": 0}, {"steps_per_iteration": 0.5}, {"max_iter": 0}, {"spread": 0},
        {"spread": np.nan}, {"beta_n": -1}, {"beta_c": np.inf}, {"ema_decay": 1.0}, {"objective": "wgan"},
        {"scaling": "no such"}, {"precision": "int8"}, {"device": "no such"},
    ],
    ids=str,
)  # fmt: skip
def test_says_which_argument_is_wrong(wrong: dict[str, Any], blobs: Any) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        tiny(**wrong).fit(blobs[0])


def test_divergence_is_an_error(blobs: Any) -> None:
    with pytest.raises(FloatingPointError, match="diverged in iteration"):
        tiny(objective=Adversarial(generator_lr=1e18, critic_lr=1e18), max_iter=20).fit(blobs[0])


def test_the_preset_is_the_published_training(squares: Any) -> None:
    model = ClusterGAN.preset("clustergan-2019", 10)
    assert model.max_iter * model.steps_per_iteration == 500_000
    assert (model.latent_dim, model.spread, model.beta_n, model.beta_c, model.batch_size) == (
        30,
        0.1,
        10,
        10,
        64,
    )
    how = model.objective
    assert (how.loss, how.penalty, how.penalty_weight, how.penalty_every) == (
        "wasserstein",
        "gradient",
        10,
        1,
    )
    assert (how.generator_lr, how.critic_lr, how.betas, how.critic_steps) == (1e-4, 1e-4, (0.5, 0.9), 5)
    short = ClusterGAN.preset(
        "clustergan-2019", 2, max_iter=1, steps_per_iteration=1, random_state=0, device="cpu"
    )
    assert short.fit(squares[0]).predict_proba(squares[0]).shape == (200, 2)


def test_bfloat16_trains(blobs: Any) -> None:
    model = tiny(precision="bfloat16").fit(blobs[0])
    assert np.isfinite(model.transform(blobs[0])).all()


def test_a_saved_model_keeps_its_objective(blobs: Any, tmp_path: Path) -> None:
    model = tiny(objective=replace(Adversarial(), critic_steps=2)).fit(blobs[0])
    assert genmix.load(model.save(tmp_path / "model")).objective.critic_steps == 2
