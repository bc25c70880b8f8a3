"""RFC 9111, section 4.4: which entries a response makes outdated."""

import pytest

from tests.caching.exchanges import SHARED, URL, get, lines, sentences

HERE = [URL]

TABLE = [
    # section, sentence, the URLs, the method, the status, the headers
    ("4.4", "a response to POST makes its target outdated", HERE, "POST", 200, {}),
    ("4.4", "a response to PUT does", HERE, "PUT", 204, {}),
    ("4.4", "a response to DELETE does", HERE, "DELETE", 200, {}),
    ("4.4", "a response to PATCH does", HERE, "PATCH", 200, {}),
    ("4.4", "a response to a method that nobody knows does", HERE, "M-SEARCH", 200, {}),
    ("4.4", "a redirection does", HERE, "POST", 303, {}),
    ("4.4", "an error of the client does not", [], "POST", 404, {}),
    ("4.4", "an error of the server does not", [], "POST", 500, {}),
    ("4.4", "an interim response does not", [], "POST", 103, {}),
    ("4.4", "a response to GET does not", [], "GET", 200, {"Location": "/b"}),
    ("4.4", "a response to HEAD does not", [], "HEAD", 200, {}),
    ("4.4", "a response to OPTIONS does not", [], "OPTIONS", 200, {}),
    ("4.4", "a response to TRACE does not", [], "TRACE", 200, {}),
    ("4.4", "Location is outdated", [URL, "http://example.com/b"], "POST", 201, {"Location": "/b"}),
    ("4.4", "Content-Location is outdated", [URL, "http://example.com/b"], "PUT", 200, {"Content-Location": "b"}),
    ("4.4", "both are", [URL, "http://example.com/b", "http://example.com/c"], "POST", 200,
     {"Location": "b", "Content-Location": "c"}),
    ("4.4", "a target that is named again is named once", HERE, "POST", 200, {"Location": URL + "#top"}),
    ("4.4", "a Location of another host is not outdated", HERE, "POST", 201, {"Location": "http://example.org/b"}),
    ("4.4", "a Location of another port is not", HERE, "POST", 201, {"Location": "http://example.com:81/b"}),
    ("4.4", "a Location of another scheme is not", HERE, "POST", 201, {"Location": "https://example.com/b"}),
    ("4.4", "a Location of the same origin in another spelling is", [URL, "http://example.com/b"], "POST", 201,
     {"Location": "HTTP://Example.com:80/b"}),
    ("4.4", "a Location that is no URL is not", HERE, "POST", 201, {"Location": "http://[/"}),
    ("4.4", "two Locations are none", HERE, "POST", 201, {"Location": ["http://a.example/b", "http://b.example/c"]}),
]  # fmt: skip


@pytest.mark.parametrize("row", TABLE, ids=sentences(TABLE))
def test_invalidation(row):
    _, _, expected, method, status, headers = row
    assert SHARED.invalidated(get(method=method), status, lines(headers)) == expected


def test_the_target_is_named_as_the_key_is():
    assert SHARED.invalidated(get(method="POST", url="HTTP://example.COM#x"), 200, []) == ["http://example.com/"]
