"""What the body of a result is: ``response_as`` on a class, an instance or a call.

One of the functions here, any function of ctx, or a type. The functions here and types keep two promises: an empty
body is ``None``, and an error status is never a decode error, but JSON where it says JSON, and text otherwise.
"""

from __future__ import annotations

from datetime import time
from decimal import Decimal
from functools import cache
from inspect import isclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar, get_origin
from uuid import UUID

from formation.http.headers import Headers
from formation.keys import ATTEMPTS, REQ_HTTP, RES_HTTP

if TYPE_CHECKING:
    from collections.abc import Callable

    from formation.client.base_sender import Prepared
    from formation.http.request import Request
    from formation.http.response import Response
    from formation.kernel import Ctx

T = TypeVar("T")


class Result(tuple[T, int, Headers], Generic[T]):  # noqa: SLOT001  a tuple cannot have slots
    """What a call returns: ``body, status_code, headers = result``, and all the rest by name.

    ``body``: what ``response_as`` made of it. ``attempts``: the ledger of attempts, one entry each; empty if nobody
    kept one.
    """

    response: Response
    ctx: Ctx
    prepared: Prepared

    def __new__(cls, body: T, ctx: Ctx) -> Result[T]:
        """Make a result of the body and the context that came out of the chain."""
        response: Response = ctx[RES_HTTP]
        result = super().__new__(cls, (body, response.status_code, response.headers))
        result.response = response
        result.ctx = ctx
        return result

    @property
    def body(self) -> T:
        """What ``response_as`` made of the body."""
        return self[0]

    @property
    def status_code(self) -> int:
        """The status."""
        return self[1]

    @property
    def headers(self) -> Headers:
        """The header fields."""
        return self[2]

    @property
    def request(self) -> Request:
        """The request as the middleware left it."""
        return self.ctx[REQ_HTTP]  # type: ignore[no-any-return]

    @property
    def url(self) -> str:
        """Where the response came from, after redirects."""
        return self.response.url

    @property
    def elapsed(self) -> float | None:
        """Seconds from sending the last request to the head of its response."""
        return self.response.elapsed

    @property
    def attempts(self) -> list[Any]:
        """One entry for each attempt, if a middleware kept them."""
        return self.ctx.get(ATTEMPTS) or []

    def __repr__(self) -> str:
        return f"<Result {self.status_code} of {self.request!r}: {self.body!r:.80}>"


def raw_response(ctx: Ctx) -> Any:
    """The bytes as they came; the default.

    >>> from formation.http import Response
    >>> raw_response({"fmtn.res.http": Response(200, body=b"hello")})
    b'hello'
    """
    return ctx[RES_HTTP].content or None


def text_response(ctx: Ctx) -> Any:
    """The text, decoded by the charset of Content-Type, else as UTF-8.

    >>> from formation.http import Response
    >>> text_response({"fmtn.res.http": Response(200, body="grün")})
    'grün'
    """
    return ctx[RES_HTTP].text or None


def json_response(ctx: Ctx) -> Any:
    """What the JSON says.

    Raises:
        DecodeError: a 2xx or 3xx that is no JSON.

    >>> from formation.http import Response
    >>> json_response({"fmtn.res.http": Response(200, body=b'{"id": 1}')})
    {'id': 1}
    >>> json_response({"fmtn.res.http": Response(502, body=b"Bad Gateway")})
    'Bad Gateway'
    """
    return _decoded(ctx[RES_HTTP], lambda response: response.json())


def html_response(ctx: Ctx) -> Any:
    """The HTML as an lxml element, which has ``.xpath``. Needs ``formation[html]``.

    Raises:
        DecodeError: a 2xx or 3xx in which there is no HTML.
    """
    html = _needed("lxml.html", "html")

    def parse(response: Response) -> Any:
        declared = response.charset if "charset" in str(response.headers.get("Content-Type", "")).lower() else None
        try:
            return html.document_fromstring(
                response.content, parser=html.HTMLParser(encoding=declared, no_network=True)
            )
        except (html.etree.LxmlError, ValueError, LookupError) as error:
            raise response.undecodable(str(error)) from error

    return _decoded(ctx[RES_HTTP], parse)


