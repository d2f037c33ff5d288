"""Names that are too long and folders that may not be entered: one line, before any work."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import genmix
from genmix import datasets
from genmix.base import files, persistence, registry
from genmix.baselines import DEC, Pretraining
from genmix.cli import main
from genmix.cli.labels import read_labels
from genmix.evaluation.compare import compare
from genmix.evaluation.tuning import tune
from genmix.report import write_report

X = np.random.default_rng(0).normal(size=(40, 2))
MODEL = registry.build("kmeans", 2, None, {"random_state": 0}).fit(X)


def fit_with_checkpoint(path: Path) -> None:
    DEC(2, max_iter=1, pretraining=Pretraining((4,), 2, steps=2), random_state=0).fit(X, checkpoint=path)


#: Everything that takes a path from a person.
DOORS: dict[str, Callable[[Path], Any]] = {
    "load": genmix.load,
    "save": MODEL.save,
    "check_target": persistence.check_target,
    "check_writable": files.check_writable,
    "data": datasets.load,
    "data_dir": lambda path: datasets.load("mnist", data_dir=path),
    "labels": lambda path: read_labels(path.with_name(f"{path.name}.csv")),
    "checkpoint": fit_with_checkpoint,
    "compare": lambda path: compare(X, 2, out=path, names=["kmeans"]),
    "report": lambda path: write_report(MODEL, X, path),
    "study": lambda path: tune(genmix.GANMixture(2), X, n_components=[2], n_trials=1, study=path),
}
door = pytest.mark.parametrize("call", DOORS.values(), ids=DOORS)


@door
@pytest.mark.parametrize("name", ["n" * 256, "n" * 300, "é" * 150, "/".join(["n" * 250] * 17)])
def test_a_name_that_is_too_long_is_told_in_a_line(
    call: Callable[[Path], Any], name: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"File name too long|bytes, expected at most 255") as raised:
        call(tmp_path / name)
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 1000
    assert os.listdir(tmp_path) == []


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Path]:
    """A folder that one may not enter; root may enter any, so it becomes nobody."""
    folder = tmp_path / "locked"
    (folder / "inside").mkdir(parents=True)
    folder.chmod(0)
    owner = os.geteuid()
    if owner == 0:
        os.seteuid(65534)
    yield folder
    os.seteuid(owner)
    folder.chmod(0o700)


@door
def test_a_folder_that_may_not_be_entered_is_told_in_a_line(
    call: Callable[[Path], Any], locked: Path
) -> None:
    with pytest.raises(ValueError, match="Permission denied") as raised:
        call(locked / "inside")
    assert "\n" not in str(raised.value) and str(locked) in str(raised.value)


def test_a_class_of_images_that_may_not_be_read_is_not_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        Image.new("L", (4, 4)).save(tmp_path / name / "1.png")
    scan = os.scandir

    def refuse(path: Any) -> Any:
        if Path(path).name == "dog":
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    assert datasets.load(tmp_path).class_names == ("cat", "dog")
    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(ValueError, match=r"cannot read .*dog: Permission denied"):
        datasets.load(tmp_path)


@pytest.mark.parametrize("size", [240, 255])
def test_the_longest_names_can_be_given(
    size: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "X.npy", X)
    model = tmp_path / ("m" * size)
    words = ["fit", str(tmp_path / "X.npy"), "--model", "kmeans", "--components", "2", "--out", str(model)]
    assert main(words) == 0
    np.testing.assert_array_equal(genmix.load(model).predict(X), genmix.load(model).labels_)
    out = tmp_path / ("p" * (size - 4) + ".csv")
    assert main(["predict", str(model), str(tmp_path / "X.npy"), "--out", str(out)]) == 0
    assert len(read_labels(out).y) == 40
    assert sorted(os.listdir(tmp_path)) == sorted(["X.npy", model.name, out.name])


def test_a_path_is_told_before_the_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "X.npy", X)
    monkeypatch.setattr("genmix.baselines.KMeans.fit", lambda *_: pytest.fail("fitted"))
    for name in ("n" * 256, "n" * 300, f"{'n' * 300}/model"):
        words = ["fit", str(tmp_path / "X.npy"), "--model", "kmeans", "--components", "2"]
        assert main([*words, "--out", str(tmp_path / name)]) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1 and "bytes, expected at most 255" in said


LOCK = """
import sys, time
from pathlib import Path
from genmix.base.files import alone_in
with alone_in(Path(sys.argv[1])) as held:
    print(held, flush=True)
    time.sleep(100)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="has no locks")
def test_a_folder_is_kept_until_its_holder_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", LOCK, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == "True\n"
            with files.alone_in(tmp_path, wait=False) as held:
                assert not held
        finally:
            process.kill()
            process.wait()
        with files.alone_in(tmp_path, wait=False) as held:
            assert held
