"""How far a pass over files has come: bytes, rate and time left, on stderr."""

import sys
from time import perf_counter

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

# seconds between two lines where stderr is no terminal
LINE_SECONDS = 10.0


class Lines:
    """Print a line now and then, and one at the end."""

    def __init__(self, what: str, total: int, done: float = 0.0):
        self.what, self.total = what, total
        self.first, self.begin = done, perf_counter()
        self.next = self.begin + LINE_SECONDS

    def __enter__(self):
        """Begin."""
        return self

    def __exit__(self, *exception) -> None:
        """Leave nothing open."""

    def update(self, done: float, rows: int) -> None:
        """Learn that ``done`` bytes have been read, which held ``rows`` rows."""
        now = perf_counter()
        if now >= self.next:
            self.next = now + LINE_SECONDS
            left = (self.total - done) / max(self._rate(done, now), 1e-9)
            self._print(f"{self._share(done, rows, now)}, {clock(left)} left")

    def end(self, done: float, rows: int) -> None:
        """Say what was read in all."""
        now = perf_counter()
        self._print(f"{self._share(done, rows, now)}, in {now - self.begin:.1f} s")

    def _rate(self, done, now) -> float:
        return (done - self.first) / max(now - self.begin, 1e-9)

    def _share(self, done, rows, now) -> str:
        return (
            f"{self.what}: {size(done)} of {size(self.total)}, {rows:,} rows, "
            f"{size(self._rate(done, now))}/s"
        )

    @staticmethod
    def _print(text: str) -> None:
        print(text, file=sys.stderr, flush=True)


class Bar(Lines):
    """Show a bar on a terminal, and the last line where it was."""

    def __init__(self, what: str, total: int, done: float, console: Console):
        super().__init__(what, total, done)
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(compact=True),
            TextColumn("left"),
            console=console,
            transient=True,
            redirect_stdout=False,
        )
        self.task = self.progress.add_task(what, total=total, completed=round(done))

    def __enter__(self):
        """Take a line of the terminal."""
        self.progress.start()
        return self

    def __exit__(self, *exception) -> None:
        """Give it back."""
        self.progress.stop()

    def update(self, done: float, rows: int) -> None:
        """Move the bar."""
        self.progress.update(self.task, completed=done)

    def end(self, done: float, rows: int) -> None:
        """Take the bar away and say what was read."""
        self.progress.stop()
        super().end(done, rows)


def choose(what: str, total: int, done: float = 0.0) -> Lines:
    """Give a bar where stderr is a terminal that can show it, else lines."""
    console = Console(stderr=True)
    if console.is_terminal and not console.is_dumb_terminal:
        return Bar(what, total, done, console)
    return Lines(what, total, done)


def size(count: float) -> str:
    """Write a number of bytes.

    >>> size(999), size(2_500_000)
    ('999 B', '2.5 MB')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def clock(seconds: float) -> str:
    """Write a time.

    >>> clock(59), clock(3700)
    ('0:59', '1:01:40')
    """
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
