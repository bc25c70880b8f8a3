"""What the server edges are made of. The edges themselves, `formation.for_asgi` and its kin, are thin.

- `request`, `response`: the request that came and the response that goes, each read when asked for. Each host has a
  subclass of both.
- `asgi`: one exchange over ASGI. Begin with its `exchange`, which has the theory; `attempt` is one call of the app;
  `pump` sends what no app does; `messages` and `bodies` read and write what passes; `websocket` is a connection, and
  `websocket_messages` what passes in it; `leaving` listens for the client to go; `aside` is a call beside the others.
- `wsgi`: the same over WSGI. `exchange`, its `call` of the app, the `request` in an environ, the `response`; `files`
  that a server may send by itself.
- `django`: Django's own `request`, `response`, `cookies` and `streams`; the errors that Django makes responses of
  (`failures`); what its settings say (`configured`).
- `clients`: who the client is, for `rate_limit`. `whole`: a short answer as a whole, for `idempotency`.
"""
