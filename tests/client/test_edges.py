"""What every client edge does on the wire: one suite of cases for all of them, against real servers on loopback."""

import email
import gc
import gzip
import hashlib
import io
import json
import pickle
import threading
import tracemalloc
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from http.cookiejar import CookieJar
from pathlib import Path
from time import monotonic

import pytest
from attrs import define, field
from pydantic import BaseModel
from structlog.testing import capture_logs

from formation import errors
from formation.client.responses import html_response, json_response, raw_response, text_response, xmltodict_response
from formation.exchange import reply
from formation.http import Response
from formation.http.codings import packer_of
from formation.keys import DEADLINE, NATIVE, REQ_HTTP, RES_HTTP, SENSITIVE, SESSION, TEMPLATE
from formation.middleware import (
    accept,
    api_key,
    basic,
    bearer,
    circuit_breaker,
    content_type,
    oauth2_client_credentials,
    raise_for_status,
    request_logger,
    retry,
    ua,
)
from tests.bombs import BOMBS
from tests.client.edges import EDGES
from tests.servers import Full, refused

SECRETS = {"Authorization": "Bearer s3cret", "Cookie": "sid=s3cret", "Proxy-Authorization": "Basic s3cret"}


def echo(result):
    """What the server saw, by its own account."""
    return json.loads(result.body)


def within(seconds):
    def within(ctx, call):
        ctx[DEADLINE] = monotonic() + seconds
        return call(ctx)

    return within


def header(name, value):
    def header(ctx, call):
        ctx[REQ_HTTP].headers[name] = value
        return call(ctx)

    return header


@contextmanager
def counted(server, make):
    """A sender whose connections and requests are counted."""
    with server.watch() as seen:
        yield make(base_uri=server.url), seen


# URL


@pytest.mark.parametrize(
    ("base", "path", "target"),
    [
        ("/v1", "users", "/v1/users"),
        ("/v1/", "users", "/v1/users"),
        ("/v1", "/users", "/v1/users"),
        ("/v1/", "/users", "/v1/users"),
        ("/v1", "", "/v1"),
        ("/v1/", "", "/v1/"),
        ("/v1", "/", "/v1/"),
        ("", "", "/"),
        ("", "users/", "/users/"),
        ("/v1", "a%2Fb", "/v1/a%2Fb"),
        ("/v1", "/x/a:b", "/v1/x/a:b"),
        ("/v1", "?q=1", "/v1?q=1"),
        ("/v1?key=1", "users?q=2", "/v1/users?key=1&q=2"),
        ("/v1?key=1", "users?key=2", "/v1/users?key=2"),
        ("", "/x y", "/x%20y"),
        ("", "/grün", "/gr%C3%BCn"),
        ("", "/x#fragment", "/x"),
    ],
)
def test_a_path_is_appended_to_the_base(make, server, base, path, target):
    with server.watch() as seen:
        make(base_uri=server.url + base).get(path)
    assert seen.requests[0].target == target


def test_parameters_of_query_and_path_go_where_they_belong(http, server):
    with server.watch() as seen:
        http.get(
            "/{owner}/:repo/{+file}?page=1",
            path={"owner": "a/b", "file": "src/é.py"},
            params={":repo": "c d", "page": 2, "tag": ["x", "y&z"], "no": None, "on": True},
        )
    assert seen.requests[0].target == "/a%2Fb/c%20d/src/%C3%A9.py?page=2&tag=x&tag=y%26z&on=true"


@pytest.mark.parametrize(
    "path", ["//evil.example/x", "/a/../b", "..", "/%2e%2e/x", "a\\b", "/x\r\nHost: evil", "https:/x", "/\x00"]
)
def test_a_path_that_would_leave_the_base_is_refused_and_nothing_is_sent(http, server, path):
    with server.watch() as seen, pytest.raises(ValueError, match="expected a path"):
        http.get(path)
    assert not seen.requests


@pytest.mark.parametrize("value", ["..", ".", "", None])
def test_a_path_parameter_that_would_lead_elsewhere_is_refused(http, server, value):
    with server.watch() as seen, pytest.raises(ValueError, match="path parameter 'id'"):
        http.send("DELETE", "/batches/{id}", path={"id": value})
    assert not seen.requests


def test_an_encoded_slash_in_a_path_parameter_stays_one_segment_on_the_wire(http, server):
    with server.watch() as seen:
        http.get("/echo/{id}/end", path={"id": "../../etc/passwd"})
    assert seen.requests[0].target == "/echo/..%2F..%2Fetc%2Fpasswd/end"


def test_an_absolute_url_of_the_same_origin_is_taken_as_it_is(make, server):
    with server.watch() as seen:
        make(base_uri=server.url + "/v1").get(server.url + "/echo/x?q=%20")
    assert seen.requests[0].target == "/echo/x?q=%20"


def test_a_url_of_another_origin_is_refused(http, other_server):
    with other_server.watch() as seen, pytest.raises(errors.ForeignURLError) as caught:
        http.get(other_server.url + "/echo")
    assert caught.value.url == other_server.url + "/echo"
    assert not seen.requests


@pytest.mark.parametrize("how", [{"absolute": True}, {"allow": True}])
def test_what_the_client_says_for_itself_stays_home_when_a_call_goes_elsewhere(make, server, other_server, how):
    secrets = {"auth": ("me", "s3cret"), "cookies": {"sid": "s3cret"}, "headers": {**SECRETS, "X-Plain": "1"}}
    how = dict(how)
    allow = [other_server.url] if how.pop("allow", False) else []
    client = make(base_uri=server.url, allow_origins=allow, **secrets)
    assert "s3cret" in str(echo(client.get("/echo")))

    seen = echo(client.get(other_server.url + "/echo", **how))
    assert "s3cret" not in str(seen)
    assert not {"authorization", "cookie", "proxy-authorization"} & seen["headers"].keys()
    assert seen["headers"]["x-plain"] == "1"


def test_a_url_that_only_starts_like_the_base_is_of_another_origin(make, server):
    port = server.port
    base = f"http://127.0.0.1:{port // 10}"
    client = make(base_uri=base, auth=("me", "s3cret"), cookies={"sid": "s3cret"})
    assert "s3cret" not in str(echo(client.get(f"{server.url}/echo", absolute=True)))


def test_what_a_call_says_itself_goes_elsewhere(http, other_server):
    url = other_server.url + "/echo"
    seen = echo(http.get(url, absolute=True, auth=("me", "pw"), cookies={"a": "1"}, headers={"X-Key": "k"}))
    assert seen["headers"]["authorization"].startswith("Basic ")
    assert seen["headers"]["cookie"] == "a=1"
    assert seen["headers"]["x-key"] == "k"


def test_without_a_base_a_call_names_an_absolute_url(make, server):
    client = make()
    assert echo(client.get(server.url + "/echo/x"))["path"] == "/echo/x"
    with pytest.raises(ValueError, match="absolute URL"):
        client.get("/echo/x")


def test_any_class_with_fields_is_a_query(http, server):
    @define
    class Page:
        number: int = field(metadata={"to": ["page"]})
        size: int | None = None

    @dataclass
    class Query:
        owner: str = dataclass_field(metadata={"to": [":owner"]})
        words: list[str] = dataclass_field(metadata={"to": ["q"]})
        page: Page

    class Named:
        def to_dict(self):
            return {":owner": "bob", "sort": "stars"}

    with server.watch() as seen:
        http.get("/{owner}", params=Query("ann", ["x", "y"], Page(2)))
        http.get("/{owner}", params=Named())
    assert [each.target for each in seen.requests] == ["/ann?q=x&q=y&page=2", "/bob?sort=stars"]


# Headers and method


def test_headers_go_out_and_a_call_outdoes_and_removes_those_of_the_client(make, server):
    client = make(base_uri=server.url, headers={"X-A": "1", "X-B": "2", "User-Agent": "mine"})
    seen = echo(client.get("/echo", headers={"x-a": "3", "X-B": None, "X-C": "grün"}))["headers"]
    assert seen["x-a"] == "3"
    assert "x-b" not in seen
    assert seen["x-c"] == "grün"
    assert seen["user-agent"] == "mine"


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "a\rb", "a\0b"])
def test_a_header_that_would_start_another_one_is_refused_and_nothing_is_sent(http, server, value):
    with server.watch() as seen:
        for how in ({"headers": {"X-A": value}}, {"cookies": {"a": value}}):
            with pytest.raises(ValueError, match=r"CR, LF or NUL|control character"):
                http.get("/echo", **how)
    assert not seen.requests


@pytest.mark.parametrize("name", ["X A", "X:A", "X\r\nY", "", "Grün"])
def test_a_header_name_that_is_none_is_refused(http, name):
    with pytest.raises(ValueError, match="no header name"):
        http.get("/echo", headers={name: "1"})


@pytest.mark.parametrize("cookies", [{"a;b": "1"}, {"a": "1; admin=1"}, {"a=b": "1"}])
def test_a_cookie_that_would_be_another_one_is_refused(http, cookies):
    with pytest.raises(ValueError, match="cookie"):
        http.get("/echo", cookies=cookies)


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "PURGE", "m-search"])
def test_any_method_goes_out_in_upper_case(http, server, method):
    with server.watch() as seen:
        http.send(method, "/echo")
    assert seen.requests[0].method == method.upper()


@pytest.mark.parametrize("method", ["", "GET /x HTTP/1.1\r\nX:", "G T"])
def test_a_method_that_is_none_is_refused(http, method):
    with pytest.raises(ValueError, match="HTTP method"):
        http.send(method, "/echo")


