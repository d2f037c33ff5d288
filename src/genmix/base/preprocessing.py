"""Any table or stack of images, through one door: layout and scaling are learned, recorded and undone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Annotated, Any, Literal

import numpy as np
import torch
from torch import Tensor

from genmix.base.validation import Contents, PositiveInt, check_values, short_repr

#: How large the numbers may be that networks are given: squares of sums of them are to be finite.
FARTHEST = 1e15
#: How many numbers an item of a loaded model may have at most.
LARGEST = 2**28
#: Numbers that are converted to float64 at a time.
CHUNK = 2**18
#: Columns whose values differ by no more, as a share of their size, are constant but for rounding.
ROUNDING = 64 * np.finfo(np.float64).eps


def finite(answer: Any, what: str, most: float = np.finfo(np.float64).max) -> Any:
    """Return an answer as it is; ValueError for NaN, infinity, or numbers beyond `most`."""
    if len(answer) and not max(-answer.min(), answer.max()) <= most:
        raise ValueError(f"{what} are not finite: the model's weights, or its scaling, are out of range")
    return answer


def as_array(X: Any) -> Any:
    """Bring torch tensors, and lists of images, to numpy; leave the rest to scikit-learn's validation.

    ValueError for images of several shapes, and what numpy would take for something else: masked, sparse.
    """
    if np.ma.is_masked(X):
        raise ValueError("masked values were given: fill them, or leave their items out")
    if isinstance(X, Tensor):
        if X.layout != torch.strided:
            raise ValueError(f"a tensor of layout {X.layout} was given: expected a dense one, X.to_dense()")
        X = X.detach().cpu()
        known = X.dtype in (torch.float16, torch.float32, torch.float64) or not X.is_floating_point()
        return (X if known else X.float()).numpy()  # numpy has no bfloat16
    if isinstance(X, list | tuple):
        if len(getattr(next(iter(X), None), "shape", ())) in (1, 2, 3):
            X = [as_array(x) for x in X]
        shapes = {np.shape(x) for x in X if hasattr(x, "shape")}
        if len(shapes) > 1:
            raise ValueError(f"items of several shapes were given: {sorted(shapes)[0]}, {sorted(shapes)[1]}")
        nested = np.asarray(X)
        return nested if nested.ndim > 2 else X
    return X


def is_images(X: Any) -> bool:
    """Whether `X` has the dimensions of images (3 or 4) rather than of a table."""
    return len(getattr(X, "shape", ())) in (3, 4)


@dataclass
class Preprocessing:
    """Layout and scaling of the items a model was fitted on.

    Attributes
    ----------
    shape : tuple of int
        Shape of one item as the user gave it.
    layout : {"table", "hw", "hwc", "chw"}
        Order of the axes of one item.
    dtype : str
        Numpy dtype of the user's items; `restore` returns it.
    scaling : str
        "range": tables are centred, each column divided by its largest absolute deviation (the scaling of the
        GANMM paper's UCI data), then everything by one number so that the columns' mean variance is 1. "unit"
        is the same without that last number, "standard" divides by standard deviations, "none" changes
        nothing. Images are mapped from their range (see `pixel_range`) to [0, 1].
    center, scale : list of float
        Per column, or one number each for images: scaled = (x - center) / scale.
    constant : list of int
        Columns of a table without any variation: `restore` gives them their value.
    held : tuple of numbers
        Those values, exact; of images that are all the same, every number of the image.
    """

    shape: tuple[int, ...]
    layout: str
    dtype: str
    scaling: str
    center: list[float] = field(default_factory=list)
    scale: list[float] = field(default_factory=list)
    constant: list[int] = field(default_factory=list)
    held: tuple[float, ...] = ()

    @classmethod
    def fit(cls, X: np.ndarray, scaling: str = "range") -> Preprocessing:
        """Learn layout and scaling from validated data; ValueError unless images have 1 or 3 channels."""
        if scaling not in ("range", "unit", "standard", "none"):
            raise ValueError(f"scaling={short_repr(scaling)}: expected 'range', 'unit', 'standard' or 'none'")
        layout = _layout(X)
        if layout == "table":
            center, scale, constant = _table_scale(X, scaling)
            held = X[0, constant]
        else:
            (center, scale), constant = _image_scale(X, scaling), np.array([], int)
            alike = np.array_equal(X[0], X[-1]) and np.array_equal(X.min(0), X.max(0))
            held = X[0].ravel() if alike else constant
        return cls(
            X.shape[1:], layout, str(X.dtype), scaling, center.tolist(), scale.tolist(), constant.tolist(),
            tuple(held.tolist()),
        )  # fmt: skip

    @classmethod
    def fit_apply(cls, X: np.ndarray, scaling: str = "range") -> tuple[Preprocessing, Tensor]:
        """Learn layout and scaling, and return them with the scaled items, as `fit` and `apply`."""
        preprocessing = cls.fit(X, scaling)
        return preprocessing, preprocessing.apply(X)

    @property
    def item_shape(self) -> tuple[int, ...]:
        """Shape of one item inside the networks: ``(d,)`` or ``(C, H, W)``."""
        if self.layout in ("table", "chw"):
            return self.shape
        return (1, *self.shape) if self.layout == "hw" else (self.shape[2], *self.shape[:2])

    def apply(self, X: np.ndarray) -> Tensor:
        """Scale items to float32 ``[N, *item_shape]``; ValueError if they are too far from those fitted."""
        values, center, scale = np.empty(X.shape, np.float32), np.array(self.center), np.array(self.scale)
        scaled = torch.from_numpy(values)
        with np.errstate(over="ignore"):
            if self.layout == "table":
                for rows in _row_chunks(X):
                    np.divide(X[rows] - center, scale, out=values[rows], casting="unsafe")
            else:  # subtracted in float64, piece by piece: far from 0, float32 would not tell pixels apart
                np.subtract(X, center, out=values, dtype=np.float64, casting="unsafe")
                scaled.div_(self.scale[0])
        if len(scaled) and not max(-scaled.min(), scaled.max()) <= FARTHEST:
            raise ValueError(
                f"X has values beyond {FARTHEST:g} once scaled as the data of the fit: rescale it, or leave "
                "them out"
            )
        return scaled.permute(0, 3, 1, 2) if self.layout == "hwc" else scaled.reshape(-1, *self.item_shape)

    @property
    def pixels(self) -> tuple[float, float]:
        """What stood for the darkest and the brightest pixel of the images fitted."""
        return self.center[0], self.center[0] + self.scale[0]

    def in_other_units(self, items: Tensor) -> bool:
        """Whether scaled images use a hundredth of the range fitted or less, or ten times as much or more."""
        if self.layout == "table" or self.scaling == "none":
            return False
        low, high = (float(end) for end in items.aminmax())
        return low < high and ((0 <= low and high <= 0.01) or high - low >= 10)

    def restore(self, items: Tensor) -> np.ndarray:
        """Undo `apply`: items in the user's own units, layout and dtype."""
        values = items.detach().cpu().double().numpy() * np.array(self.scale) + np.array(self.center)
        values = finite(values, "the items made")
        values = values.transpose(0, 2, 3, 1) if self.layout == "hwc" else values.reshape(-1, *self.shape)
        dtype = np.dtype(self.dtype)
        if dtype.kind in "iub":
            info = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
            values = values.round().clip(*info)
        if dtype.kind == "f":
            values = finite(values, f"the items made, as {dtype},", _ends(dtype)[1])
        values = values.astype(dtype)
        if self.held:
            held = np.array(self.held, dtype)
            values[:, self.constant or slice(None)] = held if self.constant else held.reshape(self.shape)
        return values

    def check(self, X: np.ndarray) -> None:
        """Refuse items of another shape than those the model was fitted on."""
        if tuple(X.shape[1:]) != tuple(self.shape):
            advice = "; of a single item make a stack of one, X[None]" if X.shape == self.shape else ""
            raise ValueError(
                f"items of shape {tuple(X.shape[1:])} were given, but the model was fitted on "
                f"{self.shape}{advice}"
            )

    def to_dict(self) -> dict[str, Any]:
        """JSON-able record."""
        return asdict(self)

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> Preprocessing:
        """Rebuild from `to_dict`; genmix 0.1 kept means of constant columns for their values.

        Raises
        ------
        ValueError
            What `fit` does not make.
        """
        names = [one.name for one in fields(cls)]
        if odd := sorted({*names, "held"} ^ {*record, "held"}):
            raise ValueError(f"{short_repr(odd[0])} is {'missing' if odd[0] in names else 'unknown'}")
        check_values(record, _KINDS)
        numbers = {name: [float(one) for one in record[name]] for name in ("center", "scale")}
        columns = [int(column) for column in record["constant"]]
        shape = tuple(record["shape"])
        preprocessing = cls(**{**record, **numbers, "shape": shape, "constant": columns})
        preprocessing._check_lengths()
        values = (
            preprocessing.held
            if "held" in record
            else [preprocessing.center[column] for column in preprocessing.constant]
        )
        whole = np.dtype(preprocessing.dtype).kind in "iub"
        preprocessing.held = tuple(round(value) if whole else value for value in values)
        preprocessing._check_held()
        return preprocessing

    def _check_lengths(self) -> None:
        """Refuse a record whose entries do not belong together."""
        axes = {"table": 1, "hw": 2, "hwc": 3, "chw": 3}[self.layout]
        channels = {"hwc": self.shape[-1], "chw": self.shape[0]}.get(self.layout, 1)
        if len(self.shape) != axes or channels not in (1, 3) or math.prod(self.shape) > LARGEST:
            raise ValueError(f"shape={short_repr(self.shape)}: expected that of a {self.layout!r} item")
        width = self.shape[0] if self.layout == "table" else 1
        for name in ("center", "scale"):
            found = np.array(getattr(self, name), dtype=np.float64)
            if found.shape != (width,) or not np.isfinite(found).all():
                raise ValueError(f"{name}: expected {width} finite numbers")
        if not (np.array(self.scale) > 0).all():
            raise ValueError("scale: expected numbers above 0")
        columns = width if self.layout == "table" else 0
        if self.constant != sorted({*self.constant}) or (self.constant and self.constant[-1] >= columns):
            raise ValueError(f"constant: expected columns below {columns}, in ascending order")

    def _check_held(self) -> None:
        """Refuse values of another number, or that the dtype cannot hold."""
        expected = (len(self.constant),) if self.layout == "table" else (0, math.prod(self.shape))
        dtype = np.dtype(self.dtype)
        info = np.iinfo(dtype) if dtype.kind in "iu" else None
        low, high = (info.min, info.max) if info else (0, 1) if dtype.kind == "b" else _ends(dtype)
        if len(self.held) not in expected or not all(low <= value <= high for value in self.held):
            raise ValueError(f"held: expected {expected[-1]} values of {self.dtype}")


def _ends(dtype: np.dtype) -> tuple[float, float]:
    """Smallest and largest of the numbers of a dtype, as far as Python has them."""
    most = min(float(np.finfo(dtype).max), float(np.finfo(np.float64).max))
    return -most, most


class _Numbers(Contents):
    """Numbers, as JSON has them."""

    def __contains__(self, value: Any) -> bool:
        return all(type(one) in (int, float, bool) for one in value)

    def __str__(self) -> str:
        """Say it in words."""
        return "a list of numbers"


class _DataType(Contents):
    """A dtype of numbers."""

    def __contains__(self, value: Any) -> bool:
        try:
            return len(value) < 20 and np.dtype(value).kind in "biuf"
        except (TypeError, ValueError):
            return False

    def __str__(self) -> str:
        """Say it in words."""
        return "a dtype of numbers"


#: Kinds of what a record holds.
_KINDS: dict[str, Any] = {
    "shape": Sequence[PositiveInt],
    "layout": Literal["table", "hw", "hwc", "chw"],
    "dtype": Annotated[str, _DataType()],
    "scaling": Literal["range", "unit", "standard", "none"],
    "center": Annotated[list, _Numbers()],
    "scale": Annotated[list, _Numbers()],
    "constant": Sequence[int],
    "held": Annotated[list | tuple, _Numbers()],
}


def _layout(X: np.ndarray) -> str:
    if X.ndim == 2:
        return "table"
    if X.ndim == 3:
        return "hw"
    if X.shape[3] in (1, 3):
        return "hwc"
    if X.shape[1] in (1, 3):
        return "chw"
    raise ValueError(
        f"images of shape {X.shape} have neither 1 nor 3 channels; "
        "expected [N, H, W], [N, H, W, C] or [N, C, H, W]"
    )


def _row_chunks(X: np.ndarray) -> Iterator[slice]:
    """Yield rows of about `CHUNK` numbers: float64 copies of those, but of no more, are made."""
    step = max(1, CHUNK // X.shape[1])
    return (slice(start, start + step) for start in range(0, len(X), step))


def _table_scale(X: np.ndarray, scaling: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    low, high = X.min(0).astype(np.float64), X.max(0).astype(np.float64)
    varies = high / 2 - low / 2 > ROUNDING / 2 * np.maximum(np.abs(low), np.abs(high))
    constant = np.flatnonzero(~varies)
    if scaling == "none":
        return np.zeros(X.shape[1]), np.ones(X.shape[1]), constant
    center = sum(X[rows].astype(np.float64).sum(0) for rows in _row_chunks(X)) / len(X)
    center = np.where(varies, center.clip(low, high), X[0])  # rounding may take a mean out of the range
    spread = np.where(varies, np.maximum(high - center, center - low), 1)
    if scaling == "unit" or not varies.any():
        return center, spread, constant
    total, squares = np.zeros(varies.sum()), np.zeros(varies.sum())
    for rows in _row_chunks(X):
        deviation = (X[rows][:, varies] - center[varies]) / spread[varies]
        total += deviation.sum(0)
        squares += np.square(deviation, out=deviation).sum(0)
    variance = squares / len(X) - (total / len(X)) ** 2  # `center` is a rounded mean
    if scaling == "standard":
        spread[varies] *= np.sqrt(variance)
    else:
        spread[varies] *= math.sqrt(variance.mean())
    return center, spread, constant


def _image_scale(X: np.ndarray, scaling: str) -> tuple[np.ndarray, np.ndarray]:
    if scaling == "none":
        return np.zeros(1), np.ones(1)
    low, high = pixel_range(X)
    return np.full(1, low), np.full(1, high - low)


def pixel_range(images: np.ndarray) -> tuple[float, float]:
    """Find what stands for the darkest and the brightest pixel.

    Images that use a quarter of a usual range (0..255 for bytes, 0..1 for other numbers), or are of one
    shade within it, are in it; others reach from their smallest to their largest value.
    """
    low, high = float(images.min()), float(images.max())
    usual = 255.0 if images.dtype == np.uint8 else 1.0
    if 0 <= low and high <= usual and (high == low or high - low >= usual / 4):
        return 0.0, usual
    return low, high if high > low else low + 1.0
