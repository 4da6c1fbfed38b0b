"""Autograd: any subset of gradients, second derivatives, versions, hooks, memory kept."""

import itertools

import pytest
import torch
from _cases import ACTIVATIONS, LAYOUTS, SHAPES, arrange, make, normal, oracle, step, torch_twin
from _subject import IS_TORCH, ours_only
from tolerances import FLOAT32, FLOAT64, SAME_FORMULA, assert_near
from torch.utils.checkpoint import checkpoint

pytestmark = pytest.mark.usefixtures("one_thread")
modes = pytest.mark.parametrize("training", [True, False])
SUBSETS = [s for r in range(1, 5) for s in itertools.combinations(("x", "w", "b", "add"), r)]


def leaves(layer, names, layout="contiguous"):
    """Give input and addend, and let exactly the named ones of (x, w, b, add) require gradients."""
    x, add = (arrange(normal(SHAPES[2], torch.float64, seed=s), layout) for s in (2, 4))
    layer.weight.requires_grad_("w" in names)
    layer.bias.requires_grad_("b" in names)
    return x.requires_grad_("x" in names), add.requires_grad_("add" in names)


@modes
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("activation", [None, "relu"])
@pytest.mark.parametrize("names", SUBSETS, ids="-".join)
def test_any_subset_may_require_gradients(names, activation, layout, training, backend):
    layer = make(2, dtype=torch.float64, activation=activation).train(training)
    upstream = normal(SHAPES[2], torch.float64, seed=3)
    gradients = []
    for module in (layer, oracle(layer)):
        norm = getattr(module, "norm", module)
        x, add = leaves(norm, names, layout)
        module(x, add=add).backward(upstream)
        gradients.append([t.grad for t in (x, norm.weight, norm.bias, add)])
    for name, mine, theirs in zip(("x", "w", "b", "add"), *gradients, strict=True):
        assert (mine is None) == (theirs is None) == (name not in names), name
        if mine is not None:
            assert_near(mine, theirs, FLOAT64, name)


@modes
def test_nothing_requires_gradients(training, backend):
    layer = make(2).train(training)
    layer.requires_grad_(False)
    assert layer(normal(SHAPES[2])).grad_fn is None


@modes
@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("activation", [None, "gelu"])
def test_without_gradients_the_values_are_the_same(activation, context, training, backend):
    first, second = (make(2, activation=activation).train(training) for _ in range(2))
    x, add = normal(SHAPES[2]), normal(SHAPES[2], seed=4)
    expected = first(x, add=add)
    with context():
        y = second(x, add=add)
    assert not y.requires_grad
    assert_near(y, expected, FLOAT32)
    assert_near(second.running_var, first.running_var, FLOAT32)


@modes
def test_inference_tensors_as_input(training, backend):
    layer = make(2).train(training)
    with torch.inference_mode():
        x = normal(SHAPES[2])
        assert layer(x).is_inference()
    with pytest.raises(RuntimeError, match=r"[Ii]nference"):
        layer(x)


def call(layer, training):
    """Give a function of (x, w, b, add) that gradcheck may call: buffers fresh at each call."""

    def function(x, w, b, add):
        state = {"weight": w, "bias": b}
        state |= {name: value.clone() for name, value in layer.named_buffers()}
        return torch.func.functional_call(layer, state, (x,), {"add": add})

    layer.train(training)
    return function


def small(layout):
    """Give inputs small enough for numerical Jacobians, none close to the kink of relu."""
    tensors = [arrange(normal((3, 2, 2, 2), torch.float64, seed=s), layout) for s in (2, 4)]
    w, b = normal((2,), torch.float64, 5) + 1.5, normal((2,), torch.float64, 6)
    x, add = tensors
    return [t.requires_grad_() for t in (x, w, b, add)]


@modes
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradcheck(activation, layout, training, backend):
    layer = make(2, 2, dtype=torch.float64, activation=activation)
    assert torch.autograd.gradcheck(call(layer, training), small(layout), fast_mode=False)


@modes
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradgradcheck(activation, layout, training, backend):
    layer = make(2, 2, dtype=torch.float64, activation=activation)
    assert torch.autograd.gradgradcheck(call(layer, training), small(layout))


@modes
@pytest.mark.parametrize("activation", [None, "silu"])
def test_gradient_penalty(activation, training, backend):
    layer = make(2, dtype=torch.float64, activation=activation).train(training)
    upstream = normal(SHAPES[2], torch.float64, seed=3)
    results = []
    for module in (layer, oracle(layer)):
        x = normal(SHAPES[2], torch.float64).requires_grad_()
        (gradient,) = torch.autograd.grad(module(x), x, upstream, create_graph=True)
        norm = getattr(module, "norm", module)
        penalty = gradient.square().sum()
        results.append(torch.autograd.grad(penalty, (x, norm.weight), materialize_grads=True))
    for mine, theirs in zip(*results, strict=True):
        assert_near(mine, theirs, FLOAT64)


