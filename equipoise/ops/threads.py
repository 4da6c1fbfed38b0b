"""How many threads a kernel runs on."""

import torch

from equipoise.ops.dispatch import forked

# parallel regions cost a few microseconds at best, milliseconds on a loaded machine
SERIAL_BYTES = 1024 * 1024


def threads() -> int:
    """Count the threads a kernel may use now: torch's setting, 1 after a fork."""
    return 1 if forked() else torch.get_num_threads()


def threads_for(work: int) -> int:
    """Count the threads for a kernel that touches ``work`` bytes."""
    return threads() if work >= SERIAL_BYTES else 1
