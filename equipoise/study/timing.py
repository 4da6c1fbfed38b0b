"""Time of one plain training step, the norms taking turns so that all meet the same machine."""

from collections.abc import Callable, Mapping
from statistics import median
from time import perf_counter

import torch
from torch.nn import functional as F

from equipoise.study import userfile
from equipoise.study.data import Data
from equipoise.study.models import Built
from equipoise.study.settings import Settings
from equipoise.study.train import batches

ROUNDS = 12
STEPS = 4


def race(
    builds: Mapping[str, Built],
    data: Data,
    settings: Settings,
    seed: int,
    check: Callable[[], None] = lambda: None,
) -> dict[str, float]:
    """Give the median seconds a step, by norm: forward, backward and update, nothing recorded.

    ``check`` is called between rounds and may raise to stop.
    """
    some = [batch for batch, _ in zip(batches(data, settings, seed), range(STEPS), strict=False)]
    # a rate that changes next to nothing: no contender diverges while it is timed
    optimizers = {k: torch.optim.SGD(b.model.parameters(), lr=1e-6) for k, b in builds.items()}
    seconds: dict[str, list[float]] = {name: [] for name in builds}
    names = list(builds)
    for turn in range(ROUNDS + 1):
        check()
        # each norm goes first in its turn
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            taken = _steps(builds[name], optimizers[name], some)
            # the first round compiles kernels and fills caches
            seconds[name] += [taken / len(some)] if turn else []
    return {name: median(times) for name, times in seconds.items()}


def _steps(built: Built, optimizer: torch.optim.Optimizer, some: list) -> float:
    start = perf_counter()
    with userfile.guard("the network in training"):
        for x, y in some:
            loss = F.cross_entropy(built.model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return perf_counter() - start
