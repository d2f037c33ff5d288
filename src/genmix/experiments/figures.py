"""Finished runs as pictures: scores against the share of data or labels, samples, maps, walks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from genmix.experiments.catalogue import Item
from genmix.experiments.methods import METHODS
from genmix.experiments.runs import Runs
from genmix.experiments.shown import read_arrays
from genmix.experiments.tables import NAMES, records_of, rows_of, scores_of
from genmix.experiments.tasks import TASKS, Size
from genmix.plots.axes import INK, MUTED, Margins, panels, plain
from genmix.plots.palette import palette
from genmix.plots.pictures import ImageStyle, image_style, mosaic, to_rgba

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MARKS = "osD^vPX*<>"
#: Share of the data that a task fits, for the figures that have it as their axis.
_SHARES = {
    f"mnist-{images}{part}": share
    for images in ("test", "60000")
    for part, share in (("-tenth", 10.0), ("-half", 50.0), ("", 100.0))
}


def draw(item: Item, runs: Runs, size: Size) -> Figure | None:
    """Picture of an item, None for tables and where nothing has been run."""
    makers = {"curves": curves, "samples": samples, "maps": maps, "walks": walks}
    return makers[item.kind](item, runs, size) if item.kind in makers else None


def curves(item: Item, runs: Runs, size: Size) -> Figure | None:
    """Draw a panel for each score (and task): means against the axis, bars of one sd to either side.

    Scores close to 1 are drawn by the logarithm of what they miss.
    """
    rows = [row for row in rows_of(item, runs, size) if row["seeds"]]
    if not rows:
        return None
    scores, by_labels = scores_of(item), len(item.alphas) > 1
    run = {row["task"] for row in rows}
    tasks = [task for task in item.tasks_at(size) if task in run] if by_labels else [""]
    height = 240
    figure, axes = panels(
        len(tasks) * len(scores), 300, height, Margins(left=48, right=14, bottom=46, top=30), len(scores)
    )
    names: dict[str, Any] = {}
    at = [100 * alpha for alpha in item.alphas] if by_labels else [_SHARES[task] for task in item.tasks]
    step = 0.01 * (max(at) - min(at))
    for axis, (task, score) in zip(axes, [(t, s) for t in tasks for s in scores], strict=True):
        plain(axis, "y")
        for number, method in enumerate(row.method for row in item.rows):
            mine = [row for row in rows if row["method"] == method and task in ("", row["task"])]
            _curve(axis, mine, score, number, item.rows[number].role == "ours", by_labels, step)
        axis.set_title(f"{_short(task)}: {NAMES[score]}" if task else NAMES[score], fontsize=11, color=INK)
        axis.set_xlabel("share of labels, %" if by_labels else "share of the data fitted, %", fontsize=10)
        axis.xaxis.label.set_color(MUTED)
        axis.set_xticks(at)
        axis.set_xlim(min(at) - 6 * step, max(at) + 6 * step)
        _stretch(axis, [row for row in rows if task in ("", row["task"])], score)
        handles, labels = axis.get_legend_handles_labels()
        names |= dict(zip(labels, handles, strict=True))
    order = [_title(row.method) for row in item.rows]
    return _with_legend(figure, {name: names[name] for name in order if name in names})


def _title(method: str) -> str:
    return METHODS[method].title.replace("`", "")


#: Scores that are marked on an axis.
_TICKS = (0, 0.4, 0.6, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 1)
#: Where the stretched axis would be infinite: a little beyond the best score.
_BEYOND = 1.003


def _stretch(axis: Axes, rows: Sequence[Mapping[str, Any]], score: str) -> None:
    """Draw scores by the logarithm of what they miss: .98 and .99 are about as far apart as .96 and .98."""
    low = min((row[score] - row[f"{score}_sd"] for row in rows), default=0.0)
    high = max((row[score] + row[f"{score}_sd"] for row in rows), default=1.0)
    if high < 0.95:
        return
    axis.set_yscale(
        "function",
        functions=(
            lambda y: -np.log10(np.maximum(_BEYOND - np.asarray(y, float), 1e-4)),
            lambda t: _BEYOND - 10.0 ** -np.asarray(t, float),
        ),
    )
    low = min(low, 0.9)
    axis.set_ylim(low - 0.1 * (_BEYOND - low), 1.001)
    axis.set_yticks([tick for tick in _TICKS if tick > low - 0.1 * (_BEYOND - low)])
    axis.set_yticks([], minor=True)
    axis.yaxis.set_major_formatter("{x:g}")


def _curve(
    axis: Axes,
    rows: Sequence[Mapping[str, Any]],
    score: str,
    number: int,
    ours: bool,
    by_labels: bool,
    step: float,
) -> None:
    points = [
        (100 * r["alpha"] if by_labels else _SHARES[r["task"]], r[score], r[f"{score}_sd"]) for r in rows
    ]
    flat = by_labels and rows and all(row["alpha"] == 0 for row in rows)
    if flat:  # without labels: the same at every share
        axis.axhline(points[0][1], color=palette(number + 1)[number], linestyle=":", linewidth=1.2)
    title = _title(rows[0]["method"]) if rows else None
    x, mean, sd = (list(part) for part in zip(*sorted(points), strict=True)) if points else ([], [], [])
    x = [place + step * (number - 3) for place in x]  # side by side: no bar hides another
    bars = [sd, [min(d, 1 - m) for d, m in zip(sd, mean, strict=True)]]  # no score is above 1
    axis.errorbar(
        [] if flat else x, [] if flat else mean, yerr=None if flat else bars,
        color=palette(number + 1)[number], marker=_MARKS[number], markersize=5, capsize=3,
        linewidth=2.4 if ours else 1.2, label=title,
    )  # fmt: skip


def _with_legend(figure: Figure, names: Mapping[str, Any]) -> Figure:
    """Put the names of all curves in a strip below the panels."""
    width, height = (72 * inches for inches in figure.get_size_inches())
    strip = 18 * -(-len(names) // 3) + 10
    share = strip / (height + strip)
    for axis in figure.axes:
        box = axis.get_position()
        axis.set_position((box.x0, share + box.y0 * (1 - share), box.width, box.height * (1 - share)))
    figure.set_size_inches(width / 72, (height + strip) / 72)
    figure.legend(
        list(names.values()),
        list(names),
        loc="lower center",
        ncols=3,
        fontsize=9,
        frameon=False,
        labelcolor=INK,
    )
    return figure


def samples(item: Item, runs: Runs, size: Size) -> Figure | None:
    """Draw a block for each method: a row of ten generated images for each component."""
    shown = _arrays(item, runs, size, "samples")
    if not shown:
        return None
    style = image_style(np.concatenate([np.concatenate(arrays["samples"]) for _, arrays in shown]))
    width, height = 260, 290
    figure, axes = panels(len(shown), width, height, Margins(left=8, right=8, bottom=4, top=26))
    for axis, (title, arrays) in zip(axes, shown, strict=True):
        images = arrays["samples"]
        _picture(axis, images.reshape(-1, *images.shape[2:]), images.shape[1], style)
        axis.set_title(title, fontsize=10, color=INK)
    return figure


def walks(item: Item, runs: Runs, size: Size) -> Figure | None:
    """Draw a row for each method: from one component's mean to another's."""
    shown = _arrays(item, runs, size, "walk")
    if not shown:
        return None
    style = image_style(np.concatenate([arrays["walk"] for _, arrays in shown]))
    figure, axes = panels(len(shown), 480, 84, Margins(left=8, right=8, bottom=4, top=26), across=1)
    for axis, (title, arrays) in zip(axes, shown, strict=True):
        _picture(axis, arrays["walk"], len(arrays["walk"]), style)
        axis.set_title(title, fontsize=10, color=INK, loc="left")
    return figure


def maps(item: Item, runs: Runs, size: Size) -> Figure | None:
    """Draw a panel for each method, task and share of labels: t-SNE of encodings, coloured by class."""
    shown = _arrays(item, runs, size, "map")
    if not shown:
        return None
    across = len(item.rows)
    figure, axes = panels(len(shown), 230, 250, Margins(left=6, right=6, bottom=6, top=34), across)
    for axis, (title, arrays) in zip(axes, shown, strict=True):
        plain(axis)
        axis.set_xticks([])
        axis.set_yticks([])
        classes = arrays["classes"]
        colors = np.array(palette(int(classes.max()) + 1))[classes]
        axis.scatter(arrays["map"][:, 0], arrays["map"][:, 1], c=colors, s=5, linewidths=0)
        for label in np.unique(classes):
            x, y = np.median(arrays["map"][classes == label], 0)
            axis.text(x, y, str(label), fontsize=11, weight="bold", color=INK, ha="center", va="center")
        axis.set_title(title, fontsize=9, color=INK)
    return figure


def _arrays(item: Item, runs: Runs, size: Size, name: str) -> list[tuple[str, dict[str, np.ndarray]]]:
    """Title and arrays of the first run of each experiment that has been run."""
    found = []
    several = len(item.tasks) > 1 or len(item.alphas) > 1
    titles = {(e.task, e.alpha, e.method): e for e in item.experiments(size)}
    for key, records in records_of(item, runs, size).items():
        experiment = titles[key]
        path = runs.shown(experiment.name, experiment.settings(size), 0)
        arrays = read_arrays(path) if records else {}
        if name in arrays:
            task, alpha, method = key
            title = METHODS[method].title.split(":")[0].replace("genmix", "ours")
            where = f"\n{_short(task)}, {alpha:.0%} labels" if several else ""
            found.append((title + where, arrays))
    return found


def _picture(axis: Axes, images: np.ndarray, columns: int, style: ImageStyle) -> None:
    plain(axis)
    axis.set_xticks([])
    axis.set_yticks([])
    axis.imshow(mosaic(to_rgba(images, style), columns), interpolation="nearest")


def _short(task: str) -> str:
    words = TASKS[task].title.split(",")[0]
    return words.replace(" (JPEG copies)", "")


__all__ = ["curves", "draw", "maps", "samples", "walks"]
