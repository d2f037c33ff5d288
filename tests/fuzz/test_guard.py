"""The guard itself: what breaks a rule is caught, in Python and in C, and the cases after it are run."""

from __future__ import annotations

import ctypes
import os
import pickle
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import guard

needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="kept by the Linux kernel")


def outcome(function: Any) -> guard.Outcome:
    """Run one bad case between two good ones."""

    def call(case: Any) -> Any:
        return case() if callable(case) else case

    first, bad, last = guard.run(call, [1, function, 3])
    assert (first.answer, first.fault, last.answer, last.fault) == (1, "", 3, "")
    return bad


def raising(error: BaseException) -> Any:
    def function() -> None:
        raise error

    return function


def test_answers_and_errors_of_one_line_are_no_fault() -> None:
    torch.zeros(3).sum()
    good = outcome(lambda: float(torch.ones(1000, 1000).sum()))
    assert good.fault == "" and good.answer == 1e6 and good.seconds < 1
    refused = outcome(raising(ValueError("one line")))
    assert (refused.fault, refused.error, refused.text) == ("", "ValueError", "one line")


def test_other_errors_and_several_lines_are_faults() -> None:
    assert outcome(raising(KeyError("a"))).fault == "raised KeyError"
    assert outcome(raising(SystemExit(0))).fault == "raised SystemExit"
    assert "several lines" in outcome(raising(ValueError("one\ntwo"))).fault
    assert "several lines" in outcome(raising(ValueError())).fault


def test_warnings_are_told() -> None:
    assert outcome(lambda: warnings.warn("hot", stacklevel=1)).warnings == ("UserWarning: hot",)


@needs_linux
def test_memory_is_seen_wherever_it_comes_from() -> None:
    for make in (lambda: np.ones(10**9, np.uint8), lambda: torch.ones(250_000_000), lambda: bytes(10**9) * 2):
        assert " MB or more" in outcome(lambda make=make: len(make())).fault
    refused = outcome(lambda: np.ones(10**12))
    assert "MemoryError" in refused.fault

    def hide() -> None:
        try:
            np.ones(10**12)
        except MemoryError as error:
            raise ValueError("cannot read it") from error

    assert "memory" in outcome(hide).fault
    assert outcome(lambda: np.ones(10**8, np.uint8).sum()).fault == ""
    large = guard.run(lambda case: len(np.ones(6 * 10**8, np.uint8)), [0], size=lambda case: 2 * 10**8)
    assert [(one.fault, one.memory > 3e8) for one in large] == [("", True)]


def test_endless_loops_end() -> None:
    def spin() -> None:
        while True:
            pass

    def spin_in_c() -> int:
        return sum(10**7 % n for n in range(1, 10**12))

    for loop in (spin, spin_in_c):
        assert "s of CPU" in outcome(loop).fault


def test_waiting_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "WALL_SECONDS", 0.5)
    assert "waiting" in outcome(lambda: time.sleep(100)).fault


def test_no_program_starts(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    command = ["touch", str(mark)]
    for start in (lambda: subprocess.call(command), lambda: os.system(f"touch {mark}")):  # noqa: S605
        assert "forbidden" in outcome(start).fault
    assert not mark.exists()


@needs_linux
def test_no_program_starts_from_c(tmp_path: Path) -> None:
    libc, mark = ctypes.CDLL(None), tmp_path / "mark"
    assert "process or made a file" in outcome(lambda: libc.system(f"touch {mark}".encode())).fault
    assert "process or made a file" in outcome(lambda: libc.fork()).fault
    assert "process or made a file" in outcome(lambda: libc.open(bytes(mark), os.O_CREAT, 0o600)).fault
    assert not mark.exists()


def test_no_file_is_written(tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.write_text("old")
    for write in (
        lambda: (tmp_path / "new").write_text("text"),
        lambda: there.write_text("new"),
        lambda: there.rename(tmp_path / "new"),
        lambda: there.unlink(),
        lambda: (tmp_path / "new").mkdir(),
    ):
        assert "forbidden" in outcome(write).fault
    assert [path.name for path in tmp_path.iterdir()] == ["there"] and there.read_text() == "old"


def test_no_open_file_is_written_to(tmp_path: Path) -> None:
    with (tmp_path / "open").open("wb", buffering=0) as file:
        assert outcome(lambda: file.write(b"text")).fault == "wrote to a file"
    assert (tmp_path / "open").read_bytes() == b""


def test_no_class_is_unpickled() -> None:
    content = pickle.dumps(Path("a"))
    assert "pickle.find_class" in outcome(lambda: pickle.loads(content)).fault  # noqa: S301


def test_threads_are_allowed() -> None:
    def count() -> int:
        found: list[int] = []
        threads = [threading.Thread(target=found.append, args=(1,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return len(found)

    assert outcome(count).answer == 8


def test_a_process_that_dies_is_told() -> None:
    assert "exit code -9" in outcome(lambda: os.kill(os.getpid(), 9)).fault
    assert "exit code 3" in outcome(lambda: os._exit(3)).fault


def test_it_stops_when_there_is_no_time_left() -> None:
    def endless() -> Any:
        while True:
            yield 0

    start = time.monotonic()
    assert sum(1 for _ in guard.run(lambda case: case, endless(), seconds=1)) > 100
    assert time.monotonic() - start < 5
