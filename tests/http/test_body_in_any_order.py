"""A body against a model of a few lines, through any sequence of calls."""

import io

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from formation.errors import BodyAbandoned, BodyConsumed
from formation.http import Body, Factory, File
from tests.http.bodies import Ends

# --- what it is ---


class AnyOrder(RuleBasedStateMachine):
    """A body against a model of a few lines, through any sequence of calls."""

    KINDS = ("bytes", "list", "once", "file", "function")

    @initialize(kind=st.sampled_from(KINDS), chunks=st.lists(st.binary(max_size=3), max_size=4))
    def make(self, kind, chunks):
        content = b"".join(chunks)
        self.source = {
            "bytes": lambda: content,
            "list": lambda: chunks,
            "once": lambda: iter(chunks),
            "file": lambda: File(io.BytesIO(content)),
            "function": lambda: Factory(lambda: iter(chunks)),
        }[kind]()
        self.body = Body(self.source)
        self.chunks = {"bytes": [content], "file": [content]}.get(kind, chunks)
        self.in_memory = kind == "bytes"
        self.kind = kind
        self.maps = []
        self.fresh()
        self.pending = []  # hooks to be told
        self.readers = []  # [iterator, what it will give, whether it has started]

    def fresh(self):
        self.begun = self.over = False
        self.count = 0
        self.error = type(None)
        self.current = None

    @property
    def out(self):
        """The chunks that come out of the maps."""
        chunks = self.chunks
        for fn in self.maps:
            chunks = [fn(chunk) for chunk in chunks]
        return [chunk for chunk in chunks if chunk]

    @property
    def replayable(self):
        return self.in_memory or (self.kind in {"list", "file", "function"} and not self.maps)

    @property
    def length(self):
        return sum(map(len, self.out)) if self.in_memory or (self.kind == "file" and not self.maps) else None

    def end(self, error):
        self.over, self.error, self.current = True, error, None
        for ends in self.pending:
            assert ends.once == (self.count, error)
        self.pending = []

    def abandon(self):
        self.end(type(None) if self.count == self.length else BodyAbandoned)

    def refused(self, call):
        with pytest.raises(BodyConsumed):
            call()

    @rule(fn=st.sampled_from([bytes.upper, bytes.swapcase, lambda chunk: chunk * 2, lambda chunk: chunk[1:]]))
    def map(self, fn):
        if self.in_memory:
            assert self.body.map(fn) is self.body
            self.chunks = [fn(b"".join(self.chunks))]
        elif self.begun or self.over:
            self.refused(lambda: self.body.map(fn))
        else:
            assert self.body.map(fn) is self.body
            self.maps.append(fn)

    @rule()
    def read(self):
        if not self.in_memory and (self.begun or self.over):
            self.refused(self.body.read)
            return
        content = b"".join(self.out)
        assert self.body.read() == content
        if not self.in_memory:
            self.count = len(content)
            self.end(type(None))
            self.chunks, self.maps, self.in_memory = [content], [], True

    @rule()
    def iterate(self):
        if not self.in_memory and (self.begun or self.over):
            self.refused(lambda: iter(self.body))
        elif self.in_memory:
            assert list(self.body) == self.out
            if self.out:
                self.count = len(self.out[0])
            if not self.over:
                self.end(type(None))
        else:
            self.begun = True
            self.current = [iter(self.body), self.out, False]
            self.readers.append(self.current)

    @precondition(lambda self: self.readers)
    @rule(data=st.data())
    def step(self, data):
        reader = data.draw(st.sampled_from(self.readers))
        chunks, left, _ = reader
        if reader is not self.current:
            with pytest.raises((BodyConsumed, StopIteration)):
                next(chunks)
        elif left:
            assert next(chunks) == left[0]
            self.count += len(left[0])
            reader[1:] = left[1:], True
        else:
            with pytest.raises(StopIteration):
                next(chunks)
            self.end(type(None))

    @precondition(lambda self: self.readers)
    @rule(data=st.data())
    def leave(self, data):
        reader = data.draw(st.sampled_from(self.readers))
        self.readers.remove(reader)
        reader[0].close()
        if reader is self.current and reader[2]:
            self.abandon()

    @rule(error=st.sampled_from([None, ConnectionError()]))
    def close(self, error):
        self.body.close(error)
        if not self.over:
            self.abandon() if error is None else self.end(ConnectionError)

    @rule()
    def rewind(self):
        possible = self.replayable or not (self.begun or self.over)
        assert self.body.rewind() is possible
        if possible:
            self.fresh()

    @rule()
    def hook(self):
        ends = Ends()
        self.body.on_close(ends)
        if self.over:
            assert ends.once == (self.count, self.error)
        else:
            self.pending.append(ends)

    @rule()
    def fork(self):
        assert self.body.fork().replayable is self.replayable

    @invariant()
    def says_what_it_is(self):
        if not hasattr(self, "body"):
            return
        assert self.body.is_bytes is self.in_memory
        assert self.body.ended is self.over
        assert self.body.length == self.length
        assert self.body.replayable is self.replayable
        assert all(ends == [] for ends in self.pending)
        untouched = not (self.begun or self.over or self.maps)
        if untouched and not self.in_memory:
            assert self.body.native is self.source
        elif not untouched:
            assert self.body.native is None


TestAnyOrder = AnyOrder.TestCase
