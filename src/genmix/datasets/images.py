"""A folder of images; its sub-folders are the classes."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import SEEK_END, BytesIO
from itertools import chain
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

MAX_PIXELS = 40_000_000
MAX_SIDE = 65_535  # what a JPEG can have
_SLOW = {"bmp_rle": 4_000_000, "ppm": 2_000_000, "ppm_plain": 6_000_000}  # bytes, of decoders in Python
_STRIP = 2_000_000  # pixels that are converted at once
_FEW_SCANS = 20  # a progressive JPEG as programs write it has about ten

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
    with quiet():
        X = _read_all(files, size, rows)
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


@contextmanager
def opened(file: Path | BytesIO, formats: tuple[str, ...] = FORMATS) -> Iterator[Image.Image]:
    """Open an image whose header promises that it can be decoded in seconds: nothing is decoded yet."""
    from PIL import Image

    with Image.open(file, formats=formats) as image:
        most_pixels = MAX_PIXELS // 2 if image.format == "WEBP" else MAX_PIXELS  # it is decoded into copies
        if image.width * image.height > most_pixels or max(image.size) > MAX_SIDE:
            text = f"it has {image.width} x {image.height} pixels (width x height)"
            most = f"at most {most_pixels}, and {MAX_SIDE} a side"
            raise ValueError(f"{text}: expected {most}; make it smaller or leave it out")
        _check_parts(image)
        yield image


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Pillow's warnings to itself: an odd tag is of no matter here, too many pixels are an error."""
    with warnings.catch_warnings():
        for module in ("PIL", "genmix.datasets"):
            warnings.filterwarnings("ignore", module=module)
        yield


def _check_parts(image: Any) -> None:
    """Refuse an image of few pixels that is long to decode: of large tiles, of hundreds of scans, of text."""
    if image.format == "TIFF":
        width, height = (np.max(image.tag_v2.get(tag, 0)) for tag in (322, 323))  # of a tile
        if width * height > MAX_PIXELS:
            raise ValueError(f"its tiles have {width} x {height} pixels: expected at most {MAX_PIXELS}")
    elif image.tile and image.tile[0][0] in _SLOW:
        size, most = image.fp.seek(0, SEEK_END), _SLOW[image.tile[0][0]]
        if size > most:
            kind = f"{size} bytes of a kind of {image.format} that is long to decode"
            raise ValueError(f"it has {kind}: expected at most {most}; save it as PNG")
    elif image.format in ("JPEG", "MPO"):
        image.fp.seek(0)
        scans = image.fp.read().count(b"\xff\xda")
        if scans > _FEW_SCANS and scans * image.width * image.height > 4 * MAX_PIXELS:
            raise ValueError(f"its {scans} scans are long to decode: save it again, not progressive")


def _pixels(path: Path, size: Size | None) -> NDArray[np.uint8]:
    """Read one image as grey [H, W] or colour [H, W, 3], upright, 0..255."""
    from PIL import Image

    try:
        with opened(path) as file:
            pixels = _decoded(file, path)
        if size is None:
            return pixels
        return np.asarray(Image.fromarray(pixels).resize(size[::-1], Image.Resampling.BILINEAR))
    except Exception as error:  # whatever a damaged file may raise
        reason = one_line(str(error)) or type(error).__name__
        raise ValueError(f"cannot read the image {path}: {reason}") from error


def _decoded(image: Image.Image, path: Path) -> NDArray[np.uint8]:
    """Decode an image, and convert it by strips: whole copies of large ones take hundreds of MB."""
    from PIL import ImageOps

    kind = image.format
    ImageOps.exif_transpose(image, in_place=True)
    rows = max(_STRIP // image.width, 1)
    strips = (
        np.asarray(_plain(image.crop((0, top, image.width, min(top + rows, image.height))), path, kind))
        for top in range(0, image.height, rows)
    )
    first = next(strips)
    if len(first) == image.height:
        return first
    pixels = np.empty((image.height, *first.shape[1:]), np.uint8)
    for position, strip in enumerate(chain([first], strips)):
        pixels[position * rows : (position + 1) * rows] = strip
    return pixels


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


def _read_all(files: list[Path], size: Size | None, rows: Rows) -> NDArray[np.uint8]:
    """Read images of one size; grey ones among colour ones become colour."""
    X = np.empty((0, 0, 0), np.uint8)
    for position, path in enumerate(files):
        image = _pixels(path, size)
        if not position:
            X = _room(len(files), image.shape, files[0], rows)
        elif image.shape[:2] != X.shape[1:3]:
            raise ValueError(
                f"images differ in size: {files[0]} is {_words(X.shape[1:])}, {path} is "
                f"{_words(image.shape)}; give image_size=(height, width) to resize them all"
            )
        elif image.ndim > X.ndim - 1:
            grey, X = X[:position], _room(len(files), image.shape, path, rows)
            X[:position] = grey[..., None]
        X[position] = image if image.ndim == X.ndim - 1 else image[..., None]
    return X


def _room(n: int, shape: tuple[int, ...], path: Path, rows: Rows) -> NDArray[np.uint8]:
    """Make room for n images as large as this one."""
    what = f"{n} images as large as {path}, {_words(shape)},"
    rows.check_memory(what, n * math.prod(shape), "give image_size or n_samples")
    return np.empty((n, *shape), np.uint8)


def _words(shape: tuple[int, ...]) -> str:
    return f"{shape[0]} x {shape[1]} pixels (height x width)"
