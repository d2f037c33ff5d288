"""Where and how a fit computes: device, precision, random generators, progress. Nothing global is touched."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from torch import Tensor, nn

from genmix.checks import argument_kinds, check_values, shown


def resolve_device(device: str | torch.device) -> torch.device:
    """Device for a name; "auto" is CUDA, else Apple's MPS, else the CPU.

    Raises
    ------
    ValueError
        The name is unknown or the device is not there.
    """
    if isinstance(device, str) and device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        if not isinstance(device, str | torch.device):
            raise TypeError
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, TypeError) as error:
        raise ValueError(
            f"device={shown(device)} cannot be used here; pass 'auto', 'cpu' or a device of this machine"
        ) from error
    return found


def flatten_parameters(parameters: Iterable[nn.Parameter]) -> nn.Parameter:
    """Put parameters of one device and type into one tensor, of which they become views."""
    parameters = list(parameters)
    flat = nn.Parameter(torch.cat([p.detach().flatten() for p in parameters]))
    parts = flat.detach().split([p.numel() for p in parameters])
    for parameter, part in zip(parameters, parts, strict=True):
        parameter.data = part.view_as(parameter)
    return flat


class FlatOptimizer:
    """An optimiser of parameters that lie in one tensor: a step is a few kernels for any number of layers.

    Parameters
    ----------
    parameters : iterable of nn.Parameter
        Of one device and type; from now on views of `flat`. Move the network to its device before.
    make : callable
        Makes the optimiser from ``[flat]`` and a learning rate.
    rate : float
        Learning rate to begin with.

    Attributes
    ----------
    flat : nn.Parameter [P]
        All parameters in their order.
    optimizer : torch.optim.Optimizer
        What `make` returned.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        make: Callable[[list[nn.Parameter], float], torch.optim.Optimizer],
        rate: float,
    ) -> None:
        self.parameters = list(parameters)
        self.flat = flatten_parameters(self.parameters)
        self.flat.grad = torch.zeros_like(self.flat)
        self.optimizer = make([self.flat], rate)

    def minimize(self, loss: Tensor) -> None:
        """One step on `loss`; gradients are computed for these parameters only."""
        gradients = torch.autograd.grad(loss, self.parameters, materialize_grads=True)
        torch.cat([gradient.flatten() for gradient in gradients], out=self.flat.grad)
        self.optimizer.step()

    def set_rate(self, rate: float) -> None:
        """Change the learning rate."""
        self.optimizer.param_groups[0]["lr"] = rate

    def forget(self) -> None:
        """Begin anew: no averages of gradients, no count of steps."""
        self.optimizer.state.clear()


class AveragedNetwork:
    """A copy of a network under training that follows its parameters and running statistics slowly.

    Parameters
    ----------
    source : nn.Module
        The network; `optimizer` holds its parameters.
    optimizer : FlatOptimizer
        What trains it.
    factor : float
        Forgetting factor of the average, in [0, 1); of the first steps the plain mean is taken.

    Attributes
    ----------
    network : nn.Module
        The average, in evaluation mode.
    """

    def __init__(self, source: nn.Module, optimizer: FlatOptimizer, factor: float) -> None:
        self.optimizer, self.factor, self.steps = optimizer, factor, 0
        self.network = copy.deepcopy(source).eval()
        self.flat = flatten_parameters(self.network.parameters())
        pairs = zip(self.network.buffers(), source.buffers(), strict=True)
        self.statistics = [(own, other) for own, other in pairs if own.is_floating_point()]

    @torch.no_grad()
    def update(self) -> None:
        """Move towards the network as it is now."""
        self.steps += 1
        weight = max(1 - self.factor, 1 / (self.steps + 1))
        self.flat.lerp_(self.optimizer.flat, weight)
        for own, other in self.statistics:
            own.lerp_(other, weight)


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

        given = {"random_state": random_state, "precision": precision, "verbose": verbose}
        check_values(given, argument_kinds(Engine), {})
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
