"""Read one step ahead in a thread, so that reading and summing overlap."""

import queue
import threading
from collections.abc import Iterator
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
