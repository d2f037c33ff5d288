"""Choice of a mixture's settings: by labels held out, or without labels by stability over seeds.

Pande & Awate 2020 (section IV) choose K, lambda_1 and lambda_2 on a labelled validation part.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.metrics import adjusted_rand_score
from sklearn.model_selection import train_test_split

from genmix.base.estimator import BaseMixture, fingerprint
from genmix.base.files import check_writable
from genmix.base.validation import is_whole, one_line, short_repr
from genmix.dnnmm.model import DNNMixture

_LONGEST_LINE = 2**20
#: Bytes of a study's name: Optuna writes NAME.lock beside it, and then 43 bytes more.
_LONGEST_NAME = 255 - 5 - 43


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
        Ranges (> 0) of `MinMaxStep.cycle_weight` and `MinMaxStep.adversarial_weight`, searched on a
        logarithmic scale.
    validation : float
        Share of the labels held out, in (0, 1).
    random_state : int
        Seed of the split, the search and the fits.
    study : path-like, optional
        File in which finished trials are kept: the same call goes on where an earlier one was stopped. Calls
        with other data, labels or settings keep their trials apart in it.
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
        Nothing to choose from, fewer components than classes, too few labels to hold some out, a study that
        is a file of something else, or training that diverged in every trial.
    """
    try:
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend
    except ImportError as error:
        raise ImportError('tuning needs Optuna: pip install "genmix[tune]" or pip install optuna') from error
    learns_labels = isinstance(model, DNNMixture)
    if y is not None and not learns_labels:
        raise ValueError(f"{type(model).__name__} learns without labels: leave out y, or tune a DNNMixture")
    if (cycle or adversarial) and not (learns_labels and model.generate):
        raise ValueError("cycle and adversarial are settings of a DNNMixture with generate=True")
    choices = sorted(set(n_components)) if isinstance(n_components, Iterable) else []
    if not choices or not all(is_whole(k) and k >= 2 for k in choices):
        raise ValueError(
            f"n_components={short_repr(n_components)}: expected whole numbers of at least 2, a list"
        )
    if n_trials < 1:
        raise ValueError(f"n_trials={n_trials!r}: expected at least 1")
    if study is not None:
        check_writable(Path(study))
        whole = _check_study(Path(study))
        if whole is not None:  # a kill cut the last line short: Optuna would glue the next one to it
            os.truncate(study, whole)
    held = None if y is None else hold_out(y, validation, random_state)
    if held is not None and choices[0] < len(np.unique(held.truth)):
        raise ValueError(f"n_components={choices[0]} is fewer than the {len(np.unique(held.truth))} classes")
    ranges: dict[str, Any] = {"cycle": cycle, "adversarial": adversarial}
    ranges = {name: limits for name, limits in ranges.items() if limits is not None}

    def configured(parameters: dict[str, Any]) -> BaseMixture:
        weights = {f"m_step__{name}_weight": parameters[name] for name in ranges}
        return clone(model).set_params(n_components=int(parameters["n_components"]), **weights)

    def score(trial: Any) -> float:
        parameters = {"n_components": trial.suggest_categorical("n_components", choices)}
        parameters |= {name: trial.suggest_float(name, *limits, log=True) for name, limits in ranges.items()}
        start = time.perf_counter()
        candidate = configured(parameters)
        try:
            if held is None:
                value = _stability(candidate, X, random_state)
            else:
                value = held.accuracy(candidate.set_params(random_state=random_state).fit(X, held.y))
        except FloatingPointError:
            value = float("nan")  # which Optuna files as failed
        seconds = time.perf_counter() - start
        trial.set_user_attr("seconds", seconds)
        if echo is not None:
            words = ", ".join(f"{name}={number:.4g}" for name, number in parameters.items())
            echo(f"{words}: {value:.4f} ({seconds:.0f} s)")
        return value

    settings = [model, choices, ranges, validation, random_state, None if held is None else held.y.tolist()]
    data = fingerprint(clone(model).set_params(n_components=choices[0])._validated(X, reset=True))
    with _quiet(optuna):
        try:
            search = optuna.create_study(
                study_name=hashlib.sha256(f"{data}{settings!r}".encode()).hexdigest(),
                direction="maximize",
                sampler=optuna.samplers.TPESampler(seed=random_state),
                storage=None if study is None else JournalStorage(JournalFileBackend(os.path.abspath(study))),
                load_if_exists=True,
            )
        except Exception as error:  # whatever lines of another make may raise
            if study is None:
                raise
            reason = one_line(f"{type(error).__name__}: {error}", 120)
            text = f"{study} is a damaged study of genmix tune ({reason})"
            raise ValueError(f"{text}: choose a new file, or delete that one") from error
        if ranges:
            search.optimize(score, n_trials=max(n_trials - len(_finished(search)), 0))
        else:  # every K once
            while missing := set(choices) - {trial.parameters["n_components"] for trial in _finished(search)}:
                search.enqueue_trial({"n_components": min(missing)})
                search.optimize(score, n_trials=1)
    trials = _finished(search)
    if all(np.isnan(trial.score) for trial in trials):
        raise ValueError("training diverged in every trial: lower the learning rates")
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
        classes = np.append(model.classes_, np.full(model.n_components - len(model.classes_), -1))
        return float((classes[model.labels_[self.hidden]] == self.truth).mean())


def hold_out(y: Any, share: float, seed: int) -> HeldOut:
    """Hide a share of the labels, of each class alike.

    Raises
    ------
    ValueError
        A share outside (0, 1), or a class of fewer than two labels.
    """
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


def _check_study(path: Path) -> int | None:
    """Refuse a file that Optuna would write into though it is no journal of its own.

    Returns the bytes of its whole lines where the last one was cut short.
    """
    if (size := len(os.fsencode(path.name))) > _LONGEST_NAME:
        raise ValueError(f"the name of the study has {size} bytes: expected at most {_LONGEST_NAME}")
    if not path.exists():
        return None
    refusal = f"{path} is no study of genmix tune: choose a new file, or delete that one"
    if not path.is_file():
        raise ValueError(refusal)
    number = 0
    with path.open("rb") as file:
        while line := file.readline(_LONGEST_LINE):
            try:
                code = json.loads(line)["op_code"]
            except (ValueError, RecursionError, TypeError, LookupError) as error:
                if number and not line.endswith(b"\n") and len(line) < _LONGEST_LINE:
                    return file.tell() - len(line)
                raise ValueError(refusal) from error
            if not is_whole(code) or (code != 0 and not number):  # a journal begins with its study
                raise ValueError(refusal)
            number += 1
    return None


def _finished(search: Any) -> list[Trial]:
    """Trials that came to an end, a divergence included, but not those that were interrupted."""
    return [
        Trial(dict(trial.params), float("nan") if trial.value is None else trial.value, seconds)
        for trial in search.trials
        if trial.state.is_finished()
        and isinstance(seconds := trial.user_attrs.get("seconds"), float)
        and "n_components" in trial.params
    ]


def _stability(model: Any, X: Any, seed: int) -> float:
    first, second = (clone(model).set_params(random_state=s).fit(X).labels_ for s in (seed, seed + 1))
    return float(adjusted_rand_score(first, second))


@contextmanager
def _quiet(optuna: Any) -> Iterator[None]:
    """No line of Optuna's own for each trial."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(verbosity)


__all__ = ["HeldOut", "Trial", "Tuning", "hold_out", "tune"]
