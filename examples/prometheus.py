"""A shop that counts for Prometheus what it is asked and what it asks, and shows it under /metrics.

The stock it asks goes down, so that there are retries and an open circuit to see.
"""

import structlog
from _server import serve
from flask import Flask
from prometheus_client import make_wsgi_app
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from formation import reply
from formation.errors import CircuitOpenError
from formation.for_requests import build
from formation.for_wsgi import FormationMiddleware
from formation.middleware import circuit_breaker, prometheus, retry

structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("critical"))

up = [True, True, False, True, *[False] * 20]


def stock(ctx):
    """Stand for a service that is asked."""
    return reply(ctx, 200 if up.pop(0) else 503, body=b"3")


metrics = prometheus()
to_stock = build(
    base_uri="https://stock.example.com",
    middleware=[metrics, retry(2, base=0.01), circuit_breaker(fail_max=3)],
    endpoint=stock,
)
metrics.watch(to_stock)

shop = Flask("shop")


@shop.get("/items/<item>")
def show(item):
    try:
        answer = to_stock.get("/left/{item}", path={"item": item})
    except CircuitOpenError:
        return "ask later", 503
    return answer.body, answer.status_code


app = DispatcherMiddleware(FormationMiddleware(shop, middleware=[prometheus()]), {"/metrics": make_wsgi_app()})


def main() -> None:
    with serve(app) as url, build(base_uri=url) as client:
        print("answers:", *(client.get(f"/items/{number}").status_code for number in range(7)))
        for line in client.get("/metrics").response.text.splitlines():
            if (
                line.startswith("formation_")
                and "_bucket" not in line
                and "_sum" not in line
                and "_created" not in line
            ):
                print(line)


if __name__ == "__main__":
    main()
