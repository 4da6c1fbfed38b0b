"""What a benchmark is made of: points, contenders, cases, and the results they give."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple, Protocol

from benchmarks.timing import Plan


class NoData(Exception):
    """A point's data cannot be had here; the point is left out, and the message says why."""


class WrongKernel(Exception):
    """One of our kernels is wrong or fails, so that its speed means nothing."""


@dataclass(frozen=True)
class Point:
    """One thing to time: a name to select it by, tags to group it by, and its memory traffic.

    ``bytes`` is the size of one tensor, ``sweeps`` how often the best known algorithm must read
    or write a tensor of that size; ``compiled`` asks for the compiled contenders too, and
    ``both_mallocs`` for a second look under the other malloc setting.
    """

    name: str
    tags: dict[str, Any]
    bytes: int
    sweeps: float
    compiled: bool = False
    both_mallocs: bool = True


class Built(NamedTuple):
    """A contender that is ready: the call to time, and one fresh run's outputs by name."""

    call: Callable[[], Any]
    probe: Callable[[], dict[str, Any]]


@dataclass(frozen=True)
class Contender:
    """One way to do the work; ``build`` may raise, which only a ``required`` one may not.

    ``role`` is "ours", "peer" or "limit" (a bare sweep that bounds the time from below);
    ``against`` names the contender of ours that a peer is divided by.
    """

    name: str
    role: str
    build: Callable[[], Built]
    against: str = "ours"
    required: bool = False
    every_thread_count: bool = True


class Case(Protocol):
    """A point with its data: who contends, and how far an output is from float64."""

    contenders: Sequence[Contender]

    def errors(self, outputs: dict[str, Any]) -> dict[str, tuple[float, float]]:
        """Give (error, the bar it must not exceed) for each output."""
        ...


@dataclass(frozen=True)
class Target:
    """A number to reach: ``value(results)`` gives the number and the point that decides it."""

    label: str
    value: Callable[[list["Result"]], tuple[float, str]]
    bar: float
    at_least: bool = True

    def reached(self, value: float) -> bool:
        """Tell whether ``value`` is on the right side of the bar; NaN (no points) is not."""
        return value >= self.bar if self.at_least else value <= self.bar


@dataclass(frozen=True)
class Group:
    """Points that are averaged into one line of the summary."""

    label: str
    where: Callable[[dict[str, Any]], bool]


@dataclass(frozen=True)
class Benchmark:
    """A benchmark: its points, how to make a case of one, and what to conclude from them.

    ``copy_limit`` says that the limit is a copy's bandwidth over the point's sweeps; without it
    the limit is the fastest contender whose role is "limit".  ``plan`` says how long a full run
    times each contender.
    """

    name: str
    title: str
    notes: str
    points: Callable[[bool], list[Point]]
    case: Callable[[Point, bool], Case]
    groups: Sequence[Group]
    targets: Sequence[Target]
    copy_limit: bool = True
    extras: Callable[[Point, Case], dict[str, float]] | None = None
    plan: Plan = field(default_factory=Plan)


@dataclass
class Entry:
    """How one contender did at one point: seconds a call, and its worst error against its bar."""

    role: str
    against: str
    median: float = float("nan")
    p10: float = float("nan")
    rounds: int = 0
    faults: float = 0.0
    error: float = float("nan")
    error_in: str = ""
    accurate: bool = True
    failed: str = ""


@dataclass
class Result:
    """One point at one thread count: an entry per contender, and the limit in seconds."""

    point: str
    tags: dict[str, Any]
    bytes: int
    sweeps: float
    threads: int
    entries: dict[str, Entry]
    limit: float = float("nan")
    extras: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Give plain dictionaries and numbers."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Result":
        """Rebuild what ``to_json`` gave."""
        entries = {name: Entry(**entry) for name, entry in data["entries"].items()}
        return cls(**{**data, "entries": entries})
