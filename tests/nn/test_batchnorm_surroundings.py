"""What surrounds a layer in real programs: modes, tensor subclasses, lazy bits, memory, tools."""

import gc
import weakref

import pytest
import torch
from _cases import LAYOUTS, SHAPES, arrange, buffers, make, normal, oracle, step
from _subject import nn, ours_only
from tolerances import FLOAT32, FLOAT64, SAME_FORMULA, assert_near
from torch.testing._internal.two_tensor import TwoTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

modes = pytest.mark.parametrize("training", [True, False])


def doubles(*seeds):
    """Give float64 inputs."""
    return [normal(SHAPES[2], torch.float64, seed) for seed in seeds]


def assert_same(actual, expected, tolerance=FLOAT64):
    for name, value in expected.items():
        assert_near(actual[name], value, tolerance, name)


@pytest.mark.parametrize("which", ["input", "upstream", "addend"])
def test_tensors_with_the_negative_bit(which, backend):
    # the imaginary part of a conjugate is a view whose memory holds the negated numbers
    tensors = dict(zip(("input", "upstream", "addend"), doubles(2, 3, 4), strict=True))
    plain = tensors[which]
    tensors[which] = torch.complex(torch.zeros_like(plain), -plain).conj().imag
    assert tensors[which].is_neg()
    layer = make(2, dtype=torch.float64, activation="relu")
    expected = step(oracle(layer), *(t.resolve_neg() for t in tensors.values()))
    assert_same(step(layer, *tensors.values()), expected)


def test_an_upstream_gradient_without_memory(backend):
    x, upstream = doubles(2, 3)
    zero = torch._efficientzerotensor(x.shape, dtype=x.dtype)
    layer = make(2, dtype=torch.float64, activation="relu")
    for name, value in step(layer, x, zero).items():
        assert name == "output" or torch.equal(value, torch.zeros_like(value)), name
    assert_same(step(layer, x, upstream), step(oracle(layer), x, upstream))


@pytest.mark.parametrize("freed", ["input", "weight"])
@pytest.mark.parametrize("activation", [None, "relu"])
def test_freed_memory_is_refused(activation, freed, backend):
    # sharding frees the storage of what another process holds; torch raises for these two (and
    # crashes for the addend and the upstream gradient)
    layer = make(2, activation=activation)
    tensors = dict(zip(("input", "upstream", "addend"), doubles(2, 3, 4), strict=True))
    tensors = {name: t.float() for name, t in tensors.items()}
    (layer.weight if freed == "weight" else tensors[freed]).untyped_storage().resize_(0)
    with pytest.raises(RuntimeError):
        step(layer, *tensors.values())


def test_overlapping_windows_as_input(kernels):
    series = normal((40,), torch.float64)
    x = series.as_strided((4, 5, 3, 7), (4, 3, 1, 2))
    layer = make(2, dtype=torch.float64)
    upstream = normal(SHAPES[2], torch.float64, seed=3)
    assert_same(step(layer, x, upstream), step(oracle(layer), x.clone(), upstream))


@ours_only
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(4, 5, 3, 7), (5, 19, 17, 23)])
def test_alignment_does_not_change_the_bits(shape, layout, kernels):
    x, upstream = (arrange(normal(shape, seed=s), layout) for s in (2, 3))
    expected = step(make(2, shape[1]), x, upstream)
    for shift in (1, 3):
        memory = torch.empty(x.numel() + shift)[shift:].as_strided(x.shape, x.stride(), shift)
        memory.copy_(x)
        assert_same(step(make(2, shape[1]), memory, upstream), expected, SAME_FORMULA)


@modes
def test_default_device_and_dtype_do_not_leak_in(training, kernels):
    layer = make(2, activation="silu").train(training)
    truth = oracle(layer)
    x, upstream = normal(SHAPES[2]), normal(SHAPES[2], seed=3)
    expected = step(truth, x.double(), upstream.double())
    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"):
            actual = step(layer, x, upstream)
    finally:
        torch.set_default_dtype(torch.float32)
    assert {(t.device.type, t.dtype) for t in actual.values()} == {("cpu", torch.float32)}
    assert_same(actual | buffers(layer), expected | buffers(truth), FLOAT32)


