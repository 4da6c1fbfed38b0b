"""Calls of LayerNorm and RMSNorm that repeat: the short way's bits, and who takes the long one."""

import pytest
import torch
from torch.nn import functional as F

from equipoise import functional as ours
from equipoise.nn import LayerNorm, explain
from equipoise.ops.normalize import again, layer

DTYPES = [torch.float32, torch.float64, torch.bfloat16]
KINDS = {
    "plain": {},
    "gelu": {"activation": "gelu"},
    "residual": {"residual": True},
    "no weight": {"weight": False},
    "across": {"across": True},
}


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch):
    monkeypatch.setattr(again, "_kept", {})


def draw(dtype, weight=True, residual=False, across=False, seed=0, activation=None):
    """Give input, residual, weight and bias, and the norm's extras."""
    generator = torch.Generator().manual_seed(seed)

    def some(*size):
        return torch.randn(*size, generator=generator).to(dtype)

    x = some(3, 32, 5).movedim(1, -1) if across else some(3, 5, 32)
    x, r = x.requires_grad_(), some(3, 5, 32).requires_grad_() if residual else None
    w, b = (some(32).requires_grad_() if weight else None for _ in range(2))
    return x, r, w, b, {"activation": activation}


def step(norm, x, r, w, b, extras, seed=1):
    """Give outputs and gradients of one training step."""
    more = {} if r is None else {"residual": r, "return_residual": True}
    bias = () if norm is ours.rms_norm else (b,)
    found = norm(x, (32,), w, *bias, **extras, **more)
    outputs = found if r is not None else (found,)
    generator = torch.Generator().manual_seed(seed)
    upstream = [torch.randn(x.shape, generator=generator).to(x.dtype) for _ in outputs]
    steep = [t for t in (x, r, w, *bias) if t is not None]
    return [*(t.detach() for t in outputs), *torch.autograd.grad(outputs, steep, upstream)]


def no_long_way(monkeypatch):
    def forward(*args):
        raise AssertionError("the long way")

    monkeypatch.setattr(layer, "forward", forward)


@pytest.mark.parametrize("norm", [ours.layer_norm, ours.rms_norm])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_call_that_repeats_gives_the_same_bits_by_the_short_way(monkeypatch, norm, kind, dtype):
    tensors = draw(dtype, **KINDS[kind])
    first = step(norm, *tensors)
    assert len(again._kept) == 1
    no_long_way(monkeypatch)
    for a, b in zip(first, step(norm, *tensors), strict=True):
        assert (a.dtype, a.stride()) == (b.dtype, b.stride())
        assert torch.equal(a, b)


@pytest.mark.parametrize("used", [0, 1])
def test_an_output_that_no_one_uses_has_no_gradient(used):
    x, r, w, b, _ = draw(torch.float32, residual=True)
    upstream = torch.randn(x.shape)

    def gradients():
        outputs = ours.layer_norm(x, (32,), w, b, residual=r, return_residual=True)
        steep = (x, r, w, b)
        return torch.autograd.grad(outputs[used], steep, upstream, allow_unused=True)

    for a, b_ in zip(gradients(), gradients(), strict=True):
        assert (a is None) == (b_ is None)
        assert a is None or torch.equal(a, b_)


def test_other_numbers_are_not_those_kept(monkeypatch):
    step(ours.layer_norm, *draw(torch.float32))
    x, _, w, b, _ = draw(torch.float32, seed=2)
    no_long_way(monkeypatch)
    found = ours.layer_norm(x, (32,), w, b)
    torch.testing.assert_close(found, F.layer_norm(x, (32,), w, b))


def test_digits_that_get_lost_are_found():
    x, _, w, b, _ = draw(torch.float32)
    ours.layer_norm(x, (32,), w, b)
    far = torch.full((3, 5, 32), 3e4).requires_grad_()
    with torch.no_grad():
        far[..., ::8] += 1e8
        far += x
    right = F.layer_norm(far.double(), (32,), w.double(), b.double())
    found = ours.layer_norm(far, (32,), w, b)
    assert (found - right).abs().max() <= 2e-6 * right.abs().max()


