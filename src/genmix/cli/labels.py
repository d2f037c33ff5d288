"""Labels to compare: predicted by a model or read from a file, and known ones."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import genmix
from genmix.base.files import look
from genmix.cli.files import check_suffix, pyarrow_modules
from genmix.cli.inputs import DataOptions, leave_out, load_data, match_columns

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from genmix.datasets import Dataset

LABEL_FILES = (".csv", ".npy", ".npz", ".parquet")
LABEL_NAMES = ("label", "labels", "y")  # columns or arrays that are taken for labels unless told otherwise


@dataclass(frozen=True)
class Known:
    """Labels of rows.

    Attributes
    ----------
    y : ndarray of int64 [N]
        -1 is a row without one.
    names : tuple of str or None
        ``names[y]`` is the name of label y >= 0. None where labels have no names.
    column : str
        Where they were found.
    """

    y: NDArray[np.int64]
    names: tuple[str, ...] | None = None
    column: str = ""


def load_labelled(data: str, rows: DataOptions, labels: Path | None) -> tuple[Dataset, Known | None]:
    """Read DATA, and its labels: those in the file `labels`, or else its own.

    Raises
    ------
    ValueError
        As `load_data` and `read_labels`, or if there are labels of other rows.
    """
    if labels is None:
        dataset = load_data(data, rows)
        return dataset, None if dataset.y is None else Known(dataset.y, dataset.class_names)
    known = read_labels(labels, rows.labels_column)
    dataset = load_data(data, replace(rows, labels_column=None))
    if rows.labels_column is not None or (os.path.isfile(data) and labels.samefile(data)):
        dataset = leave_out(dataset, known.column)  # nobody is to learn from the answers
    if len(known.y) != len(dataset.X):
        raise ValueError(f"{len(known.y)} labels for {len(dataset.X)} rows: they have to be of the same rows")
    return dataset, known


def read_predictions(result: Path, dataset: Dataset | None) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Find the cluster of each row, -1 if undecided, and with a model its memberships of clusters [N, K]."""
    if result.suffix.lower() in LABEL_FILES:
        return read_labels(result).y, None
    if dataset is None:
        raise ValueError("a model needs DATA to be evaluated on: genmix evaluate MODEL DATA")
    model = genmix.load(result)
    memberships = model.predict_proba(match_columns(model, dataset).X)
    return memberships.argmax(axis=1), memberships


def read_labels(path: Path, column: str | None = None) -> Known:
    """Read one label a row from a .npy, .npz, .csv or .parquet file.

    Parameters
    ----------
    path : Path
        The file. Predictions that ``genmix predict`` wrote are such files.
    column : str, optional
        Which column (or array of an .npz) has the labels. Default: the one named label, labels or y, else the
        only one.

    Returns
    -------
    Known
        Whole numbers stay what they are, also written as 1.0; text is numbered in alphabetical order. Empty
        cells, NaN and -1 are rows without a label.

    Raises
    ------
    ValueError
        If the file is missing or broken, or the column is not there or cannot be told.
    """
    check_suffix(path, LABEL_FILES)
    if look(path) is None or not path.is_file():
        raise ValueError(f"no file {str(path)!r}: give a .csv, .npy, .npz or .parquet file of labels")
    from genmix.datasets.records import code_labels

    columns = _read_columns(path)
    name = _label_column(path, list(columns), column)
    return Known(*code_labels(columns[name], f"{name!r} in {str(path)!r}"), name)


def _read_columns(path: Path) -> Mapping[str, Any]:
    """Read a file of labels as named arrays; anything broken becomes one ValueError."""
    import numpy as np

    from genmix.base.validation import one_line
    from genmix.datasets.arrays import Archive
    from genmix.datasets.tables import read_cells

    try:
        match path.suffix.lower():
            case ".npy":
                return {"labels": np.load(path, allow_pickle=False)}
            case ".npz":
                return Archive(path)
            case ".parquet":
                _, parquet = pyarrow_modules()
                table = parquet.read_table(path)
                return {name: table[name].to_numpy() for name in table.column_names}
            case _:
                header, cells = read_cells(path)
                return dict(zip(header, zip(*cells, strict=True), strict=True))
    except Exception as error:  # whatever a damaged file may raise
        raise ValueError(f"cannot read labels from {str(path)!r}: {one_line(str(error))}") from error


def _label_column(path: Path, names: list[str], column: str | None) -> str:
    usual = [name for name in LABEL_NAMES if name in names] or (names if len(names) == 1 else [])
    if candidates := usual if column is None else [name for name in names if name == column]:
        return candidates[0]
    wanted = "no label column" if column is None else f"no column {column!r}"
    raise ValueError(f"{wanted} in {str(path)!r}: it has {', '.join(names)}; choose one with --labels-column")
