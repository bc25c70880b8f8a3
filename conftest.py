"""Make every Python example a test: the fenced blocks of README.md, llms.txt and docs/, the doctests of formation/.

A page is one namespace, run from top to bottom; a module's examples see the module's own names. A block that cannot
run says why in the line above it: `<!-- skip: next "needs a server of one's own" -->`.
"""

from doctest import ELLIPSIS, NORMALIZE_WHITESPACE
from socketserver import TCPServer

import structlog
from sybil import Sybil
from sybil.document import PythonDocStringDocument
from sybil.parsers.myst import PythonCodeBlockParser, SkipParser
from sybil.parsers.rest import DocTestParser

FLAGS = ELLIPSIS | NORMALIZE_WHITESPACE

# The servers of the standard library let five wait for them. Of a hundred that connect at once some would wait for
# half a minute, whatever they connect with.
TCPServer.request_queue_size = 128


def afresh(namespace: dict[str, object]) -> None:
    """Begin a page with structlog as it comes, which `capture_logs` of a test before it has configured."""
    structlog.reset_defaults()


PAGES = Sybil(
    setup=afresh,
    parsers=[PythonCodeBlockParser(doctest_optionflags=FLAGS), SkipParser()],
    patterns=["README.md", "llms.txt", "docs/*.md", "docs/*/*.md"],
    fixtures=[],  # names of pytest fixtures that every block finds in its namespace
)
DOCSTRINGS = Sybil(
    parsers=[DocTestParser(FLAGS)],
    path="formation",
    pattern="*.py",
    document_types={".py": PythonDocStringDocument},
)

pytest_collect_file = (PAGES + DOCSTRINGS).pytest()
