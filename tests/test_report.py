"""The report: one self-contained page, equal for equal input, whole or not at all, nothing unescaped."""

from __future__ import annotations

import datetime as dt
import re
import threading
from html.parser import HTMLParser

import matplotlib
import numpy as np
import pytest
from sklearn.datasets import load_digits

from genmix import metrics
from genmix.base.validation import printable
from genmix.report import (
    Chart,
    Charts,
    Fact,
    Section,
    Table,
    model_section,
    render_page,
    write_page,
    write_report,
)
from genmix.report.embedding import embed_2d, nearest_rows
from genmix.report.facts import apply, headline
from genmix.report.svg import svg_markup
from standin import StandIn

DAY = dt.date(2026, 11, 21)
HEADINGS = (
    "What each component generates",
    "Where the clusters lie",
    "How sure the model is",
    "How large the clusters are",
    "Cluster by cluster",
    "How known classes fall into clusters",
    "Items the model is least sure of",
    "How it learned",
    "Settings",
)


class Elements(HTMLParser):
    """All start tags with their attributes, and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def all(self, tag):
        return [attrs for name, attrs in self.found if name == tag]


@pytest.fixture(scope="module")
def digits():
    data = load_digits()
    X, y = (data.images[:300] / 16).astype(np.float32), data.target[:300]
    return StandIn(10, random_state=0).fit(X), X, y


@pytest.fixture(scope="module")
def page(digits, tmp_path_factory):
    model, X, y = digits
    path = tmp_path_factory.mktemp("report") / "deep" / "report.html"
    assert write_report(model, X, path, y=y, max_map_points=100) == path
    return path.read_text("utf-8")


def test_page_is_self_contained(page):
    assert "http://" not in page
    assert "https://" not in page
    elements = Elements(page)
    for tag in ("script", "link", "iframe", "object"):
        assert not elements.all(tag)
    for tag, attributes in elements.found:
        for name in ("src", "href"):
            assert (attributes.get(name) or "#").startswith(("#", "data:image/png;base64,")), (
                tag,
                attributes,
            )
        assert not [name for name in attributes if name.startswith("on")]
    assert "@import" not in page
    assert len(page) < 5_000_000


def test_every_picture_has_words(page):
    elements = Elements(page)
    assert len(elements.all("img")) == 2 * 10 + 20
    assert all(attributes["alt"] for attributes in elements.all("img"))
    plots = [attributes for attributes in elements.all("div") if attributes.get("role") == "img"]
    assert len(plots) == len(elements.all("svg")) >= 5
    assert all(attributes["aria-label"] for attributes in plots)


def test_ids_are_unique_and_links_lead_somewhere(page):
    ids = [attributes["id"] for _, attributes in Elements(page).found if attributes.get("id")]
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', page)) != set()
    for one, other in re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', page):
        assert (one or other) in ids


def test_page_says_what_the_model_found(page, digits):
    model, X, y = digits
    text = Elements(page).text
    assert "300" in text
    assert "8 x 8 pixels" in text
    assert "converged" in text
    assert f"{model.predict_proba(X).max(1).mean():.3f}" in text
    assert f"{metrics.scores(y, model.predict(X))['nmi']:.3f}" in text
    assert "seconds to fit6.0" in text.replace("\n", "")  # 12 iterations of half a second
    assert "were reinitialized: 2." in text
    error = metrics.calibration(y, model.predict_proba(X))["error"]
    assert f"calibration error: {error:.3f}" in text
    assert "random_state" in text
    for heading in HEADINGS:
        assert heading in text


def test_same_input_gives_the_same_bytes_except_the_date():
    random = np.random.default_rng(0)
    data = [random.random((60, 5)), random.random((60, 6, 6))]

    def page(date):
        models = [StandIn(2, random_state=0).fit(X) for X in data]
        return render_page("t", [model_section(m, X) for m, X in zip(models, data, strict=True)], date=date)

    first, later = page(DAY), page(dt.date(2027, 1, 2))
    assert later != first
    assert later.replace("2027-01-02", "2026-11-21").replace("2 January 2027", "21 November 2026") == first


EVIL = "<script>alert('x')</script>\"&\u202e"


def test_names_are_escaped_everywhere():
    random = np.random.default_rng(0)
    X = np.concatenate([random.normal(0, 1, (30, 3)), random.normal(9, 1, (30, 3))])
    y = np.array([EVIL] * 30 + ["b" * 10_000] * 30)
    model = StandIn(2, random_state=0).fit(X)
    extra = Table([EVIL], [[EVIL]], EVIL, EVIL, groups={0: EVIL})
    section = model_section(
        model, X, y=y, title=EVIL, lead=EVIL, tables=[extra], feature_names=[EVIL, "$", "c"]
    )
    html = render_page(EVIL, [section, Section(EVIL, facts=[Fact(EVIL, EVIL, EVIL)])], subtitle=EVIL)
    assert "<script" not in html
    assert not Elements(html).all("script")
    assert html.count("&lt;script&gt;") >= 12
    assert "b" * 200 not in html


@pytest.mark.parametrize("name", ["a\x00b", "c\ud800", "line\nbreak"])
def test_names_that_no_file_can_hold_are_shown(name, tmp_path):
    X = np.random.default_rng(0).normal(size=(40, 2))
    model, y = StandIn(2, random_state=0).fit(X), np.array([name, "b"] * 20)
    path = write_report(model, X, tmp_path / "r.html", y=y, feature_names=[name, "b"], title=name)
    assert "\N{REPLACEMENT CHARACTER}" in path.read_text("utf-8")


def test_control_characters_of_names_reach_no_part_of_a_page():
    name = "a\x1b[2J\x07\x9b\x00\ud800"
    X = np.concatenate([np.zeros((30, 3)), np.ones((30, 3))]) + np.arange(3) * np.arange(60)[:, None]
    model, y = StandIn(2, random_state=0).fit(X), np.array([name] * 30 + ["b"] * 30)
    model.history_ = [{"loss": 1.0, name: 0.5}, {"loss": 0.5, name: 0.2}]
    table = Table([name], [[name]], name, name, groups={0: name})
    section = model_section(
        model, X, y=y, title=name, lead=name, tables=[table], feature_names=[name, "b", "c"]
    )
    html = render_page(name, [section, Section(name, facts=[Fact(name, name, name)])], subtitle=name)
    assert not [sign for sign in html if printable(sign) != sign and sign not in "\n\t"]
    assert html.count("a\N{REPLACEMENT CHARACTER}[2J") > 8


def test_table_of_a_data_frame_without_labels():
    pandas = pytest.importorskip("pandas")
    X = pandas.DataFrame(np.random.default_rng(0).normal(size=(50, 3)), columns=["width", "height", "mass"])
    html = render_page("t", [model_section(StandIn(3, random_state=0).fit(X), X)])
    text = Elements(html).text
    assert "height" in text
    assert "purity" not in text
    assert "known class" not in text
    assert not Elements(html).all("img")


@pytest.mark.parametrize(
    ("k", "X"),
    [
        (1, np.random.default_rng(0).normal(size=(40, 4))),
        (2, np.random.default_rng(0).normal(size=(12, 1))),
        (2, np.ones((30, 5))),
        (2, np.random.default_rng(0).random((40, 6, 6, 3))),
        (2, np.random.default_rng(0).random((40, 3, 6, 6))),
        (3, np.random.default_rng(0).integers(0, 256, (40, 80, 80), dtype=np.uint8)),
    ],
)
def test_odd_models_and_data_are_reported(k, X, tmp_path):
    path = write_report(StandIn(k, random_state=0).fit(X), X, tmp_path / "r.html", y=np.arange(len(X)) % 2)
    elements = Elements(path.read_text("utf-8"))
    assert len(elements.all("article")) == k
    assert ("Items the model is least sure of" in elements.text) is (k > 1)


def test_unlabelled_rows_are_left_out_and_said():
    X = np.random.default_rng(0).normal(size=(60, 2))
    model, y = StandIn(2, random_state=0).fit(X), np.arange(60) % 2
    partly = np.where(np.arange(60) < 50, y, -1)
    facts = {fact.label: fact for fact in headline(apply(model, X, partly, None, None), None)}
    assert facts["purity"].note == "on 50 labelled items"
    assert facts["purity"].value == f"{metrics.purity(y[:50], model.predict(X[:50])):.3f}"
    unlabelled = headline(apply(model, X, np.full(60, -1), None, None), None)
    assert "purity" not in {fact.label for fact in unlabelled}


def test_history_with_gaps_and_models_without_one():
    X = np.random.default_rng(0).normal(size=(40, 2))
    model = StandIn(2, random_state=0).fit(X)
    model.history_ = [{"changed": float("nan")}, {"critic_loss": 0.5}, {"seconds": float("nan")}]
    text = Elements(render_page("t", [model_section(model, X)])).text
    assert "How it learned" in text
    assert "seconds to fit" not in text
    del model.history_, model.weights_, model.n_iter_, model.converged_
    text = Elements(render_page("t", [model_section(model, X)])).text
    assert "How it learned" not in text
    assert "EM iterations" not in text


def test_dead_components_are_named():
    X = np.random.default_rng(0).normal(size=(40, 2))
    model = StandIn(3, random_state=0).fit(X)
    model.dead_components_ = [1]
    facts = {fact.label: fact for fact in headline(apply(model, X, None, None, None), None)}
    assert facts["clusters"].note == "1 empty or dead: 1"


def test_only_the_first_forty_clusters_get_a_card():
    X = np.random.default_rng(0).normal(size=(300, 2))
    html = render_page("t", [model_section(StandIn(45, random_state=0).fit(X), X, max_map_points=50)])
    assert len(Elements(html).all("article")) == 40
    assert "The first 40 of 45 clusters." in Elements(html).text


def test_bad_input_is_named(digits, tmp_path):
    model, X, y = digits
    with pytest.raises(ValueError, match="299 labels, X has 300 rows"):
        model_section(model, X, y=y[1:])
    with pytest.raises(ValueError, match="no rows"):
        model_section(model, X[:0])
    with pytest.raises(ValueError, match="sections is empty"):
        write_page(tmp_path / "r.html", "t", [])
    with pytest.raises(ValueError, match="is a folder"):
        write_page(tmp_path, "t", [Section("a")])


def test_a_failed_write_leaves_the_older_page(tmp_path, monkeypatch):
    path = tmp_path / "r.html"
    path.write_text("older")

    def full(*_):
        raise OSError("disk full")

    with monkeypatch.context() as patched:
        patched.setattr("os.replace", full)
        with pytest.raises(OSError, match="disk full"):
            write_page(path, "t", [Section("a")])
    assert path.read_text() == "older"
    assert [one.name for one in tmp_path.iterdir()] == ["r.html"]
    write_page(path, "t", [Section("a")])
    assert path.read_text("utf-8").startswith("<!DOCTYPE html>")


def test_sections_of_one_page_are_linked():
    html = render_page("t", [Section("Same name"), Section("Same name"), Section("!!")])
    assert [attributes["href"] for attributes in Elements(html).all("a")] == [
        "#s1-same-name",
        "#s2-same-name",
        "#s3",
    ]
    assert not Elements(render_page("t", [Section("alone")])).all("nav")


def test_a_figure_of_the_users_own_keeps_matplotlib_as_it_was():
    from matplotlib.figure import Figure

    figure = Figure()
    figure.subplots().set_title("<b>")
    before, dpi, canvas = dict(matplotlib.rcParams), figure.dpi, figure.canvas
    html = render_page("t", [Section("a", blocks=[Charts([Chart(figure, "own")])])])
    assert "&lt;b&gt;" in html
    assert dict(matplotlib.rcParams) == before
    assert (figure.dpi, figure.canvas) == (dpi, canvas)


def test_threads_leave_matplotlib_as_it_was():
    from genmix.plots import cluster_sizes

    before, made = dict(matplotlib.rcParams), []
    threads = [
        threading.Thread(target=lambda: made.append(svg_markup(cluster_sizes([1, 2]), "f"))) for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 1
    assert len(made) == 6
    assert dict(matplotlib.rcParams) == before


def test_map_keeps_neighbours_together():
    random = np.random.default_rng(0)
    X = np.concatenate([random.normal(c, 1, (40, 6)) for c in (-20, 0, 20)])
    placed = embed_2d(X, max_points=90)
    assert len(placed.rows) == 90
    assert "t-SNE" in placed.method
    island = placed.rows // 40
    distance = np.linalg.norm(placed.points[:, None] - placed.points[None], axis=-1) + 1e9 * np.eye(90)
    assert (island[distance.argmin(1)] == island).all()
    np.testing.assert_array_equal(embed_2d(X, max_points=90).points, placed.points)


def test_map_without_opentsne(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    X = np.random.default_rng(0).normal(size=(60, 5))
    assert embed_2d(X).method == "t-SNE (scikit-learn)"


def test_nearest_rows_are_the_nearest():
    X = np.random.default_rng(0).normal(size=(50, 2, 2))
    np.testing.assert_array_equal(nearest_rows(X[[7, 3]] + 1e-4, X), [7, 3])
    assert nearest_rows(X[:1], X, max_rows=10).shape == (1,)
