"""Work ahead in threads, so that reading and summing overlap; the order stays."""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def ahead(items: Iterator[T], depth: int = 2) -> Iterator[T]:
    """Give the items, in order, while a thread fetches up to ``depth`` more of them.

    The thread ends with the iterator, also where the consumer stops early; what it raises is
    raised here.

    >>> list(ahead(iter("abc")))
    ['a', 'b', 'c']
    """
    line: queue.Queue = queue.Queue(depth)
    left = threading.Event()

    def put(item) -> bool:
        while not left.is_set():
            try:
                line.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def fetch():
        try:
            for item in items:
                if not put((item, None)):
                    break
            else:
                put((None, StopIteration()))
        except BaseException as error:
            put((None, error))
        finally:
            # a generator's files are closed by the thread that reads them
            close = getattr(items, "close", None)
            if close is not None:
                close()

    thread = threading.Thread(target=fetch, name="equipoise-read", daemon=True)
    thread.start()
    try:
        while True:
            item, error = line.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item
    finally:
        left.set()
        thread.join()


def in_order(
    units: Iterable[Callable[[], Iterator[T]]],
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
    lines: queue.Queue = queue.Queue()
    left, taking, source = threading.Event(), threading.Lock(), iter(units)

    def take():
        with taking:
            line = queue.Queue(depth)
            try:
                unit = next(source, None)
            except BaseException as error:
                line.put((None, error))
                unit = None
                lines.put(line)
            # behind all that was taken
            lines.put(line if unit else None)
            return unit, line

    def put(line, item) -> bool:
        while not left.is_set():
            try:
                line.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work():
        begin()
        while not left.is_set():
            unit, line = take()
            if unit is None:
                return
            try:
                if not all(put(line, (item, None)) for item in unit()):
                    return
                put(line, (None, StopIteration()))
            except BaseException as error:
                put(line, (None, error))

    threads = [
        threading.Thread(target=work, name="equipoise-read", daemon=True) for _ in range(workers)
    ]
    for thread in threads:
        thread.start()
    try:
        while (line := lines.get()) is not None:
            while True:
                item, error = line.get()
                if isinstance(error, StopIteration):
                    break
                if error is not None:
                    raise error
                yield item
    finally:
        left.set()
        for thread in threads:
            thread.join()
