"""LayerNorm and RMSNorm: operators of ``torch.library``, autograd, and the plain formula."""

import torch

from equipoise.ops.normalize.layout import crossed
from equipoise.ops.normalize.library import operator
from equipoise.ops.normalize.op import (
    ACTIVATIONS,
    direct,
    on_gpu,
    parameter_gradients,
    plain_backward,
    rounded_sums,
)
from equipoise.ops.normalize.reference import activate, moments

# gradients of what is no tensor
_SIX = (None,) * 6


def _kernels(x: torch.Tensor):
    """Give the module of the kernels that take this tensor, imported on first use."""
    if on_gpu(x):
        from equipoise.ops.normalize import gpu_elements

        return gpu_elements
    from equipoise.ops.normalize import cpu_elements

    return cpu_elements


def _forward(x, residual, weight, bias, activation, slope, eps, width, centred):
    name = ACTIVATIONS[activation]
    return _kernels(x).forward(x, residual, weight, bias, name, slope, eps, width, int(centred))


def _backward(g, passed, x, stats, weight, bias, activation, slope, width, centred):
    name = ACTIVATIONS[activation]
    return _kernels(x).backward(g, passed, x, stats, weight, bias, name, slope, width, int(centred))


def _forward_operator(x, residual, *args):
    y, total, stats = _forward(x, residual, *args)
    # an operator's results are its own: none may be its argument
    return y, x.new_empty(0) if residual is None else total, stats


def _backward_operator(g, passed, x, stats, weight, bias, *args):
    dx, sums = _backward(g, passed, x, stats, weight, bias, *args)
    return dx, rounded_sums(sums, weight, bias)


def _fake_like(x, width):
    if crossed(x, width):
        return torch.empty_like(x)
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def _fake_forward(x, residual, weight, bias, activation, slope, eps, width, centred):
    y = _fake_like(x, width)
    stats = x.new_empty((4, x.numel() // width), dtype=torch.float64)
    return y, x.new_empty(0) if residual is None else torch.empty_like(y), stats


def _fake_backward(g, passed, x, stats, weight, bias, activation, slope, width, centred):
    sums = x.new_empty((2, width), dtype=torch.float64)
    return _fake_like(x, width), rounded_sums(sums, weight, bias)


rows_forward = operator(
    "rows_forward",
    "(Tensor x, Tensor? residual, Tensor? weight, Tensor? bias, int activation, "
    "float negative_slope, float eps, int width, bool centred) -> (Tensor, Tensor, Tensor)",
    _forward_operator,
    _fake_forward,
)
rows_backward = operator(
    "rows_backward",
    "(Tensor grad, Tensor? passed, Tensor x, Tensor stats, Tensor? weight, Tensor? bias, "
    "int activation, float negative_slope, int width, bool centred) -> (Tensor, Tensor)",
    _backward_operator,
    _fake_backward,
)


def formula(x, residual, weight, bias, activation, slope, eps, width, centred):
    """y = act((s - mean) / sqrt(var + eps) * weight + bias) with s = x + residual; give y and s."""
    total = x if residual is None else x + residual
    wide = total if total.dtype == torch.float64 else total.float()
    # one axis stays where it lies
    rows = wide if wide.shape[-1:] == (width,) else wide.reshape(-1, width)
    deviation, _, variance = moments(rows, [-1], centred)
    y = deviation * torch.rsqrt(variance + eps)
    if weight is not None:
        y = y * weight.reshape(-1).to(y.dtype)
    if bias is not None:
        y = y + bias.reshape(-1).to(y.dtype)
    return activate(y.reshape(x.shape), activation, slope).to(x.dtype), total


def forward(x, residual, weight, bias, activation, slope, eps, width, centred):
    """Run the kernel; give y, the sum (x itself without a residual) and the statistics."""
    run = _forward if direct() else rows_forward
    code = ACTIVATIONS.index(activation)
    y, total, stats = run(x, residual, weight, bias, code, slope, eps, width, centred)
    return y, x if residual is None else total, stats


class NormalizeRows(torch.autograd.Function):
    """(x, residual, weight, bias) -> (y, sum); keeps the sum, the parameters and the statistics."""

    @staticmethod
    def forward(
        ctx, x, residual, weight, bias, activation, slope, eps, width, centred, again=None
    ):  # fmt: skip
        """Normalize, and keep what backward needs; ``again`` is a call of ``again_rows``."""
        how = (activation, slope, eps, width, centred)
        if again is None:
            y, total, stats = forward(x, residual, weight, bias, *how)
        else:
            y, total, stats = again.forward(x, residual, weight, bias)
        ctx.settings, ctx.again = how, again
        ctx.set_materialize_grads(False)
        if residual is None:
            ctx.save_for_backward(x, weight, bias, stats)
            return y
        ctx.save_for_backward(total, weight, bias, stats)
        return y, total

    @staticmethod
    def backward(ctx, g, passed=None):
        """Run the backward kernel, or the plain formula where its result is differentiated."""
        x, weight, bias, stats = ctx.saved_tensors
        again = ctx.again
        if g is None:
            return (passed, passed, *(None,) * 8)
        if again is not None and again.takes(g, passed, x, weight, bias):
            return (*again.backward(g, passed, x, weight, bias, stats), *_SIX)
        activation, slope, _, width, centred = ctx.settings
        if plain_backward(g, passed, x, weight, bias):
            dx, dweight, dbias = _differentiable(ctx, g, x, weight, bias)
            dx = dx if passed is None or dx is None else dx + passed
        else:
            run = _backward if direct() else rows_backward
            code = ACTIVATIONS.index(activation)
            dx, sums = run(g, passed, x, stats, weight, bias, code, slope, width, centred)
            dbias, dweight = parameter_gradients(sums, weight, bias)
            dweight = None if weight is None else dweight.view(weight.shape)
            dbias = None if bias is None else dbias.view(bias.shape)
        return _wanted(ctx.needs_input_grad, dx, dweight, dbias)


def _wanted(needs, dx, dweight, dbias):
    both = (dx if needs[0] else None, dx if needs[1] else None)
    return (*both, dweight if needs[2] else None, dbias if needs[3] else None, *_SIX)


def _differentiable(ctx, g, x, weight, bias):
    """Give the gradients as differentiable functions of everything saved."""
    needs = ctx.needs_input_grad
    wanted = (needs[0] or needs[1], needs[2], needs[3])
    with torch.enable_grad():
        x, weight, bias = (t if t is None else t.view_as(t) for t in (x, weight, bias))
        y, _ = formula(x, None, weight, bias, *ctx.settings)
    both = zip((x, weight, bias), wanted, strict=True)
    inputs = [t for t, want in both if t is not None and want]
    create = torch.is_grad_enabled()
    found = iter(torch.autograd.grad(y, inputs, g, create_graph=create) if inputs else ())
    return tuple(next(found) if want else None for want in wanted)
