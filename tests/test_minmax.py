"""Encoder, generator and discriminator of DNN-MM: whose step moves what, and restarts that do not meet."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import chisquare
from torch import Tensor, nn

from genmix import NeighborSwap
from genmix.dnnmm import latent
from genmix.dnnmm.networks import WEIGHT_CONCENTRATION, Batch, Decoder, Encoder, Generated, MinMaxStep
from genmix.nn.adversarial import OBJECTIVES, Adversarial
from genmix.nn.build import build_stack
from genmix.training.augment import AugmentedData
from genmix.training.engine import Engine
from genmix.training.infomax import MultiHeadNetwork
from genmix.training.information import information_loss
from genmix.training.supervision import Labels

R, K, L, D = 2, 3, 5, 4
SMALL = {"kind": "mlp", "hidden": (8,)}
NETWORKS = {"generator": {**SMALL, "norm": "running"}, "discriminator": SMALL}
SETTINGS: dict[str, Any] = {
    "batch_size": 16, "generated_batch_size": 12, "cycle_weight": 0.1, "adversarial_weight": 1.0,
    "recognition_weight": 1.0, "objective": "r1", "ema_decay": 0.9,
}  # fmt: skip


@dataclass(frozen=True)
class Unconditional(MinMaxStep):
    conditional: ClassVar[bool] = False


@dataclass(frozen=True)
class Plain(MinMaxStep):
    augments: ClassVar[bool] = False


@dataclass(frozen=True)
class Cycling(MinMaxStep):
    encoder_cycle: ClassVar[bool] = True


@dataclass(frozen=True)
class Epochwise(MinMaxStep):
    online: ClassVar[bool] = False


@dataclass(frozen=True)
class Ascending(MinMaxStep):
    weight_update: ClassVar[Any] = "gradient"


@dataclass(frozen=True)
class Judged(MinMaxStep):
    discriminator_pretrain_steps: ClassVar[int] = 150


KINDS = [MinMaxStep, Unconditional]


def settings(kind: type[MinMaxStep] = MinMaxStep, **changes: Any) -> MinMaxStep:
    return kind(**{**SETTINGS, **changes})


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def means() -> Tensor:
    return latent.corner_means(K, L, 2.0)


def encoder(
    heads: int = 1, restarts: int = R, seed: int = 0, step: MinMaxStep | None = None, first_online: int = 0
) -> Encoder:
    """An encoder with uneven weights and with running statistics that items of its own have left."""
    engine = Engine("cpu", seed)
    network = build_stack(
        "encoder", {**SMALL, "norm": "running"}, restarts, (D,), (heads * L,), engine.cpu_generator
    )
    net = MultiHeadNetwork(
        network, L, lambda z: z @ means().T, engine, restarts=restarts, n_heads=heads, lr=1e-2
    )
    net.use_head(torch.arange(restarts) % heads)
    made = Encoder(net, means(), settings() if step is None else step, first_online)
    made.weights = normal(restarts, K, seed=3).softmax(-1)
    network(normal(restarts, 64, D, seed=4) * 3 + 1)
    return made


def decoder(seed: int = 0, kind: type[MinMaxStep] = MinMaxStep, **changes: Any) -> Decoder:
    return Decoder(R, means(), (D,), settings(kind, **changes), NETWORKS, Engine("cpu", seed))


def learn(made: Decoder, k: Tensor, y: Tensor, e: Encoder) -> dict[str, Tensor]:
    """One step of the generators on the latent points y of components k."""
    return made.generator_step(Generated(k, y, made.generate(y)), e)


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


def test_until_a_head_is_in_use_every_head_has_scores() -> None:
    made, x = encoder(3), normal(R, 9, D)
    with evaluating(made.net.network):
        made.net.head = None
        every = made.net.scores(x)
        assert every.shape == (R, 9, 3, K)
        for head in range(3):
            made.net.use_head(head)
            assert made.net.head_in_use(1) == head
            assert torch.equal(made.net.scores(x)[:, :, 0], every[:, :, head])


def test_each_restart_encodes_by_its_own_head() -> None:
    made, x = encoder(2), normal(R, 9, D)
    with evaluating(made.net.network):
        z, outputs = made.encode(x), made.net.network(x)
        assert torch.equal(z[0], outputs[0, :, :L]) and torch.equal(z[1], outputs[1, :, L:])
        expected = latent.log_joint(z, means(), made.weights)
        assert torch.equal(made.joint(x), expected)


def test_encodings_are_float32_in_any_precision() -> None:
    made, x = encoder(), normal(R, 9, D)
    with torch.no_grad():
        exact = made.encode(x)
        made.net.engine.precision = "bfloat16"
        found = made.encode(x)
    assert found.dtype == torch.float32 and not torch.equal(found, exact)
    torch.testing.assert_close(found, exact, atol=0.1, rtol=0.1)


def test_shares_begin_equal() -> None:
    made = Encoder(encoder().net, means(), settings())
    torch.testing.assert_close(made.weights, torch.full((R, K), 1 / 3))


def test_e_steps_use_running_statistics_and_leave_them() -> None:
    made, x = encoder(), normal(R, 9, D) * 5
    with unmoved(made.net.network):
        found = made.clean_joint(x)
    assert made.net.network.training and not found.requires_grad
    with evaluating(made.net.network):
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
    with unmoved(made.net.network):
        found = made.cycle(y, fake)
    assert made.net.network.training and found.shape == (R, 9)
    with evaluating(made.net.network):
        expected = ((y - made.encode(fake)) ** 2).sum(-1)
    torch.testing.assert_close(found, expected)
    assert torch.autograd.grad(found.sum(), next(made.net.network.parameters()))[0].abs().sum() > 0


def test_the_cycle_teaches_the_encoder_that_learns_even_while_an_average_is_in_use() -> None:
    """Its gradient leads to the network itself; taken by the average it would be zero."""
    made, y, fake = encoder(), normal(R, 9, L), normal(R, 9, D, seed=1) * 5
    made.net.start_averaging(0.9)
    for _ in range(3):
        made.net.step(made.encode(normal(R, 9, D)).square().mean())
    online = made.net.network
    found = made.cycle(y, fake)
    gradients = torch.autograd.grad(found.sum(), list(online.parameters()), allow_unused=True)
    assert all(gradient is not None and gradient.abs().sum() > 0 for gradient in gradients)
    with evaluating(online):
        torch.testing.assert_close(found, ((y - made.encode(fake)) ** 2).sum(-1))
    assert made.net.network is online and online.training


def test_memberships_come_from_the_averaged_encoder_once_there_is_one() -> None:
    made, x = encoder(), normal(R, 9, D)
    alone = made.clean_joint(x)
    made.net.start_averaging(0.9)
    assert torch.equal(made.clean_joint(x), alone)  # the average begins where the network is
    online, before = made.net.network, weights(made.net.network_in_use)
    for _ in range(3):
        made.net.step(made.encode(x).square().mean())
    assert made.net.network is online and online.training and not made.net.network_in_use.training
    found = made.clean_joint(x)
    with torch.no_grad():
        with evaluating(online):
            assert not torch.allclose(found, made.joint(x))
        with made.net.evaluating():
            assert torch.equal(found, made.joint(x))
        with made.net.evaluating(averaged=False):
            assert not torch.allclose(found, made.joint(x))
    assert made.net.network is online and online.training
    assert not torch.equal(weights(made.net.network_in_use), before)


def test_without_averaging_the_encoder_itself_gives_the_memberships() -> None:
    made, x = encoder(), normal(R, 9, D)
    made.net.start_averaging(0.0)
    for _ in range(3):
        made.net.step(made.encode(x).square().mean())
    found = made.clean_joint(x)
    with evaluating(made.net.network):
        torch.testing.assert_close(found, made.joint(x).detach())


# ---------------------------------------------------------------- memberships of a batch, omega


def batch_of(index: Tensor) -> Batch:
    return Batch(index, torch.empty(0))


@pytest.mark.parametrize("known", [True, False])
def test_random_items_of_a_batch_get_memberships_anew_and_labelled_ones_keep_theirs(known: bool) -> None:
    made, items = encoder(step=settings(batch_size=4)), normal(20, D, seed=6)
    gamma = normal(R, 20, K, seed=7).softmax(-1)
    component = torch.where(torch.arange(20) < 5, torch.arange(20) % K, -1)
    index = torch.tensor([[0, 9, 3, 12, 4, 1], [19, 8, 2, 2, 0, 3]])
    found = made.batch_memberships(batch_of(index), gamma, items, component if known else None, 0)
    assert found.shape == (R, 6, K)
    anew = latent.memberships(made.all_joint(items), component if known else None)
    for r in range(R):
        torch.testing.assert_close(found[r, :4], anew[r, index[r, :4]])
        assert torch.equal(found[r, 4:], gamma[r, index[r, 4:]])


@pytest.mark.parametrize(("kind", "first_online"), [(Epochwise, 0), (MinMaxStep, 2)])
def test_memberships_are_those_of_the_iteration_where_they_are_not_computed_anew(
    kind: type[MinMaxStep], first_online: int
) -> None:
    """In generalised EM always, and in the iterations before `first_online`."""
    made = encoder(step=settings(kind, batch_size=4), first_online=first_online)
    items, gamma = normal(20, D, seed=6), normal(R, 20, K, seed=7).softmax(-1)
    index = torch.randint(20, (R, 6), generator=torch.Generator().manual_seed(0))
    for iteration in range(4):
        found = made.batch_memberships(batch_of(index), gamma, items, None, iteration)
        as_before = torch.equal(found, latent.gather_memberships(gamma, index))
        assert as_before == (kind is Epochwise or iteration < 2)


def test_omega_is_the_mean_membership_under_a_prior_and_items_count_by_weight() -> None:
    made, gamma = encoder(), normal(R, 20, K, seed=7).softmax(-1)
    prior = WEIGHT_CONCENTRATION - 1
    assert prior > 0  # no component is lost
    made.update_weights(gamma, None)
    torch.testing.assert_close(made.weights, (gamma.sum(1) + prior) / (20 + K * prior))
    item_weights = torch.rand(20, generator=torch.Generator().manual_seed(0)) * 7
    made.update_weights(gamma, item_weights)
    counts = (gamma * item_weights[:, None]).sum(1) * 20 / item_weights.sum()
    torch.testing.assert_close(made.weights, (counts + prior) / (20 + K * prior))


def test_omega_has_one_update_in_closed_form_or_by_gradient() -> None:
    gamma, slopes = normal(R, 20, K, seed=7).softmax(-1), normal(R, K, seed=9)
    closed, ascending = encoder(), encoder(step=settings(Ascending))
    before = closed.weights
    closed.ascend_weights(gamma, slopes)
    ascending.update_weights(gamma, None)
    assert torch.equal(closed.weights, before) and torch.equal(ascending.weights, before)


@pytest.mark.parametrize("slopes", [0.0, normal(R, K, seed=9)], ids=["no terms in Y", "terms in Y"])
def test_omega_ascends_by_the_random_items_of_a_batch_alone(slopes: Tensor | float) -> None:
    made, gamma = encoder(step=settings(Ascending)), normal(R, 20, K, seed=7).softmax(-1)
    mean = gamma[:, :16].mean(1)  # of batch_size; four are labelled ones added
    expected = latent.ascend_weights(made.weights, mean, torch.zeros(R, K) + slopes)
    made.ascend_weights(gamma, slopes)
    torch.testing.assert_close(made.weights, expected)


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


def test_what_is_generated_in_a_step_is_drawn_by_omega_and_has_a_gradient() -> None:
    made, twin, omega = decoder(), decoder(), torch.tensor([[0.7, 0.2, 0.1], [0.0, 0.5, 0.5]])
    found, (k, y) = made.sample(omega), twin.draw(omega)
    assert torch.equal(found.k, k) and torch.equal(found.y, y)
    assert torch.equal(found.items, twin.generator(y)) and found.items.requires_grad


# ---------------------------------------------------------------- the discriminator


def test_a_conditional_discriminator_judges_an_item_as_one_of_its_component() -> None:
    made, x = decoder(), normal(R, 6, D)
    outputs, gamma = made.discriminator(x), normal(R, 6, K, seed=1).softmax(-1)
    assert outputs.shape == (R, 6, K)
    for k in range(K):
        one_hot = F.one_hot(torch.full((R, 6), k), K).float()
        torch.testing.assert_close(made.discriminate(x, one_hot), outputs[..., k])
    expected = sum(gamma[..., k] * outputs[..., k] for k in range(K))
    torch.testing.assert_close(made.discriminate(x, gamma), expected)


def test_an_unconditional_discriminator_does_not_know_the_component() -> None:
    made, x = decoder(kind=Unconditional), normal(R, 6, D)
    logits = made.discriminate(x, normal(R, 6, K).softmax(-1))
    assert logits.shape == (R, 6)
    assert torch.equal(logits, made.discriminate(x, normal(R, 6, K, seed=1).softmax(-1)))
    assert torch.equal(logits, made.discriminator(x))


# ---------------------------------------------------------------- one step of each


def items_of(engine: Engine) -> AugmentedData:
    """80 items that augmentation leaves as they are."""
    return AugmentedData(normal(80, D, seed=6), NeighborSwap(0, 0.0), engine)


def drawn(made: Decoder, seed: int = 5) -> tuple[Tensor, Tensor]:
    k = torch.randint(K, (R, 12), generator=torch.Generator().manual_seed(seed))
    return k, means()[k] + normal(R, 12, L, seed=seed)


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_of_the_generator_moves_the_generator_only(kind: type[MinMaxStep]) -> None:
    made, e = decoder(kind=kind), encoder()
    before = weights(made.generator)
    with unmoved(made.discriminator, e.net.network):
        learn(made, *drawn(made), e)
    assert (weights(made.generator) != before).any(1).all()
    assert e.net.network.training and all(p.grad is None for p in e.net.network.parameters())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("objective", ["r1", "wgan-gp"])
def test_a_step_of_the_discriminator_moves_the_discriminator_only(
    kind: type[MinMaxStep], objective: str
) -> None:
    made = decoder(kind=kind, objective=objective)
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
    engine = Engine("cpu", 0, precision="bfloat16")
    made = Decoder(R, means(), (D,), settings(), NETWORKS, engine)
    real, gamma, fake = normal(R, 12, D), normal(R, 12, K).softmax(-1), normal(R, 12, D, seed=1)
    made.train_discriminator(real, gamma, drawn(made)[0], fake)
    assert torch.equal(critics[0](real), (made.discriminator(real) * gamma).sum(-1))


def test_the_generator_descends_on_its_terms_of_equation_13() -> None:
    """Cycle, adversarial and recognition terms, each written out; the step is Adam's first."""
    made, e = decoder(cycle_weight=0.3, adversarial_weight=0.7, recognition_weight=0.4), encoder()
    twin = copy.deepcopy(made)
    k, y = drawn(made)
    fake = twin.generator(y)
    with evaluating(e.net.network):
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
    assert float(found["cycle_error"]) == pytest.approx(errors.mean().item(), rel=1e-5)
    assert float(found["generator_loss"]) == pytest.approx(-F.logsigmoid(scores).mean().item(), rel=1e-5)