# Settings and calls


def test_the_same_class_body_is_a_client_of_every_edge(edge, server):
    class Api:
        base_uri = server.url
        headers = (("X-A", "1"),)
        middleware = (header("X-M", "class"),)
        response_as = json_response

        def __init__(self, tag):
            assert self.request is not None
            self.tag = tag

        def echo(self, name):
            return self.request.get("/echo/{name}", path={"name": name}, headers={"X-Tag": self.tag})

    declared = edge.client()(Api)

    class Special(declared):
        headers = (("X-A", "2"),)

    for cls, a in ((declared, "1"), (Special, "2")):
        api = cls("blue")
        caller = edge.caller(api.request)
        with caller.entering(api):
            body, status, _ = caller.wait(api.echo("x"))
            assert (status, body["path"]) == (200, "/echo/x")
            assert [body["headers"][name] for name in ("x-a", "x-m", "x-tag")] == [a, "class", "blue"]
            sibling = api.extend(headers={"X-A": "3"})
            assert caller.wait(sibling.echo("y")).body["headers"]["x-a"] == "3"
        with pytest.raises(RuntimeError, match="closed"):
            caller.wait(api.echo("x"))


def test_what_a_call_says_outdoes_the_client_and_its_middleware_is_innermost(make, server):
    ran = []

    def outer(ctx, call):
        ran.append("outer")
        return call(ctx)

    def inner(ctx, call):
        ran.append(ctx[SESSION])
        return call(ctx)

    client = make(
        base_uri=server.url, middleware=[outer], headers={"X-A": "1"}, timeout=0.05, response_as=text_response
    )
    client.get("/echo", middleware=[inner], session_context={"uid": 7})
    client.get("/echo", middleware=[inner], without=["outer"])
    assert ran == ["outer", {"uid": 7}, {}]
    assert client.get("/data?body=x").body == "x"
    assert client.get("/data?body=x", response_as=raw_response).body == b"x"


def test_a_middleware_fills_what_nobody_has_set_and_no_more(make, server):
    client = make(base_uri=server.url, middleware=[accept("text/csv"), ua("mine"), content_type("text/csv")])
    fills = echo(client.post("/echo", content=b"x"))["headers"]
    assert (fills["accept"], fills["user-agent"], fills["content-type"]) == ("text/csv", "mine", "text/csv")
    said = echo(client.post("/echo", headers={"Accept": "a/b", "User-Agent": "call", "Content-Type": "c/d"}))["headers"]
    assert (said["accept"], said["user-agent"], said["content-type"]) == ("a/b", "call", "c/d")


def test_an_argument_that_nobody_knows_is_refused_and_nothing_is_sent(http, make, server):
    with server.watch() as seen:
        with pytest.raises(TypeError, match="unknown argument 'parms'; did you mean 'params'"):
            http.get("/echo", parms={})
        with pytest.raises(TypeError, match=r"takes the path, got {} as well: say what it is"):
            http.sender.get("/echo", {})
        with pytest.raises(TypeError, match="base_url"):
            http.extend(base_url=server.url)
        with pytest.raises(TypeError, match="base_url"):
            make(base_url=server.url)
    assert not seen.requests


# Bodies that are sent


@define
class User:
    name: str


@pytest.mark.parametrize(
    ("how", "body", "content_type"),
    [
        ({"json": {"a": [1, "é"]}}, '{"a":[1,"é"]}'.encode(), "application/json"),
        ({"json": []}, b"[]", "application/json"),
        ({"json": User("ann")}, b'{"name":"ann"}', "application/json"),
        ({"data": {"a": "1 2", "b": ["x", "y"]}}, b"a=1+2&b=x&b=y", "application/x-www-form-urlencoded"),
        ({"data": b"raw"}, b"raw", None),
        ({"content": b"raw"}, b"raw", None),
        ({"content": "grün"}, "grün".encode(), None),
        ({"content": bytearray(b"raw")}, b"raw", None),
        (lambda: {"content": io.BytesIO(b"a file")}, b"a file", None),
        ({"content": lambda: iter([b"made ", b"anew"])}, b"made anew", None),
        (lambda: {"content": (each for each in [b"once ", b"only"])}, b"once only", None),
        ({"content": [b"a ", b"list"]}, b"a list", None),
    ],
)
def test_a_body_goes_out_byte_for_byte(http, server, how, body, content_type):
    with server.watch() as seen:
        http.post("/echo", **(how() if callable(how) else how))  # made anew for each edge
    assert seen.requests[0].body == body
    assert seen.requests[0].header("Content-Type") == content_type


def test_what_has_a_length_says_so_and_the_rest_is_chunked(http, server, tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"x" * 200_000)
    with server.watch() as seen, path.open("rb") as file:
        file.seek(50_000)
        http.post("/echo", content=b"123")
        http.post("/echo", content=file)
        http.post("/echo", content=iter([b"1", b"", b"23"]))
        http.post("/echo", files={"f": ("a", b"123")})
        http.post("/echo", files={"f": ("a", iter([b"123"]))})
    known, file, generated, multipart, stream = seen.requests
    assert (known.framing, known.size) == ("length", 3)
    assert (file.framing, file.size) == ("length", 150_000)
    assert (generated.framing, generated.body) == ("chunked", b"123")  # an empty chunk would have ended it
    assert multipart.framing == "length"
    assert stream.framing == "chunked"
    assert not [each for each in seen.requests if each.header("Content-Length") and each.header("Transfer-Encoding")]


def test_no_body_has_length_zero_where_the_method_wants_one_and_no_length_elsewhere(http, server):
    with server.watch() as seen:
        for method in ("POST", "PUT", "PATCH", "GET", "HEAD", "DELETE"):
            http.send(method, "/echo")
        http.post("/echo", content=b"")
        http.post("/echo", content=io.BytesIO())
    assert [each.header("Content-Length") for each in seen.requests] == ["0", "0", "0", None, None, None, "0", "0"]
    assert not [each for each in seen.requests if each.header("Transfer-Encoding")]


def test_a_multipart_form_is_what_any_parser_reads(http, server):
    files = {
        "doc": ("grün.txt", io.BytesIO(b"hello\r\n--x")),
        "raw": ("b.bin", b"\0\xff", "application/x-raw", {"X-Part": "1"}),
    }
    with server.watch() as seen:
        http.post("/echo", data={"title": "a b", "n": [1, 2]}, files=files)
    request = seen.requests[0]
    message = email.message_from_bytes(
        b"Content-Type: " + request.header("Content-Type").encode() + b"\r\n\r\n" + request.body
    )
    parts = [
        (part.get_param("name", header="content-disposition"), part.get_payload(decode=True))
        for part in message.get_payload()
    ]
    assert parts == [("title", b"a b"), ("n", b"1"), ("n", b"2"), ("doc", b"hello\r\n--x"), ("raw", b"\0\xff")]
    assert message.get_payload()[4]["X-Part"] == "1"
    assert message.get_payload()[4].get_content_type() == "application/x-raw"
    assert b'filename="gr\xc3\xbcn.txt"' in request.body


@pytest.mark.parametrize(
    "files", [{"a\r\nb": b"1"}, {"f": ("a\r\nX: 1", b"1")}, {"f": ("a", b"1", "t\r\nX: 1")}, {"f": ("a\0", b"1")}]
)
def test_a_multipart_name_that_would_forge_a_part_is_refused(http, server, files):
    with server.watch() as seen, pytest.raises(ValueError, match="CR, LF"):
        http.post("/echo", files=files)
    assert not seen.requests


def test_more_than_one_body_is_refused(http):
    with pytest.raises(TypeError, match="one body"):
        http.post("/echo", json={}, content=b"x")


def test_an_async_body_is_refused_by_a_sync_client_and_other_nonsense_by_any(http, server):
    with server.watch() as seen:
        for content in (3, object()):
            with pytest.raises(TypeError, match="expected bytes"):
                http.post("/echo", content=content)
    assert not seen.requests


def test_a_large_upload_is_never_held(http):
    piece, count = bytes(64 * 1024), 320  # 20 MB
    wanted = hashlib.sha256()
    for _ in range(count):
        wanted.update(piece)
    tracemalloc.start()
    try:
        result = http.post("/digest", content=(piece for _ in range(count)))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert echo(result) == {"size": 64 * 1024 * count, "sha256": wanted.hexdigest(), "framing": "chunked"}
    assert peak < 12 * 1024 * 1024  # of which the server keeps 4


def test_an_error_of_the_body_itself_comes_out_and_the_connection_is_not_used_again(edge, make, server):
    class Mine(Exception):
        pass

    def pieces():
        yield b"some"
        raise Mine

    with counted(server, make) as (client, seen):
        client.get("/echo")
        with pytest.raises(Mine) as caught:
            client.post("/echo", content=pieces())
        assert echo(client.get("/echo/after"))["path"] == "/echo/after"
    assert caught.value.request.method == "POST"
    assert [each.path for each in seen.requests] == ["/echo", "/echo/after"]
    assert seen.connections == edge.connections(2)


def test_an_answer_before_the_body_has_been_sent_is_taken_or_is_an_error_of_transport(http):
    try:
        result = http.post("/refuse", content=bytes(3_000_000))
    except errors.TransportError:
        return
    assert result.status_code == 413


# Responses


