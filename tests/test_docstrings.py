"""Every parameter is explained where it is looked for: in docstrings, and by ``genmix VERB --help``."""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from typing import Any

import pytest

from genmix.cli.verbs import app

MODULES = [
    "genmix", "genmix.baselines", "genmix.datasets", "genmix.plots", "genmix.report",
    "genmix.evaluation.metrics", "genmix.evaluation.tuning",
]  # fmt: skip


def public() -> list[Any]:
    """All public classes and functions, errors and warnings aside."""
    found = [getattr(module, name) for module in map(import_module, MODULES) for name in module.__all__]
    return [
        thing
        for thing in found
        if callable(thing) and not (isinstance(thing, type) and issubclass(thing, Exception))
    ]


def explained(thing: Any) -> set[str] | None:
    """Names in the section Parameters, or None if there is no such section."""
    text = inspect.getdoc(thing) or ""
    section = re.search(r"^Parameters\n-+\n(.*?)(?=^\S[^\n]*\n---|\Z)", text, re.M | re.S)
    if section is None:
        return None
    lines = re.findall(r"^(\S[^:\n]*?)(?: :|$)", section[1], re.M)
    return {name.lstrip("*") for line in lines for name in line.split(", ")}


@pytest.mark.parametrize("thing", public(), ids=lambda thing: thing.__qualname__)
def test_parameters_are_explained_and_no_others(thing: Any) -> None:
    family = [thing, *thing.__mro__[1:-1]] if isinstance(thing, type) else [thing]
    sections = [section for section in map(explained, family) if section is not None]
    if not sections:  # what one sentence explains
        assert not hasattr(thing, "fit")
        assert inspect.getdoc(thing)
        return
    names = set(inspect.signature(thing).parameters)
    assert names <= set().union(*sections)
    assert sections[0] <= names


@pytest.mark.parametrize("verb", sorted(name for name in app if not name.startswith("-")))
def test_the_help_explains_every_option(verb: str) -> None:
    function = app[verb].default_command
    assert set(inspect.signature(function).parameters) - {"rows"} == (explained(function) or set())
