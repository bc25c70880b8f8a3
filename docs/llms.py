"""Write what ``llms.txt`` lists: ``python -m docs.llms``. The rest of it is written by hand.

Keys come from the specification, the others from their signatures and the first sentence of their docstring.
A test compares, so that the file is never behind the code.
"""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path
from types import FunctionType
from typing import Any

import formation
from formation import errors as errors_
from formation import middleware, testing

ROOT = Path(__file__).parents[1]
FILE = ROOT / "llms.txt"
PACKAGE = Path(formation.__file__).parent


def keys() -> list[str]:
    """Return a line for each key that is not reserved, as the specification has it."""
    rows = re.findall(
        r"(?m)^\| (`[^`]+`) \| `[A-Z_]+` \| (.+?) \| (.+?) \| (.+) \|$",
        (ROOT / "docs" / "SPEC.md").read_text(encoding="utf-8"),
    )
    return [f"- {key}: {kind}, set by {who}: {what}" for key, kind, who, what in rows if who != "reserved"]


def middlewares() -> list[str]:
    """Return a line for each public name of `formation.middleware`."""
    return [told(name, getattr(middleware, name)) for name in middleware.__all__]


def edges() -> list[str]:
    """Return the names of each edge."""
    found = []
    for file in sorted(PACKAGE.glob("for_*")):
        edge = importlib.import_module(f"formation.{file.stem}")
        names = getattr(edge, "__all__", None) or [
            name for name, each in vars(edge).items() if getattr(each, "__module__", "") == edge.__name__
        ]
        shown = ", ".join(f"`{name}`" for name in sorted(names) if not name.startswith("_"))
        found.append(f"- `{edge.__name__}`: {sentence(edge)} {shown}")
    return found


def errors() -> list[str]:
    """Return a line for each error, with what it is one of."""
    found = [each for each in vars(errors_).values() if isinstance(each, type) and each.__module__ == errors_.__name__]
    return [
        f"- `{each.__name__}({', '.join(one.__name__ for one in each.__bases__)})`: {sentence(each)}" for each in found
    ]


def tools() -> list[str]:
    """Return a line for each tool of `formation.testing`."""
    found = {name: getattr(testing, name) for name in testing.__all__}
    return [told(name, tool) for name, tool in found.items() if isinstance(tool, type | FunctionType)]


def told(name: str, thing: Any) -> str:
    """Return a line: the signature without annotations, and the first sentence."""
    if not isinstance(thing, FunctionType):
        return f"- `{name}`: {sentence(thing)}"
    given = [
        each.replace(annotation=inspect.Parameter.empty, default=_Shown.of(each.default))
        for each in inspect.signature(thing).parameters.values()
    ]
    return f"- `{name}{inspect.Signature(given)}`: {sentence(thing)}"


class _Shown:
    """A default as it is written: by its name where it has one."""

    def __init__(self, value: Any) -> None:
        self.value = value

    @classmethod
    def of(cls, value: Any) -> Any:
        return value if value is inspect.Parameter.empty else cls(value)

    def __repr__(self) -> str:
        shown = getattr(self.value, "__name__", None) or repr(self.value)
        return "…" if len(shown) > 40 or " at 0x" in shown else shown  # a list of types or of names: see its page


def sentence(thing: Any) -> str:
    """Return the first sentence of a docstring, on one line."""
    first = " ".join(inspect.cleandoc(thing.__doc__).split("\n\n")[0].split())
    return re.split(r"(?<=\.)\s(?=[A-Z])", first)[0].replace("``", "`")


def written(text: str) -> str:
    """Return ``llms.txt`` with its lists as the code has them."""
    lists = {
        "keys": keys(), "middleware": middlewares(), "edges": edges(), "errors": errors(), "testing": tools()
    }  # fmt: skip
    for name, lines in lists.items():
        body = "\n".join(lines)
        text, count = re.subn(
            rf"(?s)(<!-- {name} -->\n).*?(<!-- end of {name} -->)",
            lambda found, body=body: f"{found[1]}{body}\n{found[2]}",  # type: ignore[misc]
            text,
        )
        if count != 1:
            raise LookupError(f"expected one place for {name} in llms.txt, got {count}")
    return text


if __name__ == "__main__":
    FILE.write_text(written(FILE.read_text(encoding="utf-8")), encoding="utf-8")
