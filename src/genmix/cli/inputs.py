"""What the verbs read first: DATA, with its options, and MODEL."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cyclopts import Parameter

if TYPE_CHECKING:
    from genmix.datasets import Dataset


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
        The column of a table (or the array of an .npz) that holds labels: it is taken out of the data.
    image_size : int, optional
        Make each image of a folder so many pixels wide and high.
    data_dir : Path, optional
        Folder in which data sets known by name are looked for. Default: the environment variable GENMIX_DATA.
    """

    split: Literal["train", "test"] | None = None
    n_samples: int | None = None
    labels_column: str | None = None
    image_size: int | None = None
    data_dir: Path | None = None


ALL_ROWS = DataOptions()


def load_data(data: str, rows: DataOptions) -> Dataset:
    """Read DATA as the options say."""
    from genmix.datasets import load

    return load(
        data,
        data_dir=rows.data_dir,
        split=rows.split,
        n_samples=rows.n_samples,
        label_column=rows.labels_column,
        image_size=rows.image_size,
    )


def load_model(folder: Path) -> Any:
    """Read a fitted model from its folder."""
    import genmix

    return genmix.load(folder)
