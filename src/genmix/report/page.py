"""One self-contained HTML page made of sections: no script, no file beside it, nothing from the network."""

from __future__ import annotations

import base64
import datetime as dt
import os
import re
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from genmix.base.files import check_writable, replace_file
from genmix.base.validation import printable
from genmix.base.version import __version__

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Fact:
    """A headline number: what it is, its value as text, and a few words more."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Chip:
    """A cluster's number in its colour, as a cell of a table."""

    number: int
    color: str


@dataclass(frozen=True)
class Table:
    """A table.

    Parameters
    ----------
    columns : sequence of str
        Headings.
    rows : sequence of sequence of str or Chip
        Cells, formatted by the caller.
    title, note : str
        Heading above and explanation below.
    best : collection of (row, column)
        Cells to emphasise.
    groups : dict of int to str
        Headings over groups of rows, each by the first row of its group.
    quiet : collection of int
        Rows in a lighter tone.
    prose : bool
        True for words, aligned left; False for numbers.
    folded : bool
        Whether the reader opens the table first.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str | Chip]]
    title: str = ""
    note: str = ""
    best: Collection[tuple[int, int]] = ()
    groups: Mapping[int, str] = field(default_factory=dict)
    quiet: Collection[int] = ()
    prose: bool = False
    folded: bool = False
    kind: ClassVar[str] = "table"


@dataclass(frozen=True)
class Picture:
    """A PNG with the words that stand for it where it cannot be seen."""

    png: bytes
    alt: str
    label: str = ""

    @property
    def src(self) -> str:
        """The picture as a data URL."""
        return "data:image/png;base64," + base64.b64encode(self.png).decode("ascii")


@dataclass(frozen=True)
class Chart:
    """A matplotlib figure with a title, a caption that says how to read it, and words that stand for it."""

    figure: Figure
    alt: str
    title: str = ""
    caption: str = ""


@dataclass(frozen=True)
class Charts:
    """Charts side by side where there is room; with ``lead`` the first takes two thirds of the page."""

    charts: Sequence[Chart]
    title: str = ""
    note: str = ""
    lead: bool = False
    kind: ClassVar[str] = "charts"


@dataclass(frozen=True)
class Card:
    """One cluster: its number and colour, a line about it, and pictures or a chart."""

    chip: Chip
    note: str = ""
    pictures: Sequence[Picture] = ()
    chart: Chart | None = None


@dataclass(frozen=True)
class Cards:
    """Cards of clusters; ``ink``: pictures are strokes on a see-through sheet; ``roomy``: two to a line."""

    cards: Sequence[Card]
    title: str = ""
    note: str = ""
    ink: bool = False
    roomy: bool = False
    kind: ClassVar[str] = "cards"


@dataclass(frozen=True)
class Tile:
    """One item: its picture and the clusters it lies between, with memberships as text."""

    picture: Picture
    chips: Sequence[tuple[Chip, str]]
    label: str = ""


@dataclass(frozen=True)
class Tiles:
    """Many small pictures of items."""

    tiles: Sequence[Tile]
    title: str = ""
    note: str = ""
    ink: bool = False
    kind: ClassVar[str] = "tiles"


@dataclass(frozen=True)
class Columns:
    """Blocks side by side where there is room."""

    blocks: Sequence[Block]
    title: str = ""
    kind: ClassVar[str] = "columns"


Block = Table | Charts | Cards | Tiles | Columns


@dataclass(frozen=True)
class Section:
    """A part of a page: title, opening sentence, headline numbers, then blocks in reading order."""

    title: str
    lead: str = ""
    facts: Sequence[Fact] = ()
    blocks: Sequence[Block] = ()


def write_page(
    path: str | os.PathLike[str],
    title: str,
    sections: Sequence[Section],
    *,
    subtitle: str = "",
    date: dt.date | None = None,
) -> Path:
    """Write sections as one self-contained HTML page.

    Parameters
    ----------
    path : path-like
        The file to write; folders above it are made. An older file is replaced in one step: a reader never
        meets half a page, and a failure leaves the older file as it was.
    title : str
        Heading of the page.
    sections : sequence of Section
        At least one.
    subtitle : str, optional
        A sentence under the title.
    date : datetime.date, optional
        Printed on the page. Default: today. It is the only thing on which two pages of equal sections differ.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    ValueError
        If there is no section, or ``path`` is a folder or cannot be written.
    OSError
        If the disk refuses.
    """
    target = Path(path)
    check_writable(target)
    if not sections:
        raise ValueError("sections is empty; give at least one Section.")
    if target.is_dir():
        raise ValueError(f"{target} is a folder; give the name of a file, such as {target / 'report.html'}.")
    html = render_page(title, sections, subtitle=subtitle, date=date)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{secrets.token_hex(16)}.part")
    replace_file(part, target, html.encode("utf-8", errors="replace"))
    return target


def render_page(
    title: str, sections: Sequence[Section], *, subtitle: str = "", date: dt.date | None = None
) -> str:
    """Return the page as text; see `write_page`."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    from genmix.report.svg import svg_markup

    loader = PackageLoader("genmix.report")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    counter = count()
    environment.globals["draw"] = lambda chart: svg_markup(chart.figure, f"f{next(counter)}")
    day = date or dt.date.today()
    return environment.get_template("page.html.j2").render(
        title=printable(title),
        subtitle=printable(subtitle),
        date=f"{day.day} {day:%B %Y}",
        iso_date=day.isoformat(),
        made_by=f"genmix {__version__}",
        sections=list(zip(_anchors(sections), sections, strict=True)),
    )


def _anchors(sections: Sequence[Section]) -> list[str]:
    """Name each section for links inside the page; numbers keep equal titles apart."""
    return [
        f"s{i}-{re.sub(r'[^a-z0-9]+', '-', section.title.lower()).strip('-')[:40]}".rstrip("-")
        for i, section in enumerate(sections, start=1)
    ]
