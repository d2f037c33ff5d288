"""Whatever is given: the right result, or one line of ValueError that names what is wrong.

Cases are drawn at random, the same ones each time: the numbers below, 3,060 in all.
"""

from __future__ import annotations

import contextlib
import io
import shutil
from collections.abc import Callable, Iterator
from datetime import date
from functools import cache, partial
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.exceptions import NotFittedError

from genmix import (
    Affine,
    ClassifierEStep,
    ColorJitter,
    DNNMixture,
    GANMixture,
    InfoMaxInit,
    MinMaxStep,
    MStep,
    NeighborSwap,
)
from genmix.base.preprocessing import Preprocessing, as_array
from genmix.baselines import ACAI, KMeans, Pretraining, StackedAutoencoder
from genmix.cli import main
from genmix.cli.labels import read_labels
from genmix.datasets import load
from genmix.ganmm.e_step import CriticEStep
from genmix.nn.adversarial import Adversarial
from genmix.nn.build import build_stack
from genmix.training.engine import Engine
from genmix.training.supervision import check_sample_weight, encode_labels
from test_baselines import NEED_LABELS, TINY, TINY_MODELS

pytestmark = pytest.mark.filterwarnings("ignore")  # dead components, no convergence: odd data have them

ARGUMENTS = 40  # of each of 15 models
SETTINGS = 30  # of each of 11 settings objects
OPTIONS = 60
ITEMS = 500
FITS = 120
ANSWERS = 150
NONSENSICAL = 60
LABELS = 400
WEIGHTS = 200
FILES = 60  # of each of 4 formats, and as many of labels
FOLDERS = 80
COMMANDS = 80


def cases(count: int) -> settings:
    """So many, the same each time."""
    return settings(
        max_examples=count, derandomize=True, deadline=None, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip


def is_refused(call: Callable[[], Any], *words: str) -> bool:
    """Whether a call ends in a ValueError; which has one line, and all the words."""
    try:
        call()
    except ValueError as error:
        text = str(error)
        assert text and "\n" not in text and len(text) < 600, text
        assert all(word in text for word in words), (words, text)
        return True
    return False


MLP = {"kind": "mlp", "hidden": (8,)}
#: Every public estimator, with next to nothing to do: ``make(n_components)``.
MODELS: dict[str, Callable[[int], Any]] = {
    "GANMixture": lambda k: GANMixture(
        k, init="kmeans", e_step=ClassifierEStep(steps=1, batch_size=4),
        m_step=MStep(steps=1, pretrain_steps=1, batch_size=4, latent_dim=2, epsilon=0.1),
        networks=dict.fromkeys(("generator", "critic", "classifier"), MLP), max_iter=2, tol=None,
        random_state=0, device="cpu",
    ),
    "DNNMixture": lambda k: DNNMixture(
        k, init="kmeans", networks=dict.fromkeys(("generator", "encoder", "discriminator"), MLP), max_iter=2,
        m_step=MinMaxStep(steps=1, batch_size=8, labelled_batch_size=4, generated_batch_size=8,
                          encoder_pretrain_steps=2, generator_pretrain_steps=2),
        tol=None, random_state=0, device="cpu",
    ),
    **TINY_MODELS,
    "StackedAutoencoder": lambda k: StackedAutoencoder(TINY, random_state=0, device="cpu"),
}  # fmt: skip

TWO_GROUPS = np.random.default_rng(0).normal(size=(20, 2)) + 9 * (np.arange(20) < 10)[:, None]
TWO_CLASSES = np.where(np.arange(20) % 5 < 2, np.arange(20) < 10, -1)

# ---------------------------------------------------------------- arguments

#: Right for no argument of anything.
NONSENSE = st.one_of(
    st.integers(max_value=-1), st.floats(max_value=-1e-300), st.just(np.nan), st.just(np.inf),
    st.text("abc \n'\"{%é", min_size=1).map("no {}".format), st.binary(), st.complex_numbers(), st.dates(),
    st.builds(object), st.sets(st.integers(), min_size=1), st.just({"no such": 1}), st.just([None]),
    st.just(((1, 2), (3,))), st.just(np.full((3, 3), np.nan)), st.just(np.array(["a"])),
    st.just(np.float32(-1)), st.just(pd.NA), st.just(2**70),
)  # fmt: skip
#: Right for some arguments, but not for these.
OUT_OF_RANGE: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(
        ("n_components", "n_init", "max_iter", "latent_dim", "batch_size", "update_interval",
         "steps_per_iteration", "fall_every", "n_principal", "n_features", "unlabelled_ratio", "n_neighbors",
         "overcluster"),
        (0, 0.5, 2.0, True, "3", [3]),
    ),
    **dict.fromkeys(("spread", "kappa", "C", "reg_covar", "reconstruction_weight"), (0, None, "1")),
    **dict.fromkeys(("steps", "verbose"), (0.5, None, "1")),
    **dict.fromkeys(
        ("lr", "gamma", "beta_n", "beta_c", "cluster_weight", "weight_decay", "unlabelled_weight"),
        (None, "1", [1]),
    ),
    **dict.fromkeys(("warm_start", "generate", "constrained", "balanced"), (0, 1.0, None, "no")),
    **dict.fromkeys(("e_step", "optimizer", "scaling"), (None, 1, True, "x")),
    **dict.fromkeys(("objective", "pretraining"), (1, "r1", True, {}, Affine())),
    "m_step": (1, "x", True, {}, Affine()),
    **dict.fromkeys(("augmentation", "strong"), (1, "affine", Affine(), ColorJitter())),
    "n_components": (0, 0.5, 21, True, "3"), "tol": ("1", [1]), "ema_decay": (1, None), "alpha": (0, 1, None),
    "threshold": (1.1, None), "fall": (0, 1.1),
    "random_state": (1.5, "1", 2**32, np.random),
    "init": ([0, 1], np.full(20, 2), np.zeros((20, 1), int)), "networks": (1, {"no such": "mlp"}, []),
    "covariance_types": ("full", [], ["no such"], [1]), "device": ("toaster", 0), "precision": ("fp8", None),
}  # fmt: skip


