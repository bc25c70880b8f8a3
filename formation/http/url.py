r"""URLs: Formation computes them, so that every transport sees an absolute one and joining means the same everywhere.

Pure functions on strings. A client expands its template, resolves the path against its base, and merges the query:

>>> path = expand("/repos/{owner}/:repo", {"owner": "octo", "repo": "a/b"})
>>> path
'/repos/octo/a%2Fb'
>>> url = resolve("https://api.example.com/v1", path)
>>> merge_query(url, [("page", "2")])
'https://api.example.com/v1/repos/octo/a%2Fb?page=2'

Theory of operation
-------------------
*Joining appends.* RFC 3986's own way replaces the last segment of the base and lets ``//host`` and ``..`` leave it,
which is the most repeated complaint about HTTP clients. Here a path goes below the base, whether it starts with a slash
or not.

*A path cannot leave.* The result is the text of the base, a slash, and a path that has no ``//`` in front, no dot
segment, no backslash and no control character. Those are refused, not repaired: parsers disagree about them (WHATWG
reads a backslash as a slash, drops tabs, and takes ``https:/h`` for absolute), and each disagreement has been
somebody's security hole. ``%2e`` counts as a dot, for transports decode it; ``..;x`` counts as ``..``, for servlet
containers cut ``;x`` off.

*Only an absolute URL names another host*, and it is compared by origin (RFC 6454): scheme, host and port in normal
form. Where two spellings may or may not be one host, they are two.

*A value cannot become syntax.* A path parameter is percent-encoded with nothing safe. What encoding cannot disarm
(``.``, ``..``, nothing at all) is refused.

*What is well-formed stays as written*: ``users/``, ``a%2Fb``, ``a:b``. What may not stand in a URL (a space, non-ASCII,
a lone ``%``) is percent-encoded as UTF-8, so that all transports send the same bytes. A fragment is never sent: it is
dropped.
"""

from __future__ import annotations

import re
from datetime import date
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import unquote_plus
from uuid import UUID

from formation.errors import ForeignURLError
from formation.http.headers import REDACTED
from formation.http.query import encode
from formation.http.secrets import SECRETS, folded
from formation.http.values import percent, scalar

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

PORTS: Final = {"http": 80, "https": 443, "ws": 80, "wss": 443}
"""Those that go without saying (RFC 9110, 4.2; RFC 6455, 3)."""

_absolute = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*)://([^/?#]*)").match
_not_ascii = re.compile(r"[^\x00-\x7f]+")
_http_without_slashes = re.compile(r"https?:", re.IGNORECASE).match
_forbidden = re.compile(r"[\x00-\x1f\x7f-\x9f\\]").search
_dot_segment = re.compile(r"(?:^|/)(?:\.|%2e){1,2}(?:[/;]|\Z)", re.IGNORECASE).search
_host_port = re.compile(
    r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)(?P<zone>%25[A-Za-z0-9._~-]+)?\]|(?P<name>(?!\.)(?:[A-Za-z0-9._-]|[^\x00-\x9f\s])+))"
    r"(?::(?P<port>[0-9]{0,5}))?"
).fullmatch
# Most paths, so that these are joined without another look: safe characters, no dot in front of a segment (see _join).
_plain = re.compile(r"/?[A-Za-z0-9_~@-][A-Za-z0-9_~!$&'()*+,;=@./-]*").fullmatch

_stray = r"%(?![0-9A-Fa-f]{2})"
_not_path = re.compile(rf"[^A-Za-z0-9_.~!$&'()*+,;=:@/%-]+|{_stray}")
# Brackets may not stand in a query either, but `filter[x]=1` is widely written, and no transport or server minds.
_not_query = re.compile(rf"[^A-Za-z0-9_.~!$&'()*+,;=:@/?%\[\]-]+|{_stray}")

# A parameter, or a brace that belongs to none. Names in braces may have dots and hyphens, as OpenAPI's do.
_tokens = re.compile(r"\{(\+?)([^\W\d][\w.-]*)\}|(?<![^/]):([^\W\d]\w*)|[{}]").finditer

