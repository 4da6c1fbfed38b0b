"""Every norm inside torch's compilers: compile, export, make_fx, fake and meta tensors, fx."""

import pytest
import torch
from _cases import normal
from _norms import FEW, IMAGES, Row, step
from _subject import nn, ours_only
from tolerances import COMPILED, assert_near
from torch._dynamo.backends.common import aot_autograd
from torch._functorch.aot_autograd import make_boxed_func
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx

from equipoise.ops.normalize import library

pytestmark = [
    # all come from inside torch: inductor's first import, run_decompositions, and dynamo, which
    # instantiates the autograd functions that it traces
    pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning"),
    pytest.mark.usefixtures("one_thread"),
]
rows = pytest.mark.parametrize("row", FEW, ids=lambda row: row.name)
TRACKED = Row(
    "InstanceNorm2d",
    (6,),
    (4, 6, 3, 7),
    torch.nn.InstanceNorm2d,
    options=(("affine", True), ("track_running_stats", True)),
)


@pytest.fixture(autouse=True)
def _fresh_compiler():
    """Forget what earlier tests compiled, so that recompilation limits are never reached."""
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def stepped(module, norm, x, upstream, **extras):
    """Run forward and backward through ``module``, whose parameters are those of ``norm``."""
    x = x.detach().requires_grad_()
    y = module(x, **extras)
    leaves = {"input": x} | dict(norm.named_parameters())
    gradients = torch.autograd.grad(y, list(leaves.values()), upstream)
    return {"output": y.detach()} | dict(zip(leaves, gradients, strict=True))


