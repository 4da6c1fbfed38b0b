"""Run a benchmark's points: first every contender against float64, then the clock."""

from collections.abc import Callable, Sequence
from contextlib import contextmanager

import torch

from benchmarks.model import (
    Benchmark,
    Built,
    Case,
    Contender,
    Entry,
    NoData,
    Point,
    Result,
    WrongKernel,
)
from benchmarks.timing import Plan, Samples, copy_seconds_per_byte, interleave, percentile

# bandwidth drifts with what else the machine does, so it is measured all along
COPY_EVERY = 10


@contextmanager
def thread_count(n: int):
    """Let torch, and our kernels with it, use ``n`` threads inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def run(
    benchmark: Benchmark,
    points: Sequence[Point],
    threads: Sequence[int],
    compiled: bool = True,
    plan: Plan | None = None,
    say: Callable[[str], None] = print,
) -> list[Result]:
    """Check and time ``points`` at each of ``threads``; stops at the first wrong kernel of ours.

    Raises
    ------
    WrongKernel
        With the results so far as its ``results``.
    """
    plan = plan or Plan()
    copies: dict[int, list[float]] = {n: [] for n in threads}
    _copy(benchmark, copies)
    results: list[Result] = []
    try:
        for number, point in enumerate(points, 1):
            try:
                found = _run_point(benchmark, point, threads, compiled, plan)
            except NoData as absent:
                say(f"{number}/{len(points)} {point.name}: left out, {absent}")
                continue
            results += found
            say(f"{number}/{len(points)} {_line(found[0])}")
            if number % COPY_EVERY == 0:
                _copy(benchmark, copies)
    except (WrongKernel, KeyboardInterrupt) as stop:
        stop.results = results  # type: ignore[union-attr]
        raise
    finally:
        _copy(benchmark, copies)
        if benchmark.copy_limit:
            _set_copy_limits(results, copies)
    return results


def _copy(benchmark: Benchmark, copies: dict[int, list[float]]) -> None:
    for n in copies if benchmark.copy_limit else ():
        with thread_count(n):
            copies[n] += copy_seconds_per_byte()


def _set_copy_limits(results: Sequence[Result], copies: dict[int, list[float]]) -> None:
    for result in results:
        # the fast copies: a copy slowed down by other work is no limit of the machine
        per_byte = percentile(copies[result.threads], 0.1)
        result.limit = per_byte * result.bytes * result.sweeps
        result.extras["copy GB/s"] = 1e-9 / per_byte


def _run_point(benchmark, point, threads, compiled, plan) -> list[Result]:
    case = benchmark.case(point, compiled and point.compiled)
    built, failed = build(point, case.contenders)
    results = []
    for n in threads:
        mine = {c.name: c for c in case.contenders if c.every_thread_count or n == max(threads)}
        entries = {}
        for name, contender in mine.items():
            entries[name] = failed.get(name) or _checked(point, case, contender, built[name], n)
        _time(entries, built, n, plan)
        result = Result(point.name, point.tags, point.bytes, point.sweeps, n, entries)
        if not benchmark.copy_limit:
            result.limit = _limit(entries)
        results.append(result)
    if benchmark.extras is not None:
        extras = benchmark.extras(point, case)
        for result in results:
            result.extras.update(extras)
    return results


def build(
    point: Point, contenders: Sequence[Contender]
) -> tuple[dict[str, Built], dict[str, Entry]]:
    """Build the contenders; one that cannot be built is reported, unless it is required."""
    built, failed = {}, {}
    for contender in contenders:
        try:
            built[contender.name] = contender.build()
        except Exception as error:
            if contender.required:
                raise WrongKernel(_message(point, contender, _short(error))) from error
            entry = Entry(contender.role, contender.against, failed=_short(error), accurate=False)
            failed[contender.name] = entry
    return built, failed


def _checked(point: Point, case: Case, contender: Contender, built: Built, n: int) -> Entry:
    """Run a contender once and measure its outputs; ours must be right, a peer is marked."""
    entry = Entry(contender.role, contender.against)
    try:
        with thread_count(n):
            outputs = built.probe()
    except Exception as error:
        if contender.required:
            raise WrongKernel(_message(point, contender, _short(error))) from error
        entry.failed, entry.accurate = _short(error), False
        return entry
    judge(entry, case.errors(outputs))
    if not entry.accurate and contender.role == "ours":
        reason = f"error of {entry.error_in} at {n} thread(s) is {entry.error:.3g}"
        raise WrongKernel(_message(point, contender, reason))
    return entry


def judge(entry: Entry, errors: dict[str, tuple[float, float]]) -> None:
    """Note the error that is worst against its bar; a NaN is worse than any number."""

    def excess(item):
        error, bar = item[1]
        return error / bar if error == error else float("inf")

    name, (error, bar) = max(errors.items(), key=excess)
    entry.error, entry.error_in = error, name
    entry.accurate = bool(error <= bar)


def _time(entries: dict[str, Entry], built: dict[str, Built], n: int, plan: Plan) -> None:
    calls = {name: built[name].call for name, entry in entries.items() if not entry.failed}
    with thread_count(n):
        timed = interleave(calls, plan)
    for name, samples in timed.items():
        _note(entries[name], samples)


def _note(entry: Entry, samples: Samples) -> None:
    entry.median = percentile(samples.seconds, 0.5)
    entry.p10 = percentile(samples.seconds, 0.1)
    entry.rounds = len(samples.seconds)
    entry.faults = percentile(samples.faults, 0.5)


def _limit(entries: dict[str, Entry]) -> float:
    times = [e.median for e in entries.values() if e.role == "limit" and not e.failed]
    return min(times, default=float("nan"))


def _message(point: Point, contender: Contender, reason: str) -> str:
    return f"{point.name}: {contender.name} is not timed, {reason}"


def _short(error: Exception) -> str:
    """Give the first line of an error, short enough for a table's footnote."""
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0] if text else ''}"[:160]


def _line(result: Result) -> str:
    times = ", ".join(
        f"{name} failed" if e.failed else f"{name} {e.median * 1e3:.3g} ms"
        for name, e in result.entries.items()
    )
    return f"{result.point}: {times}"
