from __future__ import annotations

import datetime as dt
import io
import os
import re
import tempfile
import tracemalloc
from email import policy
from email.parser import BytesParser
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import MultiDict
from urllib3.filepost import encode_multipart_formdata

from formation.errors import BodyConsumed
from formation.http.multipart import Multipart
from formation.http.sources import Factory, File

CHUNK = 64 * 1024


class Part(NamedTuple):
    name: str
    filename: str | None
    content_type: str | None
    content: bytes


def parsed(form: Multipart) -> list[Part]:
    """What a server reads, by the rules of RFC 2046: split at the boundary, then headers, an empty line, content."""
    body = b"".join(form)
    cut = b"\r\n--" + re.fullmatch(r"multipart/form-data; boundary=(.+)", form.content_type)[1].encode()
    opening, *middle, closing = (b"\r\n" + body).split(cut)
    assert (opening, closing) == (b"", b"--\r\n")
    parts = []
    for raw in middle:
        assert raw.startswith(b"\r\n")
        head, _, content = raw[2:].partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        disposition = re.fullmatch(
            r'form-data; name="([^"]*)"(?:; filename="([^"]*)")?', headers.pop("Content-Disposition"), re.DOTALL
        )
        parts.append(Part(disposition[1], disposition[2], headers.pop("Content-Type", None), content))
        assert not headers
    return parts


def only(form: Multipart) -> Part:
    [part] = parsed(form)
    return part


# --- the body ---


def test_the_body_is_fields_then_files_each_in_the_given_order():
    form = Multipart({"b": "1", "a": "2"}, {"z": ("z.txt", b"Z"), "y": ("y.bin", b"Y")}, boundary="cut")
    assert b"".join(form) == (
        b'--cut\r\nContent-Disposition: form-data; name="b"\r\n\r\n1\r\n'
        b'--cut\r\nContent-Disposition: form-data; name="a"\r\n\r\n2\r\n'
        b'--cut\r\nContent-Disposition: form-data; name="z"; filename="z.txt"\r\nContent-Type: text/plain\r\n\r\nZ\r\n'
        b'--cut\r\nContent-Disposition: form-data; name="y"; filename="y.bin"\r\n'
        b"Content-Type: application/octet-stream\r\n\r\nY\r\n"
        b"--cut--\r\n"
    )
    assert form.content_type == "multipart/form-data; boundary=cut"
    assert form.boundary == "cut"


def test_a_form_without_parts_is_only_its_end():
    form = Multipart(boundary="cut")
    assert b"".join(form) == b"--cut--\r\n"
    assert form.length == 9
    assert form.replayable


def test_the_boundary_is_random():
    first, second = Multipart(), Multipart()
    assert first.boundary != second.boundary
    assert re.fullmatch(r"multipart/form-data; boundary=[0-9a-f]{32}", first.content_type)


@pytest.mark.parametrize("boundary", ["", "a b", "a\r\nb", "a;b", 'a"b', "x" * 71, "ü", "a\n"])
def test_a_boundary_that_would_need_quotes_is_refused(boundary):
    with pytest.raises(ValueError, match="expected 1 to 70 letters"):
        Multipart(boundary=boundary)


def test_a_boundary_may_have_70_characters():
    assert only(Multipart({"a": "1"}, boundary="x" * 70)).content == b"1"


# --- fields ---


def test_fields_take_the_values_of_a_form():
    data = [("s", "x"), ("n", None), ("l", [1, True]), ("d", dt.date(2026, 11, 1)), (":p", ""), ("u", "é\r\n")]
    assert parsed(Multipart(data)) == [
        Part("s", None, None, b"x"),
        Part("l", None, None, b"1"),
        Part("l", None, None, b"true"),
        Part("d", None, None, b"2026-11-01"),
        Part(":p", None, None, b""),
        Part("u", None, None, "é\r\n".encode()),
    ]
    assert parsed(Multipart(MultiDict([("a", "1"), ("a", "2")]))) == [
        Part("a", None, None, b"1"),
        Part("a", None, None, b"2"),
    ]


