"""The epsilon-E-step: the classifier, the critics in its place, and what was published."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from scipy.special import softmax as scipy_softmax
from torch import Tensor

from genmix.ganmm import em
from genmix.ganmm.e_step import (
    E_STEPS,
    Assignment,
    Classifier,
    ClassifierEStep,
    CriticAssigner,
    CriticEStep,
    check_e_step,
)
from genmix.ganmm.m_step import Components, MStep
from genmix.ganmm.presets import PRESETS, CodeEStep, CodesEStep, PaperEStep
from genmix.nn.adversarial import TFRMSprop
from genmix.nn.build import build_stack
from genmix.training import infomax
from genmix.training.augment import AugmentedData, NeighborSwap
from genmix.training.engine import Engine
from genmix.training.infomax import MultiHeadNetwork

GENERATED_ONLY = {"generated_weight": 1.0, "real_weight": 0.0, "prior": "equal"}
EVEN = torch.ones(1, 3) / 3
SMALL = {"kind": "mlp", "hidden": (32,), "norm": "running"}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def as_data(X: Any, seed: int = 0, augmentation: Any = None) -> AugmentedData:
    items = torch.from_numpy((X - X.mean(0)) / X.std(0)).float()
    return AugmentedData(items, augmentation or NeighborSwap(), Engine("cpu", seed))


def make_classifier(
    data: AugmentedData,
    step: ClassifierEStep | None = None,
    k: int = 3,
    restarts: int = 1,
    network: Any = "auto",
    data_statistics: bool | None = None,
    **settings: Any,
) -> Classifier:
    shape = tuple(data.items.shape[1:])
    step = replace(step or ClassifierEStep(steps=3, batch_size=8), **settings).resolve(shape)
    kind = step.classifier
    stack = build_stack("classifier", network, restarts, shape, (k,), data.engine.cpu_generator)
    net = MultiHeadNetwork(
        stack, k, lambda outputs: outputs, data.engine, restarts=restarts, n_heads=1, lr=step.lr,
        make_optimizer=kind.make_optimizer, frozen=kind.frozen(stack),
    )  # fmt: skip
    net.use_head(0)
    data_statistics = step.real_weight > 0 if data_statistics is None else data_statistics
    return kind(net, k, step, data_statistics=data_statistics)


def running_statistics(classifier: Classifier) -> Tensor:
    buffers = [b.flatten().double() for b in classifier.net.network.buffers() if b.dim()]
    return torch.cat(buffers).clone()


def far_away(n: int) -> Tensor:
    """Items of three components that are nothing like the data."""
    return 50 + torch.randn(3, n, 2, generator=generator())


# ---------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((5,), (0.3, "shares")), ((1, 5, 1), (0.3, "shares")), ((1, 8, 8), (1.0, "equal"))],
)
def test_what_is_not_given_suits_the_kind_of_data(shape: tuple[int, ...], expected: tuple[Any, ...]) -> None:
    found = ClassifierEStep(steps=7, lr=0.1).resolve(shape)
    assert (found.generated_weight, found.prior) == expected
    assert found == ClassifierEStep(steps=7, lr=0.1, generated_weight=expected[0], prior=expected[1])


@pytest.mark.parametrize("shape", [(5,), (1, 8, 8)])
def test_what_is_given_stays(shape: tuple[int, ...]) -> None:
    for weight, prior in ((0.0, "equal"), (0.7, "shares")):
        given = ClassifierEStep(generated_weight=weight, prior=prior)
        assert given.resolve(shape) == given
    assert type(CodeEStep().resolve(shape)) is CodeEStep


def test_names_stand_for_settings() -> None:
    assert check_e_step("classifier") == ClassifierEStep()
    assert check_e_step("critic") == CriticEStep(standardized=False)
    assert check_e_step("standardized-critic") == CriticEStep(standardized=True)
    for own in (ClassifierEStep(steps=2), CriticEStep(True), CodeEStep()):
        assert check_e_step(own) is own


@pytest.mark.parametrize("value", ["oracle", "", None, 3, MStep(), ClassifierEStep])
def test_no_e_step_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"e_step=.* is unknown; expected 'classifier', 'critic'"):
        check_e_step(value)


def test_a_classifier_has_to_learn_from_something() -> None:
    nothing = ClassifierEStep(generated_weight=0.0, real_weight=0.0)
    with pytest.raises(ValueError, match="nothing to learn from"):
        check_e_step(nothing)
    for fine in (
        replace(nothing, steps=0), replace(nothing, generated_weight=None), replace(nothing, real_weight=0.1),
        replace(nothing, generated_weight=0.1),
    ):  # fmt: skip
        assert check_e_step(fine) is fine


@pytest.mark.parametrize(
    "settings",
    [
        {"steps": -1}, {"batch_size": 0}, {"lr": -1.0}, {"generated_weight": -0.1}, {"real_weight": -0.1},
        {"prior": "even"}, {"sinkhorn_strength": 1.1},
    ],
)  # fmt: skip
def test_settings_out_of_range_are_refused_by_name(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        ClassifierEStep(**settings)


# ---------------------------------------------------------------- running statistics


@pytest.mark.parametrize("data_statistics", [True, False])
def test_generated_items_leave_the_running_statistics_of_the_data_alone(
    blobs: Any, data_statistics: bool
) -> None:
    data = as_data(blobs[0])
    classifier = make_classifier(data, **GENERATED_ONLY, data_statistics=data_statistics)
    before = running_statistics(classifier)
    items, targets = classifier.sample(far_away, data)
    classifier.generated_loss(items.flatten(1, 2), targets.flatten(1, 2), None)
    assert torch.equal(before, running_statistics(classifier)) is data_statistics


def test_statistics_keep_up_with_weights_that_learn_from_generated_items_only(blobs: Any) -> None:
    data = as_data(blobs[0])
    classifier = make_classifier(data, **GENERATED_ONLY, data_statistics=True)
    before = running_statistics(classifier)
    classifier.learn(far_away, data, EVEN)
    after = running_statistics(classifier)
    assert not torch.equal(before, after)
    assert after.abs().max() < 20  # what the items 50 away give is larger


def test_real_items_move_the_running_statistics(blobs: Any) -> None:
    data = as_data(blobs[0])
    classifier = make_classifier(data)
    before = running_statistics(classifier)
    classifier.learn(far_away, data, EVEN)
    after = running_statistics(classifier)
    assert not torch.equal(before, after)
    assert after.abs().max() < 20


# ---------------------------------------------------------------- what it learns


def test_algorithm_1_lines_5_to_7_the_classifier_learns_which_component_made_what(blobs: Any) -> None:
    data = as_data(blobs[0])
    groups = torch.stack([data.items[blobs[1] == k] for k in range(3)])

    def generate(n: int) -> Tensor:
        return groups[:, torch.randint(200, (n,), generator=data.engine.generator)]

    classifier = make_classifier(data, **GENERATED_ONLY, steps=80, lr=1e-2)
    classifier.learn(generate, data, EVEN)
    assert (classifier.log_posterior(data.items)[0].argmax(-1).numpy() == blobs[1]).mean() > 0.99


@pytest.mark.parametrize(
    ("prior", "expected"), [("equal", [1 / 3, 1 / 3, 1 / 3]), ("shares", [0.8, 0.15, 0.05])]
)
def test_algorithm_1_line_5_items_that_all_generators_make_are_assigned_by_the_prior(
    blobs: Any, prior: Any, expected: list[float]
) -> None:
    data = as_data(blobs[0])

    def alike(n: int) -> Tensor:
        return torch.randn(3, n, 2, generator=data.engine.generator)

    settings = {**GENERATED_ONLY, "prior": prior, "steps": 200, "batch_size": 128, "lr": 1e-2}
    classifier = make_classifier(data, network=SMALL, **settings)
    classifier.learn(alike, data, torch.tensor([[0.8, 0.15, 0.05]]))
    found = classifier.log_posterior(alike(256).flatten(0, 1))[0].exp().mean(0)
    np.testing.assert_allclose(found.numpy(), expected, atol=0.05)


@pytest.mark.parametrize(
    ("prior", "expected"), [("equal", [1 / 3, 1 / 3, 1 / 3]), ("shares", [0.7, 0.2, 0.1])]
)
def test_real_items_without_groups_are_cut_by_the_prior(
    monkeypatch: pytest.MonkeyPatch, prior: Any, expected: list[float]
) -> None:
    monkeypatch.setattr(Classifier, "marginal_entropy_weight", 3.0)
    monkeypatch.setattr("genmix.ganmm.e_step.BATCH_SIZE", 64)
    X = np.random.RandomState(0).uniform(-1, 1, (600, 2)).astype(np.float32)
    data = as_data(X)
    classifier = make_classifier(data, network=SMALL, generated_weight=0.0, prior=prior, steps=300, lr=1e-2)
    classifier.learn(far_away, data, torch.tensor([[0.7, 0.2, 0.1]]))
    found = classifier.log_posterior(data.items)[0].exp().mean(0)
    np.testing.assert_allclose(found.numpy(), expected, atol=0.06)


@pytest.mark.parametrize("prior", ["equal", "shares"])
def test_what_is_real_is_learned_by_information_with_the_same_prior(
    monkeypatch: pytest.MonkeyPatch, blobs: Any, prior: Any
) -> None:
    given: list[tuple[Any, ...]] = []
    original = MultiHeadNetwork.information_loss

    def noted(self: MultiHeadNetwork, *arguments: Any) -> Tensor:
        given.append(arguments)
        return original(self, *arguments)

    monkeypatch.setattr(MultiHeadNetwork, "information_loss", noted)
    data, shares = as_data(blobs[0]), torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.2, 0.7]])
    classifier = make_classifier(data, restarts=2, generated_weight=0.0, prior=prior, steps=1)
    classifier.learn(far_away, data, shares)
    assert given[0][:3] == (data, infomax.BATCH_SIZE, 0.5)
    assert given[0][3] is None if prior == "equal" else torch.equal(given[0][3], shares[:, None])


def test_a_component_without_data_keeps_a_tenth_of_an_equal_share(
    monkeypatch: pytest.MonkeyPatch, blobs: Any
) -> None:
    data, seen = as_data(blobs[0]), list[Tensor]()

    def keep(self: Classifier, items: Tensor, targets: Tensor, prior: Tensor) -> Tensor:
        seen.append(prior)
        return self.net.scores(items).sum()

    monkeypatch.setattr(Classifier, "generated_loss", keep)
    classifier = make_classifier(data, **{**GENERATED_ONLY, "prior": "shares"}, steps=1)
    classifier.learn(far_away, data, torch.tensor([[0.9, 0.1, 0.0]]))
    torch.testing.assert_close(seen[0], torch.tensor([[0.9, 0.1, 0.1 / 3]]))


def test_generated_and_real_items_weigh_as_much_as_asked(blobs: Any) -> None:
    def loss(generated_weight: float, real_weight: float) -> float:
        data = as_data(blobs[0], augmentation=NeighborSwap(5, 0.0))  # generated items draw no noise
        classifier = make_classifier(
            data, steps=1, generated_weight=generated_weight, real_weight=real_weight, prior="equal",
            network={"kind": "mlp", "hidden": (8,), "norm": None},
        )  # fmt: skip
        return float(classifier.learn(lambda n: far_away(n) / 50, data, EVEN))

    generated, real = loss(1.0, 0.0), loss(0.0, 1.0)
    assert generated > 0.1 and abs(real) > 0.1
    for weights in ((1.0, 1.0), (0.3, 1.0), (1.0, 0.4), (2.0, 3.0)):
        assert loss(*weights) == pytest.approx(weights[0] * generated + weights[1] * real, rel=1e-4)


def test_without_weight_nothing_is_generated_or_drawn(monkeypatch: pytest.MonkeyPatch, blobs: Any) -> None:
    data = as_data(blobs[0])
    make_classifier(data, generated_weight=0.0).learn(
        lambda n: pytest.fail("items were generated"), data, EVEN
    )
    monkeypatch.setattr(
        MultiHeadNetwork, "information_loss", lambda *_: pytest.fail("information was computed")
    )
    monkeypatch.setattr(AugmentedData, "draw_index", lambda *_: pytest.fail("real items were drawn"))
    make_classifier(data, **GENERATED_ONLY).learn(far_away, data, EVEN)


def test_its_loss_is_the_mean_over_steps_and_restarts(monkeypatch: pytest.MonkeyPatch, blobs: Any) -> None:
    data, values = as_data(blobs[0]), iter([3.0, 6.0, 9.0])
    classifier = make_classifier(data, restarts=2, steps=3)
    first = next(iter(classifier.net.network.parameters()))
    monkeypatch.setattr(Classifier, "losses", lambda *_: iter([0 * first.sum() + next(values)]))
    assert float(classifier.learn(far_away, data, EVEN)) == pytest.approx(6.0 / 2)
    assert float(make_classifier(data, steps=0).learn(far_away, data, EVEN)) == 0


@pytest.mark.parametrize("kind", [ClassifierEStep, PaperEStep])
def test_generated_items_are_augmented_where_they_are(blobs: Any, kind: type[ClassifierEStep]) -> None:
    data = as_data(blobs[0], augmentation=lambda x, _: -x)
    made = torch.randn(6, 8, 2, generator=generator())
    classifier = make_classifier(data, kind(batch_size=8), restarts=2)
    items, targets = classifier.sample(lambda n: made[:, :n], data)
    expected = made.view(2, 3, 8, 2)
    assert torch.equal(items, -expected if kind is ClassifierEStep else expected)
    assert torch.equal(targets, torch.tensor([0, 1, 2])[:, None].expand(2, 3, 8))


# ---------------------------------------------------------------- memberships and the assignment


def test_memberships_of_all_restarts_are_normalised_and_do_not_depend_on_batches(blobs: Any) -> None:
    data = as_data(blobs[0])
    classifier = make_classifier(data, restarts=2)
    log_p = classifier.log_posterior(data.items)
    assert log_p.shape == (2, 600, 3)
    torch.testing.assert_close(log_p.exp().sum(-1), torch.ones(2, 600))
    torch.testing.assert_close(classifier.log_posterior(data.items[:10]), log_p[:, :10])
    torch.testing.assert_close(classifier.log_posterior(data.items, 64), log_p)
    assert classifier.net.network.training


@pytest.mark.parametrize("strength", [0.0, 0.9])
def test_algorithm_1_line_8_the_data_are_assigned_to_their_most_likely_component(
    blobs: Any, strength: float
) -> None:
    data = as_data(blobs[0])
    classifier = make_classifier(data, restarts=2, sinkhorn_strength=strength)
    labels = torch.randint(3, (2, 600), generator=generator())
    before = labels.clone()
    found = classifier.assign(data.items, labels)
    posterior = em.balanced_memberships(classifier.log_posterior(data.items), strength)
    torch.testing.assert_close(found.posterior, posterior)
    assert torch.equal(found.labels, posterior.argmax(-1)) and torch.equal(labels, found.labels)
    assert torch.equal(found.before, before) and torch.equal(found.items, data.items)


def test_an_assignment_tells_the_largest_change_and_the_smallest_share_of_all_restarts() -> None:
    before = torch.tensor([[0, 0, 0, 1], [0, 1, 1, 1]])
    labels = torch.tensor([[0, 0, 1, 1], [1, 0, 0, 1]])
    found = Assignment(torch.zeros(4, 2), before, labels, torch.zeros(2, 4, 2))
    assert float(found.changed) == 0.75
    assert float(found.smallest_share) == 0.5
    assert float(found._replace(posterior=torch.zeros(2, 4, 3)).smallest_share) == 0


def test_a_network_that_has_diverged_assigns_nothing_that_is_no_number(blobs: Any) -> None:
    data = as_data(blobs[0])
    classifier = make_classifier(data)
    next(iter(classifier.net.network.parameters())).data.fill_(math.nan)
    found = classifier.assign(data.items, torch.zeros(1, 600, dtype=torch.long))
    assert found.posterior.isfinite().all() and found.labels.unique().tolist() == [0]


def make_critics(data: AugmentedData, **settings: Any) -> CriticAssigner:
    networks = {"generator": "auto", "critic": "auto"}
    gans = Components(6, (2,), MStep(batch_size=8), networks, data.engine)
    return CriticAssigner(gans, 3, CriticEStep(**settings))


def test_critics_assign_by_their_scores_raw_or_in_units_of_their_own_samples(blobs: Any) -> None:
    data = as_data(blobs[0])
    critics = make_critics(data)
    gans = critics.components
    scores = gans.score_all(data.items).view(2, 3, 600).transpose(1, 2)
    torch.testing.assert_close(critics.log_posterior(data.items), scores.log_softmax(-1))
    with torch.no_grad():
        gans.critic.layers[-1].bias[0] += 1000  # WGAN critics have arbitrary offsets: raw falls for it
    raw = critics.log_posterior(data.items)
    standardized = CriticAssigner(gans, 3, CriticEStep(standardized=True))
    state = data.engine.generator.get_state()
    found = standardized.log_posterior(data.items)
    assert (raw[0].argmax(-1) == 0).all() and not (found[0].argmax(-1) == 0).all()
    data.engine.generator.set_state(state)
    mean, sd = gans.critic_score_stats()
    expected = ((gans.score_all(data.items) - mean) / sd).view(2, 3, 600).transpose(1, 2).log_softmax(-1)
    torch.testing.assert_close(found, expected)


def test_critics_assign_and_learn_nothing(blobs: Any) -> None:
    data = as_data(blobs[0])
    critics = make_critics(data)
    assert float(critics.learn(lambda n: pytest.fail("items were generated"), data, EVEN)) == 0
    labels = torch.zeros(2, 600, dtype=torch.long)
    found = critics.assign(data.items, labels)
    torch.testing.assert_close(found.posterior, critics.log_posterior(data.items).exp())
    assert torch.equal(labels, found.posterior.argmax(-1)) and critics.exploration == "highest"


# ---------------------------------------------------------------- what was published


@pytest.mark.parametrize(
    ("step", "exploration", "max_classified", "step_numbers"),
    [
        (PRESETS["ganmm-2018-paper"]["e_step"], "highest", None, (10, 50, 5e-5)),
        (PRESETS["ganmm-2018-code"]["e_step"], "proportional", 2048, (1, 50, 5e-5)),
        (CodesEStep(), "proportional", 2048, (1, 50, 5e-5)),
    ],
)
def test_published_e_steps_are_what_was_published(
    blobs: Any, step: ClassifierEStep, exploration: str, max_classified: int | None, step_numbers: Any
) -> None:
    for shape in ((7,), (1, 8, 8)):
        found = step.resolve(shape)
        assert (found.steps, found.batch_size, found.lr) == step_numbers
        assert (found.generated_weight, found.real_weight, found.prior) == (1.0, 0.0, "equal")
        assert found.sinkhorn_strength == 0
    classifier = make_classifier(as_data(blobs[0]), step)
    assert (classifier.exploration, classifier.max_classified) == (exploration, max_classified)
    assert type(classifier.net.optimizer.optimizer) is TFRMSprop
    assert classifier.net.optimizer.optimizer.param_groups[0]["lr"] == 5e-5
    assert not classifier.augments_generated


def test_ours_is_adam_on_all_items_and_the_highest_posterior(blobs: Any) -> None:
    classifier = make_classifier(as_data(blobs[0]))
    assert isinstance(classifier.net.optimizer.optimizer, torch.optim.Adam)
    assert (classifier.exploration, classifier.max_classified, classifier.augments_generated) == (
        "highest", None, True,
    )  # fmt: skip


@pytest.mark.parametrize(("kind", "optimizer_steps"), [(PaperEStep, 3), (CodeEStep, 9), (CodesEStep, 9)])
def test_algorithm_1_line_7_single_class_batches_take_a_step_each(
    monkeypatch: pytest.MonkeyPatch, blobs: Any, kind: type[ClassifierEStep], optimizer_steps: int
) -> None:
    data, shown = as_data(blobs[0]), list[list[int]]()
    classifier = make_classifier(data, kind(steps=3, batch_size=8))
    original, count = kind.classifier.generated_loss, 0

    def noted(self: Classifier, items: Tensor, targets: Tensor, prior: Tensor | None) -> Tensor:
        shown.append(targets.unique().tolist())
        return original(self, items, targets, prior)

    def counted(loss: Tensor) -> None:
        nonlocal count
        count += 1

    monkeypatch.setattr(kind.classifier, "generated_loss", noted)
    classifier.net.optimizer.step = counted  # type: ignore[method-assign]
    classifier.learn(far_away, data, EVEN)
    assert count == optimizer_steps
    assert shown == ([[0, 1, 2]] * 3 if kind is PaperEStep else [[0], [1], [2]] * 3)


@pytest.mark.parametrize("kind", [PaperEStep, CodeEStep])
def test_the_code_takes_probabilities_for_logits(blobs: Any, kind: type[ClassifierEStep]) -> None:
    data = as_data(blobs[0])
    classifier = make_classifier(data, kind(), restarts=2)
    items, targets = (
        torch.randn(2, 12, 2, generator=generator()),
        torch.randint(3, (2, 12), generator=generator()),
    )
    scores = classifier.net.scores(items)[:, :, 0].detach().double().numpy()
    logits = scipy_softmax(scores, axis=-1) if kind is CodeEStep else scores
    losses = -np.take_along_axis(log_softmax(logits, axis=-1), targets.numpy()[..., None], -1)
    found = float(classifier.generated_loss(items, targets, None).detach())
    assert found == pytest.approx(losses.mean((1, 2)).sum(), abs=1e-5)


def test_double_softmax_stays_between_1_461_and_2_461_for_ten_components(blobs: Any) -> None:
    scale = make_classifier(as_data(blobs[0]), CodeEStep()).scale
    targets = torch.arange(10)[None]
    right = 1e4 * torch.eye(10, dtype=torch.float64)[None]
    low = float(em.classifier_loss(scale(right), targets))
    high = float(em.classifier_loss(scale(right.roll(1, -1)), targets))
    assert low == pytest.approx(math.log(math.e + 9) - 1, abs=1e-12)
    assert high == pytest.approx(math.log(math.e + 9), abs=1e-12)
    assert (round(low, 3), round(high, 3)) == (1.461, 2.461)
    for size in (0.1, 1.0, 100.0):
        scores = torch.randn(50, 10, 10, generator=generator(), dtype=torch.float64) * size
        losses = em.classifier_loss(scale(scores), targets.expand(50, 10))
        assert (losses >= low).all()
        assert (losses <= high).all()


@pytest.mark.parametrize(
    ("kind", "network", "frozen"),
    [
        (CodeEStep, "ganmm-2018", True),
        (CodeEStep, {"kind": "mlp", "hidden": (5, 4)}, True),
        (CodesEStep, "ganmm-2018", False),
        (PaperEStep, "ganmm-2018", False),
        (ClassifierEStep, "auto", False),
    ],
)
def test_only_the_codes_dense_output_layer_stays_at_its_start(
    blobs: Any, kind: type[ClassifierEStep], network: Any, frozen: bool
) -> None:
    data = as_data(blobs[0])
    classifier = make_classifier(data, kind(steps=2, lr=0.1), network=network)
    first, last = classifier.net.network.layers[0], classifier.net.network.layers[-1]
    before = [first.weight.clone(), last.weight.clone(), last.bias.clone()]
    classifier.learn(far_away, data, EVEN)
    after = [first.weight, last.weight, last.bias]
    same = [torch.equal(p, was) for p, was in zip(after, before, strict=True)]
    assert same == [False, frozen, frozen]


def test_networks_of_another_kind_learn_as_a_whole(blobs: Any) -> None:
    data = as_data(blobs[0])
    classifier = make_classifier(
        data, CodeEStep(steps=2, lr=0.1), network=lambda shape, out: torch.nn.Linear(shape[0], out)
    )
    before = [p.detach().clone() for p in classifier.net.network.parameters()]
    classifier.learn(lambda n: far_away(n) - 50, data, EVEN)  # near: no output is saturated
    after = classifier.net.network.parameters()
    assert not any(torch.equal(p, was) for p, was in zip(after, before, strict=True))


def test_the_code_classifies_a_random_part_of_many_items(monkeypatch: pytest.MonkeyPatch, blobs: Any) -> None:
    monkeypatch.setattr(CodeEStep.classifier, "max_classified", 50)
    data = as_data(blobs[0])
    classifier = make_classifier(data, CodeEStep(), k=4, restarts=2)
    parts = []
    for _ in range(2):
        labels = torch.full((2, 600), 3)  # far from the first assignment of a network at its random start
        posterior = classifier.log_posterior(data.items).exp()
        labels[:] = (posterior.argmax(-1) + 1) % 4
        before = labels.clone()
        found = classifier.assign(data.items, labels)
        assert found.items.shape == (50, 2) and found.posterior.shape == (2, 50, 4)
        index = (labels != before).all(0).nonzero()[:, 0]  # assigned anew, all at once
        assert len(index) == 50 and ((labels != before).any(0).sum() == 50)
        assert float(found.changed) == 1
        assert {tuple(row) for row in found.items.tolist()} == {tuple(r) for r in data.items[index].tolist()}
        assert torch.equal(labels[:, index], posterior.argmax(-1)[:, index])
        parts.append(index.tolist())
    assert parts[0] != parts[1]
    few = AugmentedData(data.items[:50], NeighborSwap(0, 0.0), data.engine)
    assert torch.equal(classifier.assign(few.items, torch.zeros(2, 50, dtype=torch.long)).items, few.items)


def test_every_name_makes_an_e_step_of_the_public_settings() -> None:
    assert set(E_STEPS) == {"classifier", "critic", "standardized-critic"}
    assert [field.name for field in fields(CriticEStep)] == ["standardized"]