def test_the_encoder_sees_at_most_a_batch_of_what_is_generated() -> None:
    """The terms of the others are left out; the discriminator judges all."""
    made, e, seen = decoder(batch_size=5), encoder(), dict[str, int]()
    for name, network in (("encoder", e.net.network), ("discriminator", made.discriminator)):
        network.register_forward_pre_hook(lambda _, x, name=name: seen.update({name: x[0].shape[1]}))
    k, y = drawn(made)
    with torch.no_grad(), evaluating(e.net.network):
        expected = ((y - e.encode(copy.deepcopy(made.generator)(y))) ** 2).sum(-1)[:, :5].mean()
    found = learn(made, k, y, e)
    assert seen == {"encoder": 5, "discriminator": 12}
    assert float(found["cycle_error"]) == pytest.approx(float(expected), rel=1e-5)


def test_the_discriminator_descends_on_its_terms_of_equation_13(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OBJECTIVES, "test", Adversarial(penalty=None))
    made = decoder(objective="test")
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


def test_a_step_of_the_discriminator_takes_random_items_with_their_memberships(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made, seen = decoder(generated_batch_size=30), list[Tensor]()
    monkeypatch.setattr(made, "train_discriminator", lambda *given: seen.extend(given))
    data, gamma = items_of(made.engine), normal(R, 80, K, seed=2).softmax(-1)
    generated = made.sample(torch.full((R, K), 1 / 3))
    made.discriminator_step(generated, data, gamma)
    real, of_real, k, fake = seen
    assert real.shape == (R, 30, D) and k is generated.k
    assert torch.equal(fake, generated.items) and not fake.requires_grad
    index = (real[:, :, None] == data.items).all(-1).long().argmax(-1)
    assert torch.equal(data.items[index], real) and len(index[0].unique()) > 15
    assert not torch.equal(index[0], index[1])
    for r in range(R):
        assert torch.equal(of_real[r], gamma[r, index[r]])


def test_r1_is_charged_on_every_second_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OBJECTIVES, "test", replace(OBJECTIVES["r1"], penalty_every=2))
    monkeypatch.setitem(OBJECTIVES, "bare", replace(OBJECTIVES["r1"], penalty=None))
    with_penalty, without = decoder(objective="test"), decoder(objective="bare")
    real, gamma, fake = normal(R, 16, D), normal(R, 16, K).softmax(-1), normal(R, 12, D, seed=1)
    k = drawn(with_penalty)[0]
    for charged in (True, False, True):
        without.discriminator.load_state_dict(with_penalty.discriminator.state_dict())
        losses = [float(made.train_discriminator(real, gamma, k, fake)) for made in (with_penalty, without)]
        assert (losses[0] > losses[1] + 1e-6) == charged


