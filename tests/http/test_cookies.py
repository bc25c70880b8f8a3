"""Cookies: a jar of the standard library does for our messages what it does for urllib's."""

import email.message
import urllib.request
import warnings
from http.cookiejar import Cookie, CookieJar, DefaultCookiePolicy
from http.cookies import SimpleCookie

import pytest
from hypothesis import given
from hypothesis import strategies as st

from formation.http import Headers, Request, Response
from formation.http.cookies import cookie_header, keep, received

URL = "https://h.example/a/b"


def filled(*lines, url=URL, jar=None):
    """A jar that has been shown an answer with these Set-Cookie lines."""
    jar = CookieJar() if jar is None else jar
    keep(jar, Request("GET", url), Response(200, [("Set-Cookie", line) for line in lines]))
    return jar


def sent(jar, url=URL, **cookies):
    return cookie_header(Request("GET", url, cookies=cookies), jar)


# --- those of the request ---


def test_no_cookies_are_no_header():
    assert cookie_header(Request("GET", URL)) is None
    assert sent(CookieJar()) is None


def test_cookies_of_the_request_are_sent_as_they_are():
    request = Request("GET", URL, cookies={"a": "1", "b": "x y=z,\"'", "empty": ""})
    assert cookie_header(request) == "a=1; b=x y=z,\"'; empty="


@pytest.mark.parametrize("bad", ["a;b", "a; Path=/", "a\r\nX-Evil: 1", "a\n", "\0", "\x7f", "\t", "a\x1fb"])
def test_a_value_cannot_become_another_cookie_or_header(bad):
    with pytest.raises(ValueError, match=r"cookie 'sid': expected .* no ';' or control character"):
        sent(None, sid=bad)
    with pytest.raises(ValueError, match=r"cookie .*: expected a name without '='"):
        sent(None, **{bad: "1"})


@pytest.mark.parametrize("name", ["", "a=b", "="])
def test_a_name_is_not_empty_and_has_no_equals_sign(name):
    with pytest.raises(ValueError, match="expected a name without '=' that is not empty"):
        sent(None, **{name: "1"})


@pytest.mark.parametrize("cookies", [{"a": 1}, {"a": None}, {"a": b"s3cret"}, {1: "a"}])
def test_a_cookie_is_text(cookies):
    with pytest.raises(TypeError, match="expected a str as name and value, got a value of") as caught:
        cookie_header(Request("GET", URL, cookies=cookies))
    assert "s3cret" not in str(caught.value)


def test_what_is_refused_is_told_without_the_secret():
    with pytest.raises(ValueError, match="sid") as caught:
        sent(None, sid="s3cret;")
    assert "s3cret" not in str(caught.value)


# --- those of the jar ---


def test_what_an_answer_sets_is_sent_the_next_time():
    jar = filled("sid=abc; Path=/; HttpOnly", "lang=de")
    assert sorted(sent(jar).split("; ")) == ["lang=de", "sid=abc"]


def test_a_cookie_of_the_request_hides_one_of_that_name_in_the_jar():
    jar = filled("a=jar; Path=/", "b=jar; Path=/", "a=jar too; Path=/a")
    assert sent(jar, a="own") == "a=own; b=jar"


def test_a_cookie_without_a_value_is_sent():
    assert sent(filled("lonely; Path=/")) == "lonely"


def test_an_answer_without_cookies_leaves_the_jar_alone():
    jar = CookieJar()
    keep(jar, Request("GET", URL), Response(200, {"X": "1"}))
    assert len(jar) == 0


