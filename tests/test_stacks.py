"""Stacks of networks equal a Python loop over separate torch.nn networks with the same weights."""

from __future__ import annotations

import math
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor, nn

from genmix.nn.build import build_stack
from genmix.nn.stacked import (
    StackedConv,
    StackedConvGenerator,
    StackedConvNet,
    StackedLinear,
    StackedMLP,
    StackedModules,
    StackedNorm,
)

N = 3  # networks in a stack
SIZES = [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 64, 64), (1, 30, 20), (2, 5, 5)]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def shaken(stack: nn.Module) -> nn.Module:
    """The stack in float64 with no parameter at a special value (biases of zero, norms of one)."""
    stack = stack.double()
    for index, parameter in enumerate(stack.parameters()):
        parameter.data += 0.1 * normal(*parameter.shape, seed=1000 + index)
    return stack


# ---------------------------------------------------------------- the same networks, one by one, of torch.nn


def given(module: nn.Module, k: int, n: int, **sources: nn.Parameter) -> nn.Module:
    """Give a torch.nn layer the weights of network k of a stack, and remember where they came from."""
    for name, source in sources.items():
        parameter = getattr(module, name)
        parameter.data = slice_of(source.detach(), k, n, parameter.shape).clone()
        parameter.source = (source, k)
    return module.double()


def slice_of(stacked: Tensor, k: int, n: int, shape: torch.Size) -> Tensor:
    part = stacked.reshape(n, -1, *stacked.shape[1:])[k]
    if part.dim() == 3 and part.shape[0] == 1:
        part = part[0]
    return (part.T if part.dim() == 2 and part.T.shape == shape else part).reshape(
        shape
    )  # dense: [in, out] here


def one_linear(layer: StackedLinear, k: int) -> nn.Module:
    n, into, out = layer.weight.shape
    return given(nn.Linear(into, out), k, n, weight=layer.weight, bias=layer.bias)


def one_conv(layer: StackedConv, k: int, n: int) -> nn.Module:
    first, second = layer.weight.shape[0] // n, layer.weight.shape[1]
    options = {key: value for key, value in layer.options.items() if key != "groups"}
    kind, (out, into) = (
        (nn.Conv2d, (first, second)) if not layer.transposed else (nn.ConvTranspose2d, (second, first))
    )
    return given(
        kind(into, out, layer.weight.shape[-1], **options), k, n, weight=layer.weight, bias=layer.bias
    )


def one_norm(layer: StackedNorm, k: int, n: int, dims: int) -> nn.Module:
    norm = layer.norm
    kind = nn.BatchNorm2d if dims == 4 else nn.BatchNorm1d
    made = kind(len(norm.weight) // n, track_running_stats=norm.track_running_stats)
    return given(made, k, n, weight=norm.weight, bias=norm.bias)


def loop_mlp(stack: StackedMLP, n: int) -> list[nn.Sequential]:
    made = []
    for k in range(n):
        layers: list[nn.Module] = [nn.Flatten()]
        for index, layer in enumerate(stack.layers):
            layers.append(one_linear(layer, k))
            if index < len(stack.layers) - 1:
                if len(stack.norms):
                    layers.append(one_norm(stack.norms[index], k, n, 2))
                layers.append(nn.LeakyReLU(stack.negative_slope))
        layers += [nn.Sigmoid()] * stack.sigmoid_output
        made.append(
            nn.Sequential(*layers, nn.Unflatten(1, stack.out_shape) if stack.out_shape else nn.Flatten(0))
        )
    return made


def loop_conv(stack: StackedConvNet, n: int) -> list[nn.Sequential]:
    heads = loop_mlp(stack.head, n)
    made = []
    for k in range(n):
        layers: list[nn.Module] = []
        for conv, norm in zip(stack.convs, stack.norms, strict=True):
            layers.append(one_conv(conv, k, n))
            if isinstance(norm, StackedNorm):
                layers.append(one_norm(norm, k, n, 4))
            layers.append(nn.LeakyReLU(stack.negative_slope))
        made.append(nn.Sequential(*layers, heads[k]))
    return made


class Crop(nn.Module):
    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.height, self.width = height, width

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, : self.height, : self.width]


def loop_generator(stack: StackedConvGenerator, n: int) -> list[nn.Sequential]:
    made = []
    for k in range(n):
        layers: list[nn.Module] = [
            one_linear(stack.first, k),
            nn.Unflatten(1, (stack.widths[0], *stack.sizes[0])),
        ]
        for norm, conv, size in zip(stack.norms, stack.convs, stack.sizes[1:], strict=True):
            layers += [one_norm(norm, k, n, 4), nn.ReLU(), one_conv(conv, k, n), Crop(*size)]
        made.append(nn.Sequential(*layers, nn.Sigmoid()))
    return made


