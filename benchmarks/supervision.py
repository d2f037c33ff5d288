"""DNN-MM with labels for a part of the data: one experiment, several seeds, one JSON record a run.

    python benchmarks/supervision.py DATA/METHOD [...] --alpha 0.1 [0.3 ...] [--seeds 0 1 2 3 4] [--threads 2]

DATA is one of TASKS (1,000 images of a class, as in Pande & Awate 2020), METHOD one of METHODS. A seed
fixes the subset of the images, which of them have labels (alpha of all), and the model. Scores are of the
images without labels only; of all where alpha is 1. Records are appended to
results/runs/DATA--METHOD--alpha-A.jsonl; runs that are there already are not repeated.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from genmix import Affine, DNNMixture, InformationStart, MinMaxStep, datasets, metrics
from genmix.baselines import (
    ClusterGAN,
    DynAE,
    FixMatch,
    LabelSpreading,
    SelfTraining,
    SemiSupervisedKMeans,
    SupervisedOnly,
)
from genmix.dnnmm_plan import PRESETS
from judge import sample_consistency
from records import made_with, run_missing, timed

#: Data set, classes, images of each class.
TASKS: dict[str, tuple[str, list[int], list[int]]] = {
    "mnist-0-4": ("mnist", [0, 1, 2, 3, 4], [1000] * 5),
    "mnist-0-6": ("mnist", list(range(7)), [1000] * 7),
    "mnist-0-9": ("mnist", list(range(10)), [1000] * 10),
    "mnist-imbalanced": ("mnist", [0, 1, 2], [1000, 300, 100]),
    "cifar10-3-red-noise": ("cifar10", [0, 1, 2], [1000] * 3),
}


def load(task: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw the images of a task and their classes."""
    name, classes, counts = TASKS[task]
    data, rng = datasets.load(name), np.random.RandomState(100 + seed)
    labels = np.asarray(data.y)
    chosen = [rng.permutation(np.flatnonzero(labels == c))[:n] for c, n in zip(classes, counts, strict=True)]
    index = rng.permutation(np.concatenate(chosen))
    X = np.array(data.X[index])
    if task.endswith("red-noise"):  # sd of 10 % of the range on the red channel, clipped, as in the paper
        red = X[..., 0] + 25.5 * rng.standard_normal(X.shape[:3])
        X[..., 0] = red.round().clip(0, 255)
    return X, labels[index]


def hide(y: np.ndarray, alpha: float, seed: int) -> np.ndarray | None:
    """Keep a share alpha of the labels, drawn evenly from all items; -1 stands for the others."""
    if not alpha:
        return None
    known = np.random.RandomState(200 + seed).permutation(len(y))[: round(alpha * len(y))]
    shown = np.full(len(y), -1)
    shown[known] = y[known]
    return shown


class OverClustered:
    """More components than classes, merged where two views of an item go to both; no labels are used."""

    def __init__(self, k: int, seed: int, times: int = 3) -> None:
        self.k, self.model = k, DNNMixture(times * k, generate=False, random_state=seed, device="cpu")

    def fit(self, X: np.ndarray, y: np.ndarray | None) -> OverClustered:
        """Fit, then merge the pair of highest normalised overlap until K are left."""
        p = self.model.fit(X, y).predict_proba(X)
        another = Affine()(self.model._items(X), torch.Generator().manual_seed(0))
        seen = self.model._memberships(another)
        groups = [[i] for i in range(p.shape[1])]
        while len(groups) > self.k:
            a = np.stack([p[:, g].sum(1) for g in groups], 1)
            b = np.stack([seen[:, g].sum(1) for g in groups], 1)
            both = a.T @ b / len(X)
            size = np.sqrt(np.outer(a.mean(0), b.mean(0)))
            overlap = (both + both.T) / np.maximum(size, 1e-9)
            np.fill_diagonal(overlap, -1)
            i, j = sorted(np.unravel_index(overlap.argmax(), overlap.shape))
            groups[i] += groups.pop(j)
        merged = np.empty(p.shape[1], dtype=int)
        for number, group in enumerate(groups):
            merged[group] = number
        self.labels_ = merged[self.model.labels_]
        self.weights_ = np.bincount(self.labels_, minlength=self.k) / len(X)
        self.n_iter_ = self.model.n_iter_
        return self


