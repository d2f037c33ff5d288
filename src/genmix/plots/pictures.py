"""Image arrays of any layout and range, turned into small pictures for figures and the report."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

MAX_SIDE = 64  # larger images are made smaller: a report stays light and still shows what a cluster is


@dataclass(frozen=True)
class ImageStyle:
    """How the images of one data set are drawn, so that real and generated ones are comparable.

    Parameters
    ----------
    low, high : float
        Pixel values drawn as darkest and brightest.
    channels_first : bool
        True for [N, C, H, W].
    ink : bool
        True for grey images whose background is the lowest value (digits, letters): they are drawn as ink on
        the page, opacity by value, which works on a light and on a dark page.
    """

    low: float
    high: float
    channels_first: bool
    ink: bool


def is_images(X: ArrayLike) -> bool:
    """Return whether an array holds images ([N,H,W], [N,H,W,C] or [N,C,H,W]) and not a table."""
    return np.ndim(X) in (3, 4)


def image_style(X: ArrayLike) -> ImageStyle:
    """Find layout, range and manner of drawing from real images.

    Parameters
    ----------
    X : array [N, H, W], [N, H, W, C] or [N, C, H, W]
        Real images, uint8 or float, C one of 1, 3, 4.

    Raises
    ------
    ValueError
        If the number of dimensions is not 3 or 4, or no axis can be the channels.
    """
    from genmix.base.preprocessing import pixel_range

    images = np.asarray(X)
    if images.ndim not in (3, 4):
        raise ValueError(f"got {images.ndim} dimensions; images are [N,H,W], [N,H,W,C] or [N,C,H,W].")
    channels_first = images.ndim == 4 and _channels_first(images.shape)
    finite = images[np.isfinite(images)]
    low, high = pixel_range(finite) if finite.size else (0.0, 1.0)  # as the models see it
    if -1 <= low < 0 < high <= 1:
        low, high = -1.0, 1.0
    grey = images.ndim == 3 or images.shape[1 if channels_first else 3] == 1
    # many pixels at the lowest value are the sign of strokes on an empty sheet
    background = np.quantile(images, 0.4) if images.size else low
    return ImageStyle(low, high, channels_first, bool(grey and background <= low + 0.05 * (high - low)))


def _channels_first(shape: tuple[int, ...]) -> bool:
    """Look for 1 or 3 channels, last axis first as the models do; then for 4, colour with opacity."""
    for channels in ((1, 3), (4,)):
        if shape[3] in channels or shape[1] in channels:
            return shape[3] not in channels
    raise ValueError(f"images of shape {shape[1:]} have no axis of 1, 3 or 4 channels.")


def to_rgba(images: ArrayLike, style: ImageStyle, color: str = "#000000") -> NDArray[np.uint8]:
    """Draw images as red, green, blue and opacity.

    Parameters
    ----------
    images : array [n, H, W], [n, H, W, C] or [n, C, H, W]
        In the layout and range of the real images ``style`` was found from.
    style : ImageStyle
        See `image_style`.
    color : str, default="#000000"
        Colour ``#rrggbb`` of the ink; not used for photographs.

    Returns
    -------
    array uint8 [n, H, W, 4]
        At most 64 pixels a side.
    """
    value = np.asarray(images, dtype=np.float64)
    if value.ndim == 3:
        value = value[..., None]
    elif style.channels_first:
        value = np.moveaxis(value, 1, -1)
    value = np.nan_to_num((value - style.low) / (style.high - style.low))
    level = np.round(np.clip(value, 0, 1) * 255).astype(np.uint8)
    rgba = np.full((*level.shape[:3], 4), 255, dtype=np.uint8)
    if style.ink:
        rgba[..., :3] = list(bytes.fromhex(color[1:]))
        rgba[..., 3] = level[..., 0]
    else:
        rgba[..., : 4 if level.shape[-1] == 4 else 3] = level  # one grey channel spreads over three
    side = max(rgba.shape[1:3])
    if side <= MAX_SIDE:
        return rgba
    from PIL import Image

    size = [max(1, length * MAX_SIDE // side) for length in (rgba.shape[2], rgba.shape[1])]
    return np.stack([np.asarray(Image.fromarray(one).resize(size, Image.Resampling.BOX)) for one in rgba])


def mosaic(rgba: NDArray[np.uint8], columns: int) -> NDArray[np.uint8]:
    """Lay pictures out in a grid with see-through gaps.

    Parameters
    ----------
    rgba : array uint8 [n, H, W, 4]
        Pictures, n >= 1.
    columns : int
        Pictures in a row, >= 1.

    Returns
    -------
    array uint8 [rows * H + gaps, columns * W + gaps, 4]
    """
    n, height, width, _ = rgba.shape
    gap = max(1, width // 16)
    rows = -(-n // columns)
    tiles = np.zeros((rows * columns, height + gap, width + gap, 4), dtype=np.uint8)
    tiles[:n, :height, :width] = rgba
    sheet = tiles.reshape(rows, columns, *tiles.shape[1:]).swapaxes(1, 2)
    return sheet.reshape(rows * (height + gap), columns * (width + gap), 4)[:-gap, :-gap]


def png(rgba: NDArray[np.uint8]) -> bytes:
    """Return one picture [H, W, 4] as a PNG file; equal pictures give equal bytes."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(rgba).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()
