"""Encoder, generator and discriminator of DNN-MM: whose step moves what, and restarts that do not meet."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import chisquare
from torch import Tensor, nn

from genmix import NeighborSwap
from genmix.dnnmm import latent
from genmix.dnnmm.networks import Batch, Decoder, Encoder, MinMaxStep
from genmix.ganmm import em
from genmix.nn.adversarial import OBJECTIVES, Adversarial
from genmix.nn.build import build_stack
from genmix.training.augment import AugmentedData
from genmix.training.engine import Engine
from genmix.training.supervision import Labels

R, K, L, D = 2, 3, 5, 4
SMALL = {"kind": "mlp", "hidden": (8,)}
NETWORKS = {"generator": {**SMALL, "norm": "running"}, "discriminator": SMALL}
STEP = MinMaxStep(
    batch_size=16,
    generated_batch_size=12,
    cycle=0.1,
    adversarial=1.0,
    recognition=1.0,
    objective=replace(OBJECTIVES["r1"], penalty_every=2),
    conditional=True,
    average=0.9,
)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def means() -> Tensor:
    return latent.corner_means(K, L, 2.0)


def encoder(heads: int = 1, restarts: int = R, seed: int = 0) -> Encoder:
    """An encoder with uneven weights and with running statistics that items of its own have left."""
    run = Engine("cpu", seed)
    network = build_stack(
        "encoder", {**SMALL, "norm": "running"}, restarts, (D,), (heads * L,), run.cpu_generator
    )
    made = Encoder(network, means(), run, restarts=restarts, n_heads=heads, rate=1e-2)
    made.weights = normal(restarts, K, seed=3).softmax(-1)
    if heads > 1:
        made.head = torch.arange(restarts) % heads
    network(normal(restarts, 64, D, seed=4) * 3 + 1)
    return made


def decoder(seed: int = 0, **changes) -> Decoder:
    return Decoder(R, means(), (D,), replace(STEP, **changes), NETWORKS, Engine("cpu", seed))


def learn(made: Decoder, k: Tensor, y: Tensor, e: Encoder) -> tuple[Tensor, Tensor]:
    """One step of the generators on the latent points y of components k."""
    return made.train_generator(k, y, made.generate(y), e)


def weights(network: nn.Module, r: int | None = None) -> Tensor:
    """All parameters of a stack, or those of one restart."""
    parts = [p.detach().view(R, -1) for p in network.parameters()]
    return torch.cat(parts, 1).clone() if r is None else torch.cat(parts, 1)[r].clone()


def buffers(network: nn.Module) -> Tensor:
    return torch.cat([b.flatten().float() for b in network.buffers()]).clone()


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    network.eval()
    yield
    network.train()


@contextmanager
def unmoved(*networks: nn.Module) -> Iterator[None]:
    """Neither parameters nor running statistics may change."""
    before = [copy.deepcopy(network.state_dict()) for network in networks]
    yield
    for network, state in zip(networks, before, strict=True):
        for name, tensor in network.state_dict().items():
            assert torch.equal(tensor, state[name]), name


# ---------------------------------------------------------------- the encoder


@pytest.mark.parametrize("heads", [1, 3])
def test_a_softmax_of_the_logits_is_equation_3(heads: int) -> None:
    made, x = encoder(heads), normal(R, 9, D)
    with evaluating(made.network):
        logits = made.logits(x)
        assert logits.shape == (R, 9, 1, K)
        gamma = latent.memberships(made.joint(x))
    torch.testing.assert_close(logits[:, :, 0].softmax(-1), gamma)


def test_until_a_head_is_chosen_every_head_has_logits() -> None:
    made, x = encoder(3), normal(R, 9, D)
    with evaluating(made.network):
        made.head = None
        every = made.logits(x)
        assert every.shape == (R, 9, 3, K)
        for head in range(3):
            made.head = torch.full((R,), head)
            assert torch.equal(made.logits(x)[:, :, 0], every[:, :, head])


def test_each_restart_encodes_by_its_own_head() -> None:
    made, x = encoder(2), normal(R, 9, D)
    with evaluating(made.network):
        z, outputs = made.encode(x), made.network(x)
        assert torch.equal(z[0], outputs[0, :, :L]) and torch.equal(z[1], outputs[1, :, L:])
        expected = latent.log_joint(z, means(), made.weights)
        assert torch.equal(made.joint(x), expected)


def test_shares_begin_equal() -> None:
    network = nn.Linear(D, L)
    made = Encoder(network, means(), Engine("cpu", 0), restarts=R, n_heads=1, rate=0.1)
    torch.testing.assert_close(made.weights, torch.full((R, K), 1 / 3))


def test_e_steps_use_running_statistics_and_leave_them() -> None:
    made, x = encoder(), normal(R, 9, D) * 5
    with unmoved(made.network):
        found = made.clean_joint(x)
    assert made.network.training and not found.requires_grad
    with evaluating(made.network):
        assert torch.equal(found, made.joint(x).detach())
    alone = torch.cat([made.clean_joint(x[:, i : i + 1]) for i in range(9)], 1)
    torch.testing.assert_close(alone, found)  # no item depends on its batch
    assert not torch.isclose(made.joint(x).detach(), found).all()  # in training it does


def test_all_items_are_asked_of_all_restarts_whatever_the_batch() -> None:
    made, items = encoder(), normal(23, D)
    whole = made.clean_joint(items.expand(R, -1, -1))
    assert made.all_joint(items).shape == (R, 23, K)
    torch.testing.assert_close(made.all_joint(items, batch_size=7), whole)


def test_the_cycle_error_is_equation_5_and_generated_items_leave_the_statistics() -> None:
    made, y, fake = encoder(), normal(R, 9, L), normal(R, 9, D, seed=1) * 5
    with unmoved(made.network):
        found = made.cycle(y, fake)
    assert made.network.training and found.shape == (R, 9)
    with evaluating(made.network):
        expected = ((y - made.encode(fake)) ** 2).sum(-1)
    torch.testing.assert_close(found, expected)
    assert torch.autograd.grad(found.sum(), next(made.network.parameters()))[0].abs().sum() > 0


def test_memberships_come_from_the_averaged_encoder_once_there_is_one() -> None:
    made, x = encoder(), normal(R, 9, D)
    alone = made.clean_joint(x)
    made.begin_averaging(0.9)
    assert torch.equal(made.clean_joint(x), alone)  # the average begins where the network is
    online, before = made.network, weights(made.network_in_use)
    for _ in range(3):
        made.learn_from(made.encode(x).square().mean())
    assert made.network is online and online.training
    with evaluating(online):
        assert not torch.allclose(made.clean_joint(x), made.joint(x).detach())
    assert not torch.equal(weights(made.network_in_use), before)
    assert torch.equal(made.log_posterior(x[0]).argmax(-1), made.all_joint(x[0]).argmax(-1))


def test_without_averaging_the_encoder_itself_gives_the_memberships() -> None:
    made, x = encoder(), normal(R, 9, D)
    made.begin_averaging(0.0)
    for _ in range(3):
        made.learn_from(made.encode(x).square().mean())
    with evaluating(made.network):
        torch.testing.assert_close(made.clean_joint(x), made.joint(x).detach())


# ---------------------------------------------------------------- what is drawn


def test_components_are_drawn_by_omega() -> None:
    made, omega = decoder(generated_batch_size=3000), torch.tensor([[0.7, 0.2, 0.1], [0.0, 0.5, 0.5]])
    k, y = made.draw(omega)
    assert k.shape == (R, 3000) and y.shape == (R, 3000, L)
    for r in range(R):
        counts, expected = np.bincount(k[r], minlength=K), 3000 * omega[r].numpy()
        assert (counts[expected == 0] == 0).all()
        assert chisquare(counts[expected > 0], expected[expected > 0]).pvalue > 0.001


def test_latent_points_are_unit_gaussians_around_the_means() -> None:
    made = decoder(generated_batch_size=6000)
    k, y = made.draw(torch.full((R, K), 1 / 3))
    for component in range(K):
        around = y[k == component] - means()[component]
        torch.testing.assert_close(around.mean(0), torch.zeros(L), atol=0.08, rtol=0)
        torch.testing.assert_close(around.T.cov(), torch.eye(L), atol=0.12, rtol=0)


def test_the_same_seed_draws_the_same() -> None:
    omega = torch.full((R, K), 1 / 3)
    first, again, other = (decoder(seed).draw(omega) for seed in (0, 0, 1))
    assert torch.equal(first[1], again[1]) and not torch.equal(first[1], other[1])
    assert torch.equal(weights(decoder().generator), weights(decoder().generator))


# ---------------------------------------------------------------- the discriminate


def test_a_conditional_verdict_is_of_the_component_that_the_item_belongs_to() -> None:
    made, x = decoder(conditional=True), normal(R, 6, D)
    outputs, gamma = made.discriminator(x), normal(R, 6, K, seed=1).softmax(-1)
    assert outputs.shape == (R, 6, K)
    for k in range(K):
        one_hot = F.one_hot(torch.full((R, 6), k), K).float()
        torch.testing.assert_close(made.discriminate(x, one_hot), outputs[..., k])
    expected = sum(gamma[..., k] * outputs[..., k] for k in range(K))
    torch.testing.assert_close(made.discriminate(x, gamma), expected)


def test_an_unconditional_verdict_does_not_know_the_component() -> None:
    made, x = decoder(conditional=False), normal(R, 6, D)
    discriminate = made.discriminate(x, normal(R, 6, K).softmax(-1))
    assert discriminate.shape == (R, 6)
    assert torch.equal(discriminate, made.discriminate(x, normal(R, 6, K, seed=1).softmax(-1)))
    assert torch.equal(discriminate, made.discriminator(x))


# ---------------------------------------------------------------- one step of each


def drawn(made: Decoder, seed: int = 5) -> tuple[Tensor, Tensor]:
    k = torch.randint(K, (R, 12), generator=torch.Generator().manual_seed(seed))
    return k, means()[k] + normal(R, 12, L, seed=seed)


@pytest.mark.parametrize("conditional", [True, False])
def test_a_step_of_the_generator_moves_the_generator_only(conditional: bool) -> None:
    made, e = decoder(conditional=conditional), encoder()
    before = weights(made.generator)
    with unmoved(made.discriminator, e.network):
        learn(made, *drawn(made), e)
    assert (weights(made.generator) != before).any(1).all()
    assert e.network.training and all(p.grad is None for p in e.network.parameters())


@pytest.mark.parametrize("conditional", [True, False])
@pytest.mark.parametrize("objective", ["r1", "wgan-gp"])
def test_a_step_of_the_discriminator_moves_the_discriminator_only(conditional: bool, objective: str) -> None:
    made = decoder(conditional=conditional, objective=OBJECTIVES[objective])
    real, gamma, fake = normal(R, 16, D), normal(R, 16, K).softmax(-1), normal(R, 12, D, seed=1)
    before = weights(made.discriminator)
    with unmoved(made.generator, made.averaged.network):
        made.train_discriminator(real, gamma, drawn(made)[0], fake)
    assert (weights(made.discriminator) != before).any(1).all()
    assert made.steps_done == 1


def test_the_penalty_of_the_discriminator_is_float32_in_any_precision(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    critics = []
    monkeypatch.setattr(Adversarial, "penalize", lambda self, critic, *_: critics.append(critic) or 0.0)
    run = Engine("cpu", 0, precision="bfloat16")
    made = Decoder(R, means(), (D,), STEP, NETWORKS, run)
    real, gamma, fake = normal(R, 12, D), normal(R, 12, K).softmax(-1), normal(R, 12, D, seed=1)
    made.train_discriminator(real, gamma, drawn(made)[0], fake)
    assert torch.equal(critics[0](real), (made.discriminator(real) * gamma).sum(-1))


def test_the_generator_descends_on_its_terms_of_equation_13() -> None:
    """Cycle, adversarial and recognition terms, each written out; the step is Adam's first."""
    made, e = decoder(cycle=0.3, adversarial=0.7, recognition=0.4), encoder()
    twin = copy.deepcopy(made)
    k, y = drawn(made)
    fake = twin.generator(y)
    with evaluating(e.network):
        z = e.encode(fake)
    errors = ((y - z) ** 2).sum(-1)
    scores = twin.discriminator(fake).gather(2, k[..., None])[..., 0]
    log_p = latent.log_joint(z, means(), e.weights).log_softmax(-1).gather(2, k[..., None])[..., 0]
    loss = (0.3 * errors - 0.7 * F.logsigmoid(scores) - 0.4 * log_p).mean(1).sum()
    gradients = torch.autograd.grad(loss, list(twin.generator.parameters()))
    found = learn(made, k, y, e)
    torch.testing.assert_close(
        made.generator_optimizer.flat.grad, torch.cat([g.flatten() for g in gradients])
    )
    assert float(found[0]) == pytest.approx(errors.mean().item(), rel=1e-5)
    assert float(found[1]) == pytest.approx(-F.logsigmoid(scores).mean().item(), rel=1e-5)


