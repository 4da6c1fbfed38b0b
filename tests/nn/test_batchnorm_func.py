"""torch.func transforms and forward-mode AD: wherever torch's own layer does them, ours does."""

import copy

import pytest
import torch
import torch.autograd.forward_ad as forward_ad
from _cases import ACTIVATIONS, arrange, make, normal, oracle, torch_twin
from _subject import ours_only
from tolerances import FLOAT64, FORWARD_MODE, assert_near
from torch import func

# torch scripts its own decompositions at the first use of forward mode
pytestmark = [
    pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning"),
    pytest.mark.usefixtures("one_thread"),
]

SHAPE = (3, 2, 2, 2)

# evaluation with running statistics; batch statistics, untracked, in both modes
KINDS = {
    "evaluation": (False, {}),
    "untracked": (True, {"track_running_stats": False}),
    "untracked evaluation": (False, {"track_running_stats": False, "affine": False}),
}


def untracked(kind, activation=None):
    """Build a layer that moves no buffer when called."""
    training, options = KINDS[kind]
    return make(2, 2, dtype=torch.float64, activation=activation, **options).train(training)


def inputs(layout="contiguous"):
    return [arrange(normal(SHAPE, torch.float64, seed=s), layout) for s in (2, 3)]


def loss(module, upstream):
    """Give a scalar function of the input whose gradient is not zero."""
    return lambda x: (module(x) * upstream).sum()


TRANSFORMS = {
    "grad": lambda f, m, x, v: func.grad(f)(x),
    "vjp": lambda f, m, x, v: func.vjp(m, x)[1](v)[0],
    "jvp": lambda f, m, x, v: func.jvp(m, (x,), (v,))[1],
    "jacrev": lambda f, m, x, v: func.jacrev(m)(x),
    "jacfwd": lambda f, m, x, v: func.jacfwd(m)(x),
    "hessian": lambda f, m, x, v: func.hessian(f)(x),
    "vmap": lambda f, m, x, v: func.vmap(m)(torch.stack([x, 2 * x, v])),
    "vmap dim 1": lambda f, m, x, v: func.vmap(m, in_dims=1, out_dims=1)(torch.stack([x, v], 1)),
    "vmap of grad": lambda f, m, x, v: func.vmap(func.grad(f))(torch.stack([x, 2 * x, v])),
    "grad of vmap": lambda f, m, x, v: func.grad(
        lambda xs: (func.vmap(m)(xs) * torch.stack([v, x])).sum()
    )(torch.stack([x, v])),
    "jvp of grad": lambda f, m, x, v: func.jvp(func.grad(f), (x,), (v,))[1],
    "functionalize": lambda f, m, x, v: func.functionalize(m)(x),
    "jacobian, vectorized": lambda f, m, x, v: torch.autograd.functional.jacobian(
        m, x, vectorize=True
    ),
    "hessian, vectorized": lambda f, m, x, v: torch.autograd.functional.hessian(
        f, x, vectorize=True
    ),
    "jacobian, forward mode": lambda f, m, x, v: torch.autograd.functional.jacobian(
        m, x, vectorize=True, strategy="forward-mode"
    ),
}
transforms = pytest.mark.parametrize("transform", list(TRANSFORMS))


@transforms
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("activation", [None, "gelu"])
@pytest.mark.parametrize("kind", list(KINDS))
def test_transforms(kind, activation, layout, transform, backend):
    layer = untracked(kind, activation)
    x, v = inputs(layout)
    actual, expected = (
        TRANSFORMS[transform](loss(module, v), module, x, v) for module in (layer, oracle(layer))
    )
    assert_near(actual, expected, FLOAT64, transform, scale=max(1.0, expected.abs().max().item()))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("kind", ["evaluation", "untracked"])
def test_transforms_with_addend(kind, activation, backend):
    layer = untracked(kind, activation)
    x, add = inputs()
    for argnums in (0, 1):
        actual, expected = (
            func.jacrev(lambda x, add, m=module: m(x, add=add), argnums)(x, add)
            for module in (layer, oracle(layer))
        )
        assert_near(actual, expected, FLOAT64, f"argument {argnums}")


@pytest.mark.parametrize("training", [True, False])
def test_functional_call_differentiates_parameters(training, backend):
    layer = make(2, 2, dtype=torch.float64, activation="silu").train(training)
    x, v = inputs()
    results = []
    for module in (layer, oracle(layer)):
        state = dict(module.named_parameters())
        passive = {name: value.clone() for name, value in module.named_buffers()}

        def f(state, passive, module=module):
            return (func.functional_call(module, (state, passive), (x,)) * v).sum()

        results.append((func.grad(f)(state, passive), passive))
    (mine, my_buffers), (theirs, their_buffers) = results
    for name, value in mine.items():
        assert_near(value, theirs[f"norm.{name}"], FLOAT64, name)
    for name, value in my_buffers.items():
        assert_near(value, their_buffers[f"norm.{name}"], FLOAT64, name)
    assert layer.num_batches_tracked == 0


@pytest.mark.parametrize("training", [True, False])
def test_ensembles_by_stacked_state(training, backend):
    layers = [make(2, 2, seed=s, dtype=torch.float64).train(training) for s in range(3)]
    twins = [oracle(layer).norm for layer in layers]
    x, _ = inputs()
    outputs = []
    for modules in (layers, twins):
        parameters, passive = func.stack_module_state(modules)
        base = copy.deepcopy(modules[0])

        def run(p, b, x, base=base):
            return func.functional_call(base, (p, b), (x,))

        outputs.append((func.vmap(run, in_dims=(0, 0, None))(parameters, passive, x), passive))
    (mine, my_buffers), (theirs, their_buffers) = outputs
    assert_near(mine, theirs, FLOAT64)
    for name, value in their_buffers.items():
        assert_near(my_buffers[name], value, FLOAT64, name)


