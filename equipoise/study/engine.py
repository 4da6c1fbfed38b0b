"""Run a study: every norm, learning rate and seed, and what they come to."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import torch

from equipoise import environment
from equipoise.study import data as datasets
from equipoise.study import models, timing, userfile, verdict
from equipoise.study.data import Data
from equipoise.study.interrupt import Stop
from equipoise.study.norms import Factory, choose, fitting
from equipoise.study.progress import Silent
from equipoise.study.records import Trial, number
from equipoise.study.result import SCHEMA, Study
from equipoise.study.settings import Settings, settle
from equipoise.study.summary import summarize
from equipoise.study.train import Stopped, train


def compare(
    make_model: Callable[..., torch.nn.Module] | str | None = None,
    data: object = "digits",
    norms: Iterable[str] | Mapping[str, Factory] | None = None,
    *,
    lrs: Iterable[float | str] | None = None,
    seeds: int | None = None,
    epochs: int | None = None,
    seed: int = 0,
    quick: bool = False,
    batch_size: int = 64,
    target: float = 0.95,
    threads: int = 1,
    probes: bool = True,
    progress: Silent | None = None,
    stop: Stop | None = None,
) -> Study:
    """Train the same network with each norm, over learning rates and seeds, and compare.

    For one seed all norms meet the same mini-batches in the same order and, where ``make_model``
    draws no random numbers in the norms, start from the same weights.  Plain SGD, constant rate,
    cross-entropy.

    Parameters
    ----------
    make_model : callable, str or None
        ``make_model(norm)`` returns a network and calls ``norm(num_features, dims=2)`` where a
        norm should stand; ``FILE.py:make_model`` names one in a file; None is a small network
        that suits the data.
    data : "digits", str, callable or four arrays
        ``(X_train, y_train, X_test, y_test)`` of NumPy or torch, samples ``(N, ...)`` and class
        numbers ``(N,)``; a function that returns them; or ``FILE.py:make_data``.
    norms : names, mapping of name to ``factory(num_features, dims)``, or None for all that
        fit the data
    lrs : learning rates
    seeds : how many seeds, counted from ``seed``
    epochs : passes over the training samples
    quick : bool
        Use the short defaults.
    target : float
        The test accuracy that counts as trained.
    threads : int
        Threads of torch during the study; one gives the same numbers on any machine.
    probes : bool
        Look along the gradient now and then (arXiv 1805.11604); training is the same without.
    progress : display, see `equipoise.study.progress`
    stop : flag that ends the study between two steps, see `equipoise.study.interrupt`

    Returns
    -------
    Study
        Partial where it was stopped: finished trials are kept.

    Raises
    ------
    UsageError
        Where an argument cannot be used; nothing has been trained then.

    Examples
    --------
    >>> study = compare(norms=["none"], lrs=[0.1], seeds=1, epochs=1)
    >>> study.summary[0]["norm"], study.partial
    ('none', False)
    """
    factories = choose(norms)
    settings = settle(
        factories, lrs, seeds, epochs, seed=seed, quick=quick, batch_size=batch_size,
        target=target, threads=threads, probes=probes,
    )  # fmt: skip
    display = progress or Silent()
    with _threads(settings.threads), nullcontext(stop) if stop else Stop(display.stopping) as stop:
        plan = _plan(make_model, data, factories, settings, every=norms is None)
        run = Engine(plan, display, stop)
        run.run()
        return Study(run.record())


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Let torch use so many threads meanwhile."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclass
class Plan:
    """What will be trained."""

    make_model: models.MakeModel
    model_name: str
    data: Data
    factories: dict[str, Factory]
    settings: Settings
    command: str

    @property
    def steps(self) -> int:
        """Count the steps of one trial."""
        return self.settings.steps(len(self.data.train_x))

    @property
    def size(self) -> int:
        """Count the trials."""
        return len(self.settings.norms) * len(self.settings.lrs) * len(self.settings.seeds)

    def build(self, norm: str, seed: int) -> models.Built:
        """Make the network with one norm."""
        return models.build(self.make_model, self.factories[norm], seed, self.model_name)


def _plan(make_model, source, factories, settings: Settings, every: bool) -> Plan:
    """Load model and data; the names tell a user which of them is at fault."""
    spec = make_model if isinstance(make_model, str) else None
    data = datasets.resolve(source, settings.batch_size)
    if every:
        settings = replace(settings, norms=fitting(settings.norms, data.shape))
    maker, name = models.choose(make_model, data)
    data_name = source if isinstance(source, str) else data.name
    return Plan(maker, name, data, factories, settings, settings.command(spec, data_name))


@dataclass
class Engine:
    """A study that runs: the trials so far."""

    plan: Plan
    display: Silent
    stop: Stop
    trials: list[Trial] = field(default_factory=list)
    paired: bool = True
    parameters: int = 0
    complete: bool = False

    def run(self) -> None:
        """Check the networks, then train until all is done or the user stops it."""
        try:
            self._check()
            self.display.begin(self.plan.settings, self.plan.steps)
            for seed in self.plan.settings.seeds:
                self._seed(seed)
            self.complete = True
        except (Stopped, KeyboardInterrupt):
            if not any(trial.status != "interrupted" for trial in self.trials):
                raise KeyboardInterrupt("no trial had finished") from None

    def _check(self) -> None:
        """Build each norm's network, and run it once on one that is thrown away."""
        plan, built = self.plan, []
        for norm in plan.settings.norms:
            self._pause(f"checking the network with {norm}; a first run compiles kernels")
            built.append(plan.build(norm, plan.settings.seeds[0]))
            scratch = plan.build(norm, plan.settings.seeds[0])
            with userfile.seeded(0):
                name = f"{plan.model_name} with norm {norm}"
                models.check(scratch, plan.data, plan.settings.batch_size, name)
        self.paired = models.are_paired(built)
        self.parameters = sum(p.numel() for p in built[0].model.parameters())

    def _pause(self, text: str | None = None) -> None:
        if self.stop.asked:
            raise Stopped
        if text:
            self.display.note(text)

    def _seed(self, seed: int) -> None:
        plan = self.plan
        self._pause(f"timing a step of each norm, seed {seed}")
        with userfile.seeded(seed):
            builds = {norm: plan.build(norm, seed) for norm in plan.settings.norms}
            seconds = timing.race(builds, plan.data, plan.settings, seed, self._pause)
        for lr in plan.settings.lrs:
            # norms innermost: what is stopped early has still met all of them alike
            for norm in plan.settings.norms:
                self._trial(Trial(norm, lr, seed, seconds_per_step=number(seconds[norm])))

    def _trial(self, trial: Trial) -> None:
        self._pause()
        self.trials.append(trial)
        try:
            train(self.plan.build(trial.norm, trial.seed), trial, self.plan.data,
                  self.plan.settings, self._stepped)  # fmt: skip
        except (Stopped, KeyboardInterrupt):
            trial.trim()
            raise
        self.display.end(trial)

    def _stepped(self, trial: Trial) -> None:
        self.display.step(trial)
        self._pause()

    def record(self) -> dict[str, Any]:
        """Give the record of the study, as ``study.json`` holds it."""
        plan, settings = self.plan, self.plan.settings
        finished = sum(trial.status != "interrupted" for trial in self.trials)
        summary = summarize(self.trials, settings.norms, settings.target)
        return {
            "schema": SCHEMA,
            "created": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "versions": environment.versions(),
            "machine": environment.machine(),
            "data": plan.data.describe(),
            "model": {"name": plan.model_name, "parameters": self.parameters},
            "settings": self._settings(),
            "command": plan.command,
            "partial": not self.complete,
            "trials": [trial.to_dict() for trial in self.trials],
            "summary": summary,
            "verdict": verdict.sentences(
                summary,
                target=settings.target,
                seeds=len(settings.seeds),
                steps=plan.steps,
                lrs=settings.lrs,
                paired=self.paired,
                finished=finished,
                planned=plan.size,
            ),
        }

    def _settings(self) -> dict[str, Any]:
        settings, samples = self.plan.settings, len(self.plan.data.train_x)
        return asdict(settings) | {
            "norms": list(settings.norms),
            "lrs": list(settings.lrs),
            "seeds": list(settings.seeds),
            "steps": self.plan.steps,
            "optimizer": "SGD, constant learning rate, no momentum, no weight decay",
            "eval_every": settings.eval_every(samples),
            "probe_every": settings.probe_every(samples),
            "paired": self.paired,
        }
