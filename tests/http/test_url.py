"""URLs: what joins, what is refused, and what is merged."""

from __future__ import annotations

import pickle
import re
from urllib.parse import parse_qsl, urljoin, urlsplit

import pytest
import requests
from hypothesis import example, given
from hypothesis import strategies as st
from urllib3.util import parse_url

from formation.errors import ForeignURLError, FormationError
from formation.http.secrets import redact
from formation.http.templates import expand
from formation.http.url import check_base, locate, merge_query, resolve

BASE = "https://h.example/v1"


# --- the base ---


@pytest.mark.parametrize(
    "base",
    [
        "https://h",
        "http://h/",
        "https://h/v1",
        "https://h/v1/",
        "https://h:8443/v1",
        "https://h:/v1",
        "HTTPS://H.example/v1",
        "https://h/v1?key=1",
        "https://h?key=1",
        "https://[::1]:8080/v1",
        "https://[fe80::1%25eth0]/",
        "https://127.0.0.1",
        "https://my_service:80",
        "https://bücher.example/ü",
        "https://h/a:b/c@d?e=f@g:h",
    ],
)
def test_a_base_is_absolute_http_or_https(base):
    assert check_base(base) == base


@pytest.mark.parametrize(
    ("base", "reason"),
    [
        ("", "absolute http or https"),
        ("/v1", "absolute http or https"),
        ("h.example", "absolute http or https"),
        ("h.example:80/v1", "absolute http or https"),
        ("//h/v1", "absolute http or https"),
        ("ftp://h/v1", "absolute http or https"),
        ("https:h", "absolute http or https"),
        ("https:/h", "absolute http or https"),
        (" https://h", "absolute http or https"),
        ("https://", "expected scheme://host"),
        ("https:///v1", "expected scheme://host"),
        ("https://:80/v1", "expected scheme://host"),
        ("https://?x", "expected scheme://host"),
        ("https://h:port", "expected scheme://host"),
        ("https://h:99999", "expected scheme://host"),
        ("https://h:080808", "expected scheme://host"),
        ("https://.h", "expected scheme://host"),
        ("https://a%62c", "expected scheme://host"),
        ("https://a,b", "expected scheme://host"),
        ("https://[::1", "expected scheme://host"),
        ("https://::1", "expected scheme://host"),
        ("https://[v1]", "expected scheme://host"),
        ("https://[:::]", "IPv6 address"),
        ("https://h/v1#frag", "without a fragment.*leave it out"),
        ("https://h/#", "without a fragment"),
        ("https://me:pw@h/v1", "without user info.*use auth="),
        ("https://me@h", "without user info.*use auth="),
        ("https://@h", "without user info.*use auth="),
        ("https://[redacted]@h", "without user info.*use auth="),
        ("https://h/v1 ", "without spaces"),
        ("https://h/v1\n", "without spaces"),
        ("https://h/\u2003v1", "without spaces"),
        ("https://h\\v1", "backslashes"),
        ("https://h/\x00", "control characters"),
        ("https://h/a/../b", "'..' segments"),
        ("https://h/%2E/b", "'..' segments"),
        ("https://a\u2100b.example", "expected a host"),
        ("https://" + "ü" * 100, "expected a host"),
        ("https://" + "ü." * 200 + "example", "expected a host"),
        ("https://ü..example", "expected a host"),
        ("https://h/\ud800", "UTF-8"),
    ],
)
def test_anything_else_is_refused_as_base_with_a_reason(base, reason):
    with pytest.raises(ValueError, match=reason):
        check_base(base)


def test_a_base_may_have_a_secret_in_its_query():
    assert resolve(check_base("https://h.example/v1?api_key=s3cret"), "/x") == "https://h.example/v1/x?api_key=s3cret"


