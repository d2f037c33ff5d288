"""Write results/README.md: every table of measured quality, from the records in results/runs.

python benchmarks/tables.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parents[1] / "results"
#: The paper's rows (Yu & Zhou 2018, Tables 1, 4 and 5): purity, ARI, NMI.
PAPER = {
    "mnist-test": {
        "GANMM, Table 1 (60,000 images)": (0.6430, 0.4924, 0.6159),
        "GMM, Table 1 (60,000 images)": (0.3261, 0.0991, 0.1414),
    },
    "image-segmentation": {
        "GANMM, Table 4": (0.7241, 0.5523, 0.6428),
        "GMM, Table 4": (0.4532, 0.2214, 0.4124),
        "GANMM(EM), Table 4": (0.5791, 0.4101, 0.5386),
    },
    "artificial-characters-ganmm": {
        "GANMM, Table 5": (0.2568, 0.0887, 0.2027),
        "GMM, Table 5": (0.2184, 0.0452, 0.1206),
        "GANMM(EM), Table 5": (0.2495, 0.0645, 0.1309),
    },
    "digits": {},
}
TITLES = {
    "mnist-test": "MNIST, raw pixels, the 10,000 test images, 10 components",
    "image-segmentation": "Image Segmentation, 2,310 x 19, GANMM's scaling, 7 components",
    "artificial-characters-ganmm": "Artificial Characters, GANMM's version, 30,654 x 6, 10 components",
    "digits": "scikit-learn's digits, 1,797 images of 8 x 8, 10 components",
}
NOTES = {
    "default": "`GANMixture(K)`",
    "control-without-gan": "control: the same start and classifier, no GAN",
    "default-without-real-items": "default, but the E-step learns from generated items only",
    "gan-only": "GAN only: random start, nothing learned from real items",
    "start-random": "`start='random'`",
    "start-kmeans": "`start='kmeans'`",
    "start-without-partitions": "start without classical partitions",
    "no-neighbors": "noise, but no neighbours, as views",
    "scaling-standard": "`scaling='standard'`",
    "epsilon-0": "`epsilon=0`",
    "wgan": "`m_step='wgan'`",
    "ganmm-2018-code": "`preset('ganmm-2018-code')`, 10,000 iterations",
    "ganmm-2018-paper": "`preset('ganmm-2018-paper')`, 1,000 iterations",
    "gmm-by-bic": "Gaussian mixture, covariance by BIC, 50 principal components",
    "sae-gmm": "Gaussian mixture of a stacked autoencoder's codes",
    "dec": "DEC",
    "dec-without-autoencoder": "DEC without an autoencoder",
    "dcn": "DCN",
    "vade": "VaDE",
    "dynae": "DynAE",
    "clustergan": "ClusterGAN",
    "ganmm-em-raw": "GANMM(EM), raw critics, 2,000 iterations",
    "ganmm-em-centred": "GANMM(EM), centred critics, 2,000 iterations",
}


def plain_name(method: str) -> str:
    """Name a classical model's row."""
    if method == "kmeans":
        return "k-means, best of 10 starts"
    kind = method.removeprefix("gmm-").removesuffix("-one-start")
    starts = (
        "scikit-learn's defaults" if method.endswith("-one-start") else "best of 10 starts, reg_covar 1e-3"
    )
    return f"GMM, {kind} covariance, {starts}"


def row(name: str, runs: list[dict[str, Any]]) -> str:
    """Mean and sd over seeds."""
    cells: list[str] = []
    for key in ("purity", "ari", "nmi", "accuracy"):
        values = [run[key] for run in runs]
        cells.append(f"{np.mean(values):.3f} ± {np.std(values):.3f}")
    seconds = [run["seconds"] for run in runs]
    threads = sorted({run["threads"] for run in runs})
    time = f"{np.mean(seconds):.0f} ({'/'.join(map(str, threads))})"
    return f"| {name} | {' | '.join(cells)} | {len(runs)} | {time} |"


def table(data: str, runs: dict[str, list[dict[str, Any]]]) -> list[str]:
    """One data set's table."""
    lines = [
        f"## {TITLES[data]}",
        "",
        "| method | purity | ARI | NMI | accuracy | seeds | seconds (threads) |",
    ]
    lines.append("|---|---|---|---|---|---|---|")
    known = [method for method in NOTES if method in runs]
    for method in [*known, *sorted(set(runs) - set(known))]:
        lines.append(row(NOTES.get(method) or plain_name(method), runs[method]))
    for name, (purity, ari, nmi) in PAPER[data].items():
        lines.append(f"| *paper: {name}* | {purity:.3f} | {ari:.3f} | {nmi:.3f} | | 10 | |")
    judged = {
        m: [r["sample_consistency"] for r in runs[m]] for m in runs if "sample_consistency" in runs[m][0]
    }
    for method, shares in judged.items():
        mean, least = np.mean(shares), np.min(shares)
        lines += [
            "",
            f"Samples, {NOTES[method]}: 500 of each component; judged by a classifier of all MNIST, "
            f"{mean:.3f} are the digit most frequent in their component (least: {least:.3f}).",
        ]
    return [*lines, ""]


