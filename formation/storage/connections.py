"""Clients of redis-py, as `formation.storage.redis` wants them, and the end of connections that may be dead."""

from __future__ import annotations

from contextlib import suppress
from queue import Empty
from typing import Any, Final

PROTOCOL: Final = 2
"""Of Redis. With 3 redis-py 8 no longer sees whether a connection that lay idle was closed, so each of these would be a
failure of its own after a restart; and a Redis 5 does not know it."""

MOST: Final = 50
"""At once, of a process or an event loop; more calls wait for one. As in redis-py's pools that wait."""


def library() -> Any:
    """Return redis-py.

    Raises:
        ImportError: it is not installed.
    """
    try:
        import redis.asyncio
    except ImportError as error:
        raise ImportError("Redis needs redis-py: pip install 'formation[redis]'", name="redis") from error
    return redis


def blocking(url: str, timeout: float) -> Any:
    """Make a client for threads. Each step of a command has the timeout: a wait for a connection, writing, reading."""
    redis = library()
    return redis.Redis(
        connection_pool=redis.BlockingConnectionPool.from_url(
            url,
            protocol=PROTOCOL,
            timeout=timeout,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            max_connections=MOST,
            retry=redis.retry.Retry(redis.backoff.NoBackoff(), 0),
        )
    )


def of_loop(url: str, timeout: float) -> Any:
    """Make a client for the tasks of an event loop.

    No timeout for reading, for one is around the whole; that for connecting is also one for closing. And not redis-py's
    pool that waits: who is cancelled while he gives a connection back to that one loses its place.
    """
    redis = library()
    pool = redis.asyncio.ConnectionPool.from_url(
        url,
        protocol=PROTOCOL,
        socket_timeout=None,
        socket_connect_timeout=timeout,
        retry=redis.asyncio.retry.Retry(redis.backoff.NoBackoff(), 0),
    )
    return redis.asyncio.Redis(connection_pool=pool)


def close_idle(client: Any) -> None:
    """Close what lies idle in a pool. `disconnect` of redis-py would close one that a thread has just taken."""
    pool, idle = client.connection_pool.pool, []
    try:
        with suppress(Empty):
            while True:
                idle.append(pool.get_nowait())
        for connection in idle:
            if connection is not None:  # the place of one
                connection.disconnect()
    finally:
        for connection in reversed(idle):
            pool.put_nowait(connection)


async def close_idle_of_loop(client: Any) -> None:
    """Do the same for a client of an event loop."""
    idle = client.connection_pool._available_connections  # noqa: SLF001  what is public closes those in use
    while idle:  # one that is taken out is nobody else's meanwhile
        await idle.pop().disconnect(nowait=True)


def place_of(client: Any) -> str:
    """Say where it leads, without who may log in there."""
    pool = getattr(client, "connection_pool", None)
    if pool is None:
        return type(client).__name__
    place = pool.connection_kwargs
    where = place.get("path") or f"{place.get('host', 'localhost')}:{place.get('port', 6379)}"
    return f"{where}/{place.get('db') or 0}"
