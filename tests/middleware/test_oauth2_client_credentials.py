import asyncio
import json
import threading
from base64 import b64decode
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from time import monotonic
from urllib.parse import parse_qs, unquote_plus

import pytest
from structlog.testing import capture_logs

from formation import compose, reply, wrap
from formation.errors import ConnectError, DeadlineExceeded, OAuth2Error
from formation.for_aiohttp import build as build_async
from formation.for_requests import build
from formation.http import Request, Response
from formation.middleware import oauth2_client_credentials, raise_for_status, request_logger, retry
from tests.middleware.worlds import every_lift, every_world
from tests.servers import refused

URL = "https://login.example/token"


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


class Issuer:
    """A token endpoint and an API that takes its last token only: a client's endpoint, as far as they can tell.

    ``answers``: what the token endpoint says instead, one after another; the last one for ever.
    """

    def __init__(self, *answers, **more):
        self.answers = list(answers)
        self.more = more
        self.asked = []
        self.got = []
        self.issued = 0
        self.takes = lambda token: token == f"t{self.issued}"

    def __call__(self, ctx):
        request = ctx["fmtn.req.http"]
        if request.url == URL:
            self.asked.append(ctx)
            return self.token(ctx)
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        self.got.append((token, request.content))
        return reply(ctx, 200 if self.takes(token) else 401)

    def token(self, ctx):
        if self.answers:
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            if isinstance(answer, Exception):
                raise answer
            status, said = answer
            return reply(ctx, status, body=said if isinstance(said, bytes) else json.dumps(said))
        self.issued += 1
        said = {"access_token": f"t{self.issued}", "token_type": "Bearer", "expires_in": 3600, **self.more}
        return reply(ctx, 200, body=json.dumps(said))


def called(issuer, **request):
    request = Request(**{"method": "GET", "url": "https://api.example/", **request})
    return {"fmtn.req.http": request, "fmtn.state": {"endpoint": issuer}, "fmtn.sensitive": set()}


@every_world
def test_fetches_a_token_once_and_sends_it_with_each_call(world):
    issuer = Issuer()
    middleware = oauth2_client_credentials(URL, "id", "s3cret")
    for _ in range(3):
        out = world(middleware, called(issuer), issuer)
        assert out["fmtn.res.http"].status_code == 200
        assert out["fmtn.sensitive"] == {"authorization"}
    assert [token for token, _ in issuer.got] == ["t1"] * 3
    assert len(issuer.asked) == 1


@every_world
def test_a_refused_token_is_replaced_and_the_call_made_once_more(world):
    issuer = Issuer()
    middleware = oauth2_client_credentials(URL, "id", "s3cret")
    world(middleware, called(issuer), issuer)
    issuer.issued = 5  # revoked
    out = world(middleware, called(issuer, method="POST", content=b"body"), issuer)
    assert out["fmtn.res.http"].status_code == 200
    assert issuer.got[1:] == [("t1", b"body"), ("t6", b"body")]
    assert len(issuer.asked) == 2


@every_world
def test_it_is_tried_once_and_the_second_refusal_is_the_answer(world):
    issuer = Issuer()
    issuer.takes = lambda token: False
    out = world(oauth2_client_credentials(URL, "id", "s3cret"), called(issuer), issuer)
    assert out["fmtn.res.http"].status_code == 401
    assert [token for token, _ in issuer.got] == ["t1", "t2"]
    assert len(issuer.asked) == 2


@every_world
def test_the_second_attempt_is_told_nothing_by_the_first(world):
    issuer, seen = Issuer(), []

    def inner(ctx, call):
        seen.append((dict(ctx["fmtn.state"]).get("mark"), ctx["fmtn.req.http"].headers.get("X-Mark")))
        ctx["fmtn.state"]["mark"] = ctx["fmtn.req.http"].headers["X-Mark"] = str(len(seen))
        return call(ctx)

    middleware = oauth2_client_credentials(URL, "id", "s3cret")
    world(compose(middleware, inner), called(issuer), issuer)
    issuer.issued = 5
    out = world(compose(middleware, inner), called(issuer), issuer)
    assert seen == [(None, None)] * 3
    assert out["fmtn.state"]["mark"] == "3"


