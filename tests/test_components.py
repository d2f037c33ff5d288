"""The M-step: its settings; K GANs in two stacks do what K separate ones would; collapsed ones come back."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from genmix.ganmm import em
from genmix.ganmm.m_step import Components, MStep, check_m_step
from genmix.ganmm.presets import PRESETS
from genmix.nn import adversarial as gan
from genmix.nn.adversarial import OBJECTIVES, Adversarial
from genmix.nn.build import copy_networks
from genmix.training.engine import AveragedNetwork, Engine

N = 3
TABLE = {
    "generator": {"kind": "mlp", "hidden": (6,), "norm": "batch"},
    "critic": {"kind": "mlp", "hidden": (7,)},
}
PUBLISHED = dict.fromkeys(("generator", "critic"), "ganmm-2018")
R1 = Adversarial(penalty_every=2, generator_lr=1e-2, critic_lr=1e-2)
WGAN = replace(OBJECTIVES["wgan"], critic_steps=2, clip=0.2, generator_lr=1e-2, critic_lr=1e-2)


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[Adversarial], str]:
    """Name an objective of a test, as settings want it."""

    def named(objective: Adversarial) -> str:
        monkeypatch.setitem(OBJECTIVES, "test", objective)
        return "test"

    return named


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make(n: int = N, shape: tuple[int, ...] = (4,), networks=None, seed: int = 0, **settings) -> Components:
    step = MStep(**{"batch_size": 8, "latent_dim": 3, **settings})
    return Components(n, shape, step, networks or TABLE, Engine("cpu", seed))


def data(n_items: int = 60, n: int = N) -> tuple[Tensor, Tensor]:
    """Items of the groups 0, 1, 2, 0, 1, ... and their weights [1, n, N], of one restart."""
    labels = torch.arange(n_items) % n
    items = torch.randn(n_items, 4, generator=generator(5)) + 3 * labels[:, None]
    return items, (labels == torch.arange(n)[:, None]).float()[None]


def weights(network: torch.nn.Module, k: int, n: int = N) -> Tensor:
    return torch.cat([p.detach().view(n, -1)[k] for p in network.parameters()])


def both(components: Components, k: int, n: int = N) -> Tensor:
    return torch.cat([weights(components.generator, k, n), weights(components.critic, k, n)])


def networks_of(components: Components) -> list[nn.Module]:
    return [components.generator, components.averaged.network, components.critic]


# ---------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("epsilon", "schedule", "last_change"),
    [
        (None, ((5, 0.1), (10, 0.05), (20, 0.0)), 10),
        (0.25, ((1, 0.25),), 0),
        (0, ((1, 0.0),), 0),
        ([(3, 0.5), (7, 0)], ((3, 0.5), (7, 0.0)), 3),
        (((4, 0.2),), ((4, 0.2),), 0),
    ],
)
def test_epsilon_is_a_share_or_a_schedule(epsilon: Any, schedule: Any, last_change: int) -> None:
    """From `last_change` on it stays as it is."""
    step = MStep(epsilon=epsilon)
    assert step.schedule == schedule and step.last_change == last_change
    shares = [em.epsilon_at(t, step.schedule) for t in range(30)]
    assert len(set(shares[last_change:])) == 1
    assert last_change == 0 or shares[last_change - 1] != shares[last_change]


@pytest.mark.parametrize(
    "epsilon", [1.0, -0.1, (), [], "much", "ab", [0.1], [(1, 2, 3)], [(1, 1.0)], [(1, None)], math.nan, True]
)
def test_other_epsilons_are_refused(epsilon: Any) -> None:
    with pytest.raises(ValueError, match=r"epsilon=.*: expected None, a share of at least 0 and below 1"):
        MStep(epsilon=epsilon)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"objective": "lsgan"}, "objective='lsgan': expected one of 'r1'.*'wgan-2018-code'"),
        ({"lr": -1.0}, "lr=-1.0"),
        ({"steps": -1}, "steps=-1"),
        ({"pretrain_steps": 0.5}, "pretrain_steps=0.5"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"latent_dim": 0}, "latent_dim=0"),
        ({"ema_decay": 1.0}, "ema_decay=1.0"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        MStep(**settings)


def test_names_of_objectives_stand_for_settings() -> None:
    own = MStep(steps=3)
    assert check_m_step(None) == MStep() and check_m_step(own) is own
    for name in OBJECTIVES:
        assert check_m_step(name) == MStep(name)
        assert make(objective=name).objective == OBJECTIVES[name]


@pytest.mark.parametrize("value", ["lsgan", "", 3, True, MStep])
def test_no_m_step_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"m_step=.* is unknown; expected one of None, 'r1'.* or MStep"):
        check_m_step(value)


@pytest.mark.parametrize("name", ["r1", "wgan"])
def test_the_learning_rate_is_the_objectives_unless_told(name: str) -> None:
    for lr in (None, 0.25):
        made = make(objective=name, lr=lr)
        own = OBJECTIVES[name]
        rates = [o.optimizer.param_groups[0]["lr"] for o in (made.generator_optimizer, made.critic_optimizer)]
        assert rates == ([own.generator_lr, own.critic_lr] if lr is None else [lr, lr])
        assert OBJECTIVES[name] is own  # and nobody else's


# ---------------------------------------------------------------- one stack, many GANs


@pytest.mark.parametrize("objective", [R1, WGAN], ids=["r1", "wgan"])
@pytest.mark.parametrize("networks", [TABLE, PUBLISHED], ids=["ours", "published"])
def test_a_stack_of_gans_equals_gans_trained_one_by_one(
    monkeypatch: pytest.MonkeyPatch, use: Any, objective: Adversarial, networks: dict[str, object]
) -> None:
    """Same weights at the start, same noise, same batches: the same weights at the end."""
    items, own = data()
    settings = {"networks": networks, "objective": use(objective), "ema_decay": 0.9}
    stack = make(**settings)
    singles = [make(1, seed=9 + k, **settings) for k in range(N)]
    for k, single in enumerate(singles):
        part, place = torch.tensor([k]), torch.tensor([0])
        for source, target in zip(networks_of(stack), networks_of(single), strict=True):
            copy_networks(source, N, part, target, 1, place)
    batches = em.draw_batches(own[0], own[0], 8, 5 * objective.critic_steps, 0.0, generator(1))

    def train(components: Components, part: slice) -> Tensor:
        noise = generator(2)
        monkeypatch.setattr(em, "draw_batches", lambda *_: batches[:, part])
        monkeypatch.setattr(components, "noise", lambda n: torch.randn(N, n, 3, generator=noise)[part])
        return torch.stack(components.train(items, own[:, part], own[:, part], 0.0, 5))

    losses = train(stack, slice(None))
    alone = torch.stack([train(single, slice(k, k + 1)) for k, single in enumerate(singles)])
    torch.testing.assert_close(losses, alone.mean(0), atol=1e-4, rtol=1e-3)
    z = torch.randn(N, 20, 3, generator=generator(3))
    for k, single in enumerate(singles):  # what they compute: a bias before a normalisation may differ
        for whole, one in zip(networks_of(stack)[:2], networks_of(single)[:2], strict=True):
            torch.testing.assert_close(whole(z)[k], one(z[k : k + 1])[0], atol=2e-4, rtol=2e-3)
        torch.testing.assert_close(
            stack.score_all(items)[k], single.score_all(items)[0], atol=2e-4, rtol=2e-3
        )


@pytest.mark.parametrize("objective", ["r1", "wgan", "wgan-gp"])
@pytest.mark.parametrize("networks", [TABLE, PUBLISHED], ids=["ours", "published"])
def test_gans_do_not_depend_on_the_data_of_the_others(objective: str, networks: dict[str, object]) -> None:
    items, own = data()
    other = items.clone()
    other[own[0, 1] > 0] *= -7
    trained = []
    for given in (items, other):
        components = make(networks=networks, objective=objective)
        components.train(given, own, own, 0.0, 4)
        trained.append(components)
    for k, equal in ((0, True), (1, False), (2, True)):
        assert torch.equal(both(trained[0], k), both(trained[1], k)) == equal


def test_algorithm_1_line_12_trains_wgans_step_by_step(monkeypatch: pytest.MonkeyPatch, use: Any) -> None:
    """One generator step, then the critic steps, each on a batch of its own and clipped, written out."""
    items, own = data(n=1)
    components = make(1, networks=PUBLISHED, objective=use(WGAN), ema_decay=0.0)
    maker, critic = (copy.deepcopy(network) for network in (components.generator, components.critic))
    g = {name: p.detach().clone().requires_grad_() for name, p in maker.named_parameters()}
    f = {name: p.detach().clone().requires_grad_() for name, p in critic.named_parameters()}
    g_optimizer, f_optimizer = gan.TFRMSprop(g.values(), 1e-2), gan.TFRMSprop(f.values(), 1e-2)
    batches = em.draw_batches(own[0], own[0], 8, 6, 0.0, generator(1))
    noises = [torch.randn(1, 8, 3, generator=generator(s)) for s in range(9)]
    queue = iter(noises)
    monkeypatch.setattr(em, "draw_batches", lambda *_: batches)
    monkeypatch.setattr(components, "noise", lambda n: next(queue))
    components.train(items, own, own, 0.0, 3)
    for t in range(3):
        scores = functional_call(critic, f, (functional_call(maker, g, (noises[3 * t],)),))
        g_optimizer.zero_grad()
        (-scores.mean()).backward()
        g_optimizer.step()
        for s in range(2):
            with torch.no_grad():
                fake = functional_call(maker, g, (noises[3 * t + 1 + s],))
            f_optimizer.zero_grad()
            real = functional_call(critic, f, (items[batches[2 * t + s]],))
            (functional_call(critic, f, (fake,)).mean() - real.mean()).backward()
            f_optimizer.step()
            for p in f.values():
                p.data = p.data.clamp(-0.2, 0.2)
    assert next(queue, None) is None
    for network, expected in ((components.generator, g), (components.critic, f)):
        for name, parameter in network.named_parameters():
            torch.testing.assert_close(parameter, expected[name], atol=1e-5, rtol=1e-4)


def test_gans_of_all_restarts_have_their_own_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights [R, K, N] and labels [R, N] belong to the GANs R * K in this order."""
    items, _ = data()
    labels = torch.stack([torch.arange(60) % N, (torch.arange(60) + 1) % N])
    own = torch.stack([(row == torch.arange(N)[:, None]).float() for row in labels])
    seen: list[Tensor] = []
    original = Adversarial.critic_loss

    def spy(self: Adversarial, critic, real: Tensor, *rest, **options):
        seen.append(real)
        return original(self, critic, real, *rest, **options)

    monkeypatch.setattr(Adversarial, "critic_loss", spy)
    components = make(2 * N, pretrain_steps=3)
    components.train(items, own, own, 0.0, 2)
    components.pretrain(items, labels)
    assert len(seen) == 5
    for real in seen:
        rows = (real[:, :, None] == items).all(-1).float().argmax(-1)  # [2 * N, B]
        for r in range(2):
            assert (labels[r][rows[r * N : (r + 1) * N]] == torch.arange(N)[:, None]).all()


