"""The latent mixture of DNN-MM, equation by equation, against scipy and brute force in float64."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from torch import Tensor

from genmix.dnnmm import latent

# Older versions of the oracle, scipy's SLSQP, say that they stay inside the bounds.
pytestmark = pytest.mark.filterwarnings("ignore:Values in x were outside bounds:RuntimeWarning")

K, L, N = 3, 5, 7


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def shares(*shape: int, seed: int = 0) -> Tensor:
    """Points inside the simplex."""
    return normal(*shape, seed=seed).softmax(-1)


def mixture() -> tuple[Tensor, Tensor, Tensor]:
    """Encodings [N, L] near the means, means and weights."""
    means = latent.corner_means(K, L, 2.0).double()
    return normal(N, L, seed=1) + means[torch.arange(N) % K], means, shares(K, seed=2)


def brute_force_joint(z: Tensor, means: Tensor, weights: Tensor) -> np.ndarray:
    """``log omega_k + log N(z; mu_k, I)`` one density at a time."""
    identity = np.eye(means.shape[1])
    return np.array(
        [
            [
                np.log(w) + multivariate_normal(m, identity).logpdf(point)
                for m, w in zip(means.numpy(), weights.numpy(), strict=True)
            ]
            for point in z.numpy()
        ]
    )


def best_on_simplex(price, k: int, floor: float = 0.0) -> np.ndarray:
    """Minimise over the simplex by scipy."""
    found = minimize(
        price,
        np.full(k, 1 / k),
        method="SLSQP",
        bounds=[(max(floor, 1e-9), 1)] * k,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
        options={"ftol": 1e-14, "maxiter": 500},
    )
    assert found.success
    return found.x


# ---------------------------------------------------------------- the means


@pytest.mark.parametrize(("k", "dims", "radius"), [(2, 2, 4.0), (5, 30, 4.0), (10, 12, 1.5)])
def test_means_are_at_equal_distances_in_the_positive_orthant(k: int, dims: int, radius: float) -> None:
    means = latent.corner_means(k, dims, radius)
    assert means.shape == (k, dims)
    assert (means >= 0).all()
    torch.testing.assert_close(means.norm(dim=1), torch.full((k,), radius))
    apart = [float((means[i] - means[j]).norm()) for i, j in combinations(range(k), 2)]
    assert apart == pytest.approx([2**0.5 * radius] * len(apart))


def test_the_paper_has_distance_4() -> None:
    assert latent.corner_means(3, 30).norm(dim=1).tolist() == [4.0, 4.0, 4.0]


def test_fewer_dimensions_than_components_are_refused() -> None:
    with pytest.raises(ValueError, match=r"latent_dim=4: .*n_components=5"):
        latent.corner_means(5, 4)


# ---------------------------------------------------------------- equations 1 to 4


def test_equation_2_is_scipys_gaussian_density() -> None:
    z, means, _ = mixture()
    found = latent.log_component_density(z, means)
    expected = brute_force_joint(z, means, torch.ones(K, dtype=torch.float64))
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)


def test_equation_1_is_the_mixture_density() -> None:
    z, means, weights = mixture()
    joint = latent.log_joint(z, means, weights)
    expected = brute_force_joint(z, means, weights)
    np.testing.assert_allclose(joint.numpy(), expected, atol=1e-12)
    np.testing.assert_allclose(latent.log_likelihood(joint).numpy(), logsumexp(expected, 1), atol=1e-12)


def test_equation_1_integrates_to_one() -> None:
    means, weights = latent.corner_means(2, 2, 3.0).double(), shares(2)
    axis = torch.linspace(-8, 11, 400, dtype=torch.float64)
    z = torch.cartesian_prod(axis, axis)
    density = latent.log_likelihood(latent.log_joint(z, means, weights)).exp()
    assert float(density.sum() * (axis[1] - axis[0]) ** 2) == pytest.approx(1, abs=1e-6)


def test_equation_3_is_bayes_rule() -> None:
    z, means, weights = mixture()
    joint = np.exp(brute_force_joint(z, means, weights))
    gamma = latent.memberships(latent.log_joint(z, means, weights))
    np.testing.assert_allclose(gamma.numpy(), joint / joint.sum(1, keepdims=True), atol=1e-12)


@pytest.mark.parametrize(("k", "dims"), [(2, 2), (5, 30), (40, 40)])
def test_equations_1_and_3_of_every_size_are_brute_force(k: int, dims: int) -> None:
    means = latent.corner_means(k, dims).double()
    for seed in range(5):
        z, weights = normal(N, dims, seed=seed) + means[torch.arange(N) % k], shares(k, seed=seed)
        joint, expected = latent.log_joint(z, means, weights), brute_force_joint(z, means, weights)
        above = logsumexp(expected, 1)
        np.testing.assert_allclose(latent.log_likelihood(joint).numpy(), above, atol=1e-10)
        gamma = latent.memberships(joint).numpy()
        np.testing.assert_allclose(gamma, np.exp(expected - above[:, None]), atol=1e-10)


def test_single_precision_agrees_with_double() -> None:
    z, means, weights = mixture()
    exact = latent.memberships(latent.log_joint(z, means, weights))
    found = latent.memberships(latent.log_joint(z.float(), means.float(), weights.float()))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), exact, atol=1e-5, rtol=0)


@pytest.mark.parametrize("scale", [1e4, 1e6])
def test_equation_4_of_far_encodings_does_not_underflow(scale: float) -> None:
    z, means, weights = mixture()
    far = latent.log_joint(z * scale, means, weights)
    assert latent.log_likelihood(far).isfinite().all()
    torch.testing.assert_close(latent.memberships(far).sum(1), torch.ones(N, dtype=torch.float64))


def test_a_component_without_share_is_never_chosen_and_stays_finite() -> None:
    z, means, _ = mixture()
    joint = latent.log_joint(z, means, torch.tensor([0.5, 0.5, 0.0], dtype=torch.float64))
    assert joint.isfinite().all()
    assert latent.memberships(joint)[:, 2].max() < 1e-200


def test_memberships_are_one_hot_where_the_label_is_known() -> None:
    z, means, weights = mixture()
    joint = latent.log_joint(z, means, weights)
    labels = torch.tensor([2, -1, 0, -1, 1, 0, -1])
    gamma, free = latent.memberships(joint, labels), latent.memberships(joint)
    for n, label in enumerate(labels.tolist()):
        expected = free[n] if label < 0 else torch.eye(K, dtype=torch.float64)[label]
        assert torch.equal(gamma[n], expected)
    assert torch.equal(latent.memberships(joint, torch.full((N,), -1)), free)


def test_known_labels_hold_for_every_restart() -> None:
    joint, labels = normal(4, N, K), torch.tensor([0, -1, 1, 2, -1, -1, 0])
    gamma = latent.memberships(joint, labels)
    for r in range(4):
        assert torch.equal(gamma[r], latent.memberships(joint[r], labels))


def test_memberships_of_a_batch_are_those_of_its_items_in_its_order() -> None:
    gamma = shares(2, N, K)
    index = torch.tensor([[3, 0, 3], [6, 2, 1]])
    found = latent.gather_memberships(gamma, index)
    assert found.shape == (2, 3, K)
    for r in range(2):
        for place, item in enumerate(index[r].tolist()):
            assert torch.equal(found[r, place], gamma[r, item])


# ---------------------------------------------------------------- Q and the bound, equations 10 and 11


def test_equations_10_and_11_are_the_expected_log_joint() -> None:
    z, means, weights = mixture()
    gamma = shares(N, K, seed=3)
    found = latent.expected_log_joint(gamma, latent.log_joint(z, means, weights))
    expected = (gamma.numpy() * brute_force_joint(z, means, weights)).sum(1)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)


def test_q_has_the_gradient_of_the_log_likelihood_at_the_memberships() -> None:
    """Fisher's identity: one gradient step for each E-step climbs eq. 4 itself."""
    z, means, weights = mixture()
    z, weights = z.requires_grad_(), weights.requires_grad_()
    joint = latent.log_joint(z, means, weights)
    gamma = latent.memberships(joint).detach()
    of_q = torch.autograd.grad(latent.expected_log_joint(gamma, joint).sum(), (z, weights), retain_graph=True)
    of_likelihood = torch.autograd.grad(latent.log_likelihood(joint).sum(), (z, weights))
    torch.testing.assert_close(of_q, of_likelihood, atol=1e-12, rtol=0)
    torch.testing.assert_close(of_q[0], gamma @ means - z.detach(), atol=1e-12, rtol=0)


