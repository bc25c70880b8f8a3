"""Run the benchmarks: ``python -m bench`` all of them, ``python -m bench kernel bridge`` some."""

import os
import platform
import sys
from importlib import import_module

from bench.measure import table

PARTS = [
    "kernel",
    "bridge",
    "retry",
    "client",
    "aiohttp_client",
    "httpx_client",
    "wsgi_edge",
    "grpc_edge",
    "asgi_edge",
    "django_edge",
    "resilience",
    "cache",
    "redis_storage",
    "crowd",
    "gibibyte",
    "import_time",
]
"""Each is a module of this package with a docstring and a function ``rows()``."""


def main(names: list[str]) -> int:
    """Print a table for each part."""
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        print(f"no part is named {', '.join(unknown)}; there is: {', '.join(PARTS)}", file=sys.stderr)
        return 2
    print(f"{sys.implementation.name} {platform.python_version()} on {platform.machine()}, {os.cpu_count()} CPUs\n")
    for name in names or PARTS:
        part = import_module(f"bench.{name}")
        print(f"{str(part.__doc__).splitlines()[0]}\n\n{table(part.rows())}\n", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
