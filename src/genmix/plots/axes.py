"""What all figures share: the neutral colours, figures sized in points, quiet axes, marks, safe names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from genmix.base.validation import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, RULE = "#24292f", "#69727d", "#dfe3e8"  # the page swaps these three in dark mode


@dataclass(frozen=True)
class Margins:
    """Room around a panel for its names and numbers, in points; reckoned, for measuring is slow."""

    left: float = 8.0
    right: float = 8.0
    bottom: float = 34.0
    top: float = 6.0


def new_figure(width: float, height: float) -> Figure:
    """Make a figure sized in points, 1/72 inch; the report shows a point as about a pixel on a phone."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width / 72, height / 72), dpi=144, facecolor="none")


def panels(
    n: int, width: float, height: float, margins: Margins, across: int = 3
) -> tuple[Figure, list[Axes]]:
    """Make a figure of n equal panels in rows of at most ``across``, each ``width`` x ``height`` points."""
    across = min(across, n)
    down = -(-n // across)
    figure = new_figure(width * across, height * down)
    share_x = (width - margins.left - margins.right) / width / across
    share_y = (height - margins.bottom - margins.top) / height / down
    axes = []
    for i in range(n):
        row, column = divmod(i, across)
        x, y = column * width + margins.left, (down - 1 - row) * height + margins.bottom
        axes.append(figure.add_axes((x / width / across, y / height / down, share_x, share_y)))
    return figure, axes


def plain(axis: Axes, grid: Literal["", "x", "y"] = "") -> None:
    """Take the box away, make ticks quiet, and leave at most faint rules to read values by."""
    axis.set_facecolor("none")
    for spine in axis.spines.values():
        spine.set_visible(False)
    axis.tick_params(length=0, labelsize=10, labelcolor=MUTED)
    if grid:
        axis.grid(axis=grid, color=RULE, linewidth=0.8)
        axis.set_axisbelow(True)


def name_rows(axis: Axes, names: Sequence[object]) -> None:
    """Write a name at each of the rows 0, 1, ... of an axis, the first on top."""
    axis.set_yticks(range(len(names)), [str(name) for name in names], fontsize=10)
    axis.set_ylim(len(names) - 0.4, -0.6)


def draw_range(axis: Axes, values: NDArray, row: ArrayLike, color: str) -> None:
    """Draw the 10th to 90th percentile as a line and the median as a dot, one row a column of values."""
    low, median, high = np.nanpercentile(values, [10, 50, 90], axis=0)
    axis.hlines(row, low, high, color=color, linewidth=3.8, alpha=0.45)
    axis.scatter(median, row, s=24, color=color, linewidths=0, zorder=3)


def brief(text: object, limit: int = 60) -> str:
    """Return a text short enough for where it stands, in signs that a file can hold."""
    shown = printable(str(text))
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def shorten(name: object, limit: int = 24) -> str:
    """Return a name short enough for an axis, its dollar signs kept from being read as mathematics."""
    return brief(name, limit).replace("$", r"\$")