def test_the_bound_lies_below_the_log_likelihood_and_touches_it_at_the_memberships() -> None:
    z, means, weights = mixture()
    joint = latent.log_joint(z, means, weights)
    above = latent.log_likelihood(joint)
    torch.testing.assert_close(
        latent.evidence_bound(latent.memberships(joint), joint), above, atol=1e-12, rtol=0
    )
    for seed in range(20):
        gamma = shares(N, K, seed=seed)
        gap = above - latent.evidence_bound(gamma, joint)
        divergence = (gamma * (gamma / latent.memberships(joint)).log()).sum(1)
        torch.testing.assert_close(gap, divergence, atol=1e-12, rtol=0)
        assert (gap > 0).all()


@pytest.mark.parametrize("seed", range(10))
def test_em_of_omega_never_lowers_the_likelihood(seed: int) -> None:
    """With the encodings held, the E-step and the closed form of omega are EM."""
    z, weights = 2 * normal(100, L, seed=seed), shares(K, seed=seed)
    means = latent.corner_means(K, L).double()
    before = -torch.inf
    for _ in range(100):
        joint = latent.log_joint(z, means, weights)
        now = float(latent.log_likelihood(joint).mean())
        assert now >= before - 1e-10
        before, weights = now, latent.closed_form_weights(latent.memberships(joint).sum(0))


