"""Devices, random generators and optimiser steps: reproducible, and nothing global is touched."""

from __future__ import annotations

import random
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from genmix.training.engine import AveragedNetwork, Engine, FusedOptimizer, resolve_device


def draws(run: Engine) -> list[object]:
    return [
        torch.randn(4, generator=run.generator, device=run.device).cpu().tolist(),
        torch.randn(4, generator=run.cpu_generator).tolist(),
        run.numpy_state.permutation(9).tolist(),
        run.seed(),
    ]


@pytest.mark.parametrize("seed", [0, 7, np.int64(7)])
def test_the_same_seed_draws_the_same(seed) -> None:
    assert draws(Engine("cpu", seed)) == draws(Engine("cpu", seed))


def test_other_seeds_draw_otherwise() -> None:
    first, second = draws(Engine("cpu", 0)), draws(Engine("cpu", 1))
    assert all(a != b for a, b in zip(first, second, strict=True))


def test_a_random_state_is_used_up_as_in_scikit_learn() -> None:
    state = np.random.RandomState(3)
    first, second = draws(Engine("cpu", state)), draws(Engine("cpu", state))
    assert first != second
    assert draws(Engine("cpu", np.random.RandomState(3))) == first


def test_seeds_differ_from_one_call_to_the_next() -> None:
    run = Engine("cpu", 0)
    assert len({run.seed() for _ in range(50)}) == 50


def test_nothing_global_is_touched() -> None:
    def state() -> list[object]:
        return [
            torch.get_rng_state().tolist(),
            np.random.get_state()[1].tolist(),  # noqa: NPY002
            random.getstate(),
            torch.get_default_dtype(),
            torch.get_num_threads(),
            torch.are_deterministic_algorithms_enabled(),
            torch.is_grad_enabled(),
            torch.is_autocast_enabled("cpu"),
            list(warnings.filters),
        ]

    warm = nn.Linear(1, 1)  # torch's own lazy imports add warning filters at the first step of any optimiser
    FusedOptimizer(warm.parameters(), torch.optim.Adam, 1e-3).step(warm(torch.ones(1, 1)).sum())
    before = state()
    run = Engine("cpu", 5, precision="bfloat16")
    draws(run)
    layer = nn.Linear(2, 1)
    middle = state()[1:]  # the layer above was ours: it drew its weights
    with run.autocast():
        loss = layer(torch.ones(1, 2)).float().sum()
    FusedOptimizer(layer.parameters(), torch.optim.Adam, 1e-3).step(loss)
    assert list(run.progress(3, "x")) == [0, 1, 2]
    assert middle == before[1:] == state()[1:]
    torch_state = torch.get_rng_state()
    draws(Engine("cpu", 5))
    assert torch.equal(torch_state, torch.get_rng_state())


# ---------------------------------------------------------------- devices


@pytest.mark.parametrize("name", ["abacus", "cuda:99", "", None, 3.5])
def test_devices_that_are_not_there_are_refused_with_their_name(name) -> None:
    with pytest.raises(ValueError, match="cannot be used here; pass 'auto', 'cpu'") as caught:
        Engine(name, 0)
    assert repr(name) in str(caught.value)


def test_auto_is_the_best_device_there_is() -> None:
    kind = resolve_device("auto").type
    if torch.cuda.is_available():
        assert kind == "cuda"
    else:
        assert kind == ("mps" if torch.backends.mps.is_available() else "cpu")
    assert resolve_device("cpu") == resolve_device(torch.device("cpu")) == torch.device("cpu")


