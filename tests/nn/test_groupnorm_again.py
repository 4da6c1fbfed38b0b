"""GroupNorm's and InstanceNorm's calls that repeat: the long way's bits, and who takes it."""

import threading

import pytest
import torch
from _cases import LAYOUTS, arrange, normal
from _norms import ROWS, step
from _subject import IS_TORCH, ours_only
from tolerances import FLOAT32, FLOAT64, SAME_FORMULA, assert_near
from torch.nn import functional as F

pytestmark = [ours_only, pytest.mark.usefixtures("one_thread", "kernels")]
if not IS_TORCH:
    from equipoise import functional, nn
    from equipoise.ops.normalize import again, guards

SAMPLES = [
    row for row in ROWS if row.extra == "add" and not dict(row.options).get("track_running_stats")
]
GROUPS = SAMPLES[0]


def assert_same(first, second):
    assert first.keys() == second.keys()
    for name, a in first.items():
        b = second[name]
        assert (a.dtype, a.stride()) == (b.dtype, b.stride()), name
        assert_near(a, b, SAME_FORMULA, name)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("activation", [None, "leaky_relu", "silu"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("row", SAMPLES, ids=str)
def test_the_short_way_gives_the_same_bits(row, dtype, activation, layout, taken):
    layer = row.build(dtype=dtype, activation=activation)
    x, g, _ = (arrange(t, layout) if t.dim() in (4, 5) else t for t in row.inputs(dtype))
    first = step(layer, x, g)
    assert taken == {"forward": 0, "backward": 0}
    assert_same(step(layer, x, g), first)
    assert taken == {"forward": 1, "backward": 1}


@pytest.mark.parametrize("vectors", ["none", "weight", "bias", "float64", "of two types"])
def test_parameters_that_are_missing_or_of_another_type(vectors, taken):
    x, g, _ = GROUPS.inputs()
    w, b = normal((6,), seed=5).requires_grad_(), normal((6,), seed=6).requires_grad_()
    w, b = {
        "none": (None, None),
        "weight": (w, None),
        "bias": (None, b),
        "float64": (w.detach().double().requires_grad_(), b.detach().double().requires_grad_()),
        "of two types": (w.detach().double().requires_grad_(), b),
    }[vectors]
    steep = [t for t in (x.requires_grad_(), w, b) if t is not None]

    def gradients():
        return torch.autograd.grad(functional.group_norm(x, 3, w, b), steep, g)

    for a, c in zip(gradients(), gradients(), strict=True):
        assert a.dtype == c.dtype
        assert_near(a, c, SAME_FORMULA)
    assert taken == {"forward": 1, "backward": 1}


def test_other_arguments_are_not_those_kept(taken):
    x, _, _ = GROUPS.inputs()
    calls = [
        lambda f: f.group_norm(x, 3),
        lambda f: f.group_norm(x, 2),
        lambda f: f.group_norm(x, 6),
        lambda f: f.group_norm(x, 3, eps=0.5),
        lambda f: f.group_norm(x, 3, torch.arange(6.0)),
        lambda f: f.group_norm(x, 3, None, torch.arange(6.0)),
        lambda f: f.instance_norm(x, eps=0.5),
        lambda f: f.batch_norm(x, None, None, training=True),
    ]
    for _ in range(2):
        for call in calls:
            assert_near(call(functional), call(F), FLOAT32)
    # all but the last, which has no buffers
    assert taken["forward"] == len(calls) - 1


def test_numbers_written_in_place_are_read(taken):
    x, _, _ = GROUPS.inputs()
    w = torch.ones(6)
    functional.group_norm(x, 3, w)
    x.mul_(3).add_(1), w.mul_(2)
    assert_near(functional.group_norm(x, 3, w), F.group_norm(x, 3, w), FLOAT32)
    assert taken["forward"] == 1


UNLIKE = {
    "strides": lambda x: x.detach()[:, :, :, ::2],
    "a layout": lambda x: x.detach().contiguous(memory_format=torch.channels_last),
    "a dtype": lambda x: x.detach().double(),
    "no gradient": lambda x: x.detach(),
    "a gradient of the sign": lambda x: torch.view_as_complex(torch.stack([x, x], -1)).conj().imag,
    "a subclass": lambda x: torch.nn.Buffer(x.detach()),
    "fewer samples": lambda x: x.detach()[:2],
}


@pytest.mark.parametrize("unlike", UNLIKE)
def test_what_is_not_alike_is_right_too(unlike, taken):
    x, _, _ = GROUPS.inputs()
    x, w = x.requires_grad_(), torch.arange(1.0, 7.0).requires_grad_()
    functional.group_norm(x, 3, w)
    other = UNLIKE[unlike](x)
    found = functional.group_norm(other, 3, w.to(other.dtype))
    assert_near(found, F.group_norm(other, 3, w.to(other.dtype)), FLOAT32)
    assert taken["forward"] == 0


def test_lost_digits_are_taken_anew(taken):
    layer, (near, g, _) = GROUPS.build(activation="silu"), GROUPS.inputs()
    far = near.clone()
    # the first numbers give the shift, and are far from all others
    far[:, ::2, 0] += 1e4
    step(layer, near, g)
    found, right = step(layer, far, g), step(GROUPS.oracle(layer), far.double(), g.double())
    assert taken["forward"] == 1
    assert_near(found["output"], right["output"], FLOAT32)


@pytest.mark.parametrize("row", [GROUPS, SAMPLES[5]], ids=str)
def test_a_gradient_of_a_gradient_goes_the_long_way(row, taken):
    layer, (x, g, _) = row.build(dtype=torch.float64, activation="silu"), row.inputs(torch.float64)
    twin = row.oracle(layer)
    for _ in range(2):
        seconds = []
        for norm in (layer, twin):
            leaf = x.detach().requires_grad_()
            (first,) = torch.autograd.grad(norm(leaf), leaf, g, create_graph=True)
            seconds += torch.autograd.grad(first.square().sum(), leaf)
        assert_near(*seconds, FLOAT64)
    assert taken == {"forward": 1, "backward": 0}


def test_upstream_gradients_of_other_layouts(taken):
    layer, (x, g, _) = GROUPS.build(activation="silu"), GROUPS.inputs()
    others = [arrange(g, "channels_last"), g[:1].expand_as(g), g]
    right = [step(GROUPS.oracle(layer), x.double(), o.double()) for o in others]
    step(layer, x, g)
    for other, truth in zip(others, right, strict=True):
        for name, found in step(layer, x, other).items():
            assert_near(found, truth[name], FLOAT32, name)
    assert taken == {"forward": 3, "backward": 1}


def test_hooks_on_what_is_saved_are_heeded(taken):
    layer, (x, g, _) = GROUPS.build(), GROUPS.inputs()
    expected = step(layer, x, g)
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: t,
        lambda t: t.contiguous(memory_format=torch.channels_last) if t.dim() == 4 else t,
    ):
        found = step(layer, x, g)
    assert taken == {"forward": 1, "backward": 0}
    for name, value in found.items():
        assert_near(value, expected[name], FLOAT32, name)


def test_a_change_in_place_before_backward_is_refused(taken):
    layer, (x, g, _) = GROUPS.build(), GROUPS.inputs()
    for _ in range(2):
        inner = x.clone().requires_grad_() * 1
        y = layer(inner)
        inner.add_(1)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            y.backward(g)
    assert taken == {"forward": 1, "backward": 0}


def test_modes_of_gradients(taken):
    layer, (x, _, _) = GROUPS.build(), GROUPS.inputs()
    right = layer(x)
    with torch.no_grad():
        quiet = layer(x)
    assert taken["forward"] == 1
    assert right.requires_grad
    assert not quiet.requires_grad
    with torch.inference_mode():
        inference = layer(x)
        later = layer(x)
    assert inference.is_inference()
    assert later.is_inference()
    for found in (quiet, inference, later, layer(x)):
        assert_near(found.detach().clone(), right, SAME_FORMULA)
    layer.requires_grad_(False)
    assert not layer(x).requires_grad


def test_autocast_is_seen(taken):
    x, w = GROUPS.inputs(torch.bfloat16)[0], torch.ones(6, dtype=torch.bfloat16)
    dtypes = []
    for f in (functional, functional, F):
        dtypes.append([f.group_norm(x, 3, w).dtype, f.instance_norm(x, weight=w).dtype])
        with torch.autocast("cpu", torch.bfloat16):
            dtypes[-1] += [f.group_norm(x, 3, w).dtype, f.instance_norm(x, weight=w).dtype]
    assert dtypes[0] == dtypes[1] == dtypes[2]
    # each setting takes its own, and drops the other's
    assert taken["forward"] == 0


@pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning")
def test_whoever_looks_on_sees_the_long_way(taken, monkeypatch):
    layer, (x, g, _) = GROUPS.build(), GROUPS.inputs()
    layer(x)
    assert nn.explain(layer, x).kernels
    plain = {name: p.detach() for name, p in layer.named_parameters()}

    def norm(x):
        return torch.func.functional_call(layer, plain, (x,))

    right = GROUPS.twin(layer)
    norm(x)
    assert_near(torch.func.vmap(norm)(x[:, None])[:, 0], right(x), FLOAT32)
    tangents = [torch.func.jvp(f, (x,), (g,))[1] for f in (norm, right)]
    assert_near(*tangents, FLOAT32)
    taken["forward"] = 0
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x, g)
        assert torch.autograd.forward_ad.unpack_dual(layer(dual)).tangent is not None
    monkeypatch.setenv("EQUIPOISE_BACKEND", "nonsense")
    with pytest.raises(ValueError, match="nonsense"):
        layer(x)
    assert taken["forward"] == 0


