"""A trace in the Trace Event Format, for ui.perfetto.dev and chrome://tracing.

Each pass is a complete event (``"ph": "X"``), with times in microseconds. Events of one thread have to lie within each
other or beside each other, or they are dropped; so passes that overlap, such as those of `hedge`, are on threads of
their own here, whichever thread they ran in. Perfetto counts in whole nanoseconds, which it makes of a start and of a
duration one by one. So both are whole nanoseconds here, and no rounding makes an event outlast the one around it.
"""

from __future__ import annotations

from math import inf, nextafter
from typing import TYPE_CHECKING, Any

from formation.trace.text import note

if TYPE_CHECKING:
    from formation.trace.model import Pass, Trace


def events(trace: Trace) -> dict[str, Any]:
    """Return the JSON object, as Python has it."""
    lanes: list[float] = []  # for each thread the end of what is on it
    found = _events(trace.root, 0, lanes)
    if trace.streams and trace.body is not None:
        found.append(_body(trace))
    names = [
        {"ph": "M", "name": "thread_name", "pid": 1, "tid": at + 1, "args": {"name": f"{trace.title} {at + 1}".strip()}}
        for at in range(len(lanes))
    ]
    process = {"ph": "M", "name": "process_name", "pid": 1, "tid": 1, "args": {"name": "formation"}}
    return {
        "displayTimeUnit": "ms",
        "otherData": {"title": trace.title, "ended_at": trace.ended_at},
        "traceEvents": [process, *names, *found],
    }


def _events(each: Pass, lane: int, lanes: list[float]) -> list[dict[str, Any]]:
    """Put ``each`` on ``lane``, and what is below on the same where there is room, else on the first one that is."""
    lanes[lane:] = lanes[lane:] or [0.0]
    found = [_event(each, lane)]
    free = each.started
    for below in each.calls:
        if below.started >= free and below.ended <= each.ended:
            found += _events(below, lane, lanes)
            free = below.ended
        else:
            other = next((at for at, end in enumerate(lanes) if at > lane and below.started >= end), len(lanes))
            found += _events(below, other, lanes)
    lanes[lane] = max(lanes[lane], each.ended)
    return found


def _event(each: Pass, lane: int) -> dict[str, Any]:
    args: dict[str, Any] = {"own_us": _us(each.own), "below_us": _us(each.below), "calls": len(each.calls)}
    if each.layer.place:
        args["place"] = each.layer.place
    if said := note(each):
        args["note"] = said
    if each.error is not None:
        args["error"] = ": ".join(filter(None, each.error))
    return {
        "name": each.layer.name,
        "cat": "endpoint" if each.layer.is_endpoint else "middleware",
        "ph": "X",
        "ts": _us(each.started),
        "dur": _lasts(each.started, each.ended),
        "pid": 1,
        "tid": lane + 1,
        "args": args,
    }


def _body(trace: Trace) -> dict[str, Any]:
    assert trace.body is not None  # noqa: S101  who calls has looked
    return {
        "name": "body",
        "cat": "body",
        "ph": "X",
        "ts": _us(trace.took),
        "dur": _lasts(trace.took, max(trace.body.at, trace.took)),
        "pid": 1,
        "tid": 1,
        "args": {"bytes": trace.body.size},
    }


def _us(seconds: float) -> float:
    return _exact(round(seconds * 1e9))


def _lasts(started: float, ended: float) -> float:
    return _exact(round(ended * 1e9) - round(started * 1e9))


def _exact(nanoseconds: int) -> float:
    """Return the microseconds that are so many nanoseconds again, whether the reader rounds them or cuts them off.

    >>> int(1001 / 1000 * 1000), int(_exact(1001) * 1000)
    (1000, 1001)
    """
    found = nanoseconds / 1000
    return found if int(found * 1000) == nanoseconds else nextafter(found, inf)
