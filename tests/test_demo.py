"""The demonstration, with a quick stand-in for the mixture of GANs and small data."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest

from genmix import datasets
from genmix.cli.demo import Result, best_cells, plain_input, run_demo, text_table
from standin import StandIn


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """Run the demo once on 100 items of each set: the page, lines echoed, text printed, models asked for."""
    load, lines, asked, printed = datasets.load, [], [], io.StringIO()

    def load_small(name):
        return load(name, n_samples=100)

    def make(n_components, seed):
        asked.append((n_components, seed))
        return StandIn(n_components, random_state=seed)

    with pytest.MonkeyPatch.context() as patched, contextlib.redirect_stdout(printed):
        patched.setattr(datasets, "load", load_small)
        path = run_demo(
            tmp_path_factory.mktemp("demo") / "out",
            seed=3,
            echo=lines.append,
            make_model=make,
            make_deep=make,
        )
    return path, lines, printed.getvalue(), asked


def test_demo_compares_all_methods(demo):
    path, lines, printed, asked = demo
    assert asked == [(10, 3), (10, 3), (7, 3)]
    assert printed == ""  # all goes through echo
    for word in (
        "k-means",
        "GMM",
        "StandIn",
        "StandIn, 10 % of the labels",
        "purity",
        "accuracy",
        "ARI",
        "NMI",
        "seconds",
        str(path),
    ):
        assert word in "\n".join(lines)


def test_demo_writes_one_page_about_both_sets(demo):
    path = demo[0]
    assert path.name == "report.html"
    page = path.read_text("utf-8")
    for word in (
        "Handwritten digits",
        "Image segmentation",
        "10 of the 100 came with the name",
        "k-means",
        "chosen by BIC",
        "BRICKFACE",
        "<strong>",
    ):
        assert word in page
    assert "http" not in page.replace("http-equiv", "")
    assert len(page) < 5_000_000


def result(method, value, seconds, uses_labels=False):
    scores = dict.fromkeys(("purity", "accuracy", "ari", "nmi"), value)
    return Result(method, scores, seconds, uses_labels)


def test_best_is_what_the_reader_can_check():
    rows = [result("a", 0.5004, 1.0), result("b", 0.5001, 2.0), result("oracle", 0.9, 0.1, True)]
    best = best_cells(rows)
    assert best == {(i, j) for i in (0, 1) for j in range(4)} | {(0, 4)}  # 0.500 and 0.500 are a tie
    text = text_table({"Data": rows})
    assert text.count("*") == 9 + 1  # the marks and their legend
    assert "*" not in next(line for line in text.splitlines() if line.startswith("oracle"))


def test_tables_are_scaled_as_in_the_paper_and_images_are_not():
    X = np.array([[0.0, 5.0], [4.0, 5.0], [2.0, 5.0]])
    np.testing.assert_allclose(plain_input(X), [[-1, 0], [1, 0], [0, 0]])
    images = np.arange(8.0).reshape(2, 2, 2)
    np.testing.assert_array_equal(plain_input(images), images.reshape(2, 4))
