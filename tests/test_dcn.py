"""DCN's equations, its centres' steps and its record."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from sklearn.metrics import adjusted_rand_score

from genmix.baselines import DCN, Pretraining
from genmix.baselines.autoencoder import Autoencoder, shuffled
from genmix.baselines.coders import first_clusters, kmeans_centers
from genmix.baselines.dcn import follow_codes, log_membership, squared_distance
from genmix.training.engine import Engine
from test_baselines import QUICK, TINY


def drawn(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize("begun", [0.0, 1.0, 100.0])
def test_centres_move_as_in_a_loop_over_the_codes(begun: float) -> None:
    z, centers, counts = drawn(50, 3), drawn(4, 3, seed=1), np.full(4, begun)
    assigned = np.arange(50) % 3  # the last cluster gets none
    expected, count = centers.copy(), counts.copy()
    for code, k in zip(z, assigned, strict=True):
        count[k] += 1
        expected[k] -= (expected[k] - code) / count[k]
    moved, counted = follow_codes(*map(torch.from_numpy, (centers, counts, z, assigned)))
    np.testing.assert_allclose(moved.numpy(), expected, rtol=1e-10)
    np.testing.assert_array_equal(counted.numpy(), count)
    np.testing.assert_array_equal(moved[3].numpy(), centers[3])


@pytest.mark.parametrize(("stretch", "cut"), [(1.0, False), (40.0, True)])
def test_codes_that_cut_a_group_are_not_begun_with(stretch: float, cut: bool) -> None:
    group = np.repeat([0, 1, 2], [300, 30, 30])
    items = torch.from_numpy(drawn(360, 2) + 20 * np.array([[0, 0], [1, 0], [0, 1]])[group])
    codes = items.clone()
    codes[:300] *= stretch  # the large group lies on both sides of the others, and beyond
    engine = Engine("cpu", 0)
    by_codes = kmeans_centers(codes, 3, engine)[1]
    centers, part = first_clusters(codes, items, 3, engine)
    assert adjusted_rand_score(group, part) == 1
    assert (adjusted_rand_score(group, by_codes) < 0.9) == cut
    for k in range(3):
        torch.testing.assert_close(centers[k], codes[part == k].mean(0).to(centers.dtype), atol=1e-4, rtol=0)


def test_two_batches_are_one() -> None:
    z, centers = torch.from_numpy(drawn(40, 2)), torch.from_numpy(drawn(3, 2, seed=1))
    assigned, counts = torch.arange(40) % 3, torch.full((3,), 5.0, dtype=torch.float64)
    whole = follow_codes(centers, counts, z, assigned)
    halves = follow_codes(*follow_codes(centers, counts, z[:17], assigned[:17]), z[17:], assigned[17:])
    for a, b in zip(whole, halves, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=0)


def test_memberships_are_those_of_round_gaussians() -> None:
    z, centers, variance = drawn(20, 3), drawn(4, 3, seed=1), 0.3
    density = np.stack([multivariate_normal(m, variance * np.eye(3)).pdf(z) for m in centers], 1)
    found = log_membership(torch.from_numpy(z), torch.from_numpy(centers), variance).exp().numpy()
    np.testing.assert_allclose(found, density / density.sum(1, keepdims=True), rtol=1e-10)
    nearest = np.linalg.norm(z[:, None] - centers, axis=-1).argmin(1)
    np.testing.assert_array_equal(found.argmax(1), nearest)


def test_the_loss_rebuilds_and_draws_codes_to_their_centres() -> None:
    net = Autoencoder((5,), (7,), 2, torch.Generator().manual_seed(0)).double()
    x, centers = torch.from_numpy(drawn(6, 5)), torch.from_numpy(drawn(6, 2, seed=1))
    seen = torch.from_numpy(drawn(6, 5, seed=2))
    with torch.no_grad():
        z = net.encode(seen)
        made, loss = net.decode(z).numpy(), float(DCN(cluster_weight=3.0)._loss(net, seen, x, centers))
    rebuilt = ((made - x.numpy()) ** 2).sum(1)
    drawn_to = ((z.numpy() - centers.numpy()) ** 2).sum(1)
    assert loss == pytest.approx((rebuilt + 3.0 / 2 * drawn_to).mean(), rel=1e-12)


def test_a_pass_takes_every_item_once() -> None:
    run = Engine("cpu", 0)
    first, second = (torch.cat(shuffled(101, 16, run)) for _ in range(2))
    assert sorted(first.tolist()) == list(range(101)) and not torch.equal(first, second)


def test_codes_gather_around_their_centres(blobs: Any) -> None:
    settings = {"pretraining": QUICK, "lr": 1e-3, "tol": None, "max_iter": 20, "random_state": 0}
    loose, tight = (DCN(3, cluster_weight=w, device="cpu", **settings).fit(blobs[0]) for w in (0.0, 10.0))
    assert tight.history_[-1]["distance"] < 0.2 * loose.history_[-1]["distance"]
    assert tight.history_[-1]["loss"] < tight.history_[0]["loss"]
    codes = torch.from_numpy(tight.transform(blobs[0]))
    nearest = squared_distance(codes, torch.from_numpy(tight.centers_)).min(1)
    np.testing.assert_array_equal(nearest.indices.numpy(), tight.labels_)
    assert tight.spread_ == pytest.approx(float(nearest.values.mean()) / codes.shape[1], rel=1e-3)


def test_stops_when_few_assignments_change_and_says_so(blobs: Any) -> None:
    model = DCN(3, pretraining=QUICK, max_iter=30, random_state=0, device="cpu").fit(blobs[0])
    assert model.converged_ and model.n_iter_ < 30 and model.history_[-1]["changed"] <= 1e-3


def test_the_published_settings_begin(blobs: Any) -> None:
    model = DCN.preset("dcn-2017", 3, pretraining=TINY, max_iter=2, random_state=0, device="cpu")
    assert model.cluster_weight == 2.0 and model.optimizer == "sgd"
    assert model.fit(blobs[0]).n_iter_ in (1, 2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cluster_weight": -1.0}, "cluster_weight=-1.0"),
        ({"optimizer": "lion"}, "'adam' or 'sgd'"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"max_iter": 0}, "max_iter=0"),
    ],
)
def test_refuses_what_cannot_be_trained(settings: dict[str, Any], message: str, blobs: Any) -> None:
    with pytest.raises(ValueError, match=message):
        DCN(3, pretraining=TINY, **settings).fit(blobs[0])


def test_says_that_it_diverged(blobs: Any) -> None:
    quick = {"random_state": 0, "device": "cpu", "max_iter": 3}
    with pytest.raises(FloatingPointError, match="diverged in iteration"):
        DCN(3, pretraining=TINY, optimizer="sgd", lr=1e6, **quick).fit(blobs[0])
    wild = Pretraining(hidden=(16,), latent_dim=3, steps=9, batch_size=16, optimizer="sgd", lr=1e6)
    with pytest.raises(FloatingPointError, match="rate of pretraining"):
        DCN(3, pretraining=wild, **quick).fit(blobs[0])
