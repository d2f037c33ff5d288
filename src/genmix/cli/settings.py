"""From words on the command line to the settings of a model."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from typing import Any


def read_settings(pairs: Iterable[str]) -> dict[str, Any]:
    """Read ``name=value`` pairs.

    Parameters
    ----------
    pairs : iterable of str
        Values are TOML (``2``, ``0.5``, ``true``, ``"word"``, ``[1, 2]``); a bare word stands for itself, and
        ``none`` for None, which TOML lacks.

    Returns
    -------
    dict of str to object
        In the order given.

    Raises
    ------
    ValueError
        If a pair has no ``=``, a name comes twice, or a value is not TOML.
    """
    settings: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = (part.strip() for part in pair.partition("="))
        if not equals or not name:
            raise ValueError(f"--set {pair!r}: write it as name=value")
        if name in settings:
            raise ValueError(f"--set gives {name!r} twice")
        settings[name] = _read_value(pair, text)
    return settings


def _read_value(pair: str, text: str) -> Any:
    if text.lower() == "none":
        return None
    if re.fullmatch(r"[A-Za-z_][\w-]*", text) and text not in ("true", "false", "inf", "nan"):
        return text
    try:
        document = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError as error:
        raise ValueError(
            f'--set {pair!r}: not a TOML value such as 2, 0.5, true, "word" or [1, 2]'
        ) from error
    if set(document) != {"value"}:  # a line break in the text could smuggle in further names
        raise ValueError(f"--set {pair!r}: one value only")
    return document["value"]
