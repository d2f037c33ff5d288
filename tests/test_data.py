"""Layout and scaling: round trips for every layout and dtype, and the scaling of the GANMM paper."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from genmix.base import preprocessing
from genmix.base.preprocessing import Preprocessing, as_array, is_images, pixel_range

LAYOUTS = {
    "table": (12, 5),
    "hw": (12, 7, 6),
    "hwc": (12, 7, 6, 3),
    "chw": (12, 3, 7, 6),
    "hw1": (12, 7, 6, 1),
}
DTYPES = ["uint8", "int16", "int64", "bool", "float32", "float64"]


def make(shape: tuple[int, ...], dtype: str, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if dtype == "bool":
        return rng.random(shape) < 0.5
    if dtype.startswith("float"):
        return (rng.normal(size=shape) * 7 + 3).astype(dtype)
    return (
        rng.integers(0, 256, shape).astype(dtype)
        if dtype == "uint8"
        else rng.integers(-999, 999, shape, dtype)
    )


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_scaling_and_layout_are_undone(layout: str, dtype: str) -> None:
    X = make(LAYOUTS[layout], dtype)
    before = X.copy()
    made = Preprocessing.fit(X)
    items = made.apply(X)
    assert items.dtype == torch.float32
    assert tuple(items.shape) == (12, *made.item_shape)
    back = made.restore(items)
    assert back.dtype == X.dtype
    assert back.shape == X.shape
    if dtype.startswith("float"):
        np.testing.assert_allclose(back, X, atol=1e-4)
    else:
        np.testing.assert_array_equal(back, X)
    np.testing.assert_array_equal(X, before)  # the user's own data stay as they are


@pytest.mark.parametrize("scaling", ["range", "unit", "standard", "none"])
def test_tables_survive_every_scaling(scaling: str) -> None:
    X = make((30, 4), "float64") * [1, 1e3, 1e-3, 1e6]
    made = Preprocessing.fit(X, scaling)
    back = made.restore(made.apply(X))
    np.testing.assert_allclose(back / np.abs(X).max(0), X / np.abs(X).max(0), atol=1e-6)


@pytest.mark.parametrize(
    ("layout", "shape"), [("hw", (1, 7, 6)), ("hwc", (3, 7, 6)), ("chw", (3, 7, 6)), ("hw1", (1, 7, 6))]
)
def test_images_are_channels_first_inside(layout: str, shape: tuple[int, ...]) -> None:
    X = make(LAYOUTS[layout], "uint8")
    made = Preprocessing.fit(X)
    assert made.item_shape == shape
    items = made.apply(X).numpy()
    expected = X[:, None] if layout == "hw" else X if layout == "chw" else X.transpose(0, 3, 1, 2)
    np.testing.assert_allclose(items, expected / 255, rtol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_images_lie_between_0_and_1(dtype: str) -> None:
    X = make((20, 5, 5), dtype)
    items = Preprocessing.fit(X).apply(X)
    assert items.min() >= -1e-6
    assert items.max() <= 1 + 1e-6
    if dtype != "uint8":
        assert items.max() - items.min() == pytest.approx(1, abs=1e-5)  # its range, or the dtype's, is used


def test_images_already_in_0_1_are_taken_as_they_are() -> None:
    X = np.random.default_rng(0).random((5, 4, 4)).astype(np.float32) * 0.5
    assert np.array_equal(Preprocessing.fit(X).apply(X).numpy()[:, 0], X)


def test_images_never_share_memory_with_what_was_given() -> None:
    X = make((5, 4, 4), "float32")
    before = X.copy()
    items = Preprocessing.fit(X).apply(X)
    items.zero_()
    np.testing.assert_array_equal(X, before)
    X.flags.writeable = False
    Preprocessing.fit(X).apply(X)


def test_images_of_one_value_are_finite() -> None:
    X = np.full((4, 3, 3), 7.0)
    made = Preprocessing.fit(X)
    assert made.apply(X).isfinite().all()
    np.testing.assert_array_equal(made.restore(made.apply(X)), X)


def test_generated_integers_are_clipped_and_rounded() -> None:
    made = Preprocessing.fit(make((9, 4, 4), "uint8"))
    items = torch.tensor([-0.5, 0.0, 0.4999, 1.0, 1.5]).view(5, 1, 1, 1).expand(5, 1, 4, 4)
    assert made.restore(items)[:, 0, 0].tolist() == [0, 0, 127, 255, 255]
    table = Preprocessing.fit(make((9, 2), "int16"))
    assert table.restore(torch.full((1, 2), 1e9)).tolist() == [[32767, 32767]]
    flags = Preprocessing.fit(make((9, 4, 4), "bool"))
    assert flags.restore(torch.tensor([0.2, 0.8]).view(2, 1, 1, 1).expand(2, 1, 4, 4))[:, 0, 0].tolist() == [
        False,
        True,
    ]


# ---------------------------------------------------------------- scaling of tables


def test_unit_scaling_is_that_of_the_papers_uci_data() -> None:
    """Centred, then each column divided by its largest absolute deviation."""
    X = make((50, 6), "float64") * np.arange(1, 7)
    items = Preprocessing.fit(X, "unit").apply(X).double().numpy()
    deviation = X - X.mean(0)
    np.testing.assert_allclose(items, deviation / np.abs(deviation).max(0), atol=1e-6)
    np.testing.assert_allclose(np.abs(items).max(0), 1, atol=1e-6)


@pytest.mark.parametrize(
    ("low", "high", "dtype", "expected"),
    [
        (0, 255, "uint8", (0, 255)),
        (20, 120, "uint8", (0, 255)),  # a quarter of a usual range: dark, but in that range
        (0, 1, "uint8", (0, 1)),
        (0, 16, "uint8", (0, 16)),
        (100, 160, "uint8", (100, 160)),
        (0, 1, "float32", (0, 1)),
        (0.2, 0.9, "float64", (0, 1)),
        (0, 0.001, "float64", (0, 0.001)),
        (-1, 1, "float32", (-1, 1)),
        (0, 1, "bool", (0, 1)),
        (7, 7, "uint8", (0, 255)),
        (0, 0, "float32", (0, 1)),
        (1e6, 1e6 + 0.5, "float64", (1e6, 1e6 + 0.5)),
    ],
)
def test_images_are_mapped_from_their_range(
    low: float, high: float, dtype: str, expected: tuple[float, float]
) -> None:
    images = np.linspace(low, high, 60).reshape(3, 4, 5).astype(dtype)
    assert pixel_range(images) == expected
    made = Preprocessing.fit(images)
    items = made.apply(images)
    if high > low:
        assert items.max() - items.min() >= 0.25
    tolerance = 0 if images.dtype.kind in "ub" else 1e-6 * (high - low or 1)
    np.testing.assert_allclose(made.restore(items), images, rtol=0, atol=tolerance)


def test_range_scaling_is_unit_scaling_with_mean_variance_1() -> None:
    X = make((50, 6), "float64") * np.arange(1, 7)
    unit = Preprocessing.fit(X, "unit").apply(X).double().numpy()
    items = Preprocessing.fit(X, "range").apply(X).double().numpy()
    np.testing.assert_allclose(items, unit / np.sqrt(unit.var(0).mean()), atol=1e-5)
    assert items.var(0).mean() == pytest.approx(1, abs=1e-5)


def test_standard_scaling_equals_scikit_learn() -> None:
    from sklearn.preprocessing import StandardScaler

    X = make((50, 6), "float64")
    X[:, 2] = 5
    items = Preprocessing.fit(X, "standard").apply(X).numpy()
    np.testing.assert_allclose(items, StandardScaler().fit_transform(X), atol=1e-5)


@pytest.mark.parametrize("scaling", ["unit", "range", "standard", "none"])
def test_scaling_is_idempotent(scaling: str) -> None:
    """Data that were scaled as the paper did before are not changed by it again."""
    X = make((80, 5), "float64") * np.arange(1, 6) + 100
    made = Preprocessing.fit(X, scaling)
    once = (X - made.center) / made.scale
    np.testing.assert_allclose(
        Preprocessing.fit(once, scaling).apply(once).numpy(), once, atol=2e-5, rtol=1e-6
    )


@pytest.mark.parametrize("scaling", ["unit", "range", "standard"])
@pytest.mark.parametrize("constant", [0.0, 0.1, 1e9, -3.3e-7])
def test_constant_columns_become_zero_and_come_back(scaling: str, constant: float) -> None:
    X = make((40, 3), "float64")
    X[:, 1] = constant
    made = Preprocessing.fit(X, scaling)
    assert made.constant == [1]
    items = made.apply(X)
    assert items.isfinite().all()
    assert not items[:, 1].abs().gt(1e-6).any()
    np.testing.assert_allclose(made.restore(items)[:, 1], constant, rtol=1e-9, atol=1e-9)
    rest = Preprocessing.fit(X[:, [0, 2]], scaling).apply(X[:, [0, 2]])
    torch.testing.assert_close(items[:, [0, 2]], rest)  # a constant column changes nothing for the others


def test_all_columns_constant_is_no_division_by_zero() -> None:
    X = np.full((5, 2), 3.0)
    made = Preprocessing.fit(X)
    assert made.constant == [0, 1]
    assert not made.apply(X).any()


def test_large_offsets_do_not_drown_small_deviations() -> None:
    X = 1e7 + np.random.default_rng(0).normal(size=(30, 2))
    items = Preprocessing.fit(X, "standard").apply(X).double().numpy()
    np.testing.assert_allclose(items, (X - X.mean(0)) / X.std(0), atol=1e-5)


# ---------------------------------------------------------------- doors


@pytest.mark.parametrize("shape", [(9, 4, 8, 2), (9, 5, 8, 8)])
def test_images_with_other_channels_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"neither 1 nor 3 channels.*\[N, H, W\]"):
        Preprocessing.fit(np.zeros(shape))


def test_unknown_scaling_is_refused_with_its_name() -> None:
    with pytest.raises(ValueError, match=r"'minmax'.*'standard'"):
        Preprocessing.fit(np.zeros((3, 2)), "minmax")


def test_items_of_another_shape_are_refused() -> None:
    made = Preprocessing.fit(make((9, 4, 4), "uint8"))
    made.check(make((2, 4, 4), "float32"))
    with pytest.raises(ValueError, match=r"\(4, 5\).*\(4, 4\)"):
        made.check(make((2, 4, 5), "uint8"))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_record_is_json_and_rebuilds(layout: str) -> None:
    X = make(LAYOUTS[layout], "float64")
    made = Preprocessing.fit(X)
    again = Preprocessing.from_dict(json.loads(json.dumps(made.to_dict(), allow_nan=False)))
    assert again == made
    assert torch.equal(again.apply(X), made.apply(X))


def test_torch_tensors_come_as_arrays_and_others_pass() -> None:
    X = torch.arange(6.0, requires_grad=True).view(2, 3)
    np.testing.assert_array_equal(as_array(X), [[0, 1, 2], [3, 4, 5]])
    frame = object()
    assert as_array(frame) is frame


@pytest.mark.parametrize(
    ("shape", "expected"), [((3, 2), False), ((3, 2, 2), True), ((3, 2, 2, 1), True), ((3,), False)]
)
def test_images_are_known_by_their_dimensions(shape: tuple[int, ...], expected: bool) -> None:
    assert is_images(np.zeros(shape)) is expected
    assert is_images([[1.0]]) is False


# ---------------------------------------------------------------- memory

MEASURE = """
import resource
import numpy as np
from genmix.base.preprocessing import Preprocessing
from genmix.baselines import KMeans

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

