"""Import time: what ``import formation`` adds to a bare Python."""

import subprocess
import sys
from collections.abc import Callable

from bench.measure import Row, rounds

PEERS = ("requests", "structlog")
ROUNDS = 15  # each is a process

TIMED = "from time import perf_counter as now; began = now(); import {}; print(now() - began)"


def imports(name: str) -> Callable[[int], float]:
    """Time an import in a fresh interpreter, which has loaded by then what every Python loads."""

    def timer(count: int) -> float:
        command = [sys.executable, "-c", TIMED.format(name)]
        return sum(
            float(subprocess.run(command, check=True, capture_output=True, text=True).stdout) for _ in range(count)
        )

    return timer


def rows() -> list[Row]:
    """Time imports."""
    seconds = rounds({name: imports(name) for name in ("formation", *PEERS)}, ROUNDS)
    return [Row("import formation", seconds["formation"], peer, seconds[peer], limit=0.02) for peer in PEERS]
