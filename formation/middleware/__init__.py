"""The middlewares that come with Formation, one module each, loaded when asked for.

>>> from formation import wrap
>>> from formation.middleware import request_duration, request_id
>>> sorted(wrap(lambda ctx: ctx, [request_id(idgen=lambda: "7f3a"), request_duration()])({}))
['req.duration_us', 'req.id']

A middleware and its module have the same name. ``formation.middleware.retry`` is the middleware, also after something
has imported the module, which would otherwise take its place as an attribute of the package.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from formation.errors import BreakerTriggerException
    from formation.middleware.accept import accept
    from formation.middleware.adaptive_limit import adaptive_limit
    from formation.middleware.api_key import api_key
    from formation.middleware.basic import basic
    from formation.middleware.bearer import bearer
    from formation.middleware.bulkhead import bulkhead
    from formation.middleware.cache import cache
    from formation.middleware.chaos import chaos
    from formation.middleware.circuit_breaker import circuit_breaker
    from formation.middleware.clean_request import clean_request
    from formation.middleware.client_throttle import client_throttle
    from formation.middleware.coalesce import coalesce
    from formation.middleware.compress import compress
    from formation.middleware.compress_request import compress_request
    from formation.middleware.content_type import content_type
    from formation.middleware.context import context, get_context
    from formation.middleware.context_logger import context_logger
    from formation.middleware.deadline import deadline
    from formation.middleware.decompress import decompress
    from formation.middleware.default_stack import default_stack
    from formation.middleware.etag import etag
    from formation.middleware.exception_handler import exception_handler
    from formation.middleware.fallback import fallback
    from formation.middleware.headers import headers
    from formation.middleware.hedge import hedge
    from formation.middleware.hide_server import hide_server
    from formation.middleware.idempotency import idempotency
    from formation.middleware.idempotency_key import idempotency_key
    from formation.middleware.load_shed import load_shed
    from formation.middleware.oauth2_client_credentials import oauth2_client_credentials
    from formation.middleware.otel import otel
    from formation.middleware.problem_details import problem_details
    from formation.middleware.prometheus import prometheus
    from formation.middleware.raise_for_status import raise_for_status
    from formation.middleware.rate_limit import client_ip, header, rate_limit
    from formation.middleware.request_duration import request_duration
    from formation.middleware.request_id import request_id
    from formation.middleware.request_logger import request_logger
    from formation.middleware.retry import retry
    from formation.middleware.security_headers import csp, security_headers
    from formation.middleware.throttle import throttle
    from formation.middleware.timeout import timeout
    from formation.middleware.trigger_breaker_if import trigger_breaker_if
    from formation.middleware.ua import ua
    from formation.middleware.watched import watched

__all__ = [
    "BreakerTriggerException",
    "accept",
    "adaptive_limit",
    "api_key",
    "basic",
    "bearer",
    "bulkhead",
    "cache",
    "chaos",
    "circuit_breaker",
    "clean_request",
    "client_ip",
    "client_throttle",
    "coalesce",
    "compress",
    "compress_request",
    "content_type",
    "context",
    "context_logger",
    "csp",
    "deadline",
    "decompress",
    "default_stack",
    "etag",
    "exception_handler",
    "fallback",
    "get_context",
    "header",
    "headers",
    "hedge",
    "hide_server",
    "idempotency",
    "idempotency_key",
    "load_shed",
    "oauth2_client_credentials",
    "otel",
    "problem_details",
    "prometheus",
    "raise_for_status",
    "rate_limit",
    "request_duration",
    "request_id",
    "request_logger",
    "retry",
    "security_headers",
    "throttle",
    "timeout",
    "trigger_breaker_if",
    "ua",
    "watched",
]

_HOMES: Final = {
    "BreakerTriggerException": "formation.errors",
    "client_ip": "formation.middleware.rate_limit",
    "csp": "formation.middleware.security_headers",
    "get_context": "formation.middleware.context",
    "header": "formation.middleware.rate_limit",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    found = getattr(import_module(_HOMES.get(name, f"{__name__}.{name}")), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """A package whose attribute ``retry`` is the middleware: the import system sets it to the module of that name."""

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, ModuleType) and name in __all__:
            value = getattr(value, name)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
