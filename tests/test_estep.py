"""The epsilon-E-step: the classifier, its running statistics, and the critics as judges."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from genmix import metrics
from genmix.ganmm.e_step import (
    DISAGREEMENT_PENALTY,
    Classifier,
    ClassifierEStep,
    CriticAssigner,
    CriticEStep,
    agreement,
)
from genmix.ganmm.m_step import Components, MStep
from genmix.nn.build import build_stack
from genmix.training.augment import AugmentedData, NeighborSwap
from genmix.training.engine import Engine
from genmix.training.infomax import InfoMaxInit, pretrain_infomax

STEP = ClassifierEStep(steps=3, batch_size=8, real_batch_size=64)
EVEN = torch.ones(1, 3) / 3


def make_views(X: Any, seed: int = 0) -> AugmentedData:
    items = torch.from_numpy((X - X.mean(0)) / X.std(0)).float()
    return AugmentedData(items, NeighborSwap(), Engine("cpu", seed))


def make_classifier(
    views: AugmentedData, step: ClassifierEStep, k: int = 3, restarts: int = 1, heads: int = 1
) -> Classifier:
    shape = tuple(views.items.shape[1:])
    network = build_stack("classifier", "auto", restarts, shape, (heads * k,), views.run.cpu_generator)
    made = Classifier(network, k, step, views.run, restarts=restarts, n_heads=heads)
    made.head = torch.zeros(restarts, dtype=torch.long)
    return made


def running_statistics(classifier: Classifier) -> Tensor:
    buffers = [b.flatten().double() for b in classifier.network.buffers() if b.dim()]
    return torch.cat(buffers).clone()


def far_away(n: int) -> Tensor:
    """Items of three components that are nothing like the data."""
    return 50 + torch.randn(3, n, 2, generator=torch.Generator().manual_seed(0))


def test_generated_items_leave_the_running_statistics_of_the_data_alone(
    monkeypatch: pytest.MonkeyPatch, blobs: Any
) -> None:
    monkeypatch.setattr(Classifier, "_refresh_statistics", lambda *_: None)
    views = make_views(blobs[0])
    for seen in (True, False):
        classifier = make_classifier(views, replace(STEP, real=None))
        classifier.has_seen_data = seen
        before = running_statistics(classifier)
        classifier.learn(far_away, views, EVEN)
        assert torch.equal(before, running_statistics(classifier)) is seen


def test_statistics_keep_up_with_weights_that_learn_from_generated_items_only(blobs: Any) -> None:
    views = make_views(blobs[0])
    classifier = make_classifier(views, replace(STEP, real=None))
    classifier.has_seen_data = True
    before = running_statistics(classifier)
    classifier.learn(far_away, views, EVEN)
    assert not torch.equal(before, running_statistics(classifier))


def test_real_items_move_the_running_statistics(blobs: Any) -> None:
    views = make_views(blobs[0])
    classifier = make_classifier(views, STEP)
    before = running_statistics(classifier)
    classifier.learn(far_away, views, EVEN)
    after = running_statistics(classifier)
    assert not torch.equal(before, after)
    assert after.abs().max() < 20  # what the items 50 away give is larger


@pytest.mark.parametrize(("single_class", "optimizer_steps"), [(False, 3), (True, 9)])
def test_algorithm_1_line_7_single_class_batches_take_a_step_each(
    blobs: Any, single_class: bool, optimizer_steps: int
) -> None:
    views = make_views(blobs[0])
    classifier = make_classifier(views, replace(STEP, real=None, single_class=single_class))
    count = 0

    def counted(loss: Tensor) -> None:
        nonlocal count
        count += 1

    classifier.optimizer.step = counted  # type: ignore[method-assign]
    classifier.learn(far_away, views, EVEN)
    assert count == optimizer_steps


def test_algorithm_1_lines_5_to_7_the_classifier_learns_which_component_made_what(blobs: Any) -> None:
    views = make_views(blobs[0])
    groups = torch.stack([views.items[blobs[1] == k] for k in range(3)])

    def generate(n: int) -> Tensor:
        return groups[:, torch.randint(200, (n,), generator=views.run.generator)]

    classifier = make_classifier(views, replace(STEP, real=None, steps=80, rate=1e-2))
    classifier.learn(generate, views, EVEN)
    assert (classifier.log_posterior(views.items)[0].argmax(-1).numpy() == blobs[1]).mean() > 0.99


@pytest.mark.parametrize(
    ("prior", "expected"), [("equal", [1 / 3, 1 / 3, 1 / 3]), ("shares", [0.8, 0.15, 0.05])]
)
def test_algorithm_1_line_5_items_that_all_generators_make_are_assigned_by_the_prior(
    blobs: Any, prior: Any, expected: list[float]
) -> None:
    views = make_views(blobs[0])

    def alike(n: int) -> Tensor:
        return torch.randn(3, n, 2, generator=views.run.generator)

    step = replace(STEP, real=None, prior=prior, steps=200, batch_size=128, rate=1e-2)
    classifier = make_classifier(views, step)
    classifier.learn(alike, views, torch.tensor([[0.8, 0.15, 0.05]]))
    found = classifier.log_posterior(alike(256).flatten(0, 1))[0].exp().mean(0)
    np.testing.assert_allclose(found.numpy(), expected, atol=0.05)


@pytest.mark.parametrize(
    ("prior", "expected"), [("equal", [1 / 3, 1 / 3, 1 / 3]), ("shares", [0.7, 0.2, 0.1])]
)
def test_real_items_without_groups_are_cut_by_the_prior(prior: Any, expected: list[float]) -> None:
    X = np.random.RandomState(0).uniform(-1, 1, (600, 2)).astype(np.float32)
    views = make_views(X)
    step = replace(STEP, generated=False, prior=prior, marginal_entropy_weight=3.0, steps=300, rate=1e-2)
    classifier = make_classifier(views, step)
    classifier.learn(far_away, views, torch.tensor([[0.7, 0.2, 0.1]]))
    found = classifier.log_posterior(views.items)[0].exp().mean(0)
    np.testing.assert_allclose(found.numpy(), expected, atol=0.06)


def test_a_component_without_data_keeps_a_tenth_of_an_equal_share(blobs: Any) -> None:
    views = make_views(blobs[0])
    seen = []

    def keep(self: Classifier, fakes: Tensor, targets: Tensor, prior: Tensor) -> Tensor:
        seen.append(prior)
        return self.logits(fakes).sum()

    classifier = make_classifier(views, replace(STEP, real=None, prior="shares", steps=1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Classifier, "_generated_loss", keep)
        classifier.learn(far_away, views, torch.tensor([[0.9, 0.1, 0.0]]))
    torch.testing.assert_close(seen[0], torch.tensor([[0.9, 0.1, 0.1 / 3]]))


def test_generated_items_weigh_as_much_beside_real_ones_as_asked(blobs: Any) -> None:
    losses = {}
    for weight in (0.0, 1.0, 0.3):
        views = make_views(blobs[0])
        classifier = make_classifier(views, replace(STEP, steps=1, generated_weight=weight))
        losses[weight] = float(classifier.learn(far_away, views, EVEN))
    generated = losses[1.0] - losses[0.0]
    assert generated > 0.1
    assert losses[0.3] - losses[0.0] == pytest.approx(0.3 * generated, rel=1e-3)


def test_memberships_of_all_restarts_are_normalised_and_evaluated_without_dropping_to_training(
    blobs: Any,
) -> None:
    views = make_views(blobs[0])
    classifier = make_classifier(views, STEP, restarts=2)
    log_p = classifier.log_posterior(views.items)
    assert log_p.shape == (2, 600, 3)
    torch.testing.assert_close(log_p.exp().sum(-1), torch.ones(2, 600))
    torch.testing.assert_close(classifier.log_posterior(views.items[:10]), log_p[:, :10])
    assert classifier.network.training


def test_agreement_prefers_the_true_groups_to_a_cut_and_to_chance() -> None:
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(0, 1, (1000, 2)), rng.normal(12, 1, (100, 2))])
    views = make_views(X)
    middle = float(views.items[:1000, 0].median())

    def contenders(items: Tensor) -> Tensor:
        groups = (items[:, 0] > 1).long()
        cut = (items[:, 0] > middle).long()
        return torch.stack([groups, cut, torch.randint(2, cut.shape), torch.zeros_like(cut)])

    true, cut, chance, single = agreement(contenders, views, 2).tolist()
    assert true > cut > chance and true > single
    shares = np.array([1000, 100]) / 1100
    np.testing.assert_allclose(true, -(shares * np.log(shares)).sum(), atol=0.03)
    assert chance == pytest.approx(-DISAGREEMENT_PENALTY * np.log(2), abs=0.05) and single == 0


@pytest.mark.parametrize("trial", [0, 30])
def test_the_start_finds_groups_with_and_without_a_trial(blobs: Any, trial: int) -> None:
    views = make_views(blobs[0])
    start = InfoMaxInit(
        steps=90, heads=2, networks=3, screening_steps=trial, partitions=("kmeans",), partition_steps=20
    )

    def make(n: int, heads: int, rate: float) -> Classifier:
        stack = build_stack("classifier", "auto", n, (2,), (heads * 3,), views.run.cpu_generator)
        return Classifier(stack, 3, replace(STEP, rate=rate), views.run, restarts=n, n_heads=heads)

    classifier = pretrain_infomax(start, make, views, 3, 2, STEP.rate)
    assert classifier.restarts == 2 and classifier.head is not None and classifier.head.shape == (2,)
    for labels in classifier.log_posterior(views.items).argmax(-1):
        assert metrics.accuracy(blobs[1], labels.numpy()) > 0.98
    assert classifier.optimizer.optimizer.param_groups[0]["lr"] == STEP.rate


def test_critics_judge_by_their_scores_raw_or_in_units_of_their_own_samples(blobs: Any) -> None:
    views = make_views(blobs[0])
    networks = {"generator": "auto", "critic": "auto"}
    gans = Components(6, (2,), MStep(batch_size=8), networks, views.run)
    raw = CriticAssigner(gans, 3, CriticEStep()).log_posterior(views.items)
    scores = gans.critic_scores(views.items).view(2, 3, 600).transpose(1, 2)
    torch.testing.assert_close(raw, scores.log_softmax(-1))
    with torch.no_grad():
        gans.critic.layers[-1].bias[0] += 1000  # WGAN critics have arbitrary offsets: raw falls for it
    raw = CriticAssigner(gans, 3, CriticEStep()).log_posterior(views.items)
    centred = CriticAssigner(gans, 3, CriticEStep(centred=True)).log_posterior(views.items)
    assert (raw[0].argmax(-1) == 0).all() and not (centred[0].argmax(-1) == 0).all()
