"""Each equation and each line of an algorithm that the source cites has a test that names it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent
#: How a paper is cited, and the modules that do so.
PAPERS = {
    "Yu & Zhou 2018": (r"\blines?", ("components", "em", "estep", "ganmm", "starts")),
    "Pande & Awate 2020": (r"\b(?:eq\.|equations?)", ("dnnmm", "gan", "latent", "minmax")),
}


def numbers(text: str, word: str) -> set[int]:
    """Numbers cited in a text: ``eq. 3``, ``eq. 10-11``, ``eq. 14, 15 and 16``, ``lines 2 to 12``."""
    found: set[int] = set()
    for cited in re.findall(rf"{word} (\d+(?:(?:-|, | and | to )\d+)*)", text, re.I):
        for first, last in re.findall(r"(\d+)(?:(?:-| to )(\d+))?", cited):
            found |= set(range(int(first), int(last or first) + 1))
    return found


def names_and_docstrings(module: str) -> str:
    """Names and docstrings of a module's tests, in words."""
    tree = ast.parse((HERE / f"test_{module}.py").read_text(encoding="utf-8"))
    tests = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name[:5] == "test_"]
    return "\n".join(f"{node.name.replace('_', ' ')}\n{ast.get_docstring(node) or ''}" for node in tests)


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
def test_what_is_cited_is_tested(paper: str) -> None:
    word, modules = PAPERS[paper]
    source = HERE.parent / "src" / "genmix"
    cited = set().union(*(numbers((source / f"{m}.py").read_text("utf-8"), word) for m in modules))
    assert len(cited) >= 12
    assert cited <= set().union(*(numbers(names_and_docstrings(m), word) for m in modules))
