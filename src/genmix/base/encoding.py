"""Arguments and fitted attributes as JSON, and back; only classes that a model names can be made of it."""

from __future__ import annotations

import warnings
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import torch

from genmix.base.persistence import ModelFileError


def encode(value: Any) -> Any:
    """Turn an argument or fitted attribute into JSON.

    A function of the user's is only named: `decode` raises ModelFileError, and the caller gives it again.
    ValueError for anything else that no file can hold.
    """
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, torch.device):
        return str(value)
    if isinstance(value, np.generic):
        return encode(value.item())
    if isinstance(value, (int, float)):
        return value if np.isfinite(value) else {"$number": str(value)}
    if isinstance(value, np.ndarray):
        return {"$array": value.tolist(), "dtype": str(value.dtype)}
    if isinstance(value, np.random.RandomState):
        return None  # a stream cannot be replayed from a file: the loaded model draws a fresh one
    if is_dataclass(value) and not isinstance(value, type):
        items = {field.name: encode(getattr(value, field.name)) for field in fields(value)}
        return {"$type": type(value).__name__, **items}
    if isinstance(value, dict):
        return {str(key): encode(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return {"$tuple": [encode(item) for item in value]}
    if isinstance(value, list):
        return [encode(item) for item in value]
    if callable(value):
        return {"$callable": getattr(value, "__qualname__", type(value).__name__)}
    raise ValueError(f"cannot save {value!r} of type {type(value).__name__}")


def decode(value: Any, settings: dict[str, type]) -> Any:
    """Undo `encode`; only the classes in `settings` can be made."""
    if isinstance(value, list):
        return [decode(item, settings) for item in value]
    if not isinstance(value, dict):
        return value
    if "$tuple" in value:
        return tuple(decode(item, settings) for item in value["$tuple"])
    if "$number" in value:
        return float(value["$number"])
    if "$array" in value:
        return np.asarray(value["$array"], dtype=value["dtype"])
    if "$callable" in value:
        raise ModelFileError(f"a function of your own, {value['$callable']}")
    items = {key: decode(item, settings) for key, item in value.items() if key != "$type"}
    return settings[value["$type"]](**items) if "$type" in value else items


#: Names that genmix 0.1 saved and those of today, wherever they stand, and those of classes.
_RENAMED = {
    "rate": "lr", "generator_rate": "generator_lr", "critic_rate": "critic_lr", "average": "ema_decay",
    "slope": "negative_slope", "squash": "sigmoid_output", "revived": "reinitialized",
    "criterion_": "selection_score_",
}  # fmt: skip
_CLASSES = {"Neighbors": "NeighborSwap", "InformationStart": "InfoMaxInit"}


def rename_settings(value: Any) -> Any:
    """Bring what genmix 0.1 encoded to the names of today, at every depth."""
    if isinstance(value, list):
        return [rename_settings(item) for item in value]
    if not isinstance(value, dict):
        return value
    renamed = {_RENAMED.get(name, name): rename_settings(item) for name, item in value.items()}
    if value.get("$type") == "ColorJitter":
        strength = value["contrast"] / 0.3
        usual = {"brightness": 0.1, "balance": 0.15, "saturation": 0.3}
        if any(abs(value[name] - strength * share) > 1e-9 for name, share in usual.items()):
            text = "ColorJitter has one strength today: another fit takes that of the contrast"
            warnings.warn(text, stacklevel=2)
        renamed = {"affine": renamed["affine"], "strength": strength}
    return renamed | ({"$type": _CLASSES.get(value["$type"], value["$type"])} if "$type" in value else {})
