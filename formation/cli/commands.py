"""What each command does: it prints, and returns whether all is well."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from formation.cli.calling import Calling, is_client
from formation.cli.errors import WrongCommand, refused, words
from formation.cli.find import Found, find

if TYPE_CHECKING:
    from argparse import Namespace

    from formation.trace import Trace


def explain(given: Namespace) -> bool:
    """Print the layers of what is named."""
    from formation.explain import explain

    several = find(given.target)
    for at, found in enumerate(several):
        if len(several) > 1:
            print(f"{'' if at == 0 else chr(10)}{found.name}:")
        print(_asked_of(found, explain))
    return True


def check(given: Namespace) -> bool:
    """Print what `check` warns of; return whether it has nothing to say."""
    from formation.check import faults

    several = find(given.target)
    total = 0
    for found in several:
        said = _asked_of(found, faults)
        total += len(said)
        name = f"{given.target}:{found.name}" if len(several) > 1 else given.target
        for fault in said:
            print(f"{name}: {fault}")
    if total == 0:
        print(f"{given.target}: nothing to say")
    return total == 0


def _asked_of(found: Found, ask: Any) -> Any:
    """Ask about the thing; of a client's method, about the client."""
    thing = found.thing
    if not is_client(thing) and not hasattr(thing, "chain") and is_client(found.owner):
        thing = found.owner
    try:
        return ask(getattr(thing, "chain", thing) if hasattr(thing, "__wrapped__") else thing)
    except TypeError as error:
        raise refused(error, thing) from error


def trace(given: Namespace) -> bool:
    """Call what is named, and draw the waterfall; return whether the call went well."""
    from formation.cli import asking

    several = find(given.target)
    if len(several) != 1:
        raise WrongCommand(f"expected one stack, as {given.target}:{several[0].name if several else 'name'}")
    calling = Calling(asking.request(given), asking.context(given), asking.arguments(given))
    traces, error = calling.run(several[0])
    wanted = [(file, way) for way in ("svg", "html", "perfetto") if (file := getattr(given, way)) is not None]
    if traces:
        for file, way in wanted:
            _save(getattr(traces[-1], f"to_{way}")(), file)
    if not wanted:
        for each in traces:
            _draw(each)
    if error is not None:
        print(f"formation: the call raised {words(error)}", file=sys.stderr)
    elif not traces:
        print("formation: nothing was called", file=sys.stderr)
    return error is None


def _draw(trace: Trace) -> None:
    """Draw in colours only where there are some."""
    if sys.stdout.isatty() and not os.environ.get("NO_COLOR"):
        trace.show()
    else:
        print(trace)


def _save(text: str, file: str) -> None:
    if file == "-":
        print(text)
        return
    try:
        Path(file).write_text(text, encoding="utf-8")
    except OSError as error:
        raise WrongCommand(f"{file} cannot be written: {error.strerror}") from error
    print(f"wrote {file}", file=sys.stderr)


def demo(given: Namespace) -> bool:
    """Run the demo."""
    try:
        from formation.cli.demo import main
    except ImportError as error:
        raise WrongCommand(f"the demo needs more than is installed ({error}): pip install 'formation[all]'") from error
    main(dashboard=given.dashboard, port=given.port)
    return True
