"""``Moments.of`` on a C-ordered matrix against one bare parallel read of the same matrix."""

from functools import cache, lru_cache
from typing import Any

import numpy as np
import torch  # before Numba, which then shares torch's OpenMP pool

from benchmarks.model import Benchmark, Built, Contender, Group, Point, Target
from benchmarks.peak import peak_megabytes
from benchmarks.summary import worst_extra, worst_limit, worst_ratio

LONG, WIDE = (1_000_000, 50), (100_000, 2000)
QUICK_LONG, QUICK_WIDE = (40_000, 50), (2_000, 2000)
DTYPES = {"f32": np.float32, "f64": np.float64}
# of the mean in standard deviations, and of the variance; sums end in float64
BARS = {"f32": 2e-6, "f64": 1e-11}
PEAK = "peak temporaries MB"
# runs of this many numbers stay in the cache, and there are enough of them for any core count
RUN = 64 * 1024


def points(quick: bool) -> list[Point]:
    """List the points: long float32 and float64, wide float32."""
    long, wide = (QUICK_LONG, QUICK_WIDE) if quick else (LONG, WIDE)
    return [_point(long, "f32"), _point(long, "f64"), _point(wide, "f32")]


def _point(shape: tuple[int, int], dtype: str) -> Point:
    size = shape[0] * shape[1] * np.dtype(DTYPES[dtype]).itemsize
    tags = {"shape": list(shape), "dtype": dtype}
    return Point(f"{shape[0]}x{shape[1]} {dtype}", tags, size, 1)


@lru_cache(maxsize=1)
def matrix(shape: tuple[int, int], dtype: str) -> np.ndarray:
    """Draw columns of different means and spreads, the means well away from zero."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal(shape, dtype=DTYPES[dtype])
    x *= np.geomspace(0.1, 10, shape[1], dtype=DTYPES[dtype])
    x += np.linspace(-100, 100, shape[1], dtype=DTYPES[dtype])
    return x


def oracle(x: np.ndarray, rows: int = 1000) -> tuple[np.ndarray, np.ndarray]:
    """Compute mean and variance in float64, in two sweeps of short runs that are summed last.

    What is summed are distances from the first row: sums of values far from zero lose digits.
    """
    cuts = range(0, len(x), rows)
    first = x[0].astype(np.float64)
    mean = first + np.sum([(x[i : i + rows] - first).sum(axis=0) for i in cuts], axis=0) / len(x)
    squares = [np.square(x[i : i + rows] - mean).sum(axis=0) for i in cuts]
    return mean, np.sum(squares, axis=0) / len(x)


@cache
def _read_kernel():
    """Compile the bare sweep: a sum in fixed runs, in parallel, as fast as memory is read."""
    import numba

    @numba.njit(fastmath=True, nogil=True)
    def run_sum(x):
        total = x[0] - x[0]
        for i in range(len(x)):
            total += x[i]
        return total

    @numba.njit(parallel=True, nogil=True)
    def read(x, run):
        runs = (len(x) + run - 1) // run
        totals = np.empty(runs, np.float64)
        for i in numba.prange(runs):
            totals[i] = run_sum(x[i * run : min(len(x), (i + 1) * run)])
        return totals.sum()

    return read


def numba_read(flat: np.ndarray) -> float:
    """Read every number once, on as many threads as torch may use."""
    import numba

    numba.set_num_threads(min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS))
    return _read_kernel()(flat, RUN)


class MomentsCase:
    """One matrix, its float64 answer, and the contenders."""

    def __init__(self, point: Point, compiled: bool):
        self.dtype = point.tags["dtype"]
        self.x = matrix(tuple(point.tags["shape"]), self.dtype)
        self.tensor = torch.from_numpy(self.x)
        self.mean, self.var = oracle(self.x)
        self.contenders = [
            Contender("ours", "ours", self.ours, required=True),
            Contender("read", "limit", lambda: self._read(numba_read, self.x.reshape(-1))),
            Contender("torch.sum", "limit", lambda: self._read(torch.sum, self.tensor)),
            Contender("StandardScaler.fit", "peer", self.scaler),
            Contender("torch.var_mean", "peer", self.var_mean),
            Contender("numpy mean + var", "peer", self.numpy),
        ]

    def _built(self, call, name_outputs) -> Built:
        return Built(call, lambda: name_outputs(call()))

    def ours(self) -> Built:
        """Build our pass."""
        from equipoise import Moments

        return self._built(lambda: Moments.of(self.x), lambda m: _named(m.mean, m.var()))

    def scaler(self) -> Built:
        """Build scikit-learn's fit."""
        from sklearn.preprocessing import StandardScaler

        scaler = StandardScaler()
        return self._built(lambda: scaler.fit(self.x), lambda s: _named(s.mean_, s.var_))

    def var_mean(self) -> Built:
        """Build torch's reduction over the rows."""
        return self._built(
            lambda: torch.var_mean(self.tensor, dim=0, correction=0),
            lambda found: _named(found[1].numpy(), found[0].numpy()),
        )

    def numpy(self) -> Built:
        """Build NumPy's two reductions over the rows."""
        return self._built(
            lambda: (self.x.mean(axis=0), self.x.var(axis=0)), lambda found: _named(*found)
        )

    def _read(self, function, flat) -> Built:
        return self._built(lambda: function(flat), lambda total: {"sum": float(total)})

    def errors(self, outputs: dict[str, Any]) -> dict[str, tuple[float, float]]:
        """Measure mean (in standard deviations) and variance (relative), column by column."""
        bar = BARS[self.dtype]
        if "sum" in outputs:
            scale = np.abs(self.mean).sum() * len(self.x)
            # a bare sweep need not be exact, only whole
            return {"sum": (abs(outputs["sum"] - self.mean.sum() * len(self.x)) / scale, 1e-3)}
        mean = np.abs(outputs["mean"] - self.mean) / np.sqrt(self.var)
        var = np.abs(outputs["var"] - self.var) / self.var
        return {"mean": (float(mean.max()), bar), "var": (float(var.max()), bar)}


def _named(mean, var) -> dict[str, np.ndarray]:
    return {"mean": np.asarray(mean, np.float64), "var": np.asarray(var, np.float64)}


def extras(point: Point, case: MomentsCase) -> dict[str, float]:
    """Measure what our pass allocates on the way."""
    return {PEAK: peak_megabytes(case.ours().call)}


def _long_float32(tags) -> bool:
    return tags["shape"] == list(LONG) and tags["dtype"] == "f32"


BENCHMARK = Benchmark(
    name="moments",
    title="moments",
    notes=(
        "C-ordered matrices in memory. The limit is one bare parallel read of the matrix, Numba's "
        "or torch's, whichever is faster in the same run. Errors are the worst column's: of the "
        "mean in standard deviations, of the variance relative to it."
    ),
    points=points,
    case=MomentsCase,
    groups=(Group("all", lambda tags: True),),
    targets=(
        Target("of one bare read", worst_limit(lambda tags: True), 1.25, at_least=False),
        Target("peak temporaries, MB", worst_extra(PEAK), 1.0, at_least=False),
        Target(
            "StandardScaler.fit, 1,000,000 x 50 float32",
            worst_ratio("StandardScaler.fit", _long_float32),
            20.0,
        ),
    ),
    copy_limit=False,
    extras=extras,
)
