"""Information maximisation under augmentation: its settings, its network, and which candidate is kept."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score
from torch import Tensor, nn

from genmix.nn.build import build_stack
from genmix.training import infomax
from genmix.training.augment import AugmentedData, NeighborSwap
from genmix.training.engine import Engine, FusedOptimizer
from genmix.training.infomax import (
    DISAGREEMENT_PENALTY,
    InfoMaxInit,
    MultiHeadNetwork,
    check_init,
    fit_partition,
    init_settings,
    pretrain_infomax,
    view_mutual_information,
    view_stability,
)
from genmix.training.information import information_loss
from genmix.training.partitions import PARTITIONS, partition
from genmix.training.supervision import Labels

CENTRES = [[0, 0], [1, 0], [0, 1]]
MLP = {"kind": "mlp", "hidden": (16,), "norm": "running"}


@pytest.fixture(scope="module")
def groups() -> tuple[Tensor, np.ndarray]:
    """Three well separated groups, centred and of unit size."""
    points, labels = make_blobs(150, centers=CENTRES, cluster_std=0.06, random_state=0)
    return torch.from_numpy((points - points.mean(0)) / points.std()).float(), labels


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few steps on partitions, and small batches."""
    monkeypatch.setattr(infomax, "PARTITION_STEPS", 3)
    monkeypatch.setattr(infomax, "BATCH_SIZE", 64)


def as_data(items: Tensor, seed: int = 0, noise: float = 1.0) -> AugmentedData:
    return AugmentedData(items, NeighborSwap(8, noise), Engine("cpu", seed))


def make_net(data: AugmentedData, n: int, heads: int, lr: float = 1e-2, width: int = 3) -> MultiHeadNetwork:
    shape = tuple(data.items.shape[1:])
    stack = build_stack("classifier", MLP, n, shape, (heads * width,), data.engine.cpu_generator)
    return MultiHeadNetwork(
        stack, width, lambda outputs: outputs[..., :3], data.engine, restarts=n, n_heads=heads, lr=lr
    )


def pretrain(
    items: Tensor, restarts: int = 1, seed: int = 0, labels: Labels | None = None, **settings: Any
) -> MultiHeadNetwork:
    data = as_data(items, seed)
    init = InfoMaxInit(**{"partitions": (), "screening_steps": 0, **settings}).resolve(tuple(items.shape[1:]))
    return pretrain_infomax(init, lambda n, heads: make_net(data, n, heads), data, 3, restarts, labels)


def lr_of(net: MultiHeadNetwork) -> float:
    return net.optimizer.optimizer.param_groups[0]["lr"]


def statistics(net: MultiHeadNetwork) -> Tensor:
    return torch.cat([b.flatten().double() for b in net.network.buffers() if b.dim()]).clone()


# ---------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("shape", "all_labelled", "expected"),
    [
        ((1, 8, 8), False, (1200, 3, 5, (), 400)),
        ((3, 32, 32), False, (1200, 3, 5, (), 400)),
        ((7,), False, (800, 8, 3, ("kmeans", "gmm-full", "spectral"), 400)),
        ((1, 7, 1), False, (800, 8, 3, ("kmeans", "gmm-full", "spectral"), 400)),  # rows in images' shape
        ((1, 8, 8), True, (300, 1, 1, (), 0)),
        ((7,), True, (300, 1, 1, ("kmeans", "gmm-full", "spectral"), 0)),
    ],
)
def test_what_is_not_given_suits_the_kind_of_data(
    shape: tuple[int, ...], all_labelled: bool, expected: tuple[Any, ...]
) -> None:
    found = InfoMaxInit().resolve(shape, all_labelled=all_labelled)
    assert found[:5] == expected
    assert found[5:] == (1e-3, 2.0)


