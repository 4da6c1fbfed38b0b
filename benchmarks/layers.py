"""All norms against torch: the shapes of ViT-B, ConvNeXt-T, Llama, U-Net and style transfer.

The functions are timed, not the layers: ``equipoise.functional`` and ``torch.nn.functional`` take
the same arguments, and what follows or precedes the norm is fused in ours and written out in
torch's, as models write it.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch.nn import functional as F

from benchmarks import batch_norm
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
from benchmarks.summary import geomean_of, lowest_ratio, worst_limit, worst_ratio

EPS, GROUPS = 1e-6, 32
IMAGES = ("nchw", "nhwc")
RESIDUAL = "residual"


class Spot(NamedTuple):
    """A norm at a shape: what it is fused with, and what is timed beside float32 fwd+bwd.

    ``extra`` names any of "fwd", "bf16", "compiled", "quick" and "tiny".
    """

    norm: str
    shape: tuple[int, ...]
    after: str = ""
    extra: str = ""


VIT, CONVNEXT, UNET = (8, 197, 768), (32, 56, 56, 96), (4, 320, 64, 64)
STYLE, IMAGE = (8, 64, 56, 56), (32, 96, 56, 56)
# spots of one norm and shape share their data and stand together
SPOTS = (
    Spot("layer_norm", VIT, "", "fwd bf16 compiled"),
    Spot("layer_norm", VIT, "gelu", "compiled"),
    Spot("layer_norm", VIT, RESIDUAL),
    Spot("layer_norm", CONVNEXT),
    Spot("layer_norm", (8, 14, 14, 384), "", "quick"),
    Spot("layer_norm", (1024, 4096), "", "fwd bf16"),
    Spot("layer_norm", (2, 16, 64), "", "fwd tiny quick"),
    Spot("layer_norm_2d", IMAGE, "", "fwd compiled"),
    Spot("layer_norm_2d", (8, 384, 14, 14), "", "bf16"),
    Spot("rms_norm", VIT, "", "compiled"),
    Spot("rms_norm", (1024, 4096), "", "bf16"),
    Spot("rms_norm", (1024, 4096), RESIDUAL, "fwd bf16 compiled"),
    Spot("rms_norm", (256, 8192)),
    Spot("rms_norm", (256, 8192), RESIDUAL),
    Spot("rms_norm", (4096, 4096)),
    Spot("rms_norm", (4, 64), "", "fwd tiny quick"),
    Spot("rms_norm", (4, 64), RESIDUAL, "tiny quick"),
    Spot("group_norm", UNET),
    Spot("group_norm", UNET, "silu", "fwd"),
    Spot("group_norm", (2, 640, 32, 32)),
    Spot("group_norm", (2, 640, 32, 32), "silu", "bf16 compiled"),
    Spot("group_norm", (4, 1280, 16, 16)),
    Spot("group_norm", (4, 1280, 16, 16), "silu"),
    Spot("group_norm", (2, 64, 4, 4), "", "fwd tiny quick"),
    Spot("instance_norm", STYLE, "", "fwd bf16 compiled"),
    Spot("instance_norm", (8, 64, 128, 128)),
    Spot("instance_norm", (2, 8, 4, 4), "", "fwd tiny quick"),
    Spot("batch_norm", STYLE, "relu"),
    Spot("batch_norm", (8, 16, 4, 4), "relu", "tiny quick"),
)


def sweeps(norm: str, layout: str, after: str, op: str) -> int:
    """Count the tensor-sized reads and writes of the best known algorithm.

    A row, a group or a sample that fits into the cache needs one read and write forward, two
    reads and one write backward, in either layout; BatchNorm has the counts of its own benchmark.
    A residual is read and the sum written forward, and the sum's gradient read backward.
    """
    if norm == "batch_norm":
        return batch_norm.sweeps(layout, op, False)
    added = after == RESIDUAL
    return 2 + 2 * added if op == "fwd" else 5 + 3 * added


def _point(spot: Spot, layout: str, dtype: str, op: str) -> Point:
    norm, shape, after, extra = spot
    words = [norm, name_of(shape), layout, dtype, after, op]
    tags = {"norm": norm, "shape": list(shape), "layout": layout, "dtype": dtype}
    tags |= {"after": after, "op": op, "tiny": "tiny" in extra.split()}
    size, count = byte_count(shape, dtype), sweeps(norm, layout, after, op)
    compiled = "compiled" in extra.split() and (dtype, op) == ("f32", "fwd+bwd")
    name = " ".join(word for word in words if word)
    return Point(name, tags, size, count, compiled, twice(size, dtype, op))


def _kinds(extra: str) -> Iterator[tuple[str, str]]:
    """Give the dtypes and ops of a spot: the list stays at a few minutes."""
    if "fwd" in extra.split():
        yield "f32", "fwd"
    yield "f32", "fwd+bwd"
    if "bf16" in extra.split():
        yield "bf16", "fwd+bwd"


def points(quick: bool) -> list[Point]:
    """List the points; those that share their data and its float64 answer stand together."""
    return [
        _point(spot, layout, dtype, op)
        for spot in SPOTS
        for dtype, op in _kinds(spot.extra)
        for layout in (("",) if spot.norm in ("layer_norm", "rms_norm") else IMAGES)
        if not quick or "quick" in spot.extra.split()
    ]


@lru_cache(maxsize=1)
def data(norm: str, shape: tuple[int, ...], dtype: str, after: str) -> dict[str, torch.Tensor]:
    """Draw what a step takes, by name, and its upstream gradients: the same for all contenders."""
    generator = torch.Generator().manual_seed(0)

    def draw(*size):
        return torch.randn(*size, generator=generator)

    axis = -1 if norm in ("layer_norm", "rms_norm") else 1
    width = shape[axis]
    channels = [1] * len(shape)
    channels[axis] = width
    spread = torch.linspace(0.5, 2.0, width).view(channels)
    tensors = {"input": draw(shape) * spread + draw(width).view(channels)}
    if after == RESIDUAL:
        tensors |= {"residual": draw(shape), "upstream sum": draw(shape)}
    tensors |= {"weight": 1 + 0.2 * draw(width), "upstream": draw(shape)}
    if norm != "rms_norm":
        tensors["bias"] = 0.5 * draw(width)
    return {name: tensor.to(DTYPES[dtype]) for name, tensor in tensors.items()}


def _steep(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Keep what has a gradient, in the order in which a forward takes it."""
    names = ("input", "residual", "weight", "bias")
    return {n: tensors[n].detach().requires_grad_() for n in names if n in tensors}


