"""Saves and checkpoints that are killed at every file operation, and folders read while they are saved to.

Each is a process of its own that SIGKILL ends just before or just after its n-th operation. A 25th of
FUZZ_SECONDS, for each test, says how many are tried: in one second those that change names, in half a minute
all.
"""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import genmix
import guard
from genmix.base import registry
from genmix.base.persistence import ModelFileError, read_model
from genmix.training import checkpoint

if sys.platform == "win32":
    pytest.skip("needs fork", allow_module_level=True)

SECONDS = guard.SECONDS / 25
NAMING = {"mkdir", "rmdir", "rename", "replace", "unlink", "remove", "symlink", "link"}
OPERATIONS = {
    *NAMING,
    *("open", "write", "flush", "fsync", "close", "flock", "scandir", "listdir", "truncate"),
}


def in_child(work: Callable[[], Any], nth: int = 0, told: Path | None = None) -> int:
    """Do it in a process that ends with its n-th file operation, or tells all in a file; how it ended."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    done = list[str]()

    def watch(frame: Any, event: str, called: Any) -> None:
        if event not in ("c_call", "c_return") or getattr(called, "__name__", "") not in OPERATIONS:
            return
        owner = getattr(called, "__self__", None)
        if not isinstance(owner, io.IOBase) and getattr(owner, "__name__", "") not in (
            "posix",
            "_io",
            "fcntl",
        ):
            return
        done.append(called.__name__)
        if len(done) == nth:
            if isinstance(owner, io.BufferedWriter) and called.__name__ == "write":
                owner.raw.write(b"a part of what was to be written")
            os.kill(os.getpid(), signal.SIGKILL)

    status = 1
    try:
        sys.setprofile(watch)
        work()
        sys.setprofile(None)
        if told is not None:
            told.write_text(json.dumps(done))
        status = 0
    finally:
        os._exit(status)


def moments(work: Callable[[], Any], prepare: Callable[[], Any], told: Path) -> Any:
    """Go through the operations of some work, each killed in a folder prepared for it.

    The order is random, but those that change names come first, and all of them in any case.
    """
    prepare()
    assert in_child(work, told=told) == 0
    names, until = json.loads(told.read_text()), time.monotonic() + SECONDS
    told.unlink()
    assert len(names) >= 10 and "replace" in names
    tried = random.Random(0).sample(range(1, len(names) + 1), len(names))  # noqa: S311
    for nth in sorted(tried, key=lambda nth: names[nth - 1] not in NAMING):
        if names[nth - 1] not in NAMING and time.monotonic() > until:
            return
        prepare()
        assert in_child(work, nth) == -signal.SIGKILL
        yield nth


@pytest.fixture(scope="module")
def models() -> list[Any]:
    """Three models, of different sizes."""
    X = np.random.default_rng(0).normal(size=(60, 3))
    return [registry.build("kmeans", k, None, {"random_state": 0}).fit(X) for k in (2, 3, 4)]


@pytest.fixture(scope="module")
def kept(models: list[Any], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Where each is saved."""
    return [model.save(tmp_path_factory.mktemp("kept") / "model") for model in models]


def content(folder: Path) -> tuple[Any, bytes]:
    """Everything that a model is made of."""
    document, tensors = read_model(folder)
    return document["meta"], tensors


def of_genmix_0_1(folder: Path) -> None:
    """Turn a model folder into one as genmix 0.1 left it, but for its schema."""
    from genmix.base import persistence

    document = json.loads((folder / "model.json").read_text())
    (folder / document.pop("tensors")).rename(folder / "model.safetensors")
    document["document_sha256"] = persistence._checksum(document)
    (folder / "model.json").write_text(json.dumps(document))


@pytest.mark.parametrize("there", ["nothing", "another", "the same", "of genmix 0.1"])
def test_a_killed_save_leaves_the_old_model_or_the_new_one(
    there: str, models: list[Any], kept: list[Path], tmp_path: Path
) -> None:
    folder = tmp_path / "a" / "model"
    old, new = kept[there != "the same"], kept[0]

    def prepare() -> None:
        shutil.rmtree(tmp_path / "a", ignore_errors=True)
        if there != "nothing":
            shutil.copytree(old, folder)
        if there == "of genmix 0.1":
            of_genmix_0_1(folder)

    found = set()
    for nth in moments(lambda: models[0].save(folder), prepare, tmp_path / "told"):
        try:
            state = [content(old), content(new)].index(content(folder))
        except ModelFileError as error:
            assert there == "nothing" and ("incomplete" in str(error) or "does not exist" in str(error)), nth
        else:
            assert there != "nothing" or state == 1, nth
            found.add(state)
            assert type(genmix.load(folder)) is type(models[0])
            assert len(os.listdir(folder)) == 2, nth
        assert not folder.parent.exists() or set(os.listdir(folder.parent)) <= {"model"}, nth
        models[2].save(folder)
        assert content(folder) == content(kept[2]), nth
        assert sorted(os.listdir(folder)) == sorted(os.listdir(kept[2])), nth
        assert os.listdir(folder.parent) == ["model"], nth
    assert found


@pytest.mark.parametrize("before", [0, 1, 2])
def test_a_killed_checkpoint_is_there_or_the_one_before(before: int, tmp_path: Path) -> None:
    folder = tmp_path / "fit"

    def write(number: int) -> None:
        state: dict[str, Any] = {
            "identity": {"arguments": {}},
            "beginning": {},
            "carried": torch.ones(number),
        }
        state |= {"learners": {"run": {"weights": torch.arange(number)}}, "history": [{"seconds": number}]}
        checkpoint._write(folder, number, state)

    def prepare() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        for number in range(1, before + 1):
            write(number)

    found = set()
    for nth in moments(lambda: write(before + 1), prepare, tmp_path / "told"):
        files = checkpoint._files(folder)
        assert len(files) >= min(before, 2), nth
        if files:
            state = checkpoint._read(files[-1])
            number = len(state["carried"])
            assert number in (before, before + 1), nth
            assert torch.equal(state["learners"]["run"]["weights"], torch.arange(number))
            found.add(number)
        write(before + 2)
        names = sorted(os.listdir(folder))
        assert names == [path.name for path in checkpoint._files(folder)] and len(names) <= 2, nth
        assert names[-1].startswith(f"iteration-{before + 2:06}-")
    assert found


@pytest.mark.parametrize("savers", [1, 2])
def test_who_reads_while_others_save_gets_one_of_their_models(
    savers: int, models: list[Any], kept: list[Path], tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    models[0].save(folder)
    expected, until = [content(path) for path in kept], time.monotonic() + SECONDS

    def go_on_saving() -> None:
        number = 0
        while time.monotonic() < until:
            number += 1
            models[number % 3].save(folder)

    children = []
    for _ in range(savers):
        if not (child := os.fork()):
            status = 1
            try:
                go_on_saving()
                status = 0
            finally:
                os._exit(status)
        children.append(child)
    counts = [0, 0, 0]
    while time.monotonic() < until:
        counts[expected.index(content(folder))] += 1
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * savers
    assert min(counts) >= 1 and sum(counts) >= 20
    assert sorted(os.listdir(folder)) in [sorted(os.listdir(path)) for path in kept]
    assert os.listdir(tmp_path) == ["model"]
