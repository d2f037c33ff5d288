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


def write_samples(path: Path, samples: Mapping[int, Array], weights: Array) -> None:
    """Write generated samples in the format that the ending of `path` names.

    Parameters
    ----------
    path : Path
        Ends in .png, .npz or .csv.
    samples : mapping of int to array of shape (n, ...)
        Each component's samples; n is the same for all.
    weights : array of shape (K,)
        Share of each component, for the captions of a picture.

    Raises
    ------
    ValueError
        If a picture is asked of a table, or a table of images.
    """
    values = np.concatenate(list(samples.values()))
    component = np.repeat(list(samples), len(values) // len(samples))
    _check_kind(path, is_images(values))
    if path.suffix.lower() == ".npz":
        write_arrays(path, {"X": values, "component": component})
    elif path.suffix.lower() == ".png":
        grid = image_grid({f"{k}  ({weights[k]:.1%})": drawn for k, drawn in samples.items()})
        with whole_file(path) as part:
            grid.save(part)
    else:
        features = {f"feature_{j}": values[:, j] for j in range(values.shape[1])}
        write_columns(path, {"component": component, **features})


def write_walk(path: Path, items: Array, caption: str) -> None:
    """Write the items of a walk, in their order, in the format that the ending of `path` names.

    Raises
    ------
    ValueError
        If a picture is asked of a table, or a table of images.
    """
    _check_kind(path, is_images(items))
    share = np.linspace(0, 1, len(items))
    if path.suffix.lower() == ".npz":
        write_arrays(path, {"X": items, "share": share})
    elif path.suffix.lower() == ".png":
        with whole_file(path) as part:
            image_grid({caption: items}).save(part)
    else:
        write_columns(path, {"share": share, **{f"feature_{j}": items[:, j] for j in range(items.shape[1])}})


def _check_kind(path: Path, images: bool) -> None:
    if path.suffix.lower() == ".png" and not images:
        raise ValueError("this model generates rows of a table, no images: use --out FILE.csv or FILE.npz")
    if path.suffix.lower() == ".csv" and images:
        raise ValueError("this model generates images: use --out FILE.png or FILE.npz")


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
