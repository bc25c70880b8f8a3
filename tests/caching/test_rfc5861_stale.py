"""RFC 5861: when a stale response may be used."""

import pytest

from formation.caching.policy import ERRORS, Policy
from tests.caching.exchanges import NOW, PRIVATE, SHARED, get, sentences, stored, verdict

WITH_SETTING = Policy(shared=True, stale_if_error=60)

REFRESH = [
    # section, sentence, verdict, the response, seconds later
    ("3", "within stale-while-revalidate it is used and refreshed", "REFRESH",
     "max-age=60, stale-while-revalidate=30", 89),
    ("3", "after stale-while-revalidate it is validated", "VALIDATE", "max-age=60, stale-while-revalidate=30", 90),
    ("3", "while fresh there is no need to refresh it", "FRESH", "max-age=60, stale-while-revalidate=30", 59),
    ("3", "stale-while-revalidate counts from when it becomes stale", "REFRESH",
     "max-age=0, stale-while-revalidate=30", 29),
    ("3", "a number that cannot be read is none", "VALIDATE", "max-age=60, stale-while-revalidate=x", 61),
    ("3", "without a number it is none", "VALIDATE", "max-age=60, stale-while-revalidate", 61),
    ("3", "must-revalidate is stronger", "VALIDATE", "max-age=60, stale-while-revalidate=30, must-revalidate", 61),
    ("3", "no-cache is stronger", "VALIDATE", "max-age=60, stale-while-revalidate=30, no-cache", 61),
]  # fmt: skip


@pytest.mark.parametrize("row", REFRESH, ids=sentences(REFRESH))
def test_stale_while_revalidate(row):
    _, _, expected, response, after = row
    assert verdict(stored({"Cache-Control": response, "ETag": '"1"', "Date": 0}), after) == expected


def test_section_3_a_request_with_min_fresh_does_not_want_it():
    entry = stored({"Cache-Control": "max-age=60, stale-while-revalidate=30"})
    assert verdict(entry, 61, {"Cache-Control": "min-fresh=1"}) == "VALIDATE"
    assert verdict(entry, 61, {"Cache-Control": "no-cache"}) == "VALIDATE"
    assert verdict(entry, 61, {"Cache-Control": "only-if-cached"}) == "REFRESH"


YES, NO = True, False

ERROR = [
    # section, sentence, whether it may be used, the response, seconds later, the request, and the policy
    ("4", "within stale-if-error it may stand in for an error", YES, "max-age=60, stale-if-error=30", 89, "", SHARED),
    ("4", "after stale-if-error it may not", NO, "max-age=60, stale-if-error=30", 90, "", SHARED),
    ("4", "without stale-if-error it may not", NO, "max-age=60", 61, "", SHARED),
    ("4", "a number that cannot be read is none", NO, "max-age=60, stale-if-error=x", 61, "", SHARED),
    ("4", "a number that cannot be read is none, whatever the setting", NO, "max-age=60, stale-if-error=x", 61, "",
     WITH_SETTING),
    ("4", "the request may allow it", YES, "max-age=60", 89, "stale-if-error=30", SHARED),
    ("4", "the request allows it for so long", NO, "max-age=60", 90, "stale-if-error=30", SHARED),
    ("4", "the narrower of both counts, the request's", NO, "max-age=60, stale-if-error=30", 71, "stale-if-error=10",
     SHARED),
    ("4", "the narrower of both counts, the response's", NO, "max-age=60, stale-if-error=10", 71, "stale-if-error=30",
     SHARED),
    ("4", "the setting allows it where nobody says", YES, "max-age=60", 119, "", WITH_SETTING),
    ("4", "the setting allows it for so long", NO, "max-age=60", 120, "", WITH_SETTING),
    ("4", "the response is stronger than the setting", NO, "max-age=60, stale-if-error=10", 71, "", WITH_SETTING),
    ("4", "the request is stronger than the setting", NO, "max-age=60", 71, "stale-if-error=10", WITH_SETTING),
    ("4", "must-revalidate is stronger than the response", NO, "max-age=60, stale-if-error=30, must-revalidate", 61, "",
     SHARED),
    ("4", "must-revalidate is stronger than the request", NO, "max-age=60, must-revalidate", 61, "stale-if-error=30",
     SHARED),
    ("4", "must-revalidate is stronger than the setting", NO, "max-age=60, must-revalidate", 61, "", WITH_SETTING),
    ("4", "proxy-revalidate is in a shared cache", NO, "max-age=60, proxy-revalidate", 61, "", WITH_SETTING),
    ("4", "s-maxage is in a shared cache", NO, "s-maxage=60", 61, "", WITH_SETTING),
    ("4", "s-maxage means nothing in a private cache", YES, "max-age=60, s-maxage=60, stale-if-error=30", 61, "",
     PRIVATE),
    ("4", "no-cache is stronger", NO, "no-cache, max-age=60, stale-if-error=30", 1, "", SHARED),
    ("4", "no-cache in the request is stronger", NO, "max-age=60, stale-if-error=30", 61, "no-cache", SHARED),
    ("4", "max-age in the request wants nothing stale", NO, "max-age=60, stale-if-error=30", 61, "max-age=99", SHARED),
    ("4", "max-age and max-stale in the request do", YES, "max-age=60, stale-if-error=30", 61, "max-age=99, max-stale",
     SHARED),
]  # fmt: skip


@pytest.mark.parametrize("row", ERROR, ids=sentences(ERROR))
def test_stale_if_error(row):
    _, _, expected, response, after, wanted, policy = row
    entry = stored({"Cache-Control": response, "ETag": '"1"', "Date": 0}, policy=policy)
    request = get({"Cache-Control": wanted} if wanted else {})
    assert policy.may_serve_stale(request, entry, NOW + after) is expected


def test_section_4_these_are_errors():
    assert sorted(ERRORS) == [500, 502, 503, 504]
