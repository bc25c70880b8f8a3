"""Pages: the Link header, which URL may come next, and the turning itself on a sync and on an async edge."""

import asyncio
import gc
import json
from contextlib import aclosing, closing
from time import perf_counter
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from formation import reply
from formation.client.pages import link_header, links
from formation.errors import BodyConsumed, DecodeError, ForeignURLError, PagesError, StatusError
from formation.for_aiohttp import Client as AsyncClient
from formation.for_aiohttp import build as build_async
from formation.for_requests import Client, build, json_response
from formation.http import Headers
from formation.http.url import merge_query
from formation.middleware import api_key, bearer, retry

# The Link header (RFC 8288)

LINKS = {
    "one": ('</p?page=2>; rel="next"', {"next": "/p?page=2"}),
    "without quotes": ("</p>; rel=next", {"next": "/p"}),
    "without spaces": ('</p>;rel="next"', {"next": "/p"}),
    "with spaces and tabs everywhere": (' \t</p> ; \trel\t= \t"next" ', {"next": "/p"}),
    "two": ('</2>; rel="next", </9>; rel="last"', {"next": "/2", "last": "/9"}),
    "two without a space": ("</2>;rel=next,</9>;rel=last", {"next": "/2", "last": "/9"}),
    "several relations": ('</1>; rel="prev  first\tstart"', {"prev": "/1", "first": "/1", "start": "/1"}),
    "a relation that is a URL": ('</x>; rel="https://h/Rel next"', {"https://h/rel": "/x", "next": "/x"}),
    "case does not matter": ("</p>; REL=NEXT", {"next": "/p"}),
    "the first of a relation counts": ('</a>; rel=next, </b>; rel="next"', {"next": "/a"}),
    "the first rel counts": ("</a>; rel=prev; rel=next", {"prev": "/a"}),
    "other parameters before": ('</p>; title="x"; hreflang=de; rel=next', {"next": "/p"}),
    "other parameters after": ("</p>; rel=next; title*=UTF-8'de'n%c3%a4chste", {"next": "/p"}),
    "a parameter without a value": ("</p>; crossorigin; rel=next", {"next": "/p"}),
    "a rel without a value": ("</p>; rel", {}),
    "an empty rel": ('</p>; rel=""', {}),
    "no rel": ("</p>; title=next", {}),
    "a name that only ends in rel": ("</p>; xrel=next", {}),
    "a name that only begins with rel": ("</p>; rel*=next; relation=next", {}),
    "a comma in the target": ('</p?ids=1,2,3>; rel="next", </q>; rel=last', {"next": "/p?ids=1,2,3", "last": "/q"}),
    "a semicolon in the target": ("</p;v=1?a;b>; rel=next", {"next": "/p;v=1?a;b"}),
    "a quote in the target": ('</p?q="a>; rel=next', {"next": '/p?q="a'}),
    "a comma in quotes": ('</p>; title="a, b"; rel=next', {"next": "/p"}),
    "a semicolon in quotes": ('</p>; title="a; rel=prev"; rel=next', {"next": "/p"}),
    "a link in quotes": ('</p>; title="</x>; rel=next", </q>; rel=next', {"next": "/q"}),
    "an escaped quote in quotes": (r'</p>; title="a \", </x>; rel=prev, \" b"; rel=next', {"next": "/p"}),
    "an escaped backslash at the end": (r'</p>; title="a \\"; rel=next', {"next": "/p"}),
    "an escaped relation": (r'</p>; rel="n\ext"', {"next": "/p"}),
    "empty elements": (", ,</p>; rel=next,, ,", {"next": "/p"}),
    "empty parameters": ("</p>;; ;rel=next;", {"next": "/p"}),
    "spaces around the target": ("< /p >; rel=next", {"next": "/p"}),
    "an empty target": ("<>; rel=next", {"next": ""}),
    "another context": ('</p>; rel=next; anchor="#ch2", </q>; rel=next', {"next": "/q"}),
    "absolute": ("<https://api.example.com/p?page=2>; rel=next", {"next": "https://api.example.com/p?page=2"}),
    "of GitHub": (
        '<https://api.github.com/stars?page=2>; rel="next", <https://api.github.com/stars?page=5>; rel="last"',
        {"next": "https://api.github.com/stars?page=2", "last": "https://api.github.com/stars?page=5"},
    ),
}

