"""Errors: torch's types, with messages that say what is wrong and what to do; empty batches."""

import contextlib

import pytest
import torch
from _cases import SHAPES, buffers, make, normal, step, torch_twin
from _subject import functional, nn, ours_only
from tolerances import SAME_FORMULA, assert_near

pytestmark = pytest.mark.usefixtures("one_thread")

WRONG_SHAPES = (
    (1, (3,)),
    (1, (4, 3, 2, 2)),
    (2, (4, 3)),
    (2, (4, 3, 2)),
    (2, (4, 3, 2, 2, 2)),
    (3, (4, 3, 2, 2)),
)
modes = pytest.mark.parametrize("training", [True, False])


def error_of(call):
    """Give the exception that ``call`` raises."""
    with pytest.raises(Exception) as caught:
        call()
    return caught.value


def assert_same_type(layer, x):
    """Assert that ours raises what torch raises; give our message."""
    expected = error_of(lambda: torch_twin(layer)(x))
    actual = error_of(lambda: layer(x))
    assert isinstance(actual, type(expected)), (repr(actual), repr(expected))
    return str(actual)


@modes
@pytest.mark.parametrize("dims, shape", WRONG_SHAPES)
def test_wrong_number_of_dimensions(dims, shape, training):
    message = assert_same_type(make(dims, 3).train(training), normal(shape))
    assert f"{len(shape)}D" in message


@modes
@pytest.mark.parametrize(
    "options", [{}, {"track_running_stats": False}, {"affine": False}], ids=str
)
def test_wrong_number_of_channels(options, training, backend):
    message = assert_same_type(make(2, 4, **options).train(training), normal((2, 3, 5, 5)))
    assert "4" in message
    assert "3" in message


@pytest.mark.parametrize("dims, shape", [(1, (1, 3)), (1, (1, 3, 1)), (2, (1, 3, 1, 1))])
def test_one_value_a_channel_in_training(dims, shape, backend):
    message = assert_same_type(make(dims, 3), normal(shape))
    assert "more than 1 value per channel" in message
    layer = make(dims, 3).eval()
    assert torch.equal(layer(normal(shape)).isfinite(), torch.ones(shape, dtype=torch.bool))


@ours_only
def test_one_value_a_channel_says_what_to_do():
    with pytest.raises(ValueError, match=r"eval\(\)|drop_last|batch"):
        make(1, 3)(normal((1, 3)))


@modes
@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool, torch.complex64], ids=str)
def test_input_that_is_not_floating_point(dtype, training, backend):
    assert_same_type(make(2, 3).train(training), torch.ones(4, 3, 2, 2, dtype=dtype))


@ours_only
def test_integer_input_says_how_to_convert():
    with pytest.raises(NotImplementedError, match=r"float"):
        make(2, 3)(torch.ones(4, 3, 2, 2, dtype=torch.int64))


@pytest.mark.parametrize("eps", [0.0, -1.0])
@modes
def test_eps(eps, training, backend):
    layer = nn.BatchNorm2d(3, eps=eps).train(training)
    if eps == 0.0 and not training:
        assert_near(layer(normal((2, 3, 4, 4))), normal((2, 3, 4, 4)), SAME_FORMULA)
        return
    assert "eps" in assert_same_type(layer, normal((2, 3, 4, 4)))


@modes
@pytest.mark.parametrize("place", ["input", "layer"])
def test_devices_that_differ(place, training, backend):
    x = normal((4, 3, 2, 2))
    layer = make(2, 3).train(training)
    twin = torch_twin(layer)
    if place == "input":
        x = x.to("meta")
    else:
        layer, twin = layer.to("meta"), twin.to("meta")
    expected, actual = error_of(lambda: twin(x)), error_of(lambda: layer(x))
    assert isinstance(actual, type(expected)), repr(actual)
    assert "meta" in str(actual)
    assert "cpu" in str(actual)


@pytest.mark.parametrize("bad", [[1.0, 2.0], None, 3.0])
def test_input_that_is_no_tensor(bad, backend):
    with pytest.raises((TypeError, AttributeError)):
        make(2, 3)(bad)


def test_numpy_input_is_refused(backend):
    with pytest.raises((TypeError, AttributeError)):
        make(2, 3)(normal((4, 3, 2, 2)).numpy())


@modes
def test_sparse_input_is_refused(training, backend):
    layer, x = make(2, 3).train(training), normal((4, 3, 2, 2)).to_sparse()
    if backend == "cpu":
        with pytest.raises(RuntimeError, match="EQUIPOISE_BACKEND=cpu runs on strided"):
            layer(x)
    else:
        assert_same_type(layer, x)


