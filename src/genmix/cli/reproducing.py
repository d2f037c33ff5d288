"""`genmix reproduce`: the list, the runs of one item, and the page of them all."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genmix.cli.files import whole_file

if TYPE_CHECKING:
    from genmix.experiments.catalogue import Item
    from genmix.experiments.runs import Runs
    from genmix.experiments.tasks import Compute, Size

_SECONDS = {"s": 1, "m": 60, "h": 3600}


def read_budget(text: str | None) -> float | None:
    """Seconds of ``90s``, ``30m``, ``8h`` or a plain number of seconds.

    Raises
    ------
    ValueError
        If the text is none of these, or not positive.
    """
    if text is None:
        return None
    number, unit = (text[:-1], text[-1]) if text[-1:] in _SECONDS else (text, "s")
    try:
        seconds = float(number) * _SECONDS[unit]
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise ValueError(f"--budget {text!r}: expected a time such as 90s, 30m or 8h")
    return seconds


def print_list(runs: Runs, size: Size) -> None:
    """Print every item, and how much of it has been run."""
    from genmix.cli.tables import text_table
    from genmix.experiments.catalogue import ITEMS

    rows = []
    for item in ITEMS.values():
        done, total = progress(item, runs, size)
        rows.append({"item": item.name, "what": f"{item.source}: {item.title}", "runs": f"{done}/{total}"})
    print(text_table(rows))


def progress(item: Item, runs: Runs, size: Size, *, published: bool = False) -> tuple[int, int]:
    """Count the runs of an item that are finished, and those it asks for.

    Where only what may be `published` is asked for, of other runs the record is enough.
    """
    from genmix.experiments.running import finished

    wanted, public = item.experiments(size), set(item.public.experiments(size))
    done = 0
    for experiment in wanted:
        asked = replace(experiment, needs=()) if published and experiment not in public else experiment
        done += sum(record["seed"] < item.seeds for record in finished(asked, size, runs))
    return done, len(wanted) * item.seeds


def find(name: str) -> Item:
    """Find an item, or make one of a single experiment TASK/METHOD[@ALPHA].

    Raises
    ------
    ValueError
        If there is no such item or experiment.
    """
    from genmix.experiments.catalogue import ITEMS, Item, Row
    from genmix.experiments.running import Experiment

    if "/" in name:
        one = Experiment.parse(name)
        row = Row(one.method, "fair")
        return Item(name, "genmix", name, "scores", (one.task,), (row,), alphas=(one.alpha,))
    if name not in ITEMS:
        raise ValueError(
            f"{name!r} is unknown; expected one of {', '.join(ITEMS)}, or an experiment TASK/METHOD[@ALPHA]"
        )
    return ITEMS[name]


def run(
    name: str, runs: Runs, size: Size, *, seeds: int | None, budget: float | None, compute: Compute
) -> None:
    """Do the runs of an item, or of all, that are missing; then print and write what there is.

    Raises
    ------
    ValueError
        If there is no such item, or runs failed; those that did not are kept.
    """
    from genmix.experiments.catalogue import ITEMS, for_all_items
    from genmix.experiments.running import missing, run_missing
    from genmix.experiments.tables import markdown

    items = list(ITEMS.values()) if name == "all" else [find(name)]
    wanted = {
        (experiment, seed): None
        for item in items
        for experiment in item.experiments(size)
        for seed in range(item.seeds if seeds is None else seeds)
    }
    jobs = for_all_items(missing(wanted, size, runs), size)
    if size == "smoke":
        print("a trial of the machinery: few items, tiny networks, scores without meaning")
    n_runs = len({(experiment.name, seed) for experiment, seed in wanted})
    print(f"{name}: {n_runs - len(jobs)} runs are finished, {len(jobs)} to do")
    _, failed = run_missing(jobs, size, runs, budget=budget, compute=compute, echo=print)
    for item in items:
        print(f"\n{item.source}: {item.title}\n")
        print(write(item, runs, size) if item.name in ITEMS else markdown(item, runs, size))
    if failed:
        raise ValueError(f"{len(failed)} runs failed, the first: {failed[0]}")


def write_page(path: Path, runs: Runs, size: Size) -> None:
    """Write every item, and the page of everything that was run."""
    from genmix.experiments.catalogue import ITEMS

    for item in ITEMS.values():
        write(item, runs, size)
    figures = Path(os.path.relpath(runs.folder.resolve() / "figures", path.resolve().parent))
    with whole_file(path) as part:
        part.write_text(page(runs, size, figures.as_posix()), encoding="utf-8")


def write(item: Item, runs: Runs, size: Size) -> str:
    """Write an item's table and picture; its text."""
    from genmix.experiments.figures import draw
    from genmix.experiments.tables import markdown, rows_of

    name, text = item.name, markdown(item, runs, size)
    with whole_file(runs.folder / "tables" / f"{name}.csv") as part:
        _write_csv(part, rows_of(item, runs, size))
    with whole_file(runs.folder / "tables" / f"{name}.md") as part:
        part.write_text(text, encoding="utf-8")
    pictures = {"figures": item.public}
    if item.public != item:
        pictures["figures-not-to-be-published"] = item
    for folder, shown in pictures.items():
        figure = draw(shown, runs, size)
        if figure is not None:
            path = runs.folder / folder / f"{name}.png"
            with whole_file(path) as part:
                figure.savefig(part, format="png", facecolor="white")
            text += f"\nfigure: {path}"
    return text


