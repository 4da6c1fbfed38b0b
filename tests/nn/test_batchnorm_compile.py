"""The layer inside torch's compilers: compile, export, make_fx, fake and meta tensors."""

import io

import pytest
import torch
from _cases import LAYOUTS, SHAPES, arrange, buffers, make, normal, oracle, step
from _subject import IS_TORCH, nn, ours_only
from tolerances import COMPILED, assert_near
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx

pytestmark = [
    # all come from inside torch: inductor's first import, run_decompositions, and dynamo, which
    # instantiates the autograd functions that it traces
    pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning"),
]
modes = pytest.mark.parametrize("training", [True, False])


@pytest.fixture(autouse=True)
def _fresh_compiler():
    """Forget what earlier tests compiled, so that recompilation limits are never reached."""
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def check_compiled(layer, compiler, shapes=(SHAPES[2],), layout="contiguous", add=False, **options):
    """Compile ``layer`` and compare it with the oracle over several steps."""
    truth = oracle(layer)
    compiled = torch.compile(layer, fullgraph=True, backend=compiler, **options)
    for seed, shape in enumerate(shapes):
        x, upstream, other = (arrange(normal(shape, seed=10 * seed + s), layout) for s in range(3))
        addend = other if add else None
        wide = [None if t is None else t.double() for t in (x, upstream, addend)]
        actual, expected = (
            stepped(m, layer_of(m), *t)
            for m, t in ((compiled, (x, upstream, addend)), (truth, wide))
        )
        for name, value in expected.items():
            assert_near(actual[name], value, COMPILED, name)
    for name, value in buffers(truth).items():
        assert_near(buffers(layer)[name], value, COMPILED, name)


def layer_of(module):
    """Give the layer behind a compiled module or the oracle."""
    return getattr(module, "_orig_mod", getattr(module, "norm", module))


def stepped(module, norm, x, upstream, add=None):
    """Run forward and backward through ``module``, whose parameters are those of ``norm``."""
    x = x.detach().requires_grad_()
    y = module(x) if add is None else module(x, add=add)
    leaves = [t for t in (x, norm.weight, norm.bias) if t is not None]
    names = ("input", "weight", "bias")
    return {"output": y.detach()} | dict(
        zip(names, torch.autograd.grad(y, leaves, upstream), strict=False)
    )


@modes
@pytest.mark.parametrize("add", [False, True])
@pytest.mark.parametrize("activation", [None, "relu", "gelu"])
def test_captures_one_graph(activation, add, training, backend):
    layer = make(2, activation=activation).train(training)
    check_compiled(layer, "aot_eager", [SHAPES[2]] * 2, add=add)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_captures_every_class(dims, layout, kernels):
    check_compiled(make(dims, activation="silu"), "aot_eager", [SHAPES[dims]] * 2, layout)


@ours_only
@pytest.mark.parametrize(
    "compiler", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)]
)
def test_cumulative_average_compiles(compiler, kernels):
    check_compiled(make(2, momentum=None), compiler, [SHAPES[2]] * 3)


@modes
def test_dynamic_batch_sizes(training, kernels):
    shapes = [(n, 5, 3, 7) for n in (4, 6, 9, 2)]
    layer = make(2, activation="relu").train(training)
    check_compiled(layer, "aot_eager", shapes, dynamic=True)


@pytest.mark.parametrize("options", [{"affine": False}, {"track_running_stats": False}], ids=str)
def test_options_compile(options, kernels):
    check_compiled(make(2, activation="relu", **options), "aot_eager")


@modes
def test_without_gradients(training, kernels):
    layer = make(2, activation="relu").train(training)
    truth = oracle(layer)
    x = normal(SHAPES[2])
    with torch.no_grad():
        y = torch.compile(layer, fullgraph=True, backend="aot_eager")(x)
        assert_near(y, truth(x.double()), COMPILED)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_inductor(layout, kernels):
    check_compiled(make(2, activation="relu"), "inductor", [SHAPES[2]] * 2, layout, add=True)


