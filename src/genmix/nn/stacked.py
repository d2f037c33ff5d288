"""Networks for K components, computed as one.

Every network here is a *stack*: ``n`` networks of one architecture whose weights share one tensor, mapping
``[n, B, *in_shape]`` to ``[n, B, *out_shape]``. Tables use batched matrix products, images grouped
convolutions, networks of the user's own ``torch.func.vmap``; no Python loop runs over the components.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from itertools import pairwise, repeat
from typing import Any, Literal, Protocol, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genmix.base.restoring import claim
from genmix.base.validation import PositiveInt

Shape = tuple[int, ...]

#: Batch normalisation by the batch at hand, or by running statistics.
Norm = Literal["batch", "running"]


class Factory(Protocol):
    """What users may give for a network."""

    def __call__(self, in_shape: Shape, out_dim: int) -> nn.Module:
        """Build one network from ``[B, *in_shape]`` to ``[B, out_dim]``."""


def _uniform(shape: Shape, bound: float, generator: torch.Generator) -> nn.Parameter:
    if claim(*shape, tensors=2):  # a bias goes with it
        return nn.Parameter(torch.zeros(shape))
    return nn.Parameter((torch.rand(shape, generator=generator) * 2 - 1) * bound)


def _rectify(x: Tensor, negative_slope: float) -> Tensor:
    return F.leaky_relu(x, negative_slope) if negative_slope else x.relu()


class StackedLinear(nn.Module):
    """``n`` dense layers as one batched matrix product, Glorot-uniform weights and zero biases.

    Parameters
    ----------
    n : int
        Number of layers in the stack.
    in_features, out_features : int
        Width before and after.
    generator : torch.Generator
        Source of the initial weights.
    """

    def __init__(self, n: int, in_features: int, out_features: int, generator: torch.Generator) -> None:
        super().__init__()
        bound = math.sqrt(6 / (in_features + out_features))
        self.weight = _uniform((n, in_features, out_features), bound, generator)
        self.bias = nn.Parameter(torch.zeros(n, 1, out_features))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[n, B, in_features]`` to ``[n, B, out_features]``."""
        return torch.baddbmm(self.bias, x, self.weight)


class StackedConv(nn.Module):
    """``n`` convolutions of stride 2 as one grouped convolution on ``[B, n * channels, H, W]``.

    Parameters
    ----------
    n : int
        Number of layers in the stack.
    in_channels, out_channels : int
        Channels of each network.
    kernel : int
        Side of the kernel; half of an odd side is rounded up where this is odd, too, else down.
    generator : torch.Generator
        Source of the initial weights (He-uniform).
    transposed : bool
        Double the sides instead of halving them.
    """

    def __init__(
        self,
        n: int,
        in_channels: int,
        out_channels: int,
        generator: torch.Generator,
        *,
        kernel: int = 4,
        transposed: bool = False,
    ) -> None:
        super().__init__()
        fan_in = in_channels * kernel**2 // (4 if transposed else 1)
        shape = (n * in_channels, out_channels) if transposed else (n * out_channels, in_channels)
        self.weight = _uniform((*shape, kernel, kernel), math.sqrt(6 / max(fan_in, 1)), generator)
        self.bias = nn.Parameter(torch.zeros(n * out_channels))
        self.options = {"stride": 2, "padding": (kernel - 1) // 2, "groups": n}
        if transposed:
            self.options["output_padding"] = kernel % 2  # odd kernels double the size too
        self.transposed = transposed

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, n * in_channels, H, W]`` to ``[B, n * out_channels, H', W']``."""
        convolve = F.conv_transpose2d if self.transposed else F.conv2d
        return convolve(x, self.weight, self.bias, **self.options)


class _BatchNorm(nn.BatchNorm1d):
    """Batch normalisation of vectors and of images, whatever their memory format."""

    def _check_input_dim(self, input: Tensor) -> None:
        pass


class StackedNorm(nn.Module):
    """Batch normalisation of each network of a stack on its own batch.

    Parameters
    ----------
    channels : int
        Features of the whole stack (``n * features``).
    running : bool
        Keep running statistics for evaluation. GANs normalise by the batch at hand, as in the papers.
    """

    def __init__(self, channels: int, *, running: bool) -> None:
        super().__init__()
        self.norm = _BatchNorm(channels, track_running_stats=running)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``[n, B, features]`` over B, or ``[B, n * channels, H, W]`` over B, H and W."""
        if x.dim() == 4:
            return self.norm(x)
        return self.norm(x.transpose(0, 1).flatten(1)).view(x.shape[1], len(x), -1).transpose(0, 1)


