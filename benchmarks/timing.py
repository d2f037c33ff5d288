"""Seconds of one default fit on a quiet machine: nothing else may run beside it.

    python benchmarks/timing.py [mnist-test/default] [--alpha 0.1] [--seed 1] [--threads 2]

DATA/METHOD is one of `quality.py`, or with --alpha one of `supervision.py`.

A line is appended to results/timing.jsonl.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import torch

import quality
import supervision


def main() -> None:
    """Fit once and write how long it took, with the load of the machine before and after."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("experiment", nargs="?", default="mnist-test/default")
    parser.add_argument("--alpha", type=float)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    before = os.getloadavg()[0]
    if options.alpha is None:
        record = quality.run(options.experiment, options.seed, options.threads)
    else:
        task, method = options.experiment.split("/")
        record = supervision.run(task, method, options.alpha, options.seed, options.threads)
    record["load"] = [round(before, 2), round(os.getloadavg()[0], 2)]
    with (Path(__file__).parents[1] / "results" / "timing.jsonl").open("a") as file:
        file.write(json.dumps(record) + "\n")
    print(json.dumps(record))


if __name__ == "__main__":
    main()
