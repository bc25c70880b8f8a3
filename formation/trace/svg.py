"""A trace as a picture: a waterfall in SVG, without scripts, fonts or anything else from outside."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Final

from formation.trace.text import printable, rows, seconds, summary, whole

if TYPE_CHECKING:
    from formation.trace.model import Trace
    from formation.trace.text import Row

WIDTH: Final = 960
LINE: Final = 24
NAMES: Final = 220
NUMBERS: Final = 150
TOP: Final = 64
LETTER: Final = 7.2
"""Pixels; a monospaced letter of 12 pixels is that wide in most fonts."""

STYLE: Final = """
.fmtn { --ink: #1f2328; --faint: #59636e; --line: #d1d9e0; --own: #0969da; --below: #b6d4f2; --bad: #cf222e;
  --worse: #f5c2c0; font: 12px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
@media (prefers-color-scheme: dark) { .fmtn { --ink: #e6edf3; --faint: #9198a1; --line: #3d444d; --own: #58a6ff;
  --below: #1f4a7d; --bad: #ff7b72; --worse: #6e2b2a; } }
.fmtn text { fill: var(--ink); } .fmtn .faint { fill: var(--faint); } .fmtn .bad { fill: var(--bad); }
.fmtn line { stroke: var(--line); } .fmtn .head { font-size: 14px; font-weight: 600; }
.fmtn .own { fill: var(--own); } .fmtn .below { fill: var(--below); }
.fmtn .failed .own { fill: var(--bad); } .fmtn .failed .below { fill: var(--worse); }
"""


def picture(trace: Trace) -> str:
    """Return the waterfall."""
    found = rows(trace)
    total = whole(found)
    left, right = NAMES, WIDTH - NUMBERS - 20
    scale = (right - left) / total
    height = TOP + LINE * len(found) + 12
    title = escape(summary(trace))
    box = f"0 0 {WIDTH} {height}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="fmtn" viewBox="{box}" role="img" aria-label="{title}">',
        f"<title>{title}</title>",
        f"<style>{STYLE}</style>",
        f'<text class="head" x="8" y="22">{title}</text>',
    ]
    for quarter in range(5):
        x = left + (right - left) * quarter / 4
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 12}" y2="{height - 12}"/>')
        said, anchor = seconds(total * quarter / 4) if quarter else "0", "end" if quarter == 4 else "middle"
        parts.append(f'<text class="faint" x="{x:.1f}" y="{TOP - 18}" text-anchor="{anchor}">{escape(said)}</text>')
    parts.append(f'<text class="faint" x="{WIDTH - 90}" y="{TOP - 18}" text-anchor="end">took</text>')
    parts.append(f'<text class="faint" x="{WIDTH - 8}" y="{TOP - 18}" text-anchor="end">own</text>')
    parts += [_line(row, TOP + LINE * at, left, scale) for at, row in enumerate(found)]
    parts.append("</svg>")
    return "\n".join(parts)


def _line(row: Row, y: int, left: float, scale: float) -> str:
    base = y + 12
    x, width = left + row.started * scale, max((row.ended - row.started) * scale, 1.5)
    indent = 8 + 10 * min(row.depth, 12)
    label = _cut(row.label, int((left - indent - 8) / LETTER))
    parts = [
        '<g class="failed">' if row.failed else "<g>",
        f"<title>{escape(_tip(row))}</title>",
        f'<text x="{indent}" y="{base}">{escape(label)}</text>',
        f'<rect class="own" x="{x:.2f}" y="{y}" width="{width:.2f}" height="14" rx="2"/>',
    ]
    for since, until in row.gaps:
        start, end = max(since, row.started), min(until, row.ended)
        if end > start:
            parts.append(
                f'<rect class="below" x="{left + start * scale:.2f}" y="{y + 3}" width="{(end - start) * scale:.2f}" '
                'height="8"/>'
            )
    if row.note:
        room = int((left - indent - 16) / LETTER) - len(label)
        parts.append(_beside(row, x, width, base, room))
    took = seconds(row.ended - row.started)
    parts.append(f'<text x="{WIDTH - 90}" y="{base}" text-anchor="end">{escape(took)}</text>')
    if row.own is not None:
        own = escape(seconds(row.own))
        parts.append(f'<text class="faint" x="{WIDTH - 8}" y="{base}" text-anchor="end">{own}</text>')
    return "\n".join([*parts, "</g>"])


def _beside(row: Row, x: float, width: float, base: int, room: int) -> str:
    """Write the note where there is room: on the right of the bar, on its left, or beside the name."""
    right = int((WIDTH - NUMBERS - 14 - x - width - 6) / LETTER)
    before = int((x - NAMES - 6) / LETTER)
    most = max(right, before, room)
    kind = "bad" if row.failed else "faint"
    if len(row.note) <= right or right == most:
        return f'<text class="{kind}" x="{x + width + 6:.2f}" y="{base}">{escape(_cut(row.note, right))}</text>'
    end, most = (x - 6, before) if len(row.note) <= before or before == most else (NAMES - 8, room)
    return f'<text class="{kind}" x="{end:.2f}" y="{base}" text-anchor="end">{escape(_cut(row.note, most))}</text>'


def _tip(row: Row) -> str:
    said = f"{row.label}: entered after {seconds(row.started)}, took {seconds(row.ended - row.started)}"
    own = "" if row.own is None else f", {seconds(row.own)} of it itself"
    return printable(f"{said}{own}{f'; {row.note}' if row.note else ''}")


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: max(most - 1, 0)]}…"