@pytest.mark.parametrize(
    ("base", "path"),
    [
        (BASE, "https://me:s3cret@h.example/\x00"),
        (BASE, "//me:s3cret@h.example/"),
        (BASE, "https:/h.example/?token=s3cret"),
        (BASE, "https://h.example/v1/../?token=s3cret"),
        (BASE, "\\?token=s3cret"),
        (None, "?token=s3cret"),
    ],
)
def test_the_error_about_a_path_does_not_show_its_secret(base, path):
    with pytest.raises(ValueError, match=r"\[redacted\]") as caught:
        resolve(base, path)
    assert "s3cret" not in str(caught.value)


def test_the_error_about_a_base_does_not_show_its_secret():
    for base in (
        "https://me:hunter2@h/v1",
        "https://me:hunter2/x@h/v1",
        "https://me:hunter2#x@h",
        "https://me:x?hunter2@h",
    ):
        with pytest.raises(ValueError, match="use auth=") as caught:
            check_base(base)
        assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("base", [None, 5, b"https://h", ["https://h"]])
def test_a_base_is_a_str(base):
    with pytest.raises(TypeError, match="expected base_uri as a str"):
        check_base(base)


# --- joining ---


@pytest.mark.parametrize(
    ("base", "path", "url"),
    [
        ("https://h/v1", "users", "https://h/v1/users"),
        ("https://h/v1", "/users", "https://h/v1/users"),
        ("https://h/v1/", "users", "https://h/v1/users"),
        ("https://h/v1/", "/users", "https://h/v1/users"),
        ("https://h", "users", "https://h/users"),
        ("https://h", "/users", "https://h/users"),
        ("https://h/", "/users", "https://h/users"),
        ("https://h/v1", "", "https://h/v1"),
        ("https://h/v1/", "", "https://h/v1/"),
        ("https://h", "", "https://h"),
        ("https://h/v1//", "users", "https://h/v1//users"),
        ("https://h/v1", "/", "https://h/v1/"),
        ("https://h/v1/", "/", "https://h/v1/"),
        ("https://h", "/", "https://h/"),
        ("https://h/v1", "users/", "https://h/v1/users/"),
        ("https://h/v1", "a%2Fb", "https://h/v1/a%2Fb"),
        ("https://h/v1", "a%2fb", "https://h/v1/a%2fb"),
        ("https://h/v1", "a:b", "https://h/v1/a:b"),
        ("https://h/v1", "/a:b/c@d", "https://h/v1/a:b/c@d"),
        ("https://h/v1", "a//b", "https://h/v1/a//b"),
        ("https://h/v1", "a/b//", "https://h/v1/a/b//"),
        ("https://h/v1", "a.b/...", "https://h/v1/a.b/..."),
        ("https://h/v1", ".well-known/x", "https://h/v1/.well-known/x"),
        ("https://h/v1", "..x/.y", "https://h/v1/..x/.y"),
        ("https://h/v1", "..%2Fx", "https://h/v1/..%2Fx"),
        ("https://h/v1", "%252e%252e", "https://h/v1/%252e%252e"),
        ("https://h/v1", "a;b=1,c", "https://h/v1/a;b=1,c"),
        ("https://h/v1", "!$&'()*+,;=~", "https://h/v1/!$&'()*+,;=~"),
        ("https://h/v1", "proxy/https://x.example/y", "https://h/v1/proxy/https://x.example/y"),
        ("https://h/v1", "?q=1", "https://h/v1?q=1"),
        ("https://h/v1/", "?q=1", "https://h/v1/?q=1"),
        ("https://h", "?q=1", "https://h?q=1"),
        ("https://h/v1", "users?q=1&q=2", "https://h/v1/users?q=1&q=2"),
        ("https://h/v1", "users?", "https://h/v1/users?"),
        ("https://h/v1", "users?p=../x&u=https://e/.//", "https://h/v1/users?p=../x&u=https://e/.//"),
        ("https://h/v1", "users?filter[x]=a?b", "https://h/v1/users?filter[x]=a?b"),
        ("https://h/v1", "users#frag", "https://h/v1/users"),
        ("https://h/v1", "users?q=1#frag?x", "https://h/v1/users?q=1"),
        ("https://h/v1", "#frag", "https://h/v1"),
        ("https://H:443/V1", "Users", "https://H:443/V1/Users"),
        ("https://[::1]:80/v1", "x", "https://[::1]:80/v1/x"),
    ],
)
def test_a_path_is_appended_to_the_base_as_written(base, path, url):
    assert resolve(base, path) == url