def test_every_argument_is_tried_out_of_range() -> None:
    names = {name for make in MODELS.values() for name in signature(type(make(2))).parameters}
    assert names == set(OUT_OF_RANGE)


@pytest.mark.parametrize("name", MODELS)
@cases(ARGUMENTS)
@given(st.data())
def test_wrong_arguments_of_models_are_named(name: str, data: st.DataObject) -> None:
    model = MODELS[name](2)
    argument = data.draw(st.sampled_from(list(signature(type(model)).parameters)))
    model.set_params(**{argument: data.draw(NONSENSE | st.sampled_from(OUT_OF_RANGE[argument]))})
    assert is_refused(lambda: model.fit(TWO_GROUPS, TWO_CLASSES), argument)


@pytest.mark.parametrize(
    "kind",
    [Adversarial, Affine, ClassifierEStep, ColorJitter, CriticEStep, InfoMaxInit, MinMaxStep, MStep,
     NeighborSwap, Pretraining, ACAI],
)  # fmt: skip
@cases(SETTINGS)
@given(st.data())
def test_wrong_settings_are_named(kind: Any, data: st.DataObject) -> None:
    argument, value = data.draw(st.sampled_from(list(signature(kind).parameters))), data.draw(NONSENSE)
    assert is_refused(lambda: kind(**{argument: value}), argument)


@cases(OPTIONS)
@given(
    st.sampled_from(["encoder", "generator"]),
    st.sampled_from(["kind", "hidden", "negative_slope", "norm", "sigmoid_output", "channels"]),
    NONSENSE,
)
def test_wrong_options_of_networks_are_named(role: str, option: str, value: Any) -> None:
    choice = {"kind": "mlp", option: value}
    assert is_refused(lambda: build_stack(role, choice, 1, (2,), (3,), torch.Generator()), "networks", role)


# ---------------------------------------------------------------- items

