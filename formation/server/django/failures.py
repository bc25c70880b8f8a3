"""Errors inside of the edge, of which Django makes responses: noted, so that the chain sees them as errors."""

from __future__ import annotations

import sys
from functools import partial
from typing import Any, Final

from django.http import HttpResponse  # type: ignore[import-untyped]

from formation.errors import BodyTooLarge
from formation.server.django.response import at_the_end, drop

FAILURE: Final = "_formation_failure"
"""The attribute of Django's request that holds the error of what is inside."""


class Failure:
    """An error inside, and the response that Django has made of it."""

    __slots__ = ("error", "is_reported", "response")

    def __init__(self, error: BaseException, *, is_reported: bool) -> None:
        self.error = error
        self.is_reported = is_reported
        self.response: Any = None


def note(request: Any = None, **more: object) -> None:
    """Note the error of which Django is about to make a 500."""
    error = sys.exc_info()[1]
    if request is not None and error is not None:  # others may send the signal, too
        setattr(request, FAILURE, Failure(error, is_reported=True))


def failed(bag: dict[str, Any], error: BaseException) -> Any:
    """Return what is answered to an error that comes out of the chain: the 500 of Django, a 413, or nothing."""
    request, came = bag["request"], bag.get("response")
    failure = getattr(request, FAILURE, None)
    if failure is not None and failure.error is error and failure.is_reported and failure.response is not None:
        at_the_end(failure.response, partial(vars(request).pop, FAILURE, None))  # until then for those further out
        return failure.response
    if came is not None:
        drop(came)
    elif failure is None and isinstance(error, BodyTooLarge) and error.request is None:
        return HttpResponse("Content Too Large", status=413, content_type="text/plain")
    return None