@pytest.mark.parametrize(
    ("path", "url"),
    [
        ("a b", "https://h.example/v1/a%20b"),
        (" a ", "https://h.example/v1/%20a%20"),
        ("é/ü?ö=ä", "https://h.example/v1/%C3%A9/%C3%BC?%C3%B6=%C3%A4"),
        ("a%20b é", "https://h.example/v1/a%20b%20%C3%A9"),
        ("100%", "https://h.example/v1/100%25"),
        ("%zz%2", "https://h.example/v1/%25zz%252"),
        ('"<>^`{|}[]', "https://h.example/v1/%22%3C%3E%5E%60%7B%7C%7D%5B%5D"),
        ("x?a b=100%&<>", "https://h.example/v1/x?a%20b=100%25&%3C%3E"),
        ("\uff0e\uff0e/\uff0f", "https://h.example/v1/%EF%BC%8E%EF%BC%8E/%EF%BC%8F"),
    ],
)
def test_what_may_not_stand_in_a_url_is_percent_encoded(path, url):
    assert resolve(BASE, path) == url


def test_a_base_is_encoded_too():
    assert resolve("https://h/ü?ä=ö", "x") == "https://h/%C3%BC/x?%C3%A4=%C3%B6"


@pytest.mark.parametrize(
    ("base", "path", "url"),
    [
        ("https://h/v1?key=1", "", "https://h/v1?key=1"),
        ("https://h/v1/?key=1", "", "https://h/v1/?key=1"),
        ("https://h/v1?key=1", "/", "https://h/v1/?key=1"),
        ("https://h/v1?key=1", "users", "https://h/v1/users?key=1"),
        ("https://h/v1/?key=1", "/users/", "https://h/v1/users/?key=1"),
        ("https://h/v1?key=1", "?q=2", "https://h/v1?key=1&q=2"),
        ("https://h/v1?key=1", "users?q=2", "https://h/v1/users?key=1&q=2"),
        ("https://h/v1?key=1&a=2", "users?key=3", "https://h/v1/users?a=2&key=3"),
        ("https://h/v1?key=1&key=2", "users?key=3&key=4", "https://h/v1/users?key=3&key=4"),
        ("https://h/v1?a+b=1&c=2", "users?a%20b=3", "https://h/v1/users?c=2&a%20b=3"),
        ("https://h/v1?%66f=1", "users?ff=3", "https://h/v1/users?ff=3"),
        ("https://h/v1?%ff=1", "users?%fe=3", "https://h/v1/users?%ff=1&%fe=3"),
        ("https://h/v1?flag&a=1", "users?flag", "https://h/v1/users?a=1&flag"),
        ("https://h/v1?a=1", "users?", "https://h/v1/users?a=1"),
        ("https://h/v1?", "users?b=1", "https://h/v1/users?b=1"),
        ("https://h/v1?", "", "https://h/v1?"),
        ("https://h/v1?a=1", "https://h/x?b=2", "https://h/x?b=2"),
    ],
)
def test_the_query_of_the_base_comes_before_that_of_the_path_which_replaces(base, path, url):
    assert resolve(base, path) == url


UNSAFE = [
    "//evil.example/x",
    "//evil.example",
    "//",
    "///evil.example",
    "//h.example/v1/x",
    "/\\evil.example",
    "\\\\evil.example",
    "\\evil.example",
    "a\\b",
    "/..\\x",
    "a?x=\\",
    "\t//evil.example",
    "/\t/evil.example",
    "/\n/evil.example",
    "a\rb",
    "a\x00b",
    "a\x1fb",
    "a\x7fb",
    "a\x85b",
    "a?b\r\nHost: evil",
    "users\n",
    ".",
    "..",
    "./",
    "../",
    "/..",
    "/.",
    "../admin",
    "/../admin",
    "a/../b",
    "a/./b",
    "a/..",
    "a/.",
    "a/..?q=1",
    "a/..#f",
    "%2e",
    "%2e%2e",
    "%2E%2e/x",
    "a/.%2e/b",
    "a/%2E./b",
    "a/%2e",
    "..;/x",
    "a/..;v=1/b",
    "a/%2e%2e;/b",
    "https:evil.example",
    "http:/evil.example",
    "HTTPS:/evil.example",
    "https:",
    "https:x",
    "a\ud800",
    "a?\udfff",
]


