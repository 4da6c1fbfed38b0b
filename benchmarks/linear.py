"""Lasso, its paths and cross-validation against other libraries, at equal duality gap."""

import warnings
from bisect import bisect_left
from functools import cache, partial
from typing import Any

import numpy as np

from benchmarks.linear_cases import NCI60, alpha_max, data, nci60, relative_gap
from benchmarks.model import Benchmark, Built, Contender, Group, Point, Target
from benchmarks.peak import traced_peak
from benchmarks.peers import NAMES, REQUIREMENTS, Peers
from benchmarks.summary import ratio, worst, worst_extra, worst_ratio
from benchmarks.timing import Plan

GAP = 1e-6
SKLEARN = "scikit-learn"
PEAK = "peak beyond X and the Gram matrix, of X"
FIT, PATH, CV = "lasso", "path", "cv"
# what a peer is asked for in turn, and for a path, which takes up to a minute
TOLERANCES = (1e-3, 1e-5, 1e-6, 1e-7, 1e-8, 1e-10)
FEW = (1e-6, 1e-8)
PEERS = dict(line.split("==") for line in REQUIREMENTS.read_text().splitlines() if "==" in line)


def points(quick: bool) -> list[Point]:
    """List the points; the quick ones are small."""
    if quick:
        return [
            _point(FIT, 100, 1000, fraction=0.1),
            _point(FIT, 1000, 50, fraction=0.01, order="C"),
            _point(PATH, 60, 500),
            _point(FIT, 500, 2000, fraction=0.1, density=0.01),
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
    real = [
        _point(FIT, *NCI60, fraction=f, order=o, intercept=i, source="NCI60")
        for f, o, i in ((0.1, "F", True), (0.01, "C", True), (0.01, "F", False))
    ]
    large = [_point(FIT, 1000, 50_000, fraction=0.05)]
    tall = [
        _point(FIT, n, p, fraction=0.01, order=o)
        for n, p in ((20_000, 500), (200_000, 100))
        for o in "FC"
    ]
    paths = [_point(PATH, n, p) for n, p in ((200, 10_000), (20_000, 500), (2000, 2000))]
    sparse = [_point(FIT, 20_000, 100_000, fraction=f, density=1e-3) for f in (0.1, 1 / 30)]
    return [*wide, *real, *large, *tall, *paths, _point(CV, 2000, 2000), *sparse]


def _point(
    task, n, p, fraction=0.0, order="F", rho=0.0, intercept=True, density=1.0, seed=0, source=""
) -> Point:
    tags = {
        "task": task, "n": n, "p": p, "fraction": fraction, "order": order, "rho": rho,
        "intercept": intercept, "density": density, "seed": seed, "dtype": "float64",
        "source": source,
    }  # fmt: skip
    name = f"{task} {source or f'{n}x{p}'}"
    name += f" /{round(1 / fraction)}" if fraction else ""
    name += f" density {density:g}" if density < 1 else f" {order}"
    name += f" rho {rho:g}" if rho else ""
    name += "" if intercept else " no intercept"
    name += f" seed {seed}" if seed else ""
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


_running: list[tuple[Any, Peers]] = []


def _elsewhere(case: "LinearCase") -> Peers:
    """Give the process that holds this case's data; there is one at a time."""
    if not _running or _running[0][0] is not case or not _running[0][1].alive:
        while _running:
            _running.pop()[1].close()
        _running.append((case, Peers(case.X, case.y)))
    return _running[0][1]


class LinearCase:
    """One problem, its penalty, and the contenders."""

    def __init__(self, point: Point, compiled: bool):
        del compiled
        t = self.tags = point.tags
        drawn = (t["n"], t["p"], t["rho"], t["order"], t["density"], t["seed"], t["dtype"])
        self.X, self.y = nci60(t["order"]) if t["source"] else data(*drawn)
        self.intercept = t["intercept"]
        self.most = alpha_max(self.X, self.y, self.intercept)
        roles = {"ours": "ours", SKLEARN: "peer"}
        self.contenders = [
            Contender(name, role, partial(self.build, name), required=role == "ours",
                      every_thread_count=False)
            for name, role in roles.items()
        ]  # fmt: skip
        if t["task"] in (FIT, PATH):
            # adelie takes no sparse matrix of SciPy's
            names = NAMES if t["density"] == 1 else NAMES[:2]
            self.contenders += [
                Contender(f"{name} {PEERS[name]}", "peer", partial(self.build_elsewhere, name),
                          every_thread_count=False)
                for name in names
            ]  # fmt: skip

    def build(self, name: str) -> Built:
        """Build a contender: the fit to time, and what its coefficients are judged by."""
        module = _modules()[name]
        call = partial(_quietly, partial(getattr(self, f"_{self.tags['task']}"), module))
        return Built(call, lambda: getattr(self, f"_judge_{self.tags['task']}")(call()))

    def build_elsewhere(self, name: str) -> Built:
        """Build a contender that runs in the peers' process; a call waits for its answer."""
        t = self.tags
        task: dict[str, Any] = {"fit_intercept": self.intercept}
        if t["task"] == FIT:
            task["alpha"] = self.most * t["fraction"]
        else:
            task |= {"alphas": self._alphas().tolist(), "fit_intercept": False}
        peers = _elsewhere(self)

        @cache
        def gap(tol):
            coef = peers.fit(name, tol=tol, **task)[1]
            if t["task"] == FIT:
                return self._gap(coef)["gap"]
            return self._judge_path((self._alphas(), coef.T))["gap"]

        # tol means another thing to each: the largest that reaches the gap is theirs
        asked = TOLERANCES if t["task"] == FIT else FEW
        tol = asked[bisect_left(asked[:-1], True, key=lambda tol: gap(tol) <= GAP)]
        return Built(lambda: peers.time(name, tol=tol, **task), lambda: {"gap": gap(tol)})

    def _alphas(self):
        return np.geomspace(self.most, self.most * 1e-3, 100)

    def _gap(self, coef):
        alpha = self.most * self.tags["fraction"]
        return {"gap": relative_gap(self.X, self.y, self.intercept, alpha, coef)}

    def _lasso(self, module):
        model = module.Lasso(
            alpha=self.most * self.tags["fraction"], tol=GAP, max_iter=100_000,
            fit_intercept=self.intercept,
        )  # fmt: skip
        return model.fit(self.X, self.y)

    def _judge_lasso(self, model):
        return self._gap(model.coef_)

    def _path(self, module):
        # both expect centred data; columns of mean zero are what the generator gives
        return module.lasso_path(self.X, self.y, alphas=self._alphas(), tol=GAP, max_iter=100_000)

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

    def errors(self, outputs: dict[str, Any]) -> dict[str, tuple[float, float]]:
        """Hold every contender to the same gap."""
        return {name: (value, 1.001 * GAP) for name, value in outputs.items()}


def extras(point: Point, case: LinearCase) -> dict[str, float]:
    """Measure what a fit allocates beside X and the Gram matrix of its working set."""
    if point.tags["task"] != FIT or point.tags["density"] < 1 or point.bytes < 2**25:
        return {}
    call = case.build("ours").call
    gram = call().solver_info_["gram_bytes"]
    return {PEAK: (traced_peak(call) - gram) / point.bytes}


def _is(task, **values):
    def where(tags):
        return tags["task"] == task and all(tags[k] == v for k, v in values.items())

    return where


def _correlated(tags):
    return tags["task"] == FIT and tags["rho"] > 0


def _tall(tags):
    return tags["task"] == FIT and tags["n"] > tags["p"]


def _sparse(tags):
    return tags["density"] < 1


def _ratio(label, bar, where) -> Target:
    return Target(f"{SKLEARN}: {label}", worst_ratio(SKLEARN, where), bar)


def _best(label, bar, where, only="") -> Target:
    """Build a target against the fastest of the other peers that reach the gap."""

    def value(results):
        chosen = [(r, name) for r in results if where(r.tags) for name in r.entries]
        return worst(
            (ratio(r, name), f"{r.point}, {name}")
            for r, name in chosen
            if name.startswith(only or tuple(NAMES)) and r.entries[name].accurate
        )

    return Target(f"{only or 'best other peer'}: {label}", value, bar)


BENCHMARK = Benchmark(
    name="linear",
    title="linear",
    notes=(
        "y = Xw + noise with 100 informative features of 100 U(0, 1) and noise of standard "
        "deviation 10; NCI60 is 6830 genes of 64 tumours, and whether each is a melanoma. Ours "
        "and scikit-learn are asked for tol 1e-6, each other peer for the largest tol of a few "
        "that reaches a gap of 1e-6. The duality gap of what comes back is measured by one "
        "function, relative to the centred y's sum of squares; a dagger marks a peer whose gap is "
        "larger. celer, skglm and adelie run in a process of their own, on X in Fortran order, and "
        "their times hold the wait for its answer, below a millisecond. Before each sample all "
        "rest for 50 ms, the time for which OpenBLAS lets the threads of the contender before "
        "spin. Compile time is not part of the times."
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
        _ratio("NCI60", 2, _is(FIT, source="NCI60")),
        _ratio("1000x50k at /20", 7, _is(FIT, p=50_000)),
        _ratio("20k x 500 at /100, F", 8, _is(FIT, p=500, order="F")),
        _ratio("20k x 500 at /100, C", 4, _is(FIT, p=500, order="C")),
        _ratio("200k x 100 at /100, F", 8, _is(FIT, n=200_000, order="F")),
        _ratio("200k x 100 at /100, C", 4, _is(FIT, n=200_000, order="C")),
        _ratio("path 200x10k", 20, _is(PATH, n=200)),
        _ratio("path 20k x 500", 3, _is(PATH, n=20_000)),
        _ratio("path 2000x2000", 2, _is(PATH, n=2000)),
        _ratio("LassoCV 2000x2000", 3, _is(CV)),
        _ratio("sparse 20k x 100k", 20, _sparse),
        _best("500x10k at /10", 3, _is(FIT, p=10_000, fraction=0.1, rho=0.0)),
        _best("500x10k at /100", 3, _is(FIT, p=10_000, fraction=0.01, rho=0.0)),
        _best("correlated designs", 2, _correlated),
        _best("NCI60", 2, _is(FIT, source="NCI60")),
        _best("1000x50k at /20", 4, _is(FIT, p=50_000)),
        _best("20k x 500 and 200k x 100 at /100", 4, _tall, "adelie"),
        _best("path 200x10k", 1.5, _is(PATH, n=200)),
        _best("path 20k x 500", 1.5, _is(PATH, n=20_000)),
        _best("path 2000x2000", 1.5, _is(PATH, n=2000)),
        _best("sparse 20k x 100k", 5, _sparse, "celer"),
        _best("sparse 20k x 100k", 2, _sparse, "skglm"),
        Target(PEAK, worst_extra(PEAK), 0.2, at_least=False),
    ),
    copy_limit=False,
    extras=extras,
    # against peers that take seconds a fit
    plan=Plan(min_rounds=9, max_seconds=1.0, hard_seconds=3.0, floor=5, rest=0.05),
)
