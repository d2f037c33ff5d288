"""Models that earlier versions wrote load for ever, and answer what they answered.

``python tests/test_old_models.py`` writes those of the version at hand, once for each release.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

import genmix

KEPT = Path(__file__).parent / "data"
FOLDERS = sorted(path.parent for path in KEPT.glob("models-*/*/model.json"))


def write() -> None:
    """Fit and keep a tiny model of each kind, and beside it its answers."""
    version = KEPT / f"models-{genmix.__version__.rpartition('.')[0]}"
    version.mkdir(parents=True)  # what a release wrote is never written again
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    X = rng.normal(size=(60, 2)) + 8 * np.eye(3, 2)[y]
    dense = {"kind": "mlp", "hidden": (16,)}
    given = {"max_iter": 3, "random_state": 0, "device": "cpu"}
    gans = genmix.GANMixture(
        3, networks=dict.fromkeys(("generator", "critic", "classifier"), dense),
        start=genmix.InfoMaxInit(steps=300, rate=1e-2, heads=1, networks=1),
        m_step=genmix.MStep(steps=5, pretrain_steps=20), **given,
    )  # fmt: skip
    deep = genmix.DNNMixture(
        3, networks=dict.fromkeys(("encoder", "generator", "discriminator"), dense), latent_dim=4,
        start="kmeans", step=genmix.MinMaxStep(steps=10, encoder_lr=5e-3, encoder_pretraining=200), **given,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gans.fit(X)
        deep.fit(X, np.where(np.arange(60) < 20, 10 * y, -1))
    for model in (gans, deep):
        folder = model.save(version / type(model).__name__)
        answers = {"memberships": model.predict_proba(X), "scores": model.score_samples(X)}
        np.savez_compressed(folder.with_suffix(".npz"), X=X, y=y, labels=model.predict(X), **answers)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: f"{folder.parent.name}/{folder.name}")
def test_kept_models_answer_as_they_did(folder: Path) -> None:
    model, answers = genmix.load(folder), np.load(folder.with_suffix(".npz"))
    X = answers["X"]
    assert type(model).__name__ == folder.name
    np.testing.assert_array_equal(model.predict(X), answers["labels"])
    np.testing.assert_allclose(model.predict_proba(X), answers["memberships"], atol=1e-5)
    np.testing.assert_allclose(model.score_samples(X), answers["scores"], rtol=1e-4, atol=1e-4)
    assert genmix.metrics.accuracy(answers["y"], model.labels_) >= 0.9
    made, component = model.sample(9)
    assert made.shape == (9, 2) and np.isfinite(made).all() and set(component) <= {0, 1, 2}
    again = model.set_params(max_iter=1, tol=None).fit(X)
    assert again.n_iter_ == 1


def test_both_models_of_each_version_are_kept_and_small() -> None:
    versions = {folder.parent for folder in FOLDERS}
    assert KEPT / "models-0.1" in versions
    for version in versions:
        assert {folder.name for folder in FOLDERS if folder.parent == version} == {"GANMixture", "DNNMixture"}
    for folder in FOLDERS:
        assert sum(path.stat().st_size for path in folder.iterdir()) <= 50_000


if __name__ == "__main__":
    write()
