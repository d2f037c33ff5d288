"""VaDE's ELBO term by term, its mixture, and what it generates."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import bernoulli, entropy, multivariate_normal, norm
from sklearn.mixture import GaussianMixture

import genmix
from genmix.baselines import Pretraining, VaDE
from genmix.baselines.variational import START_SHARE, VariationalAutoencoder, divergence, log_gaussian
from genmix.training.engine import Engine
from test_baselines import QUICK, TINY

B, K, L = 5, 3, 2


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


def network(item_shape: tuple[int, ...]) -> VariationalAutoencoder:
    """One with a posterior and a prior that are nowhere plain."""
    net = VariationalAutoencoder(item_shape, (7,), L, torch.Generator().manual_seed(0), K).double()
    with torch.no_grad():
        for seed, part in enumerate((net.logits, net.means, net.log_variances, net.spread.bias)):
            part.copy_(drawn(*part.shape, seed=seed))
    return net.requires_grad_(False)


def prior(net: VariationalAutoencoder) -> tuple[np.ndarray, list[Any]]:
    """Shares and Gaussians of the prior, by scipy."""
    pi = np.exp(net.logits.numpy()) / np.exp(net.logits.numpy()).sum()
    pairs = zip(net.means.numpy(), net.log_variances.exp().numpy(), strict=True)
    return pi, [multivariate_normal(m, np.diag(v)) for m, v in pairs]


def test_densities_of_codes() -> None:
    net, z = network((4,)), drawn(B, L)
    pi, gaussians = prior(net)
    expected = np.stack([g.logpdf(z.numpy()) for g in gaussians], 1)
    np.testing.assert_allclose(log_gaussian(z, net.means, net.log_variances).numpy(), expected, rtol=1e-12)
    np.testing.assert_allclose(net.log_joint(z).numpy(), np.log(pi) + expected, rtol=1e-12)


def test_the_prior_is_valid_whatever_its_numbers() -> None:
    net = network((4,))
    net.logits.copy_(torch.tensor([500.0, -500.0, 0.0]))
    net.log_variances.fill_(-40.0)
    log_gamma = net.log_joint(torch.full((1, L), 1e3, dtype=torch.float64)).log_softmax(-1)
    assert float(net.log_pi().exp().sum()) == pytest.approx(1) and log_gamma.isfinite().all()


def test_divergence_is_of_shares_and_of_gaussians() -> None:
    net = network((4,))
    mean, log_variance, log_gamma = drawn(B, L), drawn(B, L, seed=1), drawn(B, K, seed=2).log_softmax(-1)
    found = divergence(mean, log_variance, log_gamma, net.log_pi(), net.means, net.log_variances)
    gamma, (pi, _) = log_gamma.exp().numpy(), prior(net)
    q = torch.distributions.Normal(mean[:, None], (log_variance / 2).exp()[:, None])
    p = torch.distributions.Normal(net.means, (net.log_variances / 2).exp())
    gaussians = torch.distributions.kl_divergence(q, p).sum(-1).numpy()
    expected = entropy(gamma, np.broadcast_to(pi, gamma.shape), axis=1) + (gamma * gaussians).sum(1)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-10)
    assert (found > 0).all()


def test_divergence_vanishes_where_posterior_is_prior() -> None:
    net = network((4,))
    alone = torch.zeros(1, 1, dtype=torch.float64)
    one = net.means[:1], net.log_variances[:1]
    assert float(divergence(*one, alone, alone[0], *one)) == 0


@pytest.mark.parametrize(("item_shape", "weight"), [((4,), 1.0), ((4,), 2.5), ((1, 2, 2), 1.0)])
def test_the_bound_is_the_mean_over_many_codes(item_shape: tuple[int, ...], weight: float) -> None:
    """``E_q[log p(x | z) + log p(z, c) - log q(z, c | x)]``: gamma of the draw, the rest by brute force."""
    net, x, draws = network(item_shape), drawn(1, *item_shape).sigmoid(), 40_000
    seen = drawn(1, *item_shape, seed=4).sigmoid()
    noise = drawn(draws, L, seed=5)
    views, items = (part.expand(draws, *item_shape) for part in (seen, x))
    found = net.evidence_bound(views, items, noise, weight).numpy()
    mean, log_variance = (part[0].numpy() for part in net.posterior(seen))
    scale = np.exp(log_variance / 2)
    pi, gaussians = prior(net)
    gamma_of = mean + scale * noise.numpy()
    joint = np.log(pi) + np.stack([g.logpdf(gamma_of) for g in gaussians], 1)
    gamma = np.exp(joint - logsumexp(joint, axis=1, keepdims=True))
    z = mean + scale * np.random.default_rng(6).normal(size=(draws, L))  # draws of their own
    made = net.decode(torch.from_numpy(z)).flatten(1).numpy()
    flat = x.flatten().numpy()
    if len(item_shape) == 1:
        rebuilt = norm(made, np.sqrt(0.5 / weight)).logpdf(flat).sum(1) + 2 * np.log(np.pi / weight)
    else:
        rebuilt = sum(
            flat[j] * bernoulli(made[:, j]).logpmf(1) + (1 - flat[j]) * bernoulli(made[:, j]).logpmf(0)
            for j in range(4)
        )
    log_p = np.log(pi) + np.stack([g.logpdf(z) for g in gaussians], 1)
    log_q = norm(mean, scale).logpdf(z).sum(1)
    inner = (gamma * log_p.mean(0)).sum(1) - log_q.mean() - (gamma * np.log(gamma)).sum(1)
    assert found.mean() == pytest.approx(rebuilt.mean() + inner.mean(), abs=0.05)


def test_the_bound_has_the_gradient_of_finite_differences() -> None:
    net, x, noise = network((4,)), drawn(B, 4), drawn(B, L, seed=1)

    def bound(means: torch.Tensor, log_variances: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        parts = {"means": means, "log_variances": log_variances, "logits": logits}
        return torch.func.functional_call(Bound(net), {f"net.{n}": p for n, p in parts.items()}, (x, noise))

    free = [part.clone().requires_grad_() for part in (net.means, net.log_variances, net.logits)]
    assert torch.autograd.gradcheck(bound, free)


class Bound(torch.nn.Module):
    def __init__(self, net: VariationalAutoencoder) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        return self.net.evidence_bound(x, x, noise, 1.0)


def test_the_mean_path_is_the_autoencoder() -> None:
    for hidden in ((7, 6), ()):
        net = VariationalAutoencoder((1, 2, 2), hidden, L, torch.Generator().manual_seed(0), K)
        x = torch.rand(B, 1, 2, 2)
        assert torch.equal(net.posterior(x)[0], net.encode(x))
        made = net.decode(net.encode(x))
        assert made.shape == x.shape and bool(((made > 0) & (made < 1)).all())


def test_begins_at_the_likeliest_mixture_of_the_codes() -> None:
    codes = torch.cat([drawn(200, L), drawn(100, L, seed=1) * 0.3 + 8, drawn(100, L, seed=2) - 8])
    net = network((4,)).float()
    assigned = net.start(codes.float(), codes, Engine("cpu", 0))
    oracle = GaussianMixture(K, covariance_type="diag", n_init=5, random_state=0).fit(codes.numpy())
    order, own = (np.argsort(m[:, 0]) for m in (oracle.means_, net.means.numpy()))
    np.testing.assert_allclose(net.means.numpy()[own], oracle.means_[order], atol=0.02)
    np.testing.assert_allclose(net.log_pi().exp().numpy()[own], oracle.weights_[order], atol=0.01)
    variances = net.log_variances.exp().numpy()
    np.testing.assert_allclose(variances[own], oracle.covariances_[order], rtol=0.1)
    noise = net.posterior(drawn(2, 4).float())[1].exp().numpy()
    expected = START_SHARE * net.log_pi().exp().numpy() @ variances
    np.testing.assert_allclose(noise, np.broadcast_to(expected, noise.shape), rtol=1e-5)
    assert assigned.unique(return_counts=True)[1].sort().values.tolist() == [100, 100, 200]


def test_codes_that_fall_apart_are_begun_with_as_the_items_lie() -> None:
    items = torch.cat([drawn(300, 2), drawn(30, 2, seed=1) + 20, drawn(30, 2, seed=2) - 20])
    codes = drawn(360, L, seed=3) * 0.3
    codes[:150, 0] += 40  # half of the large group lies apart, and the small ones are together
    group = torch.tensor([0, 1, 2]).repeat_interleave(torch.tensor([300, 30, 30]))
    net = network((4,)).float()
    assigned = net.start(codes.float(), items, Engine("cpu", 0))
    shares = net.log_pi().exp()
    for cluster in range(K):
        of = group[assigned == cluster].unique()
        assert len(of) == 1
        own = codes[group == of]
        assert abs(float(shares[cluster]) - len(own) / 360) < 1e-6
        np.testing.assert_allclose(net.means[cluster].detach().numpy(), own.mean(0).numpy(), atol=1e-5)
        assert (net.log_variances[cluster].exp() >= own.var(0, unbiased=False).float()).all()


# ---------------------------------------------------------------- the estimator


@pytest.fixture(scope="module")
def of_squares(squares: Any) -> VaDE:
    how = Pretraining(hidden=(32,), latent_dim=2, steps=300, batch_size=64)
    settings = {"max_iter": 20, "batch_size": 32, "random_state": 0, "device": "cpu"}
    return VaDE(2, pretraining=how, **settings).fit(squares[0])


def test_makes_images_of_each_component(of_squares: VaDE, squares: Any) -> None:
    X, y = squares
    assert max(np.mean(of_squares.labels_ == y), np.mean(of_squares.labels_ != y)) == 1
    for k in range(2):
        made, component = of_squares.sample(50, component=k)
        assert made.shape == (50, 12, 12) and made.dtype == np.uint8 and (component == k).all()
        assert np.abs(made.mean(0) - X[of_squares.labels_ == k].mean(0)).mean() < 15
        assert (of_squares.predict(made) == k).mean() > 0.9
    assert np.bincount(of_squares.sample(300)[1], minlength=2).min() > 100


def test_raises_the_bound(of_squares: VaDE) -> None:
    bounds = [record["elbo"] for record in of_squares.history_]
    assert bounds[-1] > bounds[0] and np.isfinite(bounds).all()


def test_memberships_are_those_of_the_mean_code(of_squares: VaDE, squares: Any) -> None:
    X = squares[0][:20]
    codes = of_squares.transform(X)
    pi = np.exp(of_squares._networks.log_pi().double().numpy())
    pairs = zip(of_squares.means_, of_squares.variances_, strict=True)
    density = pi * np.stack([multivariate_normal(m, np.diag(v)).pdf(codes) for m, v in pairs], 1)
    np.testing.assert_allclose(of_squares.score_samples(X), np.log(density.sum(1)), rtol=1e-5)
    np.testing.assert_allclose(
        of_squares.predict_proba(X), density / density.sum(1, keepdims=True), atol=1e-6
    )


def test_an_odd_image_scores_low(of_squares: VaDE, squares: Any) -> None:
    odd = np.full((1, 12, 12), 255, dtype=np.uint8)
    assert of_squares.score_samples(odd)[0] < of_squares.score_samples(squares[0]).min()


def test_samples_are_the_same_after_loading(of_squares: VaDE, tmp_path: Any) -> None:
    again = genmix.load(of_squares.save(tmp_path / "model"))
    np.testing.assert_array_equal(again.sample(9)[0], of_squares.sample(9)[0])
    np.testing.assert_array_equal(again.variances_, of_squares.variances_)


def test_samples_of_a_table_lie_in_its_groups(blobs: Any) -> None:
    X = blobs[0]
    settings = {"reconstruction_weight": 20.0, "batch_size": 64, "random_state": 0, "device": "cpu"}
    model = VaDE(3, pretraining=QUICK, max_iter=30, **settings).fit(X)
    for k in range(3):
        made, _ = model.sample(100, component=k)
        assert np.linalg.norm(made.mean(0) - X[model.labels_ == k].mean(0)) < 2  # of 8 between groups


def test_stops_when_few_assignments_change_and_says_so(blobs: Any) -> None:
    model = VaDE(3, pretraining=QUICK, max_iter=30, tol=1e-3, random_state=0, device="cpu").fit(blobs[0])
    assert model.converged_ and model.n_iter_ < 30 and model.history_[-1]["changed"] <= 1e-3


def test_the_published_settings_begin(blobs: Any) -> None:
    model = VaDE.preset("vade-2017", 3, pretraining=TINY, max_iter=2, random_state=0, device="cpu")
    assert (model.lr, model.fall, model.fall_every, model.batch_size) == (2e-3, 0.9, 10, 100)
    assert model.fit(blobs[0]).n_iter_ in (1, 2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"reconstruction_weight": 0.0}, "reconstruction_weight=0.0"),
        ({"fall": 1.5}, "fall=1.5"),
        ({"fall_every": 0}, "fall_every=0"),
        ({"batch_size": 0}, "batch_size=0"),
    ],
)
def test_refuses_what_cannot_be_trained(settings: dict[str, Any], message: str, blobs: Any) -> None:
    with pytest.raises(ValueError, match=message):
        VaDE(3, pretraining=TINY, **settings).fit(blobs[0])


def test_refuses_pixels_without_a_cross_entropy(squares: Any) -> None:
    with pytest.raises(ValueError, match="beyond"):
        VaDE(2, pretraining=TINY, scaling="none").fit(squares[0])


def test_says_that_it_diverged(blobs: Any) -> None:
    with pytest.raises(FloatingPointError, match="diverged in iteration"):
        VaDE(3, pretraining=TINY, lr=1e6, max_iter=5, random_state=0, device="cpu").fit(blobs[0])
