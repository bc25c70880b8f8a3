"""Write ``docs/benchmarks.md``, its charts and the README's figures: ``python -m bench.page``, without timing anything.

``python -m bench --json`` has left what it measured in ``docs/benchmarks/figures.json``; that is all that is read, so
the same figures make the same files. What no part has measured stays as it is.
"""

from __future__ import annotations

import json
import re
import sys
from html import escape
from math import log10
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "benchmarks.md"
README = ROOT / "README.md"
FOLDER = ROOT / "docs" / "benchmarks"
FIGURES = FOLDER / "figures.json"

HEADS = ("what", "Formation", "beside", "it takes", "ratio", "bar", "")
BETWEEN = re.compile(r"(?s)(?<=<!-- figures -->\n\n).*?(?=\n\n<!-- end of figures -->)")

INK, OURS, THEIRS = "#7a7a7a", "#3d84d1", "#d9822b"
"""Between light and dark, so that a chart can be read on either."""
LINE, PLOT, NUMBERS, LETTER = 19, 300, 45, 5.8
"""Pixels: of a line's height, of what stands beside each other, and of a letter of the labels."""
TICKS = (0.001, 0.01, 0.1, 0.5, 1, 2, 5, 10, 100)

SHORT: list[tuple[str, str, str, str, str]] = [
    ("kernel", "sync chain, per layer", "closures", "one more layer, sync", "the closure that one would write by hand"),
    ("kernel", "async chain, per layer", "closures", "one more layer, async", "the same by hand"),
    (
        "bridge",
        "plain layers: 5",
        "greenlet per call",
        "five plain layers in an async chain",
        "a greenlet for each call",
    ),
    (
        "client",
        "five middlewares",
        "Session.get",
        "a GET on requests with five middlewares",
        "a bare `requests.Session.get`",
    ),
    (
        "aiohttp_client",
        "five middlewares",
        "ClientSession.get",
        "the same on aiohttp",
        "a bare `aiohttp.ClientSession.get`",
    ),
    (
        "httpx_client",
        "client, five middlewares",
        "httpx2.Client.get",
        "the same on httpx2",
        "a bare `httpx2.Client.get`",
    ),
    (
        "aiohttp_client",
        "five middlewares, 100 at once",
        "httpx2.AsyncClient.get",
        "100 GETs at once on aiohttp, a call",
        "a bare `httpx2.AsyncClient.get`",
    ),
    ("asgi_edge", "plain layers: 10", "by hand", "ten plain layers around an ASGI app", "ten written by hand"),
    ("asgi_edge", "plain layers: 10", "BaseHTTPMiddleware", "the same", "ten of Starlette's `BaseHTTPMiddleware`"),
    (
        "wsgi_edge",
        "10 layers",
        "closures",
        "ten layers around a WSGI app",
        "ten written by hand with `wsgiref.headers`",
    ),
    ("import_time", "import formation", "requests", "`import formation`", "`import requests`"),
]
"""Lines of the README's table: the part, what it timed, beside what; and the README's words for both."""


def figures(part: str, title: str, rows: list[Any]) -> dict[str, Any]:
    """Return what is kept of a part's rows, for JSON: the cells of each, and the ratio as a number."""
    return {"name": part, "title": title, "rows": [{"cells": row.cells(), "ratio": _ratio(row)} for row in rows]}


def _ratio(row: Any) -> float | None:
    """Return ours by theirs, if there is such a number: what a difference is too small to tell may be below 0."""
    found = row.ratio if hasattr(row, "ratio") else row.theirs and row.ours / row.theirs
    return round(found, 4) if found and found > 0 else None


def markdown(found: dict[str, Any]) -> str:
    """Return the tables of all parts, each below its chart, and where they were taken."""
    said = [f"Taken on {found['python']}, {found['machine']}, {found['date']}, beside {', '.join(found['versions'])}."]
    for part in found["parts"]:
        lines = ["| " + " | ".join(HEADS) + " |", "| --- | --: | --- | --: | --: | --- | --- |"]
        lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row["cells"]) + " |" for row in part["rows"]]
        head, _, rest = part["title"].partition(": ")
        said.append(f"## {head}" + (f"\n\n{rest[:1].upper()}{rest[1:]}." if rest else ""))
        if any(row["ratio"] for row in part["rows"]):
            said.append(f"![{head}: ratios, on a logarithmic scale](benchmarks/{part['name']}.svg)")
        said.append("\n".join(lines))
    return re.sub(r"(?<=\d) us\b", " µs", "\n\n".join(said)).replace("``", "`")


