"""What the resilience middlewares are made of. A middleware says what it does, and its defaults; here is how.

What decides has no I/O and no sleep, and is given the clock. What waits does it in a thread, or on the bridge. What can
be in the memory of a process, or in a Redis for many, is ``x`` and ``shared_x``: `Turns`, a Protocol, and `MemoryTurns`
are in ``turns``, `RedisTurns` is in ``shared_turns``.

To try again (`retry`, `hedge`, `fallback`):

- ``policy``: whether to, and after how long; ``budget``: what it may cost; ``retry_after``: what the server says of it.
- ``attempts``: what came of one; ``forks``: a context for each.
- ``retrying``: one after the other; ``race``: side by side.

To leave alone what fails (`circuit_breaker`):

- ``verdicts``: what a call has shown; ``window``: how many have failed lately.
- ``gate``: a circuit; ``shared_gate``: one of many processes; ``shared_state``: what of it lies in Redis.

To ask less, or let in less:

- ``turns``, ``shared_turns``: so many in so much time, one after the other (`throttle`).
- ``rates``, ``shared_rates``: so many in so much time for each client, the others get a no (`rate_limit`);
  ``counters``: how they are counted.
- ``permits``: so many at a time (`bulkhead`); ``concurrency``: as many as can be taken (`adaptive_limit`).
- ``acceptance``: as many as are accepted (`client_throttle`); ``shedding``: those that are not too old (`load_shed`).

To end in time (`deadline`, `timeout`):

- ``deadlines``: what a header says of one; ``time_limit``: what ends a wait.

To do a thing once:

- ``together``: one of many goes, the others wait (`coalesce`); ``flight``: for a value that is kept
  (`oauth2_client_credentials`); ``collapse``: for a store (`cache`); ``identical``: which calls are the same.
- ``claims``, ``shared_claims``: what was asked for under a key; ``register``: both, for `idempotency`; ``replay``: its
  keys and answers as texts.

For all of these:

- ``signal``: an event that threads and tasks wait for; ``background``: what nobody waits for.
- ``keyed``: one thing for each origin or client, and an end to how many; ``checks``: numbers that are settings.
"""
