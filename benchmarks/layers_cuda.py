"""All norms on a GPU against torch eager and compiled, and liger-kernel and quack-kernels.

``equipoise bench layers --device cuda``.  The points of `layers` and larger ones, each call with
its wait for the GPU; the limit is a copy of as many bytes as the best algorithm moves.
"""

from collections.abc import Callable
from typing import Any

import torch

from benchmarks import layers
from benchmarks.layers import BENCHMARK as ON_CPU
from benchmarks.layers import EPS, GROUPS, RESIDUAL, LayersCase, Spot
from benchmarks.model import Benchmark, Built, Contender, Group, Point, Target
from benchmarks.summary import geomean_of, worst_limit, worst_ratio

DEVICE = "cuda"
LARGE = 64 * 10**6
# rows from Llama's to the longest, images of ResNet-50 and U-Net in large batches
SPOTS = (
    *(Spot("rms_norm", shape, after, "bf16 compiled")
      for shape in ((16384, 4096), (4096, 16384), (1024, 65536), (256, 262144))
      for after in ("", RESIDUAL)),
    Spot("layer_norm", (16384, 4096), "", "bf16 compiled"),
    Spot("layer_norm", (16384, 4096), "gelu", "bf16"),
    Spot("group_norm", (16, 320, 64, 64), "silu", "bf16 compiled"),
    Spot("batch_norm", (64, 256, 56, 56), "relu", "compiled"),
)  # fmt: skip


def points(quick: bool) -> list[Point]:
    """List the points of `layers`, and without ``quick`` the large ones after them."""
    large = [
        layers._point(spot, layout, dtype, op)
        for spot in SPOTS
        for dtype, op in layers._kinds(spot.extra + " fwd")
        for layout in (("",) if spot.norm in ("layer_norm", "rms_norm") else layers.IMAGES)
    ]
    return ON_CPU.points(quick) + ([] if quick else large)


def _wait() -> None:
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def _waiting(call: Callable[[], Any]) -> Callable[[], Any]:
    """Have a call last until the GPU is done."""

    def run():
        found = call()
        _wait()
        return found

    return run


def liger_forward(norm: str, after: str) -> Callable[..., Any]:
    """Give liger-kernel's forward of a norm."""
    from liger_kernel.transformers import functional as liger  # type: ignore[import-not-found]

    if norm == "rms_norm" and after == RESIDUAL:
        return lambda x, r, w: liger.liger_fused_add_rms_norm(x, r, w, EPS)
    return {
        ("rms_norm", ""): lambda x, w: liger.liger_rms_norm(x, w, EPS, in_place=False),
        ("layer_norm", ""): lambda x, w, b: liger.liger_layer_norm(x, w, b, EPS),
        ("group_norm", ""): lambda x, w, b: liger.liger_group_norm(
            x, w, b, x.shape[1], GROUPS, EPS
        ),
    }[norm, after]


def quack_forward(norm: str, after: str) -> Callable[..., Any]:
    """Give quack-kernels' forward of a norm."""
    from quack import rmsnorm  # type: ignore[import-not-found]

    return {
        ("rms_norm", ""): lambda x, w: rmsnorm(x, w, eps=EPS),
        ("rms_norm", RESIDUAL): lambda x, r, w: rmsnorm(x, w, residual=r, eps=EPS, prenorm=True),
    }[norm, after]


class CudaCase(LayersCase):
    """One point's functions and tensors on the GPU."""

    def __init__(self, point: Point, compiled: bool):
        super().__init__(point, compiled)
        self.tensors = {k: v.to(DEVICE) for k, v in self.tensors.items()}
        self.moved = int(point.bytes * point.sweeps)
        norm, _, after = self.what
        forwards = {"liger": liger_forward, "quack": quack_forward}
        self.contenders = [
            *self.contenders,
            Contender("copy", "limit", self._copy),
            *(
                Contender(name, "peer", lambda f=forward: self._built(f(norm, after), False))
                for name, forward in forwards.items()
            ),
        ]

    def ours(self, compile: bool = False) -> Built:
        """Build our step, its running buffers on the GPU."""
        with torch.device(DEVICE):
            return super().ours(compile)

    def theirs(self, compile: bool = False) -> Built:
        """Build torch's step, its running buffers on the GPU."""
        with torch.device(DEVICE):
            return super().theirs(compile)

    def _copy(self) -> Built:
        source = torch.empty(self.moved // 2, dtype=torch.uint8, device=DEVICE)
        target = torch.empty_like(source)
        return Built(_waiting(lambda: target.copy_(source)), lambda: {"memory format": True})

    def _built(self, forward, compile: bool) -> Built:
        built = super()._built(forward, compile)

        def probe():
            found = built.probe()
            return {k: v.cpu() if torch.is_tensor(v) else v for k, v in found.items()}

        return Built(_waiting(built.call), probe)


def _large(tags) -> bool:
    return layers.byte_count(tags["shape"], tags["dtype"]) >= LARGE


def _every(tags) -> bool:
    return True


PEERS = ("torch", "torch compiled", "liger")
BENCHMARK = Benchmark(
    name="layers_cuda",
    title="layers on a GPU",
    notes=ON_CPU.notes.split("The limit is", 1)[0]
    + (
        "Each call waits for the GPU. The limit is a copy that moves as many bytes as the best "
        "algorithm, timed beside the contenders. Peers that have no such norm are failed entries."
    ),
    points=points,
    case=CudaCase,
    groups=(
        *(g for g in ON_CPU.groups if g.label != "all points"),
        Group("64 MB and more", _large),
        Group("all points", _every),
    ),
    targets=(
        *(Target(f"never slower than {p}", worst_ratio(p, _every), 1.0) for p in PEERS),
        Target("quack, geometric mean", geomean_of("quack", _every), 0.9),
        Target("of the byte limit, 64 MB and more", worst_limit(_every, LARGE), 1 / 0.9, False),
    ),
    copy_limit=False,
)
