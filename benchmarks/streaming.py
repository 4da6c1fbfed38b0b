"""``StandardScaler.fit`` of a folder of Parquet against polars' streaming mean and std of it."""

import subprocess
import sys
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch  # noqa: F401  before Numba, which then shares torch's OpenMP pool

from benchmarks.model import Benchmark, Built, Contender, Group, Point, Target
from benchmarks.summary import worst_extra, worst_ratio

FILES, COLUMNS = 8, 50
ROWS, QUICK_ROWS = 625_000, 10_000
DTYPES = {"f32": np.float32, "f64": np.float64}
# of the mean in standard deviations and of the variance; polars sums float32 in float32
BAR = 1e-10
PEAK = "peak above imports MB"


def points(quick: bool) -> list[Point]:
    """List the points: 2 GB of float64, 1 GB of float32."""
    return [_point(QUICK_ROWS if quick else ROWS, dtype) for dtype in ("f64", "f32")]


def _point(rows: int, dtype: str) -> Point:
    size = FILES * rows * COLUMNS * np.dtype(DTYPES[dtype]).itemsize
    tags = {"rows": rows, "dtype": dtype}
    name = f"{FILES} files, {FILES * rows}x{COLUMNS} {dtype}"
    return Point(name, tags, size, 1, both_mallocs=False)


@lru_cache(maxsize=1)
def folder(rows: int, dtype: str) -> tuple[Any, np.ndarray, np.ndarray]:
    """Write the files, and compute mean and variance in float64 on the way, file by file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    place = tempfile.TemporaryDirectory(prefix="equipoise-streaming-")
    rng = np.random.default_rng(0)
    means, squares = [], []
    for i in range(FILES):
        x = rng.standard_normal((COLUMNS, rows), dtype=DTYPES[dtype])
        x += np.arange(COLUMNS, dtype=x.dtype)[:, None]
        table = pa.table({f"c{j:02}": x[j] for j in range(COLUMNS)})
        # nothing repeats in these numbers: a dictionary would only be made and thrown away
        path = Path(place.name) / f"{i}.parquet"
        pq.write_table(table, path, row_group_size=125_000, use_dictionary=False)
        means.append(x.mean(axis=1, dtype=np.float64))
        squares.append(np.square(x - means[-1][:, None]).mean(axis=1))
    mean = np.mean(means, axis=0)
    return place, mean, np.mean(squares, axis=0) + np.square(means - mean).mean(axis=0)


class StreamingCase:
    """A folder, its float64 answer, and the contenders, each on as many threads as it takes."""

    def __init__(self, point: Point, compiled: bool):
        place, self.mean, self.var = folder(point.tags["rows"], point.tags["dtype"])
        self.path = place.name
        self.contenders = [
            self._contender("ours", "ours", self.ours, required=True),
            self._contender("read only", "limit", self.read),
            self._contender("polars streaming", "peer", self.polars),
            self._contender("sklearn partial_fit", "peer", self.sklearn),
        ]

    @staticmethod
    def _contender(name, role, build, required=False) -> Contender:
        return Contender(name, role, build, required=required, every_thread_count=False)

    def ours(self) -> Built:
        """Build our fit of the folder."""
        from equipoise.preprocessing import StandardScaler

        def call():
            return StandardScaler().fit(self.path)

        return Built(call, lambda: _named(call()))

    def read(self) -> Built:
        """Build the same reading without any sums."""
        from equipoise.data.read import blocks

        def call():
            return sum(len(block) for block in blocks(self.path))

        return Built(call, lambda: {"rows": call()})

    def polars(self) -> Built:
        """Build polars' lazy scan, run by its streaming engine."""
        import polars as pl
        from polars import selectors as cs

        def call():
            every = pl.scan_parquet(f"{self.path}/*.parquet")
            wanted = every.select(
                cs.all().mean().name.suffix(" mean"), cs.all().std(ddof=0).name.suffix(" std")
            )
            return wanted.collect(engine="streaming").to_numpy()[0].astype(np.float64)

        def probe():
            found = call()
            return {"mean": found[:COLUMNS], "var": np.square(found[COLUMNS:])}

        return Built(call, probe)

    def sklearn(self) -> Built:
        """Build scikit-learn's partial_fit over pyarrow's batches."""
        import pyarrow.parquet as pq
        from sklearn.preprocessing import StandardScaler

        def call():
            scaler = StandardScaler()
            for path in sorted(Path(self.path).iterdir()):
                for batch in pq.ParquetFile(path).iter_batches(1 << 16):
                    scaler.partial_fit(batch.to_pandas().to_numpy())
            return scaler

        return Built(call, lambda: _named(call()))

    def errors(self, outputs: dict[str, Any]) -> dict[str, tuple[float, float]]:
        """Measure mean (in standard deviations) and variance (relative), column by column."""
        if "rows" in outputs:
            return {"rows": (0.0, 1.0)}
        mean = np.abs(outputs["mean"] - self.mean) / np.sqrt(self.var)
        var = np.abs(outputs["var"] - self.var) / self.var
        return {"mean": (float(mean.max()), BAR), "var": (float(var.max()), BAR)}


def _named(scaler) -> dict[str, np.ndarray]:
    return {"mean": scaler.mean_, "var": scaler.var_}


_MEMORY = """
import sys, threading, time
import torch, numpy as np, pyarrow.parquet
from equipoise.preprocessing import StandardScaler
def resident():
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1e3
# kernels and readers are loaded on first use
StandardScaler().fit(iter([np.asfortranarray(np.random.rand(20_000, 3).astype(sys.argv[2]))]))
before, peak, done = resident(), [0.0], threading.Event()
def watch():
    while not done.wait(0.002):
        peak[0] = max(peak[0], resident())
thread = threading.Thread(target=watch)
thread.start()
StandardScaler().fit(sys.argv[1])
done.set()
thread.join()
print(peak[0] - before)
"""


def extras(point: Point, case: StreamingCase) -> dict[str, float]:
    """Measure in a process of its own how far its memory rises above what imports take."""
    dtype = np.dtype(DTYPES[point.tags["dtype"]])
    words = [sys.executable, "-c", _MEMORY, case.path, dtype.name]
    out = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    return {PEAK: float(out)}


BENCHMARK = Benchmark(
    name="streaming",
    title="scaling, out of core",
    notes=(
        "Parquet files of 50 columns, row groups of 125,000, read from the page cache. The limit "
        "is our own reading without sums. All run on every core: neither reader has a thread "
        "count of torch's. Memory is the resident set of a process that does nothing else, above "
        "what it was after imports and one small fit."
    ),
    points=points,
    case=StreamingCase,
    groups=(Group("all", lambda tags: True),),
    targets=(
        Target("polars' time over ours", worst_ratio("polars streaming", lambda tags: True), 1.0),
        Target("peak above imports, MB", worst_extra(PEAK), 500.0, at_least=False),
    ),
    copy_limit=False,
    extras=extras,
)