SUPERVISED = {
    "mnist-0-4": "MNIST digits 0-4, 1,000 images each",
    "mnist-0-6": "MNIST digits 0-6, 1,000 images each",
    "mnist-0-9": "MNIST, all digits, 1,000 images each",
    "mnist-imbalanced": "MNIST digits 0, 1, 2: 1,000, 300 and 100 images",
    "cifar10-3-red-noise": "CIFAR-10, first three classes, noise on the red channel",
}
SUPERVISED_NOTES = {
    "default": "`DNNMixture(K)`",
    "clusters-only": "`DNNMixture(K, generate=False)`",
    "labels-only": "the same encoder as a classifier of the labels, same augmentation",
    "label-spreading": "label spreading over ten nearest neighbours",
    "self-training": "self-training of a kernel classifier",
    "fixmatch": "FixMatch with the same encoder",
    "clustergan-ss": "ClusterGAN with labels",
    "dynae-ss": "DynAE with labels",
    "balance-1.2": "start with balance 1.2 instead of 2",
    "balance-1": "start with balance 1",
    "balance-0.7": "start with balance 0.7",
    "start-kmeans": "start from k-means",
    "start-gmm-full": "start from a Gaussian mixture",
    "start-spectral": "start from spectral clustering",
    "over-clustered": "three times as many components, merged",
    "dnnmm-2020": "`preset('dnnmm-2020')`",
    "dnnmm-2020-kmeans": "its stages: semi-supervised k-means",
    "dnnmm-2020-encoder": "its stages: encoder pretraining",
    "dnnmm-2020-em": "its stages: EM without generator",
}


def supervised_table(data: str, runs: dict[str, list[dict[str, Any]]]) -> list[str]:
    """One task's table: a row for each method and level of supervision."""
    lines = [
        f"### {SUPERVISED[data]}",
        "",
        "| method | labels | accuracy | ARI | NMI | samples | seeds | seconds (threads) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for method in SUPERVISED_NOTES:
        for alpha in sorted({run["alpha"] for run in runs.get(method, [])}):
            found = [run for run in runs[method] if run["alpha"] == alpha]
            cells = [
                f"{np.mean([run[key] for run in found]):.4f} ± {np.std([run[key] for run in found]):.4f}"
                for key in ("accuracy", "ari", "nmi")
            ]
            shares = [share for run in found for share in run.get("sample_consistency", [])]
            judged = f"{np.mean(shares):.3f} (least {np.min(shares):.3f})" if shares else ""
            seconds = np.mean([run["seconds"] for run in found])
            threads = "/".join(map(str, sorted({run["threads"] for run in found})))
            lines.append(
                f"| {SUPERVISED_NOTES[method]} | {alpha:.0%} | {' | '.join(cells)} | {judged} | {len(found)} "
                f"| {seconds:.0f} ({threads}) |"
            )
    return [*lines, ""]


def main() -> None:
    """Read all records and write the page."""
    runs: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for path in sorted((RESULTS / "runs").glob("*.jsonl")):
        for line in path.read_text().splitlines():
            record = json.loads(line)
            runs.setdefault(record["data"], {}).setdefault(record["method"], []).append(record)
    lines = [
        "# Measured",
        "",
        "Made by `python benchmarks/tables.py` from the records in `runs/`, one JSON line a fit, made by",
        "`python benchmarks/quality.py DATA/METHOD --threads N` (in the file `DATA--METHOD.jsonl`). Mean and",
        "sd over seeds 0, 1, ...; last iterate; labels are used for scoring only. Two cores of an Intel",
        "Xeon, one fit on each and other work beside them at times: the seconds are upper bounds.",
        "",
    ]
    for data in TITLES:
        if data in runs:
            lines += table(data, runs[data])
    tasks = [data for data in SUPERVISED if data in runs]
    if tasks:
        lines += [
            "## DNN-MM, labels for a part of the images",
            "",
            "Scores of the images without labels; `python benchmarks/supervision.py DATA/METHOD --alpha A`.",
            "Samples: share of 500 of each component that a classifier of all MNIST takes for its digit.",
            "",
        ]
        for data in tasks:
            lines += supervised_table(data, runs[data])
    speed = RESULTS / "speed.json"
    if speed.exists():
        lines += [
            "## Speed",
            "",
            "A generator step and five critic steps of every GAN; milliseconds; `benchmarks/speed.py`.",
            "",
            "| networks | K | threads | Python loop | batched | ratio |",
            "|---|---|---|---|---|---|",
        ]
        for r in json.loads(speed.read_text()):
            cells = (
                r["what"],
                r["components"],
                r["threads"],
                r["loop_ms"],
                r["batched_ms"],
                f"{r['ratio']:.1f}",
            )
            lines.append("| " + " | ".join(map(str, cells)) + " |")
        lines.append("")
    (RESULTS / "README.md").write_text("\n".join(lines))


if __name__ == "__main__":
    main()
