"""The demonstration: two real data sets, several ways to cluster them, one page to look at."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from genmix.cli import comparing
from genmix.cli.inputs import match_columns
from genmix.cli.tables import say
from genmix.report.page import Section, Table

#: Data set, its title on the page, what it is, and the models compared on it.
DATA = (
    (
        "digits",
        "Handwritten digits",
        "Small scans of the digits 0 to 9.",
        ("kmeans", "gmm", "ganmm", "dnnmm"),
    ),
    (
        "image-segmentation",
        "Image segmentation",
        "Patches of outdoor photographs: brick, sky, foliage, cement, window, path or grass. The models saw "
        "19 numbers on the place, colours and edges of each patch.",
        ("kmeans", "gmm", "ganmm"),
    ),
)

#: Half of the usual iterations: a few minutes for the whole demonstration.
SETTINGS = {"dnnmm": {"max_iter": 10, "tol": None}}

SHOWN = 0.1  # of the labels, to the model that learns from them

#: What the page says of a model that has a section of its own.
MODELS = {
    "ganmm": "A mixture of GANs: each cluster is learned by a small generative network that competes for the "
    "data. It saw no label.",
    "dnnmm": "One network generates all components here. {n_shown:,} of the {n:,} came with the name of "
    "their class; the table above scores the items without a label.",
}

READING = Table(
    ["column", "what it says"],
    (
        ("labels", "whether the model used the labels shown to it; one that did is no rival of the others"),
        ("accuracy", "share of items that are right when each cluster stands for one class"),
        ("ARI", "agreement on pairs of items: together or apart; 0 is chance (adjusted Rand index)"),
        ("NMI", "information that clusters and classes share; 0 is none (geometric mean)"),
        ("purity", "share of items that belong to the majority class of their cluster"),
        ("seconds", "time of the fit on this machine; for gmm, of all four kinds of covariance"),
    ),
    note="Higher is better and 1 is perfect, but for seconds. One run of each model: small differences mean "
    "little, another seed can turn them round. kmeans and gmm are scikit-learn's k-means and Gaussian "
    "mixture with several starts, the mixture's covariance chosen by BIC, which needs no labels.",
    prose=True,
)


def run_demo(out: Path, seed: int = 0) -> Path:
    """Compare classical and deep mixtures on two embedded data sets; print the tables and write a report.

    Parameters
    ----------
    out : Path
        Folder for ``report.html``, and for a folder of each data set as `genmix compare` writes it, with the
        fitted models; those that are there are not fitted again.
    seed : int, default=0
        Seed of every model.

    Returns
    -------
    Path
        The report.

    Raises
    ------
    OSError
        If the report cannot be written.
    """
    from genmix import datasets, load, report

    comparisons, sections = [], []
    for name, title, lead, models in DATA:
        data = datasets.load(name)
        n_components = len(np.unique(np.asarray(data.y)))
        say(f"\n{title}: {len(data.X):,} items, {n_components} clusters")
        compared = comparing.run(
            data, n_components, data.y, out=out / name, names=models, shown=SHOWN, seeds=(seed,),
            settings={model: SETTINGS[model] for model in models if model in SETTINGS},
        )  # fmt: skip
        scored = comparing.what_is_scored(compared)
        comparisons.append(
            report.comparison_section(
                compared.table(), compared.agreement, compared.names, title=f"{title}: the comparison",
                lead=f"{lead} Every model was told the number of clusters; {scored}.",
            )
        )  # fmt: skip
        for run in compared.runs:
            if run.model in MODELS and not run.error:
                model = load(out / name / run.folder)
                sections.append(
                    report.model_section(
                        model, match_columns(model, data).X, y=data.y,
                        title=f"{title}: {type(model).__name__}",
                        lead=MODELS[run.model].format(n_shown=compared.n_shown, n=len(data.X)),
                        class_names=data.class_names, feature_names=data.feature_names,
                        seconds=run.seconds, max_map_points=1000,
                    )
                )  # fmt: skip
    path = report.write_page(
        out / "report.html",
        "What deep mixtures find",
        [*comparisons, Section("How to read these numbers", blocks=[READING]), *sections],
        subtitle="Two real data sets, clustered without labels, and one of them once with a few.",
    )
    say(f"\nReport: {path}")
    return path
