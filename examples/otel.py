"""One trace through two services: a shop asks a stock, which fails once, and each of them tells OpenTelemetry.

The spans are printed here. A program of yours sends them to a collector: it sets a tracer provider, and `otel()` finds
it. Without one, `otel()` does nothing.
"""

import structlog
from _server import serve
from flask import Flask
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from formation.for_requests import build
from formation.for_wsgi import FormationMiddleware
from formation.middleware import otel, retry

structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("critical"))

exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)

answers = [(503, {}), (200, {"left": 3})]


def make_stock():
    stock = Flask("stock")

    @stock.get("/left/<item>")
    def left(item):
        status, body = answers.pop(0)
        return body, status

    stock.wsgi_app = FormationMiddleware(stock.wsgi_app, middleware=[otel()])
    return stock


def make_shop(stock):
    shop = Flask("shop")

    @shop.get("/items/<item>")
    def show(item):
        return stock.get("/left/{item}", path={"item": item}).response.json()

    shop.wsgi_app = FormationMiddleware(shop.wsgi_app, middleware=[otel()])
    return shop


def main() -> None:
    with (
        serve(make_stock()) as stock_url,
        build(base_uri=stock_url, middleware=[retry(base=0.01), otel()]) as stock,
        serve(make_shop(stock)) as shop_url,
        build(base_uri=shop_url, middleware=[otel()]) as client,
    ):
        print(client.get("/items/{item}", path={"item": "ring"}).response.json(), "\n")
    show()


def show() -> None:
    """Print the trace as a tree."""
    spans = exporter.get_finished_spans()
    print(f"one trace, {len(spans)} spans" if len({span.context.trace_id for span in spans}) == 1 else "several traces")

    def below(parent: int | None, depth: int) -> None:
        for span in sorted(spans, key=lambda span: span.start_time):
            if (span.parent.span_id if span.parent else None) == parent:
                said = {name: span.attributes.get(name) for name in
                        ("http.response.status_code", "http.request.resend_count", "error.type")}  # fmt: skip
                known = ", ".join(f"{name} {value}" for name, value in said.items() if value is not None)
                print(f"{'  ' * depth}{span.kind.name.lower():6} {span.name}: {known}")
                below(span.context.span_id, depth + 1)

    below(None, 1)


if __name__ == "__main__":
    main()
