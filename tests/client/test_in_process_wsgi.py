"""WSGI apps called in process: the rules of PEP 3333, and what a client gets of them."""

import asyncio
import gzip
import io
import logging
import sys
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any
from wsgiref.validate import validator

import flask
import pytest

from formation import wrap
from formation.errors import BodyConsumed, BodyTooLarge, DeadlineExceeded, ProtocolError
from formation.for_aiohttp import build as abuild
from formation.for_requests import Client, build, json_response
from formation.for_wsgi import endpoint
from formation.http import Body, Request, Response
from formation.keys import DEADLINE, NATIVE, REQ_HTTP, RES_HTTP


def call(app: Any, method: str = "GET", url: str = "http://app/", **options: Any) -> Response:
    how = {name: options.pop(name) for name in ("raise_app_exceptions", "script_name") if name in options}
    ctx = wrap(endpoint(app, **how))({REQ_HTTP: Request(method, url, **options)})
    response: Response = ctx[RES_HTTP]
    return response


def stream(app: Any, method: str = "GET", **options: Any) -> Response:
    return call(app, method, extensions={"stream": True}, **options)


def seen(method: str = "GET", url: str = "http://app/", **options: Any) -> dict[str, Any]:
    """The environ that an app gets."""
    found: dict[str, Any] = {}

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        found.update(environ)
        found["read"] = environ["wsgi.input"].read()
        start_response("200 OK", [])
        return []

    call(app, method, url, **options)
    return found


class Chunks:
    """What an app returns, which tells how it was treated."""

    def __init__(self, *chunks: Any) -> None:
        self.chunks, self.pulled, self.closed = chunks, 0, 0

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self.chunks:
            self.pulled += 1
            if isinstance(chunk, Exception):
                raise chunk
            yield chunk

    def close(self) -> None:
        self.closed += 1


def answering(result: Any, status: str = "200 OK", headers: Any = ()) -> Callable[..., Any]:
    def app(environ: dict[str, Any], start_response: Any) -> Any:
        start_response(status, list(headers))
        return result

    return app


def fail() -> None:
    raise LookupError("mine")


# --- the environ ---


def test_the_url_becomes_the_environ() -> None:
    environ = seen("GET", "http://user:pw@host.example:8080/a%2Fb/%C3%BC?q=1&r=%20#top")
    assert environ["REQUEST_METHOD"] == "GET"
    assert environ["SCRIPT_NAME"] == ""
    assert environ["PATH_INFO"] == "/a/b/\xc3\xbc"
    assert environ["REQUEST_URI"] == "/a%2Fb/%C3%BC?q=1&r=%20"
    assert environ["QUERY_STRING"] == "q=1&r=%20"
    assert environ["SERVER_NAME"] == "host.example"
    assert environ["SERVER_PORT"] == "8080"
    assert environ["HTTP_HOST"] == "host.example:8080"
    assert environ["wsgi.url_scheme"] == "http"
    assert environ["REMOTE_ADDR"] == "127.0.0.1"


def test_the_port_is_that_of_the_scheme_and_an_empty_path_is_the_root() -> None:
    environ = seen(url="https://host")
    assert environ["SERVER_PORT"] == "443"
    assert environ["PATH_INFO"] == "/"
    assert environ["HTTP_HOST"] == "host"


def test_params_are_part_of_the_query() -> None:
    assert seen(params={"q": ["a b", "c"]})["QUERY_STRING"] in {"q=a+b&q=c", "q=a%20b&q=c"}


def test_headers_become_variables_and_lines_of_a_name_are_joined() -> None:
    headers = [("X-One", "1"), ("x-one", "2"), ("Cookie", "a=1"), ("Cookie", "b=2"), ("Content-Type", "text/plain")]
    environ = seen("POST", headers=headers, content=b"hello")
    assert environ["HTTP_X_ONE"] == "1, 2"
    assert environ["HTTP_COOKIE"] == "a=1; b=2"
    assert environ["CONTENT_TYPE"] == "text/plain"
    assert environ["CONTENT_LENGTH"] == "5"
    assert environ["read"] == b"hello"
    assert not {"HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH"} & environ.keys()


