"""A context for each attempt: what one of them does does not reach the next; the winner's is merged into the caller's.

Who calls ``call`` more than once, or may, gives each call a fork of its context and merges the one that counts. Outer
layers then find the same dict as before, with what the winner has put there.

>>> ctx = {"fmtn.state": {}}
>>> first, second = fork(ctx), fork(ctx)
>>> first["a"] = first["fmtn.state"]["a"] = second["b"] = 1
>>> merge(ctx, second) is ctx, ctx
(True, {'fmtn.state': {}, 'b': 1})
"""

from __future__ import annotations

from copy import copy
from typing import Any, Final

from formation.keys import (
    DEADLINE,
    NATIVE,
    REQ_HTTP,
    REQ_RPC,
    RES_HTTP,
    RES_RPC,
    SENSITIVE,
    SESSION,
    STATE,
    STATE_ASIDE,
)
from formation.resilience.deadlines import announce

BAGS: Final = (SESSION, STATE, NATIVE, SENSITIVE)
"""Values that layers put things into. A fork has copies; a merge fills the caller's own with what the winner's have."""


def fork(ctx: Any) -> Any:
    """Return a copy of ``ctx`` with copies of its bags, a fork of its request, and no response. No dict: ``ctx``."""
    if not isinstance(ctx, dict):
        return ctx
    forked = ctx.copy()
    for key in BAGS:
        if key in ctx:
            forked[key] = copy(ctx[key])
    request = ctx.get(REQ_HTTP)
    if request is not None:
        forked[REQ_HTTP] = request.fork()
        forked.pop(RES_HTTP, None)
        announce(forked)  # there is less time left than before the last attempt
    elif (rpc := ctx.get(REQ_RPC)) is not None:
        forked[REQ_RPC] = rpc.fork()
        forked.pop(RES_RPC, None)
    return forked


def aside(ctx: Any) -> Any:
    """Fork ``ctx`` for a call that nobody waits for: without a deadline, and on a server for an exchange of its own."""
    forked = fork(ctx)
    forked.pop(DEADLINE, None)
    forked[STATE] = {**(forked.get(STATE) or {}), STATE_ASIDE: True}
    if (request := forked.get(REQ_HTTP)) is not None:
        request.deadline = None
    return forked


def merge(ctx: Any, winner: Any) -> Any:
    """Make ``ctx`` say what ``winner`` says, and nothing else, and return it. Where one is no dict: ``winner``."""
    if ctx is winner or not isinstance(ctx, dict) or not isinstance(winner, dict):
        return winner
    own = {}
    for key in BAGS:
        if key in ctx and key in winner:
            mine: Any = ctx[key]
            other: Any = winner[key]
            if mine is not other and type(mine) is type(other) and type(mine) in {dict, set}:
                mine.clear()
                mine.update(other)
                own[key] = mine
    ctx.clear()
    ctx.update(winner, **own)
    return ctx
