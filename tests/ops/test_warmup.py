"""`equipoise warmup`: every kernel by name, and nothing left to compile after it."""

import os
import re
import signal
import subprocess
import sys

import pytest

from equipoise.ops import warmup

LINE = re.compile(r"(.+): (\d+\.\d) s")
PARTS = ("rows_forward", "columns_backward", "sweeps", "moments", "comoments", "merge", "weighted")
SCALING = ("scale", "unit_rows", "quantiles")

COMMAND = "import sys; from equipoise.cli import main; sys.exit(main())"
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
    return sorted(name for jobs in warmup.groups() for name, _ in jobs)


def test_names_are_unique_and_cover_the_kernels():
    found = names()
    assert len(set(found)) == len(found)
    for group in (*PARTS, *SCALING):
        assert any(name.startswith(group) for name in found), group
    for group in SCALING:
        for dtype in ("float32", "float64"):
            # quantiles' on the calling thread and on the pool are two
            forms = 2 if group == "quantiles" else 1
            assert sum(name.startswith(f"{group} {dtype}") for name in found) == forms, group


def run(cache, *command):
    return subprocess.run(
        [sys.executable, *command],
        env=os.environ | {"EQUIPOISE_CACHE": str(cache)},
        capture_output=True,
        text=True,
        timeout=280,
        check=True,
    )


def test_a_process_that_is_killed_is_an_error_and_no_endless_wait():
    worker = warmup._Worker()
    worker.process.kill()
    with pytest.raises(RuntimeError, match=r"ended with code -9.*OMP_NUM_THREADS=1"):
        worker.compile(0, print)
    worker.process.communicate()


def test_an_unwritable_folder_is_an_error_before_anything_is_compiled(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(subprocess.CalledProcessError) as error:
        run(tmp_path / "file" / "below", "-c", COMMAND, "warmup")
    assert error.value.returncode == 2
    (line,) = error.value.stderr.splitlines()
    assert str(tmp_path) in line
    assert "set EQUIPOISE_CACHE" in line


@pytest.mark.slow
def test_an_interrupt_ends_all_processes_without_a_traceback(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, "warmup"],
        env=os.environ | {"EQUIPOISE_CACHE": str(tmp_path), "OMP_NUM_THREADS": "2"},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    assert LINE.fullmatch(process.stderr.readline().rstrip())
    os.killpg(process.pid, signal.SIGINT)
    # to the end of the last process that could write there
    rest = process.stderr.read()
    assert process.wait(timeout=60) == 130
    assert "Traceback" not in rest
    process.stderr.close()


@pytest.mark.slow
def test_the_command_reports_each_kernel_and_leaves_nothing_to_compile(tmp_path):
    """Compiles all kernels anew, which takes more than a minute; a second run loads them."""
    reported, seconds = [], []
    for _ in range(2):
        done = run(tmp_path, "-c", COMMAND, "warmup")
        reported.append(
            sorted(found[1] for found in map(LINE.fullmatch, done.stderr.splitlines()) if found)
        )
        (total,) = re.findall(r"all kernels are ready after (\d+\.\d) s", done.stdout)
        seconds.append(float(total))
    assert reported == [names(), names()]
    assert seconds[1] < seconds[0] / 4
    files = {p for p in tmp_path.rglob("*") if p.is_file()}
    run(tmp_path, "-c", FIRST_USE)
    assert {p for p in tmp_path.rglob("*") if p.is_file()} == files
