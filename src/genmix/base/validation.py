"""Arguments checked by what is written anyway: annotations, and the intervals that names stand for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from numbers import Integral, Real
from types import NoneType
from typing import Any, ClassVar, Literal, get_args, get_origin, get_type_hints
from unicodedata import category

import numpy as np

#: Where the numbers of that name lie, in every model, settings object and network; all others are at least 0.
INTERVALS = {
    **dict.fromkeys(
        ("n_components", "n_init", "max_iter", "latent_dim", "batch_size", "generated_batch_size",
         "real_batch_size", "pool", "update_interval", "steps_per_iteration", "fall_every", "n_principal",
         "n_features", "unlabelled_ratio", "heads", "penalty_every", "critic_steps", "weight_concentration",
         "hidden", "channels", "kernel", "smallest"),
        "[1, inf)",
    ),
    **dict.fromkeys(("average", "encoder_ema_decay", "corruption", "layer_corruption", "betas"), "[0, 1)"),
    **dict.fromkeys(
        ("spread", "kappa", "reconstruction_weight", "reg_covar", "C", "penalty_weight", "clip"),
        "(0, inf)",
    ),
    "radius": "(0, 1e6]", "random_state": "[0, 4294967295]",
    "alpha": "(0, 1)", "fall": "(0, 1]", "threshold": "[0, 1]",
}  # fmt: skip


def check_arguments(owner: Any) -> None:
    """Refuse what an object was made with if it is of another kind than annotated, or out of its interval.

    Raises
    ------
    ValueError
        The first wrong argument, by its name: what was given, and what is expected.
    """
    hints = argument_kinds(owner.__class__)
    check_values({name: getattr(owner, name) for name in hints}, hints, owner._intervals)


class Settings:
    """A dataclass of choices that belong together, checked when it is made."""

    #: Where this class differs from `INTERVALS`.
    _intervals: ClassVar[dict[str, str]] = {}

    def __post_init__(self) -> None:
        """Refuse wrong arguments."""
        check_arguments(self)


def check_values(
    values: Mapping[str, Any], hints: Mapping[str, Any], intervals: Mapping[str, str], where: str = ""
) -> None:
    """Refuse values that do not fit the hints of their names; `where` begins the message.

    `intervals` has those that differ from `INTERVALS`.
    """
    for name, value in values.items():
        interval = {**INTERVALS, **intervals}.get(name, "[0, inf)")
        if not _fits(value, hints[name], interval):
            raise ValueError(f"{where}{name}={short_repr(value)}: expected {_words(hints[name], interval)}")


@cache
def argument_kinds(kind: Any) -> dict[str, Any]:
    """Annotations of the arguments of a class's constructor, by name."""
    hints = get_type_hints(kind.__init__)
    return {name: hint for name, hint in hints.items() if name != "return"}


def short_repr(value: Any, longest: int = 80) -> str:
    """Write a value on one line, for a message."""
    return one_line(repr(value), longest)


def one_line(text: str, longest: int = 400) -> str:
    """Put a text of any length on one line."""
    text = " ".join(text.split())
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def printable(text: str) -> str:
    """Put a sign for what no font or file can hold: control characters, halves of surrogate pairs."""
    return "".join("\N{REPLACEMENT CHARACTER}" if category(c) in ("Cc", "Cs") else c for c in text)


def _fits(value: Any, hint: Any, interval: str) -> bool:
    if hint is Any:
        return True
    kind, options = get_origin(hint), get_args(hint)
    if kind is Literal:
        return isinstance(value, str) and value in options
    if kind in (tuple, Sequence):
        fine = isinstance(value, Sequence) and not isinstance(value, str | bytes)
        fine = fine and (kind is Sequence or Ellipsis in options or len(value) == len(options))
        return fine and all(_fits(item, options[0], interval) for item in value)
    if kind is not None:  # a union
        return any(_fits(value, option, interval) for option in options)
    if hint is bool:
        return isinstance(value, bool | np.bool_)
    if hint in (int, float):
        return isinstance(value, Integral if hint is int else Real) and _inside(value, interval)
    if hint is str:
        return isinstance(value, str) or type(value).__name__ == "device"  # that is torch's
    return isinstance(value, hint)


def is_whole(value: Any) -> bool:
    """Whether it is a whole number, which True is not."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def _inside(value: Any, interval: str) -> bool:
    """Whether a number lies in an interval; True is none, but where 0 is one (verbose=True)."""
    largest = 2.0**63 if isinstance(value, Integral) else 1e38  # what tensors can hold
    least, most = (min(float(bound), largest) for bound in interval[1:-1].split(","))
    above = value >= least if interval[0] == "[" else value > least
    below = value <= most if interval[-1] == "]" else value < most
    return bool(above and below) and not (isinstance(value, bool) and interval != "[0, inf)")


def _words(hint: Any, interval: str) -> str:
    kind, options = get_origin(hint), get_args(hint)
    if kind is Literal:
        return " or ".join(map(repr, options))
    if kind in (tuple, Sequence):
        many = "some" if kind is Sequence or Ellipsis in options else str(len(options))
        return f"a sequence of {many}, each {_words(options[0], interval)}"
    if kind is not None:
        return " or ".join(_words(option, interval) for option in options)
    if hint in (int, float):
        least, most = interval[1:-1].split(", ")
        low = f"of at least {least}" if interval[0] == "[" else f"above {least}"
        high = "" if most == "inf" else f" and {'at most' if interval[-1] == ']' else 'below'} {most}"
        return f"a {'whole ' if hint is int else ''}number {low}{high}"
    if hint in (bool, str, NoneType):
        return {bool: "True or False", str: "a name", NoneType: "None"}[hint]
    return f"a{'n' * (hint.__name__[0] in 'AEIOU')} {hint.__name__}"


__all__ = [
    "INTERVALS",
    "Settings",
    "argument_kinds",
    "check_arguments",
    "check_values",
    "one_line",
    "short_repr",
]
