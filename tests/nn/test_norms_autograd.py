"""Autograd of every norm: second derivatives, versions, what backward keeps."""

import pytest
import torch
from _cases import ACTIVATIONS, LAYOUTS, arrange, normal
from _norms import FEW, ROWS, step
from _subject import IS_TORCH
from test_batchnorm_autograd import kept_bytes
from tolerances import FLOAT32, FLOAT64, assert_near
from torch.utils.checkpoint import checkpoint

pytestmark = pytest.mark.usefixtures("one_thread")
rows = pytest.mark.parametrize("row", FEW, ids=lambda row: row.name)


def small(row):
    """Draw input and extra small enough for numerical Jacobians."""
    shape = {"LayerNorm": (2, 2, 7), "RMSNorm": (2, 2, 7)}.get(row.name)
    shape = shape or (2, row.shape[1], *(3, 2, 1)[: len(row.shape) - 2])
    return [normal(shape, torch.float64, seed=s).requires_grad_() for s in (2, 4)]


@rows
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradcheck_and_gradgradcheck(row, activation, backend):
    layer = row.build(dtype=torch.float64, activation=activation)
    names = list(dict(layer.named_parameters()))
    parameters = [p.detach().clone().requires_grad_() for p in layer.parameters()]

    def function(x, extra, *values):
        state = dict(zip(names, values, strict=True))
        return torch.func.functional_call(layer, state, (x,), {row.extra: extra})

    inputs = (*small(row), *parameters)
    assert torch.autograd.gradcheck(function, inputs, fast_mode=True)
    assert torch.autograd.gradgradcheck(function, inputs, fast_mode=True)


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_gradient_penalty(row, backend):
    layer = row.build(dtype=torch.float64, activation="silu")
    x, upstream, _ = row.inputs(torch.float64)
    results = []
    for module in (layer, row.oracle(layer)):
        leaf = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(module(leaf), leaf, upstream, create_graph=True)
        norm = getattr(module, "norm", module)
        penalty = gradient.square().sum()
        results.append(torch.autograd.grad(penalty, (leaf, norm.weight)))
    for mine, theirs in zip(*results, strict=True):
        assert_near(mine, theirs, FLOAT64)


@rows
@pytest.mark.parametrize("activation", [None, "relu", "gelu"])
def test_saved_tensors_changed_in_place_are_noticed(row, activation, backend):
    layer = row.build(activation=activation)
    x, upstream, _ = row.inputs()
    middle = x.requires_grad_() * 1
    y = layer(middle)
    with torch.no_grad():
        middle.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward(upstream)


@rows
@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpoint(row, reentrant, backend):
    layer = row.build(dtype=torch.float64, activation="silu")
    x, upstream, _ = row.inputs(torch.float64)
    expected = step(row.oracle(layer), x, upstream)["gradient of input"]
    leaf = x.clone().requires_grad_()
    checkpoint(layer, leaf, use_reentrant=reentrant).backward(upstream)
    assert_near(leaf.grad, expected, FLOAT64)


@rows
def test_hooks(row, backend):
    layer = row.build()
    layer.register_forward_hook(lambda module, args, output: output * 2)
    layer.register_full_backward_hook(lambda module, inward, outward: (2 * inward[0],))
    x, upstream, _ = row.inputs()
    expected = step(row.oracle(layer), x.double(), upstream.double())
    y = layer(x.requires_grad_())
    y.backward(upstream)
    assert_near(y, 2 * expected["output"], FLOAT32)
    assert_near(x.grad, 4 * expected["gradient of input"], FLOAT32)


@pytest.mark.parametrize("row", ROWS, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("extra", [False, True])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_memory_kept_for_backward(row, activation, extra, layout, kernels):
    layer = row.build(activation=activation)
    shape = (
        (32, *row.shape[1:-1], 4 * row.shape[-1]) if row.extra == "add" else (64, *row.shape[1:])
    )
    if row.name == "LayerNorm2d":
        shape = (8, *row.shape[1:])
    if len(row.shape) == 2:
        shape = (256, row.shape[1])
    x, _, other = (arrange(t, layout).requires_grad_() for t in row.inputs(shape=shape))
    extras = {row.extra: other} if extra else {}
    mine = kept_bytes(layer, x, **extras)
    theirs = kept_bytes(row.twin(layer), x, **extras)
    statistics = {
        "GroupNorm": row.args[0],
        "LayerNorm2d": x[0, 0].numel(),
        "LayerNorm": x[0].numel() // layer.weight.numel(),
        "RMSNorm": x[0].numel() // layer.weight.numel(),
    }.get(row.name, shape[1])
    # four float64 a statistic, and the parameters
    vectors = 4 * 8 * shape[0] * statistics + 8 * 2 * layer.weight.numel()
    own = x.numel() * x.element_size()
    tensors = 2 if extra and row.extra == "add" and activation else 1
    assert mine <= tensors * own + vectors
    if activation in ("silu", "gelu", "leaky_relu") and not extra:
        assert mine - vectors <= 2 / 3 * theirs
    elif row.name != "FilterResponseNorm":
        assert mine <= theirs + vectors


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_without_gradients_nothing_is_kept(row, backend):
    layer = row.build(activation="relu")
    x, _, extra = row.inputs()
    expected = layer(x, **{row.extra: extra}).detach()
    for context in (torch.no_grad, torch.inference_mode):
        with context():
            y = layer(x, **{row.extra: extra})
        assert y.grad_fn is None
        assert_near(y, expected, FLOAT32)


@rows
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_element_of_every_result_is_written(row, activation, kernels):
    if IS_TORCH:
        pytest.skip("torch's own")
    layer = row.build(activation=activation)
    x, upstream, extra = row.inputs()
    torch.use_deterministic_algorithms(True)
    try:
        assert torch.utils.deterministic.fill_uninitialized_memory
        result = step(layer, x, upstream, **{row.extra: extra})
    finally:
        torch.use_deterministic_algorithms(False)
    for name, value in result.items():
        assert value.isfinite().all(), name
