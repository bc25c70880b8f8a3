"""What can be seen of a function without calling it: its colour, its name, its place, and whether it returns anything.

The kernel asks when it builds a chain and when something went wrong, never while a chain runs. `inspect` and `dis` are
loaded only where they are needed: they would be a third of the time that ``import formation`` takes.
"""

from __future__ import annotations

import sys
from functools import lru_cache, partial
from itertools import pairwise
from os.path import basename
from types import CodeType, FunctionType, MethodType
from typing import Any, Final

_COROUTINE: Final = 0x80  # inspect.CO_COROUTINE
_VARARGS: Final = 0x04  # inspect.CO_VARARGS
_FACTORIES: Final = "formation.middleware."
_GENERATOR: Final = 0x20 | 0x200  # inspect.CO_GENERATOR, inspect.CO_ASYNC_GENERATOR


def is_coroutine_callable(fn: Any) -> bool:
    """Tell whether calling ``fn`` gives something to await, as far as that can be seen.

    So it is with ``async def``, partials and methods of it, objects with ``async def __call__``, whatever
    `inspect.markcoroutinefunction` or asgiref has marked, and what says ``is_async = True``, as chains do.
    """
    if getattr(fn, "is_async", None) is True:
        return True
    while isinstance(fn, (partial, MethodType)):
        fn = fn.func if isinstance(fn, partial) else fn.__func__
        if getattr(fn, "is_async", None) is True:
            return True
    return (
        _has_flag(fn, _COROUTINE)
        or _is_marked(fn)
        or (not isinstance(fn, type) and _has_flag(_call_of(fn), _COROUTINE))
    )


def is_coroutine_function(fn: Any) -> bool:
    """Tell whether ``fn`` is an ``async def`` function itself."""
    return _has_flag(fn, _COROUTINE)


def is_generator_function(fn: Any) -> bool:
    """Tell whether calling ``fn`` gives a generator, sync or async."""
    while isinstance(fn, (partial, MethodType)):
        fn = fn.func if isinstance(fn, partial) else fn.__func__
    return _has_flag(fn, _GENERATOR)


def refuse(layer: Any, at: int) -> None:
    """Raise a `TypeError` if ``layer``, the one ``at`` that place of a list, is sure to be no middleware.

    >>> def timer(name="timer"):
    ...     return lambda ctx, call: call(ctx)
    >>> refuse(timer(), 0)
    >>> refuse(timer, 0)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    TypeError: middleware[0], 'timer' (...), takes no (ctx, call): did you forget to call it, 'timer()'?
    """
    if not callable(layer):
        message = f"middleware[{at}] is no middleware: expected a function (ctx, call) -> ctx, got {layer!r}"
    elif is_generator_function(layer):
        message = f"middleware[{at}], {where(layer)}, is a generator: it has to return a context, not to yield"
    elif _is_factory(layer):
        called = f"'{name_of(layer)}()'"
        message = f"middleware[{at}], {where(layer)}, takes no (ctx, call): did you forget to call it, {called}?"
    else:
        return
    raise TypeError(message)


def _is_factory(fn: Any) -> bool:
    """Tell whether ``fn`` is one of ours that makes middleware, or a function that cannot take two arguments."""
    if type(fn) is not FunctionType:
        return False
    if (fn.__module__ or "").startswith(_FACTORIES) and "." not in fn.__qualname__:
        return True
    code = fn.__code__
    if hasattr(fn, "__wrapped__") or code.co_flags & _VARARGS:
        return False
    needed = code.co_argcount - len(fn.__defaults__ or ())
    by_name = code.co_kwonlyargcount - len(fn.__kwdefaults__ or ())
    return not needed <= 2 <= code.co_argcount or by_name > 0


def name_of(fn: Any) -> str:
    """The name that a middleware or an endpoint goes by in reprs, errors, logs and edits."""
    while type(fn) is partial:
        fn = fn.func
    return getattr(fn, "__name__", None) or type(fn).__name__


def where(fn: Any, place: str = "") -> str:
    """Say which function it is, for an error: ``'log' (2 of 5, app.py:14)``."""
    said = [each for each in (place, place_of(fn)) if each]
    return f"{name_of(fn)!r}" + (f" ({', '.join(said)})" if said else "")


def place_of(fn: Any) -> str:
    """Say where a function stands, as ``app.py:14``; nothing where it is not of Python."""
    code = code_of(fn)
    return "" if code is None else f"{basename(code.co_filename)}:{code.co_firstlineno}"  # noqa: PTH119  pathlib: 3 ms


def code_of(fn: Any) -> CodeType | None:
    """The code that a reader looks for: what is beneath the decorators."""
    from inspect import unwrap

    while isinstance(fn, partial):
        fn = fn.func
    try:
        fn = unwrap(fn)
    except ValueError:  # an object that has any attribute one asks for
        return None
    return _running_code(fn)


def returns_nothing(fn: Any) -> bool:
    """Tell whether every ``return`` of ``fn`` returns ``None``: it forgets the context, and need not run to show it."""
    code = _running_code(fn)
    return code is not None and _code_returns_nothing(code)


def _running_code(fn: Any) -> CodeType | None:
    """The code that runs first when ``fn`` is called."""
    while isinstance(fn, partial):
        fn = fn.func
    for each in (fn, _call_of(fn)):
        if type(code := getattr(each, "__code__", None)) is CodeType:  # a mock's looks like one
            return code
    return None


@lru_cache(maxsize=1024)
def _code_returns_nothing(code: CodeType) -> bool:
    from dis import get_instructions

    if code.co_flags & _GENERATOR:
        return False
    returns_none = []
    for before, each in pairwise(get_instructions(code)):
        if each.opname in {"RETURN_VALUE", "RETURN_CONST"}:  # 3.12 and 3.13 can load a constant and return it in one
            load = each if each.opname == "RETURN_CONST" else before
            is_sure = load is each or not each.is_jump_target  # 'ctx or None' jumps to the return, past the None
            returns_none.append(is_sure and load.opname in {"LOAD_CONST", "RETURN_CONST"} and load.argval is None)
    return bool(returns_none) and all(returns_none)


def _call_of(fn: Any) -> Any:
    return getattr(type(fn), "__call__", None)  # noqa: B004  for its code, not to ask whether it can be called


def _has_flag(fn: Any, flag: int) -> bool:
    code = getattr(fn, "__code__", None)
    return type(code) is CodeType and bool(code.co_flags & flag)


def _is_marked(fn: Any) -> bool:
    """Tell whether somebody has marked ``fn``, for which the module that marks has to be loaded."""
    inspect = sys.modules.get("inspect")
    if inspect is not None and inspect.iscoroutinefunction(fn):
        return True
    # Before 3.12 there is no inspect.markcoroutinefunction; asgiref, and so Django, then marks the way asyncio did.
    mark = getattr(fn, "_is_coroutine", None)
    return mark is not None and mark is getattr(sys.modules.get("asyncio.coroutines"), "_is_coroutine", None)
