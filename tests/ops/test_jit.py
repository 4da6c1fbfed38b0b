"""Compiled kernels: where they are kept, what is said of it, and on how many threads they run."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numba
import numpy as np
import pytest
import torch

from equipoise.ops import cache, jit
from equipoise.ops.threads import SERIAL_BYTES

PROGRAM = Path(__file__).with_name("_uncached.py")


def run_program(home):
    """Run the program with its kernels kept in ``home``; give what it printed."""
    environment = os.environ | {"EQUIPOISE_CACHE": str(home), "OMP_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, PROGRAM], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def unwritable(tmp_path_factory):
    # a path below a file: not even root can write there
    file = tmp_path_factory.mktemp("cache") / "file"
    file.write_text("")
    return file / "below", run_program(file / "below")


def test_where_no_folder_is_writable_kernels_run_and_one_warning_says_so(unwritable):
    home, result = unwritable
    assert result["x"] == [6.0] * 4
    ((category, message),) = result["warnings"]
    assert category == "RuntimeWarning"
    assert str(home) in message
    assert "Not a directory" in message
    assert "Set EQUIPOISE_CACHE to a writable folder" in message


def test_one_line_tells_of_compiling(unwritable):
    ((level, message),) = unwritable[1]["lines"]
    assert level == "INFO"
    assert "equipoise warmup" in message


def test_after_a_fork_kernels_run_on_one_thread(unwritable):
    assert unwritable[1]["forked"] == [1, [2.0] * 4]


def test_kernels_are_kept_and_nothing_is_said_of_a_writable_folder(tmp_path):
    result = run_program(tmp_path / "new" / "home")
    assert result["x"] == [6.0] * 4
    assert result["warnings"] == []
    kept = {path.name.split(".")[0] for path in tmp_path.rglob("*.nbc")}
    assert {name.split("-")[0] for name in kept} == {"_uncached"}
    assert str(tmp_path) in result["lines"][0][1]


def test_the_key_follows_the_sources(tmp_path):
    source = tmp_path / "kernels.py"
    source.write_text("a = 1")
    before = cache._sources_key(tmp_path)
    assert cache._sources_key(tmp_path) == before
    source.write_text("a = 2")
    assert cache._sources_key(tmp_path) != before


def test_the_users_own_numba_cache_stays(monkeypatch, tmp_path):
    monkeypatch.setattr(numba.config, "CACHE_DIR", "theirs")
    seen = []

    def decorator(**options):
        seen.append((numba.config.CACHE_DIR, options["cache"]))
        return lambda function: function

    jit._decorate(decorator, run_program, "serial")
    assert seen[0][0].endswith("serial")
    assert seen[0] != ("theirs", True)
    assert numba.config.CACHE_DIR == "theirs"


@pytest.fixture
def _threads_as_before():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("_threads_as_before")
def test_threads_follow_torchs_setting():
    most = numba.config.NUMBA_NUM_THREADS
    for n in range(1, most + 3):
        torch.set_num_threads(n)
        assert jit.threads() == min(n, most)


@pytest.mark.usefixtures("_threads_as_before")
def test_a_pool_that_is_not_thread_safe_serves_the_main_thread_alone(monkeypatch):
    torch.set_num_threads(2)
    monkeypatch.setattr(numba.config, "NUMBA_NUM_THREADS", 2)
    monkeypatch.setattr(jit, "_threadsafe_layer", lambda: False)
    found = []
    thread = threading.Thread(target=lambda: found.append(jit.threads()))
    thread.start()
    thread.join()
    assert found == [1]
    assert jit.threads() == 2


def test_a_thread_safe_pool_serves_every_thread(monkeypatch):
    monkeypatch.setattr(jit, "_threadsafe_layer", lambda: True)
    expected, found = jit.threads(), []
    thread = threading.Thread(target=lambda: found.append(jit.threads()))
    thread.start()
    thread.join()
    assert found == [expected]


def test_small_work_stays_on_the_calling_thread(monkeypatch):
    kernel = jit.Kernel(lambda: None)
    kernel._serial, kernel._parallel = (lambda: "serial"), (lambda: "parallel")
    monkeypatch.setattr(numba, "set_num_threads", lambda n: None)
    monkeypatch.setattr(jit._local, "threads", None, raising=False)
    for threads, work, form in (
        (2, SERIAL_BYTES - 1, "serial"),
        (2, SERIAL_BYTES, "parallel"),
        (1, SERIAL_BYTES, "serial"),
    ):
        monkeypatch.setattr(jit, "threads", lambda threads=threads: threads)
        assert kernel(work) == form


@numba.njit
def _window_sum(x, start, size):
    total = 0.0
    part = jit.window(x, start, size)
    for i in range(part.size):
        total += part[i]
    return total


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_window_is_a_slice(dtype):
    x = np.arange(10, dtype=dtype)
    for start, size in ((0, 10), (3, 4), (9, 1), (5, 0)):
        assert _window_sum(x, start, size) == x[start : start + size].sum()
