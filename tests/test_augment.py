"""Views of images and of table rows: shapes, ranges, known transformations, neighbours by brute force."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

import genmix.training.augment
from genmix.training.augment import Affine, AugmentedData, ColorJitter, NeighborSwap, nearest_neighbors
from genmix.training.engine import Engine

STILL = {"shift": 0.0, "rotate": 0.0, "scale": 0.0, "shear": 0.0}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=generator(seed))


def draws(monkeypatch: pytest.MonkeyPatch, values: list[float]) -> None:
    """Let `torch.rand` in `genmix.training.augment` return these constants, one after the other."""
    queue = iter(values)
    monkeypatch.setattr(torch, "rand", lambda n, **_: torch.full((n,), next(queue)))


# ---------------------------------------------------------------- affine views


@pytest.mark.parametrize("shape", [(5, 1, 28, 28), (2, 3, 4, 3, 30, 20), (4, 1, 5, 5), (3, 3, 64, 64)])
def test_affine_keeps_shape_and_range(shape: tuple[int, ...]) -> None:
    x = images(*shape) * 0.6 + 0.2
    before = x.clone()
    view = Affine(0.2, 1.0, 0.4, 0.4, flip=True)(x, generator())
    assert view.shape == x.shape
    assert view.min() >= x.min() - 1e-6
    assert view.max() <= x.max() + 1e-6
    assert torch.equal(x, before)


def test_affine_of_nothing_is_the_identity() -> None:
    x = images(6, 3, 13, 9)
    torch.testing.assert_close(Affine(**STILL)(x, generator()), x, atol=1e-5, rtol=0)


@pytest.mark.parametrize("pixels", [(2, 0), (0, 3), (-1, 2)])
def test_affine_shift_moves_by_whole_pixels(monkeypatch: pytest.MonkeyPatch, pixels: tuple[int, int]) -> None:
    """The largest shift is a share of the side: 4 of 16 pixels for 0.25."""
    across, down = pixels
    x = images(3, 2, 16, 16)
    draws(monkeypatch, [0.5, 0.5, 0.5, (across / 4 + 1) / 2, 0.5, (down / 4 + 1) / 2])
    view = Affine(**{**STILL, "shift": 0.25})(x, generator())
    rows, columns = np.clip(np.arange(16) + down, 0, 15), np.clip(np.arange(16) + across, 0, 15)
    torch.testing.assert_close(
        view, x[:, :, rows][:, :, :, columns], atol=1e-4, rtol=0
    )  # border: nearest pixel


def test_affine_rotation_by_a_quarter_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    x = images(2, 1, 11, 11)
    draws(monkeypatch, [1.0, 0.5, 0.5, 0.5, 0.5, 0.5])
    view = Affine(**{**STILL, "rotate": np.pi / 2})(x, generator())
    turned = [torch.rot90(x, quarter, (2, 3)) for quarter in (1, 3)]
    assert min(float((view - other).abs().max()) for other in turned) < 1e-4


def test_affine_flip_mirrors_half_of_the_images() -> None:
    x = images(400, 1, 6, 6)
    view = Affine(**STILL, flip=True)(x, generator())
    mirrored = torch.isclose(view, x.flip(-1), atol=1e-4).flatten(1).all(1)
    same = torch.isclose(view, x, atol=1e-4).flatten(1).all(1)
    assert (mirrored ^ same).all()
    assert 160 < int(mirrored.sum()) < 240


def test_affine_views_differ_and_follow_the_generator() -> None:
    x = images(1, 1, 12, 12).expand(8, 1, 12, 12)
    first, again = Affine()(x, generator(1)), Affine()(x, generator(1))
    assert torch.equal(first, again)
    assert not torch.equal(first, Affine()(x, generator(2)))
    assert len(torch.unique(first.flatten(1), dim=0)) == 8


def test_color_jitter_of_nothing_is_the_identity() -> None:
    x = images(2, 4, 3, 6, 5)
    torch.testing.assert_close(ColorJitter(Affine(**STILL), 0.0)(x, generator()), x, atol=1e-5, rtol=1e-5)


def test_color_jitter_changes_light_as_far_as_it_says_and_no_further() -> None:
    """Solved for its four terms: contrast, saturation, a factor of each channel and a shift of all."""
    x = images(300, 3, 6, 5)
    found = ColorJitter(Affine(**STILL), strength=1.0)(x, generator())
    mean, grey = x.mean((1, 2, 3), keepdim=True), x.mean(1, keepdim=True)
    # a pixel's channel becomes f_c (m + c (g - m) + c s (x - g)) + b: linear in 1, g - m and x - g
    parts = torch.stack([mean.expand_as(x), (grey - mean).expand_as(x), x - grey], -1).flatten(2, 3)
    factors = torch.linalg.lstsq(parts.double(), found.flatten(2).double().unsqueeze(-1)).solution[..., 0]
    contrast = factors[..., 1].mean(1) / factors[..., 0].mean(1)
    saturation = factors[..., 2].mean(1) / factors[..., 1].mean(1)
    assert 1.2 < saturation.max() <= 1.3 + 1e-3 and 0.7 - 1e-3 <= saturation.min() < 0.8
    between_channels = factors[..., 1] / factors[..., 1].mean(1, keepdim=True)
    assert 0.1 < (between_channels - 1).abs().max() <= 0.35
    assert contrast.std() > 0.05
    rebuilt = (parts.double() @ factors.unsqueeze(-1))[..., 0]
    torch.testing.assert_close(rebuilt, found.flatten(2).double(), atol=1e-4, rtol=1e-4)


def test_color_jitter_grows_with_its_strength() -> None:
    x = images(50, 3, 6, 5)
    weak, strong = (ColorJitter(Affine(**STILL), s)(x, generator()) for s in (0.5, 1.0))
    assert 0 < (weak - x).abs().mean() < (strong - x).abs().mean()


def test_affine_mirrors_only_when_asked() -> None:
    """A mirrored b is a d."""
    x = torch.zeros(100, 1, 28, 28)
    x[:, :, 4:24, 6:9] = x[:, :, 14:24, 6:18] = 1
    for flip, expected in ((None, 0), (True, 50)):
        small = Affine(0.02, 0.05, 0.05, 0.05, **({"flip": flip} if flip else {}))
        view = small(x, generator())
        mirrored = (view - x.flip(-1)).square().sum((1, 2, 3)) < (view - x).square().sum((1, 2, 3))
        assert abs(int(mirrored.sum()) - expected) <= (20 if flip else 0)


# ---------------------------------------------------------------- neighbours


def brute_force(x: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    distances = np.sqrt(((x[:, None].astype(float) - x[None]) ** 2).sum(-1))
    np.fill_diagonal(distances, np.inf)
    return np.sort(distances, 1)[:, :count], distances


@pytest.mark.parametrize(("n", "d", "count"), [(40, 3, 5), (200, 8, 10), (12, 1, 3)])
def test_nearest_neighbors_equal_brute_force(n: int, d: int, count: int) -> None:
    x = np.random.default_rng(0).normal(size=(n, d))
    index, distance = nearest_neighbors(x, count, np.random.RandomState(0))
    nearest, every = brute_force(x, count)
    np.testing.assert_allclose(np.sort(np.take_along_axis(every, index, 1), 1), nearest, rtol=1e-9)
    assert distance == pytest.approx(np.median(nearest))
    assert index.dtype == np.int64


@pytest.mark.parametrize("copies", [2, 5, 12])
def test_duplicates_are_neighbours_and_no_row_is_its_own(copies: int) -> None:
    x = np.repeat(np.random.default_rng(1).normal(size=(6, 4)), copies, axis=0)
    index, _ = nearest_neighbors(x, 5, np.random.RandomState(0))
    assert index.shape == (6 * copies, 5)
    nearest, every = brute_force(x, 5)
    found = np.take_along_axis(every, index, 1)
    assert np.isfinite(found).all()  # the diagonal is infinite
    np.testing.assert_allclose(np.sort(found, 1), nearest, atol=1e-6)
    assert all(len(set(row)) == 5 for row in index.tolist())


@pytest.mark.parametrize(("n", "expected"), [(1, [[0]]), (2, [[1], [0]])])
def test_neighbours_of_one_and_of_two_rows(n: int, expected: list[list[int]]) -> None:
    index, distance = nearest_neighbors(np.arange(n, dtype=float)[:, None], 10, np.random.RandomState(0))
    assert index.tolist() == expected
    assert distance == n - 1


def test_few_rows_have_few_neighbours() -> None:
    index, _ = nearest_neighbors(np.random.default_rng(0).normal(size=(4, 2)), 10, np.random.RandomState(0))
    assert [sorted(row) for row in index.tolist()] == [[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]]


def test_large_data_have_neighbours_among_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(genmix.training.augment, "REFERENCE_LIMIT", 30)
    x = np.random.default_rng(2).normal(size=(100, 3))
    index, _ = nearest_neighbors(x, 4, np.random.RandomState(5))
    reference = np.random.RandomState(5).permutation(100)[:30]
    assert set(index.ravel()) <= set(reference)
    assert (index != np.arange(100)[:, None]).all()
    for i in range(100):
        others = reference[reference != i]
        nearest = others[np.argsort(((x[others] - x[i]) ** 2).sum(1))[:4]]
        assert set(index[i]) == set(nearest)


# ---------------------------------------------------------------- views of data


def table(n: int = 60, d: int = 4) -> Tensor:
    return torch.randn(n, d, generator=generator(3))


def test_partners_are_neighbours() -> None:
    items, run = table(), Engine("cpu", 0)
    views = AugmentedData(items, NeighborSwap(3, 0.0), run)
    nearest = nearest_neighbors(items.numpy(), 3, np.random.RandomState(0))[0]
    index = torch.arange(60).expand(50, 60)
    partners = views.sample_neighbors(index)
    for i in range(60):
        assert set(partners[:, i].tolist()) == set(nearest[i])  # each of the three in 50 draws


def test_views_that_do_not_differ_are_the_items_and_draw_nothing() -> None:
    items, run = torch.rand(8, 4), Engine("cpu", 0)
    before = run.generator.get_state()
    assert AugmentedData(items, NeighborSwap(0, 0.0), run).perturb(items) is items
    assert torch.equal(run.generator.get_state(), before)


def test_noise_has_the_size_of_a_neighbours_distance() -> None:
    items, run = table(), Engine("cpu", 0)
    views = AugmentedData(items, NeighborSwap(5, 0.5), run)
    distance = nearest_neighbors(items.numpy(), 5, np.random.RandomState(0))[1]
    moved = views.perturb(items.expand(300, 60, 4)) - items
    assert moved.square().sum(-1).mean().sqrt().item() == pytest.approx(0.5 * distance, rel=0.02)
    assert moved.mean().item() == pytest.approx(0, abs=0.02 * distance)


def test_noisier_views_are_of_the_same_items_and_leave_the_others_alone() -> None:
    items = table()
    views = AugmentedData(items, NeighborSwap(5, 0.8), Engine("cpu", 0))
    noise, quiet = views.noise, views.with_noise(0.25)
    assert (quiet.noise, views.noise) == (noise / 4, noise)
    assert quiet.neighbors is views.neighbors
    still = torch.zeros(4000, 4)
    assert quiet.perturb(still).std().item() == pytest.approx(noise / 4, rel=0.03)


def test_no_augmentation_changes_nothing_and_seeks_no_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        genmix.training.augment, "nearest_neighbors", lambda *_: pytest.fail("neighbours were sought")
    )
    items, run = table(), Engine("cpu", 0)
    views = AugmentedData(items, NeighborSwap(0, 0.0), run)
    index, both = views.draw(2, 16)
    assert torch.equal(both[0], items[index])
    assert torch.equal(both[1], items[index])


@pytest.mark.parametrize(
    ("items", "augmentation"),
    [
        (table(), NeighborSwap()),
        (images(30, 1, 8, 8), Affine()),
        (images(30, 1, 8, 8), NeighborSwap(2)),
        (table(), lambda x, g: x * 2),
    ],
    ids=["table", "images", "images with neighbours", "callable"],
)
def test_drawn_views_belong_to_their_items(items: Tensor, augmentation) -> None:
    index, both = AugmentedData(items, augmentation, Engine("cpu", 0)).draw(3, 20)
    again = AugmentedData(items, augmentation, Engine("cpu", 0)).draw(3, 20)
    assert index.shape == (3, 20)
    assert both.shape == (2, 3, 20, *items.shape[1:])
    assert torch.equal(index, again[0])
    assert torch.equal(both, again[1])
    assert len(index[0].unique()) > 5
    assert not torch.equal(index[0], index[1])
    if callable(augmentation) and not isinstance(augmentation, Affine):
        assert torch.equal(both[0], 2 * items[index])


def test_an_item_is_not_exchanged_with_a_neighbour_of_another_known_component() -> None:
    """Where groups touch, half of an item's nearest neighbours may be of the other one."""
    items = table(40, 2)
    component = torch.arange(40) % 4 - 1  # a quarter is unknown
    data = AugmentedData(items, NeighborSwap(6, 0.0), Engine("cpu", 0), component=component)
    plain = AugmentedData(items, NeighborSwap(6, 0.0), Engine("cpu", 0))
    index = torch.arange(40).expand(200, 40)
    found, without = data.sample_neighbors(index), plain.sample_neighbors(index)
    own, other = component[index], component[without]
    wrong = (own >= 0) & (other >= 0) & (own != other)
    assert 0.2 < wrong.float().mean() < 0.8
    assert torch.equal(found[wrong], index[wrong])  # the item itself instead
    assert torch.equal(found[~wrong], without[~wrong])  # and nobody else is touched
    for mine, neighbour in ((-1, 0), (0, -1), (1, 1)):
        pairs = (component[index] == mine) & (component[found] == neighbour) & (found != index)
        assert pairs.any()


def test_views_leave_the_data_alone() -> None:
    items = table()
    before = items.clone()
    views = AugmentedData(items, NeighborSwap(), Engine("cpu", 0))
    views.draw(2, 30)
    views.perturb(items)
    assert torch.equal(items, before)
