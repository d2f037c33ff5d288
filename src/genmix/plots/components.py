"""Pictures of what the components generate, beside real data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from genmix.plots.axes import INK, MUTED, Margins, draw_range, name_rows, new_figure, panels, plain, shorten
from genmix.plots.palette import palette
from genmix.plots.pictures import image_style, is_images, mosaic, to_rgba

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_FEATURES = 20  # rows of a table panel a reader still takes in


def component_samples(
    samples_by_component: Mapping[int, ArrayLike],
    nearest_by_component: Mapping[int, ArrayLike],
    *,
    reference: ArrayLike | None = None,
    feature_names: Sequence[str] | None = None,
    n_components: int | None = None,
) -> Figure:
    """Show what each component generates beside real data.

    Parameters
    ----------
    samples_by_component : dict of int to array
        Component to its generated items: images [n,H,W], [n,H,W,C], [n,C,H,W], or table rows [n, d].
    nearest_by_component : dict of int to array
        Component to real items: for images the nearest one to each generated image, in the same order; for
        tables the real rows of the cluster.
    reference : array, optional
        All real data; sets pixel range, or mean and deviation of each feature. Default: the real items given.
    feature_names : sequence of str, optional
        Names of the d features of a table.
    n_components : int, optional
        Number of components of the model (for the colours). Default: the largest key + 1.

    Returns
    -------
    Figure
        Images: a row for each component, generated left, nearest real right. Tables: a panel for each
        component; lines span the 10th to 90th percentile of each feature in deviations from the mean of
        all data, dots are medians, coloured for generated and grey for real rows. At most the 20 features
        that differ most between components.

    Raises
    ------
    ValueError
        If no component is given, or none with a real item while there is no reference.
    """
    if not samples_by_component:
        raise ValueError("samples_by_component is empty; give the generated items of at least one component.")
    components = sorted(samples_by_component)
    colors = palette(n_components or components[-1] + 1)
    real = {k: np.asarray(nearest_by_component.get(k, ())) for k in components}
    samples = {k: np.asarray(samples_by_component[k]) for k in components}
    if reference is None:
        items = [part for part in real.values() if len(part)]
        if not items:
            raise ValueError("nearest_by_component has no items; give reference=X, the real data.")
        reference = np.concatenate(items)
    if is_images(reference):
        return _image_rows(samples, real, np.asarray(reference), colors)
    return _table_panels(samples, real, np.asarray(reference, dtype=np.float64), feature_names, colors)


def _image_rows(
    samples: dict[int, NDArray], real: dict[int, NDArray], reference: NDArray, colors: list[str]
) -> Figure:
    style = image_style(reference)
    shown = max(1, max(len(part) for part in samples.values()))
    height = 34 * len(samples) + 24
    figure = new_figure(2 * 26 * shown + 60, height)
    axes = figure.subplots(len(samples), 2, squeeze=False)
    figure.subplots_adjust(0.04, 0.01, 0.99, 1 - 24 / height, 0.04, 0.1)
    for row, k in zip(axes, samples, strict=True):
        for axis, items, ink in ((row[0], samples[k], colors[k]), (row[1], real[k], INK)):
            axis.set_axis_off()
            if len(items):
                axis.imshow(mosaic(to_rgba(items, style, ink), shown), interpolation="nearest")
        row[0].set_title(str(k), loc="left", x=-0.06, y=0.2, fontsize=11, color=colors[k], fontweight="bold")
    for axis, name in zip(axes[0], ("generated", "nearest real"), strict=True):
        axis.text(0, 1.25, name, transform=axis.transAxes, fontsize=10, color=MUTED)
    return figure


def telling_features(
    parts: Sequence[NDArray], reference: NDArray, limit: int = MAX_FEATURES
) -> NDArray[np.intp]:
    """Return the columns, in table order, whose mean differs most between groups of rows.

    Parameters
    ----------
    parts : sequence of array [n_k, d]
        The groups; empty ones are passed over.
    reference : array [N, d]
        All rows; differences are measured in its standard deviations.
    limit : int, default=20
        Largest number of columns returned.
    """
    center, spread = _center_spread(reference)
    means = np.array([((part - center) / spread).mean(0) for part in parts if len(part)])
    between = means.std(0) if len(means) else np.zeros(reference.shape[1])
    return np.sort(np.argsort(-between, kind="stable")[:limit])


def _center_spread(reference: NDArray) -> tuple[NDArray, NDArray]:
    spread = reference.std(0)
    return reference.mean(0), np.where(spread > 0, spread, 1.0)


def _table_panels(
    samples: dict[int, NDArray],
    real: dict[int, NDArray],
    reference: NDArray,
    feature_names: Sequence[str] | None,
    colors: list[str],
) -> Figure:
    center, spread = _center_spread(reference)
    columns = telling_features(list(real.values()), reference)
    if feature_names is None or len(feature_names) != reference.shape[1]:
        feature_names = [f"feature {i}" for i in range(reference.shape[1])]
    names = [shorten(feature_names[i]) for i in columns]
    margins = Margins(left=6 * max(map(len, names)) + 8, bottom=26, top=18 if len(samples) > 1 else 2)
    figure, axes = panels(len(samples), 300, 17 * len(columns) + 40, margins)
    for axis, k in zip(axes, samples, strict=True):
        plain(axis, grid="x")
        for items, color, shift in ((real[k], MUTED, 0.2), (samples[k], colors[k], -0.2)):
            if len(items):
                scaled = ((np.asarray(items, dtype=np.float64) - center) / spread)[:, columns]
                draw_range(axis, scaled.clip(-3, 3), np.arange(len(columns)) + shift, color)
        name_rows(axis, names)
        axis.set_xlim(-3.1, 3.1)
        axis.set_xticks([-2, 0, 2], ["-2", "mean", "+2"], fontsize=10)
        if len(samples) > 1:
            axis.set_title(str(k), color=colors[k], fontsize=11, fontweight="bold", loc="left")
    return figure
