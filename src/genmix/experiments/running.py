"""Doing the runs of an experiment that are missing, those missed most first."""

from __future__ import annotations

import hashlib
import platform
import re
import shutil
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.pipeline import Pipeline

import genmix
from genmix.base.registry import keeps_checkpoints
from genmix.baselines.coders import Coder
from genmix.evaluation import metrics
from genmix.experiments import shown
from genmix.experiments.methods import METHODS, Setting, make_tiny
from genmix.experiments.runs import Record, Runs, mean_seconds
from genmix.experiments.tasks import CPU, TASKS, Case, Compute, Draw, Size, autoencoder_folder, hide

#: Parameters by which a model is not another one; records say seed, device and precision.
_NO_SETTING = ("random_state", "device", "precision", "verbose", "warm_start")


@dataclass(frozen=True)
class Experiment:
    """A method on a task, with a share of the labels.

    Parameters
    ----------
    task, method : str
        Names in `TASKS` and `METHODS`.
    alpha : float
        Share of the labels that the model is given.
    needs : tuple of str
        What is shown of a fit besides its scores: "confusion", or names in `shown.MAKERS`.
    """

    task: str
    method: str
    alpha: float = 0.0
    needs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse unknown names."""
        for name, known in ((self.task, TASKS), (self.method, METHODS)):
            if name not in known:
                raise ValueError(f"{name!r} is unknown; expected one of {', '.join(known)}")
        if not 0 <= self.alpha <= 1:
            raise ValueError(f"alpha={self.alpha!r}: expected a share of the labels, 0 to 1")

    @classmethod
    def parse(cls, text: str) -> Experiment:
        """Read TASK/METHOD or TASK/METHOD@ALPHA."""
        task, _, rest = text.partition("/")
        method, _, alpha = rest.partition("@")
        try:
            return cls(task, method, float(alpha or 0))
        except ValueError as error:
            raise ValueError(f"{text!r}: expected TASK/METHOD or TASK/METHOD@ALPHA; {error}") from error

    @property
    def name(self) -> str:
        """TASK/METHOD, and @ALPHA where labels are known."""
        return f"{self.task}/{self.method}" + (f"@{self.alpha:g}" if self.alpha else "")

    def make(self, seed: int, size: Size) -> Any:
        """Set up the unfitted model of one run."""
        task = TASKS[self.task]
        model = METHODS[self.method].make(Setting(task.n_components, seed, size, task.kind))
        return make_tiny(model) if size == "smoke" else model

    def settings(self, size: Size) -> str:
        """Short hash of every parameter of the model: a changed default is another run."""
        text = _described(self.make(0, size))
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def _described(model: Any) -> str:
    if isinstance(model, Pipeline):
        return repr([_described(step) for _, step in model.steps])
    given = model.get_params(deep=False).items()
    return f"{type(model).__name__}{sorted((n, repr(value)) for n, value in given if n not in _NO_SETTING)}"


@dataclass(frozen=True)
class Job:
    """One run that is missing."""

    experiment: Experiment
    seed: int
    finished: int
    seconds: float | None


def finished(experiment: Experiment, size: Size, runs: Runs) -> list[Record]:
    """Read the records of an experiment's runs that hold all that is shown of it."""
    settings = experiment.settings(size)
    return [
        record
        for record in runs.read(experiment.name, settings)
        if shown.has(record, runs.shown(experiment.name, settings, record["seed"]), experiment.needs)
    ]