_user_info = re.compile(r"^([^/?#]*//)[^/?#]*@").sub
# A password with a bare "/", "?" or "#" ends the host before its "@": known by a port that is no number.
_cut_user_info = re.compile(r"^([^/?#]*//)[^/?#@\[]*:(?![0-9]*[/?#]).*@", re.DOTALL).sub
_query_start = re.compile(r"[?#]").search
_pairs = re.compile(r"([&#])").split
_assignments = re.compile(r"(?:^|[;?])([^=;?]*)=").finditer


# --- templates ---


class _Token(NamedTuple):
    name: str
    slashes: bool
    after: str  # the literal text up to the next parameter


def expand(template: str, values: Mapping[str, object]) -> str:
    """Fill the path parameters of a template.

    The parameters are ``:name`` at the start of a segment, ``{name}``, and ``{+name}``, whose value may have slashes.
    Only the path has parameters: the scheme and host of an absolute URL and the query stay as they are.

    Args:
        template: a path or a URL.
        values: by name: str, int, UUID, Enum (its value), date or datetime (ISO 8601). They are percent-encoded with
            nothing safe. A bool is refused: there is no one way to write it in a path, and mostly it is there by
            mistake (``user and user.id``). Values that the template does not name are ignored.

    Raises:
        TypeError: a parameter has no value, or one of another type.
        ValueError: a value, or a segment of a ``{+name}``, is ``None``, ``""``, ``"."`` or ``".."``: ``DELETE
            /batches/..`` would be ``DELETE /``, and encoding is no help, for transports decode ``%2e``. Or a brace is
            malformed.

    >>> expand("/repos/{owner}/{+path}?ref={x}", {"owner": "a b", "path": "src/é.py"})
    '/repos/a%20b/src/%C3%A9.py?ref={x}'
    >>> expand("/users/:id", {"id": ".."})
    Traceback (most recent call last):
    ValueError: path parameter 'id': expected a segment of a path, got '..': it would lead to another resource
    """
    if not isinstance(template, str):
        raise TypeError(f"expected a path as a str, got {template!r} ({type(template).__qualname__})")
    if "{" not in template and ":" not in template and "}" not in template:
        return template
    literal, tokens = _parse(template)
    return _filled(literal, tokens, values) if tokens else template


def _filled(literal: str, tokens: Iterable[_Token], values: Mapping[str, object]) -> str:
    parts = [literal]
    for name, slashes, after in tokens:
        try:
            value = values[name]
        except KeyError:
            raise TypeError(f"missing path parameter {name!r}") from None
        text = value if type(value) is str else _text(name, value)
        if slashes:
            parts.append("/".join([_segment(name, part, value) for part in text.split("/")]))
        else:
            parts.append(_segment(name, text, value))
        parts.append(after)
    return "".join(parts)


def names(template: str) -> tuple[str, ...]:
    """Return the names of a template's path parameters, each once, in order.

    >>> names("/repos/{owner}/:repo/{+path}?q={no}")
    ('owner', 'repo', 'path')
    """
    return tuple(dict.fromkeys(token.name for token in _parse(template)[1]))


def pathname(template: str) -> str:
    """Return the path of a template, which is a call's name in logs: an origin and a query are no part of it.

    A query has values, so it would make a name of its own for each, and one of them may be a secret.

    >>> pathname("repos?page=2#top"), pathname("https://h/repos/{owner}?token=x"), pathname("")
    ('/repos', '/repos/{owner}', '/')
    """
    if template[:1] == "/" and "?" not in template and "#" not in template:  # nearly always, and fast
        return template
    found = _absolute(template)
    path = _cut(template[found.end() if found else 0 :])[0]
    return path if path[:1] == "/" else f"/{path}"


