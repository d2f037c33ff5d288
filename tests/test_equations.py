"""Each equation and each line of an algorithm that the source cites is named by a test that asserts."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from sources import asserts, functions_of, never_runs

HERE = Path(__file__).parent
SOURCE = HERE.parent / "src" / "genmix"
#: What all models share may cite either paper.
SHARED = ("training", "nn")
#: How a paper is cited, and the folder that is about it.
PAPERS = {
    "Yu & Zhou 2018": (r"\blines?", "ganmm"),
    "Pande & Awate 2020": (r"\b(?:eq\.|equations?)", "dnnmm"),
}


def numbers(text: str, word: str) -> set[int]:
    """Numbers cited in a text: ``eq. 3``, ``eq. 10-11``, ``eq. 14, 15 and 16``, ``lines 2 to 12``."""
    found: set[int] = set()
    for cited in re.findall(rf"{word} (\d+(?:(?:-|, | and | to )\d+)*)", text, re.I):
        for first, last in re.findall(r"(\d+)(?:(?:-| to )(\d+))?", cited):
            found |= set(range(int(first), int(last or first) + 1))
    return found


def named_by(test: ast.FunctionDef, word: str) -> set[int]:
    """Numbers that the name or the docstring of a test cites."""
    return numbers(f"{test.name.replace('_', ' ')}\n{ast.get_docstring(test) or ''}", word)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("eq. 3", {3}),
        ("Eq. 10-11; eq. 13", {10, 11, 13}),
        ("equations 14, 15 and 16", {14, 15, 16}),
        ("eq. 1 to 3", {1, 2, 3}),
        ("(eq. 8) of 2020", {8}),
    ],
)
def test_citations_are_read(text: str, found: set[int]) -> None:
    assert numbers(text, PAPERS["Pande & Awate 2020"][0]) == found


@pytest.mark.parametrize("paper", PAPERS)
def test_each_number_cited_is_named_by_a_test_that_asserts(paper: str) -> None:
    word, folder = PAPERS[paper]
    files = [file for name in (folder, *SHARED) for file in (SOURCE / name).rglob("*.py")]
    cited = set().union(*(numbers(file.read_text("utf-8"), word) for file in files))
    assert len(cited) >= 12
    modules = [path for path in HERE.rglob("test_*.py") if "genmix.baselines" not in path.read_text("utf-8")]
    tests = [test for path in modules for test in functions_of(path).values()]
    shown = set().union(*(named_by(test, word) for test in tests if asserts(test) and not never_runs(test)))
    assert cited - shown == set()
