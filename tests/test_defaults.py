"""Each model as a newcomer calls it: the number of components, a seed, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import make_blobs

from genmix import metrics
from genmix.base import registry

SECONDS = ("kmeans", "gmm", "ss-kmeans", "label-spreading", "self-training")  # the others train networks


@pytest.mark.parametrize(
    "name",
    [
        name if name in SECONDS else pytest.param(name, marks=[pytest.mark.slow, pytest.mark.timeout(600)])
        for name in registry.NAMED
    ],
)
def test_plain_defaults_find_separated_groups(name: str) -> None:
    X, y = make_blobs(150, centers=[[0, 0], [8, 0], [0, 8]], random_state=0)
    known = (np.where(np.arange(len(X)) % 5, -1, y),) if registry.NAMED[name].labels == "needed" else ()
    model = registry.find_class(name)(3, random_state=0).fit(X, *known)
    assert metrics.accuracy(y, model.labels_) >= 0.95
    np.testing.assert_array_equal(model.predict(X), model.labels_)
    assert np.isfinite(model.predict_proba(X)).all()
