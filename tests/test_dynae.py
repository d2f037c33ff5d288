"""DynAE: its equations, its schedule, its labels, and the pretraining by interpolation."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import make_blobs

import genmix
from genmix import metrics
from genmix.baselines import ACAI, DynAE, Pretraining
from genmix.baselines.acai import Critic, InterpolatingAutoencoder, critic_loss, mix
from genmix.baselines.autoencoder import Autoencoder
from genmix.baselines.dec import log_similarity
from genmix.baselines.dynae import (
    SHIFT_AND_TURN,
    Centers,
    assign,
    conflicted,
    equal_pull,
    nearest_members,
    targets,
    thresholds,
    voted_parts,
    weighted_error,
)
from genmix.training.augment import Affine, AugmentedData, NeighborSwap
from genmix.training.checkpoint import Checkpoint
from genmix.training.engine import Engine
from test_baselines import ACAI_QUICK, QUICK


def quick(k: int = 3, **changes: Any) -> DynAE:
    settings = {"pretraining": ACAI_QUICK, "update_interval": 20, "max_iter": 10, "random_state": 0}
    return DynAE(k, **{**settings, "device": "cpu", **changes})


def some(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


# ---------------------------------------------------------------- pretraining by interpolation


def test_a_mixture_is_a_share_of_one_code_and_the_rest_of_another() -> None:
    z, alpha = some(5, 3), torch.rand(5, dtype=torch.float64)
    expected = [alpha[i] * z[i] + (1 - alpha[i]) * z[4 - i] for i in range(5)]
    np.testing.assert_allclose(mix(z, alpha), torch.stack(expected), rtol=1e-12)


def test_the_critic_guesses_the_smaller_share() -> None:
    alpha = torch.tensor([0.1, 0.5, 0.7], dtype=torch.float64)
    perfect = torch.tensor([0.1, 0.5, 0.3], dtype=torch.float64)
    assert critic_loss(perfect, torch.zeros(3), alpha, "coefficient") < 1e-30
    assert critic_loss(perfect + 2, torch.ones(3), alpha, "coefficient") == pytest.approx(4 + 1)


def test_the_published_slip_teaches_the_critic_the_mean() -> None:
    guess, alpha = some(6).requires_grad_(), torch.rand(6, dtype=torch.float64)
    slip = (guess - alpha[:, None]).square().mean()  # [B] minus [B, 1]
    ours = critic_loss(guess, torch.zeros(6), alpha, "mean")
    np.testing.assert_allclose(
        *(torch.autograd.grad(loss, guess)[0].numpy() for loss in (slip, ours)), rtol=1e-12
    )
    assert float((slip - ours).detach()) == pytest.approx(float(alpha.var(correction=0)))


def test_the_critic_averages_its_outputs() -> None:
    critic, x = Critic(1, (1, 4, 4), (3,), torch.Generator(), hidden=(5,)), torch.rand(6, 1, 4, 4)
    torch.testing.assert_close(critic.judge(x), critic(x[None])[0].mean(-1))


def pretrained(how: Pretraining, X: np.ndarray, cls: type[Autoencoder] = InterpolatingAutoencoder) -> Any:
    run = Engine("cpu", 0)
    views = AugmentedData(torch.from_numpy(X).float(), NeighborSwap(0, 0.0), run)
    net = cls(X.shape[1:], tuple(how.hidden), how.latent_dim, run.cpu_generator)
    net.pretrain(views, how, Checkpoint(None, DynAE(2), (), run))
    return net


def test_mixtures_decode_to_something_like_an_item() -> None:
    """Two groups at -1 and 1: half-way codes decode to what lies between them, unless a critic minds."""
    X = make_blobs(400, centers=[[-1.0, 0], [1, 0]], cluster_std=0.1, random_state=0)[0]
    other = np.random.default_rng(1).permutation(len(X))

    def off_items(weight: float) -> float:
        how = ACAI(hidden=(32, 32), latent_dim=2, steps=300, batch_size=64, augment=False, weight=weight)
        net = pretrained(how, X)
        with torch.no_grad():
            z = net.encode(torch.from_numpy(X).float())
            assert (net.decode(z) - torch.from_numpy(X)).abs().mean() < 0.1
            return float((net.decode((z + z[other]) / 2)[:, 0].abs() - 1).abs().mean())

    assert off_items(weight=0.5) < 0.6 * off_items(weight=0.0)


def test_a_plain_pretraining_is_what_it_is_elsewhere(blobs: Any) -> None:
    ours, other = (pretrained(QUICK, blobs[0], cls) for cls in (InterpolatingAutoencoder, Autoencoder))
    for a, b in zip(ours.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)


def test_learns_layer_by_layer_first_where_asked(blobs: Any) -> None:
    how = replace(ACAI_QUICK, layer_steps=3, steps=0)
    plain = Pretraining(hidden=how.hidden, latent_dim=4, steps=0, layer_steps=3, batch_size=64)
    ours, other = pretrained(how, blobs[0]), pretrained(plain, blobs[0], Autoencoder)
    for a, b in zip(ours.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weight": -1.0}, r"weight=-1.0: expected a number of at least 0"),
        ({"target": "half"}, "target='half': expected 'coefficient' or 'mean'"),
        ({"rebuild": "both"}, "rebuild='both': expected 'item' or 'view'"),
        ({"latent_dim": 0}, "latent_dim=0"),
    ],
)
def test_refuses_a_pretraining_that_is_none(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ACAI(**settings)


# ---------------------------------------------------------------- conflicts and targets


def test_the_bar_is_lowered_as_published() -> None:
    found = [(beta1, beta2) for beta1, beta2 in islice(thresholds(3.0, 10), 5)]
    expected = [(0.3, 0.15), (0.21, 0.06), (0.12, -0.03), (0.093, -0.057), (0.0849, -0.0651)]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("k", [1, 2, 3, 10])
def test_in_the_end_nothing_is_conflicted(k: int) -> None:
    beta1, beta2 = next(islice(thresholds(3.0, k), 3, None))
    q = torch.full((4, k), 1 / k)
    assert not conflicted(q, q.argmax(1), beta1, beta2).any()


def test_conflicted_items_are_unsure_or_between_two_clusters() -> None:
    q = torch.from_numpy(np.random.default_rng(0).dirichlet(np.ones(4), 300))
    first, second = np.sort(q.numpy(), 1)[:, [-1, -2]].T
    expected = ~((first > 0.4) & (first - second > 0.2))
    assert 0 < expected.sum() < 300
    np.testing.assert_array_equal(conflicted(q, q.argmax(1), 0.4, 0.2), expected)


def test_a_labelled_item_is_conflicted_until_it_is_sure_of_its_class() -> None:
    q = torch.tensor([[0.8, 0.1, 0.1], [0.8, 0.1, 0.1], [0.2, 0.2, 0.6]])
    known = torch.tensor([-1, 1, 2])
    assert assign(q, known).tolist() == [0, 1, 2]
    assert conflicted(q, assign(q, known), 0.5, 0.25).tolist() == [False, True, False]


def test_targets_are_the_clusters_centre_or_the_item_itself() -> None:
    x, z, centers = some(40, 1, 2, 2), some(40, 2, seed=1), Centers(some(3, 2, seed=2), some(3, 1, 2, 2))
    known = torch.where(torch.arange(40) < 30, -1, torch.arange(40) % 3)
    code, image, weight = targets(x, z, centers, known, (0.5, 0.25), True)
    assert torch.equal(targets(x, z, centers, known, (0.5, 0.25), False)[2], torch.ones(40))
    q = log_similarity(z, centers.codes).exp().numpy()
    own = 0
    for i in range(40):
        first, second = np.sort(q[i])[[-1, -2]]
        k = int(known[i]) if known[i] >= 0 else int(q[i].argmax())
        if known[i] < 0 and not (first > 0.5 and first - second > 0.25):
            own += 1
            assert torch.equal(code[i], z[i]) and torch.equal(image[i], x[i]) and weight[i] == 1
        else:
            assert known[i] < 0 or weight[i] == 1
            assert torch.equal(code[i], centers.codes[k]) and torch.equal(image[i], centers.images[k])
    assert 5 < own < 25
    assert float(weight.mean()) == pytest.approx(1)


def test_sure_items_of_all_clusters_weigh_alike() -> None:
    assigned, sure = torch.tensor([0, 0, 0, 1, 1, 2, 0]), torch.tensor([1, 1, 1, 1, 0, 0, 0]).bool()
    weight = equal_pull(assigned, sure, 4)
    np.testing.assert_allclose(weight, [2 / 3, 2 / 3, 2 / 3, 2, 1, 1, 1])  # two clusters have sure items
    assert torch.equal(equal_pull(assigned, torch.zeros(7).bool(), 4), torch.ones(7))
    made, goal = some(7, 2, 3), some(7, 2, 3, seed=1)
    error = ((made - goal) ** 2).mean((1, 2))
    np.testing.assert_allclose(weighted_error(made, goal, weight), (weight * error).mean(), rtol=1e-6)


def test_a_centre_is_the_nearest_item_of_its_part() -> None:
    points = torch.tensor([[0.0], [1.0], [2.0], [10.0]])
    means, part = torch.tensor([[2.0], [1.4], [9.0]]), torch.tensor([0, 0, 1, 1])
    assert nearest_members(points, means, part).tolist() == [1, 2, 3]  # the third part has no items


# ---------------------------------------------------------------- the schedule


def test_conflicts_fade_until_hardly_any_are_left() -> None:
    X, y = make_blobs(300, n_features=6, centers=4, cluster_std=1.0, random_state=5)
    model = quick(4, max_iter=60).fit(X)
    share = [record["conflicted"] for record in model.history_]
    beta1 = [record["beta1"] for record in model.history_]
    assert model.converged_ and share[-1] < 0.01 <= min(share[:-1])
    assert metrics.accuracy(y, model.labels_) > 0.95
    for i in range(2, len(share)):  # the bar falls after a count that did not, and only then
        assert (beta1[i] < beta1[i - 1]) == (share[i - 1] >= share[i - 2])


def test_drawing_to_centres_tightens_the_clusters() -> None:
    X, y = make_blobs(300, n_features=6, centers=3, cluster_std=2.0, random_state=1)
    views, inside = NeighborSwap(noise=1.0), []
    for steps in (1, 20):
        model = quick(update_interval=steps, tol=0.0, max_iter=30 if steps > 1 else 1, augmentation=views)
        z = model.fit(X).transform(X)
        means = np.stack([z[y == k].mean(0) for k in range(3)])
        inside.append(((z - means[y]) ** 2).sum() / ((z - z.mean(0)) ** 2).sum())
    assert inside[1] < 0.7 * inside[0]


def test_divergence_is_said(blobs: Any) -> None:
    with pytest.raises(FloatingPointError, match="diverged"):
        quick(optimizer="sgd", lr=1e6).fit(blobs[0])
    with pytest.raises(FloatingPointError, match="diverged"):
        quick(pretraining=replace(ACAI_QUICK, optimizer="sgd", lr=1e9)).fit(blobs[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kappa": 0.0}, "kappa=0.0: expected a number above 0"),
        ({"gamma": -1.0}, "gamma=-1.0: expected a number of at least 0"),
        ({"optimizer": "lion"}, "'adam' or 'sgd'"),
        ({"update_interval": 0}, "update_interval=0"),
        ({"pretraining": "long"}, "expected a Pretraining"),
        ({"augmentation": Affine()}, "needs images"),
    ],
)
def test_says_what_is_wrong_with_an_argument(arguments: dict[str, Any], message: str, blobs: Any) -> None:
    with pytest.raises(ValueError, match=message):
        quick(**arguments).fit(blobs[0])


def test_images_are_shifted_and_turned_tables_get_noise(squares: Any, blobs: Any) -> None:
    assert quick()._views_of(squares[0]) == SHIFT_AND_TURN
    assert quick()._views_of(torch.from_numpy(squares[0])) == SHIFT_AND_TURN
    assert quick()._views_of(blobs[0]) == "auto"
    assert quick(augmentation=Affine())._views_of(squares[0]) == Affine()


def test_the_published_settings() -> None:
    model = DynAE.preset("dynae-2019", 10, random_state=1)
    how = model.pretraining
    assert (how.steps, how.lr, how.falling, how.weight) == (130_000, 1e-4, False, 0.5)
    assert (how.hidden, how.latent_dim, how.batch_size) == ((500, 500, 2000), 10, 256)
    assert (model.kappa, model.gamma, model.update_interval, model.tol) == (3.0, 100.0, 140, 0.01)
    assert not model.balanced
    assert (model.optimizer, model.lr, model.random_state) == ("sgd", 0.001, 1)


def test_any_pretraining_does(blobs: Any) -> None:
    model = quick(pretraining=QUICK).fit(blobs[0])
    assert metrics.accuracy(blobs[1], model.labels_) > 0.95


# ---------------------------------------------------------------- labels


def few(y: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """Labels of some items, -1 for the others."""
    partly = np.full(len(y), -1)
    chosen = np.random.default_rng(seed).permutation(len(y))[:count]
    partly[chosen] = y[chosen]
    return partly


def test_no_label_known_is_no_labels_bit_for_bit(blobs: Any) -> None:
    X = blobs[0]
    plain, unknown = quick().fit(X), quick().fit(X, np.full(len(X), -1))
    np.testing.assert_array_equal(plain.predict_proba(X), unknown.predict_proba(X))
    np.testing.assert_array_equal(plain.centers_, unknown.centers_)
    assert plain.classes_.size == unknown.classes_.size == 0
    for a, b in zip(plain.history_, unknown.history_, strict=True):
        assert {**a, "seconds": 0} == {**b, "seconds": 0}


def test_components_are_classes(blobs: Any) -> None:
    X, y = blobs
    names = np.array([40, 7, 23])[y]
    model = quick().fit(X, few(names, 30))
    assert model.classes_.tolist() == [7, 23, 40]
    assert (model.classes_[model.predict(X)] == names).mean() > 0.95


def test_a_class_without_labels_is_discovered(blobs: Any) -> None:
    X, y = blobs
    model = quick().fit(X, few(np.where(y == 2, -1, y), 40))
    assert model.classes_.tolist() == [0, 1]
    assert (model.labels_ == y).mean() > 0.95


def test_labels_nearby_decide_between_known_classes_and_k_means_discovers_the_rest() -> None:
    """Two classes of which one is in two places, as near to the other as to itself, and an unknown one."""
    places = np.array([[0, 0], [4, 0], [2, 3], [20, 20]])
    X, group = make_blobs(400, centers=places, cluster_std=0.2, random_state=0)
    y = np.array([0, 0, 1, 2])[group]
    component = np.full(400, -1)
    for place in range(3):
        component[np.flatnonzero(group == place)[:4]] = y[group == place][0]
    for seed in range(5):
        found, means = voted_parts(X, component, 3, np.random.RandomState(seed))
        np.testing.assert_array_equal(found, y)
        np.testing.assert_allclose(means, [X[y == k].mean(0) for k in range(3)])


def test_few_labels_vote_too() -> None:
    X, rng = np.array([[0.0], [0.1], [1.0], [1.1]]), np.random.RandomState(0)
    found, _ = voted_parts(X, np.array([0, -1, -1, -1]), 2, rng)
    np.testing.assert_array_equal(found, [0, 0, 1, 1])
    assert np.isfinite(voted_parts(np.ones((4, 1)), np.array([0, -1, -1, -1]), 3, rng)[1]).all()


def test_given_labels_stay_even_wrong_ones(blobs: Any) -> None:
    X, y = blobs
    partly = few(y, 30)
    wrong = np.flatnonzero(partly >= 0)[:3]
    partly[wrong] = (partly[wrong] + 1) % 3
    model = quick().fit(X, partly)
    np.testing.assert_array_equal(model.labels_[partly >= 0], partly[partly >= 0])
    assert (model.predict(X)[wrong] == y[wrong]).sum() >= 2


def test_labels_that_the_codes_contradict_do_not_keep_it_from_ending(blobs: Any) -> None:
    X, y = blobs
    partly = few(y, 300)
    wrong = np.flatnonzero(partly >= 0)[::6]
    partly[wrong] = (partly[wrong] + 1) % 3
    model = quick(max_iter=150).fit(X, partly)
    assert model.converged_ and model.history_[-1]["conflicted"] > 0.01
    assert (model.predict(X) == y).mean() > 0.9


def test_labels_decide_what_belongs_together() -> None:
    """Four groups in two classes, so that k-means among two clusters would part them the other way."""
    centers = np.array([[0, 0], [0, 3], [9, 0], [9, 3]])
    X, group = make_blobs(400, centers=centers, cluster_std=0.3, random_state=0)
    y = group % 2  # low or high; left and right are farther apart
    assert metrics.accuracy(y, quick(2).fit(X).labels_) < 0.6
    model = quick(2, pretraining=replace(ACAI_QUICK, steps=300), max_iter=30).fit(X, few(y, 200))
    assert (model.predict(X) == y).mean() > 0.9


def test_wrong_labels_are_refused_before_anything_is_trained(blobs: Any) -> None:
    X, y = blobs
    begun = time.perf_counter()
    with pytest.raises(ValueError, match="one label for each item"):
        DynAE(3, device="cpu").fit(X, y[:-1])
    with pytest.raises(ValueError, match="y has 3 classes, but n_components=2"):
        DynAE(2, device="cpu").fit(X, y)
    assert time.perf_counter() - begun < 5


def test_a_saved_model_keeps_labels_and_settings(squares: Any, tmp_path: Path) -> None:
    X, y = squares
    how = replace(ACAI_QUICK, rebuild="view", target="mean")
    model = quick(2, pretraining=how, augmentation=SHIFT_AND_TURN, max_iter=3).fit(X, few(5 * y, 20))
    again = genmix.load(model.save(tmp_path / "model"))
    assert again.pretraining == how and again.augmentation == SHIFT_AND_TURN
    np.testing.assert_array_equal(again.classes_, model.classes_)
    np.testing.assert_array_equal(again.centers_, model.centers_)
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))
    np.testing.assert_array_equal(again.labels_, model.labels_)
    assert again.inverse_transform(again.centers_).shape == (2, 12, 12)
