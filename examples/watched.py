"""Counts of the last minute, for the dashboard and for whoever else wants to look."""

import logging

from formation import lift
from formation.dashboard import Dashboard
from formation.middleware import retry, watched

QUIET = logging.getLogger("quiet")
QUIET.setLevel("CRITICAL")


def main():
    """Call something that fails each third time."""
    counted, number = watched("stock"), iter(range(1, 100))

    @lift(middleware=[counted, retry(base=0, logger=QUIET)])
    def ask():
        if next(number) % 3 == 0:
            raise ConnectionError

    with Dashboard():  # from here on it counts
        for _ in range(10):
            ask()
    sums, meter = counted.meter.sums(), counted.meter
    print(f"{meter.name}: {sums.calls} calls, {meter.retries} retries, all of them went well: {sums.outcomes[0] == 10}")


if __name__ == "__main__":
    main()
