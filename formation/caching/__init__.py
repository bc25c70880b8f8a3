"""HTTP caching (RFC 9111): the rules, the stores, and what `cache` does by them.

*The rules* do no I/O and have no clock. Begin with `policy`, which says what there is to decide, of a `request` and an
`entry`, a stored response. What each question takes has a file of its own:

- what may be stored: `storing`; and what is read of it once and for all: `making`, by `directives` and `freshness`
- whether an entry answers a request: `variants` (Vary), and whether it may: `decisions`
- what is asked about it, and what a 304 means: `questions`
- what is answered with it: `answers`, `ranges`

`fields` has headers as all of these read them; `status` says in the words of RFC 9211 what was done.

*The stores*: `store` is what one has to do; `memory`, `sqlite` and `redis` are three. `shelf` is one that never fails.

*What `cache` does*: begin with `serving`, which takes a request, a `lookup`, step by step through the others:
`entry_keys` and `users`, `waiting`, `asking`, `keeping` and `copying`, `refreshing`, `reports`.
"""
