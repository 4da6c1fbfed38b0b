"""Memory layouts: whatever the strides of input, addend and upstream gradient, the same values."""

import pytest
import torch
from _cases import SHAPES, arrange, expand, make, normal, oracle, step, torch_twin
from tolerances import FLOAT64, RUNNING, SAME_FORMULA, assert_near

pytestmark = pytest.mark.usefixtures("one_thread")

LAYOUTS = (
    "contiguous",
    "channels_last",
    "transposed",
    "batch_last",
    "strided",
    "offset",
    "sliced_channels",
    "sliced_channels_last",
    "sliced_batch",
)


def assert_same(actual, expected, tolerance=FLOAT64):
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        assert_near(actual[name], value, tolerance, name)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_input_layouts(dims, layout, training, backend):
    layer = make(dims, dtype=torch.float64, activation="relu").train(training)
    truth = oracle(layer)
    x, upstream = (normal(SHAPES[dims], torch.float64, seed=s) for s in (2, 3))
    expected = step(truth, x, upstream)
    assert_same(step(layer, arrange(x, layout), upstream), expected)
    assert_near(layer.running_var, truth.norm.running_var, RUNNING[torch.float64], "running_var")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("other", LAYOUTS)
def test_addend_and_upstream_layouts(layout, other, kernels):
    x, upstream, add = (normal(SHAPES[2], torch.float64, seed=s) for s in (2, 3, 4))
    layer = make(2, dtype=torch.float64, activation="silu")
    expected = step(oracle(layer), x, upstream, add)
    actual = step(layer, arrange(x, layout), arrange(upstream, other), arrange(add, other))
    assert_same(actual, expected)


@pytest.mark.parametrize("layout", [*LAYOUTS[:4], "sliced_channels"])
@pytest.mark.parametrize("training", [True, False])
def test_two_dimensional_layouts(layout, training, kernels):
    layer = make(1, 6, dtype=torch.float64).train(training)
    x, upstream = (normal((7, 6), torch.float64, seed=s) for s in (2, 3))
    expected = step(oracle(layer), x, upstream)
    assert_same(step(layer, arrange(x, layout), upstream), expected)
    assert_same(
        step(make(1, 6, dtype=torch.float64).train(training), x, arrange(upstream, layout)),
        expected,
    )


@pytest.mark.parametrize("dim", [0, 1, 2, 3])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_expanded_input(dim, layout, kernels):
    x = expand(arrange(normal(SHAPES[2], torch.float64), layout), dim)
    upstream = normal(SHAPES[2], torch.float64, seed=3)
    layer = make(2, dtype=torch.float64)
    assert 0 in x.stride()
    assert_same(step(layer, x, upstream), step(oracle(make(2, dtype=torch.float64)), x, upstream))


@pytest.mark.parametrize("dim", [0, 1, 2, 3])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_expanded_upstream_gradient_and_addend(dim, layout, kernels):
    x = arrange(normal(SHAPES[2], torch.float64), layout)
    upstream = expand(normal(SHAPES[2], torch.float64, seed=3), dim)
    add = expand(normal(SHAPES[2], torch.float64, seed=4), dim)
    layer = make(2, dtype=torch.float64, activation="gelu")
    truth = oracle(layer)
    assert_same(step(layer, x, upstream, add), step(truth, x, upstream, add))


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("reduce", ["sum", "mean"])
def test_scalar_losses_send_gradients_of_stride_zero(reduce, layout, kernels):
    # weights inside the loss, for the gradient of a plain sum of a norm is zero
    layer = make(2, dtype=torch.float64, activation="relu")
    truth = oracle(layer)
    x = arrange(normal(SHAPES[2], torch.float64), layout)
    gradients = []
    for module in (layer, truth):
        leaf = x.clone().requires_grad_()
        getattr(module(leaf), reduce)().backward()
        gradients.append(leaf.grad)
    assert_near(*gradients, FLOAT64)
    assert gradients[1].abs().max() > 1e-3


def strides_of(layer, x, upstream):
    """Give the strides of output and input gradient."""
    result = step(layer, x, upstream)
    return result["output"].stride(), result["gradient of input"].stride()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("gradient", ["contiguous", "channels_last"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dims", [2, 3])
def test_output_and_gradient_keep_the_memory_format(dims, layout, gradient, training, backend):
    layer = make(dims).train(training)
    x, upstream = (
        arrange(normal(SHAPES[dims]), layout),
        arrange(normal(SHAPES[dims], seed=3), gradient),
    )
    assert strides_of(layer, x, upstream) == strides_of(torch_twin(layer), x, upstream)


@pytest.mark.parametrize("shape", [(1, 6, 3, 5), (4, 1, 3, 5), (4, 6, 1, 1), (1, 1, 1, 4)])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_ambiguous_layouts_keep_the_memory_format(shape, layout, kernels):
    layer = make(2, shape[1])
    memory_format = getattr(torch, layout + "_format" * (layout == "contiguous"))
    x = normal(shape).contiguous(memory_format=memory_format)
    upstream = normal(shape, seed=3)
    assert strides_of(layer, x, upstream) == strides_of(torch_twin(layer), x, upstream)


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("activation", [None, "relu"])
def test_addend_does_not_change_the_memory_format(activation, layout, kernels):
    layer = make(2, activation=activation)
    x = arrange(normal(SHAPES[2]), layout)
    for other in ("contiguous", "channels_last"):
        y = layer(x, add=arrange(normal(SHAPES[2], seed=4), other))
        assert y.stride() == x.stride()


@pytest.mark.parametrize("channels", [2, 16, 65])
def test_both_layouts_agree_on_the_statistics(channels, kernels):
    first, second = make(2, channels, dtype=torch.float64), make(2, channels, dtype=torch.float64)
    x = normal((5, channels, 3, 5), torch.float64)
    first(x)
    second(arrange(x, "channels_last"))
    for name in ("running_mean", "running_var"):
        assert_near(getattr(first, name), getattr(second, name), RUNNING[torch.float64], name)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("activation", [None, "relu"])
def test_input_addend_and_upstream_stay_untouched(activation, layout, kernels):
    layer = make(2, activation=activation)
    tensors = [arrange(normal(SHAPES[2], seed=s), layout) for s in (2, 3, 4)]
    before = [t.clone() for t in tensors]
    step(layer, *tensors)
    for tensor, copy in zip(tensors, before, strict=True):
        assert_near(tensor, copy, SAME_FORMULA)


@pytest.mark.parametrize("activation", [None, "relu"])
def test_output_never_aliases_an_input(activation, kernels):
    layer = make(2, activation=activation)
    x, add = normal(SHAPES[2]), normal(SHAPES[2], seed=4)
    storages = {t.untyped_storage().data_ptr() for t in (x, add)}
    assert layer(x, add=add).untyped_storage().data_ptr() not in storages
    with torch.no_grad():
        assert layer(x, add=add).untyped_storage().data_ptr() not in storages