def _step(forward, tensors: dict[str, torch.Tensor], op: str) -> Step:
    """Make the step of a forward; the sum, where there is one, has a gradient of its own."""
    steep = _steep(tensors)
    upstream = [tensors[n] for n in ("upstream", "upstream sum") if n in tensors]
    return Step(forward, [*steep.values()], steep, upstream, op)


def bare(functional, norm: str, shape, dtype=torch.float32) -> Callable[..., Any]:
    """Give the norm of a module with torch's signatures, of (input, weight[, bias], extras)."""
    channels = shape[1]
    running = torch.zeros(channels, dtype=dtype), torch.ones(channels, dtype=dtype)
    call = getattr(functional, norm.removesuffix("_2d"))

    def over_channels(x, w, b, **extras):
        return call(x.permute(0, 2, 3, 1), shape[1:2], w, b, EPS, **extras).permute(0, 3, 1, 2)

    return {
        "layer_norm_2d": over_channels,
        "layer_norm": lambda x, w, b, **extras: call(x, shape[-1:], w, b, EPS, **extras),
        "rms_norm": lambda x, w, **extras: call(x, shape[-1:], w, EPS, **extras),
        "group_norm": lambda x, w, b, **extras: call(x, GROUPS, w, b, EPS, **extras),
        "instance_norm": lambda x, w, b, **extras: call(
            x, None, None, w, b, True, 0.1, EPS, **extras
        ),
        "batch_norm": lambda x, w, b, **extras: call(x, *running, w, b, True, 0.1, EPS, **extras),
    }[norm]


