"""Bodies to look at, and what they are made of."""

import asyncio
import gc
from contextlib import contextmanager

import trio

from formation.http import Body


class Ends(list):
    """What on_close hooks were told."""

    def __call__(self, count, error):
        self.append((count, error))

    @property
    def once(self):
        """The one count, and the kind of the one error."""
        [(count, error)] = self
        return count, type(error)


def watched(source, **settings):
    body, ends = Body(source, **settings), Ends()
    body.on_close(ends)
    return body, ends


class Source:
    """A source that counts what it gives and how often it is closed, and fails at the end if it is told to."""

    def __init__(self, *chunks, error=None):
        self.chunks, self.error = chunks or (b"ab", b"cd", b"ef"), error
        self.given = self.closed = 0

    def __iter__(self):
        for chunk in self.chunks:
            self.given += 1
            yield chunk
        if self.error is not None:
            raise self.error

    def close(self):
        self.closed += 1


class AsyncSource:
    """The same, async: it is neither read nor closed without waiting."""

    def __init__(self, *chunks, error=None):
        self.chunks, self.error = chunks or (b"ab", b"cd", b"ef"), error
        self.given = self.closed = self.unwound = 0

    async def __aiter__(self):
        try:
            for chunk in self.chunks:
                self.given += 1
                await turn()
                yield chunk
            if self.error is not None:
                raise self.error
        finally:
            self.unwound += 1

    async def aclose(self):
        await turn()
        self.closed += 1


async def turn():
    """Let the event loop go round once, whichever it is."""
    if trio.lowlevel.in_trio_run():
        await trio.lowlevel.checkpoint()
    else:
        await asyncio.sleep(0)


async def once(*chunks):
    for chunk in chunks:
        await turn()
        yield chunk


@contextmanager
def collected_only_by_count():
    """What dies in here is in no reference cycle."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def fail(*_):
    raise ArithmeticError
