"""Model folders of strangers: a right model or one line of ValueError, whatever is in them.

Folders of every class in the registry are changed, in the document or in the tensors, and their checksums
made right again. What still loads has to answer everything with finite numbers, or with a ValueError.

``python tests/fuzz/test_models.py SEED CLASS NUMBER`` repeats one case, and shows what was changed.
"""

from __future__ import annotations

import copy
import hashlib
import json
import random
import shutil
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

import genmix
import guard
from genmix.base import persistence
from genmix.base.registry import MODELS
from genmix.report import facts
from test_bad_input import MODELS as TINY

Change = Callable[[random.Random], Any]

HOSTILE: list[Change] = [
    lambda r: None, lambda r: r.choice([True, False]), lambda r: r.choice([0, 1, -1, 2, 3, 7, 20]),
    lambda r: r.choice([10**5, 10**8, 10**9, 2**31, 2**63, 2**70, 10**400]) * r.choice([1, -1]),
    lambda r: r.choice([0.5, -0.5, 1e-300, 1e30, 1e300, -1e300, 5e-324]),
    lambda r: {"$number": r.choice(["nan", "inf", "-inf", "x", 3, None])},
    lambda r: r.choice(["", "x", "a" * 10**5, "\n\x1b[31m", "\ud800", "auto", "mlp", "cuda:9", "meta"]),
    lambda r: r.choice([[], {}, [[]], [None], {"x": 1}]),
    lambda r: [r.choice([0, 1, 10**9])] * r.choice([1, 3]),
    lambda r: [1] * 10**5, lambda r: {str(i): i for i in range(2000)},
    lambda r: nested([], r.choice([3, 30, 300, 900])), lambda r: nested({}, r.choice([3, 30, 300, 900])),
    lambda r: {"$tuple": r.choice([[], [10**8], [1] * 10**5, "abc", 3, None, [[]], {"$tuple": []}])},
    lambda r: {"$array": r.choice([[], [1], [1.5, 2], ["a"], [[1], [2, 3]], 3, None, [None]]),
               "dtype": r.choice(["int64", "float64", "U375000000", "object", "O", "V9", "x", "f2", ">f8", 3,
                                  None, "datetime64[s]", "(100000000,)f8", "S999999999", "complex128"])},
    lambda r: {"$callable": r.choice(["os.system", 3, None])},
    lambda r: {"$type": r.choice(["Pretraining", "Affine", "MStep", "MinMaxStep", "InfoMaxInit",
                                  "Adversarial", "x", 3, None, ["Affine"], {}]),
               **r.choice([{}, {"x": 1}, {"steps": -1}])},
    lambda r: {"$type": "Pretraining", "hidden": r.choice([[10**8], [1] * 5000]), "latent_dim": 10**9},
    lambda r: {"kind": r.choice(["mlp", "conv", "x", 3]), "hidden": r.choice([[10**8], [1] * 5000, [], [0]])},
]  # fmt: skip


def nested(kind: Any, depth: int) -> Any:
    """Nest lists or dictionaries."""
    value = kind
    for _ in range(depth):
        value = [value] if kind == [] else {"x": value}
    return value


def places(value: Any, found: list[tuple[Any, Any]], depth: int = 0) -> list[tuple[Any, Any]]:
    """List all containers in a document with each key or index; of long lists and deep ones some."""
    keys = list(value) if isinstance(value, dict) else range(min(len(value), 5))
    for key in keys:
        found.append((value, key))
        if isinstance(value[key], dict | list) and depth < 20:
            places(value[key], found, depth + 1)
    return found


def change_document(document: Any, chance: random.Random) -> str:
    """Make one change of a document, in place; return what it is."""
    part = document["meta"] if chance.random() < 0.95 else document
    part = part[chance.choice(list(part))] if chance.random() < 0.9 and len(part) else part
    found = places(part, []) if isinstance(part, dict | list) else []
    if not found:
        return "nothing"
    inside, key = chance.choice(found)
    what = chance.choice(["set", "set", "set", "set", "number", "number", "delete", "add", "swap"])
    old = inside[key]
    if what == "number" and type(old) in (int, float):
        inside[key] = old * chance.choice([-1, 0, 2, 1e5]) + chance.choice([-1, 0, 0.5, 1])
    elif what == "delete":
        del inside[key]
    elif what == "add" and isinstance(inside, list):
        inside.append(chance.choice(HOSTILE)(chance))
    elif what == "add":
        inside[chance.choice(["x", "$type", "$tuple", "$array", "dtype", "history_", "_head", "n_init"])] = (
            chance.choice(HOSTILE)(chance)
        )
    elif what == "swap":
        other, place = chance.choice(found)
        taken, given = json.dumps(other[place]), json.dumps(old)  # text, lest something is put inside itself
        inside[key], other[place] = json.loads(taken), json.loads(given)
    else:
        inside[key] = chance.choice(HOSTILE)(chance)
    return f"{what} {key!r}, which was {str(old)[:60]}"


DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool]


def change_tensors(tensors: dict[str, Any], chance: random.Random) -> str:
    """Make one change of tensors, in place; return what it is."""
    name = chance.choice(list(tensors))
    if not tensors[name].numel():
        return "nothing"
    tensor = tensors[name].clone()
    what = chance.choice(
        ["value", "value", "value", "all", "dtype", "shape", "delete", "add", "rename", "swap", "large"]
    )
    values = [np.nan, np.inf, -np.inf, 0.0, -1.0, 1.0, 1e30, -1e30, 3e38, 1e-30, 5.0]
    if what in ("value", "all"):
        value = chance.choice(values)
        if not tensor.is_floating_point():
            value = chance.choice([0, 1, 255] if tensor.itemsize == 1 else [0, -1, 2**62, 10**6])
        flat = tensor.reshape(-1)
        flat[chance.randrange(len(flat)) if what == "value" else slice(None)] = value
        tensors[name] = flat.reshape(tensor.shape)
    elif what == "dtype":
        tensors[name] = tensor.to(chance.choice(DTYPES))
    elif what == "shape":
        shape = chance.choice([(), (0,), (-1,), (1, -1), (-1, 1), tuple(tensor.shape[::-1])])
        tensors[name] = (
            tensor.reshape(shape) if shape not in ((), (0,)) else torch.zeros(shape, dtype=tensor.dtype)
        )
        if chance.random() < 0.3:
            tensors[name] = tensor[:0] if tensor.dim() else tensor
    elif what == "delete":
        del tensors[name]
    elif what == "add":
        tensors[chance.choice(["x", "axes", "centers", "\n\x1b", "critic_units"])] = torch.zeros(2)
    elif what == "rename":
        tensors[chance.choice(["x", f"{name}.x", name.upper()])] = tensors.pop(name)
    elif what == "swap":
        other = chance.choice(list(tensors))
        tensors[name], tensors[other] = tensors[other], tensors[name]
    elif tensor.is_floating_point():
        tensors[name] = tensor * chance.choice([1e10, 1e20, 1e-20, -1])
    return f"{what} of {name}"


# -------------------------------------------------- folders


@dataclass(frozen=True)
class Case:
    """A folder to load."""

    kind: str
    number: int
    folder: Path
    changes: str


@cache
def data(images: bool) -> tuple[np.ndarray, np.ndarray]:
    """Two groups of rows, or of images, and the labels of some."""
    X = np.random.default_rng(0).normal(size=(24, 5, 4) if images else (24, 3))
    X[:12] += 5
    return X, np.where(np.arange(24) % 4 == 0, np.arange(24) < 12, -1)


@cache
def fitted(kind: str, images: bool = False) -> tuple[Any, dict[str, Any], bytes]:
    """Fit a tiny model; return it and what its files hold."""
    X, y = data(images)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = TINY[kind](2).fit(X, y)
    with tempfile.TemporaryDirectory() as folder:
        document, content = persistence.read_model(model.save(Path(folder) / "model"))
    return model, document, content


def write(folder: Path, document: dict[str, Any], content: bytes) -> None:
    """Write a model folder whose checksums are right."""
    checksum = hashlib.sha256(content).hexdigest()
    if isinstance(document.get("tensors"), str):
        document |= {"tensors": f"model-{checksum[:16]}.safetensors", "sha256": checksum}
    try:
        document["document_sha256"] = persistence._checksum(document)
    except (ValueError, RecursionError):
        document["document_sha256"] = "x"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "model.json").write_text(json.dumps(document), encoding="utf-8", errors="surrogatepass")
    (folder / f"model-{checksum[:16]}.safetensors").write_bytes(content)


