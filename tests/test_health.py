"""Trainings that go wrong are stopped or told of: losses that explode, dead and double components."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import genmix
from genmix import (
    DNNMixture,
    DuplicateComponentWarning,
    GANMixture,
    InfoMaxInit,
    MinMaxStep,
    MStep,
)
from genmix.base.estimator import LOSS_LIMIT, check_losses, share_items
from genmix.baselines import DEC, Pretraining

INIT = InfoMaxInit(steps=4, n_heads=2, n_candidates=1, partitions=("kmeans",))
STEP = MinMaxStep(steps=2, encoder_pretrain_steps=2, generator_pretrain_steps=2)


class Blind(nn.Module):
    """A network that gives every item the same."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.out = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        return self.out.expand(len(x), -1)


def test_components_that_are_told_apart_share_nothing() -> None:
    assert share_items(np.eye(3)[[0, 1, 2, 2]]) == []
    parallel = np.tile([0.7, 0.3, 0.0], (9, 1))  # whatever their length
    assert share_items(parallel) == [(0, 1)]


def test_sharing_is_the_cosine_of_two_columns() -> None:
    p = np.random.RandomState(0).dirichlet(np.full(5, 0.3), 200)
    for bound in (0.2, 0.4, 0.6):
        wanted = [
            (i, j)
            for i in range(5)
            for j in range(i + 1, 5)
            if p[:, i] @ p[:, j] / (np.linalg.norm(p[:, i]) * np.linalg.norm(p[:, j])) >= bound
        ]
        assert share_items(p, bound) == wanted


def test_an_empty_component_is_nobodys_double() -> None:
    p = np.c_[np.tile([0.5, 0.5], (9, 1)), np.zeros(9)]
    assert share_items(p) == [(0, 1)]


@pytest.mark.parametrize("name", ["GANMixture", "DNNMixture"])
def test_doubles_are_named_and_kept_in_the_folder(name: str, blobs: Any, tmp_path: Any) -> None:
    def blind(in_shape: tuple[int, ...], out_dim: int) -> nn.Module:
        return Blind(out_dim)

    role = "classifier" if name == "GANMixture" else "encoder"
    model = {
        "GANMixture": lambda: GANMixture(3, init="kmeans", m_step=MStep(steps=1, pretrain_steps=1)),
        "DNNMixture": lambda: DNNMixture(3, init="kmeans", m_step=STEP),
    }[name]()
    model.set_params(networks={role: blind}, max_iter=1, tol=None, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", DuplicateComponentWarning)
        with pytest.warns(
            DuplicateComponentWarning, match="components 0 and 1, .* share their items; fit with"
        ):
            model.fit(blobs[0])
    assert model.duplicate_components_ == [[0, 1], [0, 2], [1, 2]]
    again = genmix.load(model.save(tmp_path / "model"), networks=model.networks)
    assert again.duplicate_components_ == model.duplicate_components_


@pytest.mark.filterwarnings("ignore")
def test_a_good_fit_has_no_doubles(blobs: Any) -> None:
    assert GANMixture(3, init=INIT, max_iter=3, random_state=0).fit(blobs[0]).duplicate_components_ == []


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, LOSS_LIMIT, -2 * LOSS_LIMIT])
def test_losses_out_of_bounds_are_named(value: float) -> None:
    check_losses({"critic_loss": LOSS_LIMIT / 2, "changed": 0.0}, 1)
    with pytest.raises(
        FloatingPointError, match=r"iteration 7 \(changed 0, critic_loss .*lower the learning"
    ):
        check_losses({"changed": 0.0, "critic_loss": value}, 7)


@pytest.mark.parametrize("bad", [np.nan, 1e12])
def test_an_exploding_gan_is_noticed_in_its_iteration(
    bad: float, blobs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from genmix.ganmm.m_step import Components

    real, calls = Components.train, []

    def train(self: Components, *arguments: Any, **more: Any) -> tuple[Tensor, Tensor]:
        calls.append(1)
        critic, generator = real(self, *arguments, **more)
        return (critic * bad if len(calls) == 3 else critic), generator  # 1: line 2; 2, 3: iterations

    monkeypatch.setattr(Components, "train", train)
    model = GANMixture(3, init="kmeans", m_step=MStep(steps=1, pretrain_steps=1), max_iter=5, random_state=0)
    with pytest.raises(FloatingPointError, match="diverged in iteration 2 "):
        model.fit(blobs[0])
    assert len(calls) == 3


@pytest.mark.filterwarnings("ignore")
def test_absurd_learning_rates_end_in_our_error(blobs: Any) -> None:
    X = blobs[0]
    models = [
        GANMixture(3, init="kmeans", m_step=MStep(lr=1e12, steps=9, pretrain_steps=9), random_state=0),
        DNNMixture(3, init="kmeans", m_step=MinMaxStep(steps=9, encoder_lr=1e12), random_state=0),
        DEC(3, pretraining=Pretraining((16,), 2, steps=9, lr=1e12), random_state=0),
    ]
    for model in models:
        with pytest.raises(FloatingPointError, match=r"lower the .*rate"):
            model.fit(X)
