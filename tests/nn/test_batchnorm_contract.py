"""The class itself: constructor, flags, state, copies, printing; all as torch's class has them."""

import copy
import inspect
import io
import pickle

import pytest
import torch
from _cases import BUFFERS, CLASSES, SHAPES, buffers, make, normal, oracle, step, torch_twin
from _subject import nn
from tolerances import COMPILED, FLOAT32, FLOAT64, assert_near

pytestmark = pytest.mark.usefixtures("one_thread")

OPTIONS = (
    {},
    {"eps": 1e-3, "momentum": 0.3},
    {"momentum": None},
    {"affine": False},
    {"bias": False},
    {"track_running_stats": False},
    {"affine": False, "track_running_stats": False},
)
dims = pytest.mark.parametrize("dims", [1, 2, 3])


def ours_and_torch(dims, *args, **options):
    """Build the same layer twice: ours, and torch's."""
    name = CLASSES[dims]
    return getattr(nn, name)(*args, **options), getattr(torch.nn, name)(*args, **options)


@dims
def test_is_an_instance_of_the_class_of_torch(dims):
    ours, theirs = ours_and_torch(dims, 3)
    assert isinstance(ours, type(theirs))
    assert isinstance(ours, torch.nn.modules.batchnorm._BatchNorm)
    assert type(ours).__name__ == CLASSES[dims]


@dims
def test_constructor_takes_the_positions_of_torch(dims):
    args = (4, 1e-3, 0.3, True, True, torch.device("cpu"), torch.float64)
    ours, theirs = ours_and_torch(dims, *args)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    for name in ("num_features", "eps", "momentum", "affine", "track_running_stats"):
        assert getattr(ours, name) == getattr(theirs, name), name
    assert ours.weight.dtype == ours.running_var.dtype == torch.float64


@dims
def test_extras_are_keyword_only(dims):
    signature = inspect.signature(getattr(nn, CLASSES[dims]).forward)
    assert signature.parameters["add"].kind is inspect.Parameter.KEYWORD_ONLY
    with pytest.raises(TypeError):
        getattr(nn, CLASSES[dims])(4, 1e-3, 0.3, True, True, None, None, "relu")


@dims
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_parameters_buffers_and_repr_equal_those_of_torch(dims, options):
    ours, theirs = ours_and_torch(dims, 5, **options)
    assert repr(ours) == repr(theirs)
    for kind in ("named_parameters", "named_buffers"):
        mine, others = dict(getattr(ours, kind)()), dict(getattr(theirs, kind)())
        assert mine.keys() == others.keys()
        for name, value in others.items():
            assert torch.equal(mine[name], value), name
            assert mine[name].dtype == value.dtype, name
            assert type(mine[name]) is type(value), name
    for name in ("weight", "bias", *BUFFERS):
        assert (getattr(ours, name) is None) == (getattr(theirs, name) is None), name


def test_repr_names_the_extras_in_use():
    assert "relu" in repr(nn.BatchNorm2d(3, activation="relu"))
    assert "activation" not in repr(nn.BatchNorm2d(3))


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_device(device):
    layer = nn.BatchNorm2d(3, device=device)
    assert {t.device.type for t in layer.state_dict().values()} == {device}


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_state_dict_moves_both_ways(options):
    layer = make(2, **options)
    twin = torch_twin(layer).norm
    assert list(layer.state_dict()) == list(twin.state_dict())
    assert layer.state_dict()._metadata == twin.state_dict()._metadata
    back = nn.BatchNorm2d(5, **options)
    assert back.load_state_dict(twin.state_dict(), strict=True).missing_keys == []
    for name, value in layer.state_dict().items():
        assert torch.equal(back.state_dict()[name], value), name


def test_state_dict_of_a_layer_with_extras_has_no_new_keys():
    assert list(make(2, activation="gelu").state_dict()) == list(
        torch.nn.BatchNorm2d(5).state_dict()
    )


