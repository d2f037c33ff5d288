"""Starting partitions: Algorithm 1's random one, the classical ones, and the informed start of the E-step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score
from torch import Tensor

from genmix import starts
from genmix.augment import Neighbors, Views
from genmix.engine import Engine, FlatOptimizer
from genmix.estep import Classifier, ClassifierEStep
from genmix.nets import build_stack
from genmix.starts import PARTITIONS, InformationStart, learn_information, partition

CENTRES = [[0, 0], [1, 0], [0, 1]]

#: Separated groups are what these tests are about.
pytestmark = pytest.mark.filterwarnings("ignore:Graph is not fully connected")


@pytest.fixture(scope="module")
def groups() -> tuple[Tensor, np.ndarray]:
    """Three well separated groups, centred and of unit size."""
    points, labels = make_blobs(150, centers=CENTRES, cluster_std=0.06, random_state=0)
    return torch.from_numpy((points - points.mean(0)) / points.std()).float(), labels


# ---------------------------------------------------------------- classical partitions


@pytest.mark.parametrize(("n", "k"), [(10, 3), (2310, 7), (12, 12), (7, 1), (100, 13), (51, 50)])
def test_algorithm_1_line_1_deals_the_data_into_equal_parts(n: int, k: int) -> None:
    labels = partition("random", torch.zeros(n, 2), k, Engine("cpu", 0))
    sizes = np.bincount(labels, minlength=k)
    assert labels.shape == (n,)
    assert labels.dtype == np.int64
    assert len(sizes) == k
    assert sizes.max() - sizes.min() <= 1


def test_algorithm_1_line_1_is_random_and_follows_the_seed() -> None:
    first, again, other = (partition("random", torch.zeros(500, 1), 5, Engine("cpu", s)) for s in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert abs(adjusted_rand_score(first, np.arange(500) // 100)) < 0.05  # no memory of the order of the rows
    assert abs(adjusted_rand_score(first, other)) < 0.05


def test_random_parts_of_one_engine_differ() -> None:
    """Restarts do not all begin with the same partition."""
    run = Engine("cpu", 0)
    first, second = (partition("random", torch.zeros(100, 1), 4, run) for _ in range(2))
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("name", [name for name in PARTITIONS if name != "random"])
@pytest.mark.parametrize("shape", [(2,), (1, 2, 1)])
def test_classical_partitions_find_separated_groups(name: str, shape: tuple[int, ...], groups) -> None:
    items, truth = groups
    found = partition(name, items.reshape(-1, *shape), 3, Engine("cpu", 0))
    assert found.dtype == np.int64
    assert adjusted_rand_score(truth, found) == 1
    assert np.array_equal(found, partition(name, items, 3, Engine("cpu", 0)))


def test_kmeans_is_scikit_learns(groups) -> None:
    items = groups[0]
    found = partition("kmeans", items, 5, Engine("cpu", 3))
    expected = KMeans(5, n_init=10, random_state=Engine("cpu", 3).seed()).fit_predict(items.double().numpy())
    assert np.array_equal(found, expected)


def test_spectral_of_large_data_lets_the_others_follow_their_neighbours(groups) -> None:
    items, truth = groups
    found = starts._spectral(items.double().numpy(), 3, Engine("cpu", 0), limit=60)
    assert found.shape == (150,)
    assert adjusted_rand_score(truth, found) == 1


def test_spectral_separates_what_k_means_cannot() -> None:
    """Two rings, one inside the other."""
    angle = np.linspace(0, 2 * np.pi, 100, endpoint=False)
    ring = np.stack([np.cos(angle), np.sin(angle)], 1)
    items, truth = torch.from_numpy(np.concatenate([ring, 4 * ring])).float(), np.repeat([0, 1], 100)
    assert adjusted_rand_score(truth, partition("spectral", items, 2, Engine("cpu", 0))) == 1
    assert adjusted_rand_score(truth, partition("kmeans", items, 2, Engine("cpu", 0))) < 0.5


@pytest.mark.parametrize("name", ["k-means", "gmm-round", "", "Random"])
def test_unknown_partitions_are_refused_with_their_name(name: str) -> None:
    with pytest.raises(ValueError, match=f"start={name!r} is unknown; expected 'information'.*spectral"):
        partition(name, torch.zeros(4, 2), 2, Engine("cpu", 0))


# ---------------------------------------------------------------- the informed start


STEP = ClassifierEStep(real_batch_size=64)


def informed(items: Tensor, start: InformationStart, restarts: int = 1, seed: int = 0, noise: float = 1.0):
    run = Engine("cpu", seed)
    views = Views(items, Neighbors(8, noise), run)

    def make(n: int, heads: int, rate: float) -> Classifier:
        choice, shape = {"kind": "mlp", "hidden": (16,), "norm": "running"}, tuple(items.shape[1:])
        stack = build_stack("classifier", choice, n, shape, (heads * 3,), run.cpu_generator)
        return Classifier(stack, 3, replace(STEP, rate=rate), run, restarts=n, n_heads=heads)

    return learn_information(start, make, views, 3, restarts, STEP.rate)


def test_information_start_finds_separated_groups_without_labels(groups) -> None:
    items, truth = groups
    start = InformationStart(steps=150, heads=3, networks=2, rate=1e-2)
    h_q = informed(items, start, restarts=2)
    posterior = h_q.log_posterior(items)
    assert posterior.shape == (2, 150, 3)
    torch.testing.assert_close(posterior.exp().sum(-1), torch.ones(2, 150))
    for labels in posterior.argmax(-1):
        assert adjusted_rand_score(truth, labels) > 0.95


def test_information_start_can_begin_with_a_classical_partition(groups) -> None:
    """Taught only, the classifier repeats its teacher, whose errors included."""
    items = groups[0]
    start = InformationStart(steps=0, heads=2, networks=0, partitions=("kmeans",), teach_steps=150, rate=1e-2)
    labels = informed(items, start).log_posterior(items).argmax(-1)[0]
    assert adjusted_rand_score(partition("kmeans", items, 3, Engine("cpu", 0)), labels) > 0.95


@pytest.mark.parametrize("pick", [0, 3, 5, 8, 10, 11])
def test_information_start_keeps_the_contender_that_the_views_prefer(
    monkeypatch: pytest.MonkeyPatch, groups, pick: int
) -> None:
    """Whichever contender is best: for each restart its own network and head go on, and answer as it did."""
    items = groups[0]
    seen: list[Tensor] = []

    def judge(assign: Callable[[Tensor], Tensor], *_: object) -> Tensor:
        seen.append(assign(items))
        quality = torch.zeros(seen[0].shape[:2])
        quality[0, pick] = quality[1, (pick + 1) % 12] = 1
        return quality

    monkeypatch.setattr(starts, "agreement", judge)
    start = InformationStart(steps=3, heads=2, networks=2, partitions=("random", "random"), teach_steps=3)
    h_q = informed(items, start, restarts=2)
    assert seen[0].shape == (2, 12, 150)  # (2 taught and trained on + 2 new + 2 taught) networks x 2 heads
    assert len({tuple(labels.tolist()) for labels in seen[0].flatten(0, 1)}) > 12
    found = h_q.log_posterior(items).argmax(-1)
    assert torch.equal(found[0], seen[0][0, pick])
    assert torch.equal(found[1], seen[0][1, (pick + 1) % 12])


@pytest.mark.parametrize("last", [0, 1, 2, 5])
def test_after_a_trial_classical_partitions_compete_as_they_were_taught(
    monkeypatch: pytest.MonkeyPatch, groups, last: int
) -> None:
    """First those that learn compete, then the heads of the best of them with what was only taught."""
    items = groups[0]
    seen: list[Tensor] = []

    def judge(assign: Callable[[Tensor], Tensor], *_: object) -> Tensor:
        seen.append(assign(items))
        quality = torch.zeros(seen[-1].shape[:2])
        quality[0, 5 if len(seen) == 1 else last] = 1
        quality[1, 0 if len(seen) == 1 else 5 - last] = 1
        return quality

    monkeypatch.setattr(starts, "agreement", judge)
    start = InformationStart(
        steps=6, heads=2, networks=1, partitions=("random", "random"), teach_steps=3, trial_steps=3
    )
    h_q = informed(items, start, restarts=2)
    # 2 heads of (2 taught and trained on + 1 new), then of (the best + 2 only taught)
    assert [found.shape for found in seen] == [(2, 6, 150), (2, 6, 150)]
    assert len({tuple(labels.tolist()) for labels in seen[1].flatten(0, 1)}) > 6
    found = h_q.log_posterior(items).argmax(-1)
    assert torch.equal(found[0], seen[1][0, last])
    assert torch.equal(found[1], seen[1][1, 5 - last])
    assert h_q.optimizer.optimizer.param_groups[0]["lr"] == STEP.rate


def test_information_start_follows_the_seed_and_touches_nothing_global(groups) -> None:
    items = groups[0]
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    start = InformationStart(steps=5, heads=2, networks=1, partitions=("random",), teach_steps=2)
    first, again, other = (informed(items, start, seed=seed).log_posterior(items) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(before, torch.get_rng_state())
    assert np.array_equal(numpy_before, np.random.get_state()[1])  # noqa: NPY002


def test_the_e_step_goes_on_at_its_own_rate(groups) -> None:
    """The start's learning rate ends near zero; the classifier that is handed on has a fresh optimiser."""
    h_q = informed(groups[0], InformationStart(steps=4, heads=1, networks=1, rate=0.5))
    assert h_q.optimizer.optimizer.param_groups[0]["lr"] == STEP.rate
    assert not h_q.optimizer.optimizer.state
    assert {id(p) for p in h_q.optimizer.parameters} == {id(p) for p in h_q.network.parameters()}


def test_the_learning_rate_falls_along_a_cosine(monkeypatch: pytest.MonkeyPatch, groups) -> None:
    rates: list[float] = []
    original = FlatOptimizer.set_rate

    def spy(self: FlatOptimizer, rate: float) -> None:
        rates.append(rate)
        original(self, rate)

    monkeypatch.setattr(FlatOptimizer, "set_rate", spy)
    informed(groups[0], InformationStart(steps=9, heads=1, networks=1, rate=0.1))
    expected = 0.1 * (0.51 + 0.49 * np.cos(np.pi * np.arange(9) / 9))
    np.testing.assert_allclose(rates, expected, rtol=1e-9)
    assert rates[0] == pytest.approx(0.1)
    assert rates[-1] < 0.01


@pytest.mark.parametrize("trial", [-1, 10, 11])
def test_a_trial_has_to_end_before_the_last_step(trial: int) -> None:
    with pytest.raises(ValueError, match=f"trial_steps={trial}: expected"):
        InformationStart(steps=10, trial_steps=trial)
