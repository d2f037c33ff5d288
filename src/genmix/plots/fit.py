"""Figures about a fit: where clusters lie, how sure the model is, how large they are, how it learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from genmix.plots.axes import INK, MUTED, Margins, new_figure, panels, plain, shorten
from genmix.plots.palette import palette, text_on

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CURVE_TITLES = {
    "changed": "Items that changed cluster (share)",
    "critic_loss": "Critic loss",
    "generator_loss": "Generator loss",
    "discriminator_loss": "Discriminator loss",
    "classifier_loss": "Classifier loss",
    "encoder_loss": "Encoder loss",
    "log_likelihood": "Log-likelihood of the encodings",
    "cycle_error": "Cycle error of generated items",
    "epsilon": "Share of other clusters' items (epsilon)",
    "smallest_share": "Share of the smallest cluster",
}


_NO_CURVES = {
    "iteration",
    "seconds",
    "reinitialized",
    "bound",
}  # reinitialized names components; see log_likelihood


def map_2d(
    points: ArrayLike,
    labels: ArrayLike,
    certainty: ArrayLike | None = None,
    *,
    n_components: int | None = None,
) -> Figure:
    """Draw a map of the data, coloured by cluster, paler where the model is unsure.

    Parameters
    ----------
    points : array [n, 2]
        Places on the map (from t-SNE, PCA or the data itself).
    labels : array int [n]
        Cluster of each point, 0..K-1.
    certainty : array [n], optional
        Largest membership of each point, 0..1.
    n_components : int, optional
        K, for the colours. Default: largest label + 1.

    Returns
    -------
    Figure
        The number of each cluster stands where its points are densest.
    """
    from matplotlib.colors import to_rgba_array

    places, cluster = np.asarray(points, dtype=np.float64), np.asarray(labels)
    colors = palette(n_components or int(cluster.max(initial=-1)) + 1)
    sure = np.ones(len(places)) if certainty is None else np.asarray(certainty, dtype=np.float64)
    figure = new_figure(480, 400)
    axis = figure.add_axes((0.01, 0.01, 0.98, 0.98))
    axis.set_axis_off()
    order = np.argsort(sure, kind="stable")  # sure points on top
    shades = np.array([colors[k] for k in cluster[order]], dtype=object)
    size = float(np.clip(11000 / max(len(places), 1), 4, 30))
    strength = 0.15 + 0.75 * sure[order] ** 2
    x, y = places[order].T
    colored = to_rgba_array(list(shades), alpha=strength)
    axis.scatter(x, y, s=size, c=colored, linewidths=0, rasterized=True)
    for k in np.unique(cluster):
        x, y = _densest(places[cluster == k], float(np.ptp(places, axis=0).max()))
        badge = {"boxstyle": "circle,pad=0.28", "fc": colors[k], "ec": "#ffffff", "linewidth": 1.2}
        number = axis.text(x, y, str(k), color=text_on(colors[k]), bbox=badge, ha="center", va="center")
        number.set(fontsize=12, fontweight="bold")
    axis.margins(0.03)
    return figure


def _densest(points: NDArray, extent: float) -> NDArray:
    """Return the point with most neighbours: the median of two islands would lie in neither."""
    some = points[:: max(1, len(points) // 300)]
    distance = np.linalg.norm(some[:, None] - some[None], axis=-1) / max(0.04 * extent, 1e-12)
    return some[np.exp(-0.5 * distance**2).sum(1).argmax()]


def certainty_histogram(
    certainty: ArrayLike, labels: ArrayLike | None = None, *, n_components: int | None = None
) -> Figure:
    """Show how sure the model is of its assignments.

    Parameters
    ----------
    certainty : array [n]
        Largest membership of each item, 0..1.
    labels : array int [n], optional
        Clusters; if given, a row for each cluster spans its 10th to 90th percentile, the dot is its median.
    n_components : int, optional
        K, for the colours. Default: largest label + 1.
    """
    sure = np.asarray(certainty, dtype=np.float64)
    groups = {}
    if labels is not None:
        cluster = np.asarray(labels)
        groups = {k: sure[cluster == k] for k in range(n_components or int(cluster.max(initial=-1)) + 1)}
    rows = 15 * len(groups)
    height = 150 + (rows + 20 if groups else 0)
    figure = new_figure(340, height)
    axes = [figure.add_axes((30 / 340, 1 - 108 / height if groups else 34 / height, 302 / 340, 92 / height))]
    if groups:
        axes.append(figure.add_axes((30 / 340, 34 / height, 302 / 340, rows / height), sharex=axes[0]))
        axes[0].tick_params(labelbottom=False)
    share, edges = np.histogram(np.clip(sure, 0, 1), bins=25, range=(0, 1))
    plain(axes[0], grid="y")
    axes[0].bar(edges[:-1], 100 * share / max(len(sure), 1), width=0.036, align="edge", color=MUTED)
    axes[0].set_title("% of items", loc="left", fontsize=10, color=MUTED)
    axes[0].set_xlim(0, 1.01)
    colors = palette(len(groups))
    for k, part in groups.items():
        if len(part):
            low, middle, high = np.percentile(part, [10, 50, 90])
            axes[1].hlines(k, low, high, color=colors[k], linewidth=4, alpha=0.45)
            axes[1].scatter(middle, k, s=26, color=colors[k], linewidths=0, zorder=3)
    if groups:
        plain(axes[1])
        axes[1].set_yticks(range(len(groups)), [str(k) for k in groups], fontsize=10)
        axes[1].set_ylim(len(groups) - 0.4, -0.6)
    axes[-1].set_xlabel("certainty (largest membership)", fontsize=10, color=MUTED)
    return figure


def reliability(calibration: Mapping[str, Any]) -> Figure:
    """Show how often a model is right, against how sure it is.

    Parameters
    ----------
    calibration : mapping
        From `metrics.calibration`. A dot is a bin, its area the items in it; on the line the two agree.
    """
    figure = new_figure(340, 290)
    axis = figure.add_axes((46 / 340, 40 / 290, 280 / 340, 240 / 290))
    plain(axis, grid="y")
    axis.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle="--")
    bins = calibration["bins"]
    sure, right = [part["certainty"] for part in bins], [part["accuracy"] for part in bins]
    total = sum(part["size"] for part in bins)
    color = palette(1)[0]
    axis.scatter(sure, right, s=[14 + 220 * part["size"] / total for part in bins], color=color, zorder=3)
    axis.set_xlim(-0.02, 1.04)
    axis.set_ylim(-0.02, 1.06)
    axis.set_xlabel("certainty (largest membership)", fontsize=10, color=MUTED)
    axis.set_ylabel("share that is right", fontsize=10, color=MUTED)
    return figure


def cluster_sizes(sizes: ArrayLike, weights: ArrayLike | None = None) -> Figure:
    """Draw a bar for each cluster.

    Parameters
    ----------
    sizes : array int [K]
        Items of each cluster.
    weights : array [K], optional
        Mixture weights, drawn as a tick where ``weight * sum(sizes)`` lies.
    """
    from matplotlib.ticker import MaxNLocator

    count = np.asarray(sizes)
    figure, (axis,) = panels(1, 340, 20 * len(count) + 40, Margins(left=26))
    plain(axis)
    axis.barh(range(len(count)), count, height=0.68, color=palette(len(count)))
    for k, value in enumerate(count):
        number = axis.annotate(f"{int(value):,}", (value, k), (5, 0), textcoords="offset points")
        number.set(va="center", fontsize=10, color=INK)
    if weights is not None:
        expected = np.asarray(weights) * count.sum()
        rows = np.arange(len(count))
        axis.vlines(expected, rows - 0.42, rows + 0.42, color=INK, linewidth=1.2)
    axis.set_yticks(range(len(count)), [str(k) for k in range(len(count))], fontsize=10)
    axis.set_ylim(len(count) - 0.4, -0.6)
    axis.set_xlim(0, max(1, float(count.max(initial=0))) * 1.16)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axis.set_xlabel("items", fontsize=10, color=MUTED)
    return figure


def curve_keys(history: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the keys of a history that can be drawn (numbers, or one a component), known ones first."""
    found = {key for record in history for key in record} - _NO_CURVES
    drawable = [key for key in sorted(found) if any(np.isfinite(row).any() for row in _curve(history, key))]
    return [k for k in CURVE_TITLES if k in drawable] + [k for k in drawable if k not in CURVE_TITLES]


