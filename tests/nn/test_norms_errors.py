"""What is no tensor is refused by each functional norm with torch's error type, by name."""

import numpy as np
import pytest
import torch

from equipoise import functional as F
from equipoise.ops.normalize import again

NORMS = {
    "batch_norm": lambda x, **more: F.batch_norm(x, None, None, training=True, **more),
    "layer_norm": lambda x, **more: F.layer_norm(x, (6,), **more),
    "rms_norm": lambda x, **more: F.rms_norm(x, (6,), **more),
    "group_norm": lambda x, **more: F.group_norm(x, 2, **more),
    "instance_norm": F.instance_norm,
}
norms = pytest.mark.parametrize("name", NORMS)
# the axis that a weight belongs to
WIDTH = dict.fromkeys(NORMS, 1) | {"layer_norm": -1, "rms_norm": -1}
X = torch.arange(48.0).reshape(2, 4, 6)


@norms
@pytest.mark.parametrize("bad", [[1.0, 2.0], None, 3.0, X.numpy(), np.float32(1)], ids=type)
def test_an_input_that_is_no_tensor(name, bad):
    with pytest.raises(TypeError, match=rf"{name}\(\): argument 'input' must be Tensor.*as_tensor"):
        NORMS[name](bad)


@norms
@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("repeated", [False, True])
def test_a_weight_that_is_no_tensor(name, repeated, monkeypatch):
    monkeypatch.setattr(again, "_kept", {})
    if repeated:
        NORMS[name](X, weight=torch.ones(X.shape[WIDTH[name]]))
        # batch_norm's calls are kept with running buffers
        assert again._kept or name == "batch_norm"
    with pytest.raises(TypeError, match=rf"{name}\(\): argument 'weight' must be Tensor"):
        NORMS[name](X, weight=[1.0] * 6)


@norms
def test_what_is_added_and_is_no_tensor(name):
    extra = "residual" if name in ("layer_norm", "rms_norm") else "add"
    with pytest.raises(TypeError, match=f"{extra}.* must be Tensor, not ndarray"):
        NORMS[name](X, **{extra: X.numpy()})


@norms
def test_what_is_added_and_is_complex(name):
    extra = "residual" if name in ("layer_norm", "rms_norm") else "add"
    with pytest.raises(NotImplementedError, match=rf"{extra} is torch.complex64: pass its \.real"):
        NORMS[name](X, **{extra: X.cfloat()})


@norms
@pytest.mark.parametrize("dtype", [torch.int32, torch.complex64, torch.float8_e4m3fn], ids=str)
def test_an_input_of_a_dtype_that_is_not_taken(name, dtype, backend):
    with pytest.raises(NotImplementedError, match=rf'"{name}" not implemented for {dtype}: .*16'):
        NORMS[name](X.to(dtype))


@pytest.mark.parametrize("name", ["batch_norm", "instance_norm"])
def test_buffers_that_are_no_tensors(name):
    calls = {"batch_norm": F.batch_norm, "instance_norm": F.instance_norm}
    options = {"training": True} if name == "batch_norm" else {}
    with pytest.raises(TypeError, match="'running_mean' must be Tensor, not list"):
        calls[name](X, [0.0] * 4, [1.0] * 4, **options)


@norms
@pytest.mark.parametrize("activation", [["relu"], {"relu": 1}, "rleu", 1])
def test_an_activation_that_does_not_exist(name, activation):
    with pytest.raises(ValueError, match="activation is one of"):
        NORMS[name](X, activation=activation)
