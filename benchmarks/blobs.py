"""Clear blobs of equal and of very unequal size: every model, with its defaults, must find them.

    python benchmarks/blobs.py [ganmm fixmatch ...] [--seeds 0 1 2] [--columns 2 10] [--sizes 900/80/20]

Three Gaussian blobs, 20 standard deviations apart. Models that learn from labels get five of each class;
those that can do without are also fitted without. One line a fit: the share of the rows in the blob that is
the largest of their component (purity), the sizes of the components, dead ones, warnings and seconds.
"""

from __future__ import annotations

import argparse
import time
import warnings

import numpy as np
import torch

from genmix.base.registry import NAMED, find_class

SIZES = ("900/80/20", "340/330/330")
DISTANCE = 20.0
LABELS_PER_CLASS = 5


def blobs(sizes: tuple[int, ...], columns: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows ``[N, columns]`` of unit Gaussians whose three means are equally far apart, and their blobs."""
    rng = np.random.RandomState(seed)
    corners = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, np.sqrt(0.75)]])  # of a triangle with sides of 1
    means = np.zeros((len(sizes), columns))
    means[:, :2] = DISTANCE * corners
    means = means @ np.linalg.qr(rng.standard_normal((columns, columns)))[0]  # in all columns
    truth = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    return means[truth] + rng.standard_normal((len(truth), columns)), truth


def few_labels(truth: np.ndarray, seed: int) -> np.ndarray:
    """`LABELS_PER_CLASS` labels of each class at random, -1 elsewhere."""
    rng, y = np.random.RandomState(1000 + seed), np.full(len(truth), -1)
    for k in np.unique(truth):
        y[rng.permutation(np.flatnonzero(truth == k))[:LABELS_PER_CLASS]] = k
    return y


def purity(truth: np.ndarray, found: np.ndarray) -> float:
    """Share of the rows that are in the largest blob of their component."""
    table = np.zeros((truth.max() + 1, found.max() + 1), dtype=int)
    np.add.at(table, (truth, found), 1)
    return float(table.max(0).sum() / len(truth))


def accuracy(truth: np.ndarray, found: np.ndarray, n_components: int) -> float:
    """Share of the rows right, with components matched one to one with blobs."""
    from scipy.optimize import linear_sum_assignment

    table = np.zeros((n_components, n_components), dtype=int)
    np.add.at(table, (truth, found), 1)
    return float(table[linear_sum_assignment(-table)].sum() / len(truth))


def measure(name: str, sizes: str, columns: int, seed: int, *, labelled: bool) -> str:
    """Fit a model once and return its line."""
    X, truth = blobs(tuple(map(int, sizes.split("/"))), columns, seed)
    y = few_labels(truth, seed) if labelled else None
    model = find_class(name)(n_components=3, random_state=seed)
    start = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(X) if y is None else model.fit(X, y)
    seconds = time.perf_counter() - start
    counts = "/".join(map(str, sorted(np.bincount(model.labels_, minlength=3), reverse=True)))
    said = ",".join(sorted({w.category.__name__.removesuffix("Warning") for w in caught})) or "-"
    return (
        f"{name + ('+labels' if labelled else ''):24} {sizes:12} {columns:3} {seed:2} "
        f"purity {purity(truth, model.labels_):.3f} accuracy {accuracy(truth, model.labels_, 3):.3f} "
        f"{counts:12} dead {model.dead_components_} {said} {seconds:.1f} s"
    )


def main() -> None:
    """Fit all that was asked for, one thread."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="*", default=list(NAMED))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--columns", nargs="+", type=int, default=[2, 10])
    parser.add_argument("--sizes", nargs="+", default=SIZES)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for seed in options.seeds:
        for name in options.models:
            uses = NAMED[name].labels
            for labelled in {"none": (False,), "optional": (False, True), "needed": (True,)}[uses]:
                for sizes in options.sizes:
                    for columns in options.columns:
                        line = measure(name, sizes, columns, seed, labelled=labelled)
                        print(line, flush=True)


if __name__ == "__main__":
    main()
