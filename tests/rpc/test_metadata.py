"""Metadata: a case-insensitive multi-map, in which ``-bin`` names have bytes."""

import copy
import pickle

import pytest

from formation.rpc import Metadata


def test_names_are_of_any_case_and_sent_in_lower_case():
    metadata = Metadata({"X-User": "ann"})
    metadata["X-ROLE"] = "admin"
    assert metadata["x-user"] == "ann"
    assert "x-Role" in metadata
    assert metadata.fields() == (("x-user", "ann"), ("x-role", "admin"))


def test_a_name_may_have_several_values():
    metadata = Metadata([("a", "1"), ("A", "2"), ("a-bin", b"1"), ("a-bin", b"2")])
    assert (metadata["a"], metadata.getlist("a")) == ("1, 2", ["1", "2"])
    assert (metadata["a-bin"], metadata.getlist("a-bin")) == (b"2", [b"1", b"2"])
    assert metadata.get("b") is None
    assert metadata.getlist("b") == []
    metadata.add("a", "3")
    assert metadata.pop("a") == "1, 2, 3"
    assert metadata.pop("a", None) is None
    with pytest.raises(KeyError):
        metadata.pop("a")


def test_it_is_changed_as_headers_are():
    metadata = Metadata([("a", "1")])
    assert metadata.setdefault("a", "2") == "1"
    assert metadata.setdefault("b", "2") == "2"
    metadata.update({"a": "3"}, c="4")
    metadata.merge({"a": "5", "d": "6"})
    metadata.extend([("d", "7")])
    assert metadata.fields() == (("a", "3"), ("b", "2"), ("c", "4"), ("d", "6"), ("d", "7"))


def test_values_that_stay_the_same_stay_apart_when_a_mapping_is_assigned():
    metadata = Metadata([("a", "1"), ("a", "2"), ("b", "3")])
    assert metadata.replaced({**metadata, "b": "4"}).fields() == (("a", "1"), ("a", "2"), ("b", "4"))
    assert metadata.replaced(metadata) == metadata
    assert metadata.replaced(metadata) is not metadata


@pytest.mark.parametrize(
    ("name", "value", "error", "said"),
    [
        (7, "1", TypeError, "expected a str as name of metadata, got 7"),
        ("a b", "1", ValueError, "'a b' is no name of metadata: letters, digits and _.- only"),
        ("a", 7, TypeError, "expected a str as value of metadata 'a', got int"),
        ("a", b"7", TypeError, "got bytes: bytes are for names that end with '-bin'"),
        ("a", "ä", ValueError, "is not printable ASCII, 'ä': send bytes under 'a-bin'"),
        ("a", "1\n", ValueError, "is not printable ASCII"),
        ("authorization", "s3cret\n", ValueError, r"is not printable ASCII, \[redacted\]"),
        ("a-bin", "1", TypeError, "expected bytes as value of metadata 'a-bin'"),
    ],
)
def test_what_cannot_be_sent_is_refused_where_it_is_given(name, value, error, said):
    with pytest.raises(error, match=said):
        Metadata([(name, value)])
    with pytest.raises(error, match=said):
        Metadata()[name] = value


def test_logs_see_no_secrets():
    metadata = Metadata([("authorization", "Bearer s3cret"), ("a", "1"), ("b-bin", b"\xff")])
    assert metadata.redacted(["A"]) == {"authorization": "[redacted]", "a": "[redacted]", "b-bin": "ff"}
    assert repr(metadata) == "<Metadata {'authorization': '[redacted]', 'a': '1', 'b-bin': 'ff'}>"


def test_it_is_copied_and_pickled():
    metadata = Metadata([("a", "1"), ("b-bin", b"\xff")])
    other = metadata.copy()
    other["a"] = "2"
    assert metadata["a"] == "1"
    assert pickle.loads(pickle.dumps(metadata)) == copy.copy(metadata) == metadata


def test_metadata_is_added_to_metadata():
    metadata = Metadata([("a", "1")])
    metadata.extend(Metadata([("a", "2"), ("b", "3")]))
    assert metadata.fields() == (("a", "1"), ("a", "2"), ("b", "3"))


def test_a_name_in_bytes_is_taken_as_grpc_gives_it():
    given = (("b", "2"), (b"grpc-internal-encoding-request", "gzip"), ("a", "1"))
    assert Metadata.received(given).fields() == (("b", "2"), ("grpc-internal-encoding-request", "gzip"), ("a", "1"))
