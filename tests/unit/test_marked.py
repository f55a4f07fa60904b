"""A text in pieces: what is a link, a name, a tag, and that nothing is lost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmpprelay.core.marked import Piece, Sort, pieces


def marked(text: str) -> list[tuple[Sort, str]]:
    return [(each.sort, each.text) for each in pieces(text) if each.sort is not Sort.TEXT]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("see https://a.test/x.", [(Sort.LINK, "https://a.test/x")]),
        ("(https://a.test/x_(y))", [(Sort.LINK, "https://a.test/x_(y)")]),
        ("[https://a.test/x], more", [(Sort.LINK, "https://a.test/x")]),
        ("https://a.test/x)!).", [(Sort.LINK, "https://a.test/x")]),
        ("https://a.test/(x)])", [(Sort.LINK, "https://a.test/(x)")]),
        ("HTTP://a.test?x=1&y=2#z!", [(Sort.LINK, "HTTP://a.test?x=1&y=2#z")]),
        ("https://a.test/<b>", [(Sort.LINK, "https://a.test/")]),
        ('https://a.test/"onclick="x', [(Sort.LINK, "https://a.test/")]),
        ("javascript:alert(1) data:x xhttps://a.test https:// ftp://a.test", []),
        ("https://alice@a.test/@bob #no", [(Sort.LINK, "https://alice@a.test/@bob"),
                                           (Sort.TAG, "#no")]),
        ("@alice, .@bob x@carol @dave@a.test @e @eve.", [
            (Sort.NAME, "@alice"), (Sort.NAME, "@bob"), (Sort.NAME, "@eve")]),
        ("#tea #Tee_2 #12 a#b &#39; ##c #é!", [
            (Sort.TAG, "#tea"), (Sort.TAG, "#Tee_2"), (Sort.TAG, "#é")]),
        ("", []),
    ],
)  # fmt: skip
def test_pieces(text: str, expected: list[tuple[Sort, str]]) -> None:
    assert marked(text) == expected


def test_a_long_text_takes_no_longer_than_its_length() -> None:
    """The square of it would be half an hour."""
    for text in (f"https://a/{')' * 1_000_000}", f"https://a/{'.x' * 500_000}", "#1" * 500_000):
        assert "".join(each.text for each in pieces(text)) == text


def test_a_name_and_a_tag_are_given_without_their_mark() -> None:
    assert [each.bare for each in pieces("@alice #tea")] == ["alice", " ", "tea"]
    assert Piece(Sort.LINK, "https://a.test").bare == "https://a.test"


@given(st.text(alphabet=st.sampled_from('htps:/. @#_a1é(<>"&\n)]!,'), max_size=60) | st.text())
def test_the_pieces_are_the_text(text: str) -> None:
    found = list(pieces(text))
    assert "".join(each.text for each in found) == text
    assert all(each.text for each in found)
    for each in found:
        if each.sort is Sort.LINK:
            assert each.text.lower().startswith(("https://", "http://"))
            assert not set(each.text) & set(' \n<>"')
