"""Finished runs: one JSON line each, appended whole, never done again."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

Record = dict[str, Any]

#: What every record has.
_KINDS: dict[str, Any] = {
    "experiment": str, "settings": str, "seed": int, "fingerprint": str, "seconds": (int, float),
    **dict.fromkeys(("purity", "accuracy", "ari", "nmi"), (int, float)),
}  # fmt: skip


class Runs:
    """Records in ``FOLDER/runs/EXPERIMENT.jsonl``, and what belongs to a run in ``FOLDER/shown/``.

    A run is known by its experiment, its settings, its seed and the data. Of several records of a run the
    last one counts.

    Parameters
    ----------
    folder : path
        Where results are kept; made when the first run ends.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self, experiment: str, settings: str) -> list[Record]:
        """Read the records of an experiment with these settings, by seed: those on the data of the last."""
        path = self._file(experiment)
        found: dict[int, Record] = {}
        for line in path.read_bytes().splitlines() if path.exists() else []:
            record = _whole(line)
            if record is None or record["settings"] != settings:
                continue
            if any(other["fingerprint"] != record["fingerprint"] for other in found.values()):
                found.clear()  # a mean over two data sets is of neither
            found[record["seed"]] = record
        return [found[seed] for seed in sorted(found)]

    def append(self, record: Record) -> None:
        """Add one record: a whole line, or nothing."""
        path = self._file(record["experiment"])
        path.parent.mkdir(parents=True, exist_ok=True)
        line = (json.dumps(record) + "\n").encode()
        if path.exists() and not path.read_bytes().endswith(b"\n"):
            line = b"\n" + line  # what stands before was cut short
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(handle, line)  # one write: records of two processes do not mix
            os.fsync(handle)
        finally:
            os.close(handle)

    def shown(self, experiment: str, settings: str, seed: int) -> Path:
        """File for the arrays that a figure needs of a run."""
        return self.folder / "shown" / f"{_file_name(experiment)}--{settings}--seed-{seed}.npz"

    def checkpoint(self, experiment: str, settings: str, seed: int, where: str) -> Path:
        """Folder of the state of a run in progress; one in other arithmetic has its own."""
        return self.cache / "checkpoints" / f"{_file_name(experiment)}--{settings}--seed-{seed}--{where}"

    @property
    def cache(self) -> Path:
        """Folder for what can be made again."""
        return self.folder / "cache"

    def _file(self, experiment: str) -> Path:
        return self.folder / "runs" / f"{_file_name(experiment)}.jsonl"


def _whole(line: bytes) -> Record | None:
    """Read one record; None if it was cut short by a full disk, or is damaged: that run is done again."""
    try:
        record = json.loads(line)
    except ValueError:  # no JSON, or no text
        return None
    if not isinstance(record, dict):
        return None
    return record if all(isinstance(record.get(name), kind) for name, kind in _KINDS.items()) else None


def _file_name(experiment: str) -> str:
    return experiment.replace("/", "--").replace("@", "--alpha-")


def mean_seconds(records: Iterable[Record]) -> float | None:
    """Mean time of runs, None if there are none."""
    seconds = [record["seconds"] for record in records]
    return sum(seconds) / len(seconds) if seconds else None


__all__ = ["Record", "Runs", "mean_seconds"]