def chart(part: dict[str, Any]) -> str:
    """Draw the ratios of a part on a logarithmic scale: left of the line Formation is faster, right of it the peer."""
    rows = [row for row in part["rows"] if row["ratio"]]
    least, most = min(row["ratio"] for row in rows), max(row["ratio"] for row in rows)
    low, high = min(-0.31, log10(least) - 0.1), max(0.31, log10(most) + 0.1)  # 1 is always seen, and its neighbourhood

    named = [(row["ratio"], f"{row['cells'][0]} | {row['cells'][2]}") for row in rows]
    labels = round(LETTER * max(len(name) for _, name in named)) + 15

    def x(ratio: float) -> float:
        return round(labels + PLOT * (log10(ratio) - low) / (high - low), 1)

    width, height = labels + PLOT + NUMBERS, LINE * (len(rows) + 1) + 6
    said = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">',
        f'<g font-family="sans-serif" font-size="11" fill="{INK}">',
        f"<title>{escape(part['title'])}</title>",
    ]
    for tick in (each for each in TICKS if low <= log10(each) <= high):
        bold = "1.5" if tick == 1 else "0.4"
        said.append(f'<path d="M{x(tick)} {LINE}V{height}" stroke="{INK}" stroke-width="{bold}"/>')
        said.append(f'<text x="{x(tick)}" y="{LINE - 6}" text-anchor="middle">{tick:g}</text>')
    for number, (ratio, name) in enumerate(named, start=1):
        y, colour = LINE * number + LINE / 2 + 2, OURS if ratio <= 1 else THEIRS
        said += [
            f'<text x="{labels - 10}" y="{y + 4}" text-anchor="end">{escape(name)}</text>',
            f'<path d="M{x(1)} {y}H{x(ratio)}" stroke="{colour}" stroke-width="6"/>',
            f'<circle cx="{x(ratio)}" cy="{y}" r="4.5" fill="{colour}"/>',
            f'<text x="{width}" y="{y + 4}" text-anchor="end">{ratio:.2f}</text>',
        ]
    return "\n".join([*said, "</g></svg>", ""])


def readme(text: str, found: dict[str, Any]) -> str:
    """Put what was measured into the table of the README."""
    cells = {
        (part["name"], row["cells"][0], row["cells"][2]): row["cells"]
        for part in found["parts"]
        for row in part["rows"]
    }
    for part, what, peer, ours, theirs in SHORT:
        if row := cells.get((part, what, peer)):
            line = f"| {ours} | {_plain(row[1])} | {theirs}, {_plain(row[3])} | {row[4]} |"
            text, count = re.subn(rf"(?m)^\| {re.escape(ours)} \| [^|]+ \| {re.escape(theirs)}, .*$", line, text)
            if count != 1:
                raise LookupError(f"expected one line of the README for {ours!r} beside {theirs!r}, got {count}")
    return text


def _plain(time: str) -> str:
    """Write a time as the README does: two digits that count, and no more.

    >>> _plain("61.2 ns"), _plain("0.45 ms"), _plain("26.31 us")
    ('61 ns', '0.45 ms', '26 µs')
    """
    number, _, unit = time.partition(" ")
    value = float(number)
    return f"{value:.0f}" + f" {unit.replace('us', 'µs')}" if value >= 10 else f"{value:.2g} {unit.replace('us', 'µs')}"


def written(found: dict[str, Any]) -> dict[Path, str]:
    """Return the files that are made of these figures."""
    page = PAGE.read_text(encoding="utf-8")
    files = {PAGE: BETWEEN.sub(lambda _: markdown(found), page)}
    files[README] = readme(README.read_text(encoding="utf-8"), found)
    for part in found["parts"]:
        if any(row["ratio"] for row in part["rows"]):
            files[FOLDER / f"{part['name']}.svg"] = chart(part)
    return files


def main() -> int:
    """Write them."""
    found = json.loads(FIGURES.read_text(encoding="utf-8"))
    files = written(found)
    for old in FOLDER.glob("*.svg"):
        if old not in files:
            old.unlink()
    for file, text in files.items():
        file.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
