from hypothesis import given
from hypothesis import strategies as st

from formation.http import Request, Response
from formation.resilience.forks import BAGS, fork, merge


def test_a_fork_has_a_request_and_bags_of_its_own_and_shares_the_rest():
    shared = []
    ctx = {"fmtn.req.http": Request("GET", "http://h/"), "fmtn.state": {"a": 1}, "fmtn.sensitive": {"x"}, "log": shared}
    forked = fork(ctx)
    forked["fmtn.req.http"].headers["X-A"] = "1"
    forked["fmtn.state"]["b"] = forked["new"] = 2
    forked["fmtn.sensitive"].add("y")
    assert ctx["fmtn.req.http"].headers == {}
    assert (ctx["fmtn.state"], ctx["fmtn.sensitive"]) == ({"a": 1}, {"x"})
    assert "new" not in ctx
    assert forked["log"] is shared


def test_a_fork_begins_without_a_response():
    assert "fmtn.res.http" not in fork({"fmtn.req.http": Request("GET", "http://h/"), "fmtn.res.http": Response(200)})


def test_what_is_no_dict_is_neither_forked_nor_merged():
    ctx = object()
    assert fork(ctx) is ctx
    assert merge(ctx, 42) == 42
    assert merge({"a": 1}, 42) == 42
    assert merge(1, {"a": 1}) == {"a": 1}
    assert merge(ctx, ctx) is ctx


def test_merging_a_context_with_itself_changes_nothing():
    ctx = {"fmtn.state": {"a": 1}}
    assert merge(ctx, ctx) == {"fmtn.state": {"a": 1}}


def test_a_bag_that_is_of_another_kind_by_now_is_taken_as_it_is():
    assert merge({"fmtn.state": {"a": 1}}, {"fmtn.state": None}) == {"fmtn.state": None}
    assert merge({"fmtn.sensitive": {"a"}}, {"fmtn.sensitive": ["b"]}) == {"fmtn.sensitive": ["b"]}


contexts = st.dictionaries(
    st.sampled_from(["a", "b", *BAGS[:-1]]), st.dictionaries(st.sampled_from("xyz"), st.integers(0, 3))
)


@given(contexts, contexts)
def test_after_a_merge_the_context_says_what_the_winner_says_in_the_bags_it_had(ctx, winner):
    bags = {key: ctx[key] for key in BAGS if key in ctx}
    expected = {key: dict(value) for key, value in winner.items()}
    assert merge(ctx, winner) is ctx
    assert ctx == expected
    assert all(ctx[key] is bags[key] for key in bags if key in ctx)


@given(contexts)
def test_a_fork_equals_what_it_was_made_of(ctx):
    assert fork(ctx) == ctx
