"""Which columns are constant: the rule that the layers of ``nn`` share."""

from equipoise.ops.scale.constant import BOUND, SMALLEST, usable

__all__ = ["BOUND", "SMALLEST", "usable"]
