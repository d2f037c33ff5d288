"""The data of the experiments: every draw, scaling and disturbance that a table or figure asks for."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from sklearn.pipeline import Pipeline

from genmix import datasets
from genmix.base.estimator import fingerprint
from genmix.base.preprocessing import Preprocessing
from genmix.baselines import Pretraining, StackedAutoencoder
from genmix.baselines.coders import Coder
from genmix.training.engine import resolve_device, resolve_precision

#: Images of each class in the tasks of the DNN-MM paper.
PER_CLASS = 1000
#: Items that a trial of the machinery draws from.
FEW = 120
#: How large an experiment is: a trial of the machinery, what two cores do in minutes, the papers' size.
Size = Literal["smoke", "cpu", "full"]
#: What the items of a task are: images, an autoencoder's codes of images, rows of measurements.
Kind = Literal["images", "codes", "table"]


@dataclass(frozen=True)
class Draw:
    """Data of one run.

    Attributes
    ----------
    X : ndarray [N, ...]
        What is fitted.
    y : ndarray of int [N]
        Its classes.
    everything : tuple of ndarray, optional
        All items and classes, where only a part of them is fitted but all are assigned.
    """

    X: np.ndarray
    y: np.ndarray
    everything: tuple[np.ndarray, np.ndarray] | None = None


@dataclass(frozen=True)
class Compute:
    """Where and in what arithmetic networks are trained; it changes no model, only its last digits.

    Parameters
    ----------
    device : str
        "auto", "cpu", "cuda", ...
    precision : {"auto", "float32", "bfloat16"}
        As in `DNNMixture`. Of both, "auto" becomes what it stands for here.
    """

    device: str = "cpu"
    precision: str = "auto"

    def __post_init__(self) -> None:
        """Settle what "auto" is: a run that is stopped goes on in the arithmetic it began in."""
        device = resolve_device(self.device)
        object.__setattr__(self, "device", str(device))
        object.__setattr__(self, "precision", resolve_precision(self.precision, device))

    def prepare(self, model: Any) -> Any:
        """Set what a model has of these arguments; a pipeline's steps each."""
        for step in [step for _, step in model.steps] if isinstance(model, Pipeline) else [model]:
            known = step.get_params(deep=False)
            step.set_params(**{name: value for name, value in asdict(self).items() if name in known})
        return model


CPU = Compute()


@dataclass(frozen=True)
class Case:
    """What a draw depends on besides the data.

    Parameters
    ----------
    seed : int
        Of everything random.
    cache : Path
        Folder for what takes time to make.
    size : {"smoke", "cpu", "full"}
        A trial of the machinery, what two cores do in minutes, or the papers' size.
    compute : Compute
        For what takes time to make.
    """

    seed: int
    cache: Path
    size: Size = "cpu"
    compute: Compute = CPU


Maker = Callable[[datasets.Dataset, Case], Draw]


@dataclass(frozen=True)
class Task:
    """A clustering problem.

    Parameters
    ----------
    title : str
        What the data are, for the heading of a table.
    n_components : int
        K.
    source : callable
        Returns the data set that draws are made of.
    make : callable
        ``(source, case) -> Draw``.
    kind : {"images", "codes", "table"}
        What the items are.
    may_show : bool
        Whether pictures made of the data may be published.
    """

    title: str
    n_components: int
    source: Callable[[], datasets.Dataset]
    make: Maker
    kind: Kind = "images"
    may_show: bool = True

    def draw(self, case: Case) -> Draw:
        """Draw the data of one run; of few items where only the machinery is tried."""
        try:
            data = self.source()
        except OSError as error:  # no network
            raise ValueError(f"the data cannot be read: {error}") from error
        if case.size == "smoke":
            index = np.random.RandomState(0).permutation(len(data.X))[:FEW]
            data = replace(data, X=np.asarray(data.X)[index], y=np.asarray(data.y)[index])
        return self.make(data, case)

    def fingerprint(self) -> str:
        """Hash of the data that all draws are made of."""
        return _source_fingerprint(self.source)


@cache
def _source_fingerprint(source: Callable[[], datasets.Dataset]) -> str:
    data = source()
    labels = fingerprint(np.asarray(data.y))
    return hashlib.sha256(f"{fingerprint(np.asarray(data.X))}{labels}".encode()).hexdigest()[:16]


@cache
def _load(name: str, split: str | None = None) -> datasets.Dataset:
    return datasets.load(name, split=split)


_MNIST, _MNIST_TEST = partial(_load, "mnist"), partial(_load, "mnist", "test")
_CIFAR10, _CELEBA, _DIGITS = (partial(_load, name) for name in ("cifar10", "celeba-hair", "digits"))
_SEGMENTATION, _CHARACTERS_GANMM, _CHARACTERS = (
    partial(_load, name)
    for name in ("image-segmentation", "artificial-characters-ganmm", "artificial-characters")
)


