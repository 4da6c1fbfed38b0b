"""The machine, its versions and its load; and the settings that all contenders share."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

# glibc reads these when a process starts, hence the child processes; 4 GiB is above any tensor
MALLOC = {
    "tuned": {"MALLOC_MMAP_THRESHOLD_": str(2**32), "MALLOC_TRIM_THRESHOLD_": str(2**36)},
    "default": {},
}
# spinning at barriers costs milliseconds a region as soon as anything else runs; sleeping costs
# a wake-up a region, which only tiny tensors notice
WAIT = {"passive": {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}, "default": {}}
# the compile workers' processes would run beside the clock
COMPILER = {"TORCHINDUCTOR_COMPILE_THREADS": "1"}
PACKAGES = ("equipoise", "torch", "numpy", "numba", "scikit-learn")
BUSY = 0.25


def child_environment(malloc: str, wait: str) -> dict[str, str]:
    """Give the environment a child runs in: the same settings for all contenders."""
    ours = ("MALLOC_", "GLIBC_TUNABLES", "GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "KMP_BLOCKTIME")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
    return {**kept, **WAIT[wait], **COMPILER, **MALLOC[malloc]}


def warm_heap(malloc: str, blocks: int = 4, megabytes: int = 256) -> None:
    """Touch and free some blocks, which a heap that is never trimmed then hands out again."""
    if malloc == "tuned":
        import torch

        held = [torch.ones(megabytes * 2**18) for _ in range(blocks)]
        del held


def describe(wait: str = "passive") -> dict[str, str]:
    """Describe the machine and the software, for the record."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "CPU": cpu_model(),
        "cores": str(cores()),
        "caches": caches(),
        "memory": memory(),
        "system": f"{platform.system()} {platform.machine()}, {' '.join(platform.libc_ver())}",
        "huge pages": huge_pages(),
        "versions": versions(),
        "commit": commit(),
        "settings": f"OpenMP wait policy {wait}; Python's gc off while timing",
    }


def cores() -> int:
    """Count the cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def cpu_model() -> str:
    """Give the processor's name, as the kernel or the platform knows it."""
    for line in _read("/proc/cpuinfo").splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def caches() -> str:
    """List the first core's caches, such as ``L1d 32K, L2 1024K, L3 32768K``."""
    found = []
    for index in range(8):
        folder = f"/sys/devices/system/cpu/cpu0/cache/index{index}"
        level, kind, size = (_read(f"{folder}/{n}").strip() for n in ("level", "type", "size"))
        if level and kind != "Instruction":
            found.append(f"L{level}{'d' if kind == 'Data' else ''} {size}")
    return ", ".join(found) or "unknown"


def memory() -> str:
    """Give the main memory in GB."""
    for line in _read("/proc/meminfo").splitlines():
        if line.startswith("MemTotal"):
            return f"{int(line.split()[1]) / 2**20:.0f} GB"
    return "unknown"


def huge_pages() -> str:
    """Give the kernel's choice for transparent huge pages: always, madvise or never."""
    text = _read("/sys/kernel/mm/transparent_hugepage/enabled")
    return text.split("[", 1)[1].split("]", 1)[0] if "[" in text else "unknown"


def versions() -> str:
    """List Python and the packages that matter, with their versions."""
    found = [f"Python {platform.python_version()}"]
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"{name} absent")
    return ", ".join(found)


def commit() -> str:
    """Name the commit that is timed, and whether its package has been edited since."""
    root = Path(__file__).parent.parent

    def git(*args: str) -> str:
        return subprocess.run(
            ["git", "-C", str(root), *args], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        edited = git("status", "--porcelain", "--", "equipoise", "benchmarks/*.py")
        return git("rev-parse", "--short", "HEAD") + (" with edits" if edited else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def load() -> tuple[float, float]:
    """Give (load average of the last minute, share of the cores that is busy right now)."""
    average = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    try:
        import psutil
    except ImportError:
        return average, float("nan")
    return average, psutil.cpu_percent(interval=0.5) / 100


def load_warning(average: float, busy: float) -> str | None:
    """Say so if the machine has other work; None on a quiet one."""
    if busy > BUSY or average > 2 * BUSY * cores():
        return (
            f"the machine is loaded (load average {average:.2f} on {cores()} cores, "
            f"{busy:.0%} busy before the start): the timings will be noisy, and two-thread ones "
            "most of all"
        )
    return None


class OthersShare:
    """Measure the share of the cores that other processes take between start and stop."""

    def __init__(self):
        self.before = self._now()

    def _now(self) -> tuple[float, float, float] | None:
        try:
            import psutil
        except ImportError:
            return None
        total = psutil.cpu_times()
        mine = os.times()
        own = mine.user + mine.system + mine.children_user + mine.children_system
        idle = total.idle + getattr(total, "iowait", 0.0)
        return sum(total[:8]), idle, own

    def stop(self) -> float:
        """Give the share since the start, NaN where it cannot be known."""
        now = self._now()
        if now is None or self.before is None:
            return float("nan")
        total, idle, own = (b - a for a, b in zip(self.before, now, strict=True))
        return max(0.0, total - idle - own) / total if total else 0.0
