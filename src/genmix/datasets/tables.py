"""Tables in ``.csv`` and ``.parquet`` files: columns of numbers become X."""

from __future__ import annotations

import csv
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genmix.base.validation import listed, one_line, short_repr
from genmix.datasets.memory import check_memory
from genmix.datasets.parquet import ParquetTable
from genmix.datasets.records import Dataset, Rows, check_names, code_labels

_MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "?"})
_TRUTH = {"true": 1.0, "false": 0.0}
_DECIMAL_COMMA = re.compile(r"[-+]?\d*,\d+")

#: Bytes that Python takes for a row of a .csv, and for each cell beside its text, until they are numbers.
_ROW, _CELL = 120, 72
_SOME = 100  # rows after which memory is looked at

#: How pandas writes row numbers: first in a .csv, in one that was read and written again, in a .parquet.
_ROW_NUMBERS = re.compile(r"|Unnamed: 0|__index_level_\d+__")


def read_csv(path: Path, rows: Rows, label_column: str | None = None) -> Dataset:
    """Read a header and rows, separated by comma, semicolon or tab."""
    header, cells = read_cells(path, rows.max_memory)
    texts = dict(zip(header, zip(*cells, strict=True), strict=True))
    label = _take_labels(texts, label_column, path)
    numbers = {
        name: _numbers(column, f"column {short_repr(name)} of {path}") for name, column in texts.items()
    }
    return _dataset(path, rows, numbers, label)


def read_parquet(path: Path, rows: Rows, label_column: str | None = None) -> Dataset:
    """Read the columns of numbers of a Parquet file with pyarrow, an optional extra."""
    table = ParquetTable(path, rows.max_memory)
    names = list(table)
    label = None
    if label_column is not None:
        _check_there(names, label_column, path)
        label = table.labels(label_column)
    columns = table.numbers([name for name in names if name != label_column])
    numbers = {
        name: None if column is None else _arrow_numbers(column, f"column {short_repr(name)} of {path}")
        for name, column in columns.items()
    }
    return _dataset(path, rows, numbers, label)


_Label = tuple[NDArray[np.int64], tuple[str, ...] | None]


def _dataset(
    path: Path, rows: Rows, numbers: dict[str, NDArray[Any] | None], label: _Label | None
) -> Dataset:
    features = {
        n: column for n, column in numbers.items() if column is not None and not _ROW_NUMBERS.fullmatch(n)
    }
    left_out = tuple(name for name in numbers if name not in features)
    if not features:
        text = f"{path} has no column of numbers: it has {listed(numbers) or 'no columns'}"
        if path.suffix == ".csv":
            text += "; expected comma, semicolon or tab between columns, and numbers with a decimal point"
        raise ValueError(text)
    X = np.column_stack(list(features.values()))
    if not len(X):
        raise ValueError(f"{path} has a header but no rows")
    y, class_names = label or (None, None)
    texts = [name for name in left_out if numbers[name] is None]
    notes = [f"Left out, as they are not numbers: {listed(texts)}."] if texts else []
    if len(texts) < len(left_out):
        notes.append("Left out, as pandas writes it to number the rows: a column.")
    data = Dataset(
        path.stem, X, y, tuple(features), class_names, description=" ".join(notes), left_out=left_out
    )
    return rows.take(data, str(path))


def _take_labels(columns: dict[str, Any], label_column: str | None, path: Path) -> _Label | None:
    """Take the column of labels out of the columns."""
    if label_column is None:
        return None
    _check_there(columns, label_column, path)
    return code_labels(columns.pop(label_column), f"column {label_column!r} of {path}")


def _check_there(names: Collection[str], label_column: str, path: Path) -> None:
    if label_column not in names:
        raise ValueError(f"{path} has no column {label_column!r} for the labels: it has {listed(names)}")


def read_cells(path: Path, max_memory: int | None = None) -> tuple[list[str], list[list[str]]]:
    """Read the header, and the cells of each row, of a table separated by comma, semicolon or tab."""
    taken, advice = path.stat().st_size, "save it as .npy or .parquet, or leave rows or columns out"
    check_memory(str(path), taken, max_memory, advice)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            first = file.readline()
            file.seek(0)
            separator = max(",;\t", key=lambda mark: _count_cells(first, mark))
            lines = csv.reader(file, delimiter=separator, strict=True)
            header = check_names([cell.strip() for cell in next(lines, [])], path)
            if header and all(_is_number(cell) for cell in header):
                raise ValueError(f"the first line of {path} has no names: expected a header, then rows")
            cells = []
            for row in lines:
                if row and len(row) != len(header):
                    raise ValueError(
                        f"line {lines.line_num} of {path} has {len(row)} cells: expected {len(header)}, "
                        "as in the header"
                    )
                if row:
                    cells.append([cell.strip() for cell in row])
                    taken += _ROW + _CELL * len(row) + sum(map(len, row))
                    if len(cells) % _SOME == 1:
                        check_memory(f"{path}, as far as line {lines.line_num},", taken, max_memory, advice)
    except (UnicodeDecodeError, csv.Error) as error:
        reason = one_line(str(error))
        raise ValueError(f"cannot read {path} as a table in UTF-8 text: {reason}") from error
    if not cells:
        raise ValueError(f"{path} has a header but no rows" if header else f"{path} is empty")
    return header, cells


def _count_cells(line: str, separator: str) -> int:
    try:
        return len(next(csv.reader([line], delimiter=separator), []))
    except csv.Error:  # a cell of more than 131,072 characters: many cells, and another separator
        return 0


def _numbers(cells: tuple[str, ...], what: str) -> NDArray[np.float64] | None:
    """Read a column as numbers, or return None where it is text."""
    if all(map(_is_number, cells)):
        return _finite(np.array([float(cell) for cell in cells]), what)
    truths = [_TRUTH.get(cell.lower()) for cell in cells]
    if None not in truths:
        return np.array(truths, float)
    numbers = [_is_number(cell) for cell in cells]
    texts = [not number and cell.lower() not in _MISSING for number, cell in zip(numbers, cells, strict=True)]
    if sum(texts) >= sum(numbers):
        commas = [cell for cell in cells if _DECIMAL_COMMA.fullmatch(cell)]
        if len(commas) + sum(numbers) == len(cells):  # to leave the column out would lose it unseen
            raise ValueError(
                f"{what} has decimal commas, as in {short_repr(commas[0])}: write its numbers with a point"
            )
        return None
    if not any(texts):
        _refuse_missing(~np.array(numbers), what)
    row = texts.index(True)  # mostly numbers: leaving the column out would hide a typing error
    raise ValueError(f"{what} has numbers and, in row {row + 1}, {short_repr(cells[row])}: expected a number")


def _finite(values: NDArray[Any], what: str) -> NDArray[Any]:
    _refuse_missing(~np.isfinite(values), what)
    return values


def _refuse_missing(missing: NDArray[np.bool_], what: str) -> None:
    if missing.any():
        raise ValueError(
            f"{what} has {missing.sum()} missing or infinite values, first in row {missing.argmax() + 1}: "
            "fill them in or leave the rows or the column out"
        )


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell  # Python's own grouping of digits; in a table it is a code, such as 2024_01


def _arrow_numbers(column: Any, what: str) -> NDArray[Any]:
    _refuse_missing(np.asarray(column.is_null()), what)
    kind = np.float32 if str(column.type) == "float" else float
    return _finite(np.asarray(column.to_numpy()).astype(kind), what)
