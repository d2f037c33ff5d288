"""A report about fitted mixtures: one self-contained HTML page that anybody can open and read."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike

from genmix.base.files import check_writable
from genmix.report.comparison import comparison_cells, comparison_section, write_comparison
from genmix.report.facts import apply, cluster_table, headline, settings_table
from genmix.report.page import Block, Chart, Charts, Columns, Fact, Section, Table, render_page, write_page
from genmix.report.parts import (
    class_block,
    component_cards,
    doubtful_items,
    overview_charts,
    training_charts,
)

__all__ = [
    "Chart",
    "Charts",
    "Columns",
    "Fact",
    "Section",
    "Table",
    "comparison_cells",
    "comparison_section",
    "model_section",
    "render_page",
    "write_comparison",
    "write_page",
    "write_report",
]


def model_section(
    model: Any,
    X: ArrayLike,
    *,
    y: ArrayLike | None = None,
    title: str = "",
    lead: str = "",
    tables: Sequence[Table] = (),
    class_names: Sequence[str] | None = None,
    feature_names: Sequence[str] | None = None,
    seconds: float | None = None,
    max_map_points: int = 1500,
) -> Section:
    """Describe a fitted model and its data as one section of a page.

    Parameters
    ----------
    model : estimator
        Fitted; with ``predict_proba``, ``predict``, ``sample(n, component=k)``, ``get_params`` and, where it
        has them, ``weights_``, ``n_iter_``, ``converged_``, ``history_``, ``dead_components_``.
    X : array [N, ...]
        The data: a table [N, d] or images [N,H,W], [N,H,W,C], [N,C,H,W].
    y : array [N], optional
        Known classes, -1 or None for unknown; shown beside the clusters and used for nothing else.
    title : str, optional
        Heading. Default: the model's class.
    lead : str, optional
        Opening sentence.
    tables : sequence of Table, optional
        Shown right after the headline numbers.
    class_names : sequence of str, optional
        Names of classes 0, 1, ... of ``y``.
    feature_names : sequence of str, optional
        Names of the columns of a table. Default: those of a data frame, else "feature i".
    seconds : float, optional
        Time the fit took. Default: the last ``seconds`` of the history.
    max_map_points : int, default=1500
        Most points on the 2-D map; t-SNE takes about seven seconds for 1,500 on one core.

    Returns
    -------
    Section

    Raises
    ------
    ValueError
        If ``X`` is empty, ``y`` has another length, or there is not one name a column.
    """
    fitted = apply(model, X, y, class_names, feature_names)
    blocks: list[Block | None] = [
        *tables,
        component_cards(fitted),
        overview_charts(fitted, max_map_points),
        class_block(fitted, cluster_table(fitted)),
        doubtful_items(fitted),
        training_charts(fitted),
        settings_table(model),
    ]
    shown = [block for block in blocks if block is not None]
    return Section(title or type(model).__name__, lead, headline(fitted, seconds), shown)


def write_report(
    model: Any,
    X: ArrayLike,
    path: str | os.PathLike[str],
    *,
    title: str = "",
    **content: Any,
) -> Path:
    """Write a report about one fitted model as one self-contained HTML file.

    Parameters
    ----------
    model, X
        See `model_section`.
    path : path-like
        The file, such as ``report.html``; replaced whole or not at all.
    title : str, optional
        Heading of the page. Default: what the model is.
    **content
        ``y``, ``tables``, ``class_names`` and the other arguments of `model_section`.

    Returns
    -------
    Path
        The file written. Equal input gives equal bytes except the date.

    Raises
    ------
    ValueError
        As `model_section` and `write_page`.
    OSError
        If the disk refuses.
    """
    check_writable(Path(path))
    section = model_section(model, X, title="The model at a glance", **content)
    return write_page(path, title or f"Clusters found by {type(model).__name__}", [section])
