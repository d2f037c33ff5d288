"""One place in which a model is entered, and a base that imports nothing above it."""

from __future__ import annotations

import subprocess
import sys
from inspect import signature
from pathlib import Path

import pytest

import genmix
from genmix.base import registry
from genmix.base.estimator import BaseModel

BASE = sorted(path.stem for path in Path(registry.__file__).parent.glob("[!_]*.py"))


def loaded_by(statement: str) -> set[str]:
    """Modules that a fresh interpreter has after a statement."""
    command = [sys.executable, "-c", f"{statement}; import sys; print(*sys.modules)"]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


def test_base_imports_nothing_above_it() -> None:
    found = loaded_by("; ".join(f"import genmix.base.{name}" for name in BASE))
    ours = {name for name in found if name.startswith("genmix")}
    assert ours == {"genmix", "genmix.base", *(f"genmix.base.{name}" for name in BASE)}


def test_asking_for_models_by_name_is_quick() -> None:
    assert not {"torch", "sklearn", "numpy"} & loaded_by("import genmix.base.registry")


@pytest.mark.parametrize("model", registry.MODELS.values(), ids=registry.MODELS)
def test_every_model_is_a_class_of_that_name(model: registry.Model) -> None:
    kind = model.load_class()
    assert issubclass(kind, BaseModel) and (kind.__name__, kind.__module__) == (model.cls, model.module)
    assert model.name is None or next(iter(signature(kind).parameters)) == "n_components"


def test_every_estimator_is_entered_once() -> None:
    def below(kind: type) -> set[type]:
        return {kind}.union(*map(below, kind.__subclasses__()))

    for model in registry.MODELS.values():
        model.load_class()
    ours = {kind.__name__ for kind in below(BaseModel) if kind.__module__.startswith("genmix.")}
    public = {name for name in ours if not name.startswith("_")}
    shared = {"BaseModel", "BaseClusterer", "BaseMixture", "Baseline", "Coder", "CodeClusterer", "Flat"}
    assert public - shared == set(registry.MODELS)
    assert len(registry.NAMED) == len([model for model in registry.MODELS.values() if model.name])


def test_the_package_gives_its_two_models() -> None:
    assert genmix.GANMixture is registry.find_class("ganmm") and genmix.DNNMixture is registry.find_class(
        "dnnmm"
    )
    with pytest.raises(AttributeError, match="no attribute 'KMeans'"):
        genmix.KMeans  # noqa: B018
