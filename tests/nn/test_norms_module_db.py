"""Torch's own samples for its norms (``module_db``), every one, run through our classes."""

import copy

import pytest
import torch
from _cases import normal
from _subject import nn
from tolerances import FLOAT64, RUNNING, assert_near

common = pytest.importorskip("torch.testing._internal.common_modules")
NAMES = [
    "GroupNorm",
    "LayerNorm",
    "RMSNorm",
    *(f"{lazy}InstanceNorm{d}d" for lazy in ("", "Lazy") for d in (1, 2, 3)),
]
names = pytest.mark.parametrize("name", NAMES)
modes = pytest.mark.parametrize("training", [True, False])
pytestmark = [
    pytest.mark.filterwarnings("ignore:Lazy modules are a new feature:UserWarning"),
    # torch scripts its own decompositions at the first use of forward mode
    pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning"),
    pytest.mark.usefixtures("one_thread"),
]


def info_of(name):
    """Give torch's entry for a class; the lazy ones share the samples of the ready ones."""
    wanted = getattr(torch.nn, name.removeprefix("Lazy"))
    return next(info for info in common.module_db if info.module_cls is wanted)


def samples(name, training):
    info = info_of(name)
    torch.manual_seed(0)
    found = info.module_inputs_func(
        info, device="cpu", dtype=torch.float64, requires_grad=True, training=training
    )
    assert len(found) >= 6
    if name.startswith("Lazy"):
        # they take the channels from axis 1, and so need a batch, in torch too
        found = [s for s in found if "no_batch_dim" not in s.desc]
    return found


def build(namespace, name, sample, training):
    args, options = sample.constructor_input.args, dict(sample.constructor_input.kwargs)
    if name.startswith("Lazy"):
        args = args[1:]
    layer = getattr(namespace, name)(*args, dtype=torch.float64, **options)
    return layer.train(training)


def outcome(layer, x):
    """Give output, gradients and state after one step."""
    leaf = x.detach().clone().requires_grad_()
    y = layer(leaf)
    y.backward(normal(y.shape, y.dtype, seed=3))
    gradients = {name: parameter.grad for name, parameter in layer.named_parameters()}
    return {"output": y, "input": leaf.grad} | gradients | layer.state_dict(prefix="state ")


@modes
@names
def test_samples(name, training, backend):
    for sample in samples(name, training):
        ours, theirs = (build(space, name, sample, training) for space in (nn, torch.nn))
        args = [copy.deepcopy(x.detach()) for x in sample.forward_input.args]
        actual, expected = outcome(ours, *args), outcome(theirs, *args)
        assert actual.keys() == expected.keys(), sample.desc
        for key, value in expected.items():
            tolerance = RUNNING[torch.float64] if key.startswith("state") else FLOAT64
            assert_near(actual[key], value, tolerance, f"{sample.desc} {key}", scale=10.0)


@modes
@names
def test_samples_give_the_dtypes_and_strides_of_torch(name, training, backend):
    for sample in samples(name, training):
        ours, theirs = (build(space, name, sample, training) for space in (nn, torch.nn))
        (x,) = sample.forward_input.args
        actual, expected = ours(x), theirs(x)
        assert actual.dtype == expected.dtype
        assert actual.stride() == expected.stride(), sample.desc


@modes
@names
def test_gradgrad_on_samples(name, training, backend):
    for sample in samples(name, training):
        layer = build(nn, name, sample, training)
        (x,) = sample.forward_input.args
        if x.numel() == 0:
            continue
        assert torch.autograd.gradcheck(layer, (x,), fast_mode=True), sample.desc
        assert torch.autograd.gradgradcheck(layer, (x,), fast_mode=True), sample.desc


@names
def test_samples_under_forward_mode(name, backend):
    for sample in samples(name, True):
        layer = build(nn, name, sample, True)
        (x,) = (t.detach() for t in sample.forward_input.args)
        if x.numel() == 0:
            continue
        twin = build(torch.nn, name, sample, True)
        layer(x), twin(x)
        direction = normal(x.shape, torch.float64, seed=5)
        actual, expected = (torch.func.jvp(m, (x,), (direction,))[1] for m in (layer, twin))
        assert_near(actual, expected, FLOAT64, sample.desc, scale=10.0)


def test_error_samples():
    info = info_of("GroupNorm")
    found = info.module_error_inputs_func(
        info, device="cpu", dtype=torch.float64, requires_grad=False, training=True
    )
    assert found
    for sample in found:
        args = sample.module_error_input.constructor_input.args
        with pytest.raises(sample.error_type, match=sample.error_regex):
            nn.GroupNorm(*args)
