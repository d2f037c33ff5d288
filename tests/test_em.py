"""epsilon-EM's mathematics against scipy, scikit-learn, torch and plain numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.stats import chisquare

from genmix.ganmm import em
from genmix.ganmm.presets import PRESETS


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_log_posterior(n: int, k: int, seed: int, scale: float = 3.0) -> torch.Tensor:
    """Log memberships in float64 that prefer the first components."""
    scores = torch.randn(n, k, generator=generator(seed), dtype=torch.float64) * scale
    return (scores - 0.4 * torch.arange(k)).log_softmax(-1)


# ---------------------------------------------------------------- balanced memberships


def test_sinkhorn_strength_zero_is_the_softmax() -> None:
    log_p = random_log_posterior(20, 4, 0)
    assert torch.equal(em.balanced_memberships(log_p, 0.0), log_p.softmax(-1))


@pytest.mark.parametrize(("n", "k", "seed"), [(60, 3, 0), (200, 10, 1), (7, 2, 2)])
def test_sinkhorn_strength_one_gives_equal_column_masses(n: int, k: int, seed: int) -> None:
    q = em.balanced_memberships(random_log_posterior(n, k, seed), 1.0, n_iter=500)
    torch.testing.assert_close(q.sum(0) / (n / k), torch.ones(k, dtype=q.dtype), atol=1e-3, rtol=0)
    torch.testing.assert_close(q.sum(1), torch.ones(n, dtype=q.dtype), atol=1e-12, rtol=0)


def test_more_sinkhorn_strength_is_closer_to_equal_masses() -> None:
    log_p = random_log_posterior(40, 5, 3)
    distance = []
    for strength in (0.0, 0.25, 0.5, 0.75, 0.9, 1.0):
        q = em.balanced_memberships(log_p, strength, n_iter=200)
        assert (q >= 0).all()
        torch.testing.assert_close(q.sum(1), torch.ones(40, dtype=q.dtype), atol=1e-12, rtol=0)
        distance.append(float((q.mean(0) - 0.2).abs().sum()))
    assert distance == sorted(distance, reverse=True)
    assert distance[0] > 0.2
    assert distance[-1] < 1e-3


@pytest.mark.parametrize("strength", [0.0, 0.8])
def test_restarts_are_balanced_apart(strength: float) -> None:
    stack = torch.stack([random_log_posterior(30, 3, seed) for seed in range(4)])
    alone = torch.stack([em.balanced_memberships(log_p, strength, n_iter=20) for log_p in stack])
    torch.testing.assert_close(em.balanced_memberships(stack, strength), alone, atol=1e-14, rtol=0)


@pytest.mark.parametrize("strength", [0.3, 0.6, 0.9])
def test_balanced_memberships_maximise_their_objective(strength: float) -> None:
    """max <Q, log p> + H(Q) - rho KL(masses || N/K), found by scipy over softmax-parametrised rows."""
    n, k, rho = 4, 3, strength / (1 - strength)
    log_p = random_log_posterior(n, k, 5).numpy()

    def price(flat: np.ndarray) -> float:
        q = np.exp(flat.reshape(n, k) - flat.reshape(n, k).max(1, keepdims=True))
        q /= q.sum(1, keepdims=True)
        mass = q.sum(0)
        return float((q * np.log(q) - q * log_p).sum() + rho * (mass * np.log(mass / (n / k))).sum())

    best = minimize(price, log_p.ravel(), method="BFGS", options={"gtol": 1e-6})
    found = em.balanced_memberships(torch.from_numpy(log_p), strength, n_iter=300).numpy()
    assert price(np.log(found).ravel()) == pytest.approx(best.fun, abs=1e-7)
    scipys = np.exp(best.x.reshape(n, k) - best.x.reshape(n, k).max(1, keepdims=True))
    np.testing.assert_allclose(found, scipys / scipys.sum(1, keepdims=True), atol=1e-4)


def test_balanced_memberships_of_extreme_scores_are_finite() -> None:
    log_p = (torch.randn(50, 4, generator=generator()) * 1e4).log_softmax(-1)
    for strength in (0.5, 1.0):
        q = em.balanced_memberships(log_p, strength)
        assert q.isfinite().all()
        torch.testing.assert_close(q.sum(1), torch.ones(50), atol=1e-5, rtol=0)


# ---------------------------------------------------------------- the schedule of epsilon


@pytest.mark.parametrize(
    ("iteration", "own"),
    [(0, 25), (499, 25), (500, 40), (999, 40), (1000, 45), (1999, 45), (2000, 48), (10**6, 48)],
)
def test_published_code_keeps_25_40_45_48_of_50(iteration: int, own: int) -> None:
    epsilon = em.epsilon_at(iteration, PRESETS["ganmm-2018-code"]["m_step"].schedule)
    assert 50 - round(epsilon * 50) == own


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_epsilon_never_rises(name: str) -> None:
    shares = [em.epsilon_at(t, PRESETS[name]["m_step"].schedule) for t in range(0, 4000, 7)]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > shares[-1]


def test_one_entry_holds_for_ever() -> None:
    assert [em.epsilon_at(t, ((3, 0.2),)) for t in (0, 2, 3, 100)] == [0.2] * 4


# ---------------------------------------------------------------- D_i and what augments it


def brute_force_highest(labels: np.ndarray, posterior: np.ndarray, k: int, epsilon: float) -> set[int]:
    """The sigma points of D - D_i with the highest posterior for component k."""
    outside = [i for i in range(len(labels)) if labels[i] != k]
    sigma = math.ceil(epsilon / (1 - epsilon) * (labels == k).sum() - 1e-6)
    return set(sorted(outside, key=lambda i: -posterior[i, k])[:sigma])


@pytest.mark.parametrize("epsilon", [0.04, 0.1, 0.2, 0.5])
@pytest.mark.parametrize("seed", range(3))
def test_algorithm_1_line_9_takes_the_sigma_outsiders_of_highest_posterior(epsilon: float, seed: int) -> None:
    posterior = random_log_posterior(60, 4, seed, 1.0).exp()
    labels = posterior.argmax(1)
    own, extra = em.component_distributions(labels, posterior, epsilon)  # the paper's text is the default
    assert labels.unique().tolist() == [0, 1, 2, 3]
    for k in range(4):
        assert set(own[k].nonzero()[:, 0].tolist()) == set((labels == k).nonzero()[:, 0].tolist())
        wanted = brute_force_highest(labels.numpy(), posterior.numpy(), k, epsilon)
        assert set(extra[k].nonzero()[:, 0].tolist()) == wanted
        assert set(extra[k].unique().tolist()) == {0.0, 1.0}  # evenly


def test_algorithm_1_line_9_sigma_is_exact_for_a_saturated_classifier() -> None:
    """Memberships of others may all underflow, or all be equal: still sigma points, the highest first."""
    posterior = torch.zeros(12, 2)
    posterior[:, 0] = 1.0
    posterior[:2] = torch.tensor([0.0, 1.0])
    posterior[7, 1] = 1e-30
    labels = posterior.argmax(1)
    extra = em.component_distributions(labels, posterior, 0.5, "highest")[1]
    assert extra[1].sum() == 2
    assert extra[1, 7] == 1
    assert extra[1, :2].sum() == 0
    assert extra[0].nonzero()[:, 0].tolist() == [0, 1]  # all there are, though sigma is 10


def test_algorithm_1_line_9_proportional_follows_the_posterior_outside() -> None:
    posterior = random_log_posterior(40, 3, 1, 1.0).exp()
    labels = posterior.argmax(1)
    own, extra = em.component_distributions(labels, posterior, 0.2, "proportional")
    for k in range(3):
        expected = torch.where(labels == k, 0.0, posterior[:, k])
        torch.testing.assert_close(extra[k], expected, atol=1e-11, rtol=0)
        assert torch.equal(own[k], (labels == k).double())


@pytest.mark.parametrize("exploration", ["highest", "proportional"])
def test_extras_are_never_members(exploration: str) -> None:
    posterior = torch.stack([random_log_posterior(50, 5, seed).exp() for seed in range(3)])
    own, extra = em.component_distributions(posterior.argmax(-1), posterior, 0.3, exploration)
    assert own.shape == extra.shape == (3, 5, 50)
    crowded = (own.sum(-1) < 50)[..., None]
    assert ((own > 0) & (extra > 0) & crowded).sum() == 0


@pytest.mark.parametrize("exploration", ["highest", "proportional"])
def test_restarts_are_weighed_apart(exploration: str) -> None:
    posterior = torch.stack([random_log_posterior(50, 5, seed).exp() for seed in range(6)]).view(2, 3, 50, 5)
    labels = torch.randint(4, (2, 3, 50), generator=generator())  # component 4 is empty in all of them
    found = em.component_distributions(labels, posterior, 0.3, exploration)
    for r in range(2):
        for h in range(3):
            alone = em.component_distributions(labels[r, h], posterior[r, h], 0.3, exploration)
            assert all(torch.equal(stack[r, h], one) for stack, one in zip(found, alone, strict=True))


@pytest.mark.parametrize(("n", "fair"), [(80, 2), (79, 1), (9, 1)])
@pytest.mark.parametrize("exploration", ["highest", "proportional"])
def test_an_empty_component_comes_back_with_its_most_likely_items(
    exploration: str, n: int, fair: int
) -> None:
    """A tenth of an equal share of them, but at least one."""
    posterior = random_log_posterior(n, 4, 2, 1.0).exp()
    labels = posterior[:, :3].argmax(1)  # nobody is in component 3
    own, extra = em.component_distributions(labels, posterior, 0.2, exploration)
    assert set(own[3].nonzero()[:, 0].tolist()) == set(
        posterior[:, 3].argsort(descending=True)[:fair].tolist()
    )
    assert extra[3].sum() > 0
    assert ((own[3] > 0) & (extra[3] > 0)).sum() == 0


def test_a_component_of_one_item_keeps_that_item_however_unlikely() -> None:
    posterior = random_log_posterior(30, 3, 0).exp()
    labels = torch.zeros(30, dtype=torch.long)
    labels[posterior[:, 1].argmin()] = 1
    own = em.component_distributions(labels, posterior, 0.2)[0]
    assert torch.equal(own[1], (labels == 1).double())


@pytest.mark.parametrize("exploration", ["highest", "proportional"])
def test_a_component_that_owns_everything_is_its_own_outside(exploration: str) -> None:
    share = torch.linspace(0.6, 0.9, 10)
    posterior = torch.stack([share, 1 - share], 1)
    own, extra = em.component_distributions(torch.zeros(10, dtype=torch.long), posterior, 0.5, exploration)
    assert torch.equal(own[0], torch.ones(10))
    assert torch.equal(extra[0], own[0])
    assert own[1].nonzero()[:, 0].tolist() == [0]  # that the first has no outside is nothing to the second
    assert extra[1, 0] == 0


def test_without_epsilon_nothing_is_added() -> None:
    posterior = random_log_posterior(20, 2, 0).exp()
    own, extra = em.component_distributions(posterior.argmax(1), posterior, 0.0, "highest")
    assert torch.equal(own, extra)


# ---------------------------------------------------------------- batches


@pytest.mark.parametrize("epsilon", [0.0, 0.04, 0.1, 0.2, 0.5])
@pytest.mark.parametrize("exploration", ["highest", "proportional"])
def test_every_batch_holds_exactly_the_extras(epsilon: float, exploration: str) -> None:
    posterior = random_log_posterior(300, 3, 4, 1.0).exp()
    labels = posterior.argmax(1)
    own, extra = em.component_distributions(labels, posterior, epsilon, exploration)
    batches = em.draw_batches(own, extra, 50, 40, epsilon, generator())
    assert batches.shape == (40, 3, 50)
    foreign = (labels[batches] != torch.arange(3)[:, None]).sum(-1)
    assert (foreign == round(50 * epsilon)).all()


def test_extras_follow_the_posterior() -> None:
    posterior = random_log_posterior(30, 2, 6, 0.5).exp()
    labels = posterior.argmax(1)
    own, extra = em.component_distributions(labels, posterior, 0.5, "proportional")
    batches = em.draw_batches(own, extra, 50, 400, 0.5, generator())  # 25 extras in each: 10,000
    for k in range(2):
        drawn = batches[:, k].flatten()
        counts = np.bincount(drawn[labels[drawn] != k].numpy(), minlength=30)
        assert counts.sum() == 10_000
        outside = (labels != k).numpy()
        share = posterior[:, k].numpy()[outside]
        assert chisquare(counts[outside], 10_000 * share / share.sum()).pvalue > 0.001
        assert counts[~outside].sum() == 0


def test_own_items_are_drawn_evenly() -> None:
    own = torch.tensor([[1.0] * 20 + [0.0] * 20, [0.0] * 20 + [1.0] * 20])
    batches = em.draw_batches(own, own.flip(0), 50, 200, 0.0, generator(3))
    for k, members in enumerate((slice(0, 20), slice(20, 40))):
        counts = np.bincount(batches[:, k].flatten().numpy(), minlength=40)
        assert counts[members].sum() == 10_000
        assert chisquare(counts[members]).pvalue > 0.001


def test_no_batches_and_the_same_batches() -> None:
    own = torch.ones(2, 6)
    assert len(em.draw_batches(own, own, 4, 0, 0.5, generator())) == 0
    first, second = (em.draw_batches(own, own, 4, 3, 0.5, generator(1)) for _ in range(2))
    assert torch.equal(first, second)


# ---------------------------------------------------------------- the classifier's loss


def test_algorithm_1_line_6_is_the_cross_entropy() -> None:
    logits = torch.randn(3, 12, 5, generator=generator(), dtype=torch.float64)
    targets = torch.randint(5, (3, 12), generator=generator())
    log_p = logits.numpy() - np.log(np.exp(logits.numpy()).sum(-1, keepdims=True))
    expected = -np.take_along_axis(log_p, targets.numpy()[..., None], -1)[..., 0].mean(1)
    np.testing.assert_allclose(em.classifier_loss(logits, targets).numpy(), expected, atol=1e-12)


def test_a_prior_counts_equal_numbers_of_items_as_if_drawn_by_it() -> None:
    logits = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    targets = torch.tensor([[0, 0, 1, 1, 2, 2]] * 2)
    prior = torch.tensor([[0.5, 0.3, 0.2], [0.0, 0.9, 0.1]], dtype=torch.float64)
    losses = -logits.log_softmax(-1).gather(2, targets[..., None])[..., 0].view(2, 3, 2).mean(2)
    found = em.classifier_loss(logits, targets, prior)
    torch.testing.assert_close(found, (prior * losses).sum(1))
    even = torch.ones(2, 3, dtype=torch.float64) / 3
    torch.testing.assert_close(
        em.classifier_loss(logits, targets, prior=even), em.classifier_loss(logits, targets)
    )


# ---------------------------------------------------------------- devices


def test_everything_stays_on_the_device_of_its_arguments() -> None:
    """On torch's device without memory by default, what does not name the arguments' device goes astray."""
    posterior = random_log_posterior(60, 3, 0, 1.0).exp()
    labels, cpu = posterior.argmax(1), generator()
    with torch.device("meta"):
        own, extra = em.component_distributions(labels, posterior, 0.2)
        found = [
            own,
            extra,
            em.draw_batches(own, extra, 10, 4, 0.2, cpu),
            em.draw_batches(own, extra, 10, 0, 0.2, cpu),
        ]
    assert {part.device.type for part in found} == {"cpu"}
