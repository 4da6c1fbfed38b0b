"""A step through a norm: what is timed, how it is checked, shared by the norms' benchmarks.

One call is a step through the norm in mid-network: the forward, and in "fwd+bwd" points
``torch.autograd.grad`` to every input and parameter under random upstream gradients (grad, not
``backward``: a layer inside a network hands its gradient on and accumulates none).
"""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import torch

from benchmarks.model import Built, Contender, Point

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


def name_of(shape) -> str:
    """Write a shape: ``8x197x768``."""
    return "x".join(map(str, shape))


def byte_count(shape, dtype: str) -> int:
    """Count the bytes of a tensor."""
    return DTYPES[dtype].itemsize * prod(shape)


def twice(size: int, dtype: str, op: str) -> bool:
    """Tell whether a point is worth a second look under the other malloc setting."""
    return size >= SECOND_MALLOC_BYTES and (dtype, op) == ("f32", "fwd+bwd")


def relative(found: torch.Tensor, right: torch.Tensor) -> float:
    """Give max|a - b| / max|b|."""
    apart = found.detach().double().contiguous().sub(right).abs_()
    return (apart.max() / right.abs().max()).item()


def laid_out(tensor: torch.Tensor, layout: str) -> torch.Tensor:
    """Lay an image's values out as ``layout`` says; parameters stay as they are."""
    if layout == "nhwc" and tensor.dim() == 4:
        return tensor.contiguous(memory_format=torch.channels_last)
    return tensor


def tagged(**wanted) -> Callable[[dict[str, Any]], bool]:
    """Build a filter on tags: ``tagged(op="fwd", layout="nchw")``."""
    return lambda tags: all(tags[k] == v for k, v in wanted.items())


class Step:
    """One contender's tensors: the call that is timed and the probe that is checked.

    ``forward`` takes ``inputs``; gradients go to ``steep``, by name, the input first.
    """

    def __init__(self, forward, inputs, steep: dict[str, torch.Tensor], upstream, op: str):
        self.forward, self.inputs, self.upstream = forward, inputs, upstream
        self.names, self.steep = list(steep), list(steep.values())
        self.train = op == "fwd+bwd"

    def __call__(self):
        outputs = self.forward(*self.inputs)
        if self.train:
            return outputs, torch.autograd.grad(outputs, self.steep, self.upstream)
        return outputs, ()

    def probe(self) -> dict[str, Any]:
        """Run one call and name its outputs."""
        outputs, grads = self()
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        found = {f"{n} grad": g for n, g in zip(self.names, grads, strict=self.train)}
        found |= zip(("output", "sum"), (t.detach() for t in outputs), strict=False)
        same = [t.stride() == self.inputs[0].stride() for t in (*outputs, *grads[:1])]
        return {**found, "memory format": all(same)}


def compile_forward(forward):
    """Compile a forward for its own shapes."""
    # points share code objects, and their graphs would add up to the recompile limit
    torch.compiler.reset()
    return torch.compile(forward, fullgraph=True, dynamic=False)


class NormCase:
    """One point's contenders and bars: a subclass builds ``ours`` and ``theirs``.

    ``right`` holds the float64 answers by the names of a probe, as contiguous tensors.
    """

    def __init__(self, point: Point, right: dict[str, torch.Tensor], compiled: bool):
        self.dtype, self.right = point.tags["dtype"], right
        self.contenders: Sequence[Contender] = [
            Contender("ours", "ours", self.ours, required=True),
            Contender("torch", "peer", self.theirs),
            *(self._compiled() if compiled else []),
        ]

    def ours(self, compile: bool = False) -> Built:
        """Build our step."""
        raise NotImplementedError

    def theirs(self, compile: bool = False) -> Built:
        """Build torch's step."""
        raise NotImplementedError

    def _compiled(self) -> list[Contender]:
        def late(name, role, build):
            return Contender(name, role, build, "ours compiled", every_thread_count=False)

        return [
            late("ours compiled", "ours", lambda: self.ours(compile=True)),
            late("torch compiled", "peer", lambda: self.theirs(compile=True)),
        ]

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
            outputs.pop("memory format", None)
            self._yardstick = {n: relative(v, self.right[n]) for n, v in outputs.items()}
        return self._yardstick
