"""Normalizer as a layer."""

import numpy as np
import pytest
import torch

from equipoise.preprocessing import Normalizer

X = np.random.default_rng(0).normal(3.0, 2.0, (40, 7)).astype(np.float32)
X[3] = 0.0
X[4] *= 1e30
X[5] *= 1e-30

norms = pytest.mark.parametrize("norm", ["l1", "l2", "max"])


@norms
@pytest.mark.parametrize("dtype, ulps", [(np.float16, 1), (np.float32, 1), (np.float64, 4)])
def test_it_scales_as_transform_does(norm, dtype, ulps):
    scaler, rows = Normalizer(norm=norm), X.clip(-1e4, 1e4).astype(dtype)
    found = scaler.fit(rows).to_module()(torch.from_numpy(rows))
    expected = np.asarray(scaler.transform(rows))
    assert found.numpy().dtype == dtype
    np.testing.assert_array_max_ulp(found.numpy(), expected.astype(dtype), maxulp=ulps)


@norms
@pytest.mark.parametrize("size", [1e300, 1e-300, 5e-324])
def test_norms_beyond_float64(norm, size):
    rows = torch.tensor([[3.0, 4.0]], dtype=torch.float64) * size
    expected = torch.tensor([[3.0, 4.0]]) / {"l1": 7.0, "l2": 5.0, "max": 4.0}[norm]
    assert torch.allclose(Normalizer(norm).to_module()(rows).float(), expected, rtol=1e-6)


def test_what_is_not_finite_is_not_hidden():
    layer = Normalizer().to_module()
    assert layer(torch.tensor([[1.0, float("nan")], [float("inf"), 1.0]])).isnan().any(1).all()


def test_images_rows_and_integers():
    images = torch.randn(2, 3, 4, 5)
    layer = Normalizer().to_module()
    expected = torch.nn.functional.normalize(images.double(), dim=1).float()
    torch.testing.assert_close(layer(images), expected, rtol=2e-7, atol=0)
    last = Normalizer().to_module(channel_axis=-1)
    torch.testing.assert_close(last(images.movedim(1, -1)), expected.movedim(1, -1))
    assert layer(torch.tensor([3, 4])).tolist() == pytest.approx([0.6, 0.8])
    assert layer(torch.ones(0, 3)).shape == (0, 3)
    assert layer(torch.ones(3, 0)).shape == (3, 0)


def test_other_channels_than_those_of_the_fit():
    layer = Normalizer(norm="max").fit(X).to_module()
    assert repr(layer) == "UnitNorm('max', 7, channel_axis=1)"
    with pytest.raises(ValueError, match=r"expects 7 channels along axis 1; got .* \(2, 5\)"):
        layer(torch.ones(2, 5))
    with pytest.raises(ValueError, match=r"expects channels along axis 3; got .* \(2, 5\)"):
        Normalizer().to_module(channel_axis=3)(torch.ones(2, 5))


@norms
def test_gradients(norm):
    rows = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(Normalizer(norm).to_module(), rows)


# torch's own compiler uses what torch deprecates
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@norms
def test_compiled_and_exported_are_the_same(norm):
    layer, rows = Normalizer(norm).to_module(), torch.from_numpy(X)
    compiled = torch.compile(layer, fullgraph=True)(rows)
    np.testing.assert_array_max_ulp(compiled.numpy(), layer(rows).numpy(), maxulp=1)
    shapes = {"x": {0: torch.export.Dim("rows")}}
    program = torch.export.export(layer, (rows[:8],), dynamic_shapes=shapes)
    assert torch.equal(program.module()(rows), layer(rows))


@pytest.mark.filterwarnings("ignore")
@norms
def test_onnx_is_the_same(norm, tmp_path):
    pytest.importorskip("onnxscript", reason="torch exports to ONNX through onnxscript")
    runtime = pytest.importorskip("onnxruntime", reason="runs what was exported")
    layer, path = Normalizer(norm).to_module(), tmp_path / "layer.onnx"
    torch.onnx.export(
        layer, (torch.from_numpy(X[:8]),), path, dynamo=True, verbose=False, input_names=["x"],
        dynamic_shapes={"x": {0: torch.export.Dim("rows")}},
    )  # fmt: skip
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (y,) = session.run(None, {"x": X})
    assert y.dtype == np.float32
    np.testing.assert_array_max_ulp(y, layer(torch.from_numpy(X)).numpy(), maxulp=1)
