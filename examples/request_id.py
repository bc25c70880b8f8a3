"""One id from the client to the server's log and back, and what a server makes of a forged one."""

from collections.abc import Callable
from typing import Any

from _server import serve

from formation import reply, wrap
from formation.for_requests import build
from formation.http import Request
from formation.middleware import request_id

log: list[str] = []


def main() -> None:
    """Follow an id; then forge one."""
    with serve(billing) as url, build(base_uri=url, middleware=[request_id()]) as api:
        made = api.get("/invoices/12")
        print("the client made", made.request.headers["X-Request-ID"])
        print("the server has ", log[-1])
        api.get("/invoices/12", headers={"X-Request-ID": "order-7-of-ann"})
        print("a caller's own ", log[-1])

    on_server = wrap(lambda ctx: reply(ctx, 200), [request_id()])
    forged = Request("GET", "https://shop/", headers={"X-Request-ID": "7 level=info user=admin"})
    ctx = on_server({"fmtn.side": "server", "fmtn.req.http": forged})
    print("a forged one is replaced by", ctx["req.id"])
    print("and the answer says        ", ctx["fmtn.res.http"].headers["X-Request-ID"])


def billing(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """Write down the id."""
    log.append(environ["HTTP_X_REQUEST_ID"])
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"12.50"]


if __name__ == "__main__":
    main()
