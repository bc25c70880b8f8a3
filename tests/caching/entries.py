"""Entries for the tests of stores."""

from formation.caching.entry import Entry


def entry(body=b"tea", *, asked=100.0, vary=(), method="GET", took=0.1, **more):
    known = {
        "url": "https://h/a",
        "status": 200,
        "headers": (("ETag", '"1"'), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("X-Name", "Zo\xeb")),
        "age": 0.0,
        "date": asked,
        "lifetime": 60.0,
        "heuristic": False,
        "shared": True,
        "no_cache": False,
        "must_revalidate": False,
        "immutable": False,
        "stale_while_revalidate": 0.0,
        "stale_if_error": None,
        "etag": '"1"',
        "last_modified": None,
    }
    return Entry(
        method=method,
        vary=vary,
        received_at=asked + took,
        requested_at=asked,
        length=len(body),
        body=body,
        **{**known, **more},
    )
