"""Files that a stranger hands over: a reader answers, or says in one line what is wrong with them."""

from __future__ import annotations

import itertools
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import guard
import hostile
from genmix import datasets
from genmix.base.validation import printable
from genmix.cli import labels
from genmix.datasets import images
from genmix.datasets.known import KNOWN
from genmix.evaluation import compare, tuning
from genmix.experiments.runs import Runs

MAX_MEMORY = 100_000_000

RUN = {"model": "kmeans", "seed": 0, "learned": "ignored", "key": "k", "folder": "f", "seconds": 1.0,
       "megabytes": None, "clusters": 2, "scores": {"purity": 1.0}, "error": ""}  # fmt: skip
RECORD = {"experiment": "mnist/gan", "settings": "s", "seed": 0, "fingerprint": "f", "seconds": 1.0,
          "purity": 1.0, "accuracy": 1, "ari": 0.5, "nmi": 0.5}  # fmt: skip
TRIAL = {"op_code": 0, "worker_id": "w", "study_name": "n", "directions": [2]}


@dataclass(frozen=True)
class Case:
    """A file, and who reads it."""

    reader: str
    path: Path
    number: int = 0

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.is_file() else 0


def as_data(case: Case) -> Any:
    column = None if case.path.suffix == ".npy" else (None, None, None, "label", "y")[case.number % 5]
    data = datasets.load(case.path, label_column=column, max_memory=MAX_MEMORY)
    assert data.X.ndim in (2, 3, 4) and data.X.size and data.X.dtype.kind in "biuf"
    assert data.y is None or (data.y.shape == data.X.shape[:1] and data.y.dtype == np.int64)
    assert data.feature_names is None or len(data.feature_names) == data.X.shape[1]
    return data.X.shape


def as_images(case: Case) -> Any:
    size = (None, None, 4, (3, 9))[case.number % 4]
    data = datasets.load(case.path.parent, image_size=size, max_memory=MAX_MEMORY)
    assert data.X.dtype == np.uint8 and data.X.ndim in (3, 4)
    return data.X.shape


def as_labels(case: Case) -> Any:
    known = labels.read_labels(case.path, (None, None, "label")[case.number % 3], MAX_MEMORY)
    assert known.y.dtype == np.int64 and known.y.ndim == 1
    assert known.names is None or known.y.max(initial=-1) < len(known.names)
    return len(known.y)


def as_known_set(case: Case) -> Any:
    return datasets.load("mnist", data_dir=case.path.parent, max_memory=MAX_MEMORY).X.shape


def as_jpegs(case: Case) -> Any:
    return datasets.load("cifar10", data_dir=case.path.parent, max_memory=MAX_MEMORY).X.shape


def as_runs(case: Case) -> Any:
    found = compare._finished(case.path.parent)
    for run in found.values():
        compare._is_done(run, run.model, run.seed, case.path.parent, scored=True)
    return len(found), [compare._line(run) for run in found.values()][:1]


def as_records(case: Case) -> Any:
    return len(Runs(case.path.parent.parent).read("mnist/gan", "s"))


def as_study(case: Case) -> Any:
    return tuning._check_study(case.path)


READ = {
    "data": as_data, "images": as_images, "labels": as_labels, "known set": as_known_set, "jpegs": as_jpegs,
    "runs": as_runs, "records": as_records, "study": as_study,
}  # fmt: skip


def made(rng: np.random.Generator, number: int, folder: Path) -> Case:
    """Make the next hostile file: its reader's turn comes round, what is in it is chosen by the generator."""
    readers = [*[f"data{suffix}" for suffix in datasets.READERS],
               *[f"images{suffix}" for suffix in sorted(images.SUFFIXES)],
               *[f"labels{suffix}" for suffix in labels.LABEL_FILES],
               "known set", "jpegs", "runs", "records", "study"]  # fmt: skip
    reader, dot, suffix = readers[number % len(readers)].partition(".")
    turn = number // len(readers)
    name, make = {
        "known set": ("mnist.npz", hostile.archive),
        "jpegs": ("cifar10_jpeg.npz", jpeg_archive),
        "runs": ("runs.jsonl", lambda rng: hostile.lines(rng, [RUN])),
        "records": ("runs/mnist.jsonl", lambda rng: hostile.lines(rng, [RECORD])),
        "labels": (f"a{dot}{suffix}", hostile.LABELS.get(dot + suffix, hostile.KINDS.get(dot + suffix))),
        "study": ("study", lambda rng: hostile.lines(rng, [TRIAL])),
    }.get(reader, (f"a{dot}{suffix}", hostile.KINDS.get(dot + suffix)))
    assert make is not None, f"no hostile files end in {dot}{suffix}: add a maker to KINDS in hostile.py"
    path = folder / f"{number}" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(make(rng))
    return Case(reader, path, turn)