def forge(kind: str, number: int, seed: int, folder: Path) -> Case:
    """Write the folder of a case; the same for the same numbers."""
    chance = random.Random(f"{seed} {kind} {number}")  # noqa: S311
    _, document, content = fitted(kind, chance.random() < 0.3)
    document, changes = copy.deepcopy(document), []
    tensors = safetensors.torch.load(content)
    for _ in range(chance.choice([1, 1, 1, 2, 3])):
        if chance.random() < 0.6:
            changes.append(change_document(document, chance))
        elif tensors:
            changes.append(change_tensors(tensors, chance))
    content = safetensors.torch.save({name: one.clone().contiguous() for name, one in tensors.items()})
    if chance.random() < 0.1:  # of the bytes themselves, the header's above all
        bad = bytearray(content)
        place = chance.randrange(min(len(bad), chance.choice([8, 400, len(bad)])))
        bad[place] ^= chance.randrange(1, 256)
        content = bytes(bad)
        changes.append(f"byte {place}")
    write(folder, document, content)
    return Case(kind, number, folder, "; ".join(changes))


# -------------------------------------------------- what a model that loads has to do


def answer_all(case: Case) -> str:
    """Load a model and ask it everything; "refused" where that ends in a ValueError after it has loaded."""
    model = genmix.load(case.folder)
    X = data(len(model.preprocessing_.shape) > 1)[0]
    said = [
        ask(model, question, X) for question in QUESTIONS if hasattr(model, question) or question == "facts"
    ]
    return "refused" if "refused" in said else "answered"


QUESTIONS = [
    "predict", "predict_proba", "score_samples", "transform", "sample", "inverse_transform", "interpolate",
    "facts", "get_params",
]  # fmt: skip


def ask(model: Any, question: str, X: np.ndarray) -> str:
    """Ask one thing; AssertionError for an answer that is not finite."""
    answers = {
        "sample": lambda: model.sample(5)[0],
        "inverse_transform": lambda: model.inverse_transform(np.zeros((2, model._n_features_out))),
        "interpolate": lambda: model.interpolate(0, len(model.means_) - 1, 3),
        "facts": lambda: tell(model, X),
        "get_params": lambda: [len(repr(model.get_params())) * 0.0],
    }
    try:
        found = answers.get(question, lambda: getattr(model, question)(X))()
    except ValueError as error:
        assert len(str(error).splitlines()) == 1, f"{question}: {error}"
        return "refused"
    except Exception as error:
        raise RuntimeError(f"{question}: {type(error).__name__}: {error}") from error
    assert np.isfinite(np.asarray(found, dtype=float)).all(), f"{question} is not finite"
    return "answered"


def tell(model: Any, X: np.ndarray) -> list[float]:
    """Make the facts of a report."""
    settings = facts.settings_table(model)
    assert settings.rows
    if hasattr(model, "predict_proba"):
        told = facts.apply(model, X, None, None, None)
        assert facts.headline(told, None) and facts.cluster_table(told).rows
    return [0.0]


# -------------------------------------------------- tests


def ask_for(document: dict[str, Any], **changes: Any) -> None:
    """Change arguments."""
    document["meta"]["parameters"] |= changes


def fit_of(document: dict[str, Any], **changes: Any) -> None:
    """Change fitted attributes."""
    document["meta"]["fitted"] |= changes


def record_of(document: dict[str, Any], **changes: Any) -> None:
    """Change the record of the preprocessing."""
    document["meta"]["preprocessing"] |= changes


