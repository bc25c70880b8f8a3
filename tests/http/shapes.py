"""What parameters come in."""

import enum

import attrs


class Sort(enum.Enum):
    STARS = "stars"
    ONE = 1


class Name(enum.StrEnum):
    Q = "q"


class Mixed(str, enum.Enum):  # noqa: UP042  whose str() is 'Mixed.A'
    A = "a"


@attrs.define
class Page:
    number: int = attrs.field(default=1, metadata={"to": ["page"]})
    size: int | None = attrs.field(default=None, metadata={"to": "per_page"})


class Serde:
    """As attrs-serde makes them."""

    def __init__(self, made):
        self.made = made

    def to_dict(self):
        return self.made
