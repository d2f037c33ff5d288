"""Each promise has tests that exist, can run and assert; if they show what is promised, readers judge."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from sources import asserts, functions_of, never_runs

ROOT = Path(__file__).parent.parent
PROMISES, TESTS = (
    (ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("promises.md", "promises-tests.md")
)
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", TESTS)


def test_tests_named_in_the_promises_exist_and_assert() -> None:
    assert len(NAMED) >= 50
    found = {(file, name): functions_of(ROOT / file).get(name) for file, name in NAMED}
    assert [name for name, test in found.items() if test is None] == []
    assert [name for name, test in found.items() if test is not None and not asserts(test)] == []


def test_tests_named_in_the_promises_are_collected_and_not_always_skipped() -> None:
    files = sorted({file for file, _ in NAMED})
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *files]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    collected = {
        tuple(line.split("[")[0].split("::")) for line in done.stdout.splitlines() if "[NOTSET" not in line
    }
    assert set(NAMED) - collected == set()
    assert [name for file, name in NAMED if never_runs(functions_of(ROOT / file)[name])] == []


def test_no_test_is_named_twice_in_the_promises() -> None:
    assert [name for name, times in Counter(NAMED).items() if times > 1] == []


def test_each_promise_names_a_test_for_each_of_its_points() -> None:
    promised = re.findall(r"^(\d+)\. \*\*(.+?)\*\*: ", PROMISES.split("## Not promised")[0], re.M)
    sections = re.split(r"^## ", TESTS, flags=re.M)[1:]
    assert [section.splitlines()[0] for section in sections] == [f"{n}. {title}" for n, title in promised]
    points = [point for section in sections for point in re.split(r"^- ", section, flags=re.M)[1:]]
    assert len(points) >= len(sections)
    assert [point for point in points if "::test_" not in point] == []
    assert [section for section in sections if "\n- " not in section] == []


@pytest.mark.parametrize(
    ("source", "runs", "says"),
    [
        ("def test_x():\n    assert f(1) == 2", True, True),
        ("def test_x():\n    with pytest.raises(ValueError):\n        f(1)", True, True),
        ("def test_x():\n    np.testing.assert_array_equal(f(1), 2)", True, True),
        ("def test_x(estimator, check):\n    check(estimator)", True, True),
        ("def test_x():\n    f(1)", True, False),
        ("@pytest.mark.slow\ndef test_x():\n    assert f(1)", True, True),
        ("@pytest.mark.skipif(not data(), reason='no data')\ndef test_x():\n    assert f(1)", True, True),
        ("@pytest.mark.skipif(True, reason='later')\ndef test_x():\n    assert f(1)", False, True),
        ("@pytest.mark.skip(reason='later')\ndef test_x():\n    assert f(1)", False, True),
        ("@pytest.mark.xfail(reason='later', run=False)\ndef test_x():\n    assert f(1)", False, True),
        ("def test_x():\n    '''Why.'''\n    pytest.skip('later')\n    assert f(1)", False, True),
    ],
)
def test_the_checks_of_tests_tell_them_apart(source: str, runs: bool, says: bool) -> None:
    test = ast.parse(source).body[0]
    assert isinstance(test, ast.FunctionDef)
    assert (not never_runs(test), asserts(test)) == (runs, says)