def test_restarts_and_seeds() -> None:
    items, own = data()
    trained = []
    for seed in (1, 1, 2):
        components = make(seed=seed)
        components.train(items, own, own, 0.0, 3)
        trained.append(torch.cat([both(components, k) for k in range(N)]))
    assert torch.equal(trained[0], trained[1])
    assert not torch.equal(trained[0], trained[2])


# ---------------------------------------------------------------- what training promises


def test_critics_stay_inside_the_clipping_range() -> None:
    items, own = data()
    components = make(networks=PUBLISHED, objective="wgan")
    assert any(p.abs().max() > 0.01 for p in components.critic.parameters())
    components.train(items, own, own, 0.0, 2)
    assert all(p.abs().max() <= 0.01 for p in components.critic.parameters())
    assert any(p.abs().max() > 0.01 for p in components.generator.parameters())


@pytest.mark.parametrize(("preset", "clipped"), [("ganmm-2018-paper", True), ("ganmm-2018-code", False)])
def test_the_published_code_clips_after_pretraining_only(preset: str, clipped: bool) -> None:
    items, own = data()
    components = make(networks=PUBLISHED, objective=PRESETS[preset]["m_step"].objective, pretrain_steps=2)
    components.pretrain(items, own.argmax(1))
    assert all(p.abs().max() <= 0.01 for p in components.critic.parameters()) == clipped
    components.train(items, own, own, 0.0, 1)
    assert all(p.abs().max() <= 0.01 for p in components.critic.parameters())


