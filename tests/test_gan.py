"""Adversarial losses, penalties and TensorFlow's RMSProp against analytic values and numpy, in float64."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from genmix.nn import adversarial as gan
from genmix.nn.adversarial import OBJECTIVES, Adversarial
from genmix.nn.stacked import StackedMLP, StackedNorm


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def linear_critic(weights: Tensor):
    """One linear critic ``w_i . x`` for each row of the weights ``[n, d]``."""
    return lambda x: (x.flatten(2) * weights[:, None]).sum(-1)


def smooth_critic(weights: Tensor):
    return lambda x: (x * weights[:, None]).sum(-1).tanh() * 3 + x.square().sum(-1) / 4


CRITIC_LOSSES = {
    "wasserstein": gan.wgan_critic_loss,
    "logistic": gan.logistic_critic_loss,
    "hinge": gan.hinge_critic_loss,
    "literal": gan.literal_critic_loss,
}


# ---------------------------------------------------------------- losses


def test_section_3_loss_d_rises_with_fake_scores_and_falls_with_real_ones() -> None:
    real, fake = normal(3, 7), normal(3, 7, seed=1)
    expected = sum(fake[i].numpy().mean() - real[i].numpy().mean() for i in range(3))
    assert float(gan.wgan_critic_loss(real, fake)) == pytest.approx(expected, abs=1e-12)
    assert gan.wgan_critic_loss(real + 1, fake) < gan.wgan_critic_loss(real, fake)
    assert gan.wgan_critic_loss(real, fake + 1) > gan.wgan_critic_loss(real, fake)


def test_section_3_loss_g_falls_with_fake_scores() -> None:
    fake = normal(3, 7)
    assert float(gan.wgan_generator_loss(fake)) == pytest.approx(-fake.numpy().mean(1).sum(), abs=1e-12)
    assert gan.wgan_generator_loss(fake + 1) < gan.wgan_generator_loss(fake)


def test_logistic_losses_are_binary_cross_entropies() -> None:
    real, fake = normal(2, 9), normal(2, 9, seed=1)
    bce = nn.BCEWithLogitsLoss()
    expected = sum(
        bce(real[i], torch.ones(9).double()) + bce(fake[i], torch.zeros(9).double()) for i in range(2)
    )
    torch.testing.assert_close(gan.logistic_critic_loss(real, fake), expected)
    expected = sum(bce(fake[i], torch.ones(9).double()) for i in range(2))
    torch.testing.assert_close(gan.logistic_generator_loss(fake), expected)


@pytest.mark.parametrize("loss", CRITIC_LOSSES.values(), ids=CRITIC_LOSSES)
def test_gradients_of_critic_losses(loss) -> None:
    scores = normal(2, 4).requires_grad_(), normal(2, 4, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(loss, scores, eps=1e-6, atol=1e-4)


@pytest.mark.parametrize("loss", [gan.wgan_generator_loss, gan.logistic_generator_loss])
def test_gradients_of_generator_losses(loss) -> None:
    assert torch.autograd.gradcheck(loss, (normal(2, 4).requires_grad_(),), eps=1e-6, atol=1e-4)


@pytest.mark.parametrize("loss", CRITIC_LOSSES.values(), ids=CRITIC_LOSSES)
def test_a_stack_of_losses_is_their_sum(loss) -> None:
    """Summed, not averaged: each network's gradient is that of its own loss, whatever K is."""
    real, fake = normal(4, 5), normal(4, 5, seed=2)
    alone = sum(loss(real[i : i + 1], fake[i : i + 1]) for i in range(4))
    torch.testing.assert_close(loss(real, fake), alone)


def test_hinge_critic_loss_is_its_formula() -> None:
    real, fake = 2 * normal(3, 7), 2 * normal(3, 7, seed=1)
    margins = np.maximum(0, 1 - real.numpy()), np.maximum(0, 1 + fake.numpy())
    assert (margins[0] == 0).any() and (margins[1] == 0).any()
    expected = sum(margin.mean(1).sum() for margin in margins)
    assert float(gan.hinge_critic_loss(real, fake)) == pytest.approx(expected, abs=1e-12)


def test_hinge_critic_loss_asks_for_a_margin_and_no_more() -> None:
    wide = torch.full((2, 5), 1.0)
    assert gan.hinge_critic_loss(wide, -wide) == gan.hinge_critic_loss(9 * wide, -9 * wide) == 0
    assert gan.hinge_critic_loss(0.5 * wide, -wide) == gan.hinge_critic_loss(wide, -0.5 * wide) == 1


