"""The source archive: whoever has only this can run the tests, and an index can show its page."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
from email.parser import Parser
from pathlib import Path

import pytest
from hatchling.builders.sdist import SdistBuilder

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the archive as `python -m build --sdist` does, and unpack it."""
    folder = tmp_path_factory.mktemp("sdist")
    [archive] = SdistBuilder(str(ROOT)).build(directory=str(folder), versions=["standard"])
    with tarfile.open(archive) as file:
        file.extractall(folder, filter="data")
    return next(path for path in folder.iterdir() if path.is_dir())


@pytest.mark.parametrize("folder", ["src", "tests", "docs", "benchmarks"])
def test_nothing_is_left_out(folder: str, unpacked: Path) -> None:
    def files(root: Path) -> set[Path]:
        found = {path.relative_to(root) for path in (root / folder).rglob("*") if path.is_file()}
        return {path for path in found if not {"__pycache__", ".hypothesis"} & set(path.parts)}

    assert files(ROOT) == files(unpacked)


def test_tests_that_read_the_repository_pass_there(unpacked: Path) -> None:
    """A test that reads more than src and tests begins at ROOT."""
    readers = [
        path.name
        for path in sorted((ROOT / "tests").glob("test_*.py"))
        if path.name != Path(__file__).name and re.search(r"^ROOT = ", path.read_text(encoding="utf-8"), re.M)
    ]
    assert {"test_promises.py", "test_readme.py"} <= set(readers)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "not python_blocks_run"]
        + [f"tests/{name}" for name in readers],
        cwd=unpacked,
        env={**os.environ, "PYTHONPATH": str(unpacked / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_the_page_of_an_index_has_no_link_that_leads_nowhere(unpacked: Path) -> None:
    page = Parser().parsestr((unpacked / "PKG-INFO").read_text(encoding="utf-8")).get_payload()
    assert "## From Python" in page
    links = re.findall(r"\]\(([^)]+)\)", page)
    assert links and all(link.startswith("https://") for link in links)
