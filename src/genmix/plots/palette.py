"""One colour per cluster, the same in every figure, table and card of a report."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

# Ten colours found by search: every pair stays at least 0.088 apart in OKLab for normal, deuteranope and
# protanope eyes, and each keeps a contrast of 2.3 or more on the white and on the dark page alike.
_FIRST_TEN = (
    "#717ae9",
    "#f5901e",
    "#3b8b2f",
    "#af3c7d",
    "#18b7ed",
    "#774e34",
    "#79b876",
    "#f37fc3",
    "#6541ac",
    "#a0848a",
)

# Björn Ottosson's OKLab matrices (2020): distances in OKLab are close to what the eye sees.
_OKLAB_TO_LMS = np.array(
    [[1, 0.3963377774, 0.2158037573], [1, -0.1055613458, -0.0638541728], [1, -0.0894841775, -1.2914855480]]
)
_LMS_TO_RGB = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)


def palette(n_colors: int) -> list[str]:
    """Return one colour for each cluster.

    Parameters
    ----------
    n_colors : int
        Number of clusters, >= 0.

    Returns
    -------
    list of str
        ``n_colors`` colours ``#rrggbb``. A longer palette begins with the shorter one, so cluster 3 keeps
        its colour whatever the number of clusters. The first ten are safe for colour-blind readers; further
        ones are as far from those before as possible, and all figures name clusters by number as well.

    Raises
    ------
    ValueError
        If ``n_colors`` is negative.
    """
    if n_colors < 0:
        raise ValueError(f"n_colors is {n_colors}; give the number of clusters, 0 or more.")
    known = list(_FIRST_TEN) + (list(_further_colors()) if n_colors > len(_FIRST_TEN) else [])
    return [known[i % len(known)] for i in range(n_colors)]


def text_on(color: str) -> str:
    """Return the text colour, near-black or white, that reads best on a background ``#rrggbb``."""
    luminance = float(_linear_rgb(color) @ [0.2126, 0.7152, 0.0722])
    # the contrasts of WCAG with white and with near-black (luminance 0.0086) are equal at 0.1985
    return "#14171c" if luminance > 0.1985 else "#ffffff"


@lru_cache(maxsize=1)
def _further_colors() -> tuple[str, ...]:
    """Greedy farthest-point choice among colours of middle lightness and two strengths."""
    candidates = np.array(
        [
            (lightness, chroma * np.cos(hue), chroma * np.sin(hue))
            for lightness in (0.45, 0.58, 0.71)
            for chroma in (0.06, 0.12)
            for hue in np.arange(0, 2 * np.pi, np.pi / 12)
        ]
    )
    rgb = (candidates @ _OKLAB_TO_LMS.T) ** 3 @ _LMS_TO_RGB.T
    on_screen = (rgb.min(1) >= 0) & (rgb.max(1) <= 1)
    candidates, rgb = candidates[on_screen], rgb[on_screen]
    taken = np.array([_oklab(color) for color in _FIRST_TEN])
    gap = np.linalg.norm(candidates[:, None] - taken[None], axis=-1).min(1)
    chosen = []
    for _ in range(len(candidates)):
        best = int(gap.argmax())
        chosen.append(_hex(rgb[best]))
        gap = np.minimum(gap, np.linalg.norm(candidates - candidates[best], axis=-1))
    return tuple(chosen)


def _linear_rgb(color: str) -> np.ndarray:
    value = np.array([int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def _oklab(color: str) -> np.ndarray:
    lms = np.cbrt(np.linalg.solve(_LMS_TO_RGB, _linear_rgb(color)))
    return np.linalg.solve(_OKLAB_TO_LMS, lms)


def _hex(rgb: np.ndarray) -> str:
    value = np.where(rgb <= 0.0031308, 12.92 * rgb, 1.055 * np.clip(rgb, 0, 1) ** (1 / 2.4) - 0.055)
    return "#" + "".join(f"{round(float(v) * 255):02x}" for v in value)
