"""Build stacks of networks by role and choice; evaluate, copy and select their networks."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from genmix.base.validation import argument_kinds, check_values, short_repr
from genmix.nn.stacked import (
    Factory,
    Shape,
    StackedConv,
    StackedConvGenerator,
    StackedConvNet,
    StackedMLP,
    StackedModules,
)


@contextmanager
def keep_statistics(network: nn.Module, keep: bool = True) -> Iterator[None]:
    """Freeze running statistics, for batches of items that are not data (generated ones)."""
    momenta = {m: m.momentum for m in network.modules() if keep and isinstance(m, nn.BatchNorm1d)}
    for norm in momenta:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in momenta.items():
            norm.momentum = momentum


def normalizes_batches(network: nn.Module) -> bool:
    """Whether a network has batch normalisation, the networks of users' factories included."""
    templates = [t for m in network.modules() if isinstance(m, StackedModules) for t in m.template]
    norm = nn.modules.batchnorm._BatchNorm
    return any(isinstance(m, norm) for whole in (network, *templates) for m in whole.modules())


@torch.no_grad()
def network_outputs(
    network: nn.Module, items: Tensor, n: int, *, heads: int = 1, head: int = 0, batch_size: int = 2048
) -> Tensor:
    """Compute outputs ``[n, N, ...]`` of a stack for the same items ``[N, ...]``, float64 on the CPU.

    Of several `heads`, which divide the last dimension, those of one are kept. Tables are computed in
    float64: it is cheap, and the result does not depend on the batches.
    """
    device, dtype = next(network.parameters()).device, items.dtype
    if items.dim() == 2 and device.type != "mps":
        network, dtype = copy.deepcopy(network).double(), torch.float64
    batches = (x.to(device, dtype).expand(n, *x.shape) for x in items.split(batch_size))
    outputs = (network(x) for x in batches)
    if heads > 1:  # a copy, so that the others do not stay in memory
        outputs = (out.unflatten(-1, (heads, -1))[..., head, :].clone() for out in outputs)
    return torch.cat([out.cpu().double() for out in outputs], 1)


