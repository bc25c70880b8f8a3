"""What requests and responses have in common."""

import pytest

from formation.http import Body, Request, Response


def asked(headers=None, body=b""):
    return Request("POST", "https://h/", headers=headers, content=body)


def answered(headers=None, body=b""):
    return Response(200, headers, body)


@pytest.fixture(params=[asked, answered], ids=["request", "response"])
def message(request):
    return request.param


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ("text/html", "text/html"),
        ("Application/JSON; charset=utf-8", "application/json"),
        (" text/plain ;x", "text/plain"),
        ("", ""),
        (None, ""),
    ],
)
def test_the_content_type_is_the_media_type_alone(message, content_type, expected):
    assert message({} if content_type is None else {"Content-Type": content_type}).content_type == expected


@pytest.mark.parametrize("charset", ["utf-8", "latin-1", "windows-1252", "utf-16"])
def test_text_is_decoded_by_the_charset(message, charset):
    assert message({"Content-Type": f"text/plain; charset={charset}"}, "grün".encode(charset)).text == "grün"


@pytest.mark.parametrize("charset", ["nonsense", "hex", "idna", "undefined", "unicode_escape", "zlib"])
def test_what_is_no_charset_is_utf_8(message, charset):
    made = message({"Content-Type": f"text/plain; charset={charset}"}, "grün\\d".encode())
    assert (made.text, made.charset) == ("grün\\d", "utf-8")


@pytest.mark.parametrize(("content", "text"), [(b"gr\xfcn", "gr\ufffdn"), ("grün".encode(), "grün"), (b"", "")])
def test_without_a_charset_it_is_utf_8_and_what_does_not_decode_is_replaced(message, content, text):
    assert message({"Content-Type": "text/plain"}, content).text == message(None, content).text == text


def test_assigning_headers_and_extensions_keeps_copies(message):
    made, headers, extensions = message({"A": "1", "B": "2"}), {"A": "1", "C": "3"}, {"a": 1}
    made.headers, made.extensions = headers, extensions
    made.headers["A"] = made.extensions["a"] = "2"
    assert (headers, extensions) == ({"A": "1", "C": "3"}, {"a": 1})
    assert dict(made.headers) == {"A": "2", "C": "3"}
    made.headers = made.extensions = None
    assert (dict(made.headers), made.extensions) == ({}, {})


def test_a_part_of_something_is_not_mapped_and_keeps_its_headers(message):
    made = message({"Content-Range": "bytes 0-1/2", "Content-Digest": "x", "Content-Length": "2"}, Body([b"ab"]))
    made.body.map(lambda chunk: chunk * 2)
    assert (made.headers["Content-Digest"], made.headers["Content-Length"], made.content) == ("x", "2", b"ab")