def _write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)


def page(runs: Runs, size: Size, figures: str) -> str:
    """Everything that was run, as one page of Markdown; `figures` is where its pictures are found."""
    from genmix.experiments.catalogue import DNNMM_ITEMS, GANMM_ITEMS, STUDIES
    from genmix.experiments.methods import METHODS
    from genmix.experiments.tables import markdown, not_higher

    items = (*GANMM_ITEMS, *DNNMM_ITEMS)
    behind = [line for item in items for line in not_higher(item, runs, size)]
    done, total = (
        sum(counts)
        for counts in zip(*(progress(item, runs, size, published=True) for item in items), strict=True)
    )
    lines = [
        "# Reproduction", "",
        "Written by `genmix reproduce --page docs/reproduction.md` from the records in `results/runs`, one",
        "JSON line a run, made by `genmix reproduce ITEM`. Mean and sample standard deviation over seeds",
        "0, 1, ... (the bars of figures, cut at 1, the highest score); last iterate. Labels are used for",
        "scoring only, or as the share said: then what had no label is scored. The papers' numbers stand",
        "beside ours for their tables; their figures print none. Each record names the processor and the",
        "precision of its networks (an Intel Xeon and float32 where it names none). The committed ones were",
        "made on two cores, with other work beside: their seconds are upper bounds.", "",
        f"{done:,} of the {total:,} runs that the papers' items ask for are finished.", "",
        "## Where our default is not higher", "",
        *([f"- {line}" for line in behind] or ["Nowhere among the runs that are finished."]), "",
    ]  # fmt: skip
    for item in (*items, *STUDIES):
        heading = item.title if item.source == "genmix" else f"{item.source}: {item.title}"
        lines += [f"## {heading}", "", f"`genmix reproduce {item.name}`", ""]
        reduced = [item.reduced] if item.reduced and not (size == "full" and item.full) else []
        if size != "full":
            methods: dict[str, list[str]] = {}
            for row in item.rows:
                methods.setdefault(METHODS[row.method].reduced, []).append(METHODS[row.method].title)
            reduced += [f"{', '.join(titles)}: {what}" for what, titles in methods.items() if what]
        if reduced:
            lines += [f"Smaller than published: {'; '.join(reduced)}.", ""]
        if item.kind in ("curves", "samples", "maps", "walks"):
            name = f"{item.name}.png"
            if (runs.folder / "figures" / name).exists():
                lines += [f"![{item.title}]({figures}/{name})", ""]
        lines += [markdown(item, runs, size), ""]
        lines += [item.discussion, ""] if item.discussion else []
    return "\n".join(lines).rstrip() + "\n"


__all__ = ["find", "page", "print_list", "progress", "read_budget", "run", "write", "write_page"]
