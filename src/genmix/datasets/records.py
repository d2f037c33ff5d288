"""What every reader returns, and the three things all of them do: check X, code labels, choose rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genmix.base.validation import is_whole, listed, printable, short_repr
from genmix.datasets.memory import check_memory


class DatasetNotFound(ValueError):
    """There is no data set, file or folder of that name, and none could be fetched."""


@contextmanager
def printable_errors() -> Iterator[None]:
    """Keep what is written in a file, or in its name, from steering the terminal that shows an error."""
    try:
        yield
    except ValueError as error:
        if (text := printable(str(error))) == str(error):
            raise
        raise (DatasetNotFound if isinstance(error, DatasetNotFound) else ValueError)(
            text
        ) from error.__cause__


@dataclass(frozen=True, eq=False)
class Dataset:
    """A table or a stack of images, with labels where they are known.

    Attributes
    ----------
    name : str
        Name of the set, or of the file without its ending.
    X : ndarray
        Features [N, d], or images [N, H, W] or [N, H, W, C], in the units of the source.
    y : ndarray of int64, shape (N,), or None
        Labels; -1 is a row without one.
    feature_names : tuple of str or None
        One a column of a table.
    class_names : tuple of str or None
        ``class_names[y]`` is the name of label y >= 0. None where labels have no names.
    licence, source : str
        Under which terms, and from where; empty for files of the user's.
    description : str
        A sentence or two on the content, and on what was left out.
    left_out : tuple of str
        Columns of a file that are not in X: they hold text, or number the rows as pandas writes them.
    """

    name: str
    X: NDArray[Any]
    y: NDArray[np.int64] | None = None
    feature_names: tuple[str, ...] | None = None
    class_names: tuple[str, ...] | None = None
    licence: str = ""
    source: str = ""
    description: str = ""
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rows:
    """Which rows are wanted: a part, and a random choice of it in the original order; and in what memory."""

    split: str | None = None
    n_samples: int | None = None
    random_state: int = 0
    max_memory: int | None = None  # bytes; by default half of the machine's

    def check_memory(self, what: str, size: int, advice: str) -> None:
        """Refuse what asks for more bytes than there may be."""
        check_memory(what, size, self.max_memory, advice)

    def choose(self, what: str, n: int, parts: NDArray[Any] | None = None) -> NDArray[np.intp] | slice:
        """Return the positions wanted of n rows; `parts` names the part of each row, if there are parts."""
        wanted: NDArray[np.intp] | slice = slice(None)
        if self.split is not None:
            self.check_split(what, () if parts is None else tuple(dict.fromkeys(parts.tolist())))
            wanted = np.flatnonzero(parts == self.split)
            n = len(wanted)
        if self.n_samples is None:
            return wanted
        if not (is_whole(self.n_samples) and 1 <= self.n_samples <= n):
            raise ValueError(
                f"n_samples={short_repr(self.n_samples)} of {what}: expected 1 to {n}, the rows there are"
            )
        chosen = np.sort(np.random.default_rng(self.random_state).permutation(n)[: self.n_samples])
        return chosen if isinstance(wanted, slice) else wanted[chosen]

    def check_split(self, what: str, available: Sequence[str]) -> None:
        """Refuse a part that is not there."""
        if self.split is not None and self.split not in available:
            expected = f"expected one of {listed(available)}" if available else "it has no parts"
            raise ValueError(f"split={self.split!r} of {what}: {expected}")

    def take(self, data: Dataset, what: str, parts: NDArray[Any] | None = None) -> Dataset:
        """Return a data set with the rows wanted only, as `choose`."""
        wanted = self.choose(what, len(data.X), parts)
        return replace(data, X=data.X[wanted], y=None if data.y is None else data.y[wanted])


def check_array(X: NDArray[Any], what: str) -> NDArray[Any]:
    """Return X if it is a table or a stack of images made of real numbers."""
    if X.dtype.kind not in "biuf":
        raise ValueError(f"{what} has elements of type {X.dtype}: expected real numbers")
    if X.ndim not in (2, 3, 4):
        raise ValueError(
            f"{what} has shape {X.shape}: expected a table [N, d] or images [N, H, W], [N, H, W, C] "
            "or [N, C, H, W]"
        )
    if X.size == 0:
        raise ValueError(f"{what} has shape {X.shape}: expected at least one row and one column")
    return X


def check_names(names: list[str], path: Path) -> list[str]:
    """Return the names of a table's columns if all are different."""
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        text = f"{path} has several columns called {short_repr(twice[0])}"
        raise ValueError(f"{text}: give each a name of its own")
    return names


def code_labels(
    values: Sequence[Any] | NDArray[Any], what: str
) -> tuple[NDArray[np.int64], tuple[str, ...] | None]:
    """Turn labels into integers, and names where they were not integers already.

    Whole numbers stay what they are, also when they are written as text or as floats. Other text is numbered
    in alphabetical order. None, NaN, empty text and -1 are unlabelled: -1.
    """
    if isinstance(values, np.ndarray) or not any(isinstance(value, str | bytes) for value in values):
        array = np.asarray(values)
    else:  # an array of texts gives each the room of the longest
        array = np.array(values, object)
    if array.ndim != 1:
        raise ValueError(f"{what} has shape {array.shape}: expected one label a row")
    if array.dtype.kind in "biu":
        return array.astype(np.int64), None
    if array.dtype.kind == "f":
        array = np.where(np.isnan(array), -1, array.astype(float))
        if not (np.isfinite(array) & (array == np.round(array)) & (np.abs(array) <= 2**53)).all():
            raise ValueError(f"{what} holds fractions: expected labels (whole numbers or text)")
        return array.astype(np.int64), None
    texts = ["" if _is_missing(value) else _text(value) for value in array.tolist()]
    kinds = set(texts)
    names: tuple[str, ...] | None = None
    try:
        number = {text: _whole(text) if text else -1 for text in kinds}
    except ValueError:
        names = tuple(sorted(kinds - {"", "-1"}))
        number = {"": -1, "-1": -1} | {name: position for position, name in enumerate(names)}
    return np.array([number[text] for text in texts], np.int64), names


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and np.isnan(value))


def _text(value: Any) -> str:
    return (value.decode(errors="replace") if isinstance(value, bytes) else str(value)).strip()


def _whole(text: str) -> int:
    """Read '3' and '3.0' (a column of integers with gaps, as pandas writes it) as 3."""
    number = float(text)
    if not number.is_integer() or abs(number) > 2**53:
        raise ValueError(text)
    return int(number)
