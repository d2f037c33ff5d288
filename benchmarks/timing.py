"""Seconds of one fit on a quiet machine: nothing else may run beside it.

    python benchmarks/timing.py [mnist-test/ganmm] [--seed 1] [--threads 2]

The experiment is TASK/METHOD or TASK/METHOD@ALPHA, as for `genmix reproduce`. A line is appended to
results/timing.jsonl.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path

import torch

from genmix.experiments.running import Experiment, run_one
from genmix.experiments.runs import Runs


def main() -> None:
    """Fit once and write how long it took, with the load of the machine before and after."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("experiment", nargs="?", default="mnist-test/ganmm", type=Experiment.parse)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as apart:
        record = run_one(options.experiment, options.seed, "cpu", Runs(Path(apart)))
    record["load"] = [round(before, 2), round(os.getloadavg()[0], 2)]
    with (Path(__file__).parents[1] / "results" / "timing.jsonl").open("a") as file:
        file.write(json.dumps(record) + "\n")
    print(json.dumps(record))


if __name__ == "__main__":
    main()
