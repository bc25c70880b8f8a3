"""What the command line says: the options of each command, and its help."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any, Final

from formation.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

TARGET: Final = """\
module:object names an object of a module, which is imported: from the current directory, or from wherever Python finds
it. Attributes of it have dots: app:API.users. file.toml:stack is a stack of a TOML file, file.toml all of them;
file.ini:section is a filter or an app of a PasteDeploy file."""

CODES: Final = """\
exit codes: 0 it is well; 1 check has something to say, or the call of trace failed; 2 the command is wrong"""

TRACED: Final = """\
what is called:
  a chain                a context: --ctx '{"name": "tea"}'; or a request, as below
  a function, a method   arguments: --args '["tea"]' by place, --args '{"item": "tea"}' by name
  a client, its class    a request, as curl is told: -X POST -H 'A: b' -d '{}' /path
  a FormationMiddleware  the same; it is called in this process, and no server is needed
  a stack                the same, sent by requests; or --ctx, with nothing below

examples:
  formation trace shop:greet --ctx '{"name": "tea"}'
  formation trace shop:Shop.item --args '[7]'
  formation trace shop:Shop /items/7
  formation trace shop:app -X POST -H 'A: b' --json '{"item": 7}' https://shop.example/orders --svg order.svg
  formation trace stacks.toml:outgoing https://example.com/"""


def read(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the arguments of the program; ``run`` is what they ask for.

    Raises:
        SystemExit: they are wrong (2), or ask for help (0).
    """
    parser = _parser()
    given, rest = parser.parse_known_args(argv)
    takes_words = hasattr(given, "words")
    if takes_words and rest[:1] == ["curl"]:
        del rest[0]  # pasted with its name
    unknown = [each for each in rest if each.startswith("-")] or rest[takes_words:]
    if unknown:
        parser.error(f"unknown arguments: {' '.join(unknown)}")
    if takes_words:
        given.words = rest
    return given


def _parser() -> argparse.ArgumentParser:
    from formation.cli import commands

    parser: argparse.ArgumentParser = _made(
        argparse.ArgumentParser, "Explain, check and trace middleware.", CODES, prog="formation"
    )
    parser.add_argument("--version", action="version", version=f"formation {__version__}")
    several = parser.add_subparsers(metavar="COMMAND", required=True)

    def command(name: str, what: str, run: Callable[..., bool], more: str, **settings: Any) -> argparse.ArgumentParser:
        added: argparse.ArgumentParser = _made(
            several.add_parser, what, f"{more}\n\n{CODES}", name=name, help=what, **settings
        )
        added.set_defaults(run=run)
        return added

    shown = (
        f"{TARGET}\n\nexamples:\n  formation {{0}} shop:api\n  formation {{0}} shop:Shop\n  formation {{0}} stacks.toml"
    )
    explain = command(
        "explain",
        "show the layers, their settings, where they stand, and what check says",
        commands.explain,
        shown.format("explain"),
    )
    check = command("check", "warn of the orders that hurt", commands.check, shown.format("check"))
    usage = "formation trace module:object [--ctx JSON | --args JSON | request] [--svg|--html|--perfetto FILE]"
    trace = command("trace", "call it once, and draw a waterfall", commands.trace, f"{TARGET}\n\n{TRACED}", usage=usage)
    for each in (explain, check, trace):
        each.add_argument("target", metavar="module:object", help="what to look at")
    _traced(trace)

    demo = command(
        "demo", "a client and an unreliable server, in ten seconds", commands.demo, "It needs formation[all]."
    )
    demo.add_argument("--dashboard", action="store_true", help="then show the dashboard and go on, until Ctrl-C")
    demo.add_argument("--port", type=int, default=0, help="of the dashboard; any that is free, if it is not said")
    return parser


def _made(make: Callable[..., Any], what: str, more: str, name: str | None = None, **settings: Any) -> Any:
    return make(
        *([] if name is None else [name]),
        description=f"{what[0].upper()}{what[1:].rstrip('.')}.",
        epilog=more,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        **settings,
    )


def _traced(trace: argparse.ArgumentParser) -> None:
    trace.set_defaults(words=[])
    given = trace.add_argument_group("what it is called with").add_mutually_exclusive_group()
    given.add_argument("--ctx", metavar="JSON", help="a context; @file reads it from a file, @- from standard input")
    given.add_argument("--args", metavar="JSON", help="arguments, as a list or as an object; @file, @- likewise")
    request = trace.add_argument_group("a request, as curl takes it; the URL or the path comes last")
    request.add_argument("-X", "--request", metavar="METHOD", help="GET; with a body POST")
    request.add_argument("-H", "--header", metavar="'NAME: VALUE'", action="append", default=[])
    request.add_argument("-I", "--head", action="store_true", help="the method is HEAD")
    request.add_argument("-g", "--globoff", action="store_true", help="as it always is")
    body = request.add_mutually_exclusive_group()
    body.add_argument("-d", "--data", "--data-binary", metavar="DATA", help="a body; @file, @- likewise")
    body.add_argument("--data-raw", metavar="DATA", help="a body, in which @ is an @")
    body.add_argument("--json", metavar="JSON", help="a body of JSON; @file, @- likewise")
    out = trace.add_argument_group("where to draw it; the terminal, if nothing is said")
    for name, what in (("svg", "a picture"), ("html", "a page"), ("perfetto", "JSON for ui.perfetto.dev")):
        out.add_argument(f"--{name}", metavar="FILE", help=f"{what}; - is standard output")
