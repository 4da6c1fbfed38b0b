"""Machine code for sweeps: made in milliseconds on first use, and kept on disk."""

from functools import cache
from typing import Any

import llvmlite.binding as llvm
import torch

from equipoise.ops import cache as disk
from equipoise.ops.sweep import machine
from equipoise.ops.sweep.sweep import Sweep, emit


def _optimised(text: str, target) -> Any:
    module = machine.parsed(text, target)
    # strips are unrolled already: all that is left is to tidy up
    tuning = llvm.create_pipeline_tuning_options(speed_level=2)
    tuning.loop_unrolling = False
    passes = llvm.create_pass_builder(target, tuning)
    passes.getModulePassManager().run(module, passes)
    return module


def assembly(sweep: Sweep, dtype: torch.dtype, streaming: bool = False, block: int = 1) -> str:
    """Give a sweep's assembly, to be read."""
    target = machine.target_machine()
    return target.emit_assembly(_optimised(emit(sweep, dtype, streaming, block), target))


@cache
def _compiled(sweep: Sweep, dtype: torch.dtype, streaming: bool, block: int) -> int:
    text = emit(sweep, dtype, streaming, block)

    def make(target):
        return target.emit_object(_optimised(text, target))

    return machine.load("sweep", text, make, disk.folder())


def address(sweep: Sweep, dtype: torch.dtype, streaming: bool = False, block: int = 1) -> int:
    """Give the address of a sweep's C function for tensors of a dtype.

    ``streaming`` writes past the caches, which takes no read of what is overwritten; every row
    must begin at a multiple of 64 bytes.  ``block`` rows at a time are taken along axis 0.
    """
    return _compiled(sweep, dtype, streaming, block)