def test_loads_a_state_dict_older_than_num_batches_tracked():
    old = {k: v for k, v in make(2).state_dict().items() if k != "num_batches_tracked"}
    layer = nn.BatchNorm2d(5)
    layer.num_batches_tracked += 3
    layer.load_state_dict(old)
    assert layer.num_batches_tracked == 3
    assert torch.equal(layer.running_mean, old["running_mean"])


def test_strict_loading_names_missing_and_unexpected_keys():
    state = make(2).state_dict()
    state["surplus"] = state.pop("running_var")
    with pytest.raises(RuntimeError, match="running_var") as caught:
        nn.BatchNorm2d(5).load_state_dict(state)
    assert "surplus" in str(caught.value)
    result = nn.BatchNorm2d(5).load_state_dict(state, strict=False)
    assert (result.missing_keys, result.unexpected_keys) == (["running_var"], ["surplus"])


def test_loading_with_assign():
    state = {k: v.clone() for k, v in make(2).state_dict().items()}
    layer = nn.BatchNorm2d(5, device="meta")
    layer.load_state_dict(state, assign=True)
    truth = oracle(layer)
    x = normal(SHAPES[2])
    assert_near(layer(x), truth(x.double()), FLOAT32)


def test_reset_running_stats_and_parameters():
    layer = make(2)
    layer(normal(SHAPES[2]))
    weight = layer.weight.clone()
    layer.reset_running_stats()
    assert [layer.running_mean.abs().max(), layer.num_batches_tracked] == [0, 0]
    assert torch.equal(layer.running_var, torch.ones(5))
    assert torch.equal(layer.weight, weight)
    layer.reset_parameters()
    assert torch.equal(layer.weight, torch.ones(5))
    assert torch.equal(layer.bias, torch.zeros(5))


@pytest.mark.parametrize("start", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_track_running_stats_toggled_after_construction(start, training, backend):
    layer = make(2, track_running_stats=start, dtype=torch.float64)
    truth = oracle(layer)
    layer.track_running_stats = truth.norm.track_running_stats = not start
    layer.train(training)
    truth.train(training)
    x = normal(SHAPES[2], torch.float64)
    assert_near(layer(x), truth(x), FLOAT64)
    for name, value in buffers(truth).items():
        assert torch.equal(buffers(layer)[name], value), name


def test_buffers_removed_after_construction(backend):
    # the recipe of functorch's documentation for a network that is already built
    layer = make(2, dtype=torch.float64)
    layer.track_running_stats = False
    layer.running_mean = layer.running_var = layer.num_batches_tracked = None
    x = normal(SHAPES[2], torch.float64)
    expected = layer(x)
    assert_near(layer.eval()(x), expected, FLOAT64)


def test_attributes_changed_after_construction_take_effect(backend):
    layer = make(2, dtype=torch.float64)
    layer.eps, layer.momentum, layer.activation = 0.5, 0.7, "relu"
    truth = oracle(layer)
    x = normal(SHAPES[2], torch.float64)
    assert_near(layer(x), truth(x), FLOAT64)
    assert_near(layer.running_mean, truth.norm.running_mean, FLOAT64)


def test_parameters_frozen_or_replaced(backend):
    layer = make(2, dtype=torch.float64)
    layer.weight.requires_grad_(False)
    layer.bias = torch.nn.Parameter(torch.full((5,), 3.0, dtype=torch.float64))
    x, upstream = (normal(SHAPES[2], torch.float64, seed=s) for s in (2, 3))
    y = layer(x)
    y.backward(upstream)
    assert layer.weight.grad is None
    assert_near(layer.bias.grad, upstream.sum((0, 2, 3)), FLOAT64)


@pytest.mark.parametrize("copier", ["deepcopy", "pickle", "save"])
@dims
def test_copies_behave_like_the_original(dims, copier):
    layer = make(dims, activation="leaky_relu", negative_slope=0.3, momentum=0.2)
    layer(normal(SHAPES[dims]))
    if copier == "deepcopy":
        other = copy.deepcopy(layer)
    elif copier == "pickle":
        other = pickle.loads(pickle.dumps(layer))
    else:
        file = io.BytesIO()
        torch.save(layer, file)
        file.seek(0)
        other = torch.load(file, weights_only=False)
    assert type(other) is type(layer)
    assert repr(other) == repr(layer)
    assert other.weight.data_ptr() != layer.weight.data_ptr()
    x, upstream = normal(SHAPES[dims], seed=5), normal(SHAPES[dims], seed=6)
    expected = step(layer, x, upstream) | buffers(layer)
    for name, value in (step(other, x, upstream) | buffers(other)).items():
        assert torch.equal(value, expected[name]), name


def test_dtype_and_device_moves():
    layer = make(2)
    assert layer.double().running_mean.dtype == torch.float64
    assert layer.half().weight.dtype == torch.float16
    assert layer.num_batches_tracked.dtype == torch.int64
    assert layer.to("meta").running_var.device.type == "meta"
    assert layer.to_empty(device="cpu").weight.device.type == "cpu"


def test_apply_and_train_reach_the_layer_inside_a_network():
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 1), make(2))
    assert not network.eval()[1].training
    before = network[1].running_mean.clone()
    network(normal((2, 3, 4, 4)))
    assert torch.equal(network[1].running_mean, before)


