"""Columns of Parquet files, read when they are asked for, by pyarrow (an optional extra)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genmix.base.validation import one_line, short_repr
from genmix.datasets.memory import check_memory
from genmix.datasets.pages import check_pages
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
        with self._open(read_dictionary=[name for name in self if not is_number(self[name])]) as file:
            chunks = list(_chunks(file.metadata, set(names)))
            size += sum(chunk.total_uncompressed_size for chunk in chunks)
            check_memory(what, size, self.max_memory, "leave rows or columns out")
            for chunk in chunks:
                if chunk.physical_type == "BYTE_ARRAY" and "DELTA" in " ".join(chunk.encodings):
                    text = f"{self.path}: texts of {short_repr(chunk.path_in_schema)} have a DELTA encoding"
                    raise ValueError(f"{text}, and may be of any size: write them as PLAIN or RLE_DICTIONARY")
            check_pages(self.path, chunks)
            return file.read(columns=list(names))

    def numbers(self, names: Sequence[str]) -> dict[str, Any]:
        """Read the columns of numbers among these; None stands for another."""
        numeric = dict.fromkeys(name for name in names if is_number(self[name]))
        decimal = any("decimal" in str(self[name]) for name in numeric)
        table = self.read(list(numeric), _DECIMAL_CELL if decimal else _CELL) if numeric else {}
        return {name: table[name] if name in numeric else None for name in names}

    def labels(self, name: str) -> tuple[NDArray[np.int64], tuple[str, ...] | None]:
        """Read one column as labels, see `code_labels`; texts are kept once each."""
        import pyarrow.types as kinds

        what = f"column {short_repr(name)} of {self.path}"
        if kinds.is_nested(self[name]):
            raise ValueError(f"{what} has cells of type {one_line(str(self[name]), 80)}: expected labels")
        column = self.read([name])[name]
        with self._named_errors():
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
            if type(error) is ValueError:  # of ours; pyarrow has subclasses
                raise
            raise ValueError(f"cannot read {self.path} as a Parquet file: {one_line(str(error))}") from error


def _chunks(metadata: Any, names: set[str]) -> Iterator[Any]:
    """Go through the parts of a file that pyarrow reads for these columns: to it "a.b" belongs to "a" too."""
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for chunk in map(group.column, range(group.num_columns)):
            if not names.isdisjoint(accumulate(chunk.path_in_schema.split("."), "{}.{}".format)):
                yield chunk


def is_number(kind: Any) -> bool:
    """Tell whether cells of this kind of pyarrow are numbers."""
    import pyarrow.types as kinds

    return any(
        is_kind(kind) for is_kind in (kinds.is_integer, kinds.is_floating, kinds.is_boolean, kinds.is_decimal)
    )
