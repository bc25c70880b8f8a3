"""Whether the client has gone, while an answer goes out that no app sends.

An app listens for that itself, or hears of it by an error of its send. Not every server raises there: uvicorn drops
what is sent to a client that has gone, without a word, and an endless body would go on for ever. So a task listens,
from the second chunk on, for most bodies have one. On asyncio: trio has no tasks without a nursery.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from types import coroutine
from typing import TYPE_CHECKING, Any, Final

from formation.errors import ClientGone

if TYPE_CHECKING:
    from collections.abc import Generator

    from formation.server.asgi.bodies import Upload
    from formation.server.asgi.messages import Scope


TURN: Final = 16
"""Chunks after which others run: of 64 KiB each, a MiB."""


class Leaving:
    """Listens for the client to go, as soon as there is nothing of its request left that somebody may want to read."""

    __slots__ = ("_count", "_scope", "_task", "_upload")

    def __init__(self, upload: Upload, scope: Scope) -> None:
        self._upload = upload
        self._scope = scope
        self._count = 0  # of chunks
        self._task: Any = None

    async def check(self) -> None:
        """Do what there is to do before a chunk.

        Now and then that is to let others run: a server may take, and drop, chunk after chunk without ever waiting, and
        then nobody would hear of the client's leave, nor would any other request go on.

        Raises:
            ClientGone: it has gone.
        """
        if self._upload.gone:
            raise ClientGone("the client has gone in the middle of its answer")
        self._count += 1
        if self._task is None and self._count > 1 and (self._upload.ended or self._has_no_body()):
            loop = _loop()
            if loop is not None:
                self._task = loop.create_task(self._listen())
        if self._count % TURN == 0 and _loop() is not None:
            await _pass()

    def close(self) -> None:
        """Listen no more."""
        if self._task is not None:
            self._task.cancel()
            self._task = None  # or it and the error that cancels it hold each other

    def _has_no_body(self) -> bool:
        if self._upload.begun or not self._scope.get("http_version", "").startswith("1"):
            return False  # HTTP/2 need not announce one
        return not any(name in {b"content-length", b"transfer-encoding"} for name, _ in self._scope["headers"])

    async def _listen(self) -> None:
        with suppress(Exception):  # the server's: then it is not known
            for _ in range(2):  # what there is of the request, which is its end, and the client's leave
                await self._upload.next()
                if not self._upload.ended:
                    return


def _loop() -> Any:
    asyncio = sys.modules.get("asyncio.events")  # who runs a loop of it has loaded it
    return None if asyncio is None else asyncio._get_running_loop()  # noqa: SLF001


@coroutine
def _pass() -> Generator[None, None, None]:
    """Let the loop go round once, as ``asyncio.sleep(0)`` does."""
    yield
