"""Whom a text names: the leading run and elsewhere (S2)."""

import pytest

from xmpprelay.core.mentions import MAX_NAMED, Named, read_names

PEOPLE = {"alice": 1, "bob": 2, "carol": 3, "dave@far.example": 4, "bo.b-2@far.example": 5}


def names(text: str) -> Named:
    def resolve(name: str, domain: str | None) -> int | None:
        return PEOPLE.get(name if domain is None else f"{name}@{domain}")

    return read_names(text, resolve)


@pytest.mark.parametrize(
    ("text", "leading", "elsewhere"),
    [
        ("hello", (), ()),
        ("@bob", (2,), ()),
        ("@bob hi", (2,), ()),
        ("@BOB: hi", (2,), ()),
        ("@bob, @alice hi @carol", (2, 1), (3,)),
        ("@bob @bob @alice", (2, 1), ()),
        (".@bob hi", (), (2,)),
        ("hi @bob, @alice and (@carol).", (), (1, 2, 3)),
        ("@bob @nobody @alice", (2,), (1,)),
        ("@bobby and mail to bob@example.org", (), ()),
        ("x@bob @@bob", (), ()),
        ("@dave@far.example hi", (4,), ()),
        ("hi @dave@far.example.", (), (4,)),
        ("@bo.b-2@far.example, hi", (5,), ()),
        ("hi (@bo.b-2@far.example)", (), (5,)),
        ("@bob-2@far.example, @bob-2 and @bob.@far", (), (2,)),
        ("hi @dave@else.example and @bob@else.example", (), ()),
        ("@bob\n@alice", (2, 1), ()),
        ("@bob hi @bob", (2,), ()),
    ],
)
def test_whom_a_text_names(text: str, leading: tuple[int, ...], elsewhere: tuple[int, ...]) -> None:
    found = names(text)
    assert (found.leading, found.elsewhere) == (leading, elsewhere)


@pytest.mark.parametrize(
    ("text", "unknown"),
    [
        ("@nobody hi", "nobody"),
        ("@nobody @bob hi", "nobody"),
        ("@bob @nobody hi", None),
        ("hi @nobody", None),
        ("@x@else.example hi", None),  # S2.10: plain text
        ("@bob", None),
    ],
)
def test_only_a_first_name_that_nobody_has_is_told(text: str, unknown: str | None) -> None:  # S2.6
    assert names(text).unknown == unknown


def test_a_text_names_so_many_and_no_more() -> None:
    text = " ".join(f"@p{number}" for number in range(50))
    for begun in (text, f"to {text}"):
        found = read_names(begun, lambda name, _: int(name[1:]))
        assert len(found.leading) + len(found.elsewhere) == MAX_NAMED
