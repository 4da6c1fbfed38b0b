"""What one trial records, step by step."""

import math
from dataclasses import asdict, dataclass, field

DIGITS = 6


def number(value: float | None) -> float | None:
    """Give the value to six digits, or None where it is not finite: JSON knows no NaN.

    >>> number(0.123456789), number(float("inf"))
    (0.123457, None)
    """
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.{DIGITS}g}")


@dataclass
class Trial:
    """One network trained with one norm, learning rate and seed.

    ``loss``, ``accuracy``, ``grad_norm`` and each layer's lists have one entry a step; the loss is
    that of the mini-batch before the step.  ``eval_steps`` and ``probe_steps`` count from 1.
    """

    norm: str
    lr: float
    seed: int
    status: str = "interrupted"
    diverged_at: int | None = None
    loss: list[float | None] = field(default_factory=list)
    accuracy: list[float] = field(default_factory=list)
    grad_norm: list[float | None] = field(default_factory=list)
    eval_steps: list[int] = field(default_factory=list)
    test_accuracy: list[float] = field(default_factory=list)
    seconds_per_step: float | None = None
    layers: dict[str, dict[str, list[float | None]]] = field(default_factory=dict)
    probe_steps: list[int] = field(default_factory=list)
    loss_range: list[list[float | None]] = field(default_factory=list)
    gradient_change: list[float | None] = field(default_factory=list)

    def step(self, loss: float, accuracy: float, grad_norm: float) -> None:
        """Record one mini-batch."""
        self.loss.append(number(loss))
        self.accuracy.append(accuracy)
        self.grad_norm.append(number(grad_norm))

    def evaluation(self, step: int, accuracy: float) -> None:
        """Record the accuracy on the test split after ``step`` steps."""
        self.eval_steps.append(step)
        self.test_accuracy.append(accuracy)

    def steps_to(self, target: float) -> int | None:
        """Give the first evaluated step at which the target was met, None where it never was.

        A trial that diverged later on did not train, so it never met the target.
        """
        if self.status != "done":
            return None
        met = (s for s, a in zip(self.eval_steps, self.test_accuracy, strict=True) if a >= target)
        return next(met, None)

    def best_accuracy(self) -> float | None:
        """Give the best accuracy on the test split, None for a trial that diverged."""
        return max(self.test_accuracy, default=None) if self.status == "done" else None

    def trim(self) -> None:
        """Cut the lists to one length, after an interruption that came between two of them."""
        lists = [self.loss, self.accuracy, self.grad_norm]
        lists += [values for layer in self.layers.values() for values in layer.values()]
        for group in (
            lists,
            [self.eval_steps, self.test_accuracy],
            [self.probe_steps, self.loss_range, self.gradient_change],
        ):
            length = min(map(len, group))
            for values in group:
                del values[length:]

    def to_dict(self) -> dict:
        """Give the record as plain lists and numbers."""
        return asdict(self)
