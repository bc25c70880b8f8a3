r"""URLs: Formation computes them, so that every transport sees an absolute one and joining means the same everywhere.

Pure functions on strings. A client fills its template (`formation.http.templates`), joins the path to its base, and
merges the query:

>>> url = locate("https://api.example.com/v1", "/repos/{owner}/:repo", {"owner": "octo", "repo": "a/b"})
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

*Only an absolute URL names another host*, and it is compared by origin, see `formation.http.origins`.

*What is well-formed stays as written*: ``users/``, ``a%2Fb``, ``a:b``. What may not stand in a URL (a space, non-ASCII,
a lone ``%``) is percent-encoded as UTF-8, so that all transports send the same bytes. A fragment is never sent: it is
dropped.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote_plus

from formation.errors import ForeignURLError
from formation.http.origins import FORBIDDEN, origin, origin_of, scheme_and_host
from formation.http.query import encode
from formation.http.secrets import redact
from formation.http.templates import Token, expand, fill, parse
from formation.http.values import percent

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

_not_ascii = re.compile(r"[^\x00-\x7f]+")
_http_without_slashes = re.compile(r"https?:", re.IGNORECASE).match
_dot_segment = re.compile(r"(?:^|/)(?:\.|%2e){1,2}(?:[/;]|\Z)", re.IGNORECASE).search
# Most paths, so that these are joined without another look: safe characters, no dot in front of a segment (see _join).
_plain = re.compile(r"/?[A-Za-z0-9_~@-][A-Za-z0-9_~!$&'()*+,;=@./-]*").fullmatch

_stray = r"%(?![0-9A-Fa-f]{2})"
_not_path = re.compile(rf"[^A-Za-z0-9_.~!$&'()*+,;=:@/%-]+|{_stray}")
# Brackets may not stand in a query either, but `filter[x]=1` is widely written, and no transport or server minds.
_not_query = re.compile(rf"[^A-Za-z0-9_.~!$&'()*+,;=:@/?%\[\]-]+|{_stray}")


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
    found = scheme_and_host(url)
    if not found or found[1].lower() not in {"http", "https"}:
        raise ValueError(
            f"expected base_uri as an absolute http or https URL, got {shown}: for example 'https://api.example.com/v1'"
        )
    if "@" in found[2] or redact(url, ()) != url:
        raise ValueError(f"expected base_uri without user info, got {shown}: use auth=")
    if "#" in url:
        raise ValueError(f"expected base_uri without a fragment, got {shown}: leave it out, it is never sent")
    if FORBIDDEN.search(url) or any(map(str.isspace, url)):
        raise ValueError(
            f"expected base_uri without spaces, backslashes and control characters, got {shown}: percent-encode them"
        )
    rest, query = _cut(url[found.end() :])
    path = found[0] + _encoded_path(rest, url)
    site = origin_of(found[1].lower(), found[2])
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
    if FORBIDDEN.search(path):
        raise ValueError(
            f"expected a path without backslashes and control characters, got {redact(path)!r}: percent-encode them"
        )
    if path.startswith("//"):
        raise ValueError(f"expected a path or an absolute URL, got {redact(path)!r}: it names a host without a scheme")
    found = scheme_and_host(path)
    if found:
        _check_origin(path, found[1].lower(), found[2], home, absolute=absolute, allow_origins=allow_origins)
    elif _http_without_slashes(path):
        raise ValueError(
            f"expected a path or an absolute URL, got {redact(path)!r}: an absolute URL has // after the scheme"
        )
    elif home is None:
        raise ValueError(f"expected an absolute URL, got {redact(path)!r}: there is no base_uri to join a path to")
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

    It takes what they take, and raises what they raise. A value is encoded, so it cannot change what its template is
    joined to: that is found out once for each template.

    >>> locate("https://api.example.com/v1", "/users/{id}", {"id": "a b"})
    'https://api.example.com/v1/users/a%20b'
    """
    if base is not None and type(template) is str and (known := _located(base, template)) is not None:
        start, tokens = known
        return fill(start, tokens, values) if tokens else start
    return resolve(base, expand(template, values), absolute=absolute, allow_origins=allow_origins)


@lru_cache(maxsize=1024)  # as templates.parse
def _located(base: str, template: str) -> tuple[str, tuple[Token, ...]] | None:
    """The URL up to the first parameter, and the parameters; ``None`` where it takes a closer look at each URL."""
    home = _base(base)
    literal, tokens = parse(template)
    sample = "".join([literal, *(f"x{token.after}" for token in tokens)])
    if home.query is not None or not _plain(sample) or "/." in sample:
        return None
    return _join(home, literal, None) if literal or not tokens else f"{home.stem}/", tokens


def _check_origin(
    url: str, scheme: str, authority: str, home: _Base | None, *, absolute: bool, allow_origins: Collection[str]
) -> None:
    if isinstance(allow_origins, str):
        raise TypeError(f"expected allow_origins as a collection of URLs, got {allow_origins!r}: put it in a list")
    site = origin_of(scheme, authority.rpartition("@")[2])
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
    found = scheme_and_host(url)
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
        raise ValueError(
            f"expected a path without '.' and '..' segments, got {redact(whole)!r}: write the path it leads to"
        )
    return _encoded(_not_path, path)


def _encoded(not_allowed: re.Pattern[str], text: str) -> str:
    return not_allowed.sub(lambda found: percent(found[0]), text)