@pytest.mark.slow
@modes
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("activation", [None, "relu", "leaky_relu", "silu", "gelu"])
def test_inductor_with_every_activation(activation, layout, training, kernels):
    layer = make(2, activation=activation).train(training)
    check_compiled(layer, "inductor", [SHAPES[2]] * 2, layout, add=True)


@pytest.mark.slow
@modes
def test_inductor_with_dynamic_batch_sizes(training, kernels):
    shapes = [(n, 5, 3, 7) for n in (4, 6, 9, 2)]
    check_compiled(make(2, activation="relu").train(training), "inductor", shapes, dynamic=True)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_inductor_in_other_dtypes(dtype, kernels):
    layer = make(2, dtype=dtype, activation="relu")
    x = normal((8, 5, 6, 6), dtype)
    expected = step(make(2, dtype=dtype, activation="relu"), x, x)
    actual = stepped(torch.compile(layer, fullgraph=True), layer, x, x)
    tolerance = COMPILED.bound if dtype == torch.float64 else 2**-6
    gap = (actual["output"] - expected["output"]).abs().max()
    assert gap <= tolerance * expected["output"].abs().max()


@pytest.mark.slow
def test_a_network_trains_compiled(kernels):
    def build():
        torch.manual_seed(0)
        return torch.nn.Sequential(
            torch.nn.Conv2d(3, 8, 3, bias=False),
            nn.BatchNorm2d(8, activation="relu"),
            torch.nn.Conv2d(8, 4, 3),
            nn.BatchNorm2d(4, activation="silu"),
        )

    losses = []
    for network in (build(), torch.compile(build(), fullgraph=True)):
        optimizer = torch.optim.SGD(network.parameters(), lr=0.05)
        for seed in range(4):
            optimizer.zero_grad()
            y = network(normal((4, 3, 9, 9), seed=seed))
            loss = (y - normal(y.shape, seed=99)).square().mean()
            loss.backward()
            optimizer.step()
        losses.append(loss)
    assert_near(losses[1], losses[0], COMPILED)


def test_autocast_compiles(kernels):
    layer = make(2, activation="relu")
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert compiled(normal(SHAPES[2], torch.bfloat16)).dtype == torch.bfloat16


@modes
@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("options", [{}, {"momentum": None}, {"affine": False}], ids=str)
def test_export(options, strict, training, backend):
    if IS_TORCH and training and options.get("momentum", 0) is None:
        pytest.skip("torch's own momentum=None cannot be exported in training")
    layer = make(2, activation="relu", **options).train(training)
    truth = oracle(layer)
    x, add = normal(SHAPES[2]), normal(SHAPES[2], seed=4)
    program = torch.export.export(layer, (x,), {"add": add}, strict=strict)
    module = program.module()
    for seed in range(2):
        x = normal(SHAPES[2], seed=seed)
        assert_near(module(x, add=add), truth(x.double(), add=add.double()), COMPILED)
    # a strict export leaves out the buffers that evaluation does not read
    for name, value in buffers(truth).items() if training else ():
        assert_near(module.state_dict()[name], value, COMPILED, name)


@modes
def test_export_with_a_dynamic_batch(training, kernels):
    layer = make(2, activation="gelu").train(training)
    truth = oracle(layer)
    program = torch.export.export(
        layer, (normal(SHAPES[2]),), dynamic_shapes=({0: torch.export.Dim("batch", min=2)},)
    )
    for batch in (3, 8):
        x = normal((batch, 5, 3, 7), seed=batch)
        assert_near(program.module()(x), truth(x.double()), COMPILED)
        truth = oracle(layer)


