"""The experiments: what is missing is run once, what is shown is what was measured."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from genmix import datasets, metrics
from genmix.cli import main, reproducing
from genmix.experiments import catalogue, figures, overview, running, shown, tables, tasks
from genmix.experiments.methods import METHODS, Setting
from genmix.experiments.running import Experiment, Job, _processor, finished, missing, run_missing, run_one
from genmix.experiments.runs import Runs
from genmix.experiments.tasks import Case, Compute
from genmix.ganmm.model import ROLES
from genmix.ganmm.presets import CodeEStep, CodesEStep
from genmix.training.run import Run

SIZE = "smoke"
PAPERS = [item.name for item in catalogue.PAPERS]


def _digits() -> datasets.Dataset:
    return datasets.load("digits")


def _color_digits() -> datasets.Dataset:
    """32 x 32 coloured images, as large as those of the paper's tasks need to be."""
    small = datasets.load("digits")
    X = np.repeat(np.repeat(small.X[:400], 4, 1), 4, 2)[..., None].repeat(3, -1)
    return replace(small, X=(X * 240).astype(np.uint8), y=small.y[:400])


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The large data sets are digits here: the machinery needs no others."""
    for name, task in tasks.TASKS.items():
        if name.startswith(("mnist", "cifar10", "celeba", "artificial-characters")):
            source = _digits if name.startswith(("mnist", "artificial")) else _color_digits
            if name == "artificial-characters":
                source = lambda: datasets.load("image-segmentation")  # noqa: E731
            monkeypatch.setitem(tasks.TASKS, name, replace(task, source=source))
    monkeypatch.setattr(shown, "N_MAPPED", 40)


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path)


KMEANS = Experiment("digits", "kmeans")


def test_a_run_is_done_once(runs: Runs) -> None:
    jobs = missing([(KMEANS, 0), (KMEANS, 1)], SIZE, runs)
    assert [job.seed for job in jobs] == [0, 1]
    assert run_missing(jobs, SIZE, runs) == (2, [])
    assert missing([(KMEANS, 0), (KMEANS, 1)], SIZE, runs) == []
    assert [job.seed for job in missing([(KMEANS, 1), (KMEANS, 2)], SIZE, runs)] == [2]
    assert len((runs.folder / "runs" / "digits.jsonl").read_text().splitlines()) == 2


def test_other_settings_and_other_data_are_other_runs(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    run_one(KMEANS, 0, SIZE, runs)
    assert missing([(KMEANS, 0)], "cpu", runs)  # of another size: other settings
    changed = replace(tasks.TASKS["digits"], source=lambda: datasets.load("digits", n_samples=300))
    monkeypatch.setitem(tasks.TASKS, "digits", changed)
    assert missing([(KMEANS, 0)], SIZE, runs)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_settings_know_every_parameter_but_the_seed(name: str) -> None:
    make = METHODS[name].make
    same = [running._described(make(Setting(3, seed, "cpu", "images"))) for seed in (0, 1)]
    assert same[0] == same[1]
    assert same[0] != running._described(make(Setting(4, 0, "cpu", "images")))


@pytest.mark.parametrize("size", ["cpu", "full"])
def test_the_published_code_has_networks_of_its_own_for_codes(size: Any) -> None:
    code, em, text, table = (
        Experiment(task, method).make(0, size)
        for task, method in (
            ("mnist-test-codes", "ganmm-2018-code"), ("mnist-test-codes", "ganmm-em-raw"),
            ("mnist-test-codes", "ganmm-2018-paper"), ("image-segmentation", "ganmm-2018-code"),
        )
    )  # fmt: skip
    assert {role: choice["hidden"] for role, choice in code.networks.items()} == dict.fromkeys(ROLES, (32,))
    assert em.networks == code.networks
    assert text.networks == table.networks == "ganmm-2018"
    assert type(table.e_step) is CodeEStep and type(code.e_step) is CodesEStep


def test_a_record_is_what_was_measured(runs: Runs) -> None:
    record = run_one(KMEANS, 3, "cpu", runs)
    data = datasets.load("digits")
    model = KMEANS.make(3, "cpu").fit(data.X)
    expected = metrics.scores(data.y, model.labels_)
    assert {name: record[name] for name in expected} == pytest.approx(expected, abs=1e-5)
    table = np.array(record["confusion"])
    assert table.sum() == len(data.y)
    assert table.max(0).sum() / table.sum() == pytest.approx(record["purity"], abs=1e-5)
    assert finished(KMEANS, "cpu", runs) == [json.loads(json.dumps(record))]


def test_a_run_that_was_stopped_goes_on(runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment, real = Experiment("digits", "ganmm"), Run.record
    whole = run_one(experiment, 0, SIZE, Runs(tmp_path / "apart"))

    def stopped(self: Run, *arguments: Any, **values: Any) -> None:
        if len(self.history) == 1:
            raise KeyboardInterrupt
        real(self, *arguments, **values)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Run, "record", stopped)
        run_one(experiment, 0, SIZE, runs)
    (kept,) = (runs.cache / "checkpoints").iterdir()
    assert [path.name[:16] for path in kept.iterdir()] == ["iteration-000001"]
    run_one(experiment, 0, SIZE, runs, Compute(precision="bfloat16"))  # begins anew, and leaves it alone
    assert kept.exists()
    again = run_one(experiment, 0, SIZE, runs)
    assert {**again, "seconds": 0} == {**whole, "seconds": 0}
    assert not kept.exists()


def test_methods_with_one_autoencoder_train_it_once(
    runs: Runs, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run_one(Experiment("digits", "dec"), 0, SIZE, runs)
    monkeypatch.setattr("genmix.baselines.autoencoder.set_falling_lr", None)  # every step calls it
    for method in ("dcn", "sae-gmm"):
        assert run_one(Experiment("digits", method), 0, SIZE, runs)["n"] == first["n"]
    with pytest.raises(TypeError):  # another seed has its own
        run_one(Experiment("digits", "dec"), 1, SIZE, runs)


@pytest.mark.parametrize(("asked", "done"), [("float32", "float32"), ("bfloat16", "bfloat16")])
def test_records_say_the_precision(asked: str, done: str, runs: Runs) -> None:
    compute = Compute(precision=asked)
    assert run_one(Experiment("digits", "dec"), 0, SIZE, runs, compute)["precision"] == done
    assert run_one(Experiment("digits", "sae-gmm"), 0, SIZE, runs, compute)["precision"] == done
    assert run_one(KMEANS, 0, SIZE, runs, compute)["precision"] == "float32"


def test_auto_is_settled_before_it_is_recorded() -> None:
    compute = Compute("auto", "auto")
    assert "auto" not in (compute.device, compute.precision)


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.reduced])
def test_what_is_reduced_is_larger_at_full_size(name: str) -> None:
    method = METHODS[name]
    images = Experiment("mnist-0-4", name, 0.1) if method.learns_labels else Experiment("mnist-test", name)
    table = [Experiment("image-segmentation", name)] if "tables" in method.reduced else []
    for experiment in (images, *table):
        assert experiment.settings("cpu") != experiment.settings("full")


def test_records_name_the_processor(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_one(KMEANS, 0, SIZE, runs)["processor"].strip()
    monkeypatch.setattr("torch.cuda.get_device_name", lambda device: f"GPU of {device}")
    assert _processor("cuda:1") == "GPU of cuda:1"


def test_only_items_without_a_label_are_scored(runs: Runs, small: None) -> None:
    experiment = Experiment("mnist-0-4", "label-spreading", 0.5)
    record = run_one(experiment, 0, SIZE, runs)
    assert np.sum(record["confusion"]) == record["n"] - round(0.5 * record["n"])


def test_a_part_is_fitted_and_all_are_scored(runs: Runs, small: None) -> None:
    record = run_one(Experiment("mnist-test-half", "kmeans"), 0, SIZE, runs)
    assert record["n"] == tasks.FEW // 2
    assert np.sum(record["confusion"]) == tasks.FEW


def test_the_last_record_counts_and_a_cut_line_does_not(runs: Runs) -> None:
    record = run_one(KMEANS, 0, SIZE, runs)
    path = runs.folder / "runs" / "digits.jsonl"
    path.write_text(path.read_text() + '{"experiment": "digits/km')
    runs.append({**record, "purity": 0.25})
    assert [r["purity"] for r in finished(KMEANS, SIZE, runs)] == [0.25]
    first, cut, last = path.read_text().splitlines()  # the cut line ended before the next began
    assert (json.loads(first), cut) == (record, '{"experiment": "digits/km')
    assert json.loads(last)["purity"] == 0.25


def test_the_experiments_of_a_task_share_a_file_and_keep_apart(runs: Runs) -> None:
    record = run_one(KMEANS, 0, SIZE, runs)
    runs.append({**record, "experiment": "digits/kmeans@0.1", "purity": 0.25})
    assert [path.name for path in (runs.folder / "runs").iterdir()] == ["digits.jsonl"]
    assert runs.read(KMEANS.name, record["settings"]) == [record]
    assert [r["purity"] for r in runs.read("digits/kmeans@0.1", record["settings"])] == [0.25]


_APPEND = """
import json, sys
from pathlib import Path
from genmix.experiments.runs import Runs
record, first = json.loads(sys.stdin.read()), int(sys.argv[2])
for seed in range(first, first + 100):
    Runs(Path(sys.argv[1])).append({**record, "seed": seed})
