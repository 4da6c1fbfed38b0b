"""Compile what the GPU's host code launches, for a GPU that is not here, and count registers.

Run as a script, with an architecture (80, 90): prints JSON, one object a launch: kernel,
registers, spilled bytes, shared memory, and how often a 32-bit offset is added to a pointer.
"""

import json
import re
import subprocess
import sys
import tempfile

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.backends.nvidia.compiler import get_ptxas
from triton.compiler import ASTSource

from equipoise.ops.normalize import gpu, gpu_elements

TYPES = {
    torch.float32: "*fp32", torch.float64: "*fp64", torch.bfloat16: "*bf16", torch.float16: "*fp16",
}  # fmt: skip
OPTIONS = ("num_warps", "num_stages", "enable_fp_fusion")


def source_of(kernel, args, settings):
    """Specialize as a launch would: constants, and what is divisible by 16."""
    values = dict(zip(kernel.arg_names, args, strict=False)) | settings
    signature, constants, divisible = {}, {}, {}
    numbers = {p.name for p in kernel.params if not p.is_constexpr}
    for k, name in enumerate(kernel.arg_names):
        value = values[name]
        if isinstance(value, torch.Tensor):
            signature[name] = TYPES[value.dtype]
        elif type(value) is float and name in numbers:
            signature[name] = "fp64"
            continue
        elif type(value) is int and value != 1 and name in numbers:
            signature[name] = "i32" if value < 2**31 else "i64"
        else:
            signature[name], constants[(k,)] = "constexpr", value
            continue
        if isinstance(value, torch.Tensor) or value % 16 == 0:
            divisible[(k,)] = [["tt.divisibility", 16]]
    return ASTSource(kernel, signature, constants, divisible)


def resources(compiled, arch):
    """Give registers and spilled bytes a thread, as ptxas tells them."""
    with tempfile.NamedTemporaryFile("w", suffix=".ptx") as file:
        file.write(compiled.asm["ptx"])
        file.flush()
        name = re.search(r"\.target (\w+)", compiled.asm["ptx"])[1]
        command = [get_ptxas(arch).path, "-v", f"--gpu-name={name}", file.name, "-o", "/dev/null"]
        told = subprocess.run(command, capture_output=True, text=True)
        assert told.returncode == 0, told.stderr
        told = told.stderr
    registers = int(re.search(r"Used (\d+) registers", told)[1])
    return registers, sum(map(int, re.findall(r"(\d+) bytes spill", told)))


def narrow_offsets(text):
    """Count the additions of 32-bit offsets to pointers."""
    return len(re.findall(r"tt\.addptr .* : .*, (?:tensor<\S*)?i32\b", text))


def record(found, arch):
    """Give what stands in for ``launch``: it compiles, and notes what came out."""

    def compile_only(kernel, grid, *args, **settings):
        options = {k: settings.pop(k) for k in OPTIONS if k in settings}
        options["enable_fp_fusion"] = True
        compiled = triton.compile(
            source_of(kernel, args, settings), GPUTarget("cuda", arch, 32), options
        )
        assert compiled.asm["cubin"]
        registers, spilled = resources(compiled, arch)
        found.append({
            "kernel": kernel.__name__, "first": TYPES[args[0].dtype], "registers": registers,
            "spilled": spilled, "shared": compiled.metadata.shared,
            "warps": compiled.metadata.num_warps,
            "narrow": narrow_offsets(compiled.asm["ttir"]),
        })  # fmt: skip

    return compile_only


def channels(x, other=None, act=None, from_output=False, groups=0, evaluation=False):
    """Call every kernel that a norm of channels needs."""
    weight = torch.empty(x.shape[1])
    given = x.new_empty((4, x.shape[1]), dtype=torch.float64) if evaluation else None
    y, stats = gpu.forward(x, weight, weight, other, given, act, 0.1, 1e-5, groups)
    gpu.backward(
        y, x, other, stats, weight, weight, act, 0.1, from_output, not evaluation,
        other is not None, groups,
    )  # fmt: skip


def rows(x, residual=None, act=None, centred=1):
    """Call every kernel that a norm of rows needs."""
    weight, bias = torch.empty(x.shape[-1]), torch.empty(x.shape[-1]) if centred else None
    y, total, stats = gpu_elements.forward(
        x, residual, weight, bias, act, 0.1, 1e-5, x.shape[-1], centred
    )
    gpu_elements.backward(y, residual, total, stats, weight, bias, act, 0.1, x.shape[-1], centred)


def everything(dtypes):
    """Call each kernel, and each activation with what it needs."""
    for dtype in dtypes:
        image = torch.empty((8, 64, 28, 28), dtype=dtype)
        last = image.to(memory_format=torch.channels_last)
        channels(last, last, "relu", from_output=True)
        channels(image, image, "silu", groups=8)
        rows(torch.empty((4096, 4096), dtype=dtype), act="gelu")
        rows(torch.empty((16, 1 << 17), dtype=dtype), centred=0)
    for x in (image, last):
        # half types: what compilers stumble over
        channels(x, x, "relu", from_output=True)
        channels(x, groups=64)
        channels(x, act="gelu", evaluation=True)
        channels(x, act="leaky_relu")
    x = torch.empty((4096, 768), dtype=dtype)
    rows(x, x, act="silu", centred=0)
    for width in (96, 2048):
        rows(torch.empty((4, width, 196), dtype=dtype).movedim(1, -1))
    buffer = torch.empty(64)
    gpu.running(buffer, buffer, torch.empty((4, 64), dtype=torch.float64), 0.1, 100)


if __name__ == "__main__":
    found = []
    arch = int(sys.argv[1])
    gpu.launch = gpu_elements.launch = record(found, arch)
    gpu.processors = gpu_elements.processors = lambda device: 132
    # every type once is enough: compiling takes long
    everything(TYPES if arch == 90 else [torch.float16])
    print(json.dumps(found))