def test_a_result_unpacks_and_has_all_the_rest_by_name(http, server):
    result = http.get("/echo/{id}", path={"id": 7}, response_as=json_response)
    body, status_code, headers = result
    assert (body["path"], status_code, headers["content-type"]) == ("/echo/7", 200, "application/json")
    assert (result.body, result.status_code, result.headers) == (body, status_code, headers)
    assert result.url == result.request.url == server.url + "/echo/7"
    assert result.request.template == "/echo/{id}"
    assert result.response.reason == "OK"
    assert result.elapsed > 0
    assert result.attempts == []
    assert "200" in repr(result)


@pytest.mark.parametrize("path", ["/status/204", "/status/304", "/data", "/bytes/0", "/chunks/0"])
def test_no_body_is_none(http, path):
    assert http.get(path, response_as=json_response).body is None
    assert http.get(path).body is None


def test_the_answer_to_head_has_headers_and_no_body(http):
    body, status, headers = http.send("HEAD", "/echo")
    assert (body, status) == (None, 200)
    assert int(headers["Content-Length"]) > 0


@pytest.mark.parametrize("path", ["/gzip", "/deflate"])
def test_a_compressed_body_is_unpacked(http, path):
    assert http.get(path, response_as=json_response).body == {path[1:]: True}


@pytest.mark.parametrize("size", [0, 1, 65_536, 65_636, 1_000_000])
def test_a_compressed_body_of_any_size_is_unpacked(http, server, size):
    packed = gzip.compress(bytes(size))

    def answer(connection, seen):
        connection.answer(seen, 200, packed, headers=[("Content-Encoding", "gzip")])

    with server.route("packed", answer):
        assert http.get("/packed").response.content == bytes(size)
        with http.stream("/packed") as result:
            assert sum(map(len, http.chunks(result))) == size


@pytest.mark.parametrize("size", [1, 8, 100])
def test_a_compressed_body_that_is_cut_off_is_an_error_although_its_length_is_met(http, server, size):
    packed = gzip.compress(bytes(range(256)) * 300)[:-size]

    def answer(connection, seen):
        connection.answer(seen, 200, packed, headers=[("Content-Encoding", "gzip")])

    with server.route("packed", answer):
        with pytest.raises(errors.ProtocolError, match="cut off"):
            http.get("/packed")
        with http.stream("/packed") as result, pytest.raises(errors.ProtocolError, match="cut off"):
            for _ in http.chunks(result):
                pass


def test_all_members_of_a_compressed_body_are_unpacked(http, server):
    packed = gzip.compress(b"one ") + gzip.compress(bytes(70_000)) + gzip.compress(b"three")

    def answer(connection, seen):
        connection.answer(seen, 200, packed, headers=[("Content-Encoding", "gzip")])

    with server.route("packed", answer):
        assert http.get("/packed").response.content == b"one " + bytes(70_000) + b"three"


def test_a_setting_that_nobody_knows_is_refused_with_the_nearest(edge):
    with pytest.raises(TypeError, match=r"build\(\) got an unknown argument 'base_url'; did you mean 'base_uri'\?"):
        edge.build(base_url="https://h")


def test_lines_of_one_header_stay_apart(http):
    headers = http.get("/cookies/set?a=1&b=2").headers
    assert [line.partition(";")[0] for line in headers.getlist("set-cookie")] == ["a=1", "b=2"]


def test_nothing_is_raised_for_a_status(http):
    for status in (400, 404, 418, 500, 503, 599):
        body, code, _ = http.get(f"/status/{status}")
        assert (body, code) == (b"Status %d" % status, status)


def test_an_error_status_is_no_decode_error(http):
    json_error = http.get('/status/422?type=application/problem%2Bjson&body={"a":1}', response_as=json_response)
    assert json_error.body == {"a": 1}
    assert http.get("/status/502?body=<html>", response_as=User).body == "<html>"
    assert http.get("/status/500?type=application/json&body={", response_as=json_response).body == "{"


def test_a_success_that_does_not_decode_says_what_came(http):
    with pytest.raises(errors.DecodeError) as caught:
        http.get("/data?type=text/html&body=" + "x" * 300, response_as=json_response)
    error = caught.value
    assert (error.status_code, error.content_type, error.head) == (200, "text/html", b"x" * 200)
    assert error.response.content == b"x" * 300
    assert error.request.path == "/data"


def test_a_structure_that_does_not_fit_names_the_field(http):
    with pytest.raises(errors.DecodeError, match="name") as caught:
        http.get('/data?type=application/json&body=[{"name":"a"},{"nome":"b"}]', response_as=list[User])
    assert any("body[1]" in problem for problem in caught.value.problems)


@dataclass
class Person:
    name: str


class Model(BaseModel):
    name: str


@pytest.mark.parametrize(
    ("response_as", "query", "body"),
    [
        (json_response, 'type=application/json&body={"name":"ann"}', {"name": "ann"}),
        (text_response, "body=gr%C3%BCn", "grün"),
        (raw_response, 'type=application/json&body={"name":"ann"}', b'{"name":"ann"}'),
        (xmltodict_response, "type=text/xml&body=<a><b>1</b></a>", {"a": {"b": "1"}}),
        (lambda ctx: html_response(ctx).xpath("//b/text()"), "type=text/html&body=<b>1</b>", ["1"]),
        (lambda ctx: len(ctx[RES_HTTP].content), "body=four", 4),
        (User, 'type=application/json&body={"name":"ann"}', User("ann")),
        (Person, 'type=application/json&body={"name":"ann"}', Person("ann")),
        (Model, 'type=application/json&body={"name":"ann"}', Model(name="ann")),
        (list[User], 'type=application/json&body=[{"name":"ann"}]', [User("ann")]),
        (dict[str, int], 'type=application/json&body={"a":1}', {"a": 1}),
        (None, 'type=application/json&body={"name":"ann"}', b'{"name":"ann"}'),
    ],
)
def test_a_body_becomes_what_the_class_the_client_or_the_call_says(edge, make, server, response_as, query, body):  # noqa: PLR0917
    class Api:
        base_uri = server.url

    Api.response_as = staticmethod(response_as) if callable(response_as) else response_as
    api = edge.client()(Api)()
    caller = edge.caller(api.request)
    with caller.entering(api):
        results = [caller.get(f"/data?{query}")]
    results.append(make(base_uri=server.url, response_as=response_as).get(f"/data?{query}"))
    results.append(make(base_uri=server.url, response_as=text_response).get(f"/data?{query}", response_as=response_as))
    assert [result.body for result in results] == [body] * 3


def test_raise_for_status_raises_where_a_call_does_not_say_what_it_expects(make, server):
    client = make(base_uri=server.url, middleware=[raise_for_status()])
    assert client.get("/status/204").status_code == 204
    with pytest.raises(errors.StatusError, match="404") as caught:
        client.get("/status/{code}", path={"code": 404})
    assert (caught.value.response.text, caught.value.request.template) == ("Status 404", "/status/{code}")


def test_expect_raises_for_any_other_status_and_the_error_has_the_answer(http):
    assert http.get("/status/404", expect=(200, 404)).status_code == 404
    assert http.get("/status/204", expect=204).status_code == 204
    with pytest.raises(errors.StatusError, match=r"expected 200, got 404 from GET /status/\{code}") as caught:
        http.get("/status/{code}", path={"code": 404}, expect=200)
    assert caught.value.response.text == "Status 404"
    assert caught.value.request.template == "/status/{code}"


@pytest.mark.parametrize("status", [102, 103, 199])
@pytest.mark.parametrize("count", [1, 3])
def test_informational_responses_are_skipped(http, status, count):
    result = http.get(f"/early-hints?count={count}&status={status}")
    assert result.status_code == 200
    assert echo(result)["path"] == "/early-hints"
    assert "Link" not in result.headers
    assert echo(http.get("/echo/next"))["path"] == "/echo/next"


def test_informational_responses_without_end_are_an_error(http):
    with pytest.raises(errors.ProtocolError):
        http.get("/early-hints?count=1000")


MALFORMED = {
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!",
    "no status": b"HTTP/1.1\r\n\r\n",
    "status in words": b"HTTP/1.1 fine\r\n\r\n",
    "status too low": b"HTTP/1.1 99 Low\r\nContent-Length: 0\r\n\r\n",
    "status too high": b"HTTP/1.1 1000 High\r\nContent-Length: 0\r\n\r\n",
    "another version": b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "another protocol": b"+OK POP3 ready\r\n",
    "nothing but lines": b"\r\n\r\n\r\n\r\n",
    "binary": bytes(range(256)),
    "head cut in a line": b"HTTP/1.1 200 OK\r\nContent-Le",
    "head cut after a line": b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n",
    "hints and no answer": b"HTTP/1.1 103 Early Hints\r\n\r\n",
    "hints cut": b"HTTP/1.1 103 Early Hints\r\nLink: x",
    "hints without end": b"HTTP/1.1 103 Early Hints\r\n" + b"Link: x\r\n" * 1000,
    "chunk size in words": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nlong\r\n",
    "chunk cut": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nshort",
    "no last chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
}
ODD = {
    "no length": b"HTTP/1.1 200 OK\r\n\r\nok",
    "old": b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "bare line feeds": b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
    "no reason": b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok",
    "two framings": b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "trailers": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n",
    "more than it says": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 500 Smuggled\r\n\r\n",
    "same length twice": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
    "unknown coding": b"HTTP/1.1 200 OK\r\nContent-Encoding: rot13\r\nContent-Length: 2\r\n\r\nok",
    "latin-1": b"HTTP/1.1 200 OK\r\nX-A: gr\xfcn\r\nContent-Length: 2\r\n\r\nok",
    "folded": b"HTTP/1.1 200 OK\r\nX-A: a\r\n b\r\nContent-Length: 2\r\n\r\nok",
}


