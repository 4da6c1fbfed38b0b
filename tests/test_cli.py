"""The command line: exit codes, one line for what went wrong, JSON alone on stdout."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import equipoise
import equipoise.errors
from equipoise import cli

MODEL = """
from torch import nn

def make_model(norm):
    return nn.Sequential(nn.Linear(4, 8), norm(8, dims=1), nn.ReLU(), nn.Linear(8, 2))

def loud(norm):
    print("a user's own print")
    return make_model(norm)

def ignores(norm):
    return nn.Linear(4, 2)

def wide(norm):
    return nn.Sequential(norm(4, 1), nn.Linear(4, 5))

def broken(norm):
    return nn.Sequential(norm(8, 1), nn.Linear(8, 2))

def raises(norm):
    raise RuntimeError("not today")

def nothing(norm):
    pass

number = 3
"""

DATA = """
import numpy as np

def make_data():
    rng = np.random.default_rng(0)
    y = np.arange(128) % 2
    x = rng.normal(size=(128, 4)) + 3 * y[:, None]
    return x, y, x, y

def raises():
    raise OSError("no disk")

def three():
    return make_data()[:3]

def nan():
    x, y, *rest = make_data()
    x[5, 2] = np.nan
    return x, y, *rest

def few():
    return tuple(part[:9] for part in make_data())

