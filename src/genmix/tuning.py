"""Choice of a mixture's settings: by labels held out, or without labels by stability over seeds.

Pande & Awate 2020 (section IV) choose K, lambda_1 and lambda_2 on a labelled validation part.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from genmix._base import BaseMixture


@dataclass(frozen=True)
class Trial:
    """One choice of settings and how it did.

    Parameters
    ----------
    parameters : dict
        "n_components", and "cycle" (lambda_1) and "adversarial" (lambda_2) where they were searched.
    score : float
        Accuracy on the labels held out, or adjusted Rand index between two seeds; NaN if training diverged.
    seconds : float
        Time of its fits.
    """

    parameters: dict[str, Any]
    score: float
    seconds: float


@dataclass(frozen=True)
class Tuning:
    """What `tune` found.

    Parameters
    ----------
    best : BaseMixture
        Unfitted mixture with the best settings.
    trials : list of Trial
        In the order they were run, those of an earlier run of the same study included.
    judged_by : str
        What the scores are.
    """

    best: BaseMixture
    trials: list[Trial]
    judged_by: str


def tune(
    model: BaseMixture,
    X: Any,
    y: Any = None,
    *,
    n_components: Sequence[int],
    n_trials: int = 20,
    cycle: tuple[float, float] | None = None,
    adversarial: tuple[float, float] | None = None,
    validation: float = 0.3,
    random_state: int = 0,
    study: str | Path | None = None,
    echo: Callable[[str], object] | None = None,
) -> Tuning:
    """Search K, and lambda_1 and lambda_2 of `DNNMixture`, with Optuna.

    With labels, a part of them is hidden from each fit, and the share of those items that are assigned to the
    component of their class is the score. Keep labels of a test set out of `y` altogether. Without labels,
    each choice is fitted with two seeds and the score is the adjusted Rand index between both assignments,
    which is higher for fewer components where nothing else decides: look at the trials before you trust it.

    Parameters
    ----------
    model : BaseMixture
        Mixture whose other settings are kept.
    X : array, frame or tensor [N, ...]
        Data, as for `fit`.
    y : array of int [N], optional
        Classes for `DNNMixture`, -1 where unknown.
    n_components : sequence of int
        Values of K to choose from (at least 2, and at least the number of classes).
    n_trials : int
        Choices to try; where only K is searched, every K is tried once.
    cycle, adversarial : (float, float), optional
        Ranges (> 0) of `MinMaxStep.cycle` and `MinMaxStep.adversarial`, searched on a logarithmic scale.
    validation : float
        Share of the labels held out, in (0, 1).
    random_state : int
        Seed of the split, the search and the fits.
    study : path-like, optional
        File in which finished trials are kept: the same call goes on where an earlier one was stopped.
    echo : callable, optional
        Called with a line for each trial.

    Returns
    -------
    Tuning

    Raises
    ------
    ImportError
        Optuna is not installed.
    ValueError
        Nothing to choose from, fewer components than classes, or too few labels to hold some out.
    """
    optuna = _optuna()
    from sklearn.base import clone

    from genmix.dnnmm import DNNMixture

    learns_labels = isinstance(model, DNNMixture)
    if y is not None and not learns_labels:
        raise ValueError(f"{type(model).__name__} learns without labels: leave out y, or tune a DNNMixture")
    if (cycle or adversarial) and not (learns_labels and model.generate):
        raise ValueError("cycle and adversarial are settings of a DNNMixture with generate=True")
    if any(k != int(k) or k < 2 for k in n_components) or not len(n_components):
        raise ValueError(f"n_components={list(n_components)!r}: expected whole numbers of at least 2")
    held = None if y is None else hold_out(y, validation, random_state)
    if held is not None and min(n_components) < len(np.unique(held.y[held.known])):
        raise ValueError(
            f"n_components={min(n_components)} is fewer than the {len(np.unique(held.y[held.known]))} classes"
        )
    choices = sorted({int(k) for k in n_components})
    ranges = {"cycle": cycle, "adversarial": adversarial}
    wanted: dict[str, Any] = {name: pair for name, pair in ranges.items() if pair is not None}

    def configured(parameters: dict[str, Any]) -> BaseMixture:
        found = clone(model).set_params(n_components=int(parameters["n_components"]))
        if wanted:
            from genmix.minmax import MinMaxStep

            step = {name: parameters[name] for name in wanted}
            found.set_params(step=replace(found.step or MinMaxStep(), **step))
        return found

    def score(trial: Any) -> float:
        parameters = {"n_components": trial.suggest_categorical("n_components", choices)}
        parameters |= {name: trial.suggest_float(name, *pair, log=True) for name, pair in wanted.items()}
        begun = time.perf_counter()
        candidate = configured(parameters)
        if held is None:
            value = _stability(candidate, X, random_state)
        else:
            value = held.accuracy(candidate.set_params(random_state=random_state).fit(X, held.y))
        trial.set_user_attr("seconds", time.perf_counter() - begun)
        if echo is not None:
            shown = ", ".join(f"{name}={found:.4g}" for name, found in parameters.items())
            echo(f"{shown}: {value:.4f} ({trial.user_attrs['seconds']:.0f} s)")
        return value

    if wanted:
        sampler: Any = optuna.samplers.TPESampler(seed=random_state)
    else:
        sampler = optuna.samplers.GridSampler({"n_components": choices}, random_state)
        n_trials = len(choices)
    with _quiet(optuna):
        search = optuna.create_study(
            study_name="genmix", direction="maximize", sampler=sampler, storage=_storage(optuna, study),
            load_if_exists=True,
        )  # fmt: skip
    missing = n_trials - sum(trial.state.is_finished() for trial in search.trials)
    if missing > 0:
        with _quiet(optuna):
            search.optimize(score, n_trials=missing, catch=(FloatingPointError,))
    trials = [
        Trial(
            dict(trial.params),
            float("nan") if trial.value is None else trial.value,
            trial.user_attrs.get("seconds", 0.0),
        )
        for trial in search.trials
        if trial.state.is_finished()
    ]
    judged_by = "adjusted Rand index between two seeds"
    if held is not None:
        judged_by = f"accuracy on {len(held.hidden)} labels held out"
    return Tuning(configured(search.best_params), trials, judged_by)


@dataclass(frozen=True)
class HeldOut:
    """Labels of which some are hidden.

    Parameters
    ----------
    y : ndarray of int [N]
        -1 where unknown or hidden.
    hidden : ndarray of int [M]
        Items whose labels are hidden.
    truth : ndarray of int [M]
        Their labels.
    """

    y: np.ndarray
    hidden: np.ndarray
    truth: np.ndarray

    @property
    def known(self) -> np.ndarray:
        """Items whose labels are shown."""
        return np.flatnonzero(self.y != -1)

    def accuracy(self, model: Any) -> float:
        """Share of the hidden labels that a fitted mixture finds; its component k stands for class k."""
        component = model.labels_[self.hidden]
        named = np.append(model.classes_, np.full(model.n_components - len(model.classes_), -1))
        return float((named[component] == self.truth).mean())


def hold_out(y: Any, share: float, seed: int) -> HeldOut:
    """Hide a share of the labels, of each class alike.

    Raises
    ------
    ValueError
        A share outside (0, 1), or a class of fewer than two labels.
    """
    from sklearn.model_selection import train_test_split

    y = np.array(y)
    if y.ndim != 1 or y.dtype.kind not in "iu":
        raise ValueError(f"y has shape {y.shape} and dtype {y.dtype}; expected a whole number for each item")
    if not 0 < share < 1:
        raise ValueError(f"validation={share!r}: expected a share above 0 and below 1")
    known = np.flatnonzero(y != -1)
    classes, counts = np.unique(y[known], return_counts=True)
    if not len(classes) or counts.min() < 2:
        raise ValueError("a part of the labels is held out: every class needs at least two of them")
    hidden_count = min(max(round(share * len(known)), len(classes)), len(known) - len(classes))
    _, hidden = train_test_split(known, test_size=hidden_count, stratify=y[known], random_state=seed)
    truth = y[hidden].copy()
    y[hidden] = -1
    return HeldOut(y, hidden, truth)


def _stability(model: Any, X: Any, seed: int) -> float:
    from sklearn.base import clone
    from sklearn.metrics import adjusted_rand_score

    first, second = (
        clone(model).set_params(random_state=number).fit(X).labels_ for number in (seed, seed + 1)
    )
    return float(adjusted_rand_score(first, second))


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise ImportError('tuning needs Optuna: pip install "genmix[tune]" or pip install optuna') from error
    return optuna


@contextmanager
def _quiet(optuna: Any) -> Iterator[None]:
    """No line of Optuna's own for each trial."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(verbosity)


def _storage(optuna: Any, study: str | Path | None) -> Any:
    if study is None:
        return None
    backend = optuna.storages.journal.JournalFileBackend(str(study))
    return optuna.storages.JournalStorage(backend)


__all__ = ["HeldOut", "Trial", "Tuning", "hold_out", "tune"]
