"""Both papers on one screen: their numbers beside the preset's, our default's and the best rival's."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from genmix.experiments import paper
from genmix.experiments.catalogue import DNNMM_ITEMS, GANMM_ITEMS, PAPERS, Item, Row
from genmix.experiments.methods import METHODS
from genmix.experiments.runs import Record, Runs
from genmix.experiments.tables import (
    NAMES,
    NOT_HIGHER,
    not_higher,
    records_of,
    rows_of,
    scores_of,
)
from genmix.experiments.tasks import TASKS, Size

#: Numbers of one cell; none where nothing has been run or printed.
Numbers = tuple[float, ...]
#: Finished runs by task, share of labels and method.
Records = dict[tuple[str, float, str], list[Record]]
_HEADS = ("", "the paper", "its preset", "our default", "best rival", "the paper's number is")


@dataclass(frozen=True)
class _Part:
    """What a line shows of an item: all scores at one point, or the first score from one to another."""

    what: str
    points: tuple[tuple[str, float], ...]
    scores: tuple[str, ...]


def overview(runs: Runs, size: Size, *, details: str, done: int, total: int) -> str:
    """Both papers' tables and figures, a line each, as a page of Markdown.

    Parameters
    ----------
    runs : Runs
        What is finished.
    size : {"smoke", "cpu", "full"}
        Of which runs.
    details : str
        File name of the page that has the details.
    done, total : int
        Runs that are finished, and that the items ask for.
    """
    behind = sum(len(not_higher(item, runs, size)) for item in PAPERS)
    return f"""# Reproduction

Means over the seeds, of the last iterate; {done:,} of the {total:,} runs that the papers' items ask for are
finished. A number of the paper is *reached* by a mean that is at least as high. **Bold**: at least as high as
our default. †: data or training smaller than published. The best rival, of the paper's and of those we added,
has the highest mean of its cell. [The details]({details}), behind each name, have all
methods, data and deviations, what is smaller, and why, as we think.

## GANMM (Yu & Zhou 2018)

Purity / ARI / NMI; of Table 2 and the figures the purity, of Figures 3-5 from a tenth of the data to all.

{_table(GANMM_ITEMS, runs, size, details)}

{_asides(GANMM_ITEMS, runs, size)}## DNN-MM (Pande & Awate 2020)

Accuracy of what had no label, from the smallest to the largest share of labels.

{_table(DNNMM_ITEMS, runs, size, details)}

