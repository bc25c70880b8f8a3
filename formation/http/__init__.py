"""The HTTP messages, the same two classes for every client and server, and the rules for URLs, queries and bodies.

Nothing here does I/O, but for reading the files that a caller hands over as a body.

>>> request = Request("post", "https://h/users", json={"name": "ann"})
>>> request.name, request.content, request.headers["Content-Type"]
('POST /users', b'{"name":"ann"}', 'application/json')
"""

# Where to look.
# Messages: request.py with payload.py, and response.py; what they share in message.py; headers.py, timeouts.py; what
# goes with a redirect and a cookie in redirects.py and cookies.py.
# Bodies: body.py, which is made of sources.py, passing.py and ending.py; forms in multipart.py; packed and unpacked by
# codings.py, unpackers.py and recoded.py.
# URLs: url.py, of templates.py, origins.py and query.py; what parameters come in, in entries.py and values.py; what
# logs do not show, in secrets.py.
# What a header says: lists.py, negotiation.py, media_types.py, validators.py, forwarded.py, ratelimit.py.

from formation.http.body import Body
from formation.http.headers import SENSITIVE, Headers
from formation.http.request import Request
from formation.http.response import Response
from formation.http.secrets import REDACTED
from formation.http.sources import Factory, File
from formation.http.timeouts import UNSET, Timeout

__all__ = ["REDACTED", "SENSITIVE", "UNSET", "Body", "Factory", "File", "Headers", "Request", "Response", "Timeout"]
