"""One colour per cluster, the same in every figure, table and card of a report."""

from __future__ import annotations

import numpy as np

# The first ten stay at least 0.088 apart in OKLab for normal, deuteranope and protanope eyes, and keep a
# contrast of 2.3 with the white and with the dark page. Each further one is far from those before it.
_COLORS = (
    "#717ae9 #f5901e #3b8b2f #af3c7d #18b7ed #774e34 #79b876 #f37fc3 #6541ac #a0848a "
    "#a36e09 #345a73 #09672e #4d8685 #ad90e1 #9563ab #823564 #e28374 #b0a077 #b65c4e "
    "#74aead #2382ba #be93aa #3c4f97 #76769d #7f7d52 #624b6c #93a0c8 #515a33 #996c79 "
    "#8c352a #0a9068 #6ca4eb #cd9641 #2abaa4 #5f75c1 #cc85c5 #ada543 #de809e #ab5b8a "
    "#6e3d82 #857d0b #2a6056 #15b5cb #c4948b #714754 #957256 #92aa85 #618568 #597f9b "
    "#5a8a3d #883352 #b25977 #1f5596 #849ded #60438d #8668b6 #49b98f #893a0e #b36139 "
    "#df8860 #8b333f #b65963 #ad6723 #e28189 #d88e4e #bf9e3d #728426 #98ac51 #467cc0 "
    "#52abe5 #d682b3 #356312 #504994 #793974 #3d8e53 #746fbe #a15e9c #0ab8b9 #9a96e9 "
    "#be8ad5 #8f6e8b #485477 #80a7c4 #9b6d65 #be997c #62542c #7eae98 #3c5f43 #265e68 "
    "#b097bc #734841 #35b1da #80b264 #66b679 #6e4d32 #6d485d #c292a0 #5a4e72 #a79ac2"
).split()


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
        its colour whatever the number of clusters. The first ten are safe for colour-blind readers, the first
        hundred differ; all figures name clusters by number as well.

    Raises
    ------
    ValueError
        If ``n_colors`` is negative.
    """
    if n_colors < 0:
        raise ValueError(f"n_colors is {n_colors}; give the number of clusters, 0 or more.")
    return [_COLORS[i % len(_COLORS)] for i in range(n_colors)]


def text_on(color: str) -> str:
    """Return the text colour, near-black or white, that reads best on a background ``#rrggbb``."""
    rgb = np.array(list(bytes.fromhex(color[1:]))) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    # the contrasts of WCAG with white and with near-black (luminance 0.0086) are equal at 0.1985
    return "#14171c" if linear @ [0.2126, 0.7152, 0.0722] > 0.1985 else "#ffffff"
