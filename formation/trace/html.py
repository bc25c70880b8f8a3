"""A trace as a page: the picture, the numbers, and nothing that has to be fetched."""

from __future__ import annotations

from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING, Final

from formation.trace.svg import picture
from formation.trace.text import note, printable, seconds, summary

if TYPE_CHECKING:
    from formation.trace.model import Pass, Trace

_STYLE: Final = """
:root { color-scheme: light dark; }
body { margin: 2rem auto; max-width: 64rem; padding: 0 1rem; font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; }
svg { width: 100%; height: auto; } .wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 13px; }
th, td { text-align: left; padding: .25rem .6rem; border-bottom: 1px solid #8884; white-space: nowrap; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
td:last-child { white-space: normal; } .failed td { color: #cf222e; }
@media (prefers-color-scheme: dark) { .failed td { color: #ff7b72; } }
"""

_NUMBERS: Final = ("entered", "took", "own", "below", "calls")


def page(trace: Trace) -> str:
    """Return the page."""
    title = escape(summary(trace))
    when = datetime.fromtimestamp(trace.ended_at, UTC).isoformat(timespec="milliseconds")
    heads = "".join(f'<th class="number">{name}</th>' for name in _NUMBERS)
    lines = "\n".join(map(_line, trace))
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{title}</h1>
<p>Ended {escape(when)}</p>
<div class="wide">{picture(trace)}</div>
<h2>Passes</h2>
<div class="wide"><table>
<thead><tr><th>layer</th>{heads}<th>file</th><th>what happened</th></tr></thead>
<tbody>
{lines}
</tbody>
</table></div>
{_attempts(trace)}</body>
</html>
"""


def _line(each: Pass) -> str:
    times = (seconds(each.started), seconds(each.took), seconds(each.own), seconds(each.below), str(len(each.calls)))
    cells = "".join(f'<td class="number">{escape(said)}</td>' for said in times)
    name = escape(printable(each.layer.name))
    return (
        f"<tr{_failed(is_so=each.error is not None)}>"
        f'<td style="padding-left: {0.6 + each.depth}rem">{name}</td>{cells}'
        f"<td>{escape(printable(each.layer.place))}</td><td>{escape(note(each))}</td></tr>"
    )


def _attempts(trace: Trace) -> str:
    if not trace.attempts:
        return ""
    lines = "\n".join(
        f"<tr{_failed(is_so=each.error is not None)}>"
        f'<td class="number">{each.number}</td><td class="number">{escape(seconds(each.delay))}</td>'
        f'<td class="number">{escape(seconds(each.elapsed))}</td>'
        f"<td>{escape(printable(str(each.error or each.status or 'ok')))}</td></tr>"
        for each in trace.attempts
    )
    heads = "".join(f'<th class="number">{name}</th>' for name in ("attempt", "pause before", "took"))
    return f"""<h2>Attempts</h2>
<div class="wide"><table>
<thead><tr>{heads}<th>outcome</th></tr></thead>
<tbody>
{lines}
</tbody>
</table></div>
"""


def _failed(*, is_so: bool) -> str:
    return ' class="failed"' if is_so else ""
