"""What a call sends, over every client edge: the URL, headers, settings and bodies."""

import email
import hashlib
import io
import tracemalloc
from dataclasses import dataclass
from dataclasses import field as dataclass_field

import pytest
from attrs import define, field

from formation import errors
from formation.client.responses import json_response, raw_response, text_response
from formation.keys import REQ_HTTP, SESSION
from formation.middleware import (
    accept,
    content_type,
    ua,
)
from tests.client.cases import SECRETS, User, counted, echo


def header(name, value):
    def header(ctx, call):
        ctx[REQ_HTTP].headers[name] = value
        return call(ctx)

    return header


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
