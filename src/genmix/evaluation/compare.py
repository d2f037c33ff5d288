"""Many models on one's own data, each in a process of its own: scores, seconds, memory.

A run is a model with its settings, a seed, the data and the labels shown. Finished runs are kept in a file
and not done again, so that a comparison goes on where it was stopped.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.utils import check_array

from genmix.base import persistence
from genmix.base import registry as models
from genmix.base.encoding import decode, encode
from genmix.base.estimator import fingerprint
from genmix.base.files import alone_in, check_writable
from genmix.base.preprocessing import as_array
from genmix.base.validation import PositiveFloat, Seed, check_arguments, check_values
from genmix.evaluation import metrics
from genmix.evaluation.lines import append_line, read_lines
from genmix.evaluation.tuning import HeldOut, hold_out

_NUMBER = (int, float)
#: What every line of a finished run has.
_KINDS: dict[str, Any] = {
    "model": str, "seed": int, "learned": str, "key": str, "seconds": _NUMBER,
    "megabytes": (*_NUMBER, type(None)), "clusters": int, "scores": dict, "error": str,
}  # fmt: skip
#: Files of a run, in the folder that a comparison keeps while it goes on.
_DATA, _LABELS, _JOB, _OUTCOME = "X.npy", "y.npy", "job.json", "outcome.json"
_SCORES = {"purity", "accuracy", "ari", "nmi"}


@dataclass(frozen=True)
class Run:
    """One fit.

    Attributes
    ----------
    model : str
        Its name, see `registry.NAMED`.
    seed : int
        Its random state.
    learned : str
        Whether it "used" labels or "ignored" them.
    key : str
        Model, settings, seed, data and labels as a hash.
    seconds : float
        Time of the fit alone.
    megabytes : float or None
        Largest memory of the process, libraries and data included; None where the system does not tell.
    clusters : int
        Clusters that items were assigned to.
    scores : dict of str to float
        `metrics.scores` on items whose label was hidden from all models; empty without labels.
    error : str
        What went wrong; empty for a run that came to its end.
    """

    model: str
    seed: int
    learned: str
    key: str
    seconds: float = 0.0
    megabytes: float | None = None
    clusters: int = 0
    scores: dict[str, float] = field(default_factory=dict)
    error: str = ""

    @property
    def folder(self) -> Path:
        """Where the fitted model is, inside the folder of the comparison."""
        return Path("models", f"{self.model}-seed-{self.seed}-{self.key[:8]}")


@dataclass(frozen=True)
class Comparison:
    """All runs, and how much models agree.

    Attributes
    ----------
    runs : list of Run
        In the order asked for.
    agreement : ndarray [M, M]
        Adjusted Rand index between the first fits of the models that came to an end, in the order of `names`.
    names : list of str
        Those models.
    n_scored : int
        Items that the scores are of.
    n_shown : int
        Items whose label was shown to the models that learn from labels.
    """

    runs: list[Run]
    agreement: np.ndarray
    names: list[str]
    n_scored: int
    n_shown: int

    def table(self) -> list[dict[str, Any]]:
        """Summarise a model in a row: means and sample deviations over seeds, the best accuracy first."""
        names = dict.fromkeys(run.model for run in self.runs)
        rows = [_summary([run for run in self.runs if run.model == name]) for name in names]
        return sorted(rows, key=lambda row: (-row.get("accuracy", 0.0), row["seconds"] or 0.0))


def compare(
    X: Any,
    n_components: int,
    y: Any = None,
    *,
    out: str | os.PathLike[str],
    names: Sequence[str] | None = None,
    shown: float = 0.5,
    seeds: Sequence[int] = (0,),
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    limit: float | None = None,
    feature_names: Sequence[str] | None = None,
    echo: Callable[[str], None] | None = None,
) -> Comparison:
    """Fit many models on the same data.

    Parameters
    ----------
    X : array, frame or tensor [N, ...]
        The data.
    n_components : int
        K.
    y : array of int [N], optional
        Known classes, -1 where unknown. A part of them is shown to the models that learn from labels; all
        scores are of the others.
    out : path-like
        Folder for the fitted models and the runs that are finished; made where it is missing. The same call
        goes on where an earlier one was stopped, and tries again what failed.
    names : sequence of str, optional
        Models, see `registry.NAMED`. Default: all; without labels all that can do without.
    shown : float
        Share of the known labels that is shown, of each class alike (above 0 and below 1).
    seeds : sequence of int
        Each model is fitted with each of them.
    settings : mapping of str to mapping, optional
        Parameters of a model that differ from its defaults.
    limit : float, optional
        A fit that takes more seconds (above 0) is stopped and counted as failed.
    feature_names : sequence of str, optional
        Names of a table's columns, for the fitted models to remember.
    echo : callable, optional
        Called with a line for each run.

    Returns
    -------
    Comparison

    Raises
    ------
    ValueError
        Data or labels of the wrong kind or number, an unknown model or setting, a model that needs labels
        where there are none, too few labels to hide some, fewer components than classes, a model or seed
        named twice, nothing to do, or a folder that cannot be written.
    """
    X = check_array(as_array(X), allow_nd=True, ensure_2d=False, input_name="X")
    folder, settings = Path(out), settings or {}
    able = [name for name, model in models.NAMED.items() if y is not None or model.labels != "needed"]
    names = able if names is None else list(names)
    check_values({"limit": limit}, {"limit": PositiveFloat | None})
    _check(names, seeds, settings, None if y is None else np.asarray(y), len(X), n_components, shown)
    held = None if y is None else hold_out(y, 1 - shown, 0)
    check_writable(folder / "runs.jsonl")
    folder.mkdir(parents=True, exist_ok=True)
    finished, labels = _finished(folder), "" if held is None else str(held.y.tolist())
    data = hashlib.sha256(f"{fingerprint(X)}{labels}{n_components}".encode()).hexdigest()
    runs, first = [], dict[str, Run]()
    with _own_folder(folder) as temporary:
        np.save(temporary / _DATA, X, allow_pickle=False)
        if held is not None:
            np.save(temporary / _LABELS, held.y, allow_pickle=False)
        for seed, name in product(seeds, names):
            own = dict(settings.get(name, {}))
            key = hashlib.sha256(f"{data}{name}{seed}{sorted(own.items())!r}".encode()).hexdigest()
            run = finished.get(key)
            if run is None or not _is_done(run, name, seed, folder, scored=held is not None):
                learned = "ignored" if held is None or models.NAMED[name].labels == "none" else "used"
                run = Run(name, seed, learned, key)
                job = {"model": name, "components": n_components, "seed": seed}
                job |= {"settings": encode(own), "columns": feature_names and list(feature_names)}
                outcome = _fit(job, temporary, folder / run.folder, limit)
                run = _judged(replace(run, **outcome), folder, held)
                append_line(folder / "runs.jsonl", asdict(run))
                if echo is not None:
                    echo(_line(run))
            runs.append(run)
            if not run.error:
                first.setdefault(name, run)
    labelings = [persistence.load(folder / run.folder).labels_ for run in first.values()]
    agreement = np.array(
        [[metrics.adjusted_rand_index(one, other) for other in labelings] for one in labelings]
    ).reshape(len(first), len(first))
    n_scored, n_shown = (0, 0) if held is None else (len(held.hidden), len(held.known))
    return Comparison(runs, agreement, list(first), n_scored, n_shown)


def _check(
    names: Sequence[str],
    seeds: Sequence[int],
    settings: Mapping[str, Mapping[str, Any]],
    y: np.ndarray | None,
    n: int,
    n_components: int,
    shown: float,
) -> None:
    if not names or not seeds:
        raise ValueError("nothing to compare: give at least one model and one seed")
    for value, count in Counter([*names, *seeds]).items():
        if count > 1:
            raise ValueError(f"{value!r} is there twice: give each model and each seed once")
    for seed in seeds:
        check_values({"seed": seed}, {"seed": Seed})
    if absent := sorted(set(settings) - set(names)):
        raise ValueError(f"settings of {absent[0]!r}, which is not compared: {', '.join(names)} are")
    for name in names:
        kind, own = models.find_class(name), dict(settings.get(name, {}))
        decode(encode(own), kind._settings)  # each fit is a process of its own: it has to read them
        check_arguments(models.build(name, n_components, None, own))
        if y is None and models.NAMED[name].labels == "needed":
            raise ValueError(f"{name} learns from labels: give labels for some items, or leave it out")
    if y is None:
        return
    if y.shape != (n,):
        raise ValueError(f"y has shape {y.shape}; expected ({n},): one label for each item, -1 if unknown")
    if not 0 < shown < 1:
        raise ValueError(f"shown={shown!r}: expected a share of the labels above 0 and below 1")
    classes = np.setdiff1d(y, [-1])
    if len(classes) > n_components:
        raise ValueError(f"n_components={n_components} is fewer than the {len(classes)} classes")


@contextmanager
def _own_folder(folder: Path) -> Iterator[Path]:
    """Make a folder for the data, others' leave alone; what comparisons left that were killed is deleted."""
    with ExitStack() as stack:
        with alone_in(folder):
            _remove_left(folder)
            name = stack.enter_context(tempfile.TemporaryDirectory(dir=folder, prefix=".data-"))
            stack.enter_context(alone_in(Path(name)))
        yield Path(name)