def test_the_bound_of_a_known_label_is_the_log_of_its_summand() -> None:
    z, means, weights = mixture()
    joint, labels = latent.log_joint(z, means, weights), torch.arange(N) % K
    found = latent.evidence_bound(latent.memberships(joint, labels), joint)
    torch.testing.assert_close(found, joint.gather(1, labels[:, None])[:, 0], atol=1e-12, rtol=0)


# ---------------------------------------------------------------- omega


@pytest.mark.parametrize("concentration", [1.1, 2.0, 10.0])
def test_closed_form_weights_maximise_the_posterior_under_a_dirichlet_prior(concentration: float) -> None:
    counts = torch.tensor([30.0, 5.0, 0.5, 12.0], dtype=torch.float64)
    found = latent.closed_form_weights(counts, concentration).numpy()
    raised = counts.numpy() + concentration - 1
    best = best_on_simplex(lambda w: -(raised * np.log(w)).sum() / raised.sum(), 4)
    np.testing.assert_allclose(found, best, atol=1e-5)
    assert found.sum() == pytest.approx(1)


def test_closed_form_weights_without_prior_are_the_mean_memberships() -> None:
    gamma = shares(50, 4)
    torch.testing.assert_close(latent.closed_form_weights(gamma.sum(0)), gamma.mean(0))


def test_a_prior_keeps_an_empty_component() -> None:
    counts = torch.tensor([20.0, 0.0])
    assert latent.closed_form_weights(counts)[1] == 0
    assert latent.closed_form_weights(counts, 1.5)[1] == pytest.approx(0.5 / 21)


@pytest.mark.parametrize("floor", [0.0, 0.05, 0.2])
@pytest.mark.parametrize("seed", range(4))
def test_projection_is_the_nearest_point_of_the_simplex(floor: float, seed: int) -> None:
    v = normal(4, seed=seed)
    found = latent.project_to_simplex(v, floor)
    assert float(found.sum()) == pytest.approx(1)
    assert (found >= floor - 1e-12).all()
    best = best_on_simplex(lambda w: ((w - v.numpy()) ** 2).sum(), 4, floor)
    np.testing.assert_allclose(found.numpy(), best, atol=1e-5)


