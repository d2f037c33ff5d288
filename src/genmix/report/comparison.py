"""A page about several models on the same data."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from genmix import plots
from genmix.report.facts import NONE
from genmix.report.page import Block, Chart, Charts, Section, Table, write_page

SCORES = ("accuracy", "ari", "nmi", "purity")
_HEADINGS = {"ari": "ARI", "nmi": "NMI"}
_NUMBERS = {"clusters": 0, "seconds": 1, "megabytes": 0}  # decimals


def write_comparison(
    rows: Sequence[Mapping[str, Any]],
    agreement: ArrayLike,
    names: Sequence[str],
    path: str | os.PathLike[str],
    *,
    title: str = "Models compared",
    subtitle: str = "",
) -> Path:
    """Write a page that lets a reader choose between models.

    Parameters
    ----------
    rows : sequence of mappings
        A model each, best first: `compare.Comparison.table`.
    agreement : array [M, M]
        Adjusted Rand index between the models that came to an end.
    names : sequence of str
        Those models.
    path : path-like
        The .html file, replaced whole or not at all.
    title, subtitle : str
        Heading, and a sentence under it.

    Returns
    -------
    Path
        The file written.
    """
    finished = [row for row in rows if row["seconds"] is not None]
    blocks: list[Block] = [_table(rows)]
    if finished and "accuracy" in finished[0]:
        best = max(finished, key=lambda row: row["accuracy"])
        chart = Chart(
            plots.quality_and_time(finished),
            f"accuracy of {len(finished)} models; the best is {best['model']} with {best['accuracy']:.3f}",
            "Accuracy, and seconds of a fit",
            "Clusters are matched to classes as well as they can be. A line across a bar's end: a standard "
            "deviation over seeds.",
        )
        blocks.append(Charts([chart], lead=True))
    if len(names) > 1:
        values = np.asarray(agreement)
        away = values[~np.eye(len(values), dtype=bool)]
        chart = Chart(
            plots.agreement(values, names),
            f"agreement of {len(names)} models, from {away.min():.2f} to {away.max():.2f}",
            "How much they agree",
            "Adjusted Rand index between the clusters of two models: 1 for the same clusters, 0 for no more "
            "than chance. Models that agree without knowing of each other have found something in the data.",
        )
        blocks.append(Charts([chart], lead=True))
    failed = [[row["model"], row["error"]] for row in rows if row["error"]]
    if failed:
        blocks.append(Table(["model", "what went wrong"], failed, "Failed", prose=True))
    return write_page(path, title, [Section("Which model to take", "", (), blocks)], subtitle=subtitle)


def _table(rows: Sequence[Mapping[str, Any]]) -> Table:
    scores = [score for score in SCORES if any(score in row for row in rows)]
    columns = ["model", "labels", *[_HEADINGS.get(s, s) for s in scores], "clusters", "seconds", "MB"]
    cells = []
    for row in rows:
        numbers = [_number(row[name], digits) for name, digits in _NUMBERS.items()]
        cells.append([row["model"], row["labels"], *[_score(row, score) for score in scores], *numbers])
    best = [
        (max(range(len(rows)), key=lambda i: rows[i].get(score, -np.inf)), column)
        for column, score in enumerate(scores, start=2)
    ]
    note = (
        "Labels: whether the model used those shown to it. Seconds of the fit alone; MB is the most memory "
        "that its process took, libraries included."
    )
    return Table(columns, cells, note=note, best=best)


def _score(row: Mapping[str, Any], name: str) -> str:
    if name not in row:
        return NONE
    return f"{row[name]:.3f}" + (f" ± {row[f'{name}_sd']:.3f}" if row["seeds"] > 1 else "")


def _number(value: float | None, digits: int) -> str:
    return NONE if value is None else f"{value:,.{digits}f}"