model, X = KMeans(2), np.random.default_rng(0).standard_normal({shape}, dtype=np.float32)
few = model._validated(X[:99], reset=True)
Preprocessing.fit(few).apply(few)
before = peak()
items = model._validated(X, reset=True)
scaled = Preprocessing.fit(items, {scaling!r}).apply(items)
print((peak() - before - scaled.nbytes) / X.nbytes)
"""


@pytest.mark.parametrize("scaling", ["range", "standard"])
@pytest.mark.parametrize("shape", [(1_000_000, 50), (50_000, 28, 28)])
def test_validation_and_scaling_need_little_memory(shape: tuple[int, ...], scaling: str) -> None:
    """Beside the data and the scaled items, in units of the data: it was 7 for tables."""
    pytest.importorskip("resource")  # Windows has none
    command = [sys.executable, "-c", MEASURE.format(shape=shape, scaling=scaling)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert float(done.stdout) <= 0.1


@pytest.mark.parametrize("scaling", ["range", "unit", "standard"])
@pytest.mark.parametrize("offset", [0.0, 1e6, -1e9])
def test_scaling_by_parts_is_that_of_the_whole(
    scaling: str, offset: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(97, 4)) * [1, 10, 1e3, 0] + offset
    whole = Preprocessing.fit(X, scaling)
    monkeypatch.setattr(preprocessing, "CHUNK", 10)
    parts = Preprocessing.fit(X, scaling)
    assert parts.constant == whole.constant == [3]
    np.testing.assert_allclose(parts.center, whole.center, rtol=1e-14)
    np.testing.assert_allclose(parts.scale, whole.scale, rtol=1e-6 if abs(offset) > 1e8 else 1e-9)
    torch.testing.assert_close(parts.apply(X), whole.apply(X), rtol=1e-5, atol=1e-5)


def test_means_of_many_values_far_from_zero_are_exact() -> None:
    X = (np.float32(16777210) + np.arange(300_000).reshape(-1, 1) % 2).astype(np.float32)
    found = Preprocessing.fit(X, "standard")
    assert found.center == [16777210.5] and found.scale == pytest.approx([0.5], rel=1e-12)
