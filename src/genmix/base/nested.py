"""Settings by scikit-learn's nested names: ``m_step__steps`` is `steps` of the settings object `m_step`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from genmix.base.validation import Settings, short_repr


def settings_of(owner: Any, argument: str) -> Settings | None:
    """Find the settings object that an argument of a model or settings object is or stands for, or None."""
    value = getattr(owner, argument)
    if isinstance(value, Settings):
        return value
    default = getattr(owner, "_default_settings", {}).get(argument)
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


def replace_nested(owner: Any, name: str, value: Any) -> Settings:
    """Make a new settings object for the argument before the first ``__`` of a nested name, to hold `value`.

    Raises
    ------
    ValueError
        An argument without settings, a name that its settings do not have, or a value out of range.
    """
    argument, _, rest = name.partition("__")
    settings, changed = settings_of(owner, argument), rest.partition("__")[0]
    if settings is None:
        given = f"{argument}={short_repr(getattr(owner, argument))}"
        raise ValueError(f"{name}: {given} has no settings, give an object that has")
    valid = [field.name for field in fields(settings)]
    if changed not in valid:
        kind = type(settings).__name__
        raise ValueError(f"{name}: {kind} has no {rest!r}; it has {', '.join(valid)}")
    return replace(settings, **{changed: value if changed == rest else replace_nested(settings, rest, value)})
