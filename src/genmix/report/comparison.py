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
_HEADINGS = {"ari": "ARI", "nmi": "NMI", "megabytes": "MB"}


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
    rows, agreement, names
        See `comparison_section`.
    path : path-like
        The .html file, replaced whole or not at all.
    title, subtitle : str
        Heading, and a sentence under it.

    Returns
    -------
    Path
        The file written.
    """
    section = comparison_section(rows, agreement, names, title="Which model to take")
    return write_page(path, title, [section], subtitle=subtitle)


def comparison_section(
    rows: Sequence[Mapping[str, Any]],
    agreement: ArrayLike,
    names: Sequence[str],
    *,
    title: str,
    lead: str = "",
) -> Section:
    """Describe a comparison as one section of a page.

    Parameters
    ----------
    rows : sequence of mappings
        A model each, best first: `compare.Comparison.table`.
    agreement : array [M, M]
        Adjusted Rand index between the models that came to an end.
    names : sequence of str
        Those models.
    title, lead : str
        Heading, and opening sentence.

    Returns
    -------
    Section
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
    return Section(title, lead, blocks=blocks)


def comparison_cells(row: Mapping[str, Any]) -> dict[str, str | None]:
    """Write a row of `compare.Comparison.table` for people, mean and deviation in one cell."""
    cells: dict[str, str | None] = {"model": row["model"], "labels": row["labels"]}
    for score in SCORES:
        deviation = f" ± {row[f'{score}_sd']:.3f}" if score in row and row["seeds"] > 1 else ""
        cells[_HEADINGS.get(score, score)] = f"{row[score]:.3f}{deviation}" if score in row else None
    for name, digits in (("clusters", 0), ("seconds", 1), ("megabytes", 0)):
        text = None if row[name] is None else f"{row[name]:,.{digits}f}"
        cells[_HEADINGS.get(name, name)] = text
    return cells


def _table(rows: Sequence[Mapping[str, Any]]) -> Table:
    cells = [comparison_cells(row) for row in rows]
    columns = [name for name in cells[0] if any(row[name] is not None for row in cells)]
    best = [
        (max(rivals, key=lambda i: rows[i][score]), columns.index(_HEADINGS.get(score, score)))
        for score in SCORES
        for learned in ("ignored", "used")
        if (rivals := [i for i, row in enumerate(rows) if score in row and row["labels"] == learned])
    ]
    note = (
        "Labels: whether the model used those shown to it; the best of both kinds are underlined. Seconds of "
        "the fit alone; MB is the most memory that its process took, libraries included."
    )
    return Table(columns, [[row[name] or NONE for name in columns] for row in cells], note=note, best=best)
