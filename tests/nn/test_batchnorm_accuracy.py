"""Float32 accuracy against float64 at any |mean|/std, and values that break naive formulas."""

import math

import pytest
import torch
from _cases import LAYOUTS, arrange, buffers, make, normal, run_both, step, torch_twin
from _subject import IS_TORCH, nn, ours_only
from tolerances import ELEMENTWISE, FLOAT32, FLOAT32_EVAL, HALF_FLOOR, RUNNING, assert_near

INF, NAN = float("inf"), float("nan")
OFFSETS = (0.0, 1e2, 1e4, 1e6)


def skip_where_torch_misses(offset):
    """Skip offsets at which torch's own float32 error passes the bar (4e-4 at 1e4)."""
    if IS_TORCH and offset > 0:
        pytest.skip("torch's float32 error grows with |mean|/std")


def assert_bar(layer, x, upstream, add=None):
    """Hold output and input gradient to the bar."""
    actual, truth = run_both(layer, x, upstream, add)
    for name in ("output", "gradient of input"):
        assert_near(actual[name], truth[name], FLOAT32, name)
    for name in ("running_mean", "running_var"):
        assert_near(actual[name], truth[name], RUNNING[torch.float32], name)


@pytest.mark.parametrize("shape", [(8, 5, 9, 11), (16, 33, 4, 4), (2, 3, 64, 65), (512, 6, 1, 1)])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("offset", OFFSETS)
def test_training_meets_the_bar(offset, layout, shape, backend):
    skip_where_torch_misses(offset)
    x = arrange(normal(shape, offset=offset), layout)
    assert_bar(make(2, shape[1]), x, arrange(normal(shape, seed=3), layout))


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "silu", "gelu"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("offset", OFFSETS)
def test_training_with_activation_and_add_meets_the_bar(offset, layout, activation, backend):
    skip_where_torch_misses(offset)
    x, upstream, add = (arrange(normal((8, 5, 9, 11), seed=s), layout) for s in (2, 3, 4))
    assert_bar(make(2, activation=activation), x + offset, upstream, add)


@pytest.mark.parametrize("shape", [(257, 5), (33, 5, 17)])
@pytest.mark.parametrize("offset", OFFSETS)
def test_one_dimensional_training_meets_the_bar(offset, shape, backend):
    skip_where_torch_misses(offset)
    assert_bar(make(1), normal(shape, offset=offset), normal(shape, seed=3))


@ours_only
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("scale", [1e-3, 1e3, 1e12])
def test_the_bar_holds_at_any_scale(scale, layout, backend):
    x = arrange(normal((8, 5, 9, 11), offset=1e4) * scale, layout)
    assert_bar(make(2, eps=1e-12), x, arrange(normal(x.shape, seed=3), layout))


@ours_only
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("where", ["first", "last"])
@pytest.mark.parametrize("outlier", [1e4, 1e8])
def test_an_outlier_costs_no_digits_elsewhere(outlier, where, layout, backend):
    x = normal((8, 5, 9, 11), offset=3.0)
    x[(0, 0, 0, 0) if where == "first" else (-1, -1, -1, -1)] = outlier
    assert_bar(make(2), arrange(x, layout), arrange(normal(x.shape, seed=3), layout))


@ours_only
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_first_sample_far_from_the_rest_costs_no_digits(layout, backend):
    x = normal((8, 5, 9, 11))
    x[0] += 1e6
    assert_bar(make(2), arrange(x, layout), arrange(normal(x.shape, seed=3), layout))


@ours_only
@pytest.mark.parametrize("layout", LAYOUTS)
def test_channels_of_very_different_offsets(layout, backend):
    offsets = torch.tensor([0.0, 1e6, -1e4, 1e-3, -1e6]).view(1, 5, 1, 1)
    x = arrange(normal((8, 5, 9, 11)) + offsets, layout)
    upstream = arrange(normal(x.shape, seed=3), layout)
    actual, truth = run_both(make(2), x, upstream)
    for name in ("output", "gradient of input"):
        for channel in range(5):
            assert_near(actual[name][:, channel], truth[name][:, channel], FLOAT32, name)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("offset", OFFSETS)
def test_evaluation_is_accurate_to_the_size_of_the_input(offset, layout, backend):
    layer = make(2).eval()
    layer.running_mean += offset
    x = arrange(normal((8, 5, 9, 11), offset=offset), layout)
    actual, truth = run_both(layer, x, arrange(normal(x.shape, seed=3), layout))
    scale = max(1.0, offset) * truth["output"].abs().max().item()
    assert_near(actual["output"], truth["output"], FLOAT32_EVAL, "output", scale)
    assert_near(actual["gradient of input"], truth["gradient of input"], FLOAT32, "gradient")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("value", [0.0, -0.0, 1e-42, *([] if IS_TORCH else [0.1, 1.0, 1e6, 1e30])])
def test_a_constant_channel_gives_beta(value, layout, backend):
    layer = make(2, stats=False)
    x = arrange(torch.full((4, 5, 3, 7), value), layout)
    actual, truth = run_both(layer, x, normal(x.shape, seed=3))
    assert_near(actual["output"], layer.bias.view(1, 5, 1, 1).expand(x.shape), FLOAT32, "output")
    assert_near(actual["gradient of input"], truth["gradient of input"], FLOAT32, "gradient")
    assert_near(layer.running_var, torch.full((5,), 0.9), RUNNING[torch.float32])


def planted(value, layout, dtype=torch.float32):
    """Give normal values with ``value`` once in channel 0."""
    x = normal((4, 3, 5, 7), dtype)
    x[1, 0, 2, 3] = value
    return arrange(x, layout)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("activation", [None, "relu", "leaky_relu", "silu", "gelu"])
