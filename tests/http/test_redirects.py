"""Redirects, as a table: where a response points, and what of the request goes there."""

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from formation.http import Headers, Request, Response
from formation.http.headers import SENSITIVE
from formation.http.origins import origin, same_origin
from formation.http.redirects import MAX_REDIRECTS, next_hop

HOME = "https://h.example/a/b?c=d"
METHODS = ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "PURGE"]
REDIRECTS = [301, 302, 303, 307, 308]


def asked(method="GET", url=HOME, **settings):
    return Request(method, url, **settings)


def to(location, status=302):
    return Response(status, [] if location is None else {"Location": location})


def target(location, url=HOME, **settings):
    hop = next_hop(asked(url=url, **settings), to(location))
    return None if hop is None else hop.target


# --- method and body ---

BODIES = {
    "none": dict,
    "bytes": lambda: {"content": b"body"},
    "json": lambda: {"json": {"a": 1}},
    "form": lambda: {"data": {"a": 1}},
    "file": lambda: {"content": io.BytesIO(b"body")},
    "files": lambda: {"files": {"f": io.BytesIO(b"body")}},
    "function": lambda: {"content": lambda: iter([b"body"])},
    "stream": lambda: {"content": iter([b"body"])},
}


def becomes(method, status):
    """The method of the next request (RFC 9110, 15.4)."""
    if status == 303:
        return "HEAD" if method == "HEAD" else "GET"
    return "GET" if method == "POST" and status in {301, 302} else method


@pytest.mark.parametrize("where", ["/next", "https://other.example/next"])
@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("status", REDIRECTS)
def test_every_redirect_keeps_or_turns_the_method_and_its_body(status, method, body, where):
    request = asked(method, **BODIES[body]())
    content = b"" if body == "stream" else request.fork().content
    if body != "function":
        b"".join(request.body)  # as when it has been sent
    hop = next_hop(request, to(where, status))
    turned = becomes(method, status)
    keeps_body = not (turned == "GET" and (status == 303 or (method == "POST" and status < 303)))
    if keeps_body and body == "stream":
        assert hop is None
        return
    assert hop.method == turned
    assert hop.content == (content if keeps_body else b"")
    assert ("Content-Type" in hop.headers) is ("Content-Type" in request.headers and keeps_body)
    hop.rewind()
    assert request.method == method  # the one that was sent is left as it was


@pytest.mark.parametrize("status", [*range(200, 210), 300, 304, 305, 306, 309, 399, 400, 401, 404, 500, 503])
def test_no_other_status_is_a_redirect(status):
    assert next_hop(asked(), to("/next", status)) is None


@pytest.mark.parametrize("status", REDIRECTS)
def test_a_redirect_that_says_not_where_is_none(status):
    assert next_hop(asked(), to(None, status)) is None


def test_headers_of_the_body_go_with_it():
    headers = {
        "Content-Length": "4", "content-type": "a/b", "Content-Encoding": "gzip", "Content-MD5": "x",
        "Content-Digest": "x", "Content-Language": "de", "Transfer-Encoding": "chunked", "Digest": "x",
        "Repr-Digest": "x", "Expect": "100-continue", "Trailer": "X", "Accept": "a/b", "X-Content": "1",
    }  # fmt: skip
    request = asked("POST", headers=headers, content=b"body")
    assert dict(next_hop(request, to("/next", 303)).headers) == {"Accept": "a/b", "X-Content": "1"}
    assert dict(next_hop(request, to("/next", 307)).headers) == headers


def test_the_limit_is_a_number_with_a_reason():
    assert MAX_REDIRECTS == 10


