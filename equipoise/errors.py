"""The one error that the command line turns into a line and exit code 2."""


class UsageError(ValueError):
    """Something the user gave cannot be used; the message says what, and what to do."""