@lru_cache(maxsize=1024)  # templates are few, they stand in the program's text
def _parse(template: str) -> tuple[str, tuple[_Token, ...]]:
    """The literal text before the first parameter, and the parameters."""
    found = _absolute(template)
    start = found.end() if found else 0
    end = min((i for i in (template.find("?", start), template.find("#", start)) if i >= 0), default=len(template))
    matches = list(_tokens(template, start, end))
    for match in matches:
        if match.lastindex is None:
            raise ValueError(
                f"expected {{name}} or {{+name}}, got a lone {match[0]!r} at {match.start()} in {template!r}: "
                "a literal brace is written %7B or %7D"
            )
    if not matches:
        return template, ()
    ends = [match.start() for match in matches[1:]] + [len(template)]
    tokens = (
        _Token(match[2] or match[3], bool(match[1]), template[match.end() : until])
        for match, until in zip(matches, ends, strict=True)
    )
    return template[: matches[0].start()], tuple(tokens)


def _text(name: str, value: object) -> str:
    plain = value
    while isinstance(plain, Enum):
        plain = plain.value
    if isinstance(plain, (str, int, UUID, date)) and not isinstance(plain, bool):
        return scalar(plain) or ""
    if plain is None:
        raise ValueError(f"path parameter {name!r}: expected a value, got {value!r}")
    raise TypeError(
        f"path parameter {name!r}: expected str, int, UUID, Enum or date, got {value!r} ({type(value).__qualname__}): "
        "convert it first"
    )


def _segment(name: str, text: str, value: object) -> str:
    if text in {"", ".", ".."}:
        raise ValueError(
            f"path parameter {name!r}: expected a segment of a path, got {value!r}: it would lead to another resource"
        )
    try:
        return percent(text)
    except ValueError as error:
        raise ValueError(f"path parameter {name!r}: {error}") from None


# --- joining ---


class _Base(NamedTuple):
    url: str
    origin: str
    path: str  # the URL up to its query
    stem: str  # the same without its last slash
    query: str | None


def check_base(base_uri: str) -> str:
    """Return a client's base URL as it is, or say what is wrong with it.

    It is absolute http or https with a host. It has no fragment, which is never sent, and no user info, whose secret
    would end up in logs. It may have a path and a query: `resolve` puts both into every URL.

    Raises:
        TypeError: it is no str.
        ValueError: it is not such a URL, or it has what `resolve` refuses in a path.

    >>> check_base("https://api.example.com/v1/")
    'https://api.example.com/v1/'
    >>> check_base("https://me:secret@api.example.com")
    Traceback (most recent call last):
    ValueError: expected base_uri without user info, got 'https://[redacted]@api.example.com': use auth=
    """
    if not isinstance(base_uri, str):
        raise TypeError(f"expected base_uri as a str, got {base_uri!r} ({type(base_uri).__qualname__})")
    return _base(base_uri).url


@lru_cache(maxsize=256)  # bases are as few as clients
def _base(url: str) -> _Base:
    shown = repr(redact(url))
    found = _absolute(url)
    if not found or found[1].lower() not in {"http", "https"}:
        raise ValueError(
            f"expected base_uri as an absolute http or https URL, got {shown}: for example 'https://api.example.com/v1'"
        )
    if "@" in found[2] or REDACTED in shown:
        raise ValueError(f"expected base_uri without user info, got {shown}: use auth=")
    if "#" in url:
        raise ValueError(f"expected base_uri without a fragment, got {shown}: leave it out, it is never sent")
    if _forbidden(url) or any(map(str.isspace, url)):
        raise ValueError(
            f"expected base_uri without spaces, backslashes and control characters, got {shown}: percent-encode them"
        )
    rest, query = _cut(url[found.end() :])
    path = found[0] + _encoded_path(rest, url)
    site = _origin(found[1].lower(), found[2])
    return _Base(url, site, path, path.removesuffix("/"), None if query is None else _encoded(_not_query, query))


