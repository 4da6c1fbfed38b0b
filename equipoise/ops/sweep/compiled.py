"""Machine code for sweeps: made in milliseconds on first use, and kept on disk."""

import hashlib
import os
import tempfile
import threading
from contextlib import suppress
from functools import cache
from typing import Any

import llvmlite
import llvmlite.binding as llvm
import torch

from equipoise.ops import jit
from equipoise.ops.sweep.sweep import Sweep, emit

# bytes of the checksum at the end of a file on disk
SEAL = 32

_engines: list[Any] = []
_lock = threading.Lock()


@cache
def _target() -> Any:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.Target.from_default_triple()


@cache
def _processor() -> tuple[str, str]:
    return llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()


def _machine() -> Any:
    cpu, features = _processor()
    return _target().create_target_machine(cpu=cpu, features=features, opt=3, jit=True)


def _optimised(text: str, machine) -> Any:
    module = llvm.parse_assembly(text)
    module.triple, module.data_layout = machine.triple, str(machine.target_data)
    # strips are unrolled already: all that is left is to tidy up
    tuning = llvm.create_pipeline_tuning_options(speed_level=2)
    tuning.loop_unrolling = False
    passes = llvm.create_pass_builder(machine, tuning)
    passes.getModulePassManager().run(module, passes)
    return module


def assembly(sweep: Sweep, dtype: torch.dtype, streaming: bool = False, block: int = 1) -> str:
    """Give a sweep's assembly, to be read."""
    machine = _machine()
    return machine.emit_assembly(_optimised(emit(sweep, dtype, streaming, block), machine))


def _object(text: str) -> bytes:
    """Give the object file of a module, from disk where it has been compiled before."""
    home = jit.cache_folder()
    path = None
    if home is not None:
        key = "\n".join((text, *_processor(), llvmlite.__version__))
        path = os.path.join(home, f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.o")
        try:
            with open(path, "rb") as file:
                found = file.read()
        except OSError:
            found = b""
        code, seal = found[:-SEAL], found[-SEAL:]
        # a damaged object file would take the process down with it
        if code and hashlib.sha256(code).digest() == seal:
            return code
    machine = _machine()
    code = machine.emit_object(_optimised(text, machine))
    if path is not None:
        _keep(code, path)
    return code


def _keep(code: bytes, path: str) -> None:
    # written aside and moved: another process never reads half of it
    name = None
    try:
        handle, name = tempfile.mkstemp(dir=os.path.dirname(path))
        with os.fdopen(handle, "wb") as file:
            file.write(code + hashlib.sha256(code).digest())
        os.replace(name, path)
    except OSError:
        if name is not None:
            with suppress(OSError):
                os.unlink(name)


@cache
def _compiled(sweep: Sweep, dtype: torch.dtype, streaming: bool, block: int) -> int:
    with _lock:
        _target()
        code = _object(emit(sweep, dtype, streaming, block))
        engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _machine())
        engine.add_object_file(llvm.ObjectFileRef.from_data(code))
        engine.finalize_object()
        _engines.append(engine)
        return engine.get_function_address("sweep")


def address(sweep: Sweep, dtype: torch.dtype, streaming: bool = False, block: int = 1) -> int:
    """Give the address of a sweep's C function for tensors of a dtype.

    ``streaming`` writes past the caches, which takes no read of what is overwritten; every row
    must begin at a multiple of 64 bytes.  ``block`` rows at a time are taken along axis 0.
    """
    return _compiled(sweep, dtype, streaming, block)