def test_the_price_of_recognition_is_paid_by_the_generator_only_where_asked() -> None:
    plain, priced = decoder(recognition_weight=0.0), decoder(recognition_weight=5.0)
    for made in (plain, priced):
        learn(made, *drawn(made), encoder())
    assert not torch.equal(weights(plain.generator), weights(priced.generator))


def test_the_generator_learns_to_be_recognised() -> None:
    made, e = decoder(adversarial_weight=0.0, cycle_weight=0.0, lr=1e-2), encoder()

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
    made = decoder(adversarial_weight=0.0, recognition_weight=0.0, cycle_weight=1.0, lr=1e-2)
    e = encoder()
    errors = [float(learn(made, *drawn(made, seed), e)["cycle_error"]) for seed in range(150)]
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
    made = decoder(kind=Unconditional, generated_batch_size=20_000, objective="literal")
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
    made, e = decoder(cycle_weight=0.3, adversarial_weight=0.7), encoder()
    k, y = drawn(made)
    k[0][k[0] == 2] = 1  # in restart 0 nobody is of component 2
    y = means()[k] + normal(R, 12, L, seed=8)
    with torch.no_grad(), evaluating(e.net.network):
        fake = copy.deepcopy(made.generator)(y)
        errors = ((y - e.encode(fake)) ** 2).sum(-1)
        logits = made.discriminator(fake).gather(2, k[..., None])[..., 0]
    gain = -0.3 * errors + 0.7 * F.logsigmoid(logits)
    made.slopes = torch.full((R, K), -1.0)
    learn(made, k, y, e)
    for r in range(R):
        for component in range(K):
            mine = gain[r][k[r] == component]
            expected = -1.0 if not len(mine) else 0.9 * -1.0 + 0.1 * float(mine.mean())
            assert float(made.slopes[r, component]) == pytest.approx(expected, rel=1e-4)


