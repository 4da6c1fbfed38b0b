"""Fixtures that the whole suite shares."""

import signal

# a suite that was started in the background ignores Ctrl-C, and so would the commands it interrupts
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
