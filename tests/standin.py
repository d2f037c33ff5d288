"""A quick stand-in with the estimator contract: scikit-learn's mixture on flattened items."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.mixture import GaussianMixture


class StandIn(BaseEstimator):
    """Gaussian mixture with diagonal covariances that takes images and keeps a history."""

    def __init__(self, n_components: int = 2, *, random_state: int | None = None) -> None:
        self.n_components = n_components
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> StandIn:
        data = np.asarray(X)
        self.shape_, self.dtype_ = data.shape[1:], data.dtype
        self.mixture_ = GaussianMixture(
            self.n_components, covariance_type="diag", reg_covar=1e-3, random_state=self.random_state
        ).fit(data.reshape(len(data), -1).astype(float))
        self.weights_, self.n_iter_, self.converged_ = self.mixture_.weights_, 12, True
        self.labels_, self.dead_components_ = self.predict(X), []
        self.history_: list[dict[str, Any]] = [
            {
                "iteration": i,
                "changed": float(np.exp(-i / 3)),
                "seconds": 0.5 * i,
                "reinitialized": [2] if i == 3 else [],
                "critic_loss": -0.4 - 0.1 * np.sin(i),
                "generator_loss": 0.2 + 0.05 * np.cos(i),
                "classifier_loss": 2.2 * float(np.exp(-i / 4)),
                "epsilon": 0.5 * 0.8**i,
            }
            for i in range(1, 13)
        ]
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        data = np.asarray(X)
        return self.mixture_.predict_proba(data.reshape(len(data), -1).astype(float))

    def predict(self, X: Any) -> np.ndarray:
        return self.predict_proba(X).argmax(1)

    def fit_predict(self, X: Any, y: Any = None) -> np.ndarray:
        return self.fit(X).labels_

    def sample(self, n_samples: int = 1, component: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        mixture, random = self.mixture_, np.random.default_rng(0)
        which = (
            random.choice(self.n_components, n_samples, p=mixture.weights_)
            if component is None
            else np.full(n_samples, component)
        )
        noise = random.standard_normal((n_samples, mixture.means_.shape[1]))
        items = mixture.means_[which] + noise * np.sqrt(mixture.covariances_[which])
        if self.dtype_ == np.uint8:
            items = np.clip(np.round(items), 0, 255)
        return items.reshape(n_samples, *self.shape_).astype(self.dtype_), which
