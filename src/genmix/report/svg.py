"""A matplotlib figure as SVG that lives inside a page: its text, fonts and neutral colours are the page's."""

from __future__ import annotations

import io
import re
import threading
from typing import TYPE_CHECKING

from markupsafe import Markup

from genmix.plots.axes import INK, MUTED, RULE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Two threads inside matplotlib's rc_context at once could leave each other's settings behind.
_RC_LOCK = threading.Lock()
_NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))
_PAGE_COLORS = {INK: "var(--ink)", MUTED: "var(--muted)", RULE: "var(--rule)"}


def svg_markup(figure: Figure, prefix: str) -> Markup:
    """Return a figure as an ``<svg>`` element.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        A figure of `genmix.plots`, or any other.
    prefix : str
        Put before each id, so that figures of one page do not share any.

    Returns
    -------
    Markup
        Safe to put into a page: text in the figure was escaped when it was written.
    """
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    buffer, canvas, dpi = io.BytesIO(), figure.canvas, figure.dpi
    # text stays text: sharp, small, in the font of the page; with a salt equal figures give equal bytes
    with _RC_LOCK, matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "genmix"}):
        # savefig would draw everything twice
        FigureCanvasSVG(figure).print_svg(buffer, metadata=_NO_METADATA)
    figure.set_dpi(dpi)
    figure.set_canvas(canvas)
    text = buffer.getvalue().decode("utf-8")
    text = text[text.index("<svg ") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>|<!--.*?-->", "", text, flags=re.DOTALL)
    root = r'<svg \2 style="--w:\1px" aria-hidden="true" focusable="false">'
    text = re.sub(r'<svg [^>]*?width="([\d.]+)pt"[^>]*?(viewBox="[^"]+")[^>]*>', root, text, count=1)
    text = re.sub(r'(\sid=")', rf"\g<1>{prefix}-", text.replace("xlink:href", "href"))
    text = re.sub(r'(href="#|url\(#)', rf"\g<1>{prefix}-", text)
    text = re.sub(r'font-family: [^;"]+', "font-family: var(--sans)", text)
    for color, variable in _PAGE_COLORS.items():
        text = text.replace(f": {color}", f": {variable}")
    return Markup(re.sub(r"\s*\n\s*", "\n", text))  # noqa: S704 - matplotlib has escaped it