def test_per_sample_gradients(backend):
    layer = make(2, 2, dtype=torch.float64, activation="relu").eval()
    x, v = inputs()

    def f(module, state, x, v):
        return (func.functional_call(module, state, (x[None],)) * v).sum()

    gradients = []
    for module in (layer, oracle(layer).norm if layer.activation is None else oracle(layer)):
        state = {name: value.detach() for name, value in module.state_dict().items()}
        names = [name for name in state if name.endswith(("weight", "bias"))]

        def g(active, x, v, module=module, state=state):
            return f(module, state | active, x, v)

        active = {name: state[name] for name in names}
        gradients.append(list(func.vmap(func.grad(g), (None, 0, 0))(active, x, v).values()))
    for mine, theirs in zip(*gradients, strict=True):
        assert_near(mine, theirs, FLOAT64)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("kind", ["evaluation", "untracked", "tracking"])
def test_dual_numbers(kind, activation, backend):
    if kind == "tracking":
        layer = make(2, 2, dtype=torch.float64, activation=activation)
    else:
        layer = untracked(kind, activation)
    x, v = inputs()
    reference = oracle(layer)
    with forward_ad.dual_level():
        dual = layer(forward_ad.make_dual(x, v))
        tangent = forward_ad.unpack_dual(dual).tangent
    _, expected = torch.autograd.functional.jvp(reference, x, v)
    assert_near(tangent, expected, FORWARD_MODE)
    if kind == "tracking":
        assert layer.num_batches_tracked == 1
        single = oracle(make(2, 2, dtype=torch.float64))
        single(x)
        assert_near(layer.running_var, single.norm.running_var, FLOAT64)


def test_dual_parameters(backend):
    layer = untracked("untracked")
    x, _ = inputs()
    direction = torch.tensor([1.0, -2.0], dtype=torch.float64)
    with forward_ad.dual_level():
        weight = forward_ad.make_dual(layer.weight.detach(), direction)
        y = func.functional_call(layer, {"weight": weight}, (x,))
        tangent = forward_ad.unpack_dual(y).tangent
    normalized = (layer(x) - layer.bias.view(1, 2, 1, 1)) / layer.weight.view(1, 2, 1, 1)
    assert_near(tangent, normalized * direction.view(1, 2, 1, 1), FLOAT64)


@pytest.mark.parametrize("transform", ["grad", "vjp", "jvp", "jacrev", "jacfwd", "vmap"])
@pytest.mark.parametrize("momentum", [0.1, None])
def test_tracking_in_training_gives_the_error_of_torch(momentum, transform, backend):
    layer = make(2, 2, dtype=torch.float64, momentum=momentum)
    x, v = inputs()
    errors = []
    for module in (torch_twin(layer), layer):
        with pytest.raises(RuntimeError) as caught:
            TRANSFORMS[transform](loss(module, v), module, x, v)
        errors.append(caught.value)
    assert isinstance(errors[1], type(errors[0]))


@ours_only
@pytest.mark.parametrize("transform", ["grad", "jvp", "jacrev", "jacfwd", "vmap"])
def test_tracking_in_training_says_what_to_do(transform, backend):
    layer = make(2, 2, dtype=torch.float64)
    before = layer.running_mean.clone()
    x, v = inputs()
    with pytest.raises(RuntimeError, match=r"torch\.func\.replace_all_batch_norm_modules_"):
        TRANSFORMS[transform](loss(layer, v), layer, x, v)
    assert torch.equal(layer.running_mean, before)


def test_the_advice_works(backend):
    network = torch.nn.Sequential(make(2, 2, dtype=torch.float64))
    func.replace_all_batch_norm_modules_(network)
    x, v = inputs()
    assert func.grad(loss(network, v))(x).abs().max() > 1e-3


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("activation", [None, "relu"])
def test_batched_upstream_gradients(activation, training, backend):
    layer = make(2, 2, dtype=torch.float64, activation=activation).train(training)
    x, v = inputs()
    gradients = []
    for module in (layer, oracle(layer)):
        leaf = x.clone().requires_grad_()
        y = module(leaf)
        many = torch.stack([v, x, v * x])
        gradients.append(torch.autograd.grad(y, leaf, many, is_grads_batched=True)[0])
    assert_near(*gradients, FLOAT64)


@pytest.mark.parametrize("kind", ["jacobian, vectorized", "jacobian, forward mode"])
def test_vectorized_jacobians_while_tracking(kind, backend):
    layer = make(2, 2, dtype=torch.float64)
    truth = oracle(layer)
    x, v = inputs()
    actual = TRANSFORMS[kind](None, layer, x, v)
    assert_near(actual, TRANSFORMS[kind](None, truth, x, v), FLOAT64)
    assert layer.num_batches_tracked == truth.norm.num_batches_tracked


def test_tensor_subclasses(backend):
    class Named(torch.Tensor):
        pass

    layer = make(2, 2, dtype=torch.float64)
    x, _ = inputs()
    truth = oracle(layer)
    y = layer(x.as_subclass(Named))
    assert isinstance(y, Named)
    assert_near(y.as_subclass(torch.Tensor), truth(x), FLOAT64)
    assert_near(layer.running_mean, truth.norm.running_mean, FLOAT64)
