"""Stacks of networks equal a Python loop over separate torch.nn networks with the same weights."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from genmix.nets import (
    StackedConv,
    StackedConvGenerator,
    StackedConvNet,
    StackedLinear,
    StackedMLP,
    StackedModules,
    StackedNorm,
    build_stack,
    copy_networks,
    dense_output,
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
                layers.append(nn.LeakyReLU(stack.slope))
        layers += [nn.Sigmoid()] * stack.squash
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
            layers.append(nn.LeakyReLU(stack.slope))
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
@pytest.mark.parametrize(("slope", "squash"), [(0.0, False), (0.2, True)])
def test_dense_stack_equals_a_loop(
    hidden: tuple[int, ...], norm: str | None, slope: float, squash: bool
) -> None:
    stack = shaken(
        StackedMLP(N, (2, 3), (2, 2), generator(), hidden=hidden, norm=norm, slope=slope, squash=squash)
    )
    check_equal(stack, loop_mlp(stack, N), normal(N, 6, 2, 3))


@pytest.mark.parametrize("shape", SIZES, ids=str)
@pytest.mark.parametrize("kernel", [4, 5])
def test_convolutional_stack_equals_a_loop(shape: tuple[int, int, int], kernel: int) -> None:
    stack = shaken(
        StackedConvNet(
            N, shape, (4,), generator(), channels=2, dense=6, norm="batch", slope=0.2, kernel=kernel
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


def test_dropout_differs_among_the_networks_of_a_stack() -> None:
    def factory(in_shape: tuple[int, ...], out_dim: int) -> nn.Module:
        layer = nn.Linear(in_shape[0], out_dim)
        nn.init.ones_(layer.weight)
        nn.init.zeros_(layer.bias)
        return nn.Sequential(nn.Dropout(0.5), layer)

    out = StackedModules(2, (40,), (3,), generator(), factory=factory)(torch.ones(2, 5, 40))
    assert not torch.equal(out[0], out[1])


# ---------------------------------------------------------------- initial weights


@pytest.mark.parametrize("choice", ["mlp", "conv", "ganmm-2018", user_factory], ids=str)
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


# ---------------------------------------------------------------- the choice of networks


def parameters_of(stack: nn.Module) -> int:
    return sum(p.numel() for p in stack.parameters())


def test_published_mnist_networks_have_the_published_shapes_and_sizes() -> None:
    g = build_stack("generator", "ganmm-2018", 1, (128,), (1, 28, 28), generator())
    d = build_stack("critic", "ganmm-2018", 1, (1, 28, 28), (), generator())
    assert isinstance(g, StackedConvGenerator)
    assert isinstance(d, StackedConvNet)
    assert g.first.weight.shape == (1, 128, 4096)
    assert g.sizes == [(4, 4), (7, 7), (14, 14), (28, 28)]
    assert [conv.weight.shape for conv in g.convs] == [(256, 128, 5, 5), (128, 64, 5, 5), (64, 1, 5, 5)]
    assert [conv.weight.shape for conv in d.convs] == [(64, 1, 5, 5), (128, 64, 5, 5), (256, 128, 5, 5)]
    assert [isinstance(norm, StackedNorm) for norm in d.norms] == [False, True, True]
    assert d.head.layers[0].weight.shape == (1, 4096, 1)
    dense, convs = 128 * 4096 + 4096, 25 * (256 * 128 + 128 * 64 + 64) + 128 + 64 + 1
    critic = 25 * (64 + 64 * 128 + 128 * 256) + 64 + 128 + 256 + 2 * (128 + 256) + 4096 + 1
    assert parameters_of(d) == critic == 1_030_913
    assert 0 <= parameters_of(g) - dense - convs - 2 * (128 + 64) <= 2 * 4096  # and the first normalisation
    assert 2.55e6 < parameters_of(g) + parameters_of(d) < 2.65e6
    assert g(torch.randn(1, 2, 128)).shape == (1, 2, 1, 28, 28)
    assert d(torch.rand(1, 2, 1, 28, 28)).shape == (1, 2)


def test_published_classifier_ends_in_one_dense_layer() -> None:
    h = build_stack("classifier", "ganmm-2018", 1, (1, 28, 28), (10,), generator())
    assert [conv.weight.shape for conv in h.convs] == [(64, 1, 5, 5), (128, 64, 5, 5)]
    assert [layer.weight.shape for layer in h.head.layers] == [(1, 6272, 10)]
    assert not any(isinstance(module, StackedNorm) for module in h.modules())


@pytest.mark.parametrize(
    ("role", "in_shape", "out_shape", "shapes"),
    [
        ("generator", (64,), (19,), [(7, 64, 64), (7, 64, 19)]),
        ("critic", (19,), (), [(7, 19, 64), (7, 64, 1)]),
        ("classifier", (19,), (7,), [(7, 19, 64), (7, 64, 7)]),
    ],
)
def test_published_uci_networks(role: str, in_shape, out_shape, shapes) -> None:
    stack = build_stack(role, "ganmm-2018", 7, in_shape, out_shape, generator())
    assert [tuple(layer.weight.shape) for layer in stack.layers] == shapes
    assert not len(stack.norms)
    assert not stack.squash
    assert stack.slope == 0


@pytest.mark.parametrize(
    "shape",
    [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 64, 64), (1, 30, 20), (1, 5, 5), (1, 3, 9), (2,), (1,), (300,)],
    ids=str,
)
@pytest.mark.parametrize("choice", ["auto", "ganmm-2018"])
def test_every_size_of_data_is_served(shape: tuple[int, ...], choice: str) -> None:
    if choice != "auto" and len(shape) == 3 and min(shape[1:]) < 4:
        pytest.skip("published networks are for images of at least 4 pixels")
    g = build_stack("generator", choice, 2, (8,), shape, generator())
    d = build_stack("critic", choice, 2, shape, (), generator())
    h = build_stack("classifier", choice, 2, shape, (5,), generator())
    items = g(torch.randn(2, 3, 8, generator=generator()))
    assert items.shape == (2, 3, *shape)
    if len(shape) == 3:
        assert items.min() >= 0
        assert items.max() <= 1
    assert d(items).shape == (2, 3)
    assert h(items).shape == (2, 3, 5)


def test_auto_takes_dense_gans_for_tables_and_small_images_only() -> None:
    assert isinstance(build_stack("critic", "auto", 1, (20,), (), generator()), StackedMLP)
    assert isinstance(build_stack("critic", "auto", 1, (1, 28, 28), (), generator()), StackedMLP)
    assert isinstance(build_stack("critic", "auto", 1, (3, 64, 64), (), generator()), StackedConvNet)
    assert isinstance(build_stack("classifier", "auto", 1, (1, 28, 28), (3,), generator()), StackedConvNet)
    assert isinstance(
        build_stack("generator", "auto", 1, (8,), (3, 64, 64), generator()), StackedConvGenerator
    )


def test_options_reach_the_network() -> None:
    stack = build_stack("critic", {"kind": "mlp", "hidden": (11, 12), "slope": 0.5}, 2, (4,), (), generator())
    assert [layer.weight.shape[2] for layer in stack.layers] == [11, 12, 1]
    assert stack.slope == 0.5


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ("resnet", "'resnet'"),
        ({"kind": "rnn"}, "'rnn'"),
        ("conv", "needs images"),
        ({"kind": "mlp", "widths": (3,)}, "'widths'"),
        ({"depth": 3}, "'depth'"),
    ],
)
def test_unknown_choices_are_refused_with_their_name(choice, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        build_stack("critic", choice, 2, (4,), (), generator())


# ---------------------------------------------------------------- parts of a stack


@pytest.mark.parametrize(
    ("choice", "shape"),
    [
        ({"kind": "mlp", "norm": "running"}, (4,)),
        ({"kind": "conv", "norm": "running"}, (1, 9, 9)),
        (user_factory, (1, 6, 5)),
    ],
    ids=["mlp", "conv", "user"],
)
def test_copied_slices_compute_what_their_sources_did(choice, shape: tuple[int, ...]) -> None:
    source = build_stack("classifier", choice, 5, shape, (3,), generator(1))
    source(torch.randn(5, 16, *shape, generator=generator(2)) * 3)  # running statistics of their own
    target = build_stack("classifier", choice, 4, shape, (3,), generator(3))
    x = torch.randn(1, 6, *shape, generator=generator(4))
    target(x.expand(4, *x.shape[1:]))
    other = target.eval()(x.expand(4, *x.shape[1:]))[1]
    copy_networks(source, 5, torch.tensor([4, 0, 4]), target, 4, torch.tensor([3, 2, 0]))
    expected = source.eval()(x.expand(5, *x.shape[1:]))
    found = target(x.expand(4, *x.shape[1:]))
    torch.testing.assert_close(found[[3, 2, 0]], expected[[4, 0, 4]])
    torch.testing.assert_close(found[1], other)  # not asked for, so left as it was


@pytest.mark.parametrize(("n_source", "n_target"), [(4, 3), (5, 2)])
def test_networks_of_a_stack_of_another_size_are_refused(n_source: int, n_target: int) -> None:
    source, target = (build_stack("critic", "mlp", n, (4,), (), generator()) for n in (5, 3))
    with pytest.raises(ValueError, match="does not belong to a stack of"):
        copy_networks(source, n_source, torch.tensor([0]), target, n_target, torch.tensor([0]))


def test_dense_output_is_the_last_layer_of_dense_stacks_only() -> None:
    stack = build_stack("classifier", "ganmm-2018", 2, (19,), (7,), generator())
    assert [p.shape for p in dense_output(stack)] == [(2, 64, 7), (2, 1, 7)]
    assert dense_output(build_stack("classifier", "conv", 2, (1, 9, 9), (7,), generator())) == []


def test_networks_of_a_stack_do_not_see_each_other() -> None:
    """The output of one network depends on neither the items nor the weights of the others."""
    for choice, shape in (("mlp", (4,)), ("conv", (1, 12, 12))):
        stack = shaken(build_stack("critic", {"kind": choice, "norm": "batch"}, N, shape, (), generator()))
        x = normal(N, 5, *shape).requires_grad_()
        (gradient,) = torch.autograd.grad(stack(x)[1].square().sum(), x)
        assert gradient[1].any()
        assert not gradient[[0, 2]].any()