#: Tables of numbers ``[n, d]`` become ...
TABLES: dict[str, Callable[[np.ndarray], Any]] = {
    **{
        kind: lambda X, kind=kind: (X * 9).astype(kind)
        for kind in ("float64", "float32", "float16", "int8", "int64", "bool", "object", ">f8", "longdouble")
    },
    "list": np.ndarray.tolist, "frame": pd.DataFrame, "tensor": torch.from_numpy,
    "columns": np.asfortranarray, "bfloat16": lambda X: torch.from_numpy(X).bfloat16(),
    "list of tensors": lambda X: [*torch.from_numpy(X)],
    "every other row": lambda X: np.repeat(X, 2, 0)[::2], "named": lambda X: pd.DataFrame(X).add_prefix("x"),
    "one constant": lambda X: np.where(np.arange(X.shape[1]) == 0, 7.3, X),
    "constant": lambda X: np.full(X.shape, 0.1),
    "zero": lambda X: np.zeros(X.shape), "repeated": lambda X: np.repeat(X[:1], len(X), 0),
    "large": lambda X: X * 1e149, "small": lambda X: X * 1e-200, "subnormal": lambda X: X * 1e-315,
    "offset": lambda X: X + 1e9, "one outlier": lambda X: np.where(X == X.max(), 1e140, X),
    "columns of all sizes": lambda X: X * 10.0 ** np.linspace(-120, 120, X.shape[1]),
    "extreme integers": lambda X: np.where(X > 0, np.iinfo(np.int64).max, np.iinfo(np.int64).min),
    "unsigned": lambda X: np.full(X.shape, np.iinfo(np.uint64).max),
}  # fmt: skip
#: ... or something that is none; a word that the error has.
NO_TABLES: dict[str, tuple[Callable[[np.ndarray], Any], str]] = {
    "NaN": (lambda X: np.where(X == X.max(), np.nan, X), "NaN"),
    "a column of NaN": (lambda X: np.c_[X, np.full(len(X), np.nan)], "NaN"),
    "infinity": (lambda X: np.where(X == X.max(), np.inf, X), "infinity"),
    "minus infinity": (lambda X: np.where(X == X.min(), -np.inf, X).tolist(), "infinity"),
    "too large": (lambda X: np.where(X == X.max(), 1e200, X), "beyond"),
    "missing": (lambda X: pd.DataFrame(X).where(X < X.max()), "NaN"),
    "None": (lambda X: np.where(X == X.max(), None, X), "NaN"),
    "NA": (lambda X: pd.DataFrame(np.where(X == X.max(), pd.NA, X)), "X"),
    "text": (lambda X: X.astype(str).astype(object) + "x", "X"),
    "words": (lambda X: np.full(X.shape, "a"), "X"),
    "bytes": (lambda X: np.full(X.shape, b"\n"), "X"),
    "complex": (lambda X: X + 1j, "omplex"),
    "dates": (lambda X: X.astype("datetime64[s]"), "X"),
    "a column of dates": (lambda X: pd.DataFrame(X).assign(day=pd.Timestamp("2020-01-01")), "dtype datetime"),
    "dates of polars": (lambda X: pl.DataFrame({"day": [date(2020, 1, 1)] * len(X)}), "dtype Date"),
    "objects": (lambda X: np.where(X == X.max(), {"a": 1}, X), "X"),
    "records": (lambda X: np.zeros(len(X), [("a", int), ("b", float)]), "X"),
    "one dimension": (lambda X: X[:, 0], "1D"),
    "a number": (lambda X: 3.0, "X"),
    "five dimensions": (lambda X: X[:, :, None, None, None], "expected a table"),
    "one column": (lambda X: pd.DataFrame(X)[0], "2-dim"),
    "masked": (lambda X: np.ma.masked_equal(X, X.max()), "masked"),
    "a sparse tensor": (lambda X: torch.from_numpy(X).to_sparse(), "to_dense"),
    "ragged": (lambda X: [[1.0], *X.tolist(), []], "X"),
    "sparse": (scipy.sparse.csr_matrix, "parse"),
    "nothing": (lambda X: None, "X"),
    "a dictionary": (lambda X: {"a": [1]}, "X"),
    "a set": (lambda X: {1, 2}, "X"),
    "a generator": (lambda X: iter(X), "X"),
    "a path": (lambda X: "table.csv", "genmix.datasets.load('table.csv').X"),
    "a path object": (lambda X: Path("table.csv"), "genmix.datasets.load('table.csv').X"),
    "a type": (lambda X: np.ndarray, "X"),
}
#: Images of numbers ``[n, h, w]`` become ...
IMAGES: dict[str, Callable[[np.ndarray], Any]] = {
    **{
        kind: lambda X, kind=kind: (X * 40).astype(kind)
        for kind in ("float64", "float32", "float16", "uint8", "int32", "bool")
    },
    "one channel": lambda X: X[..., None], "colour": lambda X: np.stack([X] * 3, -1),
    "tensor": torch.from_numpy, "list of images": list, "nested lists": np.ndarray.tolist,
    "bfloat16": lambda X: torch.from_numpy(X).bfloat16(), "list of tensors": lambda X: [*torch.from_numpy(X)],
    "channels first": lambda X: np.stack([X] * 3, 1), "constant": lambda X: np.full(X.shape, 7.0),
    "large": lambda X: X * 1e28, "small": lambda X: X * 1e-30, "offset": lambda X: X + 1e6,
    "between 0 and 1": lambda X: np.clip(X, 0, 1), "read-only": lambda X: np.broadcast_to(X[:1], X.shape),
}  # fmt: skip
NO_IMAGES: dict[str, tuple[Callable[[np.ndarray], Any], str]] = {
    "NaN": (lambda X: np.where(X == X.max(), np.nan, X), "NaN"),
    "infinity": (lambda X: np.where(X == X.min(), -np.inf, X), "infinity"),
    "too large": (lambda X: X * 1e200, "beyond"),
    "two sizes": (lambda X: [X[0], X[0].repeat(2, 0), *X], "several shapes"),
    "no pixels": (lambda X: X[:, :0], "X"),
    "two channels": (lambda X: np.stack([X] * 7, -1).repeat(2, 1), "neither 1 nor 3 channels"),
    "complex": (lambda X: X + 1j, "omplex"),
    "words": (lambda X: np.full(X.shape, "a"), "X"),
    "objects": (lambda X: np.full(X.shape, None), "X"),
    "dates": (lambda X: X.astype("datetime64[s]"), "X"),
}