def test_unknown_precision_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'float16'.*'bfloat16'"):
        Engine("cpu", 0, precision="float16")


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [({"amx_bf16": True}, "bfloat16"), ({"avx512_f": True}, "float32"), (None, "float32")],
)
def test_auto_takes_bfloat16_where_it_is_fast(
    capabilities: dict[str, bool] | None, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = None if capabilities is None else lambda: capabilities
    monkeypatch.setattr(torch.cpu, "get_capabilities", known, raising=False)
    assert Engine("cpu", 0, precision="auto").precision == expected


@pytest.mark.parametrize(("precision", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_networks_run_in_the_chosen_precision(precision: str, dtype: torch.dtype) -> None:
    run = Engine("cpu", 0, precision=precision)
    with run.autocast():
        assert (torch.ones(2, 3) @ torch.ones(3, 2)).dtype == dtype


def test_networks_are_placed_on_the_device() -> None:
    layer = nn.Linear(2, 2)
    assert Engine("cpu", 0).place(layer) is layer
    assert layer.weight.device.type == "cpu"


# ---------------------------------------------------------------- steps


def test_minimize_gives_gradients_to_its_own_parameters_only() -> None:
    """A critic's score of a generator's items trains the generator and leaves the critic as it is."""
    generator, critic = nn.Linear(2, 2), nn.Linear(2, 1)
    before = [p.detach().clone() for p in critic.parameters()]
    z = torch.ones(3, 2)
    expected = torch.autograd.grad(critic(generator(z)).mean(), list(generator.parameters()))
    moved = [p.detach() - 0.1 * g for p, g in zip(generator.parameters(), expected, strict=True)]
    FusedOptimizer(generator.parameters(), torch.optim.SGD, 0.1).step(critic(generator(z)).mean())
    for parameter, wanted in zip(generator.parameters(), moved, strict=True):
        torch.testing.assert_close(parameter.detach(), wanted)
    for parameter, start in zip(critic.parameters(), before, strict=True):
        assert parameter.grad is None
        assert torch.equal(parameter, start)


def test_minimize_keeps_no_gradient_of_the_step_before() -> None:
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = FusedOptimizer([parameter], torch.optim.SGD, 1.0)
    for _ in range(3):
        optimizer.step(parameter.sum())
    assert parameter.item() == -3


def test_minimize_leaves_what_the_loss_does_not_know() -> None:
    used, unused = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
    FusedOptimizer([used, unused], torch.optim.Adam, 0.1).step(used.sum())
    assert used.item() < 1
    assert unused.item() == 1


def test_a_flat_optimiser_steps_like_one_of_separate_parameters() -> None:
    flat, separate = (nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)) for _ in range(2))
    separate.load_state_dict(flat.state_dict())
    ours = FusedOptimizer(flat.parameters(), torch.optim.Adam, 0.01)
    theirs = torch.optim.Adam(separate.parameters(), 0.01)
    x = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    for rate in (0.01, 0.1, 0.1):
        ours.set_lr(rate)
        theirs.param_groups[0]["lr"] = rate
        ours.step(flat(x).square().mean())
        theirs.zero_grad()
        separate(x).square().mean().backward()
        theirs.step()
    for one, other in zip(flat.parameters(), separate.parameters(), strict=True):
        torch.testing.assert_close(one, other)
    assert torch.equal(ours.flat, torch.cat([p.flatten() for p in flat.parameters()]))


def test_parameters_stay_views_of_the_flat_tensor() -> None:
    layer = nn.Linear(3, 2)
    optimizer = FusedOptimizer(layer.parameters(), torch.optim.SGD, 0.1)
    layer.load_state_dict({"weight": torch.full((2, 3), 2.0), "bias": torch.full((2,), 3.0)})
    assert optimizer.flat.tolist() == [2.0] * 6 + [3.0] * 2
    optimizer.flat.data.zero_()
    assert not layer.weight.any() and not layer.bias.any()


def test_a_flat_optimiser_forgets() -> None:
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = FusedOptimizer([parameter], torch.optim.Adam, 0.1)
    steps = []
    for _ in range(3):
        before = parameter.item()
        optimizer.step((parameter - 10 * parameter.detach() - 1).sum() * len(steps))
        steps.append(parameter.item() - before)
        optimizer.reset_state()
    assert steps == pytest.approx([0.0, -0.1, -0.1], abs=1e-6)  # a first step of Adam is as long as its rate


# ---------------------------------------------------------------- progress


def test_progress_is_silent_unless_asked(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(Engine("cpu", 0).progress(4, "EM")) == [0, 1, 2, 3]
    assert capsys.readouterr() == ("", "")
    assert list(Engine("cpu", 0, verbose=1).progress(4, "EM")) == [0, 1, 2, 3]
    out, err = capsys.readouterr()
    assert out == ""
    assert "EM" in err
    assert "4/4" in err


def test_progress_may_be_left_early(capsys: pytest.CaptureFixture[str]) -> None:
    for index in Engine("cpu", 0, verbose=1).progress(100, "EM"):
        if index == 2:
            break
    assert index == 2
    assert "EM" in capsys.readouterr().err


# ---------------------------------------------------------------- averages


def test_the_average_follows_parameters_and_running_statistics_slowly() -> None:
    network = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    averaged = AveragedNetwork(network, FusedOptimizer(network.parameters(), torch.optim.SGD, 0.1), 0.75)
    expected = {name: value.clone() for name, value in network.state_dict().items()}
    x = torch.randn(16, 2, generator=torch.Generator().manual_seed(0))
    for step in range(6):
        averaged.optimizer.step(network(x * (step + 1)).square().sum())
        averaged.update()
        share = max(0.25, 1 / (step + 2))  # the plain mean so far, until the factor takes over
        for name, value in network.state_dict().items():
            expected[name] = expected[name] + share * (value - expected[name])
    assert not averaged.network.training and network.training
    for name, value in averaged.network.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(value, expected[name])
    assert not torch.allclose(averaged.network[1].running_mean, network[1].running_mean)


def test_an_average_that_forgets_at_once_is_the_network() -> None:
    network = nn.Linear(2, 3)
    averaged = AveragedNetwork(network, FusedOptimizer(network.parameters(), torch.optim.SGD, 0.1), 0.0)
    averaged.optimizer.step(network(torch.ones(4, 2)).square().sum())
    assert not torch.equal(averaged.network.weight, network.weight)
    averaged.update()
    assert torch.equal(averaged.network.weight, network.weight)
