"""How to break the GPU's kernels on purpose: module -> name -> what is replaced by what.

``load`` writes a copy of the sources with one break, for Triton reads its kernels from files.
"""

import importlib
import sys
from pathlib import Path
from types import SimpleNamespace

import equipoise

OPS = Path(equipoise.__file__).parent / "ops"
SOURCES = {
    "moments": OPS / "moments" / "gpu.py",
    **{
        name: OPS / "normalize" / f"{name}.py"
        for name in ("gpu", "gpu_columns", "gpu_elements", "gpu_formulas", "gpu_groups", "gpu_rows")
    },
}

CHANNELS = {
    "moments": {
        "the mean taken once": {"shift + rest": "shift", "deviation - rest": "deviation"},
        "numbers off the mask": {
            "deviation = tl.where(mask, x - shift, 0.0)": "deviation = x - shift",
            "tl.where(mask, deviation - rest, 0.0)": "deviation - rest",
        },
        "blocks' means ignored": {"m2_a + m2_b + delta * delta * count_a * share": "m2_a + m2_b"},
        "chunks' means ignored": {"m2 + count * delta * delta": "m2"},
        "centred where it is not": {"if CENTRED:": "if True:"},
    },
    "gpu_formulas": {
        "half a mean": {"(x - high) - low": "x - high"},
        "no weight": {"z = xhat * weight + bias\n    if": "z = xhat + bias\n    if"},
        "no bias": {"z = xhat * weight + bias\n    if": "z = xhat * weight\n    if"},
        "nothing added": {"z += tl.load(p_add + at, mask=mask, other=0.0).to(z.dtype)": "z = z"},
        "added nowhere backward": {"z = other if FROM_OUTPUT else z + other": "z = z"},
        "always what was added": {"other if FROM_OUTPUT else z + other": "z + other"},
        "no derivative": {"g = gate(g, z, ACTIVATION, SLOPE)": "g = g"},
        "the mean's term dropped": {"dx -= total": "dx = dx"},
        "the moment's term dropped": {"dx = g - xhat * moment": "dx = g"},
        "without eps": {"tl.sqrt(variance + EPS)": "tl.sqrt(variance)"},
        "gelu by a sigmoid": {
            "0.5 * z * (1.0 + tl.erf(z * HALF_ROOT))": "z / (1.0 + tl.exp(-1.702 * z))"
        },
    },
    "gpu_groups": {
        "a channel's count": {" * number(per, COMPUTE)": ""},
        "a group's neighbours": {"o_channel < end": "o_channel < channels"},
        "sums without the weight": {"total * weight, moment * weight": "total, moment"},
        "the wrong sample": {"at = sample * channels * length": "at = 0 * sample"},
    },
    "gpu_columns": {
        "chunks overlap": {"first + chunk), o_channel": "first + chunk + 1), o_channel"},
        "a chunk's last tile lost": {"first + chunk), o_channel": "first + chunk - 1), o_channel"},
        "the first chunk alone": {"range(0, chunks * per, BLOCK)": "range(0, per, BLOCK)"},
        "every tile full": {"tl.minimum(length - first, BLOCK)": "number(BLOCK, tl.int64)"},
        "a statistic a line": {
            "(part * channels + o_channel) // per": "part * channels + o_channel"
        },
        "nothing to other": {"if p_dother is not None:": "if False:"},
    },
    "gpu": {
        "a line's count": {"self.samples * self.length * self.per": "self.samples * self.length"},
        "evaluation's means": {"    if training:\n": "    if True:\n"},
        "positions not folded": {
            "return 1, 1, channels, n * length": "return 1, 1, channels, length"
        },
    },
}  # fmt: skip

ROWS = {
    "moments": CHANNELS["moments"] | {},
    "gpu_rows": {
        "the residual lost": {"x.to(COMPUTE) + tl.load(p_residual": "0 * tl.load(p_residual"},
        "nothing passed": {
            "dx += tl.load(p_passed + at, mask=mask, other=0.0).to(COMPUTE)": "dx = dx"
        },
        "the weight's gradient not normalized": {"dweight += g * xhat": "dweight += g"},
        "the gradient without its weight": {"        g *= weight\n": ""},
        "the first sample's rows": {"o_row // places * places * width + ": ""},
        "a block's sums": {"        total += g * weight": "        total = g * weight"},
        "long rows' last block": {"range(0, width, BLOCK)": "range(0, width - BLOCK, BLOCK)"},
    },
    "gpu_elements": {
        "programs not summed": {"partial.sum(0, dtype=torch.float64)": "partial[0].double()"},
        "across as if along": {"if crossed(x, width) else 1": "if False else 1"},
    },
}  # fmt: skip
del ROWS["moments"]["chunks' means ignored"]


def load(folder, module=None, edits=None):
    """Give the host modules of a copy of the sources, edited."""
    package = f"broken_{abs(hash((str(folder), module, str(edits))))}"
    root = folder / package
    root.mkdir()
    (root / "__init__.py").touch()
    for name, source in SOURCES.items():
        text = source.read_text()
        for old, new in (edits or {}).items() if name == module else ():
            assert old in text, f"{module} has no {old!r} any more"
            text = text.replace(old, new)
        text = text.replace("equipoise.ops.moments.gpu ", f"{package}.moments ")
        for other in SOURCES:
            text = text.replace(f"equipoise.ops.normalize.{other} ", f"{package}.{other} ")
        text = text.replace(
            "from equipoise.ops.normalize import gpu_", f"from {package} import gpu_"
        )
        (root / f"{name}.py").write_text(text)
    sys.path.insert(0, str(folder))
    try:
        channels, rows = (
            importlib.import_module(f"{package}.{n}") for n in ("gpu", "gpu_elements")
        )
    finally:
        sys.path.remove(str(folder))
    return SimpleNamespace(gpu=channels, gpu_elements=rows)