@pytest.mark.parametrize("shape", [(7,), (1, 8, 8)])
@pytest.mark.parametrize("all_labelled", [False, True])
def test_what_is_given_stays(shape: tuple[int, ...], all_labelled: bool) -> None:
    given = (11, 2, 4, ("random",), 3, 0.5, 1.5)
    assert tuple(InfoMaxInit(*given).resolve(shape, all_labelled=all_labelled)) == given


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"steps": 801}, 400),
        ({"steps": 300}, 150),
        ({"steps": 1}, 0),
        ({"steps": 0}, 0),
        ({"n_candidates": 1, "partitions": ()}, 0),
        ({"n_candidates": 0, "partitions": ("kmeans",)}, 0),
        ({"n_candidates": 1, "partitions": ("kmeans",)}, 400),
    ],
)
def test_screening_takes_half_of_few_steps_and_none_of_one_candidate(
    settings: dict[str, Any], expected: int
) -> None:
    assert InfoMaxInit(**settings).resolve((7,)).screening_steps == expected


@pytest.mark.parametrize("screening_steps", [10, 11])
def test_a_screening_has_to_end_before_the_last_step(screening_steps: int) -> None:
    with pytest.raises(ValueError, match=f"screening_steps={screening_steps}: expected.*steps=10"):
        InfoMaxInit(steps=10, screening_steps=screening_steps).resolve((7,))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"n_candidates": 0, "partitions": ()}, "n_candidates=0: expected at least 1"),
        ({"partitions": ("kmeans", "magic")}, "'magic' is unknown; expected random, kmeans.*spectral"),
    ],
)
def test_nothing_that_could_learn_and_unknown_partitions_are_refused(
    settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        InfoMaxInit(**settings).resolve((7,))


def test_images_have_no_partitions_of_their_own_to_learn() -> None:
    with pytest.raises(ValueError, match="n_candidates=0"):
        InfoMaxInit(n_candidates=0).resolve((1, 8, 8))
    assert InfoMaxInit(n_candidates=0).resolve((7,)).n_candidates == 0


@pytest.mark.parametrize(
    "settings",
    [
        {"steps": -1}, {"n_candidates": -1}, {"n_heads": 0}, {"partitions": "kmeans"},
        {"screening_steps": -1}, {"lr": -1.0}, {"marginal_entropy_weight": -0.1}, {"steps": 2.5},
    ],
)  # fmt: skip
def test_settings_out_of_range_are_refused_by_name(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        InfoMaxInit(**settings)


def test_names_stand_for_settings() -> None:
    assert all(init_settings(name) == InfoMaxInit() for name in ("auto", "infomax", "fitted"))
    assert all(init_settings(name) is None for name in (*PARTITIONS, "magic"))


def test_init_is_settings_a_partition_or_components() -> None:
    own = InfoMaxInit(steps=3)
    assert check_init("infomax", 4, 2) == InfoMaxInit() and check_init(own, 4, 2) is own
    assert [check_init(name, 4, 2) for name in PARTITIONS] == list(PARTITIONS)
    assert check_init("fitted", 4, 2, ("fitted",)) == "fitted"
    found = check_init([0, 1, 1, 0], 4, 2)
    assert isinstance(found, np.ndarray) and found.dtype == np.int64 and found.tolist() == [0, 1, 1, 0]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("magic", "init='magic' is unknown; expected 'auto', 'infomax'.*'spectral'"),
        ("fitted", "init='fitted' is unknown"),
        ([0, 1], "expected 4 whole numbers from 0 to 1"),
        ([0, 1, 2, 0], "from 0 to 1"),
        ([0, 1, -1, 0], "from 0 to 1"),
        ([0.0, 1.0, 1.0, 0.0], "whole numbers"),
        (None, "whole numbers"),
    ],
)
def test_no_init_is_refused(value: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        check_init(value, 4, 2)


# ---------------------------------------------------------------- a network with several heads


def test_outputs_are_those_of_all_heads_or_of_the_head_in_use(groups) -> None:
    data = as_data(groups[0])
    net = make_net(data, 2, 4, width=5)
    x = data.items[:10].expand(2, 10, 2)
    net.network.eval()
    plain = net.network(x).detach().view(2, 10, 4, 5)
    torch.testing.assert_close(net.outputs(x), plain)
    torch.testing.assert_close(net.scores(x), plain[..., :3])
    assert net.head_in_use(1) == 0  # none is in use yet
    net.use_head(torch.tensor([3, 1]))
    torch.testing.assert_close(net.outputs(x), torch.stack([plain[0, :, 3:4], plain[1, :, 1:2]]))
    assert [net.head_in_use(r) for r in range(2)] == [3, 1]
    net.use_head(2)
    torch.testing.assert_close(net.scores(x), plain[:, :, 2:3, :3])


def test_labels_of_every_head_are_clean_and_leave_the_running_statistics_alone(groups) -> None:
    data = as_data(groups[0])
    net = make_net(data, 2, 4)
    before = statistics(net)
    found = net.head_labels(data.items)
    assert found.shape == (2, 4, 150)
    assert torch.equal(found[:, :, :7], net.head_labels(data.items[:7]))  # no statistics of the batch
    assert torch.equal(statistics(net), before) and net.network.training
    assert not torch.equal(found[0], found[1])


def test_frozen_parameters_stay_and_the_others_learn(groups) -> None:
    data = as_data(groups[0])
    stack = build_stack("classifier", MLP, 1, (2,), (3,), data.engine.cpu_generator)
    frozen = list(stack.layers[-1].parameters())
    net = MultiHeadNetwork(
        stack, 3, lambda outputs: outputs, data.engine, restarts=1, n_heads=1, lr=0.1, frozen=frozen
    )
    before = [p.detach().clone() for p in stack.parameters()]
    net.reset_optimizer(0.1)  # as often as one likes
    net.step(net.scores(data.items[None]).square().sum())
    held = {id(p) for p in frozen}
    for parameter, was in zip(stack.parameters(), before, strict=True):
        assert torch.equal(parameter, was) == (id(parameter) in held)


def test_a_new_optimiser_has_no_memory_and_its_own_rate(groups) -> None:
    data = as_data(groups[0])
    net = make_net(data, 1, 2, lr=0.3)
    net.step(net.scores(data.items[None]).square().sum())
    assert net.optimizer.optimizer.state and lr_of(net) == 0.3
    net.reset_optimizer(0.1)
    assert not net.optimizer.optimizer.state and lr_of(net) == 0.1
    assert {id(p) for p in net.optimizer.parameters} == {id(p) for p in net.network.parameters()}


def test_the_averaged_network_answers_once_there_is_one(groups) -> None:
    data = as_data(groups[0])
    net = make_net(data, 1, 1, lr=0.1)
    assert net.network_in_use is net.network
    net.start_averaging(0.5)
    for _ in range(3):
        net.step(net.scores(data.items[None]).square().sum())
    learning = net.network
    with net.evaluating(averaged=False):
        assert net.network is learning and not learning.training
        plain = net.scores(data.items[None])
    with net.evaluating():
        assert net.network is net.network_in_use is net.averaged.network
        averaged = net.scores(data.items[None])
    assert net.network is learning and learning.training
    assert not torch.allclose(plain, averaged)
    assert torch.equal(net.head_labels(data.items)[0, 0], averaged[0, :, 0].argmax(-1))


@pytest.mark.parametrize("averaged", [False, True])
def test_its_state_is_all_it_goes_on_from(groups, averaged: bool) -> None:
    items, nets = groups[0], []
    for seed in (0, 1):
        data = as_data(items, seed)
        net = make_net(data, 2, 3)
        if averaged:
            net.start_averaging(0.9)
        nets.append(net)
    first, second = nets

    def step(net: MultiHeadNetwork) -> None:
        net.step(net.scores(items.expand(2, 150, 2)).square().mean())

    step(first)
    first.use_head(torch.tensor([2, 1]))
    second.use_head(0)  # as a fit that goes on does: what it has decides what a file may hold
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for net in nets:
        step(net)
    assert second.head.tolist() == [2, 1]
    for name, value in first.network_in_use.state_dict().items():
        assert torch.equal(second.network_in_use.state_dict()[name], value)


def test_its_information_loss_is_that_of_two_views_of_a_batch(groups) -> None:
    items, prior = groups[0], torch.tensor([0.5, 0.3, 0.2])
    data = as_data(items)
    net = make_net(data, 2, 4)
    net.network.eval()
    state = data.engine.generator.get_state()
    found = net.information_loss(data, 20, 1.5, prior)
    data.engine.generator.set_state(state)
    views = data.draw(2, 20)[1]
    logits = torch.stack([net.scores(view).transpose(1, 2) for view in views])
    assert found.shape == (2, 4)
    torch.testing.assert_close(found, information_loss(logits, 1.5, prior))
    assert not torch.allclose(found, information_loss(logits, 1.5))


def test_every_network_learns_its_own_partition_with_all_its_heads(groups) -> None:
    items, truth = groups
    data = as_data(items)
    net = make_net(data, 2, 3)
    wanted = torch.from_numpy(np.stack([truth, (truth + 1) % 3]))
    fit_partition(net, wanted, data)
    found = net.head_labels(items)
    assert found.shape == (2, 3, 150)
    assert (found == wanted[:, None]).float().mean((1, 2)).min() > 0.98


# ---------------------------------------------------------------- which partition two views tell most about


def test_view_mutual_information_prefers_the_true_groups_to_a_cut_and_to_chance() -> None:
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(0, 1, (1000, 2)), rng.normal(12, 1, (100, 2))])
    data = AugmentedData(
        torch.from_numpy((X - X.mean(0)) / X.std(0)).float(), NeighborSwap(), Engine("cpu", 0)
    )
    middle = float(data.items[:1000, 0].median())
    coin = torch.Generator().manual_seed(0)

    def contenders(items: Tensor) -> Tensor:
        groups = (items[:, 0] > 1).long()
        cut = (items[:, 0] > middle).long()
        chance = torch.randint(2, cut.shape, generator=coin)
        return torch.stack([groups, cut, chance, torch.zeros_like(cut)])

    true, cut, chance, single = view_mutual_information(contenders, data, 2).tolist()
    assert true > cut > chance and true > single
    shares = np.array([1000, 100]) / 1100
    np.testing.assert_allclose(true, -(shares * np.log(shares)).sum(), atol=0.03)
    assert chance == pytest.approx(-DISAGREEMENT_PENALTY * np.log(2), abs=0.05) and single == 0