@pytest.mark.parametrize("path", UNSAFE)
@pytest.mark.parametrize("base", ["https://h.example/v1", "https://h.example", "https://h.example/v1/?key=1"])
def test_a_path_that_could_leave_the_base_is_refused(base, path):
    for settings in ({}, {"absolute": True}, {"allow_origins": ["https://evil.example"]}):
        with pytest.raises(ValueError, match=r"^expected ") as caught:
            resolve(base, path, **settings)
        assert not isinstance(caught.value, ForeignURLError)


@pytest.mark.parametrize(
    "path", ["users", "/users", "", "?q=1", "a:b", "evil.example", "javascript:x", " https://h/", *UNSAFE]
)
def test_without_a_base_there_is_nothing_to_join_a_path_to(path):
    with pytest.raises(ValueError, match=r"^expected "):
        resolve(None, path)


def test_without_a_base_the_error_says_so():
    with pytest.raises(ValueError, match="expected an absolute URL, got 'users': there is no base_uri"):
        resolve(None, "users")


@pytest.mark.parametrize("path", [None, 5, b"/x", ["/x"], urlsplit("https://h/x")])
def test_a_path_is_a_str(path):
    with pytest.raises(TypeError, match="expected a path as a str, got "):
        resolve(BASE, path)


def test_a_base_that_is_none_is_refused_when_joining_as_well():
    with pytest.raises(ValueError, match="absolute http or https"):
        resolve("h.example", "/x")
    with pytest.raises(ValueError, match="use auth="):
        resolve("https://me:pw@h.example", "/x")


# --- absolute URLs ---


@pytest.mark.parametrize(
    ("base", "url"),
    [
        ("https://h.example/v1", "https://h.example/v2/users?page=2"),
        ("https://h.example/v1", "https://h.example"),
        ("https://h.example/v1", "https://h.example?x=1"),
        ("https://h.example/v1", "HTTPS://H.Example:443/x"),
        ("https://h.example:443/v1", "https://h.example/x"),
        ("https://H.EXAMPLE/v1", "https://h.example:/x"),
        ("http://h.example:80/v1", "http://h.example/x"),
        ("http://h.example:8080/v1", "http://h.example:08080/x"),
        ("https://[::1]/v1", "https://[0:0:0:0:0:0:0:1]:443/x"),
        ("https://[fe80::A]/v1", "https://[FE80::a]/x"),
        ("https://bücher.example/v1", "https://xn--bcher-kva.example/x"),
        ("https://xn--bcher-kva.example/v1", "https://BÜCHER.example/x"),
        ("https://straße.example/v1", "https://STRAßE.example/x"),
        ("https://h.example/v1?key=1", "https://h.example/x"),
    ],
)
def test_an_absolute_url_of_the_same_origin_is_taken_as_it_is(base, url):
    assert resolve(base, url) == url


def test_an_absolute_url_is_encoded_and_loses_its_fragment():
    assert resolve(BASE, "https://h.example/a b/é?c d#e") == "https://h.example/a%20b/%C3%A9?c%20d"


FOREIGN = [
    "https://evil.example/",
    "https://evil.example",
    "http://h.example/v1",
    "https://h.example:8443/v1",
    "https://h.example:80/",
    "https://h.example./",
    "https://h.example.evil.example/",
    "https://evilh.example/",
    "https://h.example@evil.example/",
    "https://h.example:pw@evil.example/",
    "https://h.example@x@evil.example/",
    "ftp://h.example/v1",
    "ws://h.example/v1",
    "file://h.example/etc/passwd",
    "javascript://h.example/%0Aalert(1)",
]


