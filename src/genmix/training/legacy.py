"""Settings of the two mixtures as genmix 0.1 saved them, brought to those of today.

What a class and a name became at every place is `encoding.rename_settings`; here settings move, and some are
constants today.
"""

from __future__ import annotations

import warnings
from dataclasses import asdict
from typing import Any

from genmix.nn.adversarial import OBJECTIVES

Record = dict[str, Any]

_INFOMAX = {
    "networks": "n_candidates", "heads": "n_heads", "trial_steps": "screening_steps",
    "balance": "marginal_entropy_weight",
}  # fmt: skip
_MINMAX = {
    "information": "information_weight", "cycle": "cycle_weight", "adversarial": "adversarial_weight",
    "recognition": "recognition_weight", "encoder_rate": "encoder_lr",
    "encoder_pretraining": "encoder_pretrain_steps", "generator_pretraining": "generator_pretrain_steps",
}  # fmt: skip
#: What 0.1 had by default of settings that are constants today.
_CONSTANTS: dict[str, Record] = {
    "InfoMaxInit": {"teach_steps": 100, "sharpness": 0.2, "batch_size": 256},
    "ClassifierEStep": {
        "loss": "cross_entropy", "single_class": False, "optimizer": "adam", "augment_generated": True,
        "real_batch_size": 256, "information_balance": 0.5, "extras": "highest", "pool": None,
        "freeze_dense_output": False,
    },
    "MinMaxStep": {
        "encoder_average": 0.98, "encoder_cycle": 0.0, "conditional": True, "augment": True,
        "discriminator_pretraining": 0, "generator_lr": 1e-3, "discriminator_rate": 1e-3,
    },
    "DNNMixture": {
        "radius": 4.0, "em": "online", "weight_step": "closed-form", "weight_concentration": 1.1,
        "min_iter": 20,
    },
}  # fmt: skip


def upgrade_ganmm(parameters: Record) -> Record:
    """Bring the arguments of a `GANMixture` to those of today."""
    lost = list[str]()
    e_step, m_step, epsilon = (parameters.pop(name) for name in ("e_step", "m_step", "epsilon"))
    if isinstance(e_step, dict) and e_step["$type"] == "CriticEStep":
        e_step = "standardized-critic" if e_step["centred"] else "critic"
    elif isinstance(e_step, dict):
        if e_step["optimizer"] == "rmsprop":  # of a preset
            of_code = "CodeEStep" if e_step["freeze_dense_output"] else "CodesEStep"
            e_step["$type"] = of_code if e_step["single_class"] else "PaperEStep"
        generated, real = e_step.pop("generated"), e_step.pop("real")
        e_step = _moved(e_step, "ClassifierEStep", {"balance": "sinkhorn_strength"}, lost)
        e_step |= {"real_weight": 0.0 if real is None else 1.0}
        e_step |= {} if generated else {"generated_weight": 0.0}
    m_step = m_step if isinstance(m_step, dict) else {"$type": "MStep", "objective": m_step, "revive": True}
    m_step["objective"] = _objective(m_step["objective"], lost)
    if not m_step.pop("revive"):
        m_step["$type"] = "CodeMStep" if m_step["objective"] == "wgan-2018-code" else "PaperMStep"
    m_step |= {} if epsilon == "auto" else {"epsilon": epsilon}
    return _common(parameters | {"e_step": e_step, "m_step": m_step}, lost)


def upgrade_dnnmm(parameters: Record) -> Record:
    """Bring the arguments of a `DNNMixture` to those of today."""
    lost = list[str]()
    step, latent_dim = parameters.pop("step") or {"$type": "MinMaxStep"}, parameters.pop("latent_dim")
    if "objective" in step:
        step["objective"] = _objective(step["objective"], lost)
    if not (step.get("conditional", True) or step["augment"]):
        step["$type"], parameters["weight_step"] = "PaperStep", "closed-form"
    step = _moved(step, "MinMaxStep", _MINMAX, lost) | {"latent_dim": latent_dim}
    parameters = _moved({"$type": "DNNMixture", **parameters}, "DNNMixture", {}, lost)
    parameters.pop("$type")
    return _common(parameters | {"m_step": step}, lost)


def _common(parameters: Record, lost: list[str]) -> Record:
    """Bring the arguments to today's that both models have, and say what is lost."""
    init = parameters.pop("start")
    if isinstance(init, dict) and init.get("$type") == "InfoMaxInit":
        init = _moved(init, "InfoMaxInit", _INFOMAX, lost)
    init = "infomax" if isinstance(init, str) and init == "information" else init
    parameters["init"] = "fitted" if parameters.pop("warm_start") else init
    if lost:
        warnings.warn(
            f"genmix 0.1 saved settings that are none today: {', '.join(lost)}; the model answers as it did, "
            "another fit takes today's",
            stacklevel=5,
        )
    return parameters


def _moved(settings: Record, kind: str, names: dict[str, str], lost: list[str]) -> Record:
    """Rename settings and leave out what is constant today; `lost` takes what differs in a `kind`."""
    constants = {name: value for name, value in _CONSTANTS[kind].items() if name in settings}
    if settings["$type"] == kind:
        lost += [f"{name}={settings[name]!r}" for name, value in constants.items() if settings[name] != value]
    return {names.get(name, name): value for name, value in settings.items() if name not in constants}


def _objective(value: Any, lost: list[str]) -> str:
    """Name of the objective whose settings these are."""
    if isinstance(value, str):
        return value
    settings = {name: tuple(one["$tuple"]) if isinstance(one, dict) else one for name, one in value.items()}
    names = [n for n, one in OBJECTIVES.items() if {"$type": "Adversarial", **asdict(one)} == settings]
    lost += [] if names else ["objective"]
    return names[0] if names else "r1"