@every_world
def test_a_body_that_cannot_be_sent_again_is_not_and_the_next_call_has_a_new_token(world):
    issuer = Issuer()
    middleware = oauth2_client_credentials(URL, "id", "s3cret")
    world(middleware, called(issuer), issuer)
    issuer.issued = 5
    out = world(middleware, called(issuer, method="POST", content=iter([b"once"])), issuer)
    assert out["fmtn.res.http"].status_code == 401
    out = world(middleware, called(issuer, method="POST", content=iter([b"once"])), issuer)
    assert out["fmtn.res.http"].status_code == 200
    assert issuer.got[1:] == [("t1", b"once"), ("t6", b"once")]


@every_world
@pytest.mark.parametrize(
    "own",
    [{"headers": {"authorization": "Basic own"}}, {"auth": ("ann", "pw")}, {"extensions": {"away": True}}],
    ids=["a header", "auth", "another origin"],
)
def test_a_call_with_its_own_or_to_another_origin_is_left_alone(world, own):
    issuer = Issuer()
    out = world(oauth2_client_credentials(URL, "id", "s3cret"), called(issuer, **own), issuer)
    assert out["fmtn.res.http"].status_code == 401
    assert len(issuer.got) == 1
    assert not issuer.asked


@every_world
def test_a_refusal_by_another_origin_is_none_of_the_token(world):
    issuer = Issuer()

    def redirected(ctx):
        ctx["fmtn.res.http"] = Response(401, url="https://cdn.example/")
        return ctx

    out = world(oauth2_client_credentials(URL, "id", "s3cret"), called(issuer), redirected)
    assert out["fmtn.res.http"].status_code == 401
    assert len(issuer.asked) == 1


@every_world
def test_around_a_function_nothing_happens(world):
    assert world(oauth2_client_credentials(URL, "id", "s3cret"), {}, lambda ctx: ctx) == {}


@every_lift
def test_a_lifted_function_is_called(lifted):
    assert lifted([oauth2_client_credentials(URL, "id", "s3cret")], len, "four")[0] == 4


@every_world
def test_an_error_passes_with_the_context_as_it_was(world):
    error, issuer = ValueError("no"), Issuer()
    ctx = called(issuer)

    def endpoint(ctx):
        ctx["fmtn.state"]["seen"] = True
        raise error

    assert world(oauth2_client_credentials(URL, "id", "s3cret"), ctx, endpoint) is error
    assert ctx["fmtn.state"]["seen"]


@every_world
def test_without_a_client_around_there_is_nothing_to_ask(world):
    ctx = {"fmtn.req.http": Request("GET", "https://h/")}
    error = world(oauth2_client_credentials(URL, "id", "s3cret"), ctx, lambda ctx: ctx)
    assert isinstance(error, LookupError)
    assert "works in the clients of formation.for_" in str(error)


# The token request


def asked_for(**settings):
    issuer = Issuer()
    settings = {"client_id": "id", "client_secret": "s3cret", **settings}
    chain = wrap(issuer, [oauth2_client_credentials(URL, **settings)])
    chain({**called(issuer), "fmtn.deadline": monotonic() + 9, "mine": 1})
    [ctx] = issuer.asked
    request = ctx["fmtn.req.http"]
    return ctx, request, {name: values[0] for name, values in parse_qs(request.text).items()}


def test_the_token_request_is_that_of_the_rfc():
    ctx, request, fields = asked_for(scope="read write", params={"audience": "https://api.example"})
    assert (request.method, request.url) == ("POST", URL)
    assert request.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert request.headers["Accept"] == "application/json"
    assert fields == {
        "grant_type": "client_credentials",
        "scope": "read write",
        "audience": "https://api.example",
    }
    assert b64decode(request.headers["Authorization"].removeprefix("Basic ")) == b"id:s3cret"
    assert "mine" not in ctx
    assert ctx["fmtn.deadline"] > 0
    assert (ctx["fmtn.side"], ctx["fmtn.kind"], ctx["fmtn.template"]) == ("client", "http", "/token")


def test_id_and_secret_are_form_encoded_first():
    _, request, _ = asked_for(client_id="a:b c", client_secret=" %&+£€")  # the example of RFC 6749, appendix B
    pair = b64decode(request.headers["Authorization"].removeprefix("Basic ")).decode()
    assert pair == "a%3Ab+c:+%25%26%2B%C2%A3%E2%82%AC"
    assert [unquote_plus(part) for part in pair.split(":")] == ["a:b c", " %&+£€"]


