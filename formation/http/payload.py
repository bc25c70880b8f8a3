"""The body of a request, in whichever form it is given: content, a form, JSON, or files.

>>> from formation.http import Request
>>> request = Request("POST", "https://h/users", data={"name": "ann"})
>>> request.content, request.headers["Content-Type"]
(b'name=ann', 'application/x-www-form-urlencoded')
>>> request.json = {"name": "bob"}
>>> request.content, request.headers["Content-Type"]
(b'{"name":"bob"}', 'application/json')

Theory of operation
-------------------
What is given is kept as it is, so that a middleware may look at it and assign another; the `Body` is made when somebody
asks for one, and its Content-Type is set then, unless there is one. That type goes when another body is assigned, and
so does one that a caller has set, where both that body and this one are of a kind that brings its own.
"""

from __future__ import annotations

import json as json_
from collections.abc import AsyncIterable, Callable, Iterable, Mapping
from typing import Any

from formation.http.body import Body, BodyLike
from formation.http.headers import fit_length
from formation.http.media_types import FORM_TYPE, JSON_TYPE, MULTIPART_TYPE, media_type
from formation.http.message import Message
from formation.http.query import form
from formation.http.sources import Factory, File


class Payload(Message):
    """A message with one body: ``content``, ``data``, ``json`` or ``files``. `Request` fills it in."""

    __slots__ = ("_body", "_content", "_data", "_files", "_json", "_typed")

    _content: Any
    _data: Any
    _json: Any
    _files: Any
    _body: Body | None
    _typed: str | None  # the Content-Type that came with the body

    @property
    def body(self) -> Body:
        """The body as it is sent, made of whichever of ``content``, ``data``, ``json`` and ``files`` is given.

        Assigning takes what the argument ``content`` takes, a generator over the old body for example.
        """
        if self._body is None:
            body, content_type = _encode(self._content, self._data, self._json, self._files)
            self._body = body
            body.attach(self)
            if content_type is not None:
                given = self._headers.get("Content-Type", "")
                if not given or (self._files is not None and media_type(given) == MULTIPART_TYPE):  # another boundary
                    self._headers["Content-Type"] = self._typed = content_type
            if body.length is not None:
                fit_length(self._headers, body.length)
        return self._body

    @body.setter
    def body(self, value: BodyLike) -> None:
        self._change(content=value)

    @property
    def in_memory(self) -> bytes | None:
        """All of the body, if it is in memory; ``None`` if it is a stream."""
        if self._body is self._content is self._data is self._json is self._files is None:
            return b""  # nearly always, and without making a `Body`
        return self.body.read() if self.body.is_bytes else None

    @property
    def content(self) -> bytes:
        """All of the body, within its limit. Assigning takes what the argument ``content`` takes."""
        return self.body.read()

    @content.setter
    def content(self, value: Any) -> None:
        self._change(content=value)

    @property
    def data(self) -> Any:
        """The form, as it was given, or ``None``."""
        return self._data

    @data.setter
    def data(self, value: Any) -> None:
        self._change(data=value, files=self._files)

    @property
    def files(self) -> Any:
        """The files, as they were given, or ``None``."""
        return self._files

    @files.setter
    def files(self, value: Any) -> None:
        self._change(data=self._data, files=value)

    @property
    def json(self) -> Any:
        """What was given as ``json``; otherwise the content parsed, ``None`` if there is none.

        Raises:
            ValueError: the content is no JSON.
        """
        if self._json is not None:
            return self._json
        content = self.content
        try:
            return json_.loads(content) if content else None
        except RecursionError as error:
            raise ValueError("the JSON is nested too deep") from error

    @json.setter
    def json(self, value: Any) -> None:
        self._change(json=value)

    def _change(self, *, content: Any = None, data: Any = None, json: Any = None, files: Any = None) -> None:
        """Take another body in the place of the one there was; a content type that came with that one goes."""
        given, old = self._headers.get("Content-Type"), self._body
        if content is not None and content is old:
            return
        stream = self._content if self._data is None else self._data
        if old is None and (hasattr(stream, "close") or hasattr(stream, "aclose")):
            old = self.body  # nobody has looked at it, and it is to be closed all the same
        if given is not None:
            typed = json is not None or files is not None or _is_form(data)
            if given == self._typed or (typed and media_type(given) in {JSON_TYPE, FORM_TYPE, MULTIPART_TYPE}):
                del self._headers["Content-Type"]
        if old is not None or not self._is_empty:  # else they may be digests of the one that comes
            self.drop_digests()
        self._content, self._data, self._json, self._files = content, data, json, files
        self._body = self._typed = None
        if old is not None:
            self.body.replace(old)
        if "Content-Length" in self._headers:
            fit_length(self._headers, self.body.length)

    @property
    def _is_empty(self) -> bool:
        """Whether nothing was given."""
        return self._content is self._data is self._json is self._files is None

    @property
    def replayable(self) -> bool:
        """Whether the body can be sent a second time: bytes, forms, JSON, seekable files, functions that make one."""
        return self.body.replayable


def too_many(**given: Any) -> TypeError:
    """Make the error that says which bodies were given at once."""
    names = " and ".join(name for name, value in given.items() if value is not None)
    return TypeError(f"a request has one body: expected one of content, data and json, or data and files, got {names}")


def _encode(content: Any, data: Any, json: Any, files: Any) -> tuple[Body, str | None]:
    """Make the body, and the content type that goes with it."""
    if files is not None:
        from formation.http.multipart import Multipart  # few requests need it

        multipart = Multipart(data, files)
        return Body(multipart), multipart.content_type
    if json is not None:
        return Body(json_.dumps(json, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()), JSON_TYPE
    if _is_form(data):
        return Body(form(data)), FORM_TYPE
    return _body(content if data is None else data), None


def _body(content: Any) -> Body:
    if content is None or isinstance(content, (bytes, str)):
        return Body(content)
    if isinstance(content, Body):
        return content
    if hasattr(content, "__aiter__") and not hasattr(content, "__iter__"):
        return Body(content)
    if hasattr(content, "read"):
        return Body(File(content))
    if callable(content) and not hasattr(content, "__iter__"):
        return Body(Factory(content))
    return Body(content)


def _is_form(data: Any) -> bool:
    """Whether ``data`` has fields: a mapping, pairs, or an object with attributes; else it is a body as it stands."""
    if isinstance(data, (list, tuple)):
        return all(isinstance(each, (list, tuple)) and len(each) == 2 for each in data)
    if data is None or isinstance(data, (bytes, bytearray, memoryview, str, Mapping)):
        return isinstance(data, Mapping)
    return not (hasattr(data, "read") or isinstance(data, (Iterable, AsyncIterable, Callable)))  # type: ignore[arg-type]
