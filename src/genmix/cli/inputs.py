"""What the verbs read first: DATA, with its options, and MODEL."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter, Token

from genmix.cli.tables import say

if TYPE_CHECKING:
    from genmix.datasets import Dataset


def _read_whole(kind: Any, tokens: Sequence[Token]) -> int:
    """Read digits; cyclopts itself would round 2.5."""
    text = tokens[0].value
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"expected a whole number, not {text!r}") from None


#: A whole number on the command line.
Whole = Annotated[int, Parameter(converter=_read_whole)]


def _read_bytes(kind: Any, tokens: Sequence[Token]) -> int:
    """Read a number of bytes: 4G is four times 2 to the power of 30."""
    text = tokens[0].value.strip().upper()
    number, unit = (text[:-1], text[-1]) if text[-1:] in _UNITS else (text, "")
    try:
        size = int(float(number) * _UNITS[unit])
    except (ValueError, OverflowError):
        size = 0
    if size < 1:
        raise ValueError(f"expected a number of bytes such as 500M or 4G, not {tokens[0].value!r}")
    return size


_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}

#: A number of bytes on the command line.
Bytes = Annotated[int, Parameter(converter=_read_bytes)]


@Parameter(name="*")
@dataclass(frozen=True)
class DataOptions:
    """Which part of DATA to read, and where to look for it.

    Parameters
    ----------
    split : {"train", "test"}, optional
        Only this part, of data that have parts (mnist, cifar10, image-segmentation).
    n_samples : int, optional
        Only so many rows: a random choice, the same one each time.
    labels_column : str, optional
        The column of a table (or the array of an .npz) that holds labels: it is taken out of the data. With
        --labels, the column of that file, taken out of the data if it is there too.
    image_size : int, optional
        Make each image of a folder so many pixels wide and high.
    data_dir : Path, optional
        Folder in which data sets known by name are looked for. Default: the environment variable GENMIX_DATA.
    max_memory : int, optional
        Memory that reading DATA may take, such as 500M or 4G: what would take more is refused before it is
        read. Default: half of the memory of this machine or container.
    """

    split: Literal["train", "test"] | None = None
    n_samples: Whole | None = None
    labels_column: str | None = None
    image_size: Whole | None = None
    data_dir: Path | None = None
    max_memory: Bytes | None = None


ALL_ROWS = DataOptions()


def load_data(data: str, rows: DataOptions) -> Dataset:
    """Read DATA as the options say."""
    from genmix.datasets import load

    dataset = load(
        data,
        data_dir=rows.data_dir,
        split=rows.split,
        n_samples=rows.n_samples,
        label_column=rows.labels_column,
        image_size=rows.image_size,
        max_memory=rows.max_memory,
    )
    _say_left_out(dataset.name, dataset.left_out)
    return dataset


def leave_out(dataset: Dataset, column: str) -> Dataset:
    """Return a table without one of its columns."""
    names = dataset.feature_names or ()
    if column not in names:
        return dataset
    if len(names) == 1:
        raise ValueError(f"{dataset.name} has no column but {column!r}, which holds the labels")
    return _choose_columns(dataset, [name for name in names if name != column])


def _choose_columns(dataset: Dataset, columns: Sequence[str]) -> Dataset:
    names = dataset.feature_names or ()
    positions = [names.index(name) for name in columns]
    return replace(dataset, X=dataset.X[:, positions], feature_names=tuple(columns))


def name_columns(model: Any, dataset: Dataset) -> Any:
    """Let a model that was fitted on a table remember the names of its columns."""
    import numpy as np

    if dataset.X.ndim == 2 and dataset.feature_names is not None:
        model.feature_names_in_ = np.array(dataset.feature_names, dtype=object)
    return model


def match_columns(model: Any, dataset: Dataset) -> Dataset:
    """Find the columns by name that a model was fitted on, where both have names.

    Raises
    ------
    ValueError
        If one is missing.
    """
    from genmix.base.validation import listed

    wanted = model.__dict__.pop("feature_names_in_", None)  # matched here, and then given in its order
    names = dataset.feature_names
    if wanted is None or names is None:
        return dataset
    if missing := [name for name in wanted if name not in names]:
        raise ValueError(
            f"{dataset.name} has no column {missing[0]!r}, which the model was fitted on: it has "
            f"{listed(names)}"
        )
    _say_left_out(dataset.name, tuple(name for name in names if name not in wanted))
    return _choose_columns(dataset, wanted)


def _say_left_out(data: str, columns: tuple[str, ...]) -> None:
    if columns:
        from genmix.base.validation import listed

        words = listed(name or "the first, without a name" for name in columns)
        say(f"genmix: columns of {data} that are not used: {words}", file=sys.stderr)