Over all scores and shares of labels our default is not the highest in {behind} cells:
[all of them]({details}#{anchor(NOT_HIGHER)}).

Written by `genmix reproduce --page docs/reproduction.md` from the records in `results/runs`.
"""


def anchor(heading: str) -> str:
    """Name that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _table(items: Sequence[Item], runs: Runs, size: Size, details: str) -> str:
    lines = [f"| {' | '.join(_HEADS)} |", "|" + "---|" * len(_HEADS)]
    for item in items:
        where, records = item.source.split(", ")[1], records_of(item, runs, size)
        for part in _parts(item, size):
            smaller = "†" if item.reduced and not (size == "full" and item.full) else ""
            name = f"[{where}]({details}#{anchor(item.heading)}){smaller}: {part.what}"
            lines.append(f"| {' | '.join([name, *_cells(item, part, records, size)])} |")
    return "\n".join(lines)


def _parts(item: Item, size: Size) -> list[_Part]:
    """Lines of an item: one, or one for each data set where labels are given."""
    tasks, scores = item.tasks_at(size), scores_of(item)
    alphas = (item.alphas[0],) if size == "smoke" else item.alphas
    if alphas[0]:
        ends = tuple(dict.fromkeys((alphas[0], alphas[-1])))
        labels = " to ".join(f"{100 * alpha:.0f}" for alpha in ends)
        return [
            _Part(f"{_short(TASKS[task].title)}, {labels} %", tuple((task, end) for end in ends), scores[:1])
            for task in tasks
        ]
    if item.kind == "curves":
        return [_Part(item.title, ((tasks[0], 0.0), (tasks[-1], 0.0)), scores[:1])]
    return [_Part(item.title, ((tasks[0], 0.0),), scores if item.kind == "scores" else scores[:1])]


def _cells(item: Item, part: _Part, records: Records, size: Size) -> list[str]:
    found = {row.method: _measured(item, row, part, records) for row in item.rows}
    preset, ours = (next(row.method for row in item.rows if row.role == role) for role in ("paper", "ours"))
    rivals = [row.method for row in item.rows if row.role in ("rival", "fair") and found[row.method]]
    best = max(rivals, key=lambda method: sum(found[method]), default=None)
    printed, default = _printed(item, part), found[ours]
    return [
        _text(printed, default) if printed else "no number",
        _text(found[preset], default) + _dagger(preset, size),
        _text(default, ()),
        f"{_text(found[best], default)}{_dagger(best, size)} {_short_method(best)}" if best else "not run",
        _verdict(item, part, printed, found[preset], default),
    ]


def _measured(item: Item, row: Row, part: _Part, records: Records) -> Numbers:
    """Take a method's means at the points of a line; of Table 2 its one run. None if one is missing."""
    numbers: list[float] = []
    for task, alpha in part.points:
        at = (task, alpha if METHODS[row.method].learns_labels else 0.0, row.method)
        measured = records[at][:1] if item.kind == "clusters" else records[at]
        if not measured:
            return ()
        numbers += [sum(record[score] for record in measured) / len(measured) for score in part.scores]
    return tuple(numbers)


def _printed(item: Item, part: _Part) -> Numbers:
    """Take the paper's numbers for its own method; of Table 2 the purity of all clusters together."""
    [name] = [row.printed for row in item.rows if row.role == "paper"]
    if item.kind == "clusters":
        table = paper.CLUSTERS[name]
        return (sum(n * purity for _, n, purity in table) / sum(n for _, n, _ in table),)
    own = item.printed.get(name, {})
    return tuple(own[score][0] for score in part.scores) if own else ()


def _verdict(item: Item, part: _Part, printed: Numbers, preset: Numbers, default: Numbers) -> str:
    if not printed:
        return "no number printed" + (f"; {item.drawn}" if item.drawn else "")
    both = (("preset", preset), ("default", default))
    return "; ".join(f"{who} {_reached(part, numbers, printed)}" for who, numbers in both)


def _reached(part: _Part, numbers: Numbers, printed: Numbers) -> str:
    if not numbers:
        return "not run"
    names = [NAMES[score] for score, a, b in zip(part.scores, numbers, printed, strict=True) if a >= b]
    if len(names) == len(printed):
        return "reached"
    return f"reached in {' and '.join(names)} only" if names else "not reached"


def _text(numbers: Numbers, default: Numbers) -> str:
    """Numbers of a cell, bold where they are at least our default's."""
    if not numbers:
        return "not run"
    digits = 3 if len(numbers) > 2 else 4
    higher = [a >= b for a, b in zip(numbers, default, strict=True)] if default else [False] * len(numbers)
    shown = [
        f"**{n:.{digits}f}**" if bold else f"{n:.{digits}f}" for n, bold in zip(numbers, higher, strict=True)
    ]
    return (" / " if len(numbers) > 2 else " to ").join(shown)


def _asides(items: Sequence[Item], runs: Runs, size: Size) -> str:
    """Say what the tables leave out: the control, and rivals below what the paper has for them."""
    controls, below = [], []
    for item in items:
        if item.kind != "scores":
            continue
        where, lower = item.source.split(", ")[1], []
        rows = [row for row in rows_of(item, runs, size) if row["task"] == item.tasks_at(size)[0]]
        [ours] = [row for row in rows if row["role"] == "ours"]
        for row in rows:
            if row["role"] == "control" and row["seeds"] and ours["seeds"]:
                numbers, default = (tuple(r[score] for score in scores_of(item)) for r in (row, ours))
                controls.append(f"{where} {_text(numbers, default)}")
            if row["role"] == "rival" and row.get("purity", 1.0) < row.get("purity_paper", 0.0):
                name = _short_method(row["method"])
                lower.append(f"{name} ({row['purity']:.3f}, the paper's {row['purity_paper']:.3f})")
        below += [f"{where}: {', '.join(lower)}"] if lower else []
    return "".join(
        f"{what}: {'; '.join(found)}.\n\n"
        for what, found in (
            ("The same start and classifier without any GAN", controls),
            ("Rivals whose purity is below what the paper prints for them", below),
        )
        if found
    )


def _dagger(method: str, size: Size) -> str:
    return "†" if METHODS[method].reduced and size != "full" else ""


def _short_method(method: str) -> str:
    return METHODS[method].title.split(", best of")[0]


def _short(title: str) -> str:
    return title.split(", ")[0].replace(" (JPEG copies)", ",")


__all__ = ["anchor", "overview"]