class StackedMLP(nn.Module):
    """``n`` multilayer perceptrons.

    Parameters
    ----------
    n : int
        Number of networks.
    in_shape, out_shape : tuple of int
        Shape of one item before and after; both are flattened inside.
    generator : torch.Generator
        Source of the initial weights.
    hidden : sequence of int
        Widths of the hidden layers.
    norm : {None, "batch", "running"}
        Batch normalisation after each hidden layer, without or with running statistics.
    negative_slope : float
        Slope of the rectifier for negative inputs (0 is ReLU).
    sigmoid_output : bool
        End in a sigmoid, for data in [0, 1].
    """

    def __init__(
        self,
        n: int,
        in_shape: Shape,
        out_shape: Shape,
        generator: torch.Generator,
        *,
        hidden: Sequence[PositiveInt] = (64,),
        norm: Norm | None = None,
        negative_slope: float = 0.0,
        sigmoid_output: bool = False,
    ) -> None:
        super().__init__()
        widths = [math.prod(in_shape), *hidden, math.prod(out_shape)]
        self.layers = nn.ModuleList(StackedLinear(n, a, b, generator) for a, b in pairwise(widths))
        running = norm == "running"
        self.norms = nn.ModuleList(StackedNorm(n * width, running=running) for width in hidden if norm)
        self.out_shape, self.negative_slope, self.sigmoid_output = out_shape, negative_slope, sigmoid_output

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[n, B, *in_shape]`` to ``[n, B, *out_shape]``."""
        x = x.flatten(2)
        *hidden, last = self.layers  # a slice of a ModuleList would be built anew, at the cost of a layer
        for layer, norm in zip(hidden, self.norms or repeat(None), strict=False):
            x = layer(x)
            x = _rectify(x if norm is None else norm(x), self.negative_slope)
        x = last(x)
        return (x.sigmoid() if self.sigmoid_output else x).reshape(*x.shape[:2], *self.out_shape)


class StackedConvNet(nn.Module):
    """``n`` convolutional networks from images ``[C, H, W]`` to vectors: classifiers and critics.

    Each block halves the image (stride 2) until its sides are at most `smallest` pixels; then a dense layer
    of `dense` units (none if 0) and the output.

    Parameters
    ----------
    n, in_shape, out_shape, generator
        As in `StackedMLP`; `in_shape` is ``(C, H, W)``.
    channels : int
        Channels after the first block; doubled by each further one.
    dense : int
        Width of that dense layer; 0 leaves it out.
    norm, negative_slope
        As in `StackedMLP`.
    kernel : int
        4, or 5 as in the GANMM code.
    smallest : int
        Halving stops once both sides are at most so many pixels.
    norm_first : bool
        Normalise after the first convolution too; the GANMM code's critics do not.
    small_start : bool
        Scale initial weights to at most ``1 / sqrt(fan_in)``. Under batch normalisation smaller weights learn
        faster: information maximisation then takes fewer steps.
    """

    def __init__(
        self,
        n: int,
        in_shape: Shape,
        out_shape: Shape,
        generator: torch.Generator,
        *,
        channels: PositiveInt = 16,
        dense: int = 128,
        norm: Norm | None = None,
        negative_slope: float = 0.0,
        kernel: PositiveInt = 4,
        smallest: PositiveInt = 7,
        norm_first: bool = True,
        small_start: bool = False,
    ) -> None:
        super().__init__()
        width, size = in_shape[0], in_shape[1:]
        self.convs, self.norms = nn.ModuleList(), nn.ModuleList()
        while not self.convs or (max(size) > smallest and min(size) >= 4):
            out = channels * 2 ** len(self.convs)
            use_norm = norm is not None and (norm_first or len(self.convs) > 0)
            self.convs.append(StackedConv(n, width, out, generator, kernel=kernel))
            self.norms.append(StackedNorm(n * out, running=norm == "running") if use_norm else nn.Identity())
            width, size = out, tuple((side + kernel % 2) // 2 for side in size)
        self.negative_slope = negative_slope
        flat, hidden = (width * math.prod(size),), (dense,) if dense else ()
        self.head = StackedMLP(
            n, flat, out_shape, generator, hidden=hidden, norm=norm, negative_slope=negative_slope
        )
        if small_start:
            for layer in [*self.convs, *self.head.layers]:
                weight = layer.weight.detach()  # shares the parameter's memory
                fan_in = weight[0].numel() if weight.dim() == 4 else weight.shape[1]
                weight.mul_(fan_in**-0.5 / weight.abs().max())

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[n, B, C, H, W]`` to ``[n, B, *out_shape]``."""
        n, batch = x.shape[:2]
        x = _channels_last(x.transpose(0, 1).flatten(1, 2))
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = _rectify(norm(conv(x)), self.negative_slope)
        return self.head(x.reshape(batch, n, -1).transpose(0, 1))