def draw_items(data: st.DataObject) -> tuple[Any, tuple[int, ...], str | None]:
    """Draw items; return their shape too, and a word of the error if they are none."""
    images = data.draw(st.integers(0, 3), "images") == 0
    shapes = [(1, 1), (4, 5), (2, 7)] if images else [(0,), (1,), (2,), (3,)]
    shape = (data.draw(st.integers(0, 12)), *data.draw(st.sampled_from(shapes)))
    wrong = min(shape) > 0 and data.draw(st.booleans(), "wrong")
    X = np.random.default_rng(data.draw(st.integers(0, 99))).normal(size=shape)
    if wrong:
        make, word = data.draw(st.sampled_from(sorted((NO_IMAGES if images else NO_TABLES).items())))[1]
        return make(X), shape, word
    kind = data.draw(st.sampled_from(sorted(IMAGES if images else TABLES)))
    if (
        kind
        in (
            "repeated",
            "one outlier",
            "list",
            "read-only",
            "list of images",
            "list of tensors",
            "nested lists",
        )
        and min(shape) == 0
    ):
        kind = "float64"
    return (IMAGES if images else TABLES)[kind](X), shape, None


def check_answers(model: Any, X: Any, n: int) -> None:
    """Everything a fitted model says of items is finite and in range."""
    if hasattr(model, "predict_proba"):
        p, k = model.predict_proba(X), model.n_components
        assert p.shape == (n, k) and (p >= 0).all() and np.allclose(p.sum(1), 1, atol=1e-9)  # so no NaN
        assert (model.predict(X) == p.argmax(1)).all()
    for answer in ("transform", "score_samples"):
        if hasattr(model, answer):
            found = getattr(model, answer)(X)
            assert len(found) == n and np.isfinite(found).all(), answer


def check_fitted(model: Any, X: Any, n: int) -> None:
    """A fitted model holds no NaN, and its labels are components."""
    assert all(bool(torch.isfinite(tensor.double()).all()) for tensor in model._tensors().values())
    if hasattr(model, "labels_"):
        assert model.labels_.shape == (n,) and set(model.labels_) <= set(range(model.n_components))
    check_answers(model, X, n)


@cases(ITEMS)
@given(st.integers(1, 4), st.sampled_from(["range", "unit", "standard"]), st.data())
def test_items_are_scaled_or_refused(k: int, scaling: str, data: st.DataObject) -> None:
    X, shape, word = draw_items(data)
    model, fine = KMeans(k), word is None and min(shape) > 0 and shape[0] >= k

    def scale() -> None:
        items = model._validated(X, reset=True)
        preprocessing = Preprocessing.fit(items, scaling)
        scaled = preprocessing.apply(items)
        assert scaled.shape == (shape[0], *preprocessing.item_shape) and scaled.isfinite().all()
        assert np.isfinite(preprocessing.restore(scaled).astype(float)).all()

    # where there are too few items, that may be said first
    assert is_refused(scale, word if word and shape[0] >= k else "") != fine


