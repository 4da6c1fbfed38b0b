"""BatchNorm in training against torch: the shapes of ResNet-50 and ConvNeXt-T, and tiny ones.

One call is a step through the layer in mid-network: the forward, and in "fwd+bwd" points
``torch.autograd.grad`` to input, parameters and addend under a random upstream gradient (grad,
not ``backward``: a layer inside a network hands its gradient on and accumulates none).
"""

import itertools
from functools import lru_cache
from typing import Any

import torch
from torch.nn import functional as F

from benchmarks.model import Benchmark, Built, Contender, Group, Point, Target
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

# smaller outputs come from memory that glibc keeps in any setting
SECOND_MALLOC_BYTES = 4 * 2**20

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}
# output and input gradient: the design's bar; sums over the batch end in float32 parameters
FLOAT32_BAR = {"output": 2e-6, "input grad": 2e-6}
OTHER_BAR = 1e-5
# half precision: twice what torch loses in the same precision, and half a unit of rounding
BFLOAT16_FLOOR = 2.0**-9
# so close to zero a ReLU may open in one precision and stay shut in another, and one element
# moves its channel's sums by more than the bar: no gradient arrives there
NEAR_ZERO = {"f32": 1e-4, "bf16": 3e-2}


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
    words = ["x".join(map(str, shape)), layout, dtype, *([after] if after else []), op]
    tags = {"shape": list(shape), "layout": layout, "dtype": dtype, "after": after, "op": op}
    tags["tiny"] = shape in TINY
    size = DTYPES[dtype].itemsize
    for n in shape:
        size *= n
    compiled = shape in COMPILED and (dtype, after, op) == ("f32", "relu", "fwd+bwd")
    add = after == "add+relu"
    second = size >= SECOND_MALLOC_BYTES and (dtype, op) == ("f32", "fwd+bwd")
    return Point(" ".join(words), tags, size, sweeps(layout, op, add), compiled, second)


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


def relative(found: torch.Tensor, right: torch.Tensor) -> float:
    """Give max|a - b| / max|b|."""
    apart = found.detach().double().contiguous().sub(right).abs_()
    return (apart.max() / right.abs().max()).item()


class Step:
    """One contender's layer and tensors: the call that is timed and the probe that is checked."""

    def __init__(self, case: "BatchNormCase", layer, forward):
        self.layer, self.forward, self.train = layer, forward, case.op == "fwd+bwd"
        names = [*(["add"] if case.after == "add+relu" else [])]
        self.inputs = [case.tensors[n].detach().requires_grad_() for n in ("input", *names)]
        self.upstream = case.tensors["upstream"]
        self.steep = [*self.inputs, layer.weight, layer.bias]
        self.names = ["input", *names, "weight", "bias"]

    def __call__(self):
        output = self.forward(*self.inputs)
        if self.train:
            return output, torch.autograd.grad(output, self.steep, self.upstream)
        return output, ()

    def probe(self) -> dict[str, Any]:
        """Run one call from fresh buffers and name its outputs."""
        self.layer.reset_running_stats()
        output, grads = self()
        found = {f"{n} grad": g for n, g in zip(self.names, grads, strict=self.train)}
        found |= {"output": output.detach(), **buffers(self.layer)}
        same = [t.stride() == self.inputs[0].stride() for t in (output, *grads[:1])]
        return {**found, "memory format": all(same)}


class BatchNormCase:
    """One point's tensors, contenders and bars."""

    def __init__(self, point: Point, compiled: bool):
        tags = point.tags
        self.shape, self.dtype = tuple(tags["shape"]), tags["dtype"]
        self.after, self.op = tags["after"], tags["op"]
        self.right = oracle(self.shape, self.dtype, self.after)
        flat = data(self.shape, self.dtype, self.after == "add+relu")
        flat = {**flat, "upstream": self.right["upstream"]}
        self.tensors = {k: _laid_out(v, tags["layout"]) for k, v in flat.items()}
        self.contenders = [
            Contender("ours", "ours", self.ours, required=True),
            Contender("torch", "peer", self.theirs),
        ]
        if compiled:
            self.contenders += self._compiled()

    def _compiled(self) -> list[Contender]:
        def late(name, role, build):
            return Contender(name, role, build, "ours compiled", every_thread_count=False)

        return [
            late("ours compiled", "ours", lambda: self.ours(compile=True)),
            late("torch compiled", "peer", lambda: self.theirs(compile=True)),
        ]

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
        if compile:
            # points share code objects, and their graphs would add up to the recompile limit
            torch.compiler.reset()
            forward = torch.compile(forward, fullgraph=True, dynamic=False)
        step = Step(self, layer, forward)
        return Built(step, step.probe)

    def errors(self, outputs: dict[str, Any]) -> dict[str, tuple[float, float]]:
        """Measure each output against float64."""
        found = {}
        for name, value in outputs.items():
            if name == "memory format":
                found[name] = (float(not value), 0.5)
            else:
                found[name] = (relative(value, self.right[name]), self._bar(name))
        return found

    def _bar(self, name: str) -> float:
        if self.dtype == "f32":
            return FLOAT32_BAR.get(name, OTHER_BAR)
        return 2 * self._torch_errors().get(name, 0.0) + BFLOAT16_FLOOR

    def _torch_errors(self) -> dict[str, float]:
        """Measure what torch loses in the same precision; that is the yardstick for ours."""
        if not hasattr(self, "_yardstick"):
            outputs = self.theirs().probe()
            outputs.pop("memory format")
            self._yardstick = {n: relative(v, self.right[n]) for n, v in outputs.items()}
        return self._yardstick


def _laid_out(tensor: torch.Tensor, layout: str) -> torch.Tensor:
    if layout == "nhwc" and tensor.dim() == 4:
        return tensor.contiguous(memory_format=torch.channels_last)
    return tensor


def _is(**wanted):
    """Build a filter on tags: ``_is(op="fwd", layout="nchw")``."""
    return lambda tags: all(tags[k] == v for k, v in wanted.items())


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
        Group("fwd, contiguous", _is(op="fwd", layout="nchw", tiny=False)),
        Group("fwd, channels_last", _is(op="fwd", layout="nhwc", tiny=False)),
        Group("fwd, tiny", _is(op="fwd", tiny=True)),
        Group("fwd+bwd, bfloat16", _is(op="fwd+bwd", dtype="bf16")),
    ),
    targets=(
        Target("never slower than eager torch", worst_ratio("torch", _step), 0.95),
        Target("contiguous, geometric mean", geomean_of("torch", _contiguous), 1.8),
        Target("both layouts, geometric mean", geomean_of("torch", _layer), 1.5),
        Target("with ReLU, geometric mean", geomean_of("torch", _relu), 2.0),
        Target("of the byte limit, 32 MB and more", worst_limit(_step, 32 * 10**6), 2.0, False),
    ),
)
