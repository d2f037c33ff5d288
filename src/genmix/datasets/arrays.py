"""Arrays in ``.npy`` and ``.npz`` files. Pickled objects in them are refused, never run."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genmix.base.validation import one_line
from genmix.datasets.records import Dataset, Rows, check_array, code_labels

_BESIDE_X = ("y", "names", "class_names", "features", "feature_names", "split")


def read_npy(path: Path, rows: Rows) -> Dataset:
    """Open one array as a memory map, so that it may be larger than memory."""
    try:
        array = np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # whatever a damaged file may raise
        raise ValueError(f"cannot read {path} as a .npy array of numbers: {one_line(str(error))}") from error
    return rows.take(Dataset(path.stem, check_array(array, str(path))), str(path))


def read_npz(path: Path, rows: Rows, label_key: str | None = None) -> Dataset:
    """Read ``X`` and what is known of it from an archive of arrays."""
    data, parts = open_npz(path, label_key)
    return rows.take(data, str(path), parts)


def open_npz(path: Path, label_key: str | None = None) -> tuple[Dataset, NDArray[Any] | None]:
    """Read and check all arrays that have a meaning: a data set, and the part of each row."""
    arrays = read_archive(path)
    key = _data_key(arrays, path, label_key)
    X = check_array(arrays[key], f"{key!r} in {path}")
    y, coded_names = _labels(arrays, path, label_key, len(X))
    names = _texts(arrays, "class_names", "names") or coded_names
    if y is not None and names is not None and y.max() >= len(names):
        raise ValueError(
            f"{path} has label {y.max()} but only {len(names)} class names: expected one a label"
        )
    features = _texts(arrays, "feature_names", "features")
    if features is not None and (X.ndim != 2 or len(features) != X.shape[1]):
        features = None
    return Dataset(path.stem, X, y, features, names), parts_of(arrays, path, len(X))


def read_archive(path: Path) -> dict[str, NDArray[Any]]:
    """Read all arrays of an archive."""
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is not an .npz archive: expected a file written by numpy.savez")
    try:
        # opened here, because numpy leaves the file of a broken archive open
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            members = {key: archive[key] for key in archive.files}
    except Exception as error:  # whatever a damaged file may raise
        reason = one_line(str(error))
        raise ValueError(f"cannot read {path} as an .npz archive of numbers: {reason}") from error
    # What is no array in the archive, numpy gives as bytes.
    return {key: member for key, member in members.items() if isinstance(member, np.ndarray)}


def _data_key(arrays: dict[str, NDArray[Any]], path: Path, label_key: str | None) -> str:
    for key in ("X", "arr_0"):
        if key in arrays:
            return key
    tables = [key for key in arrays if key not in (*_BESIDE_X, label_key) and arrays[key].ndim >= 2]
    if len(tables) != 1:
        raise ValueError(f"{path} holds {', '.join(arrays) or 'nothing'}: expected the data under the name X")
    return tables[0]


def _labels(
    arrays: dict[str, NDArray[Any]], path: Path, label_key: str | None, n: int
) -> tuple[NDArray[np.int64] | None, tuple[str, ...] | None]:
    key = label_key or "y"
    if key not in arrays:
        if label_key is None:
            return None, None
        raise ValueError(f"{path} has no array {key!r} for the labels: it has {', '.join(arrays)}")
    y, names = code_labels(arrays[key], f"{key!r} in {path}")
    if len(y) != n:
        raise ValueError(f"{path} has {n} rows and {len(y)} labels in {key!r}: expected one a row")
    return y, names


def parts_of(arrays: dict[str, NDArray[Any]], path: Path, n: int) -> NDArray[Any] | None:
    """Name the part of each row: ``split`` holds names, or 0 for train and 1 for test."""
    if "split" not in arrays:
        return None
    split = arrays["split"]
    if split.shape != (n,):
        raise ValueError(f"'split' in {path} has shape {split.shape}: expected one part a row, shape ({n},)")
    return split.astype(str) if split.dtype.kind in "US" else np.where(split == 0, "train", "test")


def _texts(arrays: dict[str, NDArray[Any]], *keys: str) -> tuple[str, ...] | None:
    lists = [arrays[key] for key in keys if key in arrays and arrays[key].ndim == 1]
    return tuple(map(str, lists[0])) if lists else None
