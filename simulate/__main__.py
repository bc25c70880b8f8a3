"""Run the checks: ``python -m simulate`` all of them, ``python -m simulate C3 C11`` some, ``… docs`` for the page."""

import os
import platform
import sys
import time
from collections.abc import Callable

from simulate import circuits, jitter, overload, rates, retries, stress, tails
from simulate.lines import Line, table

CHECKS: dict[str, Callable[[float], list[Line]]] = {
    "C1": retries.c1,
    "C2": retries.c2,
    "C3": retries.c3,
    "C4": jitter.c4,
    "C5": circuits.c5,
    "C6": circuits.c6,
    "C8": circuits.c8,
    "C9": rates.c9,
    "C10": rates.c10,
    "C11": overload.c11,
    "C12": overload.c12,
    "C13": tails.c13,
    "C14": tails.c14,
    "C19": stress.c19,
}
"""Each takes its size, 1 for all of it, and returns lines. C7 and C17 are in the benchmarks, C15, C16, C18 and C20 in
the tests."""


def main(names: list[str]) -> int:
    """Print a table for each check; return 1 if a bar is missed."""
    if names == ["docs"]:
        from simulate import page  # needs matplotlib

        return page.write()
    unknown = [name for name in names if name not in CHECKS]
    if unknown:
        print(f"no check is named {', '.join(unknown)}; there is: {', '.join(CHECKS)}", file=sys.stderr)
        return 2
    print(f"{sys.implementation.name} {platform.python_version()} on {platform.machine()}, {os.cpu_count()} CPUs\n")
    started, failed = time.perf_counter(), list[str]()
    for name in names or CHECKS:
        lines = CHECKS[name](1)
        failed += [f"{line.check}, {line.what}: {line.ours}, the bar is {line.bar}" for line in lines if not line.ok]
        print(f"{CHECKS[name].__doc__}\n\n{table(lines)}\n", flush=True)
    print(f"{time.perf_counter() - started:.0f} s")
    for each in failed:
        print(f"missed: {each}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
