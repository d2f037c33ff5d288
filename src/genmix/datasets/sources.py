"""Reading the data sets known by name: embedded, from a folder of the user's, or from OpenML."""

from __future__ import annotations

import hashlib
import http.client
import importlib.util
import os
from dataclasses import replace
from importlib import resources
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genmix.base.files import look
from genmix.datasets import arrays
from genmix.datasets.known import Known
from genmix.datasets.records import Dataset, DatasetNotFound, Rows, code_labels

PathLike = str | os.PathLike[str]
Parts = NDArray[Any] | None  # "train" or "test" for each row


def locate(known: Known, data_dir: PathLike | None) -> str:
    """Say where a set comes from: "embedded", "local file", "OpenML" or "by hand"."""
    path = _find(known, data_dir)
    if known.embedded:
        return "embedded"
    if path is not None:
        return "local file"
    return "OpenML" if known.openml_id else "by hand"


def read_known(known: Known, rows: Rows, data_dir: PathLike | None) -> Dataset:
    """Read a known set from where it is, check that it is what it should be, and choose the rows."""
    rows.check_split(known.name, known.splits)
    path = _find(known, data_dir)
    data, parts = _read(known, path)
    where = known.name if path is None else str(path)
    if data.y is None or len(data.X) != known.n or set(data.y.tolist()) != set(range(known.n_classes)):
        raise ValueError(
            f"{where} is not {known.name}: expected {known.n} rows with {known.n_classes} classes"
        )
    data = rows.take(data, where, parts)
    if data.X.shape[1:] != known.shape:
        raise ValueError(f"{where} has rows of shape {data.X.shape[1:]}: expected {known.shape}")
    return replace(
        data, name=known.name, class_names=known.class_names or data.class_names, licence=known.licence,
        source=known.source, description=known.description + data.description,
    )  # fmt: skip


def _read(known: Known, path: Path | None) -> tuple[Dataset, Parts]:
    if known.name == "digits":
        from sklearn.datasets import load_digits

        digits = load_digits()
        return Dataset(
            known.name, (digits.images / 16).astype(np.float32), digits.target.astype(np.int64)
        ), None
    if known.embedded:
        with resources.as_file(resources.files("genmix.datasets.embedded") / known.file) as file:
            return arrays.open_npz(file)
    if path is not None:
        return _open_jpegs(path) if known.name == "cifar10" else arrays.open_npz(path)
    if known.openml_id is not None:
        return _fetch(known)
    raise DatasetNotFound(f"{known.name} is not on disk. {known.how} {_where_to_put(known)}")


def _find(known: Known, data_dir: PathLike | None) -> Path | None:
    """Look for the file in `data_dir`, then in the folder GENMIX_DATA names."""
    for name, folder in (("data_dir", data_dir), ("GENMIX_DATA", os.environ.get("GENMIX_DATA"))):
        if not folder:
            continue
        if look(Path(folder)) is None or not Path(folder).is_dir():
            raise ValueError(
                f"{name}={os.fspath(folder)!r} is not a folder: expected one that holds data sets"
            )
        path = Path(folder) / known.file
        if known.file and not known.embedded and path.is_file():
            return path
    return None


def _where_to_put(known: Known) -> str:
    return f"Put {known.file} into a folder and name it by data_dir or the environment variable GENMIX_DATA"


class Jpegs:
    """JPEG images one after the other in an array of bytes, decoded when their rows are asked for."""

    def __init__(self, content: NDArray[np.uint8], offset: NDArray[np.int64]) -> None:
        self.content, self.offset = content, offset

    def __len__(self) -> int:
        """Count the images."""
        return len(self.offset) - 1

    def __getitem__(self, rows: NDArray[np.intp] | slice) -> NDArray[np.uint8]:
        """Decode some."""
        return np.stack([self._decode(row) for row in np.arange(len(self))[rows]])

    def _decode(self, row: int) -> NDArray[np.uint8]:
        from PIL import Image

        content = self.content[self.offset[row] : self.offset[row + 1]].tobytes()
        try:
            with Image.open(BytesIO(content), formats=["JPEG"]) as image:
                return np.asarray(image.convert("RGB"))
        except OSError as error:
            raise ValueError(f"image {row} of the JPEG archive is damaged: {error}") from error


