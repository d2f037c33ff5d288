"""What all figures share: the neutral colours, figures sized in points, quiet axes, safe names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

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
    axes = []
    for i in range(n):
        row, column = divmod(i, across)
        x, y = column * width + margins.left, (down - 1 - row) * height + margins.bottom
        inner = (width - margins.left - margins.right, height - margins.bottom - margins.top)
        share = (x / width / across, y / height / down, inner[0] / width / across, inner[1] / height / down)
        axes.append(figure.add_axes(share))
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


def shorten(name: object, limit: int = 24) -> str:
    """Return a name short enough for an axis, its dollar signs kept from being read as mathematics."""
    text = printable(str(name))
    return (text if len(text) <= limit else text[: limit - 1] + "…").replace("$", r"\$")
