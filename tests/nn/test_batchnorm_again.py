"""Steps that repeat: the short way gives what the long way gives, and takes only what is alike."""

import pytest
import torch
from _cases import BUFFERS, LAYOUTS, SHAPES, arrange, make, normal, oracle
from _subject import IS_TORCH, ours_only
from tolerances import FLOAT32, RUNNING, SAME_FORMULA, assert_near

pytestmark = [ours_only, pytest.mark.usefixtures("one_thread", "kernels")]
if not IS_TORCH:
    from equipoise import functional, nn
    from equipoise.ops.normalize import again, guards


def steps(layer, layout="contiguous", count=2, dims=2, dtype=torch.float32):
    """Take some steps on the same data; give what each gave, and the buffers behind it."""
    x = arrange(normal(SHAPES[dims], dtype), layout).requires_grad_()
    g = arrange(normal(SHAPES[dims], dtype, seed=3), layout)
    for _ in range(count):
        layer.reset_running_stats()
        y = layer(x)
        gradients = torch.autograd.grad(y, [x, layer.weight, layer.bias], g)
        buffers = [getattr(layer, name).clone() for name in BUFFERS]
        yield [y.detach(), *gradients, *buffers]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("activation", [None, "relu", "leaky_relu", "silu", "gelu"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_short_way_gives_the_same_bits(dtype, activation, layout, taken):
    layer = make(2, activation=activation)
    first, *others = steps(layer, layout, 3, dtype=dtype)
    assert taken == {"forward": 2, "backward": 2}
    for other in others:
        for a, b in zip(first, other, strict=True):
            assert a.dtype == b.dtype
            assert a.stride() == b.stride()
            assert_near(a, b, SAME_FORMULA)


def test_both_layouts_of_a_shape_are_kept(taken):
    layer = make(2, activation="relu")
    for layout in LAYOUTS * 2:
        list(steps(layer, layout, 1))
    assert taken == {"forward": 2, "backward": 2}


def test_the_function_takes_it_without_a_count(taken):
    layer = make(2)
    x = normal(SHAPES[2])
    names = ("running_mean", "running_var", "weight", "bias")
    for _ in range(2):
        vectors = [getattr(layer, name) for name in names]
        y = functional.batch_norm(x, *vectors, training=True)
    assert taken["forward"] == 1
    assert y.grad_fn is not None
    assert layer.num_batches_tracked == 0


def test_autograd_sees_that_buffers_changed(taken):
    layer = make(2)
    buffers = [getattr(layer, name) for name in BUFFERS]
    layer(normal(SHAPES[2]))
    before = [b._version for b in buffers]
    layer(normal(SHAPES[2]))
    assert taken["forward"] == 1
    assert all(b._version > version for b, version in zip(buffers, before, strict=True))


def test_lost_digits_are_taken_anew(taken):
    layer, near = make(2, activation="relu"), normal(SHAPES[2])
    far = near.clone()
    # the first numbers give the shift, and are far from all others
    far[0, :, 0] += 1e4
    layer(near)
    layer.reset_running_stats()
    y = layer(far)
    assert taken["forward"] == 1
    truth = oracle(layer)
    truth.norm.reset_running_stats()
    assert_near(y, truth(far.double()), FLOAT32)
    assert layer.num_batches_tracked == 1
    for name in BUFFERS[:2]:
        assert_near(getattr(layer, name), getattr(truth.norm, name), RUNNING[torch.float32])


def test_double_backward_takes_the_formula(taken):
    layer = make(2, dtype=torch.float64)
    for _ in range(2):
        x = normal(SHAPES[2], torch.float64).requires_grad_()
        (gradient,) = torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)
        assert gradient.requires_grad
    assert taken == {"forward": 1, "backward": 0}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_upstream_gradient_of_another_layout(layout, taken):
    layer = make(2, activation="relu")
    x = arrange(normal(SHAPES[2]), layout).requires_grad_()
    other = arrange(normal(SHAPES[2], seed=3), LAYOUTS[layout == LAYOUTS[0]])
    same = arrange(other, layout)
    found = [torch.autograd.grad(layer(x), x, g)[0] for g in (same, other, same)]
    assert taken == {"forward": 2, "backward": 1}
    for gradient in found[1:]:
        assert_near(gradient, found[0], SAME_FORMULA)


def test_saved_tensors_that_a_hook_lays_out_anew(taken):
    layer = make(2, activation="relu")
    x = arrange(normal(SHAPES[2]), "channels_last").requires_grad_()
    g = arrange(normal(SHAPES[2], seed=3), "channels_last")
    (expected,) = torch.autograd.grad(layer(x), x, g)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t, lambda t: t.contiguous()):
        (found,) = torch.autograd.grad(layer(x), x, g)
    assert taken == {"forward": 1, "backward": 0}
    # sums in the order of the other layout
    assert_near(found, expected, FLOAT32)


