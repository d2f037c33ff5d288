"""Data by name or from a file, always as one :class:`Dataset`.

>>> from genmix import datasets
>>> digits = datasets.load("digits")
>>> digits.X.shape, digits.y.shape
((1797, 8, 8), (1797,))

``load`` also takes a ``.npy``, ``.npz``, ``.csv`` or ``.parquet`` file or a folder of images. ``catalogue``
lists the sets known by name, where each comes from and under which licence.
"""

from __future__ import annotations

import os
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from genmix.base.files import look, readable
from genmix.datasets import arrays, images, tables
from genmix.datasets.known import KNOWN
from genmix.datasets.records import Dataset, DatasetNotFound, Rows
from genmix.datasets.sources import locate, read_known

__all__ = ["Dataset", "DatasetNotFound", "catalogue", "load"]

FORMATS = "a .npy, .npz, .csv or .parquet file or a folder of images"


def load(
    name_or_path: str | os.PathLike[str],
    *,
    data_dir: str | os.PathLike[str] | None = None,
    split: str | None = None,
    n_samples: int | None = None,
    random_state: int = 0,
    label_column: str | None = None,
    image_size: int | tuple[int, int] | None = None,
) -> Dataset:
    """Load a data set by name, or from a file or folder.

    Parameters
    ----------
    name_or_path : str or path
        A name from :func:`catalogue`, or

        - ``.npy``: one array, opened as a memory map;
        - ``.npz``: array ``X`` (else ``arr_0``, else the only one with two or more axes), and, if there,
          ``y``, ``names`` (of the classes), ``features`` and ``split``;
        - ``.csv``: a header, then rows; columns of numbers become X, other columns are left out (and named
          in `description`); separated by comma, semicolon or tab;
        - ``.parquet``: likewise (needs ``pip install 'genmix[parquet]'``);
        - a folder of images: all of one size, or resized to `image_size`. Sub-folders are classes; images
          beside sub-folders are unlabelled. Grey images give X [N, H, W], others [N, H, W, 3], 0..255.

        A file that is called like a data set is meant by ``./digits``.
    data_dir : path, optional
        Folder in which the larger known sets are looked for, before the folder that the environment
        variable ``GENMIX_DATA`` names, before OpenML is asked.
    split : {"train", "test"}, optional
        Only this part, of sets that have parts (mnist, cifar10, image-segmentation, files with a ``split``).
    n_samples : int, optional
        Only so many rows: a random choice in the original order, the same one for the same `random_state`.
    random_state : int, default=0
        Seed of that choice.
    label_column : str, optional
        Column of a table (or array of an ``.npz``) that holds the labels; it is left out of X. Empty cells
        are unlabelled (-1).
    image_size : int or (height, width), optional
        Size in pixels to which images of a folder are resized, whatever their proportions.

    Returns
    -------
    Dataset
        With ``X`` not copied or scaled further than said above.

    Raises
    ------
    DatasetNotFound
        If there is no such name, file or folder, or a known set is neither on disk nor to be fetched. A
        ValueError.
    ValueError
        If the content cannot be used; the text says what was found and what to do.
    """
    rows = Rows(split, n_samples, random_state)
    text = os.fspath(name_or_path)
    with readable(text):
        if text in KNOWN:
            _refuse(f"data set {text!r}", label_column=label_column, image_size=image_size)
            return read_known(KNOWN[text], rows, data_dir)
        path = Path(text)
        if look(path) is None:
            close = get_close_matches(text, KNOWN, n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise DatasetNotFound(
                f"no file, folder or data set {text!r}: {hint}known data sets are {', '.join(KNOWN)}; "
                f"else give {FORMATS}"
            )
        return _read(path, rows, label_column, image_size)


def catalogue(data_dir: str | os.PathLike[str] | None = None) -> list[dict[str, Any]]:
    """List the data sets known by name; nothing is read or fetched.

    Parameters
    ----------
    data_dir : path, optional
        Folder to look in, besides that of the environment variable ``GENMIX_DATA``.

    Returns
    -------
    list of dict
        ``name``, ``n`` (rows), ``shape`` (of one row), ``classes`` (number), ``licence``, ``source``,
        ``where`` ("embedded", "local file", "OpenML" or "by hand": get the file yourself) and ``available``
        (without the network).

    Raises
    ------
    ValueError
        If `data_dir` or ``GENMIX_DATA`` is not a folder.
    """
    return [
        {
            "name": known.name,
            "n": known.n,
            "shape": known.shape,
            "classes": known.n_classes,
            "licence": known.licence,
            "source": known.source,
            "where": (where := locate(known, data_dir)),
            "available": where in ("embedded", "local file"),
        }
        for known in KNOWN.values()
    ]


def _read(
    path: Path, rows: Rows, label_column: str | None, image_size: int | tuple[int, int] | None
) -> Dataset:
    """Read a file by its ending, and refuse options that would do nothing."""
    if path.is_dir():
        _refuse(f"folder {path.name!r}", label_column=label_column)
        return images.read_folder(path, rows, image_size)
    if not path.is_file():
        raise ValueError(f"{path} is neither a file nor a folder, but a pipe or device: expected {FORMATS}")
    _refuse(f"file {path.name!r}", image_size=image_size)
    match suffix := path.suffix.lower():
        case ".npy":
            _refuse(f"file {path.name!r}", label_column=label_column)
            return arrays.read_npy(path, rows)
        case ".npz":
            return arrays.read_npz(path, rows, label_column)
        case ".csv":
            return tables.read_csv(path, rows, label_column)
        case ".parquet":
            return tables.read_parquet(path, rows, label_column)
    raise ValueError(f"{path} ends in {suffix or 'nothing'!r}: expected {FORMATS}")


def _refuse(what: str, **options: Any) -> None:
    for name, value in options.items():
        if value is not None:
            raise ValueError(f"{name}={value!r} means nothing for the {what}: leave it out")
