"""Many models on one's own data, each in a process of its own: scores, seconds, memory.

A run is a model with its settings, a seed, the data and the labels shown. Finished runs are kept in a file
and not done again, so that a comparison goes on where it was stopped.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.utils import check_array

from genmix.base import persistence
from genmix.base import registry as models
from genmix.base.encoding import decode, encode
from genmix.base.estimator import fingerprint
from genmix.base.preprocessing import as_array
from genmix.base.validation import PositiveFloat, Seed, check_arguments, check_values
from genmix.evaluation import metrics
from genmix.evaluation.tuning import HeldOut, hold_out


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
    key : str
        Model, settings, seed, data and labels as a hash.
    """

    model: str
    seed: int
    learned: str
    seconds: float
    megabytes: float | None
    clusters: int
    scores: dict[str, float] = field(default_factory=dict)
    error: str = ""
    key: str = ""


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
        rows = [_summary(name, [r for r in self.runs if r.model == name]) for name in _unique(self.runs)]
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
        named twice, or nothing to do.
    """
    X = check_array(as_array(X), allow_nd=True, ensure_2d=False, input_name="X")
    folder = Path(out)
    chosen = list(names) if names is not None else [n for n in models.NAMED if y is not None or _free(n)]
    settings = settings or {}
    check_values({"limit": limit}, {"limit": PositiveFloat | None})
    _check(chosen, seeds, settings, None if y is None else np.asarray(y), len(X), n_components, shown)
    held = None if y is None else hold_out(y, 1 - shown, 0)
    folder.mkdir(parents=True, exist_ok=True)
    finished, labels = _finished(folder), "" if held is None else str(held.y.tolist())
    data = hashlib.sha256(f"{fingerprint(X)}{labels}{n_components}".encode()).hexdigest()
    runs = []
    with tempfile.TemporaryDirectory(dir=folder, prefix=".data-") as place:
        _write_data(Path(place), X, held)
        for seed in seeds:
            for name in chosen:
                own = dict(settings.get(name, {}))
                key = hashlib.sha256(f"{data}{name}{seed}{sorted(own.items())!r}".encode()).hexdigest()
                run, target = finished.get(key), _model_folder(folder, name, seed, key)
                if run is None or run.error or not target.is_dir():
                    job = {"model": name, "components": n_components, "seed": seed}
                    job |= {"settings": encode(own), "columns": feature_names and list(feature_names)}
                    run = _judge(_fit(job, Path(place), target, limit), job, key, target, held)
                    _append(folder, run)
                    if echo is not None:
                        echo(_line(run))
                runs.append(run)
    return _compared(runs, folder, held)


def _check(
    chosen: Sequence[str],
    seeds: Sequence[int],
    settings: Mapping[str, Mapping[str, Any]],
    y: np.ndarray | None,
    n: int,
    n_components: int,
    shown: float,
) -> None:
    if not chosen or not seeds:
        raise ValueError("nothing to compare: give at least one model and one seed")
    for given in (chosen, seeds):
        if twice := [one for one in given if list(given).count(one) > 1]:
            raise ValueError(f"{twice[0]!r} is there twice: give each model and each seed once")
    for seed in seeds:
        check_values({"seed": seed}, {"seed": Seed})
    if absent := sorted(set(settings) - set(chosen)):
        raise ValueError(f"settings of {absent[0]!r}, which is not compared: {', '.join(chosen)} are")
    for name in chosen:
        kind, own = models.find_class(name), dict(settings.get(name, {}))
        decode(encode(own), kind._settings)  # each fit is a process of its own: it has to read them
        check_arguments(models.build(name, n_components, None, own))
        if y is None and not _free(name):
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


def _free(name: str) -> bool:
    return models.NAMED[name].labels != "needed"


def _write_data(place: Path, X: np.ndarray, held: HeldOut | None) -> None:
    np.save(place / "X.npy", X, allow_pickle=False)
    if held is not None:
        np.save(place / "y.npy", held.y, allow_pickle=False)


def _fit(job: dict[str, Any], place: Path, target: Path, limit: float | None) -> dict[str, Any]:
    """Fit in a child process, whose memory is its own and whose failure is not ours."""
    asked, answer = place / "job.json", place / "answer.json"
    answer.unlink(missing_ok=True)
    asked.write_text(json.dumps({**job, "data": str(place), "target": str(target), "answer": str(answer)}))
    command = [
        sys.executable,
        "-P",
        "-m",
        "genmix.evaluation.compare",
        str(asked),
    ]  # -P: no modules from where we are
    try:
        child = subprocess.run(command, capture_output=True, text=True, timeout=limit, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        return {"error": f"took longer than {limit:g} s", "seconds": float(limit or 0), "megabytes": None}
    if answer.exists():
        return dict(json.loads(answer.read_text()))
    words = (child.stderr or "").strip().splitlines() or [f"the process ended with {child.returncode}"]
    return {"error": words[-1], "seconds": 0.0, "megabytes": None}


def _run_job(path: str) -> None:
    """Do what the child process is there for."""
    job = json.loads(Path(path).read_text())
    place, answer = Path(job["data"]), Path(job["answer"])
    X = np.load(place / "X.npy", allow_pickle=False)
    y = np.load(place / "y.npy", allow_pickle=False) if (place / "y.npy").exists() else None
    own = decode(job["settings"], models.find_class(job["model"])._settings)
    given = {"random_state": job["seed"], **own}
    begun, error = time.perf_counter(), ""
    try:
        model = models.build(job["model"], job["components"], None, given)
        model.fit(X, y) if models.NAMED[job["model"]].labels != "none" else model.fit(X)
    except (ValueError, FloatingPointError, MemoryError) as problem:
        error = f"{type(problem).__name__}: {problem}"
    seconds = time.perf_counter() - begun
    if not error:
        if job["columns"]:
            model.feature_names_in_ = np.array(job["columns"], dtype=object)
        persistence.save(model, job["target"])
    answer.write_text(json.dumps({"error": error, "seconds": seconds, "megabytes": _peak_megabytes()}))


def _peak_megabytes() -> float | None:
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def _judge(answer: dict[str, Any], job: dict[str, Any], key: str, target: Path, held: HeldOut | None) -> Run:
    learned = "ignored" if held is None or models.NAMED[job["model"]].labels == "none" else "used"
    run = Run(
        job["model"], job["seed"], learned, round(answer["seconds"], 2), answer["megabytes"], 0,
        error=answer["error"], key=key,
    )  # fmt: skip
    if run.error:
        return run
    found = persistence.load(target).labels_
    scores = {} if held is None else metrics.scores(held.truth, found[held.hidden])
    return replace(run, clusters=len(np.unique(found)), scores=scores)


def _compared(runs: list[Run], folder: Path, held: HeldOut | None) -> Comparison:
    first: dict[str, Any] = {}
    for run in runs:
        if not run.error and run.model not in first:
            where = _model_folder(folder, run.model, run.seed, run.key)
            first[run.model] = persistence.load(where).labels_
    agreement = np.array(
        [[metrics.scores(a, b)["ari"] for b in first.values()] for a in first.values()], dtype=float
    ).reshape(len(first), len(first))
    n_scored, n_shown = (0, 0) if held is None else (len(held.hidden), len(held.known))
    return Comparison(runs, agreement, list(first), n_scored, n_shown)


def _model_folder(folder: Path, name: str, seed: int, key: str) -> Path:
    return folder / "models" / f"{name}-seed-{seed}-{key[:8]}"


def _finished(folder: Path) -> dict[str, Run]:
    path = folder / "runs.jsonl"
    if not path.exists():
        return {}
    found = {}
    for line in path.read_text().splitlines():
        try:
            run = Run(**json.loads(line))
        except (json.JSONDecodeError, TypeError):
            continue  # a line that was cut short, or of another version: the run is done again
        found[run.key] = run
    return found


def _append(folder: Path, run: Run) -> None:
    with (folder / "runs.jsonl").open("a") as file:
        file.write(json.dumps(asdict(run)) + "\n")
        file.flush()
        os.fsync(file.fileno())


def _line(run: Run) -> str:
    if run.error:
        return f"{run.model}, seed {run.seed}: failed, {run.error}"
    scores = "".join(f", {name} {run.scores[name]:.3f}" for name in ("accuracy", "ari") if name in run.scores)
    memory = "" if run.megabytes is None else f", {run.megabytes:.0f} MB"
    return f"{run.model}, seed {run.seed}: {run.clusters} clusters{scores}, {run.seconds:.1f} s{memory}"


def _unique(runs: Sequence[Run]) -> list[str]:
    return list(dict.fromkeys(run.model for run in runs))


def _summary(name: str, runs: Sequence[Run]) -> dict[str, Any]:
    fine = [run for run in runs if not run.error]
    row: dict[str, Any] = {"model": name, "labels": runs[0].learned, "seeds": len(fine)}
    for score in fine[0].scores if fine else ():
        values = [run.scores[score] for run in fine]
        row |= {score: float(np.mean(values)), f"{score}_sd": float(np.std(values, ddof=len(values) > 1))}
    memory = [run.megabytes for run in fine if run.megabytes is not None]
    row["clusters"] = float(np.mean([run.clusters for run in fine])) if fine else None
    row["seconds"] = float(np.mean([run.seconds for run in fine])) if fine else None
    row["megabytes"] = float(np.mean(memory)) if memory else None
    row["error"] = next((run.error for run in runs if run.error), "")
    return row


if __name__ == "__main__":
    _run_job(sys.argv[1])
