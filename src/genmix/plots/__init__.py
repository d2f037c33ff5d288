"""Figures about a fitted mixture, and about several: what it generates, how sure it is, how it learned.

Every function returns a `matplotlib.figure.Figure` made without pyplot, so no global state is touched:
show it in a notebook or call its ``savefig``. Cluster k has colour ``palette(K)[k]`` everywhere.
"""

from __future__ import annotations

from genmix.plots.comparison import agreement, confusion, quality_and_time
from genmix.plots.components import component_samples, telling_features
from genmix.plots.fit import (
    certainty_histogram,
    cluster_sizes,
    curve_keys,
    map_2d,
    reliability,
    training_curves,
)
from genmix.plots.palette import palette, text_on

__all__ = [
    "agreement",
    "certainty_histogram",
    "cluster_sizes",
    "component_samples",
    "confusion",
    "curve_keys",
    "map_2d",
    "palette",
    "quality_and_time",
    "reliability",
    "telling_features",
    "text_on",
    "training_curves",
]
