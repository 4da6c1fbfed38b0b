"""torch.func and forward mode over every norm: wherever torch's own layer does them, ours does."""

import pytest
import torch
import torch.autograd.forward_ad as forward_ad
from _cases import normal
from _norms import FEW, Row
from _subject import nn
from test_batchnorm_func import TRANSFORMS, loss
from tolerances import FLOAT64, FORWARD_MODE, assert_near
from torch import func
from torch.testing._internal.two_tensor import TwoTensor

pytestmark = [
    # torch scripts its own decompositions at the first use of forward mode
    pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning"),
    pytest.mark.usefixtures("one_thread"),
]
SMALL = {"LayerNorm": (3, 2, 7), "RMSNorm": (3, 2, 7)}
rows = pytest.mark.parametrize("row", FEW, ids=lambda row: row.name)
TRACKED = Row(
    "InstanceNorm2d",
    (2,),
    (3, 2, 2, 3),
    torch.nn.InstanceNorm2d,
    options=(("track_running_stats", True),),
)


def tensors(row):
    """Draw inputs small enough for Jacobians."""
    shape = SMALL.get(row.name) or (2, row.shape[1], *(3, 2, 2)[: len(row.shape) - 2])
    return [normal(shape, torch.float64, seed=s) for s in (2, 3, 4)]


@rows
@pytest.mark.parametrize("activation", [None, "gelu"])
@pytest.mark.parametrize("transform", list(TRANSFORMS))
def test_transforms(row, activation, transform, backend):
    layer = row.build(dtype=torch.float64, activation=activation)
    if row.name == "GroupNorm" and transform == "hessian, vectorized":
        pytest.skip("torch's own group_norm fails there")
    x, v, _ = tensors(row)
    actual, expected = (
        TRANSFORMS[transform](loss(module, v), module, x, v)
        for module in (layer, row.oracle(layer))
    )
    assert_near(actual, expected, FLOAT64, transform, scale=max(1.0, expected.abs().max().item()))


@rows
@pytest.mark.parametrize("argument", [0, 1])
def test_transforms_with_the_extra(row, argument, backend):
    layer = row.build(dtype=torch.float64, activation="silu")
    x, _, extra = tensors(row)
    actual, expected = (
        func.jacrev(lambda x, e, m=module: m(x, **{row.extra: e}), argument)(x, extra)
        for module in (layer, row.oracle(layer))
    )
    assert_near(actual, expected, FLOAT64)


@rows
def test_ensembles_by_stacked_state(row, backend):
    layers = [row.build(seed=s, dtype=torch.float64) for s in range(3)]
    x, _, _ = tensors(row)
    parameters, buffers = func.stack_module_state(layers)

    def run(parameters, buffers, x):
        return func.functional_call(layers[0], (parameters, buffers), (x,))

    found = func.vmap(run, in_dims=(0, 0, None))(parameters, buffers, x)
    for layer, y in zip(layers, found, strict=True):
        assert_near(y, row.oracle(layer)(x), FLOAT64)


@rows
def test_per_sample_gradients(row, backend):
    layer = row.build(dtype=torch.float64, activation="silu")
    x, v, _ = tensors(row)
    gradients = []
    for module, prefix in ((layer, ""), (row.oracle(layer), "norm.")):
        state = {name: p.detach() for name, p in module.named_parameters()}

        def f(state, x, v, module=module):
            return (func.functional_call(module, state, (x[None],)) * v).sum()

        found = func.vmap(func.grad(f), (None, 0, 0))(state, x, v)
        gradients.append({name.removeprefix(prefix): value for name, value in found.items()})
    assert gradients[0].keys() == gradients[1].keys()
    for name, value in gradients[1].items():
        assert_near(gradients[0][name], value, FLOAT64, name, scale=10.0)


@rows
def test_dual_numbers(row, backend):
    layer = row.build(dtype=torch.float64, activation="gelu")
    x, v, extra = tensors(row)
    with forward_ad.dual_level():
        dual = layer(forward_ad.make_dual(x, v), **{row.extra: extra})
        tangent = forward_ad.unpack_dual(dual).tangent
    truth = row.oracle(layer)
    _, expected = torch.autograd.functional.jvp(lambda x: truth(x, **{row.extra: extra}), x, v)
    assert_near(tangent, expected, FORWARD_MODE)


@rows
def test_batched_upstream_gradients(row, backend):
    layer = row.build(dtype=torch.float64, activation="relu")
    x, v, _ = tensors(row)
    gradients = []
    for module in (layer, row.oracle(layer)):
        leaf = x.clone().requires_grad_()
        many = torch.stack([v, x, v * x])
        gradients += torch.autograd.grad(module(leaf), leaf, many, is_grads_batched=True)
    assert_near(*gradients, FLOAT64)


@rows
def test_tensor_subclasses(row, backend):
    class Named(torch.Tensor):
        pass

    layer = row.build(dtype=torch.float64, activation="relu")
    x, v, _ = tensors(row)
    truth = row.oracle(layer)
    named = layer(x.as_subclass(Named))
    assert isinstance(named, Named)
    assert_near(named.as_subclass(torch.Tensor), truth(x), FLOAT64)
    pair = layer(TwoTensor(x, v))
    assert_near(pair.a, truth(x), FLOAT64)
    assert_near(pair.b, truth(v), FLOAT64)


@pytest.mark.parametrize("transform", ["grad", "vjp", "jvp", "jacrev", "jacfwd", "functionalize"])
def test_transforms_move_the_buffers_of_instances_as_torch_does(transform, backend):
    layer = TRACKED.build(dtype=torch.float64)
    truth = TRACKED.oracle(layer)
    x, v, _ = tensors(TRACKED)
    actual, expected = (
        TRANSFORMS[transform](loss(module, v), module, x, v) for module in (layer, truth)
    )
    assert_near(actual, expected, FLOAT64, scale=max(1.0, expected.abs().max().item()))
    assert_near(layer.running_mean, truth.norm.running_mean, FLOAT64)
    assert_near(layer.running_var, truth.norm.running_var, FLOAT64)


def test_vmap_over_instances_that_track_says_what_to_do(backend):
    layer = nn.InstanceNorm2d(2, track_running_stats=True).double()
    before = layer.running_mean.clone()
    x = torch.stack(tensors(TRACKED))
    with pytest.raises(RuntimeError, match="track_running_stats=False") as caught:
        func.vmap(layer)(x)
    assert "InstanceNorm" in str(caught.value)
    assert "replace_all_batch_norm" not in str(caught.value).splitlines()[-1]
    assert torch.equal(layer.running_mean, before)
    layer.eval()
    assert func.vmap(layer)(x).shape == x.shape