@pytest.mark.parametrize("url", FOREIGN)
def test_an_absolute_url_of_another_origin_is_foreign(url):
    for settings in ({}, {"allow_origins": ["https://other.example", "https://h.example:444"]}):
        with pytest.raises(ForeignURLError, match="pass absolute=True, or list its origin in allow_origins") as caught:
            resolve(BASE, url, **settings)
        assert caught.value.base == BASE
        assert caught.value.url == redact(url)


def test_a_foreign_url_is_an_error_of_formation_and_a_value_error_that_pickles():
    with pytest.raises(ForeignURLError) as caught:
        resolve(BASE, "https://me:hunter2@evil.example/x")
    assert isinstance(caught.value, FormationError)
    assert isinstance(caught.value, ValueError)
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (copy.url, copy.base) == ("https://[redacted]@evil.example/x", BASE)


@pytest.mark.parametrize(
    ("base", "url"),
    [
        ("https://strasse.example/", "https://straße.example/"),  # one host in IDNA 2003, two in 2008
        ("https://xn--strae-oqa.example/", "https://straße.example/"),
        ("https://h.example/", "https://\uff48.example/"),  # full width
        ("https://h.example/", "https://h\u3002example/"),  # an ideographic full stop
        ("https://h.example/", "https://h\u00ad.example/"),  # a soft hyphen, dropped by the mapping
        ("https://127.0.0.1/", "https://2130706433/"),
        ("https://127.0.0.1/", "https://127.1/"),
        ("https://[::1]/", "https://localhost/"),
    ],
)
def test_spellings_that_may_be_another_host_are_foreign(base, url):
    with pytest.raises(ForeignURLError):
        resolve(base, url)


@pytest.mark.parametrize(
    "url", ["https://evil.example/x?y=1", "http://evil.example:8080/", "https://[::1]/", "http://h.example/"]
)
def test_the_call_may_ask_for_an_absolute_url(url):
    assert resolve(BASE, url, absolute=True) == url
    assert resolve(None, url) == url


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://cdn.example/x", "https://cdn.example"),
        ("https://cdn.example/x", "https://CDN.example:443/any/path?x"),
        ("http://cdn.example:80/x", "http://cdn.example"),
        ("https://BÜCHER.example/x", "https://xn--bcher-kva.example"),
    ],
)
def test_a_client_may_list_other_origins(url, allowed):
    for origins in ([allowed], {"https://other.example", allowed}, ("https://other.example", allowed)):
        assert resolve(BASE, url, allow_origins=origins) == url


def test_a_listed_origin_is_one_scheme_and_one_port():
    for url in ("http://cdn.example/x", "https://cdn.example:8443/x", "https://a.cdn.example/x"):
        with pytest.raises(ForeignURLError):
            resolve(BASE, url, allow_origins=["https://cdn.example"])


def test_origins_are_given_in_a_collection():
    with pytest.raises(TypeError, match="put it in a list"):
        resolve(BASE, "https://cdn.example/x", allow_origins="https://cdn.example")
    with pytest.raises(ValueError, match=r"expected an absolute URL, got 'cdn\.example'"):
        resolve(BASE, "https://cdn.example/x", allow_origins=["cdn.example"])


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ftp://h/x", "http or https"),
        ("file:///etc/passwd", "expected scheme://host"),
        ("ws://h/x", "http or https"),
        ("https://me:pw@h/x", "use auth="),
        ("https://me@h/x", "use auth="),
        ("https://@h/x", "use auth="),
        ("https:///x", "expected scheme://host"),
        ("https://h:x/", "expected scheme://host"),
        ("https://h:65536/", "expected scheme://host"),
        ("https://h/a/../b", "segments"),
        ("https://h/%2e%2e", "segments"),
        ("https://h/a?b\\c", "backslashes"),
        ("https://h\\@evil.example/", "backslashes"),
        ("https://h\t.example/", "control characters"),
        ("https://h /", "expected scheme://host"),
        ("https://a\u2100b/", "expected a host"),
        ("https://h/\ud800", "UTF-8"),
    ],
)
def test_an_absolute_url_is_well_formed_http_without_user_info_even_when_asked_for(url, reason):
    for base, settings in ((BASE, {"absolute": True}), (None, {}), (None, {"absolute": True})):
        with pytest.raises(ValueError, match=reason):
            resolve(base, url, **settings)


