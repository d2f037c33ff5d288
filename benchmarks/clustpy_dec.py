"""DEC of ClustPy 0.0.3 with its own defaults beside ours: the same images, both at once, one thread each.

    python -m venv clustpy && clustpy/bin/pip install clustpy==0.0.3
    python benchmarks/clustpy_dec.py clustpy/bin/python [--seeds 1]

Both processes share the machine in the same way, so their ratio is fair even if something else runs too.
Lines are appended to results/clustpy.jsonl.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from genmix import datasets, metrics
from genmix.experiments.running import Experiment, run_one
from genmix.experiments.runs import Runs
from genmix.experiments.tasks import Compute

THEIRS = """
import sys, time
from unittest.mock import MagicMock
import numpy as np
for name in ("", ".models", ".models._api", ".models.resnet", ".transforms"):
    sys.modules["torchvision" + name] = MagicMock()  # ClustPy imports it; its DEC does not use it
from clustpy.deep import DEC
X, seed = np.load(sys.argv[1]), int(sys.argv[2])
begun = time.perf_counter()
model = DEC(n_clusters=10, random_state=seed).fit(X)
np.savez(sys.argv[3], labels=model.labels_, seconds=time.perf_counter() - begun)
"""


def main() -> None:
    """Fit both, seed by seed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("python", help="interpreter of an environment that has ClustPy 0.0.3")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--precision", default="auto")
    options = parser.parse_args()
    data = datasets.load("mnist", split="test")
    out = Path(__file__).parents[1] / "results" / "clustpy.jsonl"
    for seed in range(options.seeds):
        with tempfile.TemporaryDirectory() as folder:
            items, found = Path(folder) / "items.npy", Path(folder) / "found.npz"
            np.save(items, np.asarray(data.X).reshape(len(data.X), -1).astype(np.float32) / 255)
            begun = time.perf_counter()
            command = [options.python, "-c", THEIRS, str(items), str(seed), str(found)]
            theirs = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})  # noqa: S603
            compute = Compute(precision=options.precision)
            ours = run_one(Experiment("mnist-test", "dec"), seed, "cpu", Runs(Path(folder)), compute)
            if theirs.wait():
                sys.exit("ClustPy failed")
            with np.load(found) as kept:
                scores = metrics.scores(data.y, kept["labels"])
                record = {
                    "what": "DEC, MNIST, the 10,000 test images, one thread each, at the same time",
                    "seed": seed,
                    "clustpy": {"seconds": round(float(kept["seconds"]), 1)}
                    | {name: round(value, 4) for name, value in scores.items()},
                    "genmix": {name: ours[name] for name in ("seconds", "precision", *scores)},
                    "both": round(time.perf_counter() - begun, 1),
                }
        with out.open("a") as file:
            file.write(json.dumps(record) + "\n")
        print(json.dumps(record))


if __name__ == "__main__":
    main()
