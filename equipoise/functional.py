"""Torch's functional norms with torch's signatures, and the fused extras behind them."""

from equipoise._batch_norm import batch_norm
from equipoise._group_norm import group_norm, instance_norm
from equipoise._layer_norm import layer_norm, rms_norm

__all__ = ["batch_norm", "group_norm", "instance_norm", "layer_norm", "rms_norm"]
