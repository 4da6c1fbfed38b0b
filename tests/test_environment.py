"""What a bug report holds."""

import sys

import pytest

from equipoise import environment
from equipoise.errors import UsageError


def test_the_facts_are_text_on_one_line():
    facts = environment.describe()
    assert {"torch", "numba", "cpu", "kernel cache", "EQUIPOISE_BACKEND"} <= facts.keys()
    assert all(isinstance(value, str) and "\n" not in value for value in facts.values())


def test_a_package_that_is_not_installed(monkeypatch):
    monkeypatch.setattr(environment.metadata, "version", _missing)
    assert environment.describe()["triton"] == "not installed"


def _missing(name):
    raise environment.metadata.PackageNotFoundError(name)


def test_benchmarks_outside_a_checkout(tmp_path, monkeypatch):
    import equipoise

    monkeypatch.setattr(equipoise, "__file__", str(tmp_path / "equipoise" / "__init__.py"))
    with pytest.raises(UsageError, match="come with the source repository"):
        environment.benchmarks()
    assert str(tmp_path) not in sys.path
