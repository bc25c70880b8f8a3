"""What a call returns, over every client edge: bodies, what becomes of them, and how large they may be."""

import gzip
import tracemalloc
from dataclasses import dataclass

import pytest
from pydantic import BaseModel

from formation import errors
from formation.client.responses import html_response, json_response, raw_response, text_response, xmltodict_response
from formation.http.codings import packer_of
from formation.keys import RES_HTTP
from formation.middleware import (
    raise_for_status,
)
from tests.bombs import BOMBS
from tests.client.cases import User, echo

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