def test_view_stability_prefers_small_groups_that_are_clear_to_a_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `view_mutual_information` does not: 900 rows cut in two have more information than 100 apart."""
    rng = np.random.default_rng(0)
    X = np.concatenate(
        [rng.normal(0, 1, (900, 2)), rng.normal((20, 0), 1, (80, 2)), rng.normal((0, 20), 1, (20, 2))]
    )
    data = AugmentedData(torch.from_numpy(X / 20).float(), NeighborSwap(), Engine("cpu", 0))

    def contenders(items: Tensor) -> Tensor:
        right, up = items[:, 0] > 0.5, items[:, 1] > 0.5
        groups = right + 2 * up.long()
        cut = torch.where(right | up, 2, (items[:, 0] > 0).long())
        dead = right.long()
        return torch.stack([groups, cut, dead])

    stable, informed = (score(contenders, data, 3) for score in (view_stability, view_mutual_information))
    assert stable.argmax() == 0 and stable[0] == pytest.approx(1)
    assert informed.argmax() == 1  # so it is no use here
    assert stable[2] <= 2 / 3 + 1e-6  # a dead component


@pytest.mark.parametrize(
    ("n", "batches", "batch_size", "expected"),
    [(100, 16, 1024, [800]), (100, 3, 64, [64] * 3), (5, 16, 16, [16] * 2), (1000, 2, 1024, [1024] * 2)],
)
def test_few_pairs_are_drawn_of_few_items(n: int, batches: int, batch_size: int, expected: list[int]) -> None:
    data, shown = as_data(torch.randn(n, 2, generator=torch.Generator().manual_seed(0))), list[int]()

    def assign(items: Tensor) -> Tensor:
        shown.append(len(items))
        return torch.zeros(len(items), dtype=torch.long)

    view_mutual_information(assign, data, 2, batches, batch_size)
    assert shown[::2] == shown[1::2] == expected


# ---------------------------------------------------------------- the initialisation


def test_separated_groups_are_found_without_labels(groups) -> None:
    items, truth = groups
    net = pretrain(items, 2, steps=150, n_heads=3, n_candidates=2, lr=1e-2)
    assert net.restarts == 2 and net.n_heads == 3 and net.head.shape == (2,)
    for labels in net.head_labels(items)[:, 0]:
        assert adjusted_rand_score(truth, labels) > 0.95


@pytest.mark.parametrize("screening_steps", [0, 30])
def test_groups_are_found_with_and_without_a_screening(groups, screening_steps: int) -> None:
    items, truth = groups
    net = pretrain(
        items, 2, steps=90, n_heads=2, n_candidates=3, screening_steps=screening_steps,
        partitions=("kmeans",), lr=3e-3,
    )  # fmt: skip
    for labels in net.head_labels(items)[:, 0]:
        assert adjusted_rand_score(truth, labels) > 0.95


def test_a_classical_partition_alone_is_what_is_learned(groups) -> None:
    """Without steps of its own the network repeats the partition, whose errors included."""
    items = groups[0]
    net = pretrain(items, steps=0, n_heads=2, n_candidates=0, partitions=("kmeans",), lr=1e-2)
    labels = net.head_labels(items)[0, 0]
    assert adjusted_rand_score(partition("kmeans", items, 3, Engine("cpu", 0)), labels) > 0.95


@pytest.mark.parametrize("complete", [True, False])
def test_labels_are_learned_beside_and_number_the_components(groups, complete: bool) -> None:
    items, truth = groups
    renumbered = (truth + 1) % 3
    known = np.where((np.arange(150) < 20) & (complete | (renumbered > 0)), renumbered, -1)
    labels = Labels(torch.from_numpy(known), 3)
    net = pretrain(items, 2, labels=labels, steps=150, n_heads=2, n_candidates=2, partitions=("kmeans",))
    for found in net.head_labels(items)[:, 0].numpy():
        assert (found == renumbered).mean() > 0.95


def test_batches_are_smaller_where_all_components_have_labels(
    monkeypatch: pytest.MonkeyPatch, groups
) -> None:
    items, truth = groups
    sizes: list[tuple[int, Tensor | None]] = []
    original = MultiHeadNetwork.information_loss

    def noted(self: MultiHeadNetwork, data: AugmentedData, size: int, weight: float, prior: Tensor | None):
        sizes.append((size, prior))
        return original(self, data, size, weight, prior)

    monkeypatch.setattr(MultiHeadNetwork, "information_loss", noted)
    for n_known in (0, 2, 3):
        known = np.where((np.arange(150) < 30) & (truth < n_known), truth, -1)
        labels = Labels(torch.from_numpy(known), 3) if n_known else None
        pretrain(items, labels=labels, steps=1, n_heads=1, n_candidates=1)
        size, prior = sizes.pop()
        assert size == (infomax.LABELLED_BATCH_SIZE if n_known == 3 else infomax.BATCH_SIZE)
        assert prior is None if labels is None else torch.equal(prior, labels.shares())


class Ranking:
    """Prefers the heads it is told to, and notes what it was shown: of each call the labels and the noise."""

    def __init__(self, items: Tensor, *preferred: tuple[int, int]) -> None:
        self.items, self.preferred = items, preferred
        self.seen: list[Tensor] = []
        self.noise: list[float] = []

    def __call__(self, assign: Callable[[Tensor], Tensor], data: AugmentedData, *_: object) -> Tensor:
        quality = torch.zeros((labels := assign(self.items)).shape[:2])
        quality[torch.arange(2), torch.tensor(self.preferred[len(self.seen)])] = 1
        self.seen.append(labels)
        self.noise.append(data.noise)
        return quality


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("screening_steps", [0, 3])
@pytest.mark.parametrize("last", [(0, 0), (0, 4), (2, 0), (3, 1)])
def test_the_candidate_that_the_views_prefer_is_kept(
    monkeypatch: pytest.MonkeyPatch, groups, last: tuple[int, int], screening_steps: int
) -> None:
    """Those that learn compete first, then the best one with the partitions as they were learned."""
    items = groups[0]
    learned, heads = (3, 6), [(1, 0)] if screening_steps else []
    ranking = Ranking(items, learned, *heads, last)
    monkeypatch.setattr(infomax, "view_mutual_information", ranking)
    monkeypatch.setattr(infomax, "view_stability", ranking)
    net = pretrain(
        items, 2, steps=6, n_heads=2, n_candidates=2, partitions=("random", "random"),
        screening_steps=screening_steps,
    )  # fmt: skip
    # 2 heads of 2 partitions + 2 new networks; both of the best one; its own + 2 x 2 of the partitions
    assert [found.shape[1] for found in ranking.seen] == [8, 2, 5] if screening_steps else [8, 5]
    assert {noise * 2 for noise in ranking.noise[:-1]} == {ranking.noise[-1]}
    assert len({tuple(labels.tolist()) for found in ranking.seen for labels in found.flatten(0, 1)}) > 12
    before, chosen = (ranking.seen[-2], heads[0] if screening_steps else learned)
    found = net.head_labels(items)[:, 0]
    for restart in range(2):
        assert torch.equal(ranking.seen[-1][restart, 0], before[restart, chosen[restart]])
        assert torch.equal(found[restart], ranking.seen[-1][restart, last[restart]])


def test_without_partitions_the_best_network_has_no_other_to_meet(
    monkeypatch: pytest.MonkeyPatch, groups
) -> None:
    items = groups[0]
    ranking = Ranking(items, (3, 1))
    monkeypatch.setattr(infomax, "view_mutual_information", ranking)
    found = pretrain(items, 2, steps=3, n_heads=2, n_candidates=2).head_labels(items)[:, 0]
    assert torch.equal(found, ranking.seen[0][[0, 1], [3, 1]])


@pytest.mark.usefixtures("short")
def test_it_follows_the_seed_and_touches_nothing_global(groups) -> None:
    items = groups[0]
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    settings = {"steps": 5, "n_heads": 2, "n_candidates": 1, "partitions": ("random",)}
    first, again, other = (pretrain(items, seed=seed, **settings) for seed in (0, 0, 1))
    x = items[None]
    assert torch.equal(first.scores(x), again.scores(x))
    assert not torch.equal(first.scores(x), other.scores(x))
    assert torch.equal(before, torch.get_rng_state())
    assert np.array_equal(numpy_before, np.random.get_state()[1])  # noqa: NPY002


@pytest.fixture
def rates(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Learning rate of every optimiser step."""
    noted: list[float] = []
    original = FusedOptimizer.step

    def spy(self: FusedOptimizer, loss: Tensor) -> None:
        noted.append(self.optimizer.param_groups[0]["lr"])
        original(self, loss)

    monkeypatch.setattr(FusedOptimizer, "step", spy)
    return noted


