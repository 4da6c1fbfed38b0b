"""`equipoise warmup`: every kernel by name, and nothing left to compile after it."""

import os
import re
import subprocess
import sys

import pytest

from equipoise.ops import warmup

LINE = re.compile(r"(.+): (\d+\.\d) s")
GROUPS = ("rows_forward", "columns_backward", "sweeps", "moments", "comoments", "merge", "weighted")
SCALING = ("scale", "unit rows", "quantiles")

COMMAND = "from equipoise.cli import main; main()"
# what a user may do first
FIRST_USE = """
import numpy as np
from equipoise.preprocessing import Normalizer, RobustScaler, StandardScaler
for rows in (1000, 20_000):
    for dtype in ("f4", "f8"):
        x = np.random.default_rng(0).standard_normal((rows, 16)).astype(dtype)
        for scaler in (StandardScaler(), RobustScaler(), Normalizer()):
            scaler.fit_transform(x)
"""


def names():
    return [name for name, _ in (*warmup._normalize(), *warmup._moments(), *warmup._scaling())]


def test_names_are_unique_and_cover_the_kernels():
    found = names()
    assert len(set(found)) == len(found)
    for group in (*GROUPS, *SCALING):
        assert any(name.startswith(group) for name in found), group
    for group in (*SCALING, "moments"):
        for dtype in ("float32", "float64"):
            # one on the calling thread, one on the pool
            assert sum(name.startswith(f"{group} {dtype}") for name in found) == 2, (group, dtype)


def run(cache, *command):
    return subprocess.run(
        [sys.executable, *command],
        env=os.environ | {"EQUIPOISE_CACHE": str(cache)},
        capture_output=True,
        text=True,
        timeout=280,
        check=True,
    )


@pytest.mark.slow
def test_the_command_reports_each_kernel_and_leaves_nothing_to_compile(tmp_path):
    """Compiles all kernels anew, which takes more than a minute; a second run loads them."""
    reported, seconds = [], []
    for _ in range(2):
        done = run(tmp_path, "-c", COMMAND, "warmup")
        reported.append(
            [found[1] for found in map(LINE.fullmatch, done.stderr.splitlines()) if found]
        )
        (total,) = re.findall(r"all kernels are ready after (\d+\.\d) s", done.stdout)
        seconds.append(float(total))
    assert reported == [names(), names()]
    assert seconds[1] < seconds[0] / 4
    files = {p for p in tmp_path.rglob("*") if p.is_file()}
    run(tmp_path, "-c", FIRST_USE)
    assert {p for p in tmp_path.rglob("*") if p.is_file()} == files
