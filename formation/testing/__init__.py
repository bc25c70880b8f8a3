"""Test clients and middleware without a server: a script, a stub, a rehearsal, a simulation.

Nothing is patched: what answers is given as ``endpoint=``, so tests can run in parallel, and the whole chain of the
client runs, sync or async.

- `script`: answers one after the other, and no more.
- `Stub`: answers by method and template.
- `rehearse`: what a method would send, and as a curl command.
- `simulate`: a run in which an hour of back-off takes a millisecond.
- `fast_forward`: the same for an async program, whose tasks run side by side.

A middleware alone needs none of it: call it, ``log({"a": 1}, lambda ctx: ctx)``.
"""

from __future__ import annotations

from formation.fast_forward import fast_forward
from formation.testing.answers import Answer
from formation.testing.rehearsals import Rehearsal, rehearse
from formation.testing.scripts import Script, script
from formation.testing.simulations import Run, simulate
from formation.testing.stubs import Route, Stub

__all__ = ["Answer", "Rehearsal", "Route", "Run", "Script", "Stub", "fast_forward", "rehearse", "script", "simulate"]
