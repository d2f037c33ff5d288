"""Figures about several models on the same data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from genmix.plots.axes import INK, MUTED, RULE, Margins, panels, plain
from genmix.plots.palette import palette

if TYPE_CHECKING:
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
    fine = [row for row in rows if score in row and row["seconds"] is not None]
    if not fine:
        raise ValueError(f"no model has {score!r}: there is nothing to draw")
    figure, (axis,) = panels(1, 640, 24 * len(fine) + 60, Margins(left=104, right=86, bottom=40))
    plain(axis, "x")
    order = sorted(fine, key=lambda row: row[score])
    color = palette(1)[0]
    values = [row[score] for row in order]
    axis.barh(range(len(order)), values, height=0.62, color=color, alpha=0.85)
    for place, row in enumerate(order):
        value, spread = row[score], row.get(f"{score}_sd", 0.0)
        if spread:
            axis.hlines(place, value - spread, value + spread, color=INK, linewidth=1.4)
        text = axis.annotate(
            f"{value:.3f} · {_seconds(row['seconds'])}", (value + spread, place), (5, 0),
            textcoords="offset points",
        )  # fmt: skip
        text.set(va="center", fontsize=10, color=INK)
    axis.set_yticks(range(len(order)), [row["model"] for row in order], fontsize=10)
    axis.set_xlim(min(0.0, *values), max(values) * 1.02)
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
    from matplotlib.patches import Rectangle

    values = np.asarray(table, dtype=float)
    m = len(values)
    margins = Margins(left=112, right=60, bottom=6, top=96)
    figure, (axis,) = panels(1, max(640, 40 * m + 172), 26 * m + 102, margins)
    plain(axis)
    color = palette(1)[0]
    for i, j in np.ndindex(values.shape):
        strength = 0.06 + 0.7 * float(np.clip(values[i, j], 0, 1))
        axis.add_patch(Rectangle((j - 0.47, i - 0.47), 0.94, 0.94, fc=color, alpha=strength, ec=RULE))
        axis.text(j, i, f"{values[i, j]:.2f}", ha="center", va="center", fontsize=9, color=INK)
    axis.set_xticks(range(m), names, fontsize=10, rotation=40, rotation_mode="anchor", ha="left")
    axis.xaxis.tick_top()
    axis.set_yticks(range(m), names, fontsize=10)
    axis.set_xlim(-0.6, m - 0.4)
    axis.set_ylim(m - 0.4, -0.6)
    return figure


def _seconds(value: float) -> str:
    return f"{value:.1f} s" if value < 10 else f"{value:.0f} s" if value < 600 else f"{value / 60:.0f} min"