@pytest.mark.parametrize("what", MALFORMED)
def test_what_is_not_http_is_a_protocol_error_whatever_it_is(make, scripted, what):
    with pytest.raises(errors.ProtocolError):
        make(base_uri=scripted(MALFORMED[what]).url).get("/")


@pytest.mark.parametrize("what", ODD)
def test_what_is_odd_is_read_all_the_same(make, scripted, what):
    server = scripted(ODD[what])
    client = make(base_uri=server.url)
    for _ in range(2):
        assert tuple(client.get("/"))[:2] == (b"ok", 200)
        assert server.settles(0)


# Limits


@pytest.mark.parametrize("path", ["/bytes/1001", "/chunks/101?size=10", "/bomb?size=100000000"])
def test_a_body_over_max_body_is_not_read_to_its_end(make, fresh_server, path):
    client = make(base_uri=fresh_server.url, max_body=1000)
    assert len(client.get("/bytes/1000").body) == 1000
    with pytest.raises(errors.BodyTooLarge) as caught:
        client.get(path)
    assert caught.value.limit == 1000
    assert 1000 < caught.value.got < 100_000
    assert caught.value.request is not None
    client.close()
    assert fresh_server.settles(0)


def test_a_bomb_is_not_unpacked_into_memory(make, server):
    client = make(base_uri=server.url, max_body=1_000_000)
    tracemalloc.start()
    try:
        with pytest.raises(errors.BodyTooLarge):
            client.get("/bomb?size=200000000")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20_000_000


@pytest.mark.parametrize("coding", BOMBS)
def test_nor_is_one_of_10_gib_in_any_coding(make, server, coding):
    bomb = BOMBS[coding]()

    def answer(connection, seen):
        connection.answer(seen, 200, bomb, headers=[("Content-Encoding", coding)])

    client = make(base_uri=server.url, max_body=1_000_000)
    with server.route("packed", answer):
        tracemalloc.start()
        try:
            with pytest.raises(errors.BodyTooLarge) as caught:
                client.get("/packed")
            with client.stream("/packed") as result:
                first = next(client.chunks(result))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert caught.value.got < 11_000_000  # which Content-Length says
    assert set(first) == {0}
    assert peak < 30_000_000  # the server, which is in this process, copies what it sends: 10 MB


@pytest.mark.parametrize("name", ["zstd", "br", "deflate", "gzip, br", "zstd, gzip"])
def test_every_coding_is_unpacked_and_what_is_cut_off_is_an_error(make, server, name):
    content = packed = bytes(range(256)) * 300
    for coding in name.split(", "):
        packer = packer_of(coding)
        packed = packer.pack(packed) + packer.finish()

    def answer(connection, seen):
        cut = int(seen.arg("cut", "0"))
        connection.answer(seen, 200, packed[: len(packed) - cut], headers=[("Content-Encoding", name)])

    client = make(base_uri=server.url)
    with server.route("packed", answer):
        result = client.get("/packed")
        assert result.response.content == content
        assert result.headers["Content-Encoding"] == name
        with client.stream("/packed") as result:
            assert b"".join(client.chunks(result)) == content
        with pytest.raises(errors.ProtocolError, match="cut off"):
            client.get("/packed?cut=5")


def test_the_body_of_an_answer_to_head_is_no_body_over_max_body(make, server):
    assert make(base_uri=server.url, max_body=10).send("HEAD", "/bytes/1000").status_code == 200


def test_max_body_none_lifts_the_limit(make, server):
    assert len(make(base_uri=server.url, max_body=None).get("/bytes/2000000").body) == 2_000_000


def test_max_body_holds_for_a_stream_that_is_read_and_not_for_one_that_is_iterated(make, server):
    client = make(base_uri=server.url, max_body=1000)
    with client.stream("/bytes/5000") as result:
        assert sum(map(len, client.chunks(result))) == 5000
    with client.stream("/bytes/5000") as result, pytest.raises(errors.BodyTooLarge):
        client.content(result)


def test_a_head_without_end_is_an_error(http):
    with pytest.raises(errors.ProtocolError):
        http.get("/huge-headers?size=70000")
    with pytest.raises(errors.ProtocolError):
        http.get("/huge-headers?size=10&count=1000")


# Errors


ERRORS = [
    ("/close", errors.ProtocolError),
    ("/reset", errors.ProtocolError),
    ("/close-mid-body", errors.ProtocolError),
    ("/close-mid-body?chunked=1", errors.ProtocolError),
    ("/wrong-length?said=9&sent=5", errors.ProtocolError),
    ("/bad-status-line", errors.ProtocolError),
    ("/gzip?broken=1", errors.ProtocolError),
    ("/hang", errors.ReadTimeout),
    ("/hang-body", errors.ReadTimeout),
]


@pytest.mark.parametrize(("path", "kind"), ERRORS)
def test_whatever_goes_wrong_on_the_wire_is_one_tree_of_errors_and_leaks_nothing(make, fresh_server, path, kind):
    client = make(base_uri=fresh_server.url, timeout=(5, 0.2))
    with pytest.raises(errors.TransportError) as caught:
        client.get(path)
    error = caught.value
    assert type(error) is kind
    assert not error.never_sent
    assert error.__cause__ is not None
    assert not isinstance(error.__cause__, errors.FormationError)
    assert (error.request.method, error.request.url, error.response) == ("GET", fresh_server.url + path, None)
    assert echo(client.get("/echo"))["path"] == "/echo"
    client.close()
    assert fresh_server.settles(0)


@pytest.mark.parametrize(("path", "kind"), [each for each in ERRORS if "body" in each[0] or "broken" in each[0]])
def test_what_goes_wrong_while_a_stream_is_read_is_of_the_same_tree(make, fresh_server, path, kind):
    client = make(base_uri=fresh_server.url, timeout=(5, 0.2))
    with pytest.raises(kind) as caught, client.stream(path) as result:
        for _ in client.chunks(result):
            pass
    assert caught.value.__cause__ is not None
    assert caught.value.request.url == fresh_server.url + path
    assert caught.value.response.status_code == 200
    client.close()
    assert fresh_server.settles(0)


def test_a_port_where_nobody_listens_is_a_connect_error_and_nothing_was_sent(make):
    with pytest.raises(errors.ConnectError) as caught:
        make(base_uri=refused()).get("/")
    assert type(caught.value) is errors.ConnectError
    assert caught.value.never_sent


def test_a_connect_that_takes_too_long_is_a_connect_timeout(make):
    with Full() as full, pytest.raises(errors.ConnectTimeout) as caught:
        make(base_uri=full.url, timeout=(0.2, 5)).get("/")
    assert isinstance(caught.value, TimeoutError)
    assert caught.value.never_sent


def test_a_server_that_reads_nothing_is_a_write_timeout(http, server):
    release = threading.Event()

    def deaf(connection, seen):
        release.wait(10)

    # Its body is not read, since the route "refuse" answers before.
    old, server.routes["refuse"] = server.routes["refuse"], deaf
    try:
        with pytest.raises(errors.WriteTimeout):
            http.post("/refuse", content=bytes(30_000_000), timeout=0.3)
    finally:
        release.set()
        server.routes["refuse"] = old


def test_a_certificate_that_nobody_vouches_for_is_a_tls_error(make, tls_server):
    with tls_server.watch() as seen, pytest.raises(errors.TLSError) as caught:
        make(base_uri=tls_server.url).get("/echo")
    assert not seen.requests
    assert "ertificate" in str(caught.value)


def test_a_certificate_for_another_host_is_a_tls_error(edge, make, misnamed_server, ca_file):
    with misnamed_server.watch() as seen, pytest.raises(errors.TLSError):
        make(base_uri=misnamed_server.url, endpoint=edge.trusting(ca_file)).get("/echo")
    assert not seen.requests


def test_a_trusted_certificate_is_trusted(edge, make, tls_server, ca_file):
    client = make(base_uri=tls_server.url, endpoint=edge.trusting(ca_file))
    assert echo(client.get("/echo/x"))["path"] == "/echo/x"
    assert len(client.get("/bytes/300000").body) == 300_000
    client.close()
    assert tls_server.settles(0)


def test_plain_http_where_tls_is_spoken_and_the_reverse_are_errors_of_transport(make, server, tls_server):
    with pytest.raises(errors.TransportError):
        make(base_uri=tls_server.url.replace("https:", "http:")).get("/echo")
    with pytest.raises(errors.TLSError):
        make(base_uri=server.url.replace("http:", "https:")).get("/echo")


def test_an_error_says_where_it_comes_from_and_keeps_that_when_pickled(make, server):
    client = make(base_uri=server.url)
    with pytest.raises(errors.ProtocolError) as caught:
        client.post("/close/{id}?key=s3cret", path={"id": 7}, json={"a": 1})
    copy = pickle.loads(pickle.dumps(caught.value))
    for error in (caught.value, copy):
        assert type(error) is errors.ProtocolError
        assert str(error) == str(caught.value)
        assert (error.request.method, error.request.url) == ("POST", server.url + "/close/7?key=s3cret")
        note = error.__notes__[-1]
        assert "POST /close/{id} at" in note
        assert "s3cret" not in note
        assert server.url in note
        assert " s" in note
    assert copy.request.json == {"a": 1}


