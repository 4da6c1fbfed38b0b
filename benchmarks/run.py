"""``python -m benchmarks.run [NAME]``: run a benchmark in child processes and show the outcome."""

import argparse
import json
import re
import signal
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from benchmarks import environment
from benchmarks.timing import Plan

ROOT = Path(__file__).parent.parent
NAMES = {
    "moments": "one pass of Moments.of against one bare read of the same matrix",
    "streaming": "a scaler's fit of 2 GB of Parquet against polars, and its memory",
    "batch_norm": "BatchNorm against torch, eager and compiled, in both layouts",
    "layers": "every norm, bare and fused, against torch, eager and compiled",
    "scaling": "the scalers on matrices in memory against scikit-learn and polars",
    "ridge": "Ridge and RidgeCV against scikit-learn, and their memory",
    "linear": "Lasso, paths and cross-validation against four libraries at equal duality gap",
}


# benchmarks that run on a GPU too: the module of that name with this ending
ON_CUDA = ("layers",)


class Usage(Exception):
    """What the user asked for cannot be done; the message says what can."""


def parser(name: str) -> argparse.ArgumentParser:
    """Build the command line that all benchmarks share."""
    p = argparse.ArgumentParser(prog=f"equipoise bench {name}", description=NAMES[name])
    p.add_argument("--quick", action="store_true", help="few and small points, short samples")
    p.add_argument("--points", metavar="PATTERN", help="only points whose name matches this regex")
    p.add_argument("--list", action="store_true", help="name the points and stop")
    p.add_argument("--malloc", choices=("both", "tuned", "default"), default="both")
    p.add_argument(
        "--wait",
        choices=tuple(environment.WAIT),
        default="passive",
        help="how OpenMP threads wait: asleep (steadier on a shared machine) or as they are set",
    )
    if name in ON_CUDA:
        p.add_argument("--device", choices=("cpu", "cuda"), help="a GPU where there is one")
    p.add_argument("--threads", type=int, metavar="N", help="the most threads (all cores)")
    p.add_argument(
        "--compile",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="also torch.compile, at the points marked so (needs a C++ compiler)",
    )
    p.add_argument("--json", metavar="FILE", help="write everything measured to FILE")
    p.add_argument("--write", action="store_true", help="record the run in benchmarks/RESULTS.md")
    return p


def main(name: str | None, argv: list[str]) -> int:
    """Run the benchmark ``name``, or list them; give the exit code.

    0: timed, whatever the targets say. 1: a kernel of ours is wrong. 2: bad usage.
    130: interrupted.
    """
    if name is None:
        print("\n".join(f"{n:12} {what}" for n, what in NAMES.items()))
        return 0
    if name not in NAMES:
        print(f"no benchmark {name!r}; there are: {', '.join(NAMES)}", file=sys.stderr)
        return 2
    try:
        return _main(name, parser(name).parse_args(argv))
    except Usage as error:
        print(error, file=sys.stderr)
        return 2
    except SystemExit as stop:
        return int(stop.code or 0)


def _main(name: str, args: argparse.Namespace) -> int:
    from benchmarks.child import load_benchmark

    cuda = _on_cuda(args)
    if cuda:
        name, args.threads, args.malloc = f"{name}_cuda", 1, "tuned"
    points = select(load_benchmark(name).points(args.quick), args.points)
    if args.list:
        print("\n".join(p.name for p in points))
        return 0
    _check(args, points)
    average, busy = environment.load()
    warning = environment.load_warning(average, busy)
    if warning:
        print(f"warning: {warning}", file=sys.stderr)
    runs, code = _run_all(name, args, points)
    report = {
        "benchmark": name,
        "quick": args.quick,
        "selection": args.points or "",
        "machine": {**environment.describe(args.wait), **({"GPU": _gpu()} if cuda else {})},
        "load": {"average": average, "busy": busy, "warning": warning or ""},
        "runs": runs,
    }
    return _show(name, args, report, code)