def test_user_info_is_refused_for_the_own_origin_too_and_not_shown():
    with pytest.raises(ValueError, match="use auth=") as caught:
        resolve(BASE, "https://me:hunter2@h.example/x")
    assert "hunter2" not in str(caught.value)


# --- laws of joining ---

BITS = r"/ // \ .. . %2e %2F %5c ; : @ ? # & = % [ ] { } | < é 。 http: https: https:// javascript:".split()  # noqa: SIM905  to be read at a glance
BITS += [" ", "\t", "\n", "\0", "\u2100", "\u2024", "\uff0f", "h.example", "h.example:443", "evil.example", "v1", "x"]
paths = st.one_of(st.lists(st.sampled_from(BITS), max_size=8).map("".join), st.text())


def whatwg(url: str) -> tuple[str, str, str]:
    """Scheme, host and path as a browser reads them, tolerant as it is."""
    url = re.sub(r"[\t\n\r]", "", url.strip("".join(map(chr, range(33)))))
    scheme, rest = re.match(r"([A-Za-z][A-Za-z0-9+.-]*):[/\\]*(.*)", url, re.DOTALL).groups()
    authority, path = re.match(r"([^/\\?#]*)([^?#]*)", rest).groups()
    return scheme.lower(), https_host(authority.rpartition("@")[2]), path.replace("\\", "/")


def https_host(authority: str) -> str:
    return re.sub(r":(443)?$", "", authority.lower())


def normalised(path: str) -> list[str]:
    """The segments after a decoding server or transport has resolved the dots."""
    out: list[str] = []
    for segment in re.sub("%2e", ".", path, flags=re.IGNORECASE).split("/")[1:]:
        name = segment.partition(";")[0]
        if name == "..":
            out = out[:-1]
        elif name != ".":
            out.append(segment)
    return out


@given(paths)
@example("/\\evil.example")
@example("//evil.example")
@example("https:evil.example")
@example("\t//evil.example")
@example("http:/evil.example")
@example("javascript:alert(1)")
@example("%2e%2e/")
@example("..;/")
@example("@evil.example")
@example(":80@evil.example")
@example(".evil.example")
@example("?@evil.example/")
@example("#@evil.example/")
@pytest.mark.parametrize(
    "base", ["https://h.example", "https://h.example/", "https://h.example/v1", "https://h.example/v1/?k=1"]
)
def test_no_path_leaves_the_origin_and_the_path_of_the_base(base, path):
    try:
        url = resolve(base, path)
    except ValueError:
        return
    assert url.isascii()
    assert url.isprintable()
    assert " " not in url
    parts = urlsplit(url)
    assert (parts.scheme.lower(), parts.hostname, parts.port or 443) == ("https", "h.example", 443)
    assert (parts.username, parts.password, parts.fragment) == (None, None, "")
    other = parse_url(url)
    assert (other.scheme, other.host, other.port or 443, other.auth) == ("https", "h.example", 443, None)
    assert whatwg(url)[:2] == ("https", "h.example")
    sent = urlsplit(requests.Request("GET", url).prepare().url)
    assert (sent.scheme, https_host(sent.netloc)) == ("https", "h.example")
    if "v1" in base and not re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", path):
        for read in (parts.path, other.path or "", whatwg(url)[2], sent.path):
            assert normalised(read)[0] == "v1"


@given(paths)
def test_without_a_base_a_url_goes_where_it_says_or_nowhere(path):
    try:
        url = resolve(None, path)
    except ValueError:
        return
    scheme, authority, _ = whatwg(url)
    assert path.lower().startswith(f"{scheme}://")
    if authority.isascii():
        assert https_host(urlsplit(url).netloc) == authority
        assert parse_url(url).scheme == scheme


