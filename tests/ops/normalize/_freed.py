"""A program: run the kernels where what is freed is overwritten; print how many checks failed.

Started with MALLOC_PERTURB_ in the environment, by which glibc overwrites freed memory.
"""

import json
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2]))
# isort: split
from normalize_cases import GELU, RELU, Case, check_backward, check_forward

from equipoise.ops.normalize import cpu

SIZES = (((3, 17, 10, 10), "contiguous"), ((5, 2, 14_000), "contiguous"), ((79, 5), "contiguous"))
SIZES += (((3, 37, 20, 22), "channels_last"), ((9, 12, 7, 5), "channels_last"))


def main():
    # the program's own first use of each kind compiles; what is checked comes after
    failed = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        for size, layout in SIZES:
            for options in ({}, {"act": RELU, "added": True}, {"act": GELU}, {"groups": 1}):
                case = Case(size, layout=layout, **options)
                for check in (check_forward, check_backward):
                    try:
                        check(cpu, case)
                    except AssertionError as error:
                        failed.append(f"{check.__name__} {case}: {error}"[:300])
    print(json.dumps(failed))


if __name__ == "__main__":
    main()
