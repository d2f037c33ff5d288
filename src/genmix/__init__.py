"""genmix: deep generative mixture models with scikit-learn's verbs."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from genmix.base.registry import MODELS as _MODELS
from genmix.base.version import __version__ as __version__

if TYPE_CHECKING:
    from genmix import datasets
    from genmix.base.estimator import (
        DeadComponentWarning,
        DuplicateComponentWarning,
        UnstablePartitionWarning,
    )
    from genmix.base.persistence import ModelFileError, load
    from genmix.dnnmm.model import DNNMixture
    from genmix.dnnmm.networks import MinMaxStep
    from genmix.evaluation import metrics
    from genmix.ganmm.e_step import ClassifierEStep
    from genmix.ganmm.m_step import MStep
    from genmix.ganmm.model import GANMixture
    from genmix.training.augment import Affine, ColorJitter, NeighborSwap
    from genmix.training.infomax import InfoMaxInit

#: Public names beside the models, and their modules; loaded when first used: importing genmix stays quick.
_HOMES = {
    "MinMaxStep": "dnnmm.networks",
    "ClassifierEStep": "ganmm.e_step",
    "MStep": "ganmm.m_step",
    "InfoMaxInit": "training.infomax",
    "Affine": "training.augment",
    "ColorJitter": "training.augment",
    "NeighborSwap": "training.augment",
    "DeadComponentWarning": "base.estimator",
    "DuplicateComponentWarning": "base.estimator",
    "UnstablePartitionWarning": "base.estimator",
    "load": "base.persistence",
    "ModelFileError": "base.persistence",
}
#: Modules by the name under which they are public.
_MODULES = {
    "datasets": "datasets",
    "metrics": "evaluation.metrics",
    "tuning": "evaluation.tuning",
    "compare": "evaluation.compare",
    "baselines": "baselines",
    "evaluation": "evaluation",
}

__all__ = [
    "Affine",
    "ClassifierEStep",
    "ColorJitter",
    "DNNMixture",
    "DeadComponentWarning",
    "DuplicateComponentWarning",
    "GANMixture",
    "InfoMaxInit",
    "MStep",
    "MinMaxStep",
    "ModelFileError",
    "NeighborSwap",
    "UnstablePartitionWarning",
    "datasets",
    "load",
    "metrics",
]


def __getattr__(name: str) -> Any:
    if name in _MODELS and name in __all__:
        value = _MODELS[name].load_class()
    elif name in _HOMES:
        value = getattr(import_module(f"genmix.{_HOMES[name]}"), name)
    elif name in _MODULES:
        value = import_module(f"genmix.{_MODULES[name]}")
    else:
        raise AttributeError(f"module 'genmix' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
