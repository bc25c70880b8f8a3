"""A slow shop and a quick one: the slow one does not get all threads."""

import time
from concurrent.futures import ThreadPoolExecutor

import structlog

from formation import lift
from formation.errors import BulkheadRejected
from formation.middleware import bulkhead

wall = bulkhead(3, queue=2, max_wait=1, key=lambda ctx: ctx["fmtn.args"][0])


@lift(middleware=[wall])
def ask(shop: str) -> str:
    """Take as long as the shop takes."""
    time.sleep(0.1 if shop == "slow" else 0)
    return "answered"


def main() -> None:
    """Ask both, eight times each, at the same time."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("error"))
    with ThreadPoolExecutor(16) as pool:
        slow = [pool.submit(told, "slow") for _ in range(8)]
        quick = [told("quick") for _ in range(8)]
        print("slow: ", *sorted(each.result() for each in slow))
        print("quick:", *quick)


def told(shop: str) -> str:
    """Ask, and say what came of it."""
    try:
        return ask(shop)
    except BulkheadRejected:
        return "-"


if __name__ == "__main__":
    main()
