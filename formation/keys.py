"""The keys of the context: one name for each, the same in every edge.

The tables with a sentence for each key are in ``docs/SPEC.md``; a test compares the two.
A key that starts with ``fmtn.`` is Formation's own; the others are short for what users read, as in Formation 0.1.
"""

from typing import Final

REQ_HTTP: Final = "fmtn.req.http"
RES_HTTP: Final = "fmtn.res.http"
REQ_RPC: Final = "fmtn.req.rpc"
RES_RPC: Final = "fmtn.res.rpc"

SIDE: Final = "fmtn.side"
KIND: Final = "fmtn.kind"
CONTEXT: Final = "fmtn.context"
SESSION: Final = "fmtn.session"
STATE: Final = "fmtn.state"
NATIVE: Final = "fmtn.native"
WS: Final = "fmtn.ws"
MESSAGE: Final = "fmtn.message"
DIRECTION: Final = "fmtn.direction"

TEMPLATE: Final = "fmtn.template"
DEADLINE: Final = "fmtn.deadline"
TRACE: Final = "fmtn.trace"
SENSITIVE: Final = "fmtn.sensitive"
ATTEMPTS: Final = "fmtn.attempts"
ATTEMPT: Final = "attempt"
RETRY_DEPTH: Final = "retry_depth"
DEGRADED: Final = "degraded"

FN: Final = "fmtn.fn"
ARGS: Final = "fmtn.args"
KWARGS: Final = "fmtn.kwargs"
RESULT: Final = "fmtn.result"

REQ_ID: Final = "req.id"
REQ_PARENT_ID: Final = "req.parent.id"
REQ_DURATION: Final = "req.duration_us"
UID: Final = "uid"

# Names inside of ``fmtn.state``, by which middlewares and edges tell each other something.
STATE_ASIDE: Final = "aside"
STATE_BREAKER: Final = "breaker"
STATE_CACHE: Final = "cache"
STATE_CHAOS: Final = "chaos"
STATE_COALESCED: Final = "coalesced"
STATE_DEADLINE_HEADER: Final = "deadline_header"
STATE_ENDPOINT: Final = "endpoint"
STATE_SHED: Final = "shed"
STATE_STREAM: Final = "stream"