def training_curves(history: Sequence[Mapping[str, Any]], keys: Sequence[str] | None = None) -> Figure:
    """Draw how the fit went, a panel for each quantity, iterations from left to right.

    Parameters
    ----------
    history : sequence of dict
        ``history_`` of a fitted model. Values missing or not finite leave gaps; a value that is a list of one
        number a component becomes one line a component.
    keys : sequence of str, optional
        Quantities to draw. Default: all that are there.

    Raises
    ------
    ValueError
        If there is nothing to draw.
    """
    from matplotlib.ticker import MaxNLocator

    chosen = curve_keys(history) if keys is None else list(keys)
    if not chosen:
        raise ValueError("the history has no finite numbers to draw; fit the model first.")
    figure, axes = panels(len(chosen), 340, 190, Margins(left=48, top=20))
    iteration = np.array([record.get("iteration", i + 1) for i, record in enumerate(history)])
    for axis, key in zip(axes, chosen, strict=True):
        plain(axis, grid="y")
        lines = _curve(history, key)
        colors = palette(lines.shape[0]) if lines.shape[0] > 1 else [INK]
        for line, color in zip(lines, colors, strict=True):
            mark = "o" if np.isfinite(line).sum() < 25 else None
            axis.plot(iteration, line, color=color, linewidth=1.8, marker=mark, markersize=3.5)
        axis.set_title(CURVE_TITLES.get(key, key.replace("_", " ")), loc="left", fontsize=10, color=MUTED)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axis.yaxis.set_major_formatter("{x:g}")
        axis.set_xlabel("iteration", fontsize=10, color=MUTED)
        if key in ("changed", "epsilon", "smallest_share"):
            axis.set_ylim(bottom=0)
    return figure