def check_equal(stack: nn.Module, networks: list[nn.Sequential], x: Tensor) -> None:
    """Outputs, gradients by the input and gradients by every parameter agree."""
    x = x.requires_grad_()
    out = stack(x)
    expected = [network(x[k]) for k, network in enumerate(networks)]
    torch.testing.assert_close(out, torch.stack(expected), atol=1e-10, rtol=1e-8)
    weight = normal(*out.shape, seed=77)
    parameters = list(stack.parameters())
    by_input, *by_parameter = torch.autograd.grad((out * weight).sum(), [x, *parameters])
    sum((y * weight[k]).sum() for k, y in enumerate(expected)).backward()
    torch.testing.assert_close(by_input, x.grad, atol=1e-8, rtol=1e-8)
    gradients = {id(p): gradient for p, gradient in zip(parameters, by_parameter, strict=True)}
    compared = 0
    for network in networks:
        for parameter in network.parameters():
            source, k = parameter.source
            mine = slice_of(gradients[id(source)], k, len(networks), parameter.shape)
            torch.testing.assert_close(mine, parameter.grad, atol=1e-8, rtol=1e-8)
            compared += parameter.numel()
    assert compared == sum(p.numel() for p in parameters)


@pytest.mark.parametrize("norm", [None, "batch", "running"])
@pytest.mark.parametrize("hidden", [(), (5,), (7, 4)])
@pytest.mark.parametrize(("negative_slope", "sigmoid_output"), [(0.0, False), (0.2, True)])
def test_dense_stack_equals_a_loop(
    hidden: tuple[int, ...], norm: str | None, negative_slope: float, sigmoid_output: bool
) -> None:
    stack = shaken(
        StackedMLP(
            N,
            (2, 3),
            (2, 2),
            generator(),
            hidden=hidden,
            norm=norm,
            negative_slope=negative_slope,
            sigmoid_output=sigmoid_output,
        )
    )
    check_equal(stack, loop_mlp(stack, N), normal(N, 6, 2, 3))


@pytest.mark.parametrize("shape", SIZES, ids=str)
@pytest.mark.parametrize("kernel", [4, 5])
def test_convolutional_stack_equals_a_loop(shape: tuple[int, int, int], kernel: int) -> None:
    stack = shaken(
        StackedConvNet(
            N, shape, (4,), generator(), channels=2, dense=6, norm="batch", negative_slope=0.2, kernel=kernel
        )
    )
    check_equal(stack, loop_conv(stack, N), normal(N, 4, *shape))


@pytest.mark.parametrize("norm", [None, "running"])
@pytest.mark.parametrize("norm_first", [True, False])
def test_convolutional_options_equal_a_loop(norm: str | None, norm_first: bool) -> None:
    stack = StackedConvNet(
        N, (1, 12, 12), (), generator(), channels=2, dense=0, norm=norm, norm_first=norm_first, smallest=4
    )
    stack = shaken(stack)
    check_equal(stack, loop_conv(stack, N), normal(N, 4, 1, 12, 12))


@pytest.mark.parametrize("shape", SIZES, ids=str)
@pytest.mark.parametrize("kernel", [4, 5])
def test_convolutional_generators_equal_a_loop(shape: tuple[int, int, int], kernel: int) -> None:
    stack = shaken(StackedConvGenerator(N, (6,), shape, generator(), channels=2, kernel=kernel))
    check_equal(stack, loop_generator(stack, N), normal(N, 4, 6))
    images = stack(normal(N, 4, 6))
    assert images.shape == (N, 4, *shape)
    assert images.min() >= 0
    assert images.max() <= 1


def test_running_statistics_equal_a_loop() -> None:
    """Evaluation mode answers for one item as for many, each network with its own statistics."""
    stack = shaken(StackedMLP(N, (4,), (2,), generator(), hidden=(5,), norm="running"))
    networks = loop_mlp(stack, N)
    for seed in range(4):
        x = normal(N, 8, 4, seed=seed) * torch.arange(1, N + 1)[:, None, None]
        stack(x)
        for k, network in enumerate(networks):
            network(x[k])
    stack.eval()
    x = normal(N, 5, 4, seed=9)
    expected = torch.stack([network.eval()(x[k]) for k, network in enumerate(networks)])
    torch.testing.assert_close(stack(x), expected)
    torch.testing.assert_close(stack(x[:, :1]), expected[:, :1])


