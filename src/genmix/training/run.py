"""The plumbing of an EM loop, called and never inherited: iterations, history, convergence, checkpoints."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from genmix.base.estimator import PATIENCE, check_losses
from genmix.training.checkpoint import Checkpoint, Learner
from genmix.training.engine import Engine


class Run:
    """One fit by EM, in progress.

    Parameters
    ----------
    checkpoint : Checkpoint
        Where the state after an iteration is kept.
    engine : Engine
        Shows the progress.
    start_time : float
        When the fit began, by the clock of `time.perf_counter`.

    Attributes
    ----------
    history : list of dict
        One record an iteration.
    converged : bool
        Whether the iterations ended because few items changed component.
    resumed : bool
        Whether the fit goes on from a checkpoint.
    """

    def __init__(self, checkpoint: Checkpoint, engine: Engine, start_time: float) -> None:
        self.checkpoint, self.engine = checkpoint, engine
        self.start_time = start_time - checkpoint.seconds
        self.history: list[dict[str, Any]] = []
        self.converged, self.resumed = False, checkpoint.exists
        self._state: Tensor | None = None
        self._means: dict[str, tuple[Tensor, int]] = {}

    def resume(
        self,
        learners: Mapping[str, Learner],
        state: Any = None,
        *,
        like: Tensor | None = None,
        recorded: tuple[str, ...] = ("changed",),
    ) -> Any:
        """Set what learns, and what the loop carries from iteration to iteration, to where it was.

        Parameters
        ----------
        learners : dict of Stateful or nn.Module
            Everything that learns, made as at the beginning of the fit.
        state : Tensor or None
            What the loop carries; returned as it was when the fit was stopped, or as given.
        like : Tensor, optional
            Has its shape and dtype, where that is not what is given.
        recorded : tuple of str
            What is read of each record.
        """
        self.history, self._state = self.checkpoint.resume(learners, state, like=like, recorded=recorded)
        return self._state

    def iterations(self, algorithm: str, max_iter: int, tol: float | None, earliest: int) -> Iterator[int]:
        """Count iterations, after those in `history`, to `max_iter` or until EM has converged.

        That is `PATIENCE` in a row that change at most `tol` of the assignments, `earliest` done at least.
        """
        self.converged = self._has_converged(tol, earliest)
        for t in self.engine.progress(max_iter, algorithm, len(self.history)):
            if self.converged:
                break
            yield t
            self.converged = self._has_converged(tol, earliest)
        self.checkpoint.write(self.history, self._state, last=True)

    def log(self, **values: Tensor) -> None:
        """Add values of one step to their means of the iteration; the host does not wait for the device."""
        for name, value in values.items():
            total, count = self._means.get(name, (torch.zeros_like(value), 0))
            self._means[name] = (total + value.detach(), count + 1)

    def record(self, state: Tensor | None, **values: Tensor | float) -> None:
        """End an iteration: append to `history`, and keep a checkpoint.

        Parameters
        ----------
        state : Tensor or None
            What the loop carries to the next iteration.
        **values
            Numbers of the iteration, besides the means of what was logged; of a vector of bool the indices
            that are True are recorded. Only here does the host wait for the device.
        """
        means = {name: total / count for name, (total, count) in self._means.items()}
        self._means.clear()
        every: dict[str, Any] = {**means, **values}
        tensors = {name: value for name, value in every.items() if isinstance(value, Tensor)}
        numbers = iter(
            torch.cat([v.reshape(-1).float() for v in tensors.values()]).tolist() if tensors else ()
        )
        for name, value in tensors.items():
            found = [next(numbers) for _ in range(value.numel())]
            every[name] = [i for i, one in enumerate(found) if one] if value.dtype == torch.bool else found[0]
        number = len(self.history) + 1
        check_losses({name: v for name, v in every.items() if not isinstance(v, list)}, number)
        seconds = time.perf_counter() - self.start_time
        self.history.append({"iteration": number, **every, "seconds": seconds})
        self._state = state
        self.checkpoint.write(self.history, state)

    def _has_converged(self, tol: float | None, earliest: int) -> bool:
        changed = [record["changed"] for record in self.history[-PATIENCE:]]
        enough = len(changed) == PATIENCE and len(self.history) >= earliest
        return tol is not None and enough and max(changed) <= tol
