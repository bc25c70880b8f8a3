"""The HTTP messages, the same two classes for every client and server, and the rules for URLs, queries and bodies.

Nothing here does I/O, but for reading the files that a caller hands over as a body.
"""

from formation.http.body import Body
from formation.http.headers import SENSITIVE, Headers
from formation.http.request import Request
from formation.http.response import Response
from formation.http.secrets import REDACTED
from formation.http.sources import Factory, File
from formation.http.timeouts import UNSET, Timeout

__all__ = ["REDACTED", "SENSITIVE", "UNSET", "Body", "Factory", "File", "Headers", "Request", "Response", "Timeout"]