def test_a_header_that_the_request_has_is_not_overridden() -> None:
    environ = seen(headers={"Host": "other", "User-Agent": "mine"})
    assert environ["HTTP_HOST"] == "other"
    assert environ["HTTP_USER_AGENT"] == "mine"
    assert seen()["HTTP_USER_AGENT"].startswith("formation/")


def test_the_environ_is_a_dict_of_true_strings() -> None:
    environ = seen(headers={"X-A": "1"})
    assert all(type(key) is str for key in environ)
    assert all(type(value) is str for key, value in environ.items() if "." not in key and key != "read")
    assert environ["wsgi.errors"] is sys.stderr


def test_an_app_that_is_mounted_sees_where() -> None:
    environ = seen(url="http://h/api/users", script_name="/api")
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("/api", "/users")
    environ = seen(url="http://h/api", script_name="/api")
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("/api", "")


@pytest.mark.parametrize("path", ["/", "/apis", "/v2/api"])
def test_a_path_that_is_not_below_the_mount_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match=r"not below script_name '/api'"):
        call(answering([]), url=f"http://h{path}", script_name="/api")


@pytest.mark.parametrize("name", ["api", "/", "/api/", None])
def test_a_mount_that_is_no_path_is_refused(name: Any) -> None:
    with pytest.raises(ValueError, match=r"expected script_name as '' or a path"):
        endpoint(answering([]), script_name=name)


def test_what_is_no_wsgi_app_is_refused() -> None:
    async def asgi(scope: Any, receive: Any, send: Any) -> None: ...

    with pytest.raises(TypeError, match="expected a WSGI app"):
        endpoint(42)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"for_asgi\.endpoint"):
        endpoint(asgi)  # type: ignore[arg-type]


def test_middleware_finds_the_environ_as_the_native_object_and_the_remote_address_can_be_said() -> None:
    ctx = endpoint(answering([]), remote_addr="10.0.0.1")({REQ_HTTP: Request("GET", "http://h/")})
    assert ctx[NATIVE]["environ"]["REMOTE_ADDR"] == "10.0.0.1"


# --- the request's body ---


def lines(read: Callable[[Any], Any], content: Any) -> Any:
    found = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        found.append(read(environ["wsgi.input"]))
        start_response("200 OK", [])
        return []

    call(app, "POST", content=content)
    return found[0]


BODIES = [b"one\ntwo\nthree", lambda: iter([b"on", b"e\ntw", b"o\n", b"three"])]


@pytest.mark.parametrize("content", BODIES, ids=["bytes", "stream"])
@pytest.mark.parametrize(
    ("read", "expected"),
    [
        (lambda file: file.read(), b"one\ntwo\nthree"),
        (lambda file: file.read(5), b"one\nt"),
        (lambda file: [file.read(4), file.read(400), file.read(1)], [b"one\n", b"two\nthree", b""]),
        (lambda file: [file.readline(), file.readline(2), file.readline()], [b"one\n", b"tw", b"o\n"]),
        (list, [b"one\n", b"two\n", b"three"]),
        (lambda file: file.readlines(), [b"one\n", b"two\n", b"three"]),
    ],
    ids=["all", "some", "pieces", "lines", "iteration", "readlines"],
)
def test_the_input_can_be_read_in_every_way_a_file_can(content: Any, read: Any, expected: Any) -> None:
    assert lines(read, content) == expected


def test_a_body_of_unknown_length_says_so_and_ends_where_it_ends() -> None:
    environ = seen("POST", content=iter([b"a", b"b"]))
    assert "CONTENT_LENGTH" not in environ
    assert environ["HTTP_TRANSFER_ENCODING"] == "chunked"
    assert environ["wsgi.input_terminated"] is True
    assert environ["read"] == b"ab"