def test_the_discriminator_descends_on_its_terms_of_equation_13() -> None:
    made = decoder(objective=Adversarial(penalty=None))
    real, gamma, fake = normal(R, 16, D), normal(R, 16, K).softmax(-1), normal(R, 12, D, seed=1)
    k = drawn(made)[0]
    on_real = (made.discriminator(real) * gamma).sum(-1)
    on_fake = made.discriminator(fake).gather(2, k[..., None])[..., 0]
    loss = -(F.logsigmoid(on_real).mean(1) + F.logsigmoid(-on_fake).mean(1)).sum()
    gradients = torch.autograd.grad(loss, list(made.discriminator.parameters()))
    found = made.train_discriminator(real, gamma, k, fake)
    wanted = torch.cat([g.flatten() for g in gradients])
    torch.testing.assert_close(made.discriminator_optimizer.flat.grad, wanted)
    assert float(found) == pytest.approx(loss.item() / R, rel=1e-5)


def test_r1_is_charged_on_every_second_step() -> None:
    with_penalty, without = decoder(), decoder(objective=replace(STEP.objective, penalty=None))
    real, gamma, fake = normal(R, 16, D), normal(R, 16, K).softmax(-1), normal(R, 12, D, seed=1)
    k = drawn(with_penalty)[0]
    for charged in (True, False, True):
        without.discriminator.load_state_dict(with_penalty.discriminator.state_dict())
        losses = [float(made.train_discriminator(real, gamma, k, fake)) for made in (with_penalty, without)]
        assert (losses[0] > losses[1] + 1e-6) == charged


