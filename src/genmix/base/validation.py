"""Arguments are checked by their annotations, which have the ranges of numbers too: see `Interval`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from functools import cache
from inspect import signature
from numbers import Integral, Real
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints
from unicodedata import category

import numpy as np


@dataclass(frozen=True)
class Interval:
    """Where the numbers of an annotation lie.

    Parameters
    ----------
    text : str
        As in mathematics: "[0, 1)" has 0 and not 1. A plain ``int`` or ``float`` is "[0, inf)".
    """

    text: str

    def __contains__(self, value: Any) -> bool:
        """Whether a number lies in it; True does not, but where 0 does (verbose=True)."""
        largest = 2.0**63 if isinstance(value, Integral) else 1e38  # what tensors can hold
        least, most = (min(bound, largest) for bound in _bounds(self.text))
        above = value >= least if self.text[0] == "[" else value > least
        below = value <= most if self.text[-1] == "]" else value < most
        return bool(above and below) and not (isinstance(value, bool) and self != NOT_NEGATIVE)

    def __str__(self) -> str:
        """Say it in words."""
        least, most = self.text[1:-1].split(", ")
        if (least, most) == ("-inf", "inf"):
            return "of any size"
        low = f"of at least {least}" if self.text[0] == "[" else f"above {least}"
        high = "at most" if self.text[-1] == "]" else "below"
        return low if most == "inf" else f"{low} and {high} {most}"


@cache
def _bounds(text: str) -> tuple[float, ...]:
    return tuple(float(bound) for bound in text[1:-1].split(","))


class Contents(ABC):
    """What is in a list or array: beside its type in an annotation. Subclasses say it in words."""

    @abstractmethod
    def __contains__(self, value: Any) -> bool:
        """Whether a list or array of the type is as it should be."""


NOT_NEGATIVE = Interval("[0, inf)")
FINITE = Interval("(-inf, inf)")
PositiveInt = Annotated[int, Interval("[1, inf)")]
PositiveFloat = Annotated[float, Interval("(0, inf)")]
Finite = Annotated[float, FINITE]
#: Of a running average: what it keeps of itself in a step.
Decay = Annotated[float, Interval("[0, 1)")]
Share = Annotated[float, Interval("[0, 1]")]
#: What numpy's generators take.
Seed = Annotated[int, Interval("[0, 4294967295]")]


def check_arguments(owner: Any) -> None:
    """Raise ValueError for the first argument of another kind than annotated, or out of its interval."""
    hints = argument_kinds(owner.__class__)
    check_values({name: getattr(owner, name) for name in hints}, hints)


@dataclass(frozen=True)
class Settings:
    """Choices that belong together, checked when they are made; subclasses are frozen dataclasses."""

    def __post_init__(self) -> None:
        """Refuse wrong arguments."""
        check_arguments(self)


def check_values(values: Mapping[str, Any], hints: Mapping[str, Any], where: str = "") -> None:
    """Refuse values that do not fit the annotations of their names; `where` begins the message."""
    for name, value in values.items():
        if not _fits(value, hints[name]):
            raise ValueError(f"{where}{name}={short_repr(value)}: expected {_words(hints[name])}")


@cache
def argument_kinds(kind: Any) -> dict[str, Any]:
    """Annotations of the arguments of a class's constructor, by name."""
    hints = get_type_hints(kind if is_dataclass(kind) else kind.__init__, include_extras=True)
    return {name: hints[name] for name in signature(kind).parameters if name in hints}


def short_repr(value: Any, longest: int = 80) -> str:
    """Write a value on one line, for a message."""
    if isinstance(value, list | tuple) and len(value) > longest:
        value = value[:longest]  # the rest would be cut off
    return one_line(repr(value), longest)


def one_line(text: str, longest: int = 400) -> str:
    """Put a text of any length on one line."""
    text = " ".join(text.split())
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def listed(names: Iterable[str], most: int = 20) -> str:
    """Name some of many, for a message."""
    names = list(names)
    shown = ", ".join(one_line(name, 80) for name in names[:most])
    return shown if len(names) <= most else f"{shown}, ... ({len(names)} in all)"


def printable(text: str) -> str:
    """Put a sign for what no font or file can hold: control characters, halves of surrogate pairs."""
    return "".join("\N{REPLACEMENT CHARACTER}" if category(c) in ("Cc", "Cs") else c for c in text)


def _fits(value: Any, hint: Any, interval: Interval | Contents = NOT_NEGATIVE) -> bool:
    if hint is Any:
        return True
    if isinstance(interval, Contents):
        return isinstance(value, hint) and value in interval
    kind, options = get_origin(hint), get_args(hint)
    if kind is Annotated:
        return _fits(value, *options)
    if kind is Literal:
        return isinstance(value, str) and value in options
    if kind in (tuple, Sequence):
        fine = isinstance(value, Sequence) and not isinstance(value, str | bytes)
        fine = fine and (kind is Sequence or Ellipsis in options or len(value) == len(options))
        return fine and all(_fits(item, options[0]) for item in value)
    if kind is dict:
        return isinstance(value, dict) and all(_fits(one, options[1]) for one in value.values())
    if kind is not None:  # a union
        return any(_fits(value, option) for option in options)
    if hint is bool:
        return isinstance(value, bool | np.bool_)
    if hint in (int, float):
        return isinstance(value, Integral if hint is int else Real) and value in interval
    if hint is str:
        return isinstance(value, str) or type(value).__name__ == "device"  # that is torch's
    return isinstance(value, hint)


def _words(hint: Any, interval: Interval | Contents = NOT_NEGATIVE) -> str:
    if isinstance(interval, Contents):
        return str(interval)
    kind, options = get_origin(hint), get_args(hint)
    if kind is Annotated:
        return _words(*options)
    if kind is Literal:
        return " or ".join(map(repr, options))
    if kind in (tuple, Sequence):
        many = "some" if kind is Sequence or Ellipsis in options else str(len(options))
        return f"a sequence of {many}, each {_words(options[0])}"
    if kind is dict:
        return f"a dictionary, each {_words(options[1])}"
    if kind is not None:
        return " or ".join(map(_words, options))
    if hint in (int, float):
        return f"a {'whole ' if hint is int else ''}number {interval}"
    if hint in (bool, str, NoneType):
        return {bool: "True or False", str: "a name", NoneType: "None"}[hint]
    return f"a{'n' * (hint.__name__[0] in 'AEIOU')} {hint.__name__}"


def is_whole(value: Any) -> bool:
    """Whether it is a whole number, which True is not."""
    return isinstance(value, Integral) and not isinstance(value, bool)