# --- where to ---


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("https://h.example/x", "https://h.example/x"),
        ("https://other.example", "https://other.example"),
        ("HTTPS://Other.Example/X", "https://Other.Example/X"),
        ("http://h.example/", "http://h.example/"),
        ("/x", "https://h.example/x"),
        ("x", "https://h.example/a/x"),
        ("./x", "https://h.example/a/x"),
        ("../x", "https://h.example/x"),
        ("../../../x", "https://h.example/x"),
        ("?q=1", "https://h.example/a/b?q=1"),
        ("/x?a=1&a=2#frag", "https://h.example/x?a=1&a=2"),
        ("#frag", "https://h.example/a/b?c=d"),
        ("//other.example/x", "https://other.example/x"),
        ("  /x\t", "https://h.example/x"),
        ("/a b", "https://h.example/a%20b"),
        ("/a%20b", "https://h.example/a%20b"),
        ("/a%2Fb%2f", "https://h.example/a%2Fb%2f"),
        ("/100%", "https://h.example/100%"),
        ("/grün", "https://h.example/gr%FCn"),
        ("/grün".encode().decode("latin-1"), "https://h.example/gr%C3%BCn"),
        ("/à".encode().decode("latin-1"), "https://h.example/%C3%A0"),  # its last byte looks like a space
        ("/a\\b", "https://h.example/a%5Cb"),
        ("\\\\other.example\\x", "https://h.example/a/%5C%5Cother.example%5Cx"),
        ("/\\other.example", "https://h.example/%5Cother.example"),
        ('/<script>"{}|^`', "https://h.example/%3Cscript%3E%22%7B%7D%7C%5E%60"),
        ("/a\tb", "https://h.example/a%09b"),
        ("java\tscript:alert(1)", "https://h.example/a/java%09script:alert(1)"),
        ("https://me:s3cret@other.example/x", "https://other.example/x"),
        ("//me@h.example/x", "https://h.example/x"),
        ("https://h.example\\@other.example/", "https://other.example/"),
        ("https://h.example@other.example/", "https://other.example/"),
        ("https://other.example:8443/x", "https://other.example:8443/x"),
        ("https://h.example:/x", "https://h.example:/x"),
        ("https://[::1]:8443/x", "https://[::1]:8443/x"),
        ("https://xn--bcher-kva.example/", "https://xn--bcher-kva.example/"),
        ("/x?filter[a]=1", "https://h.example/x?filter[a]=1"),
        ("/x:y@z!$&'()*+,;=~", "https://h.example/x:y@z!$&'()*+,;=~"),
    ],
)
def test_a_location_is_a_reference_from_the_url_that_was_asked(location, expected):
    assert target(location) == expected


@pytest.mark.parametrize(
    "location",
    [
        "", " ", "\t", "javascript:alert(1)", "data:text/html,x", "file:///etc/passwd", "ftp://other.example/",
        "mailto:a@b", "about:blank", "ws://h.example/", "http:", "https:/x", "https:x", "https://", "https:///x", "//",
        "//:80/", "https://:80/",
        "https://h.example:99999/", "https://h.example:x/", "https://h.example:-1/", "https://[::1/", "https://[x]/",
        "https://h example/", "https://other.example\\.h.example/", "https://b\xfccher.example/", "https://a,b/",
        "https://h.example%2Fother/", "https://me@", "//[", "x:y", "///x", "//?x", "//#",
    ],
)  # fmt: skip
def test_what_is_no_url_that_can_be_asked_is_not_followed(location):
    assert target(location) is None


def test_a_transport_that_reads_headers_as_utf_8_is_understood():
    for location in ("/€", "/€".encode().decode("ascii", "surrogateescape")):
        response = Response(302, Headers.received([("Location", location)]))
        assert next_hop(asked(), response).url == "https://h.example/%E2%82%AC"


def test_locations_that_disagree_are_not_followed():
    one = Response(302, [("Location", "/x"), ("Location", "/x")])
    two = Response(302, [("Location", "/x"), ("Location", "/y")])
    assert next_hop(asked(), one).url == "https://h.example/x"
    assert next_hop(asked(), two) is None


def test_params_of_the_request_belong_to_what_was_asked_not_to_what_comes():
    assert target("#", params={"page": 2}) == "https://h.example/a/b?c=d&page=2"
    assert target("/x", params={"page": 2}) == "https://h.example/x"
    assert target("?y", params={"page": 2}) == "https://h.example/a/b?y"


def test_the_rest_of_the_request_goes_along():
    request = asked(timeout=5, template="/t", extensions={"a": 1}, headers={"X": "1"}, deadline=1.0)
    hop = next_hop(request, to("/x"))
    for name in ("timeout", "template", "extensions", "headers", "deadline"):
        assert getattr(hop, name) == getattr(request, name)
    hop.headers["X"] = hop.extensions["a"] = "2"
    assert (request.headers["X"], request.extensions["a"]) == ("1", 1)


