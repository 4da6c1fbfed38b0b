"""What a running study shows on stderr: a live display on a terminal, plain lines elsewhere."""

import os
import sys
from time import perf_counter

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from equipoise.study.records import Trial
from equipoise.study.settings import Settings
from equipoise.study.summary import spread
from equipoise.study.verdict import percent

REFRESH_SECONDS = 0.2
STOPPING = "stopping after this step; Ctrl-C again stops at once"


class Silent:
    """Show nothing; the other displays follow its methods."""

    def __enter__(self):
        """Begin to show."""
        return self

    def __exit__(self, *exception) -> None:
        """End what is shown."""

    def begin(self, settings: Settings, steps: int) -> None:
        """Learn what will be trained: ``steps`` a trial."""

    def note(self, text: str) -> None:
        """Say what goes on between trials."""

    def step(self, trial: Trial) -> None:
        """Learn that the trial has taken a step."""

    def end(self, trial: Trial) -> None:
        """Learn that the trial has ended."""

    def stopping(self) -> None:
        """Learn, perhaps inside a signal handler, that the study will stop soon."""


def outcome(trial: Trial, target: float) -> str:
    """Tell in a few words how a trial ended.

    >>> outcome(Trial("none", 1.0, 0, status="diverged", diverged_at=7), 0.95)
    'diverged at step 7'
    """
    if trial.status == "diverged":
        return f"diverged at step {trial.diverged_at}"
    steps, best = trial.steps_to(target), trial.best_accuracy() or 0.0
    reached = f"{percent(target)} after {steps} steps" if steps else f"never {percent(target)}"
    return f"best accuracy {percent(best)}, {reached}"


class Lines(Silent):
    """Print one line a trial."""

    def __init__(self):
        self.ended = 0
        self.start = perf_counter()

    def begin(self, settings: Settings, steps: int) -> None:
        """Say how much there is to do."""
        self.settings = settings
        self.total = len(settings.norms) * len(settings.lrs) * len(settings.seeds)
        self._print(f"{self.total} trials of {steps} steps")

    def note(self, text: str) -> None:
        """Print what goes on."""
        self._print(text)

    def end(self, trial: Trial) -> None:
        """Print how the trial ended."""
        self.ended += 1
        self._print(
            f"[{self.ended}/{self.total}] {trial.norm} lr {trial.lr:g} seed {trial.seed}: "
            f"{outcome(trial, self.settings.target)} ({perf_counter() - self.start:.0f} s)"
        )

    def stopping(self) -> None:
        """Say so without a buffer: a handler may have come inside another print."""
        try:
            os.write(2, f"\n{STOPPING}\n".encode())
        except OSError:
            pass

    @staticmethod
    def _print(text: str) -> None:
        print(text, file=sys.stderr, flush=True)


class Display(Silent):
    """Show the matrix of what has ended, the trial that runs, and the time that is left.

    There is no thread behind it, which would take time from the training.
    """

    def __init__(self, console: Console):
        self.text = "reading model and data"
        self.ended: dict[tuple[str, float], list[Trial]] = {}
        self.settings: Settings | None = None
        self.progress = Progress(
            BarColumn(bar_width=24),
            TextColumn("{task.fields[trials]}"),
            TextColumn("·"),
            TimeRemainingColumn(compact=True),
            TextColumn("left"),
            console=console,
            auto_refresh=False,
        )
        self.live = Live(
            self._render(),
            console=console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
        )
        self.shown = 0.0

    def __enter__(self):
        """Take the lower part of the terminal."""
        self.live.start()
        return self

    def __exit__(self, *exception) -> None:
        """Give it back."""
        self.live.stop()

    def begin(self, settings: Settings, steps: int) -> None:
        """Lay out the matrix."""
        self.settings, self.steps = settings, steps
        self.total = len(settings.norms) * len(settings.lrs) * len(settings.seeds)
        self.task = self.progress.add_task("", total=self.total * steps, trials=self._trials())

    def note(self, text: str) -> None:
        """Show what goes on."""
        self.text = text
        self._refresh(now=True)

    def step(self, trial: Trial) -> None:
        """Move the bar and show the trial's last numbers, a few times a second."""
        done, loss = len(trial.loss), trial.loss[-1]
        self.progress.update(self.task, completed=self._count() * self.steps + done)
        if not self.text.startswith("stopping"):
            accuracy = percent(trial.test_accuracy[-1]) if trial.test_accuracy else "–"
            self.text = (
                f"{trial.norm} · lr {trial.lr:g} · seed {trial.seed} · step {done}/{self.steps} · "
                f"loss {'–' if loss is None else format(loss, '.3f')} · test {accuracy}"
            )
        self._refresh()

    def end(self, trial: Trial) -> None:
        """Put the trial into the matrix."""
        self.ended.setdefault((trial.norm, trial.lr), []).append(trial)
        # a trial that diverged took fewer steps than the bar had for it
        self.progress.update(self.task, completed=self._count() * self.steps, trials=self._trials())
        self._refresh()

    def stopping(self) -> None:
        """Show it at the next refresh."""
        self.text = STOPPING

    def _count(self) -> int:
        return sum(map(len, self.ended.values()))

    def _trials(self) -> str:
        return f"{self._count()}/{self.total} trials"

    def _refresh(self, now: bool = False) -> None:
        if now or perf_counter() - self.shown > REFRESH_SECONDS:
            self.live.update(self._render(), refresh=True)
            self.shown = perf_counter()

    def _render(self) -> Group:
        line = Text(self.text, overflow="ellipsis", no_wrap=True)
        if self.settings is None:
            return Group(line)
        return Group(self._matrix(self.settings), self.progress, line)

    def _matrix(self, settings: Settings) -> Table:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
        table.add_column("best test accuracy", overflow="fold")
        for lr in settings.lrs:
            table.add_column(f"lr {lr:g}", justify="right", min_width=5)
        for norm in settings.norms:
            cells = [self._cell(self.ended.get((norm, lr), []), settings) for lr in settings.lrs]
            table.add_row(Text(norm), *cells)
        return table

    def _cell(self, trials: list[Trial], settings: Settings) -> Text:
        if not trials:
            return Text("·", style="dim")
        best = spread(trial.best_accuracy() for trial in trials)
        if not best:
            return Text("diverged" if len(settings.lrs) < 6 else "div.", style="red")
        reached = best["median"] >= settings.target
        return Text(percent(best["median"]), style="green" if reached else "")


def choose() -> Silent:
    """Give the live display where stderr is a terminal that can show it, else plain lines."""
    console = Console(stderr=True)
    return Display(console) if console.is_terminal and not console.is_dumb_terminal else Lines()
