"""The probe: what stands around each layer of a traced chain, and notes when it was entered and left.

Theory of operation
-------------------
A traced chain is an ordinary chain of the same endpoint, whose layers are *probes*: functions of the same name and
colour that call the layer and pass everything on as it is. So the kernel builds it as it builds the other, the bridge
is shared by the same neighbours, and an error names the same layer at the same place.

A probe notes a *span*, a short list: the span above, the place in the chain, the error, when it was left and when it
was entered. It points up, never down, so nothing of it is a cycle. The spans of a call are in one list, which the
outermost probe makes and in the end hands to the `Recorder`.

The *log* of the call is in a context variable, which the bridge shares, and which tasks and threads that run in a copy
of the context inherit. It says which span was entered last. Mostly that is the one right above: one index tells. If
not, the layer is called again, and what is above is found among the spans above the last one. If one of those that are
passed over is still under way, two passes go on side by side, by `hedge` or in tasks. Then this one has from there on a
log of its own, in its own context, with the same list of spans. There is no lock: of two threads that enter the same
layer at the very same moment, one may be drawn below the other; what they do is not touched by that.

The innermost probe wraps the ``call`` that it hands on, so that what is below the chain is a span as well. A middleware
can therefore be traced in any host, without its chain: a list of probes is a list of middleware.
"""

from __future__ import annotations

import re
from contextvars import ContextVar
from functools import update_wrapper
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from formation.http.secrets import redact
from formation.introspection import is_coroutine_callable, name_of, returns_nothing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from formation.trace.recorder import Recorder

Span: TypeAlias = list[Any]
"""``[above, at, error, left, entered]``; ``left`` is ``None`` while it is under way."""

ABOVE, AT, ERROR, LEFT, ENTERED = range(5)

MESSAGE: Final = 200
"""Characters kept of an error's message: two lines of a terminal."""

Log: TypeAlias = list[Any]
"""``[recorder, the span entered last, spans]``; the hot path has numbers for its indices, as for those of a span."""

_CODES: Final[set[Any]] = set()
"""The code of probes, by which they are known: a decorator around one may copy its attributes."""

_words = re.compile(r"[^\s'\"()<>]+")  # a URL in a sentence is one of them

_NOBODYS: Final[Any] = (None,)
_log: Final[ContextVar[Log]] = ContextVar("formation.trace", default=_NOBODYS)


def probes(layers: Sequence[Any], recorder: Recorder, *, over: bool = True) -> list[Any]:
    """Return a probe for each layer; with ``over`` the last one notes what is below it, too."""
    last = len(layers) - 1 if over else None
    return [_probe(layer, at, recorder, is_last=at == last) for at, layer in enumerate(layers)]


def passing(ctx: Any, call: Callable[[Any], Any]) -> Any:
    """Do nothing: the layer of a chain that has none, so that its endpoint can be traced."""
    return call(ctx)


async def passing_async(ctx: Any, call: Callable[[Any], Awaitable[Any]]) -> Any:
    """Do the same where it would have to go on the bridge."""
    return await call(ctx)


def _probe(layer: Any, at: int, recorder: Recorder, *, is_last: bool) -> Any:
    if is_coroutine_callable(layer):
        probe = _async_probe(_over_async(layer, at + 1, recorder) if is_last else layer, at, recorder)
        if returns_nothing(layer):
            probe = _forgetful(probe)
    else:
        probe = _plain_probe(_over(layer, at + 1, recorder) if is_last else layer, at, recorder)
    _CODES.add(probe.__code__)
    update_wrapper(probe, layer)
    probe.__name__ = name_of(layer)
    return probe


def _forgetful(probe: Any) -> Any:
    """Show, as the layer does, that it is sure to forget its return: the kernel looks for that before it is called."""

    async def forget(ctx: Any, call: Callable[[Any], Awaitable[Any]]) -> None:
        await probe(ctx, call)

    return forget