def our_forward(norm: str, shape, after: str) -> Callable[..., Any]:
    """Give our step's forward, all in one call."""
    from equipoise import functional

    found = bare(functional, norm, shape)
    if after == RESIDUAL:
        return lambda x, r, *p: found(x, *p, residual=r, return_residual=True)
    return (lambda x, *p: found(x, *p, activation=after)) if after else found


def torch_forward(norm: str, shape, after: str, dtype=torch.float32) -> Callable[..., Any]:
    """Give torch's step's forward, as models write it: only the ReLU in place."""
    found = bare(F, norm, shape, dtype)

    def residual(x, r, *parameters):
        total = x + r
        return found(total, *parameters), total

    return {
        "": found,
        RESIDUAL: residual,
        "relu": lambda *args: F.relu(found(*args), inplace=True),
        "gelu": lambda *args: F.gelu(found(*args)),
        "silu": lambda *args: F.silu(found(*args)),
    }[after]


@lru_cache(maxsize=1)
def oracle(norm: str, shape: tuple[int, ...], dtype: str, after: str) -> dict[str, torch.Tensor]:
    """Compute the step in float64 with torch, and the upstream gradient it used.

    That gradient is zero where a ReLU's sign depends on the precision.
    """
    tensors = {k: v.double() for k, v in data(norm, shape, dtype, after).items()}
    if after == "relu":
        before = torch_forward(norm, shape, "", torch.float64)(*_steep(tensors).values())
        tensors["upstream"].mul_(before.detach().abs() > NEAR_ZERO[dtype])
    forward = torch_forward(norm, shape, after, torch.float64)
    found = _step(forward, tensors, "fwd+bwd").probe()
    # it came from this precision, or is zero: the way back is exact
    return {**found, "upstream": tensors["upstream"].to(DTYPES[dtype])}


class LayersCase(NormCase):
    """One point's functions and tensors."""

    def __init__(self, point: Point, compiled: bool):
        tags = point.tags
        self.what = tags["norm"], tuple(tags["shape"]), tags["after"]
        self.op = tags["op"]
        key = (*self.what[:2], tags["dtype"], tags["after"])
        right = oracle(*key)
        flat = {**data(*key), "upstream": right["upstream"]}
        self.tensors = {k: laid_out(v, tags["layout"]) for k, v in flat.items()}
        super().__init__(point, right, compiled)

    def ours(self, compile: bool = False) -> Built:
        """Build our step."""
        return self._built(our_forward(*self.what), compile)

    def theirs(self, compile: bool = False) -> Built:
        """Build torch's step; where its layout is another, that is no error of its values."""
        call, probe = self._built(torch_forward(*self.what), compile)
        return Built(call, lambda: {k: v for k, v in probe().items() if k != "memory format"})

    def _built(self, forward, compile: bool) -> Built:
        forward = compile_forward(forward) if compile else forward
        step = _step(forward, self.tensors, self.op)
        return Built(step, step.probe)


def _trained(tags) -> bool:
    """Keep the networks' shapes: tiny ones have a group of their own, where overhead decides."""
    return tags["op"] == "fwd+bwd" and not tags["tiny"]


def _of(norm: str, **wanted) -> Callable[[dict[str, Any]], bool]:
    """Build a filter: a norm's training steps at the networks' shapes."""
    where = tagged(norm=norm, **wanted)
    return lambda tags: _trained(tags) and where(tags)


def _rms(tags) -> bool:
    return _trained(tags) and tags["norm"] == "rms_norm"


def _channels_last(tags) -> bool:
    per_sample = tags["norm"] in ("group_norm", "instance_norm")
    return _trained(tags) and per_sample and tags["layout"] == "nhwc"