@pytest.mark.parametrize(("preset", "steps"), [("ganmm-2018-code", 1), ("ganmm-2018-paper", 10)])
def test_published_m_steps_are_the_published_numbers(preset: str, steps: int) -> None:
    step = PRESETS[preset]["m_step"]
    assert (step.steps, step.pretrain_steps, step.batch_size, step.ema_decay) == (steps, 500, 50, 0.0)
    assert step.latent_dim is None and step.lr is None and not step.reinitialize
    objective = OBJECTIVES[step.objective]
    assert objective.critic_steps == 5
    assert objective.clip == 0.01
    assert objective.optimizer == "rmsprop"
    assert objective.generator_lr == objective.critic_lr == 5e-5
    assert objective.loss == "wasserstein" and objective.penalty is None


def test_losses_are_means_over_components_and_steps(use: Any) -> None:
    """A critic that is zero everywhere and stays so: 2 log 2 for it, log 2 for its generator."""
    items, own = data()
    still = Adversarial(penalty=None, generator_lr=0.0, critic_lr=0.0, critic_steps=3)
    components = make(objective=use(still))
    for parameter in components.critic.parameters():
        parameter.data.zero_()
    critic_loss, generator_loss = components.train(items, own, own, 0.0, 5)
    assert critic_loss.item() == pytest.approx(2 * math.log(2), abs=1e-6)
    assert generator_loss.item() == pytest.approx(math.log(2), abs=1e-6)
    assert components.steps_done == 15