@modes
@pytest.mark.parametrize("activation", [None, "relu", "gelu"])
@pytest.mark.parametrize("changed", ["input", "weight"])
def test_saved_tensors_changed_in_place_are_noticed(changed, activation, training, backend):
    layer = make(2, activation=activation).train(training)
    x = normal(SHAPES[2]).requires_grad_()
    middle = x * 1
    y = layer(middle)
    with torch.no_grad():
        (middle if changed == "input" else layer.weight).mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward(normal(SHAPES[2], seed=3))


def error_of_backward(y, upstream):
    """Run backward; give the error that it raises, or None."""
    try:
        y.backward(upstream)
    except RuntimeError as error:
        return error


@pytest.mark.parametrize("activation", [None, "relu"])
def test_output_changed_in_place_gives_right_gradients_or_an_error(activation, backend):
    layer = make(2, dtype=torch.float64, activation=activation)
    x = normal(SHAPES[2], torch.float64).requires_grad_()
    upstream = normal(SHAPES[2], torch.float64, seed=3)
    expected = step(oracle(layer), x, 2 * upstream)["gradient of input"]
    y = layer(x)
    y.mul_(2)
    error = error_of_backward(y, upstream)
    if error is None:
        assert_near(x.grad, expected, FLOAT64)
    else:
        assert "modified by an inplace operation" in str(error)


def test_inplace_relu_behind_the_layer(backend):
    # as in torchvision's ResNets
    layer = make(2, dtype=torch.float64)
    x = normal(SHAPES[2], torch.float64).requires_grad_()
    upstream = normal(SHAPES[2], torch.float64, seed=3)
    expected = step(oracle(make(2, dtype=torch.float64, activation="relu")), x, upstream)
    torch.relu_(layer(x)).backward(upstream)
    assert_near(x.grad, expected["gradient of input"], FLOAT64)


def test_inplace_addition_behind_the_layer(backend):
    layer = make(2, dtype=torch.float64)
    x, add, upstream = (normal(SHAPES[2], torch.float64, seed=s) for s in (2, 4, 3))
    expected = step(oracle(make(2, dtype=torch.float64)), x, upstream, add)
    x.requires_grad_()
    y = layer(x)
    y += add
    y.backward(upstream)
    assert_near(x.grad, expected["gradient of input"], FLOAT64)


@modes
def test_eval_buffers_changed_between_forward_and_backward(training, backend):
    # a second forward in training moves the buffers, which must not disturb the first backward
    layer = make(2, dtype=torch.float64).train(training)
    x, upstream = normal(SHAPES[2], torch.float64), normal(SHAPES[2], torch.float64, seed=3)
    expected = step(oracle(layer), x, upstream)["gradient of input"]
    leaf = x.clone().requires_grad_()
    y = layer(leaf)
    layer(normal(SHAPES[2], torch.float64, seed=9))
    y.backward(upstream)
    assert_near(leaf.grad, expected, FLOAT64)


@modes
@pytest.mark.parametrize("activation", [None, "gelu"])
def test_backward_twice(activation, training, backend):
    layer = make(2, activation=activation).train(training)
    x, upstream = normal(SHAPES[2]).requires_grad_(), normal(SHAPES[2], seed=3)
    y = layer(x)
    (first,) = torch.autograd.grad(y, x, upstream, retain_graph=True)
    (second,) = torch.autograd.grad(y, x, upstream)
    assert_near(second, first, SAME_FORMULA)
    with pytest.raises(RuntimeError, match="second time"):
        torch.autograd.grad(y, x, upstream)


def test_gradients_accumulate(backend):
    layer = make(2, dtype=torch.float64)
    x, upstream = normal(SHAPES[2], torch.float64), normal(SHAPES[2], torch.float64, seed=3)
    layer(x).backward(upstream)
    once = layer.weight.grad.clone()
    layer(x).backward(upstream)
    assert_near(layer.weight.grad, 2 * once, FLOAT64)


def test_one_layer_used_twice_in_a_graph(backend):
    layer = make(2, dtype=torch.float64, activation="relu")
    truth = oracle(layer)
    x, upstream = normal(SHAPES[2], torch.float64), normal(SHAPES[2], torch.float64, seed=3)
    layer(layer(x)).backward(upstream)
    truth(truth(x)).backward(upstream)
    assert_near(layer.weight.grad, truth.norm.weight.grad, FLOAT64)
    assert_near(layer.running_mean, truth.norm.running_mean, FLOAT64)


