"""Values of every norm: outputs, gradients and buffers are those of torch's layers in float64."""

import pytest
import torch
from _cases import ACTIVATIONS, arrange, normal
from _norms import IMAGES, ROWS, Row, step
from _subject import nn
from tolerances import FLOAT64, HALF_FLOOR, RUNNING, VALUES, assert_half, assert_near

pytestmark = pytest.mark.usefixtures("one_thread")
rows = pytest.mark.parametrize("row", ROWS, ids=str)
PARAMETERS = ("gradient of weight", "gradient of bias")


def assert_same(actual, expected, tolerance):
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        # sums over many terms may be near 0 themselves
        terms = max(10.0, value.abs().max().item()) if name in PARAMETERS else None
        assert_near(actual[name], value, tolerance, name, terms)


def same_after_a_step(row, layer, dtype, extra, layout="contiguous"):
    """Compare a step of ours with one of the oracle."""
    truth = row.oracle(layer)
    x, upstream, other = (arrange(t, layout) for t in row.inputs(dtype))
    extras = {row.extra: other} if extra else {}
    expected = step(
        truth, x.double(), upstream.double(), **{n: t.double() for n, t in extras.items()}
    )
    assert_same(step(layer, x, upstream, **extras), expected, VALUES[dtype])
    for name, value in truth.norm.named_buffers():
        assert_near(dict(layer.named_buffers())[name], value, RUNNING[dtype], name)


