"""The command: filter, options, exit codes, and what is written; its children run in-process."""

import json
import os
from dataclasses import replace

import bench_fakes as fakes
import pytest

from benchmarks import child, environment, run
from benchmarks.timing import Plan

POINTS = [fakes.point("small a"), fakes.point("large b")]


@pytest.fixture
def fake(monkeypatch, tmp_path):
    """Let ``run.main("fake", ...)`` run the benchmark this gives the power to choose."""
    chosen = {"benchmark": fakes.benchmark(fakes.ours(), fakes.peer(), points=POINTS), "seen": []}

    def in_process(request):
        chosen["seen"].append(request)
        out = tmp_path / f"{len(chosen['seen'])}.json"
        short = Plan(min_rounds=2, min_seconds=0.0, max_seconds=0.1, floor=2, sample_seconds=1e-6)
        code = child.main({**request, "plan": vars(short), "out": str(out)})
        return code, json.loads(out.read_text())

    monkeypatch.setitem(run.NAMES, "fake", "a fake")
    monkeypatch.setattr(run, "_child", in_process)
    monkeypatch.setattr(run, "ROOT", tmp_path)
    monkeypatch.setattr(child, "load_benchmark", lambda name: chosen["benchmark"])
    monkeypatch.setattr(child, "warm_heap", lambda malloc: None)
    monkeypatch.setattr(environment, "load", lambda: (0.1, 0.02))
    (tmp_path / "benchmarks").mkdir()
    return chosen


def test_without_a_name_the_benchmarks_are_listed(capsys):
    assert run.main(None, []) == 0
    listed = capsys.readouterr().out
    assert "batch_norm" in listed
    assert "moments" in listed


def test_an_unknown_name_is_bad_usage(capsys):
    assert run.main("nope", []) == 2
    assert f"there are: {', '.join(run.NAMES)}" in capsys.readouterr().err


@pytest.mark.parametrize(
    "argv, message",
    [
        (["--points", "("], "no regular expression"),
        (["--points", "zebra"], "matches no point"),
        (["--threads", "0"], "must be 1 to"),
        (["--write", "--quick"], "full runs only"),
        (["--json", "/nowhere/x.json"], "folder does not exist"),
        (["--frobnicate"], "unrecognized arguments"),
    ],
)
def test_bad_usage_is_refused_before_anything_runs(fake, capsys, argv, message):
    assert run.main("fake", argv) == 2
    assert message in capsys.readouterr().err
    assert fake["seen"] == []


def test_points_can_be_filtered_and_listed(fake, capsys):
    assert [p.name for p in run.select(POINTS, "^sm")] == ["small a"]
    assert run.select(POINTS, None) == POINTS
    assert run.main("fake", ["--points", "b$", "--list"]) == 0
    assert capsys.readouterr().out == "large b\n"


def test_both_malloc_settings_run_and_everything_is_written(fake, tmp_path, capsys):
    path = tmp_path / "out.json"
    assert run.main("fake", ["--json", str(path)]) == 0
    report = json.loads(path.read_text())
    assert list(report["runs"]) == ["tuned", "default"]
    assert {r["point"] for r in report["runs"]["tuned"]["results"]} == {"small a", "large b"}
    assert "against peer" in capsys.readouterr().out
    assert not (tmp_path / "benchmarks" / "RESULTS.md").exists()


def test_the_second_setting_runs_the_points_that_ask_for_it(fake):
    small = fakes.Point("tiny", {"op": "fwd"}, 64, 2, both_mallocs=False)
    fake["benchmark"] = fakes.benchmark(fakes.ours(), fakes.peer(), points=[small, POINTS[1]])
    assert run.main("fake", []) == 0
    assert [r["points"] for r in fake["seen"]] == [["tiny", "large b"], ["large b"]]


def test_write_records_the_run(fake, tmp_path):
    assert run.main("fake", ["--write", "--malloc", "tuned"]) == 0
    text = (tmp_path / "benchmarks" / "RESULTS.md").read_text()
    assert "<!-- bench:fake -->" in text
    assert "| large b |" in text


def test_a_wrong_kernel_of_ours_is_exit_code_1_and_writes_nothing(fake, tmp_path, capsys):
    fake["benchmark"] = fakes.benchmark(fakes.ours(1.5), fakes.peer(), points=POINTS)
    assert run.main("fake", ["--write"]) == 1
    assert "small a: ours is not timed" in capsys.readouterr().err
    assert len(fake["seen"]) == 1
    assert not (tmp_path / "benchmarks" / "RESULTS.md").exists()


def test_an_interrupted_run_shows_what_it_has(fake, capsys):
    def interrupt():
        raise KeyboardInterrupt

    def contenders(name):
        return [fakes.ours()] if name == "small a" else [fakes.peer(build=interrupt)]

    fake["benchmark"] = replace(
        fake["benchmark"], case=lambda p, compiled: fakes.FakeCase(*contenders(p.name))
    )
    assert run.main("fake", ["--write"]) == 130
    assert "interrupted" in capsys.readouterr().err


def test_contenders_share_their_settings(monkeypatch):
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "7")
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    default = environment.child_environment("default", "passive")
    tuned = environment.child_environment("tuned", "passive")
    assert "MALLOC_TRIM_THRESHOLD_" not in default
    assert "GOMP_SPINCOUNT" not in default
    assert default["OMP_WAIT_POLICY"] == tuned["OMP_WAIT_POLICY"] == "PASSIVE"
    assert "OMP_WAIT_POLICY" not in environment.child_environment("tuned", "default")
    assert set(tuned) - set(default) == set(environment.MALLOC["tuned"])
    assert os.environ["PATH"] == default["PATH"]


def test_a_loaded_machine_is_warned_about():
    assert environment.load_warning(0.1, 0.02) is None
    assert environment.load_warning(0.1, float("nan")) is None
    assert "loaded" in environment.load_warning(0.1, 0.9)
    assert "loaded" in environment.load_warning(99.0, float("nan"))


def test_the_machine_is_described():
    facts = environment.describe()
    assert all(isinstance(v, str) and v for v in facts.values())
    assert "torch" in facts["versions"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["moments", "batch_norm", "layers"])
def test_a_real_quick_run(name, tmp_path):
    path = tmp_path / "out.json"
    assert run.main(name, ["--quick", "--json", str(path)]) == 0
    report = json.loads(path.read_text())
    results = report["runs"]["tuned"]["results"]
    assert {r["threads"] for r in results} == {1, environment.cores()}
    assert all(e["median"] > 0 for r in results for e in r["entries"].values() if not e["failed"])