OTHERS = {
    "strides": lambda x: x.detach()[:, ::2].requires_grad_(),
    "no gradient": lambda x: x.detach(),
    "a subclass": lambda x: torch.nn.Buffer(x.detach()),
    "a conjugate's sign": lambda x: torch.view_as_complex(x.detach().view(3, 5, 16, 2)).conj().imag,
}


@pytest.mark.parametrize("other", OTHERS)
def test_what_is_not_alike_is_right_too(other):
    x, _, w, b, _ = draw(torch.float32)
    ours.layer_norm(x, (32,), w, b)
    x = OTHERS[other](x)
    w, b = (t.detach()[: x.shape[-1]].requires_grad_() for t in (w, b))
    found = ours.layer_norm(x, x.shape[-1:], w, b)
    torch.testing.assert_close(found, F.layer_norm(x, x.shape[-1:], w, b))


@pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning")
def test_transforms_and_forward_ad_are_seen():
    x, _, w, b, _ = draw(torch.float32)
    ours.layer_norm(x, (32,), w, b)
    plain = x.detach(), w.detach(), b.detach()
    ours.layer_norm(plain[0], (32,), *plain[1:])
    tangents = tuple(torch.ones_like(t) for t in plain)
    pairs = [
        torch.func.jvp(lambda x, w, b, f=f: f(x, (32,), w, b), plain, tangents)[1]
        for f in (ours.layer_norm, F.layer_norm)
    ]
    torch.testing.assert_close(*pairs)
    mapped = torch.func.vmap(lambda x: ours.layer_norm(x, (32,), *plain[1:]))(plain[0])
    torch.testing.assert_close(mapped, F.layer_norm(plain[0], (32,), *plain[1:]))


def test_a_gradient_of_a_gradient_goes_the_long_way():
    x, _, w, b, _ = draw(torch.float64)
    ours.layer_norm(x, (32,), w, b)
    norm = lambda x, w, b: ours.layer_norm(x, (32,), w, b)  # noqa: E731
    assert torch.autograd.gradgradcheck(norm, (x[:1, :1, :].detach().requires_grad_(), w, b))
    y = norm(x, w, b)
    (g,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
    (found,) = torch.autograd.grad(g.square().sum(), x)
    z = F.layer_norm(x, (32,), w, b)
    (g,) = torch.autograd.grad(z.square().sum(), x, create_graph=True)
    (right,) = torch.autograd.grad(g.square().sum(), x)
    torch.testing.assert_close(found, right)


def test_the_environment_is_asked_each_time(monkeypatch):
    x, _, w, b, _ = draw(torch.float32)
    ours.layer_norm(x, (32,), w, b)
    monkeypatch.setenv("EQUIPOISE_BACKEND", "nonsense")
    with pytest.raises(ValueError, match="nonsense"):
        ours.layer_norm(x, (32,), w, b)


def test_who_listens_hears_of_the_kernel():
    norm, (x, *_) = LayerNorm(32), draw(torch.float32)
    norm(x)
    assert "elements_forward" in str(explain(norm, x))


@pytest.mark.parametrize(
    "change, error",
    [
        ({"activation": "tanh"}, ValueError),
        ({"activation": ["gelu"]}, ValueError),
        ({"eps": -1.0}, ValueError),
        ({"weight": torch.ones(31)}, RuntimeError),
        ({"residual": torch.ones(7)}, ValueError),
    ],
    ids=["activation", "list", "eps", "weight", "residual"],
)
def test_errors_are_as_before(change, error):
    x, _, w, b, _ = draw(torch.float32)
    ours.layer_norm(x, (32,), w, b)
    with pytest.raises(error):
        ours.layer_norm(x, (32,), **{"weight": w, "bias": b, **change})


def test_as_many_as_allowed_are_kept(monkeypatch):
    monkeypatch.setattr(again, "MOST", 3)
    for n in range(1, 9):
        ours.rms_norm(torch.randn(n, 8), (8,))
        assert len(again._kept) <= 3