# --- secrets ---

SECRETS = {"Authorization": "s3cret", "Proxy-Authorization": "s3cret", "Cookie": "s3cret", "X-API-Key": "s3cret"}


@pytest.mark.parametrize(
    ("location", "home"),
    [
        ("/x", True),
        ("?x", True),
        ("//h.example/x", True),
        ("https://h.example:443/x", True),
        ("https://H.EXAMPLE/x", True),
        ("https://me@h.example/x", True),
        ("http://h.example/x", False),  # https to http
        ("http://h.example:443/x", False),
        ("https://h.example:8443/x", False),
        ("https://h.example./x", False),
        ("https://sub.h.example/x", False),
        ("https://example/x", False),
        ("https://h.example.evil.example/x", False),
        ("https://other.example/x", False),
        ("//other.example", False),
        ("https://h.example@other.example/x", False),
        ("https://h.example\\@other.example/x", False),
    ],
)
def test_secrets_stay_home(location, home):
    request = asked(headers={**SECRETS, "Host": "virtual", "A": "1"}, cookies={"a": "s3cret"}, auth=("u", "p"))
    hop = next_hop(request, to(location), {"x-api-key"})
    if home:
        assert dict(hop.headers) == dict(request.headers)
        assert (hop.cookies, hop.auth) == (request.cookies, request.auth)
    else:
        assert dict(hop.headers) == {"A": "1"}
        assert (hop.cookies, hop.auth) == ({}, None)
    assert dict(request.headers) == {**SECRETS, "Host": "virtual", "A": "1"}
    assert (request.cookies, request.auth) == ({"a": "s3cret"}, ("u", "p"))


def test_from_http_to_https_is_another_origin_too():
    request = asked(url="http://h.example/", headers=SECRETS)
    assert dict(next_hop(request, to("https://h.example/")).headers) == {"X-API-Key": "s3cret"}


@pytest.mark.parametrize(
    "sensitive", [["x-api-key"], {"X-API-KEY"}, ("X-Api-Key", "X-Other"), frozenset({"x-api-key"})]
)
def test_the_names_of_secrets_have_no_case(sensitive):
    assert not next_hop(asked(headers=SECRETS), to("https://other.example/"), sensitive).headers


def test_what_nobody_called_sensitive_goes_along():
    hop = next_hop(asked(headers=SECRETS), to("https://other.example/"))
    assert dict(hop.headers) == {"X-API-Key": "s3cret"}


def test_a_body_goes_to_another_origin_where_the_status_says_so():
    hop = next_hop(asked("POST", content=b"body"), to("https://other.example/", 307))
    assert hop.content == b"body"


def test_secrets_are_gone_for_good_even_if_the_way_leads_home():
    away = next_hop(asked(headers=SECRETS, auth=("u", "p")), to("https://other.example/"), SECRETS)
    back = next_hop(away, to(HOME))
    assert back.url == HOME
    assert not back.headers
    assert back.auth is None


# --- laws ---

texts = st.text(st.characters(codec="latin-1"), max_size=30)
oddities = st.lists(
    st.sampled_from(["https:", "http:", "/", "//", "\\", "@", ":", "?", "#", "h.example", "evil.example", "%2F", "%",
                     "[", "]", "..", ".", ";", " ", "\t", "javascript:", ":443", ":80", "é", "\0", "\x7f"]),
    max_size=8,
).map("".join)  # fmt: skip


@given(texts | oddities, st.sampled_from(REDIRECTS))
def test_wherever_a_response_points_the_next_request_is_a_sound_one_and_secrets_stay_home(location, status):
    response = Response(status, Headers.received([("Location", location)]))
    hop = next_hop(asked(headers=SECRETS, auth=("u", "p")), response, SECRETS)
    if hop is None:
        return
    assert re.fullmatch(r"https?://[^/?#@\\\s]+([/?][A-Za-z0-9._~:/?\[\]@!$&'()*+,;=%-]*)?", hop.url)
    assert origin(hop.url)
    home = same_origin(hop.url, HOME)
    assert (hop.auth is not None) is home
    assert set(SENSITIVE) & {name.lower() for name in hop.headers} == (
        {"authorization", "proxy-authorization", "cookie"} if home else set()
    )
    assert ("X-API-Key" in hop.headers) is home
