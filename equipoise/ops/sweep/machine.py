"""Machine code of LLVM's text: made once, kept on disk, loaded in milliseconds."""

import hashlib
import os
import threading
from collections.abc import Callable
from functools import cache
from typing import Any

import llvmlite
import llvmlite.binding as llvm

from equipoise.ops import cache as disk

_engines: list[Any] = []
_lock = threading.Lock()


@cache
def _target() -> Any:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    llvm.initialize_native_asmparser()
    return llvm.Target.from_default_triple()


@cache
def processor() -> tuple[str, str]:
    """Name the processor that code is made for, and its features."""
    return llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()


def rounds_to_bfloat16() -> bool:
    """Tell whether the processor rounds vectors of float32 to bfloat16 by itself."""
    return "+avx512bf16" in processor()[1]


def target_machine() -> Any:
    """Give LLVM's description of this machine."""
    cpu, features = processor()
    return _target().create_target_machine(cpu=cpu, features=features, opt=3, jit=True)


def load(name: str, key: str, make: Callable[[Any], bytes], folder: str | None) -> int:
    """Give the address of function ``name`` in the object file of ``key``.

    It is read from ``folder``, where it has been made before for this processor, else ``make``
    makes it for a target machine.
    """
    with _lock:
        disk.announce()
        _target()
        code = _object(key, make, folder)
        engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), target_machine())
        engine.add_object_file(llvm.ObjectFileRef.from_data(code))
        engine.finalize_object()
        _engines.append(engine)
        return engine.get_function_address(name)


def _object(key: str, make: Callable[[Any], bytes], folder: str | None) -> bytes:
    path = None
    if folder is not None:
        key = "\n".join((key, *processor(), llvmlite.__version__))
        path = os.path.join(folder, f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.o")
        code = disk.read(path)
        if code is not None:
            return code
    code = make(target_machine())
    if path is not None:
        disk.keep(code, path)
    return code


def parsed(text: str, machine) -> Any:
    """Read LLVM's text as a module for a target machine."""
    module = llvm.parse_assembly(text)
    module.triple, module.data_layout = machine.triple, str(machine.target_data)
    return module


def tidy(module, machine) -> None:
    """Drop what nothing calls."""
    tuning = llvm.create_pipeline_tuning_options(speed_level=0)
    builder = llvm.create_pass_builder(machine, tuning)
    passes = llvm.create_new_module_pass_manager()
    passes.add_global_dead_code_eliminate_pass()
    passes.run(module, builder)