def test_errors_with_a_response_can_be_pickled(make, server):
    client = make(base_uri=server.url, max_body=1000)
    for kind, how in {
        errors.StatusError: {"expect": 201},
        errors.DecodeError: {"response_as": json_response},
    }.items():
        with pytest.raises(kind) as caught:
            client.get("/data?body=x", **how)
        copy = pickle.loads(pickle.dumps(caught.value))
        assert str(copy) == str(caught.value)
        assert copy.__notes__ == caught.value.__notes__
        assert (copy.response.status_code, copy.response.content) == (200, b"x")
        assert copy.request.url == caught.value.request.url
    for kind, path in {errors.BodyTooLarge: "/bytes/2000", errors.TooManyRedirects: "/loop"}.items():
        with pytest.raises(kind) as caught:
            client.get(path)
        assert vars(pickle.loads(pickle.dumps(caught.value))).keys() == vars(caught.value).keys()


def test_a_users_own_error_carries_the_request_the_response_and_a_note_too(make, server):
    class Mine(Exception):
        pass

    def strict(ctx, call):
        ctx = call(ctx)
        raise Mine

    client = make(base_uri=server.url, middleware=[strict])
    with pytest.raises(Mine) as caught:
        client.get("/status/{code}", path={"code": 503})
    assert caught.value.request.template == "/status/{code}"
    assert caught.value.response.status_code == 503
    assert "strict" in caught.value.__notes__[0]


def test_an_error_that_takes_no_attributes_gets_a_note(make, server):
    class Closed(Exception):
        request = response = property(lambda self: None)

    def strict(ctx, call):
        raise Closed

    with pytest.raises(Closed) as caught:
        make(base_uri=server.url, middleware=[strict]).get("/echo")
    assert "GET /echo" in caught.value.__notes__[0]


# Time


@pytest.mark.parametrize("timeout", [0.15, (5, 0.15)])
def test_a_call_may_say_how_long_it_waits(http, timeout):
    with pytest.raises(errors.ReadTimeout) as caught:
        http.get("/hang", timeout=timeout)
    assert isinstance(caught.value, TimeoutError)


def test_timeout_none_waits(make, server):
    client = make(base_uri=server.url, timeout=0.05)
    assert client.get("/slow?seconds=0.3", timeout=None).status_code == 200
    with pytest.raises(errors.ReadTimeout):
        client.get("/slow?seconds=5")


@pytest.mark.parametrize("timeout", [0, -1, "1", (1,), (1, 2, 3), True, (0, 1)])
def test_a_timeout_that_is_none_is_refused(http, make, timeout):
    with pytest.raises(ValueError, match="timeout"):
        http.get("/echo", timeout=timeout)
    with pytest.raises(ValueError, match="timeout"):
        make(timeout=timeout)


@pytest.mark.parametrize(
    "path", ["/drip?count=1000&delay=0.02", "/drip-head?delay=0.02", "/hang", "/hang-body", "/loop"]
)
def test_a_deadline_ends_a_call_however_slowly_the_bytes_trickle_in(make, fresh_server, path):
    client = make(base_uri=fresh_server.url, middleware=[within(0.4)], max_redirects=100_000)
    started = monotonic()
    with pytest.raises(errors.DeadlineExceeded) as caught:
        client.get(path)
    assert monotonic() - started < 5
    assert isinstance(caught.value, TimeoutError)
    assert caught.value.request.path == path.partition("?")[0]
    client.close()
    assert fresh_server.settles(0)


def test_a_deadline_ends_a_stream(make, fresh_server):
    client = make(base_uri=fresh_server.url, middleware=[within(0.4)])
    with pytest.raises(errors.DeadlineExceeded), client.stream("/drip?count=1000&delay=0.02") as result:
        for _ in client.chunks(result):
            pass
    client.close()
    assert fresh_server.settles(0)


def test_a_deadline_that_has_passed_sends_nothing(make, server):
    with server.watch() as seen, pytest.raises(errors.DeadlineExceeded):
        make(base_uri=server.url, middleware=[within(-1)]).get("/echo")
    assert not seen.requests


def test_a_deadline_bounds_the_connect(make):
    with Full() as full, pytest.raises(errors.DeadlineExceeded):
        make(base_uri=full.url, middleware=[within(0.2)]).get("/")


def test_a_deadline_in_the_distance_changes_nothing_and_leaves_the_connection_usable(edge, make, server):
    with counted(server, make) as (client, seen):
        for _ in range(3):
            assert len(client.get("/bytes/100000", middleware=[within(30)]).body) == 100_000
            assert echo(client.get("/echo"))["path"] == "/echo"
            assert len(client.get("/chunks/20", middleware=[within(30)]).body) == 200
    assert seen.connections == edge.connections(1)


def test_a_deadline_bounds_an_upload(make, server):
    release = threading.Event()

    def deaf(connection, seen):
        release.wait(10)

    old, server.routes["refuse"] = server.routes["refuse"], deaf
    try:
        with pytest.raises(errors.DeadlineExceeded):
            make(base_uri=server.url, middleware=[within(0.3)]).post("/refuse", content=bytes(30_000_000))
    finally:
        release.set()
        server.routes["refuse"] = old


def test_a_read_timeout_before_the_deadline_is_a_read_timeout(make, server):
    with pytest.raises(errors.ReadTimeout):
        make(base_uri=server.url, middleware=[within(30)], timeout=0.2).get("/hang")


# Redirects


@pytest.mark.parametrize(
    ("status", "method", "after"),
    [
        (status, method, after)
        for status, changed in {
            301: {"POST": "GET"},
            302: {"POST": "GET"},
            303: {"POST": "GET", "PUT": "GET", "DELETE": "GET", "PATCH": "GET"},
            307: {},
            308: {},
        }.items()
        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
        for after in [changed.get(method, method)]
    ],
)
def test_a_redirect_keeps_or_changes_method_and_body(http, server, status, method, after):
    body = {"json": {"a": 1}} if method not in {"GET", "HEAD"} else {}
    with server.watch() as seen:
        result = http.send(method, f"/redirect/{status}?to=/echo/there", **body)
    first, second = seen.requests
    assert second.method == after
    assert second.path == "/echo/there"
    if after == method:
        assert second.body == first.body
        assert second.header("Content-Type") == first.header("Content-Type")
    else:
        assert not second.body
        assert not {"content-type", "content-length", "transfer-encoding"} & {
            name.lower() for name, _ in second.headers
        }
    assert result.url == server.url + "/echo/there"
    assert [each.status_code for each in result.response.history] == [status]
    assert result.request.method == method  # a call is one call for whoever is above


@pytest.mark.parametrize("status", [300, 304, 305, 306])
def test_other_3xx_are_answers(http, status):
    assert http.get(f"/redirect/{status}?to=/echo").status_code == status


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("/echo/x", "/echo/x"),
        ("302?to=/echo", "/redirect/302?to=/echo"),
        ("../echo/x", "/echo/x"),
        ("?to=/echo", "/redirect/302?to=/echo"),
        ("{url}/echo/x", "/echo/x"),
        ("//{host}/echo/x", "/echo/x"),
        ("/echo/x#fragment", "/echo/x"),
        ("/echo/a b", "/echo/a%20b"),
        ("/echo/grün", "/echo/gr%C3%BCn"),
        ("/echo/a%2Fb", "/echo/a%2Fb"),
        ("http://me:pw@{host}/echo/x", "/echo/x"),
        (" /echo/x ", "/echo/x"),
    ],
)
def test_a_location_is_read_as_browsers_read_it(make, server, location, target):
    location = location.format(url=server.url, host=f"{server.host}:{server.port}")
    client = make(base_uri=server.url, max_redirects=2)
    with server.watch() as seen:
        client.get("/redirect/302", params={"to": location})
    assert seen.requests[1].target == target
    assert seen.requests[1].header("Authorization") is None


@pytest.mark.parametrize(
    "location",
    ["javascript:alert(1)", "ftp://127.0.0.1/x", "file:///etc/passwd", "", "http://", "http://[::1", "http://h:99999/"],
)
def test_a_location_that_cannot_be_followed_makes_the_redirect_the_answer(http, server, location):
    with server.watch() as seen:
        result = http.get("/redirect/302", params={"to": location} if location else {"to": ""})
    assert result.status_code == 302
    assert result.response.history == ()
    assert len(seen.requests) == 1


def test_a_body_that_can_be_sent_once_only_is_not_sent_again(http, server):
    with server.watch() as seen:
        result = http.post("/redirect/307?to=/echo", content=(each for each in [b"once"]))
    assert result.status_code == 307
    assert len(seen.requests) == 1
    with server.watch() as seen:
        http.post("/redirect/302?to=/echo", content=(each for each in [b"once"]))
    assert [each.method for each in seen.requests] == ["POST", "GET"]


@pytest.mark.parametrize("status", [307, 308])
def test_a_file_and_a_function_are_sent_again_from_where_they_started(http, server, status):
    file = io.BytesIO(b"skipped, sent")
    file.seek(9)
    for content in (file, lambda: iter([b"se", b"nt"])):
        with server.watch() as seen:
            http.post(f"/redirect/{status}?to=/echo", content=content)
        assert [each.body for each in seen.requests] == [b"sent", b"sent"]
    with server.watch() as seen:
        http.post(f"/redirect/{status}?to=/echo", files={"f": ("n", io.BytesIO(b"sent"))})
    assert seen.requests[0].body == seen.requests[1].body
    assert b"sent" in seen.requests[1].body


def test_ten_redirects_are_followed_and_the_eleventh_is_too_many(http, make, server):
    assert http.get("/hops/10").status_code == 200
    with server.watch() as seen, pytest.raises(errors.TooManyRedirects) as caught:
        http.get("/hops/11")
    assert (caught.value.limit, caught.value.url) == (10, server.url + "/hops/0")
    assert caught.value.request.url == server.url + "/hops/1"
    assert caught.value.response.status_code == 302
    assert len(seen.requests) == 11
    assert make(base_uri=server.url, max_redirects=0).get("/hops/1").status_code == 302


