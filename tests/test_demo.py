"""The demonstration, on small data and with short fits."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from types import SimpleNamespace

import pytest

import genmix
from genmix import datasets
from genmix.cli import demo as module
from genmix.evaluation import compare


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Run the demo once on 100 items of each set: the page and the text printed."""
    load, printed = datasets.load, io.StringIO()
    short = {"init": "kmeans", "max_iter": 1, "tol": None, "device": "cpu"}
    steps = genmix.MinMaxStep(steps=1, encoder_pretrain_steps=2, generator_pretrain_steps=2)
    quick = {"ganmm": {**short, "m_step": genmix.MStep(steps=2)}, "dnnmm": {**short, "m_step": steps}}
    children = SimpleNamespace(  # in this process: libraries need not be loaded seven times
        run=lambda command, **_: compare._run_job(command[-1]), TimeoutExpired=TimeoutError
    )
    with pytest.MonkeyPatch.context() as patched, contextlib.redirect_stdout(printed):
        patched.setattr(datasets, "load", lambda name: load(name, n_samples=100))
        patched.setattr(module, "SETTINGS", quick)
        patched.setattr(compare, "subprocess", children)
        path = module.run_demo(tmp_path_factory.mktemp("demo") / "out", seed=3)
    return path, printed.getvalue()


def test_demo_compares_all_models(demo: tuple[Path, str]) -> None:
    path, printed = demo
    for word in ("kmeans, seed 3: 10 clusters", "gmm, seed 3: 7 clusters", "dnnmm", "accuracy", "ARI", "NMI"):
        assert word in printed
    assert printed.count("purity") == 2 and printed.endswith(f"Report: {path}\n") and "failed" not in printed
    assert sorted(folder.name for folder in path.parent.iterdir()) == [
        "digits", "image-segmentation", "report.html",
    ]  # fmt: skip


def test_demo_writes_one_page_about_both_sets(demo: tuple[Path, str]) -> None:
    page = demo[0].read_text("utf-8")
    for word in (
        "Handwritten digits: GANMixture", "Handwritten digits: DNNMixture", "Image segmentation: GANMixture",
        "10 of the 100 came with the name", "k-means", "chosen by BIC", "BRICKFACE", "<strong>",
    ):  # fmt: skip
        assert word in page
    assert "http" not in page.replace("http-equiv", "")
    assert len(page) < 5_000_000
