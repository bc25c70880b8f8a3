"""The metrics of `prometheus`: made once for each registry, and what is read from other middlewares at each scrape."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary, WeakSet

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily

from formation.check import layers_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

CALL: Final = ("side", "kind", "origin", "route", "method")
STATES: Final = ("closed", "half-open", "open")

HOLD: Final = ("gates", "places", "limiters", "budget", "turns")
"""Where `circuit_breaker`, `bulkhead`, `adaptive_limit`, `retry` and `throttle` show what they hold."""

_made: Final[WeakKeyDictionary[CollectorRegistry, dict[str, Metrics]]] = WeakKeyDictionary()
_lock: Final = Lock()


class Metrics:
    """What is counted under one namespace of one registry, by however many middlewares."""

    def __init__(self, registry: CollectorRegistry, namespace: str, buckets: tuple[float, ...], most: int) -> None:
        more: dict[str, Any] = {"namespace": namespace, "registry": registry}
        self.settings = (buckets, most)
        # First, for it is what refuses buckets that are none.
        self.seconds = Histogram(
            "request_duration_seconds", "How long calls took, to the end of the body.", CALL, buckets=buckets, **more
        )
        self.requests = Counter(
            "requests_total", "Calls that are over, by how they ended.", (*CALL, "status", "outcome"), **more
        )
        self.running = Gauge("requests_in_flight", "Calls under way.", CALL[:3], multiprocess_mode="livesum", **more)
        self.retries = Counter("retries_total", "Attempts after the first.", CALL[:3], **more)
        self.paused = Counter("retry_wait_seconds_total", "Seconds slept between attempts.", CALL[:3], **more)
        self.cached = Counter("cache_total", "What the cache did.", (*CALL[:3], "outcome"), **more)
        self._watched: WeakSet[Any] = WeakSet()
        self._known: set[tuple[str, ...]] = set()
        self._children: dict[Any, Any] = {}
        registry.register(_Watcher(self, namespace, most))

    def watch(self, *stacks: Any) -> None:
        """Read at each scrape what the middlewares in ``stacks`` hold, as long as there are such.

        Args:
            stacks: lists of middleware, or what has one: chains, clients, edges.

        Raises:
            TypeError: one of them is no such thing.
        """
        for stack in stacks:
            self._watched.update(each for each in layers_of(stack) if any(hasattr(each, name) for name in HOLD))

    @property
    def watched(self) -> list[Any]:
        """The middlewares to read."""
        return list(self._watched)

    def bounded(self, *call: str) -> tuple[str, ...]:
        """Return the labels of a call: its own, or ``other`` for its origin and route if there are too many."""
        if call in self._known:
            return call
        if len(self._known) >= self.settings[1]:
            side, kind, _, _, method = call
            return side, kind, "other", "other", method
        self._known.add(call)
        return call

    def of(self, metric: Any, labels: tuple[str, ...]) -> Any:
        """Return what ``metric.labels(*labels)`` does, in a third of the time."""
        found = self._children.get((metric, labels))
        if found is None:
            found = self._children[metric, labels] = metric.labels(*labels)
        return found


def metrics_of(registry: CollectorRegistry | None, namespace: str, buckets: Iterable[float], most: int) -> Metrics:
    """Return the metrics of a registry under a namespace, which are made when they are first asked for.

    Raises:
        ValueError: they are there already, with other buckets, or another limit.
    """
    registry, bounds = REGISTRY if registry is None else registry, tuple(buckets)
    with _lock:
        there = _made.setdefault(registry, {})
        if namespace not in there:
            there[namespace] = Metrics(registry, namespace, bounds, most)
        found = there[namespace]
    if found.settings != (bounds, most):
        raise ValueError(
            f"expected the buckets and the limit that {namespace!r} has in this registry, {found.settings}, got "
            f"{(bounds, most)}: give them another namespace"
        )
    return found


class _Watcher:
    """Reads, when Prometheus asks, what the middlewares that are watched hold."""

    def __init__(self, metrics: Metrics, namespace: str, most: int) -> None:
        self.metrics, self.most = metrics, most
        self.before = f"{namespace}_" if namespace else ""

    def describe(self) -> Iterable[Any]:
        """Return what it may give, so that nothing is asked for when it is registered."""
        return [self._family(name, labels) for name, (_, labels) in FAMILIES.items()]

    def collect(self) -> Iterator[Any]:
        """Read them."""
        sums: dict[str, dict[tuple[str, ...], float]] = {name: {} for name in FAMILIES}
        for layer in self.metrics.watched:
            for name, labels, value in _read(layer):
                values = sums[name]
                key = labels if labels in values or len(values) < self.most else ("other", *labels[1:])
                values[key] = values.get(key, 0) + value
        for name, values in sums.items():
            family = self._family(name, FAMILIES[name][1])
            for labels, value in values.items():
                family.add_metric(labels, value)
            yield family

    def _family(self, name: str, labels: tuple[str, ...]) -> Any:
        return GaugeMetricFamily(f"{self.before}{name}", FAMILIES[name][0], labels=labels)


FAMILIES: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "circuits": ("Circuits that are in a state.", ("circuit", "state")),
    "bulkhead_in_use": ("Places that are taken.", ("key",)),
    "bulkhead_waiting": ("Calls that wait for a place.", ("key",)),
    "bulkhead_limit": ("Places that there are.", ("key",)),
    "adaptive_limit_in_use": ("Calls under way that count against the limit.", ("key",)),
    "adaptive_limit_limit": ("What the limit is by now.", ("key",)),
    "retry_budget_spent": ("Tokens of a retry budget that are spent; a full account has no line.", ("key",)),
    "retry_budget_capacity": ("Tokens of a full account.", ("key",)),
    "throttle_booked_seconds": ("For how long from now all turns are taken, of the rates that are busiest.", ()),
}


def _read(layer: Any) -> Iterator[tuple[str, tuple[str, ...], float]]:
    """Read what a middleware shows of itself, which is nothing for most."""
    for _, gate in _kept(layer, "gates"):
        state = gate.state
        for each in STATES:
            yield "circuits", (gate.name, each), float(each == state)
    for key, permits in _kept(layer, "places"):
        yield "bulkhead_in_use", (key,), permits.in_use
        yield "bulkhead_waiting", (key,), permits.waiting
        yield "bulkhead_limit", (key,), permits.number
    for key, limiter in _kept(layer, "limiters"):
        yield "adaptive_limit_in_use", (key,), limiter.in_flight
        yield "adaptive_limit_limit", (key,), limiter.limit
    if (budget := getattr(layer, "budget", None)) is not None:
        for key, spent in budget.spent.copy().items():
            yield "retry_budget_spent", (_shown(key),), spent
            yield "retry_budget_capacity", (_shown(key),), budget.capacity
    if (booked := getattr(getattr(layer, "turns", None), "booked", None)) is not None:  # which Redis does not tell
        yield "throttle_booked_seconds", (), booked()


def _kept(layer: Any, name: str) -> Iterator[tuple[str, Any]]:
    kept = getattr(layer, name, None)
    for key, thing in () if kept is None else kept.items():
        yield _shown(key), thing


def _shown(key: Any) -> str:
    return "" if key is None else str(key)