def test_the_price_of_recognition_is_paid_by_the_generator_only_where_asked() -> None:
    plain, priced = decoder(recognition=0.0), decoder(recognition=5.0)
    for made in (plain, priced):
        learn(made, *drawn(made), encoder())
    assert not torch.equal(weights(plain.generator), weights(priced.generator))


def test_the_generator_learns_to_be_recognised() -> None:
    made, e = decoder(adversarial=0.0, cycle=0.0, generator_lr=1e-2), encoder()

    def certainty() -> float:
        k, y = drawn(made, seed=999)
        with torch.no_grad(), evaluating(made.generator):
            gamma = latent.memberships(e.clean_joint(made.generate(y)))
        return float(gamma.gather(2, k[..., None]).log().mean())

    before = certainty()
    for seed in range(150):
        learn(made, *drawn(made, seed), e)
    assert certainty() > before + 0.3


def test_the_cycle_error_falls_when_it_alone_is_trained() -> None:
    made, e = decoder(adversarial=0.0, recognition=0.0, cycle=1.0, generator_lr=1e-2), encoder()
    errors = [float(learn(made, *drawn(made, seed), e)[0]) for seed in range(150)]
    assert np.mean(errors[-10:]) < 0.8 * np.mean(errors[:10])


def of_components(weights: Tensor, value: Callable[[Tensor], Tensor]) -> Tensor:
    """``sum_k omega_k E[value(Y_k)]`` from 20,000 draws ``Y_k ~ N(mu_k, I)`` of each component, ``[R]``."""
    noise = normal(R, 20_000, L, seed=8)
    return sum(weights[:, k] * value(means()[k] + noise).mean(1) for k in range(K))


