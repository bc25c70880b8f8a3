"""The context of a call for logs: which service, which build, which process, whose request."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from typing import Any

from formation.kernel import Call, Ctx, Middleware
from formation.keys import CONTEXT, REQ_ID, REQ_PARENT_ID
from formation.places import user_of


def get_context(  # noqa: PLR0917  as in Formation 0.1
    request_id: str | None = None,
    request_parent_id: str | None = None,
    namespace: str = "service",
    env: str = "local",
    sha: str = "dev",
    version: str = "0.0.1",
    scope: str = "service",
    uid: Any = None,
    getpid: Callable[[], int] = os.getpid,
    gettid: Callable[[], int] = threading.get_ident,
) -> dict[str, Any]:
    """Return the fields under the short names that logs have; what `context` calls unless told otherwise.

    The defaults are those of Formation 0.1, where ``version`` and ``scope`` were other ones than those of `context`.

    >>> get_context("7f3a", uid=42, getpid=lambda: 1, gettid=lambda: 2)
    {'v': '0.0.1', 'sha': 'dev', 'env': 'local', 'pid': 1, 'tid': 2, 'uid': 42, 'scope': 'service', 'ns': 'service',
     'rid': '7f3a', 'rid_p': None}
    """
    return {
        "v": version,
        "sha": sha,
        "env": env,
        "pid": getpid(),
        "tid": gettid(),
        "uid": uid,
        "scope": scope,
        "ns": namespace,
        "rid": request_id,
        "rid_p": request_parent_id,
    }


def context(  # noqa: PLR0917  as in Formation 0.1
    context_fn: Callable[..., Mapping[str, Any]] = get_context,
    namespace: str = "service",
    scope: str = "all",
    env: str = "local",
    sha: str = "dev",
    version: str = "0.01",
    getpid: Callable[[], int] = os.getpid,
    gettid: Callable[[], int] = threading.get_ident,
) -> Middleware[Ctx]:
    """Gather in ``ctx["fmtn.context"]`` what every log line of a call should have.

    The ids are ``ctx["req.id"]`` and ``ctx["req.parent.id"]``; the user is ``ctx["fmtn.session"]["uid"]``, else
    ``ctx["uid"]``. Process and thread are asked at each call, for a server forks. The defaults of ``version`` and
    ``scope`` are other ones than those of `get_context`, in Formation 0.1 as well: dashboards filter by them.

    Args:
        context_fn: makes the fields. Gets by keyword all arguments of `get_context`.
        namespace: the service.
        scope: the part of it.
        env: where it runs.
        sha: the commit it was built from.
        version: of the service.
        getpid: the process.
        gettid: the thread.

    Raises:
        TypeError: a function cannot be called, or another setting is no ``str``.

    Order:
        Inside of `request_id`, which makes the id; outside of what logs.

    >>> ctx = context(namespace="billing", env="live")({"uid": 42, "req.id": "7f3a"}, lambda ctx: ctx)
    >>> [ctx["fmtn.context"][name] for name in ("ns", "env", "uid", "rid")]
    ['billing', 'live', 42, '7f3a']
    """
    for name, fn in (("context_fn", context_fn), ("getpid", getpid), ("gettid", gettid)):
        if not callable(fn):
            message = f"expected {name} as a function, got {fn!r}"
            raise TypeError(message)
    fixed = {"namespace": namespace, "scope": scope, "env": env, "sha": sha, "version": version}
    for name, value in fixed.items():
        if not isinstance(value, str):
            message = f"expected {name} as a str, got {value!r}"
            raise TypeError(message)

    def context(ctx: Ctx, call: Call[Ctx]) -> Ctx:
        ctx[CONTEXT] = context_fn(
            request_id=ctx.get(REQ_ID),
            request_parent_id=ctx.get(REQ_PARENT_ID),
            uid=user_of(ctx),
            getpid=getpid,
            gettid=gettid,
            **fixed,
        )
        return call(ctx)

    return context