@pytest.mark.parametrize("floor", [0.0, 0.01])
def test_projection_leaves_points_of_the_simplex_alone(floor: float) -> None:
    inside = 0.9 * shares(20, 5) + 0.02
    torch.testing.assert_close(latent.project_to_simplex(inside, floor), inside)


def test_projection_of_a_far_point_is_a_corner() -> None:
    found = latent.project_to_simplex(torch.tensor([0.0, 50.0, 3.0]), 0.1)
    torch.testing.assert_close(found, torch.tensor([0.1, 0.8, 0.1]))


def test_ascent_stays_on_the_simplex_and_climbs() -> None:
    weights, target, slopes = shares(4), shares(4, seed=1), normal(4, seed=2)

    def gain(w: Tensor) -> float:
        return float((target * w.log()).sum() + slopes @ w)

    for _ in range(50):
        after = latent.ascend_weights(weights, target, slopes, floor=0.01)
        assert float(after.sum()) == pytest.approx(1)
        assert (after >= 0.01 - 1e-12).all()
        assert gain(after) >= gain(weights) - 1e-12
        weights = after


def test_ascent_without_slopes_ends_at_the_mean_memberships() -> None:
    weights, target = torch.full((4,), 0.25, dtype=torch.float64), shares(4, seed=1)
    nothing = torch.zeros(4, dtype=torch.float64)
    torch.testing.assert_close(latent.ascend_weights(target, target, nothing), target)
    for _ in range(500):
        weights = latent.ascend_weights(weights, target, nothing)
    torch.testing.assert_close(weights, target, atol=1e-6, rtol=0)


@pytest.mark.parametrize("size", [0.3, 1.0, 3.0])
def test_ascent_ends_at_the_optimum_of_equation_12(size: float) -> None:
    """For the terms in Y as well: ``sum_k N_k log omega_k + omega_k b_k`` over the simplex, by scipy."""
    target, slopes = shares(3, seed=5), size * normal(3, seed=6)
    weights = torch.full((3,), 1 / 3, dtype=torch.float64)
    for _ in range(3000):
        weights = latent.ascend_weights(weights, target, slopes)
    best = best_on_simplex(lambda w: -float((target.numpy() * np.log(w)).sum() + w @ slopes.numpy()), 3)
    np.testing.assert_allclose(weights.numpy(), best, atol=1e-4)
    multiplier = target / weights + slopes  # equal for all components: the gradient along the simplex is 0
    torch.testing.assert_close(multiplier, multiplier.mean().expand(3), rtol=1e-4, atol=0)


@pytest.mark.parametrize("k", [3, 150])
def test_ascent_leaves_every_component_a_share(k: int) -> None:
    """The least share gives way where so many components have no room for it."""
    weights, target = torch.full((k,), 1 / k), torch.eye(k)[0]
    for _ in range(300):
        weights = latent.ascend_weights(weights, target, torch.zeros(k), rate=0.1, floor=0.01)
    assert weights.min() == pytest.approx(min(0.01, 0.1 / k), rel=1e-3)
    assert float(weights.sum()) == pytest.approx(1, rel=1e-5)


# ---------------------------------------------------------------- restarts


def test_restarts_are_computed_apart() -> None:
    _, means, _ = mixture()
    z, weights, counts, slopes = normal(4, N, L), shares(4, K), 10 * shares(4, K), normal(4, K)
    joint = latent.log_joint(z, means, weights)
    assert joint.shape == (4, N, K)

    def apart(function, *arguments: Tensor) -> None:
        alone = torch.stack([function(*row) for row in zip(*arguments, strict=True)])
        torch.testing.assert_close(function(*arguments), alone)

    apart(lambda z, w: latent.log_joint(z, means, w), z, weights)
    apart(latent.log_likelihood, joint)
    apart(latent.memberships, joint)
    apart(latent.expected_log_joint, joint.softmax(-1), joint)
    apart(latent.evidence_bound, shares(4, N, K), joint)
    apart(lambda n: latent.closed_form_weights(n, 1.5), counts)
    apart(lambda v: latent.project_to_simplex(v, 0.1), slopes)
    apart(latent.ascend_weights, weights, shares(4, K, seed=1), slopes)