HUGE: dict[str, tuple[str, Callable[[Any], Any], str]] = {
    "a wide layer": (
        "GANMixture",
        lambda d: ask_for(d, networks={"critic": {"kind": "mlp", "hidden": [10**8]}}),
        "more weights",
    ),
    "many layers": (
        "DNNMixture", lambda d: ask_for(d, networks={"encoder": {"kind": "mlp", "hidden": [1] * 9000}}),
        "more weights",
    ),
    "too many layers": (
        "DNNMixture", lambda d: ask_for(d, networks={"encoder": {"kind": "mlp", "hidden": [1] * 10**5}}),
        "entries",
    ),
    "components": ("KMeans", lambda d: ask_for(d, n_components=10**9), "weights_"),
    "networks": ("GANMixture", lambda d: ask_for(d, n_components=10**9), "weights_"),
    "components that have weights": (
        "VaDE",
        lambda d: (
            ask_for(d, n_components=10**6),
            fit_of(d, weights_={"$array": [1e-6] * 10**6, "dtype": "float64"}),
        ),
        "more weights",
    ),
    "a wide autoencoder": (
        "VaDE", lambda d: ask_for(d, pretraining={"$type": "Pretraining", "hidden": [10**8]}), "more weights",
    ),
    "long codes": (
        "DEC", lambda d: ask_for(d, pretraining={"$type": "Pretraining", "latent_dim": 10**9}), "centers",
    ),
    "heads": ("DNNMixture", lambda d: fit_of(d, _heads=10**9), "more weights"),
    "noise": ("GANMixture", lambda d: fit_of(d, _latent_dim=10**9), "more weights"),
    "columns": ("KMeans", lambda d: record_of(d, shape=[10**8]), "preprocessing: center"),
    "numbers": ("KMeans", lambda d: record_of(d, shape=[10**18]), "preprocessing: shape"),
    "text": (
        "KMeans", lambda d: fit_of(d, labels_={"$array": [""], "dtype": "U375000000"}), "labels_: dtype",
    ),
    "depth": ("GANMixture", lambda d: ask_for(d, init=nested([], 900)), "init: lists"),
    "a history of nothing": ("KMeans", lambda d: fit_of(d, history_=[[]] * 10**6), "lists and dictionaries"),
    "a list of a million": ("KMeans", lambda d: fit_of(d, dead_components_=[0] * 10**6), "dead_components_"),
}  # fmt: skip


@pytest.mark.parametrize("name", HUGE)
def test_a_small_folder_asks_for_much_and_gets_one_line(name: str, tmp_path: Path) -> None:
    kind, change, words = HUGE[name]
    document, content = copy.deepcopy(fitted(kind)[1]), fitted(kind)[2]
    change(document)
    write(tmp_path / "model", document, content)
    [outcome] = guard.run(answer_all, [Case(kind, 0, tmp_path / "model", name)])
    assert (outcome.fault, outcome.error) == ("", "ModelFileError"), outcome
    assert str(tmp_path) in outcome.text and words in outcome.text


def cases(kind: str, seed: int, folder: Path, first: int = 0) -> Iterator[Case]:
    """Write case after case; of those before only the last hundred are kept."""
    number = first
    while True:
        yield forge(kind, number, seed, folder / f"{number}")
        shutil.rmtree(folder / f"{number - 100}", ignore_errors=True)
        number += 1


def report(kind: str, outcomes: list[guard.Outcome]) -> str:
    """Count outcomes, and name the slowest and the largest."""
    counts = Counter(o.error or o.answer for o in outcomes)
    slowest, largest = max(o.seconds for o in outcomes), max(o.memory for o in outcomes)
    return f"{kind}: {len(outcomes)} cases, {dict(counts)}, {slowest:.2f} s, {largest / 1e6:.0f} MB"


def test_every_model_is_here() -> None:
    assert set(MODELS) == set(TINY)


@pytest.mark.parametrize("kind", sorted(MODELS))
def test_changed_models_are_right_or_refused(kind: str, tmp_path: Path) -> None:
    for images in (False, True):
        _, document, content = fitted(kind, images)
        write(tmp_path / "whole", copy.deepcopy(document), content)
        assert answer_all(Case(kind, 0, tmp_path / "whole", "")) == "answered"
    seconds, outcomes = guard.SECONDS / len(MODELS), []
    for outcome in guard.run(answer_all, cases(kind, guard.SEED, tmp_path), seconds=seconds):
        outcomes.append(outcome)
        case = outcome.case
        again = f"repeat by python tests/fuzz/test_models.py {guard.SEED} {kind} {case.number}"
        assert not outcome.fault, f"{outcome.fault}: {outcome.text}\n{case.changes}\n{again}"
    print(report(kind, outcomes))
    assert len(outcomes) > 5
    assert any(o.error for o in outcomes)


if __name__ == "__main__":
    _seed, _kind, _number = sys.argv[1:]
    with tempfile.TemporaryDirectory() as _folder:
        _case = forge(_kind, int(_number), int(_seed), Path(_folder) / "model")
        print(_case.changes)
        print(answer_all(_case))