@pytest.mark.parametrize(
    ("line", "url", "is_sent"),
    [
        ("a=1", "https://h.example/a/c", True),
        ("a=1", "https://h.example/", False),  # the default path is that of the answer
        ("a=1; Path=/", "https://h.example/", True),
        ("a=1; Path=/a", "https://h.example/ab", False),
        ("a=1; Path=/", "https://other.example/", False),
        ("a=1; Path=/; Domain=h.example", "https://sub.h.example/", True),
        ("a=1; Path=/; Domain=.h.example", "https://sub.h.example/", True),
        ("a=1; Path=/; Domain=h.example", "https://eh.example/", False),
        ("a=1; Path=/; Domain=other.example", "https://other.example/", False),  # not the answer's to set
        ("a=1; Path=/; Domain=example", "https://h.example/", False),
        ("a=1; Path=/; Domain=sub.h.example", "https://sub.h.example/", False),
        ("a=1; Path=/; Secure", "https://h.example/", True),
        ("a=1; Path=/; Secure", "http://h.example/", False),
        ("a=1; Path=/; Max-Age=60", "https://h.example/", True),
        ("a=1; Path=/; Max-Age=0", "https://h.example/", False),
        ("a=1; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT", "https://h.example/", False),
        ("a=1; Path=/; Expires=Fri, 01 Jan 2100 00:00:00 GMT", "https://h.example/", True),
        ("a=1; Path=/", "https://H.EXAMPLE:443/", True),
        ("a=1; Path=/", "https://h.example:8443/", True),  # a port is no part of a cookie's domain
        ("a=1; Path=/", "https://me:pw@h.example/", True),
    ],
)
def test_a_cookie_goes_where_it_belongs(line, url, is_sent):
    assert sent(filled(line), url) == ("a=1" if is_sent else None)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8080/", "http://localhost/", "http://[::1]:8080/", "http://h:8/a?b=//c"]
)
def test_addresses_local_names_and_ports_work(url):
    assert sent(filled("a=1; Path=/", url=url), url) == "a=1"


def test_a_later_cookie_takes_the_place_of_the_one_before_and_can_take_it_away():
    jar = filled("a=1; Path=/")
    assert sent(filled("a=2; Path=/", jar=jar)) == "a=2"
    assert sent(filled("a=; Path=/; Max-Age=0", jar=jar)) is None


def test_a_cookie_that_is_set_and_taken_away_by_one_answer_is_gone():
    assert sent(filled("a=1; Path=/", "a=; Path=/; Max-Age=0")) is None
    assert sent(filled("a=; Path=/; Max-Age=0", "a=1; Path=/")) == "a=1"


def test_the_policy_of_the_jar_holds():
    jar = CookieJar(DefaultCookiePolicy(blocked_domains=["h.example"]))
    assert sent(filled("a=1; Path=/", jar=jar)) is None
    assert sent(filled("a=1; Path=/", url="https://ok.example/", jar=jar), "https://ok.example/") == "a=1"


@pytest.mark.parametrize(
    ("strict", "expected"), [(DefaultCookiePolicy.DomainLiberal, "a=1"), (DefaultCookiePolicy.DomainStrict, None)]
)
def test_whether_a_cookie_without_a_domain_goes_to_subdomains_is_the_policys_to_say(strict, expected):
    jar = filled("a=1; Path=/", jar=CookieJar(DefaultCookiePolicy(strict_ns_domain=strict)))
    assert sent(jar, "https://sub.h.example/") == expected


def test_a_url_without_a_host_has_no_cookies():
    assert sent(filled("a=1; Path=/"), "/a") is None


def test_a_cookie_that_the_jar_stumbles_over_takes_no_other_along():
    with warnings.catch_warnings(action="ignore"):  # some versions of Python warn of a bug of theirs
        jar = filled("a=1; Path=/", "b=2; Expires=Thu, 99 Foo 9999 99:99:99 GMT", "c=3; Path=/")
    assert {"a=1", "c=3"} <= set(sent(jar).split("; "))


def test_a_policy_that_is_strict_about_third_parties_knows_the_host():
    policy = DefaultCookiePolicy(strict_ns_unverifiable=True)
    url = "https://h.example:8443/"
    assert sent(filled("a=1; Path=/", url=url, jar=CookieJar(policy)), url) == "a=1"


def test_a_cookie_that_is_meant_for_one_port_stays_there():
    flags = dict.fromkeys(("port_specified", "domain_specified", "path_specified", "secure"), True)
    cookie = Cookie(
        version=1, name="a", value="1", port="8443", domain="h.example", domain_initial_dot=False, path="/",
        expires=None, discard=False, comment=None, comment_url=None, rest={}, **flags,
    )  # fmt: skip
    jar = CookieJar(DefaultCookiePolicy(rfc2965=True))
    jar.set_cookie(cookie)
    assert "a=1" in (sent(jar, "https://h.example:8443/") or "")
    assert sent(jar, "https://h.example:9443/") is None


# --- what an answer may try ---


