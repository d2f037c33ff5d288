"""Finished runs: one JSON line each, appended whole, never done again."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from genmix.evaluation.lines import append_line, read_lines

Record = dict[str, Any]

#: What every record has.
_KINDS: dict[str, Any] = {
    "experiment": str, "settings": str, "seed": int, "fingerprint": str, "seconds": (int, float),
    **dict.fromkeys(("purity", "accuracy", "ari", "nmi"), (int, float)),
}  # fmt: skip


class Runs:
    """Records in ``FOLDER/runs/TASK.jsonl``, a line each, and what belongs to a run in ``FOLDER/shown/``.

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
        found: dict[int, Record] = {}
        for record in read_lines(self._file(experiment), _KINDS):
            if (record["experiment"], record["settings"]) != (experiment, settings):
                continue
            if any(other["fingerprint"] != record["fingerprint"] for other in found.values()):
                found.clear()  # a mean over two data sets is of neither
            found[record["seed"]] = record
        return [found[seed] for seed in sorted(found)]

    def append(self, record: Record) -> None:
        """Add one record: a whole line, or nothing. Processes wait for each other.

        Raises
        ------
        OSError
            If the line does not fit on the disk.
        """
        append_line(self._file(record["experiment"]), record)

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
        return self.folder / "runs" / f"{experiment.split('/')[0]}.jsonl"


def _file_name(experiment: str) -> str:
    return experiment.replace("/", "--").replace("@", "--alpha-")


def mean_seconds(records: Iterable[Record]) -> float | None:
    """Mean time of runs, None if there are none."""
    seconds = [record["seconds"] for record in records]
    return sum(seconds) / len(seconds) if seconds else None


__all__ = ["Record", "Runs", "mean_seconds"]