MALFORMED = {
    "nothing": ("", {}),
    "no brackets": ("/p; rel=next", {}),
    "no end of the target": ("</p; rel=next", {}),
    "no end of the second target": ("</p>; rel=prev, </q; rel=next", {"prev": "/p"}),
    "no end of the quotes": ('</p>; rel="next', {"next": "/p"}),
    "no end of the quotes, and a link": ('</p>; title="x, </q>; rel=next', {}),
    "nonsense before": ("nonsense, </p>; rel=next", {"next": "/p"}),
    "nonsense between": ("</p>; rel=prev, nonsense, </q>; rel=next", {"prev": "/p", "next": "/q"}),
    "nonsense after the quotes": ('</p>; rel="next"x, </q>; rel=last', {"next": "/p", "last": "/q"}),
    "nonsense after the target": ("</p> nonsense; rel=next, </q>; rel=last", {"last": "/q"}),
    "only commas": (",,,", {}),
    "only brackets": ("<<<>>>", {}),
    "a lone backslash": ('</p>; rel="next\\', {"next": "/p"}),
    "an equals sign only": ("</p>; =next; rel=last", {"last": "/p"}),
}


@pytest.mark.parametrize(("line", "expected"), [*LINKS.values(), *MALFORMED.values()], ids=[*LINKS, *MALFORMED])
def test_reads_the_link_header(line, expected):
    assert links(Headers({"link": line})) == expected


def test_several_lines_are_one_list():
    lines = [("Link", "</2>; rel=next"), ("Link", "broken"), ("link", "</9>; rel=last, </3>; rel=next")]
    assert links(Headers(lines)) == {"next": "/2", "last": "/9"}
    assert links(Headers()) == {}


line = st.one_of(
    st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0")),
    st.text(st.sampled_from('<>;,="\\ \trelnxt/*')),
    st.lists(st.sampled_from(["<", ">", "</p>", ";", ",", " ", "rel", "=", '"', "\\", "next", "anchor"])).map("".join),
)


@given(lines=st.lists(line, max_size=4))
@example(['<a>\\"'])
def test_whatever_a_server_sends_no_error_is_raised(lines):
    headers = Headers([("Link", each) for each in lines])
    for rel, target in links(headers).items():
        assert rel == rel.lower()
        assert rel
        assert any(target in each for each in lines)


target = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="<>"), min_size=1)
token = st.from_regex(r"[a-z][a-z0-9.-]{0,8}", fullmatch=True)
quoted = st.text(st.characters(min_codepoint=32, max_codepoint=126))


@given(made=st.lists(st.tuples(target, token, quoted), max_size=5), split=st.booleans())
def test_what_is_written_by_the_rules_is_read_again(made, split):
    def written(target, rel, title):
        escaped = title.replace("\\", "\\\\").replace('"', '\\"')
        return f'<{target}>; title="{escaped}"; rel="{rel}"'

    lines = [written(*each) for each in made]
    headers = Headers([("Link", each) for each in lines] if split else [("Link", ", ".join(lines))])
    expected = {}
    for target, rel, _ in made:
        expected.setdefault(rel, target)
    assert links(headers) == expected


SIZE = 256 * 1024
"""Characters; four times what any of the libraries takes for a line, so that it shows."""

