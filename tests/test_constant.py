"""What does not vary in the data does not vary in what models make of them, bit for bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import genmix
from genmix.base.preprocessing import Preprocessing
from genmix.base.registry import MODELS as REGISTERED
from test_bad_input import MODELS
from test_baselines import NEED_LABELS

pytestmark = pytest.mark.filterwarnings("ignore")  # dead components, no convergence: tiny fits have them

MAKERS = [
    name for name, model in REGISTERED.items()
    if any(hasattr(model.load_class(), method) for method in ("sample", "inverse_transform", "interpolate"))
]  # fmt: skip
VALUES = [3.3, 0.1, -3.3e-7, 1e9 / 3, -0.0]
RNG = np.random.default_rng(0)
VARIED = RNG.normal(size=(40, 2)) + 9 * (np.arange(40) < 20)[:, None]
TABLE = np.c_[VARIED, np.tile(VALUES, (40, 1))]
ROW, IMAGE = RNG.normal(size=(1, 3)), RNG.integers(0, 256, size=(1, 8, 8), dtype=np.uint8)


def fitted(name: str, components: int, X: np.ndarray, **settings: Any) -> Any:
    model = MODELS[name](components).set_params(**settings)
    return model.fit(X, np.arange(len(X)) % components) if name in NEED_LABELS else model.fit(X)


def made_by(model: Any, X: np.ndarray) -> list[np.ndarray]:
    """All that a model can make."""
    made = []
    if hasattr(model, "sample"):
        made.append(model.sample(50)[0])
    if hasattr(model, "inverse_transform"):
        codes = model.transform(X).astype(float)
        made.append(model.inverse_transform(codes + np.linspace(-3, 3, codes.shape[1])))
    if hasattr(model, "interpolate"):
        made.append(model.interpolate(0, len(model.weights_) - 1, 5))
    assert made
    return made


def test_every_model_that_makes_items_is_here() -> None:
    assert {"GANMixture", "DNNMixture", "GaussianMixture", "VaDE", "ClusterGAN"} < set(MAKERS)
    assert set(MAKERS) <= set(MODELS)


@pytest.mark.parametrize("scaling", ["auto", "none"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", MAKERS)
def test_constant_columns_stay_what_they_are(name: str, dtype: type, scaling: str, tmp_path: Path) -> None:
    X = TABLE.astype(dtype)
    if scaling == "none":
        X = np.delete(X, 5, 1)  # networks are not for 3e8
        if "scaling" not in MODELS[name](2).get_params():
            pytest.skip("no such setting")
    model = fitted(name, 2, X, **({} if scaling == "auto" else {"scaling": scaling}))
    for one in (model, genmix.load(model.save(tmp_path / "model"))):
        for items in made_by(one, X):
            assert items.dtype == dtype
            assert items[:, 2:].tobytes() == np.repeat(X[:1, 2:], len(items), 0).tobytes()
            assert np.ptp(items[:, :2]) > 0


@pytest.mark.parametrize("X", [ROW, ROW.astype(np.float32), IMAGE, IMAGE / 255], ids=lambda X: str(X.dtype))
@pytest.mark.parametrize(("count", "components"), [(1, 1), (12, 2)])
@pytest.mark.parametrize("name", MAKERS)
def test_one_item_however_often_is_all_that_is_made(
    name: str, count: int, components: int, X: np.ndarray, tmp_path: Path
) -> None:
    model = fitted(name, components, X.repeat(count, 0))
    for one in (model, genmix.load(model.save(tmp_path / "model"))):
        for items in made_by(one, X):
            assert items.dtype == X.dtype and len(items)
            assert items.tobytes() == X.repeat(len(items), 0).tobytes()


@pytest.mark.parametrize("channels", ["hwc", "chw"])
def test_equal_colour_images_keep_the_order_of_their_axes(channels: str) -> None:
    image = RNG.integers(0, 256, size=(1, 8, 6, 3), dtype=np.uint8)
    image = image if channels == "hwc" else image.transpose(0, 3, 1, 2)
    made = Preprocessing.fit(image.repeat(3, 0))
    np.testing.assert_array_equal(made.restore(made.apply(image) * 0.5), image)


@pytest.mark.parametrize("dtype", [np.int64, np.uint64, np.uint8, np.float16, bool])
def test_whole_numbers_and_short_ones_are_held_too(dtype: type) -> None:
    large = 2**62 + 1 if dtype in (np.int64, np.uint64) else 1
    X = np.array([[0, large], [1, large], [1, large]]).astype(dtype)
    made = Preprocessing.from_dict(json.loads(json.dumps(Preprocessing.fit(X).to_dict())))
    np.testing.assert_array_equal(made.restore(made.apply(X)), X)


@pytest.mark.parametrize("scaling", ["range", "unit", "standard", "none"])
@pytest.mark.parametrize("deviation", [1.0, 1e-3, 1e-6, 1e-7])
def test_what_varies_by_little_still_varies(scaling: str, deviation: float) -> None:
    column = 1e6 + deviation * RNG.normal(size=500)
    made = Preprocessing.fit(np.c_[column, VARIED[:1].repeat(500, 0)], scaling)
    assert made.constant == [1, 2]
    if scaling != "none":
        items = made.apply(np.c_[column, VARIED[:1].repeat(500, 0)])
        assert 0.05 < items[:, 0].std() < 20 and not items[:, 1:].any()
        np.testing.assert_allclose(made.restore(items)[:, 0], column, rtol=0, atol=1e-4 * deviation + 2e-10)


def test_rounding_is_no_variation_and_images_that_differ_are_no_constant() -> None:
    X = np.c_[np.where(np.arange(40) % 2, 0.1 + 0.2, 0.3), VARIED]
    made = Preprocessing.fit(X)
    assert made.constant == [0] and set(made.restore(made.apply(X))[:, 0]) == {0.3}
    images = np.zeros((3, 4, 4))
    images[1, 0, 0] = 1
    made = Preprocessing.fit(images)
    assert made.held == ()
    np.testing.assert_array_equal(made.restore(made.apply(images)), images)


@pytest.mark.parametrize("dtype", ["float64", "int64"])
def test_records_of_the_first_version_hold_their_means(dtype: str) -> None:
    record = Preprocessing.fit(np.array([[3, 0], [3, 1]], dtype)).to_dict()
    del record["held"]
    record["center"][0] = 2.9999999999999996
    made = Preprocessing.from_dict(record)
    restored = made.restore(made.apply(np.array([[7, 1]], dtype)))
    assert restored.tolist() == [[2.9999999999999996 if dtype == "float64" else 3, 1]]
