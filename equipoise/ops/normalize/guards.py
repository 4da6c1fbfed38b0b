"""What calls that repeat are compared by: torch's own guards, and what else must be as it was."""

import os
from typing import Any

import torch
from torch import Tensor
from torch._C import _functorch  # pyright: ignore[reportAttributeAccessIssue]
from torch.autograd import forward_ad

from equipoise.ops import dispatch

# where torch has none, every call goes the long way
_DYNAMO: Any = getattr(torch._C, "_dynamo", None)
GUARDS: Any = getattr(getattr(_DYNAMO, "guards", None), "TensorGuards", None)
_compiling, _modes = torch.compiler.is_compiling, torch._C._len_torch_dispatch_stack
_transform, _listener = _functorch.peek_interpreter_stack, dispatch.HEARD.get
# the environment as the system holds it: to look there raises and catches no error
_ENVIRONMENT = vars(os.environ)["_data"]
_BACKEND = os.environ.encodekey("EQUIPOISE_BACKEND")
_OURS = (None, os.environ.encodevalue("cpu"))


def guard(*tensors: Tensor) -> Any:
    """Build what compares types, dispatch keys, dtypes, devices, sizes and strides with these."""
    return GUARDS(*tensors, dynamic_dims_sizes=None, dynamic_dims_strides=None)


def calm() -> bool:
    """Tell whether nothing looks on: no compiler, mode, transform, forward AD or listener."""
    # asked here and now: the call of a function takes longer than its question
    if _compiling() or _modes() or _transform() is not None:
        return False
    return forward_ad._current_level < 0 and _listener() is None


def backend() -> Any:
    """Give what the environment says of the backend, as bytes; None where it says nothing."""
    return _ENVIRONMENT.get(_BACKEND)


def may_keep(x: Tensor) -> bool:
    """Tell whether a call on ``x`` that went the long way to our kernel may be kept."""
    return calm() and GUARDS is not None and x.device.type == "cpu" and backend() in _OURS


def apply_of(function: Any) -> Any:
    """Give ``Function.apply`` without its care for transforms, of which there are none here."""
    above: Any = super(torch.autograd.Function, function)
    return above.apply
