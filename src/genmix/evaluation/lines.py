"""Files of finished runs: one JSON line each, appended whole."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from genmix.base.files import alone


def append_line(path: Path, record: dict[str, Any]) -> None:
    """Add one record: a whole line, or nothing. Processes wait for each other.

    Raises
    ------
    OSError
        If the line does not fit on the disk.
    """
    line = (json.dumps(record) + "\n").encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+", buffering=0) as file, alone(file):
        end = file.seek(0, os.SEEK_END)
        if end:
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                line = b"\n" + line  # what stands before was cut short: it ends first
        if (written := file.write(line)) != len(line):
            file.truncate(end)
            raise OSError(errno.ENOSPC, f"only {written} of {len(line)} bytes could be written", str(path))
        os.fsync(file)


def read_lines(path: Path, kinds: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Give the records of a file that have what `kinds` names, of these types; leave out what is damaged."""
    for line in path.read_bytes().splitlines() if path.exists() else []:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):  # no JSON, or no text
            continue
        if isinstance(record, dict) and all(isinstance(record.get(name), kinds[name]) for name in kinds):
            yield record