def missing(wanted: Iterable[tuple[Experiment, int]], size: Size, runs: Runs) -> list[Job]:
    """List the runs that are not there, those of the experiments with the fewest finished first.

    Parameters
    ----------
    wanted : iterable of (Experiment, int)
        Experiments and seeds.
    size : {"smoke", "cpu", "full"}
        See `Setting`.
    runs : Runs
        What is finished.

    Returns
    -------
    list of Job
        With the mean seconds of the experiment's finished runs, where there are some.
    """
    seeds: dict[Experiment, list[int]] = {}
    for experiment, seed in wanted:
        seeds.setdefault(experiment, []).append(seed)
    jobs = []
    for experiment, asked in seeds.items():
        records = finished(experiment, size, runs)
        try:
            data = TASKS[experiment.task].fingerprint()
            records = [record for record in records if record["fingerprint"] == data]
        except (ValueError, OSError):
            pass  # data that cannot be read: the runs will say so, those of other data go on
        done = {record["seed"] for record in records}
        left = [seed for seed in asked if seed not in done]
        before, seconds = len(asked) - len(left), mean_seconds(records)
        jobs += [Job(experiment, seed, before + place, seconds) for place, seed in enumerate(left)]
    return sorted(jobs, key=lambda job: (job.finished, job.seconds or 0.0))


def run_missing(
    jobs: Sequence[Job],
    size: Size,
    runs: Runs,
    *,
    budget: float | None = None,
    compute: Compute = CPU,
    echo: Callable[[str], None] = lambda line: None,
) -> tuple[int, list[str]]:
    """Do runs in their order until the time is spent.

    Parameters
    ----------
    jobs : sequence of Job
        From `missing`.
    size : {"smoke", "cpu", "full"}
        See `Setting`.
    runs : Runs
        Where records go; each is written as soon as its run has ended.
    budget : float, optional
        Seconds. No run is begun that, judged by its like, would end later; the first one always is.
    compute : Compute
        Device and precision.
    echo : callable, optional
        Called with a line for each run.

    Returns
    -------
    int
        Runs done.
    list of str
        What failed, and why.
    """
    begun, done, failed = time.perf_counter(), 0, []
    for number, job in enumerate(jobs):
        spent = time.perf_counter() - begun
        if budget is not None and number and spent + (job.seconds or 0.0) > budget:
            continue
        try:
            record = run_one(job.experiment, job.seed, size, runs, compute)
        except (ValueError, FloatingPointError, MemoryError) as error:
            failed.append(f"{job.experiment.name}, seed {job.seed}: {error}")
            echo(f"{failed[-1]} (failed)")
            continue
        done += 1
        echo(f"{_line(record)}; {_time_left(jobs[number + 1 :], record['seconds'])}")
    return done, failed


def run_one(experiment: Experiment, seed: int, size: Size, runs: Runs, compute: Compute = CPU) -> Record:
    """Fit, score on what had no label, keep the record."""
    task, method = TASKS[experiment.task], METHODS[experiment.method]
    drawn = task.draw(Case(seed, runs.cache, size, compute))
    known = hide(drawn.y, experiment.alpha, seed) if method.learns_labels else None
    model, settings = compute.prepare(experiment.make(seed, size)), experiment.settings(size)
    kept, options = _checkpoint(model, drawn.X, experiment.name, settings, seed, runs, compute)
    begun = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # no convergence, dead components: the record says so
        model.fit(drawn.X, known, **options)
    last = model[-1] if isinstance(model, Pipeline) else model
    seconds = _seconds(model, time.perf_counter() - begun)
    record: Record = {
        "experiment": experiment.name, "data": experiment.task, "n": len(drawn.X),
        "method": experiment.method, "alpha": experiment.alpha, "seed": seed,
        "settings": settings, "fingerprint": task.fingerprint(),
    }  # fmt: skip
    record |= _scores(model, last, drawn, known)
    record |= {
        "seconds": round(seconds, 1), "device": compute.device, "processor": _processor(compute.device),
        "threads": torch.get_num_threads(),
        "precision": _precision(model, compute), "version": genmix.__version__, "torch": torch.__version__,
    }  # fmt: skip
    for name in ("n_iter", "weights", "selection_score", "dead_components"):
        if hasattr(last, f"{name}_"):
            record[name] = np.round(getattr(last, f"{name}_"), 5).tolist()
    if hasattr(last, "converged_"):
        record["converged"] = bool(last.converged_)
    if size != "smoke" and experiment.task.startswith("mnist") and method.title.startswith("genmix"):
        record |= _judged(last, drawn)
    shown.keep(runs.shown(experiment.name, settings, seed), experiment.needs, last, drawn)
    runs.append(record)
    if kept is not None:
        shutil.rmtree(kept, ignore_errors=True)
    return record


