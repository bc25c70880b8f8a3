"""A Flask app under waitress, called by a client: the same middlewares, and one request id, on both sides.

The app calls a second service while it answers. That call has the id of the request that it serves, and no more time
than is left for it; nobody hands either of them on.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread
from time import monotonic
from typing import Any

import flask
import waitress

from formation import req, res
from formation.for_requests import build, client, json_response
from formation.for_wsgi import FormationMiddleware
from formation.middleware import request_duration, request_id

SECONDS = 5  # for all that a request leads to, by the server's own word


def log(side: str) -> Any:
    def log(ctx, call):
        ctx = call(ctx)
        print(f"  {side}: {req(ctx).name} {res(ctx).code}, id {ctx['req.id']}, {ctx['req.duration_us']} us")
        return ctx

    return log


def bounded(ctx, call):
    ctx["fmtn.deadline"] = monotonic() + SECONDS
    return call(ctx)


def counted(ctx, call):
    ctx = call(ctx)
    res(ctx).on_close(lambda size, error: print(f"  shop: sent {size} bytes" + (f", {error!r}" if error else "")))
    return ctx


def make_shop(stock: Any) -> flask.Flask:
    shop = flask.Flask("shop")

    @shop.get("/items/<int:number>")
    def item(number):
        return {"number": number, "left": stock.get("/left").body}

    @shop.get("/report")
    def report():
        return flask.Response((f"line {number}\n" for number in range(3)), mimetype="text/plain")

    middleware = [log("shop"), request_id(), request_duration(), bounded, counted]
    shop.wsgi_app = FormationMiddleware(shop.wsgi_app, middleware=middleware)
    return shop


def stock(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "application/json")])
    return [b"3"]


@client
class Shop:
    middleware = [log("client"), request_id(), request_duration()]
    response_as = json_response

    def item(self, number):
        return self.request.get("/items/{number}", path={"number": number})

    def report(self):
        return self.request.get("/report", response_as=None)


@contextmanager
def serve(app: Any) -> Iterator[str]:
    """Run a WSGI app on this machine."""
    server = waitress.create_server(app, host="127.0.0.1", port=0, threads=2)
    thread = Thread(target=server.run)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.effective_port}"
    finally:
        server.task_dispatcher.shutdown()
        server.trigger.pull_trigger(server.close)
        thread.join()
        server.trigger.close()


def main() -> None:
    watched = FormationMiddleware(stock, middleware=[log("stock"), request_id(), request_duration()])
    calling = [log("shop to stock"), request_id(), request_duration()]
    with (
        serve(watched) as stock_url,
        build(base_uri=stock_url, middleware=calling, response_as=json_response) as to_stock,
        serve(make_shop(to_stock)) as url,
        Shop(base_uri=url) as shop,
    ):
        print("An item, with an id that the client made:")
        print(" ", shop.item(7).body)
        print("An item, with an id of the caller's own:")
        print(" ", shop.request.get("/items/8", headers={"X-Request-ID": "order-7-of-ann"}).body)
        print("A page that streams:")
        print(" ", shop.report().response.text.split("\n"))


if __name__ == "__main__":
    main()