# ---------------------------------------------------------------- networks of the user's


def user_factory(in_shape: tuple[int, ...], out_dim: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(in_shape[0], 3, 3),
        nn.LayerNorm([3, in_shape[1] - 2, in_shape[2] - 2]),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(3 * (in_shape[1] - 2) * (in_shape[2] - 2), out_dim),
    )


def test_user_networks_equal_a_loop() -> None:
    stack = StackedModules(N, (1, 6, 5), (2, 2), generator(), factory=user_factory).double()
    x = normal(N, 4, 1, 6, 5)
    networks = [user_factory((1, 6, 5), 4).double() for _ in range(N)]
    for k, network in enumerate(networks):
        for parameter, value in zip(network.parameters(), stack.stacked, strict=True):
            parameter.data = value[k].detach().clone()
    out = stack(x)
    expected = torch.stack([network(x[k]) for k, network in enumerate(networks)]).view(N, 4, 2, 2)
    torch.testing.assert_close(out, expected)
    grads = torch.autograd.grad(out.square().sum(), list(stack.parameters()))
    expected.square().sum().backward()
    for index, grad in enumerate(grads):
        for k, network in enumerate(networks):
            torch.testing.assert_close(grad[k], list(network.parameters())[index].grad)


def test_user_networks_differ_and_follow_the_seed() -> None:
    first, again, other = (
        StackedModules(N, (1, 6, 5), (2,), generator(seed), factory=user_factory) for seed in (1, 1, 2)
    )
    for a, b, c in zip(first.stacked, again.stacked, other.stacked, strict=True):
        assert torch.equal(a, b)
        if a.std() > 0.01:  # normalisation layers begin at ones and zeros
            assert not torch.equal(a, c)
            assert not torch.equal(a[0], a[1])


def test_buffers_of_user_networks_are_stacked() -> None:
    class Shift(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.dense = nn.Linear(3, 2)
            self.register_buffer("offset", torch.full((2,), 5.0))

        def forward(self, x: Tensor) -> Tensor:
            return self.dense(x) + self.offset

    stack = build_stack("classifier", lambda in_shape, out_dim: Shift(), 2, (3,), (2,), generator())
    x = torch.zeros(2, 4, 3)
    assert torch.allclose(stack(x).mean((1, 2)), 5 + stack.stacked[1].mean(1))
    assert [buffer.shape for buffer in stack.buffers()] == [(2, 2)]


def test_dropout_of_users_rests_in_evaluation_and_follows_the_seed() -> None:
    def factory(in_shape: tuple[int, ...], out_dim: int) -> nn.Module:
        return nn.Sequential(nn.Linear(in_shape[0], 50), nn.Dropout(0.5), nn.Linear(50, out_dim))

    stack, again = (StackedModules(2, (3,), (2,), generator(4), factory=factory) for _ in range(2))
    x, before = torch.ones(2, 5, 3), torch.get_rng_state()
    first, second = stack(x), stack(x)
    assert not torch.equal(first, second)
    assert not torch.equal(first[0, 0], first[0, 1])  # every item has its own
    assert torch.equal(first, again(x))
    assert torch.equal(second, again(x))
    stack.eval()
    assert torch.equal(stack(x), stack(x))
    stack.train()
    assert not torch.equal(stack(x), stack(x))
    assert torch.equal(before, torch.get_rng_state())


def dropout_factory(in_shape: tuple[int, ...], out_dim: int) -> nn.Module:
    return nn.Sequential(nn.Linear(in_shape[0], 30), nn.Dropout(0.5), nn.Linear(30, out_dim))


def dropout_stack(seed: int = 4) -> StackedModules:
    return StackedModules(2, (3,), (2,), generator(seed), factory=dropout_factory)


def trained(stack: nn.Module, steps: int) -> dict[str, Tensor]:
    optimizer = torch.optim.SGD(stack.parameters(), 0.05)
    x = torch.randn(2, 8, 3, generator=generator(1))
    for _ in range(steps):
        gradients = torch.autograd.grad(stack(x).square().mean(), list(stack.parameters()))
        for parameter, gradient in zip(stack.parameters(), gradients, strict=True):
            parameter.grad = gradient
        optimizer.step()
    return {name: value.clone() for name, value in stack.state_dict().items()}


def assert_equal_bits(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


def test_training_of_users_dropout_goes_on_with_the_same_bits() -> None:
    stack, later = dropout_stack(), dropout_stack(seed=9)
    kept = trained(stack, 3)
    assert all(isinstance(value, Tensor) for value in kept.values())  # what safetensors can hold
    later.load_state_dict(kept)
    assert_equal_bits(trained(later, 3), trained(stack, 3))


def test_evaluation_of_users_dropout_does_not_change_its_training() -> None:
    stack, other = dropout_stack(), dropout_stack()
    for _ in range(3):
        trained(stack, 2)
        stack.eval()(torch.ones(2, 5, 3))
        stack.train()
    assert_equal_bits(stack.state_dict(), trained(other, 6))


def test_users_networks_saved_without_a_seed_load() -> None:
    """Models of version 0.1, alone and as a part of others."""
    stack = dropout_stack()
    old = {name: value for name, value in trained(stack, 2).items() if "extra" not in name}
    again = dropout_stack(seed=9)
    again.load_state_dict(old)
    nn.ModuleDict({"critic": again}).load_state_dict({f"critic.{name}": v for name, v in old.items()})
    x = torch.ones(2, 5, 3)
    assert torch.equal(again.eval()(x), stack.eval()(x))
    with pytest.raises(RuntimeError, match=r"Missing.*stacked\.0"):
        again.load_state_dict({name: value for name, value in old.items() if name != "stacked.0"})


def test_threads_that_train_users_dropout_are_independent() -> None:
    seeds, before = range(4), torch.get_rng_state()
    alone = [trained(dropout_stack(seed), 40) for seed in seeds]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda seed: trained(dropout_stack(seed), 40), seeds))
    for one, other in zip(alone, together, strict=True):
        assert_equal_bits(one, other)
    assert torch.equal(torch.get_rng_state(), before)