def _curve(history: Sequence[Mapping[str, Any]], key: str) -> NDArray:
    """Values of one key as float [lines, iterations], NaN where missing, infinite or not a number."""
    values = []
    for record in history:
        try:
            value = np.atleast_1d(np.asarray(record.get(key, np.nan), dtype=np.float64)).ravel()
        except (TypeError, ValueError):  # text, None or ragged lists cannot be drawn
            value = np.array([np.nan])
        values.append(np.where(np.isfinite(value), value, np.nan))
    lines = np.full((max((len(v) for v in values), default=1), len(values)), np.nan)
    for i, value in enumerate(values):
        lines[: len(value), i] = value
    return lines


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
    from matplotlib.patches import Rectangle
    from scipy.optimize import linear_sum_assignment

    count = np.asarray(table)
    if count.ndim != 2 or len(class_names) != count.shape[1]:
        raise ValueError(
            f"a table of shape {count.shape} and {len(class_names)} class names were given; expected [K, C] "
            "and C names"
        )
    matched = linear_sum_assignment(-count)[1]
    order = [*matched, *sorted(set(range(count.shape[1])) - set(matched.tolist()))]
    colors, share = palette(len(count)), count / np.maximum(count.sum(1, keepdims=True), 1)
    cell = 34 if count.shape[1] <= 12 else 20
    names = [shorten(class_names[c], 14) for c in order]
    slanted = max(map(len, names)) > 3
    margins = Margins(left=26, right=50 if slanted else 8, bottom=4, top=70 if slanted else 22)
    figure, (axis,) = panels(1, max(340, cell * len(order) + 60), 24 * len(count) + margins.top + 4, margins)
    plain(axis)
    for k, column in np.ndindex(count.shape):
        c = order[column]
        if count[k, c]:
            strength = 0.08 + 0.72 * share[k, c]
            axis.add_patch(Rectangle((column - 0.46, k - 0.46), 0.92, 0.92, fc=colors[k], alpha=strength))
            if count.shape[1] <= 12:
                axis.text(column, k, f"{int(count[k, c])}", ha="center", va="center", fontsize=10, color=INK)
    axis.xaxis.tick_top()  # first: it makes other labels, which know nothing of what was set before
    axis.set_xticks(range(len(order)), names, fontsize=10, rotation_mode="anchor")
    if slanted:
        axis.tick_params(axis="x", rotation=40)
        for name in axis.get_xticklabels():
            name.set_horizontalalignment("left")
    axis.set_yticks(range(len(count)), [str(k) for k in range(len(count))], fontsize=10)
    axis.set_xlim(-0.6, count.shape[1] - 0.4)
    axis.set_ylim(len(count) - 0.4, -0.6)
    return figure
