"""What a browser has to know to protect those who use it: the headers of OWASP's secure headers project."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeAlias

from formation.http.headers import Headers
from formation.kernel import Call, Middleware
from formation.keys import REQ_HTTP, RES_HTTP, SIDE

Sources: TypeAlias = str | Iterable[str] | bool | None

STRICT: Final[Mapping[str, Sources]] = {
    "default_src": "self",
    "base_uri": "self",  # or an injected <base> turns every relative link
    "form_action": "self",  # default-src does not bind it
    "frame_ancestors": "none",  # nor this: nobody frames the page to have clicks on it
    "object_src": "none",
    "upgrade_insecure_requests": True,
}
"""What `csp` begins with: everything from here, and nothing from elsewhere."""

# fmt: off
DIRECTIVES: Final = frozenset({
    "base_uri", "child_src", "connect_src", "default_src", "font_src", "form_action", "frame_ancestors", "frame_src",
    "img_src", "manifest_src", "media_src", "object_src", "report_to", "report_uri", "require_trusted_types_for",
    "sandbox", "script_src", "script_src_attr", "script_src_elem", "style_src", "style_src_attr", "style_src_elem",
    "trusted_types", "upgrade_insecure_requests", "worker_src",
})
"""Content Security Policy Level 3, and Trusted Types."""
# fmt: on

PERMISSIONS: Final = (
    "accelerometer=(), autoplay=(), camera=(), clipboard-read=(), clipboard-write=(), cross-origin-isolated=(), "
    "display-capture=(), encrypted-media=(), fullscreen=(), gamepad=(), geolocation=(), gyroscope=(), hid=(), "
    "idle-detection=(), keyboard-map=(), magnetometer=(), microphone=(), midi=(), payment=(), picture-in-picture=(), "
    "publickey-credentials-get=(), screen-wake-lock=(), serial=(), sync-xhr=(), unload=(), usb=(), web-share=(), "
    "xr-spatial-tracking=()"
)
"""Features of browsers that few pages use, and injected code likes."""

_keyword = re.compile(
    r"self|none|unsafe-inline|unsafe-eval|unsafe-hashes|strict-dynamic|report-sample|wasm-unsafe-eval|script"
    r"|(nonce|sha256|sha384|sha512)-[A-Za-z0-9+/_-]+=*"
).fullmatch
_source = re.compile(r"[!-~]+").fullmatch


def csp(**directives: Sources) -> str:
    """Make a Content-Security-Policy: the strict one of `security_headers`, but for what is given.

    Args:
        **directives: by name, with ``_`` for ``-``: sources as a list, or as one ``str`` with spaces between; keywords,
            nonces and hashes get their quotes. ``True``: a directive that has no value. ``False`` or ``None``: it goes.

    Raises:
        TypeError: a directive that there is not.
        ValueError: a source that would end the directive.

    >>> csp().split("; ")
    ["default-src 'self'", "base-uri 'self'", "form-action 'self'", "frame-ancestors 'none'", "object-src 'none'",
     'upgrade-insecure-requests']
    >>> csp(img_src="self data:", script_src=["self", "nonce-r4nd0m"]).split("; ")[-2:]
    ["img-src 'self' data:", "script-src 'self' 'nonce-r4nd0m'"]
    """
    for name in directives.keys() - DIRECTIVES:
        from difflib import get_close_matches  # rarely needed

        nearest = get_close_matches(name, DIRECTIVES, 1)
        message = f"there is no directive {name!r}" + (f": did you mean {nearest[0]!r}?" if nearest else "")
        raise TypeError(message)
    said = (_directive(name, value) for name, value in {**STRICT, **directives}.items())
    return "; ".join(filter(None, said))


def _directive(name: str, value: Sources) -> str:
    if value is None or value is False:
        return ""
    directive = name.replace("_", "-")
    if value is True:
        return directive
    sources = value.split() if isinstance(value, str) else list(value)
    for source in sources:
        if not isinstance(source, str) or not _source(source) or ";" in source or "," in source:
            message = f"expected a source such as 'self' or 'https://cdn.example.com' for {directive}, got {source!r}"
            raise ValueError(message)
    return " ".join([directive, *(f"'{each}'" if _keyword(each) else each for each in sources or ["none"])])


def security_headers(
    content_security_policy: str | None = csp(),
    strict_transport_security: str | None = "max-age=31536000; includeSubDomains",
    *,
    permissions_policy: str | None = PERMISSIONS,
    referrer_policy: str | None = "no-referrer",
    cross_origin_opener_policy: str | None = "same-origin",
    cross_origin_embedder_policy: str | None = "require-corp",
    cross_origin_resource_policy: str | None = "same-origin",
    x_content_type_options: str | None = "nosniff",
    x_frame_options: str | None = "deny",
    x_permitted_cross_domain_policies: str | None = "none",
    x_dns_prefetch_control: str | None = "off",
    cache_control: str | None = "no-store, max-age=0",
) -> Middleware[Any]:
    """Give a server's responses the headers that make browsers careful, unless the app has set them itself.

    Each argument is a header; ``None`` leaves it out. They are strict: begin with all, and loosen what your pages need.
    On a client nothing is added.

    Args:
        content_security_policy: what a page may load, and from where; `csp` makes one. Against injected code.
        strict_transport_security: https only, for a year, as the preload lists of browsers want it at least. Only on
            https: RFC 6797 (7.2) forbids it elsewhere.
        permissions_policy: features of the browser that the page gives up.
        referrer_policy: the URL of a page, which may hold a secret, is told to nobody.
        cross_origin_opener_policy: a window that others have opened is not theirs to look into.
        cross_origin_embedder_policy: what comes from elsewhere has to agree to be embedded. With the one above it keeps
            Spectre out.
        cross_origin_resource_policy: nobody else embeds what is here.
        x_content_type_options: a file is what Content-Type says, and no script in disguise.
        x_frame_options: nobody frames the page; for browsers that do not know ``frame-ancestors``.
        x_permitted_cross_domain_policies: the same for Flash and PDF.
        x_dns_prefetch_control: links are not looked up before they are clicked, which tells who reads what.
        cache_control: what may be about somebody is kept nowhere. What everybody may see, say so, as static files do.

    Raises:
        TypeError: a value is no ``str``.
        ValueError: it would break the message.

    Order:
        Outside of `exception_handler`, whose answers need them too.

    >>> from formation import reply
    >>> from formation.http import Request
    >>> ctx = {"fmtn.side": "server", "fmtn.req.http": Request("GET", "https://h/")}
    >>> middleware = security_headers(csp(img_src="*"), cache_control=None)
    >>> ctx = middleware(ctx, lambda ctx: reply(ctx, 200, {"Referrer-Policy": "origin"}))
    >>> [ctx["fmtn.res.http"].headers[name] for name in ("Referrer-Policy", "X-Frame-Options")]
    ['origin', 'deny']
    """
    given = {
        "Content-Security-Policy": content_security_policy,
        "Permissions-Policy": permissions_policy,
        "Referrer-Policy": referrer_policy,
        "Cross-Origin-Opener-Policy": cross_origin_opener_policy,
        "Cross-Origin-Embedder-Policy": cross_origin_embedder_policy,
        "Cross-Origin-Resource-Policy": cross_origin_resource_policy,
        "X-Content-Type-Options": x_content_type_options,
        "X-Frame-Options": x_frame_options,
        "X-Permitted-Cross-Domain-Policies": x_permitted_cross_domain_policies,
        "X-DNS-Prefetch-Control": x_dns_prefetch_control,
        "Cache-Control": cache_control,
    }
    plain = Headers([(name, value) for name, value in given.items() if value is not None])
    secure = plain.copy()
    if strict_transport_security is not None:
        secure["Strict-Transport-Security"] = strict_transport_security

    def security_headers(ctx: Any, call: Call[Any]) -> Any:
        ctx = call(ctx)
        response = ctx.get(RES_HTTP) if isinstance(ctx, dict) and ctx.get(SIDE) == "server" else None
        if response is not None:
            response.headers.merge(secure if ctx[REQ_HTTP].scheme == "https" else plain)
        return ctx

    return security_headers
