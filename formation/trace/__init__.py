"""See a call pass through its layers: when each was entered and left, what it took, how often it called on.

>>> from formation import wrap
>>> from formation.trace import trace
>>> def cached(ctx, call):
...     return ctx if ctx["hit"] else call(ctx)
>>> def log(ctx, call):
...     return call(ctx)
>>> traced = trace(wrap(dict, [log, cached]))
>>> out = traced({"hit": True})
>>> [(each.layer.name, len(each.calls), each.answered_itself) for each in traced.traces[-1]]
[('log', 1, False), ('cached', 0, True)]

``print(traced.traces[-1])`` draws a waterfall. How it works is in ``probe.py``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from formation.explain import explain
from formation.introspection import is_coroutine_callable, name_of, place_of
from formation.kernel import BaseChain, Composed, compose, enclosed, wrap
from formation.trace.model import BodyEnd, Layer, Pass, Trace
from formation.trace.probe import bare, passing, passing_async, probes
from formation.trace.recorder import KEPT, Recorder

if TYPE_CHECKING:
    from collections import deque

__all__ = ["BodyEnd", "Layer", "Pass", "Trace", "explain", "trace"]

_Record: TypeAlias = Callable[[Iterable[Any], Layer], Recorder]

_BELOW: Final = Layer("(below)", is_endpoint=True)
"""What a list of middleware does not know: whatever it is put around."""


def trace(
    thing: Any,
    *,
    on_trace: Callable[[Trace], object] | None = None,
    keep: int = KEPT,
    clock: Callable[[], float] = time.perf_counter,
    now: Callable[[], float] = time.time,
) -> Any:
    """Return what does the same as ``thing``, and keeps a `Trace` of each call in its ``traces``, the last one last.

    Traced is a copy; ``thing`` itself stays as fast as it was. Each call has a trace of its own, also where calls run
    at the same time. A trace holds names and numbers, and of an error its type and first words: no context, no headers
    and no bodies. Where the body of a response streams, a hook on it notes its end.

    Args:
        thing: a chain; a function that `lift` has made; a client or a client class; the ``FormationMiddleware`` of a
            server; a list of middleware, or what `compose` made of one, for any other place that takes middleware.
        on_trace: called with each trace, once the call is over; where the response streams, once its body is. It runs
            in the midst of the program: it should be quick. What it raises is logged.
        keep: the most traces kept; the oldest make room.
        clock: seconds, for the times.
        now: seconds since 1970, for when a call has ended.

    Returns:
        What ``thing`` is. ``traces`` is a `collections.deque`.

    Raises:
        TypeError: it is no such thing, or a function is none.
        ValueError: ``keep`` is negative.

    >>> from formation import lift
    >>> @lift(middleware=[])
    ... def area(width, height):
    ...     return width * height
    >>> traced = trace(area)
    >>> traced(3, 4), len(traced.traces)
    (12, 1)
    """
    for name, function in (("on_trace", on_trace), ("clock", clock), ("now", now)):
        if not callable(function) and not (name == "on_trace" and function is None):
            raise TypeError(f"expected {name} as a function, got {function!r}")

    def record(layers: Iterable[Any], endpoint: Layer) -> Recorder:
        said = [Layer(name_of(each), place_of(each), is_coroutine_callable(each)) for each in layers]
        return Recorder([*said, endpoint], keep=keep, on_trace=on_trace, clock=clock, now=now)

    if isinstance(thing, BaseChain):
        return _chain(thing, record)
    if hasattr(thing, "__wrapped__") and isinstance(getattr(thing, "chain", None), BaseChain):
        traced = _chain(thing.chain, record)
        lifted = enclosed(thing.__wrapped__, traced)
        lifted.traces = traced.traces
        return lifted
    if isinstance(thing, type) and hasattr(thing, "_sender"):
        return _client_class(thing, record)
    if hasattr(thing, "extend") and hasattr(sender := getattr(thing, "request", thing), "settings"):
        return _client(thing, sender, record)
    if hasattr(thing, "app") and hasattr(thing, "middleware"):
        return _server(thing, record)
    if isinstance(thing, (list, tuple, Composed)):
        return _stack(thing, record)
    raise TypeError(
        "expected a chain, a lifted function, a client, a FormationMiddleware or a list of middleware, "
        f"got {thing!r}: trace(wrap(fn)) is for a function of a context"
    )


class Stack(list[Any]):
    """What `trace` makes of a list of middleware: a list again, with ``traces``."""

    traces: deque[Trace]


def _chain(chain: BaseChain[Any], record: _Record) -> Any:
    told, layers = _probed(
        chain.middleware or (passing_async if chain.is_async else passing,),
        record,
        Layer(name_of(chain.endpoint), place_of(chain.endpoint), is_coroutine_callable(chain.endpoint), True),  # noqa: FBT003
    )
    traced: Any = wrap(chain.endpoint, layers, is_async=chain.asked)
    traced.traces = told.traces
    return traced


def _client(client: Any, sender: Any, record: _Record) -> Any:
    """Have a sibling of the client, with the same connections."""
    told, settings = _settings(sender.settings.middleware, sender.settings.per_hop, record, is_async=sender.is_async)
    sibling = client.extend(**settings)
    if not hasattr(sibling, "traces"):  # of its own
        object.__setattr__(sibling, "traces", told.traces)  # not stopped by a frozen class
    return sibling


def _client_class(cls: Any, record: _Record) -> Any:
    """Have a class of the same name that derives from it."""
    middleware, per_hop = (getattr(cls, name, None) or () for name in ("middleware", "per_hop"))
    told, settings = _settings(middleware, per_hop, record, is_async=cls._sender.is_async)
    named = {name: getattr(cls, name) for name in ("__module__", "__qualname__", "__doc__")}
    own = {} if hasattr(cls, "traces") else {"traces": told.traces}
    return type(cls)(cls.__name__, (cls,), {**named, **own, **settings})


def _settings(middleware: Any, per_hop: Any, record: _Record, *, is_async: bool) -> tuple[Recorder, dict[str, Any]]:
    """Return the recorder, and the settings of what is traced; each hop of a redirect is a pass of its own."""
    through = passing_async if is_async else passing
    outer = [bare(each) for each in compose(*middleware).middleware or (through,)]
    inner = [bare(each) for each in compose(*per_hop).middleware if bare(each) is not through]
    told = record([*outer, *inner], Layer("(sent)", is_endpoint=True))
    layers = probes([*outer, *inner, through], told, over=False)
    return told, {"middleware": layers[: len(outer)], "per_hop": layers[len(outer) :]}


def _server(edge: Any, record: _Record) -> Any:
    told, layers = _probed(edge.middleware or (passing,), record, Layer(name_of(edge.app), is_endpoint=True))
    given = {name: getattr(edge, name) for name in ("max_body", "message_middleware") if hasattr(edge, name)}
    traced = type(edge)(edge.app, layers, **given)
    traced.traces = told.traces
    return traced


def _stack(stack: Any, record: _Record) -> Any:
    is_list = not isinstance(stack, Composed)
    told, layers = _probed(compose(*stack).middleware if is_list else stack.middleware, record, _BELOW)
    made: Any = Stack(layers) if is_list else compose(*layers)
    made.traces = told.traces
    return made


def _probed(layers: Iterable[Any], record: _Record, below: Layer) -> tuple[Recorder, list[Any]]:
    """Return the recorder and the probes; what is traced already is traced anew, by this one alone."""
    found = [bare(each) for each in layers]
    told = record(found, below)
    return told, probes(found, told)