def test_id_and_secret_may_be_sent_as_fields():
    _, request, fields = asked_for(auth_in_body=True)
    assert "Authorization" not in request.headers
    assert fields == {"grant_type": "client_credentials", "client_id": "id", "client_secret": "s3cret"}


def test_what_the_caller_does_to_params_later_does_nothing():
    params = {"audience": "a"}
    issuer = Issuer()
    chain = wrap(issuer, [oauth2_client_credentials(URL, "id", "s3cret", params=params)])
    params["audience"] = "b"
    chain(called(issuer))
    assert b"audience=a" in issuer.asked[0]["fmtn.req.http"].content


# How long a token is used


@pytest.mark.parametrize(
    ("expires_in", "seconds"),
    [
        (3600, 3590),
        (3600.5, 3590.5),
        ("3600", 3590),
        (10, 5),
        (1, 0.5),
        (0, 300),
        (-1, 300),
        (None, 300),
        (True, 300),
        ("soon", 300),
        ([60], 300),
        (float("nan"), 300),
        (10**400, 300),
    ],
    ids=lambda value: repr(value)[:9],
)
def test_a_token_is_used_until_shortly_before_its_end(expires_in, seconds):
    clock, issuer = Clock(), Issuer(expires_in=expires_in)
    chain = wrap(issuer, [oauth2_client_credentials(URL, "id", "s3cret", clock=clock)])
    chain(called(issuer))
    clock.now += seconds - 0.01
    chain(called(issuer))
    assert len(issuer.asked) == 1
    clock.now += 0.02
    chain(called(issuer))
    assert len(issuer.asked) == 2
    assert [token for token, _ in issuer.got] == ["t1", "t1", "t2"]


# What goes wrong


@every_world
@pytest.mark.parametrize(
    ("status", "said", "error", "text"),
    [
        (400, {"error": "invalid_scope"}, "invalid_scope", "answered 400, invalid_scope"),
        (
            401,
            {"error": "invalid_client", "error_description": "unknown"},
            "invalid_client",
            "answered 401, invalid_client unknown",
        ),
        (400, {"error": "unauthorized_client", "access_token": "t"}, "unauthorized_client", "unauthorized_client"),
        (200, {"error": "incorrect_client_credentials"}, "incorrect_client_credentials", "answered 200"),
        (503, b"<h1>down</h1>", "", "answered 503, without an error code"),
        (302, b"", "", "answered 302"),
        (200, b"not JSON", "", "answered 200"),
        (200, [1], "", "answered 200"),
        (200, {}, "", "answered 200"),
        (200, {"access_token": None}, "", "a str"),
        (200, {"access_token": ""}, "", "empty"),
        (200, {"access_token": "s3cret\r\nX-Evil: 1"}, "", "visible ASCII"),
        (200, {"access_token": "t", "token_type": "mac"}, "", "a token of type 'mac'"),
    ],
)
def test_a_token_endpoint_that_gives_none_is_an_error_that_says_why(world, status, said, error, text):
    issuer = Issuer((status, said))
    raised = world(oauth2_client_credentials(URL, "id", "s3cret"), called(issuer), issuer)
    assert isinstance(raised, OAuth2Error)
    assert (raised.status_code, raised.error) == (status, error)
    assert text in str(raised)
    assert "s3cret" not in str(raised)
    assert raised.request.url == URL
    assert raised.response.status_code == status
    assert raised.__notes__[0] == f"asking {URL} for an access token"
    assert not issuer.got


@pytest.mark.parametrize("kind", ["bearer", "BEARER", "Bearer"])
def test_the_type_of_a_token_has_any_case(kind):
    issuer = Issuer(token_type=kind)
    assert wrap(issuer, [oauth2_client_credentials(URL, "id", "s3cret")])(called(issuer))["fmtn.res.http"].ok


@every_world
def test_a_failure_is_not_kept(world):
    issuer = Issuer((503, b""), (200, {"access_token": "t0"}))
    middleware = oauth2_client_credentials(URL, "id", "s3cret")
    assert isinstance(world(middleware, called(issuer), issuer), OAuth2Error)
    assert world(middleware, called(issuer), issuer)["fmtn.res.http"].status_code == 200


