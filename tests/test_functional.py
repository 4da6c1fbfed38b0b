"""functional.batch_norm: torch.nn.functional's signature, the extras, plain tensors as weights."""

import inspect
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

# the inputs and the stand-in are those of the layers' tests
sys.path.append(str(Path(__file__).parent / "nn"))

from _cases import ACTIVATIONS, SHAPES, arrange, normal
from _standin import batch_norm as reference
from _subject import functional, ours_only
from tolerances import FLOAT64, assert_near


def statistics(channels=5):
    """Give running mean and variance."""
    return normal((channels,), torch.float64, 7), normal((channels,), torch.float64, 8).abs() + 0.5


def test_signature_is_that_of_torch_plus_keyword_only_extras():
    mine = inspect.signature(functional.batch_norm).parameters
    theirs = inspect.signature(F.batch_norm).parameters
    assert list(mine)[: len(theirs)] == list(theirs)
    for name, parameter in theirs.items():
        assert mine[name].default == parameter.default, name
    extras = list(mine)[len(theirs) :]
    assert set(extras) >= {"activation", "negative_slope", "add"}
    assert all(mine[name].kind is inspect.Parameter.KEYWORD_ONLY for name in extras)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("add", [True, False])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_matches_the_composition_of_torch(dims, activation, add, training):
    x, other, upstream = (normal(SHAPES[dims], torch.float64, seed=s) for s in (2, 4, 3))
    results = []
    for function in (functional.batch_norm, reference):
        leaves = [t.clone().requires_grad_() for t in (x, *weights(), other)]
        extras = {
            "activation": activation,
            "negative_slope": 0.3,
            "add": leaves[3] if add else None,
        }
        mean, var = statistics()
        y = function(leaves[0], mean, var, *leaves[1:3], training, 0.3, 1e-3, **extras)
        gradients = torch.autograd.grad(y, leaves[: 3 + add], upstream)
        results.append([y, *gradients, mean, var])
    for mine, theirs in zip(*results, strict=True):
        assert_near(mine, theirs, FLOAT64)


def weights():
    """Give weight and bias as plain tensors."""
    return normal((5,), torch.float64, 5), normal((5,), torch.float64, 6)


