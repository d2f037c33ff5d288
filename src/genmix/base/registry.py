"""Every model by a short name, for whoever chooses one by a word: the command line, comparisons."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from importlib import import_module
from typing import Any, Literal, get_args

from genmix.base.persistence import MODELS

Name = Literal[
    "ganmm",
    "dnnmm",
    "kmeans",
    "gmm",
    "ss-kmeans",
    "dec",
    "dcn",
    "vade",
    "dynae",
    "clustergan",
    "label-spreading",
    "self-training",
    "supervised-only",
    "fixmatch",
]

#: Name -> class.
CLASSES: dict[str, str] = {
    "ganmm": "GANMixture",
    "dnnmm": "DNNMixture",
    "kmeans": "KMeans",
    "gmm": "GaussianMixture",
    "ss-kmeans": "SemiSupervisedKMeans",
    "dec": "DEC",
    "dcn": "DCN",
    "vade": "VaDE",
    "dynae": "DynAE",
    "clustergan": "ClusterGAN",
    "label-spreading": "LabelSpreading",
    "self-training": "SelfTraining",
    "supervised-only": "SupervisedOnly",
    "fixmatch": "FixMatch",
}
#: These cannot do without labels, the others in `LEARN_LABELS` can.
NEED_LABELS = ("label-spreading", "self-training", "supervised-only", "fixmatch")
LEARN_LABELS = ("dnnmm", "ss-kmeans", "dynae", "clustergan", *NEED_LABELS)


def find_class(name: str) -> Any:
    """Class of a name.

    Raises
    ------
    ValueError
        Unknown name.
    """
    if name not in CLASSES:
        raise ValueError(f"model {name!r} is unknown; expected one of {', '.join(CLASSES)}")
    return getattr(import_module(MODELS[CLASSES[name]]), CLASSES[name])


def build(name: str, components: int, preset: str | None, settings: Mapping[str, Any]) -> Any:
    """Make an unfitted model.

    Parameters
    ----------
    name : str
        A key of `CLASSES`.
    components : int
        Number of components.
    preset : str or None
        Named settings to start from.
    settings : mapping of str to object
        Constructor parameters; they win over those of the preset. A dictionary stands for a settings object:
        ``{"steps": 5}`` for ``MinMaxStep(steps=5)``; where several kinds are possible, ``"type"`` names one.

    Returns
    -------
    estimator
        As the constructor made it; its ``fit`` checks the values.

    Raises
    ------
    ValueError
        If the model has no preset or parameter of a given name.
    """
    kind = find_class(name)
    valid = parameters(name)
    unknown = sorted(set(settings) - set(valid))
    if unknown:
        raise ValueError(
            f"{kind.__name__} has no parameter {', '.join(map(repr, unknown))}; it has {', '.join(valid)}"
        )
    made = {parameter: _settings_object(kind, parameter, value) for parameter, value in settings.items()}
    if preset is not None:
        return kind.preset(preset, components, **made)
    return kind(n_components=components, **made)


def _settings_object(kind: Any, parameter: str, value: Any) -> Any:
    """Make the settings object that a dictionary stands for; dictionaries of networks stay what they are."""
    from genmix.base.validation import argument_kinds, short_repr

    known = kind._settings
    fitting = [one.__name__ for one in get_args(argument_kinds(kind)[parameter]) if one in known.values()]
    if not isinstance(value, Mapping) or (parameter == "networks" and "type" not in value):
        return value
    if not ("type" in value or fitting):
        raise ValueError(
            f"{parameter}={short_repr(value)}: name what it is by type=..., one of {', '.join(sorted(known))}"
        )
    name = value["type"] if "type" in value else fitting[0]
    if name not in known:
        raise ValueError(f"{parameter}: type={short_repr(name)}: expected one of {', '.join(known)}")
    valid = argument_kinds(known[name])
    given = {setting: one for setting, one in value.items() if setting != "type"}
    if unknown := sorted(set(given) - set(valid)):
        raise ValueError(f"{parameter}: {name} has no {unknown[0]!r}; it has {', '.join(valid)}")
    return known[name](**given)


def parameters(name: str) -> list[str]:
    """Names of a model's constructor parameters in alphabetical order, but for `n_components`."""
    return sorted(set(inspect.signature(find_class(name)).parameters) - {"n_components"})


def keeps_checkpoints(model: Any) -> bool:
    """Whether `fit` of a class or model can go on where it was stopped."""
    return "checkpoint" in inspect.signature(model.fit).parameters