@pytest.mark.parametrize("data", [{"a": b"x"}, {"a": {"b": 1}}, {"a": object()}, "a=1", b"a", 5])
def test_other_fields_are_refused(data):
    with pytest.raises(TypeError):
        Multipart(data)


def test_text_that_is_not_utf8_is_refused():
    for data, files in [
        ({"a": "\ud800"}, None),
        ({"\ud800": "a"}, None),
        (None, {"a": "\ud800"}),
        (None, {"a": ("\ud800", b"")}),
    ]:
        with pytest.raises(ValueError, match="UTF-8"):
            Multipart(data, files)


# --- files ---


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "report.csv"
    path.write_bytes(b"a,b\r\n1,2\r\n")
    return path


@pytest.mark.parametrize("make", [dict, list, tuple, MultiDict], ids=["mapping", "list", "tuple", "multidict"])
def test_files_are_a_mapping_or_pairs(make):
    files = make([("a", ("a.txt", b"1")), ("b", ("b.txt", b"2"))])
    assert [part[:2] for part in parsed(Multipart(files=files))] == [("a", "a.txt"), ("b", "b.txt")]


def test_a_name_may_have_many_files():
    for files in ([("f", ("a", b"1")), ("f", ("b", b"2"))], {"f": [("a", b"1"), ("b", b"2")]}):
        assert [(part.name, part.filename, part.content) for part in parsed(Multipart(files=files))] == [
            ("f", "a", b"1"),
            ("f", "b", b"2"),
        ]
    assert parsed(Multipart(files={"f": []})) == []


@pytest.mark.parametrize(
    ("given", "part"),
    [
        (b"x", Part("f", "f", "application/octet-stream", b"x")),
        (bytearray(b"x"), Part("f", "f", "application/octet-stream", b"x")),
        (memoryview(b"xyz")[::2], Part("f", "f", "application/octet-stream", b"xz")),
        ("é", Part("f", "f", "application/octet-stream", "é".encode())),
        (io.BytesIO(b"x"), Part("f", "f", "application/octet-stream", b"x")),
        (("n.html", b"x"), Part("f", "n.html", "text/html", b"x")),
        (("n.html", "é"), Part("f", "n.html", "text/html", "é".encode())),
        (("n", io.BytesIO(b"x")), Part("f", "n", "application/octet-stream", b"x")),
        (("a/b.txt", b"x"), Part("f", "a/b.txt", "text/plain", b"x")),
        (("", b"x"), Part("f", "", "application/octet-stream", b"x")),
        ((None, "x"), Part("f", None, None, b"x")),
        ((None, "{}", "application/json"), Part("f", None, "application/json", b"{}")),
        (("n", b"x", "text/x"), Part("f", "n", "text/x", b"x")),
        (("n.txt", b"x", None), Part("f", "n.txt", "text/plain", b"x")),
        (("n", b"x", "text/x", None), Part("f", "n", "text/x", b"x")),
        (("n", b"x", None, {"content-type": "a/b"}), None),
        (("n", b"x", "text/x", {}), Part("f", "n", "text/x", b"x")),
        (("n", [b"a", bytearray(b"b"), memoryview(b"c")]), Part("f", "n", "application/octet-stream", b"abc")),
        (("n", iter([b"a", b"b"])), Part("f", "n", "application/octet-stream", b"ab")),
        (("n", (piece for piece in [b"a", b"", b"b"])), Part("f", "n", "application/octet-stream", b"ab")),
        (iter([b"a", b"b"]), Part("f", "f", "application/octet-stream", b"ab")),
        (lambda: iter([b"a", b"b"]), Part("f", "f", "application/octet-stream", b"ab")),
        (("data:text/html,x", b"x"), Part("f", "data:text/html,x", "application/octet-stream", b"x")),
        (("a.tar.gz", b"x"), Part("f", "a.tar.gz", "application/octet-stream", b"x")),
    ],
)
def test_a_file_is_given_as_content_or_as_a_tuple(given, part):
    form = Multipart(files={"f": given})
    if part is None:
        assert b"\r\ncontent-type: a/b\r\n\r\nx\r\n" in b"".join(form)
    else:
        assert only(form) == part


