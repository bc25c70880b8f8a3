"""The settings of a middleware, found without its help and shown without its secrets.

A middleware is an inner function; its settings are the arguments of the outer one. What the inner one uses of them is
in its closure, under the same name. Where Formation's own keep them in an object, they are looked for in there.

No secret is shown. Text is shown of Formation's own settings only, where it is known which one is a secret; of others
there are numbers, functions and types.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Mapping
from functools import partial
from inspect import Parameter, signature, unwrap
from types import FunctionType, MethodType
from typing import Any, Final

from formation.http.secrets import SECRETS, redact
from formation.introspection import name_of

OURS: Final = "formation."

REDACTED: Final = "[redacted]"

HIDDEN: Final = SECRETS | {"api_key.key", "user", "username"}
"""Settings whose text is not shown: what secrets are called, and whose they are; with a dot, of that middleware."""

DEPTH: Final = 3
"""How far settings are looked for: an object in the closure, one in it, and one in that."""

TEXT: Final = 80
"""Characters of a setting that are shown."""

ITEMS: Final = 8
"""Items of a list of settings that are shown."""


def settings(layer: Any) -> dict[str, str]:
    """Return the settings of a middleware that can be found, as text to show; no secrets.

    Left out is what is not set, what is a function of the default, and who is told of events.

    >>> def add(number=1):
    ...     def add(ctx, call):
    ...         return call(ctx + number)
    ...
    ...     return add
    >>> settings(add(2))
    {'number': '2'}
    """
    given: dict[str, Any] = {}
    while isinstance(layer, partial):
        given = {**layer.keywords, **given}
        layer = layer.func
    ours = (getattr(layer, "__module__", None) or type(layer).__module__ or "").startswith(OURS)
    names, found = _arguments(layer)
    for name, default in names.items():
        value = found(name)
        if name != "logger" and value is not _MISSING and not _is_plain_default(value, default):
            given.setdefault(name, value)
    whose = name_of(layer)
    return {name: shown(value, ours=ours, secret=is_secret(name, whose)) for name, value in given.items()}


_MISSING: Final = object()


def _is_plain_default(value: Any, default: Any) -> bool:
    """Tell whether it says nothing: it is off, or it is a function that nobody has set."""
    if value is None or value is False or (isinstance(value, (str, bytes, Mapping, tuple, list, set)) and not value):
        return value == default or default is _MISSING or default is None
    return callable(value) and value is default


def _arguments(layer: Any) -> tuple[dict[str, Any], Any]:
    """Return the names and defaults of the settings of a layer, and what finds the value of one."""
    try:
        layer = unwrap(layer)
    except ValueError:  # an object that has any attribute one asks for
        return {}, None
    if isinstance(layer, MethodType):
        layer = layer.__self__
    if not isinstance(layer, FunctionType):
        made = None if isinstance(layer, type) else type(layer).__init__
        names = _parameters(made) if isinstance(made, FunctionType) else {}
        return names, lambda name: _attribute(layer, name)
    cells = _cells(layer)
    factory = _factory(layer)
    if factory is not None:
        return _parameters(factory), lambda name: _found(name, layer, cells)
    return dict.fromkeys(sorted(cells), _MISSING), lambda name: _number(cells[name])


def _parameters(made: Any) -> dict[str, Any]:
    many = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
    known = signature(made).parameters.values()
    return {
        each.name: _MISSING if each.default is Parameter.empty else each.default
        for each in known
        if each.kind not in many and each.name != "self"
    }


def _factory(fn: FunctionType) -> Any:
    """Return the function that has made ``fn``, if it stands at the top of its module."""
    outer, _, inner = fn.__qualname__.partition(".<locals>.")
    made = None if not inner or "<locals>" in inner else getattr(sys.modules.get(fn.__module__), outer, None)
    return made if isinstance(made, FunctionType) else None


def _cells(fn: FunctionType) -> dict[str, Any]:
    """Return the variables of ``fn`` that are of functions around it."""
    found = {}
    for name, cell in zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True):
        try:
            found[name] = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    return found


def _number(value: Any) -> Any:
    """Of a function whose factory nobody knows, any variable may be anything: numbers are safe to be settings."""
    return value if isinstance(value, (int, float)) else _MISSING


def _found(name: str, layer: FunctionType, cells: dict[str, Any]) -> Any:
    """Look for a setting at the layer and in its closure, then in Formation's own objects and functions in there."""
    for near in (vars(layer), cells):
        if name in near:
            return near[name]
    seen: set[int] = set()
    queue = deque((value, 1) for value in cells.values())
    while queue:
        value, depth = queue.popleft()
        if id(value) in seen:
            continue
        seen.add(id(value))
        inside = _inside(value)
        if (found := inside.get(name, inside.get(f"_{name}", _MISSING))) is not _MISSING:
            return found
        if depth < DEPTH:
            queue.extend((each, depth + 1) for each in inside.values())
    return _MISSING


def _inside(value: Any) -> dict[str, Any]:
    """Return what a function or an object of Formation's own holds; of anything else, nothing."""
    if isinstance(value, MethodType):
        value = value.__self__
    made = value.__module__ if isinstance(value, FunctionType) else type(value).__module__
    if isinstance(value, type) or not (made or "").startswith(OURS):
        return {}
    if not isinstance(value, FunctionType):
        return _attributes(value)
    cells = _cells(value)
    groups = [each for each in cells.values() if type(each) is dict and all(isinstance(key, str) for key in each)]
    return {**{key: each for group in groups for key, each in group.items()}, **cells}


def _attributes(value: Any) -> dict[str, Any]:
    found = dict(getattr(value, "__dict__", {}))
    for each in type(value).__mro__:
        slots = each.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if not name.startswith("__") and hasattr(value, name):
                found[name] = getattr(value, name)
    return found


def _attribute(value: Any, name: str) -> Any:
    """Return an attribute that is kept, under its name or with a line before it; nothing that is worked out."""
    kept = _attributes(value)
    return kept.get(name, kept.get(f"_{name}", _MISSING))


def is_secret(name: str, whose: str = "") -> bool:
    """Tell whether a setting of that name is not to be shown."""
    return name.casefold() in HIDDEN or f"{whose}.{name}" in HIDDEN


def shown(value: Any, *, ours: bool = True, secret: bool = False) -> str:
    """Write a setting so that it gives no secret away."""
    if value is None or isinstance(value, bool):
        return repr(value)
    if callable(value):
        return name_of(value)
    if secret:
        return REDACTED
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, str):
        return _text(value) if ours else "'…'"
    if isinstance(value, Mapping):
        return f"{{{_listed([str(key) if ours else '…' for key in value])}}}"
    if isinstance(value, (list, tuple, set, frozenset)):
        items = sorted(value, key=str) if isinstance(value, (set, frozenset)) else value
        return f"[{_listed([shown(each, ours=ours) for each in items])}]"
    return f"<{type(value).__name__}>"


def _listed(items: list[str]) -> str:
    return ", ".join(items[:ITEMS]) + (", …" if len(items) > ITEMS else "")


def _text(value: str) -> str:
    said = repr(redact(value))
    return said if len(said) <= TEXT else f"{said[: TEXT - 2]}…'"