@pytest.mark.parametrize("weight", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_weight_and_bias_are_optional_each(weight, bias, training):
    x = normal(SHAPES[2], torch.float64)
    w, b = weights()
    w, b = (w if weight else None), (b if bias else None)
    args = (*statistics(), w, b, training)
    assert_near(functional.batch_norm(x, *args), F.batch_norm(x, *args), FLOAT64)


def test_without_running_statistics():
    x = normal(SHAPES[2], torch.float64)
    y = functional.batch_norm(x, None, None, training=True)
    assert_near(y, F.batch_norm(x, None, None, training=True), FLOAT64)


def test_gradients_reach_what_made_the_weights():
    # weights from a hypernetwork are no leaves
    x, upstream = normal(SHAPES[2], torch.float64), normal(SHAPES[2], torch.float64, seed=3)
    gradients = []
    for function in (functional.batch_norm, F.batch_norm):
        code = torch.tensor([0.3, -0.7], dtype=torch.float64, requires_grad=True)
        w, b = (code.sum() * weights()[0]).exp(), code.prod() * weights()[1]
        function(x, None, None, w, b, True).backward(upstream)
        gradients.append(code.grad)
    assert_near(*gradients, FLOAT64)


@pytest.mark.parametrize("layout", ["strided", "expanded", "sliced"])
@pytest.mark.parametrize("training", [True, False])
def test_weights_and_statistics_of_any_stride(layout, training):
    def spread(t):
        if layout == "strided":
            return torch.stack([t, torch.full_like(t, float("nan"))], 1)[:, 0]
        if layout == "expanded":
            return t[:1].expand(t.shape)
        return torch.cat([t, t])[5:]

    x, upstream = normal(SHAPES[2], torch.float64), normal(SHAPES[2], torch.float64, seed=3)
    results = []
    for function in (functional.batch_norm, F.batch_norm):
        w, b = (spread(t).requires_grad_() for t in weights())
        mean, var = statistics()
        if layout == "strided":
            mean, var = spread(mean), spread(var)
        y = function(x, mean, var, w, b, training)
        results.append([y, *torch.autograd.grad(y, (w, b), upstream), mean, var])
    for mine, theirs in zip(*results, strict=True):
        assert_near(mine, theirs, FLOAT64)


SIZES = {
    "running_mean": (2, 3, 3, 3),
    "running_var": (3, 2, 3, 3),
    "weight": (3, 3, 2, 3),
    "bias": (3, 3, 3, 4),
}


@pytest.mark.parametrize("name", list(SIZES))
@pytest.mark.parametrize("training", [True, False])
def test_wrong_sizes_are_named(name, training):
    args = [torch.ones(size) for size in SIZES[name]]
    with pytest.raises(RuntimeError, match=name) as caught:
        functional.batch_norm(normal((4, 3, 2, 2)), *args, training)
    assert "3" in str(caught.value)


@pytest.mark.parametrize("mean, var", [(True, False), (False, True), (False, False)])
@pytest.mark.parametrize("training", [True, False])
def test_one_running_statistic_without_the_other(mean, var, training):
    args = [torch.ones(3) if given else None for given in (mean, var)]
    if training and not mean and not var:
        assert functional.batch_norm(normal((4, 3)), *args, training=True).shape == (4, 3)
        return
    outcomes = []
    for function in (F.batch_norm, functional.batch_norm):
        with pytest.raises((ValueError, RuntimeError)) as caught:
            function(normal((4, 3, 2, 2)), *args, training=training)
        outcomes.append(caught.value)
    assert isinstance(outcomes[1], type(outcomes[0])), outcomes
    assert "running_" in str(outcomes[1])


@pytest.mark.parametrize("training", [True, False])
def test_running_statistics_that_require_gradients_are_refused(training):
    with pytest.raises(RuntimeError, match="running_mean"):
        functional.batch_norm(
            normal((4, 3, 2, 2)), torch.ones(3).requires_grad_(), torch.ones(3), training=training
        )


def test_one_value_a_channel():
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        functional.batch_norm(normal((1, 3)), None, None, training=True)


@pytest.mark.parametrize("eps, training", [(0.0, True), (-1.0, True), (-1.0, False)])
def test_eps(eps, training):
    with pytest.raises(ValueError, match="eps"):
        functional.batch_norm(
            normal((4, 3)), torch.zeros(3), torch.ones(3), training=training, eps=eps
        )


def test_momentum_is_a_number():
    with pytest.raises(TypeError, match="momentum"):
        functional.batch_norm(
            normal((4, 3)), torch.zeros(3), torch.ones(3), training=True, momentum=None
        )


def test_unknown_activation():
    with pytest.raises((ValueError, AttributeError), match="tanhh"):
        functional.batch_norm(normal((4, 3)), None, None, training=True, activation="tanhh")


@ours_only
def test_unknown_activation_names_the_known_ones():
    with pytest.raises(ValueError, match="leaky_relu"):
        functional.batch_norm(normal((4, 3)), None, None, training=True, activation="tanh")


@pytest.mark.parametrize("shape", [(4, 3, 2, 2, 2, 2), (4, 3)])
def test_any_number_of_dimensions(shape):
    x = normal(shape, torch.float64)
    y = functional.batch_norm(x, None, None, training=True)
    assert_near(y, F.batch_norm(x, None, None, training=True), FLOAT64)


def test_one_dimension_is_refused():
    with pytest.raises((IndexError, ValueError, RuntimeError)):
        functional.batch_norm(normal((3,)), None, None, training=True)


@pytest.mark.parametrize("shape", [(1, 5, 1, 1), (5, 3, 1), (4, 1, 3, 7), (1,), ()])
@pytest.mark.parametrize("activation", [None, "relu", "silu"])
def test_an_addend_that_broadcasts(activation, shape):
    # torch's y + add broadcasts, so ours does, and its gradient has the addend's shape
    x, upstream = normal(SHAPES[2], torch.float64), normal(SHAPES[2], torch.float64, seed=3)
    results = []
    for function in (functional.batch_norm, reference):
        add = normal(shape, torch.float64, seed=4).requires_grad_()
        leaf = x.clone().requires_grad_()
        y = function(leaf, None, None, training=True, activation=activation, add=add)
        results.append([y, *torch.autograd.grad(y, (add, leaf), upstream)])
    for mine, theirs in zip(*results, strict=True):
        assert_near(mine, theirs, FLOAT64)


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_running_statistics_are_updated_in_place(layout):
    x = arrange(normal(SHAPES[2], torch.float64), layout)
    mean, var = statistics()
    alias, before = mean.view(5), mean.clone()
    functional.batch_norm(x, mean, var, training=True)
    assert_near(alias, 0.9 * before + 0.1 * x.mean((0, 2, 3)), FLOAT64)


@pytest.mark.parametrize("training", [True, False])
def test_a_small_tensor_on_another_device_is_left_to_the_formula(training):
    # aten's path reads memory through NumPy, which only the CPU's tensors have
    x = torch.empty(4, 3, 5, 5, device="meta")
    vectors = [torch.ones(3, device="meta") for _ in range(2)]
    y = functional.batch_norm(x, *vectors, training=training)
    assert y.device.type == "meta"
    assert y.shape == x.shape
