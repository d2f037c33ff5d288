"""Sizes that the pages of a Parquet file tell of themselves, which its footer may hide.

pyarrow makes room for a page by its own header alone: two gigabytes in a file of a few kilobytes. Headers are
read here as far as needed (Thrift's compact protocol; apache/parquet-format, `PageHeader` in parquet.thrift).
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from genmix.base.validation import short_repr

_UNPACKED, _PACKED, _VALUES = 2, 3, 1  # fields of PageHeader, and of the headers of data pages in it
_DATA_PAGES = (5, 8)
_TRUE, _FALSE, _BYTE, _INTEGERS, _DOUBLE, _BINARY, _STRUCT = 1, 2, 3, (4, 5, 6), 7, 8, 12


def check_pages(path: Path, chunks: list[Any]) -> None:
    """Raise ValueError if the pages of a chunk unpack to more than the file's metadata says of the chunk."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        for chunk in chunks:
            most = chunk.total_uncompressed_size
            if sum(_unpacked_sizes(content, chunk)) > most:
                name = short_repr(chunk.path_in_schema)
                raise ValueError(
                    f"cannot read {path}: the pages of column {name} have more than {most} bytes"
                )


def _unpacked_sizes(content: Any, chunk: Any) -> Iterator[int]:
    starts = [chunk.data_page_offset, chunk.dictionary_page_offset if chunk.has_dictionary_page else None]
    at, left = min(start for start in starts if start is not None), chunk.num_values
    while left > 0 and at < len(content):
        header, at = _struct(content, at)
        yield max(header[_UNPACKED], 0)
        at += max(header[_PACKED], 0)
        for kind in _DATA_PAGES:
            left -= header.get(kind, {}).get(_VALUES, 0)


def _struct(content: Any, at: int, depth: int = 0) -> tuple[dict[int, Any], int]:
    """Read the numbers of a struct, and of those in it, by the numbers of their fields."""
    fields: dict[int, Any] = {}
    number = 0
    while head := content[at]:
        at, kind = at + 1, head & 15
        if head >> 4:
            number += head >> 4
        else:
            number, at = _integer(content, at)
        if kind in _INTEGERS:
            fields[number], at = _integer(content, at)
        elif kind == _BINARY:
            length, at = _varint(content, at)
            at += length
        elif kind == _STRUCT and depth < 4:
            fields[number], at = _struct(content, at, depth + 1)
        elif kind in (_BYTE, _DOUBLE):
            at += 1 if kind == _BYTE else 8
        elif kind not in (_TRUE, _FALSE):
            raise LookupError(f"a page has a header with a field of kind {kind}")
    return fields, at + 1


def _integer(content: Any, at: int) -> tuple[int, int]:
    number, at = _varint(content, at)
    return (number >> 1) ^ -(number & 1), at


def _varint(content: Any, at: int) -> tuple[int, int]:
    number = shift = 0
    while (byte := content[at]) > 127 and shift < 63:
        number |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
    return number | byte << shift, at + 1