def test_a_file_bears_its_own_name(path):
    with path.open("rb") as file:
        form = Multipart(files={"f": file})
        assert only(form) == Part("f", "report.csv", "text/csv", b"a,b\r\n1,2\r\n")
        assert not file.closed
    with open(os.fsencode(path), "rb") as file:  # noqa: PTH123  whose name is bytes
        assert only(Multipart(files={"f": file})).filename == "report.csv"


@pytest.mark.parametrize("name", ["<stdin>", "<fdopen>", 3, None, "", "/"])
def test_what_is_no_name_of_a_file_is_replaced_by_the_name_of_the_field(name):
    file = io.BytesIO(b"x")
    file.name = name
    assert only(Multipart(files={"f": file})).filename == "f"


def test_headers_are_sent_after_the_content_type():
    for headers in ({"X-A": "1", "X-B": "2"}, [("X-A", "1"), ("X-B", "2")]):
        form = Multipart(files={"f": ("n", b"x", "text/x", headers)}, boundary="cut")
        assert b"".join(form) == (
            b'--cut\r\nContent-Disposition: form-data; name="f"; filename="n"\r\n'
            b"Content-Type: text/x\r\nX-A: 1\r\nX-B: 2\r\n\r\nx\r\n--cut--\r\n"
        )
        assert form.length == len(b"".join(form))


def test_the_content_type_is_given_once_and_the_disposition_never():
    with pytest.raises(ValueError, match="file 'f': expected one content type, got 'a/b'"):
        Multipart(files={"f": ("n", b"x", "a/b", {"content-TYPE": "c/d"})})
    with pytest.raises(ValueError, match="file 'f': expected no Content-Disposition"):
        Multipart(files={"f": ("n", b"x", None, {"content-disposition": "form-data"})})


@pytest.mark.parametrize(
    "given",
    [
        None,
        5,
        object(),
        {"a": 1},
        {b"a"},
        frozenset({b"a"}),
        (),
        ("n",),
        ("n", b"x", "a/b", {}, 5),
        (5, b"x"),
        (b"n", b"x"),
        ("n", None),
        ("n", b"x", 5),
        ("n", b"x", b"a/b"),
        ("n", b"x", None, {"a": 5}),
        ("n", b"x", None, {5: "a"}),
        (io.BytesIO(b"a"), io.BytesIO(b"b")),
        ("n", {"a": 1}),
    ],
)
def test_anything_else_is_refused_when_the_form_is_made(given):
    with pytest.raises(TypeError):
        Multipart(files={"f": given})


@pytest.mark.parametrize("files", [b"x", "y", 5, ["ab"], {1: b"x"}])
def test_files_have_names(files):
    with pytest.raises(TypeError, match="expected"):
        Multipart(files=files)


def test_a_file_in_text_mode_is_refused_when_the_form_is_made(path):
    with (
        path.open(encoding="utf-8") as text,
        tempfile.NamedTemporaryFile("w+", encoding="utf-8") as wrapped,
        tempfile.SpooledTemporaryFile(mode="w+", encoding="utf-8") as spooled,
    ):
        for file in (text, wrapped, spooled, io.StringIO("x"), ("n", text)):
            with pytest.raises(TypeError, match=r"file 'f': .* open it in binary mode"):
                Multipart(files={"f": file})
    with tempfile.NamedTemporaryFile() as wrapped, tempfile.SpooledTemporaryFile() as spooled:
        assert Multipart(files={"a": wrapped, "b": ("n", spooled)}).replayable


def test_content_that_turns_out_to_be_text_is_refused_while_it_is_sent():
    class Reader:
        def read(self, size):
            return "text"

    for content in (iter(["text"]), lambda: ["text"], ["text"], [5]):
        with pytest.raises(TypeError, match="file 'f': expected bytes, got "):
            b"".join(Multipart(files={"f": ("n", content)}))
    with pytest.raises(TypeError, match="binary mode"):
        b"".join(Multipart(files={"f": Reader()}))