@torch.no_grad()
def test_the_cycle_error_of_drawn_points_is_equation_6() -> None:
    made, e = decoder(generated_batch_size=20_000), encoder()
    with evaluating(made.generator):
        y = made.draw(e.weights)[1]
        found = e.cycle(y, made.generate(y)).mean(1)
        expected = of_components(e.weights, lambda y: e.cycle(y, made.generate(y)))
    torch.testing.assert_close(found, expected, rtol=0.02, atol=0)


def test_the_discriminators_loss_on_drawn_points_is_equation_8() -> None:
    literal = Adversarial("literal", None)
    made = decoder(conditional=False, generated_batch_size=20_000, objective=literal)
    omega = encoder().weights
    real, gamma = normal(R, 16, D), torch.full((R, 16, K), 1 / K)
    with torch.no_grad(), evaluating(made.generator):
        k, y = made.draw(omega)
        fake = made.generate(y)
        on_fake = of_components(omega, lambda y: F.logsigmoid(made.discriminator(made.generate(y))))
        expected = (on_fake - F.logsigmoid(made.discriminator(real)).mean(1)).mean()
    assert float(made.train_discriminator(real, gamma, k, fake)) == pytest.approx(float(expected), abs=0.01)


# ---------------------------------------------------------------- slopes and averages


