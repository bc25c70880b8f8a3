"""What is wrong with a command: it is told in words, without a traceback."""

from __future__ import annotations


class WrongCommand(Exception):
    """A command cannot be run as it stands. The message says what is expected, what came, and the next step."""