# --- names ---

BREAKS = ["a\rb", "a\nb", "a\r\nb", "a\0b", '"\r\nContent-Type: text/html\r\n\r\n<script>', "\n", "\0"]


@pytest.mark.parametrize("text", BREAKS)
def test_what_would_forge_a_part_is_refused(text):
    for data, files in [
        ({text: "x"}, None),
        (None, {text: b"x"}),
        (None, {"f": (text, b"x")}),
        (None, {"f": ("n", b"x", text)}),
        (None, {"f": ("n", b"x", None, {"X-A": text})}),
        (None, {"f": ("n", b"x", None, {text: "x"})}),
    ]:
        with pytest.raises(ValueError, match=r"forge|CR, LF|header"):
            Multipart(data, files)


def test_the_name_of_a_file_that_would_forge_a_part_is_refused():
    file = io.BytesIO(b"x")
    file.name = "a\r\nb"
    with pytest.raises(ValueError, match="expected a file name without CR, LF and NUL"):
        Multipart(files={"f": file})


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ('a"b', b"a%22b"),
        ("grüße", "grüße".encode()),
        ("日本", "日本".encode()),
        ("a%22b", b"a%22b"),
        ("a\\b", b"a\\b"),
        ("a;b=c", b"a;b=c"),
        ("a\tb", b"a\tb"),
        ("", b""),
    ],
)
def test_names_are_written_as_browsers_do(name, written):
    form = Multipart({name: "x"}, {name: (name, b"x", "a/b")}, boundary="cut")
    body = b"".join(form)
    assert b'name="%b"\r\n\r\nx' % written in body
    assert b'name="%b"; filename="%b"\r\nContent-Type: a/b\r\n' % (written, written) in body


# --- length ---


def test_the_length_is_known_when_every_part_knows_its_own(path):
    with path.open("rb") as file:
        file.seek(4)
        form = Multipart({"a": "é"}, {"f": file, "b": b"xyz", "s": "é", "e": io.BytesIO()})
        assert form.length == len(b"".join(form))
        assert file.tell() == len(path.read_bytes())


@pytest.mark.parametrize("content", [iter([b"x"]), [b"x"], lambda: [b"x"]], ids=["iterator", "list", "function"])
def test_the_length_is_unknown_when_that_of_a_part_is(content):
    form = Multipart({"a": "1"}, {"f": ("n", content), "g": b"x"})
    assert form.length is None
    assert [part.content for part in parsed(form)] == [b"1", b"x", b"x"]


def test_making_a_form_leaves_a_file_where_it_stands(path):
    with path.open("rb") as file:
        file.read(4)
        Multipart(files={"f": file})
        assert file.tell() == 4


def test_a_file_that_has_grown_is_sent_as_long_as_it_was(path):
    with path.open("rb") as file:
        form = Multipart(files={"f": file})
        with path.open("ab") as more:
            more.write(b"x" * 100_000)
        assert only(form).content == b"a,b\r\n1,2\r\n"
        empty = io.BytesIO()
        form = Multipart(files={"f": empty})
        empty.write(b"later")
        assert only(form).content == b""


def test_a_file_that_grows_without_end_is_left_alone_when_it_has_been_sent():
    class Growing(io.BytesIO):
        reads = 0

        def read(self, size=-1):
            self.reads += 1
            return b"x" * 4

    file = Growing(b"x" * 10)
    assert only(Multipart(files={"f": file})).content == b"x" * 10
    assert file.reads == 3


def test_a_file_that_has_become_shorter_is_an_error_for_its_length_was_sent():
    file = io.BytesIO(b"0123456789")
    form = Multipart(files={"f": file})
    file.truncate(4)
    with pytest.raises(ValueError, match="file 'f': expected 10 bytes, got 6 less"):
        b"".join(form)


# --- chunks ---


