"""Arguments that genmix 0.1 saved under other names, brought to those of today."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from genmix.nn.adversarial import OBJECTIVES

Record = dict[str, Any]

#: Names of 0.1 and of today, of settings that both have.
_INFOMAX = {
    "steps": "steps", "networks": "n_candidates", "heads": "n_heads", "partitions": "partitions",
    "trial_steps": "screening_steps", "rate": "lr", "balance": "marginal_entropy_weight",
}  # fmt: skip
_E_STEP = {
    "steps": "steps", "batch_size": "batch_size", "rate": "lr", "generated_weight": "generated_weight",
    "prior": "prior", "balance": "sinkhorn_strength",
}  # fmt: skip
_M_STEP = {name: name for name in ("steps", "pretrain_steps", "batch_size", "latent_dim")} | {
    "average": "ema_decay"
}
_MINMAX = {
    "steps": "steps", "batch_size": "batch_size", "labelled_batch_size": "labelled_batch_size",
    "generated_batch_size": "generated_batch_size", "encoder_rate": "encoder_lr",
    "information": "information_weight", "cycle": "cycle_weight", "adversarial": "adversarial_weight",
    "recognition": "recognition_weight", "average": "ema_decay",
    "encoder_pretraining": "encoder_pretrain_steps", "generator_pretraining": "generator_pretrain_steps",
}  # fmt: skip
#: What 0.1 had by default of settings that are constants today.
_CONSTANTS: dict[str, Record] = {
    "InformationStart": {"teach_steps": 100, "sharpness": 0.2, "batch_size": 256},
    "ClassifierEStep": {
        "loss": "cross_entropy", "single_class": False, "optimizer": "adam", "augment_generated": True,
        "real_batch_size": 256, "information_balance": 0.5, "extras": "highest", "pool": None,
        "freeze_dense_output": False,
    },
    "MStep": {"revive": True},
    "MinMaxStep": {
        "encoder_average": 0.98, "encoder_cycle": 0.0, "conditional": True, "augment": True,
        "discriminator_pretraining": 0, "generator_rate": 1e-3, "discriminator_rate": 1e-3,
    },
    "DNNMixture": {
        "radius": 4.0, "em": "online", "weight_step": "closed-form", "weight_concentration": 1.1,
        "min_iter": 20,
    },
}  # fmt: skip


def upgrade_ganmm(meta: Mapping[str, Any]) -> Record:
    """Bring the record of a `GANMixture` that genmix 0.1 saved to the names of today."""
    old, lost = dict(meta["parameters"]), list[str]()
    parameters = _common(old, lost)
    e_step = old.pop("e_step")
    if isinstance(e_step, dict) and e_step["$type"] == "CriticEStep":
        parameters["e_step"] = "standardized-critic" if e_step["centred"] else "critic"
    elif isinstance(e_step, dict):
        published = e_step["optimizer"] == "rmsprop"
        of_code = "CodeEStep" if e_step["freeze_dense_output"] else "CodesEStep"
        kind = (of_code if e_step["single_class"] else "PaperEStep") if published else "ClassifierEStep"
        real = {"real_weight": 0.0 if e_step["real"] is None else 1.0}
        new = {"$type": kind} | _renamed(e_step, _E_STEP) | real
        parameters["e_step"] = new | ({} if e_step["generated"] else {"generated_weight": 0.0})
        lost += [] if published else _lost(e_step)
    else:
        parameters["e_step"] = e_step
    m_step, epsilon = old.pop("m_step"), old.pop("epsilon")
    if isinstance(m_step, dict):
        objective = _objective(m_step["objective"], lost)
        code = objective == "wgan-2018-code"
        kind = "MStep" if m_step["revive"] else "CodeMStep" if code else "PaperMStep"
        new = {"$type": kind, **_renamed(m_step, _M_STEP), "objective": objective}
    else:
        new = {"$type": "MStep", "objective": m_step}
    parameters["m_step"] = new | ({} if epsilon == "auto" else {"epsilon": epsilon})
    return _finished(meta, parameters | old, lost)


def upgrade_dnnmm(meta: Mapping[str, Any]) -> Record:
    """Bring the record of a `DNNMixture` that genmix 0.1 saved to the names of today."""
    old, lost = dict(meta["parameters"]), list[str]()
    parameters = _common(old, lost)
    constants = {name: old.pop(name) for name in _CONSTANTS["DNNMixture"]}
    step, latent_dim = old.pop("step"), old.pop("latent_dim")
    published = step is not None and not step["conditional"] and not step["augment"]
    if step is not None:
        new = {"$type": "PaperStep" if published else "MinMaxStep", **_renamed(step, _MINMAX)}
        parameters["m_step"] = {
            **new,
            "objective": _objective(step["objective"], lost),
            "latent_dim": latent_dim,
        }
        lost += [] if published else _lost(step)
    elif latent_dim is not None:
        parameters["m_step"] = {"$type": "MinMaxStep", "latent_dim": latent_dim}
    lost += _lost(
        {"$type": "DNNMixture", **constants, **({"weight_step": "closed-form"} if published else {})}
    )
    return _finished(meta, parameters | old, lost)


def _common(old: Record, lost: list[str]) -> Record:
    """Take what both models have out of their old arguments, under today's names."""
    start = old.pop("start")
    if isinstance(start, dict) and start.get("$type") == "InformationStart":
        lost += _lost(start)
        start = {"$type": "InfoMaxInit", **_renamed(start, _INFOMAX)}
    start = "infomax" if isinstance(start, str) and start == "information" else start
    parameters: Record = {"init": "fitted" if old.pop("warm_start") else start}
    augmentation = old.pop("augmentation")
    if isinstance(augmentation, dict) and augmentation.get("$type") == "Neighbors":
        augmentation = augmentation | {"$type": "NeighborSwap"}
    elif isinstance(augmentation, dict) and augmentation.get("$type") == "ColorJitter":
        strength = augmentation["contrast"] / 0.3
        shares = {"brightness": 0.1, "balance": 0.15, "contrast": 0.3, "saturation": 0.3}
        if any(abs(augmentation[name] - strength * one) > 1e-9 for name, one in shares.items()):
            lost.append("ColorJitter's brightness, balance and saturation")
        augmentation = {"$type": "ColorJitter", "affine": augmentation["affine"], "strength": strength}
    networks, options = old.pop("networks"), {"slope": "negative_slope", "squash": "sigmoid_output"}
    if isinstance(networks, dict):
        networks = {
            role: {options.get(name, name): value for name, value in choice.items()}
            if isinstance(choice, dict)
            else choice
            for role, choice in networks.items()
        }
    return parameters | {"augmentation": augmentation, "networks": networks}