def test_no_steps_change_nothing() -> None:
    items, own = data()
    components = make()
    before = both(components, 0)
    losses = components.train(items, own, own, 0.0, 0)
    assert torch.equal(before, both(components, 0))
    assert all(loss.isfinite() for loss in losses)


@pytest.mark.parametrize("epsilon", [0.0, 0.5])
def test_algorithm_1_line_11_critics_see_the_extras(monkeypatch: pytest.MonkeyPatch, epsilon: float) -> None:
    """Half of every real batch is from outside for epsilon 1/2, nothing for 0."""
    items, own = data()
    seen: list[Tensor] = []
    components = make(objective="wgan", networks=PUBLISHED)
    original = Adversarial.critic_loss

    def spy(self: Adversarial, critic, real: Tensor, *rest, **options):
        seen.append(real)
        return original(self, critic, real, *rest, **options)

    monkeypatch.setattr(Adversarial, "critic_loss", spy)
    components.train(items, own, 1 - own, epsilon, 2)
    assert len(seen) == 10
    for real in seen:
        rows = (real[:, :, None] == items).all(-1).float().argmax(-1)
        outside = (rows % N != torch.arange(N)[:, None]).sum(1)
        assert (outside == round(8 * epsilon)).all()


def test_gans_learn_their_own_data(use: Any) -> None:
    """Generated items of component k come to lie among D_k."""
    items, own = data(300)
    items = items / 3 - 1  # neighbouring groups are 2 apart, each of standard deviation 1/3
    networks = {
        "generator": {"kind": "mlp", "hidden": (32,)},
        "critic": {"kind": "mlp", "hidden": (32,), "negative_slope": 0.2},
    }
    objective = replace(R1, generator_lr=5e-3, critic_lr=5e-3)
    components = make(networks=networks, objective=use(objective), batch_size=32)
    components.train(items, own, own, 0.0, 300)
    for averaged in (False, True):
        made = components.generate(200, averaged=averaged)
        distance = torch.cdist(made.mean(1), torch.stack([items[w > 0].mean(0) for w in own[0]]))
        assert distance.argmin(1).tolist() == [0, 1, 2]
        assert distance.diagonal().max() < 0.6
        assert made.std(1).min() > 0.05


