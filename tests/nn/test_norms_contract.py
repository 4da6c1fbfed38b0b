"""The norm classes themselves: constructor, state, copies, printing, autocast, errors."""

import copy
import inspect
import io
import pickle

import numpy as np
import pytest
import torch
from _cases import normal
from _norms import FEW, ROWS, Row, step
from _subject import functional, nn
from tolerances import FLOAT32, SAME_FORMULA, assert_near

from equipoise import _checks

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:Lazy modules are a new feature:UserWarning"),
]
rows = pytest.mark.parametrize("row", ROWS, ids=str)
TORCHS = [row for row in FEW if hasattr(torch.nn, row.name)]
torchs = pytest.mark.parametrize("row", TORCHS, ids=lambda row: row.name)
LAZY = [f"LazyInstanceNorm{d}d" for d in (1, 2, 3)]


@torchs
def test_constructor_and_repr_are_those_of_torch(row):
    ours, theirs = (getattr(space, row.name) for space in (nn, torch.nn))
    assert issubclass(ours, theirs)
    assert repr(ours(*row.args)) == repr(theirs(*row.args))
    device, dtype = torch.device("cpu"), torch.float64
    names = [
        n for n in inspect.signature(theirs).parameters if n not in ("bias", "dtype", "device")
    ]
    values = {"eps": 1e-3, "momentum": 0.3, "affine": True, "track_running_stats": True}
    values |= {"elementwise_affine": True} | dict(zip(names, row.args, strict=False))
    args = [values[name] for name in names]
    args += [True] if row.name == "LayerNorm" else []
    mine, other = ours(*args, device, dtype), theirs(*args, device, dtype)
    assert repr(mine) == repr(other)
    assert {n: (t.shape, t.dtype) for n, t in mine.state_dict().items()} == {
        n: (t.shape, t.dtype) for n, t in other.state_dict().items()
    }


@torchs
def test_state_loads_both_ways(row):
    ours, theirs = row.build(), getattr(torch.nn, row.name)(*row.args, **dict(row.options))
    theirs.load_state_dict(ours.state_dict())
    fresh = getattr(nn, row.name)(*row.args, **dict(row.options))
    fresh.load_state_dict(theirs.state_dict())
    x, _, _ = row.inputs()
    assert_near(fresh(x), ours(x), SAME_FORMULA)


@rows
def test_repr_names_the_extras(row):
    text = repr(row.build(activation="leaky_relu", negative_slope=0.3))
    assert "activation='leaky_relu', negative_slope=0.3" in text
    assert "activation" not in repr(row.build())


@rows
def test_copies(row):
    layer = row.build(activation="silu")
    x, upstream, _ = row.inputs()
    memory = io.BytesIO()
    torch.save(layer, memory)
    memory.seek(0)
    copies = [
        copy.deepcopy(layer),
        copy.copy(layer),
        pickle.loads(pickle.dumps(layer)),
        torch.load(memory, weights_only=False),
    ]
    expected = step(layer, x, upstream)
    for other in copies:
        assert type(other) is type(layer)
        assert repr(other) == repr(layer)
        for name, value in step(other, x, upstream).items():
            assert_near(value, expected[name], SAME_FORMULA, name)