def test_a_request_without_a_body_has_no_length_but_a_post_has() -> None:
    assert "CONTENT_LENGTH" not in seen()
    assert seen("POST")["CONTENT_LENGTH"] == "0"


def test_a_streamed_upload_is_pulled_as_the_app_reads_it() -> None:
    made: list[int] = []

    def upload() -> Iterator[bytes]:
        for number in range(3):
            made.append(number)
            yield b"12345"

    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"%d" % len(made)
        while environ["wsgi.input"].read(5):
            yield b"%d" % len(made)

    response = stream(app, "POST", content=upload())
    assert list(response.body) == [b"0", b"1", b"2", b"3"]


def test_what_the_app_does_not_read_is_let_go_and_the_hooks_are_told() -> None:
    told: list[Any] = []
    request = Request("POST", "http://h/", content=iter([b"a"]))
    request.body.on_close(lambda count, error: told.append((count, error)))
    endpoint(answering([]))({REQ_HTTP: request})
    assert [(count, type(error).__name__) for count, error in told] == [(0, "BodyAbandoned")]


def test_an_error_of_the_upload_is_raised_in_the_caller_whatever_the_app_makes_of_it() -> None:
    def upload() -> Iterator[bytes]:
        yield b"a"
        raise LookupError("no more")

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        try:
            environ["wsgi.input"].read()
        except LookupError as error:
            raise RuntimeError("the app's own words") from error
        raise AssertionError

    with pytest.raises(LookupError, match="no more"):
        call(app, "POST", content=upload(), raise_app_exceptions=False)


def test_an_error_of_the_upload_in_the_middle_of_the_response_is_the_callers_too() -> None:
    def upload() -> Iterator[bytes]:
        yield b"a"
        raise LookupError("no more")

    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield environ["wsgi.input"].read(1)
        yield environ["wsgi.input"].read(1)

    response = stream(app, "POST", content=upload(), raise_app_exceptions=False)
    with pytest.raises(LookupError, match="no more"):
        list(response.body)


def test_an_async_upload_is_refused() -> None:
    async def upload() -> Any:
        yield b""

    with pytest.raises(TypeError, match="can only be sent by an async client"):
        call(answering([]), "POST", content=upload())


# --- the head of the response ---


def test_the_head_arrives_as_it_was_given() -> None:
    headers = [("Set-Cookie", "a=1"), ("X-One", "1"), ("Set-Cookie", "b=2")]
    response = call(answering([b"x"], "418 Short and stout", headers))
    assert (response.status_code, response.reason) == (418, "Short and stout")
    assert response.headers.getlist("set-cookie") == ["a=1", "b=2"]
    assert [name for name, _ in response.headers.items()] == ["Set-Cookie", "X-One", "Set-Cookie"]
    assert response.url == "http://app/"
    assert response.elapsed is not None


def test_an_app_may_start_late() -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        yield b""
        start_response("201 Created", [])
        yield b"late"

    response = call(app)
    assert (response.status_code, response.content) == (201, b"late")


def test_an_app_may_start_late_and_yield_nothing() -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("204 No Content", [])
        yield from ()

    assert call(app).status_code == 204


def test_an_app_may_be_a_class() -> None:
    class App:
        def __init__(self, environ: dict[str, Any], start_response: Any) -> None:
            start_response("200 OK", [])

        def __iter__(self) -> Iterator[bytes]:
            yield b"an instance"

    assert call(App).content == b"an instance"


def test_until_the_first_bytes_the_head_can_be_replaced() -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [("X-Old", "1")])
        yield b""
        try:
            fail()
        except LookupError:
            start_response("404 Not Found", [("X-New", "1")], sys.exc_info())
        yield b"nothing"

    response = call(app)
    assert (response.status_code, list(response.headers), response.content) == (404, ["X-New"], b"nothing")


