"""Redis for middlewares: written once, it blocks in a sync chain and awaits in an async one; a dead one costs little.

Theory of operation
-------------------
A plain middleware asks `Redis.command` or `Redis.run`. In a sync chain redis-py's client answers, which threads may
share. In an async chain its asyncio client does, one for each event loop, and the loop goes on meanwhile.

*What fails costs little.* A call takes ``timeout`` seconds at most, and is made once: who retries waits. After a
failure nobody asks for ``pause`` seconds; everybody gets `StorageUnavailable` at once. Then one call tries, while the
others go on as before. So a dead Redis costs one timeout a pause, not one a call, and it comes back by itself.

*After a timeout the idle connections are closed.* Where a machine has gone without a word, and another has its place,
all of them are dead, and nothing tells: each would cost a timeout and a pause of its own. Those of a client that was
given are its owner's.

*Scripts* are sent by their digest; a Redis that does not know it, for it has been restarted, gets the text.

*A cancelled command* leaves no connection with half an answer: redis-py closes it. So does the timeout in an async
chain, which is one for all of it: the wait for a connection, connecting, writing and reading. In a sync chain each of
these has the timeout.

Clients are made in `connections` and kept in `loops`, keys are named in `names`.
"""

from __future__ import annotations

import hashlib
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from formation.bridge import await_, in_async_chain
from formation.errors import StorageUnavailable
from formation.resilience.checks import positive
from formation.storage import connections
from formation.storage.loops import Loops, Patience
from formation.storage.names import name_of

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

TIMEOUT: Final = 0.5
"""Seconds. Redis answers in less than one thousandth, and in a tenth while it forks for a snapshot. Whoever waits
longer for leave to begin would have been better off without asking."""

PAUSE: Final = 1.0
"""Seconds for which nobody asks after a failure: few, to be back soon after Redis is; more than one timeout."""


