"""Query strings and form bodies: from whatever a caller gives as ``params`` or ``data`` to pairs of text.

Pure functions, in three steps. *Read*: a mapping, pairs, a multi-dict or a structured object (attrs, dataclass, or one
with ``to_dict()``) becomes pairs of a name and a raw value. *Flatten*: each raw value becomes text, none or many.
*Encode*: the pairs become one string. `split` does the first two for a query, `pairs` for a form; `encode` and `form`
do the third.

>>> split({":owner": "octo", "q": "a b", "page": None, "tag": ["x", "y"], "archived": False})
([('q', 'a b'), ('tag', 'x'), ('tag', 'y'), ('archived', 'false')], {'owner': 'octo'})
>>> encode([("q", "a b"), ("q", "c&d")])
'q=a%20b&q=c%26d'

A structured object says in a field's metadata where the field goes; a field that says nothing goes by its own name:

>>> from dataclasses import dataclass, field
>>> @dataclass
... class Page:
...     number: int = field(default=1, metadata={"to": ["page"]})
...     size: int | None = field(default=None, metadata={"to": ["per_page"]})
>>> @dataclass
... class Search:
...     owner: str = field(metadata={"to": ":owner"})
...     text: str = field(metadata={"to": "q"})
...     page: Page = field(default_factory=Page)
>>> split(Search("octo", "http"))
([('q', 'http'), ('page', '1')], {'owner': 'octo'})
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NoReturn, Protocol
from urllib.parse import quote, urlencode
from uuid import UUID

if TYPE_CHECKING:
    from typing import TypeAlias

    Place: TypeAlias = tuple[str, ...]  # the path of keys under which a field stands

_BYTES: Final = (bytes, bytearray, memoryview)
_unreserved = re.compile(r"[A-Za-z0-9_.~-]*").fullmatch


class ParamsEncoder(Protocol):
    """Flattens parameters, as ``params_encoder=``.

    Takes all of them in one mapping (a repeated name has a list, structured values are mappings, ``None`` and path
    parameters are out already) and returns flat pairs or a flat mapping, whose values are made text in the usual way.

    >>> def brackets(params):
    ...     for name, value in params.items():
    ...         if isinstance(value, dict):
    ...             yield from ((f"{name}[{key}]", inner) for key, inner in value.items())
    ...         else:
    ...             yield name, value
    >>> split({"filter": {"state": "open", "draft": False}}, brackets)
    ([('filter[state]', 'open'), ('filter[draft]', 'false')], {})
    """

    def __call__(self, params: Mapping[str, object], /) -> Iterable[tuple[str, object]] | Mapping[str, object]:
        """Return the parameters flat."""
        ...


def split(params: object, encoder: ParamsEncoder | None = None) -> tuple[list[tuple[str, str]], dict[str, object]]:
    """Split parameters into those of the query, as text, and those of the path, as they are.

    Args:
        params: ``None``, a mapping, a sequence of pairs, a multi-dict, or a structured object: attrs, dataclass, or one
            with ``to_dict()``, which goes before its fields. A name that starts with ``:`` is a parameter of the path.
            A value is str, int, float, bool (``true``, ``false``), Decimal, UUID, Enum (its value), date or datetime
            (ISO 8601), or a list or tuple of these, which repeats the name. ``None`` is left out; in the path it is
            kept, so that whoever fills the path can refuse it.
        encoder: flattens nested values; without one they are refused, for there is no standard way to write them.

    Returns:
        The pairs for the query, and the values for the path by their names without the colon.

    Raises:
        TypeError: anything else: it names the parameter.
    """
    query: list[tuple[str, object]] = []
    path: dict[str, object] = {}
    for name, value in entries(params):
        if name.startswith(":"):
            path[name[1:]] = value
        else:
            query.append((name, value))
    return _flatten(query, encoder), path


def pairs(data: object, encoder: ParamsEncoder | None = None) -> list[tuple[str, str]]:
    """Return the fields of a form as pairs of text: as `split`, but a name with ``:`` in front is like any other.

    >>> pairs({"name": "x", ":y": [1, 2.5], "z": None})
    [('name', 'x'), (':y', '1'), (':y', '2.5')]
    """
    return _flatten(entries(data), encoder)


def encode(query: Iterable[tuple[str, str]]) -> str:
    """Encode pairs as a query string.

    All but the unreserved characters of RFC 3986 section 2.3 is percent-encoded as UTF-8. A space becomes ``%20``, not
    ``+``: every reader takes ``%20`` for a space, but only a form reader takes ``+`` for one; and request signatures
    (AWS SigV4, OAuth 1) are made over ``%20``.

    >>> encode([("q", "a b+c"), ("when", "10:30")])
    'q=a%20b%2Bc&when=10%3A30'
    """
    return "&".join([f"{percent(name)}={percent(value)}" for name, value in query])


def form(data: object, encoder: ParamsEncoder | None = None) -> bytes:
    """Encode the fields of a form as an ``application/x-www-form-urlencoded`` body (WHATWG URL section 5).

    A space becomes ``+``, as browsers and requests send it. ``data`` is whatever `pairs` takes.

    >>> form({"q": "a b", "tag": ["x", "y"]})
    b'q=a+b&tag=x&tag=y'
    """
    return urlencode([(utf8(name), utf8(value)) for name, value in pairs(data, encoder)]).encode("ascii")


def percent(text: str) -> str:
    """Percent-encode text as UTF-8 with nothing safe but the unreserved characters of RFC 3986.

    >>> percent("a/b c"), percent("a.b-c_d~e")
    ('a%2Fb%20c', 'a.b-c_d~e')
    """
    return text if _unreserved(text) else quote(utf8(text), safe="")


def utf8(text: str) -> bytes:
    r"""Encode text, or say what is wrong with it.

    >>> utf8("é")
    b'\xc3\xa9'
    """
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"expected text that UTF-8 can encode, got {text!r}: it has a lone surrogate") from None


def scalar(value: object) -> str | None:
    """Return the text of a single value, ``None`` for what is none.

    >>> scalar(True), scalar(1.5), scalar(date(2026, 11, 1)), scalar([1])
    ('true', '1.5', '2026-11-01', None)
    """
    if isinstance(value, Enum):  # first: an Enum may be a str or an int as well, whose str() is 'Colour.RED'
        return scalar(value.value)
    # The base class's own methods: subclasses print themselves in other ways (numpy: 'np.float64(1.5)').
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return int.__repr__(value)
    if isinstance(value, float):
        return float.__repr__(value)
    if isinstance(value, date):
        return value.isoformat()
    return str(value) if isinstance(value, (UUID, Decimal)) else None


# --- read ---


def entries(given: object) -> Sequence[tuple[str, object]]:
    """Return the names and the raw values of whatever `split` takes.

    >>> entries({"a": [1, 2], "b": None})
    [('a', [1, 2]), ('b', None)]
    """
    if given is None:
        return ()
    if type(given) is dict:  # the usual case; the question to the ABC takes longer than the rest
        return _named(given.items())
    if isinstance(given, Mapping):
        return _all(given)
    unfolded = _unfold(given)
    if unfolded is not None:
        return _named(unfolded.items())
    if not isinstance(given, type) and callable(getattr(given, "items", None)):
        return _all(given)
    if isinstance(given, Sequence) and not isinstance(given, (str, *_BYTES)):
        for item in given:
            if not (isinstance(item, (tuple, list)) and len(item) == 2):
                raise TypeError(f"expected pairs of a name and a value, got {item!r} among them: put them in tuples")
        return _named(given)
    expected = "a mapping, a sequence of pairs, an attrs or dataclass instance, or an object with to_dict()"
    raise TypeError(f"expected {expected}, got {given!r} ({type(given).__qualname__})")


def _all(multi: Any) -> Sequence[tuple[str, object]]:
    """All entries of a mapping. Some multi-dicts keep the repeated ones out of ``items()``."""
    for view in ("multi_items", "lists"):  # Starlette and httpx; Django and Werkzeug
        method = getattr(multi, view, None)
        if callable(method):
            return _named(method())
    return _named(multi.items())


def _named(given: Iterable[tuple[object, object]]) -> list[tuple[str, object]]:
    return [(name if type(name) is str else _name(name), value) for name, value in given]


def _name(name: object) -> str:
    text = scalar(name) if isinstance(name, str) else None
    if text is None:
        raise TypeError(f"expected a str as a name, got {name!r} ({type(name).__qualname__})")
    return text


def _unfold(value: object) -> Mapping[str, object] | None:
    """The parameters that a structured object stands for; ``None`` for any other object."""
    if isinstance(value, (type, Mapping)):
        return None
    to_dict = getattr(value, "to_dict", None)
    if callable(to_dict):
        made = to_dict()
        if not isinstance(made, Mapping):
            raise TypeError(f"expected to_dict() of {type(value).__qualname__} to return a mapping, got {made!r}")
        return made
    kind: type = type(value)
    places = _places(kind)
    if places is None:
        return None
    unfolded: dict[str, object] = {}
    for field, place in places:
        inner = getattr(value, field)
        if inner is None and not (place and place[0].startswith(":")):
            continue
        nested = None if scalar(inner) is not None else _unfold(inner)
        if nested is None or place:
            nested = _under(place or (field,), inner if nested is None else nested)
        _merge(unfolded, nested)
    return unfolded


def _under(place: Place, value: object) -> dict[str, object]:
    *rest, last = place
    under = {last: value}
    for key in reversed(rest):
        under = {key: under}
    return under


def _merge(into: dict[str, object], new: Mapping[str, object]) -> None:
    """Add to a mapping of our own. Those in it may be the caller's: they are copied before anything is added."""
    for name, value in new.items():
        before = into.get(name)
        if isinstance(before, Mapping) and isinstance(value, Mapping):
            both = dict(before)
            _merge(both, value)
            into[name] = both
        else:
            into[name] = value