def test_slopes_are_running_means_of_what_each_component_gains() -> None:
    made, e = decoder(cycle=0.3, adversarial=0.7), encoder()
    k, y = drawn(made)
    k[0][k[0] == 2] = 1  # in restart 0 nobody is of component 2
    y = means()[k] + normal(R, 12, L, seed=8)
    with torch.no_grad(), evaluating(e.network):
        fake = copy.deepcopy(made.generator)(y)
        errors = ((y - e.encode(fake)) ** 2).sum(-1)
        discriminate = made.discriminator(fake).gather(2, k[..., None])[..., 0]
    gain = -0.3 * errors + 0.7 * F.logsigmoid(discriminate)
    made.slopes = torch.full((R, K), -1.0)
    learn(made, k, y, e)
    for r in range(R):
        for component in range(K):
            mine = gain[r][k[r] == component]
            expected = -1.0 if not len(mine) else 0.9 * -1.0 + 0.1 * float(mine.mean())
            assert float(made.slopes[r, component]) == pytest.approx(expected, rel=1e-4)


def test_samples_come_from_the_average_of_the_generators_so_far() -> None:
    made, e = decoder(average=0.9), encoder()
    made.averaged.steps = 1000  # the average is no longer young
    before = weights(made.averaged.network)
    learn(made, *drawn(made), e)
    expected = 0.9 * before + 0.1 * weights(made.generator)
    torch.testing.assert_close(weights(made.averaged.network), expected)


def test_without_averaging_samples_come_from_the_generator() -> None:
    made = decoder(average=0.0)
    for seed in range(3):
        learn(made, *drawn(made, seed), encoder())
        assert torch.equal(weights(made.averaged.network), weights(made.generator))


@pytest.mark.parametrize(("price", "expected"), [(None, 0.3), (0.0, 0.0), (0.02, 0.02)])
def test_the_encoder_has_the_generators_price_of_the_cycle_unless_it_has_its_own(
    price: float | None, expected: float
) -> None:
    assert decoder(cycle=0.3, encoder_cycle=price).encoder_cycle == expected


# ---------------------------------------------------------------- restarts, pretraining


