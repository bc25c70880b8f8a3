"""What a script or a stub may answer, and how that becomes a response."""

from __future__ import annotations

import json
from copy import copy
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from formation.client import wire
from formation.client.in_process import has_body
from formation.http.body import Body
from formation.http.response import Response
from formation.introspection import is_coroutine_callable, name_of
from formation.keys import DEADLINE, REQ_HTTP, RES_HTTP

if TYPE_CHECKING:
    from collections.abc import Callable

    from formation.http.request import Request
    from formation.kernel import Ctx

Answer: TypeAlias = (
    "int | Response | dict[str, Any] | list[Any] | BaseException | type[BaseException] | Callable[[Ctx], Any]"
)
"""A status; a response; a mapping or a list, sent as JSON with a 200; an error, to be raised; or a function of the
context that returns one of these, or the context with a response in it."""

_JSON: Final = {"Content-Type": "application/json"}


def checked(answer: Any) -> Any:
    """Return ``answer`` if it is one."""
    if isinstance(answer, bool) or (isinstance(answer, type) and not issubclass(answer, BaseException)):
        raise _no_answer(answer)
    if isinstance(answer, int):
        Response(answer)  # refuses a status that is none
        return answer
    if is_coroutine_callable(answer):
        raise TypeError(f"expected a plain function as an answer, got {answer!r}: await_() awaits in an async chain")
    if not isinstance(answer, (Response, dict, list, BaseException)) and not callable(answer):
        raise _no_answer(answer)
    return answer


def _no_answer(answer: Any) -> TypeError:
    return TypeError(
        "expected an answer, a status, a Response, a dict or list for JSON, an error or a function of ctx, "
        f"got {answer!r}"
    )


def answered(ctx: Ctx, answer: Any) -> Ctx:
    """Answer the call."""
    if (deadline := ctx.get(DEADLINE)) is not None:
        wire.remaining(deadline)
    if isinstance(answer, type):
        answer = answer()
    if isinstance(answer, BaseException):
        raise _fresh(answer)
    if callable(answer):
        found = answer(ctx)
        if isinstance(found, dict) and (found is ctx or RES_HTTP in found):
            if RES_HTTP not in found:
                raise LookupError(
                    f"{name_of(answer)!r} returned a context without a response: formation.reply makes one"
                )
            return found
        return answered(ctx, checked(found))
    if isinstance(answer, int):
        answer = Response(answer)
    elif isinstance(answer, (dict, list)):
        answer = Response(200, _JSON, json.dumps(answer).encode())
    ctx[RES_HTTP] = _received(answer, ctx[REQ_HTTP])
    return ctx


def _fresh(error: BaseException) -> BaseException:
    """Return a copy: it will be told its request, and the error may have to be raised for another one."""
    try:
        made = copy(error)
    except TypeError:  # its __init__ takes something else than its args
        return error
    made.__cause__ = error.__cause__
    if hasattr(error, "__notes__"):
        made.__notes__ = [*error.__notes__]
    return made


def _received(answer: Response, request: Request) -> Response:
    """Make the response as it comes out of an edge; the one that was given is left as it is."""
    response = Response(
        answer.status_code,
        answer.headers,
        reason=answer.reason,
        request=request,
        url=request.target,
        elapsed=0.0,
        trailers=answer.trailers,
        extensions=answer.extensions,
    )
    if not has_body(request, response):
        return response
    limit = wire.check_length(request, response.headers)
    body = Body([answer.content] if answer.body.is_bytes else answer.body, limit=limit)
    response.receive(body if request.extensions.get("stream") else body.read())
    return response
