"""The networks that a choice builds, and what is done to whole stacks of them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from genmix.nn.build import build_stack, copy_networks, dense_output, network_outputs, select_networks
from genmix.nn.stacked import StackedConvGenerator, StackedConvNet, StackedMLP, StackedNorm
from test_stacks import N, generator, normal, shaken, user_factory

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
    assert not stack.sigmoid_output
    assert stack.negative_slope == 0


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
    stack = build_stack(
        "critic", {"kind": "mlp", "hidden": (11, 12), "negative_slope": 0.5}, 2, (4,), (), generator()
    )
    assert [layer.weight.shape[2] for layer in stack.layers] == [11, 12, 1]
    assert stack.negative_slope == 0.5


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


class Shift(nn.Module):
    """A dense layer, and a buffer that is different in each network."""

    def __init__(self, into: int, out: int) -> None:
        super().__init__()
        self.dense = nn.Linear(into, out)
        self.register_buffer("offset", torch.randn(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.dense(x) + self.offset


def buffer_factory(in_shape: tuple[int, ...], out_dim: int) -> nn.Module:
    return Shift(in_shape[0], out_dim)


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


@pytest.mark.parametrize("order", [[3], [4, 0, 4], [0, 1, 2, 3, 4]], ids=str)
@pytest.mark.parametrize(
    ("role", "choice", "shape"),
    [
        ("classifier", {"kind": "mlp", "norm": "running"}, (4,)),
        ("critic", "mlp", (4,)),
        ("classifier", {"kind": "conv", "norm": "running"}, (2, 9, 9)),
        ("critic", "ganmm-2018", (1, 12, 12)),
        ("generator", {"kind": "conv", "norm": "running"}, (1, 9, 9)),
        ("generator", {"kind": "conv", "norm": "batch"}, (3, 12, 12)),
        ("critic", user_factory, (1, 6, 5)),
        ("classifier", buffer_factory, (4,)),
    ],
    ids=[
        "mlp", "critic", "conv", "published", "generator", "generator by the batch", "user", "user's buffers",
    ],
)  # fmt: skip
def test_selected_networks_compute_what_they_did_in_the_stack(
    role: str, choice, shape: tuple[int, ...], order: list[int]
) -> None:
    shapes = ((6,), shape) if role == "generator" else (shape, (3,))
    stack = build_stack(role, choice, 5, *shapes, generator(1))
    stack(normal(5, 16, *shapes[0], seed=2).float() * 3)  # running statistics of their own
    shaken(stack)
    kept = {name: value.clone() for name, value in stack.state_dict().items()}
    selected = select_networks(stack.eval(), 5, torch.tensor(order))
    x = normal(5, 6, *shapes[0], seed=3)
    torch.testing.assert_close(selected(x[order]), stack(x)[order], atol=1e-10, rtol=1e-8)
    assert not selected.training
    trained = build_stack(role, choice, len(order), *shapes, generator()).double().eval()
    trained.load_state_dict(selected.state_dict())  # a stack like any other
    torch.testing.assert_close(trained(x[order]), selected(x[order]))
    for parameter in selected.parameters():
        assert parameter.requires_grad
        parameter.data.zero_()
    assert all(torch.equal(value, kept[name]) for name, value in stack.state_dict().items())


def test_selected_networks_train_as_they_would_in_the_stack() -> None:
    choice = {"kind": "conv", "norm": "running"}
    stack = build_stack("classifier", choice, 3, (1, 9, 9), (2,), generator()).double()
    selected = select_networks(stack, 3, torch.tensor([2]))
    x = normal(3, 6, 1, 9, 9)
    torch.testing.assert_close(selected(x[2:]), stack(x)[2:])
    expected = torch.autograd.grad(stack(x)[2].square().sum(), list(stack.parameters()))
    found = torch.autograd.grad(selected(x[2:]).square().sum(), list(selected.parameters()))
    for mine, whole in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, whole.reshape(3, *mine.shape)[2])


def test_networks_are_selected_from_stacks_of_the_size_given_only() -> None:
    with pytest.raises(ValueError, match="does not belong to a stack of 2"):
        select_networks(build_stack("critic", "mlp", 5, (4,), (), generator()), 2, torch.tensor([0]))


def test_outputs_are_of_all_networks_for_the_same_items() -> None:
    """Tables in float64, whatever the weights' type, which stays."""
    stack = build_stack("critic", "mlp", N, (4,), (), generator()).eval()
    items = normal(25, 4).float()
    found = network_outputs(stack, items, N, batch_size=10)
    assert found.shape == (N, 25) and found.dtype == torch.float64
    assert next(stack.parameters()).dtype == torch.float32
    torch.testing.assert_close(found, stack.double()(items.double().expand(N, 25, 4)), atol=1e-12, rtol=0)


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