@cases(FITS)
@given(st.sampled_from(sorted(MODELS)), st.integers(1, 4), st.data())
def test_models_fit_items_or_refuse_them(name: str, k: int, data: st.DataObject) -> None:
    X, shape, word = draw_items(data)
    n, model = shape[0], MODELS[name](k)
    y = np.arange(n) % min(k, 2) if name in NEED_LABELS else None
    least = 1 if name == "StackedAutoencoder" else k
    refused = is_refused(lambda: model.fit(X, y), word if word and n >= least else "")
    assert refused != (word is None and min(shape) > 0 and n >= least)
    if not refused:
        check_fitted(model, X, n)


@cache
def fitted(name: str) -> Any:
    return MODELS[name](2).fit(TWO_GROUPS, TWO_CLASSES)


@cases(ANSWERS)
@given(st.sampled_from(sorted(MODELS)), st.data())
def test_fitted_models_answer_or_refuse(name: str, data: st.DataObject) -> None:
    model = fitted(name)
    X, shape, word = draw_items(data)
    if word is not None or shape[1:] != (2,) or not shape[0]:
        for verb in ("predict", "predict_proba", "score_samples", "transform"):
            if hasattr(model, verb):
                assert is_refused(partial(getattr(model, verb), X))
    else:
        far = is_refused(lambda: check_answers(model, X, shape[0]), "X has values beyond")
        assert far == (np.abs(np.asarray(as_array(X), dtype=float)).max() > 1e14)


@pytest.mark.parametrize(
    "name",
    ["GANMixture", "DNNMixture", "DCN", "DEC", "ClusterGAN", "DynAE", "FixMatch", "StackedAutoencoder",
     "SupervisedOnly", "VaDE"],
)  # fmt: skip
@pytest.mark.parametrize("error", [KeyboardInterrupt, FloatingPointError])
def test_a_fit_that_is_stopped_leaves_the_model_as_it_was(
    name: str, error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*arguments: Any) -> Iterator[int]:
        yield 0
        raise error

    model, fresh = MODELS[name](2).fit(TWO_GROUPS, TWO_CLASSES), MODELS[name](2)
    verb = "predict" if hasattr(model, "predict") else "transform"
    before, history = getattr(model, verb)(TWO_GROUPS), list(model.history_)
    if "warm_start" in model.get_params():
        model.set_params(warm_start=True)
    with monkeypatch.context() as patch:
        patch.setattr(Engine, "progress", stopped)
        for other in (model, fresh):
            with pytest.raises(error):
                other.fit(TWO_GROUPS + 1, TWO_CLASSES)
    np.testing.assert_array_equal(getattr(model, verb)(TWO_GROUPS), before)
    assert model.history_ == history
    with pytest.raises(NotFittedError):
        getattr(fresh, verb)(TWO_GROUPS)


@pytest.mark.parametrize("path", ["items.csv", Path("items.csv")])
def test_a_path_is_told_how_to_be_read(path: Any) -> None:
    for call in (KMeans(2).fit, fitted("DEC").predict, fitted("DEC").transform):
        with pytest.raises(ValueError, match=r"^X is a path.*genmix\.datasets\.load\('items\.csv'\)\.X$"):
            call(path)


@cases(NONSENSICAL)
@given(st.sampled_from(sorted(MODELS)), NONSENSE)
def test_fitted_models_refuse_nonsense(name: str, value: Any) -> None:
    model = fitted(name)
    calls = {
        "n_samples": lambda: model.sample(value),
        "component": lambda: model.sample(1, component=value),
        "abstain": lambda: model.predict(TWO_GROUPS, abstain=value),
        "Z": lambda: model.inverse_transform(value),
    }
    verbs = {"n_samples": "sample", "component": "sample", "abstain": "predict", "Z": "inverse_transform"}
    for word, call in calls.items():
        if hasattr(model, verbs[word]):
            assert is_refused(call, word)


# ---------------------------------------------------------------- labels and weights

