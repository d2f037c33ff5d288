"""Arrays in ``.npy`` and ``.npz`` files. Pickled objects in them are refused, never run."""

from __future__ import annotations

import math
import os
import sys
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.lib.format as npy
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
    arrays = Archive(path)
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


def machine_memory() -> int:
    """Count the bytes of memory of this machine; where the system does not tell, there is no limit."""
    if not hasattr(os, "sysconf"):
        return sys.maxsize
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


class Archive(Mapping[str, NDArray[Any]]):
    """The arrays of an ``.npz``: `shapes` come from their headers, an array is read when it is asked for."""

    def __init__(self, path: Path) -> None:
        if not zipfile.is_zipfile(path):
            raise ValueError(f"{path} is not an .npz archive: expected a file written by numpy.savez")
        self.path = path
        self.shapes: dict[str, tuple[int, ...]] = {}
        self._bytes: dict[str, int] = {}
        self._read: dict[str, NDArray[Any]] = {}
        with self._open() as archive:
            members = set(archive.zip.namelist())
            for key in archive.files:
                with archive.zip.open(key if key in members else f"{key}.npy") as member:
                    self._read_header(key, member)

    def __getitem__(self, key: str) -> NDArray[Any]:
        """Read an array, if it and those read before fit into half of the memory."""
        if key in self.shapes and key not in self._read:
            size, limit = sum(self._bytes[one] for one in {*self._read, key}), machine_memory() // 2
            if size > limit:
                text = (
                    f"with {key!r} of shape {self.shapes[key]}, {self.path} asks for {size} bytes of memory"
                )
                raise ValueError(
                    f"{text}: expected at most {limit}, half of this machine's; save the data as .npy"
                )
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
        self._bytes[key] = math.prod(header[0]) * max(header[2].itemsize, 1)  # text of no length counts too

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
        raise ValueError(f"{path} holds {', '.join(arrays) or 'nothing'}: expected the data under the name X")
    return tables[0]


def _labels(
    arrays: Archive, path: Path, label_key: str | None, n: int
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


def parts_of(arrays: Archive, path: Path, n: int) -> NDArray[Any] | None:
    """Name the part of each row: ``split`` holds names, or 0 for train and 1 for test."""
    if "split" not in arrays:
        return None
    if (shape := arrays.shapes["split"]) != (n,):
        raise ValueError(f"'split' in {path} has shape {shape}: expected one part a row, shape ({n},)")
    split = arrays["split"]
    return split.astype(str) if split.dtype.kind in "US" else np.where(split == 0, "train", "test")


def _texts(arrays: Archive, *keys: str) -> tuple[str, ...] | None:
    lists = [key for key in keys if key in arrays and len(arrays.shapes[key]) == 1]
    return tuple(map(str, arrays[lists[0]])) if lists else None
