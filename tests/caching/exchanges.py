"""Requests and responses for the tests of the policy: times are seconds from NOW on."""

from formation import dates
from formation.caching.policy import Policy, Request

NOW = 1_000_000_000.0
URL = "http://example.com/a"

SHARED, PRIVATE = Policy(shared=True), Policy(shared=False)


def date(seconds=0):
    return dates.format(NOW + seconds)


def lines(headers):
    """Pairs of a dict, in which a list is several lines and a number a date in so many seconds."""
    return [
        (name.replace("_", "-"), date(value) if isinstance(value, (int, float)) else value)
        for name, values in dict(headers).items()
        for value in (values if isinstance(values, list) else [values])
    ]


def get(headers=(), method="GET", url=URL):
    return Request(method, url, lines(headers))


def stored(headers, *, policy=SHARED, request=None, status=200, took=0.0, body=b"0123456789"):
    """The entry for a response that came ``took`` seconds after NOW, or None if it may not be stored."""
    request, headers = request or get(), lines(headers)
    if policy.refusal(request, status, headers) is not None:
        return None
    entry = policy.entry(request, status, headers, requested_at=NOW, received_at=NOW + took)
    return entry.with_body(body, len(body))


def verdict(entry, after, headers=(), *, policy=SHARED):
    """What is to be done with a request ``after`` seconds."""
    request = get(headers)
    return policy.decide(request, policy.select(request, [] if entry is None else [entry]), NOW + after).name


def field(pairs, name):
    return [value for line, value in pairs if line.lower() == name.lower()]


def sentences(table):
    """The ids of a table whose rows begin with a section and a sentence."""
    return [f"{row[0]}: {row[1]}" for row in table]
