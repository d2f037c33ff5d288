"""Arguments are checked by their annotations, the intervals of numbers included."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import pytest

from genmix.base.validation import (
    Decay,
    Interval,
    PositiveFloat,
    PositiveInt,
    Settings,
    Share,
    argument_kinds,
    check_values,
)


@pytest.mark.parametrize(
    ("text", "inside", "outside", "words"),
    [
        ("[0, inf)", (0, 3, 1e30, True), (-1e-9, np.nan, np.inf), "of at least 0"),
        ("[1, inf)", (1, np.int64(2)), (0.999, True), "of at least 1"),
        ("(0, 1)", (0.5, 1e-300), (0, 1), "above 0 and below 1"),
        ("(0, 1]", (1, np.float32(0.1)), (0, 1.1), "above 0 and at most 1"),
        ("[0, 1)", (0, 0.99), (1, -0.1), "of at least 0 and below 1"),
        ("[0, 4294967295]", (0, 2**32 - 1), (2**32, -1), "of at least 0 and at most 4294967295"),
    ],
)
def test_intervals_are_those_of_mathematics(text: str, inside: Any, outside: Any, words: str) -> None:
    interval = Interval(text)
    assert all(number in interval for number in inside)
    assert not any(number in interval for number in outside)
    assert str(interval) == words


@dataclass(frozen=True)
class Choices(Settings):
    count: PositiveInt | None = None
    widths: Sequence[PositiveInt] = (4,)
    weight: float = 0.0
    rate: PositiveFloat = 1.0
    share: Share = 0.5
    decays: tuple[Decay, Decay] = (0.9, 0.99)


@dataclass(frozen=True)
class MoreChoices(Choices):
    side: Annotated[float, Interval("(0, 2]")] = 1.0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"count": 0}, "count=0: expected a whole number of at least 1 or None"),
        (
            {"widths": (4, 0)},
            r"widths=\(4, 0\): expected a sequence of some, each a whole number of at least 1",
        ),
        ({"weight": -1}, "weight=-1: expected a number of at least 0"),
        ({"rate": 0}, "rate=0: expected a number above 0"),
        ({"share": 1.5}, "share=1.5: expected a number of at least 0 and at most 1"),
        ({"decays": (0.5, 1)}, "each a number of at least 0 and below 1"),
        ({"decays": (0.5,)}, "a sequence of 2"),
        ({"side": 3}, "side=3: expected a number above 0 and at most 2"),
    ],
)
def test_wrong_numbers_are_refused_in_words(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MoreChoices(**given)


def test_arguments_of_a_subclass_come_after_those_inherited() -> None:
    assert list(argument_kinds(MoreChoices)) == [
        "count",
        "widths",
        "weight",
        "rate",
        "share",
        "decays",
        "side",
    ]


def test_the_beginning_of_a_message_can_be_given() -> None:
    with pytest.raises(ValueError, match=r"^networks: n=0: expected"):
        check_values({"n": 0}, {"n": PositiveInt}, "networks: ")
