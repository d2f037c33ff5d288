"""The plumbing of an EM loop: iterations, history, convergence, one transfer to the host, checkpoints."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from genmix import GANMixture
from genmix.base.estimator import PATIENCE
from genmix.training.checkpoint import Checkpoint
from genmix.training.engine import Engine
from genmix.training.run import Run


def make(folder: Path | None = None, seed: int = 0) -> Run:
    engine = Engine("cpu", seed)
    return Run(Checkpoint(folder, GANMixture(4, random_state=seed), (), engine), engine, time.perf_counter())


def tensors(**values: Any) -> dict[str, Tensor]:
    return {name: torch.as_tensor(value) for name, value in values.items()}


def run_through(
    run: Run, changes: Sequence[float], tol: float | None, earliest: int = 0, state: Tensor | None = None
) -> list[int]:
    """Iterate, with these shares of changed assignments; returns the iterations done."""
    done = []
    for t in run.iterations("EM", len(changes), tol, earliest):
        run.record(state, changed=torch.tensor(changes[t]))
        done.append(t)
    return done


# ---------------------------------------------------------------- iterations and convergence


@pytest.mark.parametrize("max_iter", [1, 5])
def test_without_tol_every_iteration_is_done(max_iter: int) -> None:
    run = make()
    assert run_through(run, [0.0] * max_iter, None) == list(range(max_iter))
    assert not run.converged and not run.resumed


@pytest.mark.parametrize(
    ("changes", "earliest", "done"),
    [
        ([0.5, 0.01, 0.01, 0.01, 0.5, 0.5], 0, 4),
        ([0.01] * 6, 0, PATIENCE),
        ([0.01] * 6, 5, 5),
        ([0.01, 0.01, 0.02, 0.01, 0.01, 0.01, 0.01], 0, 6),
        ([0.01, 0.01, 0.01, 0.01, 0.5, 0.01, 0.01, 0.01, 0.01], 5, 8),  # the calm before does not count
        ([0.5] * 4, 0, 4),
        ([0.01] * 4, 9, 4),
    ],
)
def test_em_has_converged_after_three_calm_iterations_in_a_row_but_not_too_early(
    changes: list[float], earliest: int, done: int
) -> None:
    run = make()
    assert len(run_through(run, changes, 0.01 + 1e-6, earliest)) == done
    calm = [change < 0.02 for change in changes[:done]]
    assert run.converged is (done >= earliest and len(calm) >= PATIENCE and all(calm[-PATIENCE:]))


def test_em_that_has_converged_in_the_last_iteration_says_so() -> None:
    run = make()
    assert run_through(run, [0.0] * PATIENCE, 0.0) == list(range(PATIENCE)) and run.converged


# ---------------------------------------------------------------- records


def test_an_iteration_has_one_record() -> None:
    run = make()
    for t in run.iterations("EM", 2, None, 0):
        for step in range(3):
            run.log(loss=torch.tensor(float(step + 10 * t), requires_grad=True), share=torch.tensor(0.5))
        run.record(
            None, changed=torch.tensor(0.25), epsilon=0.1 * (t + 1), **tensors(dead=[False, True, True])
        )
    first, second = run.history
    assert list(first) == ["iteration", "loss", "share", "changed", "epsilon", "dead", "seconds"]
    assert (first["iteration"], second["iteration"]) == (1, 2)
    assert (first["loss"], second["loss"]) == (1.0, 11.0)  # means of this iteration's steps alone
    assert (first["share"], first["changed"], second["epsilon"]) == (0.5, 0.25, 0.2)
    assert 0 < first["seconds"] < second["seconds"]
    for record in run.history:
        assert all(type(value) in (int, float, list) for value in record.values())


def test_of_a_vector_of_bool_the_indices_are_recorded() -> None:
    run = make()
    run.record(
        None, **tensors(none=[False] * 3, some=[True, False, True], every=[True] * 2, number=2.5, one=[7])
    )
    found = {name: run.history[0][name] for name in ("none", "some", "every", "number", "one")}
    assert found == {"none": [], "some": [0, 2], "every": [0, 1], "number": 2.5, "one": 7.0}


def test_the_host_waits_for_the_device_once_an_iteration(monkeypatch: pytest.MonkeyPatch) -> None:
    run, transfers = make(), 0
    tolist = Tensor.tolist

    def counted(self: Tensor) -> Any:
        nonlocal transfers
        transfers += 1
        return tolist(self)

    monkeypatch.setattr(Tensor, "tolist", counted)
    for name in ("item", "__float__", "__int__", "__bool__", "cpu", "numpy"):
        monkeypatch.setattr(Tensor, name, lambda *_: pytest.fail("another transfer"))
    for t in run.iterations("EM", 2, 0.1, 0):
        run.log(**tensors(loss=1.0, other=2.0))
        run.record(torch.zeros(3), **tensors(changed=0.5, dead=[True, False]))
        assert transfers == t + 1
    monkeypatch.undo()
    assert run.history[1]["loss"] == 1.0 and run.history[1]["dead"] == [0]


def test_what_is_logged_keeps_no_graph() -> None:
    run = make()
    run.log(loss=torch.ones((), requires_grad=True) * 2)
    assert not run._means["loss"][0].requires_grad


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1e11])
@pytest.mark.parametrize("logged", [True, False])
def test_a_training_that_diverges_is_stopped(value: float, logged: bool) -> None:
    run = make()
    run.record(None, changed=torch.tensor(0.5))
    values = tensors(loss=value)
    if logged:
        run.log(**values)
    with pytest.raises(FloatingPointError, match=r"diverged in iteration 2 .*loss"):
        run.record(None, changed=torch.tensor(0.5), **({} if logged else values))
    assert len(run.history) == 1


# ---------------------------------------------------------------- checkpoints


def test_a_fit_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    first, net = make(tmp_path / "kept"), nn.Linear(2, 2)
    labels = first.resume({"net": net}, torch.zeros(4, dtype=torch.long))
    assert labels.tolist() == [0] * 4 and not first.resumed
    for t in first.iterations("EM", 3, None, 0):
        labels = labels + 1
        nn.init.constant_(net.weight, t)
        first.record(labels, changed=torch.tensor(0.5))
    drawn = torch.rand(3, generator=first.engine.generator)

    second, other = make(tmp_path / "kept"), nn.Linear(2, 2)
    assert second.resumed
    labels = second.resume({"net": other}, torch.zeros(4, dtype=torch.long))
    assert labels.tolist() == [3] * 4 and labels.dtype == torch.long
    assert torch.equal(other.weight, net.weight) and torch.equal(other.bias, net.bias)
    assert second.history == first.history
    assert torch.equal(drawn, torch.rand(3, generator=second.engine.generator))
    assert list(second.iterations("EM", 3, None, 0)) == []  # they are done
    for t in second.iterations("EM", 5, None, 0):
        assert t == len(second.history)
        second.record(labels, changed=torch.tensor(0.5))
    assert [record["iteration"] for record in second.history] == [1, 2, 3, 4, 5]
    seconds = [record["seconds"] for record in second.history]
    assert seconds == sorted(seconds)  # the time before counts


@pytest.mark.parametrize("tol", [0.1, None])
def test_a_fit_that_had_converged_stays_so_but_for_another_tol(tmp_path: Path, tol: float | None) -> None:
    first = make(tmp_path / "kept")
    first.resume({})
    assert run_through(first, [0.05] * 9, 0.1) == [0, 1, 2] and first.converged
    second = make(tmp_path / "kept")
    second.resume({})
    assert run_through(second, [0.05] * 5, tol) == ([] if tol else [3, 4])
    assert second.converged is (tol is not None)


def test_the_last_iteration_is_kept_in_any_case(tmp_path: Path) -> None:
    run = make(tmp_path / "kept")
    run.resume({})
    run.checkpoint._cost = 1e9  # writing took long, so that nothing more is written on the way
    run_through(run, [0.5] * 4, None, state=torch.arange(3))
    assert len(list((tmp_path / "kept").iterdir())) == 1
    again = make(tmp_path / "kept")
    assert again.resume({}, like=torch.arange(3)).tolist() == [0, 1, 2] and len(again.history) == 4
