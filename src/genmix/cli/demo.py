"""The demonstration: two real data sets, several ways to cluster them, one page to look at."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from genmix.report.page import Columns, Section, Table

if TYPE_CHECKING:
    from genmix.datasets import Dataset

_MEASURES = {"purity": "purity", "accuracy": "accuracy", "ari": "ARI", "nmi": "NMI"}
_COVARIANCES = ("full", "tied", "diag", "spherical")


@dataclass(frozen=True)
class Result:
    """How one method did on one data set.

    Parameters
    ----------
    method : str
        Name for the table.
    scores : dict of str to float
        purity, accuracy, ari, nmi.
    seconds : float
        Wall-clock time of the fit.
    uses_labels : bool
        True if labels had a say in the result, so that it is no rival.
    """

    method: str
    scores: dict[str, float]
    seconds: float
    uses_labels: bool = False


@dataclass(frozen=True)
class _Task:
    name: str
    title: str
    lead: str
    label_share: float = 0.0  # of the labels that a second model is given


_TASKS = (
    _Task(
        "digits",
        "Handwritten digits",
        "Small scans of the digits 0 to 9. The model looked at the pixels only; which digit is which "
        "it was never told.",
        label_share=0.1,
    ),
    _Task(
        "image-segmentation",
        "Image segmentation",
        "Patches of outdoor photographs: brick, sky, foliage, cement, window, path or grass. The "
        "model saw 19 "
        "numbers on the place, colours and edges of each patch.",
    ),
)


def run_demo(
    out: str | os.PathLike[str] = "genmix-demo",
    seed: int = 0,
    echo: Callable[[str], object] = print,
    make_model: Callable[[int, int], Any] | None = None,
    make_deep: Callable[[int, int], Any] | None = None,
) -> Path:
    """Cluster two embedded data sets with classical and with deep mixtures; write a report.

    Parameters
    ----------
    out : path-like, default="genmix-demo"
        Folder for ``report.html``; made if it is not there.
    seed : int, default=0
        Seed of every method.
    echo : callable, default=print
        Called with each line of progress and with the table at the end.
    make_model : callable (n_components, seed) -> estimator, optional
        Makes the mixture of GANs. Default: ``GANMixture(n_components, random_state=seed)``.
    make_deep : callable (n_components, seed) -> estimator, optional
        Makes the model that labels are given to. Default: ``DNNMixture(n_components, random_state=seed)``, 10
        iterations.

    Returns
    -------
    Path
        The report.

    Raises
    ------
    OSError
        If the report cannot be written.
    """
    from genmix import datasets, report

    make_model, make_deep = make_model or _gan_mixture, make_deep or _deep_mixture
    results: dict[str, list[Result]] = {}
    sections = []
    for task in _TASKS:
        data = datasets.load(task.name)
        echo(f"{task.title}: {len(data.X):,} items, {_n_classes(data)} clusters")
        results[task.title], model = _compare(data, seed, make_model, echo)
        echo("  drawing the report ...")
        sections.append(
            report.model_section(
                model,
                data.X,
                y=data.y,
                title=task.title,
                lead=task.lead,
                class_names=data.class_names,
                feature_names=data.feature_names,
                seconds=results[task.title][-1].seconds,
                max_map_points=1000,
            )
        )
        if task.label_share:
            sections.append(_labelled_section(task, data, seed, make_deep, results[task.title], echo))
    echo("")
    echo(text_table(results))
    path = report.write_page(
        Path(out) / "report.html",
        "What deep mixtures find",
        [_comparison_section(results, seed), *sections],
        subtitle="Each cluster is learned by a small generative network that competes for the data. "
        "Two real data sets, "
        "clustered without labels, and once with a few.",
    )
    echo(f"\nReport: {path}")
    return path


def _gan_mixture(n_components: int, seed: int) -> Any:
    from genmix.ganmm.model import GANMixture

    return GANMixture(n_components, random_state=seed)


def _deep_mixture(n_components: int, seed: int) -> Any:
    from genmix.dnnmm.model import DNNMixture

    # Half of the usual iterations: three minutes for the whole demonstration.
    return DNNMixture(n_components, max_iter=10, tol=None, random_state=seed)


def _labelled_section(
    task: _Task,
    data: Dataset,
    seed: int,
    make_deep: Callable[[int, int], Any],
    results: list[Result],
    echo: Callable[[str], object],
) -> Section:
    """Fit the second model with labels for a part of the items, and add it to `results`."""
    from genmix import report
    from genmix.evaluation import metrics

    y, k = np.asarray(data.y), _n_classes(data)
    known = np.full(len(y), -1)
    shown = np.random.RandomState(seed).permutation(len(y))[: round(task.label_share * len(y))]
    known[shown] = y[shown]
    share = f"{task.label_share:.0%}".replace("%", " %")
    echo(f"  deep mixture, {share} of the labels ...")
    start = time.perf_counter()
    model = make_deep(k, seed).fit(data.X, known)
    seconds = time.perf_counter() - start
    others = known == -1
    scores = metrics.scores(y[others], np.asarray(model.labels_)[others])
    name = f"{type(model).__name__}, {share} of the labels"
    results.append(Result(name, scores, seconds, uses_labels=True))
    echo("  drawing the report ...")
    return report.model_section(
        model,
        data.X,
        y=data.y,
        title=f"{task.title}, {share} of the labels known",
        lead=f"The same items, but {len(shown)} of the {len(y):,} came with the name of their class. One "
        "network generates all components here; the table above scores the items without a label.",
        class_names=data.class_names,
        seconds=seconds,
        max_map_points=1000,
    )


def _n_classes(data: Dataset) -> int:
    return len(np.unique(np.asarray(data.y)))


def _compare(
    data: Dataset, seed: int, make_model: Callable[[int, int], Any], echo: Callable[[str], object]
) -> tuple[list[Result], Any]:
    """Fit the three methods; also return the fitted mixture of GANs."""
    from genmix.evaluation import metrics

    y, k = np.asarray(data.y), _n_classes(data)
    scaled = plain_input(data.X)
    echo("  k-means and Gaussian mixtures ...")
    results = [_k_means(scaled, y, k, seed), *_gaussian(scaled, y, k, seed, is_image=data.X.ndim > 2)]
    echo("  mixture of GANs ...")
    start = time.perf_counter()
    model = make_model(k, seed).fit(data.X)
    seconds = time.perf_counter() - start
    results.append(Result(type(model).__name__, metrics.scores(y, model.predict(data.X)), seconds))
    return results, model


def plain_input(X: NDArray) -> NDArray[np.float64]:
    """Return what k-means and GMM get: flattened images, or a table scaled as in GANMM's code.

    The scaling is ``(x - mean) / max|x - mean|`` of each column (Yu & Zhou 2018, official code).
    """
    flat = np.asarray(X, dtype=np.float64).reshape(len(X), -1)
    if np.ndim(X) > 2:
        return flat
    centred = flat - flat.mean(0)
    largest = np.abs(centred).max(0)
    return centred / np.where(largest > 0, largest, 1.0)


def _k_means(X: NDArray, y: NDArray, k: int, seed: int) -> Result:
    from sklearn.cluster import KMeans

    from genmix.evaluation import metrics

    start = time.perf_counter()
    labels = KMeans(k, n_init=10, random_state=seed).fit_predict(X)
    seconds = time.perf_counter() - start
    return Result("k-means", metrics.scores(y, labels), seconds)


def _gaussian(X: NDArray, y: NDArray, k: int, seed: int, *, is_image: bool) -> list[Result]:
    """Fit every covariance; return the choice of BIC, and what labels would have chosen if that differs."""
    from sklearn.decomposition import PCA
    from sklearn.mixture import GaussianMixture

    from genmix.evaluation import metrics

    start = time.perf_counter()
    if is_image:  # pixels that never change make raw covariances degenerate, and BIC prefers those
        X = PCA(min(50, *X.shape), svd_solver="full").fit_transform(X)
    prepared = time.perf_counter() - start
    bic, found = {}, {}
    for covariance in _COVARIANCES:
        start = time.perf_counter()
        model = GaussianMixture(k, covariance_type=covariance, n_init=10, random_state=seed).fit(X)
        bic[covariance] = model.bic(X)
        found[covariance] = (metrics.scores(y, model.predict(X)), time.perf_counter() - start)
    chosen = min(_COVARIANCES, key=lambda covariance: bic[covariance])
    spent = prepared + sum(seconds for _, seconds in found.values())  # choosing is part of the fit
    results = [Result(f"GMM, {chosen}, chosen by BIC", found[chosen][0], spent)]
    oracle = max(_COVARIANCES, key=lambda covariance: found[covariance][0]["nmi"])
    if oracle != chosen:
        results.append(Result(f"GMM, {oracle}, chosen with labels", *found[oracle], uses_labels=True))
    return results


def _cells(results: Sequence[Result]) -> list[list[str]]:
    """Scores with three decimals and seconds with one or two, as text."""
    return [
        [*(f"{r.scores[key]:.3f}" for key in _MEASURES), f"{r.seconds:.{2 if r.seconds < 10 else 1}f}"]
        for r in results
    ]


def best_cells(results: Sequence[Result]) -> set[tuple[int, int]]:
    """Return (row, column) of the best values as printed; ties all win, rows that used labels cannot."""
    cells = _cells(results)
    rivals = [i for i, result in enumerate(results) if not result.uses_labels]
    best = set()
    for column in range(len(_MEASURES) + 1):
        pick = min if column == len(_MEASURES) else max
        winner = pick(float(cells[i][column]) for i in rivals)
        best |= {(i, column) for i in rivals if float(cells[i][column]) == winner}
    return best


def text_table(results: dict[str, list[Result]]) -> str:
    """Return the comparison as text for a terminal; a star marks the best of each column."""
    names = [result.method for rows in results.values() for result in rows]
    width = max(map(len, names), default=0)
    lines = [" " * width + "".join(f"{name:>11}" for name in [*_MEASURES.values(), "seconds"])]
    for title, rows in results.items():
        lines += ["", title]
        best = best_cells(rows)
        for i, (result, cells) in enumerate(zip(rows, _cells(rows), strict=True)):
            marked = [f"{cell}{'*' if (i, j) in best else ' '}" for j, cell in enumerate(cells)]
            lines.append(f"{result.method:<{width}}" + "".join(f"{cell:>11}" for cell in marked))
    lines += ["", "* best of the methods that saw no labels; one run each, so small differences mean little"]
    return "\n".join(lines)


def _comparison_section(results: dict[str, list[Result]], seed: int) -> Section:
    body: list[list[str]] = []
    groups: dict[int, str] = {}
    best: set[tuple[int, int]] = set()
    quiet: list[int] = []
    for title, rows in results.items():
        first = len(body)
        groups[first] = title
        body += [[result.method, *cells] for result, cells in zip(rows, _cells(rows), strict=True)]
        best |= {(first + i, j + 1) for i, j in best_cells(rows)}
        quiet += [first + i for i, result in enumerate(rows) if result.uses_labels]
    scores = Table(["method", *_MEASURES.values(), "seconds"], body, best=best, groups=groups, quiet=quiet)
    lead = (
        "Every method was told the number of clusters and, but for the rows in italics, nothing else; the "
        "known classes were used afterwards, "
        "to score. Higher is better, 1 is perfect. Underlined: the best of its column, among the "
        "methods that saw "
        "no labels."
    )
    return Section("The comparison", lead, blocks=[Columns([scores, _reading(seed)])])


def _reading(seed: int) -> Table:
    return Table(
        ["measure", "what it says"],
        _READING,
        "How to read these numbers",
        _NOTES.format(seed=seed),
        prose=True,
    )


_READING = (
    ("purity", "share of items that belong to the majority class of their cluster"),
    (
        "accuracy",
        "share of items that are right when each cluster stands for one class, matched as well as possible",
    ),
    ("ARI", "agreement on pairs of items: together or apart; 0 is chance (adjusted Rand index)"),
    ("NMI", "information that clusters and classes share; 0 is none (geometric mean)"),
    ("seconds", "wall-clock time of the fit on this machine; for GMM, of all four kinds of covariance"),
)


_NOTES = (
    "One run with seed {seed}: small differences mean little, another seed can turn them round. "
    "k-means and GMM are "
    "scikit-learn's with ten starts. On the digits GMM works on the first 50 principal components. On "
    "image segmentation "
    "both get columns scaled as (x - mean) / max|x - mean|; the mixture of GANs takes the table as it "
    "is and scales by "
    "itself. Where a part of the labels was given, "
    "the scores are of the other items, out of competition. BIC chooses the covariance of GMM without "
    "labels; where labels (by NMI) would have chosen another one, "
    "that row is shown too, in italics, out of competition."
)
