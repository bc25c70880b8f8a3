"""Whether the client has gone, while an answer goes out that no app sends.

An app listens for that itself, or hears of it by an error of its send. Not every server raises there: uvicorn drops
what is sent to a client that has gone, without a word, and an endless body would go on for ever. So a task listens,
from the second chunk on, for most bodies have one. On asyncio: trio has no tasks without a nursery.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from formation.errors import ClientGone

if TYPE_CHECKING:
    from formation.server.asgi.bodies import Upload
    from formation.server.asgi.messages import Scope


class Leaving:
    """Listens for the client to go, as soon as there is nothing of its request left that somebody may want to read."""

    __slots__ = ("_is_second", "_scope", "_task", "_upload")

    def __init__(self, upload: Upload, scope: Scope) -> None:
        self._upload = upload
        self._scope = scope
        self._is_second = False
        self._task: Any = None

    def check(self) -> None:
        """Do what there is to do before a chunk.

        Raises:
            ClientGone: it has gone.
        """
        if self._upload.gone:
            raise ClientGone("the client has gone in the middle of its answer")
        if self._task is None and self._is_second and (self._upload.ended or self._has_no_body()):
            asyncio = sys.modules.get("asyncio.events")  # who runs a loop of it has loaded it
            if asyncio is not None and (loop := asyncio._get_running_loop()) is not None:  # noqa: SLF001
                self._task = loop.create_task(self._listen())
        self._is_second = True

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
