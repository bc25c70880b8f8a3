"""A second for all of it: for the handler of a server, for the calls that it makes, for their attempts."""

import asyncio
import logging
import sys
from typing import Any

from formation import for_asgi
from formation.for_aiohttp import build
from formation.middleware import deadline, exception_handler, retry

log = logging.getLogger("shop")
HEADER = "x-request-timeout-ms"

asked: list[int] = []


async def stock(scope: Any, receive: Any, send: Any) -> None:
    """Be out of order; note how much time the caller has."""
    if scope["type"] == "http":
        asked.append(int(dict(scope["headers"])[HEADER.encode()]))
        await send({"type": "http.response.start", "status": 503, "headers": []})
        await send({"type": "http.response.body", "body": b""})


warehouse = build(
    base_uri="http://warehouse",
    middleware=[deadline(60, header=HEADER), retry(100, base=0.2, logger=logging.getLogger("quiet"))],
    endpoint=for_asgi.endpoint(stock),
)


async def shop(scope: Any, receive: Any, send: Any) -> None:
    """Ask the warehouse; then wait for what never comes."""
    if scope["type"] == "http":
        result = await warehouse.get("/cups")
        print(f"the warehouse was asked {len(asked)} times in the second, and said {result.status_code}")
        print("each time there was less of it:", asked == sorted(asked, reverse=True) and asked[0] <= 1000)
        await asyncio.sleep(60)


async def main() -> None:
    """Call the shop."""
    stack = [exception_handler(logger=logging.getLogger("quiet")), deadline(1, logger=log)]
    served = for_asgi.FormationMiddleware(shop, middleware=stack)
    async with build(base_uri="http://shop", endpoint=for_asgi.endpoint(served)) as api, warehouse:
        result = await api.get("/cups")
    print(result.status_code, result.headers["Content-Type"])


if __name__ == "__main__":
    logging.basicConfig(stream=sys.stdout, format="the log: %(levelname)s %(message)s")
    logging.getLogger("quiet").disabled = True
    asyncio.run(main())