class Pause(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        time.sleep(0.002)  # other threads run
        return x


def test_threads_that_ask_one_stack_of_users_networks_get_its_answers() -> None:
    """`functional_call` puts parameters into a template that all calls share."""

    def factory(in_shape: tuple[int, ...], out_dim: int) -> nn.Module:
        return nn.Sequential(nn.Linear(in_shape[0], 5), Pause(), nn.Linear(5, out_dim))

    stack, x = StackedModules(2, (3,), (2,), generator(), factory=factory).eval(), normal(2, 8, 3).float()
    expected = stack(x)
    with ThreadPoolExecutor(4) as pool:
        for answer in pool.map(lambda _: stack(x), range(12)):
            assert torch.equal(answer, expected)


def test_dropout_differs_among_the_networks_of_a_stack() -> None:
    def factory(in_shape: tuple[int, ...], out_dim: int) -> nn.Module:
        layer = nn.Linear(in_shape[0], out_dim)
        nn.init.ones_(layer.weight)
        nn.init.zeros_(layer.bias)
        return nn.Sequential(nn.Dropout(0.5), layer)

    out = StackedModules(2, (40,), (3,), generator(), factory=factory)(torch.ones(2, 5, 40))
    assert not torch.equal(out[0], out[1])


# ---------------------------------------------------------------- initial weights


@pytest.mark.parametrize(
    "choice", ["mlp", "conv", "ganmm-2018", user_factory], ids=["mlp", "conv", "ganmm-2018", "factory"]
)
def test_initial_weights_follow_the_generator_and_touch_nothing_global(choice) -> None:
    before = torch.get_rng_state()
    first, again, other = (
        build_stack("critic", choice, N, (1, 12, 12), (), generator(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(before, torch.get_rng_state())
    pairs = list(zip(first.parameters(), again.parameters(), other.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b, _ in pairs)
    assert any(not torch.equal(a, c) for a, _, c in pairs)


def test_dense_weights_are_glorot_uniform_and_biases_zero() -> None:
    layer = StackedLinear(4, 100, 60, generator())
    bound = math.sqrt(6 / 160)
    assert layer.weight.abs().max() <= bound
    assert layer.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.02)
    assert layer.weight.mean().item() == pytest.approx(0, abs=0.01 * bound)
    assert not layer.bias.any()
    assert not torch.equal(layer.weight[0], layer.weight[1])


@pytest.mark.parametrize("transposed", [False, True])
def test_convolutions_keep_the_scale_of_rectified_inputs(transposed: bool) -> None:
    """He's promise: inside, the output has twice the second moment of a rectified input."""
    layer = StackedConv(2, 32, 32, generator(), kernel=4, transposed=transposed)
    x = torch.randn(8, 64, 16, 16, generator=generator(1)).relu()
    out = layer(x)[:, :, 2:-2, 2:-2]
    assert (out.square().mean() / (2 * x.square().mean())).item() == pytest.approx(1, rel=0.1)
