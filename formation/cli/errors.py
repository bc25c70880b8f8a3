"""What is wrong with a command: it is told in words, without a traceback."""

from __future__ import annotations

from types import FunctionType
from typing import Any

from formation.introspection import name_of
from formation.trace.probe import said


class WrongCommand(Exception):
    """A command cannot be run as it stands. The message says what is expected, what came, and the next step."""


def words(error: BaseException) -> str:
    """Return the type of an error and its first words, without what looks like a secret.

    >>> words(OSError("no answer from https://me:pass@h/"))
    'OSError: no answer from https://[redacted]@h/'
    """
    return ": ".join(filter(None, said(error)))


def refused(error: TypeError, thing: Any) -> WrongCommand:
    """Make of a refusal of ``thing`` one that tells its type in the place of its value, which may be a secret.

    >>> refused(TypeError("expected a chain, got 'pass'"), "pass")
    WrongCommand('expected a chain, got an object of str')
    """
    is_named = isinstance(thing, (FunctionType, type))
    told = f"{'the class' if isinstance(thing, type) else 'the function'} {name_of(thing)}"
    return WrongCommand(str(error).replace(repr(thing), told if is_named else f"an object of {type(thing).__name__}"))