def labels():
    x, y, *rest = make_data()
    return x, y + 1, *rest
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Make a folder with a model and data, and work in it."""
    (tmp_path / "model.py").write_text(MODEL)
    (tmp_path / "data.py").write_text(DATA)
    monkeypatch.chdir(tmp_path)
    # loading the files puts their folder on the path
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


SMALL = ["--model", "model.py:make_model", "--data", "data.py:make_data", "--norms", "none"]
SMALL += ["--lr", "0.1", "--seeds", "1", "--epochs", "2", "--out", "out"]


def _study(*words):
    """Run the small study; what is given later wins."""
    return cli.main(["study", *SMALL, *words])


def test_a_study_writes_both_files_and_prints_the_table(place, capsys):
    assert _study() == 0
    out, err = capsys.readouterr()
    assert "steps to 95%" in out
    assert "out/report.html" in out
    assert "out/study.json" in out
    assert "[1/1] none lr 0.1 seed 0: " in err
    record = json.loads((place / "out" / "study.json").read_text())
    assert record["trials"][0]["status"] == "done"
    assert (place / "out" / "report.html").read_text().lstrip().startswith("<!")
    assert record["command"] == (
        "equipoise study --norms none --lr 0.1 --seeds 1 --seed 0 --epochs 2 "
        "--model model.py:make_model --data data.py:make_data"
    )


def test_the_command_in_the_record_repeats_the_numbers(place, capsys):
    assert _study("--seed", "5") == 0
    first = json.loads((place / "out" / "study.json").read_text())
    assert cli.main([*first["command"].split()[1:], "--out", "again"]) == 0
    again = json.loads((place / "again" / "study.json").read_text())
    assert again["trials"][0]["loss"] == first["trials"][0]["loss"]


def test_json_is_alone_on_stdout(place, capsys):
    assert _study("--json", "--model", "model.py:loud") == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == json.loads((place / "out" / "study.json").read_text())
    assert "a user's own print" in err


def test_norms_and_rates_may_come_in_several_options(place, capsys):
    assert _study("--norms", "torch_batch,none", "--lr", "1,0.1", "--lr", "0.1", "--json") == 0
    settings = json.loads(capsys.readouterr().out)["settings"]
    assert settings["norms"] == ["none", "torch_batch"]
    assert settings["lrs"] == [0.1, 1.0]


def test_a_rate_that_diverges_is_no_error(place, capsys):
    assert _study("--lr", "1e30", "--json") == 0
    statuses = {t["lr"]: t["status"] for t in json.loads(capsys.readouterr().out)["trials"]}
    assert statuses == {0.1: "done", 1e30: "diverged"}


BAD = {
    "no such file": (["--model", "gone.py:make_model"], "there is no such file"),
    "no colon": (["--model", "model.py"], r"write FILE\.py:FUNCTION"),
    "no such function": (["--model", "model.py:gone"], "has no gone"),
    "no function": (["--model", "model.py:number"], "number is int"),
    "ignores the factory": (["--model", "model.py:ignores"], "never calls norm"),
    "wrong width": (["--model", "model.py:wide"], r"shape \(64, 2\) .* shape \(64, 5\) came"),
    "does not run": (["--model", "model.py:broken"], r"a batch of shape \(64, 4\) raised"),
    "raises": (["--model", "model.py:raises"], r"not today \(model\.py, line 21\)"),
    "no module": (["--model", "model.py:nothing"], "NoneType came"),
    "data raises": (["--data", "data.py:raises"], r"OSError: no disk \(data\.py, line 11\)"),
    "three parts": (["--data", "data.py:three"], "3 items came"),
    "nan": (["--data", "data.py:nan"], "X_train: 1 values are NaN"),
    "few": (["--data", "data.py:few"], "9 training samples do not fill one batch"),
    "labels": (["--data", "data.py:labels"], "numbered from 0, 1 to 2 came"),
    "unknown data": (["--data", "mnist"], "write digits or"),
    "model for other data": (["--data", "digits"], "raised RuntimeError"),
    "unknown norm": (["--norms", "torch_btch"], "Did you mean torch_batch"),
    "no number": (["--lr", "fast"], "learning rate 'fast'"),
    "zero": (["--lr", "0"], "learning rate '0'"),
    "negative": (["--lr", "-0.1"], "learning rate '-0.1'"),
    "not a number": (["--lr", "nan"], "learning rate 'nan'"),
    "no seeds": (["--seeds", "0"], "seeds: a whole number of at least 1"),
    "half a seed": (["--seeds", "1.5"], "--seeds"),
    "no epochs": (["--epochs", "0"], "epochs: a whole number of at least 1"),
    "a seed below 0": (["--seed", "-1"], "seed: a whole number of at least 0"),
    "no threads": (["--threads", "0"], "threads: a whole number of at least 1"),
    "a parent that is a file": (["--out", "model.py/out"], "cannot write to model.py/out"),
    "a file": (["--out", "model.py"], "cannot write to model.py"),
    "an option that is not there": (["--fast"], "--fast"),
    "an option without its value": (["--lr"], "--lr"),
    "an argument too many": (["digits"], "digits"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_exit_code_2(place, capsys, monkeypatch, case):
    monkeypatch.setattr("equipoise.study.engine.train", _untouched)
    words, message = BAD[case]
    assert _study(*words) == 2
    out, err = capsys.readouterr()
    told = [line for line in err.splitlines() if not line.startswith("checking the network")]
    assert len(told) == 1
    assert told[0].startswith("equipoise: ")
    assert re.search(message, told[0])
    assert "Traceback" not in err
    assert not out


def _untouched(*args):
    raise AssertionError("the training began")


def test_debug_gives_the_traceback(place):
    with pytest.raises(equipoise.errors.UsageError) as caught:
        _study("--model", "model.py:raises", "--debug")
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_a_fault_of_our_own_is_one_line_too(place, capsys, monkeypatch):
    monkeypatch.setattr("equipoise.study.engine.train", _untouched)
    assert _study() == 1
    assert "AssertionError: the training began (--debug shows where)" in capsys.readouterr().err


def test_an_interrupt_before_the_first_trial(place, capsys, monkeypatch):
    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("equipoise.study.engine.train", interrupted)
    assert _study() == 130
    assert "equipoise: interrupted; nothing was written" in capsys.readouterr().err
    assert not list((place / "out").iterdir())


def test_a_disk_that_fills_up_keeps_the_record_that_was_there(place, capsys, monkeypatch):
    assert _study() == 0
    before = (place / "out" / "study.json").read_text()

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    assert _study() == 2
    assert "No space left on device" in capsys.readouterr().err
    assert (place / "out" / "study.json").read_text() == before


def test_env(capsys):
    assert cli.main(["env"]) == 0
    text = capsys.readouterr().out
    assert f"equipoise: {equipoise.__version__}" in text
    assert cli.main(["env", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["equipoise"] == equipoise.__version__


def test_version(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == equipoise.__version__


def test_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "equipoise", "scale", "show", "nowhere.safetensors"],
        capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert done.returncode == 2
    assert "nowhere.safetensors" in done.stderr


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["study", "--help"], ["bench", "--help"]])
def test_help(capsys, words):
    assert cli.main(words) == 0
    assert "Usage" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["doctor", "rules", "paths"])
def test_a_command_that_does_not_work_yet_is_absent(capsys, command):
    assert cli.main([command]) == 2
    assert f"No such command '{command}'" in capsys.readouterr().err


def test_bench_passes_on_what_follows(monkeypatch):
    class Fake:
        @staticmethod
        def main(name, argv):
            seen.append((name, argv))
            return 3

    seen = []
    monkeypatch.setattr("equipoise.environment.benchmarks", lambda: Fake)
    assert cli.main(["bench"]) == 3
    assert cli.main(["bench", "batch_norm", "--repeat", "3", "x"]) == 3
    assert seen == [(None, []), ("batch_norm", ["--repeat", "3", "x"])]


def test_bench_outside_a_checkout(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(equipoise, "__file__", str(tmp_path / "equipoise" / "__init__.py"))
    assert cli.main(["bench"]) == 2
    assert "come with the source repository" in capsys.readouterr().err


def _process(*words, **options):
    code = "import sys; from equipoise.cli import main; sys.exit(main())"
    return subprocess.Popen(
        [sys.executable, "-c", code, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def test_importing_the_package_stays_light():
    code = (
        "import sys, equipoise; equipoise.__version__; "
        "sys.exit(bool({'typer', 'rich', 'sklearn', 'jinja2'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def _until(process, text):
    """Read stderr up to the line that holds ``text``."""
    for line in process.stderr:
        if text in line:
            return
    raise AssertionError(f"{text!r} never came: {process.wait()}")


def test_ctrl_c_waits_for_imports():
    done = []

    def imports():
        with cli._uninterrupted():
            signal.raise_signal(signal.SIGINT)
            done.append("imported")
        done.append("went on")

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        imports()
    assert done == ["imported"]
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["checking the network", "timing a step", "[1/", "[4/"])
def test_ctrl_c_keeps_what_has_finished(tmp_path, moment):
    # two dozen short trials: many are left at every moment
    many = ["--epochs", "3", "--lr", "0.1,0.2,0.3,0.4", "--norms", "none,torch_batch"]
    process = _process("study", *many, "--out", str(tmp_path / "out"))
    _until(process, moment)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Traceback" not in err
    record = tmp_path / "out" / "study.json"
    if not moment.startswith("["):
        assert "interrupted; nothing was written" in err
        assert not record.exists()
        return
    study = json.loads(record.read_text())
    statuses = [trial["status"] for trial in study["trials"]]
    assert study["partial"]
    assert "done" in statuses
    assert set(statuses[:-1]) <= {"done"}
    assert study["verdict"][0].startswith("Partial: ")
    assert "Partial: " in out
    assert "artial" in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.slow
def test_ctrl_c_twice(tmp_path):
    process = _process("study", "--epochs", "3", "--norms", "none", "--out", str(tmp_path))
    _until(process, "[1/")
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        time.sleep(0.01)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


@pytest.mark.slow
def test_a_reader_that_leaves(tmp_path):
    read, write = os.pipe()
    os.close(read)
    words = ["--norms", "none", "--lr", "0.1", "--seeds", "1", "--epochs", "1", "--json"]
    code = "import sys; from equipoise.cli import main; sys.exit(main())"
    found = subprocess.run(
        [sys.executable, "-c", code, "study", *words, "--out", str(tmp_path)],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(write)
    assert "Traceback" not in found.stderr
    assert "BrokenPipe" not in found.stderr
    assert (tmp_path / "study.json").exists(), found.stderr


@pytest.mark.slow
def test_the_quick_study_end_to_end(tmp_path):
    script = Path(sys.executable).with_name("equipoise")
    start = time.monotonic()
    found = subprocess.run(
        [script, "study", "--quick", "--json", "--out", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    taken = time.monotonic() - start
    study = json.loads(found.stdout)
    names = [row["norm"] for row in study["summary"]]
    assert {"none", "batch", "torch_batch"} <= set(names)
    assert not study["partial"]
    by_norm = {row["norm"]: row for row in study["summary"]}
    # digits are easy: with a norm every seed gets there, whatever the machine
    assert by_norm["batch"]["steps_to_target"]["reached"] == len(study["settings"]["seeds"])
    assert (tmp_path / "report.html").stat().st_size < 1_000_000
    # a loose bound, for machines under load; 40 s is the aim on two free cores
    assert taken < 240