@every_world
def test_a_refresh_that_fails_is_the_error_of_the_call(world):
    issuer = Issuer((200, {"access_token": "old"}), (400, {"error": "invalid_client"}))
    error = world(oauth2_client_credentials(URL, "id", "s3cret"), called(issuer), issuer)
    assert isinstance(error, OAuth2Error)
    assert [token for token, _ in issuer.got] == ["old"]


@pytest.mark.parametrize(
    ("url", "error"),
    [
        (None, TypeError),
        ("/token", ValueError),
        ("ftp://login.example/", ValueError),
        ("https://id:s3cret@login.example/token", ValueError),
        ("https://login.example/token#x", ValueError),
    ],
)
def test_refuses_a_token_url_that_is_none(url, error):
    with pytest.raises(error, match="token_url") as caught:
        oauth2_client_credentials(url, "id", "s3cret")
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("client_id", "client_secret", "error"),
    [(None, "s3cret", TypeError), ("id", None, TypeError), ("id", "s3cret\n", ValueError), ("id\n", "s", ValueError)],
)
def test_refuses_id_and_secret_that_are_none_and_does_not_say_them(client_id, client_secret, error):
    with pytest.raises(error) as caught:
        oauth2_client_credentials(URL, client_id, client_secret)
    assert "s3cret" not in str(caught.value)


# In clients, with real servers


class Live:
    """A token endpoint and an API on a server of the tests, which count."""

    def __init__(self, delay=0.0):
        self.lock = threading.Lock()
        self.tokens = self.refused = self.served = self.at_once = self.most = 0
        self.valid = None
        self.asked = threading.Event()
        self.delay = delay
        self.fails = []

    def token(self, connection, seen):
        with self.lock:
            self.tokens += 1
            self.at_once += 1
            self.most = max(self.most, self.at_once)
            fails = self.fails.pop(0) if self.fails else None
            name = f"token{self.tokens}"
        self.asked.set()
        if self.delay:
            connection.wait(self.delay)
        with self.lock:
            self.at_once -= 1
        if fails:
            connection.answer_json(seen, fails, 400)
            return
        with self.lock:
            self.valid = name
        connection.answer_json(seen, {"access_token": name, "token_type": "bearer", "expires_in": 3600})

    def api(self, connection, seen):
        good = seen.header("Authorization") == f"Bearer {self.valid}"
        with self.lock:
            self.served += good
            self.refused += not good
        connection.answer(seen, 200 if good else 401, seen.body)


@contextmanager
def live(server, **kwargs):
    made = Live(**kwargs)
    with server.route("token", made.token) as url, server.route("api", made.api):
        made.middleware = oauth2_client_credentials(url, "id", "s3cret")
        yield made


def by_threads(count, call):
    start = threading.Barrier(count)

    def caller():
        start.wait(10)
        return call()

    with ThreadPoolExecutor(count) as pool:
        return [each.result(20) for each in [pool.submit(caller) for _ in range(count)]]


def test_fifty_threads_at_once_make_one_token_request_and_one_refresh(server):
    with live(server, delay=0.05) as issuer, build(base_uri=server.url, middleware=[issuer.middleware]) as api:
        results = by_threads(50, lambda: api.get("/api"))
        assert {result.status_code for result in results} == {200}
        assert (issuer.tokens, issuer.refused, issuer.served) == (1, 0, 50)
        issuer.valid = "revoked"
        results = by_threads(50, lambda: api.get("/api"))
        assert {result.status_code for result in results} == {200}
        assert (issuer.tokens, issuer.served) == (2, 100)


def test_two_hundred_tasks_at_once_make_one_token_request_and_one_refresh(server):
    with live(server, delay=0.05) as issuer:

        async def main():
            async with build_async(base_uri=server.url, middleware=[issuer.middleware]) as api:
                results = await asyncio.gather(*(api.get("/api") for _ in range(200)))
                assert {result.status_code for result in results} == {200}
                assert (issuer.tokens, issuer.refused, issuer.served) == (1, 0, 200)
                issuer.valid = "revoked"
                results = await asyncio.gather(*(api.post("/api", content=b"again") for _ in range(200)))
                assert {(result.status_code, result.body) for result in results} == {(200, b"again")}

        asyncio.run(main())
        assert (issuer.tokens, issuer.served) == (2, 400)


