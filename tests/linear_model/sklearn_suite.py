"""scikit-learn's own test modules with our classes in place of theirs.

A test module of the installed scikit-learn is executed under another name while the names that it
imports from ``sklearn.linear_model`` are ours.  What differs by design is a strict xfail, each test
with its reason; docs/linear.md explains the same list.
"""

import inspect
import re
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from unittest import mock

import pytest


def load(name: str, ours: dict):
    """Execute ``sklearn.linear_model.tests.<name>`` with ``ours`` in place of their names."""
    import sklearn.linear_model

    path = Path(find_spec("sklearn.linear_model").origin).parent / "tests" / f"{name}.py"
    spec = spec_from_file_location(f"equipoise_runs_{name}", path)
    module = module_from_spec(spec)
    with mock.patch.multiple(sklearn.linear_model, **ours):
        spec.loader.exec_module(module)
    for key, value in ours.items():
        if hasattr(module, key):
            assert getattr(module, key) is value
    return module


def adopt(module, ours: dict, reasons: dict[str, str]) -> dict:
    """Give the tests and fixtures of ``module`` that name one of ours, ready for a test module.

    ``reasons`` maps a test's name, or a regular expression on its name with parameters in
    brackets (for `mark_cases`), to why it is expected to fail.
    """
    found = {}
    for key, value in vars(module).items():
        if type(value).__name__ == "FixtureFunctionDefinition":
            found[key] = value
        elif _is_test(key) and _words(value, module, set()) & set(ours):
            found[key] = _differs(_listed(value), reasons.get(key))
    unknown = [key for key in reasons if "[" not in key and key not in found]
    assert not unknown, f"no such tests in this scikit-learn: {unknown}"
    return found


def _is_test(name):
    return name.startswith("test_") and "classifier" not in name


def _words(function, module, seen):
    """Collect the words of a function's source, and of the helpers that it names."""
    words = set(re.findall(r"\w+", inspect.getsource(function)))
    for word in words - seen:
        helper = getattr(module, word, None)
        seen.add(word)
        if inspect.isfunction(helper) and helper.__module__ == module.__name__:
            words = words | _words(helper, module, seen)
    return words


def _listed(test):
    """Turn parameters that are generators into lists: pytest is about to refuse them."""
    for mark in getattr(test, "pytestmark", []):
        if mark.name == "parametrize" and inspect.isgenerator(mark.args[1]):
            object.__setattr__(mark, "args", (mark.args[0], list(mark.args[1]), *mark.args[2:]))
    return test


def _differs(test, reason):
    return test if reason is None else pytest.mark.xfail(reason=reason, strict=True)(test)


def mark_cases(items, reasons: dict[str, str]):
    """Expect the cases to fail whose whole names match a pattern of ``reasons``."""
    for pattern, reason in reasons.items():
        hits = [item for item in items if "[" in pattern and re.search(pattern, item.name)]
        for item in hits:
            item.add_marker(pytest.mark.xfail(reason=reason, strict=True))
