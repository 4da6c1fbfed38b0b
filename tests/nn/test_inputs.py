"""Standardize and MinMax: learnt from any source, exact, kept in float64, and shipped whole."""

import io

import numpy as np
import pytest
import torch
from torch import nn

import equipoise as eq
from equipoise.errors import UsageError
from equipoise.nn import MinMax, Standardize
from equipoise.nn.inputs import OnColumns

# far from zero, so that a mean rounded to float32 would show
RNG = np.random.default_rng(3)
SHIFT, SPREAD = np.array([1e5, -3e3, 0.02, 7.0]), np.array([1.0, 0.3, 1e-3, 50.0])
X = (SHIFT + SPREAD * RNG.normal(size=(5000, 4))).astype(np.float32)
IMAGES = torch.from_numpy(X[:4800].reshape(40, 10, 12, 4).transpose(0, 3, 1, 2).copy())

LAYERS = {
    "Standardize": Standardize,
    "MinMax": MinMax,
    "MinMax(-1, 1, clip)": lambda **options: MinMax((-1, 1), clip=True, **options),
}
layers = pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)


def exactly(layer, x):
    """Give what the layer should give, in float128, from statistics of float128."""
    big = X.astype(np.longdouble)
    x = np.asarray(x).astype(np.longdouble)
    if isinstance(layer, Standardize):
        return (x - big.mean(0)) / big.std(0)
    y = (x - big.min(0)) / (big.max(0) - big.min(0)) * (layer.high - layer.low) + layer.low
    return y.clip(layer.low, layer.high) if layer.clip else y


def ulps(found, expected):
    """Count the float32 steps between two arrays of float32."""
    a, b = (np.asarray(v, np.float32).view(np.int32).astype(np.int64) for v in (found, expected))
    a, b = (np.where(v < 0, np.int64(-(2**31)) - v, v) for v in (a, b))
    return np.abs(a - b).max()


@layers
def test_within_one_step_of_exact_arithmetic(make):
    layer = make().adapt(X)
    fresh = (SHIFT + SPREAD * RNG.normal(size=(500, 4))).astype(np.float32)
    for x in (X, fresh):
        assert ulps(layer(torch.from_numpy(x)), exactly(layer, x).astype(np.float32)) <= 1


def test_the_mean_of_what_comes_out_is_zero():
    # scikit-learn's float32 output is off by 9e-4 here
    x = torch.from_numpy((1e5 + RNG.normal(size=(100_000, 1))).astype(np.float32))
    y = Standardize().adapt(x)(x)
    assert abs(y.double().mean().item()) < 1e-6
    assert y.double().std(correction=0).item() == pytest.approx(1, abs=1e-6)


@layers
def test_inverse_brings_back_what_came(make):
    layer, x = make().adapt(X), torch.from_numpy(X)
    back = layer.inverse(layer(x))
    # rounding y once moves x by half a step of y times the scale, and by half a step of x
    step = np.spacing(np.abs(X)) + np.spacing(np.abs(layer(x).numpy())) * X.std(0) * 16
    assert (np.abs(back.numpy() - X) <= step).all()
    exact = layer.inverse(layer(x.double()))
    assert ((exact - x.double()).abs().numpy() <= 4e-16 * (np.abs(X) + np.abs(X).max(0))).all()


def test_extremes_fill_the_range_exactly():
    for low, high in ((0, 1), (-1, 1), (0.1, 0.7)):
        y = MinMax((low, high)).adapt(X)(torch.from_numpy(X))
        assert y.amin(0).eq(torch.tensor(low)).all()
        assert y.amax(0).eq(torch.tensor(high)).all()


def test_clip_keeps_nan():
    layer = MinMax(clip=True).adapt(np.array([[0.0], [1.0]]))
    y = layer(torch.tensor([[-5.0], [0.5], [7.0], [np.nan]]))
    assert y[:3, 0].tolist() == [0.0, 0.5, 1.0]
    assert y[3].isnan()


@layers
@pytest.mark.parametrize("axis", [1, -3])
def test_channels_of_images(make, axis):
    layer = make(channel_axis=axis).adapt(IMAGES)
    flat = make().adapt(IMAGES.permute(0, 2, 3, 1).reshape(-1, 4))
    expected = flat(IMAGES.permute(0, 2, 3, 1).reshape(-1, 4)).reshape(40, 10, 12, 4)
    assert torch.equal(layer(IMAGES), expected.permute(0, 3, 1, 2))
    assert layer(IMAGES.to(memory_format=torch.channels_last)).is_contiguous(
        memory_format=torch.channels_last
    )


