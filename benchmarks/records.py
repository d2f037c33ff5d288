"""Records of runs: one JSON line a fit in results/runs; what is there is not run again."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import genmix

RUNS = Path(__file__).parents[1] / "results" / "runs"


def timed(fit: Callable[[], Any]) -> float:
    """Seconds that a fit takes, its warnings unheard."""
    begun = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit()
    return time.perf_counter() - begun


def made_with(threads: int) -> dict[str, Any]:
    """Say what software, and how many threads, made a record."""
    return {"threads": threads, "version": genmix.__version__, "torch": torch.__version__}


def run_missing(name: str, seed: int, run: Callable[[], dict[str, Any]]) -> None:
    """Make the record of one seed and append it, unless results/runs has it already."""
    path = RUNS / f"{name}.jsonl"
    done = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    if any(item["seed"] == seed for item in done):
        return
    record = json.dumps(run())
    RUNS.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(record + "\n")
    print(record, flush=True)
