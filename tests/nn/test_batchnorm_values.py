"""Outputs, gradients and running statistics against torch.nn in float64."""

import pytest
import torch
from _cases import (
    ACTIVATIONS,
    LAYOUTS,
    SHAPES,
    arrange,
    buffers,
    make,
    normal,
    oracle,
    run_both,
    step,
    torch_twin,
)
from _subject import IS_TORCH
from tolerances import RUNNING, SAME_FORMULA, VALUES, assert_half, assert_near

FULL = (torch.float32, torch.float64)
HALF = (torch.bfloat16, torch.float16)

# short runs and long ones go to different kernels
IMAGES = ((4, 5, 3, 7), (3, 5, 9, 11))

# a run is what one kernel loop sees: the spatial extent (contiguous) or the rows (channels_last)
RUNS = (2, 3, 7, 15, 16, 17, 31, 63, 64, 65, 127, 255, 256, 257, 1023, 1024, 1025, 4095, 4096, 4097)


def assert_step(actual, expected, upstream):
    """Compare two results of ``run_both``, each quantity with its tolerance."""
    assert actual.keys() == expected.keys()
    dtype = upstream.dtype
    # gradients of parameters are sums that cancel: measured against the sum of absolute terms
    terms = upstream.abs().sum([d for d in range(upstream.dim()) if d != 1]).max().item()
    for name, value in expected.items():
        if name == "num_batches_tracked":
            assert actual[name] == value
            continue
        tolerance = RUNNING[dtype] if name.startswith("running") else VALUES[dtype]
        scale = terms if name in ("gradient of weight", "gradient of bias") else None
        assert_near(actual[name], value, tolerance, name, scale)


def check(layer, shape, dtype, layout="contiguous", add=False):
    """Run one step of ``layer`` on normal values and compare everything with the oracle."""
    x, upstream, other = (arrange(normal(shape, dtype, seed=s), layout) for s in (2, 3, 4))
    assert_step(*run_both(layer, x, upstream, other if add else None), upstream)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("dtype", FULL)
def test_matches_torch(dtype, dims, layout, training, backend):
    check(make(dims, dtype=dtype).train(training), SHAPES[dims], dtype, layout)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", FULL)
@pytest.mark.parametrize("add", [False, True])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("shape", IMAGES)
def test_activation_and_add(shape, activation, add, dtype, layout, training, backend):
    layer = make(2, dtype=dtype, activation=activation, negative_slope=0.2)
    check(layer.train(training), shape, dtype, layout, add)


@pytest.mark.parametrize("forced", ["reference", "aten", "cpu"])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("activation", [None, "relu", "silu"])
def test_every_backend_gives_the_same_values(activation, layout, training, forced, monkeypatch):
    monkeypatch.setenv("EQUIPOISE_BACKEND", forced)
    layer = make(2, dtype=torch.float64, activation=activation).train(training)
    check(layer, SHAPES[2], torch.float64, layout, add=True)


@pytest.mark.parametrize("dtype", FULL)
@pytest.mark.parametrize("dims", [1, 3])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_activation_and_add_in_other_dimensions(activation, dims, dtype, kernels):
    check(make(dims, dtype=dtype, activation=activation), SHAPES[dims], dtype, add=True)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("activation", [None, "relu", "silu"])
def test_two_dimensional_input(activation, training, kernels):
    layer = make(1, 7, activation=activation).train(training)
    check(layer, (13, 7), torch.float32, add=True)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("run", RUNS)
def test_runs_around_block_boundaries(run, layout, kernels):
    check(make(1, 3, activation="relu"), (2, 3, run), torch.float32, layout)


@pytest.mark.parametrize("batch", [5, 15, 16, 17, 64, 255, 257, 1024, 1031])
def test_batches_around_block_boundaries(batch, kernels):
    check(make(1, 3), (batch, 3), torch.float32)
    check(make(2, 2), (batch, 2, 1, 1), torch.float32)


@pytest.mark.parametrize("dtype", FULL)
def test_two_values_a_channel(dtype, kernels):
    # the input gradient cancels to almost nothing, so it is measured against its largest term
    layer = make(1, 3, dtype=dtype)
    actual, expected = run_both(layer, *(normal((2, 3), dtype, seed=s) for s in (2, 3)))
    terms = layer.weight.abs().max().item() / expected["output"].std().item()
    for name, value in expected.items():
        scale = 10 * terms if name == "gradient of input" else None
        assert_near(actual[name], value, VALUES[dtype], name, scale)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("channels", [*range(1, 34), 63, 64, 65, 66, 70, 127, 129])
def test_any_number_of_channels(channels, layout, kernels):
    check(make(2, channels), (3, channels, 2, 3), torch.float32, layout, add=True)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(1, 3, 5, 7), (2, 1, 3, 5), (1, 1, 3, 4), (5, 4, 1, 1)])
