"""Threads that take turns all the time, to put locks to the test."""

import sys
from concurrent.futures import ThreadPoolExecutor

SWITCH = 1e-6
"""Seconds after which the next one has its turn, in place of five milliseconds."""


def in_threads(work, number=16):
    """Call ``work(n)`` in so many threads at the same time; return the results, or raise what one of them has raised.

    Nobody traces this thread meanwhile. At the end of a thread greenlet leaves work to this one, and coverage listens.
    When two end together, CPython 3.11 calls that listener while it owes another call, sees at its first traced line
    that it does, cannot make it yet, and looks again, for ever.
    """
    switch, trace = sys.getswitchinterval(), sys.gettrace()
    sys.settrace(None)
    sys.setswitchinterval(SWITCH)
    try:
        with ThreadPoolExecutor(number) as pool:
            return list(pool.map(work, range(number)))
    finally:
        sys.setswitchinterval(switch)
        sys.settrace(trace)
