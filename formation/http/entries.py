"""Fields by name: the pairs that a mapping, a multi-dict, a sequence of pairs or a structured object stands for.

>>> entries({"a": [1, 2], "b": None})
[('a', [1, 2]), ('b', None)]

A structured object (attrs, dataclass, or one with ``to_dict()``) says in a field's metadata where the field goes: a
name, or names each within the one before. A field that says nothing goes by its own name; an object in it adds its own
fields.

>>> from dataclasses import dataclass, field
>>> @dataclass
... class Page:
...     number: int = field(default=1, metadata={"to": ["page", "number"]})
...     size: int | None = field(default=None, metadata={"to": ["page", "size"]})
>>> @dataclass
... class Search:
...     owner: str = field(metadata={"to": ":owner"})
...     text: str = field(metadata={"to": "q"})
...     page: Page = field(default_factory=Page)
>>> entries(Search("octo", "http"))
[(':owner', 'octo'), ('q', 'http'), ('page', {'number': 1})]
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from formation.http.values import scalar

if TYPE_CHECKING:
    from typing import TypeAlias

    Place: TypeAlias = tuple[str, ...]  # the path of keys under which a field stands

BYTES: Final = (bytes, bytearray, memoryview)


def entries(given: object) -> Sequence[tuple[str, object]]:
    """Return the names and the raw values, in order; a name may be there several times.

    Args:
        given: a mapping, a multi-dict of any framework, a sequence of pairs, a structured object, or ``None``.

    Raises:
        TypeError: it is something else, or a name is no str.

    >>> entries([("tag", "x"), ("tag", "y")]), entries(None)
    ([('tag', 'x'), ('tag', 'y')], ())
    """
    if given is None:
        return ()
    if type(given) is dict:  # the usual case; the question to the ABC takes longer than the rest
        return _named(given.items())
    if isinstance(given, Mapping):
        return _all(given)
    unfolded = unfold(given)
    if unfolded is not None:
        return _named(unfolded.items())
    if not isinstance(given, type) and callable(getattr(given, "items", None)):
        return _all(given)
    if isinstance(given, Sequence) and not isinstance(given, (str, *BYTES)):
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


def unfold(value: object) -> Mapping[str, object] | None:
    """Return the parameters that a structured object stands for; ``None`` for any other object.

    Raises:
        TypeError: its ``to_dict()`` returns no mapping, or a field's metadata has no names under ``to``.

    >>> unfold(None), unfold({"a": 1})
    (None, None)
    """
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
        nested = None if scalar(inner) is not None else unfold(inner)
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