@lru_cache(maxsize=512)  # classes of parameters in a program; each entry is a handful of strings
def _places(kind: type) -> tuple[tuple[str, Place | None], ...] | None:
    """The fields of an attrs class or dataclass, inherited ones too, and where each goes."""
    found: Any = getattr(kind, "__attrs_attrs__", None)
    if found is None:
        if not hasattr(kind, "__dataclass_fields__"):
            return None
        from dataclasses import fields  # whoever has a dataclass has loaded it

        found = fields(kind)
    return tuple((field.name, _place(kind, field)) for field in found)


def _place(kind: type, field: Any) -> Place | None:
    to = field.metadata.get("to")
    if to is None:
        return None
    place = (to,) if isinstance(to, str) else to
    if not (isinstance(place, (tuple, list)) and place and all(isinstance(key, str) and key for key in place)):
        where = f"field {field.name!r} of {kind.__qualname__}"
        raise TypeError(f"{where}: expected 'to' in its metadata as a name or a list of names, got {to!r}")
    return tuple(place)


# --- flatten ---


def _flatten(named: Sequence[tuple[str, object]], encoder: ParamsEncoder | None) -> list[tuple[str, str]]:
    if encoder is not None:
        made = encoder(_gathered(named))
        named = entries(made if isinstance(made, Mapping) else list(made))
    flat: list[tuple[str, str]] = []
    for name, value in named:
        if value is None:
            continue
        text = value if type(value) is str else scalar(value)
        if text is not None:
            flat.append((name, text))
        elif isinstance(value, Sequence) and not isinstance(value, _BYTES):
            for item in value:
                if item is not None:
                    text = scalar(item)
                    flat.append((name, _refuse(name, item) if text is None else text))
        else:
            _refuse(name, value)
    return flat


def _gathered(named: Sequence[tuple[str, object]]) -> dict[str, object]:
    """One mapping of all parameters, for an encoder."""
    gathered: dict[str, object] = {}
    for name, value in named:
        if value is not None:
            unfolded = None if scalar(value) is not None else _unfold(value)
            inner = value if unfolded is None else unfolded
            gathered[name] = [*_many(gathered[name]), *_many(inner)] if name in gathered else inner
    return gathered


def _many(value: object) -> Sequence[object]:
    return value if isinstance(value, (list, tuple)) else (value,)


def _refuse(name: str, value: object) -> NoReturn:
    expected = "expected str, int, float, bool, Decimal, UUID, Enum, date, datetime, or a list of these"
    if isinstance(value, _BYTES):
        advice = "decode it first"
    elif isinstance(value, (set, frozenset)):
        advice = "a set has no order, so give sorted(...)"
    elif isinstance(value, Mapping) or _unfold(value) is not None:
        advice = "nested parameters need params_encoder="
    else:
        advice = "convert it first"
    raise TypeError(f"parameter {name!r}: {expected}, got {value!r} ({type(value).__qualname__}): {advice}")
