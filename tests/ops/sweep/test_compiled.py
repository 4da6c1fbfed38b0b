"""Machine code of sweeps on disk: used where it is there and sound, done without where not."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from _cached import COUNT
from sweeps import run

from equipoise.ops import cache as disk
from equipoise.ops.sweep import compiled, machine
from equipoise.ops.sweep.sweep import Sweep

PROGRAM = Path(__file__).with_name("_cached.py")
X = torch.arange(120.0).view(4, 30)


def start(home):
    """Start the program with its cache in ``home``; it waits for a line."""
    environment = os.environ | {"EQUIPOISE_CACHE": str(home)}
    process = subprocess.Popen(
        [sys.executable, PROGRAM], env=environment, text=True, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout.readline() == "ready\n", process.stderr.read()
    return process


def finish(process):
    out, problems = process.communicate("go\n", timeout=120)
    assert process.returncode == 0, (process.returncode, problems[-2000:])
    return json.loads(out)


def run_program(home):
    return finish(start(home))


def objects(home):
    return sorted(home.rglob("*.o"))


def triple(factor=3.0):
    """A new sweep of the same text each time, as another process would make it."""
    return Sweep("triple", lambda v: {"y": v.x * factor}, 1, ("x",), ("y",))


def result(sweep):
    return run(sweep, compiled.address(sweep, torch.float32), torch.float32, {"x": X})["y"]


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Keep code in an empty folder."""
    monkeypatch.setattr(disk, "folder", lambda *args: str(tmp_path))
    return tmp_path


@pytest.fixture
def no_compiler(monkeypatch):
    """Forbid compiling: what runs comes from disk."""

    def refuse(*args):
        raise AssertionError("compiled anew")

    return lambda: monkeypatch.setattr(compiled, "_optimised", refuse)


def test_the_same_text_is_the_same_file(home, no_compiler):
    assert torch.equal(result(triple()), X * 3)
    (kept,) = objects(home)
    no_compiler()
    assert torch.equal(result(triple()), X * 3)
    assert objects(home) == [kept]


def test_another_text_is_another_file(home):
    result(triple())
    result(triple(4.0))
    sweep = triple()
    for dtype, streaming in ((torch.float64, False), (torch.float32, True)):
        compiled.address(sweep, dtype, streaming)
    assert len(objects(home)) == 4


def test_another_processor_has_another_file(home, monkeypatch):
    result(triple())
    name, features = machine.processor()
    # an order of features that says the same
    other = ",".join(reversed(features.split(",")))
    monkeypatch.setattr(machine, "processor", lambda: (name, other))
    assert torch.equal(result(triple()), X * 3)
    assert len(objects(home)) == 2


def test_a_sweep_is_loaded_once():
    sweep = triple()
    assert compiled.address(sweep, torch.float32) == compiled.address(sweep, torch.float32)
    assert compiled.address(sweep, torch.float32) != compiled.address(triple(), torch.float32)


def test_code_stays_while_others_come(home):
    first = triple()
    address = compiled.address(first, torch.float32)
    for k in range(20):
        result(triple(float(k)))
    assert compiled.address(first, torch.float32) == address
    assert torch.equal(result(first), X * 3)


def test_a_folder_that_vanishes_is_done_without(tmp_path, monkeypatch):
    monkeypatch.setattr(disk, "folder", lambda *args: str(tmp_path / "gone"))
    assert torch.equal(result(triple()), X * 3)
    assert objects(tmp_path) == []


def test_nothing_is_left_of_a_write_that_fails(home, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    assert torch.equal(result(triple()), X * 3)
    assert list(home.iterdir()) == []


def test_the_assembly_can_be_read():
    text = compiled.assembly(triple(), torch.float32)
    assert "sweep:" in text
    assert "mul" in text


def test_where_no_folder_is_writable_sweeps_are_compiled_in_each_process(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    found = run_program(file / "below")
    assert (found["compiled"], found["wrong"]) == (COUNT, 0)
    (message,) = found["warnings"]
    assert "Set EQUIPOISE_CACHE to a writable folder" in message


def test_two_processes_fill_one_empty_cache_and_a_third_reads_it(tmp_path):
    both = [start(tmp_path), start(tmp_path)]
    for process in both:
        # both compile now
        process.stdin.write("go\n")
        process.stdin.flush()
    found = []
    for process in both:
        out, problems = process.communicate(timeout=120)
        assert process.returncode == 0, problems[-2000:]
        found.append(json.loads(out))
    assert [f["wrong"] for f in found] == [0, 0]
    assert len(objects(tmp_path)) == COUNT
    assert {p.suffix for p in tmp_path.rglob("*") if p.is_file()} == {".o"}
    third = run_program(tmp_path)
    assert third == {"compiled": 0, "wrong": 0, "warnings": []}


def half(code):
    return code[: len(code) // 2]


def flipped(code):
    return bytes(byte ^ 0x55 for byte in code)


DAMAGE = {
    "empty": lambda code: b"",
    "one half": half,
    "all but the last byte": lambda code: code[:-1],
    "zeros at the end": lambda code: half(code) + bytes(len(code) - len(half(code))),
    "other bytes": flipped,
    "text": lambda code: b"no machine code",
}


def test_a_damaged_file_is_replaced(tmp_path):
    first = run_program(tmp_path)
    damages = list(DAMAGE.values())
    for k, path in enumerate(objects(tmp_path)):
        path.write_bytes(damages[k % len(damages)](path.read_bytes()))
    second = run_program(tmp_path)
    assert second == first == {"compiled": COUNT, "wrong": 0, "warnings": []}
    assert run_program(tmp_path)["compiled"] == 0
