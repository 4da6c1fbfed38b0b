"""The kernels' entries in ``torch.library``: what ``torch.compile`` puts into its graphs.

Inductor keeps compiled graphs on disk under the names of their operators, and each expects the
strides that an operator promised when it was compiled.  An operator's overload is therefore named
after the sources that make the promise: a graph of another version of ours is never taken for
today's.
"""

import hashlib
from pathlib import Path

import torch

_library = torch.library.Library("equipoise", "DEF")


def _overload() -> str:
    digest = hashlib.sha256()
    here = Path(__file__).parent
    package = here.parents[1]
    files = [here / name for name in ("layer.py", "layout.py", "op.py")]
    for path in (*files, package / "_layer_norm.py", package / "_group_norm.py"):
        digest.update(path.read_bytes())
    return f"v{digest.hexdigest()[:8]}"


OVERLOAD = _overload()


def operator(name: str, schema: str, kernel, fake):
    """Define ``equipoise::name`` of ``kernel``, and of ``fake`` where only shapes are known."""
    full = f"{name}.{OVERLOAD}"
    _library.define(full + schema)
    for device in ("CPU", "CUDA"):
        _library.impl(full, kernel, device)
    torch.library.register_fake(f"equipoise::{full}", fake, lib=_library)
    return getattr(getattr(torch.ops.equipoise, name), OVERLOAD)


def whole(name: str, schema: str, function):
    """Define ``equipoise::name`` of the operators that ``function`` calls.

    Dynamo takes it as it stands: what it traces line by line it looks after in every call of
    the graph, module by module, which took longer than the kernel on small tensors.
    """
    full = f"{name}.{OVERLOAD}"
    _library.define(full + schema)
    _library.impl(full, function, "CompositeImplicitAutograd")
    return getattr(getattr(torch.ops.equipoise, name), OVERLOAD)
