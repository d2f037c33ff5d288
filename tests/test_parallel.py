"""Threads and processes beside one another: what each computes is what it computes alone."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.model_selection import GridSearchCV

import genmix
from genmix import ClassifierEStep, DNNMixture, GANMixture, InfoMaxInit, MinMaxStep, MStep, metrics
from genmix.baselines import DEC, ClusterGAN, Pretraining

INIT = InfoMaxInit(steps=4, n_heads=2, n_candidates=1, partitions=("kmeans",))
E_STEP = ClassifierEStep(steps=3)


def network_of_the_user(in_shape: tuple[int, ...], out_dim: int) -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Linear(in_shape[0], 6), torch.nn.ReLU(), torch.nn.Linear(6, out_dim))


MODELS: dict[str, Callable[..., Any]] = {
    "GANMixture": lambda seed, **a: GANMixture(
        3, init=INIT, e_step=E_STEP, m_step=MStep(steps=2, pretrain_steps=2), max_iter=2,
        random_state=seed, **a,
    ),
    "DNNMixture": lambda seed, **a: DNNMixture(
        3, init=INIT, m_step=MinMaxStep(steps=5, encoder_pretrain_steps=5, generator_pretrain_steps=5),
        max_iter=2, random_state=seed, **a,
    ),
    "GANMixture of own networks": lambda seed: MODELS["GANMixture"](seed, networks=network_of_the_user),
    "DNNMixture of own networks": lambda seed: MODELS["DNNMixture"](seed, networks=network_of_the_user),
    "DEC": lambda seed: DEC(3, pretraining=Pretraining((16,), 2, steps=5), max_iter=2, random_state=seed),
    "ClusterGAN": lambda seed: ClusterGAN(3, steps_per_iteration=5, max_iter=1, random_state=seed),
}  # fmt: skip
each = pytest.mark.parametrize("name", MODELS)


def fitted(name: str, seed: int, X: np.ndarray) -> Any:
    return MODELS[name](seed).fit(X)


@pytest.fixture(autouse=True)
def _short_fits_do_not_converge() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@each
def test_eight_threads_predict_as_one(name: str, blobs: Any) -> None:
    model, X = fitted(name, 0, blobs[0]), blobs[0]
    alone = model.predict_proba(X)
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda _: model.predict_proba(X), range(50)))
    for memberships in together:
        np.testing.assert_array_equal(memberships, alone)


@each
def test_two_fits_in_two_threads_are_the_fits_alone(name: str, blobs: Any) -> None:
    X = blobs[0]
    alone = [fitted(name, seed, X) for seed in (0, 1)]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(lambda seed: fitted(name, seed, X), (0, 1)))
    for one, other in zip(alone, together, strict=True):
        assert one._tensors().keys() == other._tensors().keys()
        for key, tensor in one._tensors().items():
            np.testing.assert_array_equal(tensor.numpy(), other._tensors()[key].numpy())


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts by what Linux shows")
@pytest.mark.parametrize("name", ["GANMixture", "DNNMixture"])
def test_no_file_and_no_process_is_left(name: str, blobs: Any, tmp_path: Path) -> None:
    def left() -> tuple[int, str]:
        children = Path(f"/proc/self/task/{os.getpid()}/children")
        return len(os.listdir("/proc/self/fd")), children.read_text() if children.exists() else ""

    def work(folder: Path) -> None:
        model = MODELS[name](0).set_params(init="kmeans").fit(blobs[0], checkpoint=folder / "kept")
        again = genmix.load(model.save(folder / "model"))
        again.predict(blobs[0])
        again.sample(3)

    work(tmp_path / "first")  # whatever the first use opens for good
    before = left()
    work(tmp_path / "second")
    assert left() == before


def ari(model: Any, X: np.ndarray, y: np.ndarray) -> float:
    return metrics.adjusted_rand_index(y, model.predict(X))


@pytest.mark.parametrize("name", [pytest.param("GANMixture", marks=pytest.mark.slow), "DNNMixture"])
def test_a_search_by_two_processes_finds_what_one_finds(name: str, blobs: Any) -> None:
    X, y = blobs
    found = []
    for n_jobs in (1, 2):
        search = GridSearchCV(
            MODELS[name](0).set_params(init="kmeans"),
            {"n_components": [3, 4], "tol": [None, 0.01]},
            scoring=ari,
            cv=2,
            n_jobs=n_jobs,
        )
        found.append(search.fit(X[::3], y[::3]))
    assert np.isfinite(found[0].cv_results_["mean_test_score"]).all()
    np.testing.assert_array_equal(
        found[0].cv_results_["mean_test_score"], found[1].cv_results_["mean_test_score"]
    )