@rows
# torch's rms_norm says so of parameters in another type
@pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight:UserWarning")
@pytest.mark.parametrize("low", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("half", [False, True])
def test_autocast_gives_the_dtype_of_torch(row, half, low, backend):
    layer = row.build(activation="relu")
    x, _, extra = row.inputs(low if half else torch.float32)
    twin = row.twin(layer)
    with torch.autocast("cpu", dtype=low):
        y = layer(x, **{row.extra: extra})
        expected = twin(x)
    assert y.dtype == x.dtype
    if row.name in [r.name for r in TORCHS]:
        assert y.dtype == expected.dtype


@pytest.mark.parametrize("device, key", [("cuda", "CUDA"), ("xpu", "XPU"), ("mps", "MPS")])
@pytest.mark.parametrize(
    "name", ["batch_norm", "group_norm", "instance_norm", "layer_norm", "rms_norm"]
)
def test_the_table_of_autocast_is_that_of_torch(name, device, key):
    has = torch._C._dispatch_has_kernel_for_dispatch_key
    assert (name in _checks._WIDENED[device]) == has(f"aten::{name}", f"Autocast{key}")
    assert not has(f"aten::{name}", "AutocastCPU")


@pytest.mark.parametrize("name", LAZY)
def test_lazy_instances(name, backend):
    layer = getattr(nn, name)(affine=True, track_running_stats=True, activation="relu")
    assert isinstance(layer, getattr(torch.nn, name))
    row = next(row for row in FEW if row.name == name.removeprefix("Lazy"))
    x, _, add = row.inputs()
    y = layer(x, add=add)
    assert type(layer) is getattr(nn, row.name)
    ready = getattr(nn, row.name)(6, affine=True, track_running_stats=True, activation="relu")
    assert_near(y, ready(x, add=add), FLOAT32)
    assert_near(layer.running_mean, ready.running_mean, FLOAT32)
    assert repr(pickle.loads(pickle.dumps(getattr(nn, name)()))) == repr(getattr(torch.nn, name)())


@torchs
def test_extras_are_keyword_only(row):
    parameters = inspect.signature(getattr(nn, row.name).forward).parameters
    assert parameters[row.extra].kind is inspect.Parameter.KEYWORD_ONLY


def raises(error, match):
    return pytest.raises(error, match=match)


@rows
@pytest.mark.parametrize("activation", ["tanh", "", "RELU", 3])
def test_an_unknown_activation(row, activation):
    with raises(ValueError, "leaky_relu"):
        row.build(activation=activation)


@rows
def test_an_extra_of_the_wrong_shape(row, backend):
    x, _, _ = row.inputs()
    with raises(ValueError, rf"{row.extra} is added.*\(2, 99\)"):
        row.build()(x, **{row.extra: torch.zeros(2, 99)})
    with raises(RuntimeError, "device"):
        row.build()(x, **{row.extra: torch.zeros(row.shape, device="meta")})


@rows
@pytest.mark.parametrize("dtype", [torch.int32, torch.bool, torch.complex64, torch.float8_e5m2])
def test_a_wrong_dtype(row, dtype, backend):
    with raises(NotImplementedError, "floating point, of 16, 32"):
        row.build()(torch.zeros(row.shape, dtype=dtype))


@pytest.mark.parametrize("row", [r for r in ROWS if r.extra == "add"], ids=str)
def test_wrong_channels(row, backend):
    shape = (row.shape[0], 4 * row.shape[1], *row.shape[2:])
    with raises((ValueError, RuntimeError), str(row.shape[1])) as caught:
        row.build()(torch.zeros(shape))
    assert str(shape[1]) in str(caught.value)


@pytest.mark.parametrize("row", [r for r in ROWS if r.extra == "residual"], ids=str)
def test_wrong_extents(row, backend):
    shape = list(row.shape)
    shape[1 if row.name == "LayerNorm2d" else -1] += 1
    with raises(RuntimeError, "expect"):
        row.build()(torch.zeros(shape))


def test_groups_that_do_not_divide(backend):
    with raises(ValueError, r"num_channels \(10\) must be divisible by num_groups \(3\)"):
        nn.GroupNorm(3, 10)
    with raises(ValueError, "num_groups"):
        nn.GroupNorm(0, 10)
    x = normal((2, 6, 4))
    for groups in (4, 12, 0, -3):
        with raises(RuntimeError, "num.groups"):
            functional.group_norm(x, groups)
    for groups in (True, 2.0):
        with raises(TypeError, "bool|integer"):
            functional.group_norm(x, groups)
    assert_near(functional.group_norm(x, np.int64(3)), functional.group_norm(x, 3), SAME_FORMULA)


def test_ranks_and_single_values(backend):
    for layer, shape in (
        (nn.InstanceNorm1d(6), (6,)),
        (nn.InstanceNorm2d(6), (6, 4)),
        (nn.InstanceNorm3d(6), (6, 4, 4)),
        (nn.LayerNorm2d(6), (6, 4, 4)),
    ):
        with raises(ValueError, r"expected .*D input \(got \dD input"):
            layer(torch.zeros(shape))
    with raises(RuntimeError, "at least 2 dim"):
        functional.group_norm(torch.zeros(6), 3)
    with raises(ValueError, "more than 1 value per channel"):
        functional.group_norm(torch.zeros(1, 6), 6)
    with raises(ValueError, "more than 1 spatial element"):
        functional.instance_norm(torch.zeros(4, 6, 1, 1))
    for groups in (2.0, "2"):
        with raises(TypeError, "num_groups must be int"):
            nn.GroupNorm(groups, 6)
    nn.GroupNorm(np.int64(2), 6)(torch.zeros(1, 6, 4))
    with raises(ValueError, "num_channels"):
        nn.FilterResponseNorm(0)
    with raises(ValueError, "num_channels"):
        nn.LayerNorm2d((3, 4))


def test_vectors_and_buffers(backend):
    x, ones = normal((2, 6, 4)), torch.ones(6)
    with raises(RuntimeError, "weight should contain 6 elements not 5"):
        functional.group_norm(x, 3, torch.ones(5))
    with raises(RuntimeError, "bias.*float"):
        functional.group_norm(x, 3, ones, ones.int())
    with raises(RuntimeError, "Expected running_mean and running_var to be defined"):
        functional.instance_norm(x, ones, use_input_stats=False)
    with raises(ValueError, "both be None or neither"):
        functional.instance_norm(x, ones)
    with raises(RuntimeError, "running_mean should contain 6"):
        functional.instance_norm(x, torch.ones(5), torch.ones(5))
    with raises(RuntimeError, "cannot require gradients"):
        functional.instance_norm(x, ones.clone().requires_grad_(), ones)
    with raises(ValueError, "eps is not negative"):
        functional.group_norm(x, 3, eps=-1.0)


def test_channels_that_are_not_used_warn(backend):
    x = normal((2, 9, 4))
    with pytest.warns(UserWarning, match="num_channels"):
        nn.GroupNorm(3, 6, affine=False)(x)
    with pytest.warns(UserWarning, match="num_features"):
        nn.InstanceNorm1d(6)(x)


@rows
def test_a_forced_backend_that_cannot_run(row, monkeypatch):
    monkeypatch.setenv("EQUIPOISE_BACKEND", "cuda")
    x, _, _ = row.inputs()
    with raises(ValueError, "EQUIPOISE_BACKEND"):
        row.build()(x)
    monkeypatch.setenv("EQUIPOISE_BACKEND", "cpu")
    with raises(RuntimeError, "EQUIPOISE_BACKEND=cpu"):
        row.build()(x.to_sparse())
    monkeypatch.setenv("EQUIPOISE_BACKEND", "aten")
    if row.name == "FilterResponseNorm":
        with raises(RuntimeError, "EQUIPOISE_BACKEND=aten.*torch has none"):
            row.build()(x)
    else:
        row.build()(x)


def test_small_tensors_go_to_aten_where_it_is_near(monkeypatch, one_thread):
    monkeypatch.delenv("EQUIPOISE_BACKEND", raising=False)
    row = Row("GroupNorm", (3, 6), (4, 6, 3, 7), torch.nn.GroupNorm)
    layer, twin = row.build(), row.twin(row.build())
    x, _, _ = row.inputs()
    assert torch.equal(layer(x), twin(x))
    assert layer(x.requires_grad_()).grad_fn.name().startswith("NativeGroupNorm")
    assert layer((x + 100).detach().requires_grad_()).grad_fn.name().startswith("Normalize")
