"""The first Ctrl-C asks, the second one interrupts."""

import os
import signal
import threading

import pytest

from equipoise.study.interrupt import Stop


def _press():
    os.kill(os.getpid(), signal.SIGINT)


def test_the_first_asks_and_the_second_interrupts():
    before, told = signal.getsignal(signal.SIGINT), []
    with Stop(lambda: told.append(1)) as stop:
        assert not stop.asked
        _press()
        assert stop.asked
        assert told == [1]
        with pytest.raises(KeyboardInterrupt):
            _press()
    assert signal.getsignal(signal.SIGINT) is before


def test_the_handler_is_given_back_after_an_error():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ZeroDivisionError), Stop():
        1 / 0  # noqa: B018
    assert signal.getsignal(signal.SIGINT) is before


def test_another_thread_takes_no_signals():
    seen = []

    def work():
        with Stop() as stop:
            seen.append(stop.asked)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False]
