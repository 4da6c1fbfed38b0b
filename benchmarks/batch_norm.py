"""BatchNorm in training against torch: the shapes of ResNet-50 and ConvNeXt-T, and tiny ones."""

import itertools
from functools import lru_cache
from typing import Any

import torch
from torch.nn import functional as F

from benchmarks.model import Benchmark, Built, Group, Point, Target
from benchmarks.step import (
    DTYPES,
    NEAR_ZERO,
    NormCase,
    Step,
    byte_count,
    compile_forward,
    laid_out,
    name_of,
    tagged,
    twice,
)
from benchmarks.summary import geomean_of, worst_limit, worst_ratio

RESNET50 = (
    (16, 64, 112, 112),
    (8, 64, 56, 56),
    (16, 256, 56, 56),
    (8, 128, 28, 28),
    (8, 512, 28, 28),
    (32, 256, 14, 14),
    (8, 1024, 14, 14),
    (32, 512, 7, 7),
    (8, 2048, 7, 7),
)
CONVNEXT_T = ((32, 96, 56, 56), (8, 192, 28, 28), (8, 384, 14, 14), (8, 768, 7, 7))
TINY = ((2, 8, 2, 2), (8, 16, 4, 4), (32, 32, 8, 8), (64, 100))
# where a forward alone, a residual addition, bfloat16 and torch.compile are timed too
FORWARD = {*TINY, (16, 64, 112, 112), (8, 64, 56, 56), (8, 512, 28, 28), (8, 768, 7, 7)}
ADDED = {(16, 256, 56, 56), (8, 512, 28, 28), (32, 512, 7, 7)}
BFLOAT16 = {(16, 64, 112, 112), (8, 512, 28, 28), (32, 256, 14, 14)}
COMPILED = {(8, 64, 56, 56), (8, 512, 28, 28)}
QUICK = {(8, 16, 4, 4), (64, 100), (8, 384, 14, 14)}


def sweeps(layout: str, op: str, add: bool) -> int:
    """Count the tensor-sized reads and writes of the best known algorithm.

    A channel that fits into the cache needs one read and write forward, two reads and one write
    backward; in channels_last a channel's values lie apart, and statistics are a sweep of their
    own in each pass: 2 reads + 1 write, and 4 + 1.  ReLU is free; an addend is read forward, and
    its gradient written backward.
    """
    forward, step = (3, 8) if layout == "nhwc" else (2, 5)
    if op == "fwd":
        return forward + add
    return step + 2 * add


def _point(shape, layout: str, dtype: str, after: str, op: str) -> Point:
    words = [name_of(shape), layout, dtype, *([after] if after else []), op]
    tags = {"shape": list(shape), "layout": layout, "dtype": dtype, "after": after, "op": op}
    tags["tiny"] = shape in TINY
    size = byte_count(shape, dtype)
    compiled = shape in COMPILED and (dtype, after, op) == ("f32", "relu", "fwd+bwd")
    count = sweeps(layout, op, after == "add+relu")
    return Point(" ".join(words), tags, size, count, compiled, twice(size, dtype, op))


def _wanted(shape, dtype: str, after: str, op: str) -> bool:
    """Keep the list at a few minutes: full for fwd+bwd in float32, a selection of the rest."""
    if dtype == "bf16":
        return shape in BFLOAT16 and after != "add+relu" and op == "fwd+bwd"
    if after == "add+relu":
        return shape in ADDED and op == "fwd+bwd"
    return op == "fwd+bwd" or (shape in FORWARD and not (after and shape in TINY))


def points(quick: bool) -> list[Point]:
    """List the points; those that share their data and its float64 answer stand together."""
    found = []
    for shape in (*RESNET50, *CONVNEXT_T, *TINY):
        layouts = ("nchw", "nhwc") if len(shape) > 2 else ("nc",)
        inner = itertools.product(DTYPES, ("", "relu", "add+relu"), layouts, ("fwd", "fwd+bwd"))
        for dtype, after, layout, op in inner:
            if _wanted(shape, dtype, after, op) and (not quick or shape in QUICK):
                found.append(_point(shape, layout, dtype, after, op))
    return found


