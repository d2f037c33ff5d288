"""What README says is run, not believed."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
import warnings
from itertools import chain
from pathlib import Path

import pytest

import genmix
from genmix.cli.verbs import app

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]


def blocks(language, page=ROOT / "README.md"):
    """All code blocks of one language, in their order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.M | re.S)


def commands(pages=PAGES):
    """The lines of the shell blocks that call genmix, without their remarks."""
    return [
        shlex.split(line, comments=True)
        for page in pages
        for block in blocks("sh", page)
        for line in block.splitlines()
        if line.startswith("genmix")
    ]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("start", ["kmeans", pytest.param(None, marks=pytest.mark.slow)])
def test_the_python_blocks_run(start, tmp_path, monkeypatch):
    """As they stand, which takes half a minute, and with a quick start in place of the default one."""
    monkeypatch.chdir(tmp_path)
    for model in (genmix.GANMixture, genmix.DNNMixture) if start else ():
        defaults = model.__init__.__kwdefaults__
        monkeypatch.setitem(defaults, "init" if "init" in defaults else "start", start)
    found = blocks("python")
    assert found
    names: dict[str, object] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # two iterations are too few to converge, as the text says
        for block in found:
            exec(compile(block, "README.md", "exec"), names)  # noqa: S102 - our own README
    assert names["images"].shape == (5, 8, 8)
    assert (names["same"].predict_proba(names["data"].X) == names["memberships"]).all()
    assert (names["same"].predict(names["data"].X) == names["model"].labels_).all()


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_the_commands_are_understood(command):
    function, bound, _ = app.parse_args(command[1:], exit_on_error=False, print_error=False)
    assert function.__name__ == command[1]
    assert bound is not None


def test_every_verb_is_shown():
    verbs = {name for name in app if not name.startswith("-")}
    assert {"fit", "predict", "sample", "evaluate", "report", "datasets", "demo"} <= verbs
    assert {command[1] for command in commands([ROOT / "README.md"])} == verbs


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"\bmake ([a-z-]+)", README):
        assert re.search(rf"^{target}:", makefile, re.M), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_files_lead_somewhere(page):
    text = re.sub(r"`[^`\n]*`", "", page.read_text(encoding="utf-8"))
    for link in re.findall(r"\]\((?!https?:|#)([^)#]+)[^)]*\)", text):
        assert (page.parent / link).exists(), link


def anchors(page):
    """What GitHub calls the headings of a page: lower case, words and hyphens only."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_headings_lead_to_one(page):
    text = re.sub(r"`[^`\n]*`", "", page.read_text(encoding="utf-8"))
    for link, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#([^)]+)\)", text):
        assert anchor in anchors(page.parent / link if link else page), f"{link}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_rows_of_a_table_have_as_many_cells_as_its_head(page):
    text = page.read_text(encoding="utf-8").replace("\\|", "")
    for table in re.findall(r"(?:^\|.*\|\n)+", text, re.M):
        head, rule, *rows = table.splitlines()
        assert re.fullmatch(r"\|(?: *:?-+:? *\|)+", rule), rule
        assert {line.count("|") for line in (head, rule, *rows)} == {head.count("|")}, head


def test_extras_that_are_named_exist():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = re.findall(r"genmix\[(\w+)\]", README)
    assert extras
    assert set(extras) <= set(project["optional-dependencies"])


def test_constraints_pin_all_that_is_required():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {line.split("==")[0].lower() for line in lines if "==" in line}
    required = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    assert {re.match(r"[\w-]+", name).group().lower() for name in required} <= pinned


def test_the_lowest_versions_are_those_that_are_run():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = (ROOT / "constraints-lowest.txt").read_text(encoding="utf-8").splitlines()
    run = dict(line.split("==") for line in lines if "==" in line)
    for name, lowest in (re.match(r"([\w-]+)>=([\d.]+)", need).groups() for need in project["dependencies"]):
        assert re.fullmatch(rf"{re.escape(lowest)}(\.0)*", run[name]), name


def test_module_and_program_are_the_same():
    done = subprocess.run(
        [sys.executable, "-m", "genmix.cli", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == sys.modules["genmix"].__version__
