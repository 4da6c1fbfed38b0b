"""Kernels written in Python, as object files: Numba reads them, and nothing of it is left after.

Numba's code counts on a runtime of its own for the arrays that a kernel makes; two functions
stand for it, so that a process that finds a kernel on disk imports neither Numba nor its runtime.
"""

from typing import Any

import numba
import torch
from numba import types

from equipoise.ops.sweep import machine

_njit: Any = numba.njit
_COMPUTED = {torch.float32: types.float32, torch.float64: types.float64}

# what the C libraries of a process give
_GIVEN = {"malloc", "free", "sqrt", "memset", "memcpy", "memmove"}

# Numba's own: a head of six words (references, destructor and its argument, data, size,
# allocator), and the data behind it; the destructor of what no array needs any more.  Lines of the
# cache begin where data does, and the argument says where malloc did
_RUNTIME = """
%head = type {{ i64, ptr, ptr, ptr, i64, ptr }}
declare noalias ptr @malloc(i64)
declare void @free(ptr)
declare ptr @llvm.ptrmask.p0.i64(ptr, i64)
declare i32 @"{kernel}"(ptr, ptr, i64, ptr, ptr, ptr)

define ptr @NRT_MemInfo_alloc_aligned(i64 %size, i32 %align) {{
  %bytes = add i64 %size, 128
  %made = call ptr @malloc(i64 %bytes)
  %none = icmp eq ptr %made, null
  br i1 %none, label %out.of.memory, label %fill
out.of.memory:
  ret ptr null
fill:
  %first.line = getelementptr i8, ptr %made, i64 63
  %head = call ptr @llvm.ptrmask.p0.i64(ptr %first.line, i64 -64)
  %data = getelementptr i8, ptr %head, i64 64
  store i64 1, ptr %head
  %made.at = getelementptr %head, ptr %head, i64 0, i32 2
  store ptr %made, ptr %made.at
  %data.at = getelementptr %head, ptr %head, i64 0, i32 3
  store ptr %data, ptr %data.at
  ret ptr %head
}}

define void @NRT_MemInfo_call_dtor(ptr %head) {{
  %made.at = getelementptr %head, ptr %head, i64 0, i32 2
  %made = load ptr, ptr %made.at
  call void @free(ptr %made)
  ret void
}}

define i32 @task(i64 %t, ptr %integers, ptr %floats) {{
  %nothing = alloca ptr
  %error = alloca ptr
  %status = call i32 @"{kernel}"(ptr %nothing, ptr %error, i64 %t, ptr %integers, ptr %floats, ptr null)
  %failed = icmp ne i32 %status, 0
  %result = zext i1 %failed to i32
  ret i32 %result
}}
"""  # noqa: E501


def task_object(function, dtype: torch.dtype, target) -> bytes:
    """Compile ``function(task, integers, floats, computed)`` as the C function ``task``.

    ``computed`` is a null pointer whose type says what numbers are computed in.
    """
    pointer = types.CPointer
    computed = pointer(_COMPUTED[dtype])
    signature = types.void(types.int64, pointer(types.int64), pointer(types.float64), computed)
    compiled = _njit(
        signature, nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True
    )(function)
    (result,) = compiled.overloads.values()
    module = machine.parsed(result.library.get_llvm_str(), target)
    runtime = _RUNTIME.format(kernel=result.fndesc.llvm_func_name)
    module.link_in(machine.parsed(runtime, target))
    for part in (*module.functions, *module.global_variables):
        if part.name != "task" and not part.is_declaration:
            part.linkage = "internal"
    machine.tidy(module, target)
    foreign = {f.name for f in module.functions if f.is_declaration and "llvm." not in f.name}
    if foreign - _GIVEN:
        raise NotImplementedError(
            f"kernel {function.__name__} calls {sorted(foreign - _GIVEN)}, which only Numba has"
        )
    return target.emit_object(module)
