"""A caching reverse proxy: `reverse_proxy.py --origin http://127.0.0.1:8000 --listen 127.0.0.1:8080`."""

import argparse

import uvicorn

from formation import reply
from formation.errors import TransportError
from formation.for_aiohttp import endpoint
from formation.for_asgi import FormationMiddleware
from formation.http import Request
from formation.middleware import cache

HOP_BY_HOP = {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te",
              "trailer", "transfer-encoding", "upgrade", "expect"}  # fmt: skip
SMALL = 64 * 1024


def passed_on(headers, without=()):
    """Return the lines that are not about this one connection (RFC 9110, 7.6.1), and say that we were here."""
    named = {name.strip().lower() for name in headers.get("Connection", "").split(",")}
    dropped = HOP_BY_HOP | named | set(without)
    return [line for line in headers.items() if line[0].lower() not in dropped] + [("Via", "1.1 formation")]


def forward(origin):
    """Make the innermost layer: ask the origin in the place of an app, streaming both ways."""
    send = endpoint(raw=True)

    async def forward(ctx, call):
        came = ctx["fmtn.req.http"]
        path = came.target.split("/", 3)[3]
        body = came.body if "Content-Length" in came.headers or "Transfer-Encoding" in came.headers else None
        if int(came.headers.get("Content-Length", SMALL)) < SMALL:
            body = await came.body.aread()  # so that it can be sent again, where a kept connection turns out to be dead
        asked = Request(came.method, f"{origin}/{path}", headers=passed_on(came.headers, ["host"]),
                        content=body, extensions={"stream": True})  # fmt: skip
        try:
            response = (await send({"fmtn.req.http": asked}))["fmtn.res.http"]
        except TransportError as error:
            return reply(ctx, 504 if isinstance(error, TimeoutError) else 502)
        response.headers = passed_on(response.headers)
        ctx["fmtn.res.http"] = response
        return ctx

    return forward


async def nothing(scope, receive, send):
    """Stand where the app would: `forward` has answered before."""


def main():
    """Listen until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--origin", metavar="URL", help="where the answers come from")
    parser.add_argument("--listen", metavar="HOST:PORT", default="127.0.0.1:8080")
    given = parser.parse_args()
    if given.origin is None:
        parser.print_help()
        return
    host, _, port = given.listen.rpartition(":")
    app = FormationMiddleware(nothing, [cache(shared=True), forward(given.origin.rstrip("/"))])
    own = {"server_header": False, "date_header": False, "proxy_headers": False}  # the origin's are passed on
    limits = {"timeout_keep_alive": 75, "timeout_graceful_shutdown": 5}
    uvicorn.run(app, host=host, port=int(port), http="h11", lifespan="off", log_level="warning", **own, **limits)


if __name__ == "__main__":
    main()
