"""Finished runs as tables: rows of numbers, Markdown, and what is not as good as hoped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from genmix.experiments import paper
from genmix.experiments.catalogue import ITEMS, PAPERS, PICTURED, Item
from genmix.experiments.methods import METHODS
from genmix.experiments.runs import Record, Runs
from genmix.experiments.tasks import TASKS, Size

SCORES = ("purity", "accuracy", "ari", "nmi")
NAMES = {"purity": "purity", "accuracy": "accuracy", "ari": "ARI", "nmi": "NMI"}
#: Heading of the cells in which our default is not the highest.
NOT_HIGHER = "Where our default is not higher"
_DETAILS = """# Reproduction: the details

Written with [{overview}]({overview}) from the records in `results/runs`, one JSON line a run, made by
`genmix reproduce ITEM`. Mean and sample standard deviation over seeds 0, 1, ... (the bars of figures, cut at
1, the highest score); last iterate. Labels are used for scoring only, or as the share said: then what had no
label is scored. The papers' numbers stand beside ours for their tables; their figures print none. Each record
names the processor and the precision of its networks (an Intel Xeon and float32 where it names none). The
committed ones were made on two cores, with other work beside: their seconds are upper bounds.
"""


def scores_of(item: Item) -> tuple[str, ...]:
    """Scores that the item's paper gives."""
    if item.source == "genmix":
        return SCORES
    return ("purity", "ari", "nmi") if item.source.startswith("GANMM") else ("accuracy", "ari", "nmi")


def records_of(item: Item, runs: Runs, size: Size) -> dict[tuple[str, float, str], list[Record]]:
    """Finished runs by task, share of labels and method."""
    found = {}
    for experiment in item.experiments(size):
        records = runs.read(experiment.name, experiment.settings(size))
        found[item.task_shown(experiment, size), experiment.alpha, experiment.method] = records
    return found


def rows_of(item: Item, runs: Runs, size: Size) -> list[dict[str, Any]]:
    """One row for each task, share of labels and method: mean and sample sd of every score, and the paper's.

    Returns
    -------
    list of dict
        task, alpha, method, title, role, then for each score its name, ``_sd`` and ``_paper``; seeds,
        seconds, threads, device, precision. Scores are missing where no run has ended.
    """
    roles = {row.method: row for row in item.rows}
    table = []
    for (task, alpha, method), records in records_of(item, runs, size).items():
        row: dict[str, Any] = {
            "task": task, "alpha": alpha, "method": method, "title": METHODS[method].title,
            "role": roles[method].role,
        }  # fmt: skip
        printed = item.printed.get(roles[method].printed, {}) if task == item.tasks_at(size)[0] else {}
        for score in SCORES:
            values = [record[score] for record in records]
            if values:
                deviation = float(np.std(values, ddof=len(values) > 1))
                row |= {score: float(np.mean(values)), f"{score}_sd": deviation}
            if score in printed:
                row |= {f"{score}_paper": printed[score][0], f"{score}_paper_spread": printed[score][1]}
        row["seeds"] = len(records)
        if records:
            row["seconds"] = float(np.mean([record["seconds"] for record in records]))
            for name in ("threads", "device", "precision"):
                row[name] = "/".join(sorted({str(record.get(name, "float32")) for record in records}))
            judged = [share for record in records for share in record.get("sample_consistency", ())]
            if judged:
                row |= {"samples": float(np.mean(judged)), "samples_least": float(np.min(judged))}
        table.append(row)
    return table


def markdown(item: Item, runs: Runs, size: Size) -> str:
    """Tables of an item, one for each task and share of labels."""
    if item.kind == "clusters":
        return clusters_markdown(item, runs, size)
    rows, lines = rows_of(item, runs, size), []
    for task in item.tasks_at(size):
        if len(item.tasks) > 1:
            lines += [f"**{TASKS[task].title}**", ""]
        lines += [*_score_lines(item, [row for row in rows if row["task"] == task]), ""]
    return "\n".join(lines).rstrip() + "\n"