def _channels_last(x: Tensor) -> Tensor:
    """Use the memory format in which CPUs convolve 10 to 20 % faster; other devices keep theirs."""
    if x.device.type != "cpu":
        return x
    if x.shape[1] > 1:
        return x.contiguous(memory_format=torch.channels_last)
    height, width = x.shape[2:]  # with one channel both orders are the same: only the strides tell
    return x.contiguous().as_strided(x.shape, (height * width, 1, width, 1))


class StackedConvGenerator(nn.Module):
    """``n`` generators from noise to images ``[C, H, W]`` in [0, 1].

    A dense layer to a small image, then transposed convolutions (kernel 4, stride 2) that double it; the last
    one is cropped to the wanted size.

    Parameters
    ----------
    n, in_shape, out_shape, generator
        As in `StackedMLP`; `out_shape` is ``(C, H, W)``.
    channels : int
        Channels before the last layer; doubled towards the noise.
    smallest : int
        The first image has sides of at most so many pixels.
    kernel : int
        4, or 5 as in the GANMM code.
    norm : {"batch", "running"}
        Batch normalisation without or with running statistics.
    """

    def __init__(
        self,
        n: int,
        in_shape: Shape,
        out_shape: Shape,
        generator: torch.Generator,
        *,
        channels: PositiveInt = 16,
        smallest: PositiveInt = 7,
        kernel: PositiveInt = 4,
        norm: Norm = "batch",
    ) -> None:
        super().__init__()
        sizes = [out_shape[1:]]
        while max(sizes[0]) > smallest:
            sizes.insert(0, tuple(-(-side // 2) for side in sizes[0]))
        widths = [*(channels * 2**i for i in reversed(range(len(sizes) - 1))), out_shape[0]]
        self.first = StackedLinear(n, math.prod(in_shape), widths[0] * math.prod(sizes[0]), generator)
        self.convs = nn.ModuleList(
            StackedConv(n, a, b, generator, kernel=kernel, transposed=True) for a, b in pairwise(widths)
        )
        self.norms = nn.ModuleList(StackedNorm(n * width, running=norm == "running") for width in widths[:-1])
        self.sizes, self.widths, self.out_shape = sizes, widths, out_shape

    def forward(self, z: Tensor) -> Tensor:
        """Map noise ``[n, B, latent_dim]`` to images ``[n, B, C, H, W]``."""
        n, batch = z.shape[:2]
        x = self.first(z).transpose(0, 1).reshape(batch, n * self.widths[0], *self.sizes[0])
        for norm, conv, (height, width) in zip(self.norms, self.convs, self.sizes[1:], strict=True):
            x = conv(norm(x).relu())[:, :, :height, :width]
        return x.reshape(batch, n, *self.out_shape).transpose(0, 1).sigmoid()


class StackedModules(nn.Module):
    """``n`` networks of the user's own factory, run as one by `torch.func.vmap`.

    Parameters
    ----------
    factory : callable
        As `Factory`. Layers that update buffers in training (batch normalisation with running statistics)
        cannot be stacked: use ``track_running_stats=False`` or layer normalisation. Random layers, such as
        dropout, may be random in training only.
    n, in_shape, out_shape, generator
        As in `StackedMLP`; the output is reshaped to `out_shape`.

    Notes
    -----
    Users' layers draw from the global generators, which are seeded for each forward pass in training and then
    restored. The seed is part of `state_dict`, so that training goes on with the same bits; threads take
    turns, as there is only one global generator.
    """

    def __init__(
        self, n: int, in_shape: Shape, out_shape: Shape, generator: torch.Generator, *, factory: Factory
    ) -> None:
        super().__init__()
        self.seed = int(torch.randint(2**31, (), generator=generator))
        with _GLOBAL_GENERATORS, _seeded(self.seed, torch.device("cpu")):
            modules = [factory(in_shape, math.prod(out_shape))]
            for tensor in modules[0].parameters():
                claim(n, *tensor.shape)
            modules += [factory(in_shape, math.prod(out_shape)) for _ in range(n - 1)]
        parameters, buffers = torch.func.stack_module_state(modules)
        self.names = list(parameters)
        self.stacked = nn.ParameterList(nn.Parameter(parameters[name].detach()) for name in self.names)
        self.buffer_names = list(buffers)
        for index, value in enumerate(buffers.values()):
            self.register_buffer(f"buffer_{index}", value)
        self.template = [modules[0].to("meta")]  # in a list: its parameters are not to be registered as ours
        self.out_shape = out_shape

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[n, B, *in_shape]`` to ``[n, B, *out_shape]``."""
        parameters = dict(zip(self.names, self.stacked, strict=True))
        buffers = {name: getattr(self, f"buffer_{index}") for index, name in enumerate(self.buffer_names)}

        def one(state: tuple[dict[str, Tensor], dict[str, Tensor]], batch: Tensor) -> Tensor:
            return torch.func.functional_call(self.template[0], state, (batch,))

        if self.training:
            self.seed = (self.seed + 1) % 2**31  # dropout differs from one call to the next
        # In evaluation too: `functional_call` puts the parameters into the template while it runs.
        with _GLOBAL_GENERATORS, _seeded(self.seed, x.device) if self.training else nullcontext():
            out = torch.vmap(one, randomness="different")((parameters, buffers), x)
        return out.reshape(*x.shape[:2], *self.out_shape)

    def train(self, mode: bool = True) -> Self:
        """Switch layers such as dropout on or off, in the template too."""
        self.template[0].train(mode)
        return super().train(mode)

    def get_extra_state(self) -> Tensor:
        """Seed of the last forward pass in training."""
        return torch.tensor(self.seed)

    def set_extra_state(self, state: Tensor) -> None:
        """Go on after that forward pass."""
        self.seed = int(state)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *others: Any) -> None:
        state_dict.setdefault(f"{prefix}_extra_state", self.get_extra_state())  # version 0.1 had no seed
        super()._load_from_state_dict(state_dict, prefix, *others)


#: Held while networks of users run. Reentrant, as one may hold a stack of its own.
_GLOBAL_GENERATORS = threading.RLock()


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed the global generators that users' layers draw from, and restore them."""
    cuda = device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if cuda else []):
        torch.default_generator.manual_seed(seed)
        if cuda:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield
