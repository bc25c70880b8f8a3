"""What the edge for Django is told, by its arguments and by ``settings.FORMATION``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.conf import settings  # type: ignore[import-untyped]
from django.core.exceptions import ImproperlyConfigured  # type: ignore[import-untyped]
from django.utils.module_loading import import_string  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from collections.abc import Iterable


def errors_of(catch: Iterable[type[Exception]]) -> tuple[type[Exception], ...]:
    """Return the classes of errors that ``catch`` holds.

    Raises:
        TypeError: it holds something else.
    """
    errors = tuple(catch)
    for each in errors:
        if not isinstance(each, type) or not issubclass(each, Exception):
            raise TypeError(f"expected classes of errors in catch, such as [OutOfStock], got {each!r}")
    return errors


def from_settings() -> dict[str, Any]:
    """Return the arguments of the edge that ``settings.FORMATION`` has.

    Raises:
        ImproperlyConfigured: it is not there, or is something else.
    """
    said = getattr(settings, "FORMATION", None)
    if not isinstance(said, dict) or "middleware" not in said or said.keys() - {"middleware", "catch", "max_body"}:
        raise ImproperlyConfigured(
            'expected FORMATION = {"middleware": [...]} in the settings, with "catch": [...] or "max_body": ... if '
            f"wanted, got {said!r}"
        )
    lists = {name: [_found(each) for each in said[name]] for name in ("middleware", "catch") if name in said}
    return {**said, **lists}


def _found(entry: Any) -> Any:
    return import_string(entry) if isinstance(entry, str) else entry