def resolve(base: str | None, path: str, *, absolute: bool = False, allow_origins: Collection[str] = ()) -> str:
    """Join a path to a base, or take an absolute URL of the base's origin as it is.

    Args:
        base: what `check_base` lets pass, or ``None``: then ``path`` must be absolute; its origin is up to the caller.
        path: is appended to the base's path, with one slash between. ``""`` is the base itself; ``"?q=1"`` is the base
            with a query. The base's query goes first; a name that the path's query has too is replaced.
        absolute: take an absolute URL of any origin.
        allow_origins: other origins that are as good as the base's.

    Raises:
        ForeignURLError: an absolute URL of another origin.
        ValueError: ``//host``, a backslash, a control character, a ``.`` or ``..`` segment (``%2e`` too), an absolute
            URL that is not http or https or has user info, or a relative path without a base.
        TypeError: ``path`` is no str.

    >>> resolve("https://api.example.com/v1", "/users"), resolve("https://api.example.com/v1/", "users")
    ('https://api.example.com/v1/users', 'https://api.example.com/v1/users')
    >>> resolve("https://api.example.com/v1?key=1", "users/?page=2")
    'https://api.example.com/v1/users/?key=1&page=2'
    >>> resolve("https://api.example.com/v1", "https://evil.example/")
    Traceback (most recent call last):
    formation.errors.ForeignURLError: 'https://evil.example/' is of another origin than ...
    """
    if not isinstance(path, str):
        raise TypeError(f"expected a path as a str, got {path!r} ({type(path).__qualname__})")
    home = None if base is None else _base(base)
    if home is not None and _plain(path) and "/." not in path:
        return _join(home, path, None)
    if _forbidden(path):
        raise ValueError(
            f"expected a path without backslashes and control characters, got {path!r}: percent-encode them"
        )
    if path.startswith("//"):
        raise ValueError(f"expected a path or an absolute URL, got {path!r}: it names a host without a scheme")
    found = _absolute(path)
    if found:
        _check_origin(path, found[1].lower(), found[2], home, absolute=absolute, allow_origins=allow_origins)
    elif _http_without_slashes(path):
        raise ValueError(f"expected a path or an absolute URL, got {path!r}: an absolute URL has // after the scheme")
    elif home is None:
        raise ValueError(f"expected an absolute URL, got {path!r}: there is no base_uri to join a path to")
    site = found.end() if found else 0
    rest, query = _cut(path[site:])
    rest = _encoded_path(rest, path)
    if query is not None:
        query = _encoded(_not_query, query)
    if home is None or found:
        return path[:site] + (rest if query is None else f"{rest}?{query}")
    return _join(home, rest, query)


def locate(
    base: str | None,
    template: str,
    values: Mapping[str, object],
    *,
    absolute: bool = False,
    allow_origins: Collection[str] = (),
) -> str:
    """Fill a template and join it to a base: `expand`, then `resolve`, in one step for most templates.

    A value is encoded, so it cannot change what its template is joined to. That is found out once for each template.

    >>> locate("https://api.example.com/v1", "/users/{id}", {"id": "a b"})
    'https://api.example.com/v1/users/a%20b'
    """
    if base is not None and type(template) is str and (known := _located(base, template)) is not None:
        start, tokens = known
        return _filled(start, tokens, values) if tokens else start
    return resolve(base, expand(template, values), absolute=absolute, allow_origins=allow_origins)


@lru_cache(maxsize=1024)  # as _parse
def _located(base: str, template: str) -> tuple[str, tuple[_Token, ...]] | None:
    """The URL up to the first parameter, and the parameters; ``None`` where it takes a closer look at each URL."""
    home = _base(base)
    literal, tokens = _parse(template)
    sample = "".join([literal, *(f"x{token.after}" for token in tokens)])
    if home.query is not None or not _plain(sample) or "/." in sample:
        return None
    return _join(home, literal, None) if literal or not tokens else f"{home.stem}/", tokens


