"""Where and how a fit computes: device, precision, random generators, progress. Nothing global is touched."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from torch import Tensor, nn


def resolve_device(device: str | torch.device) -> torch.device:
    """Device for a name; "auto" is CUDA, else Apple's MPS, else the CPU.

    Raises
    ------
    ValueError
        The name is unknown or the device is not there.
    """
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, TypeError) as error:
        raise ValueError(
            f"device={device!r} cannot be used here; pass 'auto', 'cpu' or a device of this machine"
        ) from error
    return found


class Engine:
    """Device, precision and random generators of one fit; the one place that several processes would change.

    Parameters
    ----------
    device : str or torch.device
        "auto", "cpu", "cuda", "cuda:1", ...
    random_state : None, int or numpy.random.RandomState
        Seed of everything random in the fit.
    precision : {"float32", "bfloat16"}
        Arithmetic of the networks; "bfloat16" uses autocast.
    verbose : int
        0 is silent; 1 shows a progress bar with the time left.

    Attributes
    ----------
    cpu_generator : torch.Generator
        For initial weights: the same start on every device.
    generator : torch.Generator
        For everything drawn on the device.
    """

    def __init__(
        self,
        device: str | torch.device = "auto",
        random_state: int | np.random.RandomState | None = None,
        *,
        precision: str = "float32",
        verbose: int = 0,
    ) -> None:
        from sklearn.utils import check_random_state

        if precision not in ("float32", "bfloat16"):
            raise ValueError(f"precision={precision!r}: expected 'float32' or 'bfloat16'")
        self.device = resolve_device(device)
        self.precision, self.verbose = precision, verbose
        self.numpy_state = check_random_state(random_state)
        seed = int(self.numpy_state.randint(2**31 - 1))
        self.cpu_generator = torch.Generator().manual_seed(seed)
        self.generator = torch.Generator(self.device).manual_seed(seed)

    def seed(self) -> int:
        """Return a fresh seed for a library that wants an integer."""
        return int(self.numpy_state.randint(2**31 - 1))

    def autocast(self) -> AbstractContextManager[object]:
        """Context in which networks run in the chosen precision."""
        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    def minimize(self, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
        """One step of `optimizer` on `loss`; gradients are computed for its own parameters only."""
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        optimizer.step()

    def place(self, module: nn.Module) -> nn.Module:
        """Move a network to the device."""
        return module.to(self.device)

    def progress(self, total: int, description: str) -> Iterator[int]:
        """Count to `total`, with a bar and the time left where asked."""
        if not self.verbose:
            yield from range(total)
            return
        from tqdm import tqdm

        with tqdm(total=total, desc=description, unit="it", leave=True) as bar:
            for index in range(total):
                yield index
                bar.update()
