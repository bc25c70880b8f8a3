"""What stands in a configuration, as a value of the type that an annotation asks for. docs/config.md has the table."""

from __future__ import annotations

import builtins
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from datetime import timedelta
from enum import Enum, EnumType
from inspect import Parameter, isclass
from pkgutil import resolve_name
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from formation.http.secrets import REDACTED, SECRETS
from formation.http.timeouts import Unset

_TOLD: Final[dict[Any, str]] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    timedelta: "seconds",
    str: "text",
    NoneType: "none",
}
_SWITCH: Final = dict.fromkeys(("true", "yes", "on", "1"), True) | dict.fromkeys(("false", "no", "off", "0"), False)
_MANY: Final = (list, set, frozenset, tuple, Iterable, Collection, Sequence, AbstractSet)
_is_path = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*").fullmatch


def convert(value: Any, kind: Any, *, is_text: bool = False, name: str = "") -> Any:
    """Return ``value`` as the annotation ``kind`` asks.

    Args:
        value: of TOML's types, or any object; text where ``is_text``.
        kind: an annotation. What has none stays as it is.
        is_text: whether text stands for numbers, and for several values.
        name: of the setting, or of what stands in a table: errors do not show what is named like a secret.

    Raises:
        ValueError: it does not fit.
        LookupError: the object that it names cannot be found.

    >>> convert("1.5", float | None, is_text=True), convert("none", float | None)
    (1.5, None)
    >>> convert("GET, HEAD", Iterable[str], is_text=True)
    ('GET', 'HEAD')
    >>> convert("soon", float | None, is_text=True)
    Traceback (most recent call last):
    ValueError: expected a number or none, got 'soon'
    """
    if get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    try:
        return _reader(kind)(value, kind, is_text=is_text)
    except (ValueError, TypeError, AttributeError):
        raise ValueError(f"expected {told(kind)}, got {masked(value, name)!r}") from None
    except LookupError:
        if _is_secret(name):
            raise LookupError(f"{masked(value, name)!r} cannot be found") from None
        raise


def _is_secret(name: str) -> bool:
    return name.casefold() in SECRETS or name == "key"  # of `api_key`


class _Masked:
    """What stands in an error in the place of a secret."""

    def __init__(self, value: Any) -> None:
        self.what = f"[redacted {type(value).__name__}]"

    def __repr__(self) -> str:
        return self.what


