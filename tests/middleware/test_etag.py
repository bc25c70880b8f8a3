"""ETags and conditional requests on servers (RFC 9110, 8.8, 13 and 15.4.5), on every host and in every world."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from formation import reply, wrap
from formation.check import faults
from formation.http import Request
from formation.http.validators import is_tag
from formation.middleware import cache, compress, etag
from formation.middleware.etag import tag_of
from tests.middleware.hosts import Reply, answered, every_host, pieces
from tests.middleware.worlds import app, every_lift, every_world, on_server

TAG = tag_of(b"hello", weak=True)
STRONG = tag_of(b"hello", weak=False)
DATE, OLDER = "Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:36 GMT"


def hello(status=200, body=(b"hello",), **headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return app(status, {"Content-Length": str(sum(map(len, body))), **named}, list(body))


def asked(world, headers=(), method="GET", endpoint=None, **settings):
    out = world(etag(**settings), on_server(method, headers=headers), endpoint or hello())
    assert not isinstance(out, BaseException), out
    return out["fmtn.res.http"]


@every_host
def test_a_page_has_a_tag_and_who_has_the_page_gets_no_body(host):
    first = answered(host, [etag()], Reply(200, [("X-A", "1"), ("Vary", "Cookie")], [b"hello"]))
    assert (first.status, first.body, first.lines("etag")) == (200, b"hello", [TAG])
    again = answered(
        host, [etag()], Reply(200, [("X-A", "1"), ("Vary", "Cookie")], [b"hello"]), headers={"If-None-Match": TAG}
    )
    assert (again.status, again.body, again.lines("etag"), again.lines("x-a")) == (304, b"", [TAG], ["1"])
    assert again.lines("vary") == ["Cookie"]
    assert again.lines("content-length") == []


@every_host
def test_a_condition_that_fails_is_a_412(host):
    got = answered(host, [etag()], Reply(200, [], [b"hello"]), headers={"If-Match": '"other"'})
    assert (got.status, got.body) == (412, b"")


@every_host
def test_what_streams_is_not_held_up_and_has_no_tag(host):
    got = answered(host, [etag()], Reply(200, [], pieces(b"one", b"two")), headers={"If-None-Match": TAG})
    assert (got.status, got.chunks, got.lines("etag")) == (200, [b"one", b"two"], [])


@every_host
def test_the_tag_of_the_app_stays_also_for_head(host):
    for method in ("GET", "HEAD"):
        known = {"If-None-Match": 'W/"7"'}
        got = answered(host, [etag()], Reply(200, [("ETag", '"7"')], [b"hello"]), method=method, headers=known)
        assert (got.status, got.lines("etag")) == (304, ['"7"'])


@every_host
def test_outside_of_it_compress_changes_nothing_of_that(host):
    text = b"hello " * 500
    stack, accept = [compress(), etag()], {"Accept-Encoding": "gzip"}
    first = answered(host, stack, Reply(200, [], [text]), headers=accept)
    tags = first.lines("etag")
    assert (first.lines("content-encoding"), tags) == (["gzip"], [tag_of(text, weak=True)])
    again = answered(host, stack, Reply(200, [], [text]), headers={**accept, "If-None-Match": tags[0]})
    assert (again.status, again.body, again.lines("etag")) == (304, b"", tags)
    assert "Accept-Encoding" in again.lines("vary")[0]  # as the 200 has it (15.4.5)
    plain = answered(host, stack, Reply(200, [], [text]), headers={"If-None-Match": tags[0]})
    assert plain.status == 304  # they mean the same


@every_world
@pytest.mark.parametrize("strong", ['"7"', None])
def test_a_strong_tag_that_compress_has_weakened_still_matches(world, strong):
    headers = {"Content-Type": "text/plain"} | ({} if strong is None else {"ETag": strong})

    def both(ctx, call):
        return compress()(ctx, lambda ctx: etag(weak=False)(ctx, call))

    def ask(**more):
        ctx = on_server(headers={"Accept-Encoding": "gzip", **more})
        return world(both, ctx, app(200, {"Content-Length": "3000", **headers}, [b"hello " * 500]))["fmtn.res.http"]

    tag = ask().headers["ETag"]
    assert tag.startswith('W/"')
    again = ask(**{"If-None-Match": tag})
    assert (again.status_code, again.headers["ETag"]) == (304, tag)


def test_a_cache_outside_gives_nobody_what_is_packed_for_another():
    page = {"Content-Type": "text/html", "Cache-Control": "max-age=0", "ETag": '"1"', "Content-Length": "3000"}
    chain = wrap(app(200, page, [b"abc" * 1000]), [cache(), compress(), etag()])
    for accept in ("gzip", "br", "identity", "gzip"):  # each is stale when the next one asks
        response = chain(on_server(headers={"Accept-Encoding": accept}))["fmtn.res.http"]
        assert response.headers.get("Content-Encoding", "identity") == accept
        assert (response.headers["Vary"], len(response.content) == 3000) == ("Accept-Encoding", accept == "identity")


@every_world
def test_strong_tags_are_a_setting(world):
    assert asked(world, weak=False).headers["ETag"] == STRONG
    assert asked(world, {"If-Match": STRONG}, weak=False).status_code == 200
    assert asked(world, {"If-Match": TAG}).status_code == 412  # a weak tag matches nothing strongly


@every_world
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"If-None-Match": f'"x", {TAG}'}, 304),
        ({"If-None-Match": STRONG}, 304),
        ({"If-None-Match": "*"}, 304),
        ({"If-None-Match": '"x"'}, 200),
        ({"If-None-Match": '"x"', "If-Modified-Since": DATE}, 200),
        ({"If-Modified-Since": DATE}, 304),
        ({"If-Modified-Since": OLDER}, 200),
        ({"If-Unmodified-Since": OLDER}, 412),
        ({"If-Unmodified-Since": DATE, "If-None-Match": TAG}, 304),
        ({"If-Match": "*"}, 200),
        ({"If-Match": '"x"', "If-None-Match": TAG}, 412),
    ],
)
def test_conditions_are_judged_in_their_order(world, headers, status):
    assert asked(world, headers, endpoint=hello(Last_Modified=DATE)).status_code == status


@every_world
def test_a_304_leaves_out_what_is_about_the_body_and_keeps_the_rest(world):
    kept = {
        "Cache-Control": "max-age=1", "Content-Location": "/a", "Date": DATE, "Expires": DATE, "Vary": "Cookie",
        "Set-Cookie": "a=1", "Content-Security-Policy": "default-src 'self'",
    }  # fmt: skip
    gone = {"Content-Type": "text/html", "Content-Language": "en", "Last-Modified": DATE, "Accept-Ranges": "bytes"}
    got = asked(world, {"If-None-Match": TAG}, endpoint=app(200, {**kept, **gone, "Content-Length": "5"}, [b"hello"]))
    assert got.status_code == 304
    assert dict(got.headers) == {**kept, "ETag": TAG}


@every_world
def test_a_412_keeps_what_lets_a_browser_read_it_and_nothing_of_the_page(world):
    page = {"ETag": '"1"', "Content-Type": "text/html", "Cache-Control": "max-age=60", "Vary": "Origin"}
    page |= {"Access-Control-Allow-Origin": "https://a", "Set-Cookie": "a=1"}
    ctx = world(etag(), on_server(headers={"If-Match": '"2"'}), app(200, page, [b"a"]))
    got = ctx["fmtn.res.http"]
    assert got.status_code == 412
    assert dict(got.headers) == {"Vary": "Origin", "Access-Control-Allow-Origin": "https://a", "Set-Cookie": "a=1"}


@every_world
def test_last_modified_stays_where_there_is_no_tag(world):
    got = asked(world, {"If-Modified-Since": DATE}, "HEAD", hello(Last_Modified=DATE))
    assert (got.status_code, got.headers["Last-Modified"]) == (304, DATE)


@every_world
@pytest.mark.parametrize(
    ("endpoint", "method"),
    [
        (hello(404), "GET"),
        (hello(201), "GET"),
        (hello(206, Content_Range="bytes 0-4/9"), "GET"),
        (hello(Cache_Control="private, no-store"), "GET"),
        (hello(), "HEAD"),
        (hello(), "POST"),
        (hello(), "OPTIONS"),
        (hello(body=(b"x" * 101,)), "GET"),
        (hello(Content_Length="x"), "GET"),
    ],
    ids=range(9),
)
def test_no_tag_is_made_for(world, endpoint, method):
    got = asked(world, {"If-None-Match": "x"}, method, endpoint, max_body=100)
    assert "ETag" not in got.headers
    assert got.status_code == endpoint(on_server())["fmtn.res.http"].status_code


@every_world
@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "POST"])
def test_what_a_write_does_only_the_app_can_leave_undone(world, method):
    assert asked(world, {"If-None-Match": "*", "If-Match": '"x"'}, method, hello(ETag='"7"')).status_code == 200


@every_world
@pytest.mark.parametrize(("size", "has_tag"), [(100, True), (101, False)])
def test_an_answer_of_a_middleware_has_a_tag_as_well(world, size, has_tag):
    got = asked(world, endpoint=lambda ctx: reply(ctx, 200, body=b"x" * size), max_body=100)
    assert (("ETag" in got.headers), got.content) == (has_tag, b"x" * size)


@every_world
def test_the_body_that_is_not_sent_is_closed(world):
    closed = []

    class Chunks(list):
        def close(self):
            closed.append(True)

    got = asked(world, {"If-None-Match": '"7"'}, endpoint=app(200, {"ETag": '"7"'}, Chunks([b"hello"])))
    assert got.status_code == 304
    got.close()
    assert closed == [True]


@every_world
def test_what_has_been_taken_out_of_the_request_on_the_way_still_counts(world):
    def endpoint(ctx):
        ctx["fmtn.req.http"].headers.pop("If-None-Match")
        return hello()(ctx)

    assert asked(world, {"If-None-Match": TAG}, endpoint=endpoint).status_code == 304


@given(st.binary(max_size=100), st.binary(max_size=100), st.booleans())
def test_a_tag_is_a_tag_and_another_body_has_another(one, other, weak):
    assert is_tag(tag_of(one, weak=weak))
    assert (tag_of(one, weak=weak) == tag_of(other, weak=weak)) == (one == other)


def test_the_other_order_is_warned_of():
    assert any("etag stands outside of compress" in fault for fault in faults([etag(), compress()]))
    assert faults([compress(), etag()]) == []


@every_world
def test_on_a_client_nothing_is_done(world):
    ctx = {"fmtn.side": "client", "fmtn.req.http": Request("GET", "https://h/")}
    assert "ETag" not in world(etag(), ctx, lambda ctx: reply(ctx, 200))["fmtn.res.http"].headers


@every_world
def test_passes_what_has_no_response_through(world):
    assert world(etag(), on_server(), lambda ctx: {"fmtn.side": "server"}) == {"fmtn.side": "server"}
    assert world(etag(), 42, lambda n: n + 1) == 43
    assert "ETag" not in world(etag(), on_server(**{"fmtn.kind": "websocket"}), hello())["fmtn.res.http"].headers


@every_lift
def test_passes_a_function_through(lifted):
    assert lifted([etag()], len, "four")[0] == 4


@pytest.mark.parametrize("max_body", [-1, True, None])
def test_refuses_a_wrong_size_when_it_is_given(max_body):
    with pytest.raises(ValueError, match="expected max_body as a number of bytes"):
        etag(max_body=max_body)


def test_bears_its_name():
    assert repr(wrap(lambda ctx: ctx, [etag()])) == "wrap(<lambda>, [etag])"