class Transparent(TorchDispatchMode):
    """Call every operation unchanged, and count them."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += 1
        return function(*args, **(kwargs or {}))


def test_flop_counter(kernels):
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 1), make(2, activation="relu"))
    with FlopCounterMode(display=False) as counter:
        y = network(normal((2, 3, 4, 4)))
        y.backward(normal(y.shape, seed=3))
    # two products a multiplication: forward, and the gradient of the weight
    assert counter.get_total_flops() == 2 * (2 * 2 * 3 * 5 * 16)


@modes
def test_dispatch_modes(training, kernels):
    layer = make(2, dtype=torch.float64, activation="gelu").train(training)
    truth = oracle(layer)
    x, upstream = doubles(2, 3)
    with Transparent() as mode:
        actual = step(layer, x, upstream)
    assert mode.count > 0
    assert_same(actual | buffers(layer), step(truth, x, upstream) | buffers(truth))


@pytest.mark.parametrize("options, training", [({}, False), ({"track_running_stats": False}, True)])
def test_subclasses_with_their_own_dispatch(options, training, kernels):
    layer = make(2, dtype=torch.float64, activation="relu", **options).train(training)
    a, b = doubles(2, 3)
    y = layer(TwoTensor(a, b))
    truth = oracle(layer)
    assert isinstance(y, TwoTensor)
    assert_near(y.a, truth(a), FLOAT64)
    assert_near(y.b, truth(b), FLOAT64)


@pytest.mark.parametrize("activation", [None, "relu", "silu"])
def test_saved_tensors_may_be_packed(activation, kernels):
    layer = make(2, dtype=torch.float64, activation=activation)
    x, upstream = doubles(2, 3)
    expected = step(oracle(layer), x, upstream)["gradient of input"]
    leaf = x.requires_grad_()
    pack, unpack = (lambda t: (t.clone(), t.dtype)), (lambda packed: packed[0].to(packed[1]))
    with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        y = layer(leaf)
    y.backward(upstream)
    assert_near(leaf.grad, expected, FLOAT64)


@pytest.mark.parametrize("activation", [None, "relu", "gelu"])
@modes
def test_nothing_is_kept_alive_by_cycles(activation, training, kernels):
    layer = make(2, activation=activation).train(training)
    gc.collect()
    gc.disable()
    try:
        x = normal(SHAPES[2]).requires_grad_()
        add = normal(SHAPES[2], seed=4).requires_grad_()
        references = [weakref.ref(x), weakref.ref(add)]
        y = layer(x, add=add)
        y.backward(normal(SHAPES[2], seed=3))
        del x, add, y
        assert [reference() for reference in references] == [None, None]
    finally:
        gc.enable()


@pytest.mark.parametrize("activation", [None, "relu", "silu", "gelu"])
def test_a_bias_changed_before_backward(activation, kernels):
    layer = make(2, dtype=torch.float64, activation=activation)
    x, upstream = doubles(2, 3)
    expected = step(oracle(layer), x, upstream)["gradient of input"]
    y = layer(x.requires_grad_())
    with torch.no_grad():
        layer.bias.add_(5)
    assert_right_or_refused(y, x, upstream, expected)


def assert_right_or_refused(y, x, upstream, expected):
    """Assert that backward is right, or that autograd refuses a tensor changed in place."""
    try:
        y.backward(upstream)
    except RuntimeError as error:
        refusal = str(error)
    else:
        refusal = None
        assert_near(x.grad, expected, FLOAT64)
    assert refusal is None or "modified by an inplace operation" in refusal


@ours_only
@pytest.mark.parametrize("activation", [None, "gelu"])
def test_running_statistics_moved_before_backward(activation, backend):
    # torch's layer silently differentiates at the new statistics here
    layer = make(2, dtype=torch.float64, activation=activation).eval()
    x, upstream = doubles(2, 3)
    expected = step(oracle(layer), x, upstream)["gradient of input"]
    y = layer(x.requires_grad_())
    layer.train()(10 * normal(SHAPES[2], torch.float64, seed=9))
    assert_right_or_refused(y, x, upstream, expected)


@pytest.mark.parametrize("momentum", [0.1, None])
def test_update_bn_recomputes_the_statistics(momentum, kernels):
    network = torch.nn.Sequential(make(2, momentum=momentum), torch.nn.ReLU())
    batches = [normal(SHAPES[2], seed=s) for s in range(3)]
    torch.optim.swa_utils.update_bn(batches, network)
    mean = torch.stack([x.mean((0, 2, 3)) for x in batches]).mean(0)
    var = torch.stack([x.var((0, 2, 3)) for x in batches]).mean(0)
    assert_near(network[0].running_mean, mean, FLOAT32)
    assert_near(network[0].running_var, var, FLOAT32)
    assert network[0].momentum == momentum


def test_a_network_moved_to_channels_last_stays_there(kernels):
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8, activation="relu"), torch.nn.Conv2d(8, 4, 3)
    ).to(memory_format=torch.channels_last)
    x = normal((2, 3, 9, 9)).contiguous(memory_format=torch.channels_last)
    assert network(x).is_contiguous(memory_format=torch.channels_last)


def test_gradient_scaling_of_mixed_precision(kernels):
    layer = make(2, activation="relu", dtype=torch.bfloat16)
    x = normal(SHAPES[2], torch.bfloat16).requires_grad_()
    (layer(x).float().square().mean() * 2.0**16).backward()
    assert x.grad.dtype == torch.bfloat16
    assert x.grad.isfinite().all()


@pytest.mark.slow
@ours_only
@pytest.mark.parametrize("layout", LAYOUTS)
def test_more_elements_than_32_bits_count(layout):
    # torch's sums saturate: in bfloat16 its running_mean of 3.0 is 3.33 from 2^25 rows of 3.0 on
    psutil = pytest.importorskip("psutil")
    if psutil.virtual_memory().available < 12 * 2**30:
        pytest.skip("needs 12 GB of free memory")
    shape = (2, 2, 2**29 + 8)
    x = torch.empty(shape, dtype=torch.bfloat16)
    x = x if layout == "contiguous" else x.view(2, 2**29 + 8, 2).movedim(2, 1)
    x.zero_()
    x[:, 1] = 3.0
    x[-1, :, -1:] = torch.tensor([2.0, -1.0], dtype=torch.bfloat16)[:, None]
    with torch.no_grad():
        y = nn.BatchNorm1d(2, eps=1.0).eval()(x)
        assert (y[-1, :, -1] * 2**0.5 - x[-1, :, -1]).abs().max() < 0.05
        assert (y[-1, :, -2] * 2**0.5 - torch.tensor([0.0, 3.0])).abs().max() < 0.05
        del y
        layer = nn.BatchNorm1d(2, momentum=1.0)
        layer(x)
    assert_near(layer.running_mean, torch.tensor([0.0, 3.0]), FLOAT32)
