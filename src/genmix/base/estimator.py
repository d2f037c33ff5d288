"""The estimator contract shared by all models."""

from __future__ import annotations

import hashlib
import inspect
import math
import os
import warnings
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import numpy as np
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor, nn

from genmix.base import persistence
from genmix.base.calls import make_whole, whole
from genmix.base.device import on_host, resolve_device
from genmix.base.encoding import decode, encode, rename_settings
from genmix.base.nested import nested_parameters, replace_nested
from genmix.base.preprocessing import FARTHEST, Preprocessing, as_array, finite, is_images
from genmix.base.restoring import History, array, at_most, indices
from genmix.base.validation import (
    Finite,
    Interval,
    PositiveInt,
    Seed,
    Settings,
    Share,
    check_arguments,
    check_values,
    is_whole,
    one_line,
    printable,
    short_repr,
)

#: EM has converged when so many iterations in a row change at most `tol` of the assignments.
PATIENCE = 3


class _InvalidItems(TypeError, ValueError):
    """Items that are no numbers: scikit-learn promises TypeError for some, we ValueError for all."""


class DeadComponentWarning(UserWarning):
    """A component stands for no data, or its generator makes one and the same item."""


class DuplicateComponentWarning(UserWarning):
    """Two components share their items: the model cannot tell them apart."""


class UnstablePartitionWarning(UserWarning):
    """The partition parts near neighbours far more often than that of plain k-means does."""


#: Two components whose memberships are so alike (`share_items`) count as one found twice.
ALIKE = 0.9
#: No loss of a training that goes well comes near this.
LOSS_LIMIT = 1e10


def share_items(memberships: np.ndarray, alike: float = ALIKE) -> list[tuple[int, int]]:
    """Find pairs of components, in ascending order, whose memberships ``[N, K]`` go to the same items.

    That is where the cosine of their columns is `alike` at least: near 0 for components that are told apart,
    1 for those that are not. Components without any item are in no pair.
    """
    length = np.linalg.norm(memberships, axis=0)
    cosine = memberships.T @ memberships / np.maximum(np.outer(length, length), np.finfo(float).tiny)
    live = memberships.sum(0) >= 1e-3  # of an item
    first, second = np.nonzero(np.triu(cosine >= alike, 1) & live & live[:, None])
    return list(zip(first.tolist(), second.tolist(), strict=True))


def parts_more(parted: float, by_kmeans: float) -> bool:
    """Whether components part near neighbours (`partitions.parted_neighbors`) far more than k-means does."""
    return parted > 2 * by_kmeans + 0.01


def check_losses(values: Mapping[str, float], iteration: int) -> None:
    """Stop a training that has diverged: FloatingPointError where a loss is beyond `LOSS_LIMIT`, or NaN."""
    if not all(abs(value) < LOSS_LIMIT for value in values.values()):  # NaN is not, either
        losses = ", ".join(f"{name} {value:.3g}" for name, value in values.items())
        raise FloatingPointError(
            f"training diverged in iteration {iteration} ({losses}); lower the learning rates, or look for "
            "outliers in the data"
        )


