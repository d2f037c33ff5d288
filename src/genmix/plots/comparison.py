"""Figures that compare: models with each other on the same data, clusters with known classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from genmix.plots.axes import INK, MUTED, Margins, name_rows, panels, plain, shorten
from genmix.plots.palette import palette

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def quality_and_time(rows: Sequence[Mapping[str, Any]], score: str = "accuracy") -> Figure:
    """Draw a bar for the score of each model, and write the seconds of its fit beside it.

    Parameters
    ----------
    rows : sequence of mappings
        With keys model, seconds (None: it failed), the score, and the score with ``_sd``.
    score : str
        What is drawn.

    Returns
    -------
    Figure
        The best on top; a line across the end of a bar is a standard deviation over seeds to either side.

    Raises
    ------
    ValueError
        If no row has the score.
    """
    scored = [row for row in rows if score in row and row["seconds"] is not None]
    if not scored:
        raise ValueError(f"no model has {score!r}: there is nothing to draw")
    scored.sort(key=lambda row: row[score])
    figure, (axis,) = panels(1, 640, 24 * len(scored) + 60, Margins(left=104, right=86, bottom=40))
    plain(axis, "x")
    values = [row[score] for row in scored]
    deviations = [row.get(f"{score}_sd", 0.0) for row in scored]
    bars = axis.barh(
        range(len(scored)), values, xerr=deviations, height=0.62, color=palette(1)[0], alpha=0.85, ecolor=INK
    )
    texts = [f"{row[score]:.3f} · {_seconds(row['seconds'])}" for row in scored]
    axis.bar_label(bars, texts, padding=5, fontsize=10, color=INK)
    axis.set_yticks(range(len(scored)), [shorten(row["model"]) for row in scored], fontsize=10)
    axis.set_xlim(min(0.0, *values), 1.02 * max(np.add(values, deviations)))
    axis.set_xlabel(score, fontsize=10, color=MUTED)
    return figure


def agreement(table: ArrayLike, names: Sequence[str]) -> Figure:
    """Draw how much the clusters of models agree, pair by pair.

    Parameters
    ----------
    table : array [M, M]
        A score that is 1 for equal clusters, such as the adjusted Rand index.
    names : sequence of str
        The M models.
    """
    values = np.asarray(table, dtype=float)
    m, names = len(values), [shorten(name) for name in names]
    margins = Margins(left=112, right=60, bottom=6, top=96)
    figure, (axis,) = panels(1, max(640, 40 * m + 172), 26 * m + 102, margins)
    texts = [[f"{value:.2f}" for value in row] for row in values]
    _draw_cells(axis, 0.06 + 0.7 * values.clip(0, 1), palette(1) * m, texts, names, slanted=True)
    name_rows(axis, names)
    return figure


def confusion(table: ArrayLike, class_names: Sequence[str]) -> Figure:
    """Draw how known classes fall into clusters.

    Parameters
    ----------
    table : array int [K, C]
        Items of cluster k (row) that carry class c (column).
    class_names : sequence of str
        The C classes.

    Returns
    -------
    Figure
        A cell is as strong as the share of its cluster; classes are ordered so that the best match of
        clusters and classes lies along the diagonal.

    Raises
    ------
    ValueError
        A table of another shape, or a class without a name.
    """
    from scipy.optimize import linear_sum_assignment

    count = np.asarray(table)
    if count.ndim != 2 or len(class_names) != count.shape[1]:
        raise ValueError(
            f"a table of shape {count.shape} and {len(class_names)} class names were given; expected [K, C] "
            "and C names"
        )
    matched = linear_sum_assignment(-count)[1]
    order = [*matched, *np.setdiff1d(range(count.shape[1]), matched)]
    count = count[:, order]
    share = count / np.maximum(count.sum(1, keepdims=True), 1)
    few = len(order) <= 12
    names = [shorten(class_names[c], 14) for c in order]
    slanted = max(map(len, names)) > 3  # too long to stand side by side
    margins = Margins(left=26, right=50 if slanted else 8, bottom=4, top=70 if slanted else 22)
    width = max(340, (34 if few else 20) * len(order) + 60)
    figure, (axis,) = panels(1, width, 24 * len(count) + margins.top + 4, margins)
    texts = [[f"{items:.0f}" if few else "" for items in row] for row in count]
    _draw_cells(axis, np.where(count, 0.08 + 0.72 * share, 0), palette(len(count)), texts, names, slanted)
    name_rows(axis, range(len(count)))
    return figure


def _draw_cells(
    axis: Axes,
    opacity: NDArray,
    colors: list[str],
    texts: list[list[str]],
    names: Sequence[str],
    slanted: bool,
) -> None:
    """Draw a table [K, C] of cells, row k in ``colors[k]``, under the names of its columns."""
    from matplotlib.patches import Rectangle

    plain(axis)
    for row, column in np.argwhere(opacity > 0):
        corner, alpha = (column - 0.46, row - 0.46), opacity[row, column]
        axis.add_patch(Rectangle(corner, 0.92, 0.92, fc=colors[row], alpha=alpha))
        axis.text(column, row, texts[row][column], ha="center", va="center", fontsize=10, color=INK)
    axis.xaxis.tick_top()  # first: it makes other labels, which know nothing of what was set before
    slant: dict[str, Any] = {"rotation": 40, "ha": "left"} if slanted else {}
    axis.set_xticks(range(len(names)), names, fontsize=10, rotation_mode="anchor", **slant)
    axis.set_xlim(-0.6, len(names) - 0.4)


def _seconds(value: float) -> str:
    return f"{value:.1f} s" if value < 10 else f"{value:.0f} s" if value < 600 else f"{value / 60:.0f} min"
