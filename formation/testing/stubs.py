"""A stub: an endpoint that answers by method and template."""

from __future__ import annotations

import re
from difflib import get_close_matches
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from formation.keys import REQ_HTTP
from formation.testing.answers import answered, checked
from formation.testing.recording import Recorded, Recorder, as_sent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from formation.http.request import Request
    from formation.kernel import Ctx
    from formation.testing.answers import Answer

_PARAMETER: Final = re.compile(r"\{(\+?)[^{}/]*\}|(?<=/):[A-Za-z_]\w*")


class Route(Recorded):
    """What answers for one method and template of a `Stub`."""

    def __init__(self, name: str, answer: Answer) -> None:
        super().__init__()
        method, _, template = name.partition(" ")
        if not method.isalpha() or not template.startswith("/"):
            raise ValueError(f"expected a route as 'GET /users/{{id}}', got {name!r}")
        self.name = f"{method.upper()} {template}"
        self.method, self.template = method.upper(), template
        self.literals = len([each for each in template.split("/") if not _PARAMETER.search(each)])
        self._pattern = re.compile(_pattern(template))
        self._answer = checked(answer)
        self._failure: Answer | None = None
        self._failures: int | None = None
        self._lock = Lock()

    def answer(self, answer: Answer) -> Route:
        """Answer so from now on; return the route."""
        self._answer, self._failure = checked(answer), None
        return self

    def fail(self, error: Answer, *, times: int | None = None) -> Route:
        """Raise ``error``, or answer with a status, for so many calls, or until `answer`; return the route."""
        self._failure, self._failures = checked(error), times
        return self

    def next(self) -> Any:
        """Return what the next call gets."""
        with self._lock:
            if self._failure is None or self._failures == 0:
                return self._answer
            if self._failures is not None:
                self._failures -= 1
            return self._failure

    def matches(self, path: str) -> bool:
        """Tell whether the route is for this path, or template."""
        return self._pattern.fullmatch(path) is not None

    def __repr__(self) -> str:
        return f"<route {self.name}: {len(self.calls)} calls>"


class Stub(Recorder):
    """An endpoint that answers by method and template: ``endpoint=Stub({"GET /users/{id}": {"name": "ann"}})``.

    A call goes to the route whose template the client has used, or whose template its path fits; of several, to the
    one with the most words of its own, so that ``/users/me`` goes before ``/users/{id}``. What has no route is an
    error.

    Args:
        routes: ``"METHOD /template"`` to answer, see `Answer`; `on` adds more.

    Raises:
        ValueError: a name that is no method and template.
        TypeError: an answer that is none.
        AssertionError: at a call, if no route fits; it names the nearest.

    >>> from formation.for_requests import build, json_response
    >>> from formation.errors import ConnectTimeout
    >>> stub = Stub({"GET /users/{id}": {"name": "ann"}, "POST /users": 201})
    >>> users = build(base_uri="https://h/v1", endpoint=stub, response_as=json_response)
    >>> users.get("/users/{id}", path={"id": 7}).body
    {'name': 'ann'}
    >>> users.post("/users", json={"name": "bob"}).status_code, stub["POST /users"].requests[0].json
    (201, {'name': 'bob'})
    >>> users.get("/user/7")
    Traceback (most recent call last):
    AssertionError: unexpected GET /user/7: no such route, did you mean GET /users/{id}? There is: GET /users/{id}, ...
    client: ...
    >>> stub["GET /users/{id}"].fail(ConnectTimeout("no answer"), times=1)
    <route GET /users/{id}: 1 calls>
    >>> users.get("/users/7")
    Traceback (most recent call last):
    formation.errors.ConnectTimeout: no answer
    client: ...
    """

    __name__ = "stub"

    def __init__(self, routes: Mapping[str, Answer] | None = None) -> None:
        super().__init__()
        self._routes: dict[str, Route] = {}
        for name, answer in (routes or {}).items():
            self.on(name, answer)

    def on(self, name: str, answer: Answer = 200) -> Route:
        """Add a route, or replace it; return it."""
        route = Route(name, answer)
        self._routes[route.name] = route
        return route

    def __getitem__(self, name: str) -> Route:
        try:
            return self._routes[name]
        except KeyError:
            raise LookupError(f"no route {name}{self._hint(name)}") from None

    def fail(self, error: Answer, *, times: int | None = None) -> None:
        """Let every route fail, see `Route.fail`."""
        for route in self._routes.values():
            route.fail(error, times=times)

    def _serve(self, ctx: Ctx) -> Ctx:
        sent = as_sent(ctx)
        route = self._find(sent[REQ_HTTP])
        self.calls.append(sent)
        route.calls.append(sent)
        return answered(ctx, route.next())

    def _find(self, request: Request) -> Route:
        said = (request.template or "").partition("?")[0]
        paths = (request.path, "/" + said.lstrip("/") if said and "://" not in said else request.path)
        found = [
            route
            for route in self._routes.values()
            if route.method == request.method and any(route.matches(path) for path in paths)
        ]
        if not found:
            raise AssertionError(f"unexpected {request.name}: no such route{self._hint(request.name)}")
        return max(found, key=lambda route: route.literals)

    def _hint(self, name: str) -> str:
        near = get_close_matches(name, self._routes, n=1)
        return (f", did you mean {near[0]}?" if near else ";") + f" There is: {', '.join(self._routes) or 'none'}"

    def __repr__(self) -> str:
        return f"<stub: {', '.join(self._routes) or 'no routes'}>"


def _pattern(template: str) -> str:
    """Make the pattern of the paths that a template fits."""
    pieces, at = [], 0
    for found in _PARAMETER.finditer(template):
        pieces += [re.escape(template[at : found.start()]), ".+" if found[1] else "[^/]+"]
        at = found.end()
    return "".join([*pieces, re.escape(template[at:])])
