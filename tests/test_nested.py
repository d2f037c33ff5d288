"""Arguments of settings objects by nested names, as scikit-learn has them."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from genmix import (
    Affine,
    ClassifierEStep,
    ColorJitter,
    DNNMixture,
    GANMixture,
    InfoMaxInit,
    MinMaxStep,
    MStep,
)
from genmix.baselines import ACAI, DCN, DEC, ClusterGAN, DynAE, Pretraining, StackedAutoencoder, VaDE
from genmix.nn.adversarial import Adversarial

TINY = Pretraining(hidden=(8,), latent_dim=2, steps=2, batch_size=16)


def tiny(**arguments: Any) -> DEC:
    given = {"pretraining": TINY, "max_iter": 1, "update_interval": 1, "random_state": 0, "device": "cpu"}
    return DEC(3, **{**given, **arguments})


def test_nested_arguments_are_listed_beside_those_of_the_model() -> None:
    model = tiny()
    shallow, deep = model.get_params(deep=False), model.get_params()
    nested = {f"pretraining__{field.name}": getattr(TINY, field.name) for field in fields(TINY)}
    assert deep == shallow | nested and "pretraining__steps" not in shallow


def test_setting_one_replaces_the_object_and_leaves_those_who_share_it() -> None:
    first, second = tiny(), tiny()
    assert first.set_params(pretraining__steps=5, max_iter=7) is first
    assert (first.pretraining.steps, first.pretraining.hidden, first.max_iter) == (5, (8,), 7)
    assert second.pretraining is TINY and TINY.steps == 2


def test_a_whole_object_and_a_part_of_it_in_one_call() -> None:
    model = tiny().set_params(pretraining__steps=5, pretraining=Pretraining(latent_dim=4))
    assert model.pretraining == Pretraining(latent_dim=4, steps=5)
    model = GANMixture().set_params(m_step__steps=3, m_step="wgan-gp")
    assert model.m_step == MStep("wgan-gp", steps=3)


@pytest.mark.parametrize(
    ("model", "changes", "expected"),
    [
        (DEC(), {"pretraining__steps": 7}, Pretraining(steps=7)),
        (DCN(), {"pretraining__steps": 7}, Pretraining(steps=7, augment=True)),
        (VaDE(), {"pretraining__steps": 7}, Pretraining(steps=7, augment=True)),
        (DynAE(), {"pretraining__weight": 0.2}, ACAI(weight=0.2)),
        (StackedAutoencoder(), {"pretraining__steps": 7}, Pretraining(steps=7)),
        (ClusterGAN(), {"objective__critic_lr": 0.1}, Adversarial(critic_lr=0.1)),
        (GANMixture(), {"m_step__steps": 7}, MStep(steps=7)),
        (GANMixture(), {"init__steps": 7}, InfoMaxInit(steps=7)),
        (GANMixture(), {"e_step__lr": 0.1}, ClassifierEStep(lr=0.1)),
        (DNNMixture(), {"m_step__steps": 7}, MinMaxStep(steps=7)),
        (GANMixture(m_step="wgan"), {"m_step__steps": 7}, MStep("wgan", steps=7)),
    ],
)
def test_none_and_names_give_what_they_stand_for(model: Any, changes: dict[str, Any], expected: Any) -> None:
    argument = next(iter(changes)).partition("__")[0]
    assert set(changes) <= set(model.get_params())
    assert getattr(model.set_params(**changes), argument) == expected


def test_settings_inside_settings() -> None:
    shared = ColorJitter()
    model = GANMixture(augmentation=shared).set_params(
        m_step__steps=3, augmentation__strength=0.5, augmentation__affine__flip=False
    )
    assert model.m_step.steps == 3 and shared == ColorJitter()
    assert model.augmentation == ColorJitter(replace(shared.affine, flip=False), strength=0.5)
    assert not model.get_params()["augmentation__affine__flip"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"m_step__stepz": 5},
            "m_step__stepz: MStep has no 'stepz'; it has objective, lr, steps, pretrain_steps",
        ),
        ({"m_step__objective__lr": 5}, "objective__lr: objective='r1' has no settings"),
        ({"m_step__steps__more": 5}, "steps__more: steps=100 has no settings"),
        ({"m_step__steps": -1}, "steps=-1: expected a whole number of at least 0"),
        ({"max_iter__steps": 1}, "max_iter__steps: max_iter=40 has no settings"),
        ({"augmentation__shift": 1}, "augmentation__shift: augmentation='auto' has no settings"),
        ({"k": 5}, "'k'"),
        ({"k__steps": 5}, "'k'"),
    ],
)
def test_unknown_names_and_wrong_values_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GANMixture().set_params(**changes)


@pytest.mark.parametrize("value", [1, [1], {"a": 1}, np.zeros(3), Affine(), Affine, "no such"])
def test_wrong_arguments_are_listed_and_replaced_without_a_word(value: Any) -> None:
    for kind in (GANMixture, DNNMixture):
        model = kind(m_step=value, init=value)
        assert model.get_params()["init"] is value
        assert model.set_params(m_step=None).m_step is None


def test_what_is_shown_has_no_nested_names() -> None:
    model = tiny()
    assert "pretraining__" not in repr(model) and "Pretraining(hidden=(8,)" in repr(model)
    assert "pretraining__" not in model._repr_html_() and "pretraining" in model._repr_html_()


def test_clones_pipelines_and_grid_searches(blobs: Any) -> None:
    model = clone(tiny().set_params(pretraining__steps=1))
    assert model.get_params() == tiny(pretraining=Pretraining((8,), 2, steps=1, batch_size=16)).get_params()
    pipe = make_pipeline(StandardScaler(), tiny()).set_params(dec__pretraining__steps=1)
    assert pipe.get_params()["dec__pretraining__steps"] == 1 and pipe[-1].pretraining.steps == 1

    def score(fitted: Any, X: np.ndarray, y: Any = None) -> float:
        return float(-fitted.pretraining.steps)

    search = GridSearchCV(tiny(pretraining=None), {"pretraining__steps": [2, 1, 3]}, scoring=score, cv=2)
    search.set_params(estimator__pretraining__hidden=(8,), estimator__pretraining__latent_dim=2)
    search.fit(blobs[0][::10])
    assert search.best_params_ == {"pretraining__steps": 1}
    assert search.best_estimator_.pretraining == Pretraining((8,), 2, steps=1)
    assert search.best_estimator_.transform(blobs[0][:4]).shape == (4, 2)