def _score_lines(item: Item, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    scores, by_labels = scores_of(item), len(item.alphas) > 1 or item.alphas[0] > 0
    printed = any(f"{score}_paper" in row for row in rows for score in scores)
    heads = ["method", *(["labels"] if by_labels else [])]
    for score in scores:
        heads += [NAMES[score], *(["paper"] if printed else [])]
    samples = any("samples" in row for row in rows)
    heads += [*(["samples"] if samples else []), "seeds", "seconds (threads)"]
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for row in rows:
        if not row["seeds"] and not any(f"{score}_paper" in row for score in scores):
            continue
        cells = [row["title"], *([f"{row['alpha']:.0%}"] if by_labels else [])]
        for score in scores:
            cells.append(_mean_and_sd(row, score))
            if printed:
                cells.append(f"{row[f'{score}_paper']:.4f}" if f"{score}_paper" in row else "")
        if samples:
            cells.append(
                f"{row['samples']:.3f} (least {row['samples_least']:.3f})" if "samples" in row else ""
            )
        cells += [str(row["seeds"]), f"{row['seconds']:.0f} ({row['threads']})" if row["seeds"] else ""]
        lines.append(f"| {' | '.join(cells)} |")
    left = list(dict.fromkeys(row["title"] for row in rows if not row["seeds"]))
    if len(lines) == 2:
        lines = []
    return [
        *lines,
        *(["", f"Not run yet, wholly or for some shares of labels: {'; '.join(left)}."] if left else []),
    ]


def _mean_and_sd(row: Mapping[str, Any], score: str) -> str:
    if score not in row:
        return "not run"
    return f"{row[score]:.4f}" + (f" ± {row[f'{score}_sd']:.4f}" if row["seeds"] > 1 else "")


def clusters(confusion: Sequence[Sequence[int]]) -> list[tuple[int | None, int, float]]:
    """Majority class, size and purity of each cluster of a table ``[classes, clusters]``."""
    table = np.asarray(confusion)
    sizes, most = table.sum(0), table.argmax(0)
    return [
        (int(most[k]), int(n), float(table[:, k].max() / n)) if n else (None, 0, 0.0)
        for k, n in enumerate(sizes)
    ]


def clusters_markdown(item: Item, runs: Runs, size: Size) -> str:
    """Clusters of one run of each method beside the paper's."""
    lines: list[str] = []
    found = records_of(item, runs, size)
    for row in item.rows:
        [records] = [r for (_, _, method), r in found.items() if method == row.method]
        whole = [record for record in records if "confusion" in record]
        printed = paper.CLUSTERS.get(row.printed, [])
        ours = clusters(whole[0]["confusion"]) if whole else []
        lines += [f"**{METHODS[row.method].title}**", ""]
        if not ours:
            lines += ["Not run yet.", ""]
        if not ours and not printed:
            continue
        lines += ["| | " + " | ".join(str(k + 1) for k in range(max(len(printed), len(ours)))) + " |"]
        lines += ["|" + "---|" * (max(len(printed), len(ours)) + 1)]
        for who, table in (("here", ours), ("paper", printed)):
            if table:
                kinds = (
                    ("label", ["-" if label is None else str(label) for label, _, _ in table]),
                    ("size", [f"{n:,}" for _, n, _ in table]),
                    ("purity", [f"{purity:.3f}" for _, _, purity in table]),
                )
                lines += [f"| {who}: {name} | {' | '.join(cells)} |" for name, cells in kinds]
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def not_higher(item: Item, runs: Runs, size: Size) -> list[str]:
    """Cells where our default's mean is not higher than a rival's, or below the paper's own."""
    if item.kind not in ("scores", "curves") or item.source == "genmix":
        return []
    rows, found = rows_of(item, runs, size), []
    for row in rows:
        if row["role"] == "ours":
            for other in rows:
                same = other["task"] == row["task"] and other["alpha"] in (row["alpha"], 0.0)
                if same and other is not row:
                    found += _behind(item, row, other)
    return found


def _behind(item: Item, ours: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    where = f"{item.source}, {ours['task']}" + (f", {ours['alpha']:.0%} labels" if ours["alpha"] else "")
    found = []
    for score in scores_of(item):
        if score in ours and score in other and ours[score] <= other[score]:
            found.append(
                f"{where}, {NAMES[score]}: {ours[score]:.4f}, and {other[score]:.4f} for {other['title']}"
            )
        key = f"{score}_paper"
        if score in ours and key in other and ours[score] < other[key]:
            found.append(
                f"{where}, {NAMES[score]}: {ours[score]:.4f}, and the paper's {other[key]:.4f} "
                f"for {other['title']}"
            )
    return found


def details(runs: Runs, size: Size, *, overview: str, figures: str) -> str:
    """All that was run, as a page of Markdown.

    Parameters
    ----------
    runs : Runs
        What is finished.
    size : {"smoke", "cpu", "full"}
        Of which runs.
    overview : str
        File name of the page of which this has the details.
    figures : str
        Where the pictures are, seen from the page.
    """
    behind = [line for item in PAPERS for line in not_higher(item, runs, size)]
    lines = [_DETAILS.format(overview=overview), f"## {NOT_HIGHER}", ""]
    lines += [*([f"- {line}" for line in behind] or ["Nowhere among the runs that are finished."]), ""]
    for item in ITEMS.values():
        lines += [f"## {item.heading}", "", f"`genmix reproduce {item.name}`", ""]
        smaller = _smaller(item, size)
        if smaller:
            lines += [f"Smaller than published: {'; '.join(smaller)}.", ""]
        picture = f"{item.name}.png"
        if item.kind in PICTURED and (runs.folder / "figures" / picture).exists():
            lines += [f"![{item.title}]({figures}/{picture})", ""]
        lines += [markdown(item, runs, size).strip(), ""]
        lines += [item.discussion, ""] if item.discussion else []
    return "\n".join(lines).rstrip() + "\n"


def _smaller(item: Item, size: Size) -> list[str]:
    """List what is smaller or shorter than in the paper, of the data and of each method."""
    found = [item.reduced] if item.reduced and not (size == "full" and item.full) else []
    methods: dict[str, list[str]] = {}
    for row in item.rows if size != "full" else ():
        methods.setdefault(METHODS[row.method].reduced, []).append(METHODS[row.method].title)
    return found + [f"{', '.join(titles)}: {what}" for what, titles in methods.items() if what]


__all__ = [
    "NOT_HIGHER",
    "clusters",
    "clusters_markdown",
    "details",
    "markdown",
    "not_higher",
    "records_of",
    "rows_of",
    "scores_of",
]
