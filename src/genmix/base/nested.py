"""Settings by scikit-learn's nested names: ``m_step__steps`` is `steps` of the settings object `m_step`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from genmix.base.validation import Settings, short_repr


def settings_of(owner: Any, argument: str) -> Settings | None:
    """Find the settings object that an argument is or stands for; None where it has no settings of its own.

    Parameters
    ----------
    owner : estimator or Settings
        Its `_default_settings` tell what None and names stand for.
    argument : str
        Name of one of its arguments.
    """
    value = getattr(owner, argument)
    if isinstance(value, Settings):
        return value
    default = owner._default_settings.get(argument)
    return default(value) if default is not None and (value is None or isinstance(value, str)) else None


def nested_parameters(owner: Any, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """List the arguments of the settings objects among `arguments`, at every depth, by their nested names."""
    nested = dict[str, Any]()
    for argument in arguments:
        if (settings := settings_of(owner, argument)) is not None:
            own = {field.name: getattr(settings, field.name) for field in fields(settings)}
            inner = own | nested_parameters(settings, own)
            nested |= {f"{argument}__{name}": value for name, value in inner.items()}
    return nested


def replace_nested(owner: Any, changes: Mapping[str, Any]) -> dict[str, Settings]:
    """Make new settings objects, by argument, with changes by nested names; the old ones stay as they are.

    Raises
    ------
    ValueError
        An argument without settings, a name that its settings do not have, or a value out of range.
    """
    groups: dict[str, dict[str, Any]] = {}
    for name, value in changes.items():
        argument, _, rest = name.partition("__")
        groups.setdefault(argument, {})[rest] = value
    return {argument: _replaced(owner, argument, group) for argument, group in groups.items()}


def _replaced(owner: Any, argument: str, changes: Mapping[str, Any]) -> Settings:
    settings = settings_of(owner, argument)
    if settings is None:
        given = f"{argument}={short_repr(getattr(owner, argument))}"
        raise ValueError(
            f"{argument}__{next(iter(changes))}: {given} has no settings, give an object that has"
        )
    valid = [field.name for field in fields(settings)]
    if unknown := [name for name in changes if name.partition("__")[0] not in valid]:
        kind = type(settings).__name__
        raise ValueError(f"{argument}__{unknown[0]}: {kind} has no {unknown[0]!r}; it has {', '.join(valid)}")
    settings = replace(settings, **{name: value for name, value in changes.items() if name in valid})
    inner = {name: value for name, value in changes.items() if name not in valid}
    return replace(settings, **replace_nested(settings, inner)) if inner else settings


__all__ = ["nested_parameters", "replace_nested", "settings_of"]
