"""Building networks by role and choice, and what is asked of or done to whole stacks of them."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from genmix.base.validation import argument_kinds, check_values, short_repr
from genmix.nn.stacked import Factory, Shape, StackedConvGenerator, StackedConvNet, StackedMLP, StackedModules


@contextmanager
def kept_statistics(network: nn.Module, keep: bool = True) -> Iterator[None]:
    """Leave running statistics as they are while items pass that are not the data (generated ones)."""
    norms = [m for m in network.modules() if keep and isinstance(m, nn.BatchNorm1d)]
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, before, strict=True):
            norm.momentum = momentum


def normalizes_batches(network: nn.Module) -> bool:
    """Whether an item's output depends on its batch, in a network of ours or in one of a user's factory."""
    templates = [t for m in network.modules() if isinstance(m, StackedModules) for t in m.template]
    norm = nn.modules.batchnorm._BatchNorm
    return any(isinstance(m, norm) for whole in (network, *templates) for m in whole.modules())


@torch.no_grad()
def network_outputs(network: nn.Module, items: Tensor, n: int, batch_size: int = 2048) -> Tensor:
    """Ask a stack of `n` networks in evaluation about the same items: ``[n, N, ...]``, float64, on the host.

    Tables are computed in float64: it is cheap, and the answer does not depend on how items are batched.
    """
    device = next(network.parameters()).device
    if items.dim() == 2 and device.type != "mps":
        network, items = copy.deepcopy(network).double(), items.double()
    parts = [network(x.to(device).expand(n, *x.shape)).cpu().double() for x in items.split(batch_size)]
    return torch.cat(parts, 1)


@torch.no_grad()
def recalibrate(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Set running statistics to the mean over batches: averaged weights have statistics of their own."""
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean
    network.train()
    for batch in batches:
        network(batch)
    network.eval()
    for norm, momentum in zip(norms, before, strict=True):
        norm.momentum = momentum


def take_weights(network: nn.Module, fitted: nn.Module) -> None:
    """Give a network the weights, and statistics, of one that was fitted before.

    Raises
    ------
    ValueError
        They are not of one architecture.
    """
    state = fitted.state_dict()
    if {n: p.shape for n, p in network.state_dict().items()} != {n: p.shape for n, p in state.items()}:
        raise ValueError("warm_start=True needs the networks and latent dimensions fitted before")
    network.load_state_dict(state)


def dense_output(network: nn.Module) -> list[nn.Parameter]:
    """Parameters of the last layer of a dense stack; none for other networks."""
    return list(network.layers[-1].parameters()) if isinstance(network, StackedMLP) else []


@torch.no_grad()
def copy_networks(
    source: nn.Module, n_source: int, chosen: Tensor, target: nn.Module, n_target: int, places: Tensor
) -> None:
    """Copy networks of one stack into another of the same architecture.

    Parameters
    ----------
    source, target : nn.Module
        Stacks of `n_source` and `n_target` networks.
    chosen, places : Tensor of int64 [M]
        Which networks of the source go to which places of the target.
    """
    for (name, to), part in zip(target.state_dict().items(), source.state_dict().values(), strict=True):
        if part.dim() == 0:  # counters of batch normalisation
            to.copy_(part)
        elif part.shape[0] % n_source or to.shape[0] % n_target:
            raise ValueError(f"{name} of shape {tuple(part.shape)} does not belong to a stack of {n_source}")
        else:
            to.view(n_target, -1)[places] = part.view(n_source, -1)[chosen]


#: Up to so many numbers an item "auto" takes dense networks for the GANs: on a CPU they reach good samples of
#: 28 x 28 images several times sooner than convolutional ones.
DENSE_LIMIT = 1024


def check_choice(role: str, choice: Any) -> None:
    """Refuse what is neither a network's name nor a dictionary with one nor a factory."""
    kind = choice.get("kind", "auto") if isinstance(choice, dict) else choice
    if not isinstance(kind, str) and not callable(choice):
        raise ValueError(
            f"networks: {role}={short_repr(choice)}: expected 'auto', 'mlp', 'conv', a dict or a factory"
        )


