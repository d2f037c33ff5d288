"""What a report says about a fitted model, read from the model and the data once."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from genmix.plots import palette
from genmix.plots.axes import brief
from genmix.report import words
from genmix.report.page import Chip, Fact, Table

NONE = "\u2013"  # en dash: a cell with nothing to say


@dataclass(frozen=True)
class Fitted:
    """A model applied to data, and what is known about the rows.

    Parameters
    ----------
    model : estimator
        Fitted.
    X : array [N, ...]
        The data.
    membership : array [N, K]
        ``predict_proba(X)``.
    classes : array [N] or None
        Known class of each row as text, "" where unknown; None where no row has one.
    feature_names : sequence of str
        Names of the columns of a table, none of images.
    """

    model: Any
    X: NDArray
    membership: NDArray[np.float64]
    classes: NDArray | None
    feature_names: Sequence[str]

    @property
    def n_components(self) -> int:
        """K."""
        return int(self.membership.shape[1])

    @property
    def generates(self) -> bool:
        """Whether the model can make new items."""
        return hasattr(self.model, "sample") and bool(getattr(self.model, "generate", True))

    @cached_property
    def labels(self) -> NDArray[np.intp]:
        """Cluster of each row."""
        return self.membership.argmax(1)

    @cached_property
    def certainty(self) -> NDArray[np.float64]:
        """Largest membership of each row."""
        return np.clip(self.membership.max(1), 0.0, 1.0)

    @cached_property
    def sizes(self) -> NDArray[np.int64]:
        """Rows in each cluster."""
        return np.bincount(self.labels, minlength=self.n_components)

    @cached_property
    def known(self) -> NDArray[np.bool_]:
        """Whether the class of each row is known, where `classes` are."""
        return np.asarray(self.classes) != ""

    @property
    def history(self) -> list[dict[str, Any]]:
        """Records of the EM iterations, none for a model that keeps none."""
        return list(getattr(self.model, "history_", None) or [])

    @cached_property
    def majority(self) -> list[dict[str, Any]]:
        """Majority class (``label``), ``size`` and ``purity`` of each cluster; [] without classes."""
        if self.classes is None:
            return []
        from genmix.evaluation import metrics

        classes, labels = self.classes[self.known], self.labels[self.known]
        return metrics.cluster_table(classes, labels, clusters=range(self.n_components))

    def chip(self, k: int) -> Chip:
        """Return number and colour of cluster k."""
        return Chip(int(k), palette(self.n_components)[k])


def apply(
    model: Any,
    X: ArrayLike,
    y: ArrayLike | None,
    class_names: Sequence[str] | None,
    feature_names: Sequence[str] | None,
) -> Fitted:
    """Apply a fitted model to data; arguments and errors as `genmix.report.model_section`."""
    data, names = np.asarray(X), feature_names
    d = data.shape[1] if data.ndim == 2 else 0
    if names is None:
        names = [str(name) for name in getattr(X, "columns", [f"feature {i}" for i in range(d)])]
    if d and len(names) != d:
        raise ValueError(f"feature_names has {len(names)} names, X has {d} columns; name each")
    if len(data) == 0:
        raise ValueError("X has no rows; a report needs the data of the fit, or other data like it.")
    membership = np.asarray(model.predict_proba(X), dtype=np.float64)
    classes = None if y is None else class_texts(y, class_names)
    if classes is not None and len(classes) != len(data):
        raise ValueError(f"y has {len(classes)} labels, X has {len(data)} rows; give each one (-1: unknown).")
    if classes is not None and not (classes != "").any():
        classes = None
    return Fitted(model, data, membership, classes, names)


def class_texts(y: ArrayLike, class_names: Sequence[str] | None) -> NDArray:
    """Return labels as text: names where whole numbers have them, "" for -1 and None."""
    values = np.asarray(y).tolist()

    def text(value: Any) -> str:
        if value is None or value == -1 or value != value:  # the last is NaN
            return ""
        if class_names is not None and isinstance(value, int) and 0 <= value < len(class_names):
            return str(class_names[value])
        return str(value)

    return np.array([text(value) for value in values], dtype=object)


def headline(fitted: Fitted, seconds: float | None) -> list[Fact]:
    """Return the headline numbers."""
    model, n = fitted.model, len(fitted.X)
    items, parts = ("images", "pixels") if fitted.X.ndim > 2 else ("rows", "features")
    facts = [
        Fact(items, f"{n:,}", f"{' x '.join(map(str, fitted.X.shape[1:]))} {parts}"),
        Fact("clusters", str(fitted.n_components), _component_note(fitted)),
    ]
    if hasattr(model, "n_iter_"):
        converged = getattr(model, "converged_", None)
        note = "" if converged is None else ("converged" if converged else "stopped before converging")
        facts.append(Fact("EM iterations", str(int(model.n_iter_)), note))
    spent = seconds if seconds is not None else _recorded_seconds(fitted.history)
    if spent is not None:
        facts.append(Fact("seconds to fit", f"{spent:,.1f}"))
    unsure = float((fitted.certainty < 0.8).mean())
    facts.append(Fact("mean certainty", f"{fitted.certainty.mean():.3f}", f"{unsure:.1%} below 0.8"))
    return facts + _scores(fitted)


def _component_note(fitted: Fitted) -> str:
    """Which components are empty or dead, and which share their items."""
    dead = {*np.flatnonzero(fitted.sizes == 0).tolist(), *getattr(fitted.model, "dead_components_", [])}
    note = f"{len(dead)} empty or dead: {_few(sorted(dead))}" if dead else "none empty"
    duplicates = [f"{i} and {j}" for i, j in getattr(fitted.model, "duplicate_components_", [])]
    return f"{note}; not told apart: {_few(duplicates)}" if duplicates else note


def _few(names: Sequence[object], most: int = 8) -> str:
    return ", ".join(map(str, names[:most])) + (" …" if len(names) > most else "")


def _recorded_seconds(history: Sequence[dict[str, Any]]) -> float | None:
    """Return the last time in the history, which counts seconds since the fit began."""
    times = [record["seconds"] for record in history if isinstance(record.get("seconds"), int | float)]
    return float(times[-1]) if times and np.isfinite(times[-1]) else None


def _scores(fitted: Fitted) -> list[Fact]:
    if fitted.classes is None:
        return []
    from genmix.evaluation import metrics

    known = fitted.known
    score = metrics.scores(fitted.classes[known], fitted.labels[known])
    note = "" if known.all() else f"on {int(known.sum()):,} labelled items"
    names = {"purity": "purity", "accuracy": "accuracy", "ari": "ARI", "nmi": "NMI"}
    return [Fact(name, f"{score[key]:.3f}", note) for key, name in names.items()]


def cluster_table(fitted: Fitted) -> Table:
    """Return the table of clusters: size, share, certainty and, where classes are known, the majority."""
    columns = ["cluster", "items", "share", "mean certainty"]
    rows: list[list[str | Chip]] = []
    for k, size in enumerate(fitted.sizes):
        certainty = f"{fitted.certainty[fitted.labels == k].mean():.3f}" if size else NONE
        rows.append([fitted.chip(k), f"{size:,}", f"{size / len(fitted.X):.1%}", certainty])
    note = words.CLUSTER_TABLE
    if fitted.classes is not None:
        columns += ["majority class", "purity"]
        for row, record in zip(rows, fitted.majority, strict=True):
            row += [brief(record["label"]), f"{record['purity']:.3f}"] if record["size"] else [NONE, NONE]
        note += words.CLUSTER_PURITY
    return Table(columns, rows, "Cluster by cluster", note)


def settings_table(model: Any) -> Table:
    """Return the parameters of a model beside their defaults; those changed are emphasised."""
    defaults = inspect.signature(type(model).__init__).parameters
    rows = []
    for name, value in sorted(model.get_params(deep=False).items()):
        default = defaults[name].default if name in defaults else inspect.Parameter.empty
        rows.append([name, _plain_repr(value), _plain_repr(default)])
    changed = [(i, 1) for i, (_, value, default) in enumerate(rows) if value != default]
    note, columns = words.SETTINGS.format(name=type(model).__name__), ["parameter", "value", "default"]
    return Table(columns, rows, "Settings", note, best=changed, prose=True, folded=True)


def _plain_repr(value: Any) -> str:
    """Return repr without places in memory, which differ from run to run; "" for no default."""
    text = "" if value is inspect.Parameter.empty else repr(value)
    return brief(re.sub(r" at 0x[0-9a-fA-F]+", "", text), 160)
