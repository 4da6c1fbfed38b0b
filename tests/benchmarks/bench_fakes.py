"""A benchmark of arithmetic, whose contenders can be made wrong, slow or absent."""

from benchmarks.model import Benchmark, Built, Contender, Entry, Group, Point, Result, Target
from benchmarks.summary import geomean_of, worst_ratio


def point(name="p", **tags):
    """Make a point of one 4 MB tensor."""
    return Point(name, {"op": "fwd", **tags}, bytes=4 * 2**20, sweeps=2)


def built(answer=1.0):
    """Make a contender that gives ``answer``."""
    return Built(lambda: sum(range(50)), lambda: {"answer": answer})


def absent():
    """Fail to build, as a contender whose package is missing does."""
    raise ModuleNotFoundError("No module named 'peer'\nsecond line")


class FakeCase:
    """The right answer is 1, to within 1e-6."""

    def __init__(self, *contenders):
        self.contenders = contenders

    def errors(self, outputs):
        """Measure the distance to the right answer."""
        return {"answer": (abs(outputs["answer"] - 1.0), 1e-6)}


def ours(answer=1.0, **options):
    """Make our contender."""
    return Contender("ours", "ours", lambda: built(answer), required=True, **options)


def peer(answer=1.0, build=None, **options):
    """Make a peer."""
    return Contender("peer", "peer", build or (lambda: built(answer)), **options)


def benchmark(*contenders, points=None):
    """Make a benchmark of ``contenders``, without the limit by a copy's bandwidth."""
    return Benchmark(
        name="fake",
        title="fake",
        notes="A fake.",
        points=lambda quick: points or [point()],
        case=lambda p, compiled: FakeCase(*contenders),
        groups=(Group("all", lambda tags: True),),
        targets=(
            Target("geomean", geomean_of("peer", lambda tags: True), 1.5),
            Target("never slower", worst_ratio("peer", lambda tags: True), 0.95),
        ),
        copy_limit=False,
    )


def result(name, ours, peer, threads=2, limit=float("nan"), accurate=True, size=4 * 2**20):
    """Make a result from (median, p10) of ours and of the peer."""
    entries = {
        "ours": Entry("ours", "ours", *ours, rounds=15, error=1e-7),
        "peer": Entry("peer", "ours", *peer, rounds=15, error=1e-5, accurate=accurate),
    }
    return Result(name, {"op": "fwd"}, size, 2, threads, entries, limit)


def report(results, second=()):
    """Wrap results as a run would."""

    def run(rs):
        return {"results": [r.to_json() for r in rs], "others": 0.01, "stopped": ""}

    return {
        "benchmark": "fake",
        "machine": {k: "x" for k in ("CPU", "cores", "caches", "versions", "commit")},
        "load": {"average": 0.1, "busy": 0.02, "warning": ""},
        "runs": {"tuned": run(results), **({"default": run(second)} if second else {})},
    }
