"""The kernels as operators of ``torch.library``, and their autograd.

Eager code on plain tensors calls the kernels of their device directly; under ``torch.compile``
and other dispatch modes the operators stand for them, so that tracers see one opaque node each way.
"""

import os

import torch
from torch import Tensor
from torch._C import _functorch  # pyright: ignore[reportAttributeAccessIssue]

from equipoise.ops.normalize import reference
from equipoise.ops.normalize.layout import dense
from equipoise.ops.normalize.library import operator

ACTIVATIONS = (None, "relu", "leaky_relu", "silu", "gelu")
# sign of the output = sign before the activation: the output serves as the mask
_BY_SIGN = ("relu",)
# gradients of what is no tensor
_NINE = (None,) * 9
# triton reads this once, when it is imported: its kernels then run on the CPU, slowly, for tests
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"


def on_gpu(x: Tensor) -> bool:
    """Tell whether the GPU's kernels take this tensor."""
    return x.is_cuda or (INTERPRETED and os.environ.get("EQUIPOISE_BACKEND") == "gpu")


def _kernels(x: Tensor):
    """Give the module of the kernels that take this tensor, imported on first use."""
    if on_gpu(x):
        from equipoise.ops.normalize import gpu

        return gpu
    from equipoise.ops.normalize import cpu

    return cpu


def _forward(x, weight, bias, add, act, negative_slope, eps, groups, centred):
    return _kernels(x).forward(
        x, weight, bias, add, None, ACTIVATIONS[act], negative_slope, eps, groups, int(centred)
    )


def _apply(x, weight, bias, add, stats, act, negative_slope):
    name = ACTIVATIONS[act]
    return _kernels(x).forward(x, weight, bias, add, stats, name, negative_slope, 0.0)[0]


def _backward(
    g, x, other, stats, weight, bias, act, slope, from_output, training, want_add, groups, centred
):  # fmt: skip
    return _kernels(x).backward(
        g, x, other, stats, weight, bias, ACTIVATIONS[act], slope, from_output, training, want_add,
        groups, int(centred),
    )  # fmt: skip


def _backward_operator(g, *args):
    dx, dadd, sums = _backward(g, *args)
    if dadd is None:
        dadd = dx.new_empty(0)
    # an operator's results are its own: none may be its argument
    return dx, dadd.clone() if dadd is g else dadd, rounded_sums(sums, *args[3:5])


def _fake_forward(x, weight, bias, add, activation, negative_slope, eps, groups, centred):
    y = torch.empty_like(dense(x))
    statistics = x.shape[0] * groups if groups else x.shape[1]
    return y, x.new_empty((4, statistics), dtype=torch.float64)


def _fake_apply(x, weight, bias, add, stats, activation, negative_slope):
    return torch.empty_like(dense(x))


def _fake_backward(
    g, x, other, stats, weight, bias, act, slope, from_output, training, want_add, groups, centred
):  # fmt: skip
    dx = torch.empty_like(dense(x))
    dadd = torch.empty_like(dx) if want_add else dx.new_empty(0)
    sums = x.new_empty((2, x.shape[1]), dtype=torch.float64)
    return dx, dadd, rounded_sums(sums, weight, bias)


normalize_forward = operator(
    "normalize_forward",
    "(Tensor x, Tensor? weight, Tensor? bias, Tensor? add, int activation, "
    "float negative_slope, float eps, int groups, bool centred) -> (Tensor, Tensor)",
    _forward,
    _fake_forward,
)
normalize_apply = operator(
    "normalize_apply",
    "(Tensor x, Tensor? weight, Tensor? bias, Tensor? add, Tensor stats, "
    "int activation, float negative_slope) -> Tensor",
    _apply,
    _fake_apply,
)
normalize_backward = operator(
    "normalize_backward",
    "(Tensor grad, Tensor x, Tensor? other, Tensor stats, Tensor? weight, Tensor? bias, "
    "int activation, float negative_slope, bool from_output, bool training, "
    "bool want_add, int groups, bool centred) -> (Tensor, Tensor, Tensor)",
    _backward_operator,
    _fake_backward,
)


def direct() -> bool:
    """Tell whether kernels may be called without an operator: no tracer and no mode looks on."""
    return not torch.compiler.is_compiling() and torch._C._len_torch_dispatch_stack() == 0


def forward(
    x, weight, bias, add, stats, activation, negative_slope, eps, groups=0, centred=True, moved=None
):  # fmt: skip
    """Run the forward kernel; ``stats`` None means the input's own.  Returns y and stats.

    ``moved`` are the running buffers (mean, variance, momentum) that it moves as well: only
    where kernels are called directly.
    """
    if direct():
        return _kernels(x).forward(
            x, weight, bias, add, stats, activation, negative_slope, eps, groups, int(centred),
            moved,
        )  # fmt: skip
    code = ACTIVATIONS.index(activation)
    if stats is None:
        return normalize_forward(
            x, weight, bias, add, code, negative_slope, eps, groups, centred
        )  # fmt: skip
    return normalize_apply(x, weight, bias, add, stats, code, negative_slope), stats


