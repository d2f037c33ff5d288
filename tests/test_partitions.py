"""Classical partitions: Algorithm 1's random one, those of known methods, and what large data cost."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score
from torch import Tensor

from genmix.training import partitions
from genmix.training.augment import AugmentedData, NeighborSwap, nearest_neighbors
from genmix.training.engine import Engine
from genmix.training.partitions import (
    PARTITIONS,
    initial_components,
    merge_by_traffic,
    neighbor_stability,
    parted_neighbors,
    partition,
    vote_of_neighbors,
)
from genmix.training.supervision import Labels

CENTRES = [[0, 0], [1, 0], [0, 1]]
CLASSICAL = [name for name in PARTITIONS if name != "random"]


@pytest.fixture(scope="module")
def groups() -> tuple[Tensor, np.ndarray]:
    """Three well separated groups, centred and of unit size."""
    points, labels = make_blobs(150, centers=CENTRES, cluster_std=0.06, random_state=0)
    return torch.from_numpy((points - points.mean(0)) / points.std()).float(), labels


def as_data(items: Tensor, seed: int = 0) -> AugmentedData:
    return AugmentedData(items, NeighborSwap(0, 0.0), Engine("cpu", seed))


# ---------------------------------------------------------------- the random one


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
    engine = Engine("cpu", 0)
    first, second = (partition("random", torch.zeros(100, 1), 4, engine) for _ in range(2))
    assert not np.array_equal(first, second)


# ---------------------------------------------------------------- those of known methods


@pytest.mark.parametrize("name", CLASSICAL)
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


def test_spectral_of_many_rows_lets_the_others_follow_their_neighbours(groups) -> None:
    items, truth = groups
    found, _ = partitions._spectral(items.double().numpy(), 3, Engine("cpu", 0), limit=60)
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
    with pytest.raises(ValueError, match=f"init={name!r} is unknown; expected 'infomax'.*spectral"):
        partition(name, torch.zeros(4, 2), 2, Engine("cpu", 0))


# ---------------------------------------------------------------- many rows, many columns


class Sizes:
    """Notes the shapes of the arrays that the methods of scikit-learn learn from."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.learned: list[tuple[int, ...]] = []
        self.assigned: list[tuple[int, ...]] = []
        classical, spectral = partitions._classical, partitions._spectral

        def noted(*arguments: object) -> object:
            model = classical(*arguments)
            fit_predict, predict = model.fit_predict, model.predict
            model.fit_predict = lambda x: self.learned.append((*x.shape, x.dtype)) or fit_predict(x)
            model.predict = lambda x: self.assigned.append((*x.shape, x.dtype)) or predict(x)
            return model

        def noted_spectral(flat: np.ndarray, *arguments: object) -> object:
            self.learned.append((*flat.shape, flat.dtype))
            labels, model = spectral(flat, *arguments)
            predict = model.predict
            model.predict = lambda x: self.assigned.append((*x.shape, x.dtype)) or predict(x)
            return labels, model

        monkeypatch.setattr(partitions, "_classical", noted)
        monkeypatch.setattr(partitions, "_spectral", noted_spectral)


@pytest.mark.parametrize("name", CLASSICAL)
def test_beyond_the_limit_a_sample_of_rows_is_partitioned_and_every_row_gets_its_part(
    monkeypatch: pytest.MonkeyPatch, name: str, groups
) -> None:
    items, truth = groups
    sizes = Sizes(monkeypatch)
    monkeypatch.setattr(partitions, "ROW_LIMIT", 40)
    found = partition(name, items, 3, Engine("cpu", 0))
    assert sizes.learned == [(40, 2, np.float64)]
    # Nothing of the size of the data is made in float64: all rows are assigned, in parts below the limit.
    assert sum(rows for rows, *_ in sizes.assigned) == 150
    assert max(rows for rows, *_ in sizes.assigned) <= 40
    assert found.shape == (150,) and found.dtype == np.int64
    assert adjusted_rand_score(truth, found) == 1
    assert np.array_equal(found, partition(name, items, 3, Engine("cpu", 0)))


