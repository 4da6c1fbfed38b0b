"""What is under test, named once: equipoise, or torch to validate the tests themselves.

``EQUIPOISE_TEST_SUBJECT=torch pytest tests/nn`` runs every test that torch can pass.
"""

import os

import pytest

IS_TORCH = os.environ.get("EQUIPOISE_TEST_SUBJECT") == "torch"

if IS_TORCH:
    import _standin as functional
    import _standin as nn
else:
    from equipoise import functional, nn

ours_only = pytest.mark.skipif(IS_TORCH, reason="what torch's own layer does not do")

__all__ = ["IS_TORCH", "functional", "nn", "ours_only"]
