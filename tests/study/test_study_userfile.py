"""Functions from a user's file: found, or said in one line why not."""

import random
import sys

import numpy as np
import pytest
import torch

from equipoise.errors import UsageError
from equipoise.study.userfile import guard, load, seeded


@pytest.fixture(autouse=True)
def _clean(monkeypatch):
    # loading a file puts its folder on the path, as running it would
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))


@pytest.fixture
def write(tmp_path):
    def write(text, name="mine.py"):
        (tmp_path / name).write_text(text)
        return f"{tmp_path / name}:make_model"

    return write


def test_it_loads_and_sees_its_neighbours(write):
    write("WIDTH = 7", "neighbour_of_mine.py")
    assert (
        load(write("from neighbour_of_mine import WIDTH\nmake_model = lambda: WIDTH"), "x")() == 7
    )


def test_a_dataclass_in_the_file_works(write):
    text = (
        "from dataclasses import dataclass\n@dataclass\nclass A:\n    b: 'int' = 3\nmake_model = A"
    )
    assert load(write(text), "x")().b == 3


@pytest.mark.parametrize("spec", ["model.py", "model.py:", ":make_model", "model.py:a b", "", ":"])
def test_the_form_is_explained(spec):
    with pytest.raises(UsageError, match=r"FILE\.py:FUNCTION, such as m\w+\.py:make_model$"):
        load(spec, "make_model")


@pytest.mark.parametrize(
    "text, message",
    [
        ("make_model = (", "raised SyntaxError: '\\(' was never closed"),
        ("import not_there_at_all", "raised ModuleNotFoundError: No module named 'not_there"),
        ("\n\n1 / 0", "raised ZeroDivisionError: division by zero \\(mine.py, line 3\\)"),
        ("import sys\nsys.exit(3)", "raised SystemExit: 3"),
        ("x = 1", "has no make_model"),
        ("make_model = 3", "make_model is int, a function is needed"),
    ],
)
def test_what_is_wrong_with_a_file(write, text, message):
    with pytest.raises(UsageError, match=message) as caught:
        load(write(text), "make_model")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match="there is no such file"):
        load(f"{tmp_path}/none.py:make_model", "make_model")
    with pytest.raises(UsageError, match="there is no such file"):
        load(f"{tmp_path}:make_model", "make_model")


def test_a_file_that_is_no_python(tmp_path):
    (tmp_path / "model.txt").write_text("")
    with pytest.raises(UsageError, match=r"ends in \.py"):
        load(f"{tmp_path}/model.txt:make_model", "make_model")


def test_bytes_that_are_no_text(tmp_path):
    (tmp_path / "bytes.py").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match=r"importing .* raised (SyntaxError|ValueError)"):
        load(f"{tmp_path}/bytes.py:make_model", "make_model")


def test_guard_keeps_to_one_line():
    with pytest.raises(UsageError) as caught, guard("it"):
        raise ValueError("first\nsecond" + 1000 * "x")
    assert "it raised ValueError: first (test_study_userfile.py, line" in str(caught.value)


def test_guard_lets_an_interrupt_through():
    with pytest.raises(KeyboardInterrupt), guard("it"):
        raise KeyboardInterrupt


def _draw():
    return random.random(), np.random.rand(), torch.rand(1).item()  # noqa: NPY002


def test_seeded_seeds_all_and_gives_the_states_back():
    before = random.getstate(), np.random.get_state()[1][:5].tolist(), torch.get_rng_state()  # noqa: NPY002
    with seeded(3):
        first = _draw()
    with seeded(3):
        assert _draw() == first
    with seeded(4):
        assert _draw() != first
    assert random.getstate() == before[0]
    assert np.random.get_state()[1][:5].tolist() == before[1]  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[2])