@pytest.mark.parametrize("value", [NAN, INF, -INF], ids=str)
def test_nan_and_inf_propagate_as_in_torch(value, activation, layout, training, backend):
    if activation == "gelu" and math.isinf(value) and not training:
        pytest.skip("torch's gelu of an infinity is a number or none, by where vectors end")
    layer = make(2, 3, activation=activation).train(training)
    twin = torch_twin(layer)
    x, upstream = planted(value, layout), normal((4, 3, 5, 7), seed=3)
    expected = step(twin, x, upstream) | buffers(twin)
    actual = step(layer, x, upstream) | buffers(layer)
    terms = upstream.abs().sum((0, 2, 3)).max().item()
    for name, tensor in expected.items():
        assert torch.equal(actual[name].isnan(), tensor.isnan()), name
        assert torch.equal(actual[name].isposinf(), tensor.isposinf()), name
        assert torch.equal(actual[name].isneginf(), tensor.isneginf()), name
        others = tensor.isfinite()
        scale = terms if name in ("gradient of weight", "gradient of bias") else 10.0
        assert_near(actual[name][others], tensor[others], FLOAT32, name, scale)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("value", [NAN, INF], ids=str)
def test_nan_and_inf_propagate_in_other_dtypes(value, dtype, layout, backend):
    layer = make(2, 3, dtype=dtype, activation="relu")
    result = step(layer, planted(value, layout, dtype), normal((4, 3, 5, 7), dtype, seed=3))
    assert result["output"][:, 0].isnan().all()
    assert result["output"][:, 1:].isfinite().all()
    assert result["gradient of weight"].isnan().tolist() == [True, False, False]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("activation", [None, "relu", "gelu"])
@pytest.mark.parametrize("value", [NAN, INF], ids=str)
def test_nan_and_inf_upstream(value, activation, layout, training, backend):
    layer = make(2, 3, activation=activation).train(training)
    x = normal((4, 3, 5, 7))
    upstream = planted(value, layout)
    expected = step(torch_twin(layer), x, upstream)
    actual = step(layer, arrange(x, layout), upstream)
    for name, tensor in expected.items():
        assert torch.equal(actual[name].isfinite(), tensor.isfinite()), name


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("size", [1e17, *([] if IS_TORCH else [5e18])])
def test_sums_of_squares_that_overflow_float32(size, layout, backend):
    x = arrange(normal((4, 3, 5, 7)).clamp(-2, 2) * size, layout)
    assert_bar(make(2, 3), x, arrange(normal(x.shape, seed=3), layout))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_one_huge_value_is_normalized_like_any_outlier(layout, backend):
    x = planted(1e19, layout)
    actual, truth = run_both(make(2, 3), x, normal(x.shape, seed=3))
    tolerance = RUNNING[torch.float32] if not IS_TORCH else FLOAT32
    assert_near(actual["output"], truth["output"], FLOAT32, "output")
    assert_near(actual["running_var"], truth["running_var"], tolerance, "running_var")
    assert actual["gradient of input"].isfinite().all()


@ours_only
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("size", [1e20, 1e30, 1e37])
def test_a_variance_beyond_float32_still_normalizes(size, layout, backend):
    x = arrange(normal((4, 3, 5, 7)).clamp(-2, 2) * size, layout)
    actual, truth = run_both(make(2, 3, track_running_stats=False), x, normal(x.shape, seed=3))
    assert_near(actual["output"], truth["output"], FLOAT32, "output")
    # of a size near 1 / size, which float32 keeps few or no digits of
    assert actual["gradient of input"].isfinite().all()


@pytest.mark.parametrize("training", [True, False])
def test_subnormal_input_and_negative_zero(training, backend):
    x = torch.tensor([1e-40, -1e-40, 3e-42, -0.0, 0.0, 1e-45]).view(6, 1)
    layer = make(1, 1, affine=False, stats=False).train(training)
    twin = torch_twin(layer)
    y, expected = layer(x), twin(x)
    assert_near(y, expected, FLOAT32, scale=1e-38)


@ours_only
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_far_from_zero(dtype, layout, backend):
    # what half-precision input can still show: an offset of 64 spreads
    x = arrange(normal((16, 5, 8, 8), dtype, offset=64.0), layout)
    layer = make(2, dtype=dtype)
    actual, truth = run_both(layer, x, normal(x.shape, dtype, seed=3))
    assert_near(actual["output"], truth["output"], HALF_FLOOR[dtype], "output")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "silu", "gelu"])
def test_activations_far_from_zero(activation, dtype, layout, backend):
    # in evaluation with mean 0 and variance 1 the layer is its activation, at any size of input
    sizes = torch.logspace(-30, 38, 69, dtype=torch.float64).clamp(max=3e38)
    values = torch.cat([sizes, -sizes, torch.linspace(-120, 120, 241, dtype=torch.float64)])
    x = arrange(values.to(dtype).view(1, 1, -1, 1).repeat(2, 3, 1, 1), layout)
    layer = nn.BatchNorm2d(3, eps=0.0, activation=activation, dtype=dtype).eval()
    result = step(layer, x, torch.ones_like(x))
    truth = step(torch_twin(layer), x.clone(), torch.ones_like(x))
    near = ELEMENTWISE[dtype].bound
    for name in ("output", "gradient of input"):
        torch.testing.assert_close(result[name], truth[name], rtol=near, atol=near)


@pytest.mark.slow
@ours_only
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("offset", OFFSETS)
def test_a_real_layer_meets_the_bar(offset, layout, backend):
    x = arrange(normal((32, 64, 56, 56), offset=offset), layout)
    assert_bar(make(2, 64, activation="relu"), x, arrange(normal(x.shape, seed=3), layout))
