"""What the systems that we compare with share: labels, history, how a fit ends."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from torch import Tensor

from genmix.base.estimator import BaseClusterer, check_losses, fingerprint
from genmix.training.supervision import encode_labels


class Baseline(BaseClusterer):
    """A clusterer from elsewhere. Subclasses implement `fit`, `_log_proba`, `_tensors`, `_from_tensors`."""

    def _read_labels(self, y: Any, n: int) -> np.ndarray | None:
        """Components ``[N]`` of labelled items, -1 for the others, or None; sets `classes_`."""
        found = encode_labels(y, n, self.n_components)
        self.classes_ = np.empty(0, dtype=np.int64) if found is None else found[0]
        return None if found is None else found[1]

    def _need_labels(self, y: Any, n: int) -> np.ndarray:
        """`_read_labels` of a model that cannot do without."""
        known = self._read_labels(y, n)
        if known is None:
            raise ValueError(
                f"{type(self).__name__} learns from labels: give y, a class for some items, -1 for the others"
            )
        return known

    def _record(self, begun: float, **values: float) -> None:
        """Append an iteration to `history_`."""
        number = len(self.history_) + 1
        check_losses(values, number)
        self.history_.append({"iteration": number, **values, "seconds": time.perf_counter() - begun})

    def _conclude(self, X: np.ndarray, items: Tensor, known: np.ndarray | None = None) -> None:
        """Assign the data a last time, keep given components ``known [N]`` (-1: none), say what is wrong."""
        self.n_iter_ = len(self.history_)
        self.fingerprint_ = fingerprint(X)
        self._assign_last(items)
        if known is not None:
            self.labels_ = np.where(known >= 0, known, self.labels_)
        counts = np.bincount(self.labels_, minlength=self.n_components)
        self.weights_ = counts / len(X)
        self.dead_components_ = np.flatnonzero(counts == 0).tolist()
        self._warn_of_components("stand for no data")


__all__ = ["Baseline"]