def test_sync_conversion_finds_the_layer():
    network = torch.nn.Sequential(make(2))
    assert isinstance(
        torch.nn.SyncBatchNorm.convert_sync_batchnorm(network)[0], torch.nn.SyncBatchNorm
    )


def test_replace_all_batch_norm_modules_finds_the_layer():
    network = torch.func.replace_all_batch_norm_modules_(torch.nn.Sequential(make(2)))
    assert network[0].running_mean is None
    assert not network[0].track_running_stats


def test_fusing_with_a_convolution_in_evaluation():
    conv, layer = torch.nn.Conv2d(3, 5, 1).eval(), make(2).eval()
    x = normal((2, 3, 4, 4))
    fused = torch.nn.utils.fuse_conv_bn_eval(conv, layer)
    assert_near(fused(x), layer(conv(x)), COMPILED)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_autocast_gives_the_dtype_of_torch(dtype, training, backend):
    layer = make(2, activation="relu").train(training)
    x = normal(SHAPES[2], dtype)
    twin = torch_twin(layer)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, expected = layer(x), twin(x)
    assert y.dtype == expected.dtype
    assert y.dtype == dtype


def test_autocast_behind_a_convolution(backend):
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 3), make(2, activation="relu"))
    x = normal((4, 3, 8, 8)).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = network(x)
    assert y.dtype == torch.bfloat16
    y.backward(normal(y.shape, torch.bfloat16))
    assert network[1].weight.grad.dtype == torch.float32
    assert x.grad.isfinite().all()


def test_weight_norm_and_other_parametrizations(backend):
    class Double(torch.nn.Module):
        def forward(self, weight):
            return 2 * weight

    layer = make(2, dtype=torch.float64)
    truth = oracle(layer)
    torch.nn.utils.parametrize.register_parametrization(layer, "weight", Double())
    with torch.no_grad():
        truth.norm.weight.mul_(2)
    x, upstream = (normal(SHAPES[2], torch.float64, seed=s) for s in (2, 3))
    y = layer(x)
    assert_near(y, truth(x), FLOAT64)
    (gradient,) = torch.autograd.grad(
        y, layer.parametrizations.weight.original, upstream, retain_graph=True
    )
    expected = step(truth, x, upstream)["gradient of weight"]
    assert_near(gradient, 2 * expected, FLOAT64)


@pytest.mark.parametrize("name", ["tanh", "", "RELU", 3])
def test_an_unknown_activation_is_refused_by_name(name):
    with pytest.raises(ValueError, match="activation") as caught:
        nn.BatchNorm2d(3, activation=name)
    assert "leaky_relu" in str(caught.value)
