"""What the dashboard costs: `watched` in a chain, with nobody who watches and with a dashboard; and a snapshot.

The bars are the promise: with 5,000 calls a second, 3 % of them is 6 µs a call, the snapshot of the second included.
"""

from __future__ import annotations

import json
from typing import Any

from bench.measure import Row, calls, rounds
from formation import wrap
from formation.dashboard import Dashboard
from formation.http import Request, Response
from formation.middleware import bulkhead, circuit_breaker, retry, watched

RATE = 5_000
"""Calls a second."""

SHARE = 0.03
"""Of the app's time that may go."""

CHAINS = 20
"""That a snapshot shows: a process with a few servers and clients."""


def answer(ctx: Any) -> Any:
    """Answer, as a client's endpoint does."""
    ctx["fmtn.res.http"] = RESPONSE
    return ctx


RESPONSE = Response(200)


def ctx() -> Any:
    """Return a context as an HTTP client makes it."""
    request = Request("GET", "https://api.example.com/repos/a/b", template="/repos/{owner}/{repo}")
    return {"fmtn.side": "client", "fmtn.kind": "http", "fmtn.req.http": request, "fmtn.state": {}}


def rows() -> list[Row]:
    """Measure."""
    bare, layered = wrap(answer, [_pass]), wrap(answer, [watched("api"), _pass])
    off = rounds({"bare": calls(bare, ctx()), "watched": calls(layered, ctx())})
    with Dashboard() as board:
        on = rounds({"bare": calls(bare, ctx()), "watched": calls(layered, ctx())})
        kept = [_busy(number) for number in range(CHAINS)]
        snapshots = rounds({"snapshot": calls(lambda _: json.dumps(board.snapshot()))}, 20)["snapshot"]
        del kept
    idle = [each - other for each, other in zip(off["watched"], off["bare"], strict=True)]
    counting = [each - other for each, other in zip(on["watched"], on["bare"], strict=True)]
    whole = [each + _middle(snapshots) / RATE for each in counting]
    return [
        Row("watched, nobody watches", idle, limit=0.3e-6),
        Row("watched, with a dashboard", counting),
        Row(f"a snapshot of {CHAINS} chains", snapshots),
        Row(f"a call, and its part of a snapshot, {RATE:,} a second", whole, limit=SHARE / RATE),
    ]


def _middle(times: list[float]) -> float:
    return sorted(times)[len(times) // 2]


def _pass(ctx: Any, call: Any) -> Any:
    return call(ctx)


def _busy(number: int) -> Any:
    """Make a chain that has been called, with what a snapshot reads."""
    chain = wrap(answer, [watched(f"api {number}"), retry(), circuit_breaker(), bulkhead()])
    for _ in range(100):
        chain(ctx())
    return chain


if __name__ == "__main__":
    from bench.measure import table

    found = rows()
    print(table(found))
    print(f"at {RATE:,} calls a second: {found[-1].seconds * RATE:.2%} of the time of one core, at most {SHARE:.0%}")
