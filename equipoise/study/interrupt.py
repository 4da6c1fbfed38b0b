"""Ctrl-C that stops between two steps, so that what has finished is kept."""

import signal
import threading
from collections.abc import Callable


class Stop:
    """While ``with`` runs, the first SIGINT asks to stop and the second one interrupts at once.

    A ``KeyboardInterrupt`` raised anywhere can be lost in a callback and can leave a record half
    written; a flag that is read between two steps cannot.
    """

    def __init__(self, tell: Callable[[], None] = lambda: None):
        self.tell = tell
        self.asked = False
        self._before = None

    def __enter__(self) -> "Stop":
        """Take over SIGINT, where we may: only the main thread can."""
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._ask)
        return self

    def __exit__(self, *exception) -> None:
        """Give SIGINT back."""
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _ask(self, number, frame) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        self.tell()