def build_stack(
    role: str,
    choice: str | dict[str, object] | Factory,
    n: int,
    in_shape: Shape,
    out_shape: Shape,
    generator: torch.Generator,
) -> nn.Module:
    """Build ``n`` stacked networks for one role.

    Parameters
    ----------
    role : {"generator", "critic", "classifier", "decoder", "discriminator", "encoder"}
        What the network is for; the last three are those of DNN-MM, one for all components, and larger.
    choice : str, dict or callable
        "auto", "mlp", "conv" or "ganmm-2018" (the published code's networks); a dictionary
        ``{"kind": "mlp" or "conv", **options}`` with options of `StackedMLP`, `StackedConvNet` or
        `StackedConvGenerator`; or a factory ``(in_shape, out_dim) -> nn.Module``.
    n : int
        Number of networks.
    in_shape, out_shape : tuple of int
        Shape of one item before and after. The shape of the data is ``(d,)`` or ``(C, H, W)``.
    generator : torch.Generator
        Source of the initial weights.

    Raises
    ------
    ValueError
        Unknown choice, or a convolutional network for a table.
    """
    check_choice(role, choice)
    if callable(choice):
        return StackedModules(n, in_shape, out_shape, generator, factory=choice)
    generates = role in ("generator", "decoder")
    data_shape = out_shape if generates else in_shape
    options = dict(choice) if isinstance(choice, dict) else {"kind": choice}
    kind = options.pop("kind", "auto")
    if kind == "auto":
        dense = len(data_shape) == 1 or (
            role not in ("classifier", "encoder") and math.prod(data_shape) <= DENSE_LIMIT
        )
        kind = "mlp" if dense or min(data_shape[1:]) < 4 else "conv"
    published = (
        isinstance(kind, str) and kind == "ganmm-2018" and role in ("generator", "critic", "classifier")
    )
    if published:
        kind = "conv" if len(data_shape) == 3 else "mlp"
    if kind not in ("mlp", "conv"):
        raise ValueError(
            f"networks: {role}={kind!r} is unknown; expected 'auto', 'mlp', 'conv', a dict or a factory"
        )
    if kind == "conv" and len(data_shape) != 3:
        raise ValueError(
            f"networks: {role}='conv' needs images, but the items have shape {data_shape}; use 'mlp'"
        )
    built = {**(_PUBLISHED if published else _OPTIONS)[role, kind], **options}
    if generates:
        built.setdefault("sigmoid_output", len(data_shape) == 3) if kind == "mlp" else None
    make = StackedMLP if kind == "mlp" else StackedConvGenerator if generates else StackedConvNet
    unknown = set(built) - set(inspect.signature(make).parameters)
    if unknown:
        raise ValueError(
            f"networks: {role}: {kind!r} networks have no option {', '.join(sorted(map(repr, unknown)))}"
        )
    check_values(built, argument_kinds(make), f"networks: {role}: ")
    return make(n, in_shape, out_shape, generator, **built)  # type: ignore[arg-type]


_OPTIONS: dict[tuple[str, str], dict[str, object]] = {
    ("generator", "mlp"): {"hidden": (64, 128), "norm": "batch"},
    ("generator", "conv"): {"channels": 16},
    ("critic", "mlp"): {"hidden": (128, 64), "slope": 0.2},
    ("critic", "conv"): {"channels": 16, "dense": 0, "slope": 0.2},
    ("classifier", "mlp"): {"hidden": (256, 256), "norm": "running"},
    ("classifier", "conv"): {"channels": 16, "dense": 128, "norm": "running", "small_start": True},
    ("decoder", "mlp"): {"hidden": (256, 512), "norm": "running"},
    ("decoder", "conv"): {"channels": 32, "norm": "running"},
    ("discriminator", "mlp"): {"hidden": (256, 128), "slope": 0.2},
    ("discriminator", "conv"): {"channels": 32, "dense": 0, "slope": 0.2},
    ("encoder", "mlp"): {"hidden": (256, 256), "norm": "running"},
    ("encoder", "conv"): {"channels": 16, "dense": 128, "norm": "running", "small_start": True},
}

#: Networks of the published GANMM code: one hidden layer of 64 for the UCI tables, WGAN's networks for
#: images.
_PUBLISHED: dict[tuple[str, str], dict[str, object]] = {
    ("generator", "mlp"): {"hidden": (64,)},
    ("critic", "mlp"): {"hidden": (64,)},
    ("classifier", "mlp"): {"hidden": (64,)},
    ("generator", "conv"): {"channels": 64, "kernel": 5, "smallest": 4},
    ("critic", "conv"): {
        "channels": 64,
        "kernel": 5,
        "smallest": 4,
        "dense": 0,
        "norm": "batch",
        "norm_first": False,
        "slope": 0.2,
    },
    ("classifier", "conv"): {"channels": 64, "kernel": 5, "dense": 0},
}