def _renamed(settings: Mapping[str, Any], names: Mapping[str, str]) -> Record:
    return {new: settings[old] for old, new in names.items()}


def _lost(settings: Mapping[str, Any]) -> list[str]:
    """List the settings that are constants today and differ from them."""
    constants = _CONSTANTS[settings["$type"]]
    return [f"{name}={settings[name]!r}" for name, value in constants.items() if settings[name] != value]


def _objective(value: Any, lost: list[str]) -> str:
    """Name of the objective whose settings these are."""
    if isinstance(value, str):
        return value
    old = {name: tuple(one["$tuple"]) if isinstance(one, dict) else one for name, one in value.items()}
    settings = {name.replace("_rate", "_lr"): one for name, one in old.items() if name != "$type"}
    for name, objective in OBJECTIVES.items():
        if asdict(objective) == settings:
            return name
    lost.append("objective")
    return "r1"


def _finished(meta: Mapping[str, Any], parameters: Record, lost: list[str]) -> Record:
    if lost:
        warnings.warn(
            f"genmix 0.1 saved settings that are none today: {', '.join(lost)}; the model answers as it did, "
            "another fit takes today's",
            stacklevel=4,
        )
    fitted = {"selection_score_" if name == "criterion_" else name: v for name, v in meta["fitted"].items()}
    for record in fitted["history_"]:
        if "revived" in record:
            record["reinitialized"] = record.pop("revived")
    return {**meta, "parameters": parameters, "fitted": fitted}


__all__ = ["upgrade_dnnmm", "upgrade_ganmm"]