def test_equation_7_to_the_letter() -> None:
    """-log D(x) + log D(G(y)), of Pande & Awate 2020, with D = sigmoid(f)."""
    real, fake = normal(3, 7), normal(3, 7, seed=1)
    d_real, d_fake = (1 / (1 + np.exp(-scores.numpy())) for scores in (real, fake))
    expected = (-np.log(d_real).mean(1) + np.log(d_fake).mean(1)).sum()
    assert float(gan.literal_critic_loss(real, fake)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("lowest", [-10.0, -2.0])
def test_equation_7_is_cut_off_where_it_has_no_bound(lowest: float) -> None:
    real, fake = torch.full((2, 4), 1e3), torch.full((2, 4), -1e3, requires_grad=True)
    loss = gan.literal_critic_loss(real, fake, lowest)
    assert loss.item() == pytest.approx(2 * lowest)  # a stack of two
    (gradient,) = torch.autograd.grad(loss, fake)
    assert (gradient == 0).all()


@pytest.mark.parametrize("score", [1e4, 1e30])
def test_logistic_losses_do_not_overflow(score: float) -> None:
    real, fake = torch.full((1, 2), -score), torch.full((1, 2), score)
    assert gan.logistic_critic_loss(real, fake).isfinite()
    assert gan.logistic_generator_loss(-fake).isfinite()


# ---------------------------------------------------------------- penalties


@pytest.mark.parametrize("shape", [(6,), (1, 2, 3)])
def test_r1_of_a_linear_critic_is_half_its_squared_norm(shape: tuple[int, ...]) -> None:
    weights = normal(4, 6, seed=3)
    found = gan.r1_penalty(linear_critic(weights), normal(4, 5, *shape))
    torch.testing.assert_close(found, weights.square().sum() / 2)


def test_r1_of_a_quadratic_critic() -> None:
    """F(x) = |x|^2 / 2 has the gradient x."""
    real = normal(3, 8, 4)
    found = gan.r1_penalty(lambda x: x.square().sum(-1) / 2, real)
    torch.testing.assert_close(found, real.square().sum(-1).mean(1).sum() / 2)


def test_gradient_penalty_of_a_1_lipschitz_linear_critic_is_zero() -> None:
    weights = normal(4, 6)
    unit = weights / weights.norm(dim=1, keepdim=True)
    found = gan.gradient_penalty(linear_critic(unit), normal(4, 5, 6), normal(4, 5, 6, seed=1), generator())
    assert float(found) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("shape", [(6,), (1, 2, 3)])
def test_gradient_penalty_of_a_linear_critic_is_its_squared_distance_to_norm_1(
    shape: tuple[int, ...],
) -> None:
    weights = normal(4, 6)
    found = gan.gradient_penalty(
        linear_critic(weights), normal(4, 5, *shape), normal(4, 5, *shape, seed=1), generator()
    )
    torch.testing.assert_close(found, (weights.norm(dim=1) - 1).square().sum())


def test_gradient_penalty_looks_between_real_and_fake() -> None:
    """Every penalised item is one convex combination of its pair, with a share of its own."""
    real, fake, seen = torch.zeros(2, 50, 3), torch.ones(2, 50, 3), []

    def critic(x: Tensor) -> Tensor:
        seen.append(x.detach())
        return x.sum(-1)

    gan.gradient_penalty(critic, real, fake, generator())
    share = seen[0]
    assert (share == share[..., :1]).all()  # a straight line
    assert share.min() >= 0
    assert share.max() <= 1
    assert len(share[..., 0].unique()) > 90
    assert share.std() > 0.2


@pytest.mark.parametrize("penalty", ["r1", "gradient"])
def test_gradient_of_penalties_by_the_critics_weights(penalty: str) -> None:
    real, fake = normal(2, 3, 4), normal(2, 3, 4, seed=1)

    def value(weights: Tensor) -> Tensor:
        if penalty == "r1":
            return gan.r1_penalty(smooth_critic(weights), real)
        return gan.gradient_penalty(smooth_critic(weights), real, fake, generator())

    assert torch.autograd.gradcheck(value, (normal(2, 4, seed=2).requires_grad_(),), eps=1e-6, atol=1e-4)


def test_gradient_penalty_of_a_dead_critic_has_a_finite_gradient() -> None:
    weights = torch.zeros(2, 4, dtype=torch.float64, requires_grad=True)
    value = gan.gradient_penalty(
        linear_critic(weights), normal(2, 3, 4), normal(2, 3, 4, seed=1), generator()
    )
    (gradient,) = torch.autograd.grad(value, weights)
    assert value.item() == pytest.approx(2)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("penalty", ["r1", "gradient"])
def test_penalties_and_their_gradients_are_float32_under_autocast(penalty: str) -> None:
    critic = StackedMLP(2, (4,), (), generator(), hidden=(8, 8), negative_slope=0.2)
    real, fake = normal(2, 5, 4).float(), normal(2, 5, 4, seed=1).float()

    def value() -> Tensor:
        if penalty == "r1":
            return gan.r1_penalty(critic, real)
        return gan.gradient_penalty(critic, real, fake, generator())

    with torch.autocast("cpu", torch.bfloat16):
        found = value()
    expected = value()
    assert torch.equal(found, expected)
    weights = [layer.weight for layer in critic.layers]
    for one, other in zip(*(torch.autograd.grad(v, weights) for v in (found, expected)), strict=True):
        assert torch.equal(one, other)


def test_penalties_leave_the_items_alone() -> None:
    real = normal(2, 3, 4)
    before = real.clone()
    gan.r1_penalty(linear_critic(normal(2, 4, seed=1)), real)
    assert torch.equal(real, before)
    assert not real.requires_grad


# ---------------------------------------------------------------- clipping


def test_clipping_is_numpy_clip_in_place() -> None:
    parameter = nn.Parameter(normal(3, 4))
    expected = np.clip(parameter.detach().numpy().copy(), -0.3, 0.3)
    gan.clip_weights(parameter, 0.3)
    np.testing.assert_array_equal(parameter.detach().numpy(), expected)
    assert parameter.requires_grad


# ---------------------------------------------------------------- RMSProp


def numpy_rmsprop(
    start: np.ndarray, gradients: list[np.ndarray], lr: float, decay: float, eps: float
) -> np.ndarray:
    """TensorFlow 1's formula: mean squares begin at one, epsilon under the root, no momentum."""
    x, mean_square = start.copy(), np.ones_like(start)
    for g in gradients:
        mean_square = decay * mean_square + (1 - decay) * g**2
        x = x - lr * g / np.sqrt(mean_square + eps)
    return x


@pytest.mark.parametrize(("decay", "eps"), [(0.9, 1e-10), (0.5, 0.1)])
@pytest.mark.parametrize("steps", [1, 2, 20])
def test_algorithm_1_line_7_rmsprop_as_tensorflow_computes_it(steps: int, decay: float, eps: float) -> None:
    start = [normal(3, 2, seed=5), normal(4, seed=6)]
    parameters = [nn.Parameter(p.clone()) for p in start]
    optimizer = gan.TFRMSprop(parameters, lr=0.01, decay=decay, eps=eps)
    gradients = [[normal(*p.shape, seed=100 + 10 * t + i) for t in range(steps)] for i, p in enumerate(start)]
    for t in range(steps):
        for i, parameter in enumerate(parameters):
            parameter.grad = gradients[i][t]
        optimizer.step()
    for i, parameter in enumerate(parameters):
        expected = numpy_rmsprop(start[i].numpy(), [g.numpy() for g in gradients[i]], 0.01, decay, eps)
        np.testing.assert_allclose(parameter.detach().numpy(), expected, atol=1e-14)


def test_rmsprop_first_step_is_warm() -> None:
    """A tiny gradient g moves by lr g / sqrt(decay), not by lr / sqrt(1 - decay) as torch's RMSprop would."""
    parameter = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    parameter.grad = torch.full((1,), 1e-4, dtype=torch.float64)
    gan.TFRMSprop([parameter], lr=5e-5).step()
    assert parameter.item() == pytest.approx(-5e-5 * 1e-4 / np.sqrt(0.9), rel=1e-6)


def test_rmsprop_skips_what_has_no_gradient() -> None:
    used, unused = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    optimizer = gan.TFRMSprop([used, unused], lr=0.1)
    used.grad = torch.ones(2)
    optimizer.step()
    assert (used != 1).all()
    assert torch.equal(unused.detach(), torch.ones(2))


# ---------------------------------------------------------------- objectives


def test_objectives_have_the_published_numbers() -> None:
    wgan, gp = OBJECTIVES["wgan"], OBJECTIVES["wgan-gp"]
    assert (wgan.loss, wgan.clip, wgan.critic_steps) == ("wasserstein", 0.01, 5)
    assert wgan.generator_lr == wgan.critic_lr == 5e-5
    optimizer = wgan.make_optimizer([nn.Parameter(torch.zeros(1))], wgan.critic_lr)
    assert isinstance(optimizer, gan.TFRMSprop)
    assert optimizer.param_groups[0]["decay"] == 0.9
    assert optimizer.param_groups[0]["eps"] == 1e-10
    assert gp.critic_steps == 5  # n_critic of Gulrajani et al. 2017, Algorithm 1
    assert (gp.penalty, gp.penalty_weight, gp.betas, gp.penalty_every) == ("gradient", 10.0, (0.5, 0.9), 1)
    adam = OBJECTIVES["r1"].make_optimizer([nn.Parameter(torch.zeros(1))], 1e-3)
    assert isinstance(adam, torch.optim.Adam)
    assert adam.param_groups[0]["betas"] == (0.0, 0.99)


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_critic_loss_is_loss_plus_weighted_penalty(name: str) -> None:
    objective = replace(OBJECTIVES[name], penalty_every=3)
    critic = smooth_critic(normal(2, 4, seed=7))
    real, fake = normal(2, 5, 4), normal(2, 5, 4, seed=1)
    plain = CRITIC_LOSSES[objective.loss](critic(real), critic(fake))
    penalty = {
        None: lambda: 0.0,
        "r1": lambda: gan.r1_penalty(critic, real),
        "gradient": lambda: gan.gradient_penalty(critic, real, fake, generator(9)),
    }[objective.penalty]()
    for step, times in ((0, 3), (1, 0), (2, 0), (3, 3)):
        for joint in (False, True):
            found = objective.critic_loss(critic, real, fake, step, generator(9), joint=joint)
            torch.testing.assert_close(found, plain + times * objective.penalty_weight * penalty)


def test_a_lazy_penalty_has_the_same_mean_weight() -> None:
    critic, real, fake = linear_critic(normal(1, 4)), normal(1, 5, 4), normal(1, 5, 4, seed=1)
    means = []
    for every in (1, 2, 8):
        objective = Adversarial("wasserstein", "r1", 0.7, every)
        losses = [objective.critic_loss(critic, real, fake, step, generator()) for step in range(16)]
        means.append(torch.stack(losses).mean())
    torch.testing.assert_close(means[0], means[1])
    torch.testing.assert_close(means[0], means[2])


def test_published_critics_normalise_real_and_generated_batches_apart() -> None:
    """Together, batch normalisation would tell the two apart by their shared statistics."""
    critic = StackedMLP(2, (3,), (), generator(), hidden=(8,), norm="batch").double()
    assert isinstance(critic.norms[0], StackedNorm)
    real, fake = normal(2, 6, 3), normal(2, 6, 3, seed=1) + 5
    found = OBJECTIVES["wgan"].critic_loss(critic, real, fake, 0, generator())
    torch.testing.assert_close(found, gan.wgan_critic_loss(critic(real), critic(fake)))
    both = critic(torch.cat([real, fake], 1))
    assert not torch.isclose(found, gan.wgan_critic_loss(both[:, :6], both[:, 6:]), rtol=1e-3)


def test_generator_loss_by_objective() -> None:
    scores = normal(2, 6)
    assert torch.equal(OBJECTIVES["wgan"].generator_loss(scores), gan.wgan_generator_loss(scores))
    assert torch.equal(OBJECTIVES["wgan-gp"].generator_loss(scores), gan.wgan_generator_loss(scores))
    assert torch.equal(OBJECTIVES["r1"].generator_loss(scores), gan.logistic_generator_loss(scores))


@pytest.mark.parametrize("loss", CRITIC_LOSSES)
def test_critic_terms_by_name(loss) -> None:
    real, fake = 2 * normal(2, 6), 2 * normal(2, 6, seed=1)
    assert torch.equal(Adversarial(loss).critic_terms(real, fake), CRITIC_LOSSES[loss](real, fake))
    wasserstein = Adversarial(loss).generator_loss(fake) == gan.wgan_generator_loss(fake)
    assert wasserstein == (loss in ("wasserstein", "hinge"))


def test_an_objective_cannot_be_changed_by_accident() -> None:
    with pytest.raises(AttributeError):
        OBJECTIVES["r1"].clip = 0.1  # type: ignore[misc]
