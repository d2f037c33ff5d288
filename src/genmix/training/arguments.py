"""Arguments that mixtures share: checked, and every "auto" resolved from the kind and shape of the data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from genmix.base.validation import short_repr
from genmix.ganmm.e_step import ClassifierEStep
from genmix.nn.build import check_choice
from genmix.training.augment import Affine, Augmentation, ColorJitter, NeighborSwap
from genmix.training.infomax import PARTITIONS, InfoMaxInit


def _are_images(item_shape: tuple[int, ...]) -> bool:
    """Tell images from rows of a table, and from rows in the shape of images."""
    return len(item_shape) == 3 and min(item_shape[1:]) > 1


def default_augmentation(item_shape: tuple[int, ...]) -> Affine | ColorJitter | NeighborSwap:
    """Choose views that keep the component: of images, of colour photographs, of table rows."""
    if not _are_images(item_shape):
        return NeighborSwap()
    return ColorJitter() if item_shape[0] == 3 else Affine()


def default_start(item_shape: tuple[int, ...]) -> InfoMaxInit:
    """Networks on trial, with several heads each; for tables more of them, and some taught first."""
    if _are_images(item_shape):
        return InfoMaxInit(networks=3, screening_steps=400)
    partitions = ("kmeans", "gmm-full", "spectral")
    return InfoMaxInit(steps=800, heads=3, networks=8, partitions=partitions, screening_steps=400)


def default_e_step(item_shape: tuple[int, ...]) -> ClassifierEStep:
    """Let generated rows of a table count by the shares of the data, and less than real ones.

    GANs, as we think, make few rows of a group's tails. What generates the tails of a large group is then a
    neighbour's generator, and with equal shares small components take from large ones in every iteration.
    Real rows are expected in the same shares, for the same end.
    """
    if _are_images(item_shape):
        return ClassifierEStep()
    return ClassifierEStep(generated_weight=0.3, prior="shares")


def network_choices(networks: Any, roles: Sequence[str]) -> dict[str, Any]:
    """Choice of each role from the argument `networks`."""
    if isinstance(networks, dict):
        if not set(networks) <= set(roles):
            raise ValueError(
                f"networks has keys {sorted(map(str, networks))}; expected some of {', '.join(roles)}"
            )
    given = networks if isinstance(networks, dict) else dict.fromkeys(roles, networks)
    choices = {role: given.get(role, "auto") for role in roles}
    for role, choice in choices.items():
        check_choice(role, choice)
    return choices


def resolve(name: str, value: Any, known: dict[str, Any]) -> Any:
    """Object that a name stands for, or one of their kinds as it is."""
    if isinstance(value, str) and value in known:
        return known[value]
    kinds = tuple({type(item) for item in known.values()})
    if isinstance(value, kinds):
        return value
    expected = ", ".join([*map(repr, known), *sorted(kind.__name__ for kind in kinds)])
    raise ValueError(f"{name}={short_repr(value)} is unknown; expected one of {expected}")


def check_augmentation(value: Any, item_shape: tuple[int, ...], name: str = "augmentation") -> Augmentation:
    """Resolve the argument `augmentation`, or another of its kind."""
    if isinstance(value, str) and value == "auto":
        return default_augmentation(item_shape)
    if value is None:
        return NeighborSwap(0, 0.0)
    if isinstance(value, Affine | ColorJitter) and len(item_shape) != 3:
        kind = type(value).__name__
        raise ValueError(f"{name}={kind}() needs images; tables take NeighborSwap() or 'auto'")
    if isinstance(value, NeighborSwap) or callable(value):
        return value
    raise ValueError(
        f"{name}={short_repr(value)}: expected 'auto', Affine, ColorJitter, NeighborSwap, None or a callable"
    )


def check_start(
    value: Any, item_shape: tuple[int, ...], n: int, k: int, informed: bool = True
) -> str | InfoMaxInit | np.ndarray:
    """Resolve the argument `start`; `informed` says whether there is a classifier to inform."""
    if isinstance(value, str) and value in ("auto", "information"):
        if value == "auto" and not informed:
            return "random"
        value = default_start(item_shape)
    if isinstance(value, InfoMaxInit):
        if not informed:
            raise ValueError(
                "start='information' trains the classifier of the E-step; e_step='critic' has none"
            )
        return value
    if isinstance(value, str):
        if value not in PARTITIONS:
            expected = ", ".join(map(repr, ("auto", "information", *PARTITIONS)))
            raise ValueError(f"start={value!r} is unknown; expected {expected}, InfoMaxInit or labels")
        return value
    labels = np.asarray(value)
    if labels.shape != (n,) or labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= k:
        raise ValueError(f"start: expected {n} whole numbers from 0 to {k - 1}, one for each item")
    return labels.astype(np.int64)
