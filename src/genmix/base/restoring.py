"""What a file may ask for, and whether what it holds is what its settings ask for.

A model declares each fitted attribute by an annotation, as arguments are (`BaseModel._fitted`), arrays by
`array` here; the tensors of networks are those that untrained networks of the same settings have. Everything
is checked before a loaded model answers anything.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor, nn

from genmix.base.validation import FINITE, Contents, Interval, check_values, printable, short_repr


@dataclass(frozen=True)
class Entries(Contents):
    """Axes of an array, what its numbers are, and where they lie; all of them are finite.

    Parameters
    ----------
    shape : tuple of int or None
        None is an axis of any length.
    interval : Interval
        Where every number lies.
    dtype : str
        Its dtype.
    total : float or None
        What the numbers sum up to.
    """

    shape: tuple[int | None, ...]
    interval: Interval = FINITE
    dtype: str = "float64"
    total: float | None = None

    def __contains__(self, value: Any) -> bool:
        """Whether it is such an array."""
        if str(value.dtype) != self.dtype or len(value.shape) != len(self.shape):
            return False
        if any(n is not None and n != m for n, m in zip(self.shape, value.shape, strict=True)):
            return False
        if not value.size or self.dtype == "object":
            return all(isinstance(one, str) for one in value.flat)
        if not np.isfinite(value).all():
            return False
        ends = (max(min(end.item(), 1e38), -1e38) for end in (value.min(), value.max()))
        fits = all(end in self.interval for end in ends)
        return fits and (self.total is None or abs(value.sum() - self.total) < 1e-6)

    def __str__(self) -> str:
        """Say it in words."""
        axes = ", ".join("any" if n is None else str(n) for n in self.shape)
        if self.dtype == "object":
            return f"an array of names of shape ({axes})"
        total = "" if self.total is None else f", that sum up to {self.total:g}"
        return f"an array of {self.dtype} of shape ({axes}), each a finite number {self.interval}{total}"


def array(*shape: int | None, within: str = "(-inf, inf)", dtype: str = "float64", total: Any = None) -> Any:
    """Annotate an array, see `Entries`."""
    return Annotated[np.ndarray, Entries(shape, Interval(within), dtype, total)]


@dataclass(frozen=True)
class _Records(Contents):
    """The records of a history: names, and finite numbers, or a list of indices."""

    def __contains__(self, value: Any) -> bool:
        return all(type(record) is dict and all(map(_is_recorded, record.values())) for record in value)

    def __str__(self) -> str:
        """Say it in words."""
        return "a list of records with finite numbers"


@dataclass(frozen=True)
class _Indices(Contents):
    """Indices of components, or pairs of them; each at most once, so that there are not too many."""

    n: int
    pairs: bool

    def __contains__(self, value: Any) -> bool:
        if len(value) > (self.n * (self.n - 1) // 2 if self.pairs else self.n):
            return False
        if self.pairs:
            return all(type(one) is list and len(one) == 2 and self._are_indices(one) for one in value)
        return self._are_indices(value)

    def _are_indices(self, values: list[Any]) -> bool:
        return all(type(one) is int and 0 <= one < self.n for one in values)

    def __str__(self) -> str:
        """Say it in words."""
        return f"a list of {'pairs of ' if self.pairs else ''}whole numbers from 0 to {self.n - 1}"


def indices(n: int, *, pairs: bool = False) -> Any:
    """Annotate a list of components, or of pairs of them, of so many."""
    return Annotated[list, _Indices(n, pairs)]


def _is_recorded(value: Any) -> bool:
    if type(value) is list:
        return all(type(one) is int and 0 <= one < 2**63 for one in value)
    return type(value) in (int, float, bool) and -1e300 < value < 1e300


#: Annotation of a history.
History = Annotated[list, _Records()]


# -------------------------------------------------- how much may be built


_LEFT: ContextVar[list[int] | None] = ContextVar("numbers and tensors left to build", default=None)


@contextmanager
def at_most(tensors: Mapping[str, Tensor]) -> Iterator[None]:
    """In the block, let networks be built of no more numbers and tensors than a file has given."""
    given = [sum(tensor.numel() for tensor in tensors.values()), len(tensors)]
    token = _LEFT.set(given)
    try:
        yield
    finally:
        _LEFT.reset(token)


def claim(*shape: int, tensors: int = 1) -> bool:
    """Ask for numbers before they are made; return whether a file will give them, so that none need be drawn.

    Raises
    ------
    ValueError
        More than `at_most` allows.
    """
    left = _LEFT.get()
    if left is None:
        return False
    left[0] -= math.prod(shape)
    left[1] -= tensors
    if min(left) < 0:
        raise ValueError("the settings ask for more weights than the file holds")
    return True


# -------------------------------------------------- tensors


def load_weights(network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Give a network the weights of a file; ValueError for NaN, names, shapes or dtypes that are not its."""
    own = network.state_dict()
    seeds = {name: value for name, value in own.items() if name.endswith("_extra_state")}
    given = {**seeds, **tensors}  # genmix 0.1 kept no seeds
    if names := sorted(own.keys() ^ given.keys()):
        problem = "is missing" if names[0] in own else "belongs to no network of these settings"
        raise ValueError(f"the tensor {short_repr(printable(names[0]))} {problem}")
    for name, value in given.items():
        check_tensor(name, value, own[name])
    network.load_state_dict(given)


def check_tensor(name: str, given: Tensor, own: Tensor) -> None:
    """Refuse a tensor of another shape or dtype than our own, or with numbers out of range."""
    if given.shape != own.shape or given.dtype != own.dtype:
        raise ValueError(
            f"the tensor {name} is {given.dtype} of shape {tuple(given.shape)}: expected {own.dtype} of "
            f"shape {tuple(own.shape)}"
        )
    if given.is_floating_point() and not _is_finite(given, own):
        raise ValueError(f"the tensor {name} has NaN or infinity: expected finite numbers")
    counts = not given.is_floating_point() and name.endswith(("num_batches_tracked", "_extra_state"))
    if given.numel() and (name.endswith("running_var") or counts) and given.min() < 0:
        raise ValueError(f"the tensor {name} has {given.min():g}: expected numbers of at least 0")
    if counts and given.numel() and given.max() >= 2**31:
        raise ValueError(f"the tensor {name} has {given.max():g}: expected numbers below 2^31")


def _is_finite(given: Tensor, own: Tensor) -> bool:
    """Whether all numbers are finite, but where our own are not: masks have infinities."""
    if given.sum().isfinite():  # NaN and infinity stay in a sum, which takes a fifth of the time
        return True
    odd = ~given.isfinite()
    return not odd.any() or (not own.is_meta and torch.equal(given[odd], own[odd]))


def check_arrays(arrays: Mapping[str, np.ndarray], kinds: Mapping[str, Any]) -> None:
    """Refuse arrays of a file unless they are those declared."""
    if names := sorted(arrays.keys() ^ kinds.keys()):
        problem = "is missing" if names[0] in kinds else "belongs to no such model"
        raise ValueError(f"the tensor {short_repr(printable(names[0]))} {problem}")
    check_values(arrays, kinds, "the tensor ")
