"""What the page shows, once a second: every chain of the process as names and numbers, ready to be sent as JSON.

Chains are found by weak references that the kernel keeps, so whoever dies disappears. Several chains may be one to a
user: a server has one for HTTP and one for WebSockets, siblings of a client have one each. Those that share a `watched`
are shown as one; so are those of the same layers.
"""

from __future__ import annotations

import os
from math import inf
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from formation.dashboard.parts import parts_of
from formation.introspection import name_of
from formation.kernel import chains
from formation.telemetry.meter import BAD, OUTCOMES, Meter, Sample, Sums

if TYPE_CHECKING:
    from collections.abc import Iterable

    from formation.trace.model import Trace

Json: TypeAlias = dict[str, Any]

CHAINS: Final = 100
"""Chains that are shown, those that were called last; how many more there are is a line. More is no picture."""

WATERFALLS: Final = 12
"""Waterfalls that are shown, the last ones: half a screen."""

PASSES: Final = 60
"""Bars of a waterfall."""

NAME: Final = 120
"""Characters of a name."""

RECENT: Final = 10
"""Seconds that the rate is the mean of, as Hystrix: a figure that can be read before it changes."""


def snapshot(traces: Iterable[Trace], now: float) -> Json:
    """Return what there is to see.

    Args:
        traces: of `formation.trace.trace`, to be shown beside the calls that `watched` has kept.
        now: seconds since 1970.
    """
    groups = _groups()
    groups.sort(key=lambda group: -inf if group[0] is None else group[0].last, reverse=True)
    rest = len(groups) - CHAINS
    del groups[CHAINS:]  # before anything is counted together, for there may be thousands
    shown = [_unmeasured(layers) if meter is None else _measured(meter, layers) for meter, layers in groups]
    shown.sort(key=lambda chain: (chain["name"], chain["id"]))  # where one looks for it, whatever it does
    waterfalls = [_of_sample(sample, meter) for meter, _ in groups if meter for sample in meter.samples.copy()]
    waterfalls += [_of_trace(trace) for trace in traces]
    waterfalls.sort(key=lambda waterfall: -waterfall["at"])
    return {
        "at": now,
        "pid": os.getpid(),
        "chains": shown,
        "other": max(rest, 0),
        "waterfalls": waterfalls[:WATERFALLS],
    }


def _groups() -> list[tuple[Meter | None, list[Any]]]:
    """Return what is one chain to a user: its meter if it has one, and its layers."""
    groups: dict[Any, tuple[Meter | None, list[Any]]] = {}
    for chain in chains():
        layers = chain.middleware
        if not layers:
            continue
        meter = next((meter for layer in layers if isinstance(meter := getattr(layer, "meter", None), Meter)), None)
        key = tuple(map(id, layers)) if meter is None else id(meter)
        known = groups.setdefault(key, (meter, []))[1]
        known += [layer for layer in layers if not any(layer is each for each in known)]
    return list(groups.values())


def _measured(meter: Meter, layers: list[Any]) -> Json:
    sums, seconds = meter.sums(), meter.seconds()
    hits, asked = meter.cache[True], sum(meter.cache)
    return {
        **_unmeasured(layers),
        **_sums(sums),
        "id": f"m{id(meter):x}",
        "name": cut(meter.name or "not called yet"),
        "side": meter.side,
        "rate": round(sum(calls for calls, _ in seconds[-RECENT:]) / RECENT, 1),
        "under_way": meter.under_way,
        "retries": meter.retries,
        "cache": round(hits / asked, 3) if asked else None,
        "seconds": seconds,
        "templates": [{"name": cut(name), **_sums(each)} for name, each in meter.templates()],
    }


def _unmeasured(layers: list[Any]) -> Json:
    names = [cut(str(name_of(layer))) for layer in layers]
    return {"id": f"l{id(layers[0]):x}", "name": names[0], "calls": 0, "layers": names[:50], "parts": parts_of(layers)}


def _sums(sums: Sums) -> Json:
    outcomes = dict(zip(OUTCOMES, sums.outcomes, strict=True))
    bad = sum(count for outcome, count in outcomes.items() if outcome in BAD)
    return {
        "calls": sums.calls,
        "outcomes": outcomes,
        "errors": round(bad / sums.calls, 4) if sums.calls else 0.0,
        "p50": _rounded(sums.p50),
        "p90": _rounded(sums.p90),
        "p99": _rounded(sums.p99),
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 6)


def _of_sample(sample: Sample, meter: Meter) -> Json:
    """Make a waterfall of the attempts that `retry` has noted, and of the pauses between them."""
    rows, at = [], 0.0
    for number, (slept, took, status, error) in enumerate(sample.attempts, 1):
        if slept:
            rows.append(_row("pause", 1, at, slept))
        rows.append(_row(f"attempt {number}", 1, at + slept, took, error=_type(error), status=status))
        at += slept + took
    whole = _row(sample.name, 0, 0.0, sample.took, error=_type(sample.error), status=sample.status)
    return {
        "at": sample.ended,
        "chain": cut(meter.name or ""),
        "name": cut(sample.name),
        "outcome": sample.outcome,
        "took": round(sample.took, 6),
        "rows": [whole, *rows][:PASSES],
    }


def _of_trace(trace: Trace) -> Json:
    rows = [
        _row(each.layer.name, each.depth, each.started, each.took, error=each.error and each.error[0])
        for each in list(trace)[:PASSES]
    ]
    is_bad = trace.error is not None or (trace.status or 0) >= 500
    return {
        "at": trace.ended_at,
        "chain": "traced",
        "name": cut(_without_path(trace)),
        "outcome": "failed" if is_bad else "ok",
        "took": round(trace.took, 6),
        "rows": rows,
    }


def _without_path(trace: Trace) -> str:
    """Return the name of a call; one with a path and no template has that in it, which may tell whose it is."""
    method, _, rest = trace.title.partition(" ")
    return trace.title if not rest.startswith("/") or "{" in rest else f"{method} …"


def _type(error: str | None) -> str | None:
    return None if error is None else cut(error)


def _row(
    name: str, depth: int, started: float, took: float, *, error: str | None = None, status: int | None = None
) -> Json:
    return {
        "name": cut(name),
        "depth": depth,
        "from": round(started, 6),
        "took": round(took, 6),
        "error": error,
        "status": status,
    }


def cut(name: str) -> str:
    """Return as much of a name as is shown.

    >>> len(cut("x" * 1000))
    120
    """
    return name if len(name) <= NAME else f"{name[: NAME - 1]}…"
