"""The files the command line writes.

Everything is written whole or not at all: into a file beside the target that takes its place at the end.
"""

from __future__ import annotations

import csv
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genmix.base import files

if TYPE_CHECKING:
    from numpy.typing import NDArray


def check_suffix(path: Path, allowed: tuple[str, ...]) -> None:
    """Raise ValueError unless a file name ends in one of `allowed`, each with its dot and in lower case."""
    if path.suffix.lower() not in allowed:
        endings = ", ".join(allowed)
        raise ValueError(f"cannot tell the format of {str(path)!r}: its name has to end in one of {endings}")


def check_writable(path: Path, allowed: tuple[str, ...] = ()) -> None:
    """Make sure, before hours of work, that `path` can be written at the end of them.

    Parameters
    ----------
    path : Path
        File or folder that will be written; the folders above it may be missing.
    allowed : tuple of str
        Endings that a file may have, see `check_suffix`. Default: any.

    Raises
    ------
    ValueError
        If its ending is another one, its name is too long, something that is no folder stands in the way, or
        the nearest folder cannot be written to.
    """
    if allowed:
        check_suffix(path, allowed)
    files.check_writable(path)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a file name to write to; it becomes `path` only if nothing went wrong.

    Parameters
    ----------
    path : Path
        The file wanted. Missing folders above it are made.

    Yields
    ------
    Path
        A hidden name in the same folder with the same ending.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        raise ValueError(f"cannot write {str(path)!r}: a folder of that name is in the way")
    part = path.with_name(f".{uuid.uuid4().hex}{path.suffix}")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_columns(path: Path, columns: Mapping[str, NDArray[Any]]) -> None:
    """Write columns [N] as CSV, or as Parquet, which needs pyarrow, if `path` ends in .parquet."""
    if path.suffix.lower() == ".parquet":
        arrow, parquet = pyarrow_modules()
        with whole_file(path) as part:
            parquet.write_table(arrow.table(dict(columns)), part)
        return
    with whole_file(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*(column.tolist() for column in columns.values()), strict=True))


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write named arrays as one compressed .npz."""
    import numpy as np

    with whole_file(path) as part:
        np.savez_compressed(part, allow_pickle=False, **dict(arrays))


def pyarrow_modules() -> tuple[Any, Any]:
    """Import pyarrow and pyarrow.parquet, or say in a ValueError how to get them."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ValueError(
            "Parquet needs pyarrow: pip install 'genmix[parquet]', or use .csv or .npz"
        ) from error
    return pyarrow, pyarrow.parquet