def test_channels_of_sequences_lie_last():
    sequences = torch.from_numpy(X.reshape(50, 100, 4))
    layer = Standardize(channel_axis=-1).adapt(sequences)
    assert torch.equal(layer(sequences).reshape(-1, 4), Standardize().adapt(X)(torch.tensor(X)))
    # a single step of it, without a batch
    assert torch.equal(layer(sequences[0, 0]), layer(sequences)[0, 0])


@layers
def test_every_source_teaches_the_same(make, tmp_path):
    pd = pytest.importorskip("pandas", reason="one of the sources")
    pytest.importorskip("pyarrow", reason="one of the sources")
    frame = pd.DataFrame(X, columns=list("abcd"))
    frame.to_parquet(tmp_path / "x.parquet", row_group_size=700)
    whole = make().adapt(X).state_dict()
    loader = torch.utils.data.DataLoader(torch.from_numpy(X), batch_size=77)
    sources = [frame, tmp_path, loader, iter(np.array_split(X, 9)), torch.from_numpy(X)]
    for source in sources:
        for name, value in make().adapt(source).state_dict().items():
            torch.testing.assert_close(value, whole[name], rtol=1e-13, atol=1e-13)
    chosen = make().adapt(tmp_path, columns=["d", "a"])
    assert torch.allclose(next(chosen.buffers()), next(make().adapt(X[:, [3, 0]]).buffers()))


def test_loader_of_images_gives_channels():
    targets = torch.zeros(40)
    data = torch.utils.data.TensorDataset(IMAGES, targets)
    loader = torch.utils.data.DataLoader(data, batch_size=7)
    for source in (data, loader):
        layer = Standardize().adapt(source)
        assert layer.mean.shape == (4,)
        expected = IMAGES.double().mean((0, 2, 3))
        torch.testing.assert_close(layer.mean, expected, rtol=1e-13, atol=0)


@layers
def test_constant_and_tiny_columns(make):
    tiny = 1e-30 * (1 + 0.1 * RNG.normal(size=1000))
    layer = make().adapt(np.stack([np.full(1000, 0.1), tiny], axis=1))
    y = layer(torch.tensor([[0.1, 1e-30]], dtype=torch.float64))
    spread = list(layer.buffers())[1]
    assert spread[0] == 1
    assert spread[1] < 1e-29
    assert y.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.int32])
@layers
def test_dtypes(make, dtype):
    values = torch.tensor([[60000.0, 1.0], [-60000.0, 3.0], [100.0, 2.0]]).to(dtype)
    layer = make().adapt(values)
    y = layer(values)
    assert y.dtype == (torch.float32 if dtype is torch.int32 else dtype)
    assert y.isfinite().all()
    assert torch.equal(y, layer(values.double()).to(y.dtype))


@layers
def test_statistics_stay_float64_and_move(make):
    layer = make().adapt(X)
    before = {k: v.clone() for k, v in layer.state_dict().items()}
    model = nn.Sequential(layer, nn.Linear(4, 2)).half().float().bfloat16()
    assert model[1].weight.dtype is torch.bfloat16
    for name, value in layer.state_dict().items():
        assert value.dtype is torch.float64
        assert torch.equal(value, before[name])
    assert all(b.device.type == "meta" for b in layer.to("meta").buffers())


@layers
def test_state_dict_fills_a_fresh_layer(make):
    layer, fresh = make().adapt(X), make()
    file = io.BytesIO()
    torch.save(nn.Sequential(layer).state_dict(), file)
    file.seek(0)
    nn.Sequential(fresh).load_state_dict(torch.load(file))
    assert torch.equal(fresh(IMAGES), layer(IMAGES))
    assert fresh.num_features == 4
    with pytest.raises(RuntimeError, match="size mismatch"):
        make(num_features=3).load_state_dict(layer.state_dict())
    with pytest.raises(RuntimeError, match="Missing key"):
        make().load_state_dict({})


@layers
def test_gradients_flow_to_the_input(make):
    layer = make().adapt(X)
    x = torch.from_numpy(X[:6].astype(np.float64)).requires_grad_()
    assert torch.autograd.gradcheck(layer, (x,), eps=1e-3, atol=1e-5)
    assert not list(layer.parameters())


@layers
def test_before_it_has_learnt(make):
    with pytest.raises(RuntimeError, match="call adapt"):
        make()(torch.ones(2, 3))


