"""Many models on one's own data: what is scored, resumed, written and refused."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import make_blobs

import genmix
from genmix import metrics, plots
from genmix.base import files
from genmix.base import registry as models
from genmix.cli import main
from genmix.cli.comparing import read_model_settings
from genmix.evaluation import compare as module
from genmix.evaluation.compare import compare
from genmix.report import write_comparison, write_report

FAST = ("kmeans", "label-spreading")


@pytest.fixture(scope="module")
def groups() -> tuple[np.ndarray, np.ndarray]:
    return make_blobs(150, centers=[[0, 0], [8, 0], [0, 8]], random_state=0)


@pytest.fixture(scope="module")
def compared(groups: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, list[str]]:
    out, lines = tmp_path_factory.mktemp("compared"), []
    found = compare(
        *(groups[0], 3, groups[1]), out=out, names=FAST, shown=0.2, seeds=(0, 1), echo=lines.append
    )
    return out, found, lines


def test_scores_are_of_items_whose_label_was_hidden(compared: Any, groups: Any) -> None:
    _, found, lines = compared
    assert (found.n_scored, found.n_shown, len(lines)) == (120, 30, 4)
    assert [(run.model, run.seed) for run in found.runs] == [(name, seed) for seed in (0, 1) for name in FAST]
    assert all(run.scores["accuracy"] > 0.97 and run.seconds > 0 and not run.error for run in found.runs)
    assert [run.learned for run in found.runs[:2]] == ["ignored", "used"]
    assert all(run.megabytes is None or run.megabytes > 50 for run in found.runs)
    np.testing.assert_allclose(np.diag(found.agreement), 1)
    assert found.names == list(FAST) and (found.agreement > 0.9).all()


def test_the_models_are_there_to_be_used(compared: Any, groups: Any) -> None:
    out, found, _ = compared
    folders = sorted((out / "models").iterdir())
    assert len(folders) == 4
    model = genmix.load(next(folder for folder in folders if folder.name.startswith("kmeans-seed-0")))
    run = found.runs[0]
    assert metrics.accuracy(groups[1], model.predict(groups[0])) == pytest.approx(1, abs=0.03)
    assert run.clusters == len(np.unique(model.labels_)) == 3
    assert [path.name for path in out.iterdir() if path.name.startswith(".")] == []


def test_nothing_is_fitted_twice_but_what_failed(compared: Any, groups: Any) -> None:
    out, before, _ = compared
    again: list[str] = []
    found = compare(
        *(groups[0], 3, groups[1]), out=out, names=FAST, shown=0.2, seeds=(0, 1), echo=again.append
    )
    assert again == [] and found.runs == before.runs
    more = compare(
        *(groups[0], 3, groups[1]), out=out, names=["kmeans"], shown=0.2,
        settings={"kmeans": {"n_init": 1}}, echo=again.append,
    )  # fmt: skip
    assert len(again) == 1 and more.runs[0].key not in {run.key for run in before.runs}


def test_a_damaged_record_is_done_again(compared: Any, groups: Any, tmp_path: Path) -> None:
    out = shutil.copytree(compared[0], tmp_path / "out")
    path = out / "runs.jsonl"
    first, others = path.read_text().split("\n", 1)
    path.write_text(f"{first[:-30]}\n{others}")
    lines: list[str] = []
    compare(*(groups[0], 3, groups[1]), out=out, names=FAST, shown=0.2, seeds=(0, 1), echo=lines.append)
    assert len(lines) == 1


def test_a_run_after_a_line_cut_short_is_kept(compared: Any, groups: Any, tmp_path: Path) -> None:
    out, lines = shutil.copytree(compared[0], tmp_path / "out"), list[str]()
    path = out / "runs.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:4])[:-30])
    for _ in range(2):
        compare(*(groups[0], 3, groups[1]), out=out, names=FAST, shown=0.2, seeds=(0, 1), echo=lines.append)
    assert len(lines) == 1


WRONG = [
    *({"scores": None}, {"scores": {}}, {"scores": {"ari": "x"}}, {"seed": []}, {"key": []}),
    *({"error": None}, {"model": "../../models"}, {"clusters": "3"}, {"another": 1}),
]


def test_lines_of_other_shape_are_as_if_they_were_not_there(
    compared: Any, groups: Any, tmp_path: Path
) -> None:
    out, lines = shutil.copytree(compared[0], tmp_path / "out"), list[str]()
    first, *others = (out / "runs.jsonl").read_bytes().splitlines()
    wrong = [json.dumps({**json.loads(first), **change}).encode() for change in WRONG]
    wrong += [b"null", b"[1]", b"\xff\xfe", b"[" * 100_000]
    (out / "runs.jsonl").write_bytes(b"\n".join([*wrong, *others]))
    found = compare(
        *(groups[0], 3, groups[1]), out=out, names=FAST, shown=0.2, seeds=(0, 1), echo=lines.append
    )
    assert len(lines) == 1 and len(found.table()) == 2


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"settings": {"dec": {"max_iter": 1}}}, "'dec', which is not compared"),
        ({"settings": {"kmeans": {"foo": 1}}}, "no parameter 'foo'"),
        ({"settings": {"kmeans": {"n_init": 0}}}, "n_init=0"),
        ({"settings": {"kmeans": {"n_init": len}}}, "function of your own"),
        ({"names": ["kmeans", "kmeans"]}, "'kmeans' is there twice"),
        ({"seeds": (0, 1, 0)}, "0 is there twice"),
        ({"seeds": (-1,)}, "seed=-1"),
        ({"limit": 0}, "limit=0"),
        ({"limit": float("nan")}, "limit=nan"),
    ],
)
def test_mistakes_are_told_before_anything_is_fitted(
    groups: Any, tmp_path: Path, given: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        compare(groups[0], 3, out=tmp_path / "out", **{"names": ["kmeans"], **given})
    assert not (tmp_path / "out").exists()


def test_settings_that_are_objects_reach_the_model(
    groups: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "random.py").write_text("raise RuntimeError('a module of where we are')")
    monkeypatch.chdir(tmp_path)
    step = genmix.MinMaxStep(steps=1, encoder_pretrain_steps=1, generator_pretrain_steps=1)
    own = {"init": "kmeans", "max_iter": np.int64(1), "tol": None, "m_step": step}
    found = compare(
        groups[0], 3, out=tmp_path / "out", names=["dnnmm"], settings={"dnnmm": own}, feature_names=["a", "b"]
    )
    assert found.runs[0].error == ""
    model = genmix.load(next((tmp_path / "out" / "models").iterdir()))
    assert model.m_step == step and model.feature_names_in_.tolist() == ["a", "b"]


def test_a_failed_or_slow_model_does_not_stop_the_others(compared: Any, groups: Any, tmp_path: Path) -> None:
    out, lines = shutil.copytree(compared[0], tmp_path / "out"), list[str]()
    for times in (1, 2):  # a failure is tried again, and k-means is there
        found = compare(
            *(groups[0], 3, groups[1]), out=out, names=["ganmm", "kmeans"], shown=0.2,
            settings={"ganmm": {"networks": "conv"}}, echo=lines.append,
        )  # fmt: skip
        assert len(lines) == times and "needs images" in lines[-1]
    assert "needs images" in found.runs[0].error and not found.runs[1].error and found.names == ["kmeans"]
    rows = found.table()
    assert rows[0]["model"] == "kmeans" and rows[1]["seconds"] is None
    late = compare(groups[0], 3, out=tmp_path / "late", names=["kmeans"], limit=0.05)
    assert "longer than 0.05 s" in late.runs[0].error


ENDLESS = """
import sys
from genmix.evaluation.compare import compare
import numpy as np
own = {"init": "kmeans", "max_iter": 10**6, "tol": None}
X = np.random.default_rng(0).normal(size=(300, 2))
compare(X, 2, out=sys.argv[1], names=["dnnmm"], settings={"dnnmm": own})
"""


def children(process: int) -> list[int]:
    found = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [int(child) for child in found]


def runs(process: int) -> bool:
    stat = Path(f"/proc/{process}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] not in "ZX"


def wait_for(condition: Callable[[], Any], seconds: float = 60) -> Any:
    until = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < until:
        time.sleep(0.02)
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="looks at processes as Linux shows them")
def test_the_fit_of_a_killed_comparison_ends_and_the_next_one_tidies_up(groups: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = subprocess.Popen([sys.executable, "-c", ENDLESS, str(out)])
    try:
        (child,) = wait_for(lambda: children(process.pid))
        assert runs(child)
    finally:
        process.kill()
        process.wait()
    assert wait_for(lambda: not runs(child))
    assert len(list(out.glob(".data-*"))) == 1
    half = out / "models" / "dnnmm-seed-0-01234567"
    half.mkdir(parents=True)
    (half / "model-0123456789abcdef.safetensors").write_bytes(b"half")
    compare(groups[0], 3, out=out, names=["kmeans"])
    assert [path.name for path in out.iterdir() if path.name.startswith(".")] == []
    assert [path.name[:13] for path in (out / "models").iterdir()] == ["kmeans-seed-0"]


def test_comparisons_beside_one_another_and_files_of_others_stay(
    groups: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_fit", lambda *_: {"error": "left out", "seconds": 0.0, "megabytes": None})
    (tmp_path / ".data-mine").mkdir()
    (tmp_path / ".data-mine" / "notes.txt").write_text("keep me")
    (tmp_path / ".data-link").symlink_to(tmp_path / "models")
    half, saved = (tmp_path / "models" / f"{name}-seed-0-01234567" for name in ("gmm", "dec"))
    half.mkdir(parents=True)
    saved.mkdir()
    with files.alone_in(saved), module._own_folder(tmp_path) as other:
        (other / "X.npy").write_bytes(b"in use")
        compare(groups[0], 3, out=tmp_path, names=["kmeans"])
        assert (other / "X.npy").exists()
        names = {other.name, ".data-mine", ".data-link", "models", "runs.jsonl"}
        assert set(os.listdir(tmp_path)) == names and os.listdir(tmp_path / "models") == [saved.name]
    assert not other.exists()


def test_without_labels_nothing_is_scored(groups: Any, tmp_path: Path, monkeypatch: Any) -> None:
    asked: list[str] = []

    def fake(job: dict[str, Any], *_: Any) -> dict[str, Any]:
        asked.append(job["model"])
        return {"error": "left out", "seconds": 0.0, "megabytes": None}

    monkeypatch.setattr(module, "_fit", fake)
    found = compare(groups[0], 3, out=tmp_path)
    assert set(asked) == {name for name, model in models.NAMED.items() if model.labels != "needed"}
    assert found.n_scored == 0 and found.agreement.shape == (0, 0)
    compare(groups[0], 3, groups[1], out=tmp_path)
    assert set(asked) == set(models.NAMED)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"names": ["kmeanz"]}, "'kmeanz' is unknown; expected one of ganmm, dnnmm"),
        ({"names": ["fixmatch"]}, "fixmatch learns from labels"),
        ({"names": []}, "nothing to compare"),
        ({"seeds": []}, "nothing to compare"),
        ({"y": np.arange(150) % 5}, "fewer than the 5 classes"),
        ({"y": np.arange(150) % 3, "shown": 1.0}, r"shown=1\.0"),
        ({"y": np.arange(149) % 3}, "one label for each item"),
    ],
)
def test_says_what_is_wrong(call: dict[str, Any], message: str, groups: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        compare(groups[0], 3, out=tmp_path, **call)


def test_data_that_are_none_are_refused_before_any_fit(groups: Any, tmp_path: Path) -> None:
    for X in (np.where(groups[0] > 100, 0, np.nan), np.array([["a", "b"]] * 5)):
        with pytest.raises(ValueError, match=r"NaN|Convert"):
            compare(X, 2, out=tmp_path, names=["kmeans"])
    assert not (tmp_path / "runs.jsonl").exists()


def test_every_model_learns_or_ignores_labels_as_it_is_said(groups: Any) -> None:
    for name, model in models.NAMED.items():
        kind = models.find_class(name)
        assert kind(3).get_params()["n_components"] == 3
        assert ("array of int [N]" in kind.fit.__doc__) == (model.labels != "none"), name


# ---------------------------------------------------------------- the command line and the page


def test_compare_prints_and_writes_a_table(
    tmp_path: Path, groups: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    X, y = groups
    np.save(tmp_path / "X.npy", X)
    shown = np.where(np.arange(150) < 100, y, -1)
    np.save(tmp_path / "y.npy", shown)
    words = [
        "compare", str(tmp_path / "X.npy"), "--components", "3", "--labels", str(tmp_path / "y.npy"),
        "--models", "kmeans", "label-spreading", "--shown", "0.3", "--out", str(tmp_path / "out"),
        "--set", "label-spreading.n_neighbors=5",
    ]  # fmt: skip
    assert main(words) == 0
    text = capsys.readouterr().out
    assert "scores of 70 items whose label no model saw; 30 labels were shown" in text
    with (tmp_path / "out" / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["model"] for row in rows} == {"kmeans", "label-spreading"}
    assert all(float(row["accuracy"]) > 0.97 for row in rows)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "label-spreading" in page and "How much they agree" in page and "https://" not in page
    records = [json.loads(line) for line in (tmp_path / "out" / "runs.jsonl").read_text().splitlines()]
    assert [record["model"] for record in records] == ["kmeans", "label-spreading"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--models", "nothing"], "'nothing' is unknown"),
        (["--set", "n_init=3"], "model.parameter=value"),
        (["--models", "fixmatch"], "learns from labels"),
    ],
)
def test_compare_says_what_is_wrong(
    words: list[str], message: str, tmp_path: Path, groups: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "X.npy", groups[0])
    call = ["compare", str(tmp_path / "X.npy"), "--components", "3", "--out", str(tmp_path / "out"), *words]
    assert main(call) == 2
    assert message in capsys.readouterr().err


def test_settings_name_their_model() -> None:
    found = read_model_settings(["dec.max_iter=5", "dec.lr=0.1", "kmeans.n_init=2"])
    assert found == {"dec": {"max_iter": 5, "lr": 0.1}, "kmeans": {"n_init": 2}}


def test_the_best_score_is_on_top_and_a_failure_is_left_out() -> None:
    rows = [
        {"model": "a", "accuracy": 0.5, "accuracy_sd": 0.1, "seconds": 3.0},
        {"model": "b", "accuracy": 0.9, "accuracy_sd": 0.0, "seconds": 700.0},
        {"model": "c", "seconds": None},
    ]
    axis = plots.quality_and_time(rows).axes[0]
    assert [tick.get_text() for tick in axis.get_yticklabels()] == ["a", "b"]
    assert [text.get_text() for text in axis.texts] == ["0.500 · 3.0 s", "0.900 · 12 min"]
    with pytest.raises(ValueError, match="nothing to draw"):
        plots.quality_and_time(rows[2:])


def test_a_page_of_nothing_but_failures_says_so(tmp_path: Path) -> None:
    row = {
        "model": "<b>", "labels": "ignored", "seeds": 0, "clusters": None, "seconds": None, "megabytes": None,
        "error": "it & broke",
    }  # fmt: skip
    page = write_comparison([row], np.zeros((0, 0)), [], tmp_path / "page.html").read_text()
    assert "it &amp; broke" in page and "&lt;b&gt;" in page


@pytest.mark.parametrize("images", [True, False])
def test_a_model_that_generates_nothing_has_a_report_too(
    images: bool, squares: Any, groups: Any, tmp_path: Path
) -> None:
    X, y = squares if images else groups
    model = models.build("kmeans", 2, None, {"random_state": 0}).fit(X)
    page = write_report(model, X, tmp_path / "page.html", y=y).read_text()
    assert "What is in each cluster" in page and "generates nothing" in page
    assert ("surest" in page) == images


def test_sampling_from_what_generates_nothing_is_refused(
    groups: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models.build("kmeans", 3, None, {}).fit(groups[0]).save(tmp_path / "model")
    assert main(["sample", str(tmp_path / "model"), "--out", str(tmp_path / "made.npz")]) == 2
    assert "a KMeans generates nothing" in capsys.readouterr().err
