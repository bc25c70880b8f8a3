"""An ASGI app in an event loop of this process: its startup, its shutdown, and the calls that are under way."""

from __future__ import annotations

import asyncio
from contextvars import Context
from typing import TYPE_CHECKING, Any, Literal

from formation.client import in_process_exchange
from formation.client.in_process_exchange import wait_out
from formation.errors import ConnectError

if TYPE_CHECKING:
    from formation.client.in_process_exchange import App, Exchange, Message

Lifespan = Literal["auto", "on", "off"]


class Server:
    """The app in one event loop: its lifespan, and the calls that are under way."""

    def __init__(self, app: App, mode: Lifespan, *, raises: bool) -> None:
        self.exchanges: set[Exchange] = set()
        self._app = app
        self._mode = mode
        self._raises = raises
        self._life: Life | None = None

    async def start(self) -> dict[str, Any]:
        """Start the app up, unless somebody has, many may wait for it; return its state."""
        if self._mode == "off":
            return {}
        life = self._life = self._life or Life(self._app)
        await life.said.wait()
        if life.says("startup.complete") or (life.message is None and self._mode == "auto"):
            return life.state
        if self._life is life:
            self._life = None  # the next call tries again
        raise self._error(await life.end(), life, "the app did not start")

    async def stop(self) -> None:
        """End all calls, then shut the app down."""
        life, self._life = self._life, None
        try:
            for exchange in list(self.exchanges):
                await exchange.finish()
            if life is not None:
                await self._shut_down(life)
        finally:  # who closes may be cancelled
            for exchange in self.exchanges:
                exchange.cancel()
            if life is not None:
                life.cancel()

    async def _shut_down(self, life: Life) -> None:
        await life.said.wait()
        started = life.says("startup.complete")
        if started:
            await life.shut_down()
        error = await life.end()
        if life.says("shutdown.failed") or (error is not None and started):
            raise self._error(error, life, "the app did not shut down")

    def _error(self, error: BaseException | None, life: Life, what: str) -> BaseException:
        said = (life.message or {}).get("message") or error or "it ended too early"
        if self._raises:
            return error or RuntimeError(f"{what}: {said}")
        made = ConnectError(f"{what}: {said}")
        made.__cause__ = error
        return made


class Life:
    """One lifespan of the app: from startup to shutdown."""

    def __init__(self, app: App) -> None:
        self.state: dict[str, Any] = {}
        self.message: Message | None = None
        self.said = asyncio.Event()  # the app has said how its startup, or its shutdown, went; or it has ended
        self._stopping = asyncio.Event()
        self._told = False
        self._error: Exception | None = None
        # In a context of its own: what the first caller has set is for its call, and the app lives longer.
        self._task = asyncio.get_running_loop().create_task(self._run(app), context=Context())

    def says(self, what: str) -> bool:
        """Tell whether that is the last that the app has said."""
        return self.message is not None and self.message["type"] == f"lifespan.{what}"

    async def shut_down(self) -> None:
        """Tell the app to shut down, and wait until it has."""
        self._stopping.set()
        if not self._task.done():
            self.said.clear()
            await self.said.wait()

    async def end(self) -> BaseException | None:
        """Wait for the app to return, not for ever; return what it has raised."""
        await wait_out(self._task, in_process_exchange.GRACE)
        return self._error

    def cancel(self) -> None:
        """Cancel the app."""
        self._task.cancel()

    async def _run(self, app: App) -> None:
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state}
        try:
            await app(scope, self._receive, self._send)
        except Exception as error:  # noqa: BLE001  it is raised where somebody waits for it
            self._error = error
        finally:
            self.said.set()

    async def _receive(self) -> Message:
        if not self._told:
            self._told = True
            return {"type": "lifespan.startup"}
        await self._stopping.wait()
        return {"type": "lifespan.shutdown"}

    async def _send(self, message: Message) -> None:
        if not message["type"].startswith("lifespan."):  # the app takes this for a request, so it has no lifespan
            raise RuntimeError(f"the app sent {message['type']!r} in its lifespan")
        self.message = message
        self.said.set()