@pytest.mark.parametrize("conditional", [True, False])
@pytest.mark.parametrize("objective", [STEP.objective, Adversarial("hinge", None)], ids=["r1", "hinge"])
def test_restarts_do_not_see_each_other(conditional: bool, objective: Adversarial) -> None:
    """Whatever the data of restart 1 are, restart 0 learns the same."""
    ends = []
    for seed in (1, 2):
        made, e = decoder(conditional=conditional, objective=objective), encoder()
        for step in range(3):
            k, y = drawn(made, step)
            real, gamma = normal(R, 16, D, seed=step), normal(R, 16, K, seed=step).softmax(-1)
            y[1], real[1] = normal(12, L, seed=90 + seed), 5 * normal(16, D, seed=80 + seed)
            with torch.no_grad():
                fake = made.generate(y)
            learn(made, k, y, e)
            made.train_discriminator(real, gamma, k, fake)
        ends.append((made, [weights(n) for n in (made.generator, made.discriminator, made.averaged.network)]))
    for first, second in zip(ends[0][1], ends[1][1], strict=True):
        torch.testing.assert_close(first[0], second[0], atol=1e-6, rtol=1e-5)
        assert not torch.isclose(first[1], second[1]).all()
    torch.testing.assert_close(ends[0][0].slopes[0], ends[1][0].slopes[0])


def test_the_encoders_restarts_do_not_see_each_other() -> None:
    ends = []
    for seed in (1, 2):
        made = encoder()
        for step in range(3):
            x = normal(R, 16, D, seed=step)
            x[1] = normal(16, D, seed=70 + seed)
            loss = -latent.log_likelihood(made.joint(x)).mean(1).sum()
            made.optimizer.step(loss)
        ends.append(weights(made.network))
    torch.testing.assert_close(ends[0][0], ends[1][0], atol=1e-6, rtol=1e-5)
    assert not torch.isclose(ends[0][1], ends[1][1]).all()


def views(run: Engine) -> AugmentedData:
    return AugmentedData(normal(80, D, seed=6), NeighborSwap(0, 0.0), run)


@pytest.mark.parametrize("information", [0.0, 2.0])
@pytest.mark.parametrize("augment", [True, False])
def test_a_batch_has_random_items_labelled_ones_and_a_second_view(information: float, augment: bool) -> None:
    run = Engine("cpu", 0)
    items = normal(80, D, seed=6)
    data = AugmentedData(items, NeighborSwap(0, 0.5), run)
    component = torch.full((80,), -1)
    component[[3, 9, 11]] = torch.tensor([0, 1, 2])
    step = replace(STEP, batch_size=5, labelled_batch_size=4, information=information, augment=augment)
    batch = Batch.draw(data, Labels(component, K), step, R)
    assert batch.chosen.shape == (R, 9) and batch.views.shape == (R, 14 if information else 9, D)
    assert (component[batch.chosen[:, 5:]] >= 0).all()
    for part, index in ((batch.views[:, :9], batch.chosen), (batch.views[:, 9:], batch.chosen[:, :5])):
        if not part.numel():
            continue
        moved = (part - items[index]).norm(dim=-1)
        second = part.shape[1] == 5
        assert (moved > 0).all() if augment or second else (moved == 0).all()


def test_the_loss_of_an_m_step_is_equation_11_and_the_information_of_two_views() -> None:
    made, step = encoder(), replace(STEP, batch_size=5, labelled_batch_size=4, information=2.0)
    batch = Batch(torch.zeros(R, 9, dtype=torch.long), normal(R, 14, D))
    gamma, shares = normal(R, 9, K, seed=2).softmax(-1), normal(R, K, seed=5).softmax(-1)
    found = made.m_step_loss(batch, gamma, step, shares).detach()
    joint = made.joint(batch.views).detach()
    expected = 0.0
    for r in range(R):
        q = (gamma[r] * joint[r, :9]).sum(1).mean()
        told = em.information_loss(torch.stack([joint[r, :5], joint[r, 9:]]), prior=shares[r])
        known = -(gamma[r, 5:] * joint[r, 5:9].log_softmax(-1)).sum(1).mean()
        expected += float(-q + 2.0 * (told + known))
    assert float(found) == pytest.approx(expected, rel=1e-4)
    alone = Batch(batch.chosen, batch.views[:, :9])
    plain = made.m_step_loss(alone, gamma, replace(step, information=0.0), shares).detach()
    joint = made.joint(alone.views).detach()
    assert float(plain) == pytest.approx(float(-(gamma * joint).sum(2).mean(1).sum()), rel=1e-4)