@pytest.mark.parametrize(
    "line",
    [
        "a=1\r\nX-Evil: 1", "a=1\nSet-Cookie: b=2", "a\r\n=1", "a=1; Path=/\r\n; Domain=x", "=", "", ";", ";;;", "=x",
        "a=1; Expires=nonsense", "a=1; Max-Age=x", "a=1; Max-Age=99999999999999999999", "a=1; Path", "a=1; Domain=",
        "a=1; Version=99", 'a="1; b=2"', "grün=blau", "a=\xff", "\0",
    ],
)  # fmt: skip
def test_no_answer_breaks_the_jar_or_a_later_request(line):
    jar = CookieJar()
    keep(jar, Request("GET", URL), Response(200, Headers.received([("Set-Cookie", line)])))
    header = sent(jar, own="1")
    Headers().set("Cookie", header)
    assert header.startswith("own=1")
    assert not {"\r", "\n", "\0"} & set(header)


@given(st.lists(st.text(st.characters(codec="latin-1"), max_size=20), max_size=3))
def test_whatever_an_answer_sets_the_next_request_is_one_request(lines):
    jar = CookieJar()
    keep(jar, Request("GET", URL), Response(200, Headers.received([("Set-Cookie", line) for line in lines])))
    header = sent(jar)
    if header is not None:
        assert Headers({"Cookie": header})["Cookie"] == header


# --- against urllib ---


class Answer:
    """What urllib would hand to the jar."""

    def __init__(self, line):
        self.message = email.message.Message()
        self.message["Set-Cookie"] = line

    def info(self):
        return self.message


hosts = st.sampled_from(["h.example", "sub.h.example", "other.example", "h.example:8443", "127.0.0.1", "localhost"])
paths = st.sampled_from(["/", "/a", "/a/b", "/a/b/", "/ab", ""])
urls = st.builds("{}://{}{}".format, st.sampled_from(["http", "https"]), hosts, paths)
attributes = st.sampled_from(
    ["Path=/", "Path=/a", "Secure", "HttpOnly", "Domain=h.example", "Domain=.h.example", "Domain=other.example",
     "Max-Age=0", "Max-Age=60", "Expires=Thu, 01 Jan 1970 00:00:00 GMT", "SameSite=Lax", "Version=1"]
)  # fmt: skip
lines = st.builds(
    lambda name, value, attributes: "; ".join([f"{name}={value}", *attributes]),
    st.sampled_from("ab"), st.sampled_from(["", "1", "x y", '"q"']), st.lists(attributes, max_size=3, unique=True),
)  # fmt: skip


@given(st.lists(st.tuples(urls, st.lists(lines, max_size=3)), max_size=4), urls)
def test_a_jar_does_for_us_what_it_does_for_urllib(answers, url):
    ours, theirs = CookieJar(), CookieJar()
    for asked, set_cookie in answers:
        filled(*set_cookie, url=asked, jar=ours)
        for line in set_cookie:  # in order, as RFC 6265 wants it; all at once, a jar forgets before it keeps
            theirs.extract_cookies(Answer(line), urllib.request.Request(asked))
    request = urllib.request.Request(url)
    theirs.add_cookie_header(request)
    assert sent(ours, url) == request.get_header("Cookie")


@given(st.dictionaries(st.text("abcXYZ09_-", min_size=1, max_size=5), st.text("abcXYZ09!#$%&'()*+-./:<=>?@[]^_`{|}~")))
def test_a_server_reads_what_was_given(cookies):
    header = cookie_header(Request("GET", URL, cookies=cookies)) or ""
    read = SimpleCookie()
    read.load(header)
    assert header == "; ".join(f"{name}={value}" for name, value in cookies.items())
    assert set(read) <= set(cookies)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("", {}),
        ("a=1; b=2", {"a": "1", "b": "2"}),
        ("a=1;b=2 ; c = 3", {"a": "1", "b": "2", "c": "3"}),
        ("a=1; a=2", {"a": "2"}),
        ("a=b=c", {"a": "b=c"}),
        ("a=", {"a": ""}),
        ("a; =b; ;;", {}),
        ('a="b c"', {"a": "b c"}),
        (r'a="\"\054\\"', {"a": '",\\'}),
        ('a="b', {"a": '"b'}),
        ("a=1; path=/; b[0]=x; \x7f=1", {"a": "1", "path": "/", "b[0]": "x"}),
        ("{bad}: 1; a=1", {"a": "1"}),
    ],
)
def test_cookies_that_come_are_taken_apart(value, found):
    assert received(value) == found


@given(st.dictionaries(st.from_regex(r"[a-z]+", fullmatch=True), st.text(st.characters(max_codepoint=126))))
def test_what_the_standard_library_writes_is_read(given_):
    morsels = SimpleCookie(given_)
    line = "; ".join(f"{name}={morsel.coded_value}" for name, morsel in morsels.items())
    assert received(line) == given_