@pytest.mark.parametrize("add", [(4, 4, 2, 2), (5, 3, 2, 2), (4, 3, 2, 3)])
def test_an_addend_that_does_not_fit(add, backend):
    with pytest.raises((RuntimeError, ValueError)):
        make(2, 3)(normal((4, 3, 2, 2)), add=normal(add))


@ours_only
def test_an_addend_that_does_not_fit_names_both_shapes(backend):
    with pytest.raises((RuntimeError, ValueError), match=r"4, 3, 2, 2.*|add") as caught:
        make(2, 3)(normal((4, 3, 2, 2)), add=normal((4, 3, 2, 3)))
    assert "4, 3, 2, 3" in str(caught.value)


@pytest.mark.parametrize("activation", [None, "relu", "silu"])
@modes
def test_an_addend_on_another_device(training, activation, backend):
    x = normal((4, 3, 2, 2))
    layer = make(2, 3, activation=activation).train(training)
    expected = error_of(lambda: torch_twin(layer)(x) + x.to("meta"))
    actual = error_of(lambda: layer(x, add=x.to("meta")))
    assert isinstance(actual, type(expected)), repr(actual)
    assert "meta" in str(actual)


@pytest.mark.parametrize("name", ["weight", "bias", "running_mean", "running_var"])
@modes
def test_complex_vectors_are_refused(name, training, backend):
    args = dict.fromkeys(("running_mean", "running_var", "weight", "bias"), torch.ones(3))
    args[name] = torch.ones(3, dtype=torch.complex64)
    for function in (torch.nn.functional.batch_norm, functional.batch_norm):
        with pytest.raises(RuntimeError):
            function(normal((4, 3, 2, 2)), **args, training=training)


@pytest.mark.parametrize("backend_name", ["gpu", "nonsense"])
@ours_only
def test_a_backend_that_cannot_run_says_so(backend_name, monkeypatch):
    if torch.cuda.is_available() and backend_name == "gpu":
        pytest.skip("there is a GPU here")
    monkeypatch.setenv("EQUIPOISE_BACKEND", backend_name)
    with pytest.raises((RuntimeError, ValueError), match=backend_name):
        make(2, 3)(normal((4, 3, 2, 2)))


def test_unknown_constructor_option():
    with pytest.raises(TypeError):
        nn.BatchNorm2d(3, nonsense=1)


@pytest.mark.parametrize("features", [-1, 3.0])
def test_num_features_that_is_no_size(features):
    expected = error_of(lambda: torch.nn.BatchNorm2d(features))
    with pytest.raises(type(expected)):
        nn.BatchNorm2d(features)


@modes
@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("empty", [0, 2])
@pytest.mark.parametrize(
    "options", [{}, {"affine": False}, {"track_running_stats": False}], ids=str
)
def test_empty_input_is_treated_as_torch_treats_it(options, empty, dims, training, backend):
    shape = list(SHAPES[dims])
    shape[empty] = 0
    layer = make(dims, activation="relu", **options).train(training)
    twin = torch_twin(layer)
    x = torch.empty(shape)
    expected = step(twin, x, x) | buffers(twin)
    actual = step(layer, x, x) | buffers(layer)
    for name, value in expected.items():
        assert_near(actual[name], value, SAME_FORMULA, name)


@modes
def test_empty_two_dimensional_input(training, backend):
    layer = make(1, 3).train(training)
    twin = torch_twin(layer)
    actual, expected = (
        step(layer, torch.empty(0, 3), torch.empty(0, 3)),
        step(twin, torch.empty(0, 3), torch.empty(0, 3)),
    )
    for name, value in expected.items():
        assert torch.equal(actual[name], value), name


@modes
def test_empty_input_with_addend(training, backend):
    x = torch.empty(0, 3, 2, 2)
    result = step(make(2, 3, activation="silu").train(training), x, x, x)
    assert result["gradient of add"].shape == x.shape
    assert torch.equal(result["gradient of weight"], torch.zeros(3))


@modes
def test_no_channels(training, backend):
    # torch raises an IndexError from inside a kernel; an empty result is as good, a crash is not
    layer = nn.BatchNorm2d(0).train(training)
    with contextlib.suppress(IndexError, ValueError, RuntimeError):
        assert layer(torch.empty(2, 0, 3, 3)).shape == (2, 0, 3, 3)


def test_a_failed_call_leaves_the_running_statistics(backend):
    layer = make(2, 4)
    before = {name: value.clone() for name, value in buffers(layer).items()}
    error_of(lambda: layer(normal((2, 3, 5, 5))))
    error_of(lambda: layer(normal((2, 4, 5))))
    assert torch.equal(layer.running_mean, before["running_mean"])
    assert torch.equal(layer.running_var, before["running_var"])