HUGE = st.sampled_from([2**31, 2**53, 2**62, 2**63 - 1, -(2**63), 2**63, 2**64 - 1, 2**64, 10**30])
#: Lists of labels of one kind.
LABEL_LISTS = st.one_of(
    *(
        st.lists(kind, min_size=1, max_size=12)
        for kind in (
            st.integers(-1, 3), st.integers(-1, 9), st.booleans(), HUGE, st.integers(-1, 2).map(float),
            st.sampled_from([0.0, 1.0, -1.0, 0.5, np.nan, np.inf, 1e300]),
            st.sampled_from(["a", "b", "", "1"]), st.sampled_from([0, 1, None]), st.just({}), st.dates(),
            st.lists(st.integers(0, 1), max_size=2),
        )
    )
)  # fmt: skip
AS = {
    "list": list, "tuple": tuple, "array": np.array, "series": pd.Series, "tensor": torch.tensor,
    "objects": lambda y: np.array([*y, 0], object)[:-1], "column": lambda y: np.array(y)[:, None],
    "dictionary": lambda y: dict(enumerate(y)),
}  # fmt: skip


@cases(LABELS)
@given(LABEL_LISTS, st.integers(1, 5), st.sampled_from(sorted(AS)), st.integers(-1, 1))
def test_labels_become_components_or_are_refused(labels: list[Any], k: int, kind: str, more: int) -> None:
    whole = all(
        isinstance(label, int | float) and -(2**63) <= label < 2**63 and label == int(label)
        for label in labels
    )
    try:
        y = AS[kind](labels)
    except (TypeError, ValueError, RuntimeError, OverflowError):  # no such array
        return
    classes = sorted(set(labels) - {-1}) if whole else []
    fine = whole and len(classes) <= k and not more and kind not in ("objects", "column", "dictionary")
    found: list[Any] = []
    assert is_refused(lambda: found.append(encode_labels(y, len(labels) + more, k)), "y") != fine
    if fine and classes:
        assert found[0][0].tolist() == [int(label) for label in classes]
        assert found[0][1].tolist() == [-1 if label == -1 else classes.index(label) for label in labels]


@cases(WEIGHTS)
@given(
    st.lists(
        st.floats() | st.integers(0, 3) | st.sampled_from(["1", None, {}, [1], 1j, 1e30, 1e-60, 1e300]),
        max_size=5,
    ),
    st.integers(0, 5),
)
def test_weights_are_finite_or_refused(weights: list[Any], n: int) -> None:
    found: list[Any] = []
    if not is_refused(lambda: found.append(check_sample_weight(weights, n)), "sample_weight"):
        assert found[0].shape == (n,) and (found[0] >= 0).all() and 0 < found[0].sum() < np.inf
        np.testing.assert_allclose(found[0], [float(weight) for weight in weights], rtol=1e-6, atol=1e-30)


# ---------------------------------------------------------------- files


@cache
def whole_file(suffix: str) -> bytes:
    """A file of 20 rows, two columns and their labels."""
    file, table = io.BytesIO(), pd.DataFrame(TWO_GROUPS, columns=["a", "b"]).assign(label=TWO_CLASSES)
    if suffix == ".npy":
        np.save(file, TWO_GROUPS)
    elif suffix == ".npz":
        np.savez_compressed(file, X=TWO_GROUPS, y=TWO_CLASSES, label=TWO_CLASSES)
    elif suffix == ".parquet":
        table.to_parquet(file)
    elif suffix == ".csv":
        table.to_csv(file, index=False)
    else:
        Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).convert("RGB").save(file, suffix[1:])
    return file.getvalue()


SUFFIXES = (".npy", ".npz", ".parquet", ".csv")
PICTURES = (".png", ".jpeg", ".gif", ".bmp", ".tiff", ".webp")


@st.composite
def damaged(draw: st.DrawFn, suffix: str) -> bytes:
    """Draw a file cut short, with other bytes in it, of another kind, or of nothing."""
    content = whole_file(suffix)
    place = draw(st.integers(0, len(content) - 1))
    match draw(st.sampled_from(["cut", "cut", "flipped", "flipped", "inserted", "other", "junk", "text"])):
        case "cut":
            return content[:place]
        case "flipped":
            return content[:place] + bytes([draw(st.integers(0, 255))]) + content[place + 1 :]
        case "inserted":
            return content[:place] + draw(st.binary(min_size=1, max_size=9)) + content[place:]
        case "other":
            return whole_file(draw(st.sampled_from(SUFFIXES + PICTURES)))
        case "junk":
            return draw(st.binary(max_size=99))
    return draw(st.text("a1,;\n\t\"'.- é\0", max_size=60)).encode()