def test_the_same_tensor_as_input_and_addend(backend):
    layer = make(2, dtype=torch.float64, activation="relu")
    x, upstream = normal(SHAPES[2], torch.float64), normal(SHAPES[2], torch.float64, seed=3)
    gradients = []
    for module in (layer, oracle(layer)):
        leaf = x.clone().requires_grad_()
        module(leaf, add=leaf).backward(upstream)
        gradients.append(leaf.grad)
    assert_near(*gradients, FLOAT64)


def test_hooks(backend):
    layer = make(2)
    seen = []
    layer.register_forward_pre_hook(lambda module, args: seen.append("before"))
    layer.register_forward_hook(lambda module, args, output: output * 2)
    layer.register_full_backward_pre_hook(lambda module, gradients: seen.append("upstream"))
    layer.register_full_backward_hook(lambda module, inward, outward: (2 * inward[0],))
    x, upstream = normal(SHAPES[2]).requires_grad_(), normal(SHAPES[2], seed=3)
    expected = step(oracle(make(2)), x.double(), upstream.double())
    y = layer(x)
    y.backward(upstream)
    assert seen == ["before", "upstream"]
    assert_near(y, 2 * expected["output"], FLOAT32)
    assert_near(x.grad, 4 * expected["gradient of input"], FLOAT32)


@pytest.mark.parametrize("reentrant", [True, False])
@modes
def test_checkpoint(training, reentrant, backend):
    layer = make(2, dtype=torch.float64, activation="silu").train(training)
    x, upstream = normal(SHAPES[2], torch.float64), normal(SHAPES[2], torch.float64, seed=3)
    expected = step(oracle(layer), x, upstream)["gradient of input"]
    leaf = x.clone().requires_grad_()
    checkpoint(layer, leaf, use_reentrant=reentrant).backward(upstream)
    assert_near(leaf.grad, expected, FLOAT64)


def kept_bytes(module, x, **extras):
    """Sum the bytes of the distinct storages that a forward pass keeps for backward."""
    kept = {}

    def pack(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        y = module(x, **extras)
    assert y.requires_grad
    return sum(kept.values())


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("addition", [False, True])
@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "silu", "gelu"])
def test_memory_kept_for_backward(activation, addition, layout, backend):
    if not IS_TORCH and backend == "auto":
        pytest.skip("small tensors go to aten")
    layer = make(2, 8, activation=activation)
    shape = (8, 8, 16, 16)
    x = arrange(normal(shape), layout).requires_grad_()
    extras = {"add": arrange(normal(shape, seed=4), layout).requires_grad_()} if addition else {}
    mine, theirs = kept_bytes(layer, x, **extras), kept_bytes(torch_twin(layer), x, **extras)
    # ours keeps its statistics in float64
    vectors = 8 * layer.num_features * 8
    assert mine <= theirs + vectors
    if not IS_TORCH and activation != "relu" and not addition:
        # torch keeps input, normalized output and what the activation keeps
        assert mine <= 2 / 3 * theirs + vectors


@ours_only
@pytest.mark.parametrize("training", [True])
def test_evaluation_without_gradients_keeps_nothing(training, backend):
    layer = make(2, activation="relu").eval()
    with torch.no_grad():
        y = layer(normal(SHAPES[2]))
    assert y.grad_fn is None


@pytest.mark.filterwarnings("ignore:Anomaly Detection:UserWarning")
def test_anomaly_mode_finds_the_layer(backend):
    layer = make(2)
    x = normal(SHAPES[2]).requires_grad_()
    with torch.autograd.detect_anomaly(), pytest.raises(RuntimeError, match="nan"):
        layer(x).backward(torch.full(SHAPES[2], float("nan")))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(4, 5, 3, 7), (3, 67, 17, 19)])
def test_every_element_of_every_result_is_written(shape, layout, activation, backend):
    # torch fills what it would leave uninitialized with NaN
    layer = make(2, shape[1], activation=activation)
    x, upstream, add = (arrange(normal(shape, seed=s), layout) for s in (2, 3, 4))
    torch.use_deterministic_algorithms(True)
    try:
        assert torch.utils.deterministic.fill_uninitialized_memory
        result = step(layer, x, upstream, add)
    finally:
        torch.use_deterministic_algorithms(False)
    for name, value in result.items():
        assert value.isfinite().all(), name
