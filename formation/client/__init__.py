"""The declarative client, common to every client edge.

A call goes through these files: `declare` makes a class a client, `settings` holds what was said about it, `sender`
turns a method call into a request and a chain (`async_sender` is the same, awaited; `base_sender` and `verbs` are what
they have in common, `transport` what they share with siblings), `follow` authorizes, keeps cookies and follows
redirects, an edge sends, and `responses` makes of the response what the caller wants. `pages` makes calls of calls.
What edges share is in `wire` and `unpacking`, and in `in_process` for those that call an app.
"""
