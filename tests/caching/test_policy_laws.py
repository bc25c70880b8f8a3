"""What holds for whatever anybody sends: nothing raises, nothing old is fresh, nobody gets what is not theirs."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from formation import dates
from formation.caching import directives, freshness, ranges, variants
from formation.caching.decisions import Verdict
from formation.caching.policy import Policy, Request
from formation.http.validators import is_listed, is_tag
from tests.caching.exchanges import NOW, PRIVATE, SHARED, URL, date

NAMES = ["Age", "Cache-Control", "CDN-Cache-Control", "Connection", "Content-Length", "Content-Location", "Cookie"]
NAMES += ["Date", "ETag", "Expires", "If-Match", "If-Modified-Since", "If-None-Match", "If-Range", "Last-Modified"]
NAMES += ["Location", "Pragma", "Range", "Set-Cookie", "Vary", "Authorization", "Accept-Language", "Foo"]

WORDS = ["max-age", "s-maxage", "no-cache", "no-store", "private", "public", "must-revalidate", "proxy-revalidate"]
WORDS += ["must-understand", "immutable", "stale-while-revalidate", "stale-if-error", "max-stale", "min-fresh", "Foo"]
WORDS += ["only-if-cached", "bytes", "W/", '"', "\\", "=", ",", ";", " ", "\t", "*", "-", "0", "1", "60", "99999999999"]
WORDS += ['"a"', 'W/"a"', "a", "?1", "(", ")", ":", "\xfc", "\u0663", date(), date(-60), date(60), "GMT", URL, "/b"]

values = st.lists(st.sampled_from(WORDS), max_size=8).map("".join) | st.text(max_size=20)
headers = st.lists(st.tuples(st.sampled_from(NAMES), values), max_size=8)
methods = st.sampled_from(["GET", "HEAD", "POST", "PUT", "FOO"])
statuses = st.sampled_from([100, 200, 203, 204, 206, 301, 304, 404, 500, 503, 599])
policies = st.sampled_from([SHARED, PRIVATE, Policy(shared=True, stale_if_error=60)])
times = st.floats(min_value=0, max_value=1e6)
requests = st.builds(Request, methods, st.sampled_from([URL, "/", "x", "http://[/"]), headers)


def entry_of(policy, request, status, response):
    entry = policy.entry(request, status, response, requested_at=NOW, received_at=NOW + 1)
    return entry.with_body(b"0123456789", 10)


@given(policies, st.tuples(requests, requests), statuses, st.tuples(headers, headers), times)
@settings(max_examples=300)
def test_no_request_and_no_response_makes_the_policy_raise(policy, asked, status, told, later):
    (before, after), (response, news) = asked, told
    now = NOW + 1 + later
    at = {"requested_at": now, "received_at": now}
    policy.refusal(before, status, response)
    policy.invalidated(before, status, response)
    entry = entry_of(policy, before, status, response)
    selected = policy.select(after, [entry])
    assert selected in (entry, None)
    policy.decide(after, selected, now)
    policy.conditional(after, selected, [entry])
    policy.validated(after, news, selected, [entry])
    policy.may_serve_stale(after, entry, now)
    policy.answer(after, entry, now)
    fresh = policy.freshen(after, entry, news, **at)
    assert policy.after_head(after, entry, status, news, **at) is None or fresh.body == entry.body


@given(policies, requests, requests, headers, times)
@settings(max_examples=300)
def test_nothing_is_fresh_after_its_lifetime_nor_used_when_stale_without_leave(policy, before, after, response, later):
    entry = entry_of(policy, before, 200, response)
    verdict = policy.decide(after, entry, NOW + 1 + later)
    old = entry.age_at(NOW + 1 + later) >= entry.lifetime
    if verdict is Verdict.FRESH:
        assert not old
        assert not entry.no_cache
    if verdict in {Verdict.REFRESH, Verdict.STALE}:
        assert old
        assert not entry.no_cache
        assert not entry.must_revalidate
        assert entry.stale_while_revalidate or "max-stale" in after.directives


@given(policies, requests, requests, headers, times)
@settings(max_examples=300)
def test_an_answer_is_a_part_of_the_entry_and_says_how_old_it_is(policy, before, after, response, later):
    entry = entry_of(policy, before, 200, response)
    answer = policy.answer(after, entry, NOW + 1 + later)
    ages = [value for name, value in answer.headers if name.lower() == "age"]
    assert ages == [str(int(entry.age_at(NOW + 1 + later)))]
    assert answer.status in {200, 206, 304, 416}
    if answer.body is not None:
        assert 0 <= answer.body.start <= answer.body.stop <= entry.length
        assert answer.status == 206 or answer.body == slice(0, entry.length)


@given(requests, requests, headers)
@settings(max_examples=300)
def test_a_shared_cache_gives_nobody_what_is_of_somebody_else(before, after, response):
    if SHARED.refusal(before, 200, response) is not None:
        return
    entry = entry_of(SHARED, before, 200, response)
    told, _ = SHARED.settings.directives(Request("GET", URL, response).fields)
    assert "private" not in told or told["private"]
    if "authorization" in before.fields:
        assert {"public", "must-revalidate", "s-maxage"} & set(told)
    if SHARED.select(after, [entry]) is not None:
        for name, value in entry.vary:
            assert variants.normal(name, after.fields.get(name)) == value


@given(policies, requests, headers)
@settings(max_examples=200)
def test_what_is_stored_has_no_field_between_neighbours_and_one_date(policy, request, response):
    names = [name.lower() for name, _ in entry_of(policy, request, 200, response).headers]
    assert "connection" not in names
    assert "age" not in names
    assert "date" in names or "date" in Request("GET", URL, response).fields.get("connection", "").lower()


# Time that grows faster than length would be minutes here, and the time limit of a test would end it.

LONG = 2**20
PARTS = [
    "a",
    ",",
    '"',
    "\\",
    "=",
    ";",
    " ",
    "a,",
    "a=",
    'a="',
    '"a',
    'a="\\',
    '\\"',
    ',"',
    "W/",
    'W/"',
    'W/"a',
    "(",
    "a=(",
]
PARTS += [
    "a;",
    "a;a=",
    "0",
    "-",
    "0-",
    "bytes=",
    "\t",
    ", ,",
    "q=",
    ":",
    "a=:",
    "*",
    "http://",
    "@",
    "/..",
    "%",
    "[",
    "#",
]


@pytest.mark.parametrize("part", PARTS)
def test_every_parser_takes_a_mebibyte_of_anything(part):
    body = part * (LONG // len(part))
    for value in (body, 'a="' + body):
        directives.parse(value)
        directives.parse_targeted(value)
        directives.seconds(value)
        dates.parse(value, NOW)
        freshness.age(value)
        is_tag(value, lenient=True)
        is_listed(value, '"x"', strong=False, lenient=True)
        ranges.is_of_this(value, '"x"', NOW, NOW)
        variants.names(value)
        variants.normal("foo", value)
        variants.normal("accept-language", value)
    with suppress(LookupError):
        ranges.part("bytes=" + body, 10)


def test_a_hundred_thousand_lines_are_read_as_well():
    lines = [("Cache-Control", "max-age=60")] * 100_000
    request = Request("GET", URL, lines)
    assert request.directives == {"max-age": "60"}
    assert SHARED.refusal(request, 200, lines) is None