def check_compiled(row, layer, backend, dtype=torch.float32, extra=False, **options):
    truth = row.oracle(layer)
    compiled = torch.compile(layer, fullgraph=True, backend=backend, **options)
    for scale in (1, 2):
        x, upstream, other = (t[: 4 // scale] for t in row.inputs(dtype))
        extras = {row.extra: other} if extra else {}
        wide = {name: t.double() for name, t in extras.items()}
        actual = stepped(compiled, layer, x, upstream, **extras)
        expected = stepped(truth, truth.norm, x.double(), upstream.double(), **wide)
        for name, value in expected.items():
            assert_near(actual[name], value, COMPILED, name)
    for name, value in truth.norm.named_buffers():
        assert_near(dict(layer.named_buffers())[name], value, COMPILED, name)


@rows
@pytest.mark.parametrize("activation", [None, "silu"])
@pytest.mark.parametrize("extra", [False, True])
def test_fullgraph(row, activation, extra):
    check_compiled(row, row.build(activation=activation), "aot_eager", extra=extra)


@pytest.mark.parametrize("training", [True, False])
def test_fullgraph_with_running_statistics(training):
    check_compiled(TRACKED, TRACKED.build(activation="relu").train(training), "aot_eager")


@rows
def test_a_compiler_s_cache_tells_versions_of_our_operators_apart(row):
    seen = []

    def compiler(graph, _):
        seen.extend(str(node.target) for node in graph.graph.nodes)
        return graph

    x, _, _ = row.inputs()
    torch.compile(row.build(), backend=aot_autograd(fw_compiler=compiler))(x)
    ours = [target for target in seen if target.startswith("equipoise.")]
    assert ours
    assert all(target.endswith(f".{library.OVERLOAD}") for target in ours)


@rows
def test_dynamic_shapes(row):
    check_compiled(row, row.build(activation="relu"), "aot_eager", dynamic=True)


@pytest.mark.slow
@rows
@pytest.mark.parametrize("activation", [None, "gelu"])
def test_inductor(row, activation):
    check_compiled(row, row.build(activation=activation), "inductor", extra=True)


@rows
@pytest.mark.parametrize("activation", [None, "silu"])
def test_export(row, activation):
    layer = row.build(activation=activation).eval()
    x, _, extra = row.inputs()
    program = torch.export.export(layer, (x,), {row.extra: extra})
    assert_near(program.module()(x, **{row.extra: extra}), layer(x, **{row.extra: extra}), COMPILED)
    targets = [str(node.target) for node in program.graph.nodes]
    assert not any("equipoise" in target for target in targets), targets


@rows
def test_make_fx(row, kernels):
    layer = row.build(activation="relu")
    x, _, _ = row.inputs()
    traced = make_fx(lambda x: layer(x))(x)
    assert_near(traced(2 * x + 1), layer(2 * x + 1), COMPILED)


@rows
@pytest.mark.parametrize("training", [True, False])
def test_fake_tensors_have_the_shape_of_real_ones(row, training, kernels):
    layer = row.build(activation="relu").train(training)
    x, upstream, _ = row.inputs()
    expected = [(t.shape, t.stride(), t.dtype) for t in step(layer, x, upstream).values()]
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    with mode:
        found = step(layer, *(mode.from_tensor(t) for t in (x, upstream)))
    assert [(t.shape, t.stride(), t.dtype) for t in found.values()] == expected


@rows
def test_meta_tensors(row, kernels):
    layer = row.build(activation="relu").to("meta")
    assert layer(torch.empty(row.shape, device="meta")).shape == row.shape


@ours_only
@rows
def test_symbolic_trace_keeps_the_layer_whole(row, kernels):
    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = row.build(activation="relu")

        def forward(self, x, extra):
            return self.norm(2 * x, **{row.extra: extra + 1})

    network = Network()
    traced = torch.fx.symbolic_trace(network)
    assert [n.target for n in traced.graph.nodes if n.op == "call_module"] == ["norm"]
    x, _, extra = row.inputs()
    assert_near(traced(x, extra), network(x, extra), COMPILED)


@ours_only
def test_symbolic_trace_of_a_returned_residual():
    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.RMSNorm(7)

        def forward(self, x, stream):
            y, stream = self.norm(x, residual=stream, return_residual=True)
            return y * stream

    # unpacking a proxy needs its length; indexing does not
    class Indexed(Network):
        def forward(self, x, stream):
            both = self.norm(x, residual=stream, return_residual=True)
            return both[0] * both[1]

    network = Indexed()
    x, stream = normal((3, 7)), normal((3, 7), seed=4)
    traced = torch.fx.symbolic_trace(network)
    assert_near(traced(x, stream), Network()(x, stream), COMPILED)


@pytest.mark.parametrize("row", IMAGES[:1], ids=str)
def test_a_compiled_network_keeps_channels_last(row):
    layer = row.build(activation="relu")
    x = normal(row.shape).contiguous(memory_format=torch.channels_last)
    y = torch.compile(layer, fullgraph=True, backend="aot_eager")(x)
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert_near(y, layer(x), COMPILED)


# with an operator of torch's, and without
FORCED = tuple(row for row in FEW if row.name in ("LayerNorm", "FilterResponseNorm"))


def graphs_of(layer, x):
    """Give the names of what dynamo finds in the layer."""
    found = []

    def backend(module, inputs):
        found.extend(str(node.target) for node in module.graph.nodes)
        return module.forward

    y = torch.compile(layer, backend=backend)(x)
    return y, " ".join(found)


@pytest.mark.parametrize("row", FORCED, ids=lambda row: row.name)
@ours_only
def test_a_forced_backend_is_compiled(row, monkeypatch):
    x, _, _ = row.inputs()
    layer = row.build()
    for name, wanted in (("cpu", "autograd_function_apply"), ("reference", "rsqrt")):
        monkeypatch.setenv("EQUIPOISE_BACKEND", name)
        torch._dynamo.reset()
        y, graph = graphs_of(layer, x)
        assert wanted in graph
        assert_near(y, row.oracle(layer)(x.double()), COMPILED)
    if row.name != "FilterResponseNorm":
        monkeypatch.setenv("EQUIPOISE_BACKEND", "aten")
        torch._dynamo.reset()
        assert "_norm" in graphs_of(layer, x)[1]


@ours_only
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_forced_backend_that_cannot_run_is_not_compiled(monkeypatch):
    row = FORCED[0]
    for name, error in (("gpu", RuntimeError), ("nonsense", ValueError)):
        monkeypatch.setenv("EQUIPOISE_BACKEND", name)
        torch._dynamo.reset()
        with pytest.raises(error, match=f"EQUIPOISE_BACKEND.*{name}"):
            graphs_of(row.build(), row.inputs()[0])


WHOLE = [row for row in FEW if row.name in ("LayerNorm", "RMSNorm", "GroupNorm", "InstanceNorm2d")]


@ours_only
@pytest.mark.parametrize("row", WHOLE, ids=lambda row: row.name)
def test_dynamo_takes_a_norm_whole(row):
    _, graph = graphs_of(row.build(activation="silu"), row.inputs()[0])
    ours = [target for target in graph.split() if target.startswith("equipoise.")]
    assert len(ours) == 1
    assert ours[0].split(".")[1] in ("layer_norm", "group_norm")


@ours_only
@pytest.mark.parametrize("row", WHOLE, ids=lambda row: row.name)
def test_the_operators_round_the_parameters_gradients(row):
    seen = []

    def compiler(graph, _):
        seen.extend(str(node.target) for node in graph.graph.nodes)
        return make_boxed_func(graph)

    backend = aot_autograd(fw_compiler=compiler)
    layer = row.build()
    x, upstream, _ = row.inputs()
    stepped(torch.compile(layer, backend=backend), layer, x, upstream)
    assert sum(target.startswith("equipoise.") for target in seen) == 2
    assert not any("_to_copy" in target for target in seen)


def transform(layer, x, upstream):
    """Hold gradients of ``torch.func`` in a compiled function to those in eager code."""

    def gradient(x):
        return torch.func.grad(lambda x: (layer(x) * upstream).sum())(x)

    compiled = torch.compile(gradient, fullgraph=True, backend="aot_eager")
    assert_near(compiled(x), gradient(x), COMPILED)


@pytest.mark.parametrize("row", FEW, ids=lambda row: row.name)
def test_a_transform_within_a_compiled_function(row):
    x, upstream, _ = row.inputs()
    transform(row.build(activation="silu"), x, upstream)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("make", [nn.BatchNorm2d, nn.InstanceNorm2d])
def test_a_transform_of_a_layer_with_statistics_within_a_compiled_function(make, training):
    # in training a transform refuses what is updated in place, in torch too
    layer = make(6, affine=True, track_running_stats=not training).train(training)
    x = normal((4, 6, 5, 5))
    transform(layer, x, normal((4, 6, 5, 5), seed=1))


@ours_only
@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_a_transform_within_a_compiled_function_on_a_forced_backend(backend, monkeypatch):
    monkeypatch.setenv("EQUIPOISE_BACKEND", backend)
    transform(nn.LayerNorm(6), normal((4, 6)), normal((4, 6), seed=1))


@ours_only
def test_a_compiler_says_what_was_wrong():
    row = next(row for row in WHOLE if row.name == "LayerNorm")
    x, _, _ = row.inputs()
    compiled = torch.compile(row.build(), fullgraph=True, backend="aot_eager")
    with pytest.raises(RuntimeError, match="Given normalized_shape="):
        compiled(x[..., 1:])