def big(size):
    return bytes(range(256)) * (size // 256)


@pytest.mark.parametrize(
    "content",
    [
        big(300_032),
        io.BytesIO(big(300_032)),
        iter([big(300_032)]),
        iter([big(256)] * 1172),
        (bytes([byte]) for byte in big(300_032)),
    ],
    ids=["bytes", "file", "one large piece", "small pieces", "bytes one by one"],
)
def test_chunks_are_of_at_most_64_kib_and_never_empty_and_small_ones_are_joined(content):
    form = Multipart({"a": "1"}, {"f": ("n", content), "g": b"x"}, boundary="cut")
    chunks = list(form)
    assert all(0 < len(chunk) <= CHUNK for chunk in chunks)
    assert all(type(chunk) is bytes for chunk in chunks)
    assert len(chunks) <= 8
    body = b"".join(chunks)
    assert body.endswith(b'\r\n\r\n%b\r\n--cut\r\nContent-Disposition: form-data; name="g"; filename="g"\r\n'
                         b"Content-Type: application/octet-stream\r\n\r\nx\r\n--cut--\r\n" % big(300_032))  # fmt: skip


def test_a_small_form_is_one_chunk():
    assert len(list(Multipart({"a": "1", "b": "2"}, {"f": b"x"}))) == 1


def test_even_a_name_is_cut_into_chunks():
    form = Multipart({"n" * 200_000: "x"})
    chunks = list(form)
    assert max(map(len, chunks)) == CHUNK
    assert all(chunks)
    assert len(b"".join(chunks)) == form.length


def test_an_iterator_is_not_read_ahead():
    read = []

    def pieces():
        for number in range(10):
            read.append(number)
            yield bytes(CHUNK)

    chunks = iter(Multipart(files={"f": pieces()}))
    assert not read
    next(chunks)
    assert read == [0]
    next(chunks)
    assert read == [0, 1]


def test_nothing_larger_than_a_few_chunks_is_held(tmp_path):
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(64 * 1024 * 1024)
    with path.open("rb") as file:
        form = Multipart(files={"f": file})
        tracemalloc.start()
        try:
            size = sum(map(len, form))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert size == form.length
    assert peak < 8 * CHUNK


# --- sending again ---


def test_a_form_of_bytes_and_files_can_be_sent_again(path):
    with path.open("rb") as file:
        file.seek(5)
        form = Multipart({"a": "1"}, {"f": file, "g": io.BytesIO(b"x"), "h": [("n", [b"y"]), lambda: [b"z"]]})
        assert form.replayable
        first = b"".join(form)
        assert b"1,2\r\n\r\n" in first
        assert b"a,b" not in first
        assert form.rewind() is True
        assert file.tell() == 5
        assert b"".join(form) == first


def test_what_a_body_is_made_of_may_be_in_a_form():
    file = io.BytesIO(b"abc")
    file.seek(1)
    form = Multipart(files={"a": File(file), "b": Factory(lambda: iter([b"d", b"e"]))}, boundary="cut")
    assert (form.length, form.replayable) == (None, True)
    for _ in range(2):
        content = b"".join(form)
        assert b"\r\n\r\nbc\r\n--cut" in content
        assert b"\r\n\r\nde\r\n--cut" in content
    assert Multipart(files={"a": File(file)}).length is not None
    file.name = "/srv/notes.txt"
    assert b'filename="notes.txt"\r\nContent-Type: text/plain' in b"".join(Multipart(files={"a": File(file)}))


def test_each_iteration_starts_from_the_beginning():
    form = Multipart(files={"f": io.BytesIO(big(200_192))})
    whole = b"".join(form)
    chunks = iter(form)
    next(chunks)
    assert b"".join(form) == whole
    assert b"".join(form) == whole


def test_one_file_may_be_in_two_parts():
    file = io.BytesIO(b"xyz")
    file.read(1)
    assert [part.content for part in parsed(Multipart(files={"a": file, "b": file}))] == [b"yz", b"yz"]


class Endless:
    """An iterable that does not say that it can be iterated again."""

    def __iter__(self):
        return iter([b"x"])


class Pipe(io.RawIOBase):
    """A file that cannot seek."""

    def __init__(self):
        self.left = [b"ab", b"c"]

    def readable(self):
        return True

    def readinto(self, buffer):
        piece = self.left.pop(0) if self.left else b""
        buffer[: len(piece)] = piece
        return len(piece)


class OnlyRead:
    def __init__(self):
        self.left = [b"ab", b"c"]

    def read(self, size):
        return self.left.pop(0) if self.left else b""


@pytest.mark.parametrize(
    ("make", "content"),
    [(lambda: iter([b"abc"]), b"abc"), (Endless, b"x"), (Pipe, b"abc"), (OnlyRead, b"abc")],
    ids=["iterator", "iterable", "pipe", "reader"],
)
def test_a_stream_can_be_sent_once(make, content):
    form = Multipart({"a": "1"}, {"f": ("n", make())})
    assert not form.replayable
    assert form.length is None
    assert form.rewind() is False
    assert parsed(form)[1].content == content
    assert form.rewind() is False
    with pytest.raises(BodyConsumed, match="one of its files can be read only once"):
        list(form)


def test_a_closed_file_cannot_be_sent_again():
    file = io.BytesIO(b"x")
    form = Multipart(files={"f": file})
    b"".join(form)
    file.close()
    assert form.rewind() is False
    with pytest.raises(BodyConsumed):
        list(form)


def test_a_closed_file_is_refused_when_the_form_is_made():
    file = io.BytesIO(b"x")
    file.close()
    with pytest.raises(ValueError, match="closed"):
        Multipart(files={"f": file})


def test_the_repr_tells_the_parts_and_the_length():
    assert repr(Multipart({"a": "1"}, boundary="cut")) == "<Multipart: 1 parts, 63 bytes>"
    assert repr(Multipart(files={"a": iter(())})) == "<Multipart: 1 parts, unknown length>"


# --- oracles ---

fields = st.lists(st.tuples(st.text(st.characters(exclude_characters="\r\n\0", codec="utf-8")), st.text()), max_size=4)
contents = st.one_of(st.binary(), st.binary().map(lambda tail: b"\r\n--" + tail), st.just(b"\r\n--\r\n"))


def uploads_with(letters):
    names = st.text(letters, min_size=1)
    return st.lists(st.tuples(names, names, contents, st.sampled_from(["a/b", "c/d"])), max_size=4)


@given(fields, uploads_with("abc. ;='/üé"))
def test_a_server_reads_what_was_given_and_the_length_is_true(data, uploads):
    form = Multipart(data, [(name, (filename, content, kind)) for name, filename, content, kind in uploads])
    assert parsed(form) == [
        *(Part(name.replace('"', "%22"), None, None, value.encode()) for name, value in data),
        *(Part(name, filename, kind, content) for name, filename, content, kind in uploads),
    ]
    assert form.length == len(b"".join(form))


@given(uploads_with("abc. ;='"))  # as for other letters, it knows but RFC 2231
def test_the_standard_librarys_parser_reads_the_same(uploads):
    form = Multipart(files=[(name, (filename, content, kind)) for name, filename, content, kind in uploads])
    whole = b"Content-Type: " + form.content_type.encode() + b"\r\n\r\n" + b"".join(form)
    message = BytesParser(policy=policy.compat32).parsebytes(whole)
    read = [
        (
            part.get_param("name", header="content-disposition"),
            part.get_param("filename", header="content-disposition"),
            part.get_payload(decode=True),
            part.get_content_type(),
        )
        for part in (message.get_payload() if message.is_multipart() else [])
    ]
    assert read == uploads


def test_urllib3_and_so_requests_makes_the_same_body():
    data = [("a", "1"), ("grüße", "ü")]
    file = ("n.csv", b"x\r\n", "text/csv")
    theirs, content_type = encode_multipart_formdata([*data, ("f", file)], boundary="cut")
    form = Multipart(data, {"f": file}, boundary="cut")
    assert b"".join(form) == theirs
    assert form.content_type == content_type
