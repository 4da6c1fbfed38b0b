"""Marks single cases of scikit-learn's own tests."""

from sklearn_suite import mark_cases


def pytest_collection_modifyitems(items):
    """Expect the cases to fail that a module's ``REASONS`` name with their parameters."""
    modules = {item.module for item in items if hasattr(item, "module")}
    for module in modules:
        if hasattr(module, "REASONS"):
            mark_cases([i for i in items if getattr(i, "module", None) is module], module.REASONS)