def recalibrate(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Recompute running statistics as the mean over batches, as averaged weights need."""
    update_bn(batches, network)
    network.eval()


def take_weights(network: nn.Module, fitted: nn.Module) -> None:
    """Load weights and running statistics of a fitted network; ValueError if its architecture differs."""
    state = fitted.state_dict()
    if {n: p.shape for n, p in network.state_dict().items()} != {n: p.shape for n, p in state.items()}:
        raise ValueError("init='fitted' needs the networks and latent dimensions fitted before")
    network.load_state_dict(state)


def dense_output(network: nn.Module) -> list[nn.Parameter]:
    """Parameters of the last layer of a dense stack; an empty list for other networks."""
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
            raise _no_stack(name, part, n_source)
        else:
            to.view(n_target, -1)[places] = part.view(n_source, -1)[chosen]


@torch.no_grad()
def select_networks(network: nn.Module, n: int, index: Tensor) -> nn.Module:
    """Make a stack, in the same mode, of copies of the networks `index` (int64 [M]) of a stack of `n`.

    Raises
    ------
    ValueError
        `network` is no stack of `n` networks.
    """
    parts: dict[int, Any] = {}  # what deepcopy takes instead of the whole
    for name, whole in chain(network.named_parameters(), network.named_buffers()):
        if whole.dim() == 0:  # counters of batch normalisation
            continue
        if whole.shape[0] % n:
            raise _no_stack(name, whole, n)
        part = whole.view(n, -1, *whole.shape[1:])[index.to(whole.device)].flatten(0, 1)
        is_parameter = isinstance(whole, nn.Parameter)
        parts[id(whole)] = nn.Parameter(part, whole.requires_grad) if is_parameter else part
    selected = copy.deepcopy(network, parts)
    for module in selected.modules():
        if isinstance(module, StackedConv):
            module.options["groups"] = len(index)
        elif isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.num_features = len(module.weight)
    return selected


def _no_stack(name: str, part: Tensor, n: int) -> ValueError:
    return ValueError(f"{name} of shape {tuple(part.shape)} does not belong to a stack of {n}")


#: "auto" takes dense networks for the GANs of items of at most so many numbers: on a CPU they reach good
#: samples of 28 x 28 images several times sooner than convolutional ones.
DENSE_LIMIT = 1024


def check_choice(role: str, choice: Any) -> None:
    """Raise ValueError unless `choice` is a name, a dictionary with one, or a factory."""
    kind = choice.get("kind", "auto") if isinstance(choice, dict) else choice
    if not isinstance(kind, str) and not callable(choice):
        raise ValueError(
            f"networks: {role}={short_repr(choice)}: expected 'auto', 'mlp', 'conv', a dict or a factory"
        )


def network_choices(networks: Any, roles: Sequence[str]) -> dict[str, Any]:
    """Choice of each role from a model's argument `networks`; ValueError for a key that is no role."""
    if isinstance(networks, dict) and not set(networks) <= set(roles):
        raise ValueError(
            f"networks has keys {sorted(map(str, networks))}; expected some of {', '.join(roles)}"
        )
    choices = {role: networks.get(role, "auto") if isinstance(networks, dict) else networks for role in roles}
    for role, choice in choices.items():
        check_choice(role, choice)
    return choices


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
        Purpose of the network; the last three are DNN-MM's: one for all components, and larger.
    choice : str, dict or callable
        "auto", "mlp", "conv" or "ganmm-2018" (the published code's networks); a dictionary
        ``{"kind": "mlp" or "conv", **options}`` with options of the stacked networks; or a `Factory`.
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
    images = len(data_shape) == 3
    options = dict(choice) if isinstance(choice, dict) else {"kind": choice}
    kind = options.pop("kind", "auto")
    if kind == "auto":
        small = role not in ("classifier", "encoder") and math.prod(data_shape) <= DENSE_LIMIT
        kind = "mlp" if not images or small or min(data_shape[1:]) < 4 else "conv"
    defaults = _OPTIONS
    if kind == "ganmm-2018" and (role, "mlp") in _PUBLISHED:
        kind, defaults = "conv" if images else "mlp", _PUBLISHED
    if kind not in ("mlp", "conv"):
        raise ValueError(
            f"networks: {role}={kind!r} is unknown; expected 'auto', 'mlp', 'conv', a dict or a factory"
        )
    if kind == "conv" and not images:
        raise ValueError(
            f"networks: {role}='conv' needs images, but the items have shape {data_shape}; use 'mlp'"
        )
    sigmoid = {"sigmoid_output": images} if generates and kind == "mlp" else {}
    options = {**defaults[role, kind], **sigmoid, **options}
    make = StackedMLP if kind == "mlp" else StackedConvGenerator if generates else StackedConvNet
    if unknown := set(options) - set(inspect.signature(make).parameters):
        raise ValueError(
            f"networks: {role}: {kind!r} networks have no option {', '.join(sorted(map(repr, unknown)))}"
        )
    check_values(options, argument_kinds(make), f"networks: {role}: ")
    return make(n, in_shape, out_shape, generator, **options)  # type: ignore[arg-type]


_OPTIONS: dict[tuple[str, str], dict[str, object]] = {
    ("generator", "mlp"): {"hidden": (64, 128), "norm": "batch"},
    ("generator", "conv"): {"channels": 16},
    ("critic", "mlp"): {"hidden": (128, 64), "negative_slope": 0.2},
    ("critic", "conv"): {"channels": 16, "dense": 0, "negative_slope": 0.2},
    ("classifier", "mlp"): {"hidden": (256, 256), "norm": "running"},
    ("classifier", "conv"): {"channels": 16, "dense": 128, "norm": "running", "small_start": True},
    ("decoder", "mlp"): {"hidden": (256, 512), "norm": "running"},
    ("decoder", "conv"): {"channels": 32, "norm": "running"},
    ("discriminator", "mlp"): {"hidden": (256, 128), "negative_slope": 0.2},
    ("discriminator", "conv"): {"channels": 32, "dense": 0, "negative_slope": 0.2},
    ("encoder", "mlp"): {"hidden": (256, 256), "norm": "running"},
    ("encoder", "conv"): {"channels": 16, "dense": 128, "norm": "running", "small_start": True},
}

#: Networks of the published GANMM code: a hidden layer of 64 for the UCI tables, WGAN's networks for images.
_PUBLISHED: dict[tuple[str, str], dict[str, object]] = {
    ("generator", "mlp"): {"hidden": (64,)},
    ("critic", "mlp"): {"hidden": (64,)},
    ("classifier", "mlp"): {"hidden": (64,)},
    ("generator", "conv"): {"channels": 64, "kernel": 5, "smallest": 4},
    ("critic", "conv"): {
        "channels": 64, "kernel": 5, "smallest": 4, "dense": 0, "negative_slope": 0.2,
        "norm": "batch", "norm_first": False,
    },
    ("classifier", "conv"): {"channels": 64, "kernel": 5, "dense": 0},
}  # fmt: skip