def test_middleware_runs_once_per_call_and_per_hop_for_each_hop(make, server):
    log = []

    def call_log(ctx, call):
        log.append(f"call {ctx[REQ_HTTP].path}")
        ctx = call(ctx)
        log.append(f"back {ctx[REQ_HTTP].path} {ctx[RES_HTTP].status_code}")
        return ctx

    def hop_log(ctx, call):
        log.append(f"hop {ctx[REQ_HTTP].path}")
        return call(ctx)

    make(base_uri=server.url, middleware=[call_log], per_hop=[hop_log]).get("/hops/2")
    assert log == ["call /hops/2", "hop /hops/2", "hop /hops/1", "hop /hops/0", "back /hops/2 200"]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_secret_goes_along_to_another_origin(make, server, other_server, status):
    def api_key(ctx, call):
        ctx[REQ_HTTP].headers["X-API-Key"] = "s3cret"
        ctx[SENSITIVE].add("x-api-key")
        return call(ctx)

    client = make(base_uri=server.url, middleware=[api_key], headers=SECRETS, auth=("me", "s3cret"))
    location = f"{other_server.url}/echo"
    with server.watch() as home, other_server.watch() as away:
        client.post(
            f"/redirect/{status}", params={"to": location}, cookies={"own": "s3cret"}, headers={"X-Plain": "1"}, json={}
        )
        client.get("/redirect/302", params={"to": "/echo/home"})
    assert "s3cret" in str(home.requests[0].headers)
    assert home.requests[2].header("X-API-Key") == "s3cret"
    assert home.requests[2].header("Authorization") == "Bearer s3cret"
    seen = away.requests[0]
    assert "s3cret" not in str(seen.headers)
    assert seen.header("X-Plain") == "1"
    assert seen.header("Host") == f"127.0.0.1:{other_server.port}"


@pytest.mark.parametrize("auth", [("me", "s3cret"), lambda request: request.headers.set("Authorization", "s3cret")])
def test_auth_stays_home_and_does_not_come_back_by_itself(make, server, other_server, auth):
    client = make(base_uri=server.url, auth=auth)
    back = f"{server.url}/echo"
    with server.watch() as home, other_server.watch() as away:
        client.get("/redirect/302", params={"to": f"{other_server.url}/redirect/302?to={back}"})
    assert home.requests[0].header("Authorization")
    assert away.requests[0].header("Authorization") is None
    assert home.requests[1].header("Authorization") is None


def test_auth_goes_along_within_the_origin(http, server):
    with server.watch() as seen:
        http.get("/redirect/302?to=/basic-auth/me/pw", auth=("me", "pw"), expect=200)
    assert [bool(each.header("Authorization")) for each in seen.requests] == [True, True]


def test_no_secret_goes_from_https_to_http(edge, make, tls_server, server, ca_file):
    client = make(base_uri=tls_server.url, endpoint=edge.trusting(ca_file), headers=SECRETS, auth=("me", "s3cret"))
    with server.watch() as seen:
        client.get("/redirect/302", params={"to": server.url + "/echo"})
    assert "s3cret" not in str(seen.requests[0].headers)


def test_a_redirect_to_a_server_that_fails_tells_of_the_hop_and_of_the_call(make, server):
    nowhere, above = refused(), []

    def look(ctx, call):
        try:
            return call(ctx)
        finally:
            above.append(ctx[REQ_HTTP].path)

    with pytest.raises(errors.ConnectError) as caught:
        make(base_uri=server.url, middleware=[look]).get("/redirect/302", params={"to": nowhere})
    assert caught.value.request.url == nowhere
    assert caught.value.__notes__[0] == f"redirect 1, to {nowhere}"
    assert "GET /redirect/302" in caught.value.__notes__[1]
    assert above == ["/redirect/302"]


# Attempts


def test_a_call_is_made_again_and_its_result_and_its_error_tell_of_the_attempts(make, server, request):
    client = make(base_uri=server.url, middleware=[retry(3, base=0.001)])
    result = client.get(f"/flaky/{request.node.name}?fail=2")
    assert (result.status_code, len(result.attempts)) == (200, 3)
    assert echo(client.send("PUT", f"/flaky/{request.node.name}-2?fail=2", json=[1]))["body"] == "[1]"
    with server.watch() as seen:
        assert client.post("/status/503").status_code == 503  # it may have done something
        assert len(seen.requests) == 1
        with pytest.raises(errors.StatusError) as caught:
            client.get("/flaky/{name}", path={"name": request.node.name + "-3"}, params={"fail": 9}, expect=200)
        assert len(seen.requests) == 4
    assert "attempts 3" in caught.value.__notes__[-1]


def test_a_call_that_fails_on_its_way_is_made_again(make, server, request):
    client = make(base_uri=server.url, middleware=[retry(3, base=0.001)])
    result = client.get(f"/flaky/{request.node.name}?fail=2&status=0")
    assert [each.error for each in result.attempts] == ["ProtocolError", "ProtocolError", None]


def test_a_deadline_bounds_all_attempts_and_the_waits_between_them(make, server):
    client = make(base_uri=server.url, middleware=[within(0.3), retry(10_000, base=0.01, cap=0.05)])
    started = monotonic()
    assert client.get("/status/503").status_code == 503
    assert monotonic() - started < 5


def test_an_open_circuit_sends_nothing(make, server):
    client = make(base_uri=server.url, middleware=[circuit_breaker(fail_max=2)])
    with server.watch() as seen, capture_logs():
        assert [client.get("/status/503").status_code for _ in range(2)] == [503, 503]
        with pytest.raises(errors.CircuitOpenError) as caught:
            client.get("/echo/{id}", path={"id": 1})
    assert len(seen.requests) == 2
    assert caught.value.request.template == "/echo/{id}"
    assert caught.value.retry_after > 0


# Auth and cookies


def test_a_pair_is_basic_authentication_and_a_function_does_what_it_likes(make, server):
    assert make(base_uri=server.url, auth=("mé", "p:w")).get("/basic-auth/mé/p:w").status_code == 200

    def sign(request):
        request.headers["X-Signature"] = f"{request.method} {request.target} {len(request.content)}"

    seen = echo(make(base_uri=server.url, auth=sign).post("/echo", params={"a": 1}, content=b"123"))
    assert seen["headers"]["x-signature"] == f"POST {server.url}/echo?a=1 3"


@pytest.mark.parametrize("how", ["middleware", "auth"])
@pytest.mark.parametrize(
    ("made", "sent"),
    [
        (lambda: basic("me", "s3cret"), "Basic bWU6czNjcmV0"),
        (lambda: bearer("s3cret"), "Bearer s3cret"),
        (lambda: bearer(lambda: "s3cret"), "Bearer s3cret"),
        (lambda: api_key("s3cret", "X-Key"), "s3cret"),
        (lambda: api_key("s3cret", "key", place="query"), "/redirect/302?to={}&key=s3cret"),
        (lambda: api_key("s3cret", "key", place="cookie"), "key=s3cret"),
    ],
    ids=["basic", "bearer", "bearer by a function", "header", "query", "cookie"],
)
def test_the_auth_middlewares_say_who_it_is_at_home_and_nowhere_else(make, server, other_server, how, made, sent):  # noqa: PLR0917
    client = make(base_uri=server.url, **{how: [made()] if how == "middleware" else made()})
    with server.watch() as home, other_server.watch() as away, capture_logs() as lines:
        to = other_server.url + "/echo"
        client.get(f"/redirect/302?to={to}", middleware=[request_logger()])
    assert sent.format(to) in [home.requests[0].target, *(value for _, value in home.requests[0].headers)]
    assert "s3cret" not in str(away.requests)
    assert "bWU6" not in str(away.requests)
    if how == "middleware":
        assert "s3cret" not in str(lines)
        assert "bWU6" not in str(lines)


@pytest.mark.parametrize("how", ["middleware", "auth"])
def test_a_token_is_fetched_once_and_once_more_when_it_is_refused(make, server, how):
    issued, good = [], 1

    def token(connection, seen):
        issued.append(seen)
        said = {"access_token": f"t{len(issued)}", "token_type": "bearer", "expires_in": 3600}
        connection.answer_json(seen, said)

    def api(connection, seen):
        fits = seen.header("Authorization") == f"Bearer t{good}"
        connection.answer(seen, 200 if fits else 401, seen.body)

    with server.route("token", token) as url, server.route("api", api):
        made = oauth2_client_credentials(url, "id", "s3cret")
        client = make(base_uri=server.url, **{how: [made] if how == "middleware" else made})
        assert [client.get("/api").status_code for _ in range(3)] == [200] * 3
        assert len(issued) == 1
        good = 2  # the first one has been revoked
        assert tuple(client.post("/api", content=b"again"))[:2] == (b"again", 200)
        assert len(issued) == 2
        good = 0
        assert client.get("/api").status_code == 401
        assert len(issued) == 3
    assert issued[0].method == "POST"
    assert b"grant_type=client_credentials" in issued[0].body


