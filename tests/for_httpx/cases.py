"""What the cases of httpx have in common."""

from time import monotonic

import httpx
import httpx2
import pytest

from formation import req, res
from formation.keys import DEADLINE

LIBRARIES = pytest.mark.parametrize("library", [httpx2, httpx], ids=["httpx2", "httpx"])


def tag(ctx, call):
    """Change a request and its response."""
    req(ctx).headers["X-Tag"] = "there"
    ctx = call(ctx)
    res(ctx).headers["X-Back"] = "here"
    return ctx


def within(seconds):
    def within(ctx, call):
        ctx[DEADLINE] = monotonic() + seconds
        return call(ctx)

    return within


def failing(error):
    def fail(ctx, call):
        raise error

    return fail