def _gaussian_groups(counts: tuple[int, ...] = (1500, 150, 50), distance: float = 6.0) -> datasets.Dataset:
    """Spherical Gaussian groups, a column each: so many standard deviations from the first to the others."""
    rng, k = np.random.RandomState(0), len(counts)
    centers = distance * np.vstack([np.zeros(k), np.eye(k)[: k - 1]])
    y = np.repeat(np.arange(k), counts)
    return datasets.Dataset("gaussian-groups", centers[y] + rng.standard_normal((len(y), k)), y)


def _stretched_groups(
    counts: tuple[int, ...] = (1000, 500, 300, 140, 60), columns: int = 6, distance: float = 7.0
) -> datasets.Dataset:
    """Gaussian groups with covariances of their own; the nearest two centres are `distance` apart."""
    rng, k = np.random.RandomState(0), len(counts)
    centers = rng.standard_normal((k, columns))
    apart = np.linalg.norm(centers[:, None] - centers, axis=-1)
    centers *= distance / apart[np.triu_indices(k, 1)].min()
    shapes = np.eye(columns) + 0.35 * rng.standard_normal((k, columns, columns))
    y = np.repeat(np.arange(k), counts)
    X = centers[y] + np.einsum("ni,nij->nj", rng.standard_normal((len(y), columns)), shapes[y])
    return datasets.Dataset("stretched-groups", X, y)


def _whole(data: datasets.Dataset, case: Case) -> Draw:
    return Draw(np.asarray(data.X), np.asarray(data.y))


def _unit_table(data: datasets.Dataset, case: Case) -> Draw:
    """Columns as the GANMM paper's code has them: centred, then divided by the largest deviation."""
    X = np.asarray(data.X)
    return Draw(Preprocessing.fit(X, "unit").apply(X).numpy().astype(float), np.asarray(data.y))


def _ganmm_60000(data: datasets.Dataset, case: Case) -> Draw:
    """Take the images of mnist.pkl.gz without its validation part, as the published code does."""
    index = np.r_[:50_000, 60_000:70_000]
    index = index[index < len(data.X)]  # a trial has fewer
    return Draw(np.asarray(data.X)[index], np.asarray(data.y)[index])


def _part(share: float, images: Maker, data: datasets.Dataset, case: Case) -> Draw:
    """Fit a random part, assign all."""
    whole = images(data, case)
    X, y = whole.X, whole.y
    index = np.random.RandomState(300 + case.seed).permutation(len(X))[: round(share * len(X))]
    return Draw(X[index], y[index], (X, y))


def autoencoder_folder(cache: Path, model: Coder, X: np.ndarray, compute: Compute) -> Path:
    """Choose where the pretrained autoencoder of a model is kept, for all that begin with the same one."""
    key = f"{fingerprint(X)}{compute}{model.random_state}{model.pretrained()}"
    return cache / "autoencoders" / hashlib.sha256(key.encode()).hexdigest()[:16]


def _codes(images: Maker, data: datasets.Dataset, case: Case) -> Draw:
    """Codes of a stacked autoencoder, trained once for each seed and kept; each divided by its range."""
    whole = images(data, case)
    X, y = whole.X, whole.y
    if case.size == "full":
        model = StackedAutoencoder.preset("dec-2016", random_state=case.seed)
    else:
        how = Pretraining(hidden=(16,), steps=5) if case.size == "smoke" else None
        model = StackedAutoencoder(how, random_state=case.seed)
    name = hashlib.sha256(f"{fingerprint(X)}{model.get_params(deep=False)}".encode()).hexdigest()[:16]
    kept = case.cache / f"codes-{name}.npy"
    try:
        codes = np.array(datasets.load(str(kept)).X)
    except ValueError:  # not there, or damaged
        folder = autoencoder_folder(case.cache, model, X, case.compute)
        codes = case.compute.prepare(model).fit(X, checkpoint=folder).transform(X)
        case.cache.mkdir(parents=True, exist_ok=True)
        part = kept.with_suffix(".part.npy")
        np.save(part, codes, allow_pickle=False)
        part.replace(kept)
    return Draw(codes / np.ptp(codes, 0), y)


def _choose(
    counts: tuple[int, ...], data: datasets.Dataset, seed: int
) -> tuple[np.ndarray, np.ndarray, np.random.RandomState]:
    """Draw so many images of each of the first classes; the generator goes on for what follows."""
    labels, rng = np.asarray(data.y), np.random.RandomState(100 + seed)
    chosen = [rng.permutation(np.flatnonzero(labels == c))[:n] for c, n in enumerate(counts)]
    index = rng.permutation(np.concatenate(chosen))
    return np.array(np.asarray(data.X)[index]), labels[index], rng


def _classes(counts: tuple[int, ...], data: datasets.Dataset, case: Case) -> Draw:
    X, y, _ = _choose(counts, data, case.seed)
    return Draw(X, y)


def _red_noise(counts: tuple[int, ...], data: datasets.Dataset, case: Case) -> Draw:
    """White noise on the red channel, its sd 10 % of the range; clipped."""
    X, y, rng = _choose(counts, data, case.seed)
    X[..., 0] = _noisy(X[..., 0], 0.1, rng)
    return Draw(X, y)