class Normalize(torch.autograd.Function):
    """(x, weight, bias, add) -> (y, stats); keeps x, per-channel vectors and, for the
    activation's derivative, what was added (the output for ReLU, which the next layer keeps).
    """

    @staticmethod
    def forward(
        ctx, x, weight, bias, add, stats, activation, negative_slope, eps, groups=0, centred=True,
        moved=None, again=None,
    ):  # fmt: skip
        """Normalize, and keep what backward needs."""
        # the statistics' gradient would be zeros to fill
        ctx.set_materialize_grads(False)
        from_output = add is not None and activation in _BY_SIGN
        how = (activation, negative_slope, eps, groups, centred)
        ctx.settings, ctx.again = (*how, stats is None, from_output), again
        if again is not None:
            y, used = again.forward(x, weight, bias, moved)
            ctx.save_for_backward(x, weight, bias, None, used)
            return y
        y, used = forward(x, weight, bias, add, stats, *how, moved)
        other = add if add is not None and activation is not None else None
        ctx.save_for_backward(x, weight, bias, y if from_output else other, used)
        if stats is not None or moved is not None:
            return y
        ctx.mark_non_differentiable(used)
        return y, used

    @staticmethod
    def backward(ctx, g, *_):
        """Run the backward kernel, or the plain formula where its result is differentiated."""
        x, weight, bias, other, stats = ctx.saved_tensors
        if g is None:
            return (None,) * 12
        again = ctx.again
        if again is not None and again.takes(g, x, weight, bias):
            return (*again.backward(g, x, weight, bias, stats), *_NINE)
        if plain_backward(g, x, weight, bias, other):
            return (*_differentiable(ctx, g, x, weight, bias, other, stats), *(None,) * 8)
        needs, given = ctx.needs_input_grad, (g, x, other, stats, weight, bias)
        activation, slope, _, groups, centred, training, from_output = ctx.settings
        how = (slope, from_output, training, needs[3], groups)
        if direct():
            dx, dadd, (dbias, dweight) = _kernels(x).backward(
                *given, activation, *how, int(centred), True
            )
        else:
            code = ACTIVATIONS.index(activation)
            dx, dadd, sums = normalize_backward(*given, code, *how, centred)
            dbias, dweight = parameter_gradients(sums, weight, bias)
        return (
            dx if needs[0] else None,
            dweight if needs[1] else None,
            dbias if needs[2] else None,
            dadd if needs[3] else None,
            *(None,) * 8,
        )


def rounded_sums(sums, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """Give the (2, ...) sums in the type that weight and bias have.

    The operators do so themselves: as a line of a compiled graph it would wake all threads.
    """
    kinds = {t.dtype for t in (weight, bias) if t is not None}
    # where they differ the engine rounds each, which takes longer
    return sums.to(kinds.pop()) if len(kinds) == 1 else sums


def parameter_gradients(sums: Tensor, weight: Tensor | None, bias: Tensor | None):
    """Give bias' and weight's gradients of their (2, ...) sums, in the type that both have."""
    return rounded_sums(sums, weight, bias).unbind(0)


def plain_backward(*tensors) -> bool:
    """Tell whether backward must be the plain formula."""
    if torch.compiler.is_compiling():
        return False
    return torch.is_grad_enabled() or not plain_tensors(*tensors)


def _differentiable(ctx, g, x, weight, bias, other, stats):
    """Give the gradients as differentiable functions of everything saved."""
    activation, slope, eps, groups, centred, training, from_output = ctx.settings
    add, needs = other, ctx.needs_input_grad
    if from_output:
        g, activation, add = torch.where(other > 0, g, 0), None, None
    mean, variance = (None, None) if training else (stats[0], stats[1])
    with torch.enable_grad():
        # fresh views: x and add may be one tensor, and their gradients are two
        x, weight, bias, add = (t if t is None else t.view_as(t) for t in (x, weight, bias, add))
        y, _, _ = reference.normalize(
            x, weight, bias, add, mean, variance, activation, slope, eps, groups, centred
        )
    inputs = [x, weight, bias, add]
    wanted = [t for t, need in zip(inputs, needs, strict=False) if need and t is not None]
    create = torch.is_grad_enabled()
    found = iter(torch.autograd.grad(y, wanted, g, create_graph=create) if wanted else ())
    grads = [
        next(found) if need and t is not None else None
        for t, need in zip(inputs, needs, strict=False)
    ]
    if needs[3] and add is None:
        grads[3] = g
    return grads


def transforming() -> bool:
    """Tell whether a ``torch.func`` transform is at work."""
    return _functorch.peek_interpreter_stack() is not None


def transformed_in_graph() -> bool:
    """Tell whether a transform looks at a call that is compiled: operators have no rules for it."""
    return transforming()


# Dynamo enters and leaves transforms as it traces: it has to ask, where it would trace an answer
transformed_in_graph._dynamo_marked_constant = True  # pyright: ignore[reportFunctionMemberAccess]


def plain_tensors(*tensors) -> bool:
    """Tell whether all are ordinary tensors that no transform of torch's looks through."""
    if transforming():
        return False
    dual = torch.autograd.forward_ad._current_level >= 0
    for t in tensors:
        if t is None:
            continue
        if type(t) is not Tensor and type(t) is not torch.nn.Parameter:
            return False
        if _functorch.is_legacy_batchedtensor(t) or (dual and _is_dual(t)):
            return False
    return True


def _is_dual(t: Tensor) -> bool:
    return torch.autograd.forward_ad.unpack_dual(t).tangent is not None