def _check_origin(
    url: str, scheme: str, authority: str, home: _Base | None, *, absolute: bool, allow_origins: Collection[str]
) -> None:
    if isinstance(allow_origins, str):
        raise TypeError(f"expected allow_origins as a collection of URLs, got {allow_origins!r}: put it in a list")
    site = _origin(scheme, authority.rpartition("@")[2])
    if not (home is None or absolute or site == home.origin or site in map(origin, allow_origins)):
        raise ForeignURLError(url=redact(url), base=home.url)
    if scheme not in {"http", "https"}:
        raise ValueError(f"expected an http or https URL, got {redact(url)!r}")
    if "@" in authority:
        raise ValueError(f"expected a URL without user info, got {redact(url)!r}: use auth=")


def merge_query(url: str, query: Iterable[tuple[str, str]]) -> str:
    """Add pairs to a URL's query.

    A name replaces all pairs of that name that the URL had; within ``query`` it may repeat. What is not
    replaced stays byte for byte; the fragment is dropped. Without pairs the URL is returned as it is.

    >>> merge_query("https://example.com/?a=1&b=%20&a=2", [("a", "3"), ("a", "4")])
    'https://example.com/?b=%20&a=3&a=4'
    """
    added = list(query)
    if not added:
        return url
    path, old = _cut(url)
    return f"{path}?{_merged(old, encode(added), {name for name, _ in added})}"


def to_ascii(url: str) -> str:
    """Percent-encode what is not ASCII in a URL, but for its host, which has another form for that.

    >>> to_ascii("https://example.com/grün?q=ü")
    'https://example.com/gr%C3%BCn?q=%C3%BC'
    """
    found = _absolute(url)
    start = found.end() if found else 0
    return url[:start] + _encoded(_not_ascii, url[start:])


def _join(home: _Base, path: str, query: str | None) -> str:
    if not path:
        url = home.path
    elif path[0] == "/":
        url = home.stem + path
    else:
        url = f"{home.stem}/{path}"
    if query is None:
        return url if home.query is None else f"{url}?{home.query}"
    if home.query is None:
        return f"{url}?{query}"
    return f"{url}?{_merged(home.query, query, {_name(pair) for pair in query.split('&')})}"


def _merged(old: str | None, new: str, replaced: Collection[str]) -> str:
    kept = [pair for pair in old.split("&") if _name(pair) not in replaced] if old else []
    return "&".join([*kept, new] if new else kept)


def _name(pair: str) -> str:
    # Bytes that are no UTF-8 stay different from one another: %ff is not %fe.
    return unquote_plus(pair.partition("=")[0], errors="surrogateescape")


def _cut(url: str) -> tuple[str, str | None]:
    """What stands before the query, and the query; the fragment is dropped."""
    path, mark, query = url.partition("#")[0].partition("?")
    return path, query if mark else None


def _encoded_path(path: str, whole: str) -> str:
    if _dot_segment(path):
        raise ValueError(f"expected a path without '.' and '..' segments, got {whole!r}: write the path it leads to")
    return _encoded(_not_path, path)


def _encoded(not_allowed: re.Pattern[str], text: str) -> str:
    return not_allowed.sub(lambda found: percent(found[0]), text)


# --- origins ---


def origin(url: str) -> str:
    """Return the origin of an absolute URL in normal form: scheme and host in lower case, the default port left out.

    A host that is not ASCII is written in its IDNA form where there is but one; user info is no part of an origin.

    Raises:
        ValueError: it is no absolute URL, or one whose host parsers disagree about.

    >>> origin("HTTPS://Example.COM:443/x"), origin("http://[::1]:8080/"), origin("https://bücher.example")
    ('https://example.com', 'http://[::1]:8080', 'https://xn--bcher-kva.example')
    """
    found = _absolute(url)
    if not found or _forbidden(url):
        raise ValueError(f"expected an absolute URL, got {redact(url)!r}: for example 'https://api.example.com'")
    return _origin(found[1].lower(), found[2].rpartition("@")[2])


