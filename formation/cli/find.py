"""Find what a name on the command line stands for: an object of a module, or a stack of a TOML or INI file."""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import sys
import traceback
from configparser import RawConfigParser
from difflib import get_close_matches
from pathlib import Path
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from formation.cli.errors import WrongCommand, words

if TYPE_CHECKING:
    from collections.abc import Iterable

FILES: Final = (".toml", ".ini")
EXPECTED: Final = "expected module:object, file.toml:stack or file.ini:section"


class Found(NamedTuple):
    """What a name stands for. ``owner``: what it is an attribute of, a class or a module; ``name``: its own."""

    thing: Any
    owner: Any
    name: str


def find(target: str) -> list[Found]:
    """Return what ``target`` names: one thing, or all stacks of a file.

    Raises:
        WrongCommand: there is no such thing, or its module cannot be imported.

    >>> find("formation.middleware:retry")[0].name
    'retry'
    >>> find("formation.middleware:rettry")
    Traceback (most recent call last):
    formation.cli.errors.WrongCommand: formation.middleware has no 'rettry': did you mean retry?
    """
    for suffix in FILES:
        file, found, name = target.partition(suffix)
        if found and (not name or name.startswith(":")):
            return _stacks(file + suffix, name[1:]) if suffix == ".toml" else [_paste(file + suffix, name[1:])]
    module, colon, path = target.partition(":")
    if (
        module.endswith(".py")
        or not colon
        or not re.fullmatch(r"\w+(\.\w+)*", module)
        or not re.fullmatch(r"\w+(\.\w+)*", path)
    ):
        raise WrongCommand(f"{EXPECTED}, got {target!r}{_meant(module, path)}")
    return [_attribute(_module(module), path)]


def _meant(module: str, path: str) -> str:
    file = module.removesuffix(".py").strip("./\\")
    name = re.sub(r"[/\\]+", ".", file)
    if module.endswith(".py"):
        return f": a module is named without .py, as {name}:{path or '…'}"
    if not path and "." in name:
        return f": did you mean {':'.join(name.rsplit('.', 1))}?"
    return ""


def _module(name: str) -> Any:
    """Import a module; tell apart that there is none, and that it fails."""
    above, _, last = name.rpartition(".")
    package = _module(above) if above else None
    if package is not None and not hasattr(package, "__path__"):
        raise WrongCommand(f"there is no module {name!r}: {above} is no package")
    if name not in sys.modules and importlib.util.find_spec(name) is None:
        near = (each.name for each in iter_modules(None if package is None else package.__path__))
        raise WrongCommand(f"there is no module {name!r} in {above or os.getcwd()}{_near(last, near, above)}")  # noqa: PTH109
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:  # whatever a module does when it is run
        frames = traceback.extract_tb(error.__traceback__)
        own = [each for each in frames if "importlib" not in each.filename]
        where = f" ({own[-1].filename}:{own[-1].lineno})" if own else ""
        raise WrongCommand(f"{name} cannot be imported: {words(error)}{where}") from error


def _attribute(module: Any, path: str) -> Found:
    owner, thing, said = None, module, module.__name__
    for name in path.split("."):
        try:
            owner, thing = thing, getattr(thing, name)
        except AttributeError:
            raise WrongCommand(f"{said} has no {name!r}{_near(name, dir(thing))}") from None
        except Exception as error:  # of a module that imports what is asked for, or of a property
            raise WrongCommand(f"{said} does not give its {name!r}: {words(error)}") from error
        said = f"{said}{'.' if ':' in said else ':'}{name}"
    return Found(thing, owner, path.rpartition(".")[2])


def _stacks(file: str, name: str) -> list[Found]:
    from formation.config import load

    try:
        stacks = load(file)
    except OSError as error:
        raise WrongCommand(f"{file} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise WrongCommand(str(error)) from error
    if not name:
        return [Found(stack, None, each) for each, stack in stacks.items()]
    if name not in stacks:
        raise WrongCommand(f"{file} has no stack {name!r}{_near(name, stacks)} There is {', '.join(stacks) or 'none'}")
    return [Found(stacks[name], None, name)]


def _paste(file: str, name: str) -> Found:
    """Load a filter, or an app, of an INI file; of a filter what it puts around an app is looked at."""
    try:
        paste = importlib.import_module("paste.deploy")
    except ImportError:
        raise WrongCommand("INI files are read by PasteDeploy: pip install 'formation[paste]'") from None
    parser = RawConfigParser(strict=False)
    if not parser.read(file, encoding="utf-8"):
        raise WrongCommand(f"{file} cannot be read")
    known = {kind: _sections(parser, kind) for kind in ("filter", "app", "composite")}
    names = [each for found in known.values() for each in found]
    name = name or "main"
    if name not in names:
        raise WrongCommand(f"{file} has no filter or app {name!r}{_near(name, names)} There is {', '.join(names)}")
    place = f"config:{Path(file).resolve()}"
    try:
        if name in known["filter"]:
            return Found(paste.loadfilter(place, name=name)(_no_app), None, name)
        return Found(paste.loadapp(place, name=name), None, name)
    except (Exception, SystemExit) as error:  # PasteDeploy's own, and whatever a factory raises
        raise WrongCommand(f"{file}, {name}: {error}") from error


def _sections(parser: RawConfigParser, kind: str) -> list[str]:
    return [each.removeprefix(f"{kind}:") for each in parser.sections() if each.startswith(f"{kind}:")]


def _no_app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("204 No Content", [])
    return []


def _near(name: str, known: Iterable[str], above: str = "") -> str:
    """End an error with the names that are near."""
    near = get_close_matches(name, [each for each in known if not each.startswith("__")], n=3)
    return f": did you mean {' or '.join(f'{above}.{each}' if above else each for each in near)}?" if near else "."