@pytest.mark.parametrize("how", ["yield", "write"])
def test_after_the_first_bytes_it_cannot_and_the_error_is_raised_in_the_app(how: str) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        write = start_response("200 OK", [])
        if how == "write":
            write(b"some")
        else:
            yield b"some"
        try:
            fail()
        except LookupError:
            start_response("404 Not Found", [], sys.exc_info())

    with pytest.raises(LookupError, match="mine"):
        call(app)


def test_starting_twice_is_an_error_of_the_app() -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        start_response("404 Not Found", [])
        return []

    with pytest.raises(RuntimeError, match="called already"):
        call(app)


@pytest.mark.parametrize(
    ("app", "error", "match"),
    [
        (lambda environ, start_response: [b"x"], RuntimeError, "before it called start_response"),
        (lambda environ, start_response: [], RuntimeError, "has not called start_response"),
        (answering(None), TypeError, "not iterable"),
        (answering(["text"]), TypeError, "expected bytes from the app"),
        (answering([], "OK"), ValueError, "expected a status such as '200 OK'"),
        (answering([], headers=[("X", "a\r\nb")]), ValueError, "CR, LF or NUL"),
    ],
    ids=["no start", "no start, no body", "no iterable", "text", "no status", "header"],
)
def test_an_app_that_breaks_the_rules_is_told_so(app: Any, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        call(app)
    assert call(app, raise_app_exceptions=False).status_code == 500


# --- the body of the response ---


def test_the_body_is_pulled_as_it_is_read_and_closed_once() -> None:
    chunks = Chunks(b"", b"a", b"", b"b", b"c")
    response = stream(answering(chunks))
    assert chunks.pulled == 2
    pieces = iter(response.body)
    assert next(pieces) == b"a"
    assert chunks.pulled == 2
    assert next(pieces) == b"b"
    assert chunks.pulled == 4
    assert list(pieces) == [b"c"]
    assert chunks.closed == 1
    response.close()
    assert chunks.closed == 1


def test_a_body_that_is_closed_early_is_pulled_no_further() -> None:
    chunks = Chunks(b"a", b"b", b"c")
    response = stream(answering(chunks))
    response.close()
    assert (chunks.pulled, chunks.closed) == (1, 1)


def test_a_whole_body_is_closed_once() -> None:
    chunks = Chunks(b"a", b"b")
    assert call(answering(chunks)).content == b"ab"
    assert chunks.closed == 1


def test_what_is_written_comes_first() -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        write = start_response("200 OK", [])
        write(b"1")
        write(b"")
        write(b"2")
        return [b"3"]

    assert list(stream(app).body) == [b"1", b"2", b"3"]


def test_what_is_written_while_it_yields_comes_before_what_it_yields() -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        write = start_response("200 OK", [])
        yield b"1"
        write(b"2")
        yield b"3"
        write(b"4")

    assert call(app).content == b"1234"


@pytest.mark.parametrize(
    ("method", "status"), [("HEAD", "200 OK"), ("GET", "204 No Content"), ("GET", "304 Not Modified")]
)
@pytest.mark.parametrize("how", [call, stream])
def test_what_has_no_body_keeps_its_headers_and_its_iterable_is_closed(how: Any, method: str, status: str) -> None:
    chunks = Chunks(b"abc", b"def")
    response = how(answering(chunks, status, [("Content-Length", "6")]), method)
    assert (response.content, response.headers["Content-Length"]) == (b"", "6")
    assert chunks.closed == 1
    assert chunks.pulled == 1


@pytest.mark.parametrize("length", ["2", "4"])
def test_a_content_length_that_is_not_met_is_an_error(length: str) -> None:
    with pytest.raises(ProtocolError, match=rf"announced {length} bytes"):
        call(answering([b"ab", b"c"], headers=[("Content-Length", length)]))


def test_a_content_length_of_more_digits_than_python_reads_is_none() -> None:
    assert call(answering([b"abc"], headers=[("Content-Length", "9" * 5000)])).content == b"abc"


def test_a_body_over_the_limit_is_given_up() -> None:
    chunks = Chunks(*[b"x" * 10] * 10)
    with pytest.raises(BodyTooLarge):
        call(answering(chunks), extensions={"max_body": 25})
    assert (chunks.pulled, chunks.closed) == (3, 1)


def test_a_body_that_announces_more_than_the_limit_is_not_read() -> None:
    chunks = Chunks(b"x" * 100)
    with pytest.raises(BodyTooLarge):
        call(answering(chunks, headers=[("Content-Length", "100")]), extensions={"max_body": 25})
    assert chunks.closed == 1


def test_a_content_encoding_of_the_standard_library_is_undone() -> None:
    packed = gzip.compress(b"hello " * 100)
    headers = [("Content-Encoding", "gzip"), ("Content-Length", str(len(packed)))]
    response = call(answering([packed[:20], packed[20:]], headers=headers))
    assert response.content == b"hello " * 100
    with pytest.raises(ProtocolError, match="not what Content-Encoding says"):
        call(answering([b"no gzip"], headers=[("Content-Encoding", "gzip")]))


def test_a_body_can_be_had_once() -> None:
    response = stream(answering([b"a"]))
    list(response.body)
    with pytest.raises(BodyConsumed):
        list(response.body)


# --- errors ---


def test_an_error_of_the_app_comes_out_as_it_is() -> None:
    error = LookupError("mine")

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        raise error

    with pytest.raises(LookupError) as caught:
        call(app)
    assert caught.value is error


def test_an_error_before_the_first_bytes_closes_the_iterable() -> None:
    chunks = Chunks(LookupError("mine"))
    with pytest.raises(LookupError, match="mine"):
        call(answering(chunks))
    assert chunks.closed == 1


def test_an_error_in_the_middle_comes_out_of_the_body_as_it_is() -> None:
    chunks = Chunks(b"a", LookupError("mine"))
    response = stream(answering(chunks))
    with pytest.raises(LookupError, match="mine"):
        list(response.body)
    assert chunks.closed == 1


def test_an_error_can_be_a_500(caplog: pytest.LogCaptureFixture) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        raise LookupError("mine")

    with caplog.at_level(logging.ERROR, "formation"):
        response = call(app, raise_app_exceptions=False)
    assert (response.status_code, response.content) == (500, b"Internal Server Error")
    assert response.headers["Content-Length"] == "21"
    assert "mine" in caplog.text
    assert call(app, "HEAD", raise_app_exceptions=False).content == b""


def test_an_error_in_the_middle_can_be_a_response_that_breaks_off(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ProtocolError, match="in the middle"), caplog.at_level(logging.ERROR, "formation"):
        call(answering(Chunks(b"a", LookupError("mine"))), raise_app_exceptions=False)
    assert "mine" in caplog.text


def test_an_exit_is_never_a_500() -> None:
    chunks = Chunks()

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        call(app, raise_app_exceptions=False)
    assert chunks.closed == 0


def test_a_deadline_that_has_passed_is_not_waited_for() -> None:
    with pytest.raises(DeadlineExceeded):
        endpoint(answering([]))({REQ_HTTP: Request("GET", "http://h/"), DEADLINE: 0.0})


def test_context_variables_are_the_callers() -> None:
    variable: ContextVar[str] = ContextVar("variable")
    variable.set("outside")

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        was, _ = variable.get(), variable.set("inside")
        return [was.encode()]

    assert call(app).content == b"outside"
    assert variable.get() == "inside"


# --- the real things ---


@pytest.mark.parametrize("content", [None, b"hello", iter([b"hel", b"lo"])], ids=["nothing", "bytes", "stream"])
@pytest.mark.parametrize("method", ["GET", "POST", "HEAD"])
def test_the_validator_of_the_standard_library_finds_nothing_wrong(method: str, content: Any) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        read = environ["wsgi.input"].read(100)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return iter([b"got ", read])

    response = call(validator(app), method, content=content, headers={"X-Y": "1", "Content-Type": "text/plain"})
    assert response.content in {b"got ", b"got hello", b""}


def site() -> flask.Flask:
    app = flask.Flask("site")
    app.secret_key = "s"

    @app.get("/users/<int:number>")
    def user(number: int) -> Any:
        return {"id": number, "agent": flask.request.headers["User-Agent"][:9]}

    @app.post("/upload")
    def upload() -> Any:
        file = flask.request.files["file"]
        return {"name": file.filename, "size": len(file.read()), "note": flask.request.form["note"]}

    @app.post("/raw")
    def raw() -> Any:
        return {"size": len(flask.request.get_data())}

    @app.get("/old")
    def old() -> Any:
        return flask.redirect("/users/7")

    @app.get("/stream")
    def ticks() -> Any:
        return flask.Response((b"%d\n" % n for n in range(3)), mimetype="text/plain")

    @app.get("/fails")
    def fails() -> Any:
        raise LookupError("mine")

    @app.get("/visits")
    def visits() -> Any:
        flask.session["n"] = flask.session.get("n", 0) + 1
        return {"n": flask.session["n"]}

    return app


class Site(Client):
    base_uri = "http://site.example"
    response_as = json_response
    endpoint = endpoint(site())

    def user(self, number: int) -> Any:
        return self.request.get("/users/{number}", path={"number": number})


def test_a_flask_app_is_tested_through_its_client_class() -> None:
    with Site() as client:
        assert client.user(7).body == {"id": 7, "agent": "formation"}
        assert client.request.get("/users/x").status_code == 404
        assert client.request.get("/old").body["id"] == 7


def test_a_flask_app_takes_forms_files_and_streams() -> None:
    sent = Site().request.post("/upload", data={"note": "n"}, files={"file": ("a.txt", io.BytesIO(b"12345"))})
    assert sent.body == {"name": "a.txt", "size": 5, "note": "n"}
    assert Site().request.post("/raw", content=(b"x" * 1000 for _ in range(100))).body == {"size": 100_000}


def test_a_flask_app_streams() -> None:
    with Site().request.get("/stream", stream=True) as result:
        assert list(result.body) == [b"0\n", b"1\n", b"2\n"]


def test_a_flask_app_keeps_its_session_where_the_client_keeps_cookies() -> None:
    from http.cookiejar import CookieJar

    client = Site(cookies=CookieJar())
    assert [client.request.get("/visits").body["n"] for _ in range(3)] == [1, 2, 3]


def test_a_flask_app_answers_its_own_errors_and_propagates_them_when_told_to() -> None:
    app = site()
    assert build(base_uri="http://h", endpoint=endpoint(app)).get("/fails").status_code == 500
    app.testing = True
    with pytest.raises(LookupError, match="mine"):
        build(base_uri="http://h", endpoint=endpoint(app)).get("/fails")


def test_an_async_client_may_call_a_wsgi_app_too() -> None:
    async def main() -> Any:
        async with abuild(base_uri="http://h", endpoint=endpoint(site()), response_as=json_response) as client:
            return (await client.get("/users/7")).body["id"]

    assert asyncio.run(main()) == 7


def test_middleware_around_the_app_maps_its_body_as_it_streams() -> None:
    def shout(ctx: Any, call: Any) -> Any:
        ctx = call(ctx)
        ctx[RES_HTTP].body.map(bytes.upper)
        return ctx

    chunks = Chunks(b"a", b"b")
    client = build(base_uri="http://h", middleware=[shout], endpoint=endpoint(answering(chunks)))
    with client.get("/", stream=True) as result:
        assert isinstance(result.body, Body)
        assert list(result.body) == [b"A", b"B"]
    assert chunks.closed == 1