class Script:
    """A Lua script for `Redis.run`.

    >>> Script("return 1").sha
    'e0e1f9fabfc9d4800c877a703b823ac0578ff8db'
    """

    __slots__ = ("sha", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


class Redis:
    """A Redis that middlewares of many processes share: ``throttle(10, storage=Redis("redis://cache:6379/0"))``.

    Threads, tasks, event loops and forked processes may share one. Connections are made when they are needed.

    Args:
        url: ``redis://``, ``rediss://`` (TLS) or ``unix://``, as redis-py's ``from_url`` takes it; or a client of
            redis-py, blocking or asyncio. The timeouts and retries of a client are its own.
        async_client: a client of ``redis.asyncio`` for async chains, if the first is a blocking client. An asyncio
            client belongs to one event loop.
        prefix: what all keys begin with.
        timeout: seconds for one command. See `TIMEOUT`.
        pause: seconds without a try after a failure. See `PAUSE`.
        clock: monotonic seconds, the machine's also in a simulation: what is asked is real.

    Raises:
        ImportError: redis-py is not installed.
        TypeError: no URL and no client; or, at a call, there is no client for this kind of chain.
        ValueError: the URL is none; a number that cannot be.

    >>> shared = Redis("redis://:secret@localhost:6379/0")
    >>> shared
    Redis('localhost:6379/0')
    >>> shared.key("throttle", "https://h:8443")
    'formation:throttle|https://h:8443'
    """

    def __init__(
        self,
        url: str | Any = "redis://localhost:6379/0",
        *,
        async_client: Any = None,
        prefix: str = "formation:",
        timeout: float = TIMEOUT,
        pause: float = PAUSE,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._library = connections.library()
        self.prefix = prefix
        self._timeout = positive("timeout", timeout)
        self._pause = positive("pause", pause)
        self._clock = clock
        self._silent_until = 0.0
        self._loops = Loops(connections.MOST, own=isinstance(url, str))
        self._url = url if isinstance(url, str) else None
        self._client: Any = None
        self._async_client = async_client
        if self._url is not None:
            self._client = connections.blocking(self._url, timeout)
        elif isinstance(url, (self._library.asyncio.Redis, self._library.asyncio.RedisCluster)):
            self._async_client = async_client or url
        elif isinstance(url, (self._library.Redis, self._library.RedisCluster)):
            self._client = url
        else:
            raise TypeError(f"expected a URL such as 'redis://localhost:6379/0', or a client of redis-py, got {url!r}")
        self._name = connections.place_of(self._client or self._async_client)

    def key(self, *parts: Hashable) -> str:
        """Return the name for ``parts``: the same in every process, different for different parts, and not long.

        Args:
            parts: text, bytes, numbers, ``None``, or tuples of these.

        Raises:
            TypeError: something else, which may have another name in each process.
        """
        return self.prefix + "|".join(map(name_of, parts))

    def command(self, *args: str | bytes | float) -> Any:
        """Send one command, and return what redis-py makes of the answer, with ``bytes`` for every text.

        Args:
            args: the command's name and its arguments. A key is one that `key` has made.

        Raises:
            StorageUnavailable: no answer, not in time, or an error.
        """
        return self._ask(args, None)

    def run(self, script: Script, keys: Iterable[str | bytes] = (), args: Iterable[str | bytes | float] = ()) -> Any:
        """Run a script, and return its result, with ``bytes`` for every text.

        Args:
            script: the script.
            keys: its ``KEYS``, which `key` has made; where Redis is a cluster, all in one slot.
            args: its ``ARGV``.

        Raises:
            StorageUnavailable: no answer, not in time, or an error.
        """
        keys = tuple(keys)
        return self._ask(("EVALSHA", script.sha, len(keys), *keys, *args), script)

    def close(self) -> None:
        """Close the connections of sync chains; those of a client that was given are its owner's."""
        if self._url is not None and self._client is not None:
            self._client.connection_pool.disconnect()

    async def aclose(self) -> None:
        """Close the connections, also those of the running event loop."""
        self.close()
        await self._loops.aclose()

    def __repr__(self) -> str:
        return f"Redis({self._name!r})"

    def _ask(self, args: tuple[Any, ...], script: Script | None) -> Any:
        if silent_until := self._silent_until:
            now = self._clock()
            if now < silent_until:
                raise StorageUnavailable(self._name, "it was not a moment ago", retry_after=silent_until - now)
            self._silent_until = now + self._pause  # this call tries, the others need not wait for it
        try:
            answer = await_(self._awaited(args, script)) if in_async_chain() else self._blocking(args, script)
        except self._library.exceptions.DataError as error:  # it never left
            raise TypeError(f"expected text, bytes and numbers, got {args!r}") from error
        except self._library.exceptions.ResponseError as error:  # it is there, and says no
            self._silent_until = 0.0
            raise StorageUnavailable(self._name, str(error)) from error
        except (self._library.exceptions.RedisError, self._library.exceptions.RedisClusterException, OSError) as error:
            self._silent_until = self._clock() + self._pause
            said = str(error) or f"no answer in {self._timeout:g} s"
            raise StorageUnavailable(self._name, said, retry_after=self._pause) from error
        self._silent_until = 0.0
        return answer

    def _blocking(self, args: tuple[Any, ...], script: Script | None) -> Any:
        if self._client is None:
            raise TypeError(f"expected a blocking client for a sync chain, got {self._async_client!r}: give a URL")
        try:
            try:
                return self._client.execute_command(*args, NEVER_DECODE=True)
            except self._library.exceptions.NoScriptError:
                if script is None:
                    raise
            return self._client.execute_command("EVAL", script.text, *args[2:], NEVER_DECODE=True)
        except (self._library.exceptions.TimeoutError, TimeoutError):
            if self._url is not None:
                connections.close_idle(self._client)
            raise

    async def _awaited(self, args: tuple[Any, ...], script: Script | None) -> Any:
        client, places = await self._loops.client(self._async_client_for_loop)
        try:
            async with Patience(self._timeout), places:
                try:
                    return await client.execute_command(*args, NEVER_DECODE=True)
                except self._library.exceptions.NoScriptError:
                    if script is None:
                        raise
                return await client.execute_command("EVAL", script.text, *args[2:], NEVER_DECODE=True)
        except (self._library.exceptions.TimeoutError, TimeoutError):
            if self._url is not None:
                await connections.close_idle_of_loop(client)
            raise

    def _async_client_for_loop(self) -> Any:
        if self._url is not None:
            return connections.of_loop(self._url, self._timeout)
        if self._async_client is None:
            raise TypeError(f"expected async_client for an async chain, next to {self._client!r}: or give a URL")
        return self._async_client