@pytest.mark.parametrize(
    "source, message",
    [
        (np.empty((0, 3)), "at least one row"),
        (np.array([[1.0, np.nan], [2.0, np.nan]]), "channel 1 must hold a number"),
        (np.array([[1.0, np.inf], [2.0, 3.0]]), "channel 1 must be finite"),
        (np.array([1.0, 2.0]), "an axis of channels"),
        (iter([np.ones((2, 3)), np.ones((2, 4))]), "same c"),
        ({"a": [np.nan], "b": [1.0]}, "column 'a' must hold a number"),
        (iter([]), "at least one row"),
        ("nothing.parquet", "there is no file"),
    ],
)
@layers
def test_what_teaches_nothing(make, source, message):
    if not isinstance(source, np.ndarray | dict | str):
        source = iter([np.ones((2, 3)), np.ones((2, 4))]) if message == "same c" else iter([])
    layer = make().adapt(X)
    before = {k: v.clone() for k, v in layer.state_dict().items()}
    with pytest.raises(UsageError, match=message):
        make().adapt(source)
    assert all(torch.equal(v, before[k]) for k, v in layer.state_dict().items())


def test_a_failed_adapt_keeps_what_was_known():
    layer = Standardize().adapt(X)
    with pytest.raises(UsageError):
        layer.adapt(np.full((2, 4), np.inf))
    with pytest.raises(UsageError, match="made for 4 channels; the data has 3"):
        layer.adapt(X[:, :3])
    assert torch.equal(layer.mean, Standardize().adapt(X).mean)


@pytest.mark.parametrize("shape", [(2, 3), (2, 5, 4), (), (3,)])
def test_inputs_with_other_channels(shape):
    layer = Standardize().adapt(X)
    with pytest.raises(ValueError, match="expects 4 channels along axis 1"):
        layer(torch.ones(shape))


@pytest.mark.parametrize("wrong", [(1, 0), (1, 1), "01", (0, 1, 2), (0, float("nan"))])
def test_wrong_ranges(wrong):
    with pytest.raises((TypeError, ValueError), match="feature_range must"):
        MinMax(wrong)


def test_wrong_sizes():
    with pytest.raises(ValueError, match="num_features must"):
        Standardize(0)
    with pytest.raises(TypeError, match="channel_axis must"):
        Standardize(3, channel_axis="C")


def test_columns_that_pass():
    layer = OnColumns(MinMax.of([0.0, 1.0], [1.0, 2.0], clip=True), [1])
    x = torch.tensor([[0.3, 2.0], [1e30, 9.0]])
    y = layer(x)
    assert torch.equal(y, torch.tensor([[0.3, 0.5], [1e30, 1.0]]))
    assert torch.equal(layer.inverse(y)[0], x[0])


def model(layer):
    return nn.Sequential(layer, nn.Linear(4, 3)).eval()


# torch's own compiler uses what torch deprecates
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@layers
def test_compiled_is_the_same(make):
    layer = make().adapt(X)
    compiled = torch.compile(layer, fullgraph=True)
    assert ulps(compiled(torch.from_numpy(X)), layer(torch.from_numpy(X))) <= 1


@layers
def test_exported_is_the_same(make):
    layer, x = make().adapt(X), torch.from_numpy(X)
    shapes = {"x": {0: torch.export.Dim("rows")}}
    program = torch.export.export(layer, (x[:8],), dynamic_shapes=shapes)
    assert torch.equal(program.module()(x), layer(x))


@pytest.mark.filterwarnings("ignore")
@layers
def test_onnx_is_the_same(make, tmp_path):
    pytest.importorskip("onnxscript", reason="torch exports to ONNX through onnxscript")
    runtime = pytest.importorskip("onnxruntime", reason="runs what was exported")
    layer, x = make().adapt(X), torch.from_numpy(X)
    path = tmp_path / "layer.onnx"
    torch.onnx.export(
        layer, (x[:8],), path, dynamo=True, verbose=False, input_names=["x"],
        dynamic_shapes={"x": {0: torch.export.Dim("rows")}},
    )  # fmt: skip
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (y,) = session.run(None, {"x": X})
    assert y.dtype == np.float32
    assert ulps(y, layer(x)) <= 1


def test_it_is_at_hand():
    assert eq.nn.Standardize is Standardize
    assert repr(Standardize().adapt(X)) == "Standardize(4, channel_axis=1)"
    assert repr(MinMax((-1, 1), True, 4)) == "MinMax((-1, 1), clip=True, 4, channel_axis=1)"
