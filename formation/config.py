"""Stacks of middleware from a TOML file or a dict, so that operators add and remove middleware without touching code.

`load` reads a file of stacks, `maker` one middleware and its settings, which is what ``for_paste.py`` reads INI files
with. ``conversion.py`` makes a setting what the annotation of its parameter asks for.

A configuration names functions, which are imported and called: who may write the file may run code.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import get_close_matches
from functools import partial
from inspect import Parameter, Signature, signature
from os import PathLike, fspath
from pkgutil import iter_modules, resolve_name
from typing import Any, Final, TypeAlias

from formation.conversion import convert, is_scalar, masked, named
from formation.kernel import Composed

Where: TypeAlias = Callable[[str], str]
"""Says where a key stands: in which file, where in it, and the key itself."""

Make: TypeAlias = Callable[[], list[Any]]
"""Makes layers, outermost first."""

_BUILT_IN: Final = "formation.middleware"  # by name, as anybody's


class ConfigError(ValueError):
    """A configuration says what cannot be done. The message tells where, what is expected, and what stands there."""


def load(source: str | PathLike[str] | Mapping[str, Any]) -> dict[str, list[Any]]:
    """Make the stacks that a TOML file, or a dict of the same shape, describes.

    A stack is a list of names: of a middleware of Formation (``"retry"``), or of a function (``"package.module:name"``)
    that is middleware, or that makes it. A table gives settings: ``{ use = "retry", attempts = 4 }``. The table ``{
    include = "common" }`` stands for what is in another stack. No two stacks share a middleware, an included one
    neither.

    Args:
        source: the path of a TOML file; or a dict, in which a function may stand where its name could.

    Returns:
        The middleware of each stack, outermost first, as ``wrap``, clients and edges take it.

    Raises:
        ConfigError: a name cannot be found, or a setting does not fit. Nothing is made before all of them are checked.
        OSError: the file cannot be read.

    >>> stacks = load(
    ...     {
    ...         "stacks": {
    ...             "common": {"middleware": ["request_id", {"use": "context", "namespace": "billing"}]},
    ...             "outgoing": {"middleware": [{"include": "common"}, {"use": "ua", "name": "billing/2.3"}]},
    ...         }
    ...     }
    ... )
    >>> [middleware.__name__ for middleware in stacks["outgoing"]]
    ['request_id', 'context', 'ua']
    """
    if isinstance(source, Mapping):
        file, said = "", source
    else:
        file = fspath(source)
        with open(file, "rb") as opened:  # noqa: PTH123  pathlib is slow to import
            try:
                said = tomllib.load(opened)
            except ValueError as error:
                raise ConfigError(f"{file}: {error}") from error
    stacks = _table(_only(said, "stacks", partial(_joined, file)), partial(_joined, file, "stacks"))
    makers = {name: list(_makers(stacks, name, file, ())) for name in stacks}
    return {name: [layer for make in each for layer in make()] for name, each in makers.items()}


def _makers(stacks: Mapping[str, Any], name: str, file: str, within: tuple[str, ...]) -> Iterator[Make]:
    stack = partial(_joined, file, f"stacks.{name}")
    entries = _only(_table(stacks[name], stack), "middleware", stack)
    if not isinstance(entries, (list, tuple)):
        raise ConfigError(f"{stack('middleware')}: expected a list of names and tables, got {masked(entries)!r}")
    for number, entry in enumerate(entries, 1):
        settings = dict(entry) if isinstance(entry, Mapping) else {"use": entry}
        use = settings.pop("use", None)
        where = partial(stack, f"middleware {number} of {len(entries)}" + (f" ({use})" if use else ""))
        if use is not None:
            yield maker(use, settings, where)
            continue
        other = _only(settings, "include", where)
        if other not in list(stacks):
            raise ConfigError(f"{where('include')}: there is no stack {other!r}{hint(other, stacks)}")
        if other in (*within, name):
            raise ConfigError(f"{where('include')}: it goes round: {' includes '.join((*within, name, other))}")
        yield from _makers(stacks, other, file, (*within, name))


def _table(said: Any, where: Where) -> Mapping[str, Any]:
    if not isinstance(said, Mapping):
        raise ConfigError(f"{where('')}: expected a table, got {masked(said)!r}")
    return said


def _only(table: Mapping[str, Any], key: str, where: Where) -> Any:
    """What stands under the only key that a table may have."""
    for each in [*table, key]:
        if each != key or each not in table:
            raise ConfigError(f"{where(each)}: expected the key {key!r}, and no other, got {[*table]}")
    return table[key]


def _joined(*place: str) -> str:
    return ", ".join(filter(None, place)) or "the configuration"


def hint(name: Any, known: Iterable[str]) -> str:
    """End an error with the nearest name that is known, and with all of them."""
    near = get_close_matches(str(name), known := sorted(known), n=1)
    return (f"; did you mean {near[0]!r}?" if near else ".") + f" There is {', '.join(known) or 'none'}"


# --- one middleware ---


def maker(use: Any, settings: Mapping[str, Any], where: Where, *, key: str = "use", is_text: bool = False) -> Make:
    """Return a function that makes what ``use`` stands for, anew at each call.

    Args:
        use: the name of a middleware of Formation, ``package.module:name``, or a function.
        settings: what to call it with.
        where: tells a key's place, for errors.
        key: the one that ``use`` stands under.
        is_text: whether settings are text, as in an INI file.

    Raises:
        ConfigError: there is no such function, or a setting does not fit; at a call: the function refuses it.
    """
    try:
        fn = use if callable(use) else _found(use)
        accepted = signature(fn, eval_str=True)
    except Exception as error:  # whatever a module raises that is imported here
        raise ConfigError(f"{where(key)}: {error}") from error
    by_name = {Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY}
    takes = {name: each for name, each in accepted.parameters.items() if each.kind in by_name}
    rest = [each for each in accepted.parameters.values() if each.kind is each.VAR_KEYWORD]
    given = {}
    for name, value in settings.items():
        if name not in takes and not rest:
            raise ConfigError(f"{where(name)}: {use} has no such setting{hint(name, takes)}")
        try:
            given[name] = convert(value, (takes.get(name) or rest[0]).annotation, is_text=is_text, name=name)
        except (ValueError, LookupError) as error:
            raise ConfigError(f"{where(name)}: {error}") from error
    try:
        accepted.bind(**given)
    except TypeError as error:
        if not given and _is_middleware(accepted):
            return lambda: [fn]
        raise ConfigError(f"{where('')}: {use}: {error}") from error

    def make() -> list[Any]:
        try:
            made = fn(**given)
            return [*Composed(made if isinstance(made, (list, tuple)) else [made]).middleware]
        except Exception as error:  # whatever a factory raises
            raise ConfigError(f"{where('')}: {error}") from error

    return make


def built_in() -> list[str]:
    """Return the names of the middlewares that come with Formation."""
    modules = iter_modules(resolve_name(_BUILT_IN).__path__)
    return sorted(each.name for each in modules if not each.name.startswith("_"))


def _found(name: Any) -> Any:
    """The function of that name. Without a module it is one of Formation's own."""
    if not isinstance(name, str):
        raise TypeError(f"expected the name of a middleware, or package.module:name, got {name!r}")
    if ":" in name:
        return named(name)
    if name not in (known := built_in()):
        raise LookupError(f"there is no middleware {name!r}{hint(name, known)}, and package.module:name")
    return getattr(resolve_name(_BUILT_IN), name)


def _is_middleware(accepted: Signature) -> bool:
    """Whether a function that needs arguments is ``(ctx, call)``, and no factory that lacks its settings."""
    needed = [each for each in accepted.parameters.values() if each.default is each.empty]
    plain = [each for each in needed if each.kind in {each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD}]
    return len(needed) == len(plain) == 2 and not any(is_scalar(each.annotation) for each in plain)
