"""Quality of clusterings and samples: one experiment, several seeds, one JSON record a run.

    python benchmarks/quality.py EXPERIMENT [EXPERIMENT ...] [--seeds 0 1 2 3 4] [--threads 2]

Records are appended to results/runs/EXPERIMENT.jsonl; runs that are there already are not repeated. Labels
are used for scoring only, after the fit. `python benchmarks/quality.py --list` names the experiments.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture

from genmix import (
    ClassifierEStep,
    CriticEStep,
    GANMixture,
    InformationStart,
    MStep,
    Neighbors,
    datasets,
    metrics,
)
from genmix.baselines import DCN, DEC, ClusterGAN, DynAE, StackedAutoencoder, VaDE
from genmix.baselines import GaussianMixture as GaussianMixtureByBIC
from genmix.data import Preprocessing
from judge import sample_consistency
from records import made_with, run_missing, timed

COVARIANCES = ("full", "tied", "diag", "spherical")
COMPONENTS = {"mnist-test": 10, "image-segmentation": 7, "artificial-characters-ganmm": 10, "digits": 10}


def load(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return data and labels; tables in the scaling of the GANMM paper."""
    data = datasets.load("mnist", split="test") if name == "mnist-test" else datasets.load(name)
    X = data.X
    if X.ndim == 2:
        X = Preprocessing.fit(X, "unit").apply(X).numpy().astype(float)
    return X, data.y


def ours(**arguments: Any) -> Callable[[int, int], Any]:
    """Our mixture with some arguments changed."""
    return lambda k, seed: GANMixture(k, random_state=seed, device="cpu", **arguments)


def published(preset: str, **arguments: Any) -> Callable[[int, int], Any]:
    """Set up a named preset."""
    return lambda k, seed: GANMixture.preset(preset, k, random_state=seed, device="cpu", **arguments)


