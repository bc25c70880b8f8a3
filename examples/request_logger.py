"""A client's log: what went well, what did not, and no secret in it."""

from collections.abc import Callable
from typing import Any

import structlog
from _server import serve

from formation.errors import TransportError
from formation.for_requests import build
from formation.middleware import context, request_id, request_logger

structlog.configure(
    processors=[
        structlog.processors.add_log_level,
        structlog.processors.KeyValueRenderer(key_order=["level", "event"], drop_missing=True),
    ]
)


def api_key(ctx: Any, call: Any) -> Any:
    """Add a key, and say that it is a secret."""
    ctx["fmtn.sensitive"].add("api_key")
    ctx["fmtn.req.http"].params["api_key"] = "s3cret"
    return call(ctx)


def brief(**known: Any) -> dict[str, Any]:
    """Say only whose request it is."""
    return {"uid": known["uid"]}


def main() -> None:
    """Make calls of all kinds."""
    with serve(shop) as url:
        api = build(
            base_uri=url, middleware=[request_id(), context(brief), api_key, request_logger()], auth=("me", "s3cret")
        )
        with api:
            print("Well:")
            api.get("/users/{id}", path={"id": 7}, params={"sort": None}, session_context={"uid": 42})
            print("\nNot so well:")
            api.get("/busy")
            print("\nA stream, read after it was logged:")
            with api.get("/users/7", stream=True) as result:
                print("  reading", b"".join(result.body))
    print("\nNobody there:")
    with build(base_uri=url, middleware=[api_key, request_logger()]) as api:
        try:
            api.get("/users/7")
        except TransportError:
            print("  and the error goes on")


def shop(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """Answer, or be busy."""
    busy = environ["PATH_INFO"] == "/busy"
    start_response("503 Service Unavailable" if busy else "200 OK", [("Content-Type", "text/plain")])
    return [b"not now" if busy else b"ann"]


if __name__ == "__main__":
    main()
