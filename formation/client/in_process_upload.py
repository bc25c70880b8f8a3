"""The body of a request on its way to an ASGI app in the same process: pulled when the app asks for it."""

from __future__ import annotations

import asyncio
from contextvars import copy_context
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from formation.http import Body


class Upload:
    """The body, part by part. ``is_done``: its end has been pulled."""

    def __init__(self, body: Body) -> None:
        self.is_done = False
        self._body = body
        self._chunks: Iterator[bytes] | AsyncIterator[bytes] | None = None
        self._pulling: asyncio.Task[bytes] | None = None
        self._context = copy_context()  # it is the caller's code

    async def pull(self) -> bytes | None:
        """Return the next part, ``b""`` at the end, or ``None`` if there was none to be had.

        Raises whatever the body raises.
        """
        if self._body.is_bytes:
            self.is_done = True
            return b"".join(self._body)
        if self._body.is_async:
            chunk = await self._pull_async()
        else:
            await asyncio.sleep(0)  # a large upload leaves the others their turn
            if self._chunks is None:
                self._chunks = iter(self._body)
            chunk = next(self._chunks, b"")  # type: ignore[arg-type]
        if chunk is not None:
            self.is_done = not chunk
        return chunk

    async def _pull_async(self) -> bytes | None:
        loop = asyncio.get_running_loop()
        pulling = self._pulling = self._pulling or loop.create_task(self._next(), context=self._context)
        await asyncio.wait({pulling})  # who is cancelled here does not cancel the client's stream
        if self._pulling is not pulling or pulling.cancelled():
            return None
        self._pulling = None
        return pulling.result()

    async def _next(self) -> bytes:
        if self._chunks is None:
            self._chunks = aiter(self._body)
        return await anext(self._chunks, b"")  # type: ignore[arg-type]

    def cancel(self) -> None:
        """Cancel what is being pulled: the client is gone."""
        if self._pulling is not None:
            self._pulling.cancel()

    async def close(self) -> None:
        """Let go of the body, once the app has returned."""
        if self._pulling is not None:
            self._pulling.cancel()
            await asyncio.wait({self._pulling})
        if not self._body.is_bytes:
            await self._body.aclose()