def test_vectors_that_changed_take_the_long_way(taken):
    layer, x = make(2), normal(SHAPES[2])
    layer(x)
    layer.weight.data = torch.ones(4)
    with pytest.raises(RuntimeError, match="weight should contain 5 elements not 4"):
        layer(x)
    layer.weight.data = torch.ones(5, dtype=torch.float64)
    layer(x)
    layer.weight.data = torch.stack([torch.ones(5), torch.full((5,), torch.nan)], 1)[:, 0]
    assert layer(x).isfinite().all()
    layer.weight.data, layer.running_var = torch.ones(5), layer.running_var.bfloat16()
    layer(x)
    assert taken["forward"] == 0


def test_a_layer_of_another_rank_refuses_what_is_kept(taken):
    make(2)(normal(SHAPES[2]))
    with pytest.raises(ValueError, match="expected 2D or 3D input"):
        make(1)(normal(SHAPES[2]))


def test_another_kind_of_layer_takes_the_long_way(taken):
    x = normal(SHAPES[2])
    layer = nn.BatchNorm2d(5, track_running_stats=False)
    first, second = layer(x), layer(x)
    assert_near(first, second, SAME_FORMULA)
    layer = make(2)
    layer(x), layer(x, add=x), layer.eval()(x)
    assert taken["forward"] == 0


def test_a_layer_without_parameters(taken):
    layer, x = nn.BatchNorm2d(5, affine=False), normal(SHAPES[2]).requires_grad_()
    found = [torch.autograd.grad(layer(x).pow(3).sum(), x)[0] for _ in range(2)]
    assert_near(*found, SAME_FORMULA)
    assert taken == {"forward": 1, "backward": 1}


@pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning")
def test_whoever_looks_on_sees_the_long_way(taken, monkeypatch):
    layer, x = make(2), normal(SHAPES[2])
    layer(x)
    assert nn.explain(layer, x).kernels
    with torch.autograd.forward_ad.dual_level():
        tangent = torch.autograd.forward_ad.make_dual(x, torch.ones_like(x))
        assert torch.autograd.forward_ad.unpack_dual(layer(tangent)).tangent is not None
    monkeypatch.setenv("EQUIPOISE_BACKEND", "reference")
    layer(x)
    assert taken["forward"] == 0


def test_without_gradients(taken):
    layer, x = make(2, activation="relu"), normal(SHAPES[2])
    expected = layer(x).detach()
    with torch.no_grad():
        y = layer(x)
    assert taken["forward"] == 1
    assert not y.requires_grad
    assert_near(y, expected, SAME_FORMULA)


def test_memory_that_was_given_back_is_refused(taken):
    layer, x = make(2), normal(SHAPES[2])
    layer(x)
    x.untyped_storage().resize_(0)
    with pytest.raises(RuntimeError, match="materialize it"):
        layer(x)


def test_no_more_than_some_are_kept(taken, monkeypatch):
    monkeypatch.setattr(again, "MOST", 3)
    layer = nn.BatchNorm1d(5)
    for n in range(2, 9):
        layer(normal((n, 5)))
    assert 0 < len(again._kept) <= 3


def test_without_torchs_guards_every_step_is_long(taken, monkeypatch):
    monkeypatch.setattr(guards, "GUARDS", None)
    layer, x = make(2), normal(SHAPES[2])
    assert_near(layer(x), layer(x), SAME_FORMULA)
    assert not again._kept
