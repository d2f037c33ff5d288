"""`genmix compare`: what it reads, and what it writes beside the fitted models."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from genmix.cli.files import whole_file
from genmix.cli.settings import read_settings
from genmix.cli.tables import text_table

if TYPE_CHECKING:
    from genmix.datasets import Dataset
    from genmix.evaluation.compare import Comparison


def read_model_settings(pairs: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Read ``model.parameter=value`` pairs.

    Raises
    ------
    ValueError
        If a pair names no model, or its value is not TOML.
    """
    found: dict[str, dict[str, Any]] = {}
    for pair in pairs:
        name, dot, rest = pair.partition(".")
        if not dot or "=" in name:
            raise ValueError(f"--set {pair!r}: write it as model.parameter=value, such as dec.max_iter=20")
        found.setdefault(name.strip(), {}).update(read_settings([rest]))
    return found


def run(
    dataset: Dataset, components: int, y: np.ndarray | None, *, out: Path, names: Sequence[str] | None,
    settings: Mapping[str, Mapping[str, Any]], **options: Any,
) -> None:  # fmt: skip
    """Compare, print the table, and write it beside the models."""
    from genmix.evaluation.compare import compare
    from genmix.report import write_comparison

    found = compare(
        dataset.X, components, y, out=out, names=names, settings=settings, echo=print,
        feature_names=dataset.feature_names, **options,
    )  # fmt: skip
    rows = found.table()
    _write_csv(out / "table.csv", rows)
    write_comparison(
        rows, found.agreement, found.names, out / "report.html",
        title=f"Models compared on {dataset.name}", subtitle=what_is_scored(found),
    )  # fmt: skip
    print(f"\n{what_is_scored(found)}")
    print(text_table([_shown(row) for row in rows]))
    for row in rows:
        if row["error"]:
            print(f"{row['model']} failed: {row['error']}")
    print(f"written to {out}: table.csv, report.html, models, runs.jsonl")


def what_is_scored(found: Comparison) -> str:
    """Say which items the scores are of."""
    if not found.n_scored:
        return "no labels: nothing is scored"
    return (
        f"scores of {found.n_scored:,} items whose label no model saw; {found.n_shown:,} labels were shown "
        "to the models that use them"
    )


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    """Make a row for people: mean and deviation in one cell, no column that nobody reads."""
    cells: dict[str, Any] = {"model": row["model"], "labels": row["labels"]}
    for name in ("accuracy", "ari", "nmi", "purity"):
        if name in row:
            cells[name] = f"{row[name]:.3f}" + (f" ± {row[f'{name}_sd']:.3f}" if row["seeds"] > 1 else "")
        else:
            cells[name] = "-"
    for name, digits in (("clusters", 0), ("seconds", 1), ("megabytes", 0)):
        cells[name] = "-" if row[name] is None else f"{row[name]:.{digits}f}"
    return cells


def _write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with whole_file(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)