@lru_cache(maxsize=1)
def data(shape: tuple[int, ...], dtype: str, add: bool) -> dict[str, torch.Tensor]:
    """Draw input, upstream gradient, addend and parameters: the same for every contender."""
    generator = torch.Generator().manual_seed(0)

    def draw(*size):
        return torch.randn(*size, generator=generator)

    channels = (1, -1, *[1] * (len(shape) - 2))
    spread = torch.linspace(0.5, 2.0, shape[1]).view(channels)
    tensors = {
        "input": (draw(shape) * spread + draw(shape[1]).view(channels)).to(DTYPES[dtype]),
        "upstream": draw(shape).to(DTYPES[dtype]),
        "weight": 1 + 0.2 * draw(shape[1]),
        "bias": 0.5 * draw(shape[1]),
    }
    if add:
        tensors["add"] = draw(shape).to(DTYPES[dtype])
    return tensors


@lru_cache(maxsize=1)
def oracle(shape: tuple[int, ...], dtype: str, after: str) -> dict[str, torch.Tensor]:
    """Compute the step in float64 with torch's own layer, and the upstream gradient it used.

    That gradient is zero where a ReLU's sign depends on the precision.
    """
    tensors = {k: v.double() for k, v in data(shape, dtype, after == "add+relu").items()}
    layer = torch_layer(len(shape), tensors)
    steep = {"input": tensors["input"].requires_grad_(), **dict(layer.named_parameters())}
    before = layer(tensors["input"])
    if "add" in tensors:
        steep["add"] = tensors["add"].requires_grad_()
        before = before + tensors["add"]
    output = F.relu(before) if after else before
    if after:
        tensors["upstream"].mul_(before.detach().abs() > NEAR_ZERO[dtype])
    grads = torch.autograd.grad(output, list(steep.values()), tensors["upstream"])
    found = {f"{k} grad": g for k, g in zip(steep, grads, strict=True)}
    found |= {"output": output.detach(), **buffers(layer)}
    # it came from this precision, or is zero: the way back is exact
    return {**found, "upstream": tensors["upstream"].to(DTYPES[dtype])}


def buffers(layer) -> dict[str, torch.Tensor]:
    """Copy the running statistics."""
    return {n: getattr(layer, n).detach().clone() for n in ("running_mean", "running_var")}


def torch_layer(dims: int, tensors, make=None, **extras):
    """Build a layer (torch's unless ``make`` is given) with the case's parameters."""
    make = make or (torch.nn.BatchNorm1d if dims == 2 else torch.nn.BatchNorm2d)
    layer = make(tensors["weight"].numel(), dtype=tensors["weight"].dtype, **extras)
    with torch.no_grad():
        layer.weight.copy_(tensors["weight"])
        layer.bias.copy_(tensors["bias"])
    return layer


def our_layer(dims: int, tensors, after: str):
    """Build our layer, the activation fused."""
    from equipoise import nn

    make = nn.BatchNorm1d if dims == 2 else nn.BatchNorm2d
    return torch_layer(dims, tensors, make, **({"activation": "relu"} if after else {}))


class LayerStep(Step):
    """A step through a layer, whose buffers are looked at too."""

    def __init__(self, case: "BatchNormCase", layer, forward):
        names = ("input", *(["add"] if "add" in case.tensors else []))
        inputs = {n: case.tensors[n].detach().requires_grad_() for n in names}
        steep = {**inputs, "weight": layer.weight, "bias": layer.bias}
        self.layer = layer
        super().__init__(forward, [*inputs.values()], steep, case.tensors["upstream"], case.op)

    def probe(self) -> dict[str, Any]:
        """Run one call from fresh buffers and name its outputs."""
        self.layer.reset_running_stats()
        return {**super().probe(), **buffers(self.layer)}