def _remove_left(folder: Path) -> None:
    """Delete data and half models of nobody who is at work; where locks do not work, they stay."""
    for path in folder.glob(".data-*"):
        with suppress(OSError):
            ours = not path.is_symlink() and set(os.listdir(path)) <= {_DATA, _LABELS, _JOB, _OUTCOME}
            with alone_in(path, wait=False) as held:
                if ours and held:
                    shutil.rmtree(path, ignore_errors=True)
    for path in (folder / "models").glob("*-seed-*"):
        persistence.remove_half(path)


def _fit(job: dict[str, Any], data: Path, target: Path, limit: float | None) -> dict[str, Any]:
    """Fit in a child process, whose memory is its own and whose failure is not ours."""
    job_file, outcome_file = data / _JOB, data / _OUTCOME
    outcome_file.unlink(missing_ok=True)
    paths = {"data": str(data), "target": str(target), "outcome": str(outcome_file)}
    job_file.write_text(json.dumps(job | paths))
    command = [
        sys.executable,
        "-P",
        "-m",
        "genmix.evaluation.compare",
        str(job_file),
    ]  # -P: no modules of cwd
    theirs, ours = os.pipe()  # theirs ends when this process does, whatever ends it
    try:
        child = subprocess.run(  # noqa: S603
            command, stdin=theirs, capture_output=True, text=True, timeout=limit, check=False
        )
    except subprocess.TimeoutExpired:
        return {"error": f"took longer than {limit:g} s", "seconds": float(limit or 0)}
    finally:
        os.close(theirs)
        os.close(ours)
    if outcome_file.exists():
        return dict(json.loads(outcome_file.read_text()))
    words = (child.stderr or "").strip().splitlines() or [f"the process ended with {child.returncode}"]
    return {"error": words[-1]}


