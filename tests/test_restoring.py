"""What a loaded model is checked for, field by field; `fuzz/test_models.py` tries what nobody thought of."""

from __future__ import annotations

import copy
import hashlib
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

import genmix
from genmix.base import persistence
from genmix.base.restoring import at_most, claim
from genmix.nn.stacked import StackedMLP
from test_bad_input import MODELS, TWO_CLASSES, TWO_GROUPS

Document, Tensors = dict[str, Any], dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Document, bytes]]:
    """Give document and tensors of a tiny model of a class, saved."""
    kept: dict[str, tuple[Document, bytes]] = {}

    def files(kind: str) -> tuple[Document, bytes]:
        if kind not in kept:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model = MODELS[kind](2).fit(TWO_GROUPS, TWO_CLASSES)
            kept[kind] = persistence.read_model(model.save(tmp_path_factory.mktemp(kind) / "model"))
        return copy.deepcopy(kept[kind])

    return files


def write(folder: Path, document: Document, tensors: Tensors) -> Path:
    """Write a model whose checksums are right."""
    content = safetensors.torch.save(tensors)
    checksum = hashlib.sha256(content).hexdigest()
    document |= {"sha256": checksum, "tensors": f"model-{checksum[:16]}.safetensors"}
    document["document_sha256"] = persistence._checksum(document)
    folder.mkdir()
    (folder / document["tensors"]).write_bytes(content)
    (folder / "model.json").write_text(json.dumps(document))
    return folder


def of(part: str, name: str, value: Any) -> Callable[[Document, Tensors], None]:
    """Set an argument, a fitted attribute, or an entry of the preprocessing's record."""
    return lambda document, _: document["meta"][part].__setitem__(name, value)


def without(part: str, name: str) -> Callable[[Document, Tensors], None]:
    return lambda document, _: document["meta"][part].pop(name)


def tensor(name: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Document, Tensors], None]:
    return lambda _, tensors: tensors.__setitem__(name, change(tensors[name]).contiguous())


def floats(*values: float) -> dict[str, Any]:
    return {"$array": list(values), "dtype": "float64"}


WRONG: list[tuple[str, Callable[[Document, Tensors], Any], str]] = [
    ("KMeans", tensor("centers", lambda t: t * np.nan), "tensor centers"),
    ("KMeans", tensor("centers", lambda t: t[:, :1]), "tensor centers"),
    ("KMeans", tensor("centers", lambda t: t.long()), "tensor centers"),
    ("KMeans", tensor("centers", lambda t: t.bfloat16()), "tensor centers is torch.bfloat16"),
    ("KMeans", tensor("variance", lambda t: t * 0), "tensor variance"),
    ("KMeans", tensor("variance", lambda t: -t), "tensor variance"),
    ("KMeans", lambda _, t: t.pop("variance"), "tensor 'variance' is missing"),
    ("KMeans", lambda _, t: t.update(more=torch.zeros(1).double()), "tensor 'more' belongs to no such model"),
    ("GaussianMixture", tensor("shares", lambda t: t * 0), "tensor shares"),
    ("GaussianMixture", tensor("shares", lambda t: t / 2), "sum up to 1"),
    ("GaussianMixture", tensor("factors", lambda t: t * 0), "tensor factors"),
    ("GaussianMixture", tensor("factors", lambda t: t + 1), "tensor factors"),
    ("GaussianMixture", of("fitted", "bic_", {"full": "x"}), "bic_"),
    ("GaussianMixture", of("fitted", "covariance_type_", "round"), "covariance_type_"),
    ("LabelSpreading", tensor("neighbors", lambda t: t + 100), "tensor neighbors"),
    ("LabelSpreading", tensor("spread", lambda t: -t - 1), "tensor spread"),
    ("LabelSpreading", without("fitted", "classes_"), "classes_ is missing"),
    ("SelfTraining", tensor("gamma", lambda t: -t), "tensor gamma"),
    ("SelfTraining", tensor("weights", lambda t: t[:1]), "tensor weights"),
    ("DCN", of("fitted", "spread_", 0.0), "spread_=0.0"),
    ("DCN", tensor("centers", lambda t: t[:, :1]), r"tensor centers .* expected torch.float32 of shape"),
    ("ClusterGAN", of("fitted", "variance_", -1.0), "variance_=-1.0"),
    ("ClusterGAN", of("fitted", "centers_", floats(1.0)), "centers_"),
    ("VaDE", tensor("log_variances", lambda t: t * np.inf), "tensor log_variances"),
    ("FixMatch", of("fitted", "classes_", {"$array": [3, 2, 1], "dtype": "int64"}), "classes_"),
    ("DNNMixture", of("fitted", "_head", 7), "_head=7"),
    ("DNNMixture", of("fitted", "_heads", 0), "_heads=0"),
    ("DNNMixture", of("fitted", "means_", {"$array": [[1.0], [2.0]], "dtype": "float64"}), "means_"),
    ("DNNMixture", tensor("encoder.norms.0.norm.running_var", lambda t: -t - 1), "running_var"),
    ("GANMixture", tensor("critic_score_stats", lambda t: t * 0), "critic_score_stats"),
    ("GANMixture", tensor("generator.layers.0.bias", lambda t: t.double()), "generator.layers.0.bias"),
    ("GANMixture", lambda _, t: t.pop("generator.layers.0.bias"), "generator.layers.0.bias' is missing"),
    ("GANMixture", of("parameters", "e_step", "guess"), "e_step='guess'"),
    ("GANMixture", of("parameters", "random_state", [1]), r"random_state=\[1\]"),
    ("GANMixture", of("parameters", "n_components", 2.5), "n_components=2.5"),
    ("GANMixture", of("parameters", "m_step", {"$type": "os.system"}), "m_step: .type is 'os.system'"),
    ("KMeans", of("fitted", "weights_", floats(1.0)), "weights_"),
    ("KMeans", of("fitted", "weights_", floats(0.5, 0.2)), "weights_"),
    ("KMeans", of("fitted", "labels_", {"$array": [0, 2], "dtype": "int64"}), "labels_"),
    ("KMeans", of("fitted", "labels_", {"$array": [[0], [0, 1]], "dtype": "int64"}), "labels_"),
    ("KMeans", of("fitted", "history_", [{"loss": "x"}]), "history_"),
    ("KMeans", of("fitted", "history_", [{"loss": {"$number": "nan"}}]), "history_"),
    ("KMeans", of("fitted", "dead_components_", [2]), "dead_components_"),
    ("KMeans", of("fitted", "duplicate_components_", [[0, 2]]), "duplicate_components_"),
    ("KMeans", of("fitted", "n_features_in_", 3), "n_features_in_=3"),
    ("KMeans", of("fitted", "others_", 3), "unknown attribute 'others_'"),
    ("KMeans", without("fitted", "labels_"), "labels_ is missing"),
    ("KMeans", of("preprocessing", "scale", [1.0, 0.0]), "preprocessing: scale"),
    ("KMeans", of("preprocessing", "scale", [1.0, -1.0]), "preprocessing: scale"),
    ("KMeans", of("preprocessing", "center", [1.0]), "preprocessing: center"),
    ("KMeans", of("preprocessing", "center", [1.0, "x"]), "preprocessing: center"),
    ("KMeans", of("preprocessing", "constant", [2]), "preprocessing: constant"),
    ("KMeans", of("preprocessing", "held", [1.0]), "preprocessing: held"),
    ("KMeans", of("preprocessing", "dtype", "object"), "preprocessing: dtype"),
    ("KMeans", of("preprocessing", "layout", "hwc"), "preprocessing: shape"),
    ("KMeans", of("preprocessing", "layout", "x"), "preprocessing: layout"),
    ("KMeans", without("preprocessing", "scaling"), "preprocessing: 'scaling' is missing"),
    *(
        ("KMeans", lambda document, _, value=value, part=part: document["meta"].update({part: value}), part)
        for part in ("parameters", "preprocessing", "fitted")
        for value in (3, None, [[]], "x")
    ),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(WRONG)))
