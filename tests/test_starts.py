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

from genmix.ganmm.e_step import Classifier, ClassifierEStep
from genmix.nn.build import build_stack
from genmix.training import infomax as starts
from genmix.training.augment import AugmentedData, NeighborSwap
from genmix.training.engine import Engine, FusedOptimizer
from genmix.training.infomax import PARTITIONS, InfoMaxInit, partition, pretrain_infomax

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


def informed(items: Tensor, start: InfoMaxInit, restarts: int = 1, seed: int = 0, noise: float = 1.0):
    run = Engine("cpu", seed)
    views = AugmentedData(items, NeighborSwap(8, noise), run)

    def make(n: int, heads: int, rate: float) -> Classifier:
        choice, shape = {"kind": "mlp", "hidden": (16,), "norm": "running"}, tuple(items.shape[1:])
        stack = build_stack("classifier", choice, n, shape, (heads * 3,), run.cpu_generator)
        return Classifier(stack, 3, replace(STEP, rate=rate), run, restarts=n, n_heads=heads)

    return pretrain_infomax(start, make, views, 3, restarts, STEP.rate)


def test_information_start_finds_separated_groups_without_labels(groups) -> None:
    items, truth = groups
    start = InfoMaxInit(steps=150, heads=3, networks=2, rate=1e-2)
    h_q = informed(items, start, restarts=2)
    posterior = h_q.log_posterior(items)
    assert posterior.shape == (2, 150, 3)
    torch.testing.assert_close(posterior.exp().sum(-1), torch.ones(2, 150))
    for labels in posterior.argmax(-1):
        assert adjusted_rand_score(truth, labels) > 0.95


def test_information_start_can_begin_with_a_classical_partition(groups) -> None:
    """Taught only, the classifier repeats its teacher, whose errors included."""
    items = groups[0]
    start = InfoMaxInit(steps=0, heads=2, networks=0, partitions=("kmeans",), partition_steps=150, rate=1e-2)
    labels = informed(items, start).log_posterior(items).argmax(-1)[0]
    assert adjusted_rand_score(partition("kmeans", items, 3, Engine("cpu", 0)), labels) > 0.95


class Judge:
    """Prefers what it is told to, and notes what it was shown: of each call the labels and the noise."""

    def __init__(self, items: Tensor, *preferred: tuple[int, int]) -> None:
        self.items, self.preferred = items, preferred
        self.seen: list[Tensor] = []
        self.noise: list[float] = []

    def __call__(self, assign: Callable[[Tensor], Tensor], views: AugmentedData, *_: object) -> Tensor:
        quality = torch.zeros((labels := assign(self.items)).shape[:2])
        quality[torch.arange(2), torch.tensor(self.preferred[len(self.seen)])] = 1
        self.seen.append(labels)
        self.noise.append(views.noise)
        return quality


@pytest.mark.parametrize("trial", [0, 3])
@pytest.mark.parametrize("last", [(0, 0), (0, 4), (2, 0), (3, 1)])
def test_information_start_keeps_the_contender_that_the_views_prefer(
    monkeypatch: pytest.MonkeyPatch, groups, last: tuple[int, int], trial: int
) -> None:
    """Those that learn compete first, then the best one with those only taught: it goes on as it answered."""
    items = groups[0]
    learned, heads = (3, 6), [(1, 0)] if trial else []
    judge = Judge(items, learned, *heads, last)
    monkeypatch.setattr(starts, "agreement", judge)
    start = InfoMaxInit(
        steps=6,
        heads=2,
        networks=2,
        partitions=("random", "random"),
        partition_steps=3,
        screening_steps=trial,
    )
    h_q = informed(items, start, restarts=2)
    # 2 heads of 2 taught + 2 new networks; both of the best one; its own + 2 x 2 of those only taught
    assert [found.shape[1] for found in judge.seen] == [8, 2, 5] if trial else [8, 5]
    assert {noise * 2 for noise in judge.noise[:-1]} == {judge.noise[-1]}
    assert len({tuple(labels.tolist()) for found in judge.seen for labels in found.flatten(0, 1)}) > 12
    before, chosen = (judge.seen[-2], heads[0] if trial else learned)
    found = h_q.log_posterior(items).argmax(-1)
    for restart in range(2):
        assert torch.equal(judge.seen[-1][restart, 0], before[restart, chosen[restart]])
        assert torch.equal(found[restart], judge.seen[-1][restart, last[restart]])
    assert h_q.optimizer.optimizer.param_groups[0]["lr"] == STEP.rate


def test_without_partitions_the_best_network_has_no_other_to_meet(
    monkeypatch: pytest.MonkeyPatch, groups
) -> None:
    items = groups[0]
    judge = Judge(items, (3, 1))
    monkeypatch.setattr(starts, "agreement", judge)
    found = informed(items, InfoMaxInit(steps=3, heads=2, networks=2), restarts=2).log_posterior(items)
    assert torch.equal(found.argmax(-1), judge.seen[0][[0, 1], [3, 1]])


def test_information_start_follows_the_seed_and_touches_nothing_global(groups) -> None:
    items = groups[0]
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    start = InfoMaxInit(steps=5, heads=2, networks=1, partitions=("random",), partition_steps=2)
    first, again, other = (informed(items, start, seed=seed).log_posterior(items) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(before, torch.get_rng_state())
    assert np.array_equal(numpy_before, np.random.get_state()[1])  # noqa: NPY002


def test_the_e_step_goes_on_at_its_own_rate(groups) -> None:
    """The start's learning rate ends near zero; the classifier that is handed on has a fresh optimiser."""
    h_q = informed(groups[0], InfoMaxInit(steps=4, heads=1, networks=1, rate=0.5))
    assert h_q.optimizer.optimizer.param_groups[0]["lr"] == STEP.rate
    assert not h_q.optimizer.optimizer.state
    assert {id(p) for p in h_q.optimizer.parameters} == {id(p) for p in h_q.network.parameters()}


def test_the_learning_rate_falls_along_a_cosine(monkeypatch: pytest.MonkeyPatch, groups) -> None:
    rates: list[float] = []
    original = FusedOptimizer.set_lr

    def spy(self: FusedOptimizer, rate: float) -> None:
        rates.append(rate)
        original(self, rate)

    monkeypatch.setattr(FusedOptimizer, "set_lr", spy)
    informed(groups[0], InfoMaxInit(steps=9, heads=1, networks=1, rate=0.1))
    expected = 0.1 * (0.51 + 0.49 * np.cos(np.pi * np.arange(9) / 9))
    np.testing.assert_allclose(rates, expected, rtol=1e-9)
    assert rates[0] == pytest.approx(0.1)
    assert rates[-1] < 0.01


@pytest.mark.parametrize("trial", [-1, 10, 11])
def test_a_trial_has_to_end_before_the_last_step(trial: int) -> None:
    with pytest.raises(ValueError, match=f"screening_steps={trial}: expected"):
        InfoMaxInit(steps=10, screening_steps=trial)
