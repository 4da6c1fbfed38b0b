"""What this installation runs on: versions, processor, threads, and where kernels are kept."""

import os
import platform
import sys
from functools import cache
from importlib import import_module, metadata
from pathlib import Path

from equipoise.errors import UsageError


def versions() -> dict[str, str]:
    """Give the versions that decide on numbers and speed."""
    import numpy
    import torch

    import equipoise

    return {
        "equipoise": equipoise.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
    }


@cache
def processor() -> str:
    """Name the processor as well as the system lets us."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def machine() -> dict[str, object]:
    """Give the processor and the number of threads torch uses now."""
    import torch

    return {"cpu": processor(), "threads": torch.get_num_threads()}


def _version_of(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def describe() -> dict[str, str]:
    """Give what a bug report should hold, one fact a key."""
    import torch
    from numba.core import config

    from equipoise.ops import cache

    facts = versions()
    facts |= {name: _version_of(name) for name in ("numba", "scikit-learn", "triton")}
    return facts | {
        "platform": platform.platform(),
        "executable": sys.executable,
        "cpu": processor(),
        "cpus": str(os.cpu_count()),
        "torch threads": str(torch.get_num_threads()),
        "numba threads": str(getattr(config, "NUMBA_NUM_THREADS", "?")),
        "threading layer": str(getattr(config, "THREADING_LAYER", "?")),
        "kernel cache": str(cache.folder() or "none: kernels are compiled in each process"),
        "EQUIPOISE_BACKEND": os.environ.get("EQUIPOISE_BACKEND", "not set"),
        "EQUIPOISE_CACHE": os.environ.get("EQUIPOISE_CACHE", "not set"),
    }


def benchmarks():
    """Import ``benchmarks.run``, which lies beside the package in a source checkout."""
    import equipoise

    root = Path(equipoise.__file__).resolve().parents[1]
    if not (root / "benchmarks" / "run.py").is_file():
        raise UsageError(
            "the benchmarks come with the source repository: clone it, install it with "
            "`pip install -e .` and run `equipoise bench` again"
        )
    sys.path.insert(0, str(root))
    return import_module("benchmarks.run")