def test_the_learning_rate_falls_along_a_cosine(rates: list[float], groups) -> None:
    net = pretrain(groups[0], steps=9, n_heads=1, n_candidates=1, lr=0.1)
    np.testing.assert_allclose(rates, 0.1 * (0.51 + 0.49 * np.cos(np.pi * np.arange(9) / 9)), rtol=1e-9)
    assert rates[0] == pytest.approx(0.1)
    assert rates[-1] < 0.01
    assert 0 < lr_of(net) <= 0.1


@pytest.mark.usefixtures("short")
def test_partitions_and_the_screening_have_a_constant_rate_and_the_rest_a_falling_one(
    rates: list[float], groups
) -> None:
    pretrain(groups[0], steps=9, n_heads=1, n_candidates=1, partitions=("random",), screening_steps=4, lr=0.1)
    np.testing.assert_allclose(rates[: 3 + 4], 0.1)
    np.testing.assert_allclose(rates[7:], 0.1 * (0.51 + 0.49 * np.cos(np.pi * np.arange(5) / 5)), rtol=1e-9)


def test_networks_of_the_user_compete_too(groups) -> None:
    """Of another kind than ours: all that is asked of them is to be a stack."""
    items = groups[0]
    data = as_data(items)
    init = InfoMaxInit(steps=4, n_heads=2, n_candidates=2, partitions=()).resolve((2,))

    def make(n: int, heads: int) -> MultiHeadNetwork:
        def factory(in_shape: tuple[int, ...], out_dim: int) -> nn.Module:
            return nn.Sequential(nn.Linear(in_shape[0], 4), nn.Tanh(), nn.Linear(4, out_dim))

        stack = build_stack("classifier", factory, n, (2,), (heads * 3,), data.engine.cpu_generator)
        return MultiHeadNetwork(
            stack, 3, lambda outputs: outputs, data.engine, restarts=n, n_heads=heads, lr=0.1
        )

    assert pretrain_infomax(init, make, data, 3, 2).head_labels(items).shape == (2, 1, 150)
