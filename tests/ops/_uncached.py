"""A program: compile two small kernels, fork; print as JSON what was said and what came out.

Run as its own process, for warnings and log lines are given once in each.
"""

import json
import logging
import os
import warnings

import numpy as np

from equipoise.ops import cache, jit
from equipoise.ops.threads import SERIAL_BYTES


@jit.Kernel
def double(x):
    """Double all numbers."""
    for i in range(x.size):
        x[i] *= 2


@jit.Kernel
def increase(x):
    """Add 1 to all numbers."""
    for i in range(x.size):
        x[i] += 1


def main():
    lines = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append([record.levelname, record.getMessage()])
    cache.log.addHandler(handler)
    cache.log.setLevel(logging.INFO)
    x = np.ones(4)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for kernel in (double, increase, double):
            kernel(0, x)
    read, write = os.pipe()
    with warnings.catch_warnings():
        # newer Pythons warn of every fork of a process that has threads
        warnings.simplefilter("ignore")
        child = os.fork()
    if child == 0:
        y = np.ones(4)
        double(SERIAL_BYTES, y)
        os.write(write, json.dumps([jit.threads(), y.tolist()]).encode())
        os._exit(0)
    os.waitpid(child, 0)
    said = [[w.category.__name__, str(w.message)] for w in caught]
    forked = json.loads(os.read(read, 1000))
    print(json.dumps({"x": x.tolist(), "warnings": said, "lines": lines, "forked": forked}))


if __name__ == "__main__":
    main()
