"""genmix: deep generative mixture models with scikit-learn's verbs."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from genmix import datasets, metrics
    from genmix._base import DeadComponentWarning, DuplicateComponentWarning
    from genmix.augment import Affine, ColorJitter, Neighbors
    from genmix.components import MStep
    from genmix.dnnmm import DNNMixture
    from genmix.estep import ClassifierEStep, CriticEStep
    from genmix.gan import Adversarial
    from genmix.ganmm import GANMixture
    from genmix.minmax import MinMaxStep
    from genmix.persistence import ModelFileError, load
    from genmix.starts import InformationStart

__version__ = "0.1.0"

#: Public names and where they live; loaded when first used, so that importing genmix stays quick.
_HOMES = {
    "GANMixture": "ganmm",
    "DNNMixture": "dnnmm",
    "MinMaxStep": "minmax",
    "ClassifierEStep": "estep",
    "CriticEStep": "estep",
    "MStep": "components",
    "Adversarial": "gan",
    "InformationStart": "starts",
    "Affine": "augment",
    "ColorJitter": "augment",
    "Neighbors": "augment",
    "DeadComponentWarning": "_base",
    "DuplicateComponentWarning": "_base",
    "load": "persistence",
    "ModelFileError": "persistence",
}
_MODULES = ("datasets", "metrics")

__all__ = [
    "Adversarial",
    "Affine",
    "ClassifierEStep",
    "ColorJitter",
    "CriticEStep",
    "DNNMixture",
    "DeadComponentWarning",
    "DuplicateComponentWarning",
    "GANMixture",
    "InformationStart",
    "MStep",
    "MinMaxStep",
    "ModelFileError",
    "Neighbors",
    "datasets",
    "load",
    "metrics",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(import_module(f"genmix.{_HOMES[name]}"), name)
    elif name in _MODULES:
        value = import_module(f"genmix.{name}")
    else:
        raise AttributeError(f"module 'genmix' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