def jpeg_archive(rng: np.random.Generator) -> bytes:
    """A set of JPEG images of which some are others, or their places are wrong."""
    import io

    good = [io.BytesIO() for _ in range(20)]
    for file in good:
        hostile.Image.new("RGB", (32, 32)).save(file, "JPEG")
    parts = [file.getvalue() if rng.random() < 0.97 else hostile.image(rng, ".jpg") for file in good]
    offset = np.cumsum([0, *map(len, parts)]).astype(
        hostile.one_of(rng, ("i8", "u8", "i4", "f8", "i8", "i8"))
    )
    if rng.random() < 0.3:
        offset[int(rng.integers(len(offset)))] = hostile.one_of(rng, (0, -1, 2**31 - 1)) % (2**31)
    content = io.BytesIO()
    np.savez_compressed(
        content, jpeg=np.frombuffer(b"".join(parts), np.uint8), offset=offset, y=np.arange(20) % 10,
        split=np.arange(20) % 2,
    )  # fmt: skip
    return hostile.damaged(rng, content.getvalue()) if rng.random() < 0.3 else content.getvalue()


def judge(outcomes: Iterator[guard.Outcome]) -> list[guard.Outcome]:
    """Fail with what broke a rule, and keep those files; print what was read by whom."""
    seen, faults = [], []
    for outcome in outcomes:
        fault = outcome.fault or (f"warned: {outcome.warnings[0]}" if outcome.warnings else "")
        if not fault and outcome.text != printable(outcome.text):
            fault = "has control characters in its text"
        if fault:
            kept = outcome.case.path
            faults.append(f"{outcome.case.reader} of {kept}: {fault}: {outcome.error} {outcome.text[:300]}")
        else:
            shutil.rmtree(outcome.case.path.parent)
        seen.append(outcome)
    for reader, count in Counter(outcome.case.reader for outcome in seen).items():
        mine = [outcome for outcome in seen if outcome.case.reader == reader]
        print(
            f"{reader}: {count} files, {sum(not one.error for one in mine)} read, slowest "
            f"{max(one.seconds for one in mine):.2f} s, most {max(one.memory for one in mine) / 1e6:.0f} MB"
        )
    assert not faults, f"{len(faults)} of {len(seen)}, FUZZ_SEED={guard.SEED}:\n" + "\n".join(faults[:20])
    return seen


@pytest.fixture(autouse=True)
def small_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KNOWN, "mnist", replace(KNOWN["mnist"], n=6, n_classes=2, shape=(2,)))
    monkeypatch.setitem(KNOWN, "cifar10", replace(KNOWN["cifar10"], n=20))


def read(case: Case) -> Any:
    return READ[case.reader](case)


def size(case: Case) -> int:
    return case.size


def test_hostile_files(tmp_path: Path) -> None:
    rng = np.random.default_rng(guard.SEED)
    cases = (made(rng, number, tmp_path) for number in itertools.count())
    seen = judge(guard.run(read, cases, size=size))
    assert len(seen) > 100 and {outcome.case.reader for outcome in seen} == set(READ)
    assert sum(not outcome.error for outcome in seen) > len(seen) / 20  # the mutations leave some whole


def test_a_page_that_the_footer_hides(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(hostile.hidden_page())
    (found,) = guard.run(read, [Case("data", tmp_path / "a.parquet")])
    assert found.fault == "" and "the pages of column 'a' have more than 10 bytes" in found.text


@pytest.mark.skipif(os.name == "nt", reason="needs pipes and links")
def test_what_is_no_plain_file(tmp_path: Path) -> None:
    readers = {suffix: ["data", "labels"] for suffix in datasets.READERS}
    paths = hostile.no_plain_files(tmp_path, tmp_path)
    cases = [Case(reader, path) for path in paths for reader in readers.get(path.suffix, ["images"])]
    faults = [
        f"{one.case}: {one.fault} {one.text}"
        for one in guard.run(read, cases, size=lambda case: 0)
        if one.fault
    ]
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("name", ["a\nb", "\x1b[2J", "a\x00", "\udcff", "x" * 250, ".", "-", "C:\\x"])
def test_odd_names(tmp_path: Path, name: str) -> None:
    cases = []
    for reader, suffix in itertools.product(("data", "images", "labels"), (".csv", ".npz", ".png")):
        path = tmp_path / reader / f"{name}{suffix}" / f"{name}{suffix}"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"nothing of use")
        except (OSError, ValueError):  # the system has no such names
            pass
        cases.append(Case(reader, path))
    faults = [one for one in guard.run(read, cases) if one.fault or printable(one.text) != one.text]
    assert not faults, faults