def test_a_changed_model_is_refused_by_the_name_of_the_field(number: int, saved: Any, tmp_path: Path) -> None:
    kind, change, words = WRONG[number]
    document, content = saved(kind)
    tensors = safetensors.torch.load(content)
    change(document, tensors)
    folder = write(tmp_path / "model", document, tensors)
    with pytest.raises(genmix.ModelFileError, match=words) as caught:
        genmix.load(folder)
    assert str(folder) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", sorted(MODELS))
def test_what_could_not_be_loaded_again_is_not_saved(kind: str, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = MODELS[kind](2).fit(TWO_GROUPS, TWO_CLASSES)
    wrong = {"scaling": 3} if kind == "StackedAutoencoder" else {"n_components": 3}
    with pytest.raises(ValueError, match="scaling" if "scaling" in wrong else "weights_"):
        model.set_params(**wrong).save(tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_answers_that_are_not_finite_are_an_error(saved: Any, tmp_path: Path) -> None:
    """Weights can be finite, and yet too large."""
    document, content = saved("VaDE")
    tensors = {
        name: one * (1e30 if "decoder" in name else 1)
        for name, one in safetensors.torch.load(content).items()
    }
    model = genmix.load(write(tmp_path / "model", document, tensors))
    assert np.isfinite(model.predict_proba(TWO_GROUPS)).all()
    with pytest.raises(ValueError, match="the items made are not finite"):
        model.sample(3)


def test_no_more_is_built_than_a_file_gives_weights_for() -> None:
    def build() -> StackedMLP:
        return StackedMLP(1, (3,), (2,), torch.Generator(), hidden=(4,))

    weights = build().state_dict()
    assert not claim(10**18)  # without a file
    with at_most(weights):
        assert not any(bool(p.any()) for p in build().parameters())
        with pytest.raises(ValueError, match="more weights than the file holds"):
            build()
    with (
        at_most({**weights, "layers.0.bias": torch.zeros(0)}),
        pytest.raises(ValueError, match="more weights"),
    ):
        StackedMLP(1, (3,), (2,), torch.Generator(), hidden=(10**9,))
    with at_most({"one": torch.zeros(10**6)}), pytest.raises(ValueError, match="more weights"):
        build()  # of many tensors
    assert any(bool(p.any()) for p in build().parameters())
