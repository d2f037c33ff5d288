"""Columns of Parquet files, read when they are asked for, by pyarrow (an optional extra)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genmix.base.validation import listed, one_line, short_repr
from genmix.datasets.memory import check_memory
from genmix.datasets.records import check_names, code_labels

#: Bytes that a cell takes while it is read: as pyarrow has it, as numpy has it, and in X.
_CELL, _DECIMAL_CELL = 24, 200


class ParquetTable(Mapping[str, Any]):
    """A table in a file: the kind of each column by its name; its cells are read when asked for."""

    def __init__(self, path: Path, max_memory: int | None = None) -> None:
        self.path, self.max_memory = path, max_memory
        with self._open() as file:
            schema, self.n_rows = file.schema_arrow, file.metadata.num_rows
        self._kinds = dict(zip(check_names(schema.names, path), schema.types, strict=True))

    def __getitem__(self, name: str) -> Any:
        """Return the kind of a column."""
        return self._kinds[name]

    def __iter__(self) -> Iterator[str]:
        """Go through the names."""
        return iter(self._kinds)

    def __len__(self) -> int:
        """Count the columns."""
        return len(self._kinds)

    def read(self, names: Sequence[str], cell: int = _CELL) -> Any:
        """Read some columns, if they fit into memory by what the file tells of itself."""
        size = self.n_rows * len(names) * cell
        what = f"{self.path}, {self.n_rows} rows of {len(names)} columns to be read,"
        check_memory(what, size, self.max_memory, "leave rows or columns out")
        texts = [name for name in names if not is_number(self[name])]
        with self._open(read_dictionary=texts) as file:
            parts = [
                part
                for group in map(file.metadata.row_group, range(file.metadata.num_row_groups))
                for part in map(group.column, range(group.num_columns))
                if part.path_in_schema in names
            ]
            size += sum(part.total_uncompressed_size for part in parts)
            check_memory(what, size, self.max_memory, "leave rows or columns out")
            if texts and any(kind.startswith("DELTA") for part in parts for kind in part.encodings):
                text = f"the texts of {listed(texts)} have a DELTA encoding, and may be of any size"
                raise ValueError(f"{text}: write the file with encoding PLAIN or RLE_DICTIONARY")
            return file.read(columns=list(names))

    def numbers(self, names: Sequence[str]) -> dict[str, Any]:
        """Read the columns of numbers among these; None stands for another."""
        numeric = [name for name in names if is_number(self[name])]
        decimal = any("decimal" in str(self[name]) for name in numeric)
        table = self.read(numeric, _DECIMAL_CELL if decimal else _CELL) if numeric else {}
        return {name: table[name] if name in numeric else None for name in names}

    def labels(self, name: str) -> tuple[NDArray[np.int64], tuple[str, ...] | None]:
        """Read one column as labels, see `code_labels`; texts are kept once each."""
        column, what = self.read([name])[name], f"column {short_repr(name)} of {self.path}"
        with self._named_errors():
            import pyarrow.types as kinds

            if kinds.is_integer(column.type):
                return code_labels(column.fill_null(-1).to_numpy(), what)
            if kinds.is_floating(column.type) or (kinds.is_boolean(column.type) and not column.null_count):
                return code_labels(column.to_numpy(), what)
            packed = column.dictionary_encode().unify_dictionaries().combine_chunks()
            texts = packed.dictionary.to_pylist()
            used, place = np.unique(packed.indices.fill_null(len(texts)).to_numpy(), return_inverse=True)
            y, names = code_labels([None if row == len(texts) else texts[row] for row in used], what)
            return y[place], names

    @contextmanager
    def _open(self, **options: Any) -> Iterator[Any]:
        try:
            import pyarrow.parquet as parquet
        except ImportError as error:
            text = f"{self.path} needs pyarrow to be read: pip install 'genmix[parquet]'"
            raise ValueError(text) from error
        with self._named_errors(), parquet.ParquetFile(self.path, **options) as file:
            yield file

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # whatever a damaged file may raise
            raise ValueError(f"cannot read {self.path} as a Parquet file: {one_line(str(error))}") from error


def is_number(kind: Any) -> bool:
    """Tell whether cells of this kind of pyarrow are numbers."""
    import pyarrow.types as kinds

    return any(
        is_kind(kind) for is_kind in (kinds.is_integer, kinds.is_floating, kinds.is_boolean, kinds.is_decimal)
    )