def test_netrc_is_not_read(make, server, monkeypatch, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password s3cret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    client = make(base_uri=server.url)
    assert "authorization" not in echo(client.get("/echo"))["headers"]
    assert echo(client.get("/echo", headers={"Authorization": "mine"}))["headers"]["authorization"] == "mine"


def test_an_authorization_header_outdoes_a_pair(make, server):
    client = make(base_uri=server.url, auth=("me", "pw"))
    assert echo(client.get("/echo", headers={"Authorization": "Bearer x"}))["headers"]["authorization"] == "Bearer x"
    assert "authorization" not in echo(client.get("/echo", auth=None))["headers"]


def test_cookies_of_client_and_call_go_out_together(make, server):
    client = make(base_uri=server.url, cookies={"a": "1", "b": "2"}, response_as=json_response)
    assert client.get("/cookies", cookies={"b": "3", "c": "4"}).body == {"a": "1", "b": "3", "c": "4"}
    assert client.get("/cookies", headers={"Cookie": "d=5"}).body == {"a": "1", "b": "2", "d": "5"}


def test_cookies_are_not_kept_between_calls(http):
    http.get("/cookies/set?a=1")
    http.get("/cookies/set?a=1&to=/cookies")
    assert http.get("/cookies", response_as=json_response).body == {}


def test_a_jar_keeps_cookies_between_calls_and_hops(make, server):
    jar = CookieJar()
    client = make(base_uri=server.url, cookies=jar, response_as=json_response)
    assert client.get("/cookies/set?a=1&b=2&to=/cookies").body == {"a": "1", "b": "2"}
    assert client.get("/cookies", cookies={"b": "mine"}).body == {"a": "1", "b": "mine"}
    assert {each.name for each in jar} == {"a", "b"}
    assert make(base_uri=server.url).get("/cookies", response_as=json_response).body == {}


def test_a_jar_sends_cookies_to_their_own_host_only(make, server):
    jar = CookieJar()
    client = make(base_uri=server.url, cookies=jar, response_as=json_response)
    client.get("/cookies/set?a=1")
    elsewhere = server.url.replace("127.0.0.1", "localhost")
    assert client.get("/redirect/302", params={"to": elsewhere + "/cookies"}).body == {}
    assert client.get("/cookies").body == {"a": "1"}


def test_a_middleware_that_calls_twice_sends_each_cookie_once(make, server):
    def twice(ctx, call):
        call(ctx)
        return call(ctx)

    jar = CookieJar()
    client = make(base_uri=server.url, cookies=jar, middleware=[twice])
    with server.watch() as seen:
        client.get("/cookies/set?a=1")
        client.get("/cookies", cookies={"b": "2"})
        client.get("/cookies", headers={"Cookie": "c=3"})
    lines = [each.header("Cookie") for each in seen.requests]
    assert lines == [None, "a=1", "b=2; a=1", "b=2; a=1", "c=3; a=1", "c=3; a=1"]


# Middleware


def test_middleware_sees_and_changes_the_request_and_the_response(make, server):
    def change(ctx, call):
        request = ctx[REQ_HTTP]
        assert ctx[TEMPLATE] == "/echo/{id}"
        request.method, request.url = "PUT", request.url + "/changed"
        request.params["q"] = "1"
        request.headers["X-New"] = "1"
        request.json = {"changed": request.json}
        ctx = call(ctx)
        response = ctx[RES_HTTP]
        response.status_code, response.headers["X-Back"] = 299, "1"
        response.body = response.content + b"!"
        return ctx

    result = make(base_uri=server.url, middleware=[change]).post("/echo/{id}", path={"id": 1}, json=[1])
    seen = json.loads(result.body[:-1])
    assert (seen["method"], seen["target"]) == ("PUT", "/echo/1/changed?q=1")
    assert (seen["body"], seen["headers"]["x-new"]) == ('{"changed":[1]}', "1")
    assert (result.status_code, result.headers["X-Back"], result.body[-1:]) == (299, "1", b"!")
    assert result.headers["Content-Length"] == str(len(result.body))


def test_middleware_that_answers_by_itself_sends_nothing(make, server):
    def cached(ctx, call):
        return reply(ctx, 203, {"Content-Type": "application/json"}, b'{"from": "cache"}')

    client = make(base_uri=server.url, middleware=[cached], response_as=json_response)
    with server.watch() as seen:
        assert client.get("/echo").body == {"from": "cache"}
        with client.stream("/echo") as result:
            assert b"".join(client.chunks(result)) == b'{"from": "cache"}'
    assert not seen.requests


def test_an_endpoint_that_gives_no_response_is_told_of(make):
    with pytest.raises(LookupError, match="returned no response: to answer in its place"):
        make(base_uri="http://h", endpoint=lambda ctx: ctx, cookies=CookieJar()).get("/")


def test_the_librarys_own_response_is_there_for_whoever_must_escape(http):
    assert http.get("/echo").response is not None
    natives = []

    def look(ctx, call):
        ctx = call(ctx)
        natives.append(ctx[NATIVE]["response"])
        return ctx

    http.get("/echo", middleware=[look])
    assert natives[0] is not None


# Pages


@contextmanager
def numbers(server, last=3, after="/numbers?page={}"):
    """A route of pages, each with its number; gives the URL."""

    def page(connection, seen):
        number = int(seen.arg("page", "1"))
        links = [("Link", f'<{after.format(number + 1)}>; rel="next"')] if number < last else []
        connection.answer_json(seen, [number], headers=links)

    with server.route("numbers", page) as url:
        yield url


def test_pages_follow_the_link_header(make, server):
    client = make(base_uri=server.url, response_as=json_response)
    with numbers(server), server.watch() as seen:
        pages = client.pages(lambda: client.sender.get("/numbers", headers={"X-A": "1"}))
        assert [page.body for page in pages] == [[1], [2], [3]]
        assert [each.header("X-A") for each in seen.requests] == ["1"] * 3
        one_by_one = client.pages(lambda: client.sender.get("/numbers"), items=lambda body: body)
        assert next(one_by_one) == 1
        assert len(seen.requests) == 4
        one_by_one.close()
        assert len(seen.requests) == 4


def test_pages_follow_whatever_says_what_comes_next(make, server):
    client = make(base_uri=server.url, response_as=json_response)
    with numbers(server):
        turned = client.pages(
            lambda: client.sender.get("/numbers"),
            next=lambda page: f"?page={page.body[0] + 1}" if page.body[0] < 5 else None,
        )
        assert [page.body[0] for page in turned] == [1, 2, 3, 4, 5]


def test_pages_end_where_they_would_go_round_go_on_or_go_elsewhere(make, server, other_server):
    client = make(base_uri=server.url, response_as=json_response, auth=("me", "s3cret"))

    def turned(**how):
        return [page.body for page in client.pages(lambda: client.sender.get("/numbers"), **how)]

    with numbers(server, after="/numbers?page=1"), pytest.raises(errors.PagesError, match="already"):
        turned()
    with numbers(server, last=9), pytest.raises(errors.PagesError, match="2"):
        turned(max_pages=2)
    elsewhere = other_server.url + "/numbers?page={}"
    with numbers(server, after=elsewhere), other_server.watch() as away, pytest.raises(errors.ForeignURLError):
        turned()
    assert not away.requests


# Streams


def test_a_stream_that_is_not_entered_sends_nothing(http, server):
    with server.watch() as seen:
        http.sender.get("/echo", stream=True)
        gc.collect()
    assert not seen.requests
    assert not seen.connections


def test_a_stream_gives_each_piece_as_it_comes(http, server):
    go = threading.Event()

    def waiting(connection, seen):
        connection.head(200, [("Transfer-Encoding", "chunked")])
        connection.chunk(b"first")
        while not go.is_set():
            connection.wait(0.01)
        connection.chunk(b"last")
        connection.chunk(b"")

    with server.route("waiting", waiting), http.stream("/waiting") as result:
        chunks = http.chunks(result)
        assert next(chunks) == b"first"
        go.set()
        assert b"".join(chunks) == b"last"


def test_a_stream_with_a_length_gives_each_piece_as_it_comes(http, server):
    go = threading.Event()

    def waiting(connection, seen):
        connection.head(200, [("Content-Length", "9")])
        connection.send(b"first")
        while not go.is_set():
            connection.wait(0.01)
        connection.send(b"last")

    with server.route("waiting", waiting), http.stream("/waiting") as result:
        chunks = http.chunks(result)
        assert next(chunks) == b"first"
        go.set()
        assert b"".join(chunks) == b"last"


def test_a_stream_that_is_read_to_its_end_gives_its_connection_back(edge, make, server):
    with counted(server, make) as (client, seen):
        for path in ("/chunks/50?size=2000", "/bytes/200000", "/gzip", "/status/204", "/lines/5"):
            with client.stream(path) as result:
                for _ in client.chunks(result):
                    pass
            assert result.status_code in {200, 204}
        with client.stream("/chunks/5") as result:
            assert len(client.content(result)) == 50
        assert len(result.response.content) == 50
    assert seen.connections == edge.connections(1)


@pytest.mark.parametrize("leave", ["break", "untouched", "error"])
def test_a_stream_that_is_left_early_closes_its_connection(edge, make, fresh_server, leave):
    def read(client):
        with client.stream("/drip?count=1000&delay=0.01") as result:
            if leave == "break":
                next(client.chunks(result))
            elif leave == "error":
                raise LookupError

    client = make(base_uri=fresh_server.url)
    with fresh_server.watch() as seen:
        with pytest.raises(LookupError) if leave == "error" else nullcontext():
            read(client)
        assert fresh_server.settles(0)
        assert client.get("/echo").status_code == 200
    assert seen.connections == edge.connections(2)


def test_on_close_tells_how_a_stream_ended(make, server):
    ends = []

    def count(ctx, call):
        ctx = call(ctx)
        ctx[RES_HTTP].on_close(lambda size, error: ends.append((size, type(error).__name__)))
        return ctx

    client = make(base_uri=server.url, middleware=[count], timeout=(5, 0.3))
    client.get("/bytes/10")
    with client.stream("/bytes/20") as result:
        list(client.chunks(result))
    with client.stream("/bytes/300000"):
        pass
    with pytest.raises(errors.ReadTimeout), client.stream("/hang-body") as result:
        list(client.chunks(result))
    assert ends == [(10, "NoneType"), (20, "NoneType"), (0, "BodyAbandoned"), (10, "ReadTimeout")]


def test_a_stream_can_be_mapped_on_its_way(make, server):
    def shout(ctx, call):
        ctx = call(ctx)
        ctx[RES_HTTP].body.map(bytes.lower, lambda: b"!")
        return ctx

    client = make(base_uri=server.url, middleware=[shout])
    with client.stream("/chunks/3?size=2") as result:
        assert b"".join(client.chunks(result)) == b"aabbcc!"
    assert client.get("/chunks/3?size=2").body == b"aabbcc!"
    assert client.get("/bytes/3").headers["Content-Length"] == "4"


def test_a_stream_that_a_middleware_has_read_can_be_iterated(make, server):
    def read(ctx, call):
        ctx = call(ctx)
        assert len(ctx[RES_HTTP].content) == 30
        return ctx

    client = make(base_uri=server.url, middleware=[read])
    with client.stream("/chunks/3") as result:
        assert b"".join(client.chunks(result)) == b"A" * 10 + b"B" * 10 + b"C" * 10


@pytest.mark.parametrize(("method", "path"), [("HEAD", "/bytes/9"), ("GET", "/status/204"), ("GET", "/chunks/0")])
def test_a_stream_of_nothing_is_empty(http, method, path):
    with http.stream(path, method=method) as result:
        assert list(http.chunks(result)) == []


def test_a_stream_can_be_entered_and_iterated_once(http):
    streamed = http.sender.get("/chunks/3", stream=True)
    with http.entering(streamed) as result:
        list(http.chunks(result))
        with pytest.raises(errors.BodyConsumed):
            list(http.chunks(result))
        with pytest.raises(errors.BodyConsumed):
            http.content(result)
    with pytest.raises(RuntimeError, match="sent already"), http.entering(streamed):
        pass


def test_a_stream_whose_status_is_not_expected_leaks_nothing(make, fresh_server):
    client = make(base_uri=fresh_server.url)
    with (
        pytest.raises(errors.StatusError) as caught,
        client.stream("/drip?count=1000&delay=0.01", expect=404),
    ):
        pass
    assert caught.value.response.status_code == 200
    assert fresh_server.settles(0)


def test_a_stream_whose_middleware_raises_leaks_nothing(make, fresh_server):
    def strict(ctx, call):
        ctx = call(ctx)
        raise LookupError

    with pytest.raises(LookupError), make(base_uri=fresh_server.url, middleware=[strict]).stream("/drip?count=999"):
        pass
    assert fresh_server.settles(0)


def test_a_stream_is_closed_whatever_a_middleware_makes_of_the_context_and_the_response(make, fresh_server):
    def copied(ctx, call):
        return call({**ctx})

    def strict(ctx, call):
        call(ctx)
        raise LookupError

    def another(ctx, call):
        return {**call(ctx), RES_HTTP: Response(200)}

    with (
        pytest.raises(LookupError),
        make(base_uri=fresh_server.url, middleware=[copied, strict]).stream("/drip?count=999"),
    ):
        pass
    assert fresh_server.settles(0)
    with make(base_uri=fresh_server.url, middleware=[copied, another]).stream("/drip?count=999") as result:
        assert result.status_code == 200
    assert fresh_server.settles(0)


def test_a_redirect_is_followed_before_a_stream_begins(make, server):
    with counted(server, make) as (client, seen):
        with client.stream("/redirect/302?to=/chunks/3") as result:
            assert b"".join(client.chunks(result)) == b"A" * 10 + b"B" * 10 + b"C" * 10
        assert client.get("/echo").status_code == 200
    assert len(seen.requests) == 3


def test_a_large_download_is_never_held(http):
    total = 0
    tracemalloc.start()
    try:
        with http.stream("/chunks/400?size=50000") as result:
            for chunk in http.chunks(result):
                total += len(chunk)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert total == 20_000_000
    assert peak < 4_000_000


# Connections


def test_a_connection_is_used_again_after_every_kind_of_answer(edge, make, server):
    with counted(server, make) as (client, seen):
        for path in ("/echo", "/status/204", "/status/304", "/status/404", "/gzip", "/chunks/3", "/hops/3", "/bytes/0"):
            client.get(path)
        client.send("HEAD", "/echo")
        client.post("/echo", json={})
        client.post("/echo", content=iter([b"x"]))
        client.get("/early-hints")
        for status in (301, 307):
            client.post(f"/redirect/{status}?to=/echo", content=b"x")
    assert seen.connections == edge.connections(1)
    assert len(seen.requests) == 8 + 3 + 4 + 4


def test_a_connection_that_the_server_has_closed_is_not_used_again(edge, make, fresh_server):
    for path in ("/close-after", "/drop-idle"):
        client = make(base_uri=fresh_server.url)
        with fresh_server.watch() as seen:
            client.get(path)
            assert fresh_server.settles(0)
            assert client.post("/echo", json={}).status_code == 200
        assert seen.connections == edge.connections(2)
        client.close()
        assert fresh_server.settles(0)


def test_close_gives_every_connection_back_and_may_be_called_twice(edge, make, fresh_server):
    client = make(base_uri=fresh_server.url)
    client.get("/echo")
    assert fresh_server.settles(edge.connections(1))
    client.close()
    client.close()
    assert fresh_server.settles(0)
    with pytest.raises(RuntimeError, match="closed"):
        client.get("/echo")
    with pytest.raises(RuntimeError, match="closed"):
        client.extend(timeout=1).get("/echo")


def test_a_client_that_was_never_used_can_be_closed(make):
    make(base_uri="http://127.0.0.1:1").close()


def test_a_client_closed_while_a_stream_is_read_leaks_nothing(make, fresh_server):
    client = make(base_uri=fresh_server.url)
    with client.stream("/chunks/100?size=1000") as result:
        client.close()
        try:
            for _ in client.chunks(result):
                pass
        except errors.FormationError:
            pass
    assert fresh_server.settles(0)


def test_siblings_share_the_pool_which_is_its_makers_to_close(edge, make, server):
    with counted(server, make) as (client, seen):
        sibling = client.extend(response_as=text_response, headers={"X-A": "1"})
        other = sibling.extend(timeout=3)
        assert client.get("/data?body=x").body == b"x"
        assert sibling.get("/data?body=x").body == "x"
        assert other.get("/data?body=x").body == "x"
        sibling.close()
        assert client.get("/data?body=x").body == b"x"
        assert other.get("/echo", response_as=json_response).body["headers"]["x-a"] == "1"
    assert seen.connections == edge.connections(1)


def test_a_dropped_client_closes_its_connections(edge, fresh_server):
    client = edge.build(base_uri=fresh_server.url)
    client.get("/echo")
    client.close()
    del client
    gc.collect()
    assert fresh_server.settles(0)


# Threads


@pytest.mark.timeout(300)  # httpx takes minutes for them where each line is traced
def test_a_hundred_threads_share_a_client_for_ten_thousand_calls(edge, make, fresh_server):
    if not edge.threads:
        pytest.skip("a client of this edge belongs to its event loop")

    def tag(ctx, call):
        ctx = call(ctx)
        assert ctx[RES_HTTP].headers["X-Id"] == ctx[REQ_HTTP].headers["X-Id"]
        return ctx

    def mirror(connection, seen):
        connection.answer(seen, 200, seen.path.rpartition("/")[2].encode(), headers=[("X-Id", seen.header("X-Id"))])

    client = make(base_uri=fresh_server.url, middleware=[tag], timeout=30, response_as=text_response)
    start = threading.Barrier(100)

    def work(worker):
        start.wait(20)  # all at once, so that the pool is made by all of them
        for n in range(100):
            name = f"{worker}-{n}"
            result = client.get("/mirror/{id}", path={"id": name}, headers={"X-Id": name})
            assert result.body == name
            assert result.request.headers["X-Id"] == name
        return worker

    with fresh_server.watch() as seen, fresh_server.route("mirror", mirror), ThreadPoolExecutor(100) as pool:
        assert sorted(pool.map(work, range(100))) == list(range(100))
    assert len(seen.requests) == 10_000
    assert max(Counter(each.path for each in seen.requests).values()) == 1
    assert seen.connections <= 100 + edge.replaces
    client.close()
    assert fresh_server.settles(0)


# The page


def test_the_page_of_clients_lists_what_an_edge_does_unlike_the_others():
    _, _, after = (Path(__file__).parents[2] / "docs" / "client.md").read_text().partition("## What the libraries do")
    rows = [line.strip("| ").split(" | ") for line in after.split("\n\n")[2].splitlines()[2:]]
    listed = {(name, what) for names, what in rows for name in names.split(", ")}
    names = {"httpx-async": "async httpx", "requests-wsgi": "WSGI", "aiohttp-asgi": "ASGI"}
    assert listed == {(names.get(edge.name, edge.name), what) for edge in EDGES for what in edge.unlike.values()}


def test_what_an_edge_is_spared_is_a_case_that_there_is():
    assert {case.partition("[")[0] for edge in EDGES for case in edge.unlike} <= globals().keys()