def test_running_buffers_take_the_long_way(taken):
    x, _, _ = GROUPS.inputs()
    layers = [m(6, track_running_stats=True) for m in (nn.InstanceNorm2d, torch.nn.InstanceNorm2d)]
    functional.instance_norm(x)
    for _ in range(2):
        assert_near(*(layer(x) for layer in layers), FLOAT32)
    assert_near(*(layer.running_var for layer in layers), FLOAT32)
    assert taken["forward"] == 0


def test_threads_share_what_is_kept(taken):
    layer, (x, g, _) = GROUPS.build(activation="silu"), GROUPS.inputs()
    first, found = step(layer, x, g), []

    def work():
        torch.set_num_threads(1)
        found.extend(step(layer, x, g) for _ in range(10))

    workers = [threading.Thread(target=work) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(found) == 30
    for other in found:
        assert_same(other, first)


ERRORS = [
    ({"num_groups": 4}, RuntimeError, "divisible"),
    ({"num_groups": True}, TypeError, "not bool"),
    ({"num_groups": 3.0}, TypeError, "integer"),
    ({"activation": "tanh"}, ValueError, "activation"),
    ({"activation": ["silu"]}, ValueError, "activation"),
    ({"eps": -1.0}, ValueError, "eps"),
    ({"weight": torch.ones(5)}, RuntimeError, "weight"),
    ({"add": torch.ones(5)}, ValueError, "add"),
]


@pytest.mark.parametrize("change, error, match", ERRORS, ids=lambda v: str(v)[:24])
def test_errors_are_as_before(change, error, match, taken):
    x, _, _ = GROUPS.inputs()
    arguments = {"num_groups": 3, "weight": torch.ones(6)}
    functional.group_norm(x, **arguments)
    functional.group_norm(x[:1], **{**arguments, "num_groups": 1})
    with pytest.raises(error, match=match):
        functional.group_norm(x, **{**arguments, **change})


def test_memory_that_was_given_back_is_refused(taken):
    x, w = GROUPS.inputs()[0], torch.ones(6)
    functional.group_norm(x, 3, w)
    x.untyped_storage().resize_(0)
    with pytest.raises(RuntimeError, match="materialize it"):
        functional.group_norm(x, 3, w)


def test_without_torchs_guards_every_call_is_long(taken, monkeypatch):
    monkeypatch.setattr(guards, "GUARDS", None)
    x, _, _ = GROUPS.inputs()
    assert_near(functional.group_norm(x, 3), functional.group_norm(x, 3), SAME_FORMULA)
    assert not again._kept


def test_a_forked_child_drops_what_is_kept(taken):
    layer, (x, g, _) = GROUPS.build(), GROUPS.inputs()
    x.requires_grad_()
    layer(x)
    (right,) = torch.autograd.grad(layer(x), x, g)
    y, taken["backward"] = layer(x), 0
    again._after_fork()
    assert not again._kept
    assert_near(torch.autograd.grad(y, x, g)[0], right, SAME_FORMULA)
    assert taken["backward"] == 0
