"""A client that packs what it sends, and a server that tells what came, and unpacks it."""

from collections.abc import Callable
from io import BytesIO
from typing import Any

from formation.for_requests import build
from formation.for_wsgi import FormationMiddleware, endpoint
from formation.middleware import compress_request, decompress


def main() -> None:
    """Send a list, a file, and what is too short."""
    shop = endpoint(FormationMiddleware(orders, middleware=[tell, decompress()]))
    with build(base_uri="http://shop", endpoint=shop, middleware=[compress_request()]) as api:
        for title, body in (
            ("a list", {"json": [{"sku": number, "count": 1} for number in range(500)]}),
            ("a file", {"content": BytesIO(b"sku;count\n" * 2000)}),
            ("a word", {"content": b"hello"}),
        ):
            print(f"{title}: {api.post('/orders', **body).response.text}")


def tell(ctx: Any, call: Callable[[Any], Any]) -> Any:
    """Say what came over the wire."""
    request = ctx["fmtn.req.http"]
    came = f"{len(request.content)} bytes came, {request.headers.get('Content-Encoding', 'plain')}"
    ctx = call(ctx)
    response = ctx["fmtn.res.http"]
    response.body = f"{came}; {response.text}"
    return ctx


def orders(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """Say what the app has got."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"%d bytes, plain" % len(environ["wsgi.input"].read())]


if __name__ == "__main__":
    main()
