"""What the command line prints: lines, and rows of values as lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TextIO


def say(text: str, file: TextIO | None = None) -> None:
    """Print lines; nothing in them, such as a file's name, can steer the terminal."""
    from genmix.base.validation import printable

    print("\n".join(map(printable, text.split("\n"))), file=file)


def text_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Lay out rows under their column names, numbers to the right.

    Parameters
    ----------
    rows : sequence of mappings
        At least one; the keys of the first are the columns.

    Returns
    -------
    str
        Lines without a final line break; floats with three decimals.
    """
    names = list(rows[0])
    numeric = [type(value) in (int, float) for value in rows[0].values()]
    cells = [names, *([_cell(row[name]) for name in names] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(line, widths, numeric, strict=True)
        )
        for line in cells
    ]
    return "\n".join(line.rstrip() for line in lines)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3f}"
    from genmix.base.validation import printable

    return "x".join(map(str, value)) if isinstance(value, tuple) else printable(str(value))
