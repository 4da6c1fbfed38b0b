"""Without a GPU: ``test_gpu`` in Triton's interpreter, and the kernels compiled for GPUs.

Each in a process of its own, for Triton decides whether it interprets when it is imported.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent
ROOT = HERE.parents[2]


def run(*command, **environment):
    return subprocess.run(
        [sys.executable, *map(str, command)], cwd=ROOT, env=os.environ | environment,
        capture_output=True, text=True, timeout=900,
    )  # fmt: skip


def interpreted(marks):
    return run(
        "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", marks, HERE / "test_gpu.py",
        ROOT / "tests" / "nn" / "test_norms_gpu.py", TRITON_INTERPRET="1",
    )  # fmt: skip


@pytest.mark.skipif(torch.cuda.is_available(), reason="test_gpu runs on the GPU")
def test_the_kernels_in_the_interpreter():
    done = interpreted("not slow")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="test_gpu runs on the GPU")
def test_broken_kernels_in_the_interpreter():
    done = interpreted("slow")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]


@pytest.mark.slow
@pytest.mark.parametrize("arch", [80, 90])
def test_every_kernel_compiles_for_a_gpu(arch):
    done = run(HERE / "_compiled_gpu.py", arch, TRITON_INTERPRET="0")
    assert done.returncode == 0, done.stderr[-4000:]
    found = json.loads(done.stdout)
    assert {f["kernel"] for f in found} == {
        "rows_forward", "long_rows_forward", "long_rows_sums", "rows_backward", "groups_forward",
        "groups_backward", "columns_statistics", "columns_merge", "columns_forward",
        "columns_sums", "columns_backward", "update_running",
    }  # fmt: skip
    # tensors of more than 2^31 numbers
    assert not any(f["narrow"] for f in found)
    # what lies in registers stays there, but for a few bytes; float64 has half the room
    assert max(f["spilled"] for f in found if f["first"] != "*fp64") <= 64
