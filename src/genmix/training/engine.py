"""Where and how a fit computes: device, precision, random generators, progress. Nothing global is touched."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from sklearn.utils import check_random_state
from torch import Tensor, nn

from genmix.base.device import resolve_device as resolve_device
from genmix.base.restoring import check_tensor, load_weights
from genmix.base.validation import Finite, Seed, argument_kinds, check_values, is_whole, short_repr


def flatten_parameters(parameters: Iterable[nn.Parameter]) -> nn.Parameter:
    """Put parameters of one device and type into one tensor, of which they become views."""
    parameters = list(parameters)
    flat = nn.Parameter(torch.cat([p.detach().flatten() for p in parameters]))
    parts = flat.detach().split([p.numel() for p in parameters])
    for parameter, part in zip(parameters, parts, strict=True):
        parameter.data = part.view_as(parameter)
    return flat


class Stateful:
    """What a checkpoint can hold: the attributes that a subclass names are all that changes in a fit."""

    _state: ClassVar[tuple[str, ...]] = ()
    engine: Engine  # tensors come back on its device

    def state_dict(self) -> dict[str, Any]:
        """Nested dictionary of tensors, numbers and None."""
        values = {name: getattr(self, name) for name in self._state}
        return {name: v.state_dict() if _has_state(v) else v for name, v in values.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to what `state_dict` returned; ValueError for anything else."""
        for name in self._state:
            own, value = getattr(self, name), state[name]
            if isinstance(own, nn.Module):
                load_weights(own, value)
            elif isinstance(own, Stateful):
                own.load_state_dict(value)
            else:
                _check_state(name, own, value)
                setattr(self, name, value.to(self.engine.device) if isinstance(value, Tensor) else value)


def _has_state(value: Any) -> bool:
    return isinstance(value, nn.Module | Stateful)


def _check_state(name: str, own: Any, value: Any) -> None:
    """Refuse a state of another type, shape or dtype than our own, or with numbers out of range."""
    if isinstance(own, Tensor) and isinstance(value, Tensor):
        check_tensor(name, value, own)
    elif type(own) is not type(value) or isinstance(own, Tensor):
        raise ValueError(f"{name} is {short_repr(value)}: expected a {type(own).__name__}")
    elif own is not None:
        check_values({name: value}, {name: int if isinstance(own, int) else Finite})
    if isinstance(value, int) and value >= 2**31:
        raise ValueError(f"{name}={value}: expected a count")


