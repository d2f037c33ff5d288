"""`genmix reproduce`: the list, the runs of one item, and the pages of them all."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from genmix.cli.files import whole_file
from genmix.cli.tables import say, text_table

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
    from genmix.experiments.catalogue import ITEMS

    rows = []
    for item in ITEMS.values():
        done, total = progress(item, runs, size)
        rows.append({"item": item.name, "what": f"{item.source}: {item.title}", "runs": f"{done}/{total}"})
    say(text_table(rows))


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
    """Do the runs of an item, or of all, that are missing; then print the tables and write the figures.

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
        say("a trial of the machinery: few items, tiny networks, scores without meaning")
    n_runs = len({(experiment.name, seed) for experiment, seed in wanted})
    say(f"{name}: {n_runs - len(jobs)} runs are finished, {len(jobs)} to do")
    _, failed = run_missing(jobs, size, runs, budget=budget, compute=compute, echo=say)
    for item in items:
        say(f"\n{item.source}: {item.title}\n")
        say(markdown(item, runs, size))
        for path in write_figure(item, runs, size):
            say(f"figure: {path}")
    if failed:
        raise ValueError(f"{len(failed)} runs failed, the first: {failed[0]}")


def write_page(path: Path, runs: Runs, size: Size) -> None:
    """Write every figure, the page of both papers' numbers beside ours, and beside it that of all tables."""
    from genmix.experiments.catalogue import ITEMS, PAPERS
    from genmix.experiments.overview import overview
    from genmix.experiments.tables import details

    for item in ITEMS.values():
        write_figure(item, runs, size)
    counts = [progress(item, runs, size, published=True) for item in PAPERS]
    done, total = (sum(column) for column in zip(*counts, strict=True))
    figures = Path(os.path.relpath(runs.folder.resolve() / "figures", path.resolve().parent)).as_posix()
    beside = path.with_name(f"{path.stem}-details{path.suffix}")
    pages = {
        path: overview(runs, size, details=beside.name, done=done, total=total),
        beside: details(runs, size, overview=path.name, figures=figures),
    }
    for name, text in pages.items():
        with whole_file(name) as part:
            part.write_text(text, encoding="utf-8")


def write_figure(item: Item, runs: Runs, size: Size) -> list[Path]:
    """Write the picture of an item that has one: for everybody, and with what may not be shown to them."""
    from genmix.experiments.figures import draw

    paths, variants = [], {"figures": item.public}
    if item.public != item:
        variants["figures-not-to-be-published"] = item
    for folder, variant in variants.items():
        figure = draw(variant, runs, size)
        if figure is not None:
            path = runs.folder / folder / f"{item.name}.png"
            with whole_file(path) as part:
                figure.savefig(part, format="png", facecolor="white")
            paths.append(path)
    return paths
