"""The process that times: started by ``benchmarks.run`` with its environment already set."""

import json
import sys
from importlib import import_module
from pathlib import Path

from benchmarks.environment import OthersShare, warm_heap
from benchmarks.harness import run
from benchmarks.model import Benchmark, Point, Result, WrongKernel
from benchmarks.timing import Plan


def load_benchmark(name: str) -> Benchmark:
    """Import the benchmark of that name."""
    return import_module(f"benchmarks.{name}").BENCHMARK


def main(request: dict) -> int:
    """Run one benchmark under one malloc setting; write the results where the request says."""
    benchmark = load_benchmark(request["name"])
    chosen = set(request["points"])
    points = [p for p in benchmark.points(request["quick"]) if p.name in chosen]
    warm_heap(request["malloc"])
    record = {"malloc": request["malloc"], "threads": request["threads"], "stopped": ""}
    others = OthersShare()
    results, code = _results(benchmark, points, request, record)
    record["others"] = others.stop()
    record["results"] = [r.to_json() for r in results]
    Path(request["out"]).write_text(json.dumps(record))
    return code


def _results(
    benchmark: Benchmark, points: list[Point], request: dict, record: dict
) -> tuple[list[Result], int]:
    try:
        plan = Plan(**request["plan"])
        threads = request["threads"]
        return run(benchmark, points, threads, request["compile"], plan, _say), 0
    except WrongKernel as wrong:
        record["stopped"] = str(wrong)
        return wrong.results, 1
    except KeyboardInterrupt as stop:
        record["stopped"] = "interrupted"
        return getattr(stop, "results", []), 130


def _say(line: str) -> None:
    print(f"  {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