def test_exported_programs_are_saved_and_loaded(kernels):
    layer = make(2, activation="silu").eval()
    x = normal(SHAPES[2])
    file = io.BytesIO()
    torch.export.save(torch.export.export(layer, (x,)), file)
    file.seek(0)
    module = torch.export.load(file).module()
    assert_near(module(x), oracle(layer)(x.double()), COMPILED)


@modes
def test_exported_programs_decompose(training, kernels):
    layer = make(2, activation="relu").train(training)
    truth = oracle(layer)
    x = normal(SHAPES[2])
    program = torch.export.export(layer, (x,)).run_decompositions()
    assert_near(program.module()(x), truth(x.double()), COMPILED)


@modes
@pytest.mark.parametrize("tracing", ["real", "fake", "symbolic"])
def test_make_fx(tracing, training, kernels):
    layer = make(2, activation="relu").train(training)
    state = dict(layer.named_parameters()) | {k: v.clone() for k, v in layer.named_buffers()}
    x, upstream = normal(SHAPES[2]), normal(SHAPES[2], seed=3)
    expected = step(oracle(layer), x.double(), upstream.double())

    def f(state, x, upstream):
        leaf = x.detach().requires_grad_()
        y = torch.func.functional_call(layer, state, (leaf,))
        return y, torch.autograd.grad(y, leaf, upstream)[0]

    copies = {name: value.detach().clone() for name, value in state.items()}
    traced = make_fx(f, tracing_mode=tracing)(copies, x, upstream)
    y, gradient = traced(state, x, upstream)
    assert_near(y, expected["output"], COMPILED)
    assert_near(gradient, expected["gradient of input"], COMPILED)


# not transposed ones: torch's own fake tensors have other strides there than real ones
FORMS = ("contiguous", "channels_last", "sliced_channels", "sliced_channels_last")


def metadata(layer, x, upstream, add=None):
    """Give shape, strides and dtype of everything that a step returns."""
    result = step(layer, x, upstream, add)
    return {name: (t.shape, t.stride(), t.dtype) for name, t in result.items()}


@modes
@pytest.mark.parametrize("layout", FORMS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_fake_tensors_have_the_shape_of_real_ones(dtype, layout, training, kernels):
    # our kernels are what a fake tensor must agree with, so the call is not left to aten
    real = make(2, activation="relu", dtype=dtype).train(training)
    tensors = [arrange(normal(SHAPES[2], dtype, s), layout) for s in (2, 3, 4)]
    expected = metadata(real, *tensors)
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    with mode:
        fake = make(2, activation="relu", dtype=dtype, stats=False).train(training)
        assert metadata(fake, *(mode.from_tensor(t) for t in tensors)) == expected


@modes
@pytest.mark.parametrize("layout", FORMS)
def test_meta_tensors_have_the_shape_of_real_ones(layout, training, kernels):
    real = make(2, activation="relu").train(training)
    tensors = [arrange(normal(SHAPES[2], seed=s), layout) for s in (2, 3, 4)]
    expected = metadata(real, *tensors)
    layer = nn.BatchNorm2d(5, activation="relu", device="meta").train(training)
    meta = [torch.empty_strided(t.shape, t.stride(), device="meta") for t in tensors]
    assert metadata(layer, *meta) == expected


@ours_only
def test_symbolic_trace_of_the_layer_alone_says_what_to_do():
    with pytest.raises(torch.fx.proxy.TraceError, match=r"trace torch\.nn\.Sequential"):
        torch.fx.symbolic_trace(nn.BatchNorm2d(3))


@modes
@ours_only
def test_symbolic_trace_keeps_the_layer_whole(training, kernels):
    # torch's tracer takes modules of torch.nn as leaves; a network must not lose that with ours
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 1), make(2, activation="relu"))
    network.train(training)
    traced = torch.fx.symbolic_trace(network)
    assert "call_module" in [node.op for node in traced.graph.nodes if node.target == "1"]
    x = normal((4, 3, 5, 5))
    assert_near(traced.eval()(x), network.eval()(x), COMPILED)