def _seconds(model: Any, elapsed: float) -> float:
    """Time of a fit: all parts of one that was stopped, and the autoencoder that another fit has trained."""
    steps = [step for _, step in model.steps] if isinstance(model, Pipeline) else [model]
    recorded = [step.history_[-1]["seconds"] for step in steps if getattr(step, "history_", None)]
    return elapsed if max(recorded, default=0.0) <= elapsed else elapsed * (len(steps) > 1) + sum(recorded)


def _checkpoint(
    model: Any, X: np.ndarray, name: str, settings: str, seed: int, runs: Runs, compute: Compute
) -> tuple[Path | None, dict[str, Path]]:
    """Folder of the fit's state, which its end makes needless, and what `fit` is given.

    An autoencoder is kept for all methods that begin with the same one.
    """
    first = model[0] if isinstance(model, Pipeline) else model
    if isinstance(first, Coder):
        folder = autoencoder_folder(runs.cache, first, X, compute)
        option = f"{model.steps[0][0]}__checkpoint" if isinstance(model, Pipeline) else "checkpoint"
        return None, {option: folder}
    if not keeps_checkpoints(model):
        return None, {}
    folder = runs.checkpoint(name, settings, seed, f"{compute.device}-{compute.precision}")
    return folder, {"checkpoint": folder}


def _processor(device: str) -> str:
    """Model of the processor that a fit ran on."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")  # Python's own answer is often empty on Linux
    found = re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(), re.M) if cpuinfo.exists() else None
    return found[1] if found else platform.processor() or platform.machine()


def _precision(model: Any, compute: Compute) -> str:
    """Arithmetic of the fit; of a pipeline, that of the step that can choose."""
    steps = [step for _, step in model.steps] if isinstance(model, Pipeline) else [model]
    chosen = any("precision" in step.get_params(deep=False) for step in steps)
    return compute.precision if chosen else "float32"


def _scores(model: Any, last: Any, drawn: Draw, known: np.ndarray | None) -> Record:
    """Scores of the items without a label, or of all; the confusion of classes and clusters."""
    y, labels = drawn.y, last.labels_
    if drawn.everything is not None:
        y, labels = drawn.everything[1], model.predict(drawn.everything[0])
    elif known is not None and (known == -1).any():
        y, labels = y[known == -1], labels[known == -1]
    scores = {name: round(value, 5) for name, value in metrics.scores(y, labels).items()}
    table = np.zeros((int(y.max()) + 1, int(labels.max()) + 1), dtype=int)
    np.add.at(table, (y, labels), 1)
    return {**scores, "confusion": table.tolist()}


def _judged(model: Any, drawn: Draw) -> Record:
    """How many generated images are of their component's digit; of codes there is no judge."""
    if drawn.X.ndim < 3 or not hasattr(model, "sample") or not getattr(model, "generate", True):
        return {}
    from genmix.experiments.judge import sample_consistency

    return {"sample_consistency": sample_consistency(model, drawn.y)}


def _line(record: Record) -> str:
    scores = ", ".join(f"{name} {record[name]:.3f}" for name in ("purity", "accuracy", "ari", "nmi"))
    return f"{record['experiment']}, seed {record['seed']}: {scores}, {record['seconds']:.0f} s"


def _time_left(jobs: Sequence[Job], last: float) -> str:
    if not jobs:
        return "all done"
    seconds = sum(last if job.seconds is None else job.seconds for job in jobs)
    return f"{len(jobs)} to go, about {seconds / 60:.0f} min"


__all__ = ["Experiment", "Job", "finished", "missing", "run_missing", "run_one"]