"""


def test_lines_of_several_processes_do_not_mix(runs: Runs) -> None:
    record = json.dumps({**run_one(KMEANS, 0, SIZE, runs), "padding": "x" * 20_000})
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", _APPEND, str(runs.folder), str(first)], stdin=subprocess.PIPE, text=True
        )
        for first in (0, 100, 200)
    ]
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write(record)
        writer.stdin.close()
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    lines = (runs.folder / "runs" / "digits.jsonl").read_text().splitlines()
    assert len(lines) == 301
    assert sorted(json.loads(line)["seed"] for line in lines[1:]) == list(range(300))


def test_a_full_disk_leaves_no_half_of_a_line(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    record = run_one(KMEANS, 0, SIZE, runs)
    path, real = runs.folder / "runs" / "digits.jsonl", Path.open
    before = path.read_bytes()

    class Full(io.FileIO):
        def write(self, data: Any) -> int:
            return super().write(data[:10])

    monkeypatch.setattr(Path, "open", lambda self, *_, **__: Full(self, "a+"))
    with pytest.raises(OSError, match=r"only 10 of \d+ bytes"):
        runs.append({**record, "seed": 1})
    monkeypatch.setattr(Path, "open", real)
    assert path.read_bytes() == before


@pytest.mark.parametrize("line", [b"[1]", b"\xff\xfe", b"NaN", b'{"seed": 1, "settings": "a"}', b"{}"])
def test_damaged_records_do_not_count(line: bytes, runs: Runs) -> None:
    record = run_one(KMEANS, 0, SIZE, runs)
    path = runs.folder / "runs" / "digits.jsonl"
    named = {**record, "seed": "1"}
    path.write_bytes(line + b"\n" + path.read_bytes() + json.dumps(named).encode() + b"\n")
    assert finished(KMEANS, SIZE, runs) == [record]


def test_records_of_two_data_sets_are_not_averaged(runs: Runs) -> None:
    record = run_one(KMEANS, 0, SIZE, runs)
    runs.append({**record, "seed": 1, "fingerprint": "other"})
    assert [r["seed"] for r in runs.read(KMEANS.name, record["settings"])] == [1]


def test_a_damaged_file_of_a_figure_is_made_again(runs: Runs, small: None) -> None:
    experiment = replace(KMEANS, method="dcn", needs=("encodings",))
    record = run_one(experiment, 0, SIZE, runs)
    path = runs.shown(experiment.name, record["settings"], 0)
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", whole[:60] + b"x" * 40 + whole[100:]):
        path.write_bytes(damaged)
        assert finished(experiment, SIZE, runs) == []
        run_one(experiment, 0, SIZE, runs)
        assert shown.read_arrays(path).keys() == {"map", "classes"}


def test_damaged_codes_are_made_again(runs: Runs, small: None) -> None:
    case, task = Case(0, runs.cache, SIZE), tasks.TASKS["mnist-test-codes"]
    codes = task.draw(case).X
    (path,) = runs.cache.glob("codes-*.npy")
    path.write_bytes(path.read_bytes()[:200])
    np.testing.assert_array_equal(task.draw(case).X, codes)
    assert path.stat().st_size > 200


def test_one_data_set_that_is_not_there_does_not_stop_the_others(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost() -> datasets.Dataset:
        raise OSError("no network")

    monkeypatch.setitem(tasks.TASKS, "mnist-test", replace(tasks.TASKS["mnist-test"], source=lost))
    away = Experiment("mnist-test", "kmeans")
    jobs = missing([(away, 0), (KMEANS, 0)], SIZE, runs)
    done, failed = run_missing(jobs, SIZE, runs)
    assert done == 1
    assert failed == ["mnist-test/kmeans, seed 0: the data cannot be read: no network"]


def test_what_is_missed_most_comes_first(runs: Runs) -> None:
    other = Experiment("digits", "gmm-diag")
    run_one(KMEANS, 0, SIZE, runs)
    run_one(KMEANS, 1, SIZE, runs)
    jobs = missing([(e, seed) for e in (KMEANS, other) for seed in range(3)], SIZE, runs)
    assert [(job.experiment.method, job.seed) for job in jobs] == [
        ("gmm-diag", 0), ("gmm-diag", 1), ("kmeans", 2), ("gmm-diag", 2),
    ]  # fmt: skip


def test_a_budget_ends_before_a_run_that_would_be_late(runs: Runs) -> None:
    long, short = Job(KMEANS, 0, 0, 1000.0), Job(KMEANS, 1, 0, 0.01)
    assert run_missing([short, long, replace(short, seed=2)], SIZE, runs, budget=60)[0] == 2
    assert [r["seed"] for r in finished(KMEANS, SIZE, runs)] == [1, 2]
    assert run_missing([long], SIZE, runs, budget=1)[0] == 1  # the first is always begun


def test_a_run_that_fails_does_not_stop_the_others(runs: Runs) -> None:
    broken = Experiment("digits", "labels-only")  # needs labels, and gets none
    done, failed = run_missing([Job(broken, 0, 0, None), Job(KMEANS, 0, 0, None)], SIZE, runs)
    assert done == 1
    assert len(failed) == 1
    assert "labels-only" in failed[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("digits/kmeanz", "'kmeanz' is unknown"),
        ("digitz/kmeans", "'digitz' is unknown"),
        ("digits/kmeans@2", "alpha=2.0"),
        ("digits/kmeans@x", "expected TASK/METHOD"),
    ],
)
def test_wrong_experiments_are_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Experiment.parse(text)


def test_a_run_of_several_items_is_done_once_for_all(runs: Runs, small: None) -> None:
    """Table 1 wants scores of the runs, Table 2 and Figure 2 want more of the first."""
    items = [catalogue.ITEMS[name] for name in ("ganmm-table-1", "ganmm-table-2", "ganmm-figure-2")]
    wanted = [(e, seed) for item in items for e in item.experiments(SIZE) for seed in range(item.seeds)]
    jobs = missing(wanted, SIZE, runs)
    once = catalogue.for_all_items(jobs, SIZE)
    keys = [(job.experiment.name, job.seed) for job in once]
    assert len(keys) == len(set(keys)) == 50 < len(jobs)
    assert set(keys) == {(job.experiment.name, job.seed) for job in jobs}
    needs = {key: set(job.experiment.needs) for key, job in zip(keys, once, strict=True)}
    assert needs["mnist-test/ganmm", 0] == {"confusion", "samples"}
    assert needs["mnist-test/kmeans", 0] == needs["mnist-test/ganmm", 1] == set()
    later = missing([(items[2].experiments(SIZE)[0], 3)], SIZE, runs)
    assert set(catalogue.for_all_items(later, SIZE)[0].experiment.needs) == {"samples"}


def test_names_lead_back() -> None:
    assert Experiment.parse("mnist-0-4/dnnmm@0.1") == Experiment("mnist-0-4", "dnnmm", 0.1)
    for item in catalogue.ITEMS.values():
        for experiment in item.experiments("cpu"):
            assert Experiment.parse(experiment.name) == replace(experiment, needs=())


@pytest.mark.parametrize("name", PAPERS)
def test_every_item_of_the_papers_runs(
    name: str, small: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["reproduce", name, "--smoke", "--out", str(tmp_path)]) == 0
    text, item = capsys.readouterr().out, catalogue.ITEMS[name]
    assert "all done" in text
    assert "not run" not in text
    assert all(METHODS[row.method].title in text for row in item.rows)
    assert not (tmp_path / "smoke" / "tables").exists()
    pictures = list((tmp_path / "smoke").glob(f"figures*/{name}.png"))
    assert bool(pictures) == (item.kind in ("curves", "samples", "maps", "walks"))
    private = [path for path in pictures if "not-to-be-published" in str(path)]
    assert bool(private) == (name == "dnnmm-figure-6") and len(pictures) - len(private) <= 1
    wanted = [(experiment, 0) for experiment in item.experiments(SIZE)]
    assert missing(wanted, SIZE, Runs(tmp_path / "smoke")) == []


@pytest.mark.data
@pytest.mark.parametrize("name", PAPERS)
def test_every_item_of_the_papers_runs_on_its_own_data(name: str, data_dir: Path, tmp_path: Path) -> None:
    assert main(["reproduce", name, "--smoke", "--out", str(tmp_path)]) == 0


@pytest.fixture
def some_of_table_4(tmp_path: Path) -> tuple[str, str]:
    """The two pages where few runs of one table are finished."""
    runs, page = Runs(tmp_path / "results"), tmp_path / "docs" / "page.md"
    item = catalogue.ITEMS["ganmm-table-4"]
    by_method = {experiment.method: experiment for experiment in item.experiments("cpu")}
    for method, value in {"ganmm": 0.6, "gmm-full": 0.7, "kmeans": 0.5, "control-without-gan": 0.6}.items():
        runs.append(
            {
                "experiment": by_method[method].name, "seed": 0, "seconds": 1.0,
                "threads": 1, "device": "cpu", "fingerprint": "0",
                "settings": by_method[method].settings("cpu"), "purity": value, "accuracy": value,
                "ari": value, "nmi": value,
            }
        )  # fmt: skip
    again = {"seed": 1, "purity": 0.52}
    runs.append({**runs.read(by_method["kmeans"].name, by_method["kmeans"].settings("cpu"))[0], **again})
    assert main(["reproduce", "--out", str(runs.folder), "--page", str(page)]) == 0
    return page.read_text(), page.with_name("page-details.md").read_text()


def test_the_details_say_what_is_behind_and_what_is_not_run(some_of_table_4: tuple[str, str]) -> None:
    _, text = some_of_table_4
    assert "| k-means, best of 10 starts | 0.5100 ± 0.0141 |" in text  # the sample's deviation
    assert "| genmix: `GANMixture(K)` | 0.6000 |" in text  # one run has none
    behind = text.split("## Where our default is not higher")[1].split("## GANMM, Table 1")[0]
    assert "purity: 0.6000, and 0.7000 for Gaussian mixture" in behind
    assert "purity: 0.6000, and the paper's 0.7241 for GANMM" in behind
    assert "k-means" not in behind
    assert "ARI: 0.6000, and the paper's" not in behind  # .5523 is lower
    assert "| DEC without an autoencoder | not run |" in text  # the paper has a number
    assert "Not run yet" in text


def test_the_overview_has_a_line_for_each_table_and_figure(some_of_table_4: tuple[str, str]) -> None:
    text, details = some_of_table_4
    assert text.count("5 of the") == 1
    assert len(text.splitlines()) < 60  # one screen
    lines = [line for line in text.splitlines() if line.startswith("| [")]
    for item in catalogue.PAPERS:
        assert [line for line in lines if line.startswith(f"| [{item.source.split(', ')[1]}]")], item.name
    [line] = [line for line in lines if "#ganmm-table-4-" in line]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[1:3] == ["**0.724** / 0.552 / **0.643**", "not run†"]
    assert cells[3:5] == [
        "0.600 / 0.600 / 0.600", "**0.700** / **0.700** / **0.700** Gaussian mixture, full covariance",
    ]  # fmt: skip
    assert cells[5] == "preset not run; default reached in ARI only"
    assert "without any GAN: Table 4 **0.600** / **0.600** / **0.600**." in text  # no rival, and not hidden
    assert all("no number printed" in line for line in lines if "#dnn-mm" in line)
    headings = {overview.anchor(line[3:]) for line in details.splitlines() if line.startswith("## ")}
    assert set(re.findall(r"page-details\.md#([^)]+)", text)) <= headings


def test_the_overview_is_of_the_papers_own_method(runs: Runs) -> None:
    """Table 2 prints sizes and purities of clusters: their mean by size is the purity of all."""
    item = catalogue.ITEMS["ganmm-table-2"]
    [part] = overview._parts(item, "cpu")
    assert overview._printed(item, part) == pytest.approx((0.7462,), abs=1e-4)
    assert overview._reached(part, (0.7461,), (0.7461,)) == "reached"
    assert overview._reached(part, (0.7460,), (0.7461,)) == "not reached"


def test_table_3_shows_dec_as_the_paper_does_with_the_autoencoder_of_the_codes(tmp_path: Path) -> None:
    """It starts from that autoencoder and sees the images: a random network on codes is no DEC."""
    item = catalogue.ITEMS["ganmm-table-3"]
    assert "dec-without-autoencoder" not in {row.method for row in item.rows}
    for size, task in (("cpu", "mnist-test"), ("full", "mnist-60000")):
        [found] = [e for e in item.experiments(size) if e.method == "dec"]  # type: ignore[arg-type]
        assert found.task == task and item.task_shown(found, size) == f"{task}-codes"  # type: ignore[arg-type]
    rows = {row["method"]: row for row in tables.rows_of(item, Runs(tmp_path), "cpu")}
    assert rows["dec"]["task"] == "mnist-test-codes" and rows["dec"]["purity_paper"] == 0.8673


def test_scores_close_to_1_are_told_apart() -> None:
    from matplotlib.figure import Figure

    def heights(*scores: float) -> np.ndarray:
        axis = Figure().subplots()
        figures._stretch(axis, [{"ari": score, "ari_sd": 0.01} for score in scores], "ari")
        axis.plot(np.zeros(len(scores)), scores)
        return axis.transAxes.inverted().transform(axis.transData.transform([(0, s) for s in scores]))[:, 1]

    assert (np.diff(heights(0.3, 0.98, 0.99, 1.0)) > 0.08).all()  # evenly: 0.014
    low, middle, high = heights(0.2, 0.3, 0.4)  # nothing is close to 1
    assert middle - low == pytest.approx(high - middle)


def test_clusters_of_a_table_match_the_papers_form() -> None:
    assert tables.clusters([[8, 0, 0], [2, 5, 0]]) == [(0, 10, 0.8), (1, 5, 1.0), (None, 0, 0.0)]


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1800), ("1.5h", 5400), ("45", 45)])
def test_budgets(text: str, seconds: float) -> None:
    assert reproducing.read_budget(text) == seconds


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["reproduce", "ganmm-table-9"], "'ganmm-table-9' is unknown; expected one of ganmm-table-1"),
        (["reproduce", "x", "--smoke", "--full"], "two sizes"),
        (["reproduce", "ganmm-table-4", "--device", "cudda"], "device='cudda'"),
        (["reproduce", "ganmm-table-4", "--precision", "float8"], "precision='float8'"),
        (["reproduce", "ganmm-table-4", "--seeds", "0"], "at least 1"),
        (["reproduce", "--seeds", "0"], "at least 1"),
        (["reproduce", "--device", "cudda"], "device='cudda'"),
        (["reproduce", "ganmm-table-4", "--seeds", "1.5"], "expected a whole number, not '1.5'"),
        (["reproduce", "ganmm-table-4", "--page", "/dev/null/page.md"], "/dev/null"),
        (["reproduce", "ganmm-table-4", "--budget", "soon"], "such as 90s"),
        (["reproduce", "ganmm-table-4", "--budget", "0m"], "such as 90s"),
    ],
)
def test_wrong_calls_get_one_line(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1


def test_the_list_counts_what_is_finished(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "digits/kmeans", "--out", str(tmp_path), "--seeds", "2"]) == 0
    capsys.readouterr()
    assert main(["reproduce", "--out", str(tmp_path)]) == 0
    [line] = [text for text in capsys.readouterr().out.splitlines() if text.startswith("study-digits")]
    assert line.endswith("2/15")


def test_draws_are_the_papers(small: None) -> None:
    case = tasks.Case(0, Path("unused"))
    drawn = tasks.TASKS["mnist-0-4"].draw(case)
    assert set(drawn.y) == set(range(5))
    again, other = tasks.TASKS["mnist-0-4"].draw(case), tasks.TASKS["mnist-0-4"].draw(replace(case, seed=1))
    np.testing.assert_array_equal(drawn.X, again.X)
    assert not np.array_equal(drawn.X, other.X)
    clean = tasks._choose((1000,) * 3, _color_digits(), 0)[0].astype(float)
    noisy = tasks.TASKS["cifar10-3-red-noise"].draw(case).X.astype(float)
    np.testing.assert_array_equal(clean[..., 1:], noisy[..., 1:])
    inside = (noisy[..., 0] > 0) & (noisy[..., 0] < 255) & (clean[..., 0] > 60) & (clean[..., 0] < 190)
    assert (noisy - clean)[..., 0][inside].std() == pytest.approx(25.5, rel=0.05)


def test_hidden_labels(small: None) -> None:
    y = np.arange(1000) % 5
    assert tasks.hide(y, 0.0, 0) is None
    known = tasks.hide(y, 0.3, 0)
    assert known is not None
    assert (known != -1).sum() == 300
    assert set(known[known != -1]) == set(range(5))
    np.testing.assert_array_equal(known[known != -1], y[known != -1])
    assert not np.array_equal(known, tasks.hide(y, 0.3, 1))


@pytest.mark.parametrize("item", catalogue.ITEMS.values(), ids=list(catalogue.ITEMS))
def test_the_papers_size_has_its_own_data_and_settings(item: catalogue.Item) -> None:
    for size in ("cpu", "full"):
        for experiment in item.experiments(size):
            assert experiment.settings(size)
    if item.source.startswith("GANMM") and any(task.startswith("mnist") for task in item.tasks):
        assert all("60000" in task for task in item.tasks_at("full"))


class _Digits:
    """Two components; the second one's samples are of its digit every other time."""

    n_components, labels_ = 2, np.array([0, 0, 1, 1])

    def sample(self, n_samples: int, component: int) -> tuple[np.ndarray, np.ndarray]:
        shown = np.where(np.arange(n_samples) % 2, 3, 7) if component else np.full(n_samples, 3)
        return np.tile(shown[:, None, None], (1, 28, 28)), np.full(n_samples, component)


def test_generated_images_are_judged_and_codes_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    def see(images: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.one_hot((images[:, 0, 0, 0] * 255).round().long(), 10)

    monkeypatch.setattr("genmix.experiments.judge.judge", lambda: see)
    y = np.array([3, 3, 7, 7])
    found = running._judged(_Digits(), tasks.Draw(np.zeros((4, 28, 28)), y))
    assert found == {"sample_consistency": [1.0, 0.5]}
    assert running._judged(_Digits(), tasks.Draw(np.zeros((4, 10)), y)) == {}