# ---------------------------------------------------------------- noise, samples, averages, scores


def test_noise_is_standard_normal_and_samples_have_the_items_shape() -> None:
    components = make(shape=(1, 6, 5), latent_dim=4)
    noise = components.noise(4000)
    assert noise.shape == (N, 4000, 4)
    assert noise.mean().item() == pytest.approx(0, abs=0.02)
    assert noise.std().item() == pytest.approx(1, abs=0.02)
    for averaged in (False, True):
        assert components.generate(5, averaged=averaged).shape == (N, 5, 1, 6, 5)
    assert not components.generate(2).requires_grad


@pytest.mark.parametrize(("shape", "expected"), [((4,), 64), ((1, 8, 8), 128)])
def test_noise_has_the_published_dimensions_unless_told(shape: tuple[int, ...], expected: int) -> None:
    components = make(shape=shape, latent_dim=None, networks=PUBLISHED)
    assert components.noise(2).shape == (N, 2, expected)
    assert components.generate(2).shape == (N, 2, *shape)


@pytest.mark.parametrize("n_items", [1, 3])
def test_few_samples_are_drawn_with_full_batches(n_items: int) -> None:
    """Generators with batch normalisation would give one item its own mean: a batch of one is no batch."""
    made = make().generate(n_items, averaged=True)
    assert made.shape == (N, n_items, 4)
    assert made.isfinite().all()


def test_averaged_generators_are_the_average_of_their_history(
    monkeypatch: pytest.MonkeyPatch, use: Any
) -> None:
    items, own = data()
    components = make(ema_decay=0.75, objective=use(R1))
    expected = weights(components.generator, 1)
    update = AveragedNetwork.update
    history: list[Tensor] = []

    def spy(self: AveragedNetwork) -> None:
        update(self)
        history.append(weights(components.generator, 1))

    monkeypatch.setattr(AveragedNetwork, "update", spy)
    components.train(items, own, own, 0.0, 12)
    assert len(history) == 12
    for t, value in enumerate(history):
        share = max(0.25, 1 / (t + 2))  # the plain mean of all so far, until the factor takes over
        expected = (1 - share) * expected + share * value
    torch.testing.assert_close(weights(components.averaged.network, 1), expected, atol=1e-5, rtol=1e-4)


def test_without_averaging_samples_are_of_the_generators_themselves() -> None:
    items, own = data()
    components = make(ema_decay=0.0)
    components.train(items, own, own, 0.0, 3)
    first, second = (
        components.generate(8, averaged=averaged)
        for averaged in (True, False)
        if components.engine.generator.manual_seed(0)
    )
    assert torch.equal(first, second)


def test_scores_of_all_critics_equal_a_loop_whatever_the_batches() -> None:
    items, _ = data()
    components = make()
    scores = components.score_all(items, 7)
    torch.testing.assert_close(scores, components.score_all(items))
    for k in range(N):
        single = make(1, seed=3)
        copy_networks(components.critic, N, torch.tensor([k]), single.critic, 1, torch.tensor([0]))
        torch.testing.assert_close(scores[k], single.critic(items[None])[0].detach())


def test_critic_units_are_mean_and_deviation_of_their_own_samples() -> None:
    components = make()
    components.engine.generator.manual_seed(3)
    mean, deviation = components.critic_score_stats(50)
    components.engine.generator.manual_seed(3)
    scores = components.critic(components.generate(50)).detach()
    torch.testing.assert_close(mean[:, 0], scores.mean(1))
    torch.testing.assert_close(deviation[:, 0], scores.std(1))


# ---------------------------------------------------------------- collapse


def silence(components: Components, k: int, value: float = 0.0) -> None:
    """Make generator k of a dense stack constant."""
    last = components.generator.layers[-1]
    last.weight.data[k] = 0
    last.bias.data[k] = value


@pytest.mark.parametrize("value", [0.0, 5.0, math.nan, math.inf])
def test_a_constant_generator_is_collapsed_and_no_other(value: float) -> None:
    items, own = data()
    components = make()
    assert components.collapsed(items, own).tolist() == [False] * N
    silence(components, 1, value)
    assert components.collapsed(items, own).tolist() == [False, True, False]


