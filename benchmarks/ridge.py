"""Ridge and RidgeCV against scikit-learn's, tall and wide, and the memory that a fit takes."""

from functools import lru_cache
from typing import Any

import numpy as np
import torch  # noqa: F401 - before scikit-learn, for one OpenMP pool

from benchmarks.model import Benchmark, Built, Contender, Group, Point, Target
from benchmarks.peak import traced_peak
from benchmarks.summary import worst_extra, worst_ratio
from benchmarks.timing import Plan

TALL, WIDE = (1_000_000, 50), (2000, 10_000)
QUICK_TALL, QUICK_WIDE = (50_000, 50), (300, 1500)
DTYPES = {"f32": np.float32, "f64": np.float64}
ALPHAS = np.logspace(-3, 3, 20)
# of the coefficients, relative to the largest; float32 is to be as float64 to 1e-4
BARS = {"f32": 1e-4, "f64": 1e-8}
PEAK = "peak beyond X and the Gram matrix, of X"


def points(quick: bool) -> list[Point]:
    """List the points: Ridge in both dtypes, RidgeCV in float64, tall and wide."""
    tall, wide = (QUICK_TALL, QUICK_WIDE) if quick else (TALL, WIDE)
    chosen = [("Ridge", "f64"), ("Ridge", "f32"), ("RidgeCV", "f64")]
    return [_point(model, shape, dtype) for shape in (tall, wide) for model, dtype in chosen]


def _point(model, shape, dtype) -> Point:
    size = shape[0] * shape[1] * np.dtype(DTYPES[dtype]).itemsize
    kind = "tall" if shape[0] > shape[1] else "wide"
    tags = {"model": model, "shape": list(shape), "dtype": dtype, "kind": kind}
    name = f"{model} {shape[0]}x{shape[1]} {dtype}"
    return Point(name, tags, size, 1, both_mallocs=False)


@lru_cache(maxsize=1)
def data(shape: tuple[int, int], dtype: str):
    """Draw a standard normal X, and y of twenty of its columns with noise."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal(shape, dtype=DTYPES[dtype])
    y = X[:, :20].sum(1) + rng.standard_normal(shape[0], dtype=DTYPES[dtype])
    return X, y


def oracle(X, y, alpha: float) -> np.ndarray:
    """Solve in float64, plainly: centred copies, NumPy's solver on the smaller matrix."""
    X, y = X.astype(np.float64), y.astype(np.float64)
    X, y = X - X.mean(0), y - y.mean()
    if len(X) < X.shape[1]:
        return X.T @ np.linalg.solve(X @ X.T + alpha * np.eye(len(X)), y)
    return np.linalg.solve(X.T @ X + alpha * np.eye(X.shape[1]), X.T @ y)


class RidgeCase:
    """One X and y, and the two libraries."""

    def __init__(self, point: Point, compiled: bool):
        self.tags = point.tags
        self.X, self.y = data(tuple(point.tags["shape"]), point.tags["dtype"])
        self.contenders = [
            Contender("ours", "ours", self.ours, required=True),
            Contender("scikit-learn", "peer", self.theirs, every_thread_count=False),
        ]

    def _built(self, library) -> Built:
        options = {"alphas": ALPHAS} if self.tags["model"] == "RidgeCV" else {"alpha": 1.0}
        model = getattr(library, self.tags["model"])(**options)

        def call():
            return model.fit(self.X, self.y)

        return Built(call, lambda: _named(call()))

    def ours(self) -> Built:
        """Build our fit."""
        from equipoise import linear_model

        return self._built(linear_model)

    def theirs(self) -> Built:
        """Build scikit-learn's fit."""
        from sklearn import linear_model

        return self._built(linear_model)

    def errors(self, outputs: dict[str, Any]) -> dict[str, tuple[float, float]]:
        """Measure the coefficients against the oracle at the alpha that was chosen."""
        exact = oracle(self.X, self.y, outputs["alpha"])
        error = float(np.abs(outputs["coef"] - exact).max() / np.abs(exact).max())
        return {"coef": (error, BARS[self.tags["dtype"]])}


def _named(model) -> dict[str, Any]:
    return {"coef": model.coef_, "alpha": float(getattr(model, "alpha_", 1.0))}


def extras(point: Point, case: RidgeCase) -> dict[str, float]:
    """Measure what our fit allocates beyond X, the square matrix that it factors apart."""
    call = case.ours().call
    call()
    square = 8 * min(case.X.shape) ** 2
    matrices = 1 if point.tags["model"] == "Ridge" else 2
    return {PEAK: max(0.0, traced_peak(call) - matrices * square) / case.X.nbytes}


def _is(model, kind, dtype):
    def where(tags):
        return (tags["model"], tags["kind"], tags["dtype"]) == (model, kind, dtype)

    return where


def _worst(model, kind, dtype):
    return worst_ratio("scikit-learn", _is(model, kind, dtype))


BENCHMARK = Benchmark(
    name="ridge",
    title="ridge",
    notes=(
        "Fits to standard normal X in C order. RidgeCV tries 20 alphas by exact leave-one-out. "
        "Errors are of the coefficients against a plain float64 solution, relative to the "
        "largest coefficient. Memory is the peak of what NumPy allocates during a fit, without "
        "the square matrix that is factored (and its eigenvectors, for RidgeCV). Before each "
        "sample all rest for 50 ms, the time for which OpenBLAS lets the threads of the contender "
        "before spin."
    ),
    points=points,
    case=RidgeCase,
    groups=(Group("all", lambda tags: True),),
    targets=(
        Target("RidgeCV (20 alphas, LOO) 1M x 50", _worst("RidgeCV", "tall", "f64"), 20.0),
        Target("Ridge 1M x 50", _worst("Ridge", "tall", "f64"), 2.0),
        Target("Ridge 2000 x 10k", _worst("Ridge", "wide", "f64"), 1.4),
        Target("RidgeCV 2000 x 10k", _worst("RidgeCV", "wide", "f64"), 1.0),
        Target("Ridge 1M x 50, float32", _worst("Ridge", "tall", "f32"), 2.0),
        Target("Ridge 2000 x 10k, float32", _worst("Ridge", "wide", "f32"), 1.4),
        Target("peak memory, of X", worst_extra(PEAK), 0.2, at_least=False),
    ),
    copy_limit=False,
    extras=extras,
    plan=Plan(rest=0.05),
)