def _faces(data: datasets.Dataset, case: Case) -> Draw:
    """Noise of 20 % of the range on all channels, then means of 2 x 2 pixels: 32 x 32 images."""
    X, y, rng = _choose((PER_CLASS,) * 5, data, case.seed)
    n, h, w, c = X.shape
    noisy = _noisy(X, 0.2, rng).reshape(n, h // 2, 2, w // 2, 2, c)
    return Draw(noisy.mean((2, 4)).round().astype(np.uint8), y)


def _noisy(X: np.ndarray, sd: float, rng: np.random.RandomState) -> np.ndarray:
    return np.asarray((X + 255 * sd * rng.standard_normal(X.shape)).round().clip(0, 255).astype(np.uint8))


def _mnist_task(classes: int) -> Task:
    title = f"MNIST digits 0-{classes - 1}, 1,000 images each"
    return Task(title, classes, _MNIST, partial(_classes, (PER_CLASS,) * classes))


def _cifar_task(classes: int) -> Task:
    title = f"CIFAR-10 (JPEG copies) first {classes} classes, 1,000 each, 10 % noise on red"
    return Task(title, classes, _CIFAR10, partial(_red_noise, (PER_CLASS,) * classes))


TASKS: dict[str, Task] = {
    "mnist-test": Task("MNIST, raw pixels, the 10,000 test images", 10, _MNIST_TEST, _whole),
    "mnist-test-half": Task(
        "MNIST, 5,000 of the 10,000 test images, assigned on all", 10, _MNIST_TEST,
        partial(_part, 0.5, _whole),
    ),
    "mnist-test-tenth": Task(
        "MNIST, 1,000 of the 10,000 test images, assigned on all", 10, _MNIST_TEST,
        partial(_part, 0.1, _whole),
    ),
    "mnist-test-codes": Task(
        "MNIST, 10 codes of a stacked autoencoder of the 10,000 test images", 10, _MNIST_TEST,
        partial(_codes, _whole), kind="codes",
    ),
    "mnist-60000": Task("MNIST, raw pixels, the published code's 60,000 images", 10, _MNIST, _ganmm_60000),
    "mnist-60000-half": Task(
        "MNIST, half of the 60,000 images, assigned on all", 10, _MNIST, partial(_part, 0.5, _ganmm_60000)
    ),
    "mnist-60000-tenth": Task(
        "MNIST, a tenth of the 60,000 images, assigned on all", 10, _MNIST, partial(_part, 0.1, _ganmm_60000)
    ),
    "mnist-60000-codes": Task(
        "MNIST, 10 codes of DEC's stacked autoencoder of the 60,000 images", 10, _MNIST,
        partial(_codes, _ganmm_60000), kind="codes",
    ),
    "image-segmentation": Task(
        "Image Segmentation, 2,310 x 19, the paper's scaling", 7, _SEGMENTATION, _unit_table, kind="table"
    ),
    "artificial-characters-ganmm": Task(
        "Artificial Characters, GANMM's version, 30,654 x 6", 10, _CHARACTERS_GANMM, _unit_table, kind="table"
    ),
    "artificial-characters": Task(
        "Artificial Characters, OpenML's version, 10,218 x 7", 10, _CHARACTERS, _unit_table, kind="table"
    ),
    "gaussian-groups": Task(
        "Gaussian groups of 1,500, 150 and 50 rows, 3 columns, 6 standard deviations apart", 3,
        _gaussian_groups, _whole, kind="table",
    ),
    "stretched-groups": Task(
        "Gaussian groups of 1,000, 500, 300, 140 and 60 rows, 6 columns, each of its own shape", 5,
        _stretched_groups, _whole, kind="table",
    ),
    "digits": Task("scikit-learn's digits, 1,797 images of 8 x 8", 10, _DIGITS, _whole),
    "mnist-0-4": _mnist_task(5),
    "mnist-0-6": _mnist_task(7),
    "mnist-0-9": _mnist_task(10),
    "mnist-imbalanced": Task(
        "MNIST digits 0, 1, 2: 1,000, 300 and 100 images", 3, _MNIST, partial(_classes, (1000, 300, 100))
    ),
    "cifar10-3-red-noise": _cifar_task(3),
    "cifar10-5-red-noise": _cifar_task(5),
    "celeba-5-noise": Task(
        "CelebA, five kinds of hair, 1,000 each, 20 % noise, 32 x 32", 5, _CELEBA, _faces, may_show=False
    ),
}  # fmt: skip


def hide(y: np.ndarray, alpha: float, seed: int) -> np.ndarray | None:
    """Keep a share alpha of the labels, drawn evenly from all items; -1 stands for the others."""
    if not alpha:
        return None
    known = np.random.RandomState(200 + seed).permutation(len(y))[: round(alpha * len(y))]
    shown = np.full(len(y), -1)
    shown[known] = y[known]
    return shown
