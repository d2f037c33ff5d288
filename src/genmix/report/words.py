"""The captions of a report: what one sees and how to read it."""

from __future__ import annotations

GENERATED_IMAGES = (
    "Above: images drawn by the generator of each cluster. Below each: the real image closest to it. "
    "A good generator makes images that are like their neighbour but not the same."
)
_RANGES = (
    "Each line of a card is a feature, in standard deviations from the mean of all data, cut at three. The "
    "bar spans the middle 80 % of its values, the dot is the median: "
)
GENERATED_ROWS = _RANGES + (
    "coloured for rows the component generated, grey for the real rows of the cluster. Where the two agree, "
    "the generator has learned its cluster."
)
TYPICAL_IMAGES = (
    "Above: the images that the model is surest of. Below: those it is least sure of. This model generates "
    "nothing."
)
TYPICAL_ROWS = (
    f"{_RANGES}coloured for the rows of the cluster, grey for all rows. This model generates nothing."
)
RECOGNISED = (
    " “Recognised” is the share of {n} generated {what} that the model puts back into the cluster "
    "they came from."
)
MAP = (
    "Items that are alike lie close together. The places, by {method}, come from the data alone; the colours "
    "come from the model. One island in one colour is a clear cluster; mixed colours or pale points are "
    "where the model has to choose. Distances between far islands mean little."
)
CERTAINTY = (
    "Bars: share of all items. Dots: the median of each cluster, with its middle 80 %. Further right is "
    "surer."
)
CLUSTER_TABLE = "Certainty is the largest membership of an item, averaged over the cluster."
CLUSTER_PURITY = " Purity is the share of the majority class."
CONFUSION = (
    "Rows are clusters, columns are classes, numbers are items. The stronger a cell, the larger its share of "
    "the cluster. One strong cell in each row and column: the clusters are the classes."
)
RELIABILITY = (
    "Dots: items grouped by the certainty of the model; their area is the number of items. On the dashed "
    "line the model is right as often as it is sure; below it, it is too sure of itself. Expected "
    "calibration error: {error:.3f}."
)
DOUBTFUL = (
    "The two clusters each item lies between, and its membership in them. A label from you would teach most "
    "here."
)
DOUBTFUL_CLASS = " Below: its known class."
CURVES = "One point for each EM iteration."
CURVES_CHANGED = " Near zero changes of cluster, the partition has settled."
CURVES_LOSSES = " The losses of adversarial networks need not fall: steady is good, running away is not."
CURVES_REINITIALIZED = " Components that had died and were reinitialized: {which}."
SETTINGS = "Parameters of {name}; values that differ from the default are emphasised."
