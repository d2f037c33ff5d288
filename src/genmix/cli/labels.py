"""Labels to compare: predicted by a model or read from a file, and known ones."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from genmix.checks import one_line
from genmix.cli.files import check_suffix, pyarrow_modules
from genmix.cli.inputs import load_model

if TYPE_CHECKING:
    from genmix.datasets import Dataset

Array = NDArray[Any]

LABEL_FILES = (".csv", ".npy", ".npz", ".parquet")
LABEL_NAMES = ("label", "labels", "y")  # columns or arrays that are taken for labels unless told otherwise


def find_labelled(known: Array) -> NDArray[np.bool_]:
    """Tell which rows have a label: everywhere in genmix, -1 is a row without one."""
    return known != -1 if known.dtype.kind in "iuf" else np.full(len(known), True)


def read_predictions(result: Path, dataset: Dataset | None) -> tuple[Array, Array | None]:
    """Find the cluster of each row, and with a model its memberships of all clusters [N, K]."""
    if result.suffix.lower() in LABEL_FILES:
        return read_labels(result), None
    if dataset is None:
        raise ValueError("a model needs DATA to be evaluated on: genmix evaluate MODEL DATA")
    memberships = load_model(result).predict_proba(dataset.X)
    return memberships.argmax(axis=1), memberships


def read_known_labels(
    dataset: Dataset | None, labels: Path | None, column: str | None
) -> tuple[Array, dict[Any, str]]:
    """Find the labels to compare with, and the name of each where the data set has names."""
    if labels is not None:
        return read_labels(labels, column), {}
    if dataset is None:
        raise ValueError("nothing to compare with: give DATA that has labels, or --labels FILE")
    if dataset.y is None:
        raise ValueError(
            f"{dataset.name!r} has no labels: give them with --labels FILE or --labels-column NAME"
        )
    return dataset.y, dict(enumerate(dataset.class_names or ()))


def read_labels(path: Path, column: str | None = None) -> Array:
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
    array of shape (N,)
        Integers if all labels are integers, else strings.

    Raises
    ------
    ValueError
        If the file is missing or broken, or the column is not there or cannot be told.
    """
    check_suffix(path, LABEL_FILES)
    if not path.is_file():
        raise ValueError(f"no file {str(path)!r}: give a .csv, .npy, .npz or .parquet file of labels")
    columns = _read_columns(path)
    name = _label_column(path, list(columns), column)
    labels = np.asarray(columns[name])
    if labels.ndim != 1:
        raise ValueError(f"labels in {str(path)!r} have the shape {labels.shape}; one label a row is needed")
    return labels


def _read_columns(path: Path) -> dict[str, Array]:
    """Read a file of labels as named arrays; anything broken becomes one ValueError."""
    from genmix.datasets.arrays import read_archive

    try:
        match path.suffix.lower():
            case ".npy":
                return {"labels": np.load(path, allow_pickle=False)}
            case ".npz":
                return read_archive(path)
            case ".parquet":
                _, parquet = pyarrow_modules()
                table = parquet.read_table(path)
                return {name: table[name].to_numpy() for name in table.column_names}
            case _:
                return _read_csv(path)
    except Exception as error:  # whatever a damaged file may raise
        raise ValueError(f"cannot read labels from {str(path)!r}: {one_line(str(error))}") from error


def _read_csv(path: Path) -> dict[str, Array]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = [row for row in csv.reader(file) if row]  # a last empty line is no row
    if len(rows) < 2:
        raise ValueError("a header row and at least one row of data are needed")
    columns = zip(*rows, strict=True)  # rows of different lengths are an error
    return {name: _integers_or_strings(values) for name, *values in columns}


def _integers_or_strings(values: list[str]) -> Array:
    """As integers if every value is one ("3", not "3.5"), else as they are."""
    try:
        return np.array([int(value) for value in values])
    except ValueError:
        return np.array(values)


def _label_column(path: Path, names: list[str], column: str | None) -> str:
    if column is not None and column in names:
        return column
    if column is None:
        usual = [name for name in LABEL_NAMES if name in names]
        if usual or len(names) == 1:
            return (usual or names)[0]
    wanted = "no label column" if column is None else f"no column {column!r}"
    raise ValueError(f"{wanted} in {str(path)!r}: it has {', '.join(names)}; choose one with --labels-column")