def same_origin(a: str, b: str) -> bool:
    """Tell whether two absolute URLs have the same scheme, host and port (RFC 6454 section 5).

    What `origin` refuses has no origin, so it shares none: the answer is ``False``, which keeps secrets at home.

    >>> same_origin("https://example.com/a", "https://EXAMPLE.com:443/b")
    True
    >>> same_origin("https://example.com", "http://example.com"), same_origin("https://example.com", "/a")
    (False, False)
    """
    try:
        return origin(a) == origin(b)
    except ValueError:
        return False


def is_downgrade(a: str, b: str) -> bool:
    """Tell whether going from ``a`` to ``b`` goes from https to http.

    >>> (
    ...     is_downgrade("https://example.com", "http://example.com"),
    ...     is_downgrade("http://example.com", "https://example.com"),
    ... )
    (True, False)
    """
    return a[:6].lower() == "https:" and b[:5].lower() == "http:"


@lru_cache(maxsize=1024)  # hosts that a process talks to
def _origin(scheme: str, authority: str) -> str:
    found = _host_port(authority)
    default = PORTS.get(scheme)
    port = int(found["port"]) if found and found["port"] else default
    if not found or (port or 0) > 65535:
        raise ValueError(f"expected scheme://host or scheme://host:port, got '{scheme}://{authority}'")
    if found["v6"]:
        host = _v6(found["v6"]) + (found["zone"] or "")
        host = f"[{host}]"
    else:
        host = found["name"].lower() if found["name"].isascii() else _idna(found["name"])
    return f"{scheme}://{host}" if port == default else f"{scheme}://{host}:{port}"


def _v6(address: str) -> str:
    from ipaddress import IPv6Address  # few need it

    try:
        return IPv6Address(address).compressed
    except ValueError:
        raise ValueError(f"expected an IPv6 address in brackets, got '[{address}]'") from None


def _idna(host: str) -> str:
    """The ASCII form of a host where all transports agree about it, else its lower case.

    Python has IDNA 2003, most transports have 2008. They agree where Python's mapping changes no more than the case: it
    turns ``straße`` into ``strasse``, another host.
    """
    from unicodedata import normalize  # few need it

    # As CPython's urlsplit: a character that is compatible with syntax (U+2100 is "a/c") is read in two ways. And the
    # codec takes quadratic time, so no name that is longer than DNS allows.
    if len(host) > 253 or any(mark in normalize("NFKC", host) for mark in "/?#@:\\%"):
        raise ValueError(f"expected a host, got {host!r}")
    try:
        coded = host.encode("idna")
        agreed = coded.decode("idna").lower() == host.lower()
    except UnicodeError:
        raise ValueError(f"expected a host, got {host!r}: it has no IDNA form") from None
    return coded.decode("ascii").lower() if agreed else host.lower()


# --- logs ---


def redact(url: str, names: Iterable[str] = SECRETS) -> str:
    """Return a URL fit for logs: user info and the values of the named parameters become ``[redacted]``.

    Any text will do. Where no names are given, they are those that secrets go by. They are compared decoded and without
    case, in the query and in a fragment that looks like one (OAuth's ``#access_token=``).

    >>> redact("https://me:pw@example.com/?q=1&api%5Fkey=abc", ["api_key"])
    'https://[redacted]@example.com/?q=1&api%5Fkey=[redacted]'
    """
    if "@" in url:
        url = _cut_user_info(rf"\1{REDACTED}@", _user_info(rf"\1{REDACTED}@", url))
    start = _query_start(url)
    if not start:
        return url
    hidden = folded(frozenset(names))
    return url[: start.end()] + "".join([_redacted(piece, hidden) for piece in _pairs(url[start.end() :])])


def _redacted(pair: str, hidden: Collection[str]) -> str:
    for found in _assignments(pair):  # some servers split at ";" too
        if unquote_plus(found[1]).casefold() in hidden:
            return pair[: found.end()] + REDACTED
    return pair