class Plain:
    """A classical model on flattened data; images are reduced to 50 principal components first."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def fit(self, X: np.ndarray) -> Plain:
        """Fit and keep `labels_`."""
        flat = X.reshape(len(X), -1).astype(float)
        if X.ndim > 2:
            flat = PCA(50, random_state=0).fit_transform(flat / flat.max())
        self.labels_ = self.model.fit_predict(flat)
        self.n_iter_ = self.model.n_iter_
        return self


PLAIN = {
    "kmeans": lambda k, seed: Plain(KMeans(k, n_init=10, random_state=seed)),
    **{
        f"gmm-{kind}": lambda k, seed, kind=kind: Plain(
            GaussianMixture(
                k, covariance_type=kind, n_init=10, reg_covar=1e-3, max_iter=500, random_state=seed
            )
        )
        for kind in COVARIANCES
    },
    **{
        f"gmm-{kind}-one-start": lambda k, seed, kind=kind: Plain(
            GaussianMixture(k, covariance_type=kind, max_iter=500, random_state=seed)
        )
        for kind in COVARIANCES
    },
}


class Embedded:
    """A Gaussian mixture of the codes of a stacked autoencoder."""

    def __init__(self, k: int, seed: int) -> None:
        self.codes = StackedAutoencoder(random_state=seed, device="cpu")
        self.mixture = GaussianMixtureByBIC(k, random_state=seed)

    def fit(self, X: np.ndarray) -> Embedded:
        """Fit and keep `labels_`."""
        self.labels_ = self.mixture.fit_predict(self.codes.fit_transform(X))
        self.n_iter_ = self.mixture.n_iter_
        return self


RIVALS: dict[str, Callable[[int, int], Any]] = {
    "gmm-by-bic": lambda k, seed: GaussianMixtureByBIC(k, random_state=seed),
    "sae-gmm": Embedded,
    "dec": lambda k, seed: DEC(k, random_state=seed, device="cpu"),
    "dec-without-autoencoder": lambda k, seed: DEC.preset(
        "without-autoencoder", k, random_state=seed, device="cpu"
    ),
    "dcn": lambda k, seed: DCN(k, random_state=seed, device="cpu"),
    "vade": lambda k, seed: VaDE(k, random_state=seed, device="cpu"),
    "dynae": lambda k, seed: DynAE(k, random_state=seed, device="cpu"),
    "clustergan": lambda k, seed: ClusterGAN(k, random_state=seed, device="cpu"),
}
NO_GAN = {"e_step": ClassifierEStep(generated=False), "m_step": MStep(steps=0)}
NO_REAL = {"e_step": ClassifierEStep(real=None)}
# GANMM alone with our critics and views: nothing is learned from real items, nor before the first E-step.
GAN_ONLY = {
    "start": "random",
    "e_step": ClassifierEStep(real=None, balance=0.95, steps=20),
    "m_step": MStep(steps=25, pretrain_steps=100),
    "epsilon": ((20, 0.3), (60, 0.1), (61, 0.05)),
    "max_iter": 120,
}
METHODS: dict[str, Callable[[int, int], Any]] = {
    **PLAIN,
    **RIVALS,
    "default": ours(),
    "control-without-gan": ours(**NO_GAN),
    "default-without-real-items": ours(**NO_REAL),
    "gan-only": ours(**GAN_ONLY),
    "ganmm-2018-code": published("ganmm-2018-code"),
    "ganmm-2018-paper": published("ganmm-2018-paper"),
    "ganmm-em-raw": published("ganmm-2018-code", e_step=CriticEStep(), epsilon=0.0, max_iter=2000),
    "ganmm-em-centred": published(
        "ganmm-2018-code", e_step=CriticEStep(centred=True), epsilon=0.0, max_iter=2000
    ),
}
#: One choice of the default undone at a time.
ABLATIONS: dict[str, Callable[[int, int], Any]] = {
    "start-random": ours(start="random"),
    "start-kmeans": ours(start="kmeans"),
    "start-without-partitions": ours(start=InformationStart(steps=800, heads=1, networks=6)),
    "no-neighbors": ours(augmentation=Neighbors(n_neighbors=0)),
    "scaling-standard": ours(scaling="standard"),
    "epsilon-0": ours(epsilon=0.0),
    "wgan": ours(m_step="wgan"),
}
METHODS |= ABLATIONS
OURS = ["default", "control-without-gan", "default-without-real-items", "gan-only"]
TABLES = [*METHODS]
EXPERIMENTS = {
    **{f"mnist-test/{m}": ("mnist-test", m) for m in [*PLAIN, *RIVALS, *OURS]},
    **{
        f"{data}/{m}": (data, m)
        for data in ("image-segmentation", "artificial-characters-ganmm")
        for m in TABLES
    },
    **{f"digits/{m}": ("digits", m) for m in [*PLAIN, *OURS]},
}


def run(experiment: str, seed: int, threads: int) -> dict[str, Any]:
    """One fit, scored."""
    name, method = EXPERIMENTS[experiment]
    X, y = load(name)
    model = METHODS[method](COMPONENTS[name], seed)
    seconds = timed(lambda: model.fit(X))
    record = {"experiment": experiment, "data": name, "n": len(X), "method": method}
    record |= {"preset": method if method.startswith("ganmm-2018") else None, "alpha": 0.0, "seed": seed}
    record |= {key: round(value, 5) for key, value in metrics.scores(y, model.labels_).items()}
    record |= {"seconds": round(seconds, 1), **made_with(threads), "iterations": int(model.n_iter_)}
    if isinstance(model, GANMixture):
        record |= {"converged": model.converged_, "criterion": round(model.criterion_, 5)}
        record |= {"dead": model.dead_components_}
        if name == "mnist-test" and method != "control-without-gan":
            record["sample_consistency"] = sample_consistency(model, y)
    return record


def main() -> None:
    """Run what is missing."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("experiments", nargs="*")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    if options.list:
        print("\n".join(EXPERIMENTS))
    torch.set_num_threads(options.threads)
    for seed in options.seeds:
        for experiment in options.experiments:
            name = experiment.replace("/", "--")
            run_missing(name, seed, partial(run, experiment, seed, options.threads))


if __name__ == "__main__":
    main()
