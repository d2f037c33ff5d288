"""What ``genmix sample`` writes: a picture with a row for each component, or the samples themselves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from genmix.cli.files import whole_file, write_arrays, write_columns
from genmix.plots.pictures import image_style, is_images, to_rgba

if TYPE_CHECKING:
    from PIL.Image import Image

Array = NDArray[Any]

GRID_WIDTH = 56  # pixels that an image of a grid has at least, so that 8x8 digits can be seen
GRID_GAP = 4  # pixels between the images of a grid
CAPTION_WIDTH = 96  # pixels left of each row of a grid


def write_samples(path: Path, rows: Mapping[str, Array], index: Mapping[str, Array]) -> None:
    """Write generated items in the format that the ending of `path` names.

    Parameters
    ----------
    path : Path
        Ends in .png, .npz or .csv.
    rows : mapping of str to array of shape (n, ...)
        Items by the caption of their row in a picture.
    index : mapping of str to array of shape (N,)
        What else a file says of each item, in the order of the rows.

    Raises
    ------
    ValueError
        If a picture is asked of a table, or a table of images.
    """
    X, suffix = np.concatenate(list(rows.values())), path.suffix.lower()
    if suffix == ".png" and not is_images(X):
        raise ValueError("this model generates rows of a table, no images: use --out FILE.csv or FILE.npz")
    if suffix == ".csv" and is_images(X):
        raise ValueError("this model generates images: use --out FILE.png or FILE.npz")
    if suffix == ".npz":
        write_arrays(path, {"X": X, **index})
    elif suffix == ".png":
        with whole_file(path) as part:
            image_grid(rows).save(part)
    else:
        write_columns(path, {**index, **{f"feature_{j}": X[:, j] for j in range(X.shape[1])}})


def image_grid(rows: Mapping[str, Array]) -> Image:
    """Put images into one picture, a captioned row each.

    Parameters
    ----------
    rows : mapping of str to array of shape (n, H, W), (n, H, W, C) or (n, C, H, W)
        Caption and images of each row.

    Returns
    -------
    PIL.Image.Image
        On white; small images are enlarged without smoothing.
    """
    from PIL import Image, ImageDraw, ImageFont

    style = image_style(np.concatenate(list(rows.values())))  # one style for all, so that rows compare
    tiles = {caption: [_tile(rgba) for rgba in to_rgba(images, style)] for caption, images in rows.items()}
    columns = max(map(len, tiles.values()))
    first = next(iter(tiles.values()))[0]
    step_x, step_y = first.width + GRID_GAP, first.height + GRID_GAP
    page = Image.new("RGB", (CAPTION_WIDTH + columns * step_x, GRID_GAP + len(tiles) * step_y), "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(size=14)
    for row, (caption, pictures) in enumerate(tiles.items()):
        top = GRID_GAP + row * step_y
        draw.text((8, top + first.height // 2), caption, fill="black", font=font, anchor="lm")
        for column, picture in enumerate(pictures):
            page.paste(picture, (CAPTION_WIDTH + column * step_x, top), mask=picture)
    return page


def _tile(rgba: NDArray[np.uint8]) -> Image:
    """One picture, enlarged by a whole number: every pixel stays a square of one colour."""
    from PIL import Image

    height, width = rgba.shape[:2]
    scale = max(1, -(-GRID_WIDTH // width))
    return Image.fromarray(rgba).resize((width * scale, height * scale), Image.Resampling.NEAREST)