def _on_cuda(args) -> bool:
    """Tell whether the GPU's benchmark is meant; refuse it where there is no GPU."""
    wanted = getattr(args, "device", "cpu")
    if wanted == "cpu":
        return False
    from torch import cuda

    if wanted == "cuda" and not cuda.is_available():
        raise Usage("--device cuda needs a GPU that torch sees, and it sees none: leave it out")
    return cuda.is_available()


def _gpu() -> str:
    from torch import cuda, version

    return f"{cuda.get_device_name()}, CUDA {version.cuda}"


def select(points, pattern: str | None):
    """Keep the points whose name matches ``pattern``, a regular expression; all for None."""
    try:
        chosen = [p for p in points if pattern is None or re.search(pattern, p.name)]
    except re.error as error:
        raise Usage(f"--points {pattern!r} is no regular expression: {error}") from error
    if not chosen:
        raise Usage(f"--points {pattern!r} matches no point; --list names them")
    return chosen


def _check(args: argparse.Namespace, points) -> None:
    """Refuse before the long run what would fail after it."""
    if args.threads is not None and not 1 <= args.threads <= environment.cores():
        raise Usage(f"--threads {args.threads} must be 1 to {environment.cores()}, the cores here")
    if args.write and (args.quick or args.points):
        raise Usage("--write records full runs only: leave out --quick and --points")
    if args.json and not Path(args.json).resolve().parent.is_dir():
        raise Usage(f"--json {args.json}: its folder does not exist")


def _run_all(name: str, args, points) -> tuple[dict[str, dict], int]:
    """Run the children one after the other; stop at the first that fails."""
    runs = {}
    for malloc in ("tuned", "default") if args.malloc == "both" else (args.malloc,):
        request = _request(name, args, points, malloc)
        if not request["points"]:
            continue
        print(f"{name}, malloc {malloc}, {len(request['points'])} points", file=sys.stderr)
        code, record = _child(request)
        if record is not None:
            runs[malloc] = record
        if code:
            return runs, code
    return runs, 0


def _request(name: str, args, points, malloc: str) -> dict:
    """Say what a child has to do; beside the tuned run the default one is shorter."""
    from benchmarks.child import load_benchmark

    threads = args.threads or environment.cores()
    second = args.malloc == "both" and malloc == "default"
    chosen = [p.name for p in points if not second or p.both_mallocs]
    quick = Plan(min_rounds=7, min_seconds=0.05, max_seconds=0.5, floor=3)
    return {
        "name": name,
        "points": chosen,
        "quick": args.quick,
        "malloc": malloc,
        "wait": args.wait,
        "threads": [threads] if second or threads == 1 else [threads, 1],
        "compile": args.compile and not second,
        "plan": asdict(quick if args.quick else load_benchmark(name).plan),
    }


def _child(request: dict) -> tuple[int, dict | None]:
    """Run one child to its end; Ctrl-C goes to it, and it hands back what it has."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "record.json"
        command = [
            sys.executable,
            "-m",
            "benchmarks.child",
            json.dumps({**request, "out": str(out)}),
        ]
        env = environment.child_environment(request["malloc"], request["wait"])
        process = subprocess.Popen(command, cwd=ROOT, env=env)
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            code = process.wait()
        finally:
            signal.signal(signal.SIGINT, before)
        return code, json.loads(out.read_text()) if out.exists() else None


def _show(name: str, args, report: dict, code: int) -> int:
    from benchmarks.child import load_benchmark
    from benchmarks.results import update
    from benchmarks.table import show

    benchmark = load_benchmark(name)
    show(benchmark, report)
    if args.json:
        Path(args.json).write_text(json.dumps(report, indent=1) + "\n")
    for record in report["runs"].values():
        if record["stopped"]:
            print(record["stopped"], file=sys.stderr)
    if args.write and code == 0:
        update(ROOT / "benchmarks" / "RESULTS.md", benchmark, report)
    return code


if __name__ == "__main__":
    rest = sys.argv[1:]
    named = rest[0] if rest and not rest[0].startswith("-") else None
    if named is None and rest and rest[0] not in ("-h", "--help"):
        print("name the benchmark first: python -m benchmarks.run NAME [options]", file=sys.stderr)
        sys.exit(2)
    sys.exit(main(named, rest[1:]))
