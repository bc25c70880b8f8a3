"""A FastAPI app under uvicorn, called by a client: the same middlewares, and one request id, on both sides.

The app calls a second service while it answers; that call has the id of the request that it serves, though nobody hands
it on. A WebSocket has one context too: a timer around it tells how long it was open.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import perf_counter
from typing import Any

import uvicorn
from fastapi import FastAPI, WebSocket
from fastapi.responses import StreamingResponse
from websockets.asyncio.client import connect

from formation import req, res
from formation.for_aiohttp import build, client, json_response
from formation.for_asgi import FormationMiddleware
from formation.middleware import request_id

SECONDS = 20  # for all of it


def log(side: str) -> Any:
    def log(ctx, call):
        started = perf_counter()
        ctx = call(ctx)
        took = (perf_counter() - started) * 1e3
        print(f"  {side}: {req(ctx).name} {res(ctx).code}, id {ctx['req.id']}, {took:.0f} ms")
        return ctx

    return log


def loud(ctx, call):
    """Write what the app sends on a WebSocket in capitals."""
    if ctx["fmtn.direction"] == "out":
        ctx["fmtn.message"] = ctx["fmtn.message"].upper()
    return call(ctx)


def make_shop(stock: Any) -> FastAPI:
    shop = FastAPI()

    @shop.get("/items/{number}")
    async def item(number: int) -> dict[str, int]:
        return {"number": number, "left": (await stock.get("/left")).body}

    @shop.get("/report")
    async def report() -> StreamingResponse:
        async def lines() -> AsyncIterator[str]:
            for number in range(3):
                yield f"line {number}\n"

        return StreamingResponse(lines(), media_type="text/plain")

    @shop.websocket("/talk")
    async def talk(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text(f"you said {await websocket.receive_text()}")
        await websocket.close()

    shop.add_middleware(FormationMiddleware, middleware=[request_id(), log("shop")], message_middleware=[loud])
    return shop


def make_stock() -> FastAPI:
    stock = FastAPI()

    @stock.get("/left")
    async def left() -> int:
        return 3

    stock.add_middleware(FormationMiddleware, middleware=[request_id(), log("stock")])
    return stock


@client
class Shop:
    middleware = [request_id(), log("client")]
    response_as = json_response

    def item(self, number):
        return self.request.get("/items/{number}", path={"number": number})

    def report(self):
        return self.request.get("/report", response_as=None)


@asynccontextmanager
async def serve(app: Any) -> AsyncIterator[int]:
    """Run an ASGI app on this machine."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical"))
    task = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110  uvicorn has no event for it
        await asyncio.sleep(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await task


async def main() -> None:
    async with (
        asyncio.timeout(SECONDS),
        serve(make_stock()) as stock_port,
        build(base_uri=f"http://127.0.0.1:{stock_port}", response_as=json_response, middleware=[request_id()]) as stock,
        serve(make_shop(stock)) as port,
        Shop(base_uri=f"http://127.0.0.1:{port}") as shop,
    ):
        print("An item, with an id that the client made:")
        print(" ", (await shop.item(7)).body)
        print("An item, with an id of the caller's own:")
        print(" ", (await shop.request.get("/items/8", headers={"X-Request-ID": "order-7-of-ann"})).body)
        print("A page that streams:")
        print(" ", (await shop.report()).response.text.split("\n"))
        print("A WebSocket:")
        async with connect(f"ws://127.0.0.1:{port}/talk") as socket:
            await socket.send("hello")
            print(" ", await socket.recv())


if __name__ == "__main__":
    asyncio.run(main())
