"""Arrays of a fit that figures show: samples, a map of the encodings, a walk between two components."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from genmix.datasets.arrays import Archive
from genmix.dnnmm.model import DNNMixture
from genmix.experiments.tasks import Draw

#: Samples of each component, items on a map, steps of a walk.
N_SAMPLES, N_MAPPED, N_STEPS = 10, 1000, 9
#: Ends of the walk: the classes of the paper's Figure 4.
WALK = (1, 3)


def samples(model: Any, drawn: Draw) -> dict[str, np.ndarray]:
    """Generate items ``[K, 10, ...]``."""
    made = [model.sample(N_SAMPLES, component=k)[0] for k in range(model.n_components)]
    return {"samples": np.stack(made)}


def encodings(model: Any, drawn: Draw) -> dict[str, np.ndarray]:
    """Map the encodings of up to 1,000 items to the plane by t-SNE, ``[N, 2]``."""
    from sklearn.manifold import TSNE

    index = np.random.RandomState(0).permutation(len(drawn.X))[:N_MAPPED]
    codes = model.transform(drawn.X[index])
    few = min(30.0, (len(index) - 1) / 3)
    plane = TSNE(perplexity=few, init="pca", random_state=0).fit_transform(codes)
    return {"map": plane.astype(np.float32), "classes": drawn.y[index]}


def walk(model: Any, drawn: Draw) -> dict[str, np.ndarray]:
    """Images on the straight way between the means of the components of classes 1 and 3."""
    start, stop = (component_of(model, drawn, c) for c in WALK)
    if isinstance(model, DNNMixture):
        return {"walk": model.interpolate(start, stop, N_STEPS)}
    share = np.linspace(0, 1, N_STEPS)[:, None]
    # ClusterGAN: no noise, and the shares of the two components; otherwise centres among the codes
    noise = getattr(model, "latent_dim", 0)
    points = np.pad(np.eye(model.n_components), ((0, 0), (noise, 0))) if noise else model.centers_
    return {"walk": model.inverse_transform((1 - share) * points[start] + share * points[stop])}


def component_of(model: Any, drawn: Draw, label: int) -> int:
    """Component that holds most items of a class."""
    return int(np.bincount(model.labels_[drawn.y == label]).argmax())


MAKERS: dict[str, Callable[[Any, Draw], dict[str, np.ndarray]]] = {
    "samples": samples,
    "encodings": encodings,
    "walk": walk,
}
_ARRAYS = {"samples": ("samples",), "encodings": ("map", "classes"), "walk": ("walk",)}


def has(record: Mapping[str, Any], path: Path, needs: Sequence[str]) -> bool:
    """Whether a run's record and file hold what is needed."""
    wanted = [name for need in needs if need in _ARRAYS for name in _ARRAYS[need]]
    if any(need not in record for need in needs if need not in _ARRAYS):
        return False
    return not wanted or set(wanted) <= set(read_arrays(path))


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read a run's file; nothing of one that is not there or damaged, which is then made again."""
    if not path.exists():
        return {}
    try:
        return dict(Archive(path))
    except ValueError:
        return {}


def keep(path: Path, needs: Sequence[str], model: Any, drawn: Draw) -> None:
    """Add what is needed to a run's file, written whole."""
    needs = [need for need in needs if need in MAKERS]
    if not needs:
        return
    arrays = read_arrays(path)
    for need in needs:
        arrays |= MAKERS[need](model, drawn)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part.npz")
    np.savez_compressed(part, **arrays)  # type: ignore[arg-type]
    part.replace(path)


__all__ = ["MAKERS", "component_of", "encodings", "has", "keep", "read_arrays", "samples", "walk"]
