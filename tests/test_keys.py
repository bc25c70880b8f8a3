"""The keys: one constant for each key of the context, and one table that explains them."""

import re
from pathlib import Path

from formation import keys

TABLE = Path(__file__).parents[1] / "docs" / "SPEC.md"
KEYS = {name: value for name, value in vars(keys).items() if name.isupper()}


def test_every_constant_is_a_key_of_its_own():
    assert len(set(KEYS.values())) == len(KEYS)


def test_every_key_is_made_of_words_between_dots():
    assert [key for key in KEYS.values() if not re.fullmatch(r"[a-z_]+(\.[a-z_]+)*", key)] == []


def test_a_constant_is_named_after_its_key():
    short = {"REQ_DURATION": "req.duration_us", "RETRY_DEPTH": "retry_depth"}  # a unit, and a word of two
    for name, key in KEYS.items():
        if name.startswith("STATE_"):
            assert name == f"STATE_{key.upper()}"
            continue
        assert short.get(name, name.lower().replace("_", ".")) == key.removeprefix("fmtn.")


def test_the_keys_of_formation_0_1_are_what_they_were():
    assert {keys.REQ_HTTP, keys.RES_HTTP, keys.CONTEXT, keys.SESSION} == {
        "fmtn.req.http", "fmtn.res.http", "fmtn.context", "fmtn.session"
    }  # fmt: skip
    assert {keys.REQ_ID, keys.REQ_PARENT_ID, keys.REQ_DURATION, keys.UID} == {
        "req.id", "req.parent.id", "req.duration_us", "uid"
    }  # fmt: skip


def test_the_table_explains_every_key_and_no_other():
    rows = [line for line in TABLE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    explained = [key for row in rows for key in re.findall(r"`([^`]+)`", row.split("|")[1])]

    assert {key for key in explained if key.startswith("fmtn.") or key in KEYS.values()} == set(KEYS.values())