def test_the_sample_of_rows_is_random(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ordered rows: the first ones are of one group."""
    items = torch.arange(120.0)[:, None] // 40 * 10 + torch.rand(120, 1, generator=torch.Generator())
    monkeypatch.setattr(partitions, "ROW_LIMIT", 30)
    assert adjusted_rand_score(np.arange(120) // 40, partition("kmeans", items, 3, Engine("cpu", 0))) == 1


def test_at_the_limit_all_rows_are_partitioned(monkeypatch: pytest.MonkeyPatch, groups) -> None:
    expected = partition("kmeans", groups[0], 5, Engine("cpu", 0))
    monkeypatch.setattr(partitions, "ROW_LIMIT", 150)
    assert np.array_equal(partition("kmeans", groups[0], 5, Engine("cpu", 0)), expected)


@pytest.mark.parametrize("row_limit", [1000, 40])
@pytest.mark.parametrize("name", CLASSICAL)
def test_items_of_many_numbers_are_reduced_to_few(
    monkeypatch: pytest.MonkeyPatch, name: str, row_limit: int, groups
) -> None:
    """A full covariance of images has millions of numbers a component."""
    points, truth = groups
    noise = 0.01 * torch.randn(150, 30, generator=torch.Generator().manual_seed(0))
    items = torch.cat([points, noise], 1).view(150, 1, 8, 4)
    sizes = Sizes(monkeypatch)
    monkeypatch.setattr(partitions, "COLUMN_LIMIT", 31)
    monkeypatch.setattr(partitions, "N_PRINCIPAL", 3)
    monkeypatch.setattr(partitions, "ROW_LIMIT", row_limit)
    found = partition(name, items, 3, Engine("cpu", 0))
    assert sizes.learned == [(min(150, row_limit), 3, np.float64)]
    assert {columns for _, columns, _ in sizes.assigned} <= {3}
    assert adjusted_rand_score(truth, found) == 1


def test_at_the_limit_columns_stay_as_they_are(monkeypatch: pytest.MonkeyPatch, groups) -> None:
    sizes = Sizes(monkeypatch)
    monkeypatch.setattr(partitions, "COLUMN_LIMIT", 2)
    partition("gmm-full", groups[0], 3, Engine("cpu", 0))
    assert sizes.learned == [(150, 2, np.float64)]


def test_few_rows_of_many_numbers_have_no_more_principal_components() -> None:
    items = torch.randn(5, 300, generator=torch.Generator().manual_seed(0))
    assert set(partition("kmeans", items, 2, Engine("cpu", 0))) == {0, 1}


# ---------------------------------------------------------------- what EM begins with


def test_every_restart_has_a_partition_of_its_own(groups) -> None:
    found = initial_components("random", as_data(groups[0]), 3, 4)
    assert found.shape == (4, 150) and found.dtype == torch.int64
    assert len(found.unique(dim=0)) == 4


def test_components_given_are_those_of_every_restart(groups) -> None:
    items, truth = groups
    found = initial_components(truth, as_data(items), 3, 2)
    assert torch.equal(found, torch.from_numpy(np.stack([truth, truth])))


@pytest.mark.parametrize("name", PARTITIONS)
def test_labelled_items_have_their_own_component_and_others_agree_with_them(name: str, groups) -> None:
    items, truth = groups
    renumbered = (truth + 1) % 3
    known = np.where(np.arange(150) < 12, renumbered, -1)
    known[0] = (known[0] + 1) % 3  # against its group
    labels = Labels(torch.from_numpy(known), 3)
    found = initial_components(name, as_data(items), 3, 2, labels).numpy()
    for restart in found:
        np.testing.assert_array_equal(restart[:12], known[:12])
        if name != "random":
            np.testing.assert_array_equal(restart[12:], renumbered[12:])


@pytest.mark.parametrize("n_known", [6, 45])
def test_semi_supervised_k_means_beyond_the_limit(
    monkeypatch: pytest.MonkeyPatch, groups, n_known: int
) -> None:
    """All labelled rows and a sample of the others are clustered; the rest goes to the nearest centre."""
    items, truth = groups
    renumbered = (truth + 1) % 3
    known = np.full(150, -1)
    known[-n_known:] = renumbered[-n_known:]
    known[-1] = (known[-1] + 1) % 3  # against its group
    clustered: list[tuple[int, int]] = []
    original = partitions.seeded_kmeans

    def noted(points: np.ndarray, component: np.ndarray, *arguments: object) -> object:
        clustered.append((len(points), int((component >= 0).sum())))
        return original(points, component, *arguments)

    monkeypatch.setattr(partitions, "seeded_kmeans", noted)
    monkeypatch.setattr(partitions, "ROW_LIMIT", 40)
    found = initial_components("kmeans", as_data(items), 3, 1, Labels(torch.from_numpy(known), 3))[0].numpy()
    assert clustered == [(40 + n_known, n_known)]
    np.testing.assert_array_equal(found[:-1], renumbered[:-1])
    assert found[-1] == known[-1]


# ---------------------------------------------------------------- how stable a partition is


def unequal(seed: int = 0) -> tuple[Tensor, np.ndarray]:
    """Clear groups of 900, 80 and 20 rows."""
    rng = np.random.RandomState(seed)
    truth = rng.permutation(np.repeat([0, 1, 2], [900, 80, 20]))
    means = np.array([[0, 0], [20, 0], [0, 20]])
    return torch.from_numpy(means[truth] + rng.standard_normal((1000, 2))).float(), truth


def cut_of(items: Tensor, truth: np.ndarray) -> np.ndarray:
    """The large group in two, the small ones in one: what even shares ask for."""
    return np.where(truth > 0, 2, (items[:, 0] > 0).numpy())


def test_neighbor_stability_is_the_agreement_of_items_and_neighbours_beyond_chance() -> None:
    items, truth = unequal()
    neighbors = torch.from_numpy(nearest_neighbors(items.numpy(), 10, np.random.RandomState(0))[0])
    labels = torch.from_numpy(
        np.stack([truth, cut_of(items, truth), np.random.RandomState(1).permutation(truth)])
    )
    true, cut, chance = neighbor_stability(labels, neighbors, 3).tolist()
    assert true == pytest.approx(1, abs=1e-6) and 0.9 < cut < 0.98 and abs(chance) < 0.05


def test_neighbors_vote_on_items_that_lie_apart_from_their_group() -> None:
    items, truth = unequal()
    neighbors = torch.from_numpy(nearest_neighbors(items.numpy(), 10, np.random.RandomState(0))[0])
    astray = np.random.RandomState(1).rand(1000) < 0.1
    labels = torch.from_numpy(np.where(astray, (truth + 1) % 3, truth))
    np.testing.assert_array_equal(vote_of_neighbors(labels, neighbors, 3).numpy(), truth)
    tie = torch.tensor([[1, 2], [0, 2], [0, 1], [0, 1]])  # one neighbour of each component
    assert vote_of_neighbors(torch.tensor([1, 0, 1, 1]), tie, 2, rounds=1).tolist() == [1, 1, 1, 1]


def test_parted_neighbors_tell_a_cut_from_the_groups() -> None:
    items, truth = unequal()
    assert parted_neighbors(items, truth, 3) == pytest.approx((0, 0), abs=1e-6)
    cut, kmeans = parted_neighbors(items, cut_of(items, truth), 3)
    assert cut > 0.03 and kmeans == pytest.approx(0, abs=1e-6)


def test_parted_neighbors_look_at_a_sample_and_touch_nothing_global(monkeypatch: pytest.MonkeyPatch) -> None:
    items, truth = unequal()
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    monkeypatch.setattr(partitions, "STABILITY_LIMIT", 300)
    assert parted_neighbors(items, cut_of(items, truth), 3) == parted_neighbors(
        items, cut_of(items, truth), 3
    )
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002
    assert parted_neighbors(items[:20], truth[:20], 3) == (0, 0)  # too few to say
    assert parted_neighbors(items, truth, 1) == (0, 0)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_parts_of_one_group_are_merged_whatever_its_size(seed: int) -> None:
    items, truth = unequal(seed)
    neighbors = torch.from_numpy(nearest_neighbors(items.numpy(), 10, np.random.RandomState(0))[0])
    fine = np.where(truth == 0, KMeans(7, n_init=1, random_state=seed).fit_predict(items[:, :1]), truth + 6)
    groups = merge_by_traffic(torch.from_numpy(fine), neighbors, 3)
    assert groups.shape == (9,) and sorted(set(groups)) == [0, 1, 2]
    assert adjusted_rand_score(truth, groups[fine]) == 1
    assert list(merge_by_traffic(torch.from_numpy(truth), neighbors, 3)) == [0, 1, 2]  # nothing to merge