def relaxed(balance: float, **arguments: Any) -> Callable[[int, int], Any]:
    """Start that asks less, or more, for groups of equal size; the default's balance is 2."""
    start = InformationStart(networks=3, trial_steps=400, balance=balance)
    return ours(generate=False, start=start, **arguments)


def ours(**arguments: Any) -> Callable[[int, int], Any]:
    """Our mixture with some arguments changed."""
    return lambda k, seed: DNNMixture(k, random_state=seed, device="cpu", **arguments)


def published(**arguments: Any) -> Callable[[int, int], Any]:
    """Set up the published procedure, or a stage of it."""
    return lambda k, seed: DNNMixture.preset("dnnmm-2020", k, random_state=seed, device="cpu", **arguments)


PAPER: MinMaxStep = PRESETS["dnnmm-2020"]["step"]
METHODS: dict[str, Callable[[int, int], Any]] = {
    "default": ours(),
    "clusters-only": ours(generate=False),
    "labels-only": lambda k, seed: SupervisedOnly(k, random_state=seed, device="cpu"),
    "balance-1.2": relaxed(1.2),
    "balance-1": relaxed(1.0),
    "balance-0.7": relaxed(0.7),
    "start-kmeans": ours(generate=False, start="kmeans"),
    "start-gmm-full": ours(generate=False, start="gmm-full"),
    "start-spectral": ours(generate=False, start="spectral"),
    "over-clustered": OverClustered,
    "label-spreading": lambda k, seed: LabelSpreading(k, random_state=seed),
    "self-training": lambda k, seed: SelfTraining(k, random_state=seed),
    "fixmatch": lambda k, seed: FixMatch(k, random_state=seed, device="cpu"),
    "dynae-ss": lambda k, seed: DynAE(k, random_state=seed, device="cpu"),
    "clustergan-ss": lambda k, seed: ClusterGAN(k, random_state=seed, device="cpu"),
    "dnnmm-2020": published(),
    "dnnmm-2020-kmeans": lambda k, seed: SemiSupervisedKMeans(k, random_state=seed),
    "dnnmm-2020-encoder": published(generate=False, step=replace(PAPER, steps=0), max_iter=1),
    "dnnmm-2020-em": published(generate=False),
}


def run(task: str, method: str, alpha: float, seed: int, threads: int) -> dict[str, Any]:
    """One fit, scored on what had no label."""
    X, y = load(task, seed)
    shown = hide(y, alpha, seed)
    model = METHODS[method](len(TASKS[task][1]), seed)
    seconds = timed(lambda: model.fit(X, shown))
    unlabelled = np.ones(len(y), bool) if shown is None or alpha == 1 else shown == -1
    found = model.predict(X) if alpha == 1 and hasattr(model, "predict") else model.labels_
    record = {"experiment": f"{task}/{method}", "data": task, "n": len(X), "method": method}
    preset = "dnnmm-2020" if method.startswith("dnnmm-2020") else None
    record |= {"preset": preset, "alpha": alpha, "seed": seed}
    scores = metrics.scores(y[unlabelled], found[unlabelled])
    record |= {key: round(value, 5) for key, value in scores.items()}
    record |= {"seconds": round(seconds, 1), **made_with(threads), "iterations": int(model.n_iter_)}
    if isinstance(model, DNNMixture | OverClustered):
        record |= {"weights": np.round(model.weights_, 4).tolist()}
    if isinstance(model, DNNMixture):
        record |= {"converged": model.converged_, "criterion": round(model.criterion_, 5)}
        if task.startswith("mnist") and model.generate:
            record["sample_consistency"] = sample_consistency(model, y)
    return record


def main() -> None:
    """Run what is missing."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("experiments", nargs="+")
    parser.add_argument("--alpha", nargs="+", type=float, default=[0.1])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for seed in options.seeds:
        for alpha in options.alpha:
            for experiment in options.experiments:
                task, method = experiment.split("/")
                name = f"{task}--{method}--alpha-{alpha:g}"
                run_missing(name, seed, partial(run, task, method, alpha, seed, options.threads))


if __name__ == "__main__":
    main()