def test_dimensions_of_size_one(shape, layout, kernels):
    check(make(2, shape[1], dtype=torch.float64), shape, torch.float64, layout)


# past the size where kernels go parallel, with fewer channels than threads and odd sizes
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(3, 1, 191, 211), (67, 2, 31, 37), (5, 131, 13, 17)])
@pytest.mark.parametrize("activation", [None, "relu"])
@pytest.mark.parametrize("dtype", FULL)
def test_large_inputs(dtype, activation, shape, layout, kernels):
    if IS_TORCH and dtype == torch.float32:
        pytest.skip("torch in channels_last misses the bar: 3.3e-6")
    layer = make(2, shape[1], dtype=dtype, activation=activation)
    check(layer, shape, dtype, layout, add=True)


@pytest.mark.parametrize(
    "options",
    [
        {"affine": False},
        {"bias": False},
        {"track_running_stats": False},
        {"affine": False, "track_running_stats": False},
        {"momentum": None},
        {"momentum": 0.0},
        {"momentum": 1.0},
        {"eps": 0.5},
        {"eps": 1e-12},
    ],
    ids=str,
)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_options(options, training, layout, backend):
    layer = make(2, activation="relu", **options).train(training)
    check(layer, SHAPES[2], torch.float32, layout, add=True)


@pytest.mark.parametrize("momentum", [0.1, 0.9, 0.0, 1.0, None])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", FULL)
def test_buffers_over_several_steps(dtype, layout, momentum, backend):
    layer = make(2, dtype=dtype, momentum=momentum, stats=False)
    truth = oracle(layer)
    for seed in range(4):
        x = arrange(normal((3 + seed, 5, 3, 5), dtype, seed, offset=seed), layout)
        layer(x)
        truth(x.double())
    assert layer.num_batches_tracked == 4
    for name in ("running_mean", "running_var"):
        assert_near(buffers(layer)[name], buffers(truth)[name], RUNNING[dtype], name)


def test_momentum_zero_keeps_the_buffers_to_the_bit(kernels):
    layer = make(2, momentum=0.0)
    before = {name: value.clone() for name, value in buffers(layer).items()}
    layer(normal(SHAPES[2]))
    assert torch.equal(layer.running_mean, before["running_mean"])
    assert torch.equal(layer.running_var, before["running_var"])
    assert layer.num_batches_tracked == before["num_batches_tracked"] + 1


def test_running_variance_is_unbiased_and_the_normalizing_one_biased(kernels):
    x = torch.tensor([[0.0], [2.0]], dtype=torch.float64)
    layer = make(1, 1, momentum=1.0, affine=False, eps=1e-30, dtype=torch.float64, stats=False)
    y = layer(x)
    assert_near(layer.running_var, torch.tensor([2.0]), RUNNING[torch.float64])
    assert_near(y, torch.tensor([[-1.0], [1.0]]), VALUES[torch.float64])


@pytest.mark.parametrize("affine", [True, False])
def test_no_gradient_reaches_the_buffers_in_evaluation(affine, kernels):
    layer = make(2, affine=affine).eval()
    before = {name: value.clone() for name, value in buffers(layer).items()}
    step(layer, normal(SHAPES[2]), normal(SHAPES[2], seed=3))
    for name, value in before.items():
        assert torch.equal(buffers(layer)[name], value), name


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("parameters", ["same", "float32"])
@pytest.mark.parametrize("activation", [None, "relu", "leaky_relu", "silu", "gelu"])
@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("shape", IMAGES)
def test_half_precision(shape, dtype, activation, parameters, layout, training, backend):
    layer = make(2, activation=activation, dtype=dtype if parameters == "same" else None)
    layer.train(training)
    x, upstream, other = (arrange(normal(shape, dtype, s), layout) for s in (2, 3, 4))
    twin = torch_twin(layer)
    same = step(twin, x, upstream, other) | buffers(twin)
    actual, truth = run_both(layer, x, upstream, other)
    for name, value in truth.items():
        assert actual[name].dtype == same[name].dtype, name
        assert_half(actual[name], same[name], value, dtype, name)


def test_dropping_every_extra_is_torch(kernels):
    layer = make(2, dtype=torch.float64)
    x, upstream = normal(SHAPES[2], torch.float64), normal(SHAPES[2], torch.float64, seed=3)
    plain = step(layer, x, upstream)
    with_zero = step(layer, x, upstream, torch.zeros_like(x))
    for name, value in plain.items():
        assert_near(with_zero[name], value, VALUES[torch.float64], name)


def test_repeated_calls_give_the_same_bits(kernels):
    x, upstream = normal((16, 5, 64, 65)), normal((16, 5, 64, 65), seed=3)
    runs = [step(make(2), x, upstream) for _ in range(3)]
    for name, value in runs[0].items():
        for other in runs[1:]:
            assert_near(other[name], value, SAME_FORMULA, name)