class FusedOptimizer(Stateful):
    """An optimiser of parameters that share one tensor: a step takes a few kernels, however many layers.

    Parameters
    ----------
    parameters : iterable of nn.Parameter
        Of one device and type; they become views of `flat`. Move the network to its device before.
    make : callable
        Makes the optimiser from ``[flat]`` and a learning rate.
    lr : float
        Initial learning rate.

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
        lr: float,
    ) -> None:
        self.parameters = list(parameters)
        self.flat = flatten_parameters(self.parameters)
        self.flat.grad = torch.zeros_like(self.flat)
        self._make = make
        self.optimizer = make([self.flat], lr)

    def step(self, loss: Tensor) -> None:
        """One step on `loss`; gradients are computed for these parameters only."""
        gradients = torch.autograd.grad(loss, self.parameters, materialize_grads=True)
        with torch.no_grad():
            torch.cat([gradient.flatten() for gradient in gradients], out=self.flat.grad)
        self.optimizer.step()

    def set_lr(self, lr: float) -> None:
        """Change the learning rate."""
        self.optimizer.param_groups[0]["lr"] = lr

    def reset_state(self) -> None:
        """Reset moments of gradients and the number of steps."""
        self.optimizer.state.clear()

    def state_dict(self) -> dict[str, Any]:
        """Learning rate and state of the optimiser; the parameters are their networks' state."""
        lr = self.optimizer.param_groups[0]["lr"]
        return {"lr": lr, "state": self.optimizer.state.get(self.flat, {})}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to what `state_dict` returned; ValueError for anything else."""
        check_values({"lr": state["lr"]}, {"lr": float})
        if state["state"]:
            self._check_moments(state["state"])
        own = {0: state["state"]} if state["state"] else {}
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": own, "param_groups": groups})
        self.set_lr(state["lr"])

    def _check_moments(self, moments: dict[str, Any]) -> None:
        """Refuse other moments than the optimiser has after a step, as one of a single number shows."""
        one = nn.Parameter(torch.zeros(1))
        one.grad = torch.zeros(1)
        probe = self._make([one], 1e-3)
        probe.step()
        expected = probe.state[one]
        if names := sorted(expected.keys() ^ moments.keys()):
            raise ValueError(f"the optimiser's {short_repr(names[0])} is missing, or unknown")
        for name, value in expected.items():
            if isinstance(value, Tensor) and isinstance(moments[name], Tensor):
                own = self.flat if value.dim() else value
                check_tensor(name, moments[name], torch.empty_like(own, device="meta"))
            else:
                _check_state(name, value, moments[name])


class AveragedNetwork(Stateful):
    """Exponential moving average of a network's parameters and running statistics.

    `torch.optim.swa_utils.AveragedModel` takes 2.6 to 11 times as long: parameters that share one tensor need
    one kernel.

    Parameters
    ----------
    source : nn.Module
        Network under training.
    optimizer : FusedOptimizer
        Its optimiser.
    decay : float
        Decay of the average, in [0, 1); the first steps are averaged evenly.

    Attributes
    ----------
    network : nn.Module
        The average, in evaluation mode.
    """

    _state = ("network", "steps")

    def __init__(self, source: nn.Module, optimizer: FusedOptimizer, decay: float) -> None:
        self.optimizer, self.decay, self.steps = optimizer, decay, 0
        self.network = copy.deepcopy(source).eval()
        self.flat = flatten_parameters(self.network.parameters())
        pairs = zip(self.network.buffers(), source.buffers(), strict=True)
        self.statistics = [(own, other) for own, other in pairs if own.is_floating_point()]

    @torch.no_grad()
    def update(self) -> None:
        """Move towards the network as it is now."""
        self.steps += 1
        weight = max(1 - self.decay, 1 / (self.steps + 1))
        self.flat.lerp_(self.optimizer.flat, weight)
        for own, other in self.statistics:
            own.lerp_(other, weight)


def resolve_precision(precision: str, device: torch.device) -> str:
    """Arithmetic for a name; "auto" is bfloat16 where the device has units for its products, else float32."""
    check_values({"precision": precision}, {"precision": Literal["auto", "float32", "bfloat16"]})
    if precision != "auto":
        return precision
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        capabilities = getattr(torch.cpu, "get_capabilities", None)  # older versions of torch cannot say
        fast = device.type == "cpu" and capabilities is not None and capabilities().get("amx_bf16", False)
    return "bfloat16" if fast else "float32"


class Engine(Stateful):
    """Device, precision and random generators of one fit; the one place that several processes would change.

    Parameters
    ----------
    device : str or torch.device
        "auto", "cpu", "cuda", "cuda:1", ...
    random_state : None, int or numpy.random.RandomState
        Seed of everything random in the fit.
    precision : {"auto", "float32", "bfloat16"}
        Arithmetic of the networks; "bfloat16" uses autocast, "auto" takes it where it is fast.
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
        random_state: Seed | np.random.RandomState | None = None,
        *,
        precision: str = "float32",
        verbose: int = 0,
    ) -> None:
        check_values({"random_state": random_state, "verbose": verbose}, argument_kinds(Engine))
        self.device = resolve_device(device)
        self.precision, self.verbose = resolve_precision(precision, self.device), verbose
        self.numpy_state = check_random_state(random_state)
        seed = self.seed()
        self.cpu_generator = torch.Generator().manual_seed(seed)
        self.generator = torch.Generator(self.device).manual_seed(seed)

    def state_dict(self) -> dict[str, Any]:
        """Where the random generators are."""
        name, key, *rest = self.numpy_state.get_state(legacy=True)
        return {
            "cpu_generator": self.cpu_generator.get_state(),
            "generator": self.generator.get_state(),
            "numpy": [name, torch.from_numpy(key.astype(np.int64)), *rest],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to where they were."""
        self.cpu_generator.set_state(state["cpu_generator"])
        self.generator.set_state(state["generator"])
        name, key, *rest = state["numpy"]
        check_tensor("numpy", key, torch.empty(624, dtype=torch.int64, device="meta"))
        position, has_gauss, gauss = rest
        if not (0 <= key.min() and key.max() < 2**32 and is_whole(position) and 0 <= position <= 624):
            raise ValueError("numpy: expected the state of a generator")
        check_values({"has_gauss": has_gauss, "gauss": gauss}, {"has_gauss": int, "gauss": Finite})
        self.numpy_state = np.random.RandomState()  # the one before may be everybody's
        self.numpy_state.set_state((name, key.numpy().astype(np.uint32), *rest))

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

    def progress(self, total: int, description: str, done: int = 0) -> Iterator[int]:
        """Count from `done` to `total`, with a bar and the time left where asked."""
        from tqdm import tqdm

        yield from tqdm(
            range(done, total), description, total, initial=done, unit="it", disable=not self.verbose
        )
