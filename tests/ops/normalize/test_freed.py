"""The kernels use no memory that they have given back."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc overwrites what is freed")
def test_what_is_freed_may_be_overwritten():
    program = Path(__file__).with_name("_freed.py")
    done = subprocess.run(
        [sys.executable, program], env=os.environ | {"MALLOC_PERTURB_": "170"}, text=True,
        capture_output=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, (done.returncode, done.stderr[-2000:])
    assert json.loads(done.stdout) == []
