"""The edge for PasteDeploy: middleware is a filter in an INI file.

Every middleware of Formation has an entry point, ``use = egg:formation#request_id``, which is a function here,
``formation.for_paste:request_id``. Its settings are text, and become what its annotations ask for. Besides:

- `middleware` is a filter made of any function: ``factory = package.module:name``.
- `stack` is a filter made of many: ``middleware = request_id context``, or a stack of a TOML file.
- `composite` is an app with a stack around it.

PasteDeploy calls them, and nothing of it is imported here. What does not fit is refused when the file is loaded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from configparser import RawConfigParser
from functools import partial
from typing import Any, Final, TypeAlias

from formation.config import ConfigError, Make, Where, built_in, hint, load, maker
from formation.for_wsgi import FormationMiddleware

Conf: TypeAlias = Mapping[str, str]

_PASTE: Final = {
    "use", "next", "filter-with", "require", "paste.filter_factory", "paste.filter_app_factory",
    "paste.composite_factory",
}  # fmt: skip


class Filter:
    """What a filter factory returns: puts middleware around an app, and each app has its own.

    Neighbours are one chain: an app with two filters is one ``FormationMiddleware``.
    """

    def __init__(self, name: str, make: Make, where: Where) -> None:
        self.name = name
        self._make = make
        self._where = where
        self._made: list[Any] | None = make()  # for the first app: what cannot be made is refused before there is one

    def __call__(self, app: Any) -> FormationMiddleware:
        """Return ``app`` with the middleware around it.

        Raises:
            ConfigError: a middleware is ``async def``, or the app is none.
        """
        made, self._made = self._made, None
        try:
            return FormationMiddleware(app, self._make() if made is None else made)
        except TypeError as error:
            raise ConfigError(f"{self._where('')}: {error}") from error

    def __repr__(self) -> str:
        return f"Filter({self.name})"


def __getattr__(name: str) -> Callable[..., Filter]:
    """Return the filter factory of a middleware of Formation."""
    if name not in built_in():
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def factory(global_conf: Conf, /, **settings: str) -> Filter:
        where = partial(_where, global_conf, name, settings)
        return Filter(name, maker(name, settings, where, is_text=True), where)

    factory.__name__ = factory.__qualname__ = name
    return factory


def middleware(global_conf: Conf, /, **settings: str) -> Filter:
    """Make a filter of the function that ``factory`` names: it is middleware, or the other settings make it so.

    Raises:
        ConfigError: there is none, or a setting does not fit.

    >>> middleware({}, factory="formation.middleware:ua", name="shop/1.0")
    Filter(formation.middleware:ua)
    """
    where = partial(_where, global_conf, "middleware", settings)
    factory = settings.get("factory", "")
    rest = {key: value for key, value in settings.items() if key != "factory"}
    return Filter(factory, maker(factory, rest, where, key="factory", is_text=True), where)


def middleware_app(app: Any, global_conf: Conf, /, **settings: str) -> FormationMiddleware:
    """Put the function that ``factory`` names around ``app``: `middleware` for a ``paste.filter_app_factory``."""
    return middleware(global_conf, **settings)(app)


def stack(global_conf: Conf, /, **settings: str) -> Filter:
    """Make a filter of a list of names, ``middleware``; or of a ``stack`` of a TOML ``file``, see `load`.

    Raises:
        ConfigError: a name cannot be found, or the file is wrong.

    >>> stack({}, middleware="request_id, context")
    Filter(stack)
    """
    return _stack(partial(_where, global_conf, "stack", settings), settings)


def composite(loader: Any, global_conf: Conf, /, **settings: str) -> Any:
    """Put a stack around the ``app`` of that name. In its list may also be filters, of the file and of other packages.

    Raises:
        ConfigError: no ``app`` is named, or as `stack`.
    """
    where = partial(_where, global_conf, "stack", settings)
    rest = {key: value for key, value in settings.items() if key != "app"}
    if "app" not in settings:
        raise ConfigError(f"{where('')}: expected app, the name of an app, got {', '.join(settings) or 'nothing'}")
    app = loader.get_app(settings["app"], global_conf=global_conf)
    if {*rest} != {"middleware"}:
        return _stack(where, rest)(app)
    for name in reversed(_names(rest["middleware"])):
        is_paste = name.startswith(("egg:", "config:")) or loader.parser.has_section(f"filter:{name}")
        each = loader.get_filter(name, global_conf=global_conf) if is_paste else _stack(where, {"middleware": name})
        app = each(app)
    return app


def _stack(where: Where, settings: Mapping[str, str]) -> Filter:
    if {*settings} == {"middleware"}:
        makers = [maker(name, {}, where, key="middleware") for name in _names(settings["middleware"])]
        return Filter("stack", lambda: [layer for make in makers for layer in make()], where)
    if {*settings} != {"file", "stack"}:
        raise ConfigError(
            f"{where('')}: expected middleware, or file and stack, got {', '.join(settings) or 'nothing'}"
        )

    def make() -> list[Any]:
        try:
            stacks = load(settings["file"])
        except (ValueError, OSError) as error:
            raise ConfigError(f"{where('file')}: {error}") from error
        if (name := settings["stack"]) not in stacks:
            raise ConfigError(f"{where('stack')}: there is no stack {name!r}{hint(name, stacks)}")
        return stacks[name]

    return Filter("stack", make, where)


def _names(text: str) -> list[str]:
    return re.findall(r"[^\s,]+", text)


def _where(global_conf: Conf, name: str, settings: Mapping[str, str], key: str) -> str:
    """Say where a setting stands: the file, the section or else the name of the filter, and the key."""
    file = global_conf.get("__file__", "")
    sections = _sections(file, name, settings, key)
    return ", ".join(filter(None, (file, " or ".join(f"[{each}]" for each in sections) or name, key)))


def _sections(file: str, name: str, settings: Mapping[str, str], key: str) -> list[str]:
    """Find the sections that say this: PasteDeploy does not tell which one it reads."""
    parser = RawConfigParser()
    parser.optionxform = str  # type: ignore[assignment, method-assign]  # as PasteDeploy: a key is as it is written
    parser.read(file)
    found = []
    for section in parser.sections():
        said = {option: value for option, value in parser.items(section) if option not in parser.defaults()}
        own = {
            option.removeprefix("get ").strip(): None if option.startswith("get ") or "%" in value else value
            for option, value in said.items()
            if option not in _PASTE and not option.startswith("set ")
        }
        same = all(option in settings and value in {None, settings[option]} for option, value in own.items())
        uses = any(said.get(option, "").endswith((f"#{name}", f":{name}")) for option in _PASTE)
        if same and (key in own or (uses and own.keys() == settings.keys())):
            found.append(section)
    return found
