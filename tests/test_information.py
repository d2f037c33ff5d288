"""What a partition and two views tell about each other, against scipy, scikit-learn and plain numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import entropy as scipy_entropy
from sklearn.metrics import cohen_kappa_score, mutual_info_score

from genmix.training.information import (
    component_shares,
    entropy,
    information_loss,
    mutual_information,
    stability,
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# ---------------------------------------------------------------- entropy and shares


def test_entropy_equals_scipy_and_takes_zeros() -> None:
    p = torch.tensor([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0], [1 / 3, 1 / 3, 1 / 3]], dtype=torch.float64)
    np.testing.assert_allclose(entropy(p).numpy(), scipy_entropy(p.numpy(), axis=1), atol=1e-15)


def test_entropy_has_a_finite_gradient_at_zero() -> None:
    p = torch.tensor([0.0, 0.4, 0.6], requires_grad=True)
    (gradient,) = torch.autograd.grad(entropy(p), p)
    assert gradient.isfinite().all()
    torch.testing.assert_close(gradient[1:], -p[1:].log() - 1)


def test_component_shares_equal_bincount() -> None:
    labels = torch.randint(4, (3, 57), generator=generator())
    expected = [np.bincount(row, minlength=5) / 57 for row in labels.numpy()]
    np.testing.assert_allclose(component_shares(labels, 5).numpy(), expected, rtol=1e-6)


# ---------------------------------------------------------------- information of two views


def numpy_information(logits: np.ndarray, conditional_weight: float, marginal_weight: float) -> float:
    """The loss of one head, written out for two views [2, B, K]."""
    p = np.exp(logits - logits.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    b = p.shape[1]
    cross_entropy = -sum(p[v, i] @ np.log(p[1 - v, i]) for v in range(2) for i in range(b)) / (2 * b)
    conditional = -sum(p[v, i] @ np.log(p[v, i]) for v in range(2) for i in range(b)) / (2 * b)
    mean = p.reshape(-1, p.shape[-1]).mean(0)
    return float(cross_entropy + conditional_weight * conditional + marginal_weight * mean @ np.log(mean))


def test_information_loss_equals_plain_numpy_for_every_head() -> None:
    logits = torch.randn(2, 3, 2, 8, 4, generator=generator(), dtype=torch.float64) * 2
    found = information_loss(logits, 1.7, None, 0.3)
    assert found.shape == (3, 2)
    for r in range(3):
        for h in range(2):
            assert float(found[r, h]) == pytest.approx(
                numpy_information(logits[:, r, h].numpy(), 0.3, 1.7), abs=1e-10
            )


def test_conditional_entropy_weighs_a_fifth_and_marginal_entropy_two_unless_told() -> None:
    logits = torch.randn(2, 8, 4, generator=generator(), dtype=torch.float64) * 2
    assert float(information_loss(logits)) == pytest.approx(numpy_information(logits.numpy(), 0.2, 2.0))


@pytest.mark.parametrize("k", [2, 5, 10])
@pytest.mark.parametrize("weight", [1.0, 2.0])
def test_information_loss_is_least_for_perfect_balanced_views(k: int, weight: float) -> None:
    perfect = 200 * torch.eye(k, dtype=torch.float64).repeat(6, 1).expand(2, 6 * k, k)
    least = float(information_loss(perfect, weight))
    assert least == pytest.approx(-weight * math.log(k), abs=1e-12)
    for seed in range(20):
        other = torch.randn(2, 6 * k, k, generator=generator(seed), dtype=torch.float64) * 5
        assert float(information_loss(other, weight)) > least
    one_component = torch.zeros(2, 6 * k, k, dtype=torch.float64)
    one_component[..., 0] = 200
    assert float(information_loss(one_component, weight)) == pytest.approx(0, abs=1e-12)
    disagreeing = torch.stack([perfect[0], perfect[0].roll(1, -1)])
    assert float(information_loss(disagreeing, weight)) > 100


def test_information_loss_has_the_gradient_of_its_value() -> None:
    logits = torch.randn(2, 5, 3, generator=generator(), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(information_loss, (logits,), eps=1e-6, atol=1e-4)


def test_an_even_prior_shifts_the_information_loss_by_a_constant() -> None:
    even = torch.full((4,), 0.25, dtype=torch.float64)
    logits = torch.randn(2, 3, 8, 4, generator=generator(), dtype=torch.float64) * 2
    difference = information_loss(logits, 1.7, even) - information_loss(logits, 1.7)
    np.testing.assert_allclose(difference.numpy(), 1.7 * math.log(4), atol=1e-12)


def test_information_loss_with_a_prior_charges_the_divergence_from_it() -> None:
    prior = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=torch.float64)
    logits = torch.randn(2, 3, 8, 4, generator=generator(), dtype=torch.float64) * 2
    found = information_loss(logits, 1.7, prior, 0.3)
    for r in range(3):
        shares = logits[:, r].softmax(-1).numpy().reshape(-1, 4).mean(0)
        expected = numpy_information(logits[:, r].numpy(), 0.3, 0.0) + 1.7 * scipy_entropy(shares, prior)
        assert float(found[r]) == pytest.approx(expected, abs=1e-12)


def test_information_loss_with_a_prior_is_least_for_sure_views_in_those_shares() -> None:
    prior = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)

    def loss(counts: tuple[int, ...]) -> float:
        labels = torch.arange(3).repeat_interleave(torch.tensor(counts))
        sure = 200 * torch.nn.functional.one_hot(labels, 3).double()
        return float(information_loss(sure.expand(2, -1, -1), 2.0, prior))

    assert loss((5, 3, 2)) == pytest.approx(0, abs=1e-12)
    for counts in ((4, 3, 3), (6, 3, 1), (4, 4, 2), (10, 0, 0), (0, 5, 5)):
        assert loss(counts) > 0.01


def test_information_loss_survives_a_lost_component() -> None:
    """The share of a component nobody believes in underflows to 0; its gradient must not become NaN."""
    logits = torch.zeros(2, 6, 3)
    logits[..., 2] = -300
    logits.requires_grad_()
    (gradient,) = torch.autograd.grad(information_loss(logits), logits)
    assert gradient.isfinite().all()


def test_mutual_information_equals_sklearn_on_the_symmetrised_table() -> None:
    for seed in range(5):
        first = torch.randint(4, (2, 90), generator=generator(seed))
        noise = torch.rand(2, 90, generator=generator(seed + 50)) < 0.4
        second = torch.where(noise, torch.randint(4, (2, 90), generator=generator(seed + 99)), first)
        found = mutual_information(first, second, 4)
        for row in range(2):
            both = torch.cat([first[row], second[row]]), torch.cat([second[row], first[row]])
            assert float(found[row]) == pytest.approx(mutual_info_score(*both), abs=1e-5)
        nested = mutual_information(first[:, None], second[:, None], 4)
        assert torch.equal(nested, found[:, None])


def test_mutual_information_charges_disagreement_by_the_conditional_entropy() -> None:
    first, second = (
        torch.randint(3, (80,), generator=generator()),
        torch.randint(3, (80,), generator=generator(1)),
    )
    both = torch.cat([first, second]), torch.cat([second, first])
    shares = np.bincount(both[0], minlength=3) / 160
    mutual = mutual_info_score(*both)
    expected = mutual - 2.5 * (scipy_entropy(shares) - mutual)
    assert float(mutual_information(first, second, 3, 2.5)) == pytest.approx(expected, abs=1e-5)


def test_stability_is_cohens_kappa_of_both_orders() -> None:
    first = torch.randint(4, (2, 300), generator=generator())
    second = torch.where(torch.rand(2, 300, generator=generator(1)) < 0.8, first, first.flip(1))
    found = stability(first, second, 4)
    for f, a, b in zip(found, first, second, strict=True):
        both = torch.cat([a, b]), torch.cat([b, a])
        assert float(f) == pytest.approx(cohen_kappa_score(*both), abs=1e-5)
    empty = stability(first, second, 5)  # a fifth of the components has no items
    torch.testing.assert_close(empty, found * 4 / 5)


def test_stability_of_one_component_and_of_none_told_apart() -> None:
    same = torch.zeros(50, dtype=torch.int64)
    assert float(stability(same, same, 1)) == 1 and float(stability(same, same, 3)) == 0
    labels = torch.arange(60) % 3
    assert float(stability(labels, labels, 3)) == pytest.approx(1, abs=1e-6)


def test_mutual_information_lies_between_zero_and_log_k() -> None:
    labels = torch.arange(60) % 6
    assert float(mutual_information(labels, labels, 6)) == pytest.approx(math.log(6), abs=1e-5)
    nothing = torch.zeros(60, dtype=torch.long)
    assert float(mutual_information(nothing, nothing, 6)) == pytest.approx(0, abs=1e-6)


# ---------------------------------------------------------------- devices


def test_everything_stays_on_the_device_of_its_arguments() -> None:
    """On torch's device without memory by default, what does not name the arguments' device goes astray."""
    logits = torch.randn(2, 30, 3, generator=generator())
    labels = logits.argmax(-1)
    with torch.device("meta"):
        found = [
            component_shares(labels, 3),
            entropy(logits.softmax(-1)),
            information_loss(logits, prior=logits[0, 0].softmax(-1)),
            mutual_information(labels[0], labels[1], 3),
        ]
    assert {part.device.type for part in found} == {"cpu"}
