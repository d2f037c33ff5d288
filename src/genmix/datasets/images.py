"""A folder of images; its sub-folders are the classes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from genmix.base.validation import is_whole, one_line, short_repr
from genmix.datasets.records import Dataset, Rows

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})

#: Pillow knows more; for PostScript, whatever the file is called, it starts another program.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")

MAX_PIXELS = 50_000_000

Size = tuple[int, int]


def read_folder(folder: Path, rows: Rows, image_size: int | Size | None = None) -> Dataset:
    """Read all images in a folder, and their classes where they lie in sub-folders."""
    size = _checked_size(image_size)
    files = sorted(path for path in _below(folder) if _is_image(path, folder))
    if not files:
        raise ValueError(f"{folder} holds no images: expected files ending in {', '.join(sorted(SUFFIXES))}")
    below = [path.relative_to(folder).parts for path in files]
    classes = [parts[0] if len(parts) > 1 else "" for parts in below]  # "": beside the sub-folders
    names = _in_order(set(classes) - {""})
    wanted = rows.choose(str(folder), len(files))
    files = np.array(files, dtype=object)[wanted].tolist()
    y = np.array([names.index(name) if name else -1 for name in classes], np.int64)[wanted]
    X = _stack([_pixels(path, size) for path in files], files)
    return Dataset(folder.resolve().name, X, y if names else None, class_names=names or None)


def _below(folder: Path) -> Iterator[Path]:
    """Go through all files; a folder that may not be entered is an error, and not left out."""

    def refuse(error: OSError) -> None:
        raise error

    for parent, _, names in os.walk(folder, onerror=refuse):
        yield from (Path(parent, name) for name in names)


def _is_image(path: Path, folder: Path) -> bool:
    """Tell images from the rest; systems leave hidden files of the same endings behind."""
    parts = path.relative_to(folder).parts
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in parts)
    return not hidden and path.suffix.lower() in SUFFIXES and path.is_file()


def _in_order(names: set[str]) -> tuple[str, ...]:
    """Sort folders called 2 and 10 as numbers if all are numbers, else as text."""
    numbers = all(name.isdecimal() for name in names)
    return tuple(sorted(names, key=lambda name: (int(name) if numbers else 0, name)))


def _checked_size(image_size: int | Size | None) -> Size | None:
    if image_size is None:
        return None
    size = tuple(image_size) if isinstance(image_size, Sequence) else (image_size, image_size)
    if len(size) != 2 or not all(is_whole(side) and side >= 1 for side in size):
        given = short_repr(image_size)
        raise ValueError(f"image_size={given}: expected pixels >= 1, one number or (height, width)")
    return (int(size[0]), int(size[1]))


def _pixels(path: Path, size: Size | None) -> NDArray[np.uint8]:
    """Read one image as grey [H, W] or colour [H, W, 3], upright, 0..255."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path, formats=FORMATS) as file:
            if file.width * file.height > MAX_PIXELS:  # known from the header: nothing is decoded yet
                text = f"it has {file.width} x {file.height} pixels (width x height)"
                raise ValueError(f"{text}: expected at most {MAX_PIXELS}; make it smaller or leave it out")
            image = _plain(ImageOps.exif_transpose(file), path, file.format)
            if size is not None:
                image = image.resize(size[::-1], Image.Resampling.BILINEAR)
            return np.asarray(image)
    except Exception as error:  # whatever a damaged file may raise
        reason = one_line(str(error)) or type(error).__name__
        raise ValueError(f"cannot read the image {path}: {reason}") from error


def _plain(image: Image.Image, path: Path, kind: str | None) -> Image.Image:
    """Turn any kind of image into grey (L) or colour (RGB) of 8 bits."""
    from PIL import Image

    # Plain conversion would cut off all that is brighter than 255. PIL reads 16-bit .pgm as 32-bit numbers.
    if image.mode.startswith("I;16") or (image.mode == "I" and kind == "PPM"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError(f"the image {path} has 32-bit pixels of unknown range: save it with 8 or 16 bits")
    if "A" in image.mode or "transparency" in image.info:  # what is transparent shows white
        layers = image.convert("RGBA")
        white = Image.new("RGBA", layers.size, "white")
        flat = Image.alpha_composite(white, layers).convert("RGB")
        return flat.convert("L") if image.mode in ("LA", "La", "L", "1") else flat
    return image.convert("L" if image.mode in ("1", "L") else "RGB")


def _stack(pixels: list[NDArray[np.uint8]], files: list[Any]) -> NDArray[np.uint8]:
    """Join images of one size; grey ones among colour ones become colour."""
    first = pixels[0].shape[:2]
    for path, image in zip(files, pixels, strict=True):
        if image.shape[:2] != first:
            raise ValueError(
                f"images differ in size: {files[0]} is {_words(first)}, {path} is {_words(image.shape)}; "
                "give image_size=(height, width) to resize them all"
            )
    if any(image.ndim == 3 for image in pixels):
        pixels = [np.broadcast_to(image.reshape(*first, -1), (*first, 3)) for image in pixels]
    return np.stack(pixels)


def _words(shape: tuple[int, ...]) -> str:
    return f"{shape[0]} x {shape[1]} pixels (height x width)"
