"""Rows as they come out of a database that an earlier version wrote."""

from xmpprelay.core.model import Grant, Rest, Standing
from xmpprelay.store.rows import standing_of


def test_a_rest_of_before_is_a_whole_span() -> None:
    row = (1, None, None, "[]", "[2,9,[[4,7]]]", Grant.GRANTED.value, 0, 0)
    rest = Rest(2, 9, ((4, 7),))
    assert standing_of(row) == Standing(1, None, None, rest=rest, grant=Grant.GRANTED)
