"""Steps of a long run that have names, so that a run that got stuck says where."""

from collections.abc import Iterator
from contextlib import contextmanager


class Stuck(AssertionError):
    """A step took too long: what it was, in words."""


@contextmanager
def step(name: str) -> Iterator[None]:
    """Whatever is not done in time in here is named: a TimeoutError becomes `Stuck`."""
    try:
        yield
    except TimeoutError as error:
        raise Stuck(f"stuck at {name}") from error