def masked(value: Any, name: str = "") -> Any:
    """Return what may be shown of ``value``, whose name may tell that it is a secret.

    >>> masked({"use": "bearer", "token": 5551212}), masked("Authorization = Bearer s3cret"), masked(7, "key")
    ({'use': 'bearer', 'token': [redacted int]}, 'Authorization = [redacted]', [redacted int])
    """
    if _is_secret(name):
        return _Masked(value)
    if isinstance(value, Mapping):
        return {key: masked(each, str(key)) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [*map(masked, value)]
    return _assigned(_mask_assigned, value) if isinstance(value, str) else value


_assigned = re.compile(r"([^\s=]+)(\s*=\s*)([^\r\n]+)").sub


def _mask_assigned(found: re.Match[str]) -> str:
    return f"{found[1]}{found[2]}{REDACTED}" if found[1].casefold() in SECRETS else found[0]


def is_scalar(kind: Any) -> bool:
    """Tell whether an annotation asks for text, or a number, or a switch."""
    return kind in _TOLD


def told(kind: Any) -> str:
    """Tell in words what an annotation asks for.

    >>> told(Literal["header", "query"] | None), told(Mapping[str, int])
    ("'header' or 'query' or none", 'pairs of text = a whole number')
    """
    origin, args = get_origin(kind) or kind, get_args(kind)
    if kind in _TOLD:
        return _TOLD[kind]
    if origin in {Union, UnionType}:
        return " or ".join(dict.fromkeys(told(each) for each in sorted(args, key=_rank) if each is not Unset))
    if origin is Literal or isinstance(origin, EnumType):
        return " or ".join(repr(getattr(each, "name", each)) for each in args or kind)
    if origin in {Mapping, dict}:
        return "pairs of " + " = ".join(map(told, args)) if args else "pairs"
    if origin is tuple and Ellipsis not in args and args:
        return f"{len(args)} values ({', '.join(map(told, args))})"
    if origin in _MANY:
        return f"a list of {told(args[0])}" if args else "a list"
    what = {type: "class", Callable: "function"}.get(origin) or getattr(origin, "__name__", origin)
    return f"the name of a {what}, package.module:name"


def named(name: str) -> Any:
    """Return the object that ``package.module:name`` names.

    Raises:
        LookupError: it cannot be found, or its module cannot be imported.
    """
    try:
        return resolve_name(name)
    except Exception as error:  # whatever a module raises
        raise LookupError(f"{name!r} cannot be found: {error}") from error


def _reader(kind: Any) -> Callable[..., Any]:
    origin = get_origin(kind) or kind
    if origin in {Union, UnionType}:
        return _read_union
    if origin is Literal or isinstance(origin, EnumType):
        return _read_choice
    if origin in {Mapping, dict}:
        return _read_pairs
    if origin in _MANY:
        return _read_many
    return {str: _read_text, bool: _read_switch, NoneType: _read_none}.get(origin) or (
        _read_number if origin in _TOLD else _read_object
    )


def _read_none(value: Any, kind: Any, *, is_text: bool) -> None:
    if value is not None and value.lower() not in {"", "none"}:
        raise ValueError


def _read_switch(value: Any, kind: Any, *, is_text: bool) -> bool:
    if isinstance(value, bool):
        return value
    if not is_text or value.lower() not in _SWITCH:
        raise ValueError
    return _SWITCH[value.lower()]


def _read_number(value: Any, kind: Any, *, is_text: bool) -> Any:
    if is_text and isinstance(value, str):
        value = int(value) if kind is int else float(value)
    if isinstance(value, bool) or not isinstance(value, int if kind is int else (int, float, kind)):
        raise TypeError
    return timedelta(seconds=value) if kind is timedelta and not isinstance(value, timedelta) else value


def _read_text(value: Any, kind: Any, *, is_text: bool) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _read_choice(value: Any, kind: Any, *, is_text: bool) -> Any:
    for each in get_args(kind) or kind:
        said = (each.name, each.value) if isinstance(each, Enum) else (each,)
        if value in (each, *said) or (is_text and value in map(str, said)):
            return each
    raise ValueError


def _read_pairs(value: Any, kind: Any, *, is_text: bool) -> dict[Any, Any]:
    key, item = get_args(kind) or (Parameter.empty, Parameter.empty)
    if is_text:
        lines = [line.split("=", 1) for line in value.strip().splitlines()]
        value = {name.strip(): each.strip() for name, each in lines}
    return {
        convert(name, key, is_text=True): convert(each, item, is_text=is_text, name=name)
        for name, each in value.items()
    }


def _read_many(value: Any, kind: Any, *, is_text: bool) -> Any:
    origin, args = get_origin(kind) or kind, get_args(kind)
    if is_text:
        value = re.findall(r"[^\s,]+", value)
    elif not isinstance(value, (list, tuple, set, frozenset)):
        raise TypeError
    is_row = origin is tuple and args and Ellipsis not in args
    kinds = args if is_row else (args[0] if args else Parameter.empty,) * len(value)
    made = [convert(each, kind, is_text=is_text) for each, kind in zip(value, kinds, strict=True)]
    return {list: list, set: set, frozenset: frozenset, AbstractSet: frozenset}.get(origin, tuple)(made)


def _read_object(value: Any, kind: Any, *, is_text: bool) -> Any:
    origin, args = get_origin(kind) or kind, get_args(kind)
    if isinstance(value, str) and kind is not Parameter.empty:
        if _is_path(value):
            value = named(value)
        elif origin is type:  # ConnectionError
            value = getattr(builtins, value)
    if origin is type:
        fits = isclass(value) and issubclass(value, args or object)
    elif origin is Callable:
        fits = callable(value)
    else:
        fits = True
        with suppress(TypeError):  # no class, or one that cannot be asked, such as most protocols
            fits = origin in {Any, Parameter.empty} or isinstance(value, origin)
    if not fits:
        raise ValueError
    return value


def _read_union(value: Any, kind: Any, *, is_text: bool) -> Any:
    args = get_args(kind)
    if NoneType in args and (value == "" or (str not in args and str(value).lower() == "none")):
        return None
    for each in sorted(args, key=_rank):
        with suppress(ValueError):
            return convert(value, each, is_text=is_text)
    raise ValueError


_ORDER: Final = (
    _read_choice,
    _read_number,
    _read_switch,
    _read_object,
    _read_text,
    _read_pairs,
    _read_many,
    _read_none,
)
"""How a union tries its members: ``5`` is a number rather than text, ``shop:log`` an object rather than text."""


def _rank(kind: Any) -> int:
    return _ORDER.index(_reader(kind))
