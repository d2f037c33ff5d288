"""Each promise of docs/promises.md names tests that exist; what they say is theirs to keep."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "promises.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`(tests/\w+\.py)::(\w+)`", PAGE)


def test_tests_that_are_named_exist_once() -> None:
    assert len(NAMED) >= 50
    for file in {file for file, _ in NAMED}:
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        tests = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        missing = {name for other, name in NAMED if other == file} - tests
        assert not missing, f"{file} has no {', '.join(sorted(missing))}"


def test_no_test_is_named_twice() -> None:
    assert [name for name, times in Counter(NAMED).items() if times > 1] == []


def test_each_promise_has_a_test() -> None:
    promised = PAGE.split("## Not promised")[0]
    points = re.split(r"^- ", promised, flags=re.M)[1:]
    assert [point for point in points if "::test_" not in point] == []