def test_threads_and_tasks_share_one_token(server):
    with live(server, delay=0.05) as issuer, build(base_uri=server.url, auth=issuer.middleware) as api:

        async def main():
            async with build_async(base_uri=server.url, auth=issuer.middleware) as own:
                return [result.status_code for result in await asyncio.gather(*(own.get("/api") for _ in range(20)))]

        numbers = iter(range(20))
        got = by_threads(20, lambda: [api.get("/api").status_code] if next(numbers) % 2 else asyncio.run(main()))
        assert {status for statuses in got for status in statuses} == {200}
        assert issuer.tokens == 1


def test_the_loop_goes_on_while_a_token_is_fetched(server):
    with live(server, delay=0.3) as issuer:

        async def main():
            ticks = 0
            async with build_async(base_uri=server.url, middleware=[issuer.middleware]) as api:
                calls = [asyncio.create_task(api.get("/api")) for _ in range(3)]
                while not all(call.done() for call in calls):
                    ticks += 1
                    await asyncio.sleep(0.01)
            return ticks

        assert asyncio.run(main()) >= 5


def test_who_fetches_and_is_cancelled_makes_room_for_the_next(server):
    with live(server, delay=0.2) as issuer:

        async def main():
            async with build_async(base_uri=server.url, middleware=[issuer.middleware]) as api:
                first = asyncio.create_task(api.get("/api"))
                await asyncio.to_thread(issuer.asked.wait, 10)
                rest = [asyncio.create_task(api.get("/api")) for _ in range(5)]
                await asyncio.sleep(0.05)
                first.cancel()
                got = await asyncio.gather(first, *rest, return_exceptions=True)
                assert isinstance(got[0], asyncio.CancelledError)
                return {result.status_code for result in got[1:]}

        assert asyncio.run(main()) == {200}
        assert issuer.tokens == 2


def test_who_fails_to_fetch_has_the_error_and_the_next_one_tries(server):
    with live(server, delay=0.02) as issuer, build(base_uri=server.url, middleware=[issuer.middleware]) as api:
        issuer.fails = [{"error": "slow_down"}, {"error": "slow_down"}]

        def call():
            try:
                return api.get("/api").status_code
            except OAuth2Error as error:
                return error.error

        got = by_threads(10, call)
        assert sorted(map(str, got)) == ["200"] * 8 + ["slow_down"] * 2
        assert (issuer.tokens, issuer.most) == (3, 1)


def test_a_call_waits_for_a_token_until_its_deadline(server):
    def within(ctx, call):
        ctx["fmtn.deadline"] = monotonic() + 0.1
        return call(ctx)

    with live(server, delay=1.0) as issuer, build(base_uri=server.url, middleware=[issuer.middleware]) as api:
        hurried = api.extend(middleware=[within, issuer.middleware])
        with ThreadPoolExecutor(1) as pool:
            patient = pool.submit(api.get, "/api")
            issuer.asked.wait(10)
            with pytest.raises(DeadlineExceeded):
                hurried.get("/api")
            assert not patient.done()
            assert patient.result(20).status_code == 200
        assert issuer.tokens == 1


@pytest.mark.parametrize("how", ["middleware", "auth"])
def test_nothing_of_it_leaves_home(server, other_server, how):
    with live(server) as issuer, other_server.watch() as seen:
        made = issuer.middleware if how == "auth" else [issuer.middleware]
        with build(base_uri=server.url, **{how: made}) as api:
            api.get(f"{other_server.url}/status/401", absolute=True)
            assert issuer.tokens == 0
            api.get(f"/redirect/307?to={other_server.url}/status/401")
            assert issuer.tokens == 1
    assert [request.header("Authorization") for request in seen.requests] == [None, None]


def test_an_authorization_of_the_call_wins(server):
    with live(server) as issuer, build(base_uri=server.url, middleware=[issuer.middleware]) as api:
        assert json.loads(api.get("/echo", headers={"Authorization": "own"}).body)["headers"]["authorization"] == "own"
        assert api.get("/api", headers={"Authorization": "own"}).status_code == 401
        assert api.get("/basic-auth/ann/pw", auth=("ann", "pw")).status_code == 200
        assert issuer.tokens == 0


