"""Scikit-learn's common checks of every registered model, by being registered."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from sklearn.utils.estimator_checks import estimator_checks_generator, parametrize_with_checks

from genmix.base import registry
from genmix.baselines import KMeans
from test_bad_input import MODELS

pytestmark = pytest.mark.filterwarnings("ignore")  # dead components, no convergence

#: They set n_components=1 and give y of more classes, which scikit-learn's own clusterers ignore.
OF_ONE_COMPONENT = (
    "check_dont_overwrite_parameters", "check_fit2d_1feature", "check_fit2d_predict1d",
    "check_methods_sample_order_invariance", "check_methods_subset_invariance",
)  # fmt: skip


def failing(model: Any) -> dict[str, str]:
    """The checks that fail, and shall, each with the reason."""
    found, labels = dict[str, str](), registry.MODELS[type(model).__name__].labels
    if labels != "none":
        found |= dict.fromkeys(OF_ONE_COMPONENT, "y of more classes than components is an error")
    if labels == "needed":
        found["check_clustering"] = "without labels there is nothing to learn from"
    if type(model).__name__ == "DNNMixture":
        found["check_sample_weight_equivalence_on_dense_data"] = "items are drawn by weight: equal on average"
    return found


def checked(name: str) -> Any:
    model = MODELS[name](4)  # as many as the check of most classes has
    if name == "DNNMixture":  # whose encoder has to find three groups
        m_step = replace(model.m_step, encoder_pretrain_steps=40)
        model.set_params(networks=model.networks | {"encoder": "auto"}, m_step=m_step, max_iter=1)
    return model


@parametrize_with_checks([checked(name) for name in registry.MODELS], expected_failed_checks=failing)
def test_common_checks(estimator: Any, check: Any) -> None:
    check(estimator)


def with_other_labels(name: str) -> Any:
    """The model that takes no labels, or those of k-means where there have to be some."""
    kind, labels = registry.MODELS[name].load_class(), registry.MODELS[name].labels

    class Relabelled(kind):
        def fit(self, X: Any, y: Any = None) -> Any:
            if labels == "needed":
                y = KMeans(self.n_components, random_state=0).fit(X).labels_
            return super().fit(X, y if labels == "needed" else None)

    return Relabelled(**checked(name).set_params(n_components=3).get_params(deep=False))


@pytest.mark.parametrize(
    ("estimator", "check"),
    [
        pytest.param(estimator, check, id=f"{name}-{check.func.__name__}")
        for name, model in registry.MODELS.items() if model.labels != "none"
        for estimator, check in estimator_checks_generator(with_other_labels(name))
        if check.func.__name__ in failing(checked(name))
    ],
)  # fmt: skip
def test_checks_that_give_other_labels_pass_without_these(estimator: Any, check: Any) -> None:
    check(estimator)
