"""`genmix compare`: what it reads, and what it writes beside the fitted models."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from genmix.cli.files import write_columns
from genmix.cli.settings import read_settings
from genmix.cli.tables import say, text_table

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
    settings: dict[str, dict[str, Any]] = {}
    for pair in pairs:
        name, dot, rest = pair.partition(".")
        if not dot or "=" in name:
            raise ValueError(f"--set {pair!r}: write it as model.parameter=value, such as dec.max_iter=20")
        settings.setdefault(name.strip(), {}).update(read_settings([rest]))
    return settings


def run(dataset: Dataset, components: int, y: np.ndarray | None, *, out: Path, **options: Any) -> Comparison:
    """Compare, with options of `evaluation.compare`; print the table and write it beside the models."""
    from genmix.evaluation.compare import compare
    from genmix.report import comparison_cells, write_comparison

    compared = compare(
        dataset.X, components, y, out=out, echo=say, feature_names=dataset.feature_names, **options
    )
    rows = compared.table()
    columns = dict.fromkeys(name for row in rows for name in row)
    write_columns(
        out / "table.csv", {name: np.array([row.get(name) for row in rows], object) for name in columns}
    )
    scored = what_is_scored(compared)
    write_comparison(
        rows, compared.agreement, compared.names, out / "report.html",
        title=f"Models compared on {dataset.name}", subtitle=scored,
    )  # fmt: skip
    say(f"\n{scored}\n{text_table([comparison_cells(row) for row in rows])}")
    for row in rows:
        if row["error"]:
            say(f"{row['model']} failed: {row['error']}")
    say(f"written to {out}: table.csv, report.html, models, runs.jsonl")
    return compared


def what_is_scored(compared: Comparison) -> str:
    """Say which items the scores are of."""
    if not compared.n_scored:
        return "no labels: nothing is scored"
    words = f"scores of {compared.n_scored:,} items whose label no model saw"
    if any(run.learned == "used" for run in compared.runs):
        words += f"; {compared.n_shown:,} labels were shown to the models that use them"
    return words