def test_the_token_request_goes_past_the_middleware_and_logs_print_no_secret(server):
    layers = [request_logger(), raise_for_status(), retry(3, sleep=lambda seconds: None)]
    with (
        capture_logs() as lines,
        live(server) as issuer,
        build(base_uri=server.url, middleware=[*layers, issuer.middleware], per_hop=[request_logger()]) as api,
    ):
        assert api.get("/api").status_code == 200
        issuer.fails = [{"error": "invalid_client"}] * 9
        issuer.valid = "revoked"
        with pytest.raises(OAuth2Error) as caught:
            api.get("/api")
    assert "token1" not in str(lines)
    assert "s3cret" not in str(lines)
    assert not [line for line in lines if "/token" in line.get("url", "")]
    shown = [line["headers"] for line in lines if "Authorization" in line.get("headers", {})]
    assert {headers["Authorization"] for headers in shown} == {"[redacted]"}
    assert caught.value.request.url.endswith("/token")
    assert "s3cret" not in repr(caught.value.request)
    assert any(note.startswith("asking ") for note in caught.value.__notes__)


def test_a_token_endpoint_that_is_down_is_a_connect_error_of_its_own_request(server):
    middleware = oauth2_client_credentials(refused() + "/token", "id", "s3cret")
    with build(base_uri=server.url, middleware=[middleware]) as api, pytest.raises(ConnectError) as caught:
        api.get("/api")
    assert caught.value.never_sent
    assert caught.value.request.url.endswith("/token")


def test_a_stream_and_an_upload_are_authorized_as_well(server):
    with live(server) as issuer, build(base_uri=server.url, middleware=[issuer.middleware]) as api:
        api.get("/api")
        issuer.valid = "revoked"
        with api.post("/api", content=lambda: iter([b"made ", b"again"]), stream=True) as result:
            assert (result.status_code, b"".join(result.body)) == (200, b"made again")
        issuer.valid = "revoked"
        assert api.post("/api", content=iter([b"once"])).status_code == 401
        assert api.post("/api", content=iter([b"once"])).body == b"once"
        assert issuer.tokens == 3


def test_an_async_stream_is_authorized_as_well_and_leaves_no_connection_open(fresh_server):
    async def main():
        async with build_async(base_uri=fresh_server.url, middleware=[issuer.middleware]) as api:
            await api.get("/api")
            issuer.valid = "revoked"
            async with api.post("/api", content=b"body", stream=True) as result:
                assert (result.status_code, await result.response.body.aread()) == (200, b"body")

    with live(fresh_server) as issuer:
        asyncio.run(main())
        assert issuer.tokens == 2
    assert fresh_server.settles()


@pytest.mark.parametrize(("status", "requests"), [(503, 3), (400, 1)])
def test_a_retry_outside_tries_a_token_endpoint_again_that_may_recover(server, status, requests):
    def token(connection, seen):
        connection.answer(seen, status, b"{}")

    with server.route("token", token) as url, server.watch() as seen:
        auth = oauth2_client_credentials(url, "id", "s3cret")
        layers = [retry(3, sleep=lambda seconds: None), auth]
        with build(base_uri=server.url, middleware=layers) as api, pytest.raises(OAuth2Error):
            api.get("/echo")
    assert [request.path for request in seen.requests] == ["/token"] * requests


def test_a_token_is_not_shown():
    issuer = Issuer()
    middleware = oauth2_client_credentials(URL, "id", "s3cret")
    ctx = wrap(issuer, [middleware])(called(issuer))
    tokens = [cell.cell_contents for cell in middleware.__closure__ if type(cell.cell_contents).__name__ == "_Tokens"]
    assert "t1" not in repr(tokens[0]._kept)
    assert "t1" not in repr(ctx["fmtn.req.http"].headers)


@every_world
def test_a_token_that_was_refused_late_does_not_take_the_new_one_away(world):
    issuer = Issuer()
    middleware = oauth2_client_credentials(URL, "id", "s3cret")
    world(middleware, called(issuer), issuer)
    issuer.issued = 5

    def slow(ctx):
        wrap(issuer, [middleware])(called(issuer))  # meanwhile somebody else finds out, and fetches
        return reply(ctx, 401)

    out = middleware(called(issuer, method="POST", content=iter([b"once"])), slow)
    assert out["fmtn.res.http"].status_code == 401
    world(middleware, called(issuer), issuer)
    assert [token for token, _ in issuer.got] == ["t1", "t1", "t6", "t6"]
    assert len(issuer.asked) == 2
