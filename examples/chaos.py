"""A client is put to the test: a third of its calls fails, and nobody notices."""

import logging
from collections import Counter

from formation import reply
from formation.for_requests import build
from formation.middleware import chaos, retry

quiet = logging.getLogger("quiet")
quiet.setLevel("CRITICAL")


def shop(ctx):
    """Work."""
    return reply(ctx, 200)


def main() -> None:
    """Ask a hundred times, with and without retries."""
    for what, outer in (("no retry", []), ("five attempts", [retry(5, base=0, budget=None, logger=quiet)])):
        monkey = chaos(fault=0.2, latency=0.1, status=0.2, delay=0.01, enabled=True, seed=7, logger=quiet)
        answers: Counter[str] = Counter()
        with build(base_uri="https://shop.example.com", middleware=[*outer, monkey], endpoint=shop) as api:
            for _ in range(100):
                try:
                    answers[str(api.get("/items/7").status_code)] += 1
                except ConnectionError:
                    answers["broken off"] += 1
                except Exception as error:  # noqa: BLE001  whatever it is
                    answers[type(error).__name__] += 1
        print(f"{what}: {dict(sorted(answers.items()))}")


if __name__ == "__main__":
    main()
