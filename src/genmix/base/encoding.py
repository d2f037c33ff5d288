"""Arguments and fitted attributes as JSON, and back; only classes that a model names can be made of it."""

from __future__ import annotations

import warnings
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import torch

from genmix.base.persistence import ModelFileError
from genmix.base.validation import one_line, short_repr


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


#: So deep may lists and dictionaries be nested in what is decoded, and so long a list inside another may be.
MAX_DEPTH, MAX_LENGTH = 12, 10_000
#: So many bytes of text an array may take: a dtype alone can ask for gigabytes.
MAX_TEXT = 2**26


def decode(value: Any, settings: dict[str, type], depth: int = 0) -> Any:
    """Undo `encode`; only the classes in `settings` can be made.

    Raises
    ------
    ModelFileError
        A function of the user's, which has to be given again.
    ValueError
        What `encode` does not write.
    """
    if isinstance(value, str) and len(value) > MAX_LENGTH:
        raise ValueError(f"a text of {len(value)} characters: expected at most {MAX_LENGTH}")
    if not isinstance(value, dict | list):
        return value
    if depth > MAX_DEPTH:
        raise ValueError(f"lists or dictionaries are nested more than {MAX_DEPTH} deep")
    of_numbers = isinstance(value, list) and not depth and not any(isinstance(one, str) for one in value[:1])
    if len(value) > MAX_LENGTH and not of_numbers:
        raise ValueError(f"a list or dictionary of {len(value)} entries: expected at most {MAX_LENGTH}")
    if isinstance(value, list):
        return [
            decode(item, settings, depth + 1) if isinstance(item, dict | list | str) else item
            for item in value
        ]
    if "$tuple" in value:
        return tuple(decode(_listed(value["$tuple"]), settings, depth + 1))
    if "$number" in value:
        if value["$number"] not in ("nan", "inf", "-inf"):
            raise ValueError(f"$number is {short_repr(value['$number'])}: expected nan, inf or -inf")
        return float(value["$number"])
    if "$array" in value:
        return _array(_listed(value["$array"]), value.get("dtype"))
    if "$callable" in value:
        raise ModelFileError(f"a function of your own, {one_line(str(value['$callable']), 80)}")
    items = {key: decode(item, settings, depth + 1) for key, item in value.items() if key != "$type"}
    if "$type" not in value:
        return items
    if value["$type"] not in list(settings):  # a list, as a forged name may be unhashable
        raise ValueError(f"$type is {short_repr(value['$type'])}: expected one of {', '.join(settings)}")
    kind = settings[value["$type"]]
    if unknown := sorted(items.keys() - {field.name for field in fields(kind)}):
        raise ValueError(f"{value['$type']} has no {short_repr(unknown[0])}")
    return kind(**items)


def _listed(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{short_repr(value)}: expected a list")
    return value


def _array(values: list[Any], dtype: Any) -> np.ndarray:
    """Make an array of numbers, or of names where the dtype is object, as those of columns are."""
    try:
        found = np.dtype(_named(dtype))
        if found.kind not in "biufUO":
            raise TypeError
    except (TypeError, ValueError) as error:
        raise ValueError(f"dtype is {short_repr(dtype)}: expected one of numbers or names") from error
    if found.kind == "U" and found.itemsize * len(values) > MAX_TEXT:
        raise ValueError(f"dtype {found} asks for more than {MAX_TEXT} bytes")
    return np.array(values, dtype=found)


def _named(dtype: Any) -> str:
    if not isinstance(dtype, str) or len(dtype) > 20:
        raise TypeError
    return dtype


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
