"""Whatever anybody writes into a header: no error but those that are meant, and time in proportion to its length.

Each parser gets text that hypothesis makes, of the characters that mean something to it above all; and long runs of
every such piece, in the middle of what it expects. No test looks at a clock: 64 KiB that took quadratic time would
take minutes, and a test has one.

A header that is not here is not parsed, but compared or passed on.
"""

from contextlib import suppress
from http.cookiejar import CookieJar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from formation import dates
from formation.client.pages import links
from formation.client.unpacking import is_ours
from formation.http import (
    Headers,
    Request,
    Response,
    cookies,
    lists,
    negotiation,
    origins,
    redirects,
    secrets,
    url,
    validators,
)
from formation.http.codings import codings_of
from formation.http.headers import charset
from formation.http.multipart import Multipart
from formation.middleware.clean_request import products
from formation.middleware.exception_handler import preferred
from formation.middleware.problem_details import problem_of
from formation.resilience import deadlines
from formation.resilience.retry_after import retry_after
from formation.server.request import authority
from formation.server.wsgi.response import parse_status
from tests.middleware.worlds import on_server
from tests.server.edges import Sent, environ_of, scope_of


def line(name, value):
    return Headers.received([(name, value)])


def kept(value):
    keep = Response(200, line("Set-Cookie", value))
    cookies.keep(CookieJar(), Request("GET", "https://h.example/"), keep)


def asked(name):
    """What a server reads of a request that has such a header."""

    def read(value):
        request = on_server(headers=line(name, value))["fmtn.req.http"]
        return request.cookies, request.headers.redacted()

    return read


def traced(value):
    from formation.server.asgi.messages import trace_of
    from formation.server.wsgi.request import trace_of as wsgi_trace_of

    scope = scope_of(Sent(headers={"traceparent": value, "tracestate": value}))
    assert trace_of(scope)["traceparent"] == value
    assert wsgi_trace_of(environ_of(Sent(headers={"traceparent": value})))["traceparent"] == value


def conditions(value):
    names = ("If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since")
    for name in names:
        found = validators.precondition("GET", line(name, value), etag='"a"', last_modified=value)
        assert found in {None, 304, 412}


def named(value):
    Multipart({value: value}, {value: (value, b"", value)})


PARSERS = {
    "Accept": preferred,
    "Accept (types)": lambda value: negotiation.media_type(value, ["text/html"]),
    "Accept-Encoding": lambda value: negotiation.coding(value, ["gzip"]),
    "Content-Disposition": named,
    "Content-Encoding": lambda value: (codings_of(value), is_ours(line("Content-Encoding", value))),
    "Content-Type": lambda value: (charset(line("Content-Type", value)), Response(200, line("A", value)).text),
    "Cookie": cookies.received,
    "Cookie of a request": asked("Cookie"),
    "Host": authority,
    "If-Match and the like": conditions,
    "Link": lambda value: links(line("Link", value)),
    "Location": lambda value: redirects.target("https://h/", value),
    "Retry-After": lambda value: retry_after({"Retry-After": value, "Date": value}, ["Retry-After"], lambda: 0.0),
    "Set-Cookie": kept,
    "URL": lambda value: (origins.same_origin(value, "https://h/"), secrets.redact(value), url.to_ascii(value)),
    "User-Agent": products,
    "Vary": lambda value: negotiation.vary_on(line("Vary", value), "Accept"),
    "a date": lambda value: dates.parse(value, 0.0),
    "a list": lists.members,
    "a member": lists.parameters,
    "a problem": lambda value: problem_of(value.encode("latin-1", "replace")),
    "a quoted string": lists.unquoted,
    "a query": lambda value: on_server(url=f"https://h/?{value}")["fmtn.req.http"].params,
    "a status line": parse_status,
    "grpc-timeout": lambda value: deadlines.read("grpc-timeout", value),
    "time that is left": lambda value: deadlines.read("X-Request-Timeout", value),
    "traceparent": traced,
}
REFUSED = {
    "Content-Disposition": ValueError,  # a name that cannot be sent is refused where it is given
    "URL": ValueError,
    "a query": ValueError,  # `check_url` and what urlsplit refuses
    "a status line": ValueError,
}
PIECES = [
    '"', "\\", '\\"', "\\1", ";", ",", "=", " ", "\t", "a", "a=", "a;", ";a", '="', '";', '",', "<", ">", "</a>;",
    'rel="', "(", ")", "%", "%2", "&", "?", "#", "/", "://", "..", "@", ":", "[", "]", "0", "1.", "-", "W/", '"a"', "*",
    "q=", ";q=1,", "\xe9", "{", "[[", "Sun, ", "gzip,", "a=b; ",
]  # fmt: skip
AROUND = [("", ""), ('a="', '"'), ("text/html; charset=", ""), ("</a>; rel=", ""), ("https://", "/")]
TEXT = st.lists(st.sampled_from(PIECES), max_size=30).map("".join) | st.text(
    st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=100
)


def read(name, value):
    with suppress(REFUSED.get(name, ())):
        PARSERS[name](value)


@pytest.mark.parametrize("name", PARSERS)
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(value=TEXT)
def test_no_text_is_an_error_that_is_not_meant(name, value):
    read(name, value)


@pytest.mark.parametrize("name", PARSERS)
@pytest.mark.parametrize("around", AROUND, ids=["plain", "quoted", "type", "link", "url"])
def test_64_kib_of_anything_are_read_in_time(name, around):
    before, after = around
    for piece in PIECES:
        read(name, before + piece * (2**16 // len(piece)) + after)


@pytest.mark.parametrize("name", PARSERS)
def test_a_mebibyte_is_read_in_time(name):
    for piece in ('"', "\\", ";", ",", "a=b; ", "/"):
        read(name, f'a="{piece * (2**20 // len(piece))}"')
