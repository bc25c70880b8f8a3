"""The pump: what sends an answer that is not just the app's passing through, but a middleware's, or a changed one.

It is a second coroutine, which the exchange drives as it drives the chain, for it may wait for what the app sends.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from formation.bridge import await_, run
from formation.http.response import BODILESS
from formation.server.asgi.bodies import BODY, START
from formation.server.asgi.messages import AsgiResponse, encoded

if TYPE_CHECKING:
    from collections.abc import Iterator

    from formation.http.response import Response
    from formation.server.asgi.exchange import Exchange
    from formation.server.asgi.messages import Message


async def pumped(exchange: Exchange, answer: Response) -> None:
    """Send an answer that is not just the app's passing through: its head, and its body as it is pulled."""
    body, is_bodiless = answer.body, exchange.scope["method"] == "HEAD" or answer.status_code in BODILESS
    if answer.status_code in BODILESS:
        answer.headers.popall("Content-Length", None)  # some servers wait for as many bytes
    head = answer.head() if isinstance(answer, AsgiResponse) else _head(answer, is_bodiless=is_bodiless)
    try:
        if body.is_bytes:
            content = body.read()
            await _give(exchange, head)
            await _give(exchange, {"type": BODY, "body": b"" if is_bodiless else content, "more_body": False})
            body.complete(content)
            return
        if is_bodiless:
            await _give(exchange, head)
            await body.aclose()
        elif body.is_async:
            chunks = aiter(body)
            await _give(exchange, head)
            async for chunk in chunks:
                await _give_more(exchange, chunk)
        else:
            pulled = iter(body)
            await _give(exchange, head)
            await run(partial(_pull, exchange), pulled)
        await _give(exchange, {"type": BODY, "body": b"", "more_body": False})
    except GeneratorExit as error:
        body.close(error)
        raise
    except BaseException as error:
        await body.aclose(error)
        raise


def _pull(exchange: Exchange, chunks: Iterator[bytes]) -> Iterator[bytes]:
    for chunk in chunks:
        await_(_give_more(exchange, chunk))
    return chunks


async def _give_more(exchange: Exchange, chunk: bytes) -> None:
    if exchange.leaving is not None:
        await exchange.leaving.check()
    await _give(exchange, {"type": BODY, "body": chunk, "more_body": True})


async def _give(exchange: Exchange, message: Message) -> None:
    try:
        await exchange.send(message)
    except Exception as error:
        exchange.gone = error
        raise


def _head(answer: Response, *, is_bodiless: bool) -> Message:
    headers, has_length = answer.headers, answer.body.is_bytes and answer.status_code not in BODILESS
    if has_length and not (is_bodiless and not answer.body.length) and "Content-Length" not in headers:
        headers["Content-Length"] = str(answer.body.length)
    return {"type": START, "status": answer.status_code, "headers": encoded(headers)}
