"""Devices by name, and what is brought from them to the host."""

from __future__ import annotations

import copy
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from genmix.base.validation import short_repr


def resolve_device(device: str | torch.device) -> torch.device:
    """Device for a name; "auto" is CUDA, else Apple's MPS, else the CPU. ValueError where it is not there."""
    if isinstance(device, str) and device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        if not isinstance(device, str | torch.device):
            raise TypeError
        resolved = torch.device(device)
        torch.empty(0, device=resolved)
        torch.Generator(resolved)  # "meta" has none
    except (RuntimeError, AssertionError, TypeError, ImportError) as error:
        raise ValueError(
            f"device={short_repr(device)} cannot be used here; pass 'auto', 'cpu' or a device of this machine"
        ) from error
    return resolved


def on_host(value: Any) -> Any:
    """Copy a tensor or network to the host; whatever is there, or is something else, is returned as it is."""
    if isinstance(value, Tensor):
        return value.cpu()
    if isinstance(value, nn.Module):
        tensors = chain(value.parameters(), value.buffers())
        return value if all(t.device.type == "cpu" for t in tensors) else copy.deepcopy(value).cpu()
    return value
