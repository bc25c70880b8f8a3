"""Explain a chain: its layers from the outside in, their settings, where they stand, and what `check` says of them.

How the settings are found, and why no secret is among them, is in ``arguments.py``.

>>> from formation import wrap
>>> from formation.middleware import api_key, bulkhead
>>> def fetch(ctx):
...     return ctx
>>> print(explain(wrap(fetch, [api_key("s3cret"), bulkhead(5)])))  # doctest: +ELLIPSIS
sync chain, 2 layers, outermost first
<BLANKLINE>
api_key (plain, ...api_key.py:...)
    key=[redacted], name='X-API-Key', place='header'
└ bulkhead (plain, ...bulkhead.py:...)
      limit=5, queue=0, max_wait=0
  └ fetch (endpoint, sync, ...)
<BLANKLINE>
check finds nothing to say
"""

from __future__ import annotations

import sys
from textwrap import wrap as folded
from typing import TYPE_CHECKING, Any, Final

from formation.check import faults, layers_of, settings_of
from formation.explain.arguments import settings, shown
from formation.introspection import code_of, is_coroutine_callable, name_of

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["explain", "place", "settings"]

WIDTH: Final = 100
"""Characters of a line of settings."""


def explain(thing: Any) -> str:
    """Return what ``thing`` is made of, as text to print.

    Args:
        thing: a chain, a function that `lift` has made, a client or its class, a ``FormationMiddleware``, what
            `compose` returns, or a list of middleware.

    Raises:
        TypeError: it is no such thing, or has something in it that is no middleware.
    """
    thing = getattr(thing, "chain", thing) if hasattr(thing, "__wrapped__") else thing
    layers = layers_of(thing)
    colour = _colour(thing)
    lines = [_headline(thing, colour, len(layers)), ""]
    for depth, layer in enumerate(layers):
        is_async = is_coroutine_callable(layer)
        how = "async" if is_async else "plain, on the bridge" if colour == "async" else "plain"
        lines += _told(depth, name_of(layer), how, layer, settings(layer))
    lines += _endpoint(thing, len(layers), colour)
    lines.append("")
    found = faults(thing)
    lines += ["check says:", *(f"- {fault}" for fault in found)] if found else ["check finds nothing to say"]
    return "\n".join(lines)


def _headline(thing: Any, colour: str, count: int) -> str:
    layers = f"{count} layer{'' if count == 1 else 's'}, outermost first"
    if (sender := _sender(thing)) is not None:
        said = settings_of(thing)
        known = {name: getattr(said, name, None) for name in ("base_uri", "max_redirects", "max_body")}
        given = ", ".join(f"{name}={shown(value)}" for name, value in known.items() if value is not None)
        called = name_of(thing) if isinstance(thing, type) else sender.name
        client = "client" if called == "client" else f"client {called}"  # which is what build() calls its own
        return f"{colour} {client}, {layers}" + (f": {given}" if given else "")
    kind = "server" if hasattr(thing, "app") else "chain" if hasattr(thing, "endpoint") else "stack"
    return f"{colour} {kind}, {layers}".lstrip()


def _sender(thing: Any) -> Any:
    """Return what a client sends with, or the class of that; of anything else, nothing."""
    if isinstance(thing, type):
        return getattr(thing, "_sender", None)
    return next((each for each in (thing, getattr(thing, "request", None)) if hasattr(each, "settings")), None)


def _colour(thing: Any) -> str:
    """Return ``sync`` or ``async``, or nothing where that depends on what it is put around."""
    if hasattr(thing, "app"):
        return "async" if is_coroutine_callable(thing) else "sync"
    known = _sender(thing) or thing
    if getattr(known, "is_async", False):
        return "async"
    return "sync" if known is not thing or hasattr(thing, "endpoint") or hasattr(thing, "settings") else ""


def _endpoint(thing: Any, depth: int, colour: str) -> list[str]:
    endpoint = getattr(thing, "app", getattr(settings_of(thing), "endpoint", None))
    if endpoint is None:
        return [] if _sender(thing) is None else _told(depth, "what sends", f"endpoint, {colour}", None, {})
    how = "async" if is_coroutine_callable(endpoint) or (colour == "async" and hasattr(thing, "app")) else "sync"
    return _told(depth, name_of(endpoint), f"endpoint, {how}", endpoint, {})


def _told(depth: int, name: str, how: str, fn: Any, given: Mapping[str, str]) -> list[str]:
    indent = "  " * depth
    mark = "" if depth == 0 else f"{indent[2:]}└ "
    facts = ", ".join(filter(None, (how, place(fn))))
    said = ", ".join(f"{key}={value}" for key, value in given.items())
    lines = folded(said, max(WIDTH - len(indent), 40), break_long_words=False, break_on_hyphens=False)
    return [f"{mark}{name} ({facts})", *(f"{indent}    {line}" for line in lines)]


def place(fn: Any) -> str:
    """Return the file and line of a function: the file as it is imported, where that is shorter than its whole path."""
    code = None if fn is None else code_of(fn)
    if code is None:
        return ""
    file = code.co_filename
    roots = sorted((each.rstrip("/\\") for each in sys.path if each), key=len, reverse=True)
    root = next((each for each in roots if file.startswith((f"{each}/", f"{each}\\"))), "")
    file = file[len(root) :].lstrip("/\\") if root else file
    return f"{file}:{code.co_firstlineno}"