PIECES = ["<", ">", "<>", "<a>", '"', '\\"', '<a>\\"', '<a>;x="', "<a>;", ";", "; ", " ", ",", "<a>; rel=", "rel ", "a"]
PIECES += ["<,", " ,", ",<a", "<a> ,", "<a>;,", '<a>;x=",', "\t", ";\t", "=", "<a>;=", '"a"', '<a>;rel="a"b']
PIECES += ['<a>;rel="', '<a>;"\\', "<a>; a=b", '="', "<a>,", "\\", '<a>;x="\\"']


@pytest.mark.parametrize("piece", PIECES)
def test_the_longer_a_header_the_longer_it_takes_and_no_more(piece):
    many = piece * (SIZE // len(piece))
    started = perf_counter()
    for line in (many, f"<a>{many}", f"<a>; rel={many}", f'<a>; rel="{many}'):
        links(Headers.received([("Link", line)]))
    assert perf_counter() - started < 8  # what is quadratic takes minutes


# Turning

PAGES = 4


def say_pages(connection, seen):
    """Three items a page, and where the next one is, as ``how`` wants it."""
    page, how = int(seen.arg("page", "1")), seen.arg("how", "link")
    more = page < PAGES
    following = f"/pages?how={how}&page={page + 1}"
    headers, body = [], {"items": [page * 10 + n for n in range(3)], "sent": seen.header("X-Call")}
    if how == "link" and more:
        headers = [("Link", f'<{following}>; rel="next", </pages?how=link>; rel="first"')]
    elif how == "relative" and more:
        headers = [("Link", f"<?how=relative&page={page + 1}>; rel=next")]
    elif how == "body":
        body["next"] = following if more else None
    elif how == "cursor":
        body["cursor"] = page + 1 if more else ""
    elif how == "cycle":
        headers = [("Link", f"</pages?how=cycle&page={page % 3 + 1}>; rel=next")]
    elif how == "self":
        headers = [("Link", f"<{seen.target}>; rel=next")]
    elif how == "endless":
        headers = [("Link", f"<{following}>; rel=next")]
    elif how == "to":
        headers = [("Link", f"<{seen.arg('to')}>; rel=next")]
    connection.answer_json(seen, body, headers=headers)


@pytest.fixture(scope="module", autouse=True)
def _pages(server, other_server):
    with server.route("pages", say_pages), other_server.route("pages", say_pages):
        yield


def collect(pages):
    got = []
    try:
        for each in pages:
            got.append(each)  # noqa: PERF402  what came before an error counts
    except Exception as error:  # noqa: BLE001  an outcome like any other
        return got, error
    return got, None


async def acollect(pages):
    got = []
    try:
        async for each in pages:
            got.append(each)  # noqa: PERF401  likewise
    except Exception as error:  # noqa: BLE001  likewise
        return got, error
    return got, None


def sync_pages(settings, path, options, **how):
    with build(response_as=json_response, **settings) as api:
        return collect(api.pages(lambda: api.get(path, **options), **how))


def async_pages(settings, path, options, **how):
    async def main():
        async with build_async(response_as=json_response, **settings) as api:
            return await acollect(api.pages(lambda: api.get(path, **options), **how))

    return asyncio.run(main())


@pytest.fixture(params=[sync_pages, async_pages], ids=["requests", "aiohttp"])
def turn(request, server):
    """Turn pages on an edge; gives what came, and the error that ended it or ``None``."""

    def turn(path="/pages", options=None, settings=None, **how):
        return request.param({"base_uri": server.url, **(settings or {})}, path, options or {}, **how)

    return turn


def items(body):
    return body["items"]


ALL = [page * 10 + n for page in range(1, PAGES + 1) for n in range(3)]


@pytest.mark.parametrize("how", ["link", "relative"])
def test_follows_the_link_header_to_the_last_page(turn, how):
    results, error = turn("/pages", {"params": {"how": how}})
    assert error is None
    assert [result.status_code for result in results] == [200] * PAGES
    assert [number for result in results for number in result.body["items"]] == ALL


def test_gives_the_items_of_all_pages(turn):
    assert turn(items=items) == (ALL, None)


def test_a_page_without_a_next_one_is_the_only_one(turn):
    got, error = turn("/echo")
    assert (len(got), error) == (1, None)


def test_next_may_be_a_function_of_the_result(turn):
    how = {"params": {"how": "body"}}
    assert turn("/pages", how, items=items, next=lambda result: result.body["next"]) == (ALL, None)


def test_next_may_make_the_url_of_a_cursor(turn):
    def following(result):
        cursor = result.body["cursor"]
        return merge_query(result.url, [("page", str(cursor))]) if cursor else None

    assert turn("/pages", {"params": {"how": "cursor"}}, items=items, next=following) == (ALL, None)


def test_each_call_is_the_same_but_for_its_url(turn, server):
    options = {
        "path": {"name": "pages"},
        "params": {"page": 2, "how": "link"},
        "headers": {"X-Call": "mine"},
        "cookies": {"a": "1"},
        "json": {"q": 1},
    }
    with server.watch() as seen:
        results, error = turn("/{name}", options)
    assert error is None
    assert [request.target for request in seen.requests] == [
        "/pages?page=2&how=link",
        "/pages?how=link&page=3",
        "/pages?how=link&page=4",
    ]
    assert {(request.header("X-Call"), request.header("Cookie"), request.body) for request in seen.requests} == {
        ("mine", "a=1", b'{"q":1}')
    }
    assert {result.request.template for result in results} == {"/{name}"}
    assert {result.ctx["fmtn.template"] for result in results} == {"/{name}"}


def test_pages_are_fetched_one_by_one_as_they_are_wanted(server):
    with build(base_uri=server.url, response_as=json_response) as api, server.watch() as seen:
        pages = api.pages(lambda: api.get("/pages"))
        assert len(seen.requests) == 0
        with closing(pages):
            next(pages)
            assert len(seen.requests) == 1
            next(pages)
        assert len(seen.requests) == 2


def test_async_pages_are_fetched_one_by_one_and_may_be_left(server):
    async def main():
        async with build_async(base_uri=server.url) as api:
            async with aclosing(api.pages(lambda: api.get("/pages"))) as pages:
                async for _ in pages:
                    break
            pages = api.pages(lambda: api.get("/pages"))
            await anext(pages)
            del pages
            gc.collect()
            await asyncio.sleep(0)

    with server.watch() as seen:
        asyncio.run(main())
    assert len(seen.requests) == 2


def test_middleware_runs_for_each_page(turn):
    calls = []

    def count(ctx, call):
        calls.append(ctx["fmtn.template"])
        return call(ctx)

    turn(settings={"middleware": [count, retry(2)]})
    assert calls == ["/pages"] * PAGES


# What may not come next


def test_a_repeated_url_is_an_error(turn):
    got, error = turn("/pages?how=cycle&page=1", items=items)
    assert len(got) == 9
    assert isinstance(error, PagesError)
    assert (error.pages, error.repeated) == (3, True)
    assert error.url.endswith("/pages?how=cycle&page=1")
    assert error.request.url.endswith("page=3")
    assert error.response.status_code == 200
    assert "has been read already" in str(error)


def test_a_page_that_names_itself_is_an_error(turn):
    got, error = turn("/pages?how=self")
    assert (len(got), error.pages, error.repeated) == (1, 1, True)


def test_a_repeated_url_is_seen_whatever_middleware_adds_to_it(turn):
    got, error = turn("/pages?how=cycle&page=1", settings={"middleware": [api_key("s3cret", "key", place="query")]})
    assert isinstance(error, PagesError)
    assert error.repeated
    assert len(got) in {3, 4}


def test_more_pages_than_allowed_are_an_error(turn):
    got, error = turn("/pages?how=endless", max_pages=7)
    assert (len(got), error.pages, error.repeated) == (7, 7, False)
    assert "max_pages=7" in str(error)
    assert turn(max_pages=PAGES, items=items) == (ALL, None)


def test_a_thousand_pages_are_enough_for_everybody():
    count = 0

    def endless(ctx):
        nonlocal count
        count += 1
        return reply(ctx, 200, {"Link": f"</?page={count}>; rel=next"})

    with build(base_uri="https://h", endpoint=endless) as api:
        got, error = collect(api.pages(api.get))
    assert (len(got), count, error.pages) == (1000, 1000, 1000)


FOREIGN = ["https://evil.example/", "//evil.example/x", "ftp://127.0.0.1/", "javascript:alert(1)", "http://[::1"]


@pytest.mark.parametrize("url", FOREIGN)
def test_a_url_of_another_origin_is_an_error(turn, url):
    got, error = turn("/pages", {"params": {"how": "to", "to": url}})
    assert len(got) == 1
    assert isinstance(error, ForeignURLError)
    assert error.request is got[0].request


def test_another_port_is_another_origin_and_sees_nothing(turn, other_server):
    with other_server.watch() as seen:
        _, error = turn("/pages", {"params": {"how": "to", "to": other_server.url + "/pages"}})
    assert isinstance(error, ForeignURLError)
    assert seen.requests == []


def test_what_can_be_iterated_but_once_is_the_same_for_each_page(turn):
    ran, stamped = [], []

    def count(ctx, call):
        ran.append(ctx)
        return call(ctx)

    def stamp(ctx, call):
        stamped.append(ctx)
        return call(ctx)

    options = {
        "headers": iter([("X-Stays", "1")]),
        "middleware": iter([count]),
        "without": iter(["stamp"]),
        "expect": iter([200]),
    }
    results, error = turn(options=options, settings={"middleware": [stamp]})
    assert error is None
    assert [result.request.headers["X-Stays"] for result in results] == ["1"] * PAGES
    assert len(ran) == PAGES
    assert stamped == []


@pytest.mark.parametrize("options", [{}, {"absolute": True}])
def test_a_redirect_does_not_move_the_origin(turn, server, other_server, options):
    there = quote(f"{other_server.url}/pages?how=to&to=/steal")
    layers = [bearer("t0k3n")]
    path = f"{server.url}/redirect/302?to={there}"
    for settings in ({"middleware": layers}, {"middleware": layers, "base_uri": None}):
        with other_server.watch() as seen:
            got, error = turn(path, options, settings)
        assert isinstance(error, ForeignURLError)
        assert len(got) == 1
        assert [request.path for request in seen.requests] == ["/pages"]
        assert seen.requests[0].header("Authorization") is None


def test_relative_urls_are_relative_to_where_a_redirect_led(turn, server):
    with server.watch() as seen:
        turn("/redirect/302?to=/pages?how=relative", items=items)
    assert [request.path for request in seen.requests] == ["/redirect/302"] + ["/pages"] * PAGES


def test_a_call_that_goes_abroad_on_purpose_has_its_pages_there_and_no_secrets(turn, other_server):
    with other_server.watch() as seen:
        got, error = turn(
            f"{other_server.url}/pages", {"absolute": True}, {"middleware": [bearer("t0k3n")]}, items=items
        )
    assert (got, error) == (ALL, None)
    assert {request.header("Authorization") for request in seen.requests} == {None}


def test_errors_do_not_tell_what_is_sensitive(turn):
    keyed = {"middleware": [api_key("s3cret", "key", place="query")]}
    for to in ("https://evil.example/?key=s3cret", "/pages?how=to&to=x&key=s3cret"):
        _, error = turn("/pages", {"params": {"how": "to", "to": to}}, keyed, max_pages=1)
        assert isinstance(error, (ForeignURLError, PagesError))
        assert "s3cret" not in str(error) + error.url


@pytest.mark.parametrize("url", ["/echo/:id/x", "/echo/{id}", "/echo/{+rest}?q={q}&p=:p", "/echo/a b\\c#d"])
def test_a_url_of_a_server_is_no_template(turn, url):
    def following(result):
        return url if result.url.endswith("/pages") else None

    got, error = turn(next=following)
    assert error is None
    assert got[1].body["path"].startswith("/echo/")


@pytest.mark.parametrize("wrong", [5, ["/x"], b"/x", {"url": "/x"}])
def test_next_returns_a_url_or_nothing(turn, wrong):
    _, error = turn(next=lambda result: wrong)
    assert isinstance(error, TypeError)
    assert "expected next to return a URL" in str(error)


def test_an_error_of_a_page_passes_after_the_items_before_it(turn):
    def following(result):
        return "/status/500?body={}" if "pages" in result.url else None

    got, error = turn(options={"expect": 200}, next=following, items=items)
    assert got == ALL[:3]
    assert isinstance(error, StatusError)
    got, error = turn(next=lambda result: "/data?body=x", items=items)
    assert got == ALL[:3]
    assert isinstance(error, DecodeError)
    _, error = turn(items=lambda body: body["entries"])
    assert isinstance(error, KeyError)


def test_a_one_shot_body_is_not_sent_as_an_empty_one(turn):
    got, error = turn(options={"content": iter([b"once"])})
    assert len(got) == 1
    assert isinstance(error, BodyConsumed)


@pytest.mark.parametrize("made", [build, build_async], ids=["requests", "aiohttp"])
@pytest.mark.parametrize(
    ("how", "error"),
    [
        ({"max_pages": 0}, ValueError),
        ({"max_pages": "10"}, TypeError),
        ({"max_pages": True}, TypeError),
        ({"next": "next"}, TypeError),
        ({"call": "/pages"}, TypeError),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_sent(made, how, error):
    api = made(base_uri="https://h", endpoint=lambda ctx: reply(ctx, 200))
    with pytest.raises(error, match="expected"):
        api.pages(**{"call": lambda: api.get("/"), **how})


def test_a_call_that_has_been_made_already_is_refused(server):
    with build(base_uri=server.url) as api, pytest.raises(TypeError, match=r"write pages\(lambda: …\)"):
        api.pages(api.get("/pages"))

    async def main():
        async with build_async(base_uri=server.url) as api:
            with pytest.raises(TypeError, match=r"write pages\(lambda: …\)"):
                api.pages(api.get("/pages"))

    asyncio.run(main())


def test_pages_are_not_streamed(turn):
    got, error = turn(options={"stream": True})
    assert got == []
    assert isinstance(error, TypeError)
    assert "expected a call that returns a result" in str(error)


def test_clients_of_another_colour_are_refused(server):
    with build(base_uri=server.url) as api:
        api_async = build_async(base_uri=server.url)
        got, error = collect(api.pages(lambda: api_async.get("/pages")))
        assert got == []
        assert isinstance(error, TypeError)
        asyncio.run(api_async.close())


def test_a_declared_client_has_pages(server):
    class Numbers(Client):
        base_uri = server.url
        response_as = json_response

        def list(self, page=1):
            return self.request.get("/pages", params={"page": page})

        def all(self):
            return self.pages(self.list, items=lambda body: body["items"])

    with Numbers() as numbers:
        assert list(numbers.all()) == ALL
        assert len(list(numbers.pages(lambda: numbers.list(3)))) == 2

    class AsyncNumbers(AsyncClient):
        base_uri = server.url
        response_as = json_response

        def list(self):
            return self.request.get("/pages")

        def all(self):
            return self.pages(self.list, items=lambda body: body["items"])

    async def main():
        async with AsyncNumbers() as numbers:
            return [number async for number in numbers.all()]

    assert asyncio.run(main()) == ALL


def test_the_link_header_of_a_result(server):
    with build(base_uri=server.url) as api:
        assert link_header(api.get("/pages")) == "/pages?how=link&page=2"
        assert link_header(api.get("/echo")) is None
        assert json.loads(api.get("/pages").body)["items"] == ALL[:3]
