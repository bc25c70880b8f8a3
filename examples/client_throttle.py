"""A shop that takes no more than so much: it is asked less, until it takes more again."""

import random

import structlog

from formation import lift
from formation.errors import ThrottleRejected
from formation.middleware import client_throttle

luck = random.Random(1)
clock = {"now": 0.0}
shop = {"asked": 0, "takes": 1.0}


@lift(middleware=[client_throttle(window=10, clock=lambda: clock["now"], random=luck.uniform)])
def order() -> None:
    """Be taken, or not."""
    shop["asked"] += 1
    if luck.random() >= shop["takes"]:
        raise TimeoutError("no answer")


def main() -> None:
    """Order a hundred times a second, by a clock of our own."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("error"))
    for takes, seconds in ((1.0, 10), (0.2, 20), (0.0, 20), (1.0, 20)):
        shop["takes"] = takes
        for half in ("first", "last"):
            taken = shop["asked"] = 0
            for _ in range(seconds * 50):
                clock["now"] += 0.01
                taken += placed()
            calls = seconds * 50
            part = f"{half} {seconds // 2} s"
            print(f"it takes {takes:4.0%}, {part:10}: of {calls} calls {shop['asked']:4} made, {taken:4} taken")


def placed() -> bool:
    """Order once; tell whether it was taken."""
    try:
        order()
    except (ThrottleRejected, TimeoutError):
        return False
    return True


if __name__ == "__main__":
    main()
