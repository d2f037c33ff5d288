"""Every model, entered here and nowhere else: its name on the command line, its class, its use of labels."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, get_args


@dataclass(frozen=True)
class Model:
    """A model that can be saved and, where it has a name, chosen by a word."""

    name: str | None  # for the command line and comparisons; None for what is no clusterer
    cls: str
    module: str  # of the class; imported when it is first used
    labels: Literal["none", "optional", "needed"] = "none"  # whether `fit` learns from them

    def load_class(self) -> Any:
        """Import the class."""
        return getattr(import_module(self.module), self.cls)


#: Models by class.
MODELS = {
    model.cls: model
    for model in (
        Model("ganmm", "GANMixture", "genmix.ganmm.model"),
        Model("dnnmm", "DNNMixture", "genmix.dnnmm.model", "optional"),
        Model("kmeans", "KMeans", "genmix.baselines.classical"),
        Model("gmm", "GaussianMixture", "genmix.baselines.classical"),
        Model("ss-kmeans", "SemiSupervisedKMeans", "genmix.baselines.classical", "optional"),
        Model("dec", "DEC", "genmix.baselines.dec"),
        Model("dcn", "DCN", "genmix.baselines.dcn"),
        Model("vade", "VaDE", "genmix.baselines.vade"),
        Model("dynae", "DynAE", "genmix.baselines.dynae", "optional"),
        Model("clustergan", "ClusterGAN", "genmix.baselines.clustergan", "optional"),
        Model("label-spreading", "LabelSpreading", "genmix.baselines.semisupervised", "needed"),
        Model("self-training", "SelfTraining", "genmix.baselines.semisupervised", "needed"),
        Model("supervised-only", "SupervisedOnly", "genmix.baselines.supervised", "needed"),
        Model("fixmatch", "FixMatch", "genmix.baselines.supervised", "needed"),
        Model(None, "StackedAutoencoder", "genmix.baselines.coders"),
    )
}
#: Models by name.
NAMED = {model.name: model for model in MODELS.values() if model.name is not None}

if TYPE_CHECKING:
    Name = str
else:  # the command line lists the choices of a Literal
    Name = Literal[tuple(NAMED)]


def find_class(name: str) -> Any:
    """Class of a name; ValueError for one that is unknown."""
    if name not in NAMED:
        raise ValueError(f"model {name!r} is unknown; expected one of {', '.join(NAMED)}")
    return NAMED[name].load_class()


def build(name: str, components: int, preset: str | None, settings: Mapping[str, Any]) -> Any:
    """Make an unfitted model, whose `fit` will check the values.

    Parameters
    ----------
    name : str
        A key of `NAMED`.
    components : int
        Number of components.
    preset : str or None
        Named settings to start from.
    settings : mapping of str to object
        Constructor parameters, also nested ones such as ``"m_step__steps"``; they win over those of the
        preset. A dictionary stands for a settings object: ``{"steps": 5}`` for ``MinMaxStep(steps=5)``; where
        several kinds are possible, ``"type"`` names one.

    Raises
    ------
    ValueError
        If the model has no preset or parameter of a given name.
    """
    kind = find_class(name)
    valid = parameters(name)
    if unknown := sorted(setting for setting in settings if setting.partition("__")[0] not in valid):
        raise ValueError(
            f"{kind.__name__} has no parameter {', '.join(map(repr, unknown))}; it has {', '.join(valid)}"
        )
    arguments = {n: _settings_object(kind, n, value) for n, value in settings.items() if n in valid}
    nested = {n: value for n, value in settings.items() if n not in valid}
    make = kind if preset is None else partial(kind.preset, preset)
    return make(components, **arguments).set_params(**nested)


def _settings_object(kind: Any, parameter: str, value: Any) -> Any:
    """Make the settings object that a dictionary stands for; dictionaries of networks stay what they are."""
    from genmix.base.validation import argument_kinds, short_repr

    if not isinstance(value, Mapping) or (parameter == "networks" and "type" not in value):
        return value
    known = kind._settings
    fitting = [one.__name__ for one in get_args(argument_kinds(kind)[parameter]) if one in known.values()]
    if parameter in kind._default_settings:
        default = inspect.signature(kind).parameters[parameter].default
        fitting = [type(kind._default_settings[parameter](default)).__name__]
    name = value.get("type", fitting[0] if fitting else None)
    if name is None:
        raise ValueError(
            f"{parameter}={short_repr(value)}: name what it is by type=..., one of {', '.join(sorted(known))}"
        )
    if name not in known:
        raise ValueError(f"{parameter}: type={short_repr(name)}: expected one of {', '.join(known)}")
    valid = argument_kinds(known[name])
    arguments = {setting: one for setting, one in value.items() if setting != "type"}
    if unknown := sorted(set(arguments) - set(valid)):
        raise ValueError(f"{parameter}: {name} has no {unknown[0]!r}; it has {', '.join(valid)}")
    return known[name](**arguments)


def parameters(name: str) -> list[str]:
    """Names of a model's constructor parameters in alphabetical order, but for `n_components`."""
    return sorted(set(inspect.signature(find_class(name)).parameters) - {"n_components"})


def keeps_checkpoints(model: Any) -> bool:
    """Whether `fit` of a class or model can go on where it was stopped."""
    return "checkpoint" in inspect.signature(model.fit).parameters
