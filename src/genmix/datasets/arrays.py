"""Arrays in ``.npy`` and ``.npz`` files. Pickled objects in them are refused, never run."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.lib.format as npy
from numpy.typing import NDArray

from genmix.base.validation import listed, one_line
from genmix.datasets.memory import check_memory
from genmix.datasets.records import Dataset, Rows, check_array, code_labels

#: Names of classes that are not there may be told, but not millions.
_MOST_NAMES = 100_000

_BESIDE_X = ("y", "names", "class_names", "features", "feature_names", "split")


def read_npy(path: Path, rows: Rows, label_key: str | None = None) -> Dataset:
    """Open one array as a memory map, so that it may be larger than memory; there is no room for labels."""
    if label_key is not None:
        text = f"label_column={label_key!r} means nothing for the file {path.name!r}: leave it out"
        raise ValueError(text)
    return rows.take(Dataset(path.stem, check_array(open_npy(path), str(path))), str(path))


def open_npy(path: Path) -> NDArray[Any]:
    """Open one array, of which nothing is read before it is asked for."""
    try:
        with np.errstate(over="ignore"):  # of a shape that is refused
            return np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # whatever a damaged file may raise
        raise ValueError(f"cannot read {path} as a .npy array of numbers: {one_line(str(error))}") from error


def read_npz(path: Path, rows: Rows, label_key: str | None = None) -> Dataset:
    """Read ``X`` and what is known of it from an archive of arrays."""
    data, parts = open_npz(path, rows, label_key)
    return rows.take(data, str(path), parts)


def open_npz(path: Path, rows: Rows, label_key: str | None = None) -> tuple[Dataset, NDArray[Any] | None]:
    """Read and check all arrays that have a meaning: a data set, and the part of each row if asked for."""
    arrays = Archive(path, rows.max_memory)
    key = _data_key(arrays, path, label_key)
    X = check_array(arrays[key], f"{key!r} in {path}")
    y, coded_names = _labels(arrays, path, label_key, len(X))
    names = _texts(arrays, ("class_names", "names"), max(len(X), _MOST_NAMES)) or coded_names
    if y is not None and names is not None and y.max() >= len(names):
        raise ValueError(
            f"{path} has label {y.max()} but only {len(names)} class names: expected one a label"
        )
    features = _texts(arrays, ("feature_names", "features"), X.shape[1]) if X.ndim == 2 else None
    if features is not None and len(features) != X.shape[1]:
        features = None
    return Dataset(path.stem, X, y, features, names), parts_of(arrays, path, len(X), rows)


class Archive(Mapping[str, NDArray[Any]]):
    """The arrays of an ``.npz``: `shapes` come from their headers, an array is read when it is asked for."""

    def __init__(self, path: Path, max_memory: int | None = None) -> None:
        if not zipfile.is_zipfile(path):
            raise ValueError(f"{path} is not an .npz archive: expected a file written by numpy.savez")
        self.path, self.max_memory = path, max_memory
        self.shapes: dict[str, tuple[int, ...]] = {}
        self._bytes: dict[str, int] = {}
        self._read: dict[str, NDArray[Any]] = {}
        with self._open() as archive:
            members = set(archive.zip.namelist())
            for key in archive.files:
                with archive.zip.open(key if key in members else f"{key}.npy") as member:
                    self._read_header(key, member)

    def __getitem__(self, key: str) -> NDArray[Any]:
        """Read an array, if it and those read before fit into the memory."""
        if key in self.shapes and key not in self._read:
            size = sum(self._bytes[one] for one in {*self._read, key})
            what = f"with {key!r} of shape {self.shapes[key]}, {self.path}"
            check_memory(what, size, self.max_memory, "save the data as .npy")
            with self._open() as archive:
                self._read[key] = archive[key]
        return self._read[key]

    def __iter__(self) -> Iterator[str]:
        """Go through the names."""
        return iter(self.shapes)

    def __len__(self) -> int:
        """Count the arrays."""
        return len(self.shapes)

    def __contains__(self, key: object) -> bool:
        """Tell whether there is such an array, and read nothing."""
        return key in self.shapes

    def _read_header(self, key: str, member: IO[bytes]) -> None:
        if member.read(6) != npy.MAGIC_PREFIX:  # no array
            return
        # Version 3 differs from 2 in the names of a structured array's fields alone.
        first = member.read(2)[0] == 1
        header = npy.read_array_header_1_0(member) if first else npy.read_array_header_2_0(member)
        self.shapes[key] = header[0]
        least = 8 if len(header[0]) == 1 else 1  # what labels and names become; text of no length counts too
        self._bytes[key] = math.prod(header[0]) * max(header[2].itemsize, least)

    @contextmanager
    def _open(self) -> Iterator[Any]:
        try:
            # opened here, because numpy leaves the file of a broken archive open
            with self.path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                yield archive
        except Exception as error:  # whatever a damaged file may raise
            reason = one_line(str(error))
            raise ValueError(f"cannot read {self.path} as an .npz archive of numbers: {reason}") from error


def _data_key(arrays: Archive, path: Path, label_key: str | None) -> str:
    for key in ("X", "arr_0"):
        if key in arrays:
            return key
    tables = [key for key in arrays if key not in (*_BESIDE_X, label_key) and len(arrays.shapes[key]) >= 2]
    if len(tables) != 1:
        raise ValueError(f"{path} holds {listed(arrays) or 'nothing'}: expected the data under the name X")
    return tables[0]


def _labels(
    arrays: Archive, path: Path, label_key: str | None, n: int
) -> tuple[NDArray[np.int64] | None, tuple[str, ...] | None]:
    key = label_key or "y"
    if key not in arrays:
        if label_key is None:
            return None, None
        raise ValueError(f"{path} has no array {key!r} for the labels: it has {listed(arrays)}")
    y, names = code_labels(arrays[key], f"{key!r} in {path}")
    if len(y) != n:
        raise ValueError(f"{path} has {n} rows and {len(y)} labels in {key!r}: expected one a row")
    return y, names


def parts_of(arrays: Archive, path: Path, n: int, rows: Rows) -> NDArray[Any] | None:
    """Name the part of each row, if one is wanted: ``split`` holds names, or 0 for train and 1 for test."""
    if "split" not in arrays:
        return None
    if (shape := arrays.shapes["split"]) != (n,):
        raise ValueError(f"'split' in {path} has shape {shape}: expected one part a row, shape ({n},)")
    if rows.split is None:
        return None
    split = arrays["split"]
    return split.astype(str) if split.dtype.kind in "US" else np.where(split == 0, "train", "test")


def _texts(arrays: Archive, keys: tuple[str, ...], most: int) -> tuple[str, ...] | None:
    lists = [key for key in keys if key in arrays and len(arrays.shapes[key]) == 1]
    if not lists:
        return None
    if (many := arrays.shapes[lists[0]][0]) > most:
        raise ValueError(f"{lists[0]!r} in {arrays.path} has {many} names: expected at most {most}")
    return tuple(map(str, arrays[lists[0]]))
