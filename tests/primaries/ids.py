"""Ids as the kinds of servers make them: opaque, but each later one sorts after those before it."""

from typing import Final

FIRST_SNOWFLAKE: Final = 99_999_999_999_999_997
"""So near to a longer number that sorting them as texts goes wrong in every test."""

CROCKFORD: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
BASE62: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def _digits(number: int, alphabet: str, length: int) -> str:
    text = ""
    for _ in range(length):
        number, digit = divmod(number, len(alphabet))
        text = alphabet[digit] + text
    return text


def make_id(kind: str, serial: int, at: float) -> str:
    """The id with a serial number, from 1, of something of that time; only ULIDs tell the time."""
    if kind == "snowflake":
        return str(FIRST_SNOWFLAKE + serial)
    if kind == "ulid":
        return _digits(int(at * 1000), CROCKFORD, 10) + _digits(serial, CROCKFORD, 16)
    return "A" + _digits(serial, BASE62, 17)


def sort_key(remote_id: str) -> tuple[int, str]:
    """By which ids of one kind sort as they were made."""
    return len(remote_id), remote_id
