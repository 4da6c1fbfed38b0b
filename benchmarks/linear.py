"""Lasso, paths, cross-validation and Ridge against scikit-learn, at equal duality gap."""

import warnings
from functools import partial
from typing import Any

import numpy as np

from benchmarks.linear_cases import alpha_max, data, relative_gap
from benchmarks.model import Benchmark, Built, Contender, Group, Point, Target
from benchmarks.peak import traced_peak
from benchmarks.summary import worst_extra, worst_ratio

GAP = 1e-6
SKLEARN = "scikit-learn"
PEAK = "peak beyond X, share of X"
FIT, PATH, CV, RIDGE, RIDGE_CV = "lasso", "path", "cv", "ridge", "ridge_cv"
ALPHAS = np.geomspace(1e-2, 1e4, 20)


def points(quick: bool) -> list[Point]:
    """List the points; the quick ones are small."""
    if quick:
        return [
            _point(FIT, 100, 1000, fraction=0.1),
            _point(FIT, 1000, 50, fraction=0.01, order="C"),
            _point(PATH, 60, 500),
            _point(FIT, 500, 2000, fraction=0.1, density=0.01),
            _point(RIDGE, 5000, 20),
        ]
    wide = [
        _point(FIT, 500, 10_000, fraction=f, order=o, rho=rho, intercept=i, seed=seed)
        for f, o, rho, i, seed in (
            (0.1, "F", 0.0, True, 0), (0.1, "C", 0.0, True, 0), (0.1, "F", 0.0, False, 1),
            (0.01, "F", 0.0, True, 0), (0.01, "C", 0.0, True, 1), (0.01, "F", 0.0, False, 2),
            (0.1, "F", 0.6, True, 0), (0.1, "F", 0.95, True, 1),
            (0.01, "C", 0.6, True, 2), (0.01, "F", 0.95, False, 0),
        )
    ]  # fmt: skip
    large = [_point(FIT, 1000, 50_000, fraction=0.05)]
    tall = [
        _point(FIT, n, p, fraction=0.01, order=o)
        for n, p in ((20_000, 500), (200_000, 100))
        for o in "FC"
    ]
    paths = [_point(PATH, n, p) for n, p in ((200, 10_000), (20_000, 500), (2000, 2000))]
    sparse = [_point(FIT, 20_000, 100_000, fraction=f, density=1e-3) for f in (0.1, 1 / 30)]
    ridge = [
        _point(RIDGE, 1_000_000, 50, order="C"),
        _point(RIDGE, 2000, 10_000),
        _point(RIDGE_CV, 2000, 10_000),
        _point(RIDGE_CV, 1_000_000, 50, order="C"),
    ]
    return [*wide, *large, *tall, *paths, _point(CV, 2000, 2000), *sparse, *ridge]


def _point(
    task, n, p, fraction=0.0, order="F", rho=0.0, intercept=True, density=1.0, seed=0
) -> Point:
    tags = {
        "task": task, "n": n, "p": p, "fraction": fraction, "order": order, "rho": rho,
        "intercept": intercept, "density": density, "seed": seed, "dtype": "float64",
    }  # fmt: skip
    name = f"{task} {n}x{p}"
    name += f" /{round(1 / fraction)}" if fraction else ""
    name += f" density {density:g}" if density < 1 else f" {order}"
    name += f" rho {rho:g}" if rho else ""
    name += "" if intercept else " no intercept"
    return Point(name, tags, int(n * p * 8 * density), 1, both_mallocs=False)


def _modules() -> dict[str, Any]:
    import sklearn.linear_model as peer

    import equipoise.linear_model as ours

    return {"ours": ours, SKLEARN: peer}