def _activated(tags) -> bool:
    return _trained(tags) and tags["after"] not in ("", RESIDUAL)


def _every(tags) -> bool:
    return True


def _targets(label: str, value, eager: float, compiled: float) -> tuple[Target, Target]:
    """Set a bar against torch eager, and another for ours compiled against torch compiled."""
    return (
        Target(label, value("torch"), eager),
        Target(f"{label}, compiled", value("torch compiled"), compiled),
    )


BENCHMARK = Benchmark(
    name="layers",
    title="layers",
    notes=(
        "equipoise.functional against torch.nn.functional, parameters of the input's dtype. What "
        "follows the norm is fused in ours and written out in torch's; *residual* is added before "
        "the norm, and the sum is given back and has a gradient. GroupNorm has 32 groups; "
        "LayerNorm's and RMSNorm's inputs are contiguous; layer_norm_2d is layer_norm over the "
        "channels of an image, whose axis both move by a view. Groups are of forward + backward "
        "unless they say otherwise, and leave out the tiny shapes, which have their own lines. The "
        "limit is sweeps x bytes at the copy bandwidth of the same run: 2 forward and 5 forward + "
        "backward, with a residual 4 and 8, batch_norm nhwc 3 and 8; tensors that fit the cache "
        "may beat it. Errors are max|a-b|/max|b| against float64, the worst against its bar of "
        "all outputs."
    ),
    points=points,
    case=LayersCase,
    groups=(
        Group("LayerNorm", _of("layer_norm", after="")),
        Group("LayerNorm + GELU", _of("layer_norm", after="gelu")),
        Group("add + LayerNorm", _of("layer_norm", after=RESIDUAL)),
        Group("LayerNorm2d, contiguous", _of("layer_norm_2d", layout="nchw")),
        Group("LayerNorm2d, channels_last", _of("layer_norm_2d", layout="nhwc")),
        Group("RMSNorm", _of("rms_norm", after="")),
        Group("add + RMSNorm", _of("rms_norm", after=RESIDUAL)),
        Group("GroupNorm, contiguous", _of("group_norm", after="", layout="nchw")),
        Group("GroupNorm, channels_last", _of("group_norm", after="", layout="nhwc")),
        Group("GroupNorm + SiLU, contiguous", _of("group_norm", after="silu", layout="nchw")),
        Group("GroupNorm + SiLU, channels_last", _of("group_norm", after="silu", layout="nhwc")),
        Group("InstanceNorm, contiguous", _of("instance_norm", layout="nchw")),
        Group("InstanceNorm, channels_last", _of("instance_norm", layout="nhwc")),
        Group("BatchNorm + ReLU", _of("batch_norm")),
        Group("all, fwd+bwd", _trained),
        Group("all, fwd+bwd, bfloat16", lambda t: _trained(t) and t["dtype"] == "bf16"),
        Group("all, fwd", tagged(op="fwd", tiny=False)),
        Group("tiny, fwd+bwd", tagged(op="fwd+bwd", tiny=True)),
        Group("tiny, fwd", tagged(op="fwd", tiny=True)),
        Group("all points", _every),
    ),
    targets=(
        *_targets("never slower", lambda peer: worst_ratio(peer, _every), 0.95, 1.0),
        *_targets(
            "RMSNorm, add + RMSNorm, every fwd+bwd", lambda peer: lowest_ratio(peer, _rms), 4.0, 1.2
        ),
        *_targets(
            "GroupNorm, InstanceNorm, channels_last, every fwd+bwd",
            lambda peer: lowest_ratio(peer, _channels_last),
            4.0,
            2.0,
        ),
        *_targets(
            "with activation, fwd+bwd, geometric mean",
            lambda peer: geomean_of(peer, _activated),
            2.0,
            1.2,
        ),
        *_targets("all points, geometric mean", lambda peer: geomean_of(peer, _every), 2.0, 1.5),
        Target("of the byte limit, 32 MB and more", worst_limit(_every, 32 * 10**6), 1.6, False),
    ),
)