def xmltodict_response(ctx: Ctx) -> Any:
    """The XML as a dict, by xmltodict. Needs ``formation[xml]``.

    Raises:
        DecodeError: a 2xx or 3xx that is no XML, or that defines entities.
    """
    xmltodict = _needed("xmltodict", "xml")

    def parse(response: Response) -> Any:
        from xml.parsers.expat import ExpatError

        try:
            return xmltodict.parse(response.content)
        except (ExpatError, ValueError) as error:
            raise response.undecodable(str(error)) from error

    return _decoded(ctx[RES_HTTP], parse)


def decoder(response_as: Any) -> Callable[[Ctx], Any]:
    """Return the function of ctx that ``response_as`` stands for: itself, or for a type, one that makes such values."""
    if response_as is None:
        return raw_response
    if is_type(response_as):
        return _typed(response_as)
    return response_as  # type: ignore[no-any-return]


def is_type(value: Any) -> bool:
    """Tell whether ``value`` is a type, such as ``User``, ``list[User]`` or ``User | None``."""
    return isclass(value) or get_origin(value) is not None


def unstructured(value: Any) -> Any:
    """Return what JSON can say of ``value``: attrs classes, dataclasses and pydantic models in it become dicts."""
    if value is None or isinstance(value, (str, int, float)):
        return value
    if isinstance(value, (list, tuple)):
        return [unstructured(each) for each in value]
    if isinstance(value, dict):
        return {name: unstructured(each) for name, each in value.items()}
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if hasattr(value, "__attrs_attrs__") or hasattr(value, "__dataclass_fields__"):
        return _converter().unstructure(value)
    return value


@cache
def _typed(wanted: Any) -> Callable[[Ctx], Any]:
    try:
        make = _converter().get_structure_hook(wanted)
    except _needed("cattrs", "requests").StructureHandlerNotFoundError as error:
        message = f"nobody knows how to make a {wanted!r} of JSON: {error}"
        raise TypeError(message) from error

    def structure(response: Response) -> Any:
        data = response.json()
        try:
            return make(data, wanted)
        except Exception as error:
            from cattrs import transform_error

            raise response.undecodable(*transform_error(error, "body", _problem)) from error

    def typed_response(ctx: Ctx) -> Any:
        return _decoded(ctx[RES_HTTP], structure)

    return typed_response


@cache
def _converter() -> Any:
    """Make the converter: what JSON has no word for, such as dates, enums and UUIDs, are strings there."""
    converter = _needed("cattrs.preconf.json", "requests").make_converter()
    for kind in (UUID, Decimal):
        converter.register_structure_hook(kind, lambda data, wanted: wanted(str(data)))
        converter.register_unstructure_hook(kind, str)
    converter.register_structure_hook(time, lambda data, _: time.fromisoformat(data))
    converter.register_unstructure_hook(time, time.isoformat)
    converter.register_structure_hook_func(lambda wanted: hasattr(wanted, "model_validate"), _model)
    converter.register_unstructure_hook_func(
        lambda given: hasattr(given, "model_dump"), lambda model: model.model_dump(mode="json")
    )
    return converter


def _model(data: Any, wanted: Any) -> Any:
    """Make a pydantic model; its errors become those of cattrs, so that each has its path."""
    try:
        return wanted.model_validate(data)
    except ValueError as error:
        from cattrs import AttributeValidationNote, ClassValidationError

        each: Any
        problems = []
        for each in error.errors():  # type: ignore[attr-defined]  # pydantic's ValidationError
            problems.append(problem := ValueError(each["msg"]))
            if each["loc"]:
                place = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in each["loc"]).lstrip(".")
                problem.__notes__ = [AttributeValidationNote(each["msg"], place, None)]
        raise ClassValidationError(str(error), problems, wanted) from error


def _problem(error: BaseException, wanted: Any) -> str:
    """Say what is wrong with a value: what was expected, and what the error says."""
    if isinstance(error, KeyError):
        return f"required field missing: {error}"
    expected = "" if wanted is None else f"expected {getattr(wanted, '__name__', None) or wanted}, "
    return f"{expected}{error or type(error).__name__}"


def _decoded(response: Response, decode: Callable[[Response], Any]) -> Any:
    if not response.content:
        return None
    if response.ok:
        return decode(response)
    if response.content_type == "application/json" or response.content_type.endswith("+json"):
        try:
            return response.json()
        except ValueError:
            pass
    return response.text


def _needed(module: str, extra: str) -> Any:
    from importlib import import_module

    try:
        return import_module(module)
    except ImportError as error:
        message = f"{module.partition('.')[0]} is not installed: pip install 'formation[{extra}]'"
        raise ImportError(message, name=error.name) from error
