"""Run the benchmarks: ``python -m bench`` all of them, ``python -m bench kernel bridge`` some.

With ``--json`` what they measure is kept in ``docs/benchmarks/figures.json``, of which ``python -m bench.page`` makes
the page; what has been measured there before, on the same machine, stays.
"""

import json
import os
import platform
import re
import sys
import tomllib
from datetime import UTC, datetime
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from bench import page
from bench.measure import table

PARTS = [
    "kernel",
    "bridge",
    "trace",
    "telemetry",
    "dashboard",
    "retry",
    "client",
    "aiohttp_client",
    "httpx_client",
    "wsgi_edge",
    "grpc_edge",
    "asgi_edge",
    "django_edge",
    "resilience",
    "compression",
    "cache",
    "redis_storage",
    "crowd",
    "gibibyte",
    "import_time",
]
"""Each is a module of this package with a docstring and a function ``rows()``."""


def main(names: list[str]) -> int:
    """Print a table for each part, and keep the figures if asked."""
    keep = "--json" in names
    names = [name for name in names if name != "--json"]
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        print(f"no part is named {', '.join(unknown)}; there is: {', '.join(PARTS)}", file=sys.stderr)
        return 2
    python, machine = f"{platform.python_implementation()} {platform.python_version()}", platform.machine()
    print(f"{python} on {machine}, {os.cpu_count()} CPUs\n")
    parts = []
    for name in names or PARTS:
        part = import_module(f"bench.{name}")
        title, rows = str(part.__doc__).splitlines()[0], part.rows()
        print(f"{title}\n\n{table(rows)}\n", flush=True)
        parts.append(page.figures(name, title.rstrip("."), rows))
    if keep:
        where = f"{os.cpu_count()} CPUs of {machine}"
        found = {
            "python": python,
            "machine": where,
            "date": f"{datetime.now(UTC):%B %Y}",
            "versions": peers(),
            "parts": [*measured_before(python, where, {part["name"] for part in parts}), *parts],
        }
        found["parts"].sort(key=lambda part: PARTS.index(part["name"]))
        page.FOLDER.mkdir(exist_ok=True)
        page.FIGURES.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0


def measured_before(python: str, machine: str, now: set[str]) -> list[dict[str, Any]]:
    """Return the figures of the other parts, if they are of this machine."""
    if not page.FIGURES.exists():
        return []
    found = json.loads(page.FIGURES.read_text(encoding="utf-8"))
    if (found["python"], found["machine"]) != (python, machine):
        return []
    return [part for part in found["parts"] if part["name"] in PARTS and part["name"] not in now]


def peers() -> list[str]:
    """Return what is installed of what stands beside Formation, with its version."""
    project = tomllib.loads((page.ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    names = {re.split(r"[^\w.-]", each)[0] for each in project["dependency-groups"]["bench"]} - {"pyperf"}
    names |= {"aiohttp", "django", "greenlet", "httpx2", "pybreaker", "requests", "starlette", "structlog", "tenacity"}
    found = {}
    for name in names:
        try:
            found[name] = f"{name} {version(name)}"
        except PackageNotFoundError:
            continue
    return [found[name] for name in sorted(found, key=str.lower)]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
