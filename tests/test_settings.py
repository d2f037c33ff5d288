"""How many settings the two papers' models have, and how long their algorithms are: bars that are kept."""

from __future__ import annotations

import ast
import inspect
from typing import Any

import pytest

from genmix import (
    Affine,
    ClassifierEStep,
    ColorJitter,
    DNNMixture,
    GANMixture,
    InfoMaxInit,
    MinMaxStep,
    MStep,
    NeighborSwap,
)
from genmix.base.validation import Settings
from genmix.ganmm.e_step import E_STEPS

AUGMENTATIONS = (Affine, ColorJitter, NeighborSwap)
#: The public classes of settings that a model's arguments take.
REACHABLE: dict[type, tuple[type, ...]] = {
    GANMixture: (InfoMaxInit, ClassifierEStep, MStep, *AUGMENTATIONS),
    DNNMixture: (InfoMaxInit, MinMaxStep, *AUGMENTATIONS),
}


def arguments(kind: type) -> list[str]:
    return list(inspect.signature(kind).parameters)


@pytest.mark.parametrize("model", REACHABLE)
def test_no_model_has_more_than_14_arguments(model: type) -> None:
    assert 1 <= len(arguments(model)) <= 14


@pytest.mark.parametrize("model", REACHABLE)
def test_a_model_has_at_most_45_settings_in_all(model: type) -> None:
    assert sum(len(arguments(kind)) for kind in (model, *REACHABLE[model])) <= 45


@pytest.mark.parametrize("model", REACHABLE)
def test_no_class_of_settings_is_left_out_of_the_count(model: Any) -> None:
    """Others that a saved model may name are subclasses, without arguments of their own, or behind names."""
    for kind in model._settings.values():
        if kind not in REACHABLE[model]:
            public = [one for one in REACHABLE[model] if issubclass(kind, one)]
            named = kind in map(type, E_STEPS.values())
            assert named or (public and arguments(kind) == arguments(public[0])), kind.__name__
    for value in model().get_params().values():
        assert not isinstance(value, Settings) or type(value) in REACHABLE[model]


@pytest.mark.parametrize(("model", "algorithm"), [(GANMixture, "_epsilon_em"), (DNNMixture, "_minmax_em")])
def test_an_algorithm_has_at_most_25_lines(model: type, algorithm: str) -> None:
    """All after the docstring, comments included."""
    lines, _ = inspect.getsourcelines(getattr(model, algorithm))
    (function,) = ast.parse(inspect.cleandoc("\n" + "".join(lines))).body
    assert isinstance(function, ast.FunctionDef) and ast.get_docstring(function)
    body = [line for line in lines[function.body[0].end_lineno :] if line.strip()]
    assert 5 < len(body) <= 25
