"""A program: wait for a line, compile sweeps, run them; print as JSON how many were compiled.

Run as its own process, for code once loaded stays in each.
"""

import json
import sys
import warnings
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))
from sweeps import run

from equipoise.ops.sweep import compiled
from equipoise.ops.sweep.sweep import Sweep

COUNT = 12


def times(k):
    return Sweep(f"times {k}", lambda v: {"y": v.x * float(k)}, k % 2, ("x",), ("y",))


def main():
    optimised, made = compiled._optimised, []

    def counted(text, machine):
        made.append(text)
        return optimised(text, machine)

    compiled._optimised = counted
    x, wrong = torch.arange(90.0).view(3, 30), 0
    print("ready", flush=True)
    sys.stdin.readline()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for k in range(COUNT):
            address = compiled.address(times(k), torch.float32)
            wrong += int((run(times(k), address, torch.float32, {"x": x})["y"] != x * k).sum())
    said = [str(w.message) for w in caught]
    print(json.dumps({"compiled": len(made), "wrong": wrong, "warnings": said}))


if __name__ == "__main__":
    main()
