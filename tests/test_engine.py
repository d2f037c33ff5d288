"""Devices, random generators and optimiser steps: reproducible, and nothing global is touched."""

from __future__ import annotations

import random
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from genmix.engine import Engine, resolve_device


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
    Engine("cpu", 0).minimize(torch.optim.Adam(warm.parameters()), warm(torch.ones(1, 1)).sum())
    before = state()
    run = Engine("cpu", 5, precision="bfloat16")
    draws(run)
    layer = nn.Linear(2, 1)
    middle = state()[1:]  # the layer above was ours: it drew its weights
    with run.autocast():
        loss = layer(torch.ones(1, 2)).float().sum()
    run.minimize(torch.optim.Adam(layer.parameters()), loss)
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
    run = Engine("cpu", 0)
    generator, critic = nn.Linear(2, 2), nn.Linear(2, 1)
    before = [p.detach().clone() for p in critic.parameters()]
    z = torch.ones(3, 2)
    expected = torch.autograd.grad(critic(generator(z)).mean(), list(generator.parameters()))
    moved = [p.detach() - 0.1 * g for p, g in zip(generator.parameters(), expected, strict=True)]
    run.minimize(torch.optim.SGD(generator.parameters(), 0.1), critic(generator(z)).mean())
    for parameter, wanted in zip(generator.parameters(), moved, strict=True):
        torch.testing.assert_close(parameter.detach(), wanted)
    for parameter, start in zip(critic.parameters(), before, strict=True):
        assert parameter.grad is None
        assert torch.equal(parameter, start)


def test_minimize_keeps_no_gradient_of_the_step_before() -> None:
    run, parameter = Engine("cpu", 0), nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], 1.0)
    for _ in range(3):
        run.minimize(optimizer, parameter.sum())
    assert parameter.item() == -3


def test_minimize_leaves_what_the_loss_does_not_know() -> None:
    run = Engine("cpu", 0)
    used, unused = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
    run.minimize(torch.optim.Adam([used, unused], 0.1), used.sum())
    assert used.item() < 1
    assert unused.item() == 1


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