@pytest.mark.parametrize("suffix", SUFFIXES)
@cases(FILES)
@given(st.data())
def test_damaged_data_files_are_read_or_refused_by_name(
    suffix: str, tmp_path: Path, data: st.DataObject
) -> None:
    path = tmp_path / f"data{suffix}"
    path.unlink(missing_ok=True)
    path.write_bytes(data.draw(damaged(suffix)))
    column = None if suffix == ".npy" else data.draw(st.sampled_from([None, "label", "a"]))
    found: list[Any] = []
    if not is_refused(lambda: found.append(load(path, label_column=column)), path.name):
        X, y = found[0].X, found[0].y
        assert X.dtype.kind in "biuf" and 2 <= X.ndim <= 4 and X.size
        assert y is None or (y.dtype == np.int64 and y.shape == (len(X),))


@pytest.mark.parametrize("suffix", SUFFIXES)
@cases(FILES)
@given(st.data())
def test_damaged_label_files_are_read_or_refused_by_name(
    suffix: str, tmp_path: Path, data: st.DataObject
) -> None:
    path = tmp_path / f"known{suffix}"
    path.write_bytes(data.draw(damaged(suffix)))
    column, found = data.draw(st.sampled_from([None, "label"])), []
    if not is_refused(lambda: found.append(read_labels(path, column)), path.name):
        assert found[0].y.dtype == np.int64 and found[0].y.ndim == 1


@cases(FOLDERS)
@given(st.data())
def test_folders_of_images_are_read_or_refused_by_name(tmp_path_factory: Any, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("images")
    for number in range(data.draw(st.integers(0, 3))):
        suffix, sub = data.draw(st.sampled_from(PICTURES)), data.draw(st.sampled_from(["", "x", "x/y", ".z"]))
        (folder / sub).mkdir(parents=True, exist_ok=True)
        file = io.BytesIO()
        mode = data.draw(st.sampled_from(["L", "RGB", "RGBA", "P", "1", "I;16", "F"]))
        side = data.draw(st.sampled_from([8, 8, 8, 9]))
        with contextlib.suppress(OSError, KeyError):  # not every format has every mode
            Image.new(mode, (8, side)).save(file, suffix[1:])
        content = file.getvalue() if data.draw(st.booleans()) else data.draw(damaged(suffix))
        ending = data.draw(st.sampled_from([suffix, suffix, ".png", ".txt"]))
        (folder / sub / f"{number}{ending}").write_bytes(content)
    size, found = data.draw(st.sampled_from([None, 8, (4, 6), 0, -1, (3,), "8", 2.5])), []
    word = folder.name if size in (None, 8, (4, 6)) else "image_size"
    if not is_refused(lambda: found.append(load(folder, image_size=size)), word):
        X, y = found[0].X, found[0].y
        assert X.dtype == np.uint8 and X.ndim in (3, 4) and len(X) and (y is None or len(y) == len(X))


# ---------------------------------------------------------------- the command line


@cases(COMMANDS)
@given(st.data())
def test_the_command_line_ends_with_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], data: st.DataObject
) -> None:
    suffix = data.draw(st.sampled_from(SUFFIXES))
    broken, good, out = tmp_path / f"broken{suffix}", tmp_path / "good.csv", tmp_path / "out"
    content = data.draw(damaged(suffix))
    broken.write_bytes(content[: len(content) // 2] if suffix == ".csv" else content)
    good.write_bytes(whole_file(".csv"))
    fit = ["fit", "--components", "2", "--out", str(out)]
    word = data.draw(st.text("abc=[]{}'\"\n -1.", max_size=9))
    name = data.draw(st.sampled_from(["max_iter", "tol", "m_step", "networks", "epsilon", "no such"]))
    commands = {
        "data": [*fit, str(broken), "--model", "kmeans", "--set", "n_init=1"],
        "labels": ["evaluate", str(good), "--labels", str(broken)],
        "predictions": ["evaluate", str(broken), "--labels", str(good)],
        "settings": [*fit, str(good), "--set", f"{name}=-1{word}"],
        "known": [*fit, str(good), "--model", "ss-kmeans", "--labels", str(broken)],
    }
    code = main(commands[data.draw(st.sampled_from(sorted(commands)))])
    printed = capsys.readouterr()
    assert code in (0, 2)
    if code:
        last = printed.err.splitlines()[-1]
        assert last.startswith("genmix: ") and "Traceback" not in printed.err
        assert not out.exists()
    shutil.rmtree(out, ignore_errors=True)
