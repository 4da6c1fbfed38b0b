"""Work ahead in threads, so that reading and summing overlap; the order stays."""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")


class _Line:
    """Items on their way from one thread to another: a few at most, and none once ``left``."""

    def __init__(self, depth: int, left: threading.Event):
        self._queue, self._left = queue.Queue(depth), left

    def _put(self, item, error=None) -> bool:
        """Wait for room; tell whether anyone still wants it."""
        while not self._left.is_set():
            try:
                self._queue.put((item, error), timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def fill(self, items: Iterable[Any]) -> None:
        """Put all items and then their end, or what they raise."""
        try:
            if all(self._put(item) for item in items):
                self._put(None, StopIteration())
        except BaseException as error:
            self._put(None, error)
        finally:
            # a generator's files are closed by the thread that reads them
            close = getattr(items, "close", None)
            if close is not None:
                close()

    def __iter__(self) -> Iterator[Any]:
        while True:
            item, error = self._queue.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item


@contextmanager
def _threads(work: Callable[[], object], count: int, left: threading.Event):
    """Run ``work`` on threads, which end with the block: ``left`` tells them."""
    threads = [
        threading.Thread(target=work, name="equipoise-read", daemon=True) for _ in range(count)
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        left.set()
        for thread in threads:
            thread.join()


def ahead(items: Iterator[T], depth: int = 2) -> Iterator[T]:
    """Give the items, in order, while a thread fetches up to ``depth`` more of them.

    The thread ends with the iterator, also where the consumer stops early; what it raises is
    raised here.

    >>> list(ahead(iter("abc")))
    ['a', 'b', 'c']
    """
    left = threading.Event()
    line = _Line(depth, left)
    with _threads(lambda: line.fill(items), 1, left):
        yield from line


def in_order(
    units: Iterable[Callable[[], Iterable[T]]],
    workers: int,
    depth: int = 64,
    begin: Callable[[], object] = lambda: None,
) -> Iterator[T]:
    """Give the items of every unit, unit after unit, while threads work on several of them.

    Each of ``workers`` threads calls ``begin`` and then takes one unit at a time, up to ``depth``
    items ahead.  What a unit raises is raised where its next item would be.

    >>> list(in_order([lambda: iter("ab"), lambda: iter("c")], workers=2))
    ['a', 'b', 'c']
    """
    # a line for each unit that was taken, in the order of the units; None behind the last
    lines: queue.Queue[_Line | None] = queue.Queue()
    left, taking, source = threading.Event(), threading.Lock(), iter(units)

    def take():
        """Take the next unit, and the line that it fills; None when there is no more."""
        with taking:
            line = _Line(depth, left)
            try:
                unit = next(source, None)
            except BaseException as error:
                unit = partial(_raise, error)
            lines.put(line if unit else None)
            return unit, line

    def work():
        begin()
        while not left.is_set():
            unit, line = take()
            if unit is None:
                return
            line.fill(_items(unit))

    with _threads(work, workers, left):
        while (line := lines.get()) is not None:
            yield from line


def _items(unit):
    """Give a unit's items: what calling it raises is raised with the first."""
    yield from unit()


def _raise(error: BaseException):
    raise error