def bare(layer: Any) -> Any:
    """Return what a probe stands around; any other layer as it is."""
    return layer.__wrapped__ if getattr(layer, "__code__", None) in _CODES else layer


def _plain_probe(layer: Any, at: int, recorder: Recorder) -> Any:
    get, now, above_at = _log.get, recorder.clock, at - 1

    def probe(ctx: Any, call: Callable[[Any], Any]) -> Any:
        log = get()
        if log[0] is not recorder:
            return outermost(ctx, call)
        if (above := log[1])[1] != above_at:
            log, above = _found(log, at)
        log[1] = span = [above, at, None, None, now()]
        log[2].append(span)
        try:
            out = layer(ctx, call)
        except BaseException as error:
            span[3] = now()
            span[2] = said(error)
            raise
        span[3] = now()
        return out

    def outermost(ctx: Any, call: Callable[[Any], Any]) -> Any:
        before, out, spans = get(), None, []  # type: tuple[Log, Any, list[Span]]
        _log.set([recorder, (None, above_at), spans])
        try:
            out = probe(ctx, call)
        finally:
            _log.set(before)
            recorder.end(spans, ctx, out)
        return out

    return probe if at else outermost


def _async_probe(layer: Any, at: int, recorder: Recorder) -> Any:
    """Do as `_plain_probe`, word for word, but for the words that wait."""
    get, now, above_at = _log.get, recorder.clock, at - 1

    async def probe(ctx: Any, call: Callable[[Any], Awaitable[Any]]) -> Any:
        log = get()
        if log[0] is not recorder:
            return await outermost(ctx, call)
        if (above := log[1])[1] != above_at:
            log, above = _found(log, at)
        log[1] = span = [above, at, None, None, now()]
        log[2].append(span)
        try:
            out = await layer(ctx, call)
        except BaseException as error:
            span[3] = now()
            span[2] = said(error)
            raise
        span[3] = now()
        return out

    async def outermost(ctx: Any, call: Callable[[Any], Awaitable[Any]]) -> Any:
        before, out, spans = get(), None, []  # type: tuple[Log, Any, list[Span]]
        _log.set([recorder, (None, above_at), spans])
        try:
            out = await probe(ctx, call)
        finally:
            _log.set(before)
            recorder.end(spans, ctx, out)
        return out

    return probe if at else outermost


def _found(log: Log, at: int) -> tuple[Log, Span]:
    """Return the span above of a pass that is not right below the last one, and the log that it goes on in.

    That is the log itself, if all that was entered since has been left.
    """
    above, is_shared = log[1], False
    while above[AT] >= at and above[ABOVE] is not None:
        is_shared |= above[LEFT] is None
        above = above[ABOVE]
    if is_shared:
        log = [log[0], above, log[2]]
        _log.set(log)
    return log, above


def _over(layer: Any, at: int, recorder: Recorder) -> Any:
    """Have the innermost ``layer`` call a probe of what is below."""
    below = _plain_probe(passing, at, recorder)

    def innermost(ctx: Any, call: Callable[[Any], Any]) -> Any:
        return layer(ctx, lambda ctx: below(ctx, call))

    return innermost


def _over_async(layer: Any, at: int, recorder: Recorder) -> Any:
    below = _async_probe(passing_async, at, recorder)

    def innermost(ctx: Any, call: Callable[[Any], Awaitable[Any]]) -> Any:
        async def probed(ctx: Any, /) -> Any:
            return await below(ctx, call)

        return layer(ctx, probed)

    return innermost


def said(error: BaseException) -> tuple[str, str]:
    """Return the type and the first words of an error, without what looks like a secret. The error is not kept."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001  whoever wrote its __str__; the error itself is raised
        text = ""
    line = text.strip().partition("\n")[0]
    kept = _words.sub(lambda word: redact(word[0]), line[: 2 * MESSAGE])
    return type(error).__name__, kept if len(kept) <= MESSAGE else f"{kept[: MESSAGE - 1]}…"
