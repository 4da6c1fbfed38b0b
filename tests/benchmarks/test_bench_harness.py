"""The harness checks before it times, and refuses a wrong kernel of ours."""

from dataclasses import replace

import bench_fakes as fakes
import pytest
import torch

from benchmarks import harness
from benchmarks.harness import judge, run, thread_count
from benchmarks.model import Contender, Entry, NoData, Result, WrongKernel
from benchmarks.timing import Plan

SHORT = Plan(min_rounds=2, min_seconds=0.0, max_seconds=0.1, floor=2, sample_seconds=1e-6)


def go(benchmark, threads=(1,)):
    return run(benchmark, benchmark.points(False), threads, plan=SHORT, say=lambda line: None)


def test_times_every_contender():
    (result,) = go(fakes.benchmark(fakes.ours(), fakes.peer()))
    assert list(result.entries) == ["ours", "peer"]
    for entry in result.entries.values():
        assert entry.rounds == 2
        assert 0 < entry.p10 <= entry.median


def test_a_point_without_its_data_is_left_out_and_named():
    def case(point, compiled):
        if point.name == "gone":
            raise NoData("no network")
        return fakes.FakeCase(fakes.ours())

    points = [fakes.point("gone"), fakes.point("here")]
    said = []
    benchmark = replace(fakes.benchmark(fakes.ours(), points=points), case=case)
    results = run(benchmark, points, [1], plan=SHORT, say=said.append)
    assert [r.point for r in results] == ["here"]
    assert "gone: left out, no network" in said[0]


@pytest.mark.parametrize("wrong", [1.1, float("nan"), float("inf")])
def test_refuses_a_wrong_kernel_of_ours_and_names_the_point(wrong):
    points = [fakes.point("good"), fakes.point("bad")]
    contender = fakes.ours()
    broken = fakes.ours(wrong)
    benchmark = replace(
        fakes.benchmark(points=points),
        case=lambda p, compiled: fakes.FakeCase(broken if p.name == "bad" else contender),
    )
    with pytest.raises(WrongKernel, match="bad: ours is not timed, error of answer") as caught:
        go(benchmark)
    assert [r.point for r in caught.value.results] == ["good"]


def test_a_wrong_kernel_is_never_timed():
    calls = []
    wrong = fakes.built(2.0)._replace(call=lambda: calls.append(1))
    with pytest.raises(WrongKernel):
        go(fakes.benchmark(Contender("ours", "ours", lambda: wrong, required=True)))
    assert calls == []


def test_refuses_our_optional_contender_too_when_wrong():
    compiled = Contender("ours compiled", "ours", lambda: fakes.built(2.0))
    with pytest.raises(WrongKernel, match="ours compiled"):
        go(fakes.benchmark(fakes.ours(), compiled))


def test_a_wrong_kernel_at_one_thread_is_found():
    def probe():
        return {"answer": 1.0 if torch.get_num_threads() > 1 else 2.0}

    serial = fakes.built()._replace(probe=probe)
    with pytest.raises(WrongKernel, match=r"at 1 thread"):
        go(fakes.benchmark(Contender("ours", "ours", lambda: serial, required=True)), (2, 1))


def test_marks_an_inaccurate_peer_and_times_it():
    (result,) = go(fakes.benchmark(fakes.ours(), fakes.peer(1.1)))
    entry = result.entries["peer"]
    assert not entry.accurate
    assert entry.error == pytest.approx(0.1)
    assert entry.median > 0


def test_a_peer_that_does_not_build_is_reported():
    (result,) = go(fakes.benchmark(fakes.ours(), fakes.peer(build=fakes.absent)))
    assert result.entries["peer"].failed == "ModuleNotFoundError: No module named 'peer'"
    assert result.entries["ours"].median > 0


def test_a_peer_that_raises_when_run_is_reported():
    def probe():
        raise RuntimeError("no compiler")

    raising = fakes.built()._replace(probe=probe)
    (result,) = go(fakes.benchmark(fakes.ours(), fakes.peer(build=lambda: raising)))
    assert result.entries["peer"].failed == "RuntimeError: no compiler"


def test_ours_must_build():
    missing = Contender("ours", "ours", fakes.absent, required=True)
    with pytest.raises(WrongKernel, match="p: ours is not timed, ModuleNotFoundError"):
        go(fakes.benchmark(missing, fakes.peer()))


def test_runs_at_each_thread_count_and_restores_it():
    before = torch.get_num_threads()
    results = go(fakes.benchmark(fakes.ours(), fakes.peer(every_thread_count=False)), (2, 1))
    assert [(r.threads, list(r.entries)) for r in results] == [(2, ["ours", "peer"]), (1, ["ours"])]
    assert torch.get_num_threads() == before


def test_thread_count_is_restored_after_an_error():
    before = torch.get_num_threads()
    with pytest.raises(RuntimeError), thread_count(1):
        raise RuntimeError
    assert torch.get_num_threads() == before


def test_the_limit_is_the_fastest_bare_sweep():
    sweep = Contender("read", "limit", fakes.built)
    (result,) = go(fakes.benchmark(fakes.ours(), sweep))
    assert result.limit == result.entries["read"].median


def test_judge_picks_the_worst_against_its_own_bar():
    entry = Entry("peer", "ours")
    judge(entry, {"loose": (0.1, 1.0), "tight": (0.01, 0.001)})
    assert (entry.error_in, entry.error, entry.accurate) == ("tight", 0.01, False)
    judge(entry, {"fine": (0.1, 1.0), "lost": (float("nan"), 1.0)})
    assert (entry.error_in, entry.accurate) == ("lost", False)


def test_results_survive_json():
    (result,) = go(fakes.benchmark(fakes.ours(), fakes.peer(), points=[fakes.point("a", k=[1])]))
    result.limit = 1.0
    assert Result.from_json(result.to_json()) == result


def test_the_copy_limit_takes_the_fast_copies_at_its_own_thread_count(monkeypatch):
    speeds = {2: [1.0, 9.0], 1: [2.0, 9.0]}
    monkeypatch.setattr(harness, "copy_seconds_per_byte", lambda: speeds[torch.get_num_threads()])
    monkeypatch.setattr(harness, "percentile", lambda values, share: min(values))
    copying = replace(fakes.benchmark(fakes.ours()), copy_limit=True)
    two, one = go(copying, (2, 1))
    assert two.limit == 2 * 4 * 2**20 * 1.0
    assert one.limit == 2 * 4 * 2**20 * 2.0