@rows
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("extra", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_and_gradients(row, activation, extra, dtype, backend):
    layer = row.build(dtype=dtype, activation=activation, negative_slope=0.2)
    same_after_a_step(row, layer, dtype, extra)


@rows
def test_evaluation(row, backend):
    same_after_a_step(row, row.build(dtype=torch.float64).eval(), torch.float64, False)


@rows
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_the_plain_formula(row, activation, monkeypatch):
    monkeypatch.setenv("EQUIPOISE_BACKEND", "reference")
    layer = row.build(dtype=torch.float64, activation=activation)
    same_after_a_step(row, layer, torch.float64, True)


@rows
def test_torchs_own_operator(row, monkeypatch):
    if row.name == "FilterResponseNorm":
        pytest.skip("torch has none")
    monkeypatch.setenv("EQUIPOISE_BACKEND", "aten")
    layer = row.build(dtype=torch.float64, activation="silu")
    same_after_a_step(row, layer, torch.float64, True)


@pytest.mark.parametrize("row", IMAGES, ids=str)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_channels_last(row, activation, backend):
    layer = row.build(dtype=torch.float64, activation=activation)
    same_after_a_step(row, layer, torch.float64, True, "channels_last")


@rows
@pytest.mark.parametrize("activation", [None, "silu"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(row, activation, dtype, backend):
    layer = row.build(dtype=dtype, activation=activation)
    x, upstream, _ = row.inputs(dtype)
    theirs = step(row.twin(layer), x, upstream)
    truth = step(row.oracle(layer), x.double(), upstream.double())
    for name, value in step(layer, x, upstream).items():
        assert value.dtype == dtype, name
        assert_half(value, theirs[name], truth[name], dtype, name)


@rows
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_with_parameters_in_float32(row, dtype, backend):
    layer = row.build(activation="relu")
    x, upstream, _ = row.inputs(dtype)
    truth = step(row.oracle(layer), x.double(), upstream.double())
    actual = step(layer, x, upstream)
    assert actual["output"].dtype == actual["gradient of input"].dtype == dtype
    assert actual["gradient of weight"].dtype == torch.float32
    assert_near(actual["output"], truth["output"], HALF_FLOOR[dtype])
    assert_near(actual["gradient of input"], truth["gradient of input"], HALF_FLOOR[dtype])


@pytest.mark.parametrize("row", [r for r in ROWS if r.extra == "residual"], ids=str)
@pytest.mark.parametrize("residual", [True, False])
def test_the_sum_comes_back(row, residual, backend):
    layer = row.build(dtype=torch.float64, activation="gelu")
    x, upstream, other = row.inputs(torch.float64)
    passed = normal(x.shape, torch.float64, seed=9)
    results = []
    for module in (layer, row.oracle(layer)):
        leaves = [t.clone().requires_grad_() for t in (x, other)[: 1 + residual]]
        y, total = module(
            *leaves[:1], residual=leaves[1] if residual else None, return_residual=True
        )
        gradients = torch.autograd.grad((y, total), leaves, (upstream, passed))
        results.append([y, total, *gradients])
    for mine, truth in zip(*results, strict=True):
        assert_near(mine, truth, FLOAT64)


@pytest.mark.parametrize("row", [r for r in ROWS if r.extra == "residual"], ids=str)
def test_only_the_sum_is_used(row, backend):
    layer = row.build(dtype=torch.float64)
    x, _, other = (t.requires_grad_() for t in row.inputs(torch.float64))
    _, total = layer(x, residual=other, return_residual=True)
    upstream = normal(x.shape, torch.float64, seed=9)
    for gradient in torch.autograd.grad(total, (x, other), upstream):
        assert_near(gradient, upstream, FLOAT64)


@rows
def test_an_extra_that_broadcasts(row, backend):
    layer = row.build(dtype=torch.float64, activation="silu")
    x, upstream, other = row.inputs(torch.float64)
    other = other[:1]
    expected = step(row.oracle(layer), x, upstream, **{row.extra: other})
    assert_same(step(layer, x, upstream, **{row.extra: other}), expected, FLOAT64)


@rows
def test_an_extra_of_another_type_leaves_the_outputs_type(row, backend):
    layer = row.build(activation="silu")
    x, upstream, other = row.inputs()
    actual = step(layer, x, upstream, **{row.extra: other.double()})
    truth = row.oracle(layer)
    expected = step(truth, x.double(), upstream.double(), **{row.extra: other.double()})
    assert actual["output"].dtype == torch.float32
    assert actual[f"gradient of {row.extra}"].dtype == torch.float64
    assert_near(actual["output"], expected["output"], VALUES[torch.float32])


@rows
def test_frozen_parameters(row, backend):
    layer = row.build(dtype=torch.float64).requires_grad_(False)
    x, upstream, _ = row.inputs(torch.float64)
    assert layer(x).grad_fn is None
    (gradient,) = torch.autograd.grad(layer(x.requires_grad_()), x, upstream)
    truth = row.oracle(row.build(dtype=torch.float64))
    assert_near(gradient, step(truth, x, upstream)["gradient of input"], FLOAT64)


IMAGE, PLAIN, BIASLESS = (4, 6, 3, 7), ("elementwise_affine", False), ("bias", False)


@pytest.mark.parametrize(
    "row",
    [
        Row("GroupNorm", (3, 6), IMAGE, torch.nn.GroupNorm, options=(("affine", False),)),
        Row("GroupNorm", (3, 6), IMAGE, torch.nn.GroupNorm, options=(BIASLESS,)),
        Row("InstanceNorm2d", (6,), IMAGE, torch.nn.InstanceNorm2d),
        Row("LayerNorm", (7,), (5, 7), torch.nn.LayerNorm, options=(BIASLESS,)),
        Row("LayerNorm", (7,), (5, 7), torch.nn.LayerNorm, options=(PLAIN,)),
        Row("RMSNorm", (7,), (5, 7), torch.nn.RMSNorm, options=(PLAIN,)),
        Row("RMSNorm", (7, 1e-2), (5, 7), torch.nn.RMSNorm),
    ],
    ids=lambda row: f"{row} {row.options}",
)
def test_options(row, backend):
    layer = row.build(dtype=torch.float64, activation="leaky_relu")
    x, upstream, _ = row.inputs(torch.float64)
    assert_same(step(layer, x, upstream), step(row.oracle(layer), x, upstream), FLOAT64)


@pytest.mark.parametrize("momentum", [0.1, 0.7, None])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_running_statistics_of_instances_over_steps(momentum, dtype, backend):
    options = {"affine": True, "track_running_stats": True, "momentum": momentum}
    ours, theirs = (space.InstanceNorm2d(6, **options).to(dtype) for space in (nn, torch.nn))
    theirs = theirs.double()
    for seed in range(3):
        x = normal((4, 6, 5, 7), dtype, seed)
        assert_near(ours(x), theirs(x.double()), VALUES[dtype])
    for name, value in theirs.named_buffers():
        assert_near(dict(ours.named_buffers())[name], value, RUNNING[dtype], name)
    ours.eval(), theirs.eval()
    x = normal((4, 6, 5, 7), dtype, 9)
    assert_near(ours(x), theirs(x.double()), VALUES[dtype])


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("tracks", [False, True])
def test_one_sample_without_a_batch(dims, tracks, backend):
    options = {"affine": True, "track_running_stats": tracks}
    name, shape = f"InstanceNorm{dims}d", (6, *(5, 3, 4)[:dims])
    ours, theirs = (getattr(space, name)(6, **options).double() for space in (nn, torch.nn))
    x, add = normal(shape, torch.float64), normal(shape[1:], torch.float64, 4)
    assert_near(ours(x, add=add), theirs(x) + add, FLOAT64)
    for name, value in theirs.named_buffers():
        assert_near(dict(ours.named_buffers())[name], value, RUNNING[torch.float64], name)


@pytest.mark.parametrize("row", ROWS, ids=str)
@pytest.mark.parametrize("axis", [0, -1])
def test_no_elements(row, axis, backend):
    if axis and row.name in ("LayerNorm", "RMSNorm"):
        pytest.skip("its normalized axis is not empty")
    layer = row.build(activation="relu")
    before = {name: value.clone() for name, value in layer.named_buffers()}
    shape = list(row.shape)
    shape[axis] = 0
    x = torch.zeros(shape, requires_grad=True)
    if row.shape == (5, 8) and axis:
        pytest.skip("its last axis holds the channels")
    y = layer(x)
    y.backward(torch.zeros(shape))
    assert y.shape == x.grad.shape == torch.Size(shape)
    for parameter in layer.parameters():
        assert torch.equal(parameter.grad, torch.zeros_like(parameter))
    for name, value in layer.named_buffers():
        assert torch.equal(value, before[name]), name


def test_response_of_a_silent_channel_is_its_bias(backend):
    layer = nn.FilterResponseNorm(3)
    torch.nn.init.constant_(layer.bias, 2.0)
    assert torch.equal(layer(torch.zeros(2, 3, 4, 4)), torch.full((2, 3, 4, 4), 2.0))


@pytest.mark.parametrize("eps", [1e-6, 1e-2])
def test_response_has_mean_square_one(eps, kernels):
    x = normal((4, 6, 9, 5), torch.float64, offset=3.0)
    square = x.square().mean((2, 3))
    found = nn.FilterResponseNorm(6, eps, dtype=torch.float64)(x).square().mean((2, 3))
    assert_near(found, square / (square + eps), FLOAT64)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_images_are_normalized_where_they_lie(layout, kernels, monkeypatch):
    layer = nn.LayerNorm2d(96)
    x = torch.randn(2, 96, 24, 24).to(memory_format=layout).requires_grad_()
    upstream = torch.randn(2, 96, 24, 24).to(memory_format=layout)
    y = layer(x)
    assert y.stride() == x.stride()
    assert y.grad_fn.next_functions[0][0].saved_tensors[0].data_ptr() == x.data_ptr()
    (dx,) = torch.autograd.grad(y, x, upstream)
    assert dx.stride() == x.stride()
