"""Tests as their source shows them: which there are, which can never run, which assert something."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

#: Calls that fail where something is wrong, as `assert` does; the last: scikit-learn's checks of estimators.
_ASSERTING = re.compile(r"(^|\.)(assert_\w+|raises|warns|fail)$|^check$")


@cache
def functions_of(path: Path) -> dict[str, ast.FunctionDef]:
    """All test functions of a file by name; none of a file whose tests are all skipped."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "pytestmark":
            if _skips(ast.unparse(statement.value)):
                return {}
        if isinstance(statement, ast.Expr) and ast.unparse(statement).startswith("pytest.skip("):
            return {}
    return {
        node.name: node
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def never_runs(test: ast.FunctionDef) -> bool:
    """Whether a test is skipped whatever the surroundings: by its mark, or by its first statement."""
    body = test.body[1:] if ast.get_docstring(test) is not None else test.body
    first = ast.unparse(body[0]) if body else "pass"
    marked = any(_skips(ast.unparse(mark)) for mark in test.decorator_list)
    return marked or first.startswith(("pytest.skip(", "pytest.xfail(", "return"))


def _skips(mark: str) -> bool:
    return bool(re.search(r"mark\.(skip\b(?!if)|skipif\((True|1)\b|xfail\b.*run=False)", mark))


def asserts(test: ast.FunctionDef) -> bool:
    """Whether a test has an assertion, or a call that fails like one."""
    return any(
        isinstance(node, ast.Assert)
        or (isinstance(node, ast.Call) and _ASSERTING.search(ast.unparse(node.func)) is not None)
        for node in ast.walk(test)
    )
