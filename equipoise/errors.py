"""What the command line turns into a line and an exit code."""


class UsageError(ValueError):
    """Something the user gave cannot be used; the message says what, and what to do."""


class Interrupted(Exception):
    """Ctrl-C came before anything could be kept; exit code 130."""