class BatchNormCase(NormCase):
    """One point's layers."""

    def __init__(self, point: Point, compiled: bool):
        tags = point.tags
        self.shape, self.after, self.op = tuple(tags["shape"]), tags["after"], tags["op"]
        right = oracle(self.shape, tags["dtype"], self.after)
        flat = data(self.shape, tags["dtype"], self.after == "add+relu")
        flat = {**flat, "upstream": right["upstream"]}
        self.tensors = {k: laid_out(v, tags["layout"]) for k, v in flat.items()}
        super().__init__(point, right, compiled)

    def ours(self, compile: bool = False) -> Built:
        """Build our layer's step."""
        layer = our_layer(len(self.shape), self.tensors, self.after)
        forward = (lambda x, add: layer(x, add=add)) if "add" in self.tensors else layer
        return self._built(layer, forward, compile)

    def theirs(self, compile: bool = False) -> Built:
        """Build torch's step, written as ResNet writes it: the ReLU in place."""
        layer = torch_layer(len(self.shape), self.tensors)
        forwards = {
            "": layer,
            "relu": lambda x: F.relu(layer(x), inplace=True),
            "add+relu": lambda x, add: F.relu(layer(x).add_(add), inplace=True),
        }
        return self._built(layer, forwards[self.after], compile)

    def _built(self, layer, forward, compile: bool) -> Built:
        step = LayerStep(self, layer, compile_forward(forward) if compile else forward)
        return Built(step, step.probe)


def _step(tags) -> bool:
    return tags["op"] == "fwd+bwd" and tags["dtype"] == "f32"


def _layer(tags) -> bool:
    """Keep the networks' shapes: tiny ones have a group of their own, where overhead decides."""
    return _step(tags) and not tags["tiny"]


def _contiguous(tags) -> bool:
    return _layer(tags) and tags["layout"] != "nhwc"


def _relu(tags) -> bool:
    return _layer(tags) and tags["after"] == "relu"


BENCHMARK = Benchmark(
    name="batch_norm",
    title="batch_norm",
    notes=(
        "Training, float32 parameters, ReLU fused in ours and in place in torch's. Geometric means "
        "leave out the tiny shapes, which have their own line. The limit is sweeps x bytes at the "
        "copy bandwidth of the same run: nchw 2 forward and 5 forward + backward, nhwc 3 and 8, an "
        "addend 1 and 2 more; tensors that fit the cache may beat it. Errors are "
        "max|a-b|/max|b| against float64, the worst against its bar of all outputs."
    ),
    points=points,
    case=BatchNormCase,
    groups=(
        Group("fwd+bwd, contiguous", _contiguous),
        Group("fwd+bwd, channels_last", lambda t: _layer(t) and t["layout"] == "nhwc"),
        Group("fwd+bwd, both layouts", _layer),
        Group("fwd+bwd, no activation", lambda t: _layer(t) and not t["after"]),
        Group("fwd+bwd, ReLU", _relu),
        Group("fwd+bwd, add+ReLU", lambda t: _layer(t) and t["after"] == "add+relu"),
        Group("fwd+bwd, tiny", lambda t: _step(t) and t["tiny"]),
        Group("fwd, contiguous", tagged(op="fwd", layout="nchw", tiny=False)),
        Group("fwd, channels_last", tagged(op="fwd", layout="nhwc", tiny=False)),
        Group("fwd, tiny", tagged(op="fwd", tiny=True)),
        Group("fwd+bwd, bfloat16", tagged(op="fwd+bwd", dtype="bf16")),
    ),
    targets=(
        Target("never slower than eager torch", worst_ratio("torch", _step), 0.95),
        Target("contiguous, geometric mean", geomean_of("torch", _contiguous), 1.8),
        Target("both layouts, geometric mean", geomean_of("torch", _layer), 1.5),
        Target("with ReLU, geometric mean", geomean_of("torch", _relu), 2.0),
        Target("of the byte limit, 32 MB and more", worst_limit(_step, 32 * 10**6), 2.0, False),
    ),
)