def _run_job(path: str) -> None:
    """Do what the child process is there for."""
    job = json.loads(Path(path).read_text())
    X, labels = np.load(Path(job["data"], _DATA), allow_pickle=False), Path(job["data"], _LABELS)
    learns = labels.exists() and models.NAMED[job["model"]].labels != "none"
    y = np.load(labels, allow_pickle=False) if learns else None
    own = decode(job["settings"], models.find_class(job["model"])._settings)
    start, error = time.perf_counter(), ""
    try:
        model = models.build(job["model"], job["components"], None, {"random_state": job["seed"], **own})
        model.fit(X, y)
    except (ValueError, FloatingPointError, MemoryError) as problem:
        error = f"{type(problem).__name__}: {problem}"
    seconds = round(time.perf_counter() - start, 2)
    if not error:
        if job["columns"]:
            model.feature_names_in_ = np.array(job["columns"], dtype=object)
        persistence.save(model, job["target"])
    outcome = {"error": error, "seconds": seconds, "megabytes": _peak_megabytes()}
    Path(job["outcome"]).write_text(json.dumps(outcome))


def _peak_megabytes() -> float | None:
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def _judged(run: Run, folder: Path, held: HeldOut | None) -> Run:
    """Add what the fitted model found, if there is one."""
    if run.error:
        return run
    labels = persistence.load(folder / run.folder).labels_
    scores = {} if held is None else metrics.scores(held.truth, labels[held.hidden])
    return replace(run, clusters=len(np.unique(labels)), scores=scores)


def _finished(folder: Path) -> dict[str, Run]:
    """Read runs, by their keys; one whose line was cut short, or is of another shape, is done again."""
    found: dict[str, Run] = {}
    for record in read_lines(folder / "runs.jsonl", _KINDS):
        if set(record) == set(_KINDS) and all(isinstance(v, _NUMBER) for v in record["scores"].values()):
            found[record["key"]] = Run(**record)
    return found


def _is_done(run: Run, name: str, seed: int, folder: Path, *, scored: bool) -> bool:
    alike = (run.model, run.seed, set(run.scores)) == (name, seed, _SCORES if scored else set())
    return alike and not run.error and (folder / run.folder).is_dir()


def _line(run: Run) -> str:
    if run.error:
        return f"{run.model}, seed {run.seed}: failed, {run.error}"
    scores = "".join(f", {name} {run.scores[name]:.3f}" for name in ("accuracy", "ari") if name in run.scores)
    memory = "" if run.megabytes is None else f", {run.megabytes:.0f} MB"
    return f"{run.model}, seed {run.seed}: {run.clusters} clusters{scores}, {run.seconds:.1f} s{memory}"


def _summary(runs: Sequence[Run]) -> dict[str, Any]:
    """Make one row of all runs of a model."""
    complete = [run for run in runs if not run.error]
    row: dict[str, Any] = {"model": runs[0].model, "labels": runs[0].learned, "seeds": len(complete)}
    for score in complete[0].scores if complete else ():
        values = [run.scores[score] for run in complete]
        row |= {score: float(np.mean(values)), f"{score}_sd": float(np.std(values, ddof=len(values) > 1))}
    for name in ("clusters", "seconds", "megabytes"):
        known = [value for run in complete if (value := getattr(run, name)) is not None]
        row[name] = float(np.mean(known)) if known else None
    return row | {"error": next((run.error for run in runs if run.error), "")}


def _end_with_parent() -> None:
    """Wait until the process is gone that would read the outcome."""
    os.read(sys.stdin.fileno(), 1)
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _run_job(sys.argv[1])