def test_one_item_made_of_one_item_is_no_collapse() -> None:
    """A generator may be constant where its data are."""
    items, own = data()
    items[own[0, 1] > 0] = 2.5
    components = make()
    silence(components, 1, 2.5)
    assert components.collapsed(items, own).tolist() == [False] * N


@pytest.mark.parametrize("objective", ["r1", "wgan"])
def test_the_collapsed_gan_alone_is_reinitialized(objective: str) -> None:
    items, own = data()
    components = make(objective=objective)
    components.train(items, own, own, 0.0, 3)
    silence(components, 1)
    before = [both(components, k) for k in range(N)]
    averages = [weights(components.averaged.network, k) for k in range(N)]
    assert components.reinitialize_collapsed(items, own).tolist() == [False, True, False]
    for k in (0, 2):
        assert torch.equal(both(components, k), before[k])
        assert torch.equal(weights(components.averaged.network, k), averages[k])
    assert not torch.isclose(both(components, 1), before[1]).all()
    assert torch.equal(weights(components.averaged.network, 1), weights(components.generator, 1))
    assert not components.collapsed(items, own).any()
    for optimizer in (components.generator_optimizer, components.critic_optimizer):
        assert not optimizer.optimizer.state


def test_a_gan_with_broken_weights_is_reinitialized_and_trains_on() -> None:
    items, own = data()
    components = make()
    components.train(items, own, own, 0.0, 2)
    for parameter in (*components.generator.parameters(), *components.critic.parameters()):
        parameter.data.view(N, -1)[1] = math.nan
    for optimizer in (components.generator_optimizer, components.critic_optimizer):
        for state in optimizer.optimizer.state.values():
            for value in state.values():
                if value.dim():
                    value[:] = math.nan
    assert components.reinitialize_collapsed(items, own).tolist() == [False, True, False]
    losses = components.train(items, own, own, 0.0, 3)
    assert all(loss.isfinite() for loss in losses)
    assert both(components, 1).isfinite().all()


def test_the_published_procedures_have_nothing_against_collapse() -> None:
    items, own = data()
    step = replace(PRESETS["ganmm-2018-code"]["m_step"], batch_size=8, latent_dim=3)
    components = Components(N, (4,), step, TABLE, Engine("cpu", 0))
    silence(components, 1)
    before = [both(components, k) for k in range(N)]
    assert components.reinitialize_collapsed(items, own).tolist() == [False] * N
    assert all(torch.equal(both(components, k), before[k]) for k in range(N))


def test_a_component_counts_as_reinitialized_if_its_gan_of_any_restart_is() -> None:
    items, own = data()
    components = make(2 * N)
    silence(components, 1)  # of the first restart
    silence(components, N + 2)  # of the second
    before = [both(components, k, 2 * N) for k in range(2 * N)]
    assert components.reinitialize_collapsed(items, own.expand(2, N, -1)).tolist() == [False, True, True]
    assert components.collapsed_components.tolist() == [k in (1, N + 2) for k in range(2 * N)]
    for k in range(2 * N):
        assert torch.equal(both(components, k, 2 * N), before[k]) == (k not in (1, N + 2))


def test_nothing_global_is_touched() -> None:
    items, own = data()
    before = torch.get_rng_state()
    components = make(networks={"generator": "auto", "critic": lambda s, o: torch.nn.Linear(s[0], o)})
    components.train(items, own, own, 0.0, 2)
    components.reinitialize(torch.tensor([True, False, False]))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("objective", ["r1", "wgan", "wgan-gp"])
def test_critics_that_normalise_batches_see_real_and_generated_ones_apart(objective: str) -> None:
    normalised = {**TABLE, "critic": {"kind": "mlp", "hidden": (7,), "norm": "batch"}}
    factory = {**TABLE, "critic": lambda s, o: torch.nn.Sequential(
        torch.nn.Linear(s[0], o), torch.nn.BatchNorm1d(o, track_running_stats=False))}  # fmt: skip
    assert make(objective=objective).joint
    assert not make(objective=objective, networks=normalised).joint
    assert not make(objective=objective, networks=factory).joint