def test_samples_come_from_the_average_of_the_generators_so_far() -> None:
    made, e = decoder(ema_decay=0.9), encoder()
    made.averaged.steps = 1000  # the average is no longer young
    before = weights(made.averaged.network)
    learn(made, *drawn(made), e)
    expected = 0.9 * before + 0.1 * weights(made.generator)
    torch.testing.assert_close(weights(made.averaged.network), expected)


def test_without_averaging_samples_come_from_the_generator() -> None:
    made = decoder(ema_decay=0.0)
    for seed in range(3):
        learn(made, *drawn(made, seed), encoder())
        assert torch.equal(weights(made.averaged.network), weights(made.generator))


@pytest.mark.parametrize(("lr", "rates"), [(None, (2e-4, 3e-4)), (0.07, (0.07, 0.07))])
def test_learning_rates_are_the_objectives_unless_given(
    lr: float | None, rates: tuple[float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(OBJECTIVES, "test", Adversarial(generator_lr=2e-4, critic_lr=3e-4))
    made = decoder(objective="test", lr=lr)
    found = (made.generator_optimizer.state_dict()["lr"], made.discriminator_optimizer.state_dict()["lr"])
    assert found == rates


# ---------------------------------------------------------------- restarts, pretraining


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("objective", ["r1", "hinge"])
def test_restarts_do_not_see_each_other(kind: type[MinMaxStep], objective: str) -> None:
    """Whatever the data of restart 1 are, restart 0 learns the same."""
    ends = []
    for seed in (1, 2):
        made, e = decoder(kind=kind, objective=objective), encoder()
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
            made.net.step(loss)
        ends.append(weights(made.net.network))
    torch.testing.assert_close(ends[0][0], ends[1][0], atol=1e-6, rtol=1e-5)
    assert not torch.isclose(ends[0][1], ends[1][1]).all()


def test_what_learns_goes_back_to_a_state_kept() -> None:
    """As a checkpoint does it: networks, optimisers, averages, shares, slopes and counts."""

    def both() -> tuple[Encoder, Decoder]:
        e, made = encoder(2), decoder()
        e.net.start_averaging(0.9)
        return e, made

    def go_on(e: Encoder, made: Decoder) -> list[Tensor]:
        k, y = drawn(made)
        gamma = normal(R, 16, K, seed=2).softmax(-1)
        learn(made, k, y, e)
        made.train_discriminator(normal(R, 16, D), gamma, k, normal(R, 12, D))
        e.m_step(Batch(torch.zeros(R, 16, dtype=torch.long), normal(R, 32, D)), gamma, None, None)
        e.update_weights(gamma, None)
        networks = (e.net.network, e.net.network_in_use, made.generator, made.averaged.network)
        return [*map(weights, networks), weights(made.discriminator), e.weights, made.slopes.clone()]

    e, made = both()
    go_on(e, made)
    e.net.use_head(1)
    kept = copy.deepcopy((e.state_dict(), made.state_dict()))
    expected = go_on(e, made)
    again, made_again = both()
    again.load_state_dict(kept[0])
    made_again.load_state_dict(kept[1])
    assert again.net.head_in_use(0) == 1 and made_again.steps_done == 1
    for one, other in zip(go_on(again, made_again), expected, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("information", [0.0, 2.0])
@pytest.mark.parametrize("kind", [MinMaxStep, Plain])
def test_a_batch_has_random_items_labelled_ones_and_a_second_view(
    information: float, kind: type[MinMaxStep]
) -> None:
    engine = Engine("cpu", 0)
    items = normal(80, D, seed=6)
    data = AugmentedData(items, NeighborSwap(0, 0.5), engine)
    component = torch.full((80,), -1)
    component[[3, 9, 11]] = torch.tensor([0, 1, 2])
    step = settings(kind, batch_size=5, labelled_batch_size=4, information_weight=information)
    batch = Batch.draw(data, Labels(component, K), step, R)
    assert batch.indices.shape == (R, 9) and batch.views.shape == (R, 14 if information else 9, D)
    assert (component[batch.indices[:, 5:]] >= 0).all()
    for part, index in ((batch.views[:, :9], batch.indices), (batch.views[:, 9:], batch.indices[:, :5])):
        if not part.numel():
            continue
        moved = (part - items[index]).norm(dim=-1)
        second = part.shape[1] == 5
        assert (moved > 0).all() if kind.augments or second else (moved == 0).all()
    alone = Batch.draw(data, None, step, R)
    assert alone.indices.shape == (R, 5) and alone.views.shape == (R, 10 if information else 5, D)


@pytest.mark.parametrize(("kind", "exchanged"), [(MinMaxStep, True), (Plain, False)])
def test_random_items_are_exchanged_with_neighbours_in_both_views_where_the_m_step_augments(
    kind: type[MinMaxStep], exchanged: bool
) -> None:
    data = AugmentedData(normal(80, D, seed=6), NeighborSwap(3, 0.0), Engine("cpu", 0))
    labels = Labels(torch.where(torch.arange(80) < 6, torch.arange(80) % K, -1), K)
    step = settings(kind, batch_size=5, labelled_batch_size=4, information_weight=1.0)
    batch = Batch.draw(data, labels, step, R)
    same = (batch.views[:, :9] == data.items[batch.indices]).all(-1)
    assert same[:, 5:].all()  # labelled ones stay: their component is theirs
    assert (~same[:, :5]).all() if exchanged else same.all()
    assert not (batch.views[:, 9:] == data.items[batch.indices[:, :5]]).all(-1).any()


def a_batch(n: int = 14) -> tuple[Batch, Tensor]:
    """Five random items, four labelled ones and another view of the five, with their memberships."""
    batch = Batch(torch.zeros(R, 9, dtype=torch.long), normal(R, n, D))
    return batch, normal(R, 9, K, seed=2).softmax(-1)


def test_the_loss_of_an_m_step_is_equation_11_and_the_information_of_two_views() -> None:
    step = settings(batch_size=5, labelled_batch_size=4, information_weight=2.0)
    made, shares = encoder(step=step), normal(R, K, seed=5).softmax(-1)
    batch, gamma = a_batch()
    found = made.loss(batch, gamma, shares).detach()
    joint = made.joint(batch.views).detach()
    expected = 0.0
    for r in range(R):
        q = (gamma[r] * joint[r, :9]).sum(1).mean()
        information = information_loss(torch.stack([joint[r, :5], joint[r, 9:]]), prior=shares[r])
        known = -(gamma[r, 5:] * joint[r, 5:9].log_softmax(-1)).sum(1).mean()
        expected += float(-q + 2.0 * (information + known))
    assert float(found) == pytest.approx(expected, rel=1e-4)
    plain = encoder(step=replace(step, information_weight=0.0))
    alone = Batch(batch.indices, batch.views[:, :9])
    joint = plain.joint(alone.views).detach()
    found = plain.loss(alone, gamma, shares).detach()
    assert float(found) == pytest.approx(float(-(gamma * joint).sum(2).mean(1).sum()), rel=1e-4)


def test_without_labels_the_expected_shares_are_omega() -> None:
    given, shares = normal(R, K, seed=5).softmax(-1), list[Tensor]()
    made = encoder(step=settings(batch_size=5, information_weight=2.0))
    loss = made.loss
    made.loss = lambda batch, gamma, s: (shares.append(s), loss(batch, gamma, s))[1]  # type: ignore[method-assign]
    for expected in (None, given):
        made.m_step(*a_batch(), expected, None)
    assert shares[0] is made.weights and shares[1] is given


@pytest.mark.parametrize("generates", [True, False])
@pytest.mark.parametrize("kind", [MinMaxStep, Cycling])
def test_an_m_step_of_the_encoder_descends_on_its_loss_and_the_cycle_where_it_has_one(
    kind: type[MinMaxStep], generates: bool
) -> None:
    step = settings(kind, batch_size=5, information_weight=2.0, cycle_weight=0.3)
    made, twin = encoder(step=step), encoder(step=step)
    for e in (made, twin):
        e.net.start_averaging(0.9)
    batch, gamma = a_batch()
    generated = decoder().sample(torch.full((R, K), 1 / 3)) if generates else None
    loss = twin.loss(batch, gamma, twin.weights)
    if generated is not None and kind is Cycling:
        loss = loss + 0.3 * twin.cycle(generated.y, generated.items.detach()).mean(1).sum()
    twin.net.optimizer.step(loss)
    before = weights(made.net.network_in_use)
    found = made.m_step(batch, gamma, None, generated)
    assert float(found) == pytest.approx(float(loss.detach()) / R, rel=1e-5)
    torch.testing.assert_close(weights(made.net.network), weights(twin.net.network))
    assert (weights(made.net.network_in_use) != before).any(1).all()  # the average follows


def test_pretraining_teaches_the_generator_to_undo_the_encoder() -> None:
    """Eq. 15: both of its terms fall, and the encoder stays as it is."""
    e = encoder()
    losses = []
    for steps in (1, 300):
        made = decoder(generator_pretrain_steps=steps, lr=1e-2)
        before = weights(made.discriminator)
        data = items_of(made.engine)
        with unmoved(e.net.network):
            made.pretrain(e, data)
        assert torch.equal(weights(made.discriminator), before)
        items = data.items.expand(R, -1, -1)
        with torch.no_grad(), evaluating(e.net.network), evaluating(made.generator):
            back = (made.generate(e.encode(items)) - items).square().sum(-1).mean()
            _, y = drawn(made)
            losses.append((float(back), float(e.cycle(y, made.generate(y)).mean())))
    assert losses[1][0] < 0.8 * losses[0][0]
    assert losses[1][1] < 0.8 * losses[0][1]


def test_pretraining_teaches_the_discriminator_to_tell_generated_items() -> None:
    """Eq. 16: real items score higher than generated ones, and the generator stays as it is."""
    e, made = encoder(), decoder(kind=Judged, generator_pretrain_steps=0, lr=1e-2)
    data = items_of(made.engine)
    before = weights(made.generator)
    with unmoved(e.net.network):
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
    sizes = []
    for networks in (NETWORKS, norm):
        made = Decoder(R, means(), (D,), settings(), networks, Engine("cpu", 0))
        batches: list[int] = []
        made.discriminator.register_forward_pre_hook(lambda _, x, seen=batches: seen.append(x[0].shape[1]))
        k, y = drawn(made)
        gamma = torch.full((R, 5, K), 1 / K)
        made.steps_done = 1  # a step without penalty
        made.train_discriminator(normal(R, 5, D), gamma, k, made.generate(y).detach())
        sizes.append(batches)
    together = 5 + k.shape[1]
    assert sizes == [[together], [5, k.shape[1]]]


def test_images_are_generated_in_their_shape_and_range() -> None:
    step = settings(generated_batch_size=3)
    networks = {"generator": "auto", "discriminator": "auto"}
    made = Decoder(R, means(), (3, 6, 5), step, networks, Engine("cpu", 0))
    k, y = made.draw(torch.full((R, K), 1 / 3))
    fake = made.generate(y)
    assert fake.shape == (R, 3, 3, 6, 5) and fake.min() >= 0 and fake.max() <= 1
    assert made.discriminate(fake, F.one_hot(k, K).float()).shape == (R, 3)


def test_nothing_global_is_touched() -> None:
    before = torch.get_rng_state()
    made, e = decoder(kind=Judged, generator_pretrain_steps=1), encoder()
    made.pretrain(e, items_of(made.engine))
    learn(made, *drawn(made), e)
    assert torch.equal(before, torch.get_rng_state())


def test_settings_cannot_be_changed_by_accident() -> None:
    with pytest.raises(AttributeError):
        MinMaxStep().steps = 3  # type: ignore[misc]


@pytest.mark.parametrize("name", ["batch_size", "generated_batch_size"])
def test_batches_without_items_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}=0: expected a whole number of at least 1"):
        MinMaxStep(**{name: 0})