def _quietly(call):
    """Run a fit; a contender that does not converge shows in its gap."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return call()


class LinearCase:
    """One problem, its penalty, and the contenders."""

    def __init__(self, point: Point, compiled: bool):
        del compiled
        t = self.tags = point.tags
        self.X, self.y = data(
            t["n"], t["p"], t["rho"], t["order"], t["density"], t["seed"], t["dtype"]
        )
        self.intercept = t["intercept"]
        if t["task"] in (FIT, PATH, CV):
            self.most = alpha_max(self.X, self.y, self.intercept)
        roles = {"ours": "ours", SKLEARN: "peer"}
        self.contenders = [
            Contender(name, role, partial(self.build, name), required=role == "ours",
                      every_thread_count=False)
            for name, role in roles.items()
        ]  # fmt: skip

    def build(self, name: str) -> Built:
        """Build a contender: the fit to time, and what its coefficients are judged by."""
        module = _modules()[name]
        call = partial(_quietly, partial(getattr(self, f"_{self.tags['task']}"), module))
        return Built(call, lambda: getattr(self, f"_judge_{self.tags['task']}")(call()))

    def _lasso(self, module):
        model = module.Lasso(
            alpha=self.most * self.tags["fraction"], tol=GAP, max_iter=100_000,
            fit_intercept=self.intercept,
        )  # fmt: skip
        return model.fit(self.X, self.y)

    def _judge_lasso(self, model):
        alpha = self.most * self.tags["fraction"]
        return {"gap": relative_gap(self.X, self.y, self.intercept, alpha, model.coef_)}

    def _path(self, module):
        # both expect centred data; columns of mean zero are what the generator gives
        alphas = np.geomspace(self.most, self.most * 1e-3, 100)
        return module.lasso_path(self.X, self.y, alphas=alphas, tol=GAP, max_iter=100_000)

    def _judge_path(self, found):
        alphas, coefs = found[:2]
        gaps = [
            relative_gap(self.X, self.y, False, a, w) for a, w in zip(alphas, coefs.T, strict=True)
        ]
        return {"gap": max(gaps)}

    def _cv(self, module):
        return module.LassoCV(cv=5, tol=GAP, max_iter=100_000, n_jobs=2).fit(self.X, self.y)

    def _judge_cv(self, model):
        return {"gap": relative_gap(self.X, self.y, True, model.alpha_, model.coef_)}

    def _ridge(self, module):
        return module.Ridge(alpha=1.0).fit(self.X, self.y)

    def _judge_ridge(self, model):
        return {"gradient": self._gradient(model.coef_, 1.0)}

    def _ridge_cv(self, module):
        return module.RidgeCV(alphas=ALPHAS).fit(self.X, self.y)

    def _judge_ridge_cv(self, model):
        return {"gradient": self._gradient(model.coef_, float(model.alpha_))}

    def _gradient(self, coef, alpha) -> float:
        """Give the gradient's norm over the norm of Xᵀy: zero at the solution."""
        r = self.y - self.X @ coef
        r -= r.mean()
        gradient = self.X.T @ r - alpha * np.asarray(coef)
        return float(np.linalg.norm(gradient) / np.linalg.norm(self.X.T @ self.y))

    def errors(self, outputs: dict[str, Any]) -> dict[str, tuple[float, float]]:
        """Hold every contender to the same gap."""
        bars = {"gap": 1.001 * GAP, "gradient": 1e-6}
        return {name: (value, bars[name]) for name, value in outputs.items()}


def extras(point: Point, case: LinearCase) -> dict[str, float]:
    """Measure what a fit allocates beside X, where the Gram matrix is not the larger part."""
    if point.tags["task"] != FIT or point.tags["density"] < 1 or point.bytes < 2**25:
        return {}
    call = case.build("ours").call
    call()
    return {PEAK: traced_peak(call) / point.bytes}


def _is(task, **values):
    def where(tags):
        return tags["task"] == task and all(tags[k] == v for k, v in values.items())

    return where


def _correlated(tags):
    return tags["task"] == FIT and tags["rho"] > 0


def _ratio(label, bar, where) -> Target:
    return Target(f"{SKLEARN}: {label}", worst_ratio(SKLEARN, where), bar)


BENCHMARK = Benchmark(
    name="linear",
    title="linear",
    notes=(
        "y = Xw + noise with 100 informative features of 100 U(0, 1) and noise of standard "
        "deviation 10. Every contender is asked for tol 1e-6, and the duality gap of what it "
        "gives is measured by one function, relative to the centred y's sum of squares; a dagger "
        "marks a peer whose gap is larger. Compile time is not part of the times."
    ),
    points=points,
    case=LinearCase,
    groups=(
        Group("Lasso", lambda tags: tags["task"] == FIT),
        Group("paths", lambda tags: tags["task"] == PATH),
    ),
    targets=(
        _ratio("500x10k at /10", 4, _is(FIT, p=10_000, fraction=0.1, rho=0.0)),
        _ratio("500x10k at /100", 15, _is(FIT, p=10_000, fraction=0.01, rho=0.0)),
        _ratio("correlated designs", 2, _correlated),
        _ratio("1000x50k at /20", 7, _is(FIT, p=50_000)),
        _ratio("20k x 500 at /100, F", 8, _is(FIT, p=500, order="F")),
        _ratio("20k x 500 at /100, C", 4, _is(FIT, p=500, order="C")),
        _ratio("200k x 100 at /100, F", 8, _is(FIT, n=200_000, order="F")),
        _ratio("200k x 100 at /100, C", 4, _is(FIT, n=200_000, order="C")),
        _ratio("path 200x10k", 20, _is(PATH, n=200)),
        _ratio("path 20k x 500", 3, _is(PATH, n=20_000)),
        _ratio("path 2000x2000", 2, _is(PATH, n=2000)),
        _ratio("LassoCV 2000x2000", 3, _is(CV)),
        _ratio("sparse 20k x 100k", 20, lambda tags: tags["density"] == 1e-3),
        _ratio("Ridge 1M x 50", 2, _is(RIDGE, n=1_000_000)),
        _ratio("Ridge 2000x10k", 1.4, _is(RIDGE, n=2000)),
        _ratio("RidgeCV 2000x10k", 1, _is(RIDGE_CV, n=2000)),
        _ratio("RidgeCV 1M x 50", 20, _is(RIDGE_CV, n=1_000_000)),
        Target("peak beyond X, share of X", worst_extra(PEAK), 0.2, at_least=False),
    ),
    copy_limit=False,
    extras=extras,
)
