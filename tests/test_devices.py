"""Where networks compute, on a machine without any accelerator: torch's "meta" device stands for one.

It has shapes and types but no numbers. Under `accelerator` a copy to the host is zeros, where `Tensor.cpu`
makes none, and generators of the device are the host's; networks that are elsewhere than their items, and
results that do not come back, still fail.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from genmix import load
from genmix.base import device, estimator, persistence
from genmix.base.persistence import ModelFileError
from test_bad_input import MODELS, TWO_CLASSES, TWO_GROUPS
from test_baselines import TINY_MODELS

NEURAL = ("GANMixture", "DNNMixture", "ClusterGAN", "DCN", "DEC", "DynAE", "FixMatch", "StackedAutoencoder",
          "SupervisedOnly", "VaDE")  # fmt: skip

pytestmark = pytest.mark.filterwarnings("ignore")  # dead components, no convergence


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {name: MODELS[name](2).fit(TWO_GROUPS, TWO_CLASSES).save(folder / name) for name in NEURAL}


@pytest.fixture
def accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    known, host, generator = device.resolve_device, torch.Tensor.cpu, torch.Generator

    def resolve(name: Any) -> torch.device:
        return torch.device("meta") if str(name) == "cuda" else known(name)

    for module in (device, estimator, persistence):
        monkeypatch.setattr(module, "resolve_device", resolve)
    zeros = lambda t: torch.zeros(t.shape, dtype=t.dtype) if t.is_meta else host(t)  # noqa: E731
    monkeypatch.setattr(torch.Tensor, "cpu", zeros)
    monkeypatch.setattr(torch, "Generator", lambda device=None: generator())


def places(model: Any) -> set[str]:
    networks = [value for value in vars(model).values() if isinstance(value, nn.Module)]
    assert networks
    return {p.device.type for network in networks for p in network.state_dict().values()}


@pytest.mark.parametrize("name", NEURAL)
def test_a_loaded_model_computes_on_its_device(
    name: str, folders: dict[str, Path], accelerator: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(folders[name], device="cuda")
    assert model.device == "cuda" and places(model) == {"meta"}
    forward, seen = nn.Module.__call__, set[str]()

    def recorded(module: nn.Module, *inputs: Any) -> Any:
        seen.update(x.device.type for x in inputs)
        return forward(module, *inputs)

    monkeypatch.setattr(nn.Module, "__call__", recorded)
    if hasattr(model, "predict"):
        assert model.predict_proba(TWO_GROUPS).shape == (20, 2)
    if hasattr(model, "transform"):
        Z = model.transform(TWO_GROUPS)
        assert model.inverse_transform(Z).shape == (20, 2)
    if hasattr(model, "sample"):
        assert model.sample(5)[0].shape == (5, 2)
    assert seen == {"meta"} and places(model) == {"meta"}


@pytest.mark.parametrize("name", NEURAL)
def test_pickles_of_a_model_on_a_device_load_without_it(
    name: str, folders: dict[str, Path], accelerator: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = pickle.dumps(model := load(folders[name], device="cuda"))
    assert places(model) == {"meta"}  # pickling leaves the model where it is
    assert places(pickle.loads(content)) == {"meta"}  # noqa: S301 - our own
    monkeypatch.undo()
    again = pickle.loads(content)  # noqa: S301 - our own
    assert again.device == "cuda" and places(again) == {"cpu"}
    verb = again.predict_proba if hasattr(again, "predict") else again.transform
    assert np.isfinite(verb(TWO_GROUPS)).all()


@pytest.mark.parametrize("name", ["GANMixture", "DEC", "KMeans"])
def test_a_pickled_model_answers_as_before(name: str) -> None:
    model = MODELS[name](2).fit(TWO_GROUPS)
    again = pickle.loads(pickle.dumps(model))  # noqa: S301 - our own
    np.testing.assert_array_equal(again.predict_proba(TWO_GROUPS), model.predict_proba(TWO_GROUPS))


def test_a_model_saved_on_a_device_loads_without_it(folders: dict[str, Path], tmp_path: Path) -> None:
    model = load(folders["DEC"]).set_params(device="cuda:7")
    again = load(model.save(tmp_path / "model"))
    assert again.device == "cuda:7" and places(again) == {"cpu"}
    np.testing.assert_array_equal(again.predict(TWO_GROUPS), model.predict(TWO_GROUPS))
    model.set_params(device=torch.device("cpu"))
    assert load(model.save(tmp_path / "model")).device == "cpu"


def test_a_device_that_is_not_there_is_refused_when_asked_for(folders: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match="device='cuda:7' cannot be used here") as caught:
        load(folders["DEC"], device="cuda:7")
    assert not isinstance(caught.value, ModelFileError)  # the files are fine


@pytest.mark.parametrize("name", ["DNNMixture", "ClusterGAN", "DynAE"])
def test_labels_that_require_gradients_and_checkpoints(name: str, tmp_path: Path) -> None:
    y = torch.tensor(TWO_CLASSES, dtype=torch.float64, requires_grad=True)
    found = MODELS[name](2).fit(TWO_GROUPS, y, checkpoint=tmp_path).labels_
    np.testing.assert_array_equal(found, MODELS[name](2).fit(TWO_GROUPS, TWO_CLASSES).labels_)


def test_weights_and_labels_on_a_device_and_checkpoints(tmp_path: Path, accelerator: None) -> None:
    """What is told apart by its fingerprint comes to the host first."""
    from genmix.training.checkpoint import Checkpoint
    from genmix.training.engine import Engine

    elsewhere = torch.zeros(20, device="meta", requires_grad=True)
    model = TINY_MODELS["DEC"](2)
    Checkpoint(tmp_path, model, (TWO_GROUPS, elsewhere, elsewhere), Engine("cpu", 0))