def _open_jpegs(path: Path) -> tuple[Dataset, Parts]:
    """Open an archive with ``jpeg`` (all bytes), ``offset`` [N + 1], ``y``, ``split`` and ``names``."""
    archive = arrays.Archive(path)
    missing = {"jpeg", "offset", "y", "split"} - set(archive)
    if missing:
        raise ValueError(f"{path} lacks {', '.join(sorted(missing))}: expected CIFAR-10 as JPEG images")
    jpegs: Any = Jpegs(archive["jpeg"], archive["offset"])  # an array once its rows are chosen
    y, _ = code_labels(archive["y"], f"'y' in {path}")
    if len(y) != len(jpegs):
        raise ValueError(f"{path} has {len(jpegs)} images and {len(y)} labels: expected one an image")
    lossy = " Read from JPEG copies, not bit-equal to the original."
    return Dataset(path.stem, jpegs, y, description=lossy), arrays.parts_of(archive, path, len(y))


def _fetch(known: Known) -> tuple[Dataset, Parts]:
    """Fetch a set from OpenML (scikit-learn keeps a copy), and check its content."""
    from sklearn.datasets import fetch_openml

    # Without pandas scikit-learn has a parser of its own, slower and with the same result.
    parser = "pandas" if importlib.util.find_spec("pandas") else "liac-arff"
    try:
        bunch = fetch_openml(data_id=known.openml_id, as_frame=False, parser=parser, n_retries=1)
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise DatasetNotFound(
            f"{known.name} is not on disk and OpenML data set {known.openml_id} could not be fetched "
            f"({error}). Try again later, or: {_where_to_put(known)}"
        ) from error
    X = _laid_out(np.asarray(bunch.data), known)
    y, _ = code_labels(bunch.target, f"the class of {known.name}")
    y = y - y.min()  # OpenML numbers some classes from 1
    if known.digest and fingerprint(X, y, ordered=known.n_train is not None) != known.digest:
        raise ValueError(
            f"what OpenML gave for {known.name} is not the data set genmix knows: its checksum differs. "
            "Remove scikit_learn_data/openml from your home folder and try again"
        )
    return Dataset(known.name, X, y), _parts_in_order(y, known)


def _laid_out(table: NDArray[Any], known: Known) -> NDArray[Any]:
    """Give the columns of an OpenML table the shape of the set: images have their channels first there."""
    if table.ndim != 2 or table.shape[1] != np.prod(known.shape):
        given = f"OpenML gave a table of shape {table.shape}"
        raise ValueError(f"{given} for {known.name}: expected rows {known.shape}")
    if len(known.shape) == 1:
        return table.astype(np.float32)
    if table.min() < 0 or table.max() > 255:
        raise ValueError(f"OpenML gave pixels from {table.min()} to {table.max()}: expected 0 to 255")
    images = table.astype(np.uint8)
    if len(known.shape) == 2:
        return images.reshape(-1, *known.shape)
    height, width, channels = known.shape
    return np.ascontiguousarray(images.reshape(-1, channels, height, width).transpose(0, 2, 3, 1))


def _parts_in_order(y: NDArray[np.int64], known: Known) -> Parts:
    """Name the parts of a set that has its training rows first.

    Both parts hold all classes in equal numbers, or there is no telling them apart: MNIST is known by its
    checksum, CIFAR-10 (5,000 and 1,000 of each class) by this alone.
    """
    if known.n_train is None:
        return None
    counts = np.bincount(y[: known.n_train], minlength=known.n_classes)
    if not known.digest and len(set(counts.tolist())) != 1:
        return None
    return np.where(np.arange(len(y)) < known.n_train, "train", "test")


def fingerprint(X: NDArray[Any], y: NDArray[np.int64], *, ordered: bool) -> str:
    """SHA-256 of a set's numbers and labels; with ``ordered=False`` whatever the order of its rows."""
    little = "<f4" if X.dtype.kind == "f" else "u1"
    rows = [row.tobytes() for row in np.ascontiguousarray(X).astype(little)]
    rows = [row + int(label).to_bytes(8, "little") for row, label in zip(rows, y, strict=True)]
    return hashlib.sha256(b"".join(rows if ordered else sorted(rows))).hexdigest()