@given(
    st.lists(st.from_regex(r"[A-Za-z0-9_~-][A-Za-z0-9_.~-]*", fullmatch=True), min_size=1),
    st.sampled_from(["", "?q=1"]),
)
def test_for_ordinary_paths_it_is_what_the_standard_library_makes_of_a_base_with_a_slash(segments, query):
    path = "/".join(segments) + query
    assert resolve(BASE, path) == resolve(BASE + "/", "/" + path) == urljoin(BASE + "/", path)


@given(paths)
def test_resolving_what_was_resolved_changes_nothing(path):
    try:
        url = resolve(BASE, path)
    except ValueError:
        return
    assert resolve(BASE, url) == url
    assert resolve(None, url) == url


templates = st.lists(
    st.sampled_from(
        ["/", "{a}", "{+b}", ":a", "users", ".", "..", "x.y", "?q=1", "#f", "//", "https://h.example", "%2e", " "]
    ),
    max_size=5,
).map("".join)


@given(
    st.sampled_from([None, BASE, BASE + "/", "https://h.example", "https://h.example/v1?key=1"]),
    templates,
    st.sampled_from(["1", ".x", "a/b", "..", "", "%2e", "ä b"]),
)
@example(BASE, "{a}", "1")
@example(BASE, "/{a}{a}", ".x")
def test_locating_a_template_is_filling_it_and_resolving_it(base, template, value):
    def outcome(make):
        try:
            return make()
        except (ValueError, TypeError) as error:
            return type(error)

    values = {"a": value, "b": value}
    expected = outcome(lambda: resolve(base, expand(template, values)))
    assert outcome(lambda: locate(base, template, values)) == expected


# --- merging queries ---


@pytest.mark.parametrize(
    ("url", "query", "merged"),
    [
        ("https://h/x", [("a", "1")], "https://h/x?a=1"),
        ("https://h", [("a", "1")], "https://h?a=1"),
        ("https://h/x?", [("a", "1")], "https://h/x?a=1"),
        ("https://h/x?b=2", [("a", "1")], "https://h/x?b=2&a=1"),
        ("https://h/x?a=1&b=2&a=3", [("a", "4")], "https://h/x?b=2&a=4"),
        ("https://h/x?a=1", [("a", "2"), ("a", "3")], "https://h/x?a=2&a=3"),
        ("https://h/x?%61=1&a+b=2", [("a", "3"), ("a b", "4")], "https://h/x?a=3&a%20b=4"),
        ("https://h/x?b=%20+[]é&&c", [("a", "1")], "https://h/x?b=%20+[]é&&c&a=1"),
        ("https://h/x?b#frag?", [("a", "1")], "https://h/x?b&a=1"),
        ("https://h/x#frag", [("a", "1")], "https://h/x?a=1"),
        ("https://h/x", [("a b", "c&d=é")], "https://h/x?a%20b=c%26d%3D%C3%A9"),
        ("https://h/x", [("a", "")], "https://h/x?a="),
        ("/x?b=1", [("a", "1")], "/x?b=1&a=1"),
        ("https://h/x?b=1", iter([("b", "2")]), "https://h/x?b=2"),
    ],
)
def test_a_query_is_merged_by_name(url, query, merged):
    assert merge_query(url, query) == merged


@pytest.mark.parametrize("url", ["https://h/x", "https://h/x?", "https://h/x?a=1#frag", ""])
def test_an_empty_query_leaves_the_url_as_it_is(url):
    assert merge_query(url, []) is url
    assert merge_query(url, iter(())) is url


pairs = st.lists(st.tuples(st.text(), st.text()), max_size=4)


@given(pairs, pairs)
def test_a_merged_query_reads_as_the_old_pairs_that_were_not_named_and_the_new_ones(old, new):
    url = merge_query(merge_query("https://h/x", old), new)
    named = {name for name, _ in new}
    expected = [pair for pair in old if pair[0] not in named] + new
    assert parse_qsl(urlsplit(url).query, keep_blank_values=True) == expected
    assert merge_query(url, new) == url
