"""HTTP caching (RFC 9111): the rules, the stores, and what `cache` does by them.

The rules do no I/O and have no clock. `policy` decides: what may be stored, what may be used, and what to ask; the
files beside it read what it decides by: `directives`, `freshness`, `variants`, `validators`, `ranges`, `urls`. `entry`
is what is stored; `status` tells what was done (RFC 9211).

`store` is what a store must do; `memory`, `sqlite` and `redis` are three.

`serving` takes a request (a `look`), answers it from a store (`shelf`), or has it asked for and kept (`asking`,
`copying`), for those whose answer it is (`users`).
"""
