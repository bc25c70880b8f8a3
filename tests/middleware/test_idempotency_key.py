import itertools
import logging
from uuid import UUID

import pytest

from formation import compose, reply
from formation.for_requests import build
from formation.http import Request
from formation.middleware import hedge, idempotency_key, retry
from tests.middleware.worlds import app, every_lift, every_world, on_server

SILENT = logging.getLogger("tests.silent")


def request(method="POST", headers=None):
    return {"fmtn.req.http": Request(method, "https://h/orders", headers=headers)}


def ok(ctx):
    return reply(ctx, 200)


def keys():
    numbers = itertools.count(1)
    return lambda: f"key-{next(numbers)}"


def sent(out, name="Idempotency-Key"):
    return out["fmtn.req.http"].headers.get(name)


@every_world
@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_what_is_not_idempotent_by_itself_gets_a_key(world, method):
    first, second = (sent(world(idempotency_key(), request(method), ok)) for _ in range(2))
    assert UUID(first).version == UUID(second).version == 4
    assert first != second


@every_world
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"])
def test_what_is_idempotent_gets_none(world, method):
    assert sent(world(idempotency_key(), request(method), ok)) is None


@every_world
def test_the_callers_own_key_is_kept(world):
    assert sent(world(idempotency_key(), request(headers={"idempotency-key": "mine"}), ok)) == "mine"


@every_world
def test_all_attempts_have_one_key_and_are_made_because_of_it(world):
    seen = []

    def fails_twice(ctx):
        seen.append(sent(ctx))
        return reply(ctx, 503 if len(seen) % 3 else 200)

    stack = compose(idempotency_key(keygen=keys()), retry(base=0, logger=SILENT))
    for _ in range(2):
        assert world(stack, request(), fails_twice)["fmtn.res.http"].status_code == 200
    assert seen == ["key-1"] * 3 + ["key-2"] * 3


@every_world
def test_calls_side_by_side_have_one_key(world):
    keys = []

    def endpoint(ctx):
        keys.append(ctx["fmtn.req.http"].headers["Idempotency-Key"])
        return reply(ctx, 503 if len(keys) == 1 else 200)

    ctx = {"fmtn.req.http": Request("POST", "https://h/orders"), "fmtn.state": {}}
    world(compose(idempotency_key(), hedge(60, budget=None, logger=SILENT)), ctx, endpoint)
    assert len(keys) == 2
    assert len(set(keys)) == 1


@every_world
def test_the_header_and_the_methods_can_be_others(world):
    middleware = idempotency_key("X-Once", keys(), methods=["put", "POST"])
    assert sent(world(middleware, request("PUT"), ok), "X-Once") == "key-1"
    assert sent(world(middleware, request("PATCH"), ok), "X-Once") is None
    assert sent(world(idempotency_key(methods="DELETE", keygen=keys()), request("DELETE"), ok)) == "key-1"


@every_world
@pytest.mark.parametrize(("key", "said"), [("7f3a", '"7f3a"'), ('a"b\\c', '"a\\"b\\\\c"'), (7, '"7"')])
def test_a_key_may_be_quoted(world, key, said):
    assert sent(world(idempotency_key(keygen=lambda: key, quoted=True), request(), ok)) == said


@every_world
@pytest.mark.parametrize("key", ["ü", "a\nb"])
def test_what_cannot_be_quoted_is_an_error(world, key):
    error = world(idempotency_key(keygen=lambda: key, quoted=True), request(), ok)
    assert isinstance(error, ValueError)
    assert "expected a key of printable ASCII characters" in str(error)


@every_world
def test_a_server_gives_no_keys(world):
    assert sent(world(idempotency_key(), on_server("POST"), app(200))) is None


@every_lift
def test_a_function_has_no_header(lifted):
    assert lifted([idempotency_key()], lambda: 42)[0] == 42


@every_world
def test_a_context_that_is_no_dict_will_do(world):
    assert world(idempotency_key(), 42, lambda ctx: ctx) == 42


@pytest.mark.parametrize(
    ("settings", "kind", "said"),
    [
        ({"header": "a b"}, ValueError, "a b"),
        ({"keygen": "uuid4"}, TypeError, "expected keygen as a function that makes a key, got 'uuid4'"),
        ({"methods": ["GE T"]}, ValueError, "GE T"),
    ],
)
def test_what_cannot_be_is_refused(settings, kind, said):
    with pytest.raises(kind, match=said):
        idempotency_key(**settings)


def test_a_flaky_server_gets_one_key_at_each_attempt(server):
    stack = [idempotency_key(), retry(base=0, logger=SILENT)]
    with server.watch() as seen, build(base_uri=server.url, middleware=stack) as api:
        assert api.post("/flaky/order-with-key", json={"item": 7}).status_code == 200
    assert len(seen.requests) == 3
    assert len({each.header("Idempotency-Key") for each in seen.requests}) == 1