class BaseModel(BaseEstimator):
    """What every estimator of genmix does: check its input, and go to a folder and back.

    Subclasses implement `fit`, `_tensors` and `_from_tensors`.
    """

    #: Dataclasses that may stand among the constructor's arguments, by name: what a saved model may name.
    _settings: ClassVar[dict[str, type]] = {}

    #: What None and names among the arguments stand for: a function of them, None for what has no settings.
    _default_settings: ClassVar[dict[str, Callable[[Any], Settings | None]]] = {}

    #: Fitted attributes that not every fit sets, and those that genmix 0.1 did not know.
    _not_always: ClassVar[frozenset[str]] = frozenset(
        ("n_iter_", "converged_", "feature_names_in_", "fingerprint_")
    )

    def _fitted(self) -> dict[str, Any]:
        """Declare the fitted attributes that go to a folder, by annotations as those of arguments."""
        numbers = math.prod(self.preprocessing_.shape)
        return {
            "n_iter_": int,
            "converged_": bool,
            "history_": History,
            "n_features_in_": Annotated[int, Interval(f"[{numbers}, {numbers}]")],
            "feature_names_in_": array(numbers, dtype="object"),
            "fingerprint_": str,
        }

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """See to it that a fit happens whole or not at all."""
        super().__init_subclass__(**kwargs)
        make_whole(cls)

    @whole
    @abstractmethod
    def fit(self, X: Any, y: Any = None) -> Self:
        """Fit the model."""

    @abstractmethod
    def _tensors(self) -> dict[str, Tensor]: ...

    @abstractmethod
    def _from_tensors(self, tensors: dict[str, Tensor]) -> None: ...

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Arguments by name.

        Parameters
        ----------
        deep : bool
            Those inside settings objects too, as ``m_step__steps``, what None and names stand for included.
        """
        params: dict[str, Any] = super().get_params(deep)
        return params | nested_parameters(self, params) if deep else params

    def _get_params_html(self, deep: bool = True, *args: Any, **kwargs: Any) -> Any:
        """Let notebooks show a settings object in one row."""
        return super()._get_params_html(False, *args, **kwargs)

    def set_params(self, **params: Any) -> Self:
        """Set arguments by name, those inside settings objects as ``m_step__steps=50``.

        The settings object is replaced by one that differs in this, so that another model with it stays as
        it is. Where the argument is None or a name, what it stands for is taken first.

        Raises
        ------
        ValueError
            A name that the model or the settings object does not have; a setting out of range.
        """
        own = self.get_params(deep=False)
        nested = [name for name in params if "__" in name and name.partition("__")[0] in own]
        super().set_params(**{name: value for name, value in params.items() if name not in nested})
        for name in sorted(nested):  # a settings object comes before what is in it
            setattr(self, name.partition("__")[0], replace_nested(self, name, params[name]))
        return self

    @whole
    def save(self, folder: str | Path) -> Path:
        """Save to a folder of safetensors and JSON; `genmix.load` brings the model back bit for bit."""
        return persistence.save(self, folder)

    # ------------------------------------------------------------------ validation

    def _validated(self, X: Any, *, reset: bool) -> np.ndarray:
        """Check `X` and return it as an array: a table ``[N, d]``, or images; before a fit, all arguments."""
        if reset:
            check_arguments(self)
        if isinstance(X, str | os.PathLike):
            path = os.fspath(X)
            raise _InvalidItems(f"X is a path: give the items, as in genmix.datasets.load({path!r}).X")
        with _naming_x():
            X = as_array(X)
            items = self._numbers(X)
        items = _within(items, 1e150 if items.ndim == 2 else 1e30)  # squares of more overflow
        with _naming_x():
            if items.ndim == 2 and (reset or len(self.preprocessing_.shape) == 1):
                validate_data(self, X, reset=reset, skip_check_array=True)
            elif reset:
                self.n_features_in_ = int(np.prod(items.shape[1:]))
            else:
                self.preprocessing_.check(items)
        return items

    def _numbers(self, X: Any) -> np.ndarray:
        """Check shape and type; that numbers are finite is checked by `_within`, which says where not."""
        if (dtype := _time_dtype(X)) is not None:  # scikit-learn makes numbers of them
            raise ValueError(f"dtype {dtype}; expected numbers, such as days since the first one")
        if len(getattr(X, "shape", ())) > 4:
            layouts = "a table [N, d] or images [N, H, W], [N, H, W, C] or [N, C, H, W]"
            raise ValueError(f"shape {tuple(X.shape)}; expected {layouts}")
        options = {"ensure_all_finite": False, "input_name": "X"}
        if not is_images(X):
            return np.asarray(check_array(X, estimator=self, dtype=[np.float64, np.float32], **options))
        X = np.asarray(check_array(X, allow_nd=True, ensure_2d=False, dtype=None, **options))
        if X.dtype.kind not in "uifb" or not X.size:
            raise ValueError(f"shape {X.shape}, dtype {X.dtype}; images must be numbers, at least one each")
        return X

    def _items(self, X: Any) -> Tensor:
        """Scaled items for a fitted model."""
        check_is_fitted(self)
        X = self._validated(X, reset=False)
        items = self.preprocessing_.apply(X)
        if self.preprocessing_.in_other_units(items):
            low, high = self.preprocessing_.pixels
            warnings.warn(
                f"X has pixels of {float(X.min()):g} to {float(X.max()):g}, but those fitted were "
                f"{low:g} to {high:g}: give them in the same units, or results have no meaning",
                stacklevel=_caller_level(),
            )
        return items

    # ------------------------------------------------------------------ to and from a folder

    @property
    def _is_fitted(self) -> bool:
        return hasattr(self, "preprocessing_")

    def _fingerprint(self, X: np.ndarray) -> str:
        """Set `fingerprint_`, which data the model is fitted on, and return it."""
        self.fingerprint_ = fingerprint(X)
        return self.fingerprint_

    def _export(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and JSON-able record of a fitted model."""
        check_is_fitted(self)
        self._check_whole()
        meta = {
            "parameters": encode(self.get_params(deep=False)),
            "preprocessing": self.preprocessing_.to_dict(),
            "fitted": encode({n: getattr(self, n) for n in self._fitted() if hasattr(self, n)}),
        }
        return self._tensors(), meta

    def _check_whole(self) -> None:
        """Refuse arguments and fitted attributes that are not as declared, or do not belong together."""
        check_arguments(self)
        check_values(
            {"random_state": self.random_state}, {"random_state": Seed | np.random.RandomState | None}
        )
        kinds = self._fitted()
        if missing := [name for name in kinds if name not in self._not_always and not hasattr(self, name)]:
            raise ValueError(f"{missing[0]} is missing")
        found = {name: getattr(self, name) for name in kinds if hasattr(self, name)}
        check_values(found, kinds)

    @classmethod
    def _upgrade(cls, meta: dict[str, Any]) -> dict[str, Any]:
        """Turn what `_export` of genmix 0.1 gave beside the tensors into what it gives today."""
        return {**meta, **{name: rename_settings(meta[name]) for name in ("parameters", "fitted")}}

    @classmethod
    def _restore(cls, tensors: dict[str, Tensor], meta: dict[str, Any], **replaced: Any) -> Self:
        """Rebuild from `_export`; `replaced` gives arguments that no file can hold (the user's functions)."""
        for name in ("parameters", "preprocessing", "fitted"):
            if not isinstance(meta.get(name), dict):
                raise ValueError(f"{name} is {short_repr(meta.get(name))}: expected a dictionary")
        kept = {name: value for name, value in meta["parameters"].items() if name not in replaced}
        model = cls(**replaced, **cls._decoded(kept))
        check_arguments(model)
        with _of_field("preprocessing"):
            model.preprocessing_ = Preprocessing.from_dict(meta["preprocessing"])
        if unknown := sorted(meta["fitted"].keys() - model._fitted().keys()):
            raise ValueError(f"unknown attribute {short_repr(unknown[0])}")
        for name, value in cls._decoded(meta["fitted"]).items():
            setattr(model, name, value)
        model._check_whole()
        with at_most(tensors):
            model._from_tensors(dict(tensors))
        model._place()
        return model

    @classmethod
    def _decoded(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Decode each value; an error begins with its name."""
        decoded = {}
        for name, value in values.items():
            try:
                with _of_field(name):
                    decoded[name] = decode(value, cls._settings)
            except persistence.ModelFileError as error:
                again = f"give it again, load(folder, {name}=...)"
                raise persistence.ModelFileError(f"{name} is {error}: {again}") from None
        return decoded

    def _place(self) -> None:
        """Move the networks to the model's device; where a machine does not have it they stay on the host."""
        with suppress(ValueError):
            device = resolve_device(getattr(self, "device", "cpu"))
            for value in vars(self).values():
                if isinstance(value, nn.Module):
                    value.to(device)

    def __getstate__(self) -> dict[str, Any]:
        """Pickle networks and tensors as those of the host, which every machine can load."""
        return {name: on_host(value) for name, value in super().__getstate__().items()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Put the networks on the model's device again, if it is there."""
        super().__setstate__(state)
        self._place()


class BaseClusterer(ClusterMixin, BaseModel):
    """What every model of groups does, as scikit-learn's clusterers and mixtures do it.

    Subclasses implement `_log_proba` too.
    """

    n_components: int

    #: What not every model has.
    _not_always = BaseModel._not_always | {"duplicate_components_", "selection_score_", "classes_"}

    def _fitted(self) -> dict[str, Any]:
        last = self.n_components - 1
        return {
            **super()._fitted(),
            "labels_": array(None, within=f"[0, {last}]", dtype="int64"),
            "weights_": array(self.n_components, within="[0, 1]", total=1.0),
            "dead_components_": indices(self.n_components),
            "duplicate_components_": indices(self.n_components, pairs=True),
            "selection_score_": Finite,
            "classes_": array(None, dtype="int64"),
        }

    def _check_whole(self) -> None:
        super()._check_whole()
        classes = getattr(self, "classes_", np.empty(0))
        if len(classes) > self.n_components or (np.diff(classes) <= 0).any():
            raise ValueError(
                f"classes_={short_repr(classes)}: expected at most {self.n_components}, ascending"
            )

    @abstractmethod
    def _log_proba(self, items: Tensor) -> np.ndarray: ...

    #: Arguments by preset name.
    presets: ClassVar[dict[str, dict[str, Any]]] = {}

    @classmethod
    def preset(cls, name: str, n_components: int, **overrides: Any) -> Self:
        """Take published settings.

        Parameters
        ----------
        name : str
            One of `presets`.
        n_components : int
            K.
        **overrides
            Arguments to change.

        Raises
        ------
        ValueError
            Unknown name.
        """
        if name not in cls.presets:
            expected = ", ".join(cls.presets) or "none: this model has no presets"
            raise ValueError(f"preset {name!r} is unknown; expected one of {expected}")
        return cls(n_components, **cls.presets[name] | overrides)

    # ------------------------------------------------------------------ what a fitted model answers

    def predict_proba(self, X: Any) -> np.ndarray:
        """Membership of each item in each component.

        Parameters
        ----------
        X : array, frame or tensor [N, ...]
            Items of the shape the model was fitted on.

        Returns
        -------
        ndarray of float64 [N, K]
            Non-negative; rows sum to 1.

        Raises
        ------
        ValueError
            Another item shape, NaN, infinity, or no items.
        """
        return np.asarray(finite(self._memberships(self._items(X)), "memberships"))

    def predict(self, X: Any, abstain: float | None = None) -> np.ndarray:
        """Most likely component of each item, ``predict_proba(X).argmax(1)``.

        Parameters
        ----------
        X : array, frame or tensor [N, ...]
            Items of the shape the model was fitted on.
        abstain : float, optional
            Items whose largest membership is below this (0 to 1) get -1: the model does not decide.

        Returns
        -------
        ndarray of int64 [N]

        Raises
        ------
        ValueError
            As `predict_proba`; `abstain` below 0 or above 1.
        """
        check_values({"abstain": abstain}, {"abstain": Share | None})
        memberships = self.predict_proba(X)
        labels = memberships.argmax(1)
        return labels if abstain is None else np.where(memberships.max(1) < abstain, -1, labels)

    def fit_predict(self, X: Any, y: Any = None) -> np.ndarray:
        """Fit and return `labels_`: ``fit(X, y).predict(X)``, but for items whose component was given."""
        return np.asarray(self.fit(X, y).labels_)

    # ------------------------------------------------------------------ for subclasses

    def _validated(self, X: Any, *, reset: bool) -> np.ndarray:
        X = super()._validated(X, reset=reset)
        if reset and len(X) < self.n_components:
            raise ValueError(
                f"n_samples={len(X)} is smaller than n_components={self.n_components}; "
                "give more data or ask for fewer"
            )
        return X

    def _memberships(self, items: Tensor) -> np.ndarray:
        return np.asarray(softmax(self._log_proba(items), axis=1))

    def _assign_last(self, items: Tensor) -> None:
        """Set `labels_` of the data fitted, and `duplicate_components_`."""
        memberships = self._memberships(items)
        self.labels_ = memberships.argmax(1)
        self.duplicate_components_ = [list(pair) for pair in share_items(memberships)]

    def _warn_of_components(self, state: str) -> None:
        """Say which components are dead, that is in `state`, and which are there twice."""
        advice = "fit with fewer components or another random_state"
        if self.dead_components_:
            text = f"components {self.dead_components_} {state}; {advice}"
            warnings.warn(text, DeadComponentWarning, stacklevel=_caller_level())
        if self.duplicate_components_:
            pairs = ", ".join(f"{i} and {j}" for i, j in self.duplicate_components_[:10])
            if len(self.duplicate_components_) > 10:
                pairs += f", and {len(self.duplicate_components_) - 10} more pairs"
            text = f"components {pairs} share their items; {advice}"
            warnings.warn(text, DuplicateComponentWarning, stacklevel=_caller_level())

    def _warn_of_instability(self, parted: float, by_kmeans: float) -> None:
        """Say that components part more neighbours (`partitions.parted_neighbors`) than k-means."""
        if not parts_more(parted, by_kmeans):
            return
        warnings.warn(
            f"near neighbours are in different components {parted:.1%} as often as by chance, in those of "
            f"k-means only {by_kmeans:.1%}: a large group may be cut. Compare with genmix.baselines.KMeans, "
            "or try another random_state or more iterations",
            UnstablePartitionWarning,
            stacklevel=_caller_level(),
        )

    def _warn_of_no_convergence(self, algorithm: str, what: str, earliest: int) -> None:
        """Say that `tol` was not reached; `what` is the verb of the last iteration's sentence."""
        if self.converged_ or self.tol is None:
            return
        warnings.warn(
            f"{algorithm} did not converge in max_iter={self.max_iter} iterations: the last one {what} "
            f"{self.history_[-1]['changed']:.2%} of the assignments; it takes {PATIENCE} in a row with at "
            f"most tol={self.tol:.2%} after iteration {earliest}. Raise max_iter or tol",
            ConvergenceWarning,
            stacklevel=_caller_level(),
        )


class BaseMixture(BaseClusterer):
    """What every mixture of genmix does: a model of groups that makes new items of each.

    Subclasses implement `_generate` too.
    """

    @abstractmethod
    def _generate(self, counts: np.ndarray, seed: int) -> Tensor: ...

    def sample(self, n_samples: int = 1, component: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Generate items.

        Parameters
        ----------
        n_samples : int
            How many (> 0).
        component : int, optional
            From this component only (0 to K - 1); otherwise components are drawn by `weights_`.

        Returns
        -------
        X : ndarray [n_samples, ...]
            In the units of the data the model was fitted on. Images have their layout and dtype; tables are
            of float64, or of float32 where the data were.
        component : ndarray of int64 [n_samples]
            Where each item is from, in ascending order as in scikit-learn.

        Raises
        ------
        ValueError
            `n_samples` or `component` out of range.
        """
        check_is_fitted(self)
        check_values({"n_samples": n_samples}, {"n_samples": PositiveInt})
        k = len(self.weights_)
        if component is not None and not (is_whole(component) and 0 <= component < k):
            given = f"component={short_repr(component)}"
            raise ValueError(f"{given}: expected a whole number from 0 to {k - 1}, or None for all")
        rng = check_random_state(self.random_state)
        seed = int(rng.randint(2**31 - 1))
        shares = self.weights_ / self.weights_.sum() if component is None else np.eye(k)[component]
        counts = rng.multinomial(n_samples, shares)
        items = self._generate(counts, seed)
        return self.preprocessing_.restore(items), np.repeat(np.arange(k), counts)


def _caller_level() -> int:
    """Count the frames of genmix above: a warning is to point at the first that is not ours."""
    frame, level = inspect.currentframe(), 0
    while frame is not None and frame.f_globals.get("__name__", "").startswith("genmix."):
        frame, level = frame.f_back, level + 1
    return level


@contextmanager
def _of_field(name: str) -> Iterator[None]:
    """Begin an error's message with the name of what a file holds."""
    try:
        yield
    except persistence.ModelFileError:
        raise
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{printable(name)}: {error}") from error


@contextmanager
def _naming_x() -> Iterator[None]:
    """Begin an error's message with "X"."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise _InvalidItems(f"X: {one_line(str(error))}") from error


def _time_dtype(X: Any) -> Any:
    """Find the first type of an array, or of a frame's columns, that is a time or a duration; or None."""
    dtypes: Any = getattr(X, "dtypes", getattr(X, "dtype", None))
    for dtype in dtypes if hasattr(dtypes, "__iter__") else [dtypes]:
        is_temporal = getattr(dtype, "is_temporal", lambda: False)  # of polars
        if getattr(dtype, "kind", "") in ("m", "M") or is_temporal():
            return dtype
    return None


def _within(X: np.ndarray, limit: float) -> np.ndarray:
    """Return `X` if no number is NaN or larger than `limit`."""
    largest = max(float(X.max()), -float(X.min()))
    if largest <= limit:
        return X
    problem = "NaN" if np.isnan(largest) else "infinity" if np.isinf(largest) else f"values beyond {limit:g}"
    bad = np.argwhere(~(np.abs(X) <= limit))[0]
    place = f"row {bad[0]}, column {bad[1]}" if X.ndim == 2 else f"image {bad[0]}"
    raise ValueError(f"X contains {problem}, first in {place}: fix or rescale it, or leave it out")


def check_codes(Z: Any, width: int) -> np.ndarray:
    """Latent points ``[M, width]`` as float32; ValueError for another shape, or what is not finite."""
    try:
        Z = np.asarray(Z, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise ValueError(f"Z={short_repr(Z)}: expected numbers of shape (M, {width})") from error
    if Z.ndim != 2 or Z.shape[1] != width or not (np.abs(Z) < FARTHEST).all():
        raise ValueError(f"Z has shape {Z.shape}; expected finite numbers of shape (M, {width})")
    return Z


def fingerprint(X: np.ndarray) -> str:
    """SHA-256 of an array's shape, dtype and content: which data a model was fitted on."""
    digest = hashlib.sha256(f"{X.shape}{X.dtype}".encode())
    for part in np.array_split(X, max(1, X.nbytes >> 24)):
        digest.update(np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()
