"""One trial: train a network, and record what happens at each step."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils import get_total_norm

from equipoise.study import landscape, userfile
from equipoise.study.data import Data
from equipoise.study.drift import Drift
from equipoise.study.models import Built
from equipoise.study.records import Trial, number
from equipoise.study.settings import Settings

# a loss this many times the first one is a blow-up even while it is finite
BLOWUP = 1000.0
EVAL_BATCH = 512


class Stopped(Exception):
    """The user asked to stop; raised between two steps."""


def batches(data: Data, settings: Settings, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield full mini-batches, shuffled anew each epoch by ``seed`` alone."""
    generator = torch.Generator().manual_seed(seed)
    size = settings.batch_size
    for _ in range(settings.epochs):
        order = torch.randperm(len(data.train_x), generator=generator)
        for i in range(settings.steps_per_epoch(len(order))):
            yield data.batch(order[i * size : (i + 1) * size])


def train(
    built: Built,
    trial: Trial,
    data: Data,
    settings: Settings,
    on_step: Callable[[Trial], None] = lambda trial: None,
) -> Trial:
    """Run plain SGD with a constant rate and fill ``trial``; ``on_step`` may raise `Stopped`."""
    run = Run(built, trial, data, settings)
    with userfile.seeded(trial.seed), run.drift:
        for x, y in batches(data, settings, trial.seed):
            if not run.step(x, y):
                trial.status, trial.diverged_at = "diverged", len(trial.loss)
                return trial
            on_step(trial)
    trial.status = "done"
    return trial


class Run:
    """The state of a trial between two steps."""

    def __init__(self, built: Built, trial: Trial, data: Data, settings: Settings):
        self.model, self.trial, self.data = built.model, trial, data
        self.optimizer = torch.optim.SGD(built.model.parameters(), lr=trial.lr)
        self.drift = Drift(built.sites)
        trial.layers = self.drift.layers
        samples = len(data.train_x)
        self.steps = settings.steps(samples)
        self.eval_every = settings.eval_every(samples)
        self.probe_every = settings.probe_every(samples)
        self.probes = settings.probes

    def step(self, x: Tensor, y: Tensor) -> bool:
        """Take one step and record it; False where the training has diverged."""
        count = len(self.trial.loss) + 1
        random_state = torch.get_rng_state()
        loss, healthy = self._gradient(x, y)
        if not healthy:
            return False
        # the first step, then every so many
        if self.probes and count % self.probe_every == 1 % self.probe_every:
            self._probe(count, x, y, loss, random_state)
        self.optimizer.step()
        if count % self.eval_every == 0 or count == self.steps:
            self.trial.evaluation(count, self.evaluate())
        return True

    def _gradient(self, x: Tensor, y: Tensor) -> tuple[float, bool]:
        """Run forward and backward; give the loss and whether loss and gradient are sound."""
        self.drift.active = True
        with userfile.guard("the network in training"):
            logits = self.model(x)
            self.drift.active = False
            loss = F.cross_entropy(logits, y)
            self.optimizer.zero_grad()
            loss.backward()
        grads = [p.grad for p in self.model.parameters() if p.grad is not None]
        norm, value = get_total_norm(grads).item(), loss.item()
        accuracy = (logits.argmax(1) == y).float().mean().item()
        self.trial.step(value, number(accuracy) or 0.0, norm)
        self.drift.close_step()
        first = self.trial.loss[0]
        blown = first is None or value > BLOWUP * max(first, 1.0)
        return value, not blown and number(value) is not None and number(norm) is not None

    def _probe(self, count: int, x: Tensor, y: Tensor, loss: float, random_state: Tensor) -> None:
        with userfile.guard("the network in training"):
            seen = landscape.probe(
                self.model,
                lambda: F.cross_entropy(self.model(x), y),
                loss,
                self.trial.lr,
                random_state,
            )
        self.trial.probe_steps.append(count)
        self.trial.loss_range.append([number(seen.low), number(seen.high)])
        self.trial.gradient_change.append(number(seen.gradient_change))

    def evaluate(self) -> float:
        """Give the accuracy on the test split, the network in evaluation mode meanwhile."""
        self.model.eval()
        right = 0
        with torch.no_grad(), userfile.guard("the network in evaluation"):
            for i in range(0, len(self.data.test_x), EVAL_BATCH):
                logits = self.model(self.data.test_x[i : i + EVAL_BATCH])
                right += int((logits.argmax(1) == self.data.test_y[i : i + EVAL_BATCH]).sum())
        self.model.train()
        return number(right / len(self.data.test_x)) or 0.0
