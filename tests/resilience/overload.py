"""A server with workers and a line before them, in a simulation: what comes of more requests than it can do.

Requests come at random, the work takes random times, both exponential; whoever asks leaves after a second. *Goodput* is
the part of the capacity that goes into answers that somebody waits for.
"""

import random
from collections import deque
from heapq import heappop, heappush
from itertools import count

WORKERS, MEAN, PATIENCE = 10, 0.05, 1.0
CAPACITY = WORKERS / MEAN


def serve(limiter, load, seconds=80.0, warm_up=20.0, seed=1):
    """Offer ``load`` times the capacity to a server behind ``limiter``; return goodput, and p99 of the times."""
    chance, number = random.Random(seed), count()
    line, times = deque(), []
    busy = good = 0
    events = []

    def at(when, what, who=None):
        heappush(events, (when, next(number), what, who))

    def work(now, who):
        at(now + chance.expovariate(1 / MEAN), "done", who)

    at(0.0, "comes")
    while events[0][0] < seconds:
        now, _, what, who = heappop(events)
        if what == "comes":
            at(now + chance.expovariate(CAPACITY * load), "comes")
            admitted = limiter.admit() if limiter else 1
            if not admitted:
                continue
            if busy < WORKERS:
                busy += 1
                work(now, (now, admitted))
            else:
                line.append((now, admitted))
        else:
            came, admitted = who
            took = now - came
            if limiter:
                limiter.leave(admitted, now, took, dropped=took > PATIENCE)
            if now > warm_up:
                times.append(took)
                good += took <= PATIENCE
            if line:
                work(now, line.popleft())
            else:
                busy -= 1
    return good / (seconds - warm_up) / CAPACITY, sorted(times)[int(0.99 * len(times))]