def test_pretraining_teaches_the_generator_to_undo_the_encoder() -> None:
    """Eq. 15: both of its terms fall, and the encoder stays as it is."""
    e = encoder()
    losses = []
    for steps in (1, 300):
        made = decoder(generator_pretraining=steps, discriminator_pretraining=0, generator_lr=1e-2)
        before = weights(made.discriminator)
        data = views(made.run)
        with unmoved(e.network):
            made.pretrain(e, data)
        assert torch.equal(weights(made.discriminator), before)
        items = data.items.expand(R, -1, -1)
        with torch.no_grad(), evaluating(e.network), evaluating(made.generator):
            back = (made.generate(e.encode(items)) - items).square().sum(-1).mean()
            _, y = drawn(made)
            losses.append((float(back), float(e.cycle(y, made.generate(y)).mean())))
    assert losses[1][0] < 0.8 * losses[0][0]
    assert losses[1][1] < 0.8 * losses[0][1]


def test_pretraining_teaches_the_discriminator_to_tell_generated_items() -> None:
    """Eq. 16: real items score higher than generated ones, and the generator stays as it is."""
    e, made = encoder(), decoder(generator_pretraining=0, discriminator_pretraining=150,
                                 discriminator_lr=1e-2)  # fmt: skip
    data = views(made.run)
    before = weights(made.generator)
    with unmoved(e.network):
        made.pretrain(e, data)
    assert torch.equal(weights(made.generator), before) and made.steps_done == 150
    with torch.no_grad():
        k, y = drawn(made)
        one_hot = F.one_hot(k, K).float()
        items = data.items.expand(R, -1, -1)
        on_real = made.discriminate(items, latent.memberships(e.clean_joint(items))).mean(1)
        assert (on_real > made.discriminate(made.generate(y), one_hot).mean(1) + 0.5).all()


def test_a_discriminator_that_normalises_batches_sees_real_and_generated_items_apart() -> None:
    norm = {**NETWORKS, "discriminator": {"kind": "mlp", "hidden": (8,), "norm": "batch"}}
    verdicts = []
    for networks in (NETWORKS, norm):
        made = Decoder(R, means(), (D,), STEP, networks, Engine("cpu", 0))
        batches: list[int] = []
        made.discriminator.register_forward_pre_hook(lambda _, x, seen=batches: seen.append(x[0].shape[1]))
        k, y = drawn(made)
        gamma = torch.full((R, 5, K), 1 / K)
        made.steps_done = 1  # a step without penalty
        made.train_discriminator(normal(R, 5, D), gamma, k, made.generate(y).detach())
        verdicts.append(batches)
    together = 5 + k.shape[1]
    assert verdicts == [[together], [5, k.shape[1]]]


def test_images_are_generated_in_their_shape_and_range() -> None:
    step = replace(STEP, generated_batch_size=3)
    networks = {"generator": "auto", "discriminator": "auto"}
    made = Decoder(R, means(), (3, 6, 5), step, networks, Engine("cpu", 0))
    k, y = made.draw(torch.full((R, K), 1 / 3))
    fake = made.generate(y)
    assert fake.shape == (R, 3, 3, 6, 5) and fake.min() >= 0 and fake.max() <= 1
    assert made.discriminate(fake, F.one_hot(k, K).float()).shape == (R, 3)


def test_nothing_global_is_touched() -> None:
    before = torch.get_rng_state()
    made, e = decoder(generator_pretraining=1, discriminator_pretraining=1), encoder()
    made.pretrain(e, views(made.run))
    learn(made, *drawn(made), e)
    assert torch.equal(before, torch.get_rng_state())


def test_settings_cannot_be_changed_by_accident() -> None:
    with pytest.raises(AttributeError):
        MinMaxStep().steps = 3  # type: ignore[misc]


@pytest.mark.parametrize("name", ["batch_size", "generated_batch_size"])
def test_batches_without_items_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}=0: expected a whole number of at least 1"):
        MinMaxStep(**{name: 0})
