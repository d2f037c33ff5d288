"""Figures about a fit: where clusters lie, how certain the model is, how large they are, how it learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from genmix.plots.axes import INK, MUTED, Margins, draw_range, name_rows, new_figure, panels, plain, shorten
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
_NO_CURVES = {"iteration", "seconds", "reinitialized", "bound"}  # `log_likelihood` is drawn for the bound


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
    certainty = np.ones(len(places)) if certainty is None else np.asarray(certainty, dtype=np.float64)
    figure = new_figure(480, 400)
    axis = figure.add_axes((0.01, 0.01, 0.98, 0.98))
    axis.set_axis_off()
    order = np.argsort(certainty, kind="stable")  # certain points on top
    shades = to_rgba_array([colors[k] for k in cluster[order]], alpha=0.15 + 0.75 * certainty[order] ** 2)
    size = np.clip(11000 / max(len(places), 1), 4, 30)
    axis.scatter(places[order, 0], places[order, 1], s=size, c=shades, linewidths=0, rasterized=True)
    for k in np.unique(cluster):
        x, y = _densest(places[cluster == k], float(np.ptp(places, axis=0).max()))
        number = axis.text(x, y, str(k), fontsize=12, fontweight="bold", ha="center", va="center")
        number.set_bbox({"boxstyle": "circle,pad=0.28", "fc": colors[k], "ec": "#ffffff", "linewidth": 1.2})
        number.set_color(text_on(colors[k]))
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
    """Show how certain the model is of its assignments.

    Parameters
    ----------
    certainty : array [n]
        Largest membership of each item, 0..1.
    labels : array int [n], optional
        Clusters; if given, a row for each cluster spans its 10th to 90th percentile, the dot is its median.
    n_components : int, optional
        K, for the colours. Default: largest label + 1.
    """
    certainty = np.asarray(certainty, dtype=np.float64)
    groups: list[NDArray] = []
    if labels is not None:
        cluster = np.asarray(labels)
        groups = [certainty[cluster == k] for k in range(n_components or int(cluster.max(initial=-1)) + 1)]
    rows = 15 * len(groups)
    height = 150 + (rows + 20 if groups else 0)
    figure = new_figure(340, height)
    axis = figure.add_axes((30 / 340, 1 - 108 / height, 302 / 340, 92 / height))
    count, edges = np.histogram(np.clip(certainty, 0, 1), bins=25, range=(0, 1))
    plain(axis, grid="y")
    axis.bar(edges[:-1], 100 * count / max(len(certainty), 1), width=0.036, align="edge", color=MUTED)
    axis.set_title("% of items", loc="left", fontsize=10, color=MUTED)
    axis.set_xlim(0, 1.01)
    if groups:
        axis.tick_params(labelbottom=False)
        axis = figure.add_axes((30 / 340, 34 / height, 302 / 340, rows / height), sharex=axis)
        plain(axis)
        name_rows(axis, range(len(groups)))
    for k, (group, color) in enumerate(zip(groups, palette(len(groups)), strict=True)):
        if len(group):
            draw_range(axis, group, k, color)
    axis.set_xlabel("certainty (largest membership)", fontsize=10, color=MUTED)
    return figure


def reliability(calibration: Mapping[str, Any]) -> Figure:
    """Show how often a model is right, against how certain it is.

    Parameters
    ----------
    calibration : mapping
        From `metrics.calibration`. A dot is a bin, its area the items in it; on the line the two agree.
    """
    figure = new_figure(340, 290)
    axis = figure.add_axes((46 / 340, 40 / 290, 280 / 340, 240 / 290))
    plain(axis, grid="y")
    axis.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle="--")
    certainty, accuracy, size = (
        np.array([part[key] for part in calibration["bins"]]) for key in ("certainty", "accuracy", "size")
    )
    axis.scatter(certainty, accuracy, s=14 + 220 * size / size.sum(), color=palette(1)[0], zorder=3)
    axis.set(xlim=(-0.02, 1.04), ylim=(-0.02, 1.06))
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
    bars = axis.barh(range(len(count)), count, height=0.68, color=palette(len(count)))
    axis.bar_label(bars, [f"{int(items):,}" for items in count], padding=5, fontsize=10, color=INK)
    if weights is not None:
        rows = np.arange(len(count))
        axis.vlines(np.asarray(weights) * count.sum(), rows - 0.42, rows + 0.42, color=INK, linewidth=1.2)
    name_rows(axis, range(len(count)))
    axis.set_xlim(0, max(1, float(count.max(initial=0))) * 1.16)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axis.set_xlabel("items", fontsize=10, color=MUTED)
    return figure


def curve_keys(history: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the keys of a history that can be drawn (numbers, or one a component), known ones first."""
    keys = {key for record in history for key in record} - _NO_CURVES
    drawable = [key for key in sorted(keys) if np.isfinite(_curve(history, key)).any()]
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
        for line, color in zip(lines, palette(len(lines)) if len(lines) > 1 else [INK], strict=False):
            mark = "o" if np.isfinite(line).sum() < 25 else None
            axis.plot(iteration, line, color=color, linewidth=1.8, marker=mark, markersize=3.5)
        axis.set_title(
            CURVE_TITLES.get(key, shorten(key.replace("_", " "))), loc="left", fontsize=10, color=MUTED
        )
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
    return np.array(list(zip_longest(*values, fillvalue=np.nan)))
