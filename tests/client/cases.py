"""What the cases of the client edges have in common."""

import json
from contextlib import contextmanager
from time import monotonic

from attrs import define

from formation.keys import DEADLINE

SECRETS = {"Authorization": "Bearer s3cret", "Cookie": "sid=s3cret", "Proxy-Authorization": "Basic s3cret"}


def echo(result):
    """What the server saw, by its own account."""
    return json.loads(result.body)


def within(seconds):
    def within(ctx, call):
        ctx[DEADLINE] = monotonic() + seconds
        return call(ctx)

    return within


@contextmanager
def counted(server, make):
    """A sender whose connections and requests are counted."""
    with server.watch() as seen:
        yield make(base_uri=server.url), seen


@define
class User:
    name: str
