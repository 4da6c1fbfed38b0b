"""The same network under many norms: trials, their summary, and what they show."""

from equipoise.study.engine import compare
from equipoise.study.result import Study

__all__ = ["Study", "compare"]
