"""What a study trains: norms, learning rates, seeds, length; checked before anything runs."""

import math
import shlex
from collections.abc import Iterable
from dataclasses import dataclass

from equipoise.errors import UsageError

# the range in which the default network goes from too slow to broken, with and without a norm
LRS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
QUICK_LRS = (0.1, 1.0)
SEEDS, QUICK_SEEDS = 3, 2
EPOCHS, QUICK_EPOCHS = 10, 6
# fine enough to count steps to the target; a long training has fewer an epoch
EVAL_STEPS, EVALUATIONS = 5, 60
PROBE_STEPS, PROBES = 15, 20
LARGEST_SEED = 2**32 - 1


@dataclass(frozen=True)
class Settings:
    """One study's choices; ``norms`` are names, the factories are kept apart."""

    norms: tuple[str, ...]
    lrs: tuple[float, ...] = LRS
    seeds: tuple[int, ...] = (0, 1, 2)
    epochs: int = EPOCHS
    batch_size: int = 64
    target: float = 0.95
    threads: int = 1
    quick: bool = False
    probes: bool = True

    def steps_per_epoch(self, samples: int) -> int:
        """Count full batches; what is left over waits for the next shuffle."""
        return max(1, samples // self.batch_size)

    def steps(self, samples: int) -> int:
        """Count the optimizer steps of one trial."""
        return self.epochs * self.steps_per_epoch(samples)

    def eval_every(self, samples: int) -> int:
        """Give the number of steps between evaluations on the test split."""
        return max(EVAL_STEPS, self.steps(samples) // EVALUATIONS)

    def probe_every(self, samples: int) -> int:
        """Give the number of steps between probes of the loss along the gradient."""
        return max(PROBE_STEPS, self.steps(samples) // PROBES)

    def command(self, model: str | None, data: str) -> str:
        """Give the command line that repeats the study."""
        words = ["equipoise", "study", "--norms", ",".join(self.norms)]
        words += ["--lr", ",".join(f"{lr:g}" for lr in self.lrs)]
        words += ["--seeds", str(len(self.seeds)), "--seed", str(self.seeds[0])]
        words += ["--epochs", str(self.epochs)]
        words += ["--threads", str(self.threads)] if self.threads != 1 else []
        words += ["--model", model] if model else []
        words += ["--data", data] if data != "digits" else []
        return shlex.join(words)


def settle(
    norms: Iterable[str],
    lrs: Iterable[float | str] | None = None,
    seeds: int | None = None,
    epochs: int | None = None,
    *,
    seed: int = 0,
    quick: bool = False,
    batch_size: int = 64,
    target: float = 0.95,
    threads: int = 1,
    probes: bool = True,
) -> Settings:
    """Check the choices and fill in the defaults, the short ones where ``quick``.

    >>> settle(["none"], lrs=["1,0.1"], seeds=2, seed=7).seeds
    (7, 8)
    """
    count = _whole("seeds", seeds, QUICK_SEEDS if quick else SEEDS)
    first = _whole("seed", seed, 0, least=0)
    if first + count - 1 > LARGEST_SEED:
        raise UsageError(f"seed: seeds go up to {LARGEST_SEED}, {first + count - 1} is needed")
    if not 0 < target <= 1:
        raise UsageError(f"target: an accuracy above 0 and up to 1 is needed, {target!r} came")
    return Settings(
        norms=tuple(norms),
        lrs=rates(lrs if lrs is not None else QUICK_LRS if quick else LRS),
        seeds=tuple(range(first, first + count)),
        epochs=_whole("epochs", epochs, QUICK_EPOCHS if quick else EPOCHS),
        # batch norm needs two samples to have a variance
        batch_size=_whole("batch_size", batch_size, 64, least=2),
        target=float(target),
        threads=_whole("threads", threads, 1),
        quick=quick,
        probes=probes,
    )


def _whole(name: str, value: int | None, default: int, least: int = 1) -> int:
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise UsageError(f"{name}: a whole number of at least {least} is needed, {value!r} came")
    return value


def rates(values: Iterable[float | str] | float | str) -> tuple[float, ...]:
    """Read learning rates from numbers or comma-separated text; sorted, each once.

    >>> rates("1,0.1,1e-1")
    (0.1, 1.0)
    """
    if isinstance(values, str | int | float):
        values = [values]
    words = [word.strip() for value in values for word in str(value).split(",")]
    found = {_rate(word) for word in words if word}
    if not found:
        raise UsageError("no learning rate is given: name at least one, such as --lr 0.1,0.3")
    return tuple(sorted(found))


def _rate(word: str) -> float:
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise UsageError(f"learning rate {word!r}: a positive number is needed, such as 0.1")
    return value
