"""``python -m formation``, or ``formation``: explain, check and trace what stands in a program, and the demo.

Nothing is contacted but what the command names: ``explain`` and ``check`` import the module and look at it, ``trace``
calls once what it is given, ``demo`` talks to itself on this machine. To import a module is to run it.

=== ====================================================================================
0   it is well
1   ``check`` has something to say; the call that ``trace`` has made failed
2   the command is wrong: no such module, object, file, option; something is not installed
130 Ctrl-C
=== ====================================================================================

``find.py`` finds what a name stands for, ``asking.py`` reads what a call is made of, ``calling.py`` makes it,
``commands.py`` prints; ``demo.py`` is the demo.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final

from formation.cli.errors import WrongCommand

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

FINE: Final = 0
FOUND: Final = 1
WRONG: Final = 2
"""As argparse has it."""

STOPPED: Final = 130
"""What shells make of Ctrl-C."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command, and return its exit code.

    Args:
        argv: what comes after the name of the program; ``None``: what the program was started with.

    >>> main(["check", "formation.nothing:api"])
    2
    """
    from formation.cli.options import read

    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal that cannot draw a line
    if (here := os.getcwd()) not in sys.path and "" not in sys.path:  # noqa: PTH109  a console script has its own folder
        sys.path.insert(0, here)
    try:
        given = read(argv)
        run = given.run
        is_fine = run(given)
        sys.stdout.flush()
    except WrongCommand as error:
        print(f"formation: {error}", file=sys.stderr)
        return WRONG
    except KeyboardInterrupt:
        return STOPPED
    except BrokenPipeError:  # `formation explain … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FINE
    return FINE if is_fine else FOUND
